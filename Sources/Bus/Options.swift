extension Connection {
    /// How to reach NATS and how to behave when it goes away.
    package struct Options: Sendable {
        /// When a published message leaves.
        package enum Writes: Sendable {
            /// At once, one write per message: for control traffic. cnats' flusher thread would
            /// hold a message back for up to 1 ms.
            case immediate
            /// Collected for up to 1 ms: for bulk that nobody waits for.
            case buffered
            /// At once, but several messages in one write where they come together: inside
            /// `withBatchedWrites`, and in a handler for which more messages wait already.
            /// For services that are busy at times.
            case batched
        }

        /// `nats://` or `tls://`, `[user:password@]host[:port]`. Tried in random order.
        package var urls: [String] = ["nats://127.0.0.1:4222"]
        /// Shown in the server's list of connections.
        package var name = "skos"
        package var user: String?
        package var password: String?
        package var token: String?
        /// A file with a user JWT and its nkey seed, as `nsc` writes it.
        package var credentialsFile: String?
        /// A file with an nkey seed (`SU…`), with `nkey` the public key that belongs to it.
        package var nkeySeedFile: String?
        package var nkey: String?
        /// Certificate authorities to trust instead of the system's.
        package var tlsCAFile: String?
        package var tlsCertificateFile: String?
        package var tlsKeyFile: String?

        package var writes: Writes = .immediate
        /// Limit of one attempt to connect, from the first byte to the server's welcome.
        package var connectTimeout: Duration = .seconds(2)
        /// Whether `connect` goes on trying while no server can be reached.
        package var retryOnFailedConnect = false
        /// When `connect` gives up retrying; `nil` is never.
        package var deadline: Duration?
        /// Told of each failed attempt while `connect` goes on trying.
        package var onFailedAttempt: (@Sendable (BusError) -> Void)?
        /// Pause before each attempt to come back, the same for all servers.
        package var reconnectWait: Duration = .milliseconds(250)
        /// Up to this much is added to `reconnectWait`, so that a fleet does not come back at once.
        package var reconnectJitter: Duration = .milliseconds(250)
        /// What may be published while disconnected, in bytes; once that much waits, `publish`
        /// throws `bufferFull`. It is sent on reconnection. With 1 it is one message.
        package var bufferWhileDisconnected = 8 << 20
        /// A server that is silent for `pingInterval` × (`maxPingsOut` + 1) counts as gone.
        package var pingInterval: Duration = .seconds(10)
        package var maxPingsOut = 2
        /// How long one write may hang on a frozen server before the connection counts as broken.
        package var writeDeadline: Duration = .seconds(2)
        /// How long the server may take for a request of JetStream's API, unless the caller says otherwise.
        package var apiTimeout: Duration = .seconds(5)
        /// First token(s) of reply subjects, for servers that permit only an own prefix.
        package var inboxPrefix = "_INBOX"
        /// Whether messages published on this connection come back to its own subscriptions.
        package var echo = true

        package init() {}

        package init(urls: [String], name: String = "skos") {
            self.urls = urls
            self.name = name
        }
    }
}

/// What happens to a connection, in order.
package enum ConnectionEvent: Sendable, Equatable {
    case connected(url: String)
    /// cnats goes on trying to come back, endlessly.
    case disconnected(reason: String)
    case reconnected(url: String)
    /// The server is going to shut down; cnats moves to another one.
    case lameDuck
    /// For good: closed here, or refused by the server twice in a row (for instance when the
    /// credentials expired). `reason` is empty when it was closed here. Connect anew.
    case closed(reason: String)
    /// A subscription was too slow and lost messages; `dropped` counts them since it began.
    case slowConsumer(subject: String, dropped: Int)
    /// Anything else the server or the library complains about, e.g. a permission.
    case error(String)
}
