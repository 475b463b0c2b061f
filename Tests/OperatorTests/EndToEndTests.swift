import Bus
import Foundation
import Glibc
import Protocol
import TestSupport
import Testing

@testable import Operator

/// The built program against real servers.
@Suite(
    .serialized, .timeLimit(.minutes(10)),
    .enabled(if: !NATSServer.binaries.isEmpty, "needs a nats-server: apt install nats-server"))
struct EndToEndTests {
    @Test("up: everything of one node starts, answers, and stops", arguments: NATSServer.binaries)
    func up(server: String) async throws {
        let node = try await Node.start(server)
        let expected = ["loop-breaker", "mesh-healer", "storage-watcher", "thermal-sentinel"]
        #expect(
            await eventually {
                try await node.ask("nodes").list("nodes").first?.list("agents").count
                    == expected.count
            })
        let nodes = try await node.ask("nodes").list("nodes")
        #expect(nodes.map { $0.text("node") } == ["nova"])
        let agents = try #require(nodes.first?.list("agents"))
        #expect(agents.map { $0.text("agent_id") }.sorted() == expected.map { $0 + "-nova" })
        #expect(agents.allSatisfy { $0.text("status") == "online" })
        let status = try await node.skos("status")
        #expect(status.code == 0)
        for line in ["coordinator  coordinator-nova", "agents       4 online", "incidents    none"]
        {
            #expect(status.out.contains(line), "\(status.out)")
        }
        let doctor = try await node.skos("doctor")
        #expect(doctor.code == 0, "\(doctor.out)")
        #expect(doctor.out.contains("cpu_temp is 60 °C"))
        #expect(doctor.out.contains("SKOS_AUDIT: "))
        #expect(doctor.out.contains("nobody is told when a human is needed"))
        #expect(doctor.out.contains("nothing on the ladder of thermal/emergency can be done here"))
        let slip = try await node.skos(
            "inject", "novaa", "--type", "storage", "--severity", "ok", "--dry-run")
        #expect(slip.code == 0)
        #expect(slip.err.contains(#"no agent of node "novaa" has been heard"#), "\(slip.err)")
        let settings = try await Binary.run(
            ["policy", "validate", "-"], input: "thermal:\n  thresholds: {critical: 60}\n")
        #expect(settings.code == 2)
        #expect(settings.err.hasPrefix("standard input:2:16: thermal.thresholds.critical"))
        let other = try await node.skos("nodes", "--here", "--agent", "foo")
        #expect(other.code == 1)
        #expect(other.out.hasPrefix(#"no agent of type "foo" of node "nova" has been heard;"#))
        #expect(try await node.skos("metrics").out.contains("# TYPE skos_"))
        // That NATS warns of plain passwords is no way to begin.
        #expect(!node.up.err.contains("Plaintext"), "\(node.up.err)")
        let children = node.children
        #expect(children.count == 1)
        let end = await node.stop()
        #expect(end.code == 0, "\(end.err)")
        #expect(children.allSatisfy { !Node.isRunning($0) })
        #expect(end.out.isEmpty)
        #expect(try await node.skos("status").code == 3)
    }

    @Test("a hot processor: throttled, explained, verified, undone", arguments: NATSServer.binaries)
    func heat(server: String) async throws {
        let node = try await Node.start(server)
        try node.heat(88)
        #expect(await eventually { node.knob == "1500000\n" })
        #expect(
            await eventually {
                try await node.ask("incidents").list("incidents").first?.text("phase")
                    == "verifying"
            })
        let incident = try #require(try await node.ask("incidents").list("incidents").first)
        let explained = try await node.skos("explain", incident.text("incident"))
        #expect(explained.code == 0)
        for part in [
            "thermal/cpu critical: CPU temperature 88",
            "sends throttle_50, step 1 of thermal/critical",
            "guards passed: ", "throttle_50 succeeded", "in force on the node",
        ] {
            #expect(explained.out.contains(part), "\(explained.out)")
        }
        let byNode = try await node.ask("explain", "nova")
        #expect(byNode.list("records").contains { $0.text("kind") == "result" })
        let action = try #require(incident.list("attempts").first?.text("action_id"))
        let undo = try await node.skos("undo", action, "--comment", "a test")
        #expect(undo.code == 0, "\(undo.err)")
        #expect(await eventually { node.knob == "3000000\n" })
        let tail = try await node.skos("audit", "tail", "--kind", "operator")
        #expect(tail.out.contains("(a test) asked for undo"), "\(tail.out)")
        #expect(try await node.skos("undo", "nothing").code == 1)
        let verified = try await node.skos("audit", "verify")
        #expect(verified.code == 0, "\(verified.out)")
        #expect(verified.out.contains("denies deletion and purging"))
        _ = await node.stop()
    }

    @Test("a drill changes nothing, and says what would have been done")
    func drill() async throws {
        let node = try await Node.start(NATSServer.binaries[0])
        let outcome = try await node.skos(
            "inject", "nova", "--type", "thermal", "--severity", "critical", "--resource", "cpu",
            "--value", "88", "--dry-run", "--wait")
        #expect(outcome.code == 0, "\(outcome.out)\(outcome.err)")
        #expect(outcome.out.hasSuffix("throttle_50 would be done; it was a dry run.\n"))
        #expect(outcome.out.contains("[drill]; it opened the incident"))
        #expect(node.knob == "3000000\n")
        let listed = try await node.skos("incidents")
        #expect(listed.out.contains("throttle_50 would be done (dry run)"), "\(listed.out)")
        #expect(listed.out.contains(" (drill) "), "\(listed.out)")
        let status = try await node.skos("status")
        #expect(status.out.contains("incidents    none; of drills: 1 "), "\(status.out)")
        let nowhere = try await node.skos(
            "inject", "hera", "--type", "novelty", "--severity", "warning", "--wait")
        #expect(nowhere.err.contains(#"no agent of node "hera" has been heard; heard is nova"#))
        let incident = try await node.ask("incidents").list("incidents").first
        #expect(incident?.flag("drill") == true)
        #expect(incident?.list("attempts").first?.flag("dry_run") == true)
        // Only the ok of a drill ends a drill, and the other one says so.
        let ok = ["inject", "nova", "--type", "thermal", "--severity", "ok", "--resource", "cpu"]
        let real = try await Binary.run(ok, environment: node.environment)
        #expect(real.out.contains("is a drill: only an ok with --dry-run ends it"), "\(real.out)")
        let end = try await Binary.run(ok + ["--dry-run"], environment: node.environment)
        #expect(!end.out.contains("stays open"), "\(end.out)")
        #expect(
            await eventually { try await node.ask("incidents").list("incidents").isEmpty })
        let unknown = try await node.skos(
            "inject", "nova", "--type", "novelty", "--severity", "warning", "--wait", "-o", "json")
        #expect(unknown.code == 1)
        let answer = try #require(try JSON.parse(Array(unknown.out.utf8)).object)
        #expect(answer.text("conclusion").contains("no policy for novelty/warning"))
        #expect(answer.list("records").count == 1)
        _ = await node.stop()
    }

    @Test("inject, acted upon")
    func inject() async throws {
        let node = try await Node.start(NATSServer.binaries[0])
        let words = [
            "inject", "nova", "--type", "thermal", "--severity", "critical", "--value", "88",
        ]
        let plain = try await Binary.run(words + ["-o", "json"], environment: node.environment)
        let answer = try #require(try JSON.parse(Array(plain.out.utf8)).object)
        #expect(answer.text("stream") == "SKOS_ALERTS")
        #expect(answer.integer("sequence") == 1)
        #expect(await eventually { node.knob == "1500000\n" })
        let again = try await Binary.run(words + ["--wait"], environment: node.environment)
        #expect(again.code == 0, "\(again.out)\(again.err)")
        #expect(again.out.contains("The incident is known"), "\(again.out)")
        let alerts = try await node.skos("alerts", "-n", "1")
        #expect(alerts.out.split(separator: "\n").count == 2)
        _ = await node.stop()
    }

    @Test("a chain that is held back stands among the breakers")
    func brokenChain() async throws {
        let node = try await Node.start(NATSServer.binaries[0])
        let none = try await node.ask("breaker", "list")
        #expect(none.list("chains").isEmpty)
        let connection = try await Connection.patient("nats://127.0.0.1:\(node.port)")
        defer { connection.close() }
        let isDenied = await eventually {
            let answer = try await connection.request(
                "skos.chain.check", Array(#"{"chain_id":"report-7","depth":11}"#.utf8),
                timeout: .seconds(60))
            return answer.payload.starts(with: Array(#"{"allow":false"#.utf8))
        }
        #expect(isDenied)
        #expect(
            await eventually {
                try await node.ask("breaker", "list").list("chains").map { $0.text("chain_id") }
                    == ["report-7"]
            })
        let listed = try await node.skos("breaker", "list")
        #expect(listed.code == 0)
        #expect(listed.out.contains("depth 11 is over 10"), "\(listed.out)")
        #expect(node.up.err.contains(": chain open node=nova chain=report-7 "), "\(node.up.err)")
        _ = await node.stop()
    }

    @Test("the audit: tail, follow, export, verify")
    func audit() async throws {
        let node = try await Node.start(NATSServer.binaries[0])
        let following = try Running(
            ["audit", "tail", "-f", "-n", "0"], environment: node.environment)
        let filtered = try Running(
            ["audit", "tail", "-f", "-n", "1", "--kind", "result", "-o", "json"],
            environment: node.environment)
        // Whoever follows has to be there first; its first line shows it.
        let seen = await eventually {
            _ = try await node.skos("breaker", "reset", "--all", "-m", "hello")
            return following.out.contains("hello")
        }
        #expect(seen)
        _ = try await node.skos(
            "inject", "nova", "--type", "thermal", "--severity", "critical", "--dry-run", "--wait")
        #expect(await eventually { filtered.out.contains("\n") })
        let line = try #require(filtered.out.split(separator: "\n").first)
        #expect(try JSON.parse(Array(line.utf8)).object?.text("kind") == "result")
        for running in [following, filtered] {
            running.signal(SIGINT)
            _ = await running.end()
        }
        let two = try await node.skos("audit", "tail", "-n", "2")
        #expect(two.out.split(separator: "\n").count == 2)
        let none = try await node.skos("audit", "tail", "--node", "nobody")
        #expect(none.out.isEmpty && none.code == 0)

        let file = node.directory.path + "/audit.jsonl"
        let export = try await node.skos("audit", "export", file)
        #expect(export.code == 0)
        #expect(try await node.skos("audit", "export", file).code == 1)
        #expect(try await node.skos("audit", "export", file, "--force").code == 0)
        let piped = try await node.skos("audit", "export")
        #expect(piped.out == node.directory.read("audit.jsonl"))
        let count = piped.out.split(separator: "\n").count
        // Neither needs a server.
        let offline = try await Binary.run(["audit", "verify", file])
        #expect(offline.out.hasPrefix("\(count) records: all as they were written"))
        let input = try await Binary.run(["audit", "verify", "-"], input: piped.out)
        #expect(input.out == offline.out && input.code == 0)
        let tampered = piped.out.replacingOccurrences(of: "hello", with: "hallo")
        let caught = try await Binary.run(["audit", "verify", "-"], input: tampered)
        #expect(caught.code == 1)
        #expect(caught.out.contains("edited"))
        _ = await node.stop()
    }

    @Test("a reader that goes away ends following")
    func brokenPipe() async throws {
        let node = try await Node.start(NATSServer.binaries[0])
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/bash")
        process.arguments = [
            "-c", "set -o pipefail; '\(Binary.path)' audit tail -f | head -n 1 > /dev/null",
        ]
        process.environment = node.environment
        try process.run()
        #expect(await eventually { !process.isRunning })
        #expect(process.terminationStatus == 0)
        _ = await node.stop()
    }

    @Test("a refused edit shows in status, and does not stop operators")
    func refusedEdit() async throws {
        let node = try await Node.start(NATSServer.binaries[0])
        let good = node.directory.read("config.yaml")
        _ = try node.directory.write(
            good + "thermal:\n  thresholds:\n    critical: 60\n", to: "config.yaml")
        let isShown = await eventually {
            try await node.skos("status").out.contains("critical: 60 is not above warning")
        }
        #expect(isShown)
        let status = try await node.skos("status")
        #expect(status.code == 0)
        #expect(status.err.contains("thermal.thresholds.critical"))
        _ = try node.directory.write(
            good + "thermal:\n  thresholds:\n    critical: 80\n", to: "config.yaml")
        #expect(await eventually { try await !node.skos("status").out.contains("refused") })
        _ = await node.stop()
    }
}
