import Antibody
import Glibc
import Platform
import Protocol

/// What cleaning did, or would do.
struct CleaningReport {
    /// Roots and steps that are told one by one.
    static let listLimit = 32

    private(set) var files = 0
    private(set) var bytes: Int64 = 0
    private(set) var skipped: [SkipReason: Int] = [:]
    /// Whether everything that may be deleted was looked at.
    var isComplete = true
    /// Bytes that programs of the node have freed, as far as the file system shows.
    private(set) var freedByTools: Int64 = 0
    private var places: [JSON.Object] = []
    private var failures: [String] = []
    /// Why roots are not used that have nothing to do with the file system it is about.
    private var elsewhere: [String] = []
    private var walkedRoots: [String] = []
    /// Lines of `tmpfiles.d` that made no sense, and how many there are.
    private var oddities: [String] = []
    private var oddityCount = 0

    /// Takes in one walk.
    mutating func add(_ walked: WalkReport, root: String) {
        files += walked.files
        bytes += walked.bytes
        skipped.merge(walked.skipped) { $0 + $1 }
        if !walkedRoots.contains(root) { walkedRoots.append(root) }
        if walked.end == .outOfTime || walked.end == .cancelled { isComplete = false }
        var place: JSON.Object = [
            "root": .string(root), "files": .integer(Int64(walked.files)),
            "bytes": .integer(walked.bytes),
        ]
        if walked.end != .complete { place["ended"] = .string(walked.end.rawValue) }
        if let failure = walked.failure {
            place["failure"] = .string(failure)
            failures.append("\(root): \(failure)")
        }
        places.append(place)
    }

    /// Takes note of a root that is not used.
    ///
    /// - `isElsewhere`: it is no fault that anybody should mend: the root is on another file system.
    mutating func leaveOut(_ root: String, _ reason: String, isElsewhere: Bool = false) {
        places.append(["root": .string(root), "not_used": .string(reason)])
        if isElsewhere {
            elsewhere.append("\(root): \(reason)")
        } else {
            failures.append("\(root): \(reason)")
        }
    }

    /// Takes note of a program of the node.
    mutating func add(tool: String, freed: Int64?, note: String?) {
        freedByTools += max(freed ?? 0, 0)
        var place: JSON.Object = ["tool": .string(tool)]
        place["freed_bytes"] = freed.map(JSON.integer)
        place["note"] = note.map(JSON.string)
        places.append(place)
        if let note { failures.append("\(tool): \(note)") }
    }

    /// Takes note of lines of `tmpfiles.d` that made no sense.
    mutating func note(_ oddities: [String], count: Int) {
        self.oddities = oddities
        oddityCount = count
    }

    mutating func fail(_ reason: String) { failures.append(reason) }

    var json: JSON.Object {
        var object: JSON.Object = [
            "files": .integer(Int64(files)), "bytes": .integer(bytes),
            "complete": .bool(isComplete),
        ]
        if freedByTools > 0 { object["freed_by_tools"] = .integer(freedByTools) }
        if !skipped.isEmpty {
            object["skipped"] = .object(
                JSON.Object(
                    uniqueMembers: skipped.sorted { $0.key.rawValue < $1.key.rawValue }.map {
                        (name: $0.key.rawValue, value: .integer(Int64($0.value)))
                    }))
        }
        if !oddities.isEmpty {
            object["tmpfiles_d_odd"] = .array(oddities.map(JSON.string))
            if oddityCount > oddities.count {
                object["tmpfiles_d_odd_omitted"] = .integer(Int64(oddityCount - oddities.count))
            }
        }
        object["places"] = .array(places.prefix(Self.listLimit).map(JSON.object))
        if places.count > Self.listLimit {
            object["places_omitted"] = .integer(Int64(places.count - Self.listLimit))
        }
        return object
    }

    /// That there is more to delete than the time sufficed for.
    var unfinished: VerbFailure {
        VerbFailure(
            isTransient: true,
            reason:
                "\(files) files (\(StorageText.size(UInt64(max(bytes, 0))))) were deleted, and the "
                + "time was over before everything was looked at: the next attempt goes on there")
    }

    /// The result of cleaning.
    ///
    /// - Throws: that there was nothing to delete, and why, so that the next step is taken at once.
    func result() throws(VerbFailure) -> JSON.Object {
        guard files == 0, freedByTools == 0 else { return json }
        let left = skipped.filter { $0.value > 0 && $0.key != .failed }
            .sorted { $0.key.rawValue < $1.key.rawValue }.map { "\($0.value) \($0.key.rawValue)" }
        var reasons = left.isEmpty ? [] : ["left alone: " + left.joined(separator: ", ")]
        reasons += failures
        if !isComplete { reasons.append("the time was over before everything was looked at") }
        if walkedRoots.isEmpty { reasons += elsewhere }
        if reasons.isEmpty {
            let names = walkedRoots.prefix(4).joined(separator: ", ")
            reasons = [names.isEmpty ? "no directory is named for it" : "no file is in \(names)"]
        }
        let few = reasons.prefix(4).joined(separator: "; ")
        throw VerbFailure(
            isTransient: !isComplete, reason: "nothing could be deleted: " + few)
    }
}

/// One action that cleans: its time, and what it found out so far.
struct CleaningSession {
    private(set) var deadline: ContinuousClock.Instant
    let now: @Sendable () -> ContinuousClock.Instant
    /// When it began, in seconds since 1970: ages of files are counted from here.
    let wallSeconds: Double
    var report = CleaningReport()
    private var openFiles: OpenFiles?
    private var hasLooked = false

    init(budget: Duration, now: @escaping @Sendable () -> ContinuousClock.Instant = { .now }) {
        self.now = now
        deadline = now() + budget
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        wallSeconds = Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }

    var isOver: Bool { now() >= deadline }

    /// The time that is left.
    var rest: Duration { max(deadline - now(), .zero) }

    /// Does something that may take a part of the time that is left, so that what follows has its turn.
    mutating func spend(_ share: Double, _ body: (inout CleaningSession) -> Void) {
        let end = deadline
        deadline = now() + rest * share
        body(&self)
        deadline = end
    }

    /// What is open on the node, looked up once. Without knowing, nothing is deleted.
    mutating func openFiles(of root: HostRoot) -> OpenFiles? {
        guard !hasLooked else { return openFiles }
        hasLooked = true
        do throws(FileFailure) { openFiles = try OpenFiles.collect(root) } catch {
            report.fail("which files are open cannot be seen: \(error)")
        }
        return openFiles
    }
}
