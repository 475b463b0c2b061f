package import Protocol

/// Everything that is wrong with a configuration, all at once.
package struct ConfigError: Error, Sendable, Equatable, CustomStringConvertible {
    /// One thing that is wrong.
    package struct Issue: Sendable, Equatable, CustomStringConvertible {
        /// The file as it was named by whoever asked for it, or the environment variable.
        package var file: String
        /// Counted from 1; `nil` when the issue is about the file as a whole.
        package var line: Int?
        /// In characters, counted from 1.
        package var column: Int?
        /// Where in the configuration, such as `thermal.thresholds.critical`; may be empty.
        package var path: String
        /// What is wrong and, where it is not obvious, how to put it right.
        package var message: String

        package init(
            file: String, line: Int? = nil, column: Int? = nil, path: String = "", message: String
        ) {
            self.file = file
            self.line = line
            self.column = column
            self.path = path
            self.message = message
        }

        /// `config.yaml:12:5: thermal.thresholds.critical: 70 is not above warning (75)`
        package var description: String {
            var text = file
            if let line { text += ":\(line)" }
            if let column { text += ":\(column)" }
            return text + ": " + (path.isEmpty ? "" : path + ": ") + message
        }

        /// The parts, as operator verbs show them with `-o json`.
        package var json: JSON {
            var object: JSON.Object = ["file": .string(file)]
            if let line { object["line"] = .integer(Int64(line)) }
            if let column { object["column"] = .integer(Int64(column)) }
            object["path"] = .string(path)
            object["message"] = .string(message)
            return .object(object)
        }
    }

    /// How many issues are kept; the last one then says that there are more.
    package static let issueLimit = 100

    /// What is wrong, in the order of the file; never empty.
    package var issues: [Issue]

    package init(issues: [Issue]) { self.issues = issues }

    /// One line for each issue.
    package var description: String { issues.map(\.description).joined(separator: "\n") }
}

/// Where a setting comes from.
enum Origin: Sendable, Equatable {
    /// A place in the file; both are counted from 1, columns in characters.
    case file(line: Int, column: Int)
    /// The environment variable of this name.
    case environment(String)
    /// The schema.
    case fallback

    /// Whether somebody wrote it.
    var isGiven: Bool { self != .fallback }
}

/// Collects issues and warnings while one configuration is read. Bounded.
struct IssueList {
    let file: String
    private(set) var issues: [ConfigError.Issue] = []
    private(set) var warnings: [ConfigError.Issue] = []
    private var isFull = false

    init(file: String) { self.file = file }

    var isEmpty: Bool { issues.isEmpty }

    mutating func add(_ origin: Origin, _ path: String, _ message: String) {
        guard issues.count < ConfigError.issueLimit else {
            isFull = true
            return
        }
        issues.append(issue(origin, path, message))
    }

    mutating func warn(_ origin: Origin, _ path: String, _ message: String) {
        guard warnings.count < ConfigError.issueLimit else { return }
        warnings.append(issue(origin, path, message))
    }

    private func issue(_ origin: Origin, _ path: String, _ message: String) -> ConfigError.Issue {
        switch origin {
        case .file(let line, let column):
            .init(file: file, line: line, column: column, path: path, message: message)
        case .environment(let name):
            .init(file: "environment variable \(name)", path: path, message: message)
        case .fallback: .init(file: file, path: path, message: message)
        }
    }

    /// All issues in the order of the file, those of the environment last.
    var error: ConfigError {
        // Sorting is stable only with the position as a last criterion.
        func place(_ entry: (offset: Int, element: ConfigError.Issue)) -> (Int, Int, Int) {
            (entry.element.line ?? .max, entry.element.column ?? .max, entry.offset)
        }
        var sorted = issues.enumerated().sorted { place($0) < place($1) }.map(\.element)
        if isFull {
            sorted.append(
                .init(
                    file: file,
                    message: "there are more problems; only the first "
                        + "\(ConfigError.issueLimit) are shown"))
        }
        return ConfigError(issues: sorted)
    }

    /// The warnings in the order of the file.
    var sortedWarnings: [ConfigError.Issue] {
        warnings.enumerated().sorted {
            ($0.element.line ?? .max, $0.offset) < ($1.element.line ?? .max, $1.offset)
        }.map(\.element)
    }
}
