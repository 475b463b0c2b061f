import Foundation
import Testing

@testable import Operator

@Suite struct CompleterTests {
    private func complete(_ line: String) async -> [String] {
        let words = line.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
        let outcome = await Session().run([Completer.word] + words)
        return outcome.out.split(separator: "\n").map {
            String($0.split(separator: "\t").first ?? "")
        }
    }

    @Test(
        "what may come next",
        arguments: [
            ("st", ["status"]),
            ("audit ", ["tail", "verify", "export"]),
            ("audit ver", ["verify"]),
            ("audit verify ", [":files"]),
            ("agent ", ["thermal"]),
            ("agent thermal ", []),
            ("-o ", ["table", "json"]),
            ("-o json stat", ["status"]),
            ("status -o j", ["json"]),
            ("status --ou", ["--output"]),
            ("audit tail --kind dec", ["decision"]),
            ("inject nova --severity ", ["ok", "warning", "critical", "emergency"]),
            ("status --config ", [":files"]),
            ("help aud", ["audit"]),
            ("help audit t", ["tail"]),
            ("completion ", ["bash", "zsh", "fish"]),
            ("bogus ", []),
        ])
    func candidates(line: String, expected: [String]) async {
        #expect(await complete(line) == expected)
    }

    @Test("verbs and groups once each")
    func verbs() async {
        let all = await complete("")
        #expect(Set(all).count == all.count)
        #expect(all.contains("breaker") && all.contains("up") && all.contains("help"))
    }

    @Test("bash takes the script and completes with it")
    func bash() throws {
        let process = Process()
        let pipe = Pipe()
        process.executableURL = URL(fileURLWithPath: "/bin/bash")
        process.arguments = [
            "-c",
            """
            set -eu
            source <('\(Binary.path)' completion bash)
            COMP_WORDS=('\(Binary.path)' audit ver) COMP_CWORD=2
            _skos
            echo "${COMPREPLY[@]}"
            complete -p skos
            """,
        ]
        process.standardOutput = pipe
        try process.run()
        let data = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        #expect(String(decoding: data, as: UTF8.self) == "verify\ncomplete -F _skos skos\n")
    }
}
