import Foundation
import Protocol
import Testing

@testable import Settings

/// Edits of a real file in a real folder, in all the ways in which files are edited.
@Suite(.timeLimit(.minutes(10))) struct WatcherTests {
    private let folder: TemporaryFolder
    private var path: String { folder.path + "/config.yaml" }

    init() throws { folder = try TemporaryFolder() }

    /// A file whose warning threshold tells one edit from another.
    private func yaml(_ warning: Int) -> String { "thermal: {thresholds: {warning: \(warning)}}\n" }

    /// Writes into the file that is there, as a shell's `>` does.
    private func write(_ text: String, to path: String? = nil) throws {
        try Data(text.utf8).write(to: URL(filePath: path ?? self.path), options: [])
    }

    /// Writes another file and renames it over the old one, as editors do.
    private func replace(with text: String) throws {
        try Data(text.utf8).write(to: URL(filePath: path), options: .atomic)
    }

    /// A running watcher of the file, with a stream that has heard of everything from its start.
    private func watch(
        timing: ConfigWatcher.Timing = .init(), usesNotices: Bool = true
    ) throws -> (ConfigWatcher, Changes) {
        let loaded = try ConfigLoader.load(file: path, environment: [:])
        let watcher = ConfigWatcher(
            loaded, environment: [:], timing: timing, usesNotices: usesNotices)
        let changes = Changes(watcher)
        watcher.start()
        return (watcher, changes)
    }

    /// The changes of a watcher that is stopped when this goes away.
    private final class Changes {
        private let watcher: ConfigWatcher
        private var iterator: AsyncStream<ConfigWatcher.Change>.Iterator

        init(_ watcher: ConfigWatcher) {
            self.watcher = watcher
            iterator = watcher.changes().makeAsyncIterator()
        }

        deinit { watcher.stop() }

        /// Waits for the next change; the suite's time limit ends a wait in vain.
        func next() async -> ConfigWatcher.Change? { await iterator.next(isolation: #isolation) }

        /// The warning threshold of the next change, `nil` when it is a refusal.
        func nextWarning() async -> Double? {
            guard case .applied(let loaded)? = await next() else { return nil }
            return loaded.config.thermal.thresholds.warning
        }
    }

    // MARK: Ways to save

    @Test(arguments: [true, false])
    func writingInPlace(_ usesNotices: Bool) async throws {
        try write(yaml(60))
        let (watcher, changes) = try watch(usesNotices: usesNotices)
        for warning in [61, 62, 63] {
            try write(yaml(warning))
            #expect(await changes.nextWarning() == Double(warning))
        }
        #expect(watcher.current.config.thermal.thresholds.warning == 63)
    }

    @Test(arguments: [true, false])
    func renamingOver(_ usesNotices: Bool) async throws {
        try write(yaml(60))
        let (_, changes) = try watch(usesNotices: usesNotices)
        for warning in [61, 62, 63] {
            try replace(with: yaml(warning))
            #expect(await changes.nextWarning() == Double(warning))
        }
    }

    /// Kubernetes: config.yaml → ..data/config.yaml, and ..data is a link that is renamed over.
    @Test(arguments: [true, false])
    func swappingALink(_ usesNotices: Bool) async throws {
        func install(_ warning: Int) throws {
            let version = "\(folder.path)/..v\(warning)"
            try FileManager.default.createDirectory(
                atPath: version, withIntermediateDirectories: false)
            try write(yaml(warning), to: version + "/config.yaml")
            let link = folder.path + "/..tmp"
            #expect(symlink("..v\(warning)", link) == 0)
            #expect(rename(link, folder.path + "/..data") == 0)
        }
        try install(60)
        #expect(symlink("..data/config.yaml", path) == 0)
        let (_, changes) = try watch(usesNotices: usesNotices)
        for warning in [61, 62, 63] {
            try install(warning)
            #expect(await changes.nextWarning() == Double(warning))
        }
    }

    @Test(arguments: [true, false])
    func deletingAndMakingAgain(_ usesNotices: Bool) async throws {
        try write(yaml(60))
        let (watcher, changes) = try watch(usesNotices: usesNotices)
        try FileManager.default.removeItem(atPath: path)
        let gone = ConfigError(issues: [.init(file: path, message: "does not exist")])
        #expect(await changes.next() == .refused(gone))
        #expect(watcher.lastError == gone)
        #expect(watcher.current.config.thermal.thresholds.warning == 60)
        // The same text again: in force as before, but the error is over.
        try write(yaml(60))
        #expect(await changes.nextWarning() == 60)
        #expect(watcher.lastError == nil)
        try write(yaml(61))
        #expect(await changes.nextWarning() == 61)
    }

    @Test func replacingTheWholeFolder() async throws {
        let inner = folder.path + "/inner"
        let file = inner + "/config.yaml"
        func make(_ warning: Int) throws {
            try FileManager.default.createDirectory(
                atPath: inner, withIntermediateDirectories: false)
            try write(yaml(warning), to: file)
        }
        try make(60)
        let loaded = try ConfigLoader.load(file: file, environment: [:])
        let watcher = ConfigWatcher(loaded, environment: [:])
        let changes = Changes(watcher)
        watcher.start()
        #expect(rename(inner, folder.path + "/old") == 0)
        try make(61)
        var warning = await changes.nextWarning()
        // Whether the moment without a file was noticed is a matter of luck.
        if warning == nil { warning = await changes.nextWarning() }
        #expect(warning == 61)
        try write(yaml(62), to: file)
        #expect(await changes.nextWarning() == 62)
    }

    @Test func savingBeforeTheStart() async throws {
        try write(yaml(60))
        let loaded = try ConfigLoader.load(file: path, environment: [:])
        try write(yaml(61))
        let watcher = ConfigWatcher(loaded, environment: [:])
        let changes = Changes(watcher)
        watcher.start()
        #expect(await changes.nextWarning() == 61)
    }

    // MARK: What is saved

    @Test func aMistakeChangesNothing() async throws {
        try write(yaml(60))
        let (watcher, changes) = try watch()
        let before = watcher.current
        let message = "60 is not above warning (75, the default)"
        let error = ConfigError(issues: [
            .init(
                file: path, line: 1, column: 24, path: "thermal.thresholds.critical",
                message: message)
        ])
        try write("thermal: {thresholds: {critical: 60}, for: 5s}\n")
        #expect(await changes.next() == .refused(error))
        #expect(watcher.current == before)
        #expect(watcher.lastError == error)
        try write(yaml(61))
        #expect(await changes.nextWarning() == 61)
        #expect(watcher.lastError == nil)
    }

    @Test func theEnvironmentStillWins() async throws {
        try write(yaml(60))
        let environment = ["WARNING_TEMP": "50"]
        let watcher = ConfigWatcher(
            try ConfigLoader.load(file: path, environment: environment), environment: environment)
        let changes = Changes(watcher)
        watcher.start()
        try write(yaml(61))
        #expect(await changes.nextWarning() == 50)
    }

    @Test func savingTheSameIsNoChange() async throws {
        try write(yaml(60))
        let (_, changes) = try watch()
        // Time to be seen one by one; were one of them a change, it would be the next one heard of.
        try await Task.sleep(for: .milliseconds(200))
        try write(yaml(60))
        try await Task.sleep(for: .milliseconds(200))
        try replace(with: yaml(60))
        try await Task.sleep(for: .milliseconds(200))
        #expect(utimes(path, nil) == 0)
        try await Task.sleep(for: .milliseconds(200))
        try replace(with: yaml(61))
        #expect(await changes.nextWarning() == 61)
    }

    @Test func halfOfAnEditIsNotTakenForTheWhole() async throws {
        try write(yaml(60))
        // More patience than any machine needs between the two writes below.
        let (watcher, changes) = try watch(timing: .init(patience: .seconds(60)))
        // Who begins to write before the watcher listens cannot be heard.
        try write(yaml(59))
        #expect(await changes.nextWarning() == 59)
        let file = open(path, O_WRONLY | O_TRUNC)
        #expect(file >= 0)
        let half = "thermal:\n  thresholds: {warning: 61}\n"
        #expect(Glibc.write(file, half, half.utf8.count) == half.utf8.count)
        // Several times what a closed file needs to be taken for finished.
        try await Task.sleep(for: .milliseconds(400))
        #expect(watcher.current.config.thermal.thresholds.warning == 59)
        let rest = "  for: 7s\n"
        #expect(Glibc.write(file, rest, rest.utf8.count) == rest.utf8.count)
        close(file)
        guard case .applied(let loaded)? = await changes.next() else {
            Issue.record("the whole edit should be applied")
            return
        }
        #expect(loaded.config.thermal.holdFor == .seconds(7))
    }

    @Test func aWriterThatNeverFinishesDoesNotHoldUpAnEdit() async throws {
        try write(yaml(60))
        let (_, changes) = try watch()
        let file = open(path, O_WRONLY | O_TRUNC)
        defer { close(file) }
        let text = yaml(61)
        #expect(Glibc.write(file, text, text.utf8.count) == text.utf8.count)
        #expect(await changes.nextWarning() == 61)
    }

    // MARK: Listeners

    @Test func everyListenerHearsEverything() async throws {
        try write(yaml(60))
        let (watcher, first) = try watch()
        let second = Changes(watcher)
        try write(yaml(61))
        #expect(await first.nextWarning() == 61)
        #expect(await second.nextWarning() == 61)
    }

    @Test func stoppingEndsTheStreams() async throws {
        try write(yaml(60))
        let (watcher, changes) = try watch()
        watcher.stop()
        #expect(await changes.next() == nil)
        #expect(await Changes(watcher).next() == nil)
        watcher.stop()
    }

    @Test func withoutAFileThereIsNothingToWatch() async throws {
        let watcher = ConfigWatcher(
            try ConfigLoader.load(file: nil, environment: [:]), environment: [:])
        watcher.start()
        watcher.stop()
        #expect(watcher.current.file == nil)
    }
}
