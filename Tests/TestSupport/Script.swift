import Glibc

/// Programs that tests write and then run.
package enum Script {
    package struct Failure: Error, CustomStringConvertible { package var description: String }

    /// Writes `text`, a script with its `#!` line, to `path`, to be run.
    ///
    /// Were it open here, whatever another test starts at that moment would hold it open for writing until
    /// it has become its own program, and running the file meanwhile would fail with `ETXTBSY`.
    package static func write(_ text: String, to path: String) throws {
        try withPrivateDescriptors {
            guard let file = fopen(path, "we") else {
                throw Failure(description: "open \(path): \(errno)")
            }
            let isWhole = fputs(text, file) >= 0
            guard fclose(file) == 0, isWhole, chmod(path, 0o755) == 0 else {
                throw Failure(description: "write \(path): \(errno)")
            }
        }
    }
}
