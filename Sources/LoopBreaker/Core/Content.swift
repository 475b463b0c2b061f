package import Protocol

/// What a message says, in a form that can be compared: without numbers, ids and times, as a hash of
/// all its words and as a SimHash (Charikar 2002) of its pairs of words.
///
/// Agents of a fleet compare each other's, so these hashes are the same in every process. Whoever makes
/// two messages collide makes them look alike, and harms only himself.
package struct Content: Sendable, Equatable {
    /// Bytes that are looked at.
    package static let byteLimit = 8 * 1024
    /// Fewer words say too little: `ok` comes again in every conversation.
    package static let leastWords = 2
    /// From so many words on, texts are alike that differ in a few of them.
    static let leastWordsForLikeness = 16
    /// Bits in which the SimHashes of such texts may differ; about nine tenths of the word pairs are
    /// the same then.
    static let likenessBits = 6

    /// Of all words in their order.
    package var exact: UInt64
    /// Of the pairs of words.
    package var similar: UInt64
    /// Of the small numbers in their order, which tell one piece of work from the next; 0: there are
    /// none, or they are not known. They make no difference to likeness.
    package var numbers: UInt32
    /// Words, up to 65,535.
    package var words: UInt16

    package init(exact: UInt64, similar: UInt64, numbers: UInt32, words: UInt16) {
        self.exact = exact
        self.similar = similar
        self.numbers = numbers
        self.words = words
    }

    /// The content of a payload; of a JSON object only the texts in it. `nil`: too little to compare.
    package init?(payload: UnsafeRawBufferPointer) {
        if payload.first == UInt8(ascii: "{"), payload.count <= Limits.messageBytes,
            case .object(let object)? = try? JSON.parse(payload, depthLimit: Limits.messageDepth)
        {
            self.init(object)
            return
        }
        var reader = WordReader()
        reader.add(payload.prefix(Self.byteLimit))
        self.init(reader)
    }

    /// The content of a JSON message: its texts, but for those of the envelope.
    package init?(_ object: JSON.Object) {
        var reader = WordReader()
        for member in object.members where !Self.envelopeNames.contains(member.name) {
            reader.add(member.value)
        }
        self.init(reader)
    }

    private init?(_ reader: WordReader) {
        guard reader.count >= Self.leastWords else { return nil }
        exact = reader.exact
        similar = reader.simHash
        numbers = reader.numbers
        words = UInt16(clamping: reader.count)
    }

    /// Whether two messages say the same, but for numbers, ids, times and small differences.
    package func isLike(_ other: Content) -> Bool {
        if exact == other.exact { return true }
        guard min(words, other.words) >= Self.leastWordsForLikeness else { return false }
        return (similar ^ other.similar).nonzeroBitCount <= Self.likenessBits
    }

    private static let envelopeNames: Set = [
        "chain_id", "message_id", "parent_id", "depth", "iteration", "path", "tokens", "from", "to",
        "traceparent", "tracestate",
    ]
}

/// Takes texts apart into words and adds them up.
private struct WordReader {
    private(set) var count = 0
    private(set) var exact: UInt64 = StableHash.basis
    private(set) var numbers: UInt32 = 0
    private var previous: UInt64 = 0
    private var balance = [Int32](repeating: 0, count: 64)
    private var left = Content.byteLimit

    mutating func add(_ value: JSON) {
        switch value {
        case .string(let text):
            var text = text
            text.withUTF8 { add(UnsafeRawBufferPointer($0).prefix(left)) }
        case .array(let elements): for element in elements where left > 0 { add(element) }
        case .object(let object): for member in object.members where left > 0 { add(member.value) }
        case .integer(let number): if abs(Double(number)) < Self.timesBegin { add(number: number) }
        case .number(let number):
            if abs(number) < Self.timesBegin {
                add(number: Int64(truncatingIfNeeded: number.bitPattern))
            }
        case .null, .bool: break
        }
    }

    /// Numbers from here on are ids and times.
    private static let timesBegin: Double = 1_000_000
    private static let digitLimit = 6

    private mutating func add(number: Int64) {
        let mixed = StableHash.mix(UInt64(numbers) &* 31 &+ UInt64(bitPattern: number))
        numbers = max(UInt32(truncatingIfNeeded: mixed), 1)
    }

    /// Adds the words of a text: letters in lower case; whatever has a digit in it is a number, an id or
    /// a time and is left out, but for numbers of a few digits that stand alone.
    mutating func add(_ bytes: Slice<UnsafeRawBufferPointer>) {
        left -= bytes.count
        var word = StableHash.basis
        var length = 0
        var hasDigit = false
        var number: Int64 = 0
        var digits = 0
        // Whether nothing but digits has come, since a space or something like it.
        var isPlain = true
        func end() {
            if length > 0, !hasDigit { add(word: word) }
            if (1...Self.digitLimit).contains(digits), isPlain { add(number: number) }
            (word, length, hasDigit, number, digits) = (StableHash.basis, 0, false, 0, 0)
        }
        func isLetter(_ byte: UInt8) -> Bool {
            (0x61...0x7A).contains(byte) || byte >= 0x80
        }
        func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }
        for place in bytes.indices {
            var byte = bytes[place]
            if (0x41...0x5A).contains(byte) { byte |= 0x20 }
            if isLetter(byte) {
                word = StableHash.add(byte, to: word)
                length += 1
                isPlain = false
            } else if isDigit(byte) {
                hasDigit = true
                digits += 1
                if digits <= Self.digitLimit { number = number * 10 + Int64(byte - 0x30) }
            } else if byte == UInt8(ascii: "-") || byte == UInt8(ascii: "_") {
                // An id has parts without a digit.
                isPlain = false
            } else {
                // 12:30:05 is a time.
                let isTime =
                    byte == UInt8(ascii: ":") && hasDigit && place + 1 < bytes.endIndex
                    && isDigit(bytes[place + 1])
                if isTime { isPlain = false }
                end()
                isPlain = !isTime
            }
        }
        end()
    }

    private mutating func add(word: UInt64) {
        count += 1
        exact = StableHash.mix(exact &* 31 &+ word)
        let shingle = StableHash.mix(previous &+ word &* 0x9E37_79B9_7F4A_7C15)
        previous = word
        // The first word has none before it.
        guard count > 1 else { return }
        for bit in 0..<64 { balance[bit] += (shingle >> UInt64(bit)) & 1 == 1 ? 1 : -1 }
    }

    var simHash: UInt64 {
        var hash: UInt64 = 0
        for bit in 0..<64 where balance[bit] > 0 { hash |= 1 << UInt64(bit) }
        return hash
    }
}

/// A hash that is the same in every process (FNV-1a); not for keys of tables that strangers fill.
enum StableHash {
    static let basis: UInt64 = 0xCBF2_9CE4_8422_2325

    @inline(__always)
    static func add(_ byte: UInt8, to hash: UInt64) -> UInt64 {
        (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3
    }

    static func of(_ text: String, basis: UInt64 = basis) -> UInt64 {
        mix(text.utf8.reduce(basis) { add($1, to: $0) })
    }

    /// Spreads what little differs over all bits.
    @inline(__always)
    static func mix(_ value: UInt64) -> UInt64 {
        var mixed = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
