import Platform
import Settings
import Testing

@testable import MeshHealer

@Suite("The module mesh")
struct MeshModuleTests {
    @Test("is called as the command line calls it")
    func name() { #expect(MeshModule(hostRoot: HostRoot(), config: Config()).name == "mesh") }
}
