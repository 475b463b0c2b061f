internal import Protocol

extension JetStream {
    /// Creates the durable consumer, or brings the existing one to what `config` asks for.
    /// - Throws: `configMismatch` naming a field the server does not change on an existing
    ///   consumer, `jetStream(code)`, `timeout`.
    package func ensureConsumer(
        _ stream: String, _ config: ConsumerConfig
    ) async throws(BusError) -> ConsumerInfo {
        try Self.checkName(stream, "stream")
        try Self.checkName(config.durable, "consumer")
        if let subject = config.filterSubject { try Subject.check(subject, .subscribe) }
        if let subject = config.deliverSubject { try Subject.check(subject, .publish) }
        var existing: ConsumerInfo?
        do throws(BusError) {
            let info = try await consumerInfo(stream, config.durable)
            if config.difference(from: info.config) == nil { return info }
            existing = info
        } catch  where error.code == .jetStream(JetStreamCode.consumerNotFound) {
            existing = nil
        }
        var wanted = config
        if let policy = existing?.config["deliver_policy"]?.string, policy != "all" {
            wanted.start = Self.start(policy, existing?.config["opt_start_seq"]?.integer)
        } else if existing != nil {
            wanted.start = .all
        }
        let info = try ConsumerInfo(
            try await api(
                "CONSUMER.DURABLE.CREATE.\(stream).\(config.durable)",
                ["stream_name": .string(stream), "config": wanted.json]))
        if let difference = wanted.difference(from: info.config) {
            throw BusError(
                .configMismatch(field: difference.field),
                "consumer \(config.durable) of \(stream): \(difference.field) is "
                    + "\(difference.found), but \(difference.wanted) is needed")
        }
        return info
    }

    private static func start(_ policy: String, _ sequence: Int64?) -> ConsumerConfig.Start {
        switch policy {
        case "new": .new
        case "last": .last
        case "last_per_subject": .lastPerSubject
        case "by_start_sequence": .sequence(UInt64(max(0, sequence ?? 0)))
        default: .all
        }
    }

    /// What a consumer is and has done so far.
    /// - Throws: `jetStream(consumerNotFound)`, `timeout`.
    package func consumerInfo(
        _ stream: String, _ consumer: String
    ) async throws(BusError) -> ConsumerInfo {
        try Self.checkName(stream, "stream")
        try Self.checkName(consumer, "consumer")
        return try ConsumerInfo(try await api("CONSUMER.INFO.\(stream).\(consumer)"))
    }

    /// Deletes a consumer; what it had not delivered stays in the stream.
    package func deleteConsumer(_ stream: String, _ consumer: String) async throws(BusError) {
        try Self.checkName(stream, "stream")
        try Self.checkName(consumer, "consumer")
        _ = try await api("CONSUMER.DELETE.\(stream).\(consumer)")
    }

    /// Ensures a durable push consumer and calls `handler` with its messages, on the thread of
    /// the subscription. Every message has to be answered with `ack`, `nak` or `term`; others
    /// come again after `ackWait`. Ending the delivery leaves the consumer where it is.
    /// - Throws: as `ensureConsumer` and `Connection.subscribe`.
    package func pushConsumer(
        _ stream: String, _ config: ConsumerConfig,
        handler: @escaping @Sendable (BusMessage) -> Void
    ) async throws(BusError) -> Delivery {
        // Subscribed first: a consumer that is made before anybody listens may wait with its first
        // messages until they count as lost.
        var config = config
        let wanted =
            config.deliverSubject
            ?? ConsumerConfig.push(stream: stream, durable: config.durable).deliverSubject
        config.deliverSubject = wanted
        let early = try wanted.map { subject throws(BusError) in
            try connection.subscribe(subject, handler: handler)
        }
        do throws(BusError) {
            let subject = try await ensurePush(stream, config)
            if let early, subject == wanted { return early }
            early?.cancel()
            return try connection.subscribe(subject, handler: handler)
        } catch {
            early?.cancel()
            throw error
        }
    }

    /// As `pushConsumer`, but for reading the messages as a sequence. `capacity` of them wait here.
    package func subscribe(
        _ stream: String, _ config: ConsumerConfig, capacity: Int = 256
    ) async throws(BusError) -> Subscription {
        let subject = try await ensurePush(stream, config)
        return try connection.subscribe(subject, capacity: capacity, overflow: .block)
    }

    private func ensurePush(
        _ stream: String, _ config: ConsumerConfig
    ) async throws(BusError) -> String {
        var config = config
        if config.deliverSubject == nil {
            config.deliverSubject =
                ConsumerConfig.push(stream: stream, durable: config.durable).deliverSubject
        }
        let info = try await ensureConsumer(stream, config)
        guard let subject = info.deliverSubject else {
            throw BusError(
                .protocolError, "consumer \(config.durable): the server named no subject")
        }
        return subject
    }
}
