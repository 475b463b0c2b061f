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
        /// Keys of sensors whose read has not come back.
        var hung: Set<String> = []
        /// The last reading of sensors that are not to be read every time.
        var rare: [String: (time: Timestamp, reading: Reading)] = [:]
        var freezer = FrozenDetector()
    }

    private let files: any FileAccess
    private let reader: SensorReader
    private let worker = TimedWorker(maxHung: 4)
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
        reader = SensorReader(files: files)
        extraWorkers = extra.map { _ in TimedWorker(maxHung: 1) }
    }

    /// How many reads have not come back.
    package var hungCount: Int {
        extraWorkers.reduce(worker.hungCount) { $0 + $1.hungCount }
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
        let found = await worker.run(limit: Self.searchLimit) { Self.search(tree) }
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
            sensors.indices.filter { index in
                let sensor = sensors[index]
                if state.hung.contains(sensor.key) { return false }
                guard let last = state.rare[sensor.key] else { return true }
                return now < last.time || now - last.time >= sensor.leastInterval
            }
        }
        var readings: [Int: Reading] = [:]
        var rest = due[...]
        while !rest.isEmpty, !worker.isExhausted {
            let batch = ReadBatch(indices: Array(rest))
            let isDone = await worker.run(limit: readLimit) {
                self.work(batch, sensors)
                return true
            }
            let (done, stuck) = batch.leave()
            for (index, reading) in done { readings[index] = reading }
            if isDone != nil { break }
            rest = rest.dropFirst(done.count)
            if let stuck {
                let key = sensors[stuck].key
                _ = state.withLock { $0.hung.insert(key) }
                // It may have come back between `leave` and this, and then nobody else takes it out.
                if !batch.isRunning { _ = state.withLock { $0.hung.remove(key) } }
                rest = rest.dropFirst()
            }
        }
        return merge(sensors, readings, at: now)
    }

    /// The part of `read` that runs on a worker's thread.
    private func work(_ batch: ReadBatch, _ sensors: [Sensor]) {
        while let index = batch.next() {
            var failure: FileFailure?
            let reading = reader.read(sensors[index], failure: &failure)
            let key = sensors[index].key
            if !batch.finish(index, reading) {
                // Left behind long ago; the sensor may be read again now.
                _ = state.withLock { $0.hung.remove(key) }
                return
            }
            state.withLock { state in
                guard let failure, Plausibility.asksForSearch(failure) else {
                    state.searchedFor.remove(key)
                    return
                }
                // Once for each failure: a slot that stays empty must not search for ever.
                if state.searchedFor.insert(key).inserted { state.sinceSearch = nil }
            }
        }
    }

    private func merge(
        _ sensors: [Sensor], _ readings: [Int: Reading], at now: Timestamp
    ) -> [Observation] {
        state.withLock { state in
            sensors.indices.map { index in
                let sensor = sensors[index]
                if let reading = readings[index] {
                    if sensor.leastInterval > .zero { state.rare[sensor.key] = (now, reading) }
                    return Observation(sensor: sensor, reading: reading)
                }
                if !state.hung.contains(sensor.key), let last = state.rare[sensor.key] {
                    return Observation(sensor: sensor, reading: last.reading)
                }
                return Observation(sensor: sensor, reading: .unknown(reason: "read hangs"))
            }
        }
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

/// The work of one worker thread: sensors to read, one after the other, until it is left behind.
private final class ReadBatch: Sendable {
    private struct State {
        var position = 0
        var readings: [(Int, Reading)] = []
        var isReading = false
        var isLeft = false
    }

    private let indices: [Int]
    private let state = Mutex(State())

    init(indices: [Int]) { self.indices = indices }

    /// The next sensor to read; `nil` when all are done or nobody waits for them any more.
    func next() -> Int? {
        state.withLock { state in
            guard !state.isLeft, state.position < indices.count else { return nil }
            state.isReading = true
            return indices[state.position]
        }
    }

    /// Hands in a reading; `false` when nobody waits for it any more.
    func finish(_ index: Int, _ reading: Reading) -> Bool {
        state.withLock { state in
            state.isReading = false
            guard !state.isLeft else { return false }
            state.readings.append((index, reading))
            state.position += 1
            return true
        }
    }

    /// Stops waiting: what there is so far, and the sensor that it hangs at.
    func leave() -> (done: [(Int, Reading)], stuck: Int?) {
        state.withLock { state in
            state.isLeft = true
            return (state.readings, state.isReading ? indices[state.position] : nil)
        }
    }

    /// Whether the read it was left at has still not come back.
    var isRunning: Bool { state.withLock { $0.isReading } }
}
