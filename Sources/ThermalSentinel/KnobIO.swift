import Antibody
import Glibc
import Platform

/// Reads and writes knobs, whatever they are made of, with the few retries that drivers need.
struct KnobIO: Sendable {
    /// Attempts for one read or write that answers "busy".
    static let attempts = 3
    /// How often a knob is read back until it says what was written: cpufreq applies a new limit a
    /// moment later, in a kernel thread. Short, because a big machine has a hundred of them.
    static let settleRounds = 5
    static let settleMilliseconds: UInt32 = 2
    static let busyMilliseconds: UInt32 = 20

    let files: any FileAccess
    let nvidia: (any NvidiaSource)?
    /// Waits some milliseconds between two attempts; tests do not wait.
    let pause: @Sendable (UInt32) -> Void

    init(
        files: any FileAccess, nvidia: (any NvidiaSource)? = nil,
        pause: @escaping @Sendable (UInt32) -> Void = { usleep($0 * 1000) }
    ) {
        self.files = files
        self.nvidia = nvidia
        self.pause = pause
    }

    /// Why a knob could not be read or written.
    struct Failure: Error, Equatable {
        var isTransient: Bool
        /// The knob is not there any more.
        var isMissing: Bool
        /// What, where, why, and how to mend it.
        var reason: String
    }

    func read(_ path: String) throws(Failure) -> String {
        try retrying { () throws(Failure) in
            if path.hasPrefix(Knob.nvidiaPrefix) {
                let uuid = String(path.dropFirst(Knob.nvidiaPrefix.count))
                guard let nvidia else { throw Self.noDriver(path) }
                do throws(NvidiaFailure) { return "\(try nvidia.powerLimit(uuid: uuid))" } catch {
                    throw Failure(path, error)
                }
            }
            do throws(FileFailure) {
                let bytes = try files.read(path, limit: HostFiles.attributeLimit)
                return String(decoding: bytes, as: UTF8.self)
            } catch { throw Failure(error) }
        }
    }

    func write(_ path: String, _ text: String) throws(Failure) {
        try retrying { () throws(Failure) in
            if path.hasPrefix(Knob.nvidiaPrefix) {
                let uuid = String(path.dropFirst(Knob.nvidiaPrefix.count))
                guard let nvidia, let value = KnobText.value(text, kind: .nvidia) else {
                    throw Self.noDriver(path)
                }
                do throws(NvidiaFailure) {
                    try nvidia.setPowerLimit(uuid: uuid, milliwatts: value)
                } catch { throw Failure(path, error) }
                return
            }
            do throws(FileFailure) { try files.write(path, Array(text.utf8)) } catch {
                throw Failure(error)
            }
        }
    }

    /// Whether a write would be let in; where that cannot be told without writing, it is assumed.
    func obstacle(_ path: String) -> Failure? {
        if path.hasPrefix(Knob.nvidiaPrefix) { return nil }
        do throws(FileFailure) { try files.checkWritable(path) } catch { return Failure(error) }
        return nil
    }

    /// Reads back until the knob says `wanted` or the rounds are over; the last value that was read.
    func settle(_ record: KnobRecord, at wanted: Int64) throws(Failure) -> Int64? {
        var value: Int64?
        for round in 0..<Self.settleRounds {
            if round > 0 { pause(Self.settleMilliseconds) }
            value = KnobText.value(try read(record.path), kind: record.kind)
            if value == wanted { break }
        }
        return value
    }

    private func retrying<T>(_ body: () throws(Failure) -> T) throws(Failure) -> T {
        var attempt = 1
        while true {
            do throws(Failure) { return try body() } catch {
                guard error.isTransient, attempt < Self.attempts else { throw error }
                attempt += 1
                pause(Self.busyMilliseconds)
            }
        }
    }

    private static func noDriver(_ path: String) -> Failure {
        Failure(isTransient: false, isMissing: true, reason: "\(path): no NVIDIA driver answers")
    }
}

extension KnobIO.Failure {
    init(_ failure: FileFailure) {
        isTransient = failure.isTransient
        isMissing = [ENOENT, ENODEV, ENXIO].contains(failure.errno)
        reason = failure.description + (Self.remedy(failure.errno).map { "; \($0)" } ?? "")
    }

    init(_ path: String, _ failure: NvidiaFailure) {
        isTransient = false
        isMissing = failure.isMissing
        reason = "\(path): \(failure.message)"
        if failure.code == NvidiaFailure.noPermission {
            reason += "; NVIDIA's driver lets only root change it: run the agent as root"
        }
    }

    /// How to mend a refused write.
    private static func remedy(_ errno: Int32?) -> String? {
        switch errno {
        case EROFS:
            "mount it writable: a container needs the host's /sys as a volume without `ro`, and "
                + "SKOS_HOST_ROOT naming where it is"
        case EACCES, EPERM:
            "run the agent as the host's root (no capability is needed), or give its user write "
                + "permission on this file"
        default: nil
        }
    }
}
