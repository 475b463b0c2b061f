import Platform
import Settings
import Testing

@testable import StorageWatcher

@Suite("The module storage")
struct StorageModuleTests {
    @Test("is called as the command line calls it")
    func name() { #expect(StorageModule(hostRoot: HostRoot(), config: Config()).name == "storage") }
}
