import Audit
import Bus
import Immunity
import Protocol
import Runtime
import Synchronization

/// What a term hears.
extension Session {
    /// Answers who leads, and takes heartbeats, results, rejections and alerts in from now on.
    func listen(_ replay: Replay) async throws {
        let intake = Intake(engine: engine, meters: context.meters)
        let control = context.control
        let answer = JSON.object(Standby.answer(context.actor)).encoded
        let leading = try control.subscribe(Subjects.leader) { try? $0.respond(answer) }
        self.leading.withLock { $0 = leading }
        let ownHash = replay.hash
        let suspicion = suspicion
        // Whoever takes over says so in the audit; an idle coordinator hears of it this way.
        let others = try control.subscribe(Subjects.audit("coordinator")) { message in
            if message.header(AuditChain.hashHeader) != ownHash { suspicion.ring() }
        }
        keep(others)
        keep(
            try context.bulk.subscribe(
                Subjects.heartbeats, handler: { intake.heartbeat($0) },
                rested: { [engine] in engine.takeHeartbeats() }))
        // Else a heartbeat that is sent now might not come: this connection has its own pace. It is given what
        // an answer takes, and no more: a node that is not heard speaks again.
        try? await context.bulk.flush(timeout: .seconds(1))
        keep(try control.subscribe(Subjects.results) { intake.result($0) })
        keep(try control.subscribe(Subjects.rejections) { intake.rejection($0) })
        var consumer = try await Self.resume(
            control.jetStream, after: replay.state.alertSequence)
        // Of this term alone: a deposed coordinator that still listens would be given alerts before
        // this one does.
        consumer.deliverSubject =
            "deliver.\(Subjects.alertStream).\(consumer.durable).\(replay.sequence)"
        keep(
            try await control.jetStream.pushConsumer(Subjects.alertStream, consumer) {
                intake.alert($0)
            })
    }

    private func keep(_ delivery: Delivery) { deliveries.withLock { $0.append(delivery) } }

    /// Makes the cursor over the alerts anew behind the last one that was dealt with. A cursor that is
    /// kept would hand out what a killed term has left only after `ackWait`, behind newer alerts.
    private static func resume(
        _ jetStream: JetStream, after recorded: UInt64
    ) async throws(BusError) -> ConsumerConfig {
        var config = Streams.alertConsumer
        var floor: UInt64 = 0
        do throws(BusError) {
            floor = try await jetStream.consumerInfo(Subjects.alertStream, config.durable).ackFloor
            try await jetStream.deleteConsumer(Subjects.alertStream, config.durable)
        } catch  where error.jetStreamCode == JetStreamCode.consumerNotFound {}
        config.start = .sequence(max(floor, recorded) + 1)
        return config
    }

    /// Takes nothing more in.
    func unsubscribe() {
        let ended = deliveries.withLock { deliveries in
            defer { deliveries = [] }
            return deliveries
        }
        for delivery in ended { delivery.cancel() }
    }
}
