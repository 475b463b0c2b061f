import Foundation
import Glibc
import Synchronization

/// A FUSE file system whose server takes requests and never answers them: whoever asks cannot even be
/// killed, as with a dead disk.
final class StuckMount: Sendable {
    struct Failure: Error {
        var call: String
        var code = errno
    }

    static let isPossible = geteuid() == 0 && access("/dev/fuse", R_OK | W_OK) == 0

    let point: String
    private let server: Int32
    private let isOpen = Mutex(true)

    init(at point: String) throws {
        self.point = point
        mkdir(point, 0o755)
        server = open("/dev/fuse", O_RDWR | O_CLOEXEC)
        guard server >= 0 else { throw Failure(call: "open") }
        typealias Mount =
            @convention(c) (
                UnsafePointer<CChar>?, UnsafePointer<CChar>?, UnsafePointer<CChar>?, UInt,
                UnsafeRawPointer?
            ) -> Int32
        // <sys/mount.h> is not part of Swift's Glibc module.
        guard let symbol = dlsym(nil, "mount") else { throw Failure(call: "dlsym") }
        let options = "fd=\(server),rootmode=40000,user_id=0,group_id=0"
        let code = unsafeBitCast(symbol, to: Mount.self)("stuck", point, "fuse.stuck", 0, options)
        guard code == 0 else { throw Failure(call: "mount") }
        try greet()
    }

    deinit { end() }

    /// Answers `FUSE_INIT`, without which the kernel sends nothing else.
    private func greet() throws {
        var request = [UInt8](repeating: 0, count: 1 << 17)
        guard read(server, &request, request.count) >= 40 else { throw Failure(call: "read") }
        var answer = [UInt8](repeating: 0, count: 16 + 64)
        answer[0] = UInt8(answer.count)
        // The number of the request; then version 7.31, and 4 KiB a write.
        answer.replaceSubrange(8..<16, with: request[8..<16])
        (answer[16], answer[20], answer[37]) = (7, 31, 16)
        guard write(server, answer, answer.count) == answer.count else {
            throw Failure(call: "write")
        }
    }

    /// Takes the next request, so that it has reached its server and cannot be taken back.
    func take() {
        var request = [UInt8](repeating: 0, count: 1 << 17)
        _ = read(server, &request, request.count)
    }

    /// Ends the server, so that all who wait get an error, and takes the mount away.
    func end() {
        let wasOpen = isOpen.withLock { isOpen in
            defer { isOpen = false }
            return isOpen
        }
        guard wasOpen else { return }
        close(server)
        typealias Unmount = @convention(c) (UnsafePointer<CChar>?, Int32) -> Int32
        if let symbol = dlsym(nil, "umount2") {
            _ = unsafeBitCast(symbol, to: Unmount.self)(point, 2)
        }
        rmdir(point)
    }
}
