package import Platform
package import Protocol
import Synchronization

/// NVIDIA's GPUs as sensors.
package final class NvidiaSensors: ExtraSensors {
    /// GPUs are looked for this often while there are none: NVML is asked once, but `nvidia-smi`
    /// may come with a driver later.
    static let searchEvery = 60

    private struct State {
        var sensors: [Sensor] = []
        /// Samples to go until GPUs are looked for again.
        var wait = 0
    }

    private let source: any NvidiaSource
    private let files: any FileAccess
    private let state = Mutex(State())

    /// - `source`: NVML or `nvidia-smi`.
    /// - `files`: the node's files, to see whether GPUs sleep.
    package init(source: any NvidiaSource, files: any FileAccess) {
        self.source = source
        self.files = files
    }

    package var known: [Sensor] { state.withLock { $0.sensors } }

    package func isDue(treeIsEmpty: Bool) -> Bool {
        state.withLock { state in
            guard state.wait > 0 else { return true }
            state.wait -= 1
            return false
        }
    }

    package func observations(at now: Timestamp, treeIsEmpty: Bool) -> [Observation] {
        if areAsleep() { return known.map { Observation(sensor: $0, reading: .asleep) } }
        let observations = source.temperatures().map { gpu in
            let sensor = Sensor(nvidia: gpu.uuid, name: gpu.name)
            let reading: Reading =
                switch gpu.celsius {
                case .success(let celsius): Plausibility.judge(celsius: celsius, class: .gpu)
                case .failure(let failure) where failure.code == NvidiaFailure.notSupported:
                    .absent(reason: "not supported")
                case .failure(let failure): .unknown(reason: failure.message)
                }
            return Observation(sensor: sensor, reading: reading)
        }
        state.withLock { state in
            state.sensors = observations.map(\.sensor)
            state.wait = observations.isEmpty ? Self.searchEvery : 0
        }
        return observations
    }

    /// Whether all of them are suspended: asking would wake them, and keep a laptop's battery busy.
    private func areAsleep() -> Bool {
        let driver = "/sys/bus/pci/drivers/nvidia"
        let devices = ((try? files.names(in: driver)) ?? []).filter { $0.contains(":") }
        return !devices.isEmpty
            && devices.allSatisfy {
                files.textIfReadable("\(driver)/\($0)/power/runtime_status") == "suspended"
            }
    }
}
