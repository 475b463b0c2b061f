import Glibc

/// What a service manager says of something that it runs.
package enum RunState: Sendable, Equatable {
    case running
    case stopped
    /// It knows of no such thing.
    case missing
}

/// Why a service manager did not do what it was asked.
package struct ServiceFailure: Error, Equatable, CustomStringConvertible {
    /// Whether another try may succeed.
    package var isTransient: Bool
    /// One sentence: what, where, and how to mend it.
    package var reason: String
    /// Whether it may have been done in part: it did not come to an end of its own.
    package var isCutOff: Bool

    package init(isTransient: Bool, reason: String, isCutOff: Bool = false) {
        self.isTransient = isTransient
        self.reason = reason
        self.isCutOff = isCutOff
    }

    package var description: String { reason }
}

/// systemd, through its `systemctl`.
package struct Systemd: Sendable {
    private let tool: ServiceTool

    /// - `program`: an absolute path; `nil`: where distributions have it.
    package init(program: String? = nil) {
        tool = ServiceTool(
            program: program, usual: ["/usr/bin/systemctl", "/bin/systemctl"],
            advice: "units can only be stopped where systemd runs; in a container they cannot")
    }

    /// Whether a unit runs.
    package func state(of unit: String, limit: Duration) throws(ServiceFailure) -> RunState {
        let answer = try tool.run(
            ["show", "--property=LoadState,ActiveState", "--", unit], limit: limit)
        guard answer.exitCode == 0 else { throw tool.failure("show \(unit)", answer) }
        return try Self.state(of: unit, answer.text)
    }

    /// The properties by which systemd stops other units together with one (systemd.unit(5)): their
    /// `Requires=`, `Requisite=`, `BindsTo=` and `PartOf=`, and its own `PropagatesStopTo=`.
    private static let ties = [
        "RequiredBy", "RequisiteOf", "BoundBy", "ConsistsOf", "PropagatesStopTo",
    ]
    private static let tieLimit = 64

    /// The units that systemd would stop together with one, directly or by way of others, and that run.
    package func running(tiedTo unit: String, limit: Duration) throws(ServiceFailure) -> [String] {
        let end = ContinuousClock.now + limit
        let properties = (["LoadState", "ActiveState"] + Self.ties).joined(separator: ",")
        var (queue, seen, running) = ([unit], Set([unit]), [String]())
        while let next = queue.popLast() {
            let left = ContinuousClock.now.duration(to: end)
            guard left > .zero else {
                throw ServiceFailure(
                    isTransient: true, reason: "it takes too long to find out what needs \(unit)")
            }
            let answer = try tool.run(
                ["show", "--property=\(properties)", "--", next], limit: left)
            guard answer.exitCode == 0 else { throw tool.failure("show \(next)", answer) }
            if next != unit, try Self.state(of: next, answer.text) == .running {
                running.append(next)
            }
            let values = Self.values(answer.text)
            for tie in Self.ties {
                for name in (values[tie[...]] ?? "").split(separator: " ").map(String.init)
                where seen.insert(name).inserted { queue.append(name) }
            }
            guard seen.count <= Self.tieLimit else {
                throw ServiceFailure(
                    isTransient: false,
                    reason: "more than \(Self.tieLimit) units would stop with \(unit)")
            }
        }
        return running.sorted()
    }

    private static func values(_ text: String) -> [Substring: Substring] {
        var values: [Substring: Substring] = [:]
        for line in text.split(separator: "\n") {
            guard let equals = line.firstIndex(of: "=") else { continue }
            values[line[..<equals]] = line[line.index(after: equals)...]
        }
        return values
    }

    /// Reads what `systemctl show` prints.
    static func state(of unit: String, _ text: String) throws(ServiceFailure) -> RunState {
        let values = values(text)
        switch values["ActiveState"] {
        case "active", "activating", "reloading", "refreshing": return .running
        case "inactive", "failed", "deactivating", "maintenance":
            return values["LoadState"] == "not-found" ? .missing : .stopped
        default:
            throw ServiceFailure(
                isTransient: true,
                reason: "systemctl does not say whether \(unit) runs: it printed "
                    + ServiceTool.quoted(text))
        }
    }

    /// Stops a unit and waits until it has stopped.
    package func stop(_ unit: String, limit: Duration) throws(ServiceFailure) {
        try act("stop", unit, limit)
    }

    /// Starts a unit and waits until it has started.
    package func start(_ unit: String, limit: Duration) throws(ServiceFailure) {
        try act("start", unit, limit)
    }

    private func act(_ verb: String, _ unit: String, _ limit: Duration) throws(ServiceFailure) {
        let answer = try tool.run(["--no-ask-password", verb, "--", unit], limit: limit)
        guard answer.exitCode == 0 else { throw tool.failure("\(verb) \(unit)", answer) }
    }
}

