import Antibody
import Foundation
import Platform
import Protocol
import Settings
import Synchronization
import Testing

@testable import MeshHealer

/// Interfaces that somebody is making, by hand or by a unit, while they are watched.
@Suite("Interfaces that somebody else is making")
struct MakingTests {
    private static let node = FakeNetwork.Node(peer(1, "10.88.0.2/32"))

    /// A node whose only interface somebody has taken down and is making anew, as number 9.
    private static func remade(hasSocket: Bool = true) async -> Course {
        let course = Course(node)
        await course.look(4)
        course.change { node in
            node.links[0].index = 9
            node.links[0].flags = 0
            if !hasSocket { node.disguised = ["wg0"] }
        }
        await course.look()
        return course
    }

    /// Why the verbs leave `wg0` alone; `nil`: they do not.
    private func refusal(_ course: Course) -> VerbFailure? {
        do throws(VerbFailure) {
            try course.module.toolkit.checkFinished("wg0")
            return nil
        } catch { return error }
    }

    @Test(
        "are not down for two minutes, with and without a socket, and nobody touches them",
        arguments: [true, false])
    func halfMade(_ hasSocket: Bool) async {
        let course = await Self.remade(hasSocket: hasSocket)
        #expect(course.sample.raised.isEmpty)
        await course.look(22)
        #expect(course.sample.raised.isEmpty)
        #expect(course.severity("tunnel_down", "wg0") == nil)
        #expect(refusal(course)?.isTransient == true)
        #expect(refusal(course)?.reason.contains("is not complete") == true)
        await course.look(2)
        #expect(course.sample.raised == ["tunnel_down wg0": .critical])
        #expect(refusal(course) == nil)
    }

    @Test(
        "are up, and their peers are judged, when they have been on for ten seconds, whatever goes on then",
        arguments: [false, true])
    func switchedOn(_ isBusy: Bool) async {
        let course = await Self.remade()
        course.change { node in
            if isBusy { node.quickRuns = ["wg0"] }
            node.links[0].flags = 0x41
            // The routes come last.
            node.ways[address("10.88.0.2")] = .nowhere(ENETUNREACH)
            node.answering = []
        }
        await course.look(2)
        #expect(course.sample.raised.isEmpty)
        #expect(course.severity("tunnel_down", "wg0") == nil)
        #expect(refusal(course) != nil)
        await course.look(1)
        #expect(course.severity("tunnel_down", "wg0") == .ok)
        #expect(refusal(course) == nil)
        await course.look(2)
        #expect(course.sample.raised.keys.contains("peer_unreachable wg0/\(key(1))"))
    }

    @Test("are left alone while wg-quick is at work on them, however long they have been there")
    func atWork() async {
        let course = Course(Self.node)
        await course.look(30)
        course.change { node in
            node.links[0].flags = 0
            node.quickRuns = ["wg0"]
        }
        await course.look()
        #expect(course.sample.raised.isEmpty)
        #expect(refusal(course)?.reason.contains("wg-quick is at work") == true)
        // What it takes down has not crashed, although its socket may still be seen.
        course.change { node in
            node.links = []
            node.mishaps["wg0"] = "it crashed"
        }
        await course.look()
        #expect(course.sample.raised.isEmpty)
        course.change { $0.quickRuns = ["wg1"] }
        #expect(refusal(course) == nil)
        await course.look()
        #expect(course.sample.raised == ["tunnel_down wg0": .critical])
    }

    @Test("are not touched either when they have appeared since the last look")
    func unseen() async {
        let course = Course(Self.node)
        await course.look(4)
        #expect(refusal(course) == nil)
        course.change { $0.links[0].index = 9 }
        #expect(refusal(course)?.isTransient == true)
        // What an action has made is known to be complete.
        let link = course.network.node.withLock { $0.links[0] }
        course.module.toolkit.end("wg0", made: link)
        #expect(refusal(course) == nil)
        await course.look()
        #expect(course.severity("tunnel_down", "wg0") == .ok)
    }

    @Test("are refused to the verbs that would change them")
    func verbs() async {
        let course = await Self.remade()
        let toolkit = course.module.toolkit
        let verbs: [any Verb] = [
            RestartWireGuard(toolkit: toolkit), RestartWireGuard.resolveEndpoint(toolkit),
            RegenerateConfig(toolkit: toolkit),
        ]
        for verb in verbs {
            #expect(throws: VerbFailure.self, "\(verb.name)") {
                do throws(VerbFailure) {
                    _ = try verb.plan(VerbCall(parameters: ["resource": "wg0"]))
                } catch {
                    #expect(error.isTransient && error.reason.contains("somebody"), "\(error)")
                    throw error
                }
            }
        }
    }

    static let lines: [(String, String?)] = [
        ("/bin/bash /usr/bin/wg-quick up wg0", "wg0"),
        ("/bin/bash /usr/bin/wg-quick down /etc/wireguard/wg0.conf", "wg0"),
        ("wg-quick up ./a-b.conf", "a-b"), ("sudo -- /bin/bash -- /usr/bin/wg-quick up wg0", "wg0"),
        ("/bin/bash /usr/bin/wg-quick strip wg0", nil), ("wg-quick up", nil), ("wg-quick", nil),
        ("wg show wg0", nil), ("", nil),
    ]

    @Test("are named by the command lines of wg-quick", arguments: lines)
    func commandLine(_ line: String, _ name: String?) {
        let bytes = Array(line.replacingOccurrences(of: " ", with: "\0").utf8)
        #expect(QuickRuns.interface(QuickRuns.words(bytes)) == name)
    }

    @Test("a process is as old as its status says, whatever its name is")
    func age() {
        let rate = sysconf(Int32(_SC_CLK_TCK))
        let zeros = String(repeating: " 0", count: 18)
        let status = "12 (a) (b c) S\(zeros) \(30 * rate) 0 0\n"
        #expect(QuickRuns.age(Array(status.utf8), now: .seconds(100)) == .seconds(70))
        #expect(QuickRuns.age(Array("12 (a) S 0".utf8), now: .seconds(100)) == nil)
        #expect(QuickRuns.age([], now: .seconds(100)) == nil)
    }

    @Test("a running wg-quick is found, and is gone when it ends")
    func processes() throws {
        let directory = try NodeRoot()
        let name = "wgx\(UInt32.random(in: 0..<1 << 24))"
        try directory.write("wg-quick", "read line\n")
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        process.arguments = ["\(directory.path)/etc/wireguard/wg-quick", "up", name]
        let pipe = Pipe()
        process.standardInput = pipe
        #expect(!QuickRuns.names(HostRoot()).contains(name))
        try process.run()
        // It has this program's command line until it has its own.
        for _ in 0..<6000 where !QuickRuns.names(HostRoot()).contains(name) { usleep(10_000) }
        #expect(QuickRuns.names(HostRoot()).contains(name))
        #expect(QuickRuns.names(directory.root).isEmpty)
        try pipe.fileHandleForWriting.close()
        process.waitUntilExit()
        #expect(!QuickRuns.names(HostRoot()).contains(name))
    }
}
