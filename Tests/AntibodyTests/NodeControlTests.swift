import Antibody
import Foundation
import Platform
import Protocol
import Settings
import TestSupport
import Testing

/// Programs that stand for a node's: a `systemctl` whose units are files, and a service that is a real
/// process.
final class Workshop: Sendable {
    let directory = TemporaryDirectory()

    var path: String { directory.path }

    func script(_ name: String, _ body: String) throws -> String {
        let file = path + "/" + name
        try Script.write("#!/bin/sh\ncd \(path) || exit 1\n\(body)\n", to: file)
        return file
    }

    /// `units/NAME` holds a unit's ActiveState. What is asked is in `asked`.
    func systemctl() throws -> String {
        mkdir(path + "/units", 0o755)
        return try script(
            "systemctl",
            """
            echo "$*" >> asked
            [ "$1" = --no-ask-password ] && shift
            for unit; do :; done
            case $1 in
            show)
                if [ -e "units/$unit" ]; then
                    echo LoadState=loaded; echo "ActiveState=$(cat "units/$unit")"
                else
                    echo LoadState=not-found; echo ActiveState=inactive
                fi
                cat "units/$unit.ties" 2>/dev/null || : ;;
            stop) echo inactive > "units/$unit" ;;
            start)
                [ "$unit" = broken.service ] && { echo 'Job failed. See logs.' >&2; exit 1; }
                echo active > "units/$unit" ;;
            esac
            """)
    }

    func set(_ unit: String, _ state: String) throws {
        try "\(state)\n".write(toFile: "\(path)/units/\(unit)", atomically: true, encoding: .utf8)
    }

    func read(_ file: String) -> String {
        (try? String(contentsOfFile: "\(path)/\(file)", encoding: .utf8)) ?? ""
    }

    /// A service that is a process in the background.
    func service(_ name: String, hasCheck: Bool = true) throws -> Config.NonEssential {
        let start = try script(
            "\(name)-start", "sleep 1000 &\necho $! > \(name).pid\necho started >> \(name).log")
        let stop = try script(
            "\(name)-stop", "kill \"$(cat \(name).pid)\" && echo stopped >> \(name).log")
        // A process that nobody has collected yet runs no more.
        let check = try script(
            "\(name)-check",
            "grep -q '^State:[[:space:]]*[^ZX]' \"/proc/$(cat \(name).pid)/status\" 2>/dev/null")
        return .hook(name: name, stop: [stop], start: [start], check: hasCheck ? [check] : nil)
    }

    func pid(_ name: String) -> pid_t? {
        pid_t(read("\(name).pid").trimmingCharacters(in: .whitespacesAndNewlines))
    }

    /// Ends the processes of the services.
    func close(_ names: String...) {
        for name in names { if let process = pid(name) { kill(process, SIGKILL) } }
    }
}

/// Programs and engines take their time on a busy machine.
let patientTimes: ShutdownVerb.Times = {
    var times = ShutdownVerb.Times()
    (times.look, times.act, times.settle) = (.seconds(60), .seconds(60), .seconds(60))
    (times.plan, times.all) = (.seconds(300), .seconds(300))
    return times
}()

@Suite("shutdown_non_essential, with real programs")
struct NodeControlTests {
    private let limit = Duration.seconds(60)

