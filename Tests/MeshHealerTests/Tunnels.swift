import Foundation
import Glibc
import Platform
import Synchronization

/// Three network namespaces A, B and C with `wireguard-go` in each, connected A to B and A to C, both
/// outside (10.99.1.0/24, 10.99.2.0/24) and through tunnels (10.88.0.1, .2 and .3). Gone with its last
/// user.
final class Tunnels: Sendable {
    /// What is missing on this machine; `nil`: nothing.
    static let obstacle: String? = {
        guard getuid() == 0 else { return "network namespaces need root" }
        for program in ["ip", "wg", "wireguard-go", "nft", "ping"] {
            let found = ["/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/"].contains {
                access($0 + program, X_OK) == 0
            }
            if !found { return "\(program) is not installed" }
        }
        if access("/dev/net/tun", F_OK) != 0 {
            mkdir("/dev/net", 0o755)
            mknod("/dev/net/tun", S_IFCHR | 0o600, 10 << 8 | 200)
        }
        let name = "skos\(getpid() % 10_000)try"
        guard (try? command("ip", "netns", "add", name))?.code == 0 else {
            return "network namespaces cannot be made here"
        }
        _ = try? command("ip", "netns", "del", name)
        return nil
    }()

    private static let count = Mutex(0)

    /// In front of the names of namespaces and interfaces, which are unique on the machine.
    let prefix: String
    let directory: NodeRoot
    /// Public keys of a, b and c.
    let keys: [String: String]
    private let processes = Mutex<[String: Process]>([:])

    init() throws {
        let number = Self.count.withLock { count in
            count += 1
            return count
        }
        prefix = "s\(String(getpid() % 46_656, radix: 36))\(String(number, radix: 36))"
        directory = try NodeRoot()
        var keys: [String: String] = [:]
        for name in ["a", "b", "c", "other"] {
            let secret = try command("wg", "genkey").output
            try secret.write(
                toFile: "\(directory.path)/\(name).key", atomically: false, encoding: .utf8)
            let made = try command("sh", "-c", "wg pubkey <'\(directory.path)/\(name).key'")
            keys[name] = made.output.trimmingCharacters(in: .whitespacesAndNewlines)
        }
        self.keys = keys
        for name in ["a", "b", "c"] {
            try ip("netns", "add", space(name))
            try ip("-n", space(name), "link", "set", "lo", "up")
        }
        try connect("b", "1")
        try connect("c", "2")
        for name in ["a", "b", "c"] { try start(name) }
        try configure()
    }

    deinit {
        for process in processes.withLock({ $0 }).values where process.isRunning {
            kill(process.processIdentifier, SIGKILL)
            process.waitUntilExit()
        }
        for name in ["a", "b", "c"] {
            let pids = (try? command("ip", "netns", "pids", space(name)))?.output ?? ""
            for pid in pids.split(separator: "\n").compactMap({ pid_t($0) }) { kill(pid, SIGKILL) }
            _ = try? command("ip", "netns", "del", space(name))
            try? FileManager.default.removeItem(atPath: "/etc/netns/\(space(name))")
            unlink("/var/run/wireguard/\(tunnel(name)).sock")
        }
    }

    func space(_ name: String) -> String { prefix + name }
    func tunnel(_ name: String) -> String { "wg\(prefix)\(name)" }
    func cable(_ from: String, _ to: String) -> String { "v\(prefix)\(from)\(to)" }
    func key(_ name: String) -> String { keys[name] ?? "" }
    /// A peer of A as alerts name it.
    func resource(_ peer: String) -> String { "\(tunnel("a"))/\(key(peer))" }

    @discardableResult
    func ip(_ arguments: String...) throws -> String {
        try run(["ip"] + arguments)
    }

    /// Runs a program in a namespace to its end.
    @discardableResult
    func exec(_ name: String, _ arguments: String...) throws -> String {
        try run(["ip", "netns", "exec", space(name)] + arguments)
    }

    private func run(_ arguments: [String]) throws -> String {
        let output = try Subprocess(
            "/usr/bin/env", ["sh", "-c", "\"$@\" 2>&1", "sh"] + arguments, timeLimit: .seconds(30)
        ).run()
        let text = String(decoding: output.output, as: UTF8.self)
        guard output.exitCode == 0 else {
            throw TunnelFailure(description: "\(arguments): \(text)")
        }
        return text
    }

    private func connect(_ name: String, _ number: String) throws {
        try ip(
            "link", "add", cable("a", name), "netns", space("a"), "type", "veth", "peer", "name",
            cable(name, "a"), "netns", space(name))
        try ip("-n", space("a"), "addr", "add", "10.99.\(number).1/24", "dev", cable("a", name))
        try ip("-n", space(name), "addr", "add", "10.99.\(number).2/24", "dev", cable(name, "a"))
        try ip("-n", space("a"), "link", "set", cable("a", name), "up")
        try ip("-n", space(name), "link", "set", cable(name, "a"), "up")
    }

