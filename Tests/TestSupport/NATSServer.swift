import Glibc
import Platform
import Synchronization

/// A real nats-server on a free loopback port, with a directory of its own that goes with it.
package final class NATSServer: Sendable {
    /// The servers to test against: those named in `SKOS_NATS_SERVERS` (separated by colons), or
    /// else the installed one and the first on PATH.
    package static let binaries: [String] = {
        func environment(_ name: String) -> [String] {
            guard let value = getenv(name) else { return [] }
            return String(cString: value).split(separator: ":").map(String.init)
        }
        let named = environment("SKOS_NATS_SERVERS")
        let onPath = environment("PATH").map { "\($0)/nats-server" }
        let usual = ["/usr/sbin/nats-server"] + onPath
        var found: [String] = []
        for path in named.isEmpty ? usual : named where access(path, X_OK) == 0 {
            guard let real = realpath(path, nil) else { continue }
            defer { free(real) }
            let resolved = String(cString: real)
            if !found.contains(resolved) { found.append(resolved) }
        }
        return found
    }()

    package struct Failure: Error, CustomStringConvertible {
        package var description: String
    }

    private struct Running {
        var server: pid_t = 0
        /// A shell that kills the server when this process dies without doing so.
        var guardian: pid_t = 0
    }

    package let binary: String
    package let port: UInt16
    /// Holds `nats.conf`, `nats.log` and the store.
    package let directory: String
    private let running = Mutex(Running())

    /// `nats://127.0.0.1:<port>`.
    package var url: String { "nats://127.0.0.1:\(port)" }

    /// Starts a server and waits until it takes clients. `config` is added to its configuration.
    /// - Throws: `Failure` with the end of the server's log.
    package static func start(
        binary: String? = nil, jetStream: Bool = true, config: String = "",
        port: UInt16? = nil
    ) async throws -> NATSServer {
        let server = try prepare(binary: binary, jetStream: jetStream, config: config, port: port)
        try await server.launch()
        return server
    }

    /// As `start`, but the server is only launched by `launch()`.
    package static func prepare(
        binary: String? = nil, jetStream: Bool = true, config: String = "",
        port: UInt16? = nil
    ) throws -> NATSServer {
        guard let binary = binary ?? binaries.first else {
            throw Failure(
                description: "no nats-server found: install it (apt install nats-server), put it "
                    + "on PATH, or name it in SKOS_NATS_SERVERS")
        }
        let server = try NATSServer(binary, port ?? freePort())
        var text = """
            listen: 127.0.0.1:\(server.port)
            write_deadline: "10s"
            \(config)

            """
        if jetStream {
            text +=
                "jetstream { store_dir: \"\(server.directory)/store\", max_mem: 256M, max_file: 4G }\n"
        }
        try write(text, to: "\(server.directory)/nats.conf")
        return server
    }

    private init(_ binary: String, _ port: UInt16) throws {
        self.binary = binary
        self.port = port
        var template = Array("/tmp/skos-nats-XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else {
            throw Failure(
                description: "no temporary directory: \(String(cString: strerror(errno)))")
        }
        directory = String(cString: made)
    }

    deinit {
        kill()
        _ = Self.run(["/bin/rm", "-rf", directory])
    }

    /// Starts the server (again), on the same port and store.
    package func launch() async throws {
        let log = "\(directory)/nats.log"
        let pid = try Self.spawn(
            [binary, "-c", "\(directory)/nats.conf", "-l", log])
        running.withLock { $0.server = pid }
        watch(pid)
        let end = ContinuousClock.now + .seconds(120)
        while ContinuousClock.now < end {
            if Self.greets(port) { return }
            if Self.hasExited(pid) { break }
            try await Task.sleep(for: .milliseconds(2))
        }
        throw Failure(description: "\(binary) did not start:\n\(Self.tail(of: log))")
    }

    /// Sends a signal without waiting for what follows.
    package func signal(_ number: CInt) {
        let pid = running.withLock { $0.server }
        if pid > 0 { Glibc.kill(pid, number) }
    }

    /// Stops the server's clock: it keeps its connections and does nothing until `SIGCONT`.
    package func freeze() {
        let pid = running.withLock { $0.server }
        guard pid > 0 else { return }
        Glibc.kill(pid, SIGSTOP)
        waitpid(pid, nil, CInt(WUNTRACED))
    }

    /// Ends the server with a signal and waits until it is gone. Its store stays.
    package func kill(_ number: CInt = SIGKILL) {
        let was = running.withLock { running in
            defer { running = Running() }
            return running
        }
        if was.guardian > 0 {
            Glibc.kill(was.guardian, SIGKILL)
            waitpid(was.guardian, nil, 0)
        }
        if was.server > 0 {
            Glibc.kill(was.server, number)
            // A stopped process takes no other signal than these two.
            if number != SIGKILL { Glibc.kill(was.server, SIGCONT) }
            waitpid(was.server, nil, 0)
        }
    }

    /// Kills the server and starts it again.
    package func restart(_ number: CInt = SIGKILL) async throws {
        kill(number)
        try await launch()
    }

    /// Changes the configuration; the server takes it at its next launch, or with SIGHUP.
    package func rewriteConfig(_ change: (String) -> String) throws {
        let path = "\(directory)/nats.conf"
        try Self.write(change(Self.tail(of: path)), to: path)
    }

    /// The end of the server's log.
    package var log: String { Self.tail(of: "\(directory)/nats.log") }

    /// A port of the loopback interface that nobody listens on at the moment. Not one of those
    /// that the system gives to clients (from 32768 on), which may take it at any time.
    package static func freePort() throws -> UInt16 {
        for _ in 0..<1000 {
            let count = portCount.wrappingAdd(1, ordering: .relaxed).newValue
            let port = UInt16(10_000 + (Int(getpid()) * 97 + count) % 22_000)
            let socket = Glibc.socket(
                AF_INET, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
            defer { close(socket) }
            var address = loopback(port)
            let size = socklen_t(MemoryLayout<sockaddr_in>.size)
            let free = withUnsafePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(socket, $0, size) == 0 }
            }
            if free { return port }
        }
        throw Failure(description: "no free port on 127.0.0.1")
    }

    /// No port is given twice, and processes that test at the same time begin at different ones.
    private static let portCount = Atomic<Int>(0)

    private static func loopback(_ port: UInt16) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        address.sin_port = port.bigEndian
        return address
    }

    private func watch(_ pid: pid_t) {
        let script = """
            while kill -0 \(getpid()) 2>/dev/null; do sleep 2; done
            kill -9 \(pid)
            rm -rf '\(directory)'
            """
        let shell = try? Self.spawn(["/bin/sh", "-c", script])
        running.withLock { $0.guardian = shell ?? 0 }
    }
}

