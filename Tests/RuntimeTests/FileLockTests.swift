import Foundation
import Runtime
import Testing

@Suite("FileLock")
struct FileLockTests {
    private let path = NSTemporaryDirectory() + "skos-lock-\(UUID().uuidString)"

    @Test("one holder at a time, whose number the next one is told; free again after release")
    func exclusive() throws {
        defer { unlink(path) }
        let first = try FileLock(path: path)
        #expect(throws: FileLockFailure.held(path: path, by: Int(getpid()))) {
            try FileLock(path: path)
        }
        first.release()
        first.release()
        _ = try FileLock(path: path)
        // The one above is gone already.
        _ = try FileLock(path: path)
    }

    @Test("free again after release although another process still has a copy of the file")
    func copied() throws {
        defer { unlink(path) }
        let first = try FileLock(path: path)
        let copy = try #require(
            (3..<4096).first { number in
                let target = try? FileManager.default.destinationOfSymbolicLink(
                    atPath: "/proc/self/fd/\(number)")
                return target == path
            }.map { dup($0) })
        defer { close(copy) }
        first.release()
        _ = try FileLock(path: path)
    }

    @Test("a place that cannot be written says so")
    func unusable() {
        let path = "/proc/nothing/lock"
        #expect(
            throws: FileLockFailure.unusable(path: path, reason: "No such file or directory")
        ) { try FileLock(path: path) }
    }
}
