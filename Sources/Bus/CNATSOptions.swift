internal import CNATS
internal import Glibc

/// cnats' options, destroyed with the object; `natsConnection_Connect` copies them.
final class CNATSOptions {
    let raw: OpaquePointer

    /// `first` is tried before the other addresses.
    init(
        _ options: Connection.Options, first: ServerAddress, _ addresses: [ServerAddress]
    ) throws(BusError) {
        var created: OpaquePointer?
        let status = natsOptions_Create(&created)
        guard status == NATS_OK, let created else { throw BusError(status, "options") }
        raw = created
        let others = addresses.filter { $0.url != first.url }.shuffled()
        try setServers(([first] + others).map(\.url))
        try set("name", natsOptions_SetName(raw, options.name))
        try set("timeout", natsOptions_SetTimeout(raw, options.connectTimeout.milliseconds))
        // One for all: cnats knows others only from a URL, which could not say these.
        if options.user == nil, let user = addresses.lazy.compactMap(\.encodedUser).first {
            try set("user", natsOptions_SetUserInfo(raw, user.name, user.password))
        }
        try setCredentials(options)
        try setTLS(options)
        try setReconnection(options)
        try set("writes", natsOptions_SetSendAsap(raw, options.writes != .buffered))
        try set("echo", natsOptions_SetNoEcho(raw, !options.echo))
        try set("pending", natsOptions_SetMaxPendingMsgs(raw, Connection.Pending.messages))
    }

    deinit { natsOptions_Destroy(raw) }

    func set(_ name: String, _ status: natsStatus) throws(BusError) {
        guard status != NATS_OK else { return }
        throw BusError(status, "connection setting '\(name)'")
    }

    private func setServers(_ urls: [String]) throws(BusError) {
        let copies = urls.map { strdup($0) }
        defer { for copy in copies { free(copy) } }
        var pointers = copies.map { UnsafePointer<CChar>($0) }
        try set("servers", natsOptions_SetServers(raw, &pointers, CInt(pointers.count)))
        try set("order", natsOptions_SetNoRandomize(raw, true))
    }

    private func setCredentials(_ options: Connection.Options) throws(BusError) {
        if let user = options.user {
            try set("user", natsOptions_SetUserInfo(raw, user, options.password ?? ""))
        }
        if let token = options.token { try set("token", natsOptions_SetToken(raw, token)) }
        if let file = options.credentialsFile {
            // cnats reads it with each attempt to connect, and such a mistake would look like an outage.
            guard access(file, R_OK) == 0 else {
                let reason = String(cString: strerror(errno))
                throw BusError(.invalidArgument, "credentials file \(file): \(reason)")
            }
            try set(
                "credentials file \(file)",
                natsOptions_SetUserCredentialsFromFiles(raw, file, nil))
        }
        if let seed = options.nkeySeedFile, let key = options.nkey {
            try set("nkey seed file \(seed)", natsOptions_SetNKeyFromSeed(raw, key, seed))
        }
    }

    private func setTLS(_ options: Connection.Options) throws(BusError) {
        let files = options.tlsCAFile ?? options.tlsCertificateFile
        if files != nil || options.urls.contains(where: { $0.hasPrefix("tls://") }) {
            try set("tls", natsOptions_SetSecure(raw, true))
        }
        if let file = options.tlsCAFile {
            try set(
                "certificate authorities \(file)",
                natsOptions_LoadCATrustedCertificates(raw, file))
        }
        if let certificate = options.tlsCertificateFile, let key = options.tlsKeyFile {
            try set(
                "certificate \(certificate)",
                natsOptions_LoadCertificatesChain(raw, certificate, key))
        }
    }

    private func setReconnection(_ options: Connection.Options) throws(BusError) {
        try set("reconnect", natsOptions_SetMaxReconnect(raw, -1))
        try set("wait", natsOptions_SetReconnectWait(raw, options.reconnectWait.milliseconds))
        let jitter = options.reconnectJitter.milliseconds
        try set("jitter", natsOptions_SetReconnectJitter(raw, jitter, jitter))
        try set(
            "buffer",
            natsOptions_SetReconnectBufSize(
                raw, CInt(clamping: max(1, options.bufferWhileDisconnected))))
        try set("ping", natsOptions_SetPingInterval(raw, options.pingInterval.milliseconds))
        try set("pings", natsOptions_SetMaxPingsOut(raw, CInt(clamping: options.maxPingsOut)))
        // Without one cnats' sockets block, and a frozen server stops whoever publishes.
        if options.writeDeadline > .zero {
            try set(
                "write deadline",
                natsOptions_SetWriteDeadline(raw, options.writeDeadline.milliseconds))
        }
    }
}
