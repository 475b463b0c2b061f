import Platform
import Protocol

/// What an action can make slower.
package enum Resource: String, Sendable, CaseIterable { case cpu, gpu }

/// The mechanisms that limit a processor or a graphics chip.
package enum KnobKind: String, Sendable, CaseIterable {
    /// `cpufreq/policyN/scaling_max_freq`, kHz.
    case cpufreq
    /// `intel_pstate/max_perf_pct`, percent.
    case intelPstate = "intel_pstate"
    /// `intel-rapl:N/constraint_M_power_limit_uw`, µW.
    case rapl
    /// `cpu.max` of a control group: µs of processor time in each period.
    case cgroup
    /// The power limit of an NVIDIA GPU, mW.
    case nvidia
    /// `power1_cap` of amdgpu, µW.
    case amdgpu
    /// `powerN_max` of Intel's xe and i915, µW.
    case intelGPU = "intel_gpu"

    package var resource: Resource {
        switch self {
        case .cpufreq, .intelPstate, .rapl, .cgroup: .cpu
        case .nvidia, .amdgpu, .intelGPU: .gpu
        }
    }
}

/// One knob of this node and where it stands.
package struct Knob: Sendable, Equatable {
    /// The prefix of `path` for a GPU's power limit, which is no file; its UUID follows.
    package static let nvidiaPrefix = "nvidia:"

    package var kind: KnobKind
    /// A path of the node without the host root, or `nvidia:UUID`.
    package var path: String
    /// What it says now, byte for byte: this is what is restored.
    package var text: String
    /// The same as a number; `.max`: unlimited.
    package var value: Int64
    /// What 100 % is; `nil`: the value it had before it was first touched.
    package var full: Int64?
    /// It is never set below this.
    package var floor: Int64
    /// It takes only multiples of this.
    package var step: Int64
    /// What to restore where the value that is read now is not what was once set.
    package var assumedOriginal: String?

    /// Where N percent less puts it.
    /// - `original`: the value before it was first touched.
    package func target(percentLess percent: Int, original: Int64) -> Int64 {
        let full = full ?? original
        // Divided first: values in µW times a hundred still fit, but cgroup values need not.
        let (quotient, rest) = full.quotientAndRemainder(dividingBy: 100)
        let wanted = quotient * Int64(100 - percent) + rest * Int64(100 - percent) / 100
        let stepped = wanted / step * step
        return stepped >= floor ? stepped : (floor + step - 1) / step * step
    }
}

/// The texts of knobs as numbers and back.
package enum KnobText {
    /// The period that the kernel uses where `cpu.max` has none, in µs.
    static let defaultPeriod: Int64 = 100_000

    /// The number in a knob's text, or `nil` for anything a knob does not say.
    package static func value(_ text: String, kind: KnobKind) -> Int64? {
        guard kind == .cgroup else { return Int64(sysfs: Array(text.utf8)) }
        let words = text.split(whereSeparator: \.isWhitespace)
        guard let quota = words.first else { return nil }
        return quota == "max" ? .max : Int64(quota)
    }

    /// The text that sets a knob to a number; what else the old text said is kept.
    package static func text(_ value: Int64, kind: KnobKind, like old: String) -> String {
        let end = old.hasSuffix("\n") ? "\n" : ""
        guard kind == .cgroup else { return "\(value)\(end)" }
        return "\(value) \(period(old))\(end)"
    }

    /// The period of a `cpu.max`, in µs.
    static func period(_ text: String) -> Int64 {
        let words = text.split(whereSeparator: \.isWhitespace)
        guard words.count > 1, let period = Int64(words[1]), period > 0 else {
            return defaultPeriod
        }
        return period
    }
}

/// A knob, or something that looks like one, as `skos doctor` shows it.
package struct KnobDescription: Sendable, Equatable {
    package var kind: KnobKind
    /// The real path, host root included, or `nvidia:UUID`.
    package var path: String
    /// What it says now, when it can be read.
    package var value: String?
    /// Why it cannot be used, and how to mend that; `nil`: it can.
    package var obstacle: String?
}

/// What was recorded of one knob before it was changed; a member of an action's undo record.
struct KnobRecord: Equatable {
    var kind: KnobKind
    var path: String
    /// The text to restore.
    var original: String
    /// The text that was, or is to be, written.
    var target: String

    init(kind: KnobKind, path: String, original: String, target: String) {
        self.kind = kind
        self.path = path
        self.original = original
        self.target = target
    }

    init?(_ json: JSON) {
        guard let object = json.object, let kind = object["kind"]?.string.flatMap(KnobKind.init),
            let path = object["path"]?.string, let original = object["original"]?.string,
            let target = object["target"]?.string
        else { return nil }
        self.init(kind: kind, path: path, original: original, target: target)
    }

    var json: JSON {
        [
            "kind": .string(kind.rawValue), "path": .string(path), "original": .string(original),
            "target": .string(target),
        ]
    }

    var originalValue: Int64? { KnobText.value(original, kind: kind) }
    var targetValue: Int64? { KnobText.value(target, kind: kind) }

    /// The knobs in an action's undo record.
    static func all(in undo: JSON.Object) -> [KnobRecord] {
        (undo["knobs"]?.array ?? []).compactMap(KnobRecord.init)
    }
}
