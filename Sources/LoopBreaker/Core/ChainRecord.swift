import Protocol

/// What is known of one chain, in a form that a million of them fit into memory.
///
/// Ids and names are kept as hashes. The first messages are kept here; with the third one a chain gets
/// a `ChainDetail`.
struct ChainRecord: Sendable {
    /// One of the first messages. The order of the members leaves no gaps.
    struct Step: Sendable {
        /// Without words: nothing to compare.
        var content = Content(exact: 0, similar: 0, numbers: 0, words: 0)
        var depth: UInt16 = 0
        var from: UInt32 = 0
        var to: UInt32 = 0
        var message: UInt32 = 0
        var parent: UInt32 = 0
    }

    /// Messages that are kept here.
    static let stepLimit = 2
    static let noDetail: Int32 = -1

    /// The chain's name, hashed; 0: the record is free.
    var key: UInt64 = 0
    var tokens: UInt64 = 0
    var count: UInt32 = 0
    var depth: UInt32 = 0
    /// In hundredths of a second since the table was made.
    var firstSeen: UInt32 = 0
    var lastSeen: UInt32 = 0
    /// Where its detail is.
    var detail = noDetail
    var first = Step()
    var second = Step()

    /// A chain that lives for months is taken to be a year old at most, since ticks begin anew.
    private static let oldest: UInt32 = 1 << 31

    mutating func see(at ticks: UInt32) {
        lastSeen = ticks
        if ticks &- firstSeen > Self.oldest { firstSeen = ticks &- Self.oldest }
    }
}

/// What is known of a chain beyond its record, once it has gone on for a while. Bounded in every part.
struct ChainDetail: Sendable {
    struct Agent: Sendable {
        var hash: UInt32
        var name: String
        /// Hops at which the last message reached it; `nil`: none has.
        var depth: UInt32?
        /// Messages it has sent since then.
        var sent: UInt32 = 0
    }

    struct Message: Sendable {
        var hash: UInt32
        /// `nil`: it is known only as the parent of others.
        var depth: UInt32?
        var children: UInt32 = 0
    }

    struct Said: Sendable {
        var from: UInt32
        var to: UInt32
        var at: UInt32
        var content: Content
        var depth: UInt16
    }

    /// From one place in `agents` to another.
    struct Edge: Sendable {
        var from: UInt8
        var to: UInt8
    }

    static let agentLimit = 32
    static let messageLimit = 64
    static let saidLimit = 48
    static let edgeLimit = 32

    /// The chain whose detail it is.
    var owner: UInt64
    var lastUsed: UInt32 = 0
    var agents: [Agent] = []
    var messages = Ring<Message>(limit: messageLimit)
    var said = Ring<Said>(limit: saidLimit)
    /// The latest ways between agents.
    var edges = Ring<Edge>(limit: edgeLimit)
    /// Messages in a row that said nothing new.
    var stale: UInt32 = 0
    /// When the minute began in which messages are counted, and how many there were.
    var minute: UInt32 = 0
    var inMinute: UInt32 = 0

    init(owner: UInt64) { self.owner = owner }

    /// The place of an agent in `agents`, made if there is room.
    mutating func place(of hash: UInt32, _ name: String?) -> Int? {
        if let place = agents.firstIndex(where: { $0.hash == hash }) {
            if let name, agents[place].name.isEmpty { agents[place].name = name }
            return place
        }
        guard agents.count < Self.agentLimit else { return nil }
        agents.append(Agent(hash: hash, name: name ?? ""))
        return agents.count - 1
    }
}

/// The last few of many.
struct Ring<Element> {
    private(set) var elements: [Element] = []
    private var oldest = 0
    let limit: Int

    init(limit: Int) { self.limit = limit }

    mutating func append(_ element: Element) {
        if elements.count < limit {
            elements.append(element)
        } else {
            elements[oldest] = element
            oldest = (oldest + 1) % limit
        }
    }

    /// Changes the element at a place of `elements`.
    mutating func change(_ place: Int, _ body: (inout Element) -> Void) { body(&elements[place]) }

    var last: Element? {
        elements.isEmpty ? nil : elements[(oldest + elements.count - 1) % elements.count]
    }

    /// Oldest first.
    var inOrder: [Element] { Array(elements[oldest...] + elements[..<oldest]) }
}

extension Ring: Sendable where Element: Sendable {}
