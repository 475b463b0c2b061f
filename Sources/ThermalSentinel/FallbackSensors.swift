package import Platform
package import Protocol
import Synchronization

/// What libsensors finds where neither a chip nor a zone gave any temperature.
package final class FallbackSensors: ExtraSensors {
    /// After an empty answer, ask again only after this many samples.
    static let searchEvery = 60

    private struct State {
        var sensors: [Sensor] = []
        var wait = 0
    }

    private let read: @Sendable () -> [LibSensors.Temperature]
    private let state = Mutex(State())

    /// - `read`: the library; something else in tests.
    package init(
        read: @escaping @Sendable () -> [LibSensors.Temperature] = { LibSensors.temperatures() }
    ) { self.read = read }

    package var known: [Sensor] { state.withLock { $0.sensors } }

    package func isDue(treeIsEmpty: Bool) -> Bool {
        state.withLock { state in
            guard treeIsEmpty else {
                state.sensors = []
                state.wait = 0
                return false
            }
            guard state.wait > 0 else { return true }
            state.wait -= 1
            return false
        }
    }

    package func observations(at now: Timestamp, treeIsEmpty: Bool) -> [Observation] {
        let observations = read().map { temperature in
            let sensor = Sensor(libsensors: temperature)
            let reading: Reading =
                switch temperature.celsius {
                case _ where temperature.isFaulty: .unknown(reason: "fault flag set")
                case .success(let celsius):
                    Plausibility.judge(celsius: celsius, class: sensor.sensorClass)
                case .failure(let failure): .unknown(reason: "libsensors error \(failure.code)")
                }
            return Observation(sensor: sensor, reading: reading)
        }
        state.withLock { state in
            state.sensors = observations.map(\.sensor)
            state.wait = observations.isEmpty ? Self.searchEvery : 0
        }
        return observations
    }
}
