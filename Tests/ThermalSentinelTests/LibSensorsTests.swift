import Foundation
import Glibc
import Platform
import Testing

/// libsensors itself, on trees of real machines.
///
/// The library knows no other place than `/sys`, and wants it to be sysfs. So a thread gets a mount
/// namespace of its own, in which the fixture lies over `/sys/class` and `/sys/devices` as an overlay;
/// the rest of the process never sees it. That needs root; without it the tests say that they were
/// skipped.
@Suite(.enabled(if: PrivateSys.isPossible, "needs root and overlay mounts"))
struct LibSensorsTests {
    private func read(_ machine: String) throws -> [String: LibSensors.Temperature] {
        let machine = try FixtureMachine.load(machine + ".json")
        let all = try PrivateSys.run(
            prepare: { directory in try machine.materialise(in: directory) },
            body: { LibSensors.temperatures() })
        // By chip and channel: the library goes by readdir's order.
        return Dictionary(
            all.map { ("\($0.chip)/\($0.channel)", $0) }, uniquingKeysWith: { first, _ in first })
    }

    @Test func aTreeWithDevices() throws {
        let found = try read("node-exporter-fixture")
        // Chips behind platform devices, five sensors on each of the two; applesmc, nct6779, asus and
        // bogus have no temperature, and the chip without a name is skipped by the library.
        let cores = found.filter { $0.value.prefix == "coretemp" }
        #expect(cores.count == 10)
        #expect(cores.values.filter { $0.label == "Physical id 0" }.count == 2)
        #expect(cores.values.compactMap { try? $0.celsius.get() }.max() == 55)
        #expect(!found.values.contains { $0.label == "foosensor" })
    }

    @Test func valuesAgreeWithOurOwnReader() throws {
        for name in ["gpu-rx6900xt", "gpu-a380-xe", "desktop-it8620-disabled"] {
            let machine = try FixtureMachine.load(name + ".json")
            let tree = try machine.materialise()
            let files = tree.files
            var own: [String: Double] = [:]
            for chip in SensorTree(files: files).chips() {
                for channel in chip.channels {
                    let raw = channel.inputPath.flatMap { files.integerIfReadable($0) }
                    own["\(chip.name)/\(channel.number)"] = raw.map { Double($0) / 1000 }
                }
            }
            let library = try read(name).values.map { temperature in
                ("\(temperature.prefix)/\(temperature.channel)", try temperature.celsius.get())
            }
            #expect(Dictionary(library) { one, _ in one } == own, "\(name)")
        }
    }

    @Test func stuckAndAbsentSensorsComeThroughUnjudged() throws {
        let found = try read("desktop-it8728-stuck127")
        // Judging is ours: the library passes on what the register says.
        #expect(found.values.contains { $0.celsius == .success(127) })
        #expect(found.values.filter { $0.prefix == "coretemp" }.count == 2)
    }

    @Test func bytesOfLabelsAndFaultsComeThrough() throws {
        let found = try read("synthetic-utf8-and-errors").values
        #expect(found.contains { $0.label == "Température carte mère °C" })
        #expect(found.contains { $0.label == "Sonde \"A\" \\ {x}" && $0.isFaulty })
        // An empty file in place of a value: an error, not zero degrees.
        #expect(found.contains { if case .failure = $0.celsius { true } else { false } })
        // A label without a value is no sensor for it.
        #expect(!found.contains { $0.label == "label only" })
    }

    @Test func aNodeWithoutChipsGivesNothing() throws {
        #expect(try read("vm-firecracker-none").isEmpty)
    }
}
