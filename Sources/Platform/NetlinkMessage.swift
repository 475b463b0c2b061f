import Glibc

/// One message of a netlink socket, as bytes and as parts. Numbers are in the machine's own order.
package struct NetlinkMessage: Sendable, Equatable {
    static let headerBytes = 16

    package var type: UInt16
    package var flags: UInt16
    package var sequence: UInt32
    /// What follows the header: a fixed structure, then attributes.
    package var payload: [UInt8]

    package init(type: UInt16, flags: UInt16 = 0, sequence: UInt32 = 0, payload: [UInt8] = []) {
        self.type = type
        self.flags = flags
        self.sequence = sequence
        self.payload = payload
    }

    /// Splits what one `recv` gave. A length that cannot be true ends the list: what follows has no
    /// known beginning.
    package static func split(_ bytes: some Collection<UInt8>) -> [NetlinkMessage] {
        let bytes = Array(bytes)
        var messages: [NetlinkMessage] = []
        var start = 0
        while bytes.count - start >= headerBytes {
            let length = Int(bytes.number(at: start, as: UInt32.self))
            guard length >= headerBytes, length <= bytes.count - start else { break }
            messages.append(
                NetlinkMessage(
                    type: bytes.number(at: start + 4, as: UInt16.self),
                    flags: bytes.number(at: start + 6, as: UInt16.self),
                    sequence: bytes.number(at: start + 8, as: UInt32.self),
                    payload: Array(bytes[(start + headerBytes)..<(start + length)])))
            start += aligned(length)
            if start > bytes.count { break }
        }
        return messages
    }

    /// The message as it goes to the kernel.
    package var encoded: [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(number: UInt32(Self.headerBytes + payload.count))
        bytes.append(number: type)
        bytes.append(number: flags)
        bytes.append(number: sequence)
        bytes.append(number: UInt32(0))
        return bytes + payload
    }

    /// The errno that the kernel answers with; 0: it is done. `nil`: this is no such answer.
    package var errorCode: Int32? {
        guard type == Netlink.error, payload.count >= 4 else { return nil }
        let code = payload.number(at: 0, as: Int32.self)
        return code == .min ? .max : abs(code)
    }

    static func aligned(_ length: Int) -> Int { (length + 3) & ~3 }
}

/// One attribute: a type, and bytes that may be attributes themselves.
package struct NetlinkAttribute: Sendable, Equatable {
    package var type: UInt16
    package var value: [UInt8]

    package init(_ type: UInt16, _ value: [UInt8]) {
        self.type = type
        self.value = value
    }

    package init(_ type: UInt16, _ number: UInt32) {
        self.init(type, [])
        value.append(number: number)
    }

    /// A text with its end.
    package init(_ type: UInt16, text: String) { self.init(type, Array(text.utf8) + [0]) }

    /// The attributes in a piece of a message; those from one with an impossible length on are left out.
    package static func list(_ bytes: some Collection<UInt8>) -> [NetlinkAttribute] {
        let bytes = Array(bytes)
        var attributes: [NetlinkAttribute] = []
        var start = 0
        while bytes.count - start >= 4 {
            let length = Int(bytes.number(at: start, as: UInt16.self))
            guard length >= 4, length <= bytes.count - start else { break }
            // The two highest bits say how the value is made, not what it is.
            let type = bytes.number(at: start + 2, as: UInt16.self) & 0x3FFF
            attributes.append(
                NetlinkAttribute(type, Array(bytes[(start + 4)..<(start + length)])))
            start += NetlinkMessage.aligned(length)
            if start > bytes.count { break }
        }
        return attributes
    }

    package var encoded: [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(number: UInt16(value.count + 4))
        bytes.append(number: type)
        bytes += value
        bytes += [UInt8](repeating: 0, count: NetlinkMessage.aligned(bytes.count) - bytes.count)
        return bytes
    }

    /// The value as a number of 32 bits; `nil` when it is too short for one.
    package var number: UInt32? {
        value.count >= 4 ? value.number(at: 0, as: UInt32.self) : nil
    }

    /// The value as a text up to its end.
    package var text: String { String(decoding: value.prefix { $0 != 0 }, as: UTF8.self) }
}

/// The numbers of netlink that are used here, as `linux/netlink.h` and `linux/rtnetlink.h` have them.
enum Netlink {
    static let error: UInt16 = 2
    static let done: UInt16 = 3
    static let request: UInt16 = 0x1
    static let acknowledge: UInt16 = 0x4
    static let dump: UInt16 = 0x300
    static let replace: UInt16 = 0x100
    static let exclusive: UInt16 = 0x200
    static let create: UInt16 = 0x400

    static let newLink: UInt16 = 16
    static let deleteLink: UInt16 = 17
    static let getLink: UInt16 = 18
    static let newRoute: UInt16 = 24
    static let deleteRoute: UInt16 = 25
    static let getRoute: UInt16 = 26
    /// The group that hears of links.
    static let linkGroup: UInt32 = 1
}

extension [UInt8] {
    /// The number at a place that is known to be inside.
    func number<T: FixedWidthInteger & BitwiseCopyable>(at place: Int, as type: T.Type) -> T {
        withUnsafeBytes { $0.loadUnaligned(fromByteOffset: place, as: type) }
    }

    mutating func append<T: FixedWidthInteger>(number: T) {
        Swift.withUnsafeBytes(of: number) { append(contentsOf: $0) }
    }
}
