import Glibc
import Protocol
import Testing

@Suite("Words for a shell")
struct ShellWordTests {
    /// What a real shell makes of the rest of a command line.
    private func shell(_ word: String) -> String? {
        guard let pipe = popen("printf '<%s>' \(word)", "r") else { return nil }
        defer { pclose(pipe) }
        var bytes: [UInt8] = []
        while true {
            let byte = getc(pipe)
            guard byte != EOF else { return String(decoding: bytes, as: UTF8.self) }
            bytes.append(UInt8(truncatingIfNeeded: byte))
        }
    }

    @Test(
        "names of ours stay as they are",
        arguments: [
            "nova", "nova:thermal:cpu:1795252027", "nova:storage:/var/lib:1", "a=b@c,d+e%f",
        ])
    func plain(_ text: String) {
        #expect(Name.shellWord(text) == text)
        #expect(shell(Name.shellWord(text)) == "<\(text)>")
    }

    @Test(
        "nothing else is run, expanded or split",
        arguments: [
            "", "a b", "$(echo run)", "`echo run`", "a;echo run", "a'b", "'; echo run; '", "$HOME",
            "\\", "a\\'b", "*", "~", "~root", "=ls", "a\"b\"", "!!", "#x", "a&b", "a|b", "<a>",
            "{a,b}", "a\nb",
            #"sl:weird:/mnt/ünï ☃ "q" \012 <b>&amp; `x`:1"#,
        ])
    func quoted(_ text: String) {
        #expect(Name.shellWord(text).hasPrefix("'") && Name.shellWord(text).hasSuffix("'"))
        #expect(shell(Name.shellWord(text)) == "<\(text)>")
    }
}
