package import Protocol

/// What can be broken: one chain, or everything similar between two agents.
package enum BreakKey: Sendable, Hashable {
    /// By its name in this process; see `ChainTable.key`.
    case chain(UInt64)
    case pair(Pair)
}

/// The circuit breaker of one chain or pair that is not closed.
///
/// `open`: nothing passes until `until`; then one trial does. `halfOpen`: the trial is under way, nothing
/// else passes until `until`; if no more than a few have tried by then, it closes, else it opens again.
/// What was held back counts as a try only a few times in a row: a program that asks every second has
/// sent nothing, and gets its chain back. A closed one is not kept.
struct Break: Sendable, Equatable {
    enum State: String, Sendable, CaseIterable {
        case open
        case halfOpen = "half_open"
        /// Only told to others.
        case closed
    }

    /// Who tells the fleet about it.
    enum Owner: Equatable {
        /// Somebody may have been faster; it is being found out.
        case undecided
        case ours
        case other
    }

    let key: BreakKey
    /// The chain that ran away.
    let chainID: String
    var state = State.open
    /// What the chain did; `nil`: somebody broke it by hand, and nobody needs to be alarmed.
    var verdict: Verdict?
    var reason: String
    var value: Int
    var limit: Int
    /// When it opened first; chains that were there before that are not concerned by a pair.
    var opened: Timestamp
    /// When it opened last.
    var since: Timestamp
    var until: Timestamp
    var owner = Owner.undecided
    /// The node whose agent does, when it is another one.
    var teller = ""
    /// When a message passed last that should not have; the trial is none.
    var lastPassed: Timestamp
    /// Whether people have been told that it opened; it is not calm before that.
    var isTold = false
    /// How many have tried to pass beside the trial; of a pair that is open, how many have asked without
    /// saying the like, and then have said it.
    var attempts = 0
    /// How often it has opened again.
    var reopenings = 0
    /// The chain whose message is the trial.
    var trialChain = ""
    /// Whether the trial was allowed to a program that asked, and its message is still to come.
    var awaitsTrial = false
    /// Of a pair: whether it only stops what visibly is like `contents`, since nobody but this breaker
    /// has said that it is to be broken, and few have got past it.
    var isForLikeOnly = false
    /// Since when a trial waits to be granted.
    var claimedAt: Timestamp?
    /// The revision of the shared bucket that it is from; 0: it is not there.
    var revision: UInt64 = 0
    /// How many commands have broken it, and how many of them the shared bucket has taken over.
    var commands = 0
    var storedCommands = 0
    /// What the chain said, when it was broken for that, so that a pair is only broken for the like.
    /// Empty when it was broken for a number: a runaway may say something new each time.
    var contents: [Content] = []
    var path: [String] = []
    var pairs: [Pair] = []

    init(
        _ key: BreakKey, chainID: String, _ finding: Excess?, at now: Timestamp,
        until: Timestamp
    ) {
        self.key = key
        self.chainID = chainID
        verdict = finding?.verdict
        reason = finding?.reason ?? "broken by a command"
        value = finding?.value ?? 0
        limit = finding?.limit ?? 0
        opened = now
        since = now
        self.until = until
        lastPassed = now
    }

    /// Whether the shared bucket has what the last command changed.
    var isStored: Bool { storedCommands >= commands }

    var pair: Pair? { if case .pair(let pair) = key { pair } else { nil } }

    /// Opens it again.
    mutating func reopen(because reason: String, at now: Timestamp, until: Timestamp) {
        state = .open
        self.reason = reason
        since = now
        self.until = until
        lastPassed = now
        isTold = false
        attempts = 0
        claimedAt = nil
        awaitsTrial = false
    }

    /// Lets the one trial pass.
    mutating func beginTrial(of chain: String, at now: Timestamp, until: Timestamp) {
        state = .halfOpen
        self.until = until
        attempts = 0
        claimedAt = nil
        trialChain = chain
        awaitsTrial = false
    }

    /// The clock was put right by so much.
    mutating func shift(by step: Duration) {
        opened = opened + step
        since = since + step
        until = until + step
        lastPassed = lastPassed + step
        claimedAt = claimedAt.map { $0 + step }
    }
}

/// A change of a breaker that others may want to know.
struct BreakChange: Sendable, Equatable {
    enum Kind: Equatable {
        /// A limit was exceeded here.
        case tripped
        /// A command broke it.
        case commanded
        case trial
        case reopened
        /// It is broken for another reason now.
        case worsened
        case closed
    }

    var kind: Kind
    var after: Break
}

/// What a program that asks is told.
package enum Answer: Sendable, Equatable {
    case allow
    case deny(reason: String, until: Timestamp)
    /// The cool-down is over and this would be the trial; it is to be settled whether it may pass.
    case trial(Trial)
}

/// A message that wants to be the trial of one or two breakers.
package struct Trial: Sendable, Equatable {
    package var keys: [BreakKey]
    package var envelope: Envelope
}
