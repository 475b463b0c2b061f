import Glibc

/// Why the kernel did not answer over netlink.
package struct NetlinkFailure: Error, Equatable, CustomStringConvertible {
    /// What was asked, such as `list links`.
    package var request: String
    package var errno: Int32

    package init(request: String, errno: Int32) {
        self.request = request
        self.errno = errno
    }

    package var description: String {
        "the kernel does not \(request): \(errnoText(errno)) (\(errnoName(errno)))"
    }
}

/// A netlink socket. Not for use by several threads at once.
final class NetlinkSocket {
    static let routeProtocol: Int32 = 0
    static let genericProtocol: Int32 = 16
    /// How long one answer may take; the kernel answers at once.
    private static let timeLimit = timeval(tv_sec: 2, tv_usec: 0)
    /// Answers to one request at most: a full routing table of the Internet is left alone.
    static let answerLimit = 200_000
    private static let bufferBytes = 64 * 1024

    let descriptor: Int32
    private var sequence: UInt32 = 0
    private var buffer = [UInt8](repeating: 0, count: bufferBytes)

    /// Opens a socket that hears of `groups`, too.
    init(_ netlinkProtocol: Int32 = routeProtocol, groups: UInt32 = 0) throws(NetlinkFailure) {
        descriptor = socket(
            AF_NETLINK, Int32(SOCK_RAW.rawValue) | Int32(SOCK_CLOEXEC.rawValue), netlinkProtocol)
        guard descriptor >= 0 else {
            throw NetlinkFailure(request: "open a socket", errno: errno)
        }
        var limit = Self.timeLimit
        setsockopt(
            descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        // sockaddr_nl: family, padding, port (chosen by the kernel), groups.
        var address: [UInt8] = []
        address.append(number: sa_family_t(AF_NETLINK))
        address.append(number: UInt16(0))
        address.append(number: UInt32(0))
        address.append(number: groups)
        let status = address.withUnsafeBytes { raw in
            raw.baseAddress.map {
                bind(descriptor, $0.assumingMemoryBound(to: sockaddr.self), socklen_t(raw.count))
            } ?? -1
        }
        // The descriptor is closed by `deinit`: the object is complete.
        guard status == 0 else { throw NetlinkFailure(request: "open a socket", errno: errno) }
    }

    deinit { close(descriptor) }

    /// Sends one request and collects the answers up to the end of a dump, or the acknowledgement.
    func ask(
        _ what: String, type: UInt16, flags: UInt16, _ payload: [UInt8]
    ) throws(NetlinkFailure) -> [NetlinkMessage] {
        sequence += 1
        let isDump = flags & Netlink.dump == Netlink.dump
        let request = NetlinkMessage(
            type: type, flags: flags | Netlink.request | (isDump ? 0 : Netlink.acknowledge),
            sequence: sequence, payload: payload)
        let bytes = request.encoded
        guard send(descriptor, bytes, bytes.count, 0) == bytes.count else {
            throw NetlinkFailure(request: what, errno: errno)
        }
        var answers: [NetlinkMessage] = []
        while true {
            for message in try receive(what) where message.sequence == sequence {
                if let code = message.errorCode {
                    guard code == 0 else { throw NetlinkFailure(request: what, errno: code) }
                    return answers
                }
                if message.type == Netlink.done {
                    // Some say only here that they have failed.
                    let code =
                        message.payload.count >= 4
                        ? message.payload.number(at: 0, as: Int32.self) : 0
                    guard code >= 0 else {
                        throw NetlinkFailure(request: what, errno: code == .min ? .max : -code)
                    }
                    return answers
                }
                guard answers.count < Self.answerLimit else {
                    throw NetlinkFailure(request: what, errno: E2BIG)
                }
                answers.append(message)
            }
        }
    }

    /// The messages of the next datagram.
    func receive(_ what: String) throws(NetlinkFailure) -> [NetlinkMessage] {
        while true {
            let got = recv(descriptor, &buffer, buffer.count, 0)
            if got < 0 && errno == EINTR { continue }
            guard got > 0 else {
                throw NetlinkFailure(request: what, errno: got == 0 ? EIO : errno)
            }
            return NetlinkMessage.split(buffer[..<got])
        }
    }

    /// Overwrites what was received last, which may hold keys.
    func forget() { for index in buffer.indices { buffer[index] = 0 } }
}
