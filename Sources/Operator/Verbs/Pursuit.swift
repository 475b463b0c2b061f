import Protocol
import Runtime
import Synchronization

/// Follows an alert through the audit until it is clear what came of it, and shows each step.
final class Pursuit: Sendable {
    /// How long to follow unless `--timeout` says otherwise: longer than a command may take.
    private static let limit: Duration = .seconds(60)
    /// The same for `ok`, about which there may be nothing to record.
    private static let clearLimit: Duration = .seconds(3)

    /// How long nothing may be heard before the coordinator is asked what it knows.
    private static let patience: Duration = .seconds(2)

    /// What came of the alert.
    struct Conclusion: Sendable, Equatable {
        var code: ExitCode
        var text: String
    }

    /// What is known so far. Pure.
    struct State: Sendable {
        /// The alert's id.
        var id: String
        var incident: String?
        /// The last record that was looked at.
        var place: UInt64?
        var records: [JSON] = []
        var conclusion: Conclusion?

        init(id: String) { self.id = id }
    }

    private let context: Context
    private let alert: Alert
    private let state: Mutex<State>

    init(_ alert: Alert, _ context: Context) {
        self.alert = alert
        self.context = context
        state = Mutex(State(id: alert.id ?? ""))
    }

    /// Shows each record that belongs to the alert, as it comes.
    ///
    /// - `place`: the last record from before the alert.
    /// - Returns: whether what was done succeeded; `unreachable` when nobody deals with the alert.
    func follow(_ link: Link, after place: UInt64) async throws -> ExitCode {
        let usual = alert.severity == .ok ? Self.clearLimit : Self.limit
        let limit = try context.invocation.duration("timeout", default: usual)
        let stream = try await AuditStream(link)
        let isClear = try await read(stream, after: place, for: min(limit, Self.patience))
        if !isClear, limit > Self.patience, try await !isKnown(link, after: place) {
            // From the start again would show everything twice.
            let place = state.withLock { $0.place } ?? place
            _ = try await read(stream, after: place, for: limit - Self.patience)
        }
        let end = state.withLock { $0 }
        let conclusion = end.conclusion ?? end.silence(about: alert, after: limit, at: link.url)
        if context.isJSON {
            context.print([
                "alert": .object(alert.object), "records": .array(end.records),
                "conclusion": .string(conclusion.text),
            ])
        } else {
            context.out.line(Text.safe(conclusion.text))
        }
        return conclusion.code
    }

    /// Reads new records until it is clear what came of the alert, or the time is over.
    private func read(
        _ stream: AuditStream, after place: UInt64, upTo end: UInt64 = .max, for limit: Duration
    ) async throws -> Bool {
        do {
            try await withTimeLimit(limit) { [self] in
                try await stream.read((place + 1)...end) { message in
                    guard let record = AuditRecord(message) else { return true }
                    return !take(record)
                }
            }
        } catch is TimeLimitExceeded {}
        return state.withLock { $0.conclusion != nil }
    }

    /// Whether there is an incident about it already: a repeat that comes too soon is not recorded.
    ///
    /// - Throws: `Failure` with `unreachable` when there is no coordinator to ask.
    private func isKnown(_ link: Link, after place: UInt64) async throws -> Bool {
        guard state.withLock({ $0.incident == nil }) else { return false }
        let incidents = try await link.ask("incidents").list("incidents")
        let known = incidents.first { incident in
            incident.text("node") == alert.node && incident.text("type") == alert.type
                && incident.text("resource") == alert.resource
                && incident.flag("drill") == alert.drill
        }
        guard let known else { return false }
        // This very alert may have opened it: then its record, which comes before, is in the stream by now.
        let stream = try await AuditStream(link)
        let place = state.withLock { $0.place } ?? place
        if stream.end > place,
            try await read(stream, after: place, upTo: stream.end, for: Self.limit)
        {
            return true
        }
        guard state.withLock({ $0.incident == nil }) else { return false }
        state.withLock { $0.isKnown(as: known.text("incident")) }
        return true
    }

