import Glibc

/// Deletes the selected files of a tree, or only says which it would.
package struct Sweep {
    package var selection: FileSelection
    package var openFiles: OpenFiles
    /// Everything but the deleting itself.
    package var isDryRun: Bool
    /// Asked often; why to stop, if so.
    package var stop: (WalkReport) -> WalkReport.End?
    /// Called with each name before it is deleted; for tests that make a mess at the worst moment.
    var beforeDeleting: ((UnsafePointer<CChar>) -> Void)?

    package init(
        _ selection: FileSelection, openFiles: OpenFiles, isDryRun: Bool,
        stop: @escaping (WalkReport) -> WalkReport.End? = { _ in nil }
    ) {
        self.selection = selection
        self.openFiles = openFiles
        self.isDryRun = isDryRun
        self.stop = stop
    }

    /// Deletes below `top`. Directories stay, also those that are empty then.
    ///
    /// - `from`, `until`: as for a walk.
    package func run(
        _ top: SafeDirectory, from: WalkCursor? = nil, until: WalkCursor? = nil
    ) -> WalkReport {
        let (isDryRun, beforeDeleting) = (isDryRun, beforeDeleting)
        var walk = SafeWalk(selection, openFiles: openFiles, stop: stop) { file, report in
            beforeDeleting?(file.name)
            guard isDryRun || Self.delete(file, &report) else { return }
            report.files += 1
            report.bytes += file.bytes
        }
        return walk.run(top, from: from, until: until)
    }

    /// Takes one name out of an open directory. Whatever stands there by now: it is a name in that
    /// directory that goes, never anything that it leads to.
    private static func delete(_ file: WalkedFile, _ report: inout WalkReport) -> Bool {
        if unlinkat(file.directory.descriptor, file.name, 0) == 0 { return true }
        switch errno {
        case ENOENT, EISDIR: report.skip(.changed)
        case let code:
            let path = file.directoryPath + Array(String(cString: file.name).utf8)
            report.fail(FileFailure(.delete, MountEntry.name(path), errno: code))
        }
        return false
    }
}
