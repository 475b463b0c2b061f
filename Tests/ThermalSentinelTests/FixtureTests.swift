import Antibody
import Foundation
import Platform
import Protocol
import Settings
import TestSupport
import Testing
import ThermalSentinel

/// Every machine of Tests/Fixtures/sensors is read as its traps argue.
@Suite struct FixtureTests {
    @Test func allMachinesAreThere() throws {
        let names = try FileManager.default.contentsOfDirectory(atPath: FixtureMachine.directory)
            .filter { $0.hasSuffix(".json") }
        #expect(names.count == 36)
        for name in names { _ = try FixtureMachine.load(name) }
        #expect(FixtureMachine.all.allSatisfy { !$0.expect.why.isEmpty })
    }

    @Test(arguments: FixtureMachine.all)
    func isReadAsArgued(_ machine: FixtureMachine) async throws {
        let tree = try machine.materialise()
        let module = ThermalModule(
            files: machine.access(tree), config: Config(), extra: try machine.extraSensors(tree),
            readLimit: .seconds(60))
        let sample = await module.sample(at: at(0))

        #expect(sample.heartbeat["cpu_temp"]?.double == machine.expect.cpuTemp)
        #expect(sample.heartbeat["gpu_temp"]?.double == machine.expect.gpuTemp)
        var counts: [String: Int] = [:]
        for state in sample.states.values { counts[state, default: 0] += 1 }
        #expect(counts == machine.expect.states)
        // One sample is never enough for a severity.
        #expect(sample.symptoms.allSatisfy { $0.severity == nil })
    }

    @Test(arguments: FixtureMachine.all)
    func namesAreClassified(_ machine: FixtureMachine) {
        for (name, expected) in machine.expect.classes {
            #expect(machine.names.contains(name), "\(name) is not in the tree")
            #expect(SensorClassifier.classify(name).rawValue == expected, "\(name)")
        }
    }

    @Test(arguments: FixtureMachine.all)
    func knobsAreFoundLoweredAndRestored(_ machine: FixtureMachine) throws {
        let tree = try machine.materialise()
        let module = ThermalModule(files: machine.access(tree), config: Config())
        let expected = machine.expect.knobs
        let usable = module.knobs().filter { $0.obstacle == nil }
        #expect(Set(usable.map(\.path)) == Set(expected.keys.map { "/sys/" + $0 }))
        let verbs = module.verbs().filter(\.isListed)
        #expect(verbs.map(\.name) == (expected.isEmpty ? [] : ["throttle_10", "throttle_50"]))
        guard let verb = verbs.last else { return }

        let plan = try verb.plan(VerbCall(parameters: JSON.Object()))
        _ = try verb.execute(plan)
        for (path, values) in expected { #expect(try tree.get(path) == values[1] + "\n") }
        _ = try verb.undo(plan.undo, remaining: [])
        for (path, values) in expected { #expect(try tree.get(path) == values[0] + "\n") }
    }

    @Test func bytesThatAreNoTextAreReplaced() throws {
        let machine = try FixtureMachine.load("sysfs-invalid-utf8.json")
        let tree = try machine.materialise()
        let text = try tree.files.text("/sys/class/power_supply/BAT0/serial")
        #expect(text == "LNV-5B10W13894\u{FFFD}\u{FFFD}")
    }

    @Test func samplesOfAllMachinesFitTheirBounds() async throws {
        for machine in FixtureMachine.all {
            let tree = try machine.materialise()
            let tree2 = machine.access(tree)
            let sample = await ThermalModule(
                files: tree2, config: Config(), readLimit: .seconds(60)
            ).sample(at: at(0))
            #expect(sample.states.count <= ThermalReport.maxListed)
            #expect(sample.metadata["sensors_omitted"] == nil, "\(machine.machine)")
        }
    }
}

extension FixtureMachine {
    /// `nvidia-smi` of machines that have one: a program that answers our question with their values.
    func extraSensors(_ tree: NodeTree) throws -> [any ExtraSensors] {
        guard let line = files["nvidia-smi.csv"] else { return [] }
        // index, name, uuid, driver, …, temperature, power draw, power limit
        let fields = line.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
        let answer = [fields[2], fields[1], fields[6], fields[8], "[N/A]", "[N/A]"]
        let program = tree.directory.path + "/nvidia-smi"
        let script = """
            #!/bin/sh
            test "$1 $2" = "--query-gpu=uuid,name,temperature.gpu,power.limit,power.min_limit,\
            power.max_limit --format=csv,noheader,nounits" || exit 2
            echo "\(answer.joined(separator: ", "))"

            """
        try Script.write(script, to: program)
        return [NvidiaSensors(source: NvidiaSMI(program: program), files: tree.files)]
    }
}
