package import Antibody
package import Settings

extension Detector {
    /// A detector of temperatures. A sensor may lie once, so two samples decide.
    package init(settings: Config.Thermal, interval: Duration) {
        self.init(settings: Settings(settings), interval: interval)
    }

    /// Takes over edited thresholds and interval.
    package mutating func apply(_ settings: Config.Thermal, interval: Duration) {
        apply(Settings(settings), interval: interval)
    }
}

extension Detector.Settings {
    fileprivate init(_ thermal: Config.Thermal) {
        self.init(
            thresholds: thermal.thresholds, clear: thermal.clear, holdFor: thermal.holdFor,
            needsTwo: true)
    }
}
