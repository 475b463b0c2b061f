import Audit
import Bus
import Glibc
import Protocol
import Runtime

extension Program {
    static var auditExportVerb: Verb {
        Verb(
            "audit export", "write the whole audit to a file, with its hashes",
            details: "A line of JSON for each record, byte for byte as it was written, so that "
                + "`skos audit verify FILE` can check it anywhere.",
            parameters: [
                Parameter("FILE", .optional, isFile: true, "- or nothing for standard output")
            ],
            flags: [Flag("force", "replace a file that exists")],
            examples: [
                "skos audit export audit.jsonl", "skos audit export | gzip > audit.jsonl.gz",
            ],
            run: auditExport)
    }

    @Sendable
    private static func auditExport(_ context: Context) async throws -> ExitCode {
        let path = context.invocation.arguments.first ?? "-"
        let link = try await context.connect()
        defer { link.close() }
        let stream = try await AuditStream(link)
        guard path != "-" else {
            try await write(stream, to: context.out)
            return .done
        }
        let file = try ExportFile(path, replaces: context.invocation.has("force"))
        let output = Output(descriptor: file.descriptor)
        let (count, hash) = try await write(stream, to: output)
        try file.keep()
        context.note("\(Text.count(count, "record")) in \(path), head \(hash)")
        return .done
    }

    @discardableResult
    private static func write(
        _ stream: AuditStream, to output: Output
    ) async throws -> (count: Int, hash: String) {
        var count = 0
        var hash = AuditChain.genesis
        let last = stream.end
        if last > 0 {
            try await stream.read(max(1, stream.info.firstSequence)...last) { message in
                guard let sequence = message.metadata?.streamSequence else { return true }
                let record = ChainedRecord(
                    sequence: sequence, subject: message.subject,
                    previous: message.header(AuditChain.previousHeader) ?? "",
                    hash: message.header(AuditChain.hashHeader) ?? "", payload: message.payload)
                if !record.isForeign { hash = record.hash }
                count += 1
                output.write(AuditExport.line(record) + [UInt8(ascii: "\n")])
                return !output.isClosed && sequence < last
            }
        }
        try output.flush()
        return (count, hash)
    }
}

/// A file that is there as a whole or not at all.
private final class ExportFile {
    let descriptor: CInt
    private let path: String
    private let draft: String
    private var isKept = false

    /// - Throws: `Failure` when it exists and is not to be replaced, or cannot be made.
    init(_ path: String, replaces: Bool) throws(Failure) {
        self.path = path
        draft = "\(path).\(getpid()).partial"
        guard replaces || access(path, F_OK) != 0 else {
            throw Failure(.failed, "\(path) exists already; --force replaces it")
        }
        // The audit tells much about the fleet: for its owner only.
        descriptor = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else {
            throw Failure(.failed, "\(draft) cannot be made: \(errorText(errno))")
        }
    }

    deinit {
        close(descriptor)
        if !isKept { unlink(draft) }
    }

    /// Puts the finished file in its place.
    func keep() throws(Failure) {
        guard fsync(descriptor) == 0, rename(draft, path) == 0 else {
            throw Failure(.failed, "\(path) cannot be written: \(errorText(errno))")
        }
        isKept = true
    }
}
