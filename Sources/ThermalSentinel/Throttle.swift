import Antibody
package import Platform
import Protocol

/// Makes processors and graphics chips slower by N percent, and undoes it.
///
/// Of the processor's mechanisms the first that can be used is taken, in the order of `processorKinds`:
/// they overlap, and two at once would throttle twice. Every GPU with a power limit gets one.
package struct Throttle: Sendable {
    /// The order in which the processor's mechanisms are tried.
    static let processorKinds: [KnobKind] = [.cpufreq, .intelPstate, .rapl, .cgroup]
    static let graphicsKinds: [KnobKind] = [.nvidia, .amdgpu, .intelGPU]

    let finder: KnobFinder
    let io: KnobIO
    let root: HostRoot
    /// - `files`: the node's files.
    /// - `root`: in front of paths when they are shown to people.
    package init(
        files: any FileAccess, root: HostRoot = HostRoot(), nvidia: (any NvidiaSource)? = nil
    ) {
        self.init(finder: KnobFinder(files: files, nvidia: nvidia), root: root)
    }

    init(finder: KnobFinder, root: HostRoot = HostRoot(), io: KnobIO? = nil) {
        self.finder = finder
        self.root = root
        self.io = io ?? KnobIO(files: finder.files, nvidia: finder.nvidia)
    }

    /// Whether the node has anything to throttle, permitted or not.
    package var hasKnobs: Bool { KnobKind.allCases.contains { !finder.find($0).knobs.isEmpty } }

    /// All knobs with what stands in their way, and things that look like knobs and are none.
    package func describe() -> [KnobDescription] {
        KnobKind.allCases.flatMap { kind in
            let found = finder.find(kind)
            let usable = found.knobs.map { knob in
                KnobDescription(
                    kind: kind, path: knob.path, value: trimmed(knob.text),
                    obstacle: io.obstacle(knob.path)?.reason)
            }
            return (usable + found.obstacles).map { description in
                var description = description
                if description.path.hasPrefix("/") {
                    description.path = root.real(description.path)
                }
                return description
            }
        }
    }

    /// Finds out what N percent less means here, and changes nothing.
    func plan(percent: Int, _ call: VerbCall) throws(VerbFailure) -> VerbPlan {
        var records: [KnobRecord] = []
        var effects: [JSON] = []
        var reasons: [String] = []
        // What others of the family hold: their originals are the true ones.
        var held: [String: String] = [:]
        for record in call.active.flatMap(KnobRecord.all) where held[record.path] == nil {
            held[record.path] = record.original
        }
        for knob in try select(call.parameters, &reasons) {
            let original = held[knob.path] ?? knob.assumedOriginal ?? knob.text
            guard let before = KnobText.value(original, kind: knob.kind) else {
                reasons.append("\(shown(knob.path)): the recorded original is no number")
                continue
            }
            let target = knob.target(percentLess: percent, original: before)
            // A tighter limit of somebody else stays. Our own family's limit is no such thing: this
            // action must hold the knob by itself when the other one ends.
            if target >= before || held[knob.path] == nil && target >= knob.value {
                reasons.append(
                    "\(shown(knob.path)): already at \(trimmed(knob.text)), nothing to lower")
                continue
            }
            let text = KnobText.text(target, kind: knob.kind, like: original)
            let record = KnobRecord(
                kind: knob.kind, path: knob.path, original: original, target: text)
            records.append(record)
            let lowered = min(target, knob.value) == target ? text : knob.text
            effects.append([
                "path": .string(shown(knob.path)), "from": .string(trimmed(knob.text)),
                "to": .string(trimmed(lowered)), "original": .string(trimmed(original)),
            ])
        }
        guard !records.isEmpty else {
            throw VerbFailure(
                isTransient: false, reason: failureText("nothing to throttle", reasons))
        }
        var effect: JSON.Object = ["percent": .integer(Int64(percent)), "knobs": .array(effects)]
        if !reasons.isEmpty { effect["not_changed"] = .array(reasons.map(JSON.string)) }
        let undo: JSON.Object = [
            "percent": .integer(Int64(percent)), "knobs": .array(records.map(\.json)),
        ]
        return VerbPlan(undo: undo, effect: effect)
    }

    /// The knobs that an action may use.
    private func select(
        _ parameters: JSON.Object, _ reasons: inout [String]
    ) throws(VerbFailure) -> [Knob] {
        let resources = try resources(parameters)
        var knobs: [Knob] = []
        if resources.contains(.cpu) {
            for kind in Self.processorKinds {
                let usable = usable(kind, &reasons)
                knobs += usable
                if !usable.isEmpty { break }
            }
        }
        if resources.contains(.gpu) {
            for kind in Self.graphicsKinds { knobs += usable(kind, &reasons) }
        }
        if knobs.isEmpty, reasons.isEmpty {
            let names = resources.map(\.rawValue).joined(separator: " or ")
            reasons.append("this node has no knob for \(names); see `skos doctor`")
        }
        return knobs
    }

    private func usable(_ kind: KnobKind, _ reasons: inout [String]) -> [Knob] {
        let found = finder.find(kind)
        reasons += found.obstacles.map { "\(shown($0.path)): \($0.obstacle ?? "")" }
        return found.knobs.filter { knob in
            guard let obstacle = io.obstacle(knob.path) else { return true }
            reasons.append(obstacle.reason)
            return false
        }
    }

    private func resources(_ parameters: JSON.Object) throws(VerbFailure) -> [Resource] {
        guard let wanted = parameters["resource"], wanted != .null else { return Resource.allCases }
        guard let text = wanted.string, let resource = Resource(rawValue: text) else {
            throw VerbFailure(
                isTransient: false,
                reason: "parameters.resource: must be \"cpu\" or \"gpu\", or be left out for both")
        }
        return [resource]
    }

    func shown(_ path: String) -> String { path.hasPrefix("/") ? root.real(path) : path }

    func failureText(_ what: String, _ reasons: [String]) -> String {
        // The first few tell the cause; hundreds of processors say the same.
        let few = reasons.prefix(4).joined(separator: "; ")
        let rest = reasons.count > 4 ? "; and \(reasons.count - 4) more" : ""
        return "\(what): \(few)\(rest)"
    }
}

/// Text without the white space around it.
func trimmed(_ text: String) -> String {
    var rest = text[...]
    while rest.last?.isWhitespace == true { rest.removeLast() }
    while rest.first?.isWhitespace == true { rest.removeFirst() }
    return String(rest)
}
