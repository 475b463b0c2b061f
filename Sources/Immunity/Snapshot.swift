package import Protocol

/// The state as one JSON object, so that a restart need not replay the whole audit. Exact: the state
/// read back equals the state written. Times are nanoseconds since the epoch.
///
/// Its size is bounded by the state's limits; a fleet of 2,000 nodes with an incident each is about 2 MB,
/// which is more than one message of NATS carries by default.
extension State {
    /// The version written; another one cannot be read.
    package static let snapshotVersion: Int64 = 1

    package var snapshot: JSON.Object {
        [
            "version": .integer(Self.snapshotVersion),
            "newest": .integer(newest.nanoseconds),
            "incidents": .array(
                incidents.values.sorted { $0.key < $1.key }.map { .object($0.snapshot) }),
            "undoing": .array(undoing.values.sorted { $0.id < $1.id }.map { .object($0.snapshot) }),
            "finished": .array(finished.map { .object($0.snapshot) }),
            "breakers": .array(
                breakers.sorted { $0.key < $1.key }.map { .object($1.snapshot($0)) }),
            "alerts": .object(alertSequences.snapshot),
            "reports": .array(
                lastReports.sorted { $0.key < $1.key }.map { key, report in
                    var object = key.snapshot
                    object["time"] = .integer(report.time.nanoseconds)
                    object["alert"] = .string(report.alertID)
                    return .object(object)
                }),
            "stamps": .object(
                JSON.Object(
                    uniqueMembers: stamps.sorted { $0.key < $1.key }
                        .map { (name: $0, value: .integer($1)) })),
            "stamp_floor": .integer(stampFloor),
        ]
    }

    /// Reads what `snapshot` has written.
    ///
    /// - Throws: `MessageError` naming the field; then the state is to be rebuilt by replaying the audit.
    package init(snapshot object: JSON.Object) throws(MessageError) {
        self.init()
        let fields = Fields(object)
        let version = try fields.required("version", try fields.integer("version"))
        guard version == Self.snapshotVersion else {
            throw fields.error(
                "version",
                "\(version) is not \(Self.snapshotVersion): replay the whole audit instead")
        }
        newest = try fields.time("newest")
        for inner in try fields.elements("incidents") {
            let incident = try Incident(inner)
            incidents[incident.key] = incident
            keyOfIncident[incident.id] = incident.key
            openCounts[incident.key.kin, default: 0] += 1
            index(incident)
        }
        for inner in try fields.elements("undoing") {
            let incident = try Incident(inner)
            undoing[incident.id] = incident
            index(incident)
        }
        for inner in try fields.elements("finished") {
            let incident = try Incident(inner)
            finished.append(incident)
            index(incident)
        }
        for inner in try fields.elements("breakers") {
            let (key, breaker) = try Breaker.read(inner)
            breakers[key] = breaker
        }
        alertSequences = try SequenceSet(fields.members("alerts"))
        for inner in try fields.elements("reports") {
            lastReports[try IncidentKey(inner)] = Report(
                time: try inner.time("time"), alertID: try inner.text("alert"))
        }
        let numbers = try fields.members("stamps")
        for member in numbers.object.members {
            guard let stamp = member.value.integer else {
                throw numbers.error(member.name, "a whole number is expected")
            }
            stamps[member.name] = stamp
        }
        stampFloor = try fields.whole("stamp_floor")
    }

    private mutating func index(_ incident: Incident) {
        for attempt in incident.attempts {
            incidentOfAction[attempt.command.actionID] = incident.id
        }
    }
}

extension SequenceSet {
    /// Runs of successive places, as pairs of the first and how many.
    fileprivate var snapshot: JSON.Object {
        var runs: [(first: UInt64, count: Int64)] = []
        for sequence in sorted {
            if let last = runs.last, last.first + UInt64(last.count) == sequence {
                runs[runs.count - 1].count += 1
            } else {
                runs.append((sequence, 1))
            }
        }
        return [
            "highest": .integer(Int64(clamping: highest)),
            "seen": .array(
                runs.map { [.integer(Int64(clamping: $0.first)), .integer($0.count)] }),
        ]
    }

    fileprivate init(_ fields: Fields) throws(MessageError) {
        let highest = UInt64(clamping: try fields.whole("highest"))
        var members: [UInt64] = []
        for (index, element) in (fields.object["seen"]?.array ?? []).enumerated() {
            guard let run = element.array, run.count == 2, let first = run[0].integer,
                let count = run[1].integer, first >= 0, count > 0, count < 2 * Self.limit,
                members.count + Int(count) < 2 * Self.limit
            else { throw fields.error("seen[\(index)]", "[first, count] is expected") }
            members += (0..<UInt64(count)).map { UInt64(first) + $0 }
        }
        self.init(highest: highest, members: members)
    }
}

extension Breaker {
    fileprivate func snapshot(_ key: BreakerKey) -> JSON.Object {
        var object: JSON.Object = ["breaker": .string(key.text)]
        object["failures"] = .array(failures.map { .integer($0.nanoseconds) })
        object["executions"] = .array(executions.map { .integer($0.nanoseconds) })
        object["open_until"] = openUntil.map { .integer($0.nanoseconds) }
        object["reason"] = reason.map(JSON.string)
        object["trial"] = trial.map(JSON.string)
        return object
    }

    fileprivate static func read(_ fields: Fields) throws(MessageError) -> (BreakerKey, Breaker) {
        let text = try fields.text("breaker")
        guard let key = BreakerKey(text) else {
            throw fields.error("breaker", "\(Name.quoted(text)) is not node:action")
        }
        var breaker = Breaker()
        breaker.failures = try fields.times("failures")
        breaker.executions = try fields.times("executions")
        breaker.openUntil = try fields.optionalTime("open_until")
        breaker.reason = try fields.string("reason")
        breaker.trial = try fields.string("trial")
        return (key, breaker)
    }
}

extension Fields {
    /// The objects of an array that must be there.
    func elements(_ name: String) throws(MessageError) -> [Fields] {
        guard let elements = object[name]?.array else {
            throw error(name, "an array of objects is expected")
        }
        var all: [Fields] = []
        all.reserveCapacity(elements.count)
        for (index, element) in elements.enumerated() {
            guard let inner = element.object else {
                throw error("\(name)[\(index)]", "an object is expected")
            }
            all.append(Fields(inner, path: error("\(name)[\(index)]", "").field))
        }
        return all
    }

    /// A whole number that must be there.
    func whole(_ name: String) throws(MessageError) -> Int64 {
        try required(name, try integer(name))
    }

    func optionalTime(_ name: String) throws(MessageError) -> Timestamp? {
        try integer(name).map(Timestamp.init(nanoseconds:))
    }

    func time(_ name: String) throws(MessageError) -> Timestamp {
        Timestamp(nanoseconds: try whole(name))
    }

    func times(_ name: String) throws(MessageError) -> [Timestamp] {
        guard let elements = object[name]?.array else {
            throw error(name, "an array of times is expected")
        }
        var times: [Timestamp] = []
        for (index, element) in elements.enumerated() {
            guard let nanoseconds = element.integer else {
                throw error("\(name)[\(index)]", "nanoseconds since the epoch are expected")
            }
            times.append(Timestamp(nanoseconds: nanoseconds))
        }
        return times
    }
}
