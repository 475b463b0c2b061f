import Audit
import Immunity
import Protocol

/// Messages in the audit stream that no coordinator wrote. They carry no hashes, so they cannot be taken for
/// records, nor records for them; whoever has published them, or whoever watches, is to hear of it.
struct ForeignMessages: Sendable {
    /// How many are told of one by one; the others together.
    static let toldLimit = 16
    /// Bytes of their beginning that are shown.
    private static let excerptBytes = 120

    private var told: [Rejection] = []
    private var others: (count: Int, last: ChainedRecord)?

    mutating func add(_ message: ChainedRecord) {
        guard told.count >= Self.toldLimit else {
            let excerpt = String(decoding: message.payload.prefix(Self.excerptBytes), as: UTF8.self)
            return told.append(
                Self.rejection(
                    message.subject,
                    "message \(message.sequence) of \(Subjects.auditStream) carries no hashes, so no "
                        + "coordinator wrote it: it is no record, and nothing is done for it",
                    excerpt: String(Name.quoted(excerpt).dropFirst().dropLast())))
        }
        others = ((others?.count ?? 0) + 1, message)
    }

    /// What is to be said about them.
    var rejections: [Rejection] {
        guard let others else { return told }
        let rest = Self.rejection(
            others.last.subject,
            "\(others.count) more of \(Subjects.auditStream), the last of them message "
                + "\(others.last.sequence), carry no hashes either", excerpt: "")
        return told + [rest]
    }

    private static func rejection(
        _ subject: String, _ reason: String, excerpt: String
    ) -> Rejection {
        Rejection(
            subject: subject, node: Rejection.unknownNode, field: "", reason: reason,
            excerpt: excerpt)
    }
}
