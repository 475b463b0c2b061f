import Glibc
import Threads

/// Runs `body` on a thread whose open files are its own.
///
/// The processes that other tests start at this moment have, between their `fork` and their `exec`, what
/// this process has open, `O_CLOEXEC` or not. On a busy machine that is long enough for a cleanup to see a
/// file as open that its test has closed.
package func withPrivateDescriptors(_ body: @escaping @Sendable () throws -> Void) throws {
    let outcome = Monitor<Result<Void, any Error>?>(nil)
    let isStarted = startThread(name: "descriptors") {
        let result = Result {
            try unshareDescriptors()
            try body()
        }
        outcome.withLock { $0 = result }
        outcome.wake()
    }
    guard isStarted else { throw Volume.Failure(description: "no thread to spare") }
    try outcome.waitFor { $0 }.get()
}

/// Gives the calling thread a table of open files of its own, with none in it but the standard ones: a
/// copy of another test's pipe would keep that open.
private func unshareDescriptors() throws {
    // Swift does not see `close_range`, nor this flag of linux/close_range.h.
    typealias CloseRange = @convention(c) (CUnsignedInt, CUnsignedInt, CInt) -> CInt
    let unshare: CInt = 1 << 1
    guard let symbol = dlsym(nil, "close_range") else {
        throw Volume.Failure(description: "no close_range in this libc")
    }
    guard unsafeBitCast(symbol, to: CloseRange.self)(3, .max, unshare) == 0 else {
        throw Volume.Failure(description: "close_range: \(errno)")
    }
}