extension NATSServer {
    private static func spawn(_ arguments: [String]) throws -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
        // Foundation's `Process` knows of a program's end by a socket that only the program has: a server
        // that got it, too, would keep that end from being seen for as long as it runs.
        Subprocess.closeDescriptors(&actions)
        var pointers = arguments.map { strdup($0) } + [nil]
        defer { for pointer in pointers { free(pointer) } }
        var pid: pid_t = 0
        let code = posix_spawn(&pid, arguments[0], &actions, nil, &pointers, environ)
        guard code == 0 else {
            throw Failure(
                description: "cannot run \(arguments[0]): \(String(cString: strerror(code)))")
        }
        return pid
    }

    private static func run(_ arguments: [String]) -> Bool {
        guard let pid = try? spawn(arguments) else { return false }
        var status: CInt = 0
        return waitpid(pid, &status, 0) == pid && status == 0
    }

    private static func hasExited(_ pid: pid_t) -> Bool { waitpid(pid, nil, CInt(WNOHANG)) == pid }

    /// Whether something at the port begins to talk.
    private static func greets(_ port: UInt16) -> Bool {
        let socket = Glibc.socket(
            AF_INET, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
        defer { close(socket) }
        var address = loopback(port)
        let size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let connected = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(socket, $0, size) == 0 }
        }
        var byte: UInt8 = 0
        return connected && recv(socket, &byte, 1, 0) == 1
    }

    private static func write(_ text: String, to path: String) throws {
        guard let file = fopen(path, "w") else {
            throw Failure(description: "cannot write \(path): \(String(cString: strerror(errno)))")
        }
        defer { fclose(file) }
        fputs(text, file)
    }

    private static func tail(of path: String) -> String {
        guard let file = fopen(path, "r") else { return "" }
        defer { fclose(file) }
        fseek(file, 0, SEEK_END)
        fseek(file, max(0, ftell(file) - 4000), SEEK_SET)
        var bytes = [UInt8](repeating: 0, count: 4000)
        let count = fread(&bytes, 1, bytes.count, file)
        return String(decoding: bytes[..<count], as: UTF8.self)
    }
}
