import Glibc
import Platform
import Runtime

/// The runs of `wg-quick` that are under way, whoever has started them.
enum QuickRuns {
    /// The interfaces they work on, in this network namespace. One that takes longer than an interface
    /// may take to be made waits for something else, and is left out.
    static func names(_ root: HostRoot) -> Set<String> {
        // There may be more processes than `HostFiles` lists of a directory, and none may be passed over.
        guard let stream = opendir(root.real("/proc")) else { return [] }
        defer { closedir(stream) }
        let files = HostFiles(root: root)
        let space = target("/proc/thread-self/ns/net")
        var names: Set<String> = []
        while let entry = readdir(stream) {
            guard let number = number(entry) else { continue }
            let process = "/proc/\(number)"
            guard let line = try? files.read("\(process)/cmdline", limit: 1024),
                let name = interface(words(line)), !names.contains(name)
            else { continue }
            // Another namespace may have an interface by the same name.
            let itsSpace = target(root.real("\(process)/ns/net"))
            guard space == nil || itsSpace == nil || itsSpace == space else { continue }
            guard let status = try? files.read("\(process)/stat", limit: 1024),
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

    private static func target(_ link: String) -> String? {
        var bytes = [CChar](repeating: 0, count: 128)
        let count = readlink(link, &bytes, bytes.count)
        return count > 0
            ? String(decoding: bytes.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
            : nil
    }
}
