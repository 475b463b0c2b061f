import Foundation
import Notifier
import Protocol
import Runtime
import Settings
import Synchronization
import TestSupport
import Testing

/// A notifier at work, its outcomes, and its log.
private final class Desk: Sendable {
    let notifier: Notifier
    let metrics = Metrics()
    private let task: Task<Void, Never>
    private let logFile = NSTemporaryDirectory() + "skos-notifier-\(UUID().uuidString).log"
    private let outcomes: AsyncStream<DeliveryQueue.Outcome>

    init(
        _ url: String, _ format: Config.WebhookFormat = .json, limit: Duration = .seconds(20),
        pauses: [Duration] = [.milliseconds(1), .milliseconds(1)]
    ) {
        var webhook = Webhook()
        webhook.limit = limit
        let (stream, found) = AsyncStream.makeStream(of: DeliveryQueue.Outcome.self)
        outcomes = stream
        let descriptor = open(logFile, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
        let notifier = Notifier(
            Self.settings(url, format), sender: webhook,
            queue: DeliveryQueue(pauses: pauses, later: []),
            metrics: metrics, log: Logger("test", sink: LogSink(descriptor: descriptor)),
            report: { found.yield($0) })
        self.notifier = notifier
        task = Task { await notifier.run() }
    }

    deinit {
        task.cancel()
        unlink(logFile)
    }

    static func settings(
        _ url: String, _ format: Config.WebhookFormat = .json
    ) -> Config.AlertHuman {
        var settings = Config.AlertHuman()
        settings.url = url
        settings.format = format
        return settings
    }

    func tell(_ incident: String = "nova:thermal:1") throws {
        notifier.tell(try escalation(incident).event)
    }

    /// The next outcome.
    func outcome() async throws -> DeliveryQueue.Outcome {
        for await outcome in outcomes { return outcome }
        throw CancellationError()
    }

    func stop() async {
        task.cancel()
        await task.value
    }

    var log: String { (try? String(contentsOfFile: logFile, encoding: .utf8)) ?? "" }

    func count(_ outcome: String) -> Int {
        let name = "skos_human_alerts_total{outcome=\"\(outcome)\"}"
        return metrics.snapshot()[name]?.integer.map(Int.init) ?? -1
    }
}

/// With a real server, and libcurl.
@Suite("The webhook", .timeLimit(.minutes(10)))
struct DeliveryTests {
    @Test("each format arrives whole", arguments: Config.WebhookFormat.allCases)
    func arrives(format: Config.WebhookFormat) async throws {
        let server = try HTTPServer(.status(200))
        defer { server.close() }
        let desk = Desk(server.url + "/topic?a=b", format)
        try desk.tell()
        let outcome = try await desk.outcome()
        #expect(outcome.failure == nil)
        #expect(outcome.tries == 1)
        let request = try #require(server.requests.first)
        #expect(request.line == "POST /topic?a=b HTTP/1.1")
        let wanted = try escalation().request(format)
        #expect(Array(request.body.utf8) == wanted.body)
        for line in wanted.headers { #expect(request.headers.contains(line)) }
        #expect(request.headers.contains("User-Agent: skos/\(BuildInfo.version)"))
        #expect(!request.headers.contains { $0.hasPrefix("Expect") })
        #expect(desk.count("delivered") == 1)
        // The same incident again is no news.
        try desk.tell()
        try desk.tell("another")
        #expect(try await desk.outcome().escalation.incident == "another")
        #expect(server.requests.count == 2)
    }

    @Test("500, then 200: told at the second try")
    func secondTry() async throws {
        let server = try HTTPServer(.status(500), .status(200))
        defer { server.close() }
        let desk = Desk(server.url)
        try desk.tell()
        let outcome = try await desk.outcome()
        #expect(outcome.failure == nil)
        #expect(outcome.tries == 2)
        #expect(desk.log.contains("it answers 500"))
    }

    @Test(
        "what may pass is tried again, what will not is not",
        arguments: [
            (404, 1), (400, 1), (301, 1), (408, 3), (429, 3), (502, 3),
        ])
    func statuses(status: Int, tries: Int) async throws {
        let server = try HTTPServer(.status(status))
        defer { server.close() }
        let desk = Desk(server.url)
        try desk.tell()
        let outcome = try await desk.outcome()
        #expect(outcome.failure?.contains("it answers \(status)") == true)
        #expect(outcome.tries == tries)
        #expect(server.requests.count == tries)
        #expect(desk.count("failed") == 1)
    }

    @Test(
        "a redirect is not followed, whatever it points to",
        arguments: [
            "file:///etc/passwd", "gopher://127.0.0.1:1/x", "http://127.0.0.1:1/",
        ])
    func redirect(target: String) async throws {
        let server = try HTTPServer(
            .raw("HTTP/1.1 302 x\r\nLocation: \(target)\r\nContent-Length: 0\r\n\r\n"))
        defer { server.close() }
        let desk = Desk(server.url)
        try desk.tell()
        #expect(try await desk.outcome().failure?.contains("redirect") == true)
        #expect(server.requests.count == 1)
    }

    @Test("nobody listens: refused, and said without the address' secrets")
    func refused() async throws {
        let server = try HTTPServer(.status(200))
        server.close()
        let desk = Desk("http://user:pass1@127.0.0.1:\(server.port)/topic42?token=tok42")
        try desk.tell()
        let outcome = try await desk.outcome()
        #expect(outcome.tries == 3)
        #expect(outcome.failure != nil)
        let all = desk.log + (outcome.failure ?? "")
        #expect(all.contains("http://127.0.0.1:\(server.port)/…"))
        for secret in ["pass1", "topic42", "tok42", "user"] { #expect(!all.contains(secret)) }
    }

    @Test("user and password of the address are used")
    func userinfo() async throws {
        let server = try HTTPServer(.status(200))
        defer { server.close() }
        let desk = Desk(server.url.replacing("http://", with: "http://user:pass1@"))
        try desk.tell()
        #expect(try await desk.outcome().failure == nil)
        let login = Data("user:pass1".utf8).base64EncodedString()
        let headers = try #require(server.requests.first?.headers)
        #expect(headers.contains("Authorization: Basic \(login)"))
        #expect(!desk.log.contains("pass1"))
    }

    @Test(
        "garbage instead of a reply is a failure",
        arguments: [
            "nonsense\r\n\r\n", "", "HTTP/1.1 abc\r\n\r\n", "\u{0}\u{1}\u{2}",
        ])
    func garbage(reply: String) async throws {
        let server = try HTTPServer(.raw(reply))
        defer { server.close() }
        let desk = Desk(server.url)
        try desk.tell()
        let outcome = try await desk.outcome()
        #expect(outcome.failure != nil)
        #expect(outcome.failure?.isEmpty == false)
        #expect(outcome.tries == 3)
    }

    @Test("a reply of 10 MB is not read, and the message counts as told")
    func large() async throws {
        let server = try HTTPServer(.large(10 << 20))
        defer { server.close() }
        let desk = Desk(server.url)
        try desk.tell()
        let outcome = try await desk.outcome()
        #expect(outcome.failure == nil)
        #expect(outcome.tries == 1)
    }

    @Test("a server that hangs is left after its time; one that has said 200 has the message")
    func hang() async throws {
        let server = try HTTPServer(.hang, .endless)
        defer { server.close() }
        let desk = Desk(server.url, limit: .seconds(5))
        try desk.tell()
        let outcome = try await desk.outcome()
        #expect(outcome.failure == nil)
        #expect(outcome.tries == 2)
        #expect(desk.log.lowercased().contains("timed out"))
    }

    @Test("whoever tells never waits, however long the webhook takes")
    func neverBlocks() async throws {
        let server = try HTTPServer(.hang)
        defer { server.close() }
        // One stuck request for minutes: it would show as a test that runs into its limit.
        let desk = Desk(server.url, limit: .seconds(600))
        for index in 0..<3_000 { try desk.tell("i\(index)") }
        let dropped = try await desk.outcome()
        #expect(dropped.failure == "more than 256 wait to be told")
        #expect(desk.count("dropped") == 3_000 - DeliveryQueue.limit)
        await desk.stop()
        #expect(desk.count("dropped") == 3_000)
    }

    @Test("an edited address counts for what waits; without one nobody is told")
    func edit() async throws {
        let bad = try HTTPServer(.status(500))
        let good = try HTTPServer(.status(200))
        defer {
            bad.close()
            good.close()
        }
        let desk = Desk(bad.url, pauses: [.seconds(3600)])
        try desk.tell()
        while bad.requests.isEmpty { try await Task.sleep(for: .milliseconds(1)) }
        // Before or after the answer of the old one: it makes no difference.
        desk.notifier.apply(Desk.settings(good.url, .slack))
        #expect(try await desk.outcome().failure == nil)
        #expect(good.requests.count == 1)
        // While the old one has not answered at all.
        let slow = try HTTPServer(.hang)
        desk.notifier.apply(Desk.settings(slow.url))
        try desk.tell("slow")
        while slow.requests.isEmpty { try await Task.sleep(for: .milliseconds(1)) }
        desk.notifier.apply(Desk.settings(good.url))
        slow.close()
        #expect(try await desk.outcome().escalation.incident == "slow")
        #expect(good.requests.count == 2)
        desk.notifier.apply(Desk.settings(""))
        try desk.tell("b")
        desk.notifier.apply(Desk.settings(good.url))
        try desk.tell("c")
        #expect(try await desk.outcome().escalation.incident == "c")
        #expect(good.requests.count == 3)
    }

    @Test(
        "an address that is none is not tried again",
        arguments: [
            "http://", "http://host:99999/", "http:// host/", "ftp://127.0.0.1/x",
            "file:///etc/passwd",
        ])
    func badAddress(url: String) async throws {
        let desk = Desk(url)
        try desk.tell()
        #expect(try await desk.outcome().failure?.isEmpty == false)
    }

    @Test("proxies of the environment are not used")
    func proxies() async throws {
        let server = try HTTPServer(.status(200))
        defer { server.close() }
        setenv("http_proxy", "http://127.0.0.1:1", 1)
        defer { unsetenv("http_proxy") }
        let desk = Desk(server.url)
        try desk.tell()
        #expect(try await desk.outcome().failure == nil)
    }
}

/// A server with a certificate that nobody vouches for.
@Suite("TLS of the webhook", .timeLimit(.minutes(10)))
struct CertificateTests {
    private static let openssl = "/usr/bin/openssl"

    @Test(
        "an unknown certificate is refused",
        .enabled(if: access(openssl, X_OK) == 0, "there is no openssl command"))
    func unknown() async throws {
        let directory = NSTemporaryDirectory() + "skos-tls-\(UUID().uuidString)"
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        func start(_ arguments: String...) throws -> (Process, Pipe) {
            let process = Process()
            let output = Pipe()
            process.executableURL = URL(fileURLWithPath: Self.openssl)
            process.arguments = arguments
            process.currentDirectoryURL = URL(fileURLWithPath: directory)
            process.standardOutput = output
            process.standardError = FileHandle.nullDevice
            process.standardInput = Pipe()
            try process.run()
            return (process, output)
        }
        let (make, _) = try start(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out",
            "cert.pem", "-days", "2", "-subj", "/CN=localhost", "-addext",
            "subjectAltName=IP:127.0.0.1")
        make.waitUntilExit()
        let (server, output) = try start(
            "s_server", "-accept", "127.0.0.1:0", "-cert", "cert.pem", "-key", "key.pem", "-www")
        defer { kill(server.processIdentifier, SIGKILL) }
        // `ACCEPT 127.0.0.1:43210`
        var said = ""
        while !said.contains("ACCEPT") || !said.hasSuffix("\n") {
            let data = output.fileHandleForReading.availableData
            try #require(!data.isEmpty)
            said += String(decoding: data, as: UTF8.self)
        }
        let port = try #require(said.split { " :\n".contains($0) }.compactMap { UInt16($0) }.last)
        let desk = Desk("https://127.0.0.1:\(port)/")
        try desk.tell()
        let failure = try #require(try await desk.outcome().failure)
        #expect(failure.contains("certificate"), "\(failure)")
    }
}
