package import Platform
import Protocol
package import Settings

/// What is known of something that a node can do without.
package enum ThingState: Sendable, Equatable {
    case running, stopped
    /// There is no such thing here.
    case missing
    /// It has no way to say: taken to run until it was stopped.
    case unknown
}

/// How things are looked at, stopped and started; blocks for `limit` at most.
package protocol ThingControl: Sendable {
    func state(
        of thing: Config.NonEssential, limit: Duration
    ) throws(ServiceFailure) -> ThingState
    func stop(_ thing: Config.NonEssential, limit: Duration) throws(ServiceFailure)
    func start(_ thing: Config.NonEssential, limit: Duration) throws(ServiceFailure)
    /// Why a thing must not be stopped by this process; `nil`: it may.
    func objection(to thing: Config.NonEssential, limit: Duration) -> String?
    /// The units that run and would stop together with a thing.
    ///
    /// - Throws: also when this process would.
    func dependents(
        of thing: Config.NonEssential, limit: Duration
    ) throws(ServiceFailure) -> [String]
}

/// The node's systemd, its Docker engine, and the programs that its own file names.
package struct NodeControl: ThingControl {
    private let systemd: Systemd
    private let docker: DockerEngine
    private let files: any FileAccess

    package init(
        systemd: Systemd = Systemd(), docker: DockerEngine = DockerEngine(),
        files: any FileAccess = HostFiles(root: HostRoot())
    ) {
        self.systemd = systemd
        self.docker = docker
        self.files = files
    }

    package func state(
        of thing: Config.NonEssential, limit: Duration
    ) throws(ServiceFailure) -> ThingState {
        switch thing {
        case .unit(let name): return ThingState(try systemd.state(of: name, limit: limit))
        case .container(let name):
            return ThingState(try docker.inspect(name, limit: limit).state)
        case .hook(_, _, _, let check):
            guard let check else { return .unknown }
            let code = try run(check, limit)
            // What a shell says of a command that it cannot run is no word about the thing.
            guard code != 126, code != 127, code < 128 else {
                throw ServiceFailure(
                    isTransient: true, reason: "\(check[0]) (check) ended with \(code)")
            }
            return code == 0 ? .running : .stopped
        }
    }

    package func stop(_ thing: Config.NonEssential, limit: Duration) throws(ServiceFailure) {
        switch thing {
        case .unit(let name): try systemd.stop(name, limit: limit)
        case .container(let name): try docker.stop(name, limit: limit)
        case .hook(_, let stop, _, _): try complete(stop, "stop", limit)
        }
    }

    package func start(_ thing: Config.NonEssential, limit: Duration) throws(ServiceFailure) {
        switch thing {
        case .unit(let name): try systemd.start(name, limit: limit)
        case .container(let name): try docker.start(name, limit: limit)
        case .hook(_, _, let start, _): try complete(start, "start", limit)
        }
    }

    package func objection(to thing: Config.NonEssential, limit: Duration) -> String? {
        switch thing {
        case .unit(let name):
            guard name.utf8.allSatisfy(Self.isOfUnitName), name.first != "-" else {
                return "this is no name of one unit"
            }
            return isOwn(unit: name) ? "this agent runs in it" : nil
        case .container(let name):
            guard name.utf8.allSatisfy(Self.isOfContainerName), name.first != "-" else {
                return "this is no name of a container"
            }
            guard let id = try? docker.inspect(name, limit: limit).id, !id.isEmpty else {
                return nil
            }
            // An engine mounts files of each container into it, whose paths have its id.
            let traces = ["/proc/self/cgroup", "/proc/self/mountinfo"]
            let isOurs = traces.contains { files.textIfReadable($0)?.contains(id) == true }
            return isOurs ? "this agent runs in it" : nil
        case .hook: return nil
        }
    }

    /// Whether this process is part of a unit, by a path such as `0::/system.slice/skos.service`.
    private func isOwn(unit name: String) -> Bool {
        let group = files.textIfReadable("/proc/self/cgroup") ?? ""
        return group.split { $0 == "/" || $0 == "\n" }.contains { $0 == name }
    }

    package func dependents(
        of thing: Config.NonEssential, limit: Duration
    ) throws(ServiceFailure) -> [String] {
        guard case .unit(let name) = thing else { return [] }
        let units = try systemd.running(tiedTo: name, limit: limit)
        if let own = units.first(where: isOwn) {
            throw ServiceFailure(
                isTransient: false,
                reason: "this agent runs in \(own), which would stop with it")
        }
        return units
    }

    /// `*`, `?` and `[` would name several.
    private static func isOfUnitName(_ byte: UInt8) -> Bool {
        isOfContainerName(byte) || [0x40, 0x3A, 0x5C].contains(byte)
    }

    private static func isOfContainerName(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte)
            || (0x61...0x7A).contains(byte) || [0x2D, 0x2E, 0x5F].contains(byte)
    }

    private func complete(
        _ vector: [String], _ what: String, _ limit: Duration
    ) throws(ServiceFailure) {
        let code = try run(vector, limit)
        guard code == 0 else {
            throw ServiceFailure(
                isTransient: true, reason: "\(vector[0]) (\(what)) ended with \(code)",
                isCutOff: code >= 128)
        }
    }

    private func run(_ vector: [String], _ limit: Duration) throws(ServiceFailure) -> Int32 {
        guard let program = vector.first, program.hasPrefix("/") else {
            throw ServiceFailure(
                isTransient: false,
                reason: "\(vector.first ?? "a hook") is no absolute path of a program")
        }
        do throws(Subprocess.Failure) {
            return try Subprocess(program, Array(vector.dropFirst()), timeLimit: limit).complete()
        } catch {
            let isCutOff = if case .notStarted = error { false } else { true }
            throw ServiceFailure(
                isTransient: true, reason: error.description, isCutOff: isCutOff)
        }
    }
}

extension ThingState {
    fileprivate init(_ state: RunState) {
        switch state {
        case .running: self = .running
        case .stopped: self = .stopped
        case .missing: self = .missing
        }
    }
}

extension Config.NonEssential {
    /// For people.
    var text: String {
        switch self {
        case .unit(let name): "unit \(name)"
        case .container(let name): "container \(name)"
        case .hook(let name, _, _, _): "hook \(name)"
        }
    }

    /// Whether it cannot say if it runs.
    var isMute: Bool { if case .hook(_, _, _, nil) = self { true } else { false } }

    /// As the undo journal keeps it.
    var json: JSON {
        switch self {
        case .unit(let name): return ["unit": .string(name)]
        case .container(let name): return ["container": .string(name)]
        case .hook(let name, let stop, let start, let check):
            var object: JSON.Object = [
                "hook": .string(name), "stop": .array(stop.map(JSON.string)),
                "start": .array(start.map(JSON.string)),
            ]
            object["check"] = check.map { .array($0.map(JSON.string)) }
            return .object(object)
        }
    }

    /// `nil`: this is none.
    init?(_ json: JSON) {
        guard let object = json.object else { return nil }
        func vector(_ name: String) -> [String]? {
            object[name]?.array.map { $0.compactMap(\.string) }
        }
        if let name = object["unit"]?.string {
            self = .unit(name)
        } else if let name = object["container"]?.string {
            self = .container(name)
        } else if let name = object["hook"]?.string, let stop = vector("stop"),
            let start = vector("start")
        {
            self = .hook(name: name, stop: stop, start: start, check: vector("check"))
        } else {
            return nil
        }
    }
}
