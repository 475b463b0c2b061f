package import Bus

extension Connection {
    /// A connection of a test's own to a server that is there. A server that has just begun may still drop
    /// its first clients, or leave them waiting, on a busy machine.
    package static func patient(_ url: String, name: String = "test") async throws -> Connection {
        var options = Options(urls: [url], name: name)
        options.connectTimeout = .seconds(30)
        options.apiTimeout = .seconds(60)
        options.retryOnFailedConnect = true
        options.deadline = .seconds(120)
        return try await connect(options)
    }
}
