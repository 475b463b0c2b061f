internal import Protocol

extension JetStream {
    /// Creates the stream, or checks that the existing one is what `config` asks for. Fields named in
    /// `adjustable` (as in the API, e.g. `max_bytes`) may differ in an existing one.
    /// - Throws: `configMismatch` naming the field that differs, `jetStream(code)`, `timeout`.
    package func ensureStream(
        _ config: StreamConfig, adjustable: Set<String> = []
    ) async throws(BusError) -> StreamInfo {
        try Self.checkName(config.name, "stream")
        for subject in config.subjects { try Subject.check(subject, .subscribe) }
        do throws(BusError) {
            let existing = try await streamInfo(config.name)
            return try check(existing, config, created: false, adjustable)
        } catch  where error.code == .jetStream(JetStreamCode.streamNotFound) {
            return try await create(config, adjustable)
        }
    }

    private func create(
        _ config: StreamConfig, _ adjustable: Set<String>
    ) async throws(BusError) -> StreamInfo {
        do throws(BusError) {
            let answer = try await api("STREAM.CREATE.\(config.name)", config.json)
            return try check(StreamInfo(answer), config, created: true)
        } catch  where error.code == .jetStream(JetStreamCode.streamNameInUse) {
            // Somebody else created it at the same time.
            return try check(
                try await streamInfo(config.name), config, created: false, adjustable)
        }
    }

    private func check(
        _ info: StreamInfo, _ config: StreamConfig, created: Bool, _ adjustable: Set<String> = []
    ) throws(BusError) -> StreamInfo {
        guard let difference = config.difference(from: info.config, except: adjustable) else {
            return info
        }
        let reason =
            created
            ? "the server ignored it: it is too old for this setting"
            : "the stream exists with another setting; change it there or in the configuration"
        throw BusError(
            .configMismatch(field: difference.field),
            "stream \(config.name): \(difference.field) is \(difference.found), "
                + "but \(difference.wanted) is needed; \(reason)")
    }

    /// What a stream is and holds at the moment.
    /// - Throws: `jetStream(streamNotFound)`, `timeout`.
    package func streamInfo(_ stream: String) async throws(BusError) -> StreamInfo {
        try Self.checkName(stream, "stream")
        return try StreamInfo(try await api("STREAM.INFO.\(stream)"))
    }

    /// Changes the settings of an existing stream.
    /// - Throws: `configMismatch` for a field the server did not change, `jetStream(code)`.
    package func updateStream(_ config: StreamConfig) async throws(BusError) -> StreamInfo {
        try Self.checkName(config.name, "stream")
        for subject in config.subjects { try Subject.check(subject, .subscribe) }
        let answer = try await api("STREAM.UPDATE.\(config.name)", config.json)
        return try check(StreamInfo(answer), config, created: true)
    }

    /// Deletes a stream with everything in it.
    package func deleteStream(_ stream: String) async throws(BusError) {
        try Self.checkName(stream, "stream")
        _ = try await api("STREAM.DELETE.\(stream)")
    }

    static func checkName(_ name: String, _ kind: String) throws(BusError) {
        guard Subject.isToken(name) else {
            throw BusError(.invalidArgument, "\(kind) name '\(name)': use A-Z a-z 0-9 _ -")
        }
    }
}
