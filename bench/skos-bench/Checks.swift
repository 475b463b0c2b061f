import CBench
import Foundation

extension Bench {
    /// `skos.chain.check` against an echo responder in C: the rate with many questions in flight, the
    /// round trip with one.
    func checks(count: Int) throws {
        var rates: [(floor: Double, collected: Double, skos: Double)] = []
        var times: [(floor: Double, skos: Double)] = []
        for round in 0..<rounds {
            let server = try server()
            defer { server.stop() }
            let echo = try Child(CommandLine.arguments[0], ["echo", url])
            let one = try ask("floor.check", count: count / 10, window: 1)
            let many = try ask("floor.check", count: count, window: 256)
            echo.stop()
            let collecting = try Child(CommandLine.arguments[0], ["echo-collected", url])
            let most = try ask("floor.check", count: count, window: 256)
            collecting.stop()
            let agent = try loopAgent(round)
            let ours = try ask("skos.chain.check", count: count / 10, window: 1)
            let busy = try ask("skos.chain.check", count: count, window: 256)
            agent.stop()
            times.append((Double(one.p99) / 1000, Double(ours.p99) / 1000))
            rates.append((rate(many), rate(most), rate(busy)))
        }
        let skos = rates.map(\.skos).median
        for (name, floor) in [
            ("an echo that sends at once", rates.map(\.floor).median),
            ("an echo that collects for 1 ms", rates.map(\.collected).median),
        ] {
            add(
                Row(
                    name: "chain checks a second, 256 in flight, against \(name)",
                    floor: String(format: "%.0f", floor), skos: String(format: "%.0f", skos),
                    ratio: String(format: "%.2f", skos / floor), line: "≥ 0.50",
                    holds: skos / floor >= 0.5))
        }
        let (floor, ours) = (times.map(\.floor).median, times.map(\.skos).median)
        add(
            Row(
                name: "chain check, one in flight, p99", floor: String(format: "%.0f µs", floor),
                skos: String(format: "%.0f µs", ours), ratio: String(format: "%.2f", ours / floor),
                line: "≤ 2.00", holds: ours / floor <= 2))
    }

    private func loopAgent(_ round: Int) throws -> Child {
        try Child(
            skos, ["agent", "loop"],
            environment: [
                "NATS_URL": url, "NODE_NAME": "bench", "SKOS_CONFIG": "",
                "SKOS_STATE_DIR": directory.appendingPathComponent("loop\(round)").path,
            ], log: directory.appendingPathComponent("loop.log").path)
    }

    private func rate(_ result: cbench_result) -> Double {
        Double(result.done) / (Double(result.elapsed) / 1e9)
    }

    /// Asks, once somebody answers.
    private func ask(_ subject: String, count: Int, window: Int) throws -> cbench_result {
        var result = cbench_result()
        for _ in 0..<100 where result.done < 1 {
            // One question finds out whether somebody is there; it may take a while to start.
            usleep(50_000)
            if cbench_answers(url, subject) { result.done = 1 }
        }
        guard cbench_checks(url, subject, Int32(count), Int32(window), &result) == 0 else {
            throw Failure("\(result.done) of \(count) questions to \(subject) were answered")
        }
        return result
    }
}
