import Antibody
import Platform
import Protocol
import Settings
import StorageWatcher
import Testing

@Suite struct StorageJudgeTests {
    private func symptoms(
        _ judge: inout StorageJudge, _ answer: MountObservation.Answer,
        _ mount: MountEntry = Mounts.entry("/data"), at seconds: Double = 0
    ) -> [String: Symptom] {
        let observation = MountObservation(mount: mount, answer: answer)
        let found = judge.observe([observation], at: .later(seconds))
        return Dictionary(uniqueKeysWithValues: found.map { ($0.type, $0) })
    }

    @Test(
        "the worse of space and inodes decides, and each is left below its clear threshold only",
        arguments: [
            (
                [(79, 0), (80, 0), (90, 0), (95, 0)], [.ok, .warning, .critical, .emergency],
                "space"
            ),
            (
                [(10, 79), (10, 80), (10, 90), (10, 99)], [.ok, .warning, .critical, .emergency],
                "inodes"
            ),
            (
                [(96, 0), (91, 0), (89, 0), (84, 0), (74, 0)],
                [.emergency, .emergency, .critical, .warning, .ok], "space"
            ),
            ([(85, 92), (92, 85)], [.critical, .critical], "space"),
            ([(100, 100)], [.emergency], "space"),
        ] as [([(Int, Int)], [Severity], String)])
    func severities(_ row: (values: [(Int, Int)], severities: [Severity], kind: String)) {
        var judge = StorageJudge(Config())
        var last: Symptom?
        for (index, (space, inodes)) in row.values.enumerated() {
            last =
                symptoms(
                    &judge, .usage(.percent(space, inodes: inodes)), at: Double(index * 5))[
                    "storage"]
            #expect(last?.severity == row.severities[index], "\(index)")
            #expect(last?.resource == "/data")
        }
        #expect(last?.details["kind"]?.string == row.kind)
    }

    @Test(
        "how bad a mount is by the thresholds alone, for whoever looks once",
        arguments: [
            (79, 0, nil), (80, 0, .warning), (10, 92, .critical), (95, 80, .emergency),
        ] as [(Int, Int, Severity?)])
    func once(space: Int, inodes: Int, severity: Severity?) {
        let settings = Config().storage
        let usage = MountObservation.Answer.usage(.percent(space, inodes: inodes))
        let mount = Mounts.entry("/data")
        let observation = MountObservation(mount: mount, answer: usage)
        #expect(observation.severity(by: settings) == severity)
        // Images of systems are always full.
        let locked = MountObservation(mount: mount, answer: usage, isLocked: true)
        #expect(locked.severity(by: settings) == nil)
        #expect(MountObservation(mount: mount, answer: .hung).severity(by: settings) == nil)
    }

    @Test("inodes have thresholds of their own, and some file systems have none") func inodes() {
        var config = Config()
        config.storage.inodeThresholds = Config.Levels(warning: 50, critical: 60, emergency: 70)
        config.storage.inodeClear = Config.Levels(warning: 45, critical: 55, emergency: 65)
        var judge = StorageJudge(config)
        let symptom = symptoms(&judge, .usage(.percent(55, inodes: 65)))["storage"]
        #expect(symptom?.severity == .critical && symptom?.threshold == 60)
        var none = FileSystemUsage.percent(10)
        (none.inodes, none.inodesFree) = (0, 0)
        #expect(symptoms(&judge, .usage(none), at: 5)["storage"]?.severity == .ok)
    }

    @Test("for: holds back, and edited thresholds count at once") func holds() {
        var config = Config()
        config.storage.holdFor = .seconds(10)
        var judge = StorageJudge(config)
        let severities = [0.0, 5, 10].map {
            symptoms(&judge, .usage(.percent(91)), at: $0)["storage"]?.severity
        }
        #expect(severities == [.ok, .ok, .critical])
        config.storage.thresholds.critical = 95
        config.storage.thresholds.emergency = 97
        config.storage.clear.critical = 92
        config.storage.clear.emergency = 96
        judge.apply(config)
        #expect(symptoms(&judge, .usage(.percent(91)), at: 15)["storage"]?.severity == .warning)
    }

