import Audit
import Bus
import Foundation
import Glibc
import Protocol
import TestSupport
import Testing

@testable import Operator

/// Processes that die, ports and directories that are taken, and verbs with nobody to answer them.
@Suite(
    .serialized, .timeLimit(.minutes(10)),
    .enabled(if: !NATSServer.binaries.isEmpty, "needs a nats-server: apt install nats-server"))
struct SupervisionTests {
    private let server = NATSServer.binaries.first ?? ""

    @Test("killed without warning, it takes its nats-server along")
    func killed() async throws {
        let directory = try TemporaryDirectory()
        // One that does not end by itself when nobody reads its log any more: only the kernel ends it.
        let stubborn = directory.path + "/server"
        try Script.write(
            "#!/bin/sh\ntrap '' HUP PIPE TERM\nwhile :; do sleep 0.05; done\n", to: stubborn)
        let running = try Running(
            ["up"],
            environment: [
                "NATS_URL": "nats://127.0.0.1:\(try NATSServer.freePort())",
                "SKOS_STATE_DIR": directory.path, "SKOS_NATS_SERVER": stubborn,
                "SKOS_MONITORING_PORT": "0",
            ])
        var child: pid_t?
        _ = await eventually {
            child = Node.children(of: running.processID).first
            return child != nil
        }
        let server = try #require(child)
        running.signal(SIGKILL)
        #expect(await eventually { !Node.isRunning(server) })
        if Node.isRunning(server) { kill(server, SIGKILL) }
        _ = await running.end()
    }

    @Test("a nats-server that dies is started again, and the fleet goes on")
    func restart() async throws {
        let node = try await Node.start(server)
        let child = try #require(node.children.first)
        kill(child, SIGKILL)
        let isBack = await eventually {
            guard let next = node.children.first, next != child else { return false }
            return try await node.skos("status").code == 0
        }
        #expect(isBack)
        try node.heat(88)
        #expect(await eventually { node.knob == "1500000\n" })
        #expect(try await node.skos("audit", "verify").code == 0)
        let end = await node.stop()
        #expect(end.code == 0, "\(end.err)")
        #expect(node.knob == "3000000\n")
    }

