import Notifier
import Protocol
import Settings
import Testing

func escalation(
    _ incident: String = "nova:thermal:1", _ change: (inout JSON.Object) -> Void = { _ in }
) throws -> Escalation {
    var event: JSON.Object = [
        "incident": .string(incident), "node": "nova", "type": "thermal",
        "severity": "emergency", "resource": "cpu", "message": "CPU at 97 °C <hot>",
        "reason": "nothing helped", "timestamp": "2026-01-02T03:04:05Z",
    ]
    change(&event)
    return try #require(Escalation(event))
}

@Suite("What is posted")
struct FormatTests {
    private func text(_ request: WebhookRequest) -> String {
        String(decoding: request.body, as: UTF8.self)
    }

    @Test("json: the event, and texts for people")
    func json() throws {
        let request = try escalation().request(.json)
        #expect(request.headers == ["Content-Type: application/json"])
        let object = try #require(try JSON.parse(request.body).object)
        #expect(object["source"] == "skos")
        #expect(object["event"] == "escalation")
        #expect(object["incident"] == "nova:thermal:1")
        #expect(object["severity"] == "emergency")
        #expect(object["title"] == "SKOS: nova needs a human: thermal emergency")
        let text = try #require(object["text"]?.string)
        for word in ["CPU at 97 °C <hot>", "nothing helped", "skos explain nova:thermal:1"] {
            #expect(text.contains(word))
        }
        #expect(object["repeated"] == nil)
    }

