import Protocol
import Runtime
import Testing

@Suite("Metrics")
struct MetricsTests {
    @Test("the text is what Prometheus reads: sorted, escaped, cumulative buckets")
    func text() {
        let metrics = Metrics()
        metrics.counter("skos_b_total", "Line one\nline \"two\" \\").increment(by: 3)
        metrics.gauge("skos_a", "A gauge", labels: ["node": "no\"va\n", "kind": "x"]).set(-1.5)
        let histogram = metrics.histogram("skos_c_seconds", "Times", bounds: [0.1, 1])
        for value in [0.05, 0.1, 0.5, 7, .nan] { histogram.observe(value) }
        histogram.observe(Duration.milliseconds(500))
        #expect(
            metrics.text() == #"""
                # HELP skos_a A gauge
                # TYPE skos_a gauge
                skos_a{kind="x",node="no\"va\n"} -1.5
                # HELP skos_b_total Line one\nline "two" \\
                # TYPE skos_b_total counter
                skos_b_total 3
                # HELP skos_c_seconds Times
                # TYPE skos_c_seconds histogram
                skos_c_seconds_bucket{le="0.1"} 2
                skos_c_seconds_bucket{le="1.0"} 4
                skos_c_seconds_bucket{le="+Inf"} 5
                skos_c_seconds_sum 8.15
                skos_c_seconds_count 5

                """#)
        #expect(metrics.snapshot()["skos_b_total"] == 3)
        #expect(metrics.snapshot()["skos_c_seconds_count"] == 5)
    }

    @Test("the same name and labels give the same series")
    func same() {
        let metrics = Metrics()
        metrics.counter("skos_x_total", "", labels: ["a": "1", "b": "2"]).increment()
        metrics.counter("skos_x_total", "", labels: ["b": "2", "a": "1"]).increment()
        #expect(metrics.snapshot()[#"skos_x_total{a="1",b="2"}"#] == 2)
    }

    @Test("past the limit all new series are one")
    func bounded() {
        let metrics = Metrics()
        for number in 0..<(Metrics.seriesLimit + 50) {
            metrics.counter("skos_x_total", "", labels: ["id": "\(number)"]).increment()
        }
        let snapshot = metrics.snapshot()
        #expect(snapshot.members.count == Metrics.seriesLimit + 1)
        #expect(snapshot[#"skos_x_total{id="other"}"#] == 50)
    }

    @Test("nothing is lost when many count at once")
    func concurrent() async {
        let metrics = Metrics()
        let counter = metrics.counter("skos_x_total", "")
        let gauge = metrics.gauge("skos_y", "")
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<8 {
                group.addTask {
                    for _ in 0..<1000 {
                        counter.increment()
                        gauge.add(0.5)
                    }
                }
            }
        }
        #expect(counter.value == 8000)
        #expect(gauge.value == 4000)
    }

    @Test("a bad name, or a name of another kind, is a programmer's error")
    func names() async {
        await #expect(processExitsWith: .failure) { _ = Metrics().gauge("up", "") }
        await #expect(processExitsWith: .failure) { _ = Metrics().counter("skos_x", "") }
        await #expect(processExitsWith: .failure) {
            let metrics = Metrics()
            _ = metrics.gauge("skos_x_total", "")
            _ = metrics.counter("skos_x_total", "")
        }
    }
}
