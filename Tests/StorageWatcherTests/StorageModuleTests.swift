import Antibody
import Platform
import Settings
import Testing

@testable import StorageWatcher

@Suite("The module storage")
struct StorageModuleTests {
    @Test("is called as the command line calls it")
    func name() { #expect(StorageModule(hostRoot: HostRoot(), config: Config()).name == "storage") }

    /// What the node's own file says, and the actions that are not offered then.
    struct Offer: Sendable, CustomTestStringConvertible {
        var name: String
        var tools = CleaningTools()
        var withheld: Set<String>
        var edit: @Sendable (inout Config.Local) -> Void = { _ in }
        var testDescription: String { name }
    }

    static let all: Set = [
        "cleanup_temp", "cleanup_logs", "emergency_cleanup", "archive_old_data",
    ]
    private static var archiving: CleaningTools {
        var tools = CleaningTools()
        (tools.tar, tools.zstd) = ("/usr/bin/tar", "/usr/bin/zstd")
        return tools
    }
    private static var journaling: CleaningTools {
        var tools = CleaningTools()
        tools.journalctl = "/usr/bin/journalctl"
        return tools
    }
    private static func none(_ local: inout Config.Local) {
        (local.cleanupTemp.roots, local.cleanupLogs.roots) = ([], [])
    }

    static let offers = [
        Offer(name: "nothing said", withheld: ["archive_old_data"]),
        Offer(name: "no roots", withheld: all) { none(&$0) },
        Offer(
            name: "only the journal", tools: journaling,
            withheld: ["cleanup_temp", "archive_old_data"]
        ) { none(&$0) },
        Offer(name: "the journal left alone", tools: journaling, withheld: all) {
            none(&$0)
            $0.journalMax = 0
        },
        Offer(name: "roots that are not there", withheld: ["archive_old_data"]) {
            ($0.cleanupTemp.roots, $0.cleanupLogs.roots) = (["/nowhere/a"], ["/nowhere/b"])
        },
        Offer(name: "an archive", tools: archiving, withheld: []) {
            ($0.archive.roots, $0.archive.destination) = (["/nowhere/c"], "/nowhere/d")
        },
        Offer(name: "an archive without tar", withheld: ["archive_old_data"]) {
            ($0.archive.roots, $0.archive.destination) = (["/nowhere/c"], "/nowhere/d")
        },
        Offer(name: "an archive of nothing", tools: archiving, withheld: ["archive_old_data"]) {
            $0.archive.destination = "/nowhere/d"
        },
    ]

    @Test("offers what the settings of the moment set up", arguments: offers)
    func offering(_ row: Offer) {
        let module = StorageModule(
            config: Config(), files: HostFiles(root: HostRoot()),
            source: StorageScanner.Source(HostRoot()),
            cleaner: Cleaner(root: HostRoot(), tools: row.tools, stateDirectory: "/nowhere"))
        #expect(Set(module.verbs().map(\.name)) == Self.all)
        var config = Config()
        row.edit(&config.local)
        #expect(module.withheld(config) == row.withheld)
    }
}