    @Test("units: stopped and started by systemctl, by name and nothing else")
    func units() throws {
        let workshop = Workshop()
        let control = NodeControl(systemd: Systemd(program: try workshop.systemctl()))
        try workshop.set("backup.service", "active")
        try workshop.set("idle.timer", "inactive")
        let verb = ShutdownVerb(
            [.unit("backup.service"), .unit("idle.timer"), .unit("none.service")],
            control: control, times: patientTimes)
        let plan = try verb.plan(VerbCall(parameters: [:]))
        #expect(plan.effect["stop"] == ["unit backup.service"])
        _ = try verb.execute(plan)
        #expect(workshop.read("units/backup.service") == "inactive\n")
        _ = try verb.undo(plan.undo, remaining: [])
        _ = try verb.undo(plan.undo, remaining: [])
        #expect(workshop.read("units/backup.service") == "active\n")
        let asked = workshop.read("asked").split(separator: "\n").filter {
            !$0.hasPrefix("show --property=LoadState,ActiveState")
        }
        #expect(
            asked == [
                "--no-ask-password stop -- backup.service",
                "--no-ask-password start -- backup.service",
            ])
    }

    @Test("units that would stop together with one are found, however far away, if they run")
    func ties() throws {
        let workshop = Workshop()
        let systemd = Systemd(program: try workshop.systemctl())
        for unit in ["db.service", "app.service", "web.service", "idle.service"] {
            try workshop.set(unit, unit == "idle.service" ? "inactive" : "active")
        }
        try workshop.set("db.service.ties", "RequiredBy=app.service idle.service\nBoundBy=")
        try workshop.set("app.service.ties", "ConsistsOf=\nBoundBy=web.service")
        try workshop.set("web.service.ties", "PropagatesStopTo=db.service")
        let found = try systemd.running(tiedTo: "db.service", limit: limit)
        #expect(found == ["app.service", "web.service"])
        // One of them is the agent's own.
        mkdir(workshop.path + "/proc", 0o755)
        mkdir(workshop.path + "/proc/self", 0o755)
        try "0::/system.slice/web.service\n".write(
            toFile: workshop.path + "/proc/self/cgroup", atomically: false, encoding: .utf8)
        let control = NodeControl(
            systemd: systemd, files: HostFiles(root: HostRoot(workshop.path)))
        let verb = ShutdownVerb(
            [.unit("db.service"), .unit("app.service")], control: control)
        let failure = #expect(throws: VerbFailure.self) {
            try verb.plan(VerbCall(parameters: [:]))
        }
        #expect(failure?.reason.contains("this agent runs in web.service") == true)
        let many = (0..<100).map { "u\($0).service" }.joined(separator: " ")
        try workshop.set("db.service.ties", "RequiredBy=\(many)")
        let tooMany = #expect(throws: ServiceFailure.self) {
            try systemd.running(tiedTo: "db.service", limit: limit)
        }
        #expect(tooMany?.reason.contains("more than 64") == true)
    }

    @Test(
        "every state that systemd has",
        arguments: [
            ("active", ThingState.running), ("activating", .running), ("reloading", .running),
            ("inactive", .stopped), ("failed", .stopped), ("deactivating", .stopped),
        ])
    func states(word: String, state: ThingState) throws {
        let workshop = Workshop()
        let control = NodeControl(systemd: Systemd(program: try workshop.systemctl()))
        try workshop.set("a.service", word)
        #expect(try control.state(of: .unit("a.service"), limit: limit) == state)
        #expect(try control.state(of: .unit("b.service"), limit: limit) == .missing)
    }

    @Test("a service manager that fails, says nonsense, hangs or is not there")
    func trouble() throws {
        let workshop = Workshop()
        let systemd = Systemd(program: try workshop.systemctl())
        let broken = #expect(throws: ServiceFailure.self) {
            try systemd.start("broken.service", limit: limit)
        }
        let reason = "systemctl start broken.service ended with 1: \"Job failed. See logs.\""
        #expect(broken?.reason == reason)
        let nonsense = Systemd(program: try workshop.script("n", "printf 'a\\001\\nb'"))
        let odd = #expect(throws: ServiceFailure.self) {
            try nonsense.state(of: "a.service", limit: limit)
        }
        #expect(odd?.reason.hasSuffix("printed \"a \"") == true)
        let hanging = Systemd(program: try workshop.script("h", "sleep 1000"))
        let late = #expect(throws: ServiceFailure.self) {
            try hanging.stop("a.service", limit: .milliseconds(100))
        }
        #expect(late?.isTransient == true)
        let none = #expect(throws: ServiceFailure.self) {
            try Systemd(program: "/none/systemctl").stop("a.service", limit: limit)
        }
        #expect(none?.reason.contains("/none/systemctl") == true)
    }

    @Test(
        "names that are patterns or flags are refused",
        arguments: [
            "*", "a*.service", "-a", "--all", "a b", "a[b].service", "a;b", "$x", "a\nb", "a/b",
        ])
    func names(name: String) {
        let control = NodeControl()
        #expect(control.objection(to: .unit(name), limit: limit) != nil)
        #expect(control.objection(to: .container(name), limit: limit) != nil)
    }

    @Test("the unit that the agent runs in is refused")
    func own() throws {
        let workshop = Workshop()
        mkdir(workshop.path + "/proc", 0o755)
        mkdir(workshop.path + "/proc/self", 0o755)
        try "0::/system.slice/skos.service\n".write(
            toFile: workshop.path + "/proc/self/cgroup", atomically: false, encoding: .utf8)
        let control = NodeControl(files: HostFiles(root: HostRoot(workshop.path)))
        #expect(control.objection(to: .unit("skos.service"), limit: limit) != nil)
        #expect(control.objection(to: .unit("kos.service"), limit: limit) == nil)
        #expect(control.objection(to: .unit("skos@1:a\\x2d.service"), limit: limit) == nil)
    }

    @Test("hooks: a real process is stopped and runs again", arguments: [true, false])
    func hooks(hasCheck: Bool) throws {
        let workshop = Workshop()
        let service = try workshop.service("indexer", hasCheck: hasCheck)
        defer { workshop.close("indexer") }
        let control = NodeControl()
        try control.start(service, limit: limit)
        let first = try #require(workshop.pid("indexer"))
        let verb = ShutdownVerb([service], control: control, times: patientTimes)
        let plan = try verb.plan(VerbCall(parameters: [:]))
        _ = try verb.execute(plan)
        #expect(workshop.read("indexer.log") == "started\nstopped\n")
        _ = try verb.undo(plan.undo, remaining: [])
        _ = try verb.undo(plan.undo, remaining: [])
        #expect(workshop.read("indexer.log") == "started\nstopped\nstarted\n")
        let second = try #require(workshop.pid("indexer"))
        #expect(second != first)
        #expect(kill(second, 0) == 0, "it lives on when the hook has ended")
    }

    @Test("arguments of hooks reach them as they are")
    func arguments() throws {
        let workshop = Workshop()
        let echo = try workshop.script("echo", "printf '<%s>' \"$@\" > said")
        let hook = Config.NonEssential.hook(
            name: "h", stop: [echo, "a b", "$HOME; ls", "*"], start: [echo], check: nil)
        try NodeControl().stop(hook, limit: limit)
        #expect(workshop.read("said") == "<a b><$HOME; ls><*>")
    }

    @Test("hooks that fail, hang, cannot run, or are no paths")
    func badHooks() throws {
        let workshop = Workshop()
        let control = NodeControl()
        let fails = try workshop.script("fails", "exit 3")
        let hangs = try workshop.script("hangs", "sleep 1000")
        func hook(_ stop: String, check: String? = nil) -> Config.NonEssential {
            .hook(name: "h", stop: [stop], start: [stop], check: check.map { [$0] })
        }
        for (stop, reason) in [
            (fails, "\(fails) (stop) ended with 3"), ("/none", "cannot start /none"),
            ("sh", "sh is no absolute path"),
        ] {
            let failure = #expect(throws: ServiceFailure.self) {
                try control.stop(hook(stop), limit: limit)
            }
            #expect(failure?.reason.hasPrefix(reason) == true, "\(failure?.reason ?? "")")
            #expect(failure?.isCutOff == false)
        }
        let late = #expect(throws: ServiceFailure.self) {
            try control.stop(hook(hangs), limit: .milliseconds(100))
        }
        #expect(late?.isCutOff == true)
        let odd = try workshop.script("odd", "exit 127")
        #expect(throws: ServiceFailure.self) {
            try control.state(of: hook(fails, check: odd), limit: limit)
        }
        #expect(try control.state(of: hook(fails, check: fails), limit: limit) == .stopped)
    }
}

