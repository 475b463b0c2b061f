import CSodium

/// The hash chain over the records of the audit stream.
///
/// Each record carries two headers: `Skos-Prev`, the hash of the record before it, and `Skos-Hash` =
/// SHA-256(text of `Skos-Prev` ‖ payload), both as 64 lowercase hexadecimal digits. So a record cannot be
/// changed, removed, inserted or moved without every hash after it being wrong. In a shell:
/// `printf %s "$prev$payload" | sha256sum`.
package enum AuditChain {
    package static let previousHeader = "Skos-Prev"
    package static let hashHeader = "Skos-Hash"
    /// What the first record has for a previous hash.
    package static let genesis = String(repeating: "0", count: 64)

    /// The hash of a record.
    package static func hash(previous: String, payload: UnsafeRawBufferPointer) -> String {
        var state = crypto_hash_sha256_state()
        crypto_hash_sha256_init(&state)
        var previous = previous
        previous.withUTF8 { bytes in
            update(&state, UnsafeRawBufferPointer(bytes))
        }
        update(&state, payload)
        var digest = [UInt8](repeating: 0, count: 32)
        crypto_hash_sha256_final(&state, &digest)
        return hexadecimal(digest)
    }

    /// The hash of a record.
    package static func hash(previous: String, payload: [UInt8]) -> String {
        payload.withUnsafeBytes { hash(previous: previous, payload: $0) }
    }

    private static func update(
        _ state: inout crypto_hash_sha256_state, _ bytes: UnsafeRawBufferPointer
    ) {
        guard let start = bytes.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return }
        crypto_hash_sha256_update(&state, start, UInt64(bytes.count))
    }

    private static func hexadecimal(_ digest: [UInt8]) -> String {
        String(unsafeUninitializedCapacity: 2 * digest.count) { text in
            for (index, byte) in digest.enumerated() {
                for (offset, digit) in [byte >> 4, byte & 15].enumerated() {
                    text[2 * index + offset] = digit < 10 ? digit + 0x30 : digit + 0x57
                }
            }
            return 2 * digest.count
        }
    }
}

/// One record as it stands in the stream or in an export.
package struct ChainedRecord: Sendable, Equatable {
    /// Its place in the stream, from 1.
    package var sequence: UInt64
    /// `SKOS_AUDIT.<kind>`.
    package var subject: String
    package var previous: String
    package var hash: String
    /// The record's JSON, to the byte.
    package var payload: [UInt8]

    /// Whether it carries no hashes: somebody else has published it into the stream. It never was a record,
    /// and the chain goes on around it.
    package var isForeign: Bool { previous.isEmpty && hash.isEmpty }

    package init(
        sequence: UInt64, subject: String, previous: String, hash: String, payload: [UInt8]
    ) {
        self.sequence = sequence
        self.subject = subject
        self.previous = previous
        self.hash = hash
        self.payload = payload
    }
}

/// A place where the chain does not hold.
package struct ChainFault: Sendable, Equatable, CustomStringConvertible {
    package enum Kind: String, Sendable {
        /// The payload is not what was hashed.
        case edited
        /// Records are missing before this one.
        case gap
        /// It stands before or after its place.
        case order
        /// It does not follow the record before it.
        case link
        /// It is no record: it carries no hashes.
        case foreign
    }

    package var kind: Kind
    /// The record's own place in the stream.
    package var sequence: UInt64
    package var reason: String

    package var description: String { "record \(sequence): \(kind.rawValue): \(reason)" }
}

/// Walks a chain record by record and finds where it does not hold.
package struct ChainVerifier: Sendable {
    /// The place of what was checked last.
    package private(set) var sequence: UInt64
    /// The place of the last record of the chain, and its hash.
    package private(set) var head: UInt64
    package private(set) var hash: String
    /// How many records have been checked.
    package private(set) var count: UInt64 = 0

    /// Begins after a record that is known to be good; by default at the beginning of the stream.
    package init(sequence: UInt64 = 0, hash: String = AuditChain.genesis) {
        self.sequence = sequence
        head = sequence
        self.hash = hash
    }

    /// Checks the next record, and goes on from it whatever is wrong with it, so that each fault is
    /// named once.
    package mutating func check(_ record: ChainedRecord) -> [ChainFault] {
        var faults: [ChainFault] = []
        func fault(_ kind: ChainFault.Kind, _ reason: String) {
            faults.append(ChainFault(kind: kind, sequence: record.sequence, reason: reason))
        }
        let expected = sequence + 1
        if record.sequence > expected {
            let missing =
                record.sequence - 1 == expected
                ? "record \(expected) is missing"
                : "records \(expected) to \(record.sequence - 1) are missing"
            fault(.gap, missing)
        } else if record.sequence < expected {
            fault(.order, "it stands where record \(expected) is expected")
        } else if !record.isForeign, record.previous != hash {
            fault(
                .link,
                "Skos-Prev is \(record.previous.prefix(12))…, but record \(head) has the hash "
                    + "\(hash.prefix(12))…")
        }
        sequence = record.sequence
        if record.isForeign {
            fault(
                .foreign,
                "it carries no hashes, so no coordinator wrote it; the chain goes on around it")
            return faults
        }
        let actual = AuditChain.hash(previous: record.previous, payload: record.payload)
        if actual != record.hash {
            fault(
                .edited,
                "its content hashes to \(actual.prefix(12))…, but Skos-Hash is "
                    + "\(record.hash.prefix(12))…")
        }
        head = record.sequence
        hash = record.hash
        count += 1
        return faults
    }
}
