import Foundation
import Glibc
import Runtime
import Settings
import Testing

@testable import Operator

@Suite struct UpTests {
    @Test(
        "addresses that a server can be started at",
        arguments: [
            ("nats://localhost:4222", "127.0.0.1:4222"), ("localhost", "127.0.0.1:4222"),
            ("nats://127.0.0.1", "127.0.0.1:4222"), ("nats://127.1.2.3:5/", "127.1.2.3:5"),
            ("nats://[::1]:14222", "[::1]:14222"), ("nats://[::1]", "[::1]:4222"),
            ("nats://me:pass@localhost:4223", "127.0.0.1:4223"),
        ])
    func addresses(url: String, expected: String) throws {
        #expect(try NATSAddress(url).text == expected)
    }

    @Test("credentials of an address")
    func credentials() throws {
        let address = try NATSAddress("nats://me:pa:ss@localhost")
        #expect(address.user == "me")
        #expect(address.password == "pa:ss")
        #expect(try NATSAddress("nats://token@localhost").password == nil)
    }

    @Test(
        "addresses elsewhere are refused, without showing passwords",
        arguments: [
            "nats://10.0.0.1:4222", "nats://nova:4222", "tls://localhost:4222", "nats://128.0.0.1",
            "nats://127.0.0", "nats://[::2]:4222", "nats://me:secret@nova",
        ])
    func elsewhere(url: String) {
        let failure = #expect(throws: Failure.self) { try NATSAddress(url) }
        #expect(failure?.code == .usage)
        #expect(failure?.message.contains("--external-nats") == true)
        #expect(failure?.message.contains("secret") == false)
    }

    private func config(_ directory: String) -> Config {
        var config = Config()
        config.stateDirectory = directory
        return config
    }

    @Test("the state directory is made, for its owner only")
    func stateDirectory() throws {
        let directory = try TemporaryDirectory()
        let path = directory.path + "/a/b"
        let (used, isFallback) = try StateDirectory.prepare(config(path), environment: [:])
        #expect(used == path && !isFallback)
        var status = stat()
        #expect(stat(path, &status) == 0 && status.st_mode & 0o777 == 0o700)
        #expect(StateDirectory.obstacle(path) == nil)
    }

    @Test("a file in its place is an error that says what to do")
    func stateIsFile() throws {
        let directory = try TemporaryDirectory()
        let file = try directory.write("x", to: "file")
        #expect(StateDirectory.forecast(file) == "\(file) is not a directory")
        let failure = #expect(throws: Failure.self) {
            try StateDirectory.prepare(config(file), environment: [:])
        }
        #expect(failure?.message.contains("SKOS_STATE_DIR") == true)
    }

    @Test("looking ahead changes nothing")
    func forecast() throws {
        let directory = try TemporaryDirectory()
        let path = directory.path + "/a/b"
        #expect(StateDirectory.forecast(path) == nil)
        #expect(access(directory.path + "/a", F_OK) != 0)
    }

    @Test("only the default falls back to a directory at home")
    func fallback() {
        let usual = Config()
        func fallback(_ config: Config, _ environment: [String: String]) -> String? {
            StateDirectory.fallback(config, environment: environment)
        }
        #expect(fallback(usual, ["HOME": "/home/me"]) == "/home/me/.local/state/skos")
        #expect(fallback(usual, ["HOME": "/home/me", "XDG_STATE_HOME": "/s"]) == "/s/skos")
        #expect(fallback(usual, ["HOME": "/home/me", "SKOS_STATE_DIR": "/var/lib/skos"]) == nil)
        #expect(fallback(config("/elsewhere"), ["HOME": "/home/me"]) == nil)
        #expect(fallback(usual, [:]) == nil)
    }
}
