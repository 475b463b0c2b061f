/// Why an interface that was there and is not was hardly meant to go.
package struct Mishap: Sendable, Equatable {
    package var reason: String
    /// It is systemd that says so: a unit that is to keep the interface up is active.
    package var isByUnit: Bool

    package init(_ reason: String, isByUnit: Bool = false) {
        self.reason = reason
        self.isByUnit = isByUnit
    }
}

/// An interface that has gone by a mishap. Pure.
///
/// The traces of a mishap do not last: whoever runs `wg show` removes the socket that a killed program
/// has left behind, and a unit that cannot start again is active no more. What was lost stays lost until
/// it is there again, or somebody has given it up.
struct Loss: Sendable, Equatable {
    var reason: String
    /// It had a configuration file.
    var hadFile: Bool
    /// systemd was to keep it up.
    var hadUnit: Bool

    /// What an earlier process has raised. Who has stopped the unit meanwhile, or taken the file away, has
    /// given it up.
    static let recalled = Loss(
        reason: "it was down before the agent was started, and it is not there", hadFile: true,
        hadUnit: true)

    /// What is known now of an interface that is not there; `nil`: somebody has removed it.
    ///
    /// - `former`: what was known before.
    /// - `isStopped`: whether systemd says that its unit was stopped.
    static func now(
        _ former: Loss?, _ mishap: Mishap?, hasFile: Bool, isStopped: @autoclosure () -> Bool
    ) -> Loss? {
        if let mishap {
            return Loss(
                reason: mishap.reason, hadFile: former?.hadFile ?? hasFile,
                hadUnit: former?.hadUnit == true || mishap.isByUnit)
        }
        guard let former else { return nil }
        if former.hadFile, !hasFile { return nil }
        return former.hadUnit && isStopped() ? nil : former
    }
}
