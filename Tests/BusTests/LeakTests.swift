import Bus
import Foundation
import TestSupport
import Testing

/// Counts of live objects are the whole process's, so these tests run in processes of their own.
@Suite(.timeLimit(.minutes(10)))
struct LeakTests {
    @Test(arguments: NATSServer.binaries)
    func everythingIsLetGo(binary: String) async {
        await #expect(processExitsWith: .success) { [binary] in
            let server = try await NATSServer.start(binary: binary)
            for round in 0..<40 {
                var options = Connection.Options(urls: [server.url])
                options.connectTimeout = .seconds(30)
                options.apiTimeout = .seconds(60)
                options.writes = round % 3 == 0 ? .immediate : .batched
                try await useAndDrop(options, close: round.isMultiple(of: 2))
            }
            let gone = await eventually { Live.now.isEmpty }
            guard gone else { fatalError("left behind: \(Live.now)") }
            guard !hasLeaked() else { fatalError("LeakSanitizer has found memory that is lost") }
        }
    }

    @Test(arguments: NATSServer.binaries)
    func nothingGrowsOverReconnections(binary: String) async {
        await #expect(processExitsWith: .success) { [binary] in
            let server = try await NATSServer.start(binary: binary)
            var options = Connection.Options(urls: [server.url])
            options.connectTimeout = .seconds(30)
            options.apiTimeout = .seconds(60)
            options.reconnectWait = .milliseconds(5)
            options.reconnectJitter = .milliseconds(1)
            let connection = try await Connection.connect(options)
            let delivery = try connection.subscribe("a") { _ in }
            for _ in 0..<10 {
                try await server.restart()
                guard await eventually({ connection.isConnected }) else {
                    fatalError("did not come back")
                }
            }
            guard Live.now.deliveries == 1, Live.now.connections == 1 else {
                fatalError("more than there should be: \(Live.now)")
            }
            delivery.cancel()
            connection.close()
        }
    }
}

/// Whether LeakSanitizer finds memory that nobody points to. It looks where it is there, as with
/// `LD_PRELOAD=liblsan.so.0`; it says on standard error what it has found.
private func hasLeaked() -> Bool {
    typealias Check = @convention(c) () -> CInt
    guard let check = dlsym(nil, "__lsan_do_recoverable_leak_check") else { return false }
    return unsafeBitCast(check, to: Check.self)() != 0
}

/// Everything a connection can hold, ended in both ways: closed, or simply dropped.
private func useAndDrop(_ options: Connection.Options, close: Bool) async throws {
    let connection = try await Connection.connect(options)
    let messages = try connection.subscribe("a", capacity: 2, overflow: .dropOldest)
    let echo = try connection.subscribe("echo") { try? $0.respond($0.payload) }
    let events = connection.events()
    for n in 0..<20 as Range<UInt8> { try connection.publish("a", [n], headers: [("K", "v")]) }
    _ = await messages.next()
    _ = try await connection.request("echo", [1], timeout: .seconds(60))
    _ = await busError { _ = try await connection.request("none", [1], timeout: .seconds(60)) }
    let js = connection.jetStream
    _ = try await js.ensureStream(.init(name: "S", subjects: ["s"]))
    let outcomes = Collector<UInt64>()
    let publisher = try js.orderedPublisher { outcomes.add($0.token) }
    for n in 0..<20 as Range<UInt64> {
        try publisher.publish("s", [1], messageID: "\(n)", token: n)
    }
    guard await eventually({ outcomes.count == 20 }) else { fatalError("no acks") }
    let delivery = try await js.pushConsumer("S", .push(stream: "S", durable: "D")) {
        try? $0.ack()
    }
    for try await _ in try js.readRange("S", 1...10) {}
    let bucket = try await js.ensureBucket(.init(bucket: "B"))
    _ = try await bucket.put("k", [1])
    for try await entry in try bucket.watch() where entry.pending == 0 { break }
    withExtendedLifetime((events, echo, delivery, publisher)) {}
    if close { connection.close() }
}
