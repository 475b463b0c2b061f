/// What a webhook answered, or what came instead of an answer.
package struct WebhookAnswer: Sendable, Equatable {
    /// The reply's status; 0: there was none.
    package var status: Int
    /// Why there was no reply, or none to its end; empty: there was.
    package var error: String
    /// Whether another try is of no use.
    package var isHopeless = false

    package init(status: Int, error: String = "", isHopeless: Bool = false) {
        self.status = status
        self.error = error
        self.isHopeless = isHopeless
    }

    /// What follows from an answer.
    package enum Verdict: Sendable, Equatable {
        case delivered
        /// Not this time.
        case failed(String)
        /// Never.
        case refused(String)

        /// Why it was not delivered.
        var reason: String? {
            switch self {
            case .delivered: nil
            case .failed(let reason), .refused(let reason): reason
            }
        }

        /// The same with another reason.
        func mapped(_ change: (String) -> String) -> Verdict {
            switch self {
            case .delivered: .delivered
            case .failed(let reason): .failed(change(reason))
            case .refused(let reason): .refused(change(reason))
            }
        }
    }

    /// What follows from it. A reply with a good status counts although the rest of it does not come:
    /// the message is there.
    package var verdict: Verdict {
        switch status {
        case 200..<300: return .delivered
        case 300..<400:
            return .refused(
                "it answers \(status), a redirect, which is not followed: name the final address")
        case 408, 429, 500...: return .failed("it answers \(status)")
        case 400..<500: return .refused("it answers \(status)")
        default:
            let reason = error.isEmpty ? "it answers \(status), which means nothing" : error
            return isHopeless ? .refused(reason) : .failed(reason)
        }
    }
}

/// A webhook's address, of which only a part may be told: user, path and query are often secrets.
package struct WebhookAddress: Sendable, Equatable {
    package let url: String
    /// Scheme, host and port.
    package let shown: String
    /// What must not appear in a log.
    let secrets: [String]

    package init(_ url: String) {
        self.url = url
        guard let colon = url.firstRange(of: "://") else {
            shown = "…"
            secrets = [url]
            return
        }
        let rest = url[colon.upperBound...]
        let end = rest.firstIndex { "/?#".contains($0) } ?? rest.endIndex
        let authority = rest[..<end]
        let at = authority.lastIndex(of: "@")
        let host = at.map { authority[authority.index(after: $0)...] } ?? authority
        let user = at.map { authority[..<$0] } ?? ""
        let tail = rest[end...]
        shown = String(url[..<colon.upperBound] + host + (tail.isEmpty ? "" : "/…"))
        let secrets =
            [tail, user] + tail.split { "/?#&=".contains($0) } + user.split { "@:".contains($0) }
        // What is as short as this is part of many words.
        self.secrets = secrets.map(String.init).filter { $0.utf8.count >= 4 }
    }

    /// A text about it, unless it gives something away.
    package func scrubbed(_ text: String) -> String {
        secrets.contains { text.contains($0) } ? "it cannot be reached" : text
    }
}