    @Test("what hangs or fails is not known, raises nothing and clears nothing") func unknown() {
        var judge = StorageJudge(Config())
        #expect(symptoms(&judge, .usage(.percent(91)))["storage"]?.severity == .critical)
        for (index, answer) in [
            MountObservation.Answer.hung, .failed(reason: "EIO"), .unread, .hidden,
        ].enumerated() {
            let found = symptoms(&judge, answer, at: Double(index * 5 + 5))
            #expect(found["storage"] != nil && found["storage"]?.severity == nil)
        }
    }

    @Test("a mount is hung after two looks, dead at once said, and well when it answers")
    func hung() {
        var judge = StorageJudge(Config())
        let mount = Mounts.entry("/nfs", type: "nfs4", source: "server:/x")
        #expect(symptoms(&judge, .hung, mount)["storage_hung"] == nil)
        #expect(symptoms(&judge, .hung, mount, at: 5)["storage_hung"]?.severity == .warning)
        #expect(
            symptoms(&judge, .dead(reason: "ENOTCONN"), mount, at: 10)["storage_hung"]?.severity
                == .warning)
        #expect(symptoms(&judge, .failed(reason: "EIO"), mount, at: 15)["storage_hung"] == nil)
        #expect(
            symptoms(&judge, .usage(.percent(1)), mount, at: 20)["storage_hung"]?.severity == .ok)
        #expect(symptoms(&judge, .usage(.percent(1)), mount, at: 25)["storage_hung"] == nil)
    }

    @Test("only what could be written to becomes read-only") func readOnly() {
        let locked = Mounts.entry("/data", options: "ro", superOptions: "ro")
        let bound = Mounts.entry("/data", options: "ro")
        var judge = StorageJudge(Config())
        var found = symptoms(&judge, .usage(.percent(100)), locked)
        #expect(found["storage_readonly"] == nil && found["storage"]?.severity == nil)
        found = symptoms(&judge, .usage(.percent(10)), at: 5)
        #expect(found["storage_readonly"]?.severity == .ok)
        found = symptoms(&judge, .usage(.percent(10)), bound, at: 10)
        #expect(found["storage_readonly"]?.severity == .warning)
        found = symptoms(&judge, .usage(.percent(10)), locked, at: 15)
        #expect(found["storage_readonly"]?.severity == .critical)
        #expect(symptoms(&judge, .usage(.percent(10)), at: 20)["storage_readonly"]?.severity == .ok)
    }

    @Test(
        "what an error has locked is told from the first", arguments: ["emergency_ro", "shutdown"])
    func failed(_ option: String) {
        let failed = Mounts.entry("/data", superOptions: "rw,\(option),errors=remount-ro")
        var judge = StorageJudge(Config())
        var found = symptoms(&judge, .usage(.percent(100)), failed)
        #expect(found["storage_readonly"]?.severity == .critical)
        #expect(found["storage"]?.severity == nil, "nothing can be deleted there")
        found = symptoms(&judge, .usage(.percent(10)), at: 5)
        #expect(found["storage_readonly"]?.severity == .ok)
    }

    @Test("what is unmounted is over, unless something else stands there") func unmounted() {
        var judge = StorageJudge(Config())
        _ = symptoms(&judge, .usage(.percent(99)))
        let gone = judge.observe([], at: .later(5))
        #expect(gone.map(\.type) == ["storage"] && gone.map(\.severity) == [.ok])
        #expect(judge.observe([], at: .later(10)).isEmpty)
        _ = symptoms(&judge, .usage(.percent(99)), at: 15)
        let other = symptoms(
            &judge, .usage(.percent(10)), Mounts.entry("/data", device: "8:9"), at: 20)
        #expect(other["storage"]?.severity == .ok)
    }

    @Test("what was said of a mount is over when another file system stands there") func replaced()
    {
        var judge = StorageJudge(Config())
        for minute in 0...60 {
            let free = UInt64(200_000 - minute * 2500)
            let usage = FileSystemUsage(size: 1_000_000, free: free, available: free)
            _ = symptoms(&judge, .usage(usage), at: Double(minute * 60))
        }
        // An image of a system, always full, and read-only by its nature.
        let image = Mounts.entry("/data", device: "8:9", options: "ro", superOptions: "ro")
        let found = judge.observe(
            [MountObservation(mount: image, answer: .usage(.percent(100)))], at: .later(3660))
        let known = found.filter { $0.severity != nil && $0.type != "storage_hung" }
        #expect(known.map(\.type) == ["storage", "storage_forecast"])
        #expect(known.allSatisfy { $0.severity == .ok && $0.resource == "/data" })
        let again = judge.observe(
            [MountObservation(mount: image, answer: .usage(.percent(100)))], at: .later(3665))
        #expect(again.allSatisfy { $0.severity == nil })
    }

    @Test("a mount that is read-only is judged while another mount of its file system is not")
    func writableElsewhere() {
        let bound = Mounts.entry("/data", options: "ro")
        for (isLocked, severity) in [(true, nil), (false, .emergency)] as [(Bool, Severity?)] {
            var judge = StorageJudge(Config())
            let observation = MountObservation(
                mount: bound, answer: .usage(.percent(97)), isLocked: isLocked)
            let found = judge.observe([observation], at: .later(0))
            #expect(found.first { $0.type == "storage" }?.severity == severity)
        }
    }

    @Test("what fills is foretold, and says nothing about how full it is") func foretells() {
        var judge = StorageJudge(Config())
        var found: [String: Symptom] = [:]
        // From 20 to 50 % within an hour: one and two thirds to go.
        for minute in 0...60 {
            let usage = FileSystemUsage(
                size: 1_000_000, free: UInt64(800_000 - minute * 5000),
                available: UInt64(800_000 - minute * 5000))
            found = symptoms(&judge, .usage(usage), at: Double(minute * 60))
            if minute < 30 { #expect(found["storage_forecast"] == nil) }
        }
        #expect(found["storage"]?.severity == .ok)
        #expect(found["storage_forecast"]?.severity == .warning)
        #expect(found["storage_forecast"]?.value == 1.7)
        #expect(found["storage_forecast"]?.unit == "hours")
        for minute in 61...130 {
            found = symptoms(&judge, .usage(.percent(50)), at: Double(minute * 60))
            if found["storage_forecast"]?.severity == .ok { break }
        }
        #expect(found["storage_forecast"]?.severity == .ok)
    }
}

