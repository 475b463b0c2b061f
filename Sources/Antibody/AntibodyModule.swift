package import Protocol
package import Runtime
package import Settings

/// What one kind of agent brings. Everything else, heartbeats, alerts, commands, the undo journal and
/// leases, is the same for all of them and lives in this room.
package protocol AntibodyModule: Sendable {
    /// The agent's name on the command line and in `config.yaml`, such as `thermal`.
    var name: String { get }
    /// The `agent_type` of its messages, such as `thermal_sentinel`.
    var agentType: String { get }
    /// The actions it can execute on this node, as found out at start.
    func verbs() -> [any Verb]
    /// Those of its actions that nothing is set up for in these settings, and which are not offered until
    /// others come. Never blocks. By default there are none.
    func withheld(_ config: Config) -> Set<String>
    /// Takes over what an earlier process of this agent has raised and not cleared, before the first
    /// sample: what nothing is known of yet is not over. By default nothing is done about it.
    func recall(_ raised: [AlertKeeper.Key: Severity])
    /// Looks at the node once. Returns in bounded time: what can hang goes through a `ProbeRunner`.
    func sample(at now: Timestamp) async -> Sample
    /// Takes over new settings; the next sample uses them.
    func apply(_ config: Config)
    /// Does what goes on all the time beside sampling, such as listening to the kernel or to the bus,
    /// until the task is cancelled. By default there is nothing.
    func run(_ surroundings: Surroundings) async
}

extension AntibodyModule {
    package func withheld(_ config: Config) -> Set<String> { [] }

    package func recall(_ raised: [AlertKeeper.Key: Severity]) {}

    package func run(_ surroundings: Surroundings) async {}
}

/// What a module that listens gets from its agent.
package struct Surroundings: Sendable {
    /// The connection of the moment, which may be none.
    package var link: BusLink
    /// The node's name.
    package var node: String
    package var clock: SteadyClock
    package var log: Logger
    package var metrics: Metrics
    /// What an earlier process of this agent has raised and not cleared: what a module does not know any
    /// more, only it can clear.
    package var raised: [AlertKeeper.Key] = []
    /// Asks for a sample now instead of at the end of the interval.
    package var lookAgain: @Sendable () -> Void
}

/// What one look at the node found.
package struct Sample: Sendable, Equatable {
    /// Members that go into the heartbeat itself, such as `cpu_temp`; absent hardware has none.
    package var heartbeat = JSON.Object()
    /// Members of the heartbeat's `metadata`.
    package var metadata = JSON.Object()
    /// The state of each thing that is watched.
    package var symptoms: [Symptom] = []
    /// For alert types of which it is known what there is to watch: all the resources. What was raised about
    /// any other is over, for that is gone, or the settings leave it out; also when an earlier process has
    /// raised it.
    package var watched: [String: Set<String>] = [:]

    package init() {}
}

/// The state of one watched thing: what kind of symptom, on what, how bad.
package struct Symptom: Sendable, Equatable {
    /// The alert type, such as `thermal`.
    package var type: String
    /// What it is about, such as `cpu`.
    package var resource: String
    /// How bad it is; `ok`: known to be fine; `nil`: not known now, so nothing is raised or cleared.
    package var severity: Severity?
    /// The measured value, in `unit`.
    package var value: Double?
    /// `celsius`, `percent` …
    package var unit: String?
    /// The threshold that was crossed, in `unit`.
    package var threshold: Double?
    /// One sentence for people.
    package var message: String
    /// Members of the alert's `details`.
    package var details = JSON.Object()

    package init(type: String, resource: String, severity: Severity?, message: String) {
        self.type = type
        self.resource = resource
        self.severity = severity
        self.message = message
    }
}

/// One action that an agent can execute. All functions may block; they are called on a worker thread
/// under a time limit, one at a time for each agent.
package protocol Verb: Sendable {
    /// The `action_type`, such as `throttle_50`.
    var name: String { get }
    /// One line for `skos doctor` and documentation.
    var summary: String { get }
    /// Whether `undo` can restore the state before the action.
    var isReversible: Bool { get }
    /// Whether doing it once more, after nobody knows how far it came, does what doing it once does. Then an
    /// attempt that was interrupted may be made again. By default it is not.
    var isRepeatable: Bool { get }
    /// Whether heartbeats name it. Of a family with many members only those that are usual are named.
    var isListed: Bool { get }
    /// Verbs of one family share knobs: `VerbCall.active` holds the family's actions in force.
    var family: String { get }
    /// Whether `foreignChange` can tell anything, so that it is asked now and then.
    var isObservable: Bool { get }
    /// Finds out what to change and how to undo it, and changes nothing.
    func plan(_ call: VerbCall) throws(VerbFailure) -> VerbPlan
    /// Does what was planned and reads back the effect. The plan's `undo` is on disk by now.
    func execute(_ plan: VerbPlan) throws(VerbFailure) -> JSON.Object
    /// Takes back one action, with the undo members of its plan. `remaining` are the plans of the
    /// family's other actions still in force, oldest first. Doing it twice does no harm.
    func undo(_ undo: JSON.Object, remaining: [JSON.Object]) throws(VerbFailure) -> JSON.Object
    /// Looks whether somebody else has changed what an action in force has set, and how; only reads. `nil`:
    /// at least a part of it holds, or it cannot be told. With the `undo` members of its plan and what
    /// `execute` has answered. By default that is not looked at.
    func foreignChange(_ undo: JSON.Object, effect: JSON.Object) -> String?
}

extension Verb {
    package var isRepeatable: Bool { false }
    package var isListed: Bool { true }
    package var isObservable: Bool { false }
    package func foreignChange(_ undo: JSON.Object, effect: JSON.Object) -> String? { nil }
}

/// What an action is asked to do.
package struct VerbCall: Sendable, Equatable {
    /// The command's `parameters`.
    package var parameters: JSON.Object
    /// The `undo` members of the same family's actions that are in force, oldest first; also of those
    /// that failed or are about to be undone. Where there is one, the state without any action is what
    /// the first of them has saved, not what the node shows now.
    package var active: [JSON.Object]
    /// Whether the plan is all that is wanted: its `effect` is the answer, so it is worth finding out
    /// what executing would come to.
    package var isDryRun: Bool

    package init(
        parameters: JSON.Object, active: [JSON.Object] = [], isDryRun: Bool = false
    ) {
        self.parameters = parameters
        self.active = active
        self.isDryRun = isDryRun
    }
}

/// What an action will do.
package struct VerbPlan: Sendable, Equatable {
    /// Everything `undo` needs; the journal keeps it on disk before anything is changed.
    package var undo: JSON.Object
    /// What will change, for people and for a dry run's result.
    package var effect: JSON.Object

    package init(undo: JSON.Object, effect: JSON.Object) {
        self.undo = undo
        self.effect = effect
    }
}

/// Why an action could not be done or undone.
package struct VerbFailure: Error, Equatable, CustomStringConvertible {
    /// Whether another try may succeed.
    package var isTransient: Bool
    /// One sentence: what, where, and how to mend it.
    package var reason: String

    package init(isTransient: Bool, reason: String) {
        self.isTransient = isTransient
        self.reason = reason
    }

    package var description: String { reason }
}
