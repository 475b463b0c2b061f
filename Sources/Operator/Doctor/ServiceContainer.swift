import Glibc

/// The container that `skos doctor` runs in, beside the service it was made for.
package enum ServiceContainer {
    /// The agents that the container runs, none for a coordinator's; `nil`: it is no container of SKOS.
    package static func agents() -> [String]? {
        let descriptor = open("/proc/1/cmdline", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = read(descriptor, &bytes, bytes.count)
        return count > 0 ? agents(firstProcess: Array(bytes[..<count])) : nil
    }

    /// The same from the command line of the first process, whose words end with a zero byte each.
    static func agents(firstProcess line: [UInt8]) -> [String]? {
        let words = line.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
        // An init of its own, such as Docker's, may stand before it.
        guard let program = words.firstIndex(where: { $0.split(separator: "/").last == "skos" })
        else { return nil }
        let rest = words[(program + 1)...]
        switch rest.first {
        case "coordinator": return []
        case "agent": return rest.dropFirst().prefix { !$0.hasPrefix("-") }.map { $0 }
        default: return nil
        }
    }
}
