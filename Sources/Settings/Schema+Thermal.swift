import Protocol

/// `thermal:`.
extension Schema {
    static let thermal = Key(
        "thermal",
        .section(
            Section(
                keys: [
                    Key(
                        "thresholds",
                        thresholds(temperature, config.thermal.thresholds, variables: "_TEMP"),
                        "An alert of a severity is raised at or above its threshold."),
                    Key(
                        "clear", clears(temperature, otherwise: "5 below its threshold"),
                        "A severity is left only below its clear threshold."),
                    Key(
                        "for", .duration(span), default: .duration(config.thermal.holdFor),
                        "How long a threshold must be exceeded before an alert is raised."),
                    actions(
                        for: severities.values, thermalActions,
                        "What to do; a severity that is left out gets no actions."),
                ] + knobs(of: plainPolicy))),
        "Temperatures, in degrees Celsius.")

    /// The actions of the thermal sentinel where nothing else is said.
    static let thermalActions: JSON.Object = [
        "warning": ["throttle_10"],
        "critical": ["throttle_50", "redistribute"],
        "emergency": ["shutdown_non_essential", "failover"],
    ]

    /// Wide enough for every sensor, narrow enough to find a value in another unit.
    private static let temperature = Kind.number(-50...200, unit: "°C")
}
