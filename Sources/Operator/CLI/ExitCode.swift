/// What the exit code of `skos` says; part of its contract with scripts.
package enum ExitCode: Int32, Sendable {
    /// It was done.
    case done = 0
    /// It was tried, and failed; or what was checked is not as it should be.
    case failed = 1
    /// The command line or the configuration cannot be used as given.
    case usage = 2
    /// NATS, or the coordinator behind it, does not answer.
    case unreachable = 3
}

/// Why a verb could not do what it was asked to, in one line for people.
package struct Failure: Error, Equatable, CustomStringConvertible {
    package var code: ExitCode
    /// What is wrong, where, and how to put it right.
    package var message: String

    package init(_ code: ExitCode, _ message: String) {
        self.code = code
        self.message = message
    }

    package var description: String { message }
}

/// A command line that cannot be used as given.
package struct UsageError: Error, Equatable, CustomStringConvertible {
    package var message: String
    /// The words of the verb whose help tells more; empty: the program's.
    package var verb: [String]

    package init(_ message: String, verb: [String] = []) {
        self.message = message
        self.verb = verb
    }

    package var description: String { message }
}
