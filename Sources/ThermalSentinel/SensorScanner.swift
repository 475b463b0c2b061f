package import Platform
package import Protocol
import Synchronization

/// One sensor and what it said.
package struct Observation: Sendable, Equatable {
    package var sensor: Sensor
    package var reading: Reading
    /// Its value has not changed for hours although it should: believed no longer.
    package var isFrozen = false

    package init(sensor: Sensor, reading: Reading) {
        self.sensor = sensor
        self.reading = reading
    }

    /// The temperature, when it is to be believed.
    package var trusted: Double? { isFrozen ? nil : reading.celsius }
}

/// Looks at all sensors of the node, again and again. Knows them from one search to the next, keeps
/// away from those that hang, and is never kept waiting for longer than its limits.
package final class SensorScanner: Sendable {
    /// How long reading the tree may take before the sensor it is stuck at is left alone.
    package static let readLimit: Duration = .seconds(2)
    /// How long searching the tree may take.
    package static let searchLimit: Duration = .seconds(5)
    /// The tree is searched again after this many samples: 5 minutes at the default interval.
    package static let searchEvery = 60

    private struct State {
        var sensors: [Sensor] = []
        /// Samples since the last search; `nil`: search before the next sample.
        var sinceSearch: Int?
        /// Keys of sensors whose failure has already asked for a search.
        var searchedFor: Set<String> = []
        /// The last reading of sensors that are not to be read every time.
        var rare: [String: (time: Timestamp, reading: Reading)] = [:]
        var freezer = FrozenDetector()
    }

    /// A sensor as what tells it apart from others, whatever its limits are said to be now.
    private struct Place: Hashable {
        var sensor: Sensor

        static func == (left: Place, right: Place) -> Bool { left.sensor.key == right.sensor.key }

        func hash(into hasher: inout Hasher) { hasher.combine(sensor.key) }
    }

    /// What one read gave, and its failure where that was the reason.
    private struct Look {
        var reading: Reading
        var failure: FileFailure?
    }

    private let files: any FileAccess
    private let reader: PatientReader<Place, Look>
    private let searchWorker = TimedWorker(maxHung: 1)
    private let extra: [any ExtraSensors]
    private let extraWorkers: [TimedWorker]
    private let readLimit: Duration
    private let state = Mutex(State())

    /// - `files`: the node's files.
    /// - `extra`: what is not in the tree, such as NVML.
    /// - `readLimit`: see `SensorScanner.readLimit`; shorter in tests.
    package init(
        files: any FileAccess, extra: [any ExtraSensors] = [],
        readLimit: Duration = SensorScanner.readLimit
    ) {
        self.files = files
        self.extra = extra
        self.readLimit = readLimit
        let sensors = SensorReader(files: files)
        reader = PatientReader(limit: readLimit) { place in
            var look = Look(reading: .unknown(reason: ""))
            look.reading = sensors.read(place.sensor, failure: &look.failure)
            return look
        }
        extraWorkers = extra.map { _ in TimedWorker(maxHung: 1) }
    }

    /// How many reads have not come back.
    package var hungCount: Int {
        extraWorkers.reduce(reader.hungCount + searchWorker.hungCount) { $0 + $1.hungCount }
    }

    /// One look at everything. Returns within the limits whatever hangs.
    package func scan(at now: Timestamp) async -> [Observation] {
        await searchIfDue()
        let sensors = state.withLock { $0.sensors }
        var observations = await read(sensors, at: now)
        let treeIsEmpty = !observations.contains { $0.reading.celsius != nil }
        for (source, worker) in zip(extra, extraWorkers)
        where source.isDue(treeIsEmpty: treeIsEmpty) {
            let found = await worker.run(limit: readLimit) {
                source.observations(at: now, treeIsEmpty: treeIsEmpty)
            }
            observations +=
                found
                ?? source.known.map { sensor in
                    Observation(sensor: sensor, reading: .unknown(reason: "read hangs"))
                }
        }
        return state.withLock { state in state.freezer.mark(observations, at: now) }
    }

    private func searchIfDue() async {
        let isDue = state.withLock { state -> Bool in
            guard let count = state.sinceSearch, count < Self.searchEvery else { return true }
            state.sinceSearch = count + 1
            return false
        }
        guard isDue else { return }
        let tree = SensorTree(files: files)
        let found = await searchWorker.run(limit: Self.searchLimit) { Self.search(tree) }
        state.withLock { state in
            state.sinceSearch = 1
            // Without a result the search hangs; what was known before is still worth reading.
            guard let found else { return }
            state.sensors = found
            let keys = Set(found.map(\.key))
            state.searchedFor.formIntersection(keys)
            state.rare = state.rare.filter { keys.contains($0.key) }
        }
    }

    /// All sensors of a tree.
    package static func search(_ tree: SensorTree) -> [Sensor] {
        tree.chips().flatMap { chip in
            chip.channels.map { Sensor(chip: chip, channel: $0) }
        } + tree.zones().map { Sensor(zone: $0) }
    }

    /// Reads all sensors, going on behind each one that hangs.
    private func read(_ sensors: [Sensor], at now: Timestamp) async -> [Observation] {
        let due = state.withLock { state in
            sensors.filter { sensor in
                guard let last = state.rare[sensor.key] else { return true }
                return now < last.time || now - last.time >= sensor.leastInterval
            }
        }
        let outcomes = await reader.readAll(due.map(Place.init))
        return state.withLock { state in
            sensors.map { sensor in
                let reading: Reading
                switch outcomes[Place(sensor: sensor)] {
                case .value(let look):
                    reading = look.reading
                    if sensor.leastInterval > .zero { state.rare[sensor.key] = (now, reading) }
                    Self.note(look.failure, of: sensor.key, in: &state)
                case .hung: reading = .unknown(reason: "read hangs")
                case .unread: reading = .unknown(reason: "too many others hang")
                // Not due: what it said the last time.
                case nil: reading = state.rare[sensor.key]?.reading ?? .unknown(reason: "not read")
                }
                return Observation(sensor: sensor, reading: reading)
            }
        }
    }

    /// Searches before the next sample when a failure says that hardware has changed.
    private static func note(_ failure: FileFailure?, of key: String, in state: inout State) {
        guard let failure, Plausibility.asksForSearch(failure) else {
            state.searchedFor.remove(key)
            return
        }
        // Once for each failure: a slot that stays empty must not search for ever.
        if state.searchedFor.insert(key).inserted { state.sinceSearch = nil }
    }
}

/// Sensors that are not files: NVIDIA's library, libsensors. Called on a worker's thread.
package protocol ExtraSensors: Sendable {
    /// Whether there is anything to ask for this time; spares a thread where there never is. Called
    /// once for each scan, and never blocks.
    func isDue(treeIsEmpty: Bool) -> Bool
    /// Reads them. `treeIsEmpty`: neither a chip nor a zone gave any temperature this time.
    func observations(at now: Timestamp, treeIsEmpty: Bool) -> [Observation]
    /// The sensors found so far, for reporting them while a read hangs. Never blocks.
    var known: [Sensor] { get }
}
