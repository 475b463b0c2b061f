import Glibc

/// A network interface, as the kernel describes it.
package struct NetworkLink: Sendable, Equatable {
    package var index: Int32
    package var name: String
    /// `IFF_…` flags.
    package var flags: UInt32
    /// What made it, such as `wireguard`, `tun` or `veth`; empty for hardware.
    package var kind: String

    package init(index: Int32, name: String, flags: UInt32, kind: String = "") {
        self.index = index
        self.name = name
        self.flags = flags
        self.kind = kind
    }

    /// Somebody has switched it on.
    package var isUp: Bool { flags & 0x1 != 0 }
    /// It can carry packets: on, and with a carrier where it needs one.
    package var isRunning: Bool { isUp && flags & 0x40 != 0 }

    /// Reads the payload of an `RTM_NEWLINK` or `RTM_DELLINK`.
    package init?(payload: [UInt8]) {
        guard payload.count >= 16 else { return nil }
        index = payload.number(at: 4, as: Int32.self)
        flags = payload.number(at: 8, as: UInt32.self)
        name = ""
        kind = ""
        for attribute in NetlinkAttribute.list(payload[16...]) {
            // IFLA_IFNAME; IFLA_LINKINFO with IFLA_INFO_KIND inside.
            if attribute.type == 3 { name = attribute.text }
            if attribute.type == 18 {
                kind = NetlinkAttribute.list(attribute.value).first { $0.type == 1 }?.text ?? ""
            }
        }
        guard index > 0, !name.isEmpty, name.utf8.count < 16 else { return nil }
    }
}

/// The network interfaces of this network namespace.
package enum NetworkLinks {
    /// All of them, in the kernel's order.
    package static func all() throws(NetlinkFailure) -> [NetworkLink] {
        var payload = [UInt8](repeating: 0, count: 16)
        // Statistics are most of the bytes, and not wanted: IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS.
        payload += NetlinkAttribute(29, UInt32(8)).encoded
        let answers = try NetlinkSocket().ask(
            "list links", type: Netlink.getLink, flags: Netlink.dump, payload)
        return answers.compactMap { $0.type == Netlink.newLink ? .init(payload: $0.payload) : nil }
    }

    /// Switches an interface on or off.
    package static func set(_ index: Int32, up isUp: Bool) throws(NetlinkFailure) {
        var payload: [UInt8] = [0, 0, 0, 0]
        payload.append(number: index)
        payload.append(number: UInt32(isUp ? 1 : 0))
        payload.append(number: UInt32(1))
        _ = try NetlinkSocket().ask(
            "switch a link \(isUp ? "on" : "off")", type: Netlink.newLink, flags: 0, payload)
    }
}

extension NetworkLinks {
    /// Removes an interface.
    package static func remove(_ index: Int32) throws(NetlinkFailure) {
        var payload: [UInt8] = [0, 0, 0, 0]
        payload.append(number: index)
        payload.append(number: UInt32(0))
        payload.append(number: UInt32(0))
        _ = try NetlinkSocket().ask(
            "remove a link", type: Netlink.deleteLink, flags: 0, payload)
    }
}

/// Whether what the kernel says about links changes anything: it repeats itself a lot. Pure.
package struct LinkChanges: Sendable {
    private var known: [Int32: NetworkLink] = [:]
    /// On, and able to carry.
    private static let interesting: UInt32 = 0x1 | 0x40

    package init(_ links: [NetworkLink] = []) {
        for link in links { known[link.index] = link }
    }

    /// The links of a batch of messages that appeared, went, or went up or down.
    package mutating func take(_ messages: [NetlinkMessage]) -> [NetworkLink] {
        var changed: [NetworkLink] = []
        for message in messages {
            guard message.type == Netlink.newLink || message.type == Netlink.deleteLink,
                let link = NetworkLink(payload: message.payload)
            else { continue }
            let before = known[link.index]
            if message.type == Netlink.deleteLink {
                known[link.index] = nil
                changed.append(link)
                continue
            }
            known[link.index] = link
            let isSame =
                before?.name == link.name
                && before.map { ($0.flags ^ link.flags) & Self.interesting == 0 } ?? false
            guard !isSame else { continue }
            changed.append(link)
            // One that has another name is gone for those who know it by the old one.
            if let before, before.name != link.name { changed.append(before) }
        }
        return changed
    }
}

/// Hears from the kernel when a link changes.
package final class LinkListener: Sendable {
    /// Datagrams that are taken at once, at most.
    private static let batchLimit = 256
    private let links: Int32
    private let stopEnds: (read: Int32, write: Int32)
    private let socketHolder: Holder

    // The socket is only used by the one thread that waits.
    private final class Holder: @unchecked Sendable {
        let socket: NetlinkSocket
        init(_ socket: NetlinkSocket) { self.socket = socket }
    }

    /// Begins to listen; what changes from now on is heard.
    package init() throws(NetlinkFailure) {
        let socket = try NetlinkSocket(groups: Netlink.linkGroup)
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else {
            throw NetlinkFailure(request: "open a pipe", errno: errno)
        }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        socketHolder = Holder(socket)
        links = socket.descriptor
        stopEnds = (ends[0], ends[1])
    }

    deinit {
        close(stopEnds.read)
        close(stopEnds.write)
    }

    /// Ends `wait`, now and for ever. From any thread.
    package func stop() {
        var byte: UInt8 = 1
        _ = write(stopEnds.write, &byte, 1)
    }

    /// Blocks until the kernel says something about links, by one thread only.
    ///
    /// - Returns: what it said; `nil` once `stop` was called. An empty list says that something was
    ///   lost: look at everything.
    package func wait() -> [NetlinkMessage]? {
        while true {
            var pollers = [
                pollfd(fd: links, events: Int16(POLLIN), revents: 0),
                pollfd(fd: stopEnds.read, events: Int16(POLLIN), revents: 0),
            ]
            guard poll(&pollers, 2, -1) > 0 else { continue }
            if pollers[1].revents != 0 { return nil }
            var messages: [NetlinkMessage] = []
            do throws(NetlinkFailure) {
                messages = try socketHolder.socket.receive("say what changed")
                // What has come meanwhile is one piece of news with it.
                for _ in 0..<Self.batchLimit where hasMore() {
                    messages += try socketHolder.socket.receive("say what changed")
                }
                return messages
            } catch {
                if error.errno == EAGAIN, messages.isEmpty { continue }
                // ENOBUFS: there was more than fits.
                return []
            }
        }
    }

    private func hasMore() -> Bool {
        var poller = pollfd(fd: links, events: Int16(POLLIN), revents: 0)
        return poll(&poller, 1, 0) > 0
    }
}
