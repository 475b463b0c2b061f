import Audit
import Bus
import Protocol

extension Program {
    static var auditVerifyVerb: Verb {
        Verb(
            "audit verify", "check that nobody has changed the audit",
            details:
                "Walks the chain of hashes from the first record to the last, in the stream, or "
                + "in a file that `skos audit export` wrote. Names every place where a record was "
                + "edited, is missing, does not stand where it belongs, or is none, and exits with 1 "
                + "then.",
            parameters: [
                Parameter("FILE", .optional, isFile: true, "an export, - for standard input")
            ],
            examples: ["skos audit verify", "skos audit export | ssh vault skos audit verify -"],
            run: auditVerify)
    }

    @Sendable
    private static func auditVerify(_ context: Context) async throws -> ExitCode {
        var check: AuditCheck
        if let file = context.invocation.arguments.first {
            check = AuditCheck(file: file == "-" ? "standard input" : file, context)
            try check.readExport(file)
        } else {
            check = AuditCheck(file: nil, context)
            let link = try await context.connect()
            defer { link.close() }
            try await check.readStream(try await AuditStream(link))
        }
        check.conclude()
        return check.isSound ? .done : .failed
    }
}

/// One check of an audit: finds faults, shows them as they are found, and sums up.
struct AuditCheck {
    /// Faults that are shown; more are only counted.
    static let shownFaults = 1000

    private let file: String?
    private let context: Context
    private var verifier = ChainVerifier()
    private var faultCount = 0
    private var faults: [JSON] = []
    /// What protects the stream; empty for a file.
    private var settings = JSON.Object()

    init(file: String?, _ context: Context) {
        self.file = file
        self.context = context
    }

    var isSound: Bool { faultCount == 0 }

    // MARK: Reading

    mutating func readExport(_ path: String) throws(Failure) {
        var lines = try LineReader(path)
        while let line = try lines.next() {
            // An empty line at the end is an editor's doing.
            if line.isEmpty { continue }
            do throws(MessageError) {
                try check(AuditExport.record(line), line: lines.number)
            } catch {
                report(nil, "not a record: \(error)", line: lines.number)
            }
        }
    }

    mutating func readStream(_ stream: AuditStream) async throws {
        for setting in ["deny_delete", "deny_purge"] {
            let isSet = stream.info.setting(setting) == "true"
            settings[setting] = .bool(isSet)
            if !isSet {
                report(nil, "\(setting) is not set: records can be taken out", line: nil)
            }
        }
        let last = stream.end
        if last > 0 {
            var check = self
            try await stream.read(1...last) { message in
                check.take(message)
                return true
            }
            self = check
        }
        let end = stream.info.lastSequence
        if end > last {
            let missing =
                end == last + 1
                ? "record \(end), the last one, is missing"
                : "records \(last + 1) to \(end), the last ones, are missing"
            report(nil, "gap: \(missing)", line: nil)
        }
    }

    private mutating func take(_ message: BusMessage) {
        guard let sequence = message.metadata?.streamSequence else { return }
        check(
            ChainedRecord(
                sequence: sequence, subject: message.subject,
                previous: message.header(AuditChain.previousHeader) ?? "",
                hash: message.header(AuditChain.hashHeader) ?? "", payload: message.payload),
            line: nil)
    }

    private mutating func check(_ record: ChainedRecord, line: Int?) {
        let faults = verifier.check(record)
        for fault in faults {
            report(fault.sequence, "\(fault.kind.rawValue): \(fault.reason)", line: line)
        }
        // The hash does not cover the subject, which says nothing that the record does not say.
        guard faults.isEmpty, let kind = (try? JSON.parse(record.payload))?.object?.text("kind"),
            record.subject != Subjects.audit(kind)
        else { return }
        report(
            record.sequence,
            "edited: its subject is \(record.subject), but its kind is \(Name.quoted(kind))",
            line: line)
    }

    // MARK: Reporting

    private mutating func report(_ sequence: UInt64?, _ reason: String, line: Int?) {
        faultCount += 1
        guard faultCount <= Self.shownFaults else { return }
        if context.isJSON {
            var fault = JSON.Object()
            fault["line"] = line.map { .integer(Int64($0)) }
            fault["sequence"] = sequence.map { .integer(Int64(clamping: $0)) }
            fault["reason"] = .string(reason)
            faults.append(.object(fault))
        } else {
            let place = [file, line.map(String.init)].compactMap(\.self).joined(separator: ":")
            let record = sequence.map { "record \($0): " } ?? ""
            let text = (place.isEmpty ? "" : place + ": ") + record + reason
            context.out.write(context.out.style.paint(Text.safe(text), .red) + "\n")
        }
    }

    /// Shows the sum of it.
    func conclude() {
        let count = Int(clamping: verifier.count)
        if context.isJSON {
            var answer: JSON.Object = [
                "sound": .bool(isSound), "records": .integer(Int64(count)),
                "head": [
                    "sequence": .integer(Int64(clamping: verifier.head)),
                    "hash": .string(verifier.hash),
                ],
                "fault_count": .integer(Int64(faultCount)), "faults": .array(faults),
            ]
            answer["file"] = file.map(JSON.string)
            answer["stream"] = settings.isEmpty ? nil : .object(settings)
            return context.print(.object(answer))
        }
        if faultCount > Self.shownFaults {
            context.out.write("… and \(faultCount - Self.shownFaults) more\n")
        }
        let style = context.out.style
        let found = isSound ? "all as they were written" : Text.count(faultCount, "fault")
        context.out.write(
            style.paint("\(Text.count(count, "record")): \(found)", isSound ? .green : .red) + "\n")
        context.out.write("head: record \(verifier.head), \(verifier.hash)\n")
        guard !settings.isEmpty, isSound else { return }
        context.out.write("the stream denies deletion and purging\n")
    }
}
