import Glibc
package import Platform
import Settings

/// Programs of the node that know better than we do what may go.
package struct CleaningTools: Sendable, Equatable {
    /// `systemd-tmpfiles`; `nil`: there is none.
    package var tmpfiles: String?
    /// `journalctl`.
    package var journalctl: String?
    package var tar: String?
    package var zstd: String?
    package var smartctl: String?

    package init() {}

    /// Those that the machine has. In a container the host's cannot be run.
    package static func find(_ root: HostRoot) -> CleaningTools {
        var tools = CleaningTools()
        tools.tar = find("tar")
        tools.zstd = find("zstd")
        tools.smartctl = find("smartctl")
        guard root.isMachine else { return tools }
        tools.tmpfiles = find("systemd-tmpfiles")
        tools.journalctl = find("journalctl")
        return tools
    }

    private static func find(_ name: String) -> String? {
        ["/usr/bin/", "/usr/sbin/", "/bin/", "/sbin/"].map { $0 + name }
            .first { access($0, X_OK) == 0 }
    }
}

extension Cleaner {
    /// How long one of the programs may take.
    static let toolLimit: Duration = .seconds(8)
    /// Where journald keeps its files.
    private static let journals = ["/var/log/journal", "/run/log/journal"]

    /// Lets systemd clean the roots by its own rules.
    func runTmpfiles(
        _ cleanup: Config.Cleanup, on target: Target, isDryRun: Bool,
        _ session: inout CleaningSession
    ) {
        // Its rules know ages only; where the node's file wants patterns, it is not asked.
        guard let program = tools.tmpfiles, cleanup.patterns.contains("*") else { return }
        // The walk that follows tells why a root is not used.
        var unused = CleaningReport()
        let roots = open(cleanup.roots, on: target, &unused)
        defer { for root in roots { root.directory.close() } }
        guard let first = roots.first else { return }
        let arguments = ["--clean"] + roots.map { "--prefix=" + $0.path }
        run(program, arguments, on: first.directory, isDryRun: isDryRun, &session)
    }

    /// Lets journald throw old archived journals away.
    func vacuumJournal(
        _ limit: Int64, on target: Target, isDryRun: Bool, _ session: inout CleaningSession
    ) {
        guard limit > 0, let program = tools.journalctl else { return }
        var unused = CleaningReport()
        let journals = open(Self.journals, on: target, &unused)
        defer { for journal in journals { journal.directory.close() } }
        guard let first = journals.first else { return }
        // Only what is archived is thrown away; without a running journald there is nothing to rotate.
        if !isDryRun { _ = try? Subprocess(program, ["--rotate"], timeLimit: Self.toolLimit).run() }
        run(program, ["--vacuum-size=\(limit)"], on: first.directory, isDryRun: isDryRun, &session)
    }

    private func run(
        _ program: String, _ arguments: [String], on directory: SafeDirectory, isDryRun: Bool,
        _ session: inout CleaningSession
    ) {
        let command = ([program] + arguments).joined(separator: " ")
        guard !isDryRun else {
            return session.report.add(tool: command, freed: nil, note: nil)
        }
        let before = try? FileSystemUsage(descriptor: directory.descriptor)
        let limit = min(Self.toolLimit, session.rest)
        var note: String?
        do throws(Subprocess.Failure) {
            let output = try Subprocess(program, arguments, timeLimit: limit).run()
            if output.exitCode != 0 { note = "it ended with code \(output.exitCode)" }
        } catch { note = error.description }
        let after = try? FileSystemUsage(descriptor: directory.descriptor)
        // Others write at the same time; less than nothing was not freed.
        let freed = before.flatMap { before in
            after.map { Int64(clamping: before.used) - Int64(clamping: $0.used) }
        }
        session.report.add(tool: command, freed: freed.map { max($0, 0) }, note: note)
    }
}
