import Glibc
import Synchronization
import Testing
import Threads

@Suite("Threads and what they wait on")
struct ThreadsTests {
    @Test("a thread has its name, as far as Linux keeps it")
    func name() throws {
        let seen = Monitor<String?>(nil)
        let isStarted = startThread(name: "a-name-of-18-bytes") {
            var bytes = [UInt8](repeating: 0, count: 64)
            let descriptor = open("/proc/thread-self/comm", O_RDONLY | O_CLOEXEC)
            let count = read(descriptor, &bytes, bytes.count)
            close(descriptor)
            seen.withLock { $0 = String(decoding: bytes.prefix(max(0, count)), as: UTF8.self) }
            seen.wake()
        }
        try #require(isStarted)
        #expect(seen.waitFor { $0 } == "a-name-of-18-by\n")
    }

    @Test("a thread that cannot have its stack is refused, and its work is let go")
    func refused() {
        final class Work: Sendable {}
        weak var left: Work?
        do {
            let work = Work()
            left = work
            // More than any address space has.
            let isStarted = startThread(name: "too-large", stackBytes: 1 << 60) {
                withExtendedLifetime(work) {}
            }
            #expect(!isStarted)
        }
        #expect(left == nil)
    }

    @Test("who waits is woken by each change, until what it waits for is there")
    func wakes() throws {
        let count = Monitor(0)
        let isStarted = startThread(name: "counts") {
            for _ in 0..<1000 {
                count.withLock { $0 += 1 }
                count.wake()
            }
        }
        try #require(isStarted)
        #expect(count.waitFor { $0 == 1000 ? $0 : nil } == 1000)
    }

    @Test("who waits until a time goes on then without being woken")
    func time() {
        let nothing = Monitor(0)
        let deadline = MonotonicClock.deadline(after: .milliseconds(20))
        let asked = nothing.waitUntil { count -> Monitor<Int>.Wait<Int> in
            count += 1
            return MonotonicClock.now < deadline ? .sleep(until: deadline) : .done(count)
        }
        // By a busy loop it would have been asked thousands of times.
        #expect((1...10).contains(asked))
    }

    @Test(
        "a deadline is never before now, and however far away it is a time",
        arguments: [
            .seconds(-5), .zero, .nanoseconds(1), .seconds(3600), .seconds(Int64.max),
            .seconds(Int64.min),
        ] as [Duration])
    func deadlines(_ duration: Duration) {
        let before = MonotonicClock.now
        let deadline = MonotonicClock.deadline(after: duration)
        let after = MonotonicClock.now
        let nanoseconds = UInt64(min(max(duration, .zero), .seconds(1 << 32)) / .nanoseconds(1))
        #expect(deadline >= before + min(nanoseconds, 1 << 62))
        if duration < .seconds(1 << 32) { #expect(deadline <= after + nanoseconds) }
    }
}