/// A Docker engine, through its `docker` command.
package struct DockerEngine: Sendable {
    /// What the engine says of a container.
    package struct Container: Sendable, Equatable {
        /// `paused` counts as stopped: it does no work.
        package var state: RunState
        /// Its id of 64 digits; empty when there is none.
        package var id: String
    }

    private let tool: ServiceTool

    /// - `program`: an absolute path; `nil`: where distributions have it.
    package init(program: String? = nil) {
        tool = ServiceTool(
            program: program, usual: ["/usr/bin/docker", "/usr/local/bin/docker"],
            advice: "containers can only be stopped where there is a docker command")
    }

    private static let format = "{{.Id}} {{.State.Status}}"

    /// Whether a container runs, and which it is.
    package func inspect(_ name: String, limit: Duration) throws(ServiceFailure) -> Container {
        let answer = try tool.run(
            ["container", "inspect", "--format", Self.format, "--", name], limit: limit)
        if answer.exitCode != 0 {
            if answer.text.contains("No such container") {
                return Container(state: .missing, id: "")
            }
            throw tool.failure("inspect \(name)", answer)
        }
        let words = answer.text.split(whereSeparator: \.isWhitespace)
        guard words.count == 2, words[0].count == 64 else {
            throw ServiceFailure(
                isTransient: true,
                reason: "docker does not say whether \(name) runs: it printed "
                    + ServiceTool.quoted(answer.text))
        }
        let isRunning = words[1] == "running" || words[1] == "restarting"
        return Container(state: isRunning ? .running : .stopped, id: String(words[0]))
    }

    /// Stops a container; what does not end by itself within two thirds of the limit is killed.
    package func stop(_ name: String, limit: Duration) throws(ServiceFailure) {
        let seconds = max(limit.components.seconds * 2 / 3, 1)
        try act(["stop", "--time", "\(seconds)", "--", name], "stop \(name)", limit)
    }

    /// Starts a container.
    package func start(_ name: String, limit: Duration) throws(ServiceFailure) {
        try act(["start", "--", name], "start \(name)", limit)
    }

    private func act(
        _ arguments: [String], _ what: String, _ limit: Duration
    ) throws(ServiceFailure) {
        let answer = try tool.run(arguments, limit: limit)
        guard answer.exitCode == 0 else { throw tool.failure(what, answer) }
    }
}

/// A service manager's command.
struct ServiceTool: Sendable {
    let program: String?
    let usual: [String]
    let advice: String

    struct Answer {
        var exitCode: Int32
        var text: String
    }

    func run(_ arguments: [String], limit: Duration) throws(ServiceFailure) -> Answer {
        guard let program = program ?? usual.first(where: { access($0, X_OK) == 0 }) else {
            throw ServiceFailure(
                isTransient: false, reason: "there is no \(usual[0]) here: \(advice)")
        }
        var process = Subprocess(program, arguments, timeLimit: limit)
        process.keepsErrors = true
        do throws(Subprocess.Failure) {
            let output = try process.run()
            return Answer(
                exitCode: output.exitCode, text: String(decoding: output.output, as: UTF8.self))
        } catch {
            throw ServiceFailure(isTransient: true, reason: error.description)
        }
    }

    func failure(_ what: String, _ answer: Answer) -> ServiceFailure {
        let name = (program ?? usual[0]).split(separator: "/").last.map(String.init) ?? ""
        return ServiceFailure(
            isTransient: true,
            reason: "\(name) \(what) ended with \(answer.exitCode): \(Self.quoted(answer.text))")
    }

    /// The first line that says something, short and without control characters.
    static func quoted(_ text: String) -> String {
        let line = text.split(separator: "\n").first { $0.contains { !$0.isWhitespace } } ?? ""
        let plain = line.unicodeScalars.prefix(200).map {
            $0.properties.generalCategory == .control ? " " : Character($0)
        }
        return "\"\(String(plain))\""
    }
}
