import Glibc
import Synchronization

/// A small HTTP server on the loopback interface that answers as a test wants: right, wrong or never.
package final class HTTPServer: Sendable {
    package enum Manner: Sendable {
        case status(Int)
        /// These bytes, and nothing else.
        case raw(String)
        /// So many bytes with status 200.
        case large(Int)
        /// Takes the request and says nothing until the server ends.
        case hang
        /// Says 200 and never comes to the end of the reply.
        case endless
    }

    package struct Request: Sendable {
        /// Such as `POST /topic HTTP/1.1`.
        package var line: String
        package var headers: [String]
        package var body: String
    }

    private struct State {
        var manners: [Manner]
        var requests: [Request] = []
        var held: [Int32] = []
    }

    package let port: UInt16
    private let listener: Int32
    private let state: Mutex<State>

    /// Answers in these manners, one after the other; the last one goes on.
    package init(_ manners: Manner...) throws {
        state = Mutex(State(manners: manners))
        listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let (listener, size) = (listener, length)
        let isBound = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                bind(listener, pointer, size) == 0 && listen(listener, 16) == 0
                    && getsockname(listener, pointer, &length) == 0
            }
        }
        guard isBound else { throw Failure(description: "no port of the loopback interface") }
        port = UInt16(bigEndian: address.sin_port)
        Thread.start { [weak self] in
            while true {
                let connection = accept(listener, nil, nil)
                guard connection >= 0, let self else { return }
                Thread.start { self.serve(connection) }
            }
        }
    }

    package struct Failure: Error, CustomStringConvertible { package var description: String }

    /// Hangs up on everybody, and listens no more.
    package func close() {
        shutdown(listener, Int32(SHUT_RDWR))
        Glibc.close(listener)
        let held = state.withLock { state in
            defer { state.held = [] }
            return state.held
        }
        for connection in held { Glibc.close(connection) }
    }

    package var url: String { "http://127.0.0.1:\(port)" }

    package var requests: [Request] { state.withLock { $0.requests } }

    private func serve(_ connection: Int32) {
        guard let request = read(from: connection) else {
            Glibc.close(connection)
            return
        }
        let manner = state.withLock { state in
            state.requests.append(request)
            return state.manners.count > 1 ? state.manners.removeFirst() : state.manners[0]
        }
        switch manner {
        case .status(let code):
            let head = "HTTP/1.1 \(code) x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
            send(head + "ok", connection)
        case .raw(let text): send(text, connection)
        case .large(let bytes):
            send("HTTP/1.1 200 x\r\nContent-Length: \(bytes)\r\n\r\n", connection)
            send(String(repeating: "x", count: bytes), connection)
        case .hang: return state.withLock { $0.held.append(connection) }
        case .endless:
            send("HTTP/1.1 200 x\r\nContent-Length: 1000\r\n\r\nbegun", connection)
            return state.withLock { $0.held.append(connection) }
        }
        Glibc.close(connection)
    }

    private func send(_ text: String, _ connection: Int32) {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            // The client may have gone; that must not end the test.
            let sent = rest.withUnsafeBytes {
                Glibc.send(connection, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard sent > 0 else { return }
            rest = rest.dropFirst(sent)
        }
    }

    private func read(from connection: Int32) -> Request? {
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 4096)
        while true {
            let text = String(decoding: bytes, as: UTF8.self)
            if let end = text.firstRange(of: "\r\n\r\n") {
                let lines = text[..<end.lowerBound].split(separator: "\r\n").map(String.init)
                let length = lines.first { $0.lowercased().hasPrefix("content-length:") }
                let size = length.flatMap { Int($0.drop { $0 != " " }.dropFirst()) } ?? 0
                let body = text[end.upperBound...]
                if body.utf8.count >= size {
                    return Request(
                        line: lines[0], headers: Array(lines.dropFirst()), body: String(body))
                }
            }
            let got = Glibc.read(connection, &chunk, chunk.count)
            guard got > 0 else { return nil }
            bytes += chunk[..<got]
        }
    }
}

/// A thread for calls that block.
private final class Thread {
    private let body: @Sendable () -> Void

    private init(_ body: @escaping @Sendable () -> Void) { self.body = body }

    static func start(_ body: @escaping @Sendable () -> Void) {
        var thread = pthread_t()
        let argument = Unmanaged.passRetained(Thread(body))
        pthread_create(
            &thread, nil,
            { pointer in
                if let pointer { Unmanaged<Thread>.fromOpaque(pointer).takeRetainedValue().body() }
                return nil
            }, argument.toOpaque())
        pthread_detach(thread)
    }
}
