import Foundation
import Testing

@testable import Immunity

@Suite("Simulation")
struct SimulationTests {
    /// `SKOS_SEED=n` replays one seed, `SKOS_SEEDS=n` runs that many.
    static let seeds: [UInt64] = {
        let environment = ProcessInfo.processInfo.environment
        if let seed = environment["SKOS_SEED"].flatMap(UInt64.init) { return [seed] }
        let count = environment["SKOS_SEEDS"].flatMap(Int.init) ?? 50
        return (0..<count).map(UInt64.init)
    }()

    @Test("every invariant holds whatever is lost, doubled, delayed or killed")
    func invariants() {
        var totals: [String: Int] = [:]
        for seed in Self.seeds {
            var simulation = Simulation(seed: seed)
            do { try simulation.run(steps: 400) } catch {
                Issue.record("SKOS_SEED=\(seed) at \(simulation.now): \(error)")
            }
            totals.merge(simulation.rules.counts, uniquingKeysWith: +)
            totals["restarts", default: 0] += simulation.restarts
        }
        guard Self.seeds.count >= 50 else { return }
        // A simulation in which something never happens proves nothing about it.
        let expected =
            AlertEvent.Effect.allCases.map { "alert/\($0.rawValue)" }
            + Decision.Verdict.allCases.map { "decision/\($0.rawValue)" }
            + IncidentEvent.Change.allCases.map { "incident/\($0.rawValue)" }
            + BreakerEvent.Change.allCases.map { "breaker/\($0.rawValue)" }
            + ["done", "refused", "undone", "timeout"].map { "result/\($0)" }
            + ["rejected", "operator", "config", "restarts", "clock"]
        for kind in expected { #expect(totals[kind, default: 0] >= 2, "\(kind)") }
    }

    @Test("a seed comes out the same twice")
    func determinism() throws {
        var first = Simulation(seed: 42)
        var second = Simulation(seed: 42)
        try first.run(steps: 300)
        try second.run(steps: 300)
        #expect(first.durable == second.durable)
        #expect(first.rules.counts == second.rules.counts)
        #expect(first.streamSequence == second.streamSequence)
    }
}