    /// Whether it is clear now.
    private func take(_ record: AuditRecord) -> Bool {
        let (isNews, isClear) = state.withLock { state in
            state.place = record.sequence
            return (state.take(record.object), state.conclusion != nil)
        }
        if isNews, !context.isJSON {
            for line in StoryTeller.lines(of: record.object, context.out.style) {
                context.out.line(line)
            }
        }
        return isClear
    }
}

extension Pursuit.State {
    /// Takes a record into account.
    ///
    /// - Returns: whether it belongs to the alert.
    mutating func take(_ record: JSON.Object) -> Bool {
        let kind = record.text("kind")
        let isAlert = kind == "alert" && record.object("alert").text("id") == id
        let isRejection = kind == "rejected" && record.text("excerpt").contains(id)
        let isSequel = incident != nil && record.text("incident") == incident
        guard isAlert || isRejection || isSequel else { return false }
        records.append(.object(record))
        if isAlert { incident = record["incident"]?.string ?? incident }
        conclusion = conclude(record) ?? conclusion
        return true
    }

    /// What a record settles; `nil`: more must follow.
    private func conclude(_ record: JSON.Object) -> Pursuit.Conclusion? {
        let reason = record.text("reason")
        switch record.text("kind") {
        case "rejected": return .init(code: .failed, text: "The alert was rejected.")
        case "alert": return concludeAlert(record)
        case "decision":
            switch record.text("verdict") {
            case "wait": return .init(code: .done, text: "Nothing is done for now: \(reason).")
            case "escalate": return .init(code: .failed, text: "A human is needed: \(reason).")
            default: return nil
            }
        case "result":
            // After a failure the ladder goes on: to another try, the next action, or a human.
            guard record.text("status") == "done", record.text("outcome") == "succeeded" else {
                return nil
            }
            let result = record.object("result")
            guard !result.flag("dry_run") else {
                return .init(
                    code: .done, text: "\(record.text("action")) would be done; it was a dry run.")
            }
            guard result["undo"] != nil else {
                return .init(code: .done, text: "\(record.text("action")) is done.")
            }
            return .init(
                code: .done,
                text: "\(record.text("action")) is in force; "
                    + Text.command("undo", record.text("action_id")) + " takes it back.")
        default: return nil
        }
    }

    private func concludeAlert(_ record: JSON.Object) -> Pursuit.Conclusion? {
        switch record.text("effect") {
        case "opened", "worsened", "returned": return nil
        case "cleared": return .init(code: .done, text: "The symptom counts as gone.")
        case "repeated", "eased":
            return Self.known(incident ?? id)
        default:
            return .init(code: .failed, text: "Nothing is done: \(record.text("reason")).")
        }
    }

    /// Takes into account that there is an incident about the same already.
    mutating func isKnown(as incident: String) { conclusion = Self.known(incident) }

    private static func known(_ incident: String) -> Pursuit.Conclusion {
        .init(
            code: .done,
            text: "The incident is known; \(Text.command("explain", incident)) tells what is being "
                + "done about it.")
    }

    /// What it means that no more came.
    func silence(
        about alert: Alert, after limit: Duration, at url: String
    ) -> Pursuit.Conclusion {
        if let incident {
            return .init(
                code: .failed,
                text: "Nothing has been done within \(Text.short(limit)); "
                    + Text.command("explain", incident) + " tells how it stands.")
        }
        if alert.severity == .ok {
            return .init(
                code: .done,
                text: "Nothing was recorded: there is no incident about it that could have cleared."
            )
        }
        return .init(
            code: .unreachable,
            text:
                "No coordinator at \(url) has dealt with the alert within \(Text.short(limit)), and "
                + "it stays stored for the next one; `skos status` tells whether there is one.")
    }
}
