import Runtime

/// What the loop breaker counts.
final class LoopMeters: Sendable {
    let observed: Counter
    let unchained: Counter
    let rejected: Counter
    let allowed: Counter
    let denied: Counter
    let malformed: Counter
    let passed: Counter
    let dropped: Counter
    let unshared: Counter

    init(_ metrics: Metrics) {
        let watched = "Watched messages."
        observed = metrics.counter(
            "skos_loop_messages_total", watched, labels: ["kind": "chain"])
        unchained = metrics.counter(
            "skos_loop_messages_total", watched, labels: ["kind": "no_chain"])
        rejected = metrics.counter(
            "skos_loop_messages_total", watched, labels: ["kind": "rejected"])
        let checks = "Questions of programs before they send."
        allowed = metrics.counter("skos_loop_checks_total", checks, labels: ["answer": "allow"])
        denied = metrics.counter("skos_loop_checks_total", checks, labels: ["answer": "deny"])
        malformed = metrics.counter("skos_loop_checks_total", checks, labels: ["answer": "error"])
        let relay = "Messages that came to the relay."
        passed = metrics.counter("skos_loop_relay_total", relay, labels: ["result": "passed"])
        dropped = metrics.counter("skos_loop_relay_total", relay, labels: ["result": "dropped"])
        unshared = metrics.counter(
            "skos_loop_share_failures_total",
            "Changes of breakers that could not be written to the shared bucket.")
    }
}
