import Glibc
import Protocol
import Runtime
import Synchronization
import Testing

@Suite("Time", .timeLimit(.minutes(10)))
struct TimeTests {
    @Test("the clock follows the machine's uptime and nothing else")
    func steady() {
        let clock = SteadyClock(real: Timestamp(seconds: 1000), boot: .seconds(50))
        #expect(clock.time(sinceBoot: .seconds(50)) == Timestamp(seconds: 1000))
        #expect(clock.time(sinceBoot: .seconds(3650)) == Timestamp(seconds: 4600))
        // A clock made an hour in the past says how far off the system's clock is.
        let late = SteadyClock(
            real: SteadyClock.wallTime() - .seconds(3600), boot: SteadyClock.sinceBoot())
        #expect((Duration.seconds(3599)...Duration.seconds(3601)).contains(late.drift()))
        #expect(SteadyClock.bootID()?.utf8.count == 36)
    }

    @Test(
        "a clock that was wrong at the start is put right once, when the kernel vouches for its own"
    )
    func following() {
        let wrong = Timestamp(seconds: 1000)
        let right = Timestamp(seconds: 1_700_000_000)
        let clock = SteadyClock(real: wrong, boot: .seconds(10), isSynchronized: false)
        #expect(clock.follow(isSynchronized: false, real: right, boot: .seconds(20)) == nil)
        #expect(clock.time(sinceBoot: .seconds(20)) == Timestamp(seconds: 1010))
        #expect(
            clock.follow(isSynchronized: true, real: right, boot: .seconds(30))
                == .seconds(1_700_000_000 - 1020))
        #expect(clock.time(sinceBoot: .seconds(40)) == Timestamp(seconds: 1_700_000_010))
        // From then on, nothing moves it.
        #expect(clock.follow(isSynchronized: true, real: wrong, boot: .seconds(50)) == nil)
        let good = SteadyClock(real: right, boot: .seconds(10))
        #expect(good.follow(isSynchronized: true, real: wrong, boot: .seconds(20)) == nil)
        #expect(good.time(sinceBoot: .seconds(10)) == right)
    }

    @Test("pauses double up to the limit, stay within their halves, and repeat with their seed")
    func backoff() {
        var backoff = Backoff(base: .seconds(1), limit: .seconds(10), seed: 42)
        var again = Backoff(base: .seconds(1), limit: .seconds(10), seed: 42)
        var other = Backoff(base: .seconds(1), limit: .seconds(10), seed: 43)
        var differ = false
        for ceiling in [1, 2, 4, 8, 10, 10, 10] {
            let pause = backoff.next()
            #expect(pause >= .seconds(ceiling) / 2 && pause <= .seconds(ceiling))
            #expect(pause == again.next())
            if pause != other.next() { differ = true }
        }
        #expect(differ)
        backoff.reset()
        #expect(backoff.next() <= .seconds(1))
    }

    @Test("a few get through in each span, and the next one says how many did not")
    func rateLimit() {
        var limit = RateLimit(2, per: .seconds(10))
        let passed = [0, 1, 2, 3, 9.9, 10, 11, 12, 25].map { limit.pass(at: .seconds($0)) }
        #expect(passed == [0, 0, nil, nil, nil, 3, 0, nil, 1])
    }

    @Test("a result in time is returned, an error thrown")
    func inTime() async throws {
        #expect(try await withTimeLimit(.seconds(60)) { 7 } == 7)
        struct Oops: Error {}
        await #expect(throws: Oops.self) {
            try await withTimeLimit(.seconds(60)) { throw Oops() }
        }
    }

    @Test("a call that hangs is left behind, and its worker says that it is busy")
    func late() async throws {
        let worker = WorkerThread(name: "hanging")
        defer { worker.stop() }
        let pipe = UnsafeMutablePointer<CInt>.allocate(capacity: 2)
        defer { pipe.deallocate() }
        #expect(Glibc.pipe(pipe) == 0)
        let (reader, writer) = (pipe[0], pipe[1])
        defer { close(reader) }
        await #expect(throws: TimeLimitExceeded.self) {
            try await withTimeLimit(.milliseconds(10), on: worker) {
                var byte: UInt8 = 0
                _ = read(reader, &byte, 1)
            }
        }
        #expect(worker.isHanging)
        close(writer)
        try await withTimeLimit(.seconds(60), on: worker) {}
        #expect(!worker.isHanging)
    }

    @Test("a worker that has answered does not count as hanging, however soon it is asked")
    func answered() async throws {
        let worker = WorkerThread(name: "quick")
        defer { worker.stop() }
        for _ in 0..<5_000 {
            try await withTimeLimit(.seconds(60), on: worker) {}
            if worker.isHanging {
                Issue.record("it has returned, and counts as hanging")
                break
            }
        }
    }

    @Test("work on a worker leaves the caller's threads and stays on one of its own")
    func worker() async throws {
        let worker = WorkerThread(name: "one-thread")
        defer { worker.stop() }
        let threads = Mutex<Set<UInt>>([])
        for _ in 0..<10 {
            try await withTimeLimit(.seconds(60), on: worker) {
                threads.withLock { _ = $0.insert(UInt(pthread_self())) }
                await Task.yield()
                threads.withLock { _ = $0.insert(UInt(pthread_self())) }
            }
        }
        #expect(threads.withLock { $0.count } == 1)
    }

    @Test("cancelling the waiting task ends the wait")
    func cancelled() async {
        let task = Task {
            try await withTimeLimit(.seconds(3600)) {
                await withUnsafeContinuation { (_: UnsafeContinuation<Void, Never>) in }
            }
        }
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
    }

    @Test("a ring before the wait counts once, and a wait ends by ring, time or cancellation")
    func wakeup() async {
        let wakeup = Wakeup()
        wakeup.ring()
        wakeup.ring()
        #expect(await wakeup.wait())
        #expect(await wakeup.wait(atMost: .milliseconds(5)) == false)
        async let rung = wakeup.wait(atMost: .seconds(3600))
        wakeup.ring()
        #expect(await rung)
        let task = Task { await wakeup.wait() }
        task.cancel()
        #expect(await task.value == false)
        wakeup.ring()
        #expect(await wakeup.wait())
    }

    @Test("no ring is lost when many ring while one waits")
    func wakeupStress() async {
        let wakeup = Wakeup()
        for round in 0..<2000 {
            async let rung = wakeup.wait(atMost: .seconds(3600))
            if round % 2 == 0 { await Task.yield() }
            wakeup.ring()
            #expect(await rung)
        }
    }
}
