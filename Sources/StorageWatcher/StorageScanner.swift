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
                } catch {
                    let isDead = [ENOTCONN, ESTALE, EHOSTDOWN].contains(error.errno)
                    return isDead
                        ? .dead(reason: error.description) : .failed(reason: error.description)
                }
            }
        }
    }

    private struct State {
        var selector: MountSelector
        /// The last text and what was chosen of it: it seldom changes.
        var text: [UInt8] = []
        var mounts: [MountEntry] = []
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
        reader = PatientReader(limit: readLimit, read: source.ask)
        state = Mutex(State(selector: Self.selector(settings)))
    }

    private static func selector(_ settings: Config.Storage) -> MountSelector {
        MountSelector(include: settings.include, exclude: settings.exclude)
    }

    package func apply(_ settings: Config.Storage) {
        state.withLock { $0 = State(selector: Self.selector(settings)) }
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
        let mounts = choose(try text.get())
        let answers = await reader.readAll(mounts)
        return ZFSPools.merge(
            mounts.map { mount in
                switch answers[mount] {
                case .value(let answer): MountObservation(mount: mount, answer: answer)
                case .hung: MountObservation(mount: mount, answer: .hung)
                case .unread, nil: MountObservation(mount: mount, answer: .unread)
                }
            })
    }

    private func choose(_ text: [UInt8]) -> [MountEntry] {
        state.withLock { state in
            if text != state.text {
                state.text = text
                state.mounts = state.selector.select(MountTable.parse(text))
            }
            return state.mounts
        }
    }
}
