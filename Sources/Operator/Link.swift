package import Bus
package import Protocol

/// The way to NATS, and to the coordinator behind it.
package struct Link: Sendable {
    package var connection: Connection
    /// How long an answer may take.
    package var timeout: Duration
    /// The addresses that were tried, without passwords.
    package var tried: String

    package init(connection: Connection, timeout: Duration, tried: String) {
        self.connection = connection
        self.timeout = timeout
        self.tried = tried
    }

    /// Ends it.
    package func close() { connection.close() }

    /// The server's address.
    package var url: String { connection.connectedURL ?? tried }

    /// Pages that a long list may have; more than any fleet needs.
    private static let pageLimit = 10_000

    /// Asks the coordinator: `skos.api.<verb>`. A list that comes in pages is put together.
    ///
    /// - Throws: `Failure` with `unreachable` when nobody answers, with `failed` when it says no.
    package func ask(
        _ verb: String, _ parameters: JSON.Object = JSON.Object()
    ) async throws(Failure) -> JSON.Object {
        var whole = try await askOnce(verb, parameters)
        for _ in 0..<Self.pageLimit {
            guard let next = whole["next"]?.string, let list = whole[verb]?.array else { break }
            var parameters = parameters
            parameters["after"] = .string(next)
            let page = try await askOnce(verb, parameters)
            whole[verb] = .array(list + (page[verb]?.array ?? []))
            whole["next"] = page["next"]
        }
        return whole
    }

    private func askOnce(
        _ verb: String, _ parameters: JSON.Object
    ) async throws(Failure) -> JSON.Object {
        let subject = Subjects.api(verb)
        let message: BusMessage
        do {
            message = try await connection.request(
                subject, parameters.isEmpty ? [] : JSON.object(parameters).encoded,
                timeout: timeout)
        } catch {
            throw Failure(.unreachable, absence(error, subject))
        }
        let answer = message.withPayload { try? JSON.parse($0).object }
        guard let answer else {
            throw Failure(.failed, "\(subject): the answer is no JSON object")
        }
        guard let error = answer["error"]?.object else { return answer }
        let code = error["code"]?.string ?? ""
        throw Failure(
            code == "unavailable" ? .unreachable : .failed,
            error["message"]?.string ?? "the coordinator says no, and not why (\(code))")
    }

    private func absence(_ error: BusError, _ subject: String) -> String {
        switch error.code {
        case .noResponders:
            "no coordinator answers on \(subject) at \(url); start one with `skos coordinator` or "
                + "`skos up`"
        case .timeout:
            "the coordinator at \(url) did not answer on \(subject) within "
                + "\(Text.short(timeout)); its log says why, --timeout waits longer"
        default: "\(error.description) (at \(url))"
        }
    }

    /// A failure of JetStream, as verbs report it.
    package func failure(_ error: BusError, _ what: String) -> Failure {
        switch error.code {
        case .jetStream(JetStreamCode.streamNotFound):
            Failure(
                .failed,
                "\(what): there is no such stream at \(url) yet; the first coordinator makes it: "
                    + "start one with `skos coordinator` or `skos up`")
        case .timeout, .notConnected, .closed, .noResponders,
            .jetStream(JetStreamCode.notEnabled), .jetStream(JetStreamCode.notEnabledForAccount):
            Failure(.unreachable, "\(what): \(error.description) (at \(url))")
        default: Failure(.failed, "\(what): \(error.description)")
        }
    }
}
