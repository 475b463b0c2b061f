package import Bus
package import Runtime
import Synchronization

/// The connection of the moment, for everything that has something to send; there may be none.
package final class BusLink: Sendable {
    private struct State {
        var connection: Connection?
        var waiting: [Wakeup] = []
    }

    private let state = Mutex(State())

    package init() {}

    /// The connection, when it is up.
    package var connection: Connection? {
        guard let connection = state.withLock({ $0.connection }), connection.isConnected else {
            return nil
        }
        return connection
    }

    /// Rings whenever the connection comes up, for as long as the link lives.
    package func onUp(_ wakeup: Wakeup) { state.withLock { $0.waiting.append(wakeup) } }

    /// Takes a new connection, or none.
    package func use(_ connection: Connection?) {
        state.withLock { $0.connection = connection }
        if connection != nil { announce() }
    }

    /// Tells everyone that the connection is up (again).
    package func announce() {
        let waiting = state.withLock { $0.waiting }
        for wakeup in waiting { wakeup.ring() }
    }
}
