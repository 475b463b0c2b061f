import Glibc

extension HostRoot {
    /// Links that are followed on the way to one file; as many as the kernel does.
    private static let linkLimit = 40

    /// Where links lead that put something out of use.
    package static let null = "/dev/null"

    /// Where a path of the node leads when links are followed as on the node itself: an absolute one begins
    /// at the node's root, not at this process's.
    ///
    /// - Returns: the path of this process, and that of the node; `nil`: nothing is there.
    /// - Throws: what is in the way.
    package func resolve(
        _ path: String
    ) throws(FileFailure) -> (path: String, nodePath: String)? {
        var ahead = path.split(separator: "/").reversed().map(String.init)
        var behind: [String] = []
        var links = 0
        while let name = ahead.popLast() {
            if name == "." { continue }
            guard name != ".." else {
                _ = behind.popLast()
                continue
            }
            let place = "/" + (behind + [name]).joined(separator: "/")
            switch try look(at: place) {
            case .nothing: return nil
            // Every node has it, and a container need not see the node's.
            case .link(Self.null) where ahead.isEmpty: return (real(Self.null), Self.null)
            case .link(let target):
                links += 1
                guard links <= Self.linkLimit else {
                    throw FileFailure(.open, real(path), errno: ELOOP)
                }
                if target.hasPrefix("/") { behind = [] }
                ahead += target.split(separator: "/").reversed().map(String.init)
            case .other: behind.append(name)
            }
        }
        let nodePath = "/" + behind.joined(separator: "/")
        return (real(nodePath), nodePath)
    }

    private enum Thing { case nothing, link(String), other }

    private func look(at place: String) throws(FileFailure) -> Thing {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = readlink(real(place), &buffer, buffer.count)
        if count >= 0 {
            return .link(
                String(decoding: buffer.prefix(count).map(UInt8.init(bitPattern:)), as: UTF8.self))
        }
        switch errno {
        case EINVAL: return .other
        case ENOENT, ENOTDIR: return .nothing
        case let code: throw FileFailure(.open, real(place), errno: code)
        }
    }
}
