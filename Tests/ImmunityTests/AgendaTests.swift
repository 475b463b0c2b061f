import Protocol
import Testing

@testable import Immunity

@Suite("Agenda")
struct AgendaTests {
    @Test("gives out what is due, in the order of time and name, as a plain list would")
    func model() {
        for seed in 0..<50 as Range<UInt64> {
            var dice = Dice(seed: seed)
            var agenda = Agenda()
            var model: [String: Int64] = [:]
            var now: Int64 = 0
            for _ in 0..<500 {
                let id = "i\(dice.roll(0...20))"
                switch dice.roll(1...10) {
                case 1:
                    agenda.schedule(id, at: nil)
                    model[id] = nil
                case 2...7:
                    let time = now + Int64(dice.roll(-2...20))
                    agenda.schedule(id, at: Timestamp(seconds: time))
                    model[id] = time
                default:
                    now += Int64(dice.roll(0...5))
                    let due = model.filter { $0.value <= now }
                        .sorted { ($0.value, $0.key) < ($1.value, $1.key) }.map(\.key)
                    var popped: [String] = []
                    while let id = agenda.popDue(at: Timestamp(seconds: now)) { popped.append(id) }
                    #expect(popped == due, "seed \(seed)")
                    for id in due { model[id] = nil }
                }
                let next = model.values.min().map(Timestamp.init(seconds:))
                #expect(agenda.next == next, "seed \(seed)")
            }
        }
    }
}
