/// How bad a symptom is. `ok` says that it has cleared.
package enum Severity: String, Sendable, Comparable, CaseIterable {
    case ok, warning, critical, emergency

    /// Position in the order of severities; `ok` is 0.
    package var rank: Int {
        switch self {
        case .ok: 0
        case .warning: 1
        case .critical: 2
        case .emergency: 3
        }
    }

    package static func < (left: Severity, right: Severity) -> Bool { left.rank < right.rank }
}