    @Test("a stop in the middle of the start")
    func earlyStop() async throws {
        let directory = try TemporaryDirectory()
        let port = try NATSServer.freePort()
        let running = try Running(
            ["up"],
            environment: [
                "NATS_URL": "nats://127.0.0.1:\(port)", "SKOS_STATE_DIR": directory.path,
                "SKOS_NATS_SERVER": server, "SKOS_MONITORING_PORT": "0",
            ])
        var child: pid_t?
        #expect(
            await eventually {
                child = Node.children(of: running.processID).first
                return child != nil
            })
        running.signal(SIGTERM)
        let end = await running.end()
        #expect(end.code == 0, "\(end.err)")
        #expect(child.map { !Node.isRunning($0) } == true)
    }

    @Test("what is taken already is said in one line")
    func taken() async throws {
        let node = try await Node.start(server)
        // The same directory.
        let second = try await Binary.run(["up"], environment: node.environment)
        #expect(second.code == 1)
        #expect(second.err.contains("is locked by process"), "\(second.err)")
        // The same port.
        var other = node.environment
        let directory = try TemporaryDirectory()
        other["SKOS_STATE_DIR"] = directory.path
        let third = try await Binary.run(["up"], environment: other)
        #expect(third.code == 1)
        #expect(third.err.contains("another NATS listens on 127.0.0.1:\(node.port)"))
        #expect(third.err.contains("--external-nats"))
        _ = await node.stop()
    }

    @Test("a port with something else on it")
    func notNATS() async throws {
        let listener = Glibc.socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
        defer { close(listener) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let port = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                _ = bind(listener, generic, size)
                _ = listen(listener, 8)
                _ = getsockname(listener, generic, &size)
            }
            return UInt16(bigEndian: pointer.pointee.sin_port)
        }
        let directory = try TemporaryDirectory()
        let outcome = try await Binary.run(
            ["up"],
            environment: [
                "NATS_URL": "nats://127.0.0.1:\(port)", "SKOS_STATE_DIR": directory.path,
                "SKOS_NATS_SERVER": server,
            ])
        #expect(outcome.code == 1)
        #expect(outcome.err.contains("taken by something that is not NATS"), "\(outcome.err)")
    }

    @Test("a nats-server that cannot start says why")
    func badServer() async throws {
        let directory = try TemporaryDirectory()
        var environment = [
            "NATS_URL": "nats://127.0.0.1:\(try NATSServer.freePort())",
            "SKOS_STATE_DIR": directory.path, "SKOS_NATS_SERVER": "/bin/false",
            "SKOS_MONITORING_PORT": "0",
        ]
        let outcome = try await Binary.run(["up"], environment: environment)
        #expect(outcome.code == 1)
        #expect(outcome.err.contains("/bin/false does not start: it exited with code 1"))
        environment["SKOS_NATS_SERVER"] = "/nonexistent"
        let missing = try await Binary.run(["up"], environment: environment)
        #expect(missing.code == 2)
        #expect(missing.err.contains("is not a program that can be run"))
        environment["SKOS_NATS_SERVER"] = server
        environment["SKOS_MONITORING_PORT"] = "http"
        #expect(try await Binary.run(["up"], environment: environment).code == 2)
    }

    @Test("NATS without a coordinator", arguments: NATSServer.binaries)
    func noCoordinator(server: String) async throws {
        let nats = try await NATSServer.start(binary: server)
        let environment = ["NATS_URL": nats.url]
        let status = try await Binary.run(["status"], environment: environment)
        #expect(status.code == 3)
        #expect(
            status.err
                == "skos: no coordinator answers on skos.api.status at \(nats.url); start one "
                + "with `skos coordinator` or `skos up`\n")
        let alert = try await Binary.run(
            ["inject", "nova", "--type", "thermal", "--severity", "warning"],
            environment: environment)
        #expect(alert.code == 3)
        #expect(alert.err.contains("no coordinator has run there yet"))
        let audit = try await Binary.run(["audit", "verify"], environment: environment)
        #expect(audit.code == 1)
        #expect(audit.err.contains("no such stream"))
        let doctor = try await Binary.run(["doctor"], environment: environment)
        #expect(doctor.code == 1)
        #expect(doctor.out.contains("SKOS_AUDIT is not there yet"))
    }

    @Test("NATS without JetStream")
    func noJetStream() async throws {
        let nats = try await NATSServer.start(binary: server, jetStream: false)
        let doctor = try await Binary.run(["doctor"], environment: ["NATS_URL": nats.url])
        #expect(doctor.code == 1)
        #expect(doctor.out.contains("JetStream is not enabled"), "\(doctor.out)")
        let audit = try await Binary.run(["audit", "tail"], environment: ["NATS_URL": nats.url])
        #expect(audit.code == 3)
    }

    @Test("coordinator and agent as processes of their own", arguments: NATSServer.binaries)
    func apart(server: String) async throws {
        let nats = try await NATSServer.start(binary: server)
        let directory = try TemporaryDirectory()
        let environment = [
            "NATS_URL": nats.url, "NODE_NAME": "lyra", "SKOS_STATE_DIR": directory.path,
            "HEARTBEAT_INTERVAL": "0.2",
        ]
        let coordinator = try Running(["coordinator"], environment: environment)
        let agent = try Running(["agent", "thermal"], environment: environment)
        let isHeard = await eventually {
            let outcome = try await Binary.run(["nodes"], environment: environment)
            return outcome.out.contains("thermal-sentinel-lyra")
        }
        #expect(isHeard)
        for service in [agent, coordinator] {
            service.signal(SIGTERM)
            let end = await service.end()
            #expect(end.code == 0, "\(end.err)")
        }
        let unknown = try await Binary.run(["agent", "termal"], environment: environment)
        #expect(unknown.code == 2)
        #expect(unknown.err.contains("did you mean \"thermal\"?"))
    }

    @Test(
        "services refuse a configuration with mistakes",
        arguments: [
            ["up"], ["coordinator"], ["agent", "thermal"],
        ])
    func badConfig(words: [String]) async throws {
        let directory = try TemporaryDirectory()
        let file = try directory.write("thermal:\n  thresholds: {critical: 60}\n", to: "c.yaml")
        let outcome = try await Binary.run(words + ["--config", file])
        #expect(outcome.code == 2)
        #expect(outcome.err.contains("\(file):2:"))
    }

    @Test("an audit that somebody has cut records out of, in the stream itself")
    func cutStream() async throws {
        let nats = try await NATSServer.start(binary: server)
        let connection = try await Connection.patient(nats.url)
        defer { connection.close() }
        let jetStream = connection.jetStream
        _ = try await jetStream.ensureStream(
            StreamConfig(name: "SKOS_AUDIT", subjects: ["SKOS_AUDIT.*"]))
        for line in AuditVerifyTests.lines {
            let record = try AuditExport.record(Array(line.utf8))
            _ = try await jetStream.publish(
                record.subject, record.payload,
                headers: [("Skos-Prev", record.previous), ("Skos-Hash", record.hash)])
        }
        _ = try await jetStream.publish("SKOS_AUDIT.alert", Array("{}".utf8))
        let deletes: [UInt64] = [3, 8]
        for sequence in deletes {
            _ = try await connection.request(
                "$JS.API.STREAM.MSG.DELETE.SKOS_AUDIT", Array("{\"seq\":\(sequence)}".utf8),
                timeout: .seconds(60))
        }
        let outcome = try await Binary.run(
            ["audit", "verify"], environment: ["NATS_URL": nats.url])
        #expect(outcome.code == 1)
        for part in [
            "deny_delete is not set", "deny_purge is not set",
            "record 4: gap: record 3 is missing", "gap: record 8, the last one, is missing",
            "7 records: 4 faults".replacingOccurrences(of: "7", with: "6"),
        ] {
            #expect(outcome.out.contains(part), "\(outcome.out)")
        }
    }
}
