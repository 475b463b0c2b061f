import CBench
import Foundation

extension Bench {
    /// A tunnel that is switched off until its alert comes from NATS, beside the kernel's own word about
    /// it.
    func mesh(count: Int) throws {
        guard geteuid() == 0 else { return print("mesh: skipped, needs root") }
        let programs = ["/usr/bin/wireguard-go", "/usr/sbin/ip"]
        guard let missing = programs.first(where: { access($0, X_OK) != 0 }) else {
            return try switchOff(count: count)
        }
        print("mesh: skipped, \(missing) is not installed")
    }

    private func switchOff(count: Int) throws {
        let name = "wgsb\(getpid() % 100_000)"
        let server = try server()
        defer { server.stop() }
        let coordinator = try coordinator()
        defer { coordinator.stop() }
        let tunnel = try Child("/usr/bin/wireguard-go", ["-f", name])
        defer {
            tunnel.stop()
            unlink("/var/run/wireguard/\(name).sock")
        }
        for _ in 0..<500 where if_nametoindex(name) == 0 { usleep(10_000) }
        let up = try Child("/usr/sbin/ip", ["link", "set", name, "up"])
        up.process.waitUntilExit()
        let config = directory.appendingPathComponent("mesh.yaml").path
        // Nobody is to heal it.
        try "mesh:\n  interfaces: [\(name)]\n  actions: {peer_unreachable: [ping_peer]}\n"
            .write(toFile: config, atomically: true, encoding: .utf8)
        let agent = try Child(
            skos, ["agent", "mesh"],
            environment: [
                "NATS_URL": url, "NODE_NAME": "bench", "SKOS_CONFIG": config,
                "SKOS_STATE_DIR": directory.appendingPathComponent("mesh").path,
            ], log: directory.appendingPathComponent("mesh.log").path)
        defer { agent.stop() }
        sleep(3)
        var floors = [Int64](repeating: 0, count: count)
        var times = floors
        guard cbench_links(url, name, Int32(count), &floors, &times) == 0 else {
            throw Failure("not every switching off of \(name) was an alert")
        }
        func milliseconds(_ times: [Int64]) -> [Double] { times.map { Double($0) / 1e6 } }
        let (floor, ours) = (milliseconds(floors), milliseconds(times))
        for (what, floor, ours) in [
            ("median", floor.median, ours.median), ("slowest", floor.max() ?? 0, ours.max() ?? 0),
        ] {
            add(
                Row(
                    name: "link down → alert on NATS, \(what) of \(count)",
                    floor: String(format: "%.2f ms", floor), skos: String(format: "%.2f ms", ours),
                    ratio: "–", line: "≤ 100 ms", holds: ours <= 100))
        }
    }
}
