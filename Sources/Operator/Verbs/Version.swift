import Protocol
import Runtime

extension Program {
    static var versionVerb: Verb {
        Verb("version", "print the version") { context in
            if context.isJSON {
                context.print(["name": "skos", "version": .string(BuildInfo.version)])
            } else {
                context.out.write("skos \(BuildInfo.version)\n")
            }
            return .done
        }
    }
}