@Suite struct ForecastTests {
    /// A forecast of so many points, `step` minutes apart.
    private func forecast(
        _ count: Int, step: Double = 2, used: (Double) -> Double
    ) -> Forecast {
        var forecast = Forecast()
        for index in 0..<count {
            let number = Double(index)
            forecast.observe(used(number), at: .later(number * step * 60))
        }
        return forecast
    }

    @Test("is silent before half an hour and ten points") func early() {
        #expect(forecast(15) { $0 }.speed == nil)
        #expect(forecast(9, step: 5) { $0 }.speed == nil)
        #expect(forecast(16) { $0 }.speed != nil)
    }

    @Test("one file that comes and goes is no trend") func robust() throws {
        let bump = forecast(30) { number in 1000 + number + (number == 20 ? 30 : 0) }
        let speed = try #require(bump.speed)
        #expect(abs(speed * 120 - 1) < 0.05)
        let jump = forecast(30) { number in number < 25 ? 1000 : 5000 }
        #expect(jump.speed == 0)
    }

    @Test("what was before somebody made room does not count") func resets() {
        var filling = forecast(30) { number in 1000 + number * 10 }
        #expect(filling.timeLeft(1000) != nil)
        filling.observe(500, at: .later(3600))
        #expect(filling.timeLeft(1000) == nil)
    }

    @Test("what does not fill lasts, and clocks that go back begin anew") func quiet() {
        var flat = forecast(30) { _ in 100 }
        let year: Duration = .seconds(86_400 * 365)
        #expect(flat.timeLeft(1).map { $0 > year } == true)
        flat.observe(100, at: .later(-1))
        #expect(flat.timeLeft(1) == nil)
    }
}
