import Glibc

/// Something that is asked whether it answers, through one interface.
package struct EchoTarget: Sendable, Hashable {
    /// The interface that the packets leave by, whatever the routes say.
    package var device: String
    package var address: IPAddress

    package init(device: String, address: IPAddress) {
        self.device = device
        self.address = address
    }
}

/// What came of one echo.
package enum EchoOutcome: Sendable, Equatable {
    case answered(after: Duration)
    case silent
    /// It did not leave this machine: errno.
    case notSent(Int32)
    /// This process could not even ask, which says nothing of anybody: errno.
    case impossible(Int32)
}

/// Asks hosts whether they answer: by ICMP as an ordinary program may, by ICMP as root may, or by a TCP
/// connection, which even its refusal answers. Blocks; many at once take no longer than one.
package struct EchoProbe: Sendable {
    /// How it is asked.
    package enum Means: String, Sendable { case datagram, raw, tcp }

    /// Echoes of one round at most.
    package static let targetLimit = 128
    /// The port of a TCP echo; hardly anybody listens there.
    private static let port: UInt16 = 9
    private static let cookie = Array("skos-echo-probe.".utf8)

    private let means: [Means]

    /// - `means`: what is tried, in this order; the first that this process may use is used.
    package init(means: [Means] = [.datagram, .raw, .tcp]) { self.means = means }

    /// Asks all targets at once. Blocks until all have answered, for `limit` at most.
    package func run(_ targets: [EchoTarget], limit: Duration) -> [EchoOutcome] {
        precondition(targets.count <= Self.targetLimit)
        var round = EchoRound(targets: targets)
        for index in targets.indices { round.send(index, means) }
        let end = ContinuousClock.now + limit
        var isOver = false
        while round.isWaiting, !isOver {
            let left = end - .now
            // Once more at the end: this thread may have slept longer than the answer took.
            isOver = left <= .zero
            round.receive(atMost: max(left, .zero))
        }
        round.close()
        return round.outcomes
    }

    static func request(_ index: Int, isV6: Bool) -> [UInt8] {
        var packet: [UInt8] = [isV6 ? 128 : 8, 0, 0, 0, 0x53, 0x4B]
        packet += [UInt8(index >> 8 & 0xFF), UInt8(index & 0xFF)] + cookie
        // For IPv6 the kernel does it, since it knows the addresses.
        if !isV6 {
            let sum = checksum(packet)
            packet[2] = UInt8(sum >> 8)
            packet[3] = UInt8(sum & 0xFF)
        }
        return packet
    }

    /// The number of the target that a packet answers for; `nil`: it is no answer to us.
    static func answer(_ packet: some Collection<UInt8>, isV6: Bool, hasHeader: Bool) -> Int? {
        var packet = Array(packet)[...]
        if hasHeader, let first = packet.first { packet = packet.dropFirst(Int(first & 0xF) * 4) }
        let bytes = Array(packet)
        guard bytes.count == 8 + cookie.count, bytes[0] == (isV6 ? 129 : 0), bytes[1] == 0,
            bytes[8...].elementsEqual(cookie)
        else { return nil }
        return Int(bytes[6]) << 8 | Int(bytes[7])
    }

    static func checksum(_ bytes: [UInt8]) -> UInt16 {
        var sum: UInt32 = 0
        for index in stride(from: 0, to: bytes.count, by: 2) {
            let low = index + 1 < bytes.count ? UInt32(bytes[index + 1]) : 0
            sum += UInt32(bytes[index]) << 8 | low
        }
        while sum > 0xFFFF { sum = sum >> 16 + sum & 0xFFFF }
        return ~UInt16(sum)
    }

    /// Begins to connect; the code is 0 or errno.
    static func tcpRequest(_ target: EchoTarget) -> (descriptor: Int32, code: Int32)? {
        guard let descriptor = open(target, Int32(SOCK_STREAM.rawValue), 0) else { return nil }
        let code = target.address.withSocketAddress(port: port) {
            connect(descriptor, $0, $1) == 0 ? 0 : errno
        }
        return (descriptor, code)
    }

    /// Whether errno tells of this machine's want of something, and not of the way to anybody.
    static func isWant(_ code: Int32) -> Bool {
        [EMFILE, ENFILE, ENOBUFS, ENOMEM, EAGAIN].contains(code)
    }

    /// A socket that sends through the target's interface only; `nil` with errno when there is none.
    static func open(_ target: EchoTarget, _ type: Int32, _ number: Int32) -> Int32? {
        let flags = Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        let descriptor = socket(Int32(target.address.family), type | flags, number)
        guard descriptor >= 0 else { return nil }
        let name = Array(target.device.utf8) + [0]
        let status = setsockopt(
            descriptor, SOL_SOCKET, SO_BINDTODEVICE, name, socklen_t(name.count))
        guard status == 0 else {
            let code = errno
            Glibc.close(descriptor)
            errno = code
            return nil
        }
        return descriptor
    }
}

/// One round of echoes on its way.
private struct EchoRound {
    /// Sockets that are shared by the targets of one interface and family.
    private struct Group: Hashable {
        var device: String
        var isV6: Bool
    }

