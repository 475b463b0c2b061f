import Antibody
import Foundation
import Platform
import Protocol
import Settings
import StorageWatcher
import Synchronization

extension Bench {
    /// Deleting many files: our walk, which looks at each file's age, links and users first, beside
    /// `find -delete`, which does not.
    func cleanup(files: Int) throws {
        var floors: [Double] = []
        var ours: [Double] = []
        let tree = directory.appendingPathComponent("tree").path
        for _ in 0..<rounds {
            try makeTree(tree, files: files)
            let started = ContinuousClock.now
            let find = try Child("/usr/bin/find", [tree, "-type", "f", "-delete"])
            find.process.waitUntilExit()
            floors.append(Double(files) / seconds(ContinuousClock.now - started))

            try makeTree(tree, files: files)
            let begun = ContinuousClock.now
            let top = try SafeDirectory.open(tree, root: HostRoot())
            defer { top.close() }
            let selection = FileSelection(
                patterns: [GlobPattern(name: "*")], unchangedSince: .greatestFiniteMagnitude)
            let sweep = Sweep(
                selection, openFiles: try OpenFiles.collect(HostRoot()), isDryRun: false)
            let report = sweep.run(top)
            ours.append(Double(files) / seconds(ContinuousClock.now - begun))
            guard report.files == files else {
                throw Failure("only \(report.files) of \(files) files deleted: \(report)")
            }
        }
        let ratio = ours.median / floors.median
        add(
            Row(
                name: "cleanup of \(files) files, files/s",
                floor: "find: \(Int(floors.median))", skos: "\(Int(ours.median))",
                ratio: String(format: "%.2f", ratio), line: "≥ 0.5", holds: ratio >= 0.5))
    }

    /// A thousand files in each directory.
    private func makeTree(_ path: String, files: Int) throws {
        for index in 0..<files {
            if index % 1000 == 0 {
                try FileManager.default.createDirectory(
                    atPath: "\(path)/\(index / 1000)", withIntermediateDirectories: true)
            }
            let descriptor = open("\(path)/\(index / 1000)/\(index)", O_CREAT | O_WRONLY, 0o600)
            guard descriptor >= 0 else { throw Failure("cannot fill \(path): \(errno)") }
            close(descriptor)
        }
    }

    /// What looking at many mounts costs.
    func mounts(count: Int) throws {
        guard geteuid() == 0 else { return print("mounts: skipped, needs root") }
        let base = directory.appendingPathComponent("mounts").path
        defer {
            for index in 0..<count { try? run("/usr/bin/umount", ["-l", "\(base)/\(index)"]) }
        }
        for index in 0..<count {
            try FileManager.default.createDirectory(
                atPath: "\(base)/\(index)", withIntermediateDirectories: true)
            try run(
                "/usr/bin/mount", ["-t", "tmpfs", "-o", "size=64k", "bench", "\(base)/\(index)"])
        }
        var config = Config()
        config.storage.include = [base + "/**"]
        let module = StorageModule(hostRoot: HostRoot(), config: config)
        var costs: [Double] = []
        for round in 0..<10 {
            let before = cpuSeconds()
            let seen = look(module, at: Timestamp(seconds: Int64(round * 5)))
            costs.append((cpuSeconds() - before) * 1000)
            guard seen == count else { throw Failure("only \(seen) of \(count) mounts seen") }
        }
        add(
            Row(
                name: "storage sample of \(count) mounts, ms of CPU", floor: "–",
                skos: String(format: "%.1f", costs.median), ratio: "–", line: "< 50",
                holds: costs.median < 50))
    }

    /// One sample; how many mounts it judged. Blocks, for the rest of this program does, too.
    private func look(_ module: StorageModule, at time: Timestamp) -> Int {
        let seen = Mutex(0)
        let isDone = DispatchSemaphore(value: 0)
        Task.detached {
            let sample = await module.sample(at: time)
            seen.withLock { $0 = sample.symptoms.count { $0.type == "storage" } }
            isDone.signal()
        }
        isDone.wait()
        return seen.withLock { $0 }
    }

    private func run(_ program: String, _ arguments: [String]) throws {
        let child = try Child(program, arguments)
        child.process.waitUntilExit()
        guard child.process.terminationStatus == 0 else { throw Failure("\(program) failed") }
    }

    private func cpuSeconds() -> Double {
        var usage = rusage()
        getrusage(Int32(RUSAGE_SELF.rawValue), &usage)
        func seconds(_ time: timeval) -> Double {
            Double(time.tv_sec) + Double(time.tv_usec) / 1e6
        }
        return seconds(usage.ru_utime) + seconds(usage.ru_stime)
    }

    func seconds(_ duration: Duration) -> Double {
        Double(duration.components.seconds) + Double(duration.components.attoseconds) * 1e-18
    }
}
