import Bus
import Protocol
import Runtime
import Settings

/// NATS, its streams, the coordinator and the clock.
extension Doctor {
    /// The oldest server that SKOS works with.
    private static let oldestServer = [2, 9, 10]
    /// More than this between two clocks deserves a look.
    private static let notableSkew: Duration = .seconds(2)

    static func bus(_ context: Context, _ config: Config) async -> [Finding] {
        let link: Link
        do { link = try await context.connect(config) } catch {
            return [Finding("nats", .fail, "\(error)")]
        }
        defer { link.close() }
        var findings = [server(link)]
        findings += await streams(link)
        findings += await coordinator(link, hasFile: context.configFile != nil)
        findings += await fleet(link, config)
        return findings
    }

    private static func server(_ link: Link) -> Finding {
        let version = link.connection.serverVersion ?? "of unknown version"
        let numbers = version.split { !$0.isNumber }.prefix(3).compactMap { Int($0) }
        guard numbers.count == 3, numbers.lexicographicallyPrecedes(oldestServer) else {
            return Finding("nats", .ok, "\(link.url), server \(version)")
        }
        let oldest = oldestServer.map(String.init).joined(separator: ".")
        return Finding(
            "nats", .fail, "\(link.url), server \(version), which is older than \(oldest)",
            remedy: "install a newer nats-server")
    }

    // MARK: Streams

    private static func streams(_ link: Link) async -> [Finding] {
        var findings: [Finding] = []
        for (name, subject) in [
            (Subjects.alertStream, Subjects.alerts), (Subjects.auditStream, Subjects.audit),
        ] {
            do {
                let info = try await link.connection.jetStream.streamInfo(name)
                findings.append(judge(info, name, subject))
            } catch {
                findings.append(absence(error, name, link))
                // Without JetStream there are no streams to look at.
                if error.jetStreamCode != JetStreamCode.streamNotFound { break }
            }
        }
        return findings
    }

    private static func judge(_ info: StreamInfo, _ name: String, _ subject: String) -> Finding {
        var wrong: [String] = []
        if !info.subjects.contains(subject) { wrong.append("it does not take \(subject)") }
        if name == Subjects.auditStream {
            for setting in ["deny_delete", "deny_purge"] where info.setting(setting) != "true" {
                wrong.append("\(setting) is not set, so records can be taken out")
            }
            if info.setting("discard") != "\"new\"" {
                wrong.append("discard is not new, so a full stream would forget")
            }
        }
        let size =
            "\(Text.count(Int(clamping: info.messages), "message")), \(info.bytes / 1024) KiB"
        guard wrong.isEmpty else {
            return Finding(
                "streams", .fail, "\(name): \(wrong.joined(separator: "; "))",
                remedy: "somebody made or changed it by hand; export what is in it, remove it with "
                    + "the nats CLI, and let the coordinator make it anew")
        }
        return Finding("streams", .ok, "\(name): \(size)")
    }

    private static func absence(_ error: BusError, _ name: String, _ link: Link) -> Finding {
        switch error.jetStreamCode {
        case JetStreamCode.streamNotFound:
            Finding(
                "streams", .warn, "\(name) is not there yet",
                remedy: "the first coordinator makes it: `skos coordinator` or `skos up`")
        case JetStreamCode.notEnabled, JetStreamCode.notEnabledForAccount:
            Finding(
                "jetstream", .fail, "JetStream is not enabled at \(link.url)",
                remedy: "start nats-server with -js, or put `jetstream {}` into its configuration")
        default: Finding("jetstream", .fail, "\(name): \(error)")
        }
    }

    // MARK: Coordinator and clock

    private static func coordinator(_ link: Link, hasFile: Bool) async -> [Finding] {
        let before = SteadyClock.wallTime()
        let status: JSON.Object
        do { status = try await link.ask("status") } catch {
            return [
                Finding(
                    "coordinator", .fail, "none answers on \(Subjects.api("status"))",
                    remedy: "start one with `skos coordinator` or `skos up`; until then nothing is "
                        + "decided"),
                Finding("clock", .warn, "there is no coordinator to compare it with"),
            ]
        }
        let middle = before + (SteadyClock.wallTime() - before) / 2
        var findings = [
            Finding(
                "coordinator", .ok,
                "\(status.text("coordinator")) \(status.text("version")) answers in "
                    + Text.short(SteadyClock.wallTime() - before))
        ]
        let configuration = status.object("config")
        let file = configuration.text("file")
        if !hasFile, !file.isEmpty {
            findings.append(
                Finding(
                    "config", .warn, "no file was read here, and the coordinator has \(file)",
                    remedy: "if this node has it, too: --config \(file), or SKOS_CONFIG"))
        }
        let refused = configuration.text("refused")
        if !refused.isEmpty {
            findings.append(
                Finding(
                    "coordinator", .warn, "it refused the last edit of its configuration",
                    remedy: refused.split(separator: "\n").first.map(String.init)))
        }
        if let time = status.time("time") { findings.append(clock(time - middle)) }
        return findings
    }

    static func clock(_ skew: Duration) -> Finding {
        let distance = skew < .zero ? .zero - skew : skew
        let text =
            "\(Text.short(distance)) \(skew < .zero ? "ahead of" : "behind") the coordinator's"
        let remedy = "let a time server set both: `timedatectl set-ntp true`"
        if distance > Limits.clockSkew {
            return Finding(
                "clock", .fail, text + ": alerts from here are rejected or stale", remedy: remedy)
        }
        if distance > notableSkew { return Finding("clock", .warn, text, remedy: remedy) }
        return Finding("clock", .ok, "less than \(Text.short(notableSkew)) off the coordinator's")
    }
}