/// A real engine: `docker` answers, and has an image to run.
private enum Engine {
    static let docker: String? = ["/usr/bin/docker", "/usr/local/bin/docker"].first {
        (path: String) in access(path, X_OK) == 0
    }

    /// An image that has a shell, already there.
    static let image: String? = {
        guard let docker else { return nil }
        let process = Subprocess(
            docker, ["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"], timeLimit: .seconds(10)
        )
        guard let output = try? process.run(), output.exitCode == 0 else { return nil }
        let names = String(decoding: output.output, as: UTF8.self).split(separator: "\n")
        let known = ["busybox", "alpine", "nats", "debian", "skos"]
        return names.map(String.init).first { name in
            known.contains { name.hasPrefix($0) } && !name.contains("<none>")
        }
    }()
}

@Suite("shutdown_non_essential, with a real Docker engine")
struct DockerControlTests {
    @Test(
        "a container is stopped and started again",
        .enabled(if: Engine.image != nil, "no Docker engine with an image answers"))
    func container() throws {
        let docker = try #require(Engine.docker)
        let image = try #require(Engine.image)
        let name = "skos-test-\(UUID().uuidString.prefix(8).lowercased())"
        func run(_ arguments: String...) throws -> Int32 {
            var process = Subprocess(docker, arguments, timeLimit: .seconds(60))
            process.keepsErrors = true
            return try process.run().exitCode
        }
        defer { _ = try? run("rm", "--force", name) }
        let begun = try run(
            "run", "--detach", "--init", "--network", "none", "--name", name, "--entrypoint",
            "sleep", image, "1000")
        try #require(begun == 0)
        let control = NodeControl()
        let limit = Duration.seconds(60)
        let verb = ShutdownVerb(
            [.container(name), .container("skos-none")], control: control, times: patientTimes)
        let plan = try verb.plan(VerbCall(parameters: [:]))
        #expect(plan.effect["not_stopped"] == ["container skos-none: there is none here"])
        #expect(try control.state(of: .container(name), limit: limit) == .running)
        _ = try verb.execute(plan)
        #expect(try control.state(of: .container(name), limit: limit) == .stopped)
        _ = try verb.undo(plan.undo, remaining: [])
        _ = try verb.undo(plan.undo, remaining: [])
        #expect(try control.state(of: .container(name), limit: limit) == .running)
        #expect(try run("rm", "--force", name) == 0)
        #expect(try control.state(of: .container(name), limit: limit) == .missing)
    }

