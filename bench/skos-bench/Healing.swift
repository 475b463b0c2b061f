import CBench
import Foundation

extension Bench {
    /// One in flight: alert published → command received, with a durable audit ack in between.
    func latency(count: Int) throws {
        var floors: [(p50: Double, p99: Double)] = []
        var ours: [(p50: Double, p99: Double)] = []
        for round in 0..<rounds {
            let server = try server()
            defer { server.stop() }
            let floor = try floor(pipelined: false)
            _ = try heal("floor", "w\(round)x", count: 200, window: 1, answers: false)
            let reference = try heal("floor", "r\(round)x", count: count, window: 1, answers: false)
            floor.stop()
            let coordinator = try coordinator()
            _ = try heal("skos", "w\(round)x", count: 200, window: 1, answers: false)
            let result = try heal("skos", "r\(round)x", count: count, window: 1, answers: false)
            coordinator.stop()
            floors.append((Double(reference.p50) / 1000, Double(reference.p99) / 1000))
            ours.append((Double(result.p50) / 1000, Double(result.p99) / 1000))
        }
        for (name, value) in [
            ("p50", { (pair: (p50: Double, p99: Double)) in pair.p50 }), ("p99", { $0.p99 }),
        ] {
            let floor = floors.map(value).median
            let skos = ours.map(value).median
            add(
                Row(
                    name: "alert → command, one in flight, \(name)",
                    floor: String(format: "%.0f µs", floor), skos: String(format: "%.0f µs", skos),
                    ratio: String(format: "%.2f", skos / floor), line: "≤ 1.40",
                    holds: skos / floor <= 1.4))
        }
    }

    /// 256 in flight: how many heals a second, and what each costs the coordinator alone, which says more
    /// than the rate where other processes use the machine too.
    func throughput(count: Int) throws {
        var floors: [(rate: Double, cost: Double)] = []
        var ours: [(rate: Double, cost: Double)] = []
        func run(_ space: String, _ round: Int, _ child: Child) throws -> (Double, Double) {
            let before = child.cpuSeconds
            let result = try heal(
                space, "p\(round)x", count: count, window: 256, answers: false)
            // The last records' log lines come a little later.
            usleep(300_000)
            let used = child.cpuSeconds - before
            child.stop()
            let rate = Double(count) / (Double(result.elapsed) / 1e9)
            return (rate, 1e6 * used / Double(count))
        }
        for round in 0..<rounds {
            let server = try server()
            defer { server.stop() }
            floors.append(try run("floor", round, try floor(pipelined: true)))
            ours.append(try run("skos", round, try coordinator()))
        }
        let (floor, skos) = (floors.map(\.rate).median, ours.map(\.rate).median)
        add(
            Row(
                name: "heals a second, 256 in flight", floor: String(format: "%.0f", floor),
                skos: String(format: "%.0f", skos), ratio: String(format: "%.2f", skos / floor),
                line: "≥ 0.50", holds: skos / floor >= 0.5))
        let (least, cost) = (floors.map(\.cost).median, ours.map(\.cost).median)
        add(
            Row(
                name: "CPU for each of these heals, without NATS'",
                floor: String(format: "%.0f µs", least), skos: String(format: "%.0f µs", cost),
                ratio: String(format: "%.1f", cost / least), line: "–"))
    }

    /// A burst of alerts from as many nodes, each command answered.
    func burst(count: Int) throws {
        var rates: [Double] = []
        var doubled: Int64 = 0
        for round in 0..<rounds {
            let server = try server()
            defer { server.stop() }
            let coordinator = try coordinator()
            let result = try heal("skos", "b\(round)x", count: count, window: count, answers: true)
            coordinator.stop()
            doubled += result.doubled
            rates.append(Double(count) / (Double(result.elapsed) / 1e9))
        }
        add(
            Row(
                name: "burst of \(count) alerts, actions a second (\(doubled) doubled)",
                floor: "–", skos: String(format: "%.0f", rates.median), ratio: "–",
                line: "≥ 5000, 0 doubled", holds: rates.median >= 5000 && doubled == 0))
    }

    /// Heartbeats at a rate, with alerts in between.
    func heartbeats(agents: Int, rate: Int, seconds: Double) throws {
        let server = try server()
        defer { server.stop() }
        let coordinator = try coordinator()
        defer { coordinator.stop() }
        let quiet = try heal("skos", "q", count: 500, window: 1, answers: false)
        let url = url
        let before = coordinator.cpuSeconds
        let beats = DispatchQueue(label: "beats")
        let group = DispatchGroup()
        nonisolated(unsafe) var sent: Int64 = 0
        beats.async(group: group) {
            sent = cbench_heartbeats(url, Int32(agents), Int32(rate), seconds)
        }
        usleep(500_000)
        let busy = try heal("skos", "l", count: 500, window: 1, answers: false)
        group.wait()
        let used = coordinator.cpuSeconds - before
        let dropped = try droppedHeartbeats()
        add(
            Row(
                name: "heartbeats a second from \(agents) agents (\(dropped) dropped)",
                floor: "\(rate)", skos: String(format: "%.0f", Double(sent) / seconds),
                ratio: String(format: "%.0f %% of a core", 100 * used / seconds),
                line: "100000, 0 dropped, one core",
                holds: dropped == 0 && Double(sent) >= Double(rate) * seconds * 0.95
                    && used <= seconds))
        add(
            Row(
                name: "alert → command during heartbeats, p50",
                floor: String(format: "%.0f µs", Double(quiet.p50) / 1000),
                skos: String(format: "%.0f µs", Double(busy.p50) / 1000),
                ratio: String(format: "%.2f", Double(busy.p50) / Double(quiet.p50)),
                line: "≤ 2.00", holds: busy.p50 <= 2 * quiet.p50))
    }

    private func droppedHeartbeats() throws -> Int {
        try status()["dropped_heartbeats"] as? Int ?? -1
    }

    /// What the coordinator says of itself.
    func status() throws -> [String: Any] {
        let child = try Child(
            skos, ["status", "-o", "json"], environment: ["NATS_URL": url, "SKOS_CONFIG": ""])
        var text = ""
        while case let line = child.waitForLine(), !line.isEmpty { text += line }
        child.stop()
        guard
            let object = try? JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any]
        else { throw Failure("`skos status -o json` printed: \(text.prefix(200))") }
        return object
    }
}