    /// The interface of A's other way to B, outside of the tunnel.
    var otherCable: String { "o\(prefix)ab" }

    /// Makes another way from A to B, and a route into the tunnel that could take it.
    func connectOtherWay() throws {
        let end = "o\(prefix)ba"
        try ip(
            "link", "add", otherCable, "netns", space("a"), "type", "veth", "peer", "name", end,
            "netns", space("b"))
        try ip("-n", space("a"), "addr", "add", "10.99.3.1/24", "dev", otherCable)
        try ip("-n", space("b"), "addr", "add", "10.99.3.2/24", "dev", end)
        try ip("-n", space("a"), "link", "set", otherCable, "up")
        try ip("-n", space("b"), "link", "set", end, "up")
        try ip(
            "-n", space("a"), "route", "add", "10.77.0.0/24", "dev", tunnel("a"), "metric", "50",
            "proto", "static", "scope", "link")
    }

    /// Starts a process in a namespace, to be ended with it.
    @discardableResult
    func launch(
        _ name: String, in space: String, _ arguments: [String],
        environment: [String: String] = [:], log: String? = nil
    ) throws -> Process {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["ip", "netns", "exec", self.space(space)] + arguments
        process.environment = environment.merging(
            ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin"], uniquingKeysWith: { own, _ in own })
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        if let log {
            _ = FileManager.default.createFile(atPath: log, contents: nil)
            let handle = FileHandle(forWritingAtPath: log)
            process.standardOutput = handle
            process.standardError = handle
        }
        try process.run()
        processes.withLock { $0[name] = process }
        return process
    }

    /// Starts the tunnel's program. Each takes one of the inotify instances of this user, of which there
    /// are 128 by default: where others have them all, it ends at once and is started again.
    func start(_ name: String) throws {
        let log = "\(directory.path)/wg-\(name).log"
        for _ in 0..<60 {
            unlink("/var/run/wireguard/\(tunnel(name)).sock")
            let process = try launch(
                "wg-\(name)", in: name, ["wireguard-go", "-f", tunnel(name)], log: log)
            for _ in 0..<1000 where process.isRunning {
                // The socket is there a moment before it is known whether it can be served.
                if WireGuardSocket().presence(tunnel(name)) == .alive,
                    (try? exec(name, "wg", "show", tunnel(name), "listen-port")) != nil
                {
                    return
                }
                usleep(10_000)
            }
            kill(process.processIdentifier, SIGKILL)
            process.waitUntilExit()
            sleep(1)
        }
        let words = (try? String(contentsOfFile: log, encoding: .utf8)) ?? ""
        throw TunnelFailure(
            description: "wireguard-go \(tunnel(name)) does not start: \(words.suffix(300))")
    }

    /// Kills the tunnel's program, which takes its interface with it.
    func stop(_ name: String) {
        guard let process = processes.withLock({ $0["wg-\(name)"] }) else { return }
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
    }

    private func configure() throws {
        for (number, name) in ["a", "b", "c"].enumerated() { try configure(name, number + 1) }
        for (number, name) in ["b", "c"].enumerated() {
            try exec(
                "a", "wg", "set", tunnel("a"), "peer", key(name), "endpoint",
                "10.99.\(number + 1).2:51820", "allowed-ips", "10.88.0.\(number + 2)/32")
            try befriend(name, number + 1)
        }
    }

    /// Gives a tunnel its address, its port and its key.
    func configure(_ name: String, _ number: Int) throws {
        let tunnel = tunnel(name)
        try ip("-n", space(name), "addr", "add", "10.88.0.\(number)/24", "dev", tunnel)
        try ip("-n", space(name), "link", "set", tunnel, "mtu", "1420", "up")
        try exec(
            name, "wg", "set", tunnel, "listen-port", "51820", "private-key",
            "\(directory.path)/\(name).key")
    }

    /// Makes A a peer of another.
    func befriend(_ name: String, _ number: Int) throws {
        try exec(
            name, "wg", "set", tunnel(name), "peer", key("a"), "endpoint",
            "10.99.\(number).1:51820", "allowed-ips", "10.88.0.1/32")
    }

    /// B looks for A in a wrong place, so that it does not call A by itself.
    func loseA() throws {
        try exec(
            "b", "wg", "set", tunnel("b"), "peer", key("a"), "endpoint", "10.99.1.78:51820")
    }

    /// Gives B another address outside of the tunnel.
    func moveB() throws {
        // Removing the first address of a network removes its others, so in this order.
        try ip("-n", space("b"), "addr", "del", "10.99.1.2/24", "dev", cable("b", "a"))
        try ip("-n", space("b"), "addr", "add", "10.99.1.9/24", "dev", cable("b", "a"))
    }

    /// Tells the programs that are started in A from now on, and those that look again, what a name
    /// stands for.
    func name(_ host: String, _ address: String) throws {
        let directory = "/etc/netns/\(space("a"))"
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: true)
        // In its place: those that have the file mounted keep it.
        try "127.0.0.1 localhost\n\(address) \(host)\n".write(
            toFile: "\(directory)/hosts", atomically: false, encoding: .utf8)
    }