    @Test("an engine's words, from a program that stands for it")
    func words() throws {
        let workshop = Workshop()
        let id = String(repeating: "a", count: 64)
        let program = try workshop.script(
            "docker",
            """
            for name; do :; done
            case $name in
            up) echo "\(id) running" ;; again) echo "\(id) restarting" ;;
            down) echo "\(id) exited" ;; held) echo "\(id) paused" ;;
            none) echo "Error: No such container: none" >&2; exit 1 ;;
            odd) echo running ;;
            *) echo "Cannot connect to the Docker daemon" >&2; exit 1 ;;
            esac
            """)
        let engine = DockerEngine(program: program)
        let states: [(String, RunState)] = [
            ("up", .running), ("again", .running), ("down", .stopped), ("held", .stopped),
            ("none", .missing),
        ]
        for (name, state) in states {
            #expect(try engine.inspect(name, limit: .seconds(20)).state == state, "\(name)")
        }
        for name in ["odd", "other"] {
            #expect(throws: ServiceFailure.self) {
                try engine.inspect(name, limit: .seconds(20))
            }
        }
        // A container that is this agent's own.
        mkdir(workshop.path + "/proc", 0o755)
        mkdir(workshop.path + "/proc/self", 0o755)
        try "1 2 3 /var/lib/docker/containers/\(id)/hostname\n".write(
            toFile: workshop.path + "/proc/self/mountinfo", atomically: false, encoding: .utf8)
        let control = NodeControl(
            docker: engine, files: HostFiles(root: HostRoot(workshop.path)))
        #expect(control.objection(to: .container("up"), limit: .seconds(20)) != nil)
        #expect(control.objection(to: .container("none"), limit: .seconds(20)) == nil)
    }
}
