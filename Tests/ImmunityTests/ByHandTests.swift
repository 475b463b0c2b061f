import Immunity
import Protocol
import Testing

@Suite("An operator's undo of what was commanded by hand")
struct ByHandTests {
    private func active(_ ids: String...) -> JSON {
        .array(ids.map { ["action_id": .string($0), "action_type": "throttle_50", "lease_s": 90] })
    }

    private func outcomes(_ s: Scenario) -> [String] {
        s.records.compactMap { record in
            if case .operation(let event) = record.event { event.outcome } else { nil }
        }
    }

    @Test("each agent that has it in force is asked, once, and it is on record")
    func everyHolder() throws {
        var s = Scenario()
        s.heartbeat("thermal_sentinel", active: active("other", "sd 1"))
        s.heartbeat("storage_watcher", active: active("other"))
        s.heartbeat("thermal_sentinel", node: "lyra", active: active("sd 1"))
        #expect(
            s.take(.undo(id: "sd 1", actor: "ann")) == [
                "operator", "send undo throttle_50", "send undo throttle_50", "granted",
            ])
        #expect(s.commands.map(\.node) == ["lyra", "nova"])
        for command in s.commands {
            #expect(command.actionID == "sd 1" && command.agentType == "thermal_sentinel")
            #expect(command.epoch == s.core.epoch && command.deadline == nil && !command.dryRun)
        }
        #expect(outcomes(s) == ["undoing sd 1: throttle_50 on lyra, throttle_50 on nova"])
        #expect(s.answer(.undone, .succeeded, undo: false) == ["result succeeded"])
        #expect(s.live(60).records == [], "nobody pursues it")
        s.heartbeat("thermal_sentinel")
        s.heartbeat("thermal_sentinel", node: "lyra")
        #expect(s.take(.undo(id: "sd 1", actor: "ann")) == ["operator", "denied"])
        #expect(outcomes(s).last == "nothing in force under sd 1")
    }

    @Test("an agent that is offline cannot hear it, and that is said")
    func offline() {
        var s = Scenario()
        s.heartbeat("thermal_sentinel", active: active("sd1"))
        _ = s.live(31)
        #expect(s.take(.undo(id: "sd1", actor: "ann")) == ["operator", "denied"])
        #expect(
            outcomes(s) == [
                "sd1 is in force on nova, but thermal_sentinel-nova is offline: start it there, and "
                    + "ask again"
            ])
        s.heartbeat("thermal_sentinel", active: active("sd1"))
        #expect(s.take(.undo(id: "sd1", actor: "ann")).last == "granted")
    }

    @Test("so is it of an incident's action, which is asked for all the same")
    func offlineAmidAnIncident() {
        var s = Scenario()
        s.heartbeat("thermal_sentinel")
        _ = s.alert(.critical)
        let id = s.commands[0].actionID
        _ = s.succeed()
        _ = s.live(31)
        #expect(s.take(.undo(id: id, actor: "ann")).contains("send undo throttle_50"))
        #expect(outcomes(s).count == 1)
        #expect(
            outcomes(s)[0].hasPrefix(
                "undoing \(id); nobody hears it yet: thermal_sentinel-nova is offline, last heard at "
            ))
    }

    @Test("an incident's action is the incident's, whatever a heartbeat says")
    func incidents() {
        var s = Scenario()
        _ = s.alert(.critical)
        let id = s.commands[0].actionID
        s.heartbeat("thermal_sentinel", node: "lyra", active: active(id))
        #expect(s.take(.undo(id: id, actor: "ann")).filter { $0.hasPrefix("send") }.count <= 1)
        #expect(s.commands.allSatisfy { $0.node == "nova" })
    }

    @Test(
        "what is no list of actions holds nothing",
        arguments: [
            "x", 7, .null, [7, "sd1"], [["action_id": "sd1"]],
            [["action_id": "sd1", "action_type": "a b"]], [["action_id": 1, "action_type": "a"]],
        ] as [JSON])
    func nonsense(active: JSON) {
        var s = Scenario()
        s.heartbeat("thermal_sentinel", active: active)
        #expect(s.take(.undo(id: "sd1", actor: "ann")) == ["operator", "denied"])
    }

    @Test("however many agents claim it, few are asked at once")
    func many() {
        var s = Scenario()
        for index in 0..<30 {
            s.heartbeat("thermal_sentinel", node: "n\(index)", active: active("sd1"))
        }
        let told = s.take(.undo(id: "sd1", actor: "ann"))
        #expect(told.count { $0.hasPrefix("send undo") } == 20)
        #expect(outcomes(s).last?.hasSuffix(" and 10 more") == true)
    }
}
