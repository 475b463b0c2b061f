/// Where the node's own `/sys` and `/proc` are mounted: nothing in front of them outside containers,
/// `/host` inside one. Everything that reads or writes the node takes its paths from here.
package struct HostRoot: Sendable, Hashable {
    /// The prefix, without a slash at its end; empty: the paths are as on any machine.
    package let prefix: String

    /// - `prefix`: a directory such as `/host`; `/` and the empty string mean the same.
    package init(_ prefix: String = "") {
        var text = Substring(prefix)
        while text.last == "/" { text.removeLast() }
        self.prefix = String(text)
    }

    /// Whether paths are the machine's own, so that libraries which know only `/sys` see the same.
    package var isMachine: Bool { prefix.isEmpty }

    /// The real path of a path of the node, such as `/host/sys/class/hwmon` for `/sys/class/hwmon`.
    package func real(_ path: String) -> String { prefix.isEmpty ? path : prefix + path }
}
