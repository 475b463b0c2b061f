import Antibody
import Glibc
import Platform
import Protocol
import Synchronization
import Testing

@testable import ThermalSentinel

@Suite struct ThrottleTests {
    @Test func halvesTheMaximaAndRestoresTheOldTexts() throws {
        let node = try ThrottledNode()
        let plan = try node.plan(50)
        #expect(try node.maxima == ["4000000\n", "2900000\n"], "a plan changes nothing")
        try node.execute(plan)
        #expect(try node.maxima == ["2000000\n", "1500000\n"])
        try node.undo(plan)
        // 2.9 GHz was somebody's choice; it is not the hardware's maximum.
        #expect(try node.maxima == ["4000000\n", "2900000\n"])
    }

    @Test func aPlanSurvivesItsJournal() throws {
        let node = try ThrottledNode()
        let plan = try node.plan(10)
        let records = KnobRecord.all(in: plan.undo)
        #expect(
            records == [
                KnobRecord(
                    kind: .cpufreq, path: ThrottledNode.knob0, original: "4000000\n",
                    target: "3600000\n"),
                KnobRecord(
                    kind: .cpufreq, path: ThrottledNode.knob2, original: "2900000\n",
                    target: "2700000\n"),
            ])
        #expect(records.map(\.json).compactMap(KnobRecord.init) == records)
    }

    @Test func undoingTwiceIsUndoingOnce() throws {
        let node = try ThrottledNode()
        let plan = try node.plan(50)
        try node.execute(plan)
        #expect(try node.undo(plan)["restored"] == 2)
        #expect(try node.undo(plan)["unchanged"] == 2)
        #expect(try node.maxima == ["4000000\n", "2900000\n"])
    }

    @Test func undoingWhatWasNeverDoneChangesNothing() throws {
        let node = try ThrottledNode()
        let plan = try node.plan(50)
        #expect(try node.undo(plan)["unchanged"] == 2)
        #expect(node.files.log.withLock { $0.isEmpty })
    }

    @Test func neverBelowTheLeastFrequency() throws {
        let node = try ThrottledNode()
        try node.execute(try node.plan(90))
        #expect(try node.maxima == ["800000\n", "800000\n"])
    }

    @Test func aTighterLimitOfSomebodyElseStays() throws {
        let node = try ThrottledNode([ThrottledNode.policy0 + "scaling_max_freq": "1200000"])
        let plan = try node.plan(50)
        #expect(KnobRecord.all(in: plan.undo).map(\.path) == [ThrottledNode.knob2])
        try node.execute(plan)
        #expect(try node.maxima == ["1200000\n", "1500000\n"])
    }

    @Test func nothingToLowerIsAFailureThatSaysSo() throws {
        let node = try ThrottledNode([
            ThrottledNode.policy0 + "scaling_max_freq": "900000",
            ThrottledNode.policy2 + "scaling_max_freq": "900000",
        ])
        let failure = node.failure { _ = try node.plan(50) }
        #expect(failure?.isTransient == false)
        #expect(failure?.reason.contains("already at 900000") == true)
    }

    // MARK: Several actions at once

    @Test func theSecondActionKnowsTheTrueOriginal() throws {
        let node = try ThrottledNode()
        let ten = try node.plan(10)
        try node.execute(ten)
        let fifty = try node.plan(50, active: [ten])
        try node.execute(fifty)
        #expect(try node.maxima == ["2000000\n", "1500000\n"])
        try node.undo(fifty, remaining: [ten])
        #expect(try node.maxima == ["3600000\n", "2700000\n"])
        try node.undo(ten)
        #expect(try node.maxima == ["4000000\n", "2900000\n"])
    }

    @Test func theFirstActionMayEndFirst() throws {
        let node = try ThrottledNode()
        let ten = try node.plan(10)
        try node.execute(ten)
        let fifty = try node.plan(50, active: [ten])
        try node.execute(fifty)
        #expect(try node.undo(ten, remaining: [fifty])["unchanged"] == 2)
        #expect(try node.maxima == ["2000000\n", "1500000\n"])
        try node.undo(fifty)
        #expect(try node.maxima == ["4000000\n", "2900000\n"])
    }

    @Test func aWeakerActionHoldsWithoutRaising() throws {
        let node = try ThrottledNode()
        let fifty = try node.plan(50)
        try node.execute(fifty)
        let ten = try node.plan(10, active: [fifty])
        try node.execute(ten)
        #expect(try node.maxima == ["2000000\n", "1500000\n"], "never up")
        try node.undo(fifty, remaining: [ten])
        #expect(try node.maxima == ["3600000\n", "2700000\n"])
        try node.undo(ten)
        #expect(try node.maxima == ["4000000\n", "2900000\n"])
    }

    // MARK: Drivers that clamp, refuse and race

    @Test func aClampedTargetIsAnEffectAndIsRestored() throws {
        let node = try ThrottledNode()
        node.files.faults.withLock { $0.clamps[ThrottledNode.knob0] = { max($0, 2_400_000) } }
        let plan = try node.plan(50)
        let result = try node.execute(plan)
        #expect(result["knobs"]?.array?.first?.object?["effective"] == 2_400_000)
        #expect(try node.maxima == ["2400000\n", "1500000\n"])
        // What stands there is neither target nor original, but it is ours.
        #expect(try node.undo(plan)["restored"] == 2)
        #expect(try node.maxima == ["4000000\n", "2900000\n"])
    }

    @Test func aLimitOfTheKernelIsNotMistakenForSomebodyElses() throws {
        let node = try ThrottledNode()
        let plan = try node.plan(50)
        try node.execute(plan)
        // The kernel cools: what is read is lower than what was written.
        node.files.faults.withLock { $0.ceilings[ThrottledNode.knob0] = 1_000_000 }
        let result = try node.undo(plan)
        #expect(result["restored"] == 2)
        #expect(try node.maxima == ["4000000\n", "2900000\n"], "our limit must not outlive us")
    }

    @Test func aLowerForeignLimitIsNotRaised() throws {
        let node = try ThrottledNode()
        let plan = try node.plan(50)
        try node.execute(plan)
        try node.tree.set(ThrottledNode.policy0 + "scaling_max_freq", "1000000\n")
        let result = try node.undo(plan)
        #expect(result["superseded"] == 1)
        #expect(try node.maxima == ["1000000\n", "2900000\n"])
    }

    @Test func aHigherForeignLimitIsNotLowered() throws {
        let node = try ThrottledNode()
        let plan = try node.plan(50)
        try node.execute(plan)
        try node.tree.set(ThrottledNode.policy2 + "scaling_max_freq", "3000000\n")
        try node.tree.set(ThrottledNode.policy0 + "scaling_max_freq", "3000000\n")
        let writes = node.files.log.withLock { $0.count }
        let result = try node.undo(plan)
        #expect(result["superseded"] == 2)
        #expect(try node.maxima == ["3000000\n", "3000000\n"])
        #expect(node.files.log.withLock { $0.count } == writes + 2, "policy2 was not even tried")
    }

    @Test func aDriverThatAppliesALittleLaterIsWaitedFor() throws {
        let node = try ThrottledNode()
        let plan = try node.plan(50)
        node.files.faults.withLock { $0.lag = 2 }
        let result = try node.execute(plan)
        #expect(result["knobs"]?.array?.first?.object?["effective"] == 2_000_000)
        // The same patience tells a foreign limit from our own.
        node.files.faults.withLock { $0.lag = 0 }
        try node.tree.set(ThrottledNode.policy0 + "scaling_max_freq", "1000000\n")
        node.files.faults.withLock { $0.lag = 2 }
        #expect(try node.undo(plan)["superseded"] == 1)
        #expect(try node.maxima == ["1000000\n", "2900000\n"])
    }

    @Test func aFIFOInPlaceOfAKnobDoesNotHang() throws {
        let node = try ThrottledNode()
        try node.tree.remove(ThrottledNode.policy0 + "scaling_max_freq")
        try node.tree.fifo(ThrottledNode.policy0 + "scaling_max_freq")
        let plan = try node.plan(50)
        #expect(KnobRecord.all(in: plan.undo).map(\.path) == [ThrottledNode.knob2])
        // Or later, between the plan and what follows.
        try node.tree.remove(ThrottledNode.policy2 + "scaling_max_freq")
        try node.tree.fifo(ThrottledNode.policy2 + "scaling_max_freq")
        #expect(node.failure { try node.execute(plan) }?.reason.contains("not a regular") == true)
        #expect(node.failure { try node.undo(plan) }?.reason.contains("not a regular") == true)
    }

    @Test(.enabled(if: PrivateSys.isPossible, "needs root and mounts of its own"))
    func aMountThatReallyIsReadOnlyIsExplained() throws {
        let directory = try TemporaryDirectory()
        let reason = try PrivateSys.run(
            prepare: { _ in },
            body: {
                try PrivateSys.mount("tmpfs", directory.path, "tmpfs", 0, nil)
                defer { PrivateSys.unmount(directory.path) }
                let tree = try NodeTree(in: directory.path)
                try tree.set(ThrottledNode.policy0 + "cpuinfo_max_freq", "4000000\n")
                try tree.set(ThrottledNode.policy0 + "scaling_max_freq", "4000000\n")
                try PrivateSys.mount("none", directory.path, nil, PrivateSys.remountReadOnly, nil)
                let throttle = Throttle(files: tree.files, root: tree.root)
                let verb = try #require(ThrottleVerb(percent: 50, throttle: throttle))
                do {
                    _ = try verb.plan(VerbCall(parameters: JSON.Object()))
                    return "it was let in"
                } catch { return "\(error)" }
            })
        #expect(reason.contains("Read-only file system (EROFS); mount it writable"))
    }

    @Test func aReadOnlyMountIsExplained() throws {
        let node = try ThrottledNode()
        node.files.faults.withLock {
            $0.writes = [ThrottledNode.knob0: EROFS, ThrottledNode.knob2: EROFS]
        }
        let failure = node.failure { _ = try node.plan(50) }
        #expect(failure?.isTransient == false)
        for part in [ThrottledNode.knob0, "EROFS", "mount it writable", "SKOS_HOST_ROOT"] {
            #expect(failure?.reason.contains(part) == true, "\(part)")
        }
        #expect(
            node.throttle.describe().filter { $0.obstacle?.contains("EROFS") == true }.count == 2)
    }

    @Test(arguments: [EACCES, EPERM])
    func missingPermissionIsExplained(_ code: Int32) throws {
        let node = try ThrottledNode()
        let plan = try node.plan(50)
        node.files.faults.withLock {
            $0.writes = [ThrottledNode.knob0: code, ThrottledNode.knob2: code]
        }
        let failure = node.failure { try node.execute(plan) }
        #expect(failure?.isTransient == false)
        #expect(failure?.reason.contains(errnoName(code)) == true)
        #expect(failure?.reason.contains("run the agent as the host's root") == true)
    }

    @Test func oneRefusedKnobOfTwoIsStillASuccess() throws {
        let node = try ThrottledNode()
        let plan = try node.plan(50)
        node.files.faults.withLock { $0.writes = [ThrottledNode.knob0: EINVAL] }
        #expect(try node.execute(plan)["failed"] == 1)
        #expect(try node.maxima == ["4000000\n", "1500000\n"])
        node.files.faults.withLock { $0.writes = [:] }
        try node.undo(plan)
        #expect(try node.maxima == ["4000000\n", "2900000\n"])
    }

    @Test func aBusyDriverIsAskedAgainAndThenIsTransient() throws {
        let node = try ThrottledNode()
        let plan = try node.plan(50)
        node.files.faults.withLock { $0.busy = [ThrottledNode.knob0: 2] }
        #expect(try node.execute(plan)["failed"] == 0)
        try node.undo(plan)

        node.files.faults.withLock {
            $0.busy = [ThrottledNode.knob0: 1000, ThrottledNode.knob2: 1000]
        }
        #expect(node.failure { try node.execute(plan) }?.isTransient == true)
    }

    @Test func aKnobWithoutEffectIsPutBackAndTheWholeFails() throws {
        // The firmware's lock: writes are taken and ignored.
        let node = try ThrottledNode()
        node.files.faults.withLock {
            $0.clamps = [
                ThrottledNode.knob0: { _ in 4_000_000 }, ThrottledNode.knob2: { _ in 2_900_000 },
            ]
        }
        let failure = node.failure { try node.execute(try node.plan(50)) }
        #expect(failure?.isTransient == false)
        #expect(failure?.reason.contains("still says 4000000") == true)
        #expect(try node.maxima == ["4000000\n", "2900000\n"])
    }

    @Test func aFailedActionLeavesAnothersLimitAlone() throws {
        let node = try ThrottledNode()
        let ten = try node.plan(10)
        try node.execute(ten)
        let fifty = try node.plan(50, active: [ten])
        node.files.faults.withLock {
            $0.clamps = [
                ThrottledNode.knob0: { max($0, 3_600_000) },
                ThrottledNode.knob2: { max($0, 2_700_000) },
            ]
        }
        #expect(node.failure { try node.execute(fifty) } != nil)
        #expect(try node.maxima == ["3600000\n", "2700000\n"])
    }

    @Test func somebodyLowersTheKnobBetweenPlanAndExecution() throws {
        let node = try ThrottledNode()
        let plan = try node.plan(50)
        try node.tree.set(ThrottledNode.policy0 + "scaling_max_freq", "1000000\n")
        let result = try node.execute(plan)
        #expect(result["knobs"]?.array?.first?.object?["held"] == true)
        #expect(try node.maxima == ["1000000\n", "1500000\n"])
        #expect(try node.undo(plan)["superseded"] == 1)
        #expect(try node.maxima == ["1000000\n", "2900000\n"])
    }

    @Test func aProcessorThatWasUnpluggedIsReportedMissing() throws {
        let node = try ThrottledNode()
        let plan = try node.plan(50)
        try node.execute(plan)
        try node.tree.remove(ThrottledNode.policy2 + "scaling_max_freq")
        let result = try node.undo(plan)
        #expect(result["missing"] == 1)
        #expect(result["restored"] == 1)
        #expect(try node.tree.get(ThrottledNode.policy0 + "scaling_max_freq") == "4000000\n")
    }

    @Test func anUndoThatIsRefusedFailsButRestoresTheRest() throws {
        let node = try ThrottledNode()
        let plan = try node.plan(50)
        try node.execute(plan)
        node.files.faults.withLock { $0.writes = [ThrottledNode.knob0: EIO] }
        #expect(node.failure { try node.undo(plan) }?.reason.contains(ThrottledNode.knob0) == true)
        #expect(try node.maxima == ["2000000\n", "2900000\n"])
        node.files.faults.withLock { $0.writes = [:] }
        try node.undo(plan)
        #expect(try node.maxima == ["4000000\n", "2900000\n"])
    }

    @Test func whileTheKernelCoolsTheOriginalIsTheHardwaresMaximum() throws {
        // 3.2 GHz is the kernel's own, passing limit; restoring it would make it permanent.
        let node = try ThrottledNode([
            ThrottledNode.policy0 + "scaling_max_freq": "3200000",
            "class/thermal/cooling_device0/type": "Processor",
            "class/thermal/cooling_device0/cur_state": "1",
            "class/thermal/cooling_device0/max_state": "3",
        ])
        let plan = try node.plan(50)
        try node.execute(plan)
        try node.undo(plan)
        #expect(try node.maxima == ["4000000\n", "3000000\n"])
    }

    @Test func theFirmwaresLimitIsNotMadePermanentEither() throws {
        let node = try ThrottledNode([
            ThrottledNode.policy0 + "scaling_max_freq": "3200000",
            ThrottledNode.policy0 + "bios_limit": "3200000",
        ])
        let plan = try node.plan(50)
        #expect(KnobRecord.all(in: plan.undo).map(\.original) == ["4000000\n", "2900000\n"])
    }
}
