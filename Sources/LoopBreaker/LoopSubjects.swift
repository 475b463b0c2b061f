/// The subjects, headers and names that the loop breaker adds.
enum LoopSubjects {
    /// Programs ask here before they send.
    static let check = "skos.chain.check"
    /// One agent of the fleet answers each question.
    static let checkers = "loop-breaker"
    /// One agent passes each message on.
    static let relays = "loop-relay"
    /// Marks a message that a relay has passed on, and counted.
    static let relayHeader = "Skos-Relay"

    /// Changes of one chain's breakers are told here.
    static func chain(_ chainID: String) -> String {
        "skos.chain.\(SharedBreak.subjectToken(chainID))"
    }

    /// Whether a subject is SKOS's or the server's own: never part of a chain.
    static func isOwn(_ subject: String) -> Bool {
        subject.hasPrefix("skos.") || subject.hasPrefix("SKOS_") || subject.hasPrefix("$")
            || subject.hasPrefix("_")
    }

    /// Whether a subject is one of those that a pattern with `*` and `>` stands for.
    static func matches(_ pattern: String, _ subject: String) -> Bool {
        var wanted = pattern.split(separator: ".", omittingEmptySubsequences: false)[...]
        var given = subject.split(separator: ".", omittingEmptySubsequences: false)[...]
        while let token = wanted.popFirst() {
            if token == ">" { return !given.isEmpty }
            guard let other = given.popFirst(), token == "*" || token == other else {
                return false
            }
        }
        return given.isEmpty
    }
}
