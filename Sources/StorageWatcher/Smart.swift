package import Antibody
import Glibc
package import Platform
import Protocol
import Synchronization

/// What the disks say of their own health, by `smartctl` where it is installed.
///
/// Asked seldom, outside of sampling, and never so that a sleeping disk wakes.
package final class Smart: Sendable {
    /// Time between two rounds.
    package static let interval: Duration = .seconds(30 * 60)
    /// How long one disk may take.
    static let limit: Duration = .seconds(20)
    /// Disks that are asked at most.
    static let diskLimit = 64

    private let program: String?
    private let files: any FileAccess
    private let ask: @Sendable (String) -> Subprocess.Output?
    private let known = Mutex<[String: Symptom]>([:])

    /// - Parameters:
    ///   - program: `smartctl`; `nil`: there is none, and nothing is ever said.
    ///   - files: the node's files, to find the disks.
    ///   - ask: runs it for a device; something else in tests.
    package init(
        program: String?, files: any FileAccess,
        ask: (@Sendable (String) -> Subprocess.Output?)? = nil
    ) {
        self.program = program
        self.files = files
        self.ask =
            ask ?? { device in
                try? Subprocess(
                    program ?? "", ["-j", "-a", "-n", "standby", device], timeLimit: Self.limit,
                    outputLimit: 1 << 20
                ).run()
            }
    }

    /// Whether there is anything to ask with.
    package var isPresent: Bool { program != nil }

    /// What is known of those that are there, for a sample.
    package func symptoms(_ disks: [String]) -> [Symptom] {
        let known = known.withLock { $0 }
        return disks.sorted().compactMap { known[$0] }
    }

    /// Asks all disks once. Blocks for a while.
    package func askAll() {
        guard program != nil else { return }
        let disks = disks()
        for disk in disks {
            guard let output = ask("/dev/" + disk),
                let symptom = Self.judge(disk, output)
            else { continue }
            known.withLock { $0[disk] = symptom }
        }
        known.withLock { known in known = known.filter { disks.contains($0.key) } }
    }

    /// Disks that have a device behind them: no loops, no RAM, no mappings.
    private func disks() -> [String] {
        let names = (try? files.names(in: "/sys/block")) ?? []
        let isDisk = { (name: String) in
            (name.hasPrefix("sd") || name.hasPrefix("nvme") || name.hasPrefix("hd"))
                && self.files.resolve("/sys/block/\(name)/device") != nil
        }
        return Array(names.filter(isDisk).sorted().prefix(Self.diskLimit))
    }

    /// What an answer means; `nil`: nothing, because the disk sleeps or cannot say.
    ///
    /// The exit code is a set of bits; only three of them speak of the disk as it is now.
    package static func judge(_ disk: String, _ output: Subprocess.Output) -> Symptom? {
        let code = output.exitCode
        let isUnasked = code & 0b0000_0111 != 0
        guard let answer = (try? JSON.parse(output.output))?.object else { return nil }
        let passed = answer["smart_status"]?.object?["passed"]?.bool
        guard passed != nil, !isUnasked || passed == false else { return nil }
        let isFailing = passed == false || code & 0b0000_1000 != 0
        let isWorn = code & 0b0001_0000 != 0
        let model = answer["model_name"]?.string ?? answer["scsi_model_name"]?.string ?? "a disk"
        var symptom = Symptom(
            type: "storage_smart", resource: disk, severity: .ok,
            message: "\(disk) (\(model)) is well")
        if isFailing {
            symptom.severity = .critical
            symptom.message =
                "\(disk) (\(model)) says that it is failing: copy its data and replace it"
        } else if isWorn {
            symptom.severity = .warning
            symptom.message =
                "\(disk) (\(model)): an attribute that foretells failure is at its limit"
        }
        symptom.details = details(answer, model: model, code: code)
        return symptom
    }

    private static func details(
        _ answer: JSON.Object, model: String, code: Int32
    ) -> JSON.Object {
        var details: JSON.Object = ["model": .string(model), "exit_code": .integer(Int64(code))]
        details["serial"] = answer["serial_number"]
        details["temperature_celsius"] = answer["temperature"]?.object?["current"]
        let log = answer["nvme_smart_health_information_log"]?.object
        for name in ["critical_warning", "percentage_used", "available_spare", "media_errors"] {
            details[name] = log?[name]
        }
        return details
    }
}
