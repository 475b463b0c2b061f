import Protocol
import Runtime

/// An agent's files: the lock that makes it the only one of its kind on the node, and its journal.
struct AgentState: Sendable {
    private let lock: FileLock
    let journal: JournalFile

    /// Takes the lock and opens the journal.
    ///
    /// - Throws: `FileLockFailure.held` when another agent of this kind runs on this node; anything else
    ///   means that this agent cannot act for now.
    static func open(
        directory: String, identity: AgentIdentity
    ) throws -> (AgentState, Ledger) {
        try JournalFile.makeDirectory(directory)
        let lock = try FileLock(path: "\(directory)/\(identity.name).lock")
        let (journal, ledger) = try JournalFile.open(
            directory: directory, name: identity.name, agent: identity.agentID)
        return (AgentState(lock: lock, journal: journal), ledger)
    }

    /// Lets another agent of this kind begin.
    func close() {
        journal.close()
        lock.release()
    }
}
