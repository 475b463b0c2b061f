import Settings
import Testing

@testable import LoopBreaker

@Suite("The module loop")
struct LoopModuleTests {
    @Test("is called as the command line calls it")
    func name() { #expect(LoopModule(config: Config()).name == "loop") }
}
