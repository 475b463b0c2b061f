/// What one look at one sensor gave.
package enum Reading: Sendable, Equatable {
    /// A believable temperature in degrees Celsius.
    case ok(celsius: Double)
    /// It answered, but with what no such sensor can measure; dropped and counted.
    case implausible(reason: String)
    /// It did not answer, or answered that it does not know.
    case unknown(reason: String)
    /// It is switched off, by its driver or by the administrator.
    case disabled(reason: String)
    /// The hardware is not there.
    case absent(reason: String)
    /// The device sleeps, and reading it would wake it.
    case asleep

    /// The temperature, when there is one.
    package var celsius: Double? { if case .ok(let celsius) = self { celsius } else { nil } }

    /// Whether there should be a temperature and is none.
    package var isFailure: Bool {
        switch self {
        case .implausible, .unknown: true
        case .ok, .disabled, .absent, .asleep: false
        }
    }

    /// One word for messages on the bus and for people.
    package var state: String {
        switch self {
        case .ok: "ok"
        case .implausible: "implausible"
        case .unknown: "unknown"
        case .disabled: "disabled"
        case .absent: "absent"
        case .asleep: "asleep"
        }
    }

    /// Why there is no temperature.
    package var reason: String? {
        switch self {
        case .ok, .asleep: nil
        case .implausible(let reason), .unknown(let reason), .disabled(let reason),
            .absent(let reason):
            reason
        }
    }
}