    @Test("ntfy: title, priority and tags in the header, the text as it is")
    func ntfy() throws {
        let request = try escalation().request(.ntfy)
        #expect(
            request.headers == [
                "Content-Type: text/plain; charset=utf-8",
                "Title: SKOS: nova needs a human: thermal emergency", "Priority: 5",
                "Tags: rotating_light,skos",
            ])
        #expect(text(request).hasPrefix("CPU at 97 °C <hot>\nResource: cpu\n"))
        let critical = try escalation { $0["severity"] = "critical" }.request(.ntfy)
        #expect(critical.headers.contains("Priority: 4"))
    }

    @Test("slack: one text, with what means something there escaped")
    func slack() throws {
        let object = try JSON.parse(try escalation().request(.slack).body).object
        #expect(object?.members.count == 1)
        let text = try #require(object?["text"]?.string)
        #expect(text.hasPrefix("*SKOS: nova needs a human: thermal emergency*\n"))
        #expect(text.contains("&lt;hot&gt;"))
        #expect(!text.contains("<"))
    }

    @Test(
        "drills, dry runs and repeats say so in every format",
        arguments: [
            ("drill", "[drill] ", "This is a drill"),
            ("dry_run", "[dry run] ", "This is a dry run"),
            ("repeated", "[repeated] ", "You may have been told this before"),
        ])
    func marks(name: String, title: String, sentence: String) throws {
        var told = try escalation { if name != "repeated" { $0[name] = true } }
        told.isRepeated = name == "repeated"
        for format in Config.WebhookFormat.allCases {
            let request = told.request(format)
            let all = request.headers.joined(separator: "\n") + text(request)
            #expect(all.contains(title), "\(format)")
            #expect(all.contains(sentence), "\(format)")
        }
        if name != "repeated" { #expect(told.request(.ntfy).headers.contains("Priority: 2")) }
    }

    @Test("the command that is told can be pasted: nothing of a foreign name is run")
    func pasted() throws {
        let told = try escalation("nova:storage:/mnt/$(reboot) `x` it's:1")
        #expect(
            text(told.request(.ntfy)).hasSuffix(
                #"More: skos explain 'nova:storage:/mnt/$(reboot) `x` it'\''s:1'"#))
    }

    @Test("nothing that a sender wrote gets into the header, or makes the body long")
    func hostile() throws {
        let told = try escalation { event in
            event["node"] = "nova\r\nX-Evil: 1"
            event["type"] = .string(String(repeating: "t", count: 5000))
            event["message"] = .string(String(repeating: "ü", count: 50_000))
        }
        for format in Config.WebhookFormat.allCases {
            let request = told.request(format)
            #expect(request.headers.allSatisfy { !$0.contains { "\r\n".contains($0) } })
            #expect(request.headers.allSatisfy { $0.utf8.count < 300 })
            if format != .json { #expect(request.body.count < 3000) }
        }
        #expect(Escalation(["node": "nova"]) == nil)
    }
}

@Suite("What an answer means")
struct AnswerTests {
    @Test(
        arguments: [
            (200, "", WebhookAnswer.Verdict.delivered), (204, "", .delivered),
            (200, "cut off", .delivered), (500, "", .failed("it answers 500")),
            (503, "", .failed("it answers 503")), (429, "", .failed("it answers 429")),
            (408, "", .failed("it answers 408")), (404, "", .refused("it answers 404")),
            (401, "", .refused("it answers 401")), (0, "refused", .failed("refused")),
            (999, "", .failed("it answers 999")),
            (100, "", .failed("it answers 100, which means nothing")),
            (
                301, "",
                .refused(
                    "it answers 301, a redirect, which is not followed: name the final address")
            ),
        ] as [(Int, String, WebhookAnswer.Verdict)])
    func verdict(status: Int, error: String, verdict: WebhookAnswer.Verdict) {
        #expect(WebhookAnswer(status: status, error: error).verdict == verdict)
    }

    @Test("what can never work is not tried again")
    func hopeless() {
        let answer = WebhookAnswer(status: 0, error: "no address", isHopeless: true)
        #expect(answer.verdict == .refused("no address"))
    }

    @Test(
        "of an address only scheme, host and port are shown",
        arguments: [
            ("https://ntfy.sh/topic", "https://ntfy.sh/…"),
            ("https://user:secret@host:8443/a/b?token=c#d", "https://host:8443/…"),
            ("http://[::1]:8080", "http://[::1]:8080"), ("http://host?token=abc", "http://host/…"),
            ("http://a@b@host/x", "http://host/…"), ("nonsense", "…"),
        ])
    func shown(url: String, shown: String) { #expect(WebhookAddress(url).shown == shown) }

    @Test("texts that give something away are replaced")
    func scrubbed() {
        let address = WebhookAddress("https://user:secret@host:8443/T0/B0/XyZw?token=tok1#d")
        for text in ["bad secret", "cannot open XyZw", "near user:secret@", "tok1 is wrong"] {
            #expect(address.scrubbed(text) == "it cannot be reached")
        }
        let fine = "Failed to connect to host port 8443"
        #expect(address.scrubbed(fine) == fine)
        #expect(WebhookAddress("http://host/x").scrubbed(fine) == fine)
    }
}

@Suite("What waits to be told")
struct QueueTests {
    private func add(
        _ incident: String, to queue: inout DeliveryQueue, at now: Int = 0
    ) throws -> DeliveryQueue.Outcome? {
        queue.add(try escalation(incident), due: .seconds(now))
    }

    /// Fails every try; the times in seconds, and what was said of it.
    private func fail(
        _ queue: inout DeliveryQueue, until end: Int64 = .max
    ) throws -> (times: [Int64], outcomes: [DeliveryQueue.Outcome]) {
        var now = Duration.zero
        var times: [Int64] = []
        var outcomes: [DeliveryQueue.Outcome] = []
        while let due = queue.nextDue, due.components.seconds < end {
            #expect(due >= now)
            now = due
            let delivery = try #require(queue.next(at: now))
            times.append(now.components.seconds)
            if let outcome = queue.tried(delivery, .failed("down"), at: now) {
                outcomes.append(outcome)
            }
        }
        return (times, outcomes)
    }

    @Test("five tries within about a minute, then it is said, and tried on for a day")
    func tries() throws {
        var queue = DeliveryQueue()
        _ = try add("a", to: &queue)
        let (times, outcomes) = try fail(&queue)
        #expect(times.prefix(10) == [0, 2, 8, 26, 60, 120, 240, 480, 780, 1080])
        #expect(outcomes.map(\.isFinal) == [false, true])
        #expect(outcomes.first?.tries == 5)
        #expect(outcomes.allSatisfy { $0.failure == "down" })
        #expect((86_000...86_400).contains(times.last ?? 0))
        #expect(queue.isEmpty)
        // Nobody was told, so it may be said again.
        _ = try add("a", to: &queue)
        #expect(queue.size == 1)
    }

    @Test("an outage of some minutes costs nobody the news")
    func outage() throws {
        var queue = DeliveryQueue()
        _ = try add("a", to: &queue)
        _ = try fail(&queue, until: 200)
        let delivery = try #require(queue.next(at: .seconds(240)))
        let outcome = queue.tried(delivery, .delivered, at: .seconds(240))
        #expect(outcome?.failure == nil)
        #expect(outcome?.isFinal == true)
    }

    @Test("a success or a refusal is the end; a later one is told meanwhile")
    func ends() throws {
        var queue = DeliveryQueue()
        _ = try add("a", to: &queue)
        _ = try add("b", to: &queue)
        let first = try #require(queue.next(at: .zero))
        #expect(first.escalation.incident == "a")
        #expect(queue.tried(first, .failed("x"), at: .zero) == nil)
        let second = try #require(queue.next(at: .zero))
        #expect(second.escalation.incident == "b")
        #expect(queue.tried(second, .delivered, at: .zero)?.failure == nil)
        #expect(queue.next(at: .zero) == nil)
        let again = try #require(queue.next(at: .seconds(2)))
        let outcome = queue.tried(again, .refused("no"), at: .seconds(2))
        #expect(outcome?.failure == "no")
        #expect(outcome?.tries == 2)
        #expect(queue.tried(again, .delivered, at: .seconds(2)) == nil, "it is gone")
    }

    @Test("one incident is told once; the first are kept when too many wait")
    func bounds() throws {
        var queue = DeliveryQueue()
        _ = try add("0", to: &queue)
        #expect(try add("0", to: &queue) == nil)
        #expect(queue.size == 1)
        for index in 1..<DeliveryQueue.limit {
            #expect(try add("\(index)", to: &queue) == nil)
        }
        let dropped = try #require(try add("more", to: &queue))
        #expect(dropped.escalation.incident == "more")
        #expect(dropped.failure == "more than 256 wait to be told")
        #expect(queue.size == DeliveryQueue.limit)
        for index in 0..<10_000 { _ = try add("many \(index)", to: &queue) }
        #expect(queue.size == DeliveryQueue.limit)
        #expect(queue.next(at: .zero)?.escalation.incident == "0")
    }

    @Test("new settings make all due; without an address all is given up")
    func hurryAndClear() throws {
        var queue = DeliveryQueue()
        _ = try add("a", to: &queue)
        let delivery = try #require(queue.next(at: .zero))
        _ = queue.tried(delivery, .failed("x"), at: .zero)
        queue.hurry(at: .seconds(1))
        #expect(queue.nextDue == .seconds(1))
        #expect(queue.clear("off").map(\.failure) == ["off"])
        #expect(queue.isEmpty)
    }
}
