import Foundation
import LoopBreaker
import Protocol
import Settings

extension Bench {
    /// A million live chains: what each takes of this process' memory, how fast their messages are
    /// counted, and how long a question takes among them.
    func chains(count: Int) {
        let loop = Config().loop
        let start = Timestamp(seconds: 1_700_000_000)
        var judge = ChainJudge(limits: loop.limits, cooldown: loop.cooldown, at: start)
        let before = residentBytes()
        let begun = ContinuousClock.now
        for number in 0..<count { judge.observe(Self.envelope(number), at: start) }
        let took = ContinuousClock.now - begun
        let bytes = Double(residentBytes() - before) / Double(count)
        let rate = Double(count) / took.inSeconds

        var times: [Double] = []
        times.reserveCapacity(count / 10)
        var random = SystemRandomNumberGenerator()
        for _ in 0..<(count / 10) {
            let envelope = Self.envelope(Int.random(in: 0..<count, using: &random))
            let asked = ContinuousClock.now
            let answer = judge.ask(envelope, at: start)
            times.append((ContinuousClock.now - asked).inSeconds * 1e6)
            precondition(answer == .allow, "a question about an honest chain is allowed")
        }
        times.sort()
        let (middle, high) = (times[times.count / 2], times[times.count * 99 / 100])
        add(
            Row(
                name: "\(count) live chains, bytes each (RSS)", floor: "–",
                skos: String(format: "%.0f", bytes), ratio: "–", line: "≤ 200",
                holds: bytes <= 200))
        add(
            Row(
                name: "messages of new chains counted a second", floor: "–",
                skos: String(format: "%.0f", rate), ratio: "–", line: "–"))
        add(
            Row(
                name: "a question among \(count) chains, in the judge, p50; p99", floor: "–",
                skos: String(format: "%.1f µs; %.1f µs", middle, high), ratio: "–", line: "–"))
    }

    private static func envelope(_ number: Int) -> Envelope {
        var envelope = Envelope(chainID: "chain-\(number)")
        envelope.from = "writer"
        envelope.to = "critic"
        return envelope
    }

    private func residentBytes() -> Int {
        let text = (try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8)) ?? ""
        return (Int(text.split(separator: " ").dropFirst().first ?? "") ?? 0) * Int(getpagesize())
    }
}

extension Duration {
    fileprivate var inSeconds: Double {
        Double(components.seconds) + Double(components.attoseconds) * 1e-18
    }
}
