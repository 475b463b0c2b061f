import Glibc
import Operator
import Runtime
import Synchronization

/// `skos`: see `skos --help`.
@main
enum Skos {
    static func main() {
        // Whoever started us may have blocked signals for its own threads, and that is inherited.
        var none = sigset_t()
        sigemptyset(&none)
        pthread_sigmask(SIG_SETMASK, &none, nil)
        let words = Array(CommandLine.arguments.dropFirst())
        let environment = environment()
        let program = Program(Services.parts)
        // An operator's verb simply dies of them.
        if program.isService(words) { Services.stops.withLock { $0 = Signals.stops() } }
        // A reader that goes away shows as a failed write.
        signal(SIGPIPE, SIG_IGN)
        let out = Output(descriptor: 1, style: Style(descriptor: 1, environment: environment))
        let err = Output(descriptor: 2, style: Style(descriptor: 2, environment: environment))
        Task.detached {
            let code = await program.run(words, environment: environment, out: out, err: err)
            // Everything is written; threads that still run must not be torn down around.
            _exit(code.rawValue)
        }
        // Not `async main`: that would leave this thread open to signals which another one waits for.
        while true { pause() }
    }

    private static func environment() -> [String: String] {
        var variables: [String: String] = [:]
        var next = environ
        while let entry = next.pointee {
            let text = String(cString: entry)
            if let equals = text.firstIndex(of: "=") {
                variables[String(text[..<equals])] = String(text[text.index(after: equals)...])
            }
            next += 1
        }
        return variables
    }
}
