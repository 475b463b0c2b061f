import Glibc
import Platform
import Runtime

/// The runs of `wg-quick` that are under way, whoever has started them.
enum QuickRuns {
    /// The interfaces they work on, in this network namespace. One that takes longer than an interface
    /// may take to be made waits for something else, and is left out.
    static func names(_ root: HostRoot) -> Set<String> {
        let processes = root.real("/proc")
        guard let stream = opendir(processes) else { return [] }
        defer { closedir(stream) }
        let space = target("/proc/thread-self/ns/net")
        var names: Set<String> = []
        while let entry = readdir(stream) {
            guard let number = number(entry) else { continue }
            let process = "\(processes)/\(number)"
            guard let line = start(of: "\(process)/cmdline", limit: 1024),
                let name = interface(words(line)), !names.contains(name)
            else { continue }
            // Another namespace may have an interface by the same name.
            let itsSpace = target("\(process)/ns/net")
            guard space == nil || itsSpace == nil || itsSpace == space else { continue }
            guard let status = start(of: "\(process)/stat", limit: 1024),
                let age = age(status, now: SteadyClock.sinceBoot()), age < Presence.newTime
            else { continue }
            names.insert(name)
        }
        return names
    }

    /// The interface that a command line makes or removes by `wg-quick`; `nil`: it does nothing of that.
    static func interface(_ words: [String]) -> String? {
        guard let program = words.firstIndex(where: { lastPart($0) == "wg-quick" }),
            program + 2 < words.count, ["up", "down"].contains(words[program + 1])
        else { return nil }
        let name = lastPart(words[program + 2])
        return name.hasSuffix(".conf") ? String(name.dropLast(5)) : name
    }

    /// How long a process has been there, as its `stat` says.
    static func age(_ status: [UInt8], now: Duration) -> Duration? {
        // The name in front may hold anything, spaces and parentheses, too.
        guard let end = status.lastIndex(of: UInt8(ascii: ")")) else { return nil }
        let fields = status[(end + 1)...].split(separator: UInt8(ascii: " "))
        guard fields.count > 19, let ticks = Int(String(decoding: fields[19], as: UTF8.self))
        else { return nil }
        let rate = sysconf(Int32(_SC_CLK_TCK))
        return rate > 0 ? now - .milliseconds(ticks * 1000 / rate) : nil
    }

    static func words(_ line: [UInt8]) -> [String] {
        line.split(separator: 0, omittingEmptySubsequences: false)
            .map { String(decoding: $0, as: UTF8.self) }
    }

    private static func lastPart(_ path: String) -> String {
        path.split(separator: "/").last.map(String.init) ?? path
    }

    private static func number(_ entry: UnsafeMutablePointer<dirent>) -> Int32? {
        let name = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
        return Int32(String(decoding: name, as: UTF8.self))
    }

    /// The first bytes of a file; `nil`: it cannot be read, or is empty.
    private static func start(of path: String, limit: Int) -> [UInt8]? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: limit)
        let count = read(descriptor, &bytes, limit)
        return count > 0 ? Array(bytes.prefix(count)) : nil
    }

    private static func target(_ link: String) -> String? {
        var bytes = [CChar](repeating: 0, count: 128)
        let count = readlink(link, &bytes, bytes.count)
        return count > 0
            ? String(decoding: bytes.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
            : nil
    }
}
