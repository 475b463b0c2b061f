import Antibody
import Protocol
import Testing

/// What a desk answers to what it knows already, and to what it should know.
@Suite("ActionDesk, said again")
struct DeskRepeatTests {
    @Test("what is said again after a restart, or to a repeat, is no news")
    func noNews() {
        var world = DeskWorld()
        world.send(command("a"))
        world.send(command("a", "dim_50", .undo))
        world.send(command("b", "ring"))
        let news = world.news
        let said = world.published
        world.restart()
        let again = world.published.dropFirst(said.count)
        #expect(Array(again) == said.filter { !$0.hasSuffix("accepted") })
        world.send(command("a"))
        world.send(command("b"))
        #expect(world.news == news)
        // Somebody who asks for an undo a second time hears of that alone.
        let count = world.published.count
        world.send(command("a", "dim_50", .undo))
        #expect(world.published.dropFirst(count) == ["a undone succeeded"])
        #expect(world.news == news)
        #expect(world.results.last?.isAsked == true)
    }

    @Test("an undo of what cannot be undone: what became of it, and then the refusal")
    func undoOfIrreversible() {
        var world = DeskWorld()
        world.holdsCalls = true
        world.send(command("a", "ring"))
        world.answerCall()
        world.send(command("a", "ring", .undo))
        #expect(world.published == ["a accepted", "a accepted"])
        world.holdsCalls = false
        world.answerCall()
        world.send(command("a", "ring", .undo))
        #expect(
            world.published.suffix(3) == [
                "a done succeeded", "a done succeeded", "a refused permanent_failure",
            ])
        #expect(world.results.last?.reason == "ring cannot be undone")
    }

    @Test("a command that was accepted and lost with the agent is executed when it comes again")
    func acceptedAndLost() {
        var world = DeskWorld()
        world.holdsCalls = true
        world.send(command("a"))
        world.send(command("b"))
        // The one is being planned, the other waits: nothing of either is on the disk.
        #expect(world.published == ["a accepted", "b accepted"])
        world.restart()
        world.holdsCalls = false
        world.send(command("b"))
        world.send(command("a"))
        #expect(world.executed == ["b", "a"])
        #expect(world.published.suffix(2) == ["a accepted", "a done succeeded"])
    }
}
