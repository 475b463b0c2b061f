import Antibody
import Operator
import Platform
import Protocol
import Runtime
import Settings
import ThermalSentinel

/// What the agents of this program see of the node, for `skos doctor`.
enum Inspection {
    @Sendable
    static func findings(_ config: Config) async -> [Finding] {
        // A container is given what its own agent needs, and what others lack there is no fault.
        let kinds = ServiceContainer.agents() ?? Agents.kinds.map(\.name)
        var findings: [Finding] = []
        if kinds.contains("thermal") {
            let module = ThermalModule(hostRoot: HostRoot(config.hostRoot), config: config)
            findings += await sensors(module) + knobs(module)
        }
        if kinds.contains("storage") { findings += await storage(config) }
        if kinds.contains("mesh") { findings += await mesh(config) }
        if kinds.contains("loop") { findings += chains(config) }
        guard kinds.count < Agents.kinds.count else { return findings }
        let own = kinds.isEmpty ? "no agent" : "only " + kinds.joined(separator: ", ")
        return findings + [
            Finding(
                "container", .ok,
                "it runs \(own); `skos doctor` in those of the others tells the rest")
        ]
    }

    private static func sensors(_ module: ThermalModule) async -> [Finding] {
        let sample = await module.sample(at: SteadyClock.wallTime())
        let sensors = (sample.metadata["sensors"]?.array ?? []).compactMap(\.object)
        guard !sensors.isEmpty else {
            return [
                Finding(
                    "sensors", .warn, "no temperature sensor was found: none will be watched",
                    remedy:
                        "on hardware, load its driver (`sensors-detect`); in a container, mount "
                        + "the host's /sys and set SKOS_HOST_ROOT; virtual machines have none")
            ]
        }
        var findings: [Finding] = []
        for resource in ["cpu", "gpu"] {
            guard let celsius = sample.heartbeat["\(resource)_temp"]?.double else { continue }
            findings.append(
                Finding("sensors", .ok, "\(resource)_temp is \(Text.number(celsius)) °C"))
        }
        return findings + sensors.map(sensor)
    }

    private static func sensor(_ sensor: JSON.Object) -> Finding {
        let name = sensor["id"]?.string ?? ""
        let label = sensor["label"]?.string.map { " \"\($0)\"" } ?? ""
        let place = "\(name)\(label), \(sensor["class"]?.string ?? "unknown")"
        let state = sensor["state"]?.string ?? ""
        if state == "ok", let celsius = sensor["celsius"]?.double {
            return Finding("sensor", .ok, "\(place): \(Text.number(celsius)) °C")
        }
        let reason = sensor["reason"]?.string.map { ": \($0)" } ?? ""
        let isFine = ["asleep", "absent", "disabled"].contains(state)
        return Finding("sensor", isFine ? .ok : .warn, "\(place) is not used: \(state)\(reason)")
    }

    private static func knobs(_ module: ThermalModule) -> [Finding] {
        let knobs = module.knobs()
        guard !knobs.isEmpty else {
            return [
                Finding(
                    "knobs", .warn, "there is nothing to throttle with: no such action is offered",
                    remedy:
                        "cpufreq, intel_pstate, RAPL, a cgroup's cpu.max, NVIDIA and amdgpu are "
                        + "used where the node has them")
            ]
        }
        return knobs.map { knob in
            let value = knob.value.map { $0.split(separator: "\n").joined() } ?? "unreadable"
            let text = "\(knob.kind.rawValue) \(knob.path): \(value)"
            guard let obstacle = knob.obstacle else { return Finding("knob", .ok, text) }
            return Finding("knob", .warn, "\(text); \(obstacle)")
        }
    }
}
