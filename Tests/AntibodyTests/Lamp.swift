import Antibody
import Foundation
import Protocol
import Settings
import Synchronization

/// A module whose hardware is a file with a number: the brightness of a lamp.
final class Lamp: AntibodyModule {
    let name = "lamp"
    let agentType = "lamp_keeper"
    let knob: String
    private let symptoms = Mutex<[Symptom]>([])
    private let applied = Mutex<[Config]>([])
    /// Read at every sample: a named pipe in its place makes the sample hang.
    private let probe: String?

    init(knob: String, probe: String? = nil) {
        self.knob = knob
        self.probe = probe
        if !FileManager.default.fileExists(atPath: knob) {
            try? "100\n".write(toFile: knob, atomically: true, encoding: .utf8)
        }
    }

    func show(_ severity: Severity?, _ resource: String = "bulb") {
        var symptom = Symptom(
            type: "light", resource: resource, severity: severity, message: "too bright")
        symptom.value = 120
        symptoms.withLock { $0 = [symptom] }
    }

    var brightness: String {
        ((try? String(contentsOfFile: knob, encoding: .utf8)) ?? "").trimmingCharacters(
            in: .whitespacesAndNewlines)
    }

    private let remembered = Mutex<[[AlertKeeper.Key: Severity]]>([])

    func recall(_ raised: [AlertKeeper.Key: Severity]) {
        remembered.withLock { $0.append(raised) }
    }

    /// What it was told at each start that earlier ones have raised.
    var recalled: [[AlertKeeper.Key: Severity]] { remembered.withLock { $0 } }

    var configs: [Config] { applied.withLock { $0 } }

    func verbs() -> [any Verb] {
        [
            Dim(name: "dim_10", knob: knob), Dim(name: "dim_50", knob: knob),
            Trap(name: "trap", knob: knob) { kill(getpid(), SIGKILL) },
            Trap(name: "fill", knob: knob) { limitFiles(to: 1) },
        ]
    }

    func sample(at now: Timestamp) async -> Sample {
        if let probe {
            let descriptor = open(probe, O_RDONLY)
            var byte: UInt8 = 0
            _ = read(descriptor, &byte, 1)
            close(descriptor)
        }
        var sample = Sample()
        sample.heartbeat = ["brightness": .string(brightness)]
        sample.metadata = ["bulbs": 1, "version": "of the bulb"]
        sample.symptoms = symptoms.withLock { $0 }
        return sample
    }

    /// Without directories to clean there is no half light.
    func withheld(_ config: Config) -> Set<String> {
        config.local.cleanupTemp.roots.isEmpty ? ["dim_50"] : []
    }

    func apply(_ config: Config) { applied.withLock { $0.append(config) } }
}

/// Writes the file; restores what it found.
struct Dim: Verb {
    let name: String
    let knob: String
    var summary: String { "dims the lamp" }
    var isReversible: Bool { true }
    var family: String { "dim" }

    private var target: String { name == "dim_10" ? "90" : "50" }

    func plan(_ call: VerbCall) throws(VerbFailure) -> VerbPlan {
        if call.parameters["fail"] != nil {
            throw VerbFailure(isTransient: false, reason: "asked to fail")
        }
        let now = try read()
        let base = call.active.first?["base"] ?? .string(now)
        return VerbPlan(undo: ["base": base], effect: ["brightness": .string(target)])
    }

    func execute(_ plan: VerbPlan) throws(VerbFailure) -> JSON.Object {
        try write(target)
        return ["brightness": .string(try read())]
    }

    func undo(
        _ undo: JSON.Object, remaining: [JSON.Object]
    ) throws(VerbFailure) -> JSON.Object {
        if remaining.isEmpty { try write(undo["base"]?.string ?? "") }
        return ["brightness": .string(try read())]
    }

    private func read() throws(VerbFailure) -> String {
        guard let text = try? String(contentsOfFile: knob, encoding: .utf8) else {
            throw VerbFailure(isTransient: true, reason: "cannot read \(knob)")
        }
        return text.trimmingCharacters(in: .whitespacesAndNewlines)
    }

    private func write(_ text: String) throws(VerbFailure) {
        do { try "\(text)\n".write(toFile: knob, atomically: false, encoding: .utf8) } catch {
            throw VerbFailure(isTransient: true, reason: "cannot write \(knob)")
        }
    }
}

/// What may be written from now on to any place of a file past so many bytes fails, as on a full disk.
func limitFiles(to bytes: UInt) {
    signal(SIGXFSZ, SIG_IGN)
    var limit = rlimit(rlim_cur: bytes, rlim_max: rlim_t.max)
    setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit)
}

/// Dims the lamp, and then makes something go wrong.
struct Trap: Verb {
    let name: String
    let knob: String
    let spring: @Sendable () -> Void
    var summary: String { "a trap" }
    var isReversible: Bool { true }
    var family: String { "dim" }

    private var dim: Dim { Dim(name: "dim_50", knob: knob) }

    func plan(_ call: VerbCall) throws(VerbFailure) -> VerbPlan { try dim.plan(call) }

    func execute(_ plan: VerbPlan) throws(VerbFailure) -> JSON.Object {
        let effect = try dim.execute(plan)
        spring()
        return effect
    }

    func undo(_ undo: JSON.Object, remaining: [JSON.Object]) throws(VerbFailure) -> JSON.Object {
        try dim.undo(undo, remaining: remaining)
    }
}
