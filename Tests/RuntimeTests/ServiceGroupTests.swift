import Glibc
import Runtime
import Synchronization
import Testing

/// Notes what happened, in order.
private final class Diary: Sendable {
    private let lines = Mutex<[String]>([])
    private let changed = AsyncStream.makeStream(of: Void.self)

    func write(_ line: String) {
        lines.withLock { $0.append(line) }
        changed.continuation.yield()
    }

    var all: [String] { lines.withLock { $0 } }

    /// Waits until a line has been written.
    func wait(for line: String) async {
        if all.contains(line) { return }
        for await _ in changed.stream where all.contains(line) { return }
    }
}

private struct Oops: Error {}

/// A service that does as it is told.
private struct Probe: Service {
    enum Way { case obedient, deaf, failing, returning, unstartable, uncancellable }

    let name: String
    let way: Way
    let diary: Diary
    var mayFinish = false
    private let stop = Wakeup()

    init(_ name: String, _ diary: Diary, _ way: Way = .obedient) {
        self.name = name
        self.diary = diary
        self.way = way
    }

    func start() async throws {
        diary.write("start \(name)")
        if way == .unstartable { throw Oops() }
    }

    func run() async throws {
        diary.write("run \(name)")
        defer { diary.write("end \(name)") }
        switch way {
        case .obedient: _ = await stop.wait()
        case .failing: throw Oops()
        case .returning: return
        case .deaf, .unstartable: try await Task.sleep(for: .seconds(3600))
        case .uncancellable:
            await withUnsafeContinuation { (_: UnsafeContinuation<Void, Never>) in }
        }
    }

    func shutdown() async {
        diary.write("shutdown \(name)")
        stop.ring()
    }
}

private let quiet: Logger = {
    let sink = LogSink(descriptor: -1)
    return Logger("test", sink: sink)
}()

@Suite("ServiceGroup", .timeLimit(.minutes(10)))
struct ServiceGroupTests {
    private func group(
        _ services: [Probe], deadline: Duration = .seconds(30),
        grace: Duration = .milliseconds(20)
    ) -> ServiceGroup {
        ServiceGroup(services, deadline: deadline, grace: grace, log: quiet)
    }

    @Test("services start in order and stop in reverse, each done before the next is asked")
    func order() async {
        let diary = Diary()
        let (stops, stop) = AsyncStream.makeStream(of: String.self)
        async let code = group([Probe("a", diary), Probe("b", diary), Probe("c", diary)])
            .run(until: stops)
        for name in ["a", "b", "c"] { await diary.wait(for: "run \(name)") }
        let starts = diary.all.filter { $0.hasPrefix("start") }
        stop.yield("test")
        #expect(await code == 0)
        #expect(starts == ["start a", "start b", "start c"])
        let end = [
            "shutdown c", "end c", "shutdown b", "end b", "shutdown a", "end a",
        ]
        #expect(diary.all.filter { !$0.hasPrefix("start") && !$0.hasPrefix("run") } == end)
    }

    @Test("a service that fails or returns unasked stops the others and fails the group")
    func failures() async {
        for way in [Probe.Way.failing, .returning] {
            let diary = Diary()
            let (stops, _) = AsyncStream.makeStream(of: String.self)
            let code = await group([Probe("a", diary), Probe("b", diary, way)]).run(until: stops)
            #expect(code == 1)
            #expect(diary.all.last == "end a")
            #expect(!diary.all.contains("shutdown b"))
        }
    }

    @Test("a service that may finish ends the group only together with the last one")
    func mayFinish() async {
        let diary = Diary()
        var short = Probe("short", diary, .returning)
        short.mayFinish = true
        let (stops, _) = AsyncStream.makeStream(of: String.self)
        #expect(await group([short]).run(until: stops) == 0)
        let (stops2, stop2) = AsyncStream.makeStream(of: String.self)
        async let code = group([short, Probe("long", diary)]).run(until: stops2)
        await diary.wait(for: "run long")
        stop2.yield("test")
        #expect(await code == 0)
        #expect(diary.all.contains("end long"))
    }

    @Test("the failure of an expendable service ends nobody else")
    func expendable() async {
        let diary = Diary()
        let failing = ExpendableService(
            Probe("failing", diary, .failing), consequence: "nothing", log: quiet)
        let (stops, stop) = AsyncStream.makeStream(of: String.self)
        async let code = ServiceGroup([failing, Probe("long", diary)], log: quiet)
            .run(until: stops)
        await diary.wait(for: "end failing")
        await diary.wait(for: "run long")
        stop.yield("test")
        #expect(await code == 0)
        #expect(diary.all.suffix(2) == ["shutdown long", "end long"])
    }

    @Test("a service that cannot start stops those before it; those after it never start")
    func unstartable() async {
        let diary = Diary()
        let (stops, _) = AsyncStream.makeStream(of: String.self)
        let code = await group([
            Probe("a", diary), Probe("b", diary, .unstartable), Probe("c", diary),
        ]).run(until: stops)
        #expect(code == 1)
        #expect(diary.all.contains("end a"))
        #expect(!diary.all.contains("run b"))
        #expect(!diary.all.contains("start c"))
    }

    @Test("after the deadline a deaf service is cancelled, and one that cannot be is left behind")
    func deadline() async {
        for (way, ends) in [(Probe.Way.deaf, true), (.uncancellable, false)] {
            let diary = Diary()
            let (stops, stop) = AsyncStream.makeStream(of: String.self)
            async let code = group(
                [Probe("a", diary, way)], deadline: .milliseconds(20),
                grace: ends ? .seconds(60) : .milliseconds(20)
            ).run(until: stops)
            await diary.wait(for: "run a")
            stop.yield("test")
            #expect(await code == 1)
            #expect(diary.all.contains("end a") == ends)
        }
    }

    @Test("a terminal that goes asks for a stop, however often it says so")
    func hangup() async {
        await #expect(processExitsWith: .exitCode(Signals.impatientExitCode)) {
            let stops = Signals.stops()
            kill(getpid(), SIGHUP)
            for await stop in stops {
                #expect(stop == "SIGHUP")
                for number in [SIGHUP, SIGTERM, SIGHUP] { kill(getpid(), number) }
                try await Task.sleep(for: .milliseconds(100))
                // Still here: only whoever asks twice for an end wants it at once.
                kill(getpid(), SIGTERM)
                try await Task.sleep(for: .seconds(60))
            }
        }
    }

    @Test("who has hanging up ignored is not stopped by it")
    func nohup() async {
        await #expect(processExitsWith: .success) {
            signal(SIGHUP, SIG_IGN)
            let stops = Signals.stops()
            kill(getpid(), SIGHUP)
            kill(getpid(), SIGTERM)
            for await stop in stops {
                #expect(stop == "SIGTERM")
                return
            }
        }
    }

    @Test("the first signal asks for a stop, the second ends the process at once")
    func signals() async {
        await #expect(processExitsWith: .exitCode(Signals.impatientExitCode)) {
            let stops = Signals.stops()
            kill(getpid(), SIGTERM)
            for await stop in stops {
                #expect(stop == "SIGTERM")
                kill(getpid(), SIGINT)
                try await Task.sleep(for: .seconds(60))
            }
        }
    }
}