    /// A's own key, as its file holds it.
    var secret: String {
        ((try? String(contentsOfFile: "\(directory.path)/a.key", encoding: .utf8)) ?? "")
            .trimmingCharacters(in: .whitespacesAndNewlines)
    }

    /// A's configuration, as it runs now.
    func text(endpointOfB: String = "10.99.1.2:51820") -> String {
        """
        [Interface]
        PrivateKey = \(secret)
        ListenPort = 51820
        Address = 10.88.0.1/24

        [Peer]
        PublicKey = \(key("b"))
        AllowedIPs = 10.88.0.2/32
        Endpoint = \(endpointOfB)

        [Peer]
        PublicKey = \(key("c"))
        AllowedIPs = 10.88.0.3/32
        Endpoint = 10.99.2.2:51820

        """
    }

    /// The same without its key, which a program gives to the interface.
    var textWithoutKey: String {
        text().replacingOccurrences(
            of: "PrivateKey = \(secret)",
            with: "PostUp = wg set %i private-key '\(directory.path)/a.key'")
    }

    /// Kills the program of A's tunnel that `wg-quick` has started.
    func killQuick() throws {
        let pids = try ip("netns", "pids", space("a")).split(separator: "\n")
        for pid in pids.compactMap({ pid_t($0) }) {
            let line = (try? String(contentsOfFile: "/proc/\(pid)/cmdline", encoding: .utf8)) ?? ""
            guard line.contains("wireguard-go\0"), line.contains(tunnel("a")) else { continue }
            kill(pid, SIGKILL)
        }
        for _ in 0..<6000 {
            let isThere = (try? ip("-n", space("a"), "link", "show", tunnel("a"))) != nil
            if !isThere, WireGuardSocket().presence(tunnel("a")) != .alive { return }
            usleep(10_000)
        }
        throw TunnelFailure(description: "\(tunnel("a")) does not end")
    }

    /// Writes A's configuration file.
    func writeFile(_ text: String) throws { try directory.write("\(tunnel("a")).conf", text) }

    /// Makes a namespace drop what it gets for WireGuard, or what it sends.
    func drop(_ name: String, _ hook: String, from source: String? = nil) throws {
        try exec(name, "nft", "add", "table", "inet", "test")
        try exec(
            name, "nft",
            "add chain inet test drops { type filter hook \(hook) priority 0 ; policy accept ; }")
        let match = source.map { "ip daddr \($0) " } ?? ""
        try exec(name, "nft", "add rule inet test drops \(match)udp dport 51820 drop")
    }

    /// Makes a namespace drop the echoes that come out of its tunnel.
    func dropEchoes(_ name: String) throws {
        try exec(name, "nft", "add", "table", "inet", "test")
        try exec(
            name, "nft",
            "add chain inet test drops { type filter hook input priority 0 ; policy accept ; }")
        try exec(name, "nft", "add rule inet test drops icmp type echo-request drop")
    }

    func undrop(_ name: String) throws { try exec(name, "nft", "delete", "table", "inet", "test") }
}

struct TunnelFailure: Error, CustomStringConvertible { var description: String }

/// Runs `body` on a thread that lives in a network namespace, and so do the programs it starts.
func inside<T: Sendable>(
    _ space: String, _ body: @escaping @Sendable () throws -> T
) async throws -> T {
    // Swift does not see this function of the C library.
    typealias SetNS = @convention(c) (Int32, Int32) -> Int32
    let symbol = dlsym(UnsafeMutableRawPointer(bitPattern: 0), "setns")
    let setns = symbol.map { unsafeBitCast($0, to: SetNS.self) }
    return try await withCheckedThrowingContinuation { continuation in
        Thread.detachNewThread {
            let descriptor = open("/var/run/netns/\(space)", O_RDONLY | O_CLOEXEC)
            defer { close(descriptor) }
            guard descriptor >= 0, let setns, setns(descriptor, 0x4000_0000) == 0 else {
                return continuation.resume(
                    throwing: TunnelFailure(description: "cannot enter \(space): \(errno)"))
            }
            continuation.resume(with: Result(catching: body))
        }
    }
}
