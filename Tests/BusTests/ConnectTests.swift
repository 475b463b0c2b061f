import Foundation
import TestSupport
import Testing

@testable import Bus

@Suite(.timeLimit(.minutes(10)))
struct ConnectTests {
    private func failure(_ options: Connection.Options) async -> BusError? {
        await busError { try await Connection.connect(options).close() }
    }

    @Test func nobodyListens() async throws {
        let port = try NATSServer.freePort()
        let error = await failure(.init(urls: ["nats://127.0.0.1:\(port)"]))
        #expect(error?.code == .refused)
        #expect(error?.message.contains("127.0.0.1:\(port)") == true)
    }

    @Test func hostThatDoesNotExist() async {
        let error = await failure(.init(urls: ["nats://no-such-host.invalid"]))
        #expect(error?.code == .refused)
        #expect(error?.message.contains("no-such-host.invalid") == true)
    }

    @Test(arguments: [
        "http://x:1", "nats://", "nats://h:0", "nats://h:99999", "nats://h:x", "nats://a b", "",
        "nats://u:5%@h", "nats://u:%zz@h", "nats://u:%ff@h",
    ])
    func badURL(url: String) async {
        #expect(await failure(.init(urls: [url]))?.code == .invalidArgument)
    }

    @Test func urlsAreShownWithoutPasswords() async throws {
        #expect(ServerAddress.redacted("nats://u:secret@h:1") == "nats://h:1")
        let error = await failure(.init(urls: ["nats://u:secret@h:bad"]))
        #expect(error?.message.contains("secret") == false)
        #expect(try ServerAddress("nats://u:p@[::1]:77").host == "::1")
        #expect(try ServerAddress("[::1]").port == 4222)
        #expect(try ServerAddress("host:1").host == "host")
    }

    @Test(arguments: [
        "HTTP/1.1 400 Bad Request\r\n\r\n", "220 mail ESMTP\r\n", "SSH-2.0-OpenSSH_9\r\n",
        "INFO not json\r\n", "+OK\r\n", String(repeating: "INFO ", count: 10_000),
    ])
    func peerThatIsNotNATS(greeting: String) async throws {
        let peer = try FakePeer(greeting: greeting)
        var options = Connection.Options(urls: ["nats://127.0.0.1:\(peer.port)"])
        options.retryOnFailedConnect = true
        options.connectTimeout = .seconds(30)
        let error = await failure(options)
        #expect(error?.code == .notNATS)
        #expect(error?.message.contains("127.0.0.1:\(peer.port)") == true)
    }

    @Test func peerThatHangsUp() async throws {
        let peer = try FakePeer(greeting: "", closing: true)
        var options = Connection.Options(urls: ["nats://127.0.0.1:\(peer.port)"])
        options.connectTimeout = .seconds(30)
        let error = await failure(options)
        #expect(error?.code == .refused)
        #expect(error?.message.contains("without a greeting; is it NATS?") == true)
        // It may be a proxy before a server that is about to come.
        let attempts = Collector<BusError.Code>()
        options.retryOnFailedConnect = true
        options.reconnectWait = .milliseconds(5)
        options.onFailedAttempt = { attempts.add($0.code) }
        let task = Task { [options] in await failure(options) }
        #expect(await eventually { attempts.count >= 3 })
        task.cancel()
        #expect(await task.value?.code == .cancelled)
    }

    @Test func silentPeer() async throws {
        let peer = try FakePeer(greeting: "")
        var options = Connection.Options(urls: ["nats://127.0.0.1:\(peer.port)"])
        options.connectTimeout = .milliseconds(100)
        let error = await failure(options)
        #expect(error?.code == .timeout)
        #expect(error?.message.contains("frozen or not NATS") == true)
    }

    @Test(arguments: Setup.all)
    func credentials(setup: Setup) async throws {
        let server = try await NATSServer.start(
            binary: setup.binary, config: "authorization { user: u, password: p }")
        for (user, password) in [(nil, nil), ("u", "wrong"), ("x", "p")] as [(String?, String?)] {
            var options = setup.options(server)
            options.user = user
            options.password = password
            options.retryOnFailedConnect = true
            #expect(await failure(options)?.code == .authorization)
        }
        var options = setup.options(server)
        options.user = "u"
        options.password = "p"
        #expect(await failure(options) == nil)
        let inURL = "nats://u:p@127.0.0.1:\(server.port)"
        let connection = try await Connection.patient(inURL)
        #expect(connection.connectedURL == server.url)
        connection.close()
    }

