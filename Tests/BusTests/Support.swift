import Bus
import Foundation
import Glibc
import Synchronization
import TestSupport
import Testing

/// What a test that talks to a server is repeated for.
struct Setup: Sendable, CustomTestStringConvertible {
    var binary: String
    var writes: Connection.Options.Writes

    /// Every server there is, with both kinds of writes that answer at once.
    static let all = NATSServer.binaries.flatMap { binary in
        [Setup(binary: binary, writes: .immediate), Setup(binary: binary, writes: .batched)]
    }

    var testDescription: String { "\(binary), \(writes)" }

    /// For connections that come back soon.
    func options(_ server: NATSServer) -> Connection.Options {
        var options = Connection.Options(urls: [server.url])
        options.writes = writes
        // The machines of tests are busy.
        options.connectTimeout = .seconds(30)
        options.apiTimeout = .seconds(60)
        options.reconnectWait = .milliseconds(20)
        options.reconnectJitter = .milliseconds(5)
        return options
    }
}

/// Runs a test against a fresh server and one connection to it.
func withServer(
    _ setup: Setup, config: String = "", _ body: (NATSServer, Connection) async throws -> Void
) async throws {
    let server = try await NATSServer.start(binary: setup.binary, config: config)
    let connection = try await Connection.connect(setup.options(server))
    defer { connection.close() }
    try await body(server, connection)
}

/// The error that `body` throws; `nil` when it throws none or another kind.
func busError(_ body: () async throws -> Void) async -> BusError? {
    do {
        try await body()
        return nil
    } catch {
        return error as? BusError
    }
}

/// What several threads add to.
final class Collector<Element: Sendable>: Sendable {
    private let elements = Mutex<[Element]>([])

    func add(_ element: Element) { elements.withLock { $0.append(element) } }
    var all: [Element] { elements.withLock { $0 } }
    var count: Int { elements.withLock { $0.count } }
}

/// A TCP peer on a free loopback port that is no NATS server: says something and then listens.
final class FakePeer: Sendable {
    let port: UInt16
    private let listener: CInt
    private let accepted = Collector<CInt>()

    /// With `closing`, hangs up after its greeting.
    init(greeting: String, closing: Bool = false) throws {
        let socket = Glibc.socket(
            AF_INET, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(socket, $0, size) == 0 && listen(socket, 8) == 0
                    ? getsockname(socket, $0, &size) : -1
            }
        }
        guard result == 0 else { throw POSIXError(.EADDRINUSE) }
        port = UInt16(bigEndian: address.sin_port)
        listener = socket
        let thread = Thread { [accepted] in
            while true {
                let client = accept(socket, nil, nil)
                guard client >= 0 else { return }
                let bytes = Array(greeting.utf8)
                send(client, bytes, bytes.count, CInt(MSG_NOSIGNAL))
                if closing { close(client) } else { accepted.add(client) }
            }
        }
        thread.start()
    }

    deinit {
        shutdown(listener, CInt(SHUT_RDWR))
        close(listener)
        for client in accepted.all { close(client) }
    }

    /// How many clients have hung up by themselves.
    var hungUp: Int {
        accepted.all.filter { client in
            var bytes = [UInt8](repeating: 0, count: 4096)
            var count: Int
            repeat {
                count = recv(client, &bytes, bytes.count, CInt(MSG_DONTWAIT))
            } while count > 0
            return count == 0 || errno == ECONNRESET
        }.count
    }
}