    private struct Channel {
        var descriptor: Int32
        var means: EchoProbe.Means
        var isV6: Bool
        /// The one target of a TCP channel.
        var target: Int?
    }

    private let targets: [EchoTarget]
    private(set) var outcomes: [EchoOutcome]
    private var sentAt: [ContinuousClock.Instant]
    private var waiting: Set<Int> = []
    private var channels: [Channel] = []
    private var shared: [Group: Int] = [:]
    private var packet = [UInt8](repeating: 0, count: 2048)

    init(targets: [EchoTarget]) {
        self.targets = targets
        outcomes = targets.map { _ in .silent }
        sentAt = targets.map { _ in .now }
    }

    var isWaiting: Bool { !waiting.isEmpty }

    mutating func close() { for channel in channels { Glibc.close(channel.descriptor) } }

    mutating func send(_ index: Int, _ means: [EchoProbe.Means]) {
        let target = targets[index]
        sentAt[index] = .now
        guard let place = channel(for: index, means) else {
            outcomes[index] = .impossible(errno)
            return
        }
        let channel = channels[place]
        guard channel.means != .tcp else { return }
        let request = EchoProbe.request(index, isV6: channel.isV6)
        let code = target.address.withSocketAddress(port: 0) {
            sendto(channel.descriptor, request, request.count, 0, $0, $1) < 0 ? errno : 0
        }
        if code == 0 {
            waiting.insert(index)
        } else {
            outcomes[index] = EchoProbe.isWant(code) ? .impossible(code) : .notSent(code)
        }
    }

    /// Where to send to a target: a socket that there is already, or a new one.
    private mutating func channel(for index: Int, _ means: [EchoProbe.Means]) -> Int? {
        let target = targets[index]
        let group = Group(device: target.device, isV6: target.address.isV6)
        if let place = shared[group] { return place }
        let number: Int32 = group.isV6 ? 58 : 1
        for kind in means {
            switch kind {
            case .datagram, .raw:
                let type = kind == .raw ? SOCK_RAW : SOCK_DGRAM
                guard let descriptor = EchoProbe.open(target, Int32(type.rawValue), number) else {
                    continue
                }
                channels.append(Channel(descriptor: descriptor, means: kind, isV6: group.isV6))
                shared[group] = channels.count - 1
                return channels.count - 1
            case .tcp:
                guard let (descriptor, code) = EchoProbe.tcpRequest(target) else { continue }
                channels.append(
                    Channel(
                        descriptor: descriptor, means: kind, isV6: group.isV6, target: index))
                if code == EINPROGRESS {
                    waiting.insert(index)
                } else {
                    finish(index, connecting: code)
                }
                return channels.count - 1
            }
        }
        return nil
    }

    mutating func receive(atMost left: Duration) {
        var pollers = channels.map { channel in
            let isOver = channel.target.map { !waiting.contains($0) } ?? false
            let events = channel.means == .tcp ? POLLOUT : POLLIN
            return pollfd(
                fd: isOver ? -1 : channel.descriptor, events: Int16(events), revents: 0)
        }
        let milliseconds = Int32(
            clamping: left.components.seconds * 1000 + 1
                + left.components.attoseconds / 1_000_000_000_000_000)
        guard poll(&pollers, nfds_t(pollers.count), milliseconds) > 0 else { return }
        for (channel, poller) in zip(channels, pollers) where poller.revents != 0 {
            if let target = channel.target {
                var code: Int32 = 0
                var size = socklen_t(MemoryLayout<Int32>.size)
                getsockopt(channel.descriptor, SOL_SOCKET, SO_ERROR, &code, &size)
                finish(target, connecting: code)
            } else {
                drain(channel)
            }
        }
    }

    /// A connection that came about, or was refused, is an answer.
    private mutating func finish(_ index: Int, connecting code: Int32) {
        waiting.remove(index)
        if code == 0 || code == ECONNREFUSED {
            outcomes[index] = .answered(after: .now - sentAt[index])
        } else if code != ETIMEDOUT && code != EHOSTUNREACH {
            outcomes[index] = EchoProbe.isWant(code) ? .impossible(code) : .notSent(code)
        }
    }

    /// Takes what has come on an ICMP socket.
    private mutating func drain(_ channel: Channel) {
        // Bounded: others' packets come to a raw socket, too.
        for _ in 0..<1024 {
            var address = [UInt8](repeating: 0, count: 28)
            var size = socklen_t(address.count)
            let room = packet.count
            let got = packet.withUnsafeMutableBytes { buffer in
                address.withUnsafeMutableBytes { raw in
                    recvfrom(
                        channel.descriptor, buffer.baseAddress, room, 0,
                        raw.baseAddress?.assumingMemoryBound(to: sockaddr.self), &size)
                }
            }
            guard got > 0 else { return }
            let index = EchoProbe.answer(
                packet[..<got], isV6: channel.isV6,
                hasHeader: channel.means == .raw && !channel.isV6)
            guard let index, waiting.contains(index),
                IPAddress(socketAddress: address) == targets[index].address
            else { continue }
            waiting.remove(index)
            outcomes[index] = .answered(after: .now - sentAt[index])
        }
    }
}
