import Antibody
import Protocol
import Settings
import Testing
import ThermalSentinel

/// What `DetectorTests` feeds in: temperatures five seconds apart, and the severities that must come.
struct Course: Sendable, CustomTestStringConvertible {
    var name: String
    var celsius: [Double?]
    var severities: [Severity?]
    var holdFor: Duration = .zero
    var testDescription: String { name }
}

@Suite struct DetectorTests {
    static let courses = [
        Course(
            name: "one sample tells nothing", celsius: [60, 60], severities: [nil, .ok]),
        Course(
            name: "two samples raise", celsius: [60, 60, 88, 88],
            severities: [nil, .ok, .ok, .critical]),
        Course(
            name: "a spike of one sample raises nothing", celsius: [60, 60, 120, 60, 60],
            severities: [nil, .ok, .ok, .ok, .ok]),
        Course(
            name: "the lower of two samples decides", celsius: [60, 60, 80, 97, 97],
            severities: [nil, .ok, .ok, .warning, .emergency]),
        Course(
            name: "at the threshold is enough", celsius: [75, 75], severities: [nil, .warning]),
        Course(
            name: "hot from the first sample", celsius: [96, 96], severities: [nil, .emergency]),
        Course(
            name: "left only below the clear threshold", celsius: [88, 88, 82, 82, 80, 80],
            severities: [nil, .critical, .critical, .critical, .critical, .critical]),
        Course(
            name: "falls to what the clear thresholds still justify",
            celsius: [88, 88, 79, 79, 70, 70, 69, 69],
            severities: [
                nil, .critical, .critical, .warning, .warning, .warning, .warning, .ok,
            ]),
        Course(
            name: "ok needs two samples too", celsius: [88, 88, 60, 88, 60, 60],
            severities: [nil, .critical, .critical, .critical, .critical, .ok]),
        Course(
            name: "a warning is not entered between clear and threshold",
            celsius: [60, 60, 72, 72],
            severities: [nil, .ok, .ok, .ok]),
        Course(
            name: "a failed sample is unknown, never ok", celsius: [88, 88, nil, 88, 60, nil, 60],
            severities: [nil, .critical, nil, .critical, .critical, nil, .ok]),
        Course(
            name: "no number is no sample", celsius: [60, 60, .nan, .infinity, 60],
            severities: [nil, .ok, nil, nil, .ok]),
        Course(
            name: "for: holds back", celsius: [88, 88, 88, 88, 88],
            severities: [nil, .ok, .ok, .critical, .critical], holdFor: .seconds(15)),
        Course(
            name: "for: begins anew after a dip", celsius: [88, 88, 84, 88, 88, 88],
            severities: [nil, .ok, .ok, .warning, .warning, .warning], holdFor: .seconds(15)),
        Course(
            name: "for: is per severity", celsius: [76, 76, 76, 88, 88, 88],
            severities: [nil, .ok, .warning, .warning, .warning, .critical],
            holdFor: .seconds(10)),
    ]

    @Test(arguments: courses)
    func follows(_ course: Course) {
        var settings = Config.Thermal()
        settings.holdFor = course.holdFor
        var detector = Detector(settings: settings, interval: .seconds(5))
        for (index, celsius) in course.celsius.enumerated() {
            let verdict = detector.observe(celsius, at: at(Int64(index) * 5))
            #expect(verdict.severity == course.severities[index], "sample \(index)")
        }
    }

    @Test func droppedValuesAreCounted() {
        var detector = Detector(settings: Config.Thermal(), interval: .seconds(5))
        _ = detector.observe(.nan, at: at(0))
        _ = detector.observe(.infinity, at: at(5))
        _ = detector.observe(nil, at: at(10))
        #expect(detector.droppedCount == 2)
    }

    @Test func thresholdsAreReported() {
        var detector = Detector(settings: Config.Thermal(), interval: .seconds(5))
        #expect(detector.observe(60, at: at(0)).threshold == 75)
        #expect(detector.observe(88, at: at(5)).threshold == 75)
        #expect(detector.observe(88, at: at(10)).threshold == 85)
        #expect(detector.observe(99, at: at(15)).threshold == 85)
        #expect(detector.observe(99, at: at(20)).threshold == 95)
    }

    @Test func afterALoweredThresholdTheNextSampleDecides() {
        var settings = Config.Thermal()
        var detector = Detector(settings: settings, interval: .seconds(5))
        _ = detector.observe(72, at: at(0))
        #expect(detector.observe(72, at: at(5)).severity == .ok)
        settings.thresholds = Config.Levels(warning: 65, critical: 70, emergency: 95)
        settings.clear = Config.Levels(warning: 60, critical: 65, emergency: 90)
        detector.apply(settings, interval: .seconds(5))
        #expect(detector.observe(72, at: at(10)) == .init(severity: .critical, threshold: 70))
    }

    @Test func afterARaisedThresholdTheNextSampleDecides() {
        var settings = Config.Thermal()
        var detector = Detector(settings: settings, interval: .seconds(5))
        _ = detector.observe(88, at: at(0))
        #expect(detector.observe(88, at: at(5)).severity == .critical)
        settings.thresholds = Config.Levels(warning: 90, critical: 95, emergency: 99)
        settings.clear = Config.Levels(warning: 89, critical: 94, emergency: 98)
        detector.apply(settings, interval: .seconds(5))
        #expect(detector.observe(88, at: at(10)).severity == .ok)
    }

    @Test func holdingBeginsAtTheLastSampleAfterAnEdit() {
        var settings = Config.Thermal()
        settings.holdFor = .seconds(10)
        var detector = Detector(settings: settings, interval: .seconds(5))
        _ = detector.observe(72, at: at(0))
        _ = detector.observe(72, at: at(5))
        settings.thresholds.critical = 70
        settings.thresholds.warning = 65
        settings.clear = Config.Levels(warning: 60, critical: 65, emergency: 90)
        detector.apply(settings, interval: .seconds(5))
        #expect(detector.observe(72, at: at(10)).severity == .ok)
        #expect(detector.observe(72, at: at(15)).severity == .critical)
    }

    @Test func samplesFarApartDoNotCountTogether() {
        var detector = Detector(settings: Config.Thermal(), interval: .seconds(5))
        _ = detector.observe(88, at: at(0))
        #expect(detector.observe(88, at: at(61)).severity == nil)
        #expect(detector.observe(88, at: at(66)).severity == .critical)
        // With a long interval, samples are far apart by nature.
        var slow = Detector(settings: Config.Thermal(), interval: .seconds(120))
        _ = slow.observe(88, at: at(0))
        #expect(slow.observe(88, at: at(120)).severity == .critical)
    }

    @Test func aClockThatIsSetBackDelaysNothing() {
        var settings = Config.Thermal()
        settings.holdFor = .seconds(10)
        var detector = Detector(settings: settings, interval: .seconds(5))
        _ = detector.observe(88, at: at(0))
        _ = detector.observe(88, at: at(5))
        #expect(detector.observe(88, at: at(-20)).severity == .ok)
        #expect(detector.observe(88, at: at(-15)).severity == .ok)
        #expect(detector.observe(88, at: at(-10)).severity == .critical)
    }
}