    @Test(arguments: Setup.all)
    func credentialsThatAreEncodedInTheURL(setup: Setup) async throws {
        let server = try await NATSServer.start(
            binary: setup.binary,
            config: #"authorization { user: "s k", password: "a@b:c/%+" }"#)
        let url = "nats://s%20k:a%40b%3Ac%2f%25%2B@127.0.0.1:\(server.port)"
        let dead = "nats://s%20k:a%40b%3Ac%2f%25%2B@127.0.0.1:\(try NATSServer.freePort())"
        var options = Connection.Options(urls: [url, dead])
        options.connectTimeout = .seconds(30)
        let connection = try await Connection.connect(options)
        #expect(connection.connectedURL == server.url)
        connection.close()
    }

    @Test func credentialsFileThatIsNotThere() async throws {
        let server = try await NATSServer.start()
        var options = Connection.Options(urls: [server.url])
        options.credentialsFile = "/no/such.creds"
        options.retryOnFailedConnect = true
        let error = await failure(options)
        #expect(error?.code == .invalidArgument)
        #expect(
            error?.message == "credentials file /no/such.creds: No such file or directory")
    }

    @Test(arguments: [
        ("(conn.c:1905): Authorization Violation", "Authorization Violation"),
        ("Error ((util.c:1995): error opening file 'x')", "Error (error opening file 'x')"),
        ("a (b) of c.c:1", "a (b) of c.c:1"), ("(", "("), ("", ""),
    ])
    func placesInTheLibraryAreNotShown(text: String, shown: String) {
        #expect(BusError.withoutPlace(text) == shown)
    }

    @Test(arguments: Setup.all)
    func severalURLsOfWhichOneAnswers(setup: Setup) async throws {
        let server = try await NATSServer.start(binary: setup.binary)
        let dead = try NATSServer.freePort()
        let peer = try FakePeer(greeting: "HTTP/1.1 400 Bad Request\r\n\r\n")
        var options = Connection.Options(urls: [
            "nats://127.0.0.1:\(dead)", "nats://127.0.0.1:\(peer.port)", server.url,
        ])
        options.connectTimeout = .seconds(30)
        for _ in 0..<5 {
            let connection = try await Connection.connect(options)
            #expect(connection.isConnected)
            #expect(connection.connectedURL == server.url)
            connection.close()
        }
    }

    @Test(arguments: Setup.all)
    func serverThatStartsLater(setup: Setup) async throws {
        let server = try NATSServer.prepare(binary: setup.binary)
        var options = setup.options(server)
        options.retryOnFailedConnect = true
        options.reconnectWait = .milliseconds(10)
        options.reconnectJitter = .milliseconds(5)
        let attempts = Collector<BusError.Code>()
        options.onFailedAttempt = { attempts.add($0.code) }
        async let connecting = Connection.connect(options)
        #expect(await eventually { attempts.count >= 3 })
        try await server.launch()
        let connection = try await connecting
        #expect(connection.isConnected)
        #expect(attempts.all.allSatisfy { $0 == .refused })
        #expect(connection.serverVersion != nil)
        connection.close()
    }

    @Test func retryingEndsAtTheDeadline() async throws {
        var options = Connection.Options(urls: ["nats://127.0.0.1:\(try NATSServer.freePort())"])
        options.retryOnFailedConnect = true
        options.reconnectWait = .milliseconds(10)
        options.deadline = .milliseconds(60)
        let attempts = Collector<BusError.Code>()
        options.onFailedAttempt = { attempts.add($0.code) }
        #expect(await failure(options)?.code == .refused)
        #expect(attempts.count >= 1)
    }

    @Test func retryingEndsWithTheTask() async throws {
        var options = Connection.Options(urls: ["nats://127.0.0.1:\(try NATSServer.freePort())"])
        options.retryOnFailedConnect = true
        options.reconnectWait = .seconds(60)
        let attempts = Collector<BusError.Code>()
        options.onFailedAttempt = { attempts.add($0.code) }
        let task = Task { [options] in await failure(options) }
        #expect(await eventually { attempts.count >= 1 })
        task.cancel()
        #expect(await task.value?.code == .cancelled)
    }

    @Test func serverThatStallsInTheHandshake() async throws {
        let peer = try FakePeer(
            greeting: "INFO {\"server_id\":\"X\",\"version\":\"2.9.10\",\"proto\":1,"
                + "\"max_payload\":1048576,\"headers\":true}\r\n")
        var options = Connection.Options(urls: ["nats://127.0.0.1:\(peer.port)"])
        options.connectTimeout = .seconds(3)
        let error = await failure(options)
        #expect(error?.code == .timeout)
        #expect(error?.message.contains("stalls") == true)
        // Nothing of ours goes on with it: neither the probe nor cnats.
        #expect(await eventually { peer.hungUp == 2 })
    }
}
