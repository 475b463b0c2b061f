import Dispatch
import Platform
import Testing

/// Blocks whoever waits until it is opened.
final class Gate: Sendable {
    private let semaphore = DispatchSemaphore(value: 0)
    func wait() { semaphore.wait() }
    func open(for count: Int = 1) { for _ in 0..<count { semaphore.signal() } }
}

@Suite struct TimedWorkerTests {
    @Test func returnsTheResult() async {
        let worker = TimedWorker()
        #expect(await worker.run(limit: .seconds(10)) { 42 } == 42)
        #expect(worker.runBlocking(limit: .seconds(10)) { 43 } == 43)
        #expect(worker.hungCount == 0)
    }

    @Test func aHungCallIsLeftBehindAndCountedUntilItReturns() async throws {
        let worker = TimedWorker(maxHung: 2)
        let gate = Gate()
        #expect(await worker.run(limit: .milliseconds(10)) { gate.wait() } == nil)
        #expect(worker.runBlocking(limit: .milliseconds(10)) { gate.wait() } == nil)
        #expect(worker.hungCount == 2)
        #expect(worker.isExhausted)
        // Refused without being started.
        #expect(await worker.run(limit: .seconds(100)) { 1 } == nil)
        #expect(worker.runBlocking(limit: .seconds(100)) { 1 } == nil)
        gate.open(for: 2)
        while worker.hungCount > 0 { try await Task.sleep(for: .milliseconds(1)) }
        #expect(await worker.run(limit: .seconds(10)) { 1 } == 1)
    }

    @Test func aCancelledTaskDoesNotWait() async throws {
        let worker = TimedWorker()
        let gate = Gate()
        let task = Task { await worker.run(limit: .seconds(1000)) { gate.wait() } }
        task.cancel()
        #expect(await task.value == nil)
        gate.open()
        while worker.hungCount > 0 { try await Task.sleep(for: .milliseconds(1)) }
    }

    @Test func hungCallsDoNotBlockOtherTasks() async {
        // More of them than the thread pool has threads.
        let worker = TimedWorker(maxHung: 64)
        let gate = Gate()
        await withTaskGroup(of: Bool.self) { group in
            for _ in 0..<32 {
                group.addTask { await worker.run(limit: .milliseconds(50)) { gate.wait() } == nil }
            }
            for await hung in group { #expect(hung) }
        }
        gate.open(for: 32)
    }

    @Test func manyCallsAtOnce() async {
        let worker = TimedWorker()
        let sum = await withTaskGroup(of: Int?.self, returning: Int.self) { group in
            for number in 0..<200 {
                group.addTask { await worker.run(limit: .seconds(60)) { number } }
            }
            var sum = 0
            for await number in group { sum += number ?? -100_000 }
            return sum
        }
        #expect(sum == 19_900)
    }
}
