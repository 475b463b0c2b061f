import Platform

/// Programs that tests write and then run.
package enum Script {
    package struct Failure: Error, CustomStringConvertible { package var description: String }

    /// Writes `text`, a script with its `#!` line, to `path`, to be run.
    ///
    /// Another process writes it. Were it this one, whatever another test starts at that moment would
    /// hold the file open for writing until it has become its own program, and running the file meanwhile
    /// would fail with `ETXTBSY`.
    package static func write(_ text: String, to path: String) throws {
        let command = #"printf %s "$1" > "$0" && chmod 0755 "$0""#
        let output = try Subprocess(
            "/bin/sh", ["-c", command, path, text], timeLimit: .seconds(60)
        ).run()
        guard output.exitCode == 0 else { throw Failure(description: "cannot write \(path)") }
    }
}
