internal import CNATS
internal import Synchronization

/// Where messages that nobody needs any more wait to be let go together.
///
/// cnats does not free a message where it is destroyed: it hands it to a thread of its own, and wakes that
/// thread. A heal takes five messages; one by one, waking for them took a fifth of a busy coordinator's time.
///
/// Nothing is used after its end: only the `deinit` of a message's one owner brings it here, and a message
/// does not refer to its connection while it is freed. Nothing leaks: the bin is its connection's, which every
/// message that was received keeps alive, and what is left in it goes with it, after the connection.
final class MessageBin: Sendable {
    /// At most so many messages, and bytes of them, are kept.
    static let countLimit = 512
    static let byteLimit = 512 * 1024

    private struct Content {
        /// cnats' objects; each stands here once, and is used by nobody else.
        var messages: [UInt] = []
        var bytes = 0
    }

    private let content = Mutex(Content())

    deinit { Self.destroy(content.withLock { $0.messages }) }

    /// Takes over a message that is not used any more.
    func take(_ message: OpaquePointer) {
        let bytes = Int(natsMsg_GetDataLength(message))
        let full: [UInt] = content.withLock { content in
            content.messages.append(UInt(bitPattern: message))
            content.bytes += bytes
            guard content.messages.count >= Self.countLimit || content.bytes >= Self.byteLimit
            else { return [] }
            defer {
                content.messages = []
                content.messages.reserveCapacity(Self.countLimit)
                content.bytes = 0
            }
            return content.messages
        }
        Self.destroy(full)
    }

    private static func destroy(_ messages: [UInt]) {
        for message in messages { natsMsg_Destroy(OpaquePointer(bitPattern: message)) }
    }
}
