import Protocol

// What may be deleted, moved, stopped and run.
extension TextRule {
    /// A directory in which an action may delete or move files.
    static var root: TextRule { folder("a directory for cleanups", mayBeEmpty: false) }

    /// Where archives go; empty: nowhere.
    static var archiveFolder: TextRule { folder("a directory for archives", mayBeEmpty: true) }

    private static func folder(_ what: String, mayBeEmpty: Bool) -> TextRule {
        let accepts: @Sendable (String) -> Bool = { text in
            text.isEmpty
                ? mayBeEmpty
                : isNormalized(text) && !hasControlCharacter(text)
                    && SystemFolders.objection(to: text) == nil
        }
        let path = SystemFolders.pattern + "(?!.*/\\.{1,2}(/|$))(/[^/\\x00-\\x1f\\x7f]+)+"
        return TextRule(
            what: what,
            rule: "absolute, without //, ., .. and a / at the end, and not where the system lives",
            pattern: mayBeEmpty ? "^(\(path))?$" : "^\(path)$", longest: 4096, accepts: accepts,
            objection: { text in
                isNormalized(text) || text == "/" ? SystemFolders.objection(to: text) : nil
            },
            suggestion: { text in
                let path = normalized(text)
                return path != text && accepts(path) ? path : nil
            })
    }

    /// Mount points, as a pattern.
    static var mountPattern: TextRule {
        let accepts: @Sendable (String) -> Bool = { text in
            !hasControlCharacter(text) && (text == "/" || isNormalized(text))
        }
        return TextRule(
            what: "a pattern of mount points such as /srv/**",
            rule: "starts with /, without //, ., .. and a / at the end",
            pattern: "^(/|(?!.*/\\.{1,2}(/|$))(/[^/]+)+)$", longest: 4096, accepts: accepts,
            suggestion: { text in
                let path = normalized(text)
                return path != text && accepts(path) ? path : nil
            })
    }

    /// Names of files, as a pattern.
    static var filePattern: TextRule {
        TextRule(
            what: "a pattern of file names such as *.gz",
            rule: "1 to 255 bytes without / and \\; * and ? match, and [ ] that are closed",
            pattern: "^(?!\\.{1,2}$)[^/\\\\]{1,255}$", longest: 255,
            accepts: { text in
                !text.isEmpty && text != "." && text != ".." && !hasControlCharacter(text)
                    && !text.utf8.contains { $0 == 0x2F || $0 == 0x5C } && hasClosedBrackets(text)
            })
    }

    /// A systemd unit that can be stopped and started.
    static var unit: TextRule {
        TextRule(
            what: "a systemd unit such as renderer.service",
            rule: "letters, digits and : _ . @ \\ -, and .service, .socket, .timer or .path at the "
                + "end",
            pattern: "^[A-Za-z0-9:_.@\\\\-]{1,247}\\.(service|socket|timer|path)$", longest: 255,
            accepts: { text in
                guard let dot = text.lastIndex(of: ".") else { return false }
                let isName = text[..<dot].utf8.allSatisfy { byte in
                    isLetterOrDigit(byte) || [0x3A, 0x5F, 0x2E, 0x40, 0x5C, 0x2D].contains(byte)
                }
                return isName && (1...247).contains(text[..<dot].utf8.count)
                    && [".service", ".socket", ".timer", ".path"].contains(text[dot...])
            },
            suggestion: { text in
                let isBare = text.utf8.allSatisfy { isLetterOrDigit($0) || $0 == 0x2D }
                return isBare && (1...247).contains(text.utf8.count) ? text + ".service" : nil
            })
    }

    /// A container of Docker or Podman.
    static var container: TextRule {
        TextRule(
            what: "a container's name", rule: "letters, digits, _ . and -, the first no sign",
            pattern: "^[A-Za-z0-9][A-Za-z0-9_.-]{0,252}$", longest: 253,
            accepts: { text in
                text.utf8.first.map(isLetterOrDigit) == true
                    && text.utf8.allSatisfy {
                        isLetterOrDigit($0) || [0x5F, 0x2E, 0x2D].contains($0)
                    }
            })
    }

    /// A program or one of its arguments.
    static var argument: TextRule {
        TextRule(
            what: "an argument", rule: "at most 4096 bytes on one line", pattern: "^.{0,4096}$",
            longest: 4096, accepts: { !hasControlCharacter($0) })
    }
}

/// Whether a path is absolute, and written in the one way that a path without links has.
func isNormalized(_ path: String) -> Bool {
    path.hasPrefix("/")
        && path.split(separator: "/", omittingEmptySubsequences: false).dropFirst()
            .allSatisfy { !["", ".", ".."].contains($0) }
}

/// A path as it should be written. `..` stays: what it means depends on links.
func normalized(_ path: String) -> String {
    "/" + path.split(separator: "/").filter { $0 != "." }.joined(separator: "/")
}

/// Whether a path is another, or leads into it; both are normalized.
func isPath(_ path: String, inside folder: String) -> Bool {
    path == folder || path.hasPrefix(folder + "/")
}

/// Whether every `[` of a shell pattern has its `]`; one that stands first in brackets is a character.
func hasClosedBrackets(_ pattern: String) -> Bool {
    var rest = Array(pattern.utf8)[...]
    while let open = rest.firstIndex(of: UInt8(ascii: "[")) {
        rest = rest[(open + 1)...]
        if let sign = rest.first, sign == UInt8(ascii: "!") || sign == UInt8(ascii: "^") {
            rest = rest.dropFirst()
        }
        guard let close = rest.dropFirst().firstIndex(of: UInt8(ascii: "]")) else { return false }
        rest = rest[(close + 1)...]
    }
    return true
}

func isLetterOrDigit(_ byte: UInt8) -> Bool {
    (0x61...0x7A).contains(byte) || (0x41...0x5A).contains(byte) || (0x30...0x39).contains(byte)
}
