import LoopBreaker
import Operator
import Settings

/// What the loop agent would do here, as far as that can be known without NATS.
extension Inspection {
    static func chains(_ config: Config) -> [Finding] {
        let loop = config.loop
        var findings: [Finding] = []
        if loop.watch.isEmpty {
            findings.append(
                Finding(
                    "chains", .ok,
                    "no subjects are watched: only programs that ask (skos.chain.check) are judged")
            )
        } else {
            findings.append(
                Finding("chains", .ok, "watched: " + loop.watch.joined(separator: ", ")))
        }
        if loop.limits.depth == 0, loop.limits.iterations == 0 {
            findings.append(
                Finding(
                    "chains", .warn,
                    "a chain may go on for ever: it has no limit of depth or iterations",
                    remedy: "set loop.limits.depth or loop.limits.iterations"))
        }
        if let relay = loop.relay {
            let text = "relay: \(relay.source) → \(relay.target)"
            if let flaw = LoopModule.flaw(of: relay) {
                findings.append(
                    Finding(
                        "chains", .warn, "\(text) does not work: \(flaw)", remedy: "mend loop.relay"
                    ))
            } else {
                findings.append(Finding("chains", .ok, text))
            }
        }
        return findings
    }
}
