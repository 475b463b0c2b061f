import Protocol

/// Every chain that is alive, in bounded memory.
///
/// When it is full, the chain that has been quiet for longest, of a few that are looked at, makes room;
/// chains with details are spared while there are others.
struct ChainTable: Sendable {
    /// Records that are allocated together.
    private static let slabSize = 1024
    /// Records that are looked at for one that can go.
    private static let samples = 16
    /// Records that one sweep looks at.
    static let sweepSize = 8192
    /// A chain that is quiet for this long is over: 30 minutes.
    static let idleTicks: UInt32 = 30 * 60 * 100

    let limit: Int
    let detailLimit: Int
    private var places: [UInt64: UInt32] = [:]
    private var slabs: [ContiguousArray<ChainRecord>] = []
    private var free: [UInt32] = []
    /// Records that have ever been used.
    private var used = 0
    private var details: [ChainDetail?] = []
    private var freeDetails: [Int32] = []
    private var hand = 0
    private var detailHand = 0
    private var base: Timestamp
    /// The latest time that was seen, in ticks.
    private var latest: UInt32 = 0
    /// Chains that were forgotten for want of room.
    private(set) var evicted = 0

    init(limit: Int, detailLimit: Int, at now: Timestamp) {
        precondition(limit > 0 && detailLimit > 0, "a table has room for something")
        self.limit = limit
        self.detailLimit = detailLimit
        base = now
    }

    var count: Int { places.count }
    var detailCount: Int { details.count - freeDetails.count }

    /// Hundredths of a second since the table was made. They begin anew after sixteen months, so only
    /// what is closer together than that is compared, by its distance (`&-`) and never by size.
    func ticks(_ time: Timestamp) -> UInt32 {
        UInt32(truncatingIfNeeded: (time - base).wholeNanoseconds / 10_000_000)
    }

    /// The clock was put right: everything was that much later than it seemed.
    mutating func shift(by step: Duration) { base = base + step }

    /// A chain's name in this process. Seeded, so that nobody can make two names collide.
    static func key(_ id: String) -> UInt64 {
        var hasher = Hasher()
        hasher.combine(id)
        let key = UInt64(bitPattern: Int64(hasher.finalize()))
        return key == 0 ? 1 : key
    }

    /// The name of an agent or a message in this process; 0 stands for none.
    static func hash(_ name: String?) -> UInt32 {
        guard let name else { return 0 }
        let hash = UInt32(truncatingIfNeeded: key(name))
        return hash == 0 ? 1 : hash
    }

    private subscript(place: Int) -> ChainRecord {
        get { slabs[place / Self.slabSize][place % Self.slabSize] }
        set { slabs[place / Self.slabSize][place % Self.slabSize] = newValue }
    }

    /// Where a chain is kept; `nil` when it is not known.
    func place(of key: UInt64) -> Int? { places[key].map(Int.init) }

    func record(at place: Int) -> ChainRecord { self[place] }

    func detail(of record: ChainRecord) -> ChainDetail? {
        record.detail < 0 ? nil : details[Int(record.detail)]
    }

    /// Where a chain is kept, made if it is not known.
    mutating func makePlace(for key: UInt64, at ticks: UInt32) -> Int {
        latest = ticks
        if let place = places[key] { return Int(place) }
        if places.count >= limit { makeRoom() }
        let place: Int
        if let last = free.popLast() {
            place = Int(last)
        } else {
            place = used
            used += 1
            if place / Self.slabSize == slabs.count {
                slabs.append(
                    ContiguousArray(repeating: ChainRecord(), count: Self.slabSize))
            }
        }
        places[key] = UInt32(place)
        var record = ChainRecord()
        record.key = key
        record.firstSeen = ticks
        record.lastSeen = ticks
        self[place] = record
        return place
    }

    /// Changes a record and, where there is one, its detail, in place.
    mutating func change(
        _ place: Int, _ body: (inout ChainRecord, inout ChainDetail?) -> Void
    ) {
        let index = Int(self[place].detail)
        if index >= 0 {
            body(&slabs[place / Self.slabSize][place % Self.slabSize], &details[index])
        } else {
            var none: ChainDetail?
            body(&slabs[place / Self.slabSize][place % Self.slabSize], &none)
        }
    }

    /// Gives a chain a detail; of another chain, if there are too many.
    mutating func makeDetail(_ place: Int, _ detail: ChainDetail) {
        let index: Int
        if let last = freeDetails.popLast() {
            index = Int(last)
        } else if details.count < detailLimit {
            index = details.count
            details.append(nil)
        } else {
            index = takeDetail()
        }
        details[index] = detail
        self[place].detail = Int32(index)
    }

    /// Forgets a chain.
    mutating func remove(_ place: Int) {
        let record = self[place]
        guard record.key != 0 else { return }
        if record.detail >= 0 {
            details[Int(record.detail)] = nil
            freeDetails.append(record.detail)
        }
        places[record.key] = nil
        self[place] = ChainRecord()
        free.append(UInt32(place))
    }

    /// Forgets some of the chains that are over.
    mutating func sweep(at now: Timestamp) {
        latest = ticks(now)
        for _ in 0..<min(Self.sweepSize, used) {
            hand = (hand + 1) % used
            let record = self[hand]
            if record.key != 0, latest &- record.lastSeen > Self.idleTicks { remove(hand) }
        }
    }

    private mutating func makeRoom() {
        var victim: Int?
        var best = (hasDetail: true, quiet: UInt32(0))
        for _ in 0..<Self.samples {
            hand = (hand + 1) % used
            let record = self[hand]
            guard record.key != 0 else { continue }
            let candidate = (hasDetail: record.detail >= 0, quiet: latest &- record.lastSeen)
            let isBetter =
                victim == nil || (best.hasDetail && !candidate.hasDetail)
                || (best.hasDetail == candidate.hasDetail && candidate.quiet > best.quiet)
            if isBetter { (victim, best) = (hand, candidate) }
        }
        // Full means that every record is in use, so there is one.
        guard let victim else { return }
        remove(victim)
        evicted += 1
    }

    /// Takes the detail of the chain that has used its own least lately, of a few.
    private mutating func takeDetail() -> Int {
        var victim = detailHand
        var longest: UInt32 = 0
        for _ in 0..<Self.samples {
            detailHand = (detailHand + 1) % details.count
            guard let detail = details[detailHand] else { continue }
            let quiet = latest &- detail.lastUsed
            if quiet >= longest { (victim, longest) = (detailHand, quiet) }
        }
        if let owner = details[victim]?.owner, let place = places[owner] {
            self[Int(place)].detail = ChainRecord.noDetail
        }
        return victim
    }
}

extension ChainTable {
    /// Bytes that it takes for its chains, from what its parts have room for; what details point to comes
    /// on top. For tests and benchmarks.
    var bytes: Int {
        // A dictionary has room for three quarters of a power of two.
        let digits = Int.bitWidth - max(0, places.capacity - 1).leadingZeroBitCount
        let buckets = 1 << digits
        let bucket = MemoryLayout<UInt64>.stride + MemoryLayout<UInt32>.stride
        let slab = Self.slabSize * MemoryLayout<ChainRecord>.stride
        return buckets * bucket + buckets / 8 + slabs.count * slab
            + slabs.capacity * MemoryLayout<ContiguousArray<ChainRecord>>.stride
            + free.capacity * MemoryLayout<UInt32>.stride
            + details.capacity * MemoryLayout<ChainDetail?>.stride
            + freeDetails.capacity * MemoryLayout<Int32>.stride
    }
}
