import Glibc
package import Platform
package import Settings
import Synchronization

/// Looks at all mounts of the node, and is never kept waiting by those that hang.
package final class StorageScanner: Sendable {
    /// How long the looks may take together before the one under way counts as hung.
    package static let readLimit: Duration = .seconds(2)

    /// The node, or what stands in for it in a test.
    package struct Source: Sendable {
        /// The text of the list of mounts.
        package var table: @Sendable () -> Result<[UInt8], FileFailure>
        /// Asks one mount; may hang.
        package var ask: @Sendable (MountEntry) -> MountObservation.Answer

        package init(
            table: @escaping @Sendable () -> Result<[UInt8], FileFailure>,
            ask: @escaping @Sendable (MountEntry) -> MountObservation.Answer
        ) {
            self.table = table
            self.ask = ask
        }

        /// The mounts of a node.
        package init(_ root: HostRoot) {
            table = {
                do throws(FileFailure) { return .success(try MountTable.read(root)) } catch {
                    return .failure(error)
                }
            }
            ask = { mount in
                do throws(FileFailure) {
                    let usage = try FileSystemUsage.read(mount, root: root)
                    return usage.map { .usage($0) } ?? .hidden
                } catch { return StorageScanner.answer(error) }
            }
        }
    }

    /// What a file system answers whose server, disk or process is gone.
    private static let deadly: Set<Int32> = [
        ENOTCONN, ESTALE, EHOSTDOWN, EIO, EREMOTEIO, ENODEV, ENXIO, ENOLINK, ETIMEDOUT, ESHUTDOWN,
        ECONNREFUSED, ECONNABORTED, ECONNRESET, EHOSTUNREACH, ENETDOWN, ENETUNREACH,
    ]

    /// What a failure to ask a mount says of it.
    static func answer(_ failure: FileFailure) -> MountObservation.Answer {
        failure.errno.map(deadly.contains) ?? false
            ? .dead(reason: failure.description) : .failed(reason: failure.description)
    }

    private struct State {
        var selector: MountSelector
        /// The last text and what was chosen of it: it seldom changes.
        var text: [UInt8] = []
        var choices: [MountSelector.Choice] = []
    }

    private let source: Source
    private let tableWorker = TimedWorker(maxHung: 1)
    private let reader: PatientReader<MountEntry, MountObservation.Answer>
    private let readLimit: Duration
    private let state: Mutex<State>

    package init(
        source: Source, settings: Config.Storage, readLimit: Duration = StorageScanner.readLimit
    ) {
        self.source = source
        self.readLimit = readLimit
        reader = PatientReader(
            limit: readLimit, origin: MountSelector.origin, read: source.ask)
        state = Mutex(
            State(
                selector: MountSelector(include: settings.include, exclude: settings.exclude)))
    }

    package func apply(_ settings: Config.Storage) {
        state.withLock { state in
            let selector = MountSelector(
                include: settings.include, exclude: settings.exclude, after: state.selector)
            state = State(selector: selector)
        }
    }

    /// How many looks have not come back.
    package var hungCount: Int { reader.hungCount + tableWorker.hungCount }

    /// One look at everything.
    ///
    /// - Throws: why the list of mounts cannot be read.
    package func scan() async throws(FileFailure) -> [MountObservation] {
        let source = source
        guard let text = await tableWorker.run(limit: readLimit, { source.table() }) else {
            throw FileFailure(.read, "the list of mounts", errno: ETIMEDOUT)
        }
        let choices = try choose(try text.get())
        let answers = await reader.readAll(choices.map { Self.asked($0.mount) })
        return ZFSPools.merge(
            choices.map { choice in
                let answer: MountObservation.Answer
                switch answers[Self.asked(choice.mount)] {
                case .value(let value): answer = value
                case .hung: answer = .hung
                case .unread, nil: answer = .unread
                }
                return MountObservation(
                    mount: choice.mount, answer: answer, isLocked: choice.isLocked)
            })
    }

    /// A mount without what may change of it: one that hangs stays the same one when it is mounted anew.
    private static func asked(_ mount: MountEntry) -> MountEntry {
        var mount = mount
        mount.id = 0
        (mount.isReadOnly, mount.isSystemReadOnly, mount.hasFailed) = (false, false, false)
        return mount
    }

    /// - Throws: that the list makes no sense. It must not look as if nothing were mounted any more.
    private func choose(_ text: [UInt8]) throws(FileFailure) -> [MountSelector.Choice] {
        try state.withLock { state throws(FileFailure) in
            if text != state.text {
                let entries = MountTable.parse(text)
                guard !entries.isEmpty else {
                    throw FileFailure(.read, "the list of mounts", errno: ENODATA)
                }
                state.text = text
                state.choices = state.selector.select(entries)
            }
            return state.choices
        }
    }
}
