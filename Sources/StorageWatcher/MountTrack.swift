package import Antibody
package import Platform
package import Protocol
package import Settings

/// What is known of one mount from one look to the next, and what it makes of them. Pure.
package struct MountTrack: Sendable {
    /// Looks in a row without an answer before a mount counts as hung: one may only have been slow.
    static let hungAfter = 2
    /// A forecast is taken back only when it leaves this many times what it was raised for.
    static let forecastRelease = 1.25

    /// The types of all alerts about mounts.
    static let types = ["storage", "storage_forecast", "storage_hung", "storage_readonly"]

    package private(set) var mount: MountEntry
    private var space: Detector
    private var inodes: Detector
    private var spaceForecast = Forecast()
    private var inodeForecast = Forecast()
    private var settings: Config.Storage
    /// Whether it could be written to at some time since the start.
    private var wasWritable = false
    private var unanswered = 0
    /// The last severity of each symptom but `storage`.
    private var severities: [String: Severity] = [:]

    package init(_ mount: MountEntry, settings: Config.Storage, interval: Duration) {
        self.mount = mount
        self.settings = settings
        space = Detector(settings: Self.space(settings), interval: interval)
        inodes = Detector(settings: Self.inodes(settings), interval: interval)
    }

    package mutating func apply(_ settings: Config.Storage, interval: Duration) {
        self.settings = settings
        space.apply(Self.space(settings), interval: interval)
        inodes.apply(Self.inodes(settings), interval: interval)
    }

    private static func space(_ settings: Config.Storage) -> Detector.Settings {
        Detector.Settings(
            thresholds: settings.thresholds, clear: settings.clear, holdFor: settings.holdFor,
            needsTwo: false)
    }

    private static func inodes(_ settings: Config.Storage) -> Detector.Settings {
        Detector.Settings(
            thresholds: settings.inodeThresholds, clear: settings.inodeClear,
            holdFor: settings.holdFor, needsTwo: false)
    }

    /// Takes in one look and returns the symptoms it makes.
    package mutating func observe(
        _ observation: MountObservation, at now: Timestamp
    ) -> [Symptom] {
        mount = observation.mount
        var symptoms: [Symptom] = []
        if let symptom = fullness(observation, at: now) { symptoms.append(symptom) }
        report(availability(observation), &symptoms)
        report(writability(), &symptoms)
        report(forecast(observation, at: now), &symptoms)
        return symptoms
    }

    /// What is to be said when the mount is there no more: whatever it was, it is over.
    func farewell() -> [Symptom] {
        (["storage"] + severities.filter { $0.value > .ok }.keys.sorted()).map { type in
            Symptom(
                type: type, resource: mount.name, severity: .ok,
                message: "\(mount.name) is not mounted any more")
        }
    }

    /// Passes a symptom on, unless it says only once more that nothing is wrong.
    private mutating func report(_ symptom: Symptom?, _ symptoms: inout [Symptom]) {
        guard let symptom, let severity = symptom.severity else { return }
        let isNews = severities[symptom.type] != severity
        severities[symptom.type] = severity
        if isNews || severity > .ok { symptoms.append(symptom) }
    }

    // MARK: storage

    private mutating func fullness(
        _ observation: MountObservation, at now: Timestamp
    ) -> Symptom? {
        guard let usage = observation.usage else {
            // What has no size cannot be full.
            if case .usage = observation.answer { return nil }
            let reason = observation.reason ?? ""
            return Symptom(
                type: "storage", resource: mount.name, severity: nil,
                message: "how full \(mount.name) is, is not known: \(reason)")
        }
        let spaceVerdict = space.observe(usage.usedPercent, at: now)
        let inodeVerdict = inodes.observe(usage.inodesUsedPercent, at: now)
        let (spaceSeverity, inodeSeverity) = (
            spaceVerdict.severity ?? .ok, inodeVerdict.severity ?? .ok
        )
        let isAboutInodes = inodeSeverity > spaceSeverity
        // Nothing can be deleted from what cannot be written to; images of systems are always full.
        let severity = observation.isLocked ? nil : max(spaceSeverity, inodeSeverity)
        var symptom = Symptom(
            type: "storage", resource: mount.name, severity: severity,
            message: isAboutInodes
                ? StorageText.inodes(mount, usage) : StorageText.space(mount, usage))
        symptom.value = (isAboutInodes ? usage.inodesUsedPercent : usage.usedPercent)
            .map(StorageText.rounded)
        symptom.unit = "percent"
        symptom.threshold = (isAboutInodes ? inodeVerdict : spaceVerdict).threshold
        symptom.details = StorageText.details(mount, usage, isAboutInodes: isAboutInodes)
        return symptom
    }

    // MARK: storage_hung

    private mutating func availability(_ observation: MountObservation) -> Symptom? {
        let reason: String
        switch observation.answer {
        case .usage:
            unanswered = 0
            return Symptom(
                type: "storage_hung", resource: mount.name, severity: .ok,
                message: "\(mount.name) answers")
        case .failed, .hidden, .unread: return nil
        case .hung: reason = "it does not answer"
        case .dead(let text): reason = text
        }
        unanswered += 1
        guard unanswered >= Self.hungAfter else { return nil }
        var symptom = Symptom(
            type: "storage_hung", resource: mount.name, severity: .warning,
            message: "\(mount.name) (\(mount.type) from \(mount.source)) is dead: \(reason)")
        symptom.details = [
            "fstype": .string(mount.type), "device": .string(mount.source),
            "reason": .string(reason),
        ]
        return symptom
    }

    // MARK: storage_readonly

    private mutating func writability() -> Symptom? {
        guard mount.isLocked else {
            wasWritable = true
            return Symptom(
                type: "storage_readonly", resource: mount.name, severity: .ok,
                message: "\(mount.name) can be written to")
        }
        // What was read-only from the first is meant to be, unless an error made it so.
        guard wasWritable || mount.hasFailed else { return nil }
        let isWhole = mount.isSystemReadOnly
        var symptom = Symptom(
            type: "storage_readonly", resource: mount.name,
            severity: isWhole ? .critical : .warning,
            message: isWhole
                ? "the file system of \(mount.name) became read-only, as after an error: "
                    + "see the kernel's log about \(mount.source)"
                : "\(mount.name) became read-only; its file system did not")
        symptom.details = [
            "fstype": .string(mount.type), "device": .string(mount.source),
            "scope": isWhole ? "file_system" : "mount",
        ]
        return symptom
    }

    // MARK: storage_forecast

    private mutating func forecast(
        _ observation: MountObservation, at now: Timestamp
    ) -> Symptom? {
        guard let usage = observation.usage else { return nil }
        guard settings.forecast > .zero, !observation.isLocked else {
            let wasRaised = severities["storage_forecast"].map { $0 > .ok } ?? false
            return wasRaised ? quietForecast("nothing is foretold of \(mount.name)") : nil
        }
        spaceForecast.observe(Double(usage.used), at: now)
        var left = spaceForecast.timeLeft(Double(usage.available))
        var kind = "space"
        if usage.inodes > 0 {
            inodeForecast.observe(
                Double(usage.inodes - min(usage.inodesFree, usage.inodes)), at: now)
            let inodesLeft = inodeForecast.timeLeft(Double(usage.inodesFree))
            if let inodesLeft, left.map({ inodesLeft < $0 }) ?? true {
                (left, kind) = (inodesLeft, "inodes")
            }
        }
        guard let left else { return nil }
        let isRaised = severities["storage_forecast"].map { $0 > .ok } ?? false
        let limit = settings.forecast.inSeconds * (isRaised ? Self.forecastRelease : 1)
        guard left.inSeconds <= limit else {
            return quietForecast("\(mount.name) does not fill up soon")
        }
        let hours = left.inSeconds / 3600
        var symptom = Symptom(
            type: "storage_forecast", resource: mount.name, severity: .warning,
            message:
                "\(mount.name) will be full in \(StorageText.hours(hours)) if it goes on as in the "
                + "last hour (\(kind == "space" ? "space" : "inodes"))")
        symptom.value = StorageText.rounded(hours)
        symptom.unit = "hours"
        symptom.threshold = StorageText.rounded(settings.forecast.inSeconds / 3600)
        symptom.details = StorageText.details(mount, usage, isAboutInodes: kind == "inodes")
        return symptom
    }

    private func quietForecast(_ message: String) -> Symptom {
        Symptom(
            type: "storage_forecast", resource: mount.name, severity: .ok, message: message)
    }
}

extension MountEntry {
    /// Whether nothing can be written here.
    var isLocked: Bool { isReadOnly || isSystemReadOnly }
}
