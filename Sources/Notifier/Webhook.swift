import CCURL
import Protocol
import Runtime

/// How a request is sent; blocks.
package protocol WebhookSender: Sendable {
    func post(_ request: WebhookRequest, to url: String) -> WebhookAnswer
}

/// HTTP by libcurl, which is loaded with the first request.
package struct Webhook: WebhookSender {
    /// For connecting, and for all of one request.
    package var connectLimit: Duration = .seconds(5)
    package var limit: Duration = .seconds(10)
    /// Bytes of a reply that are read; only its status matters.
    private static let replyLimit = 64 * 1024
    /// `CURLE_URL_MALFORMAT`: the address is none.
    private static let malformed: Int32 = 3

    package init() {}

    /// Why there is no libcurl; `nil`: there is one. Found out once.
    private static let obstacle: String? = {
        var reasons: [String] = []
        for name in ["libcurl.so.4", "libcurl-gnutls.so.4"] {
            guard let reason = skos_curl_load(name) else { return nil }
            reasons.append(String(cString: reason))
        }
        return "libcurl cannot be loaded (apt install libcurl4): \(reasons[0])"
    }()

    package func post(_ request: WebhookRequest, to url: String) -> WebhookAnswer {
        if let obstacle = Self.obstacle {
            return WebhookAnswer(status: 0, error: obstacle, isHopeless: true)
        }
        var answer = skos_curl_answer()
        withCStrings(request.headers) { headers in
            request.body.withUnsafeBytes { body in
                url.withCString { url in
                    "skos/\(BuildInfo.version)".withCString { agent in
                        var post = skos_curl_post(
                            url: url, headers: headers.baseAddress, header_count: headers.count,
                            body: body.baseAddress, body_bytes: body.count, user_agent: agent,
                            connect_ms: connectLimit.wholeMilliseconds,
                            total_ms: limit.wholeMilliseconds, reply_bytes: Self.replyLimit)
                        skos_curl_send(&post, &answer)
                    }
                }
            }
        }
        let error = withUnsafeBytes(of: answer.error) { bytes in
            String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
        return WebhookAnswer(
            status: answer.status, error: error, isHopeless: answer.code == Self.malformed)
    }

    private func withCStrings(
        _ strings: [String], _ body: (UnsafeBufferPointer<UnsafePointer<CChar>?>) -> Void
    ) {
        var pointers: [UnsafePointer<CChar>?] = []
        func next(_ index: Int) {
            guard index < strings.count else { return pointers.withUnsafeBufferPointer(body) }
            strings[index].withCString { pointer in
                pointers.append(pointer)
                next(index + 1)
            }
        }
        next(0)
    }
}

extension Duration {
    fileprivate var wholeMilliseconds: Int { Int(self / .milliseconds(1)) }
}
