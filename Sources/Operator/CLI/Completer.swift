/// Completes command lines. The scripts for the shells are short: they ask `skos __complete` with the
/// words so far, and everything that is known about verbs stays in one place.
package struct Completer: Sendable {
    /// The hidden first word with which the scripts ask.
    package static let word = "__complete"
    /// The line that tells a script to complete the names of files.
    static let files = ":files"

    private let grammar: Grammar

    package init(_ grammar: Grammar) { self.grammar = grammar }

    /// What may stand in the place of the last word: a line each, with a tab and a description behind it.
    ///
    /// - `words`: those after the program's name; the last one is being typed, and may be empty.
    package func lines(_ words: [String]) -> [String] {
        let current = words.last ?? ""
        let before = Array(words.dropLast())
        let (plain, awaited) = read(before)
        if let awaited { return values(awaited, current) }
        if current.hasPrefix("-") { return flags(verb(plain)?.flags ?? [], current) }
        if plain.first == "help" { return verbNames(Array(plain.dropFirst()), current) }
        guard let verb = verb(plain) else {
            let help =
                plain.isEmpty && "help".hasPrefix(current) ? ["help\tsay how a verb is used"] : []
            return verbNames(plain, current) + help
        }
        let count = plain.count - verb.path.count
        let index = min(count, verb.parameters.count - 1)
        guard index >= 0, count == index || verb.parameters[index].count == .oneOrMore else {
            return []
        }
        let parameter = verb.parameters[index]
        if parameter.isFile { return [Self.files] }
        let rest = Set(plain.dropFirst(verb.path.count))
        return parameter.choices.filter { $0.hasPrefix(current) && !rest.contains($0) }
    }

    /// The words that are no flags, and the flag whose value is being typed.
    private func read(_ words: [String]) -> (plain: [String], awaited: Flag?) {
        var plain: [String] = []
        var awaited: Flag?
        for word in words {
            if awaited != nil {
                awaited = nil
            } else if word.hasPrefix("-"), word != "-" {
                let known = (verb(plain)?.flags ?? []) + Grammar.common
                let flag = known.first { flag in
                    word == "--\(flag.name)" || flag.short.map { word == "-\($0)" } ?? false
                }
                awaited = flag?.value == nil ? nil : flag
            } else {
                plain.append(word)
            }
        }
        return (plain, awaited)
    }

    private func verb(_ words: [String]) -> Verb? {
        grammar.verbs.first { words.starts(with: $0.path) }
    }

    private func verbNames(_ plain: [String], _ current: String) -> [String] {
        let depth = plain.count
        var names: [String] = []
        var lines: [String] = []
        for verb in grammar.verbs(under: plain) where verb.path.count > depth {
            let name = verb.path[depth]
            guard name.hasPrefix(current), !names.contains(name) else { continue }
            names.append(name)
            let isGroup = verb.path.count > depth + 1
            lines.append("\(name)\t\(isGroup ? "more than one verb" : verb.summary)")
        }
        return lines
    }

    private func flags(_ flags: [Flag], _ current: String) -> [String] {
        (flags + Grammar.common).map { ("--\($0.name)", $0.summary) }
            .filter { $0.0.hasPrefix(current) }.map { "\($0.0)\t\($0.1)" }
    }

    private func values(_ flag: Flag, _ current: String) -> [String] {
        if flag.value == "FILE" || flag.value == "PATH" { return [Self.files] }
        return flag.choices.filter { $0.hasPrefix(current) }
    }

    // MARK: Scripts

    /// The shells that there are scripts for.
    static let shells = ["bash", "zsh", "fish"]

    static func script(for shell: String) -> String {
        switch shell {
        case "bash": bash
        case "zsh": zsh
        default: fish
        }
    }

    private static let bash = #"""
        # Completion of skos for bash. In ~/.bashrc:  source <(skos completion bash)
        _skos() {
            local line current="${COMP_WORDS[COMP_CWORD]}"
            COMPREPLY=()
            while IFS= read -r line; do
                if [[ $line == :files ]]; then
                    compopt -o filenames
                    while IFS= read -r line; do COMPREPLY+=("$line"); done \
                        < <(compgen -f -- "$current")
                else
                    COMPREPLY+=("${line%%$'\t'*}")
                fi
            done < <("${COMP_WORDS[0]}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
        }
        complete -F _skos skos

        """#

    private static let zsh = #"""
        #compdef skos
        # Completion of skos for zsh. In ~/.zshrc, after compinit:  source <(skos completion zsh)
        _skos() {
            local line files
            local -a candidates
            for line in "${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
                case $line in
                    (:files) files=1 ;;
                    (*$'\t'*) candidates+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}") ;;
                    (?*) candidates+=("${line//:/\\:}") ;;
                esac
            done
            (( ${#candidates} )) && _describe skos candidates
            [[ -n $files ]] && _files
            return 0
        }
        compdef _skos skos

        """#

    private static let fish = #"""
        # Completion of skos for fish:  skos completion fish > ~/.config/fish/completions/skos.fish
        function __skos_complete
            set -l words (commandline -opc)
            set -l current (commandline -ct)
            for line in ($words[1] __complete $words[2..-1] "$current" 2>/dev/null)
                if test "$line" = :files
                    __fish_complete_path "$current"
                else
                    echo "$line"
                end
            end
        end
        complete -c skos -f -a '(__skos_complete)'

        """#
}

extension Program {
    static var completionVerb: Verb {
        Verb(
            "completion", "print the script that completes command lines in a shell",
            parameters: [Parameter("SHELL", .one, choices: Completer.shells, "the shell")],
            examples: ["source <(skos completion bash)"]
        ) { context in
            context.out.write(Completer.script(for: context.invocation.arguments[0]))
            return .done
        }
    }
}
