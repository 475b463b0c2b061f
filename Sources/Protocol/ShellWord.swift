extension Name {
    /// Foreign text as one word of a command line that people paste into a shell: as it is where that is
    /// safe, and otherwise in single quotes, in which no shell expands or runs anything.
    package static func shellWord(_ text: String) -> String {
        // A = in front means a program's path to zsh.
        let isPlain =
            !text.isEmpty && !text.hasPrefix("=") && text.utf8.allSatisfy(isPlainInShell)
        guard !isPlain else { return text }
        // A single quote cannot stand in single quotes: they end before it, and begin again behind it.
        let inner = text.unicodeScalars.map { $0 == "'" ? #"'\''"# : String($0) }
        return "'" + inner.joined() + "'"
    }

    private static func isPlainInShell(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
        // % + , - . / : = @ and _
        case 0x25, 0x2B...0x2F, 0x3A, 0x3D, 0x40, 0x5F: true
        default: false
        }
    }
}
