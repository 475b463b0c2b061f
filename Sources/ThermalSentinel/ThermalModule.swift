package import Antibody
package import Platform
package import Protocol
package import Settings
import Synchronization

/// The thermal sentinel: watches how hot processors and graphics chips are, and makes them slower.
package final class ThermalModule: AntibodyModule {
    package let name = "thermal"
    package let agentType = "thermal_sentinel"

    private struct State {
        var config: Config
        var cpu: Watch
        var gpu: Watch
        /// Readings that were dropped because they cannot be true, since the start.
        var droppedCount = 0
    }

    private let scanner: SensorScanner
    private let throttle: Throttle
    private let state: Mutex<State>

    /// The module of this node.
    package convenience init(hostRoot: HostRoot, config: Config) {
        let files = HostFiles(root: hostRoot)
        let nvidia = Nvidia()
        var extra: [any ExtraSensors] = [NvidiaSensors(source: nvidia, files: files)]
        // The library reads the machine's own /sys only.
        if hostRoot.isMachine { extra.append(FallbackSensors()) }
        self.init(files: files, root: hostRoot, config: config, extra: extra, nvidia: nvidia)
    }

    /// The same with parts that tests replace.
    /// - `files`: the node's files.
    /// - `root`: in front of paths when they are shown to people.
    /// - `extra`: sensors that are no files.
    /// - `nvidia`: NVIDIA's GPUs, to be throttled.
    /// - `readLimit`: how long a read may hang before it is left alone.
    package init(
        files: any FileAccess, root: HostRoot = HostRoot(), config: Config,
        extra: [any ExtraSensors] = [], nvidia: (any NvidiaSource)? = nil,
        readLimit: Duration = SensorScanner.readLimit
    ) {
        scanner = SensorScanner(files: files, extra: extra, readLimit: readLimit)
        throttle = Throttle(files: files, root: root, nvidia: nvidia)
        let watch = Watch(
            detector: Detector(settings: config.thermal, interval: config.monitorInterval))
        state = Mutex(State(config: config, cpu: watch, gpu: watch))
    }

    package func apply(_ config: Config) {
        state.withLock { state in
            state.config = config
            state.cpu.detector.apply(config.thermal, interval: config.monitorInterval)
            state.gpu.detector.apply(config.thermal, interval: config.monitorInterval)
        }
    }

    package func verbs() -> [any Verb] {
        // Without anything to throttle there is no such action here.
        guard throttle.hasKnobs else { return [] }
        // All of them: whoever edits a ladder need not start the agents of the fleet anew.
        return ActionTable.throttlePercents.compactMap {
            ThrottleVerb(
                percent: $0, throttle: throttle, isListed: ThrottleVerb.usualPercents.contains($0))
        }
    }

    /// What this node has to throttle with, and why it cannot be used, for `skos doctor`. Blocks.
    package func knobs() -> [KnobDescription] { throttle.describe() }

    package func sample(at now: Timestamp) async -> Sample {
        let observations = await scanner.scan(at: now)
        return state.withLock { state in
            var sample = Sample()
            let clear = state.config.thermal.clear.warning
            state.cpu.observe(.cpu, observations, clear: clear, at: now, into: &sample)
            state.gpu.observe(.gpu, observations, clear: clear, at: now, into: &sample)
            state.droppedCount += observations.count { $0.reading.state == "implausible" }
            sample.metadata = metadata(observations, dropped: state.droppedCount)
            return sample
        }
    }

    private func metadata(_ observations: [Observation], dropped: Int) -> JSON.Object {
        let listing = ThermalReport.listing(observations)
        var metadata: JSON.Object = ["sensors": .array(listing)]
        if listing.count < observations.count {
            metadata["sensors_omitted"] = .integer(Int64(observations.count - listing.count))
        }
        if dropped > 0 { metadata["values_dropped"] = .integer(Int64(dropped)) }
        if scanner.hungCount > 0 { metadata["reads_hung"] = .integer(Int64(scanner.hungCount)) }
        return metadata
    }
}

/// The watch over one class of sensors: its detector, and what its chips last said.
private struct Watch {
    var detector: Detector
    /// The last trusted temperature of each chip: one that was hot and does not answer now must not
    /// look as if it had cooled down.
    var last: [String: Double] = [:]
    /// Whether there ever was a temperature of the class: absent hardware is no symptom.
    var isPresent = false

    mutating func observe(
        _ sensorClass: SensorClass, _ observations: [Observation], clear: Double,
        at now: Timestamp, into sample: inout Sample
    ) {
        let name = sensorClass.rawValue
        let hottest = ThermalReport.hottest(sensorClass, in: observations)
        if let celsius = hottest?.trusted { sample.heartbeat[name + "_temp"] = JSON(celsius) }
        isPresent = isPresent || hottest != nil
        let lost = ThermalReport.lostChip(sensorClass, in: observations, last: &last, above: clear)
        guard isPresent else { return }
        let decisive = lost == nil ? hottest : nil
        let verdict = detector.observe(decisive?.trusted, at: now)
        sample.symptoms.append(ThermalReport.symptom(name, decisive, verdict, lost: lost))
    }
}
