import Testing

@testable import Protocol

/// The messages of the first description of the product, byte for byte.
enum Seed {
    static let heartbeat = """
        {
          "agent_id": "thermal-sentinel-nova",
          "agent_type": "thermal_sentinel",
          "node": "nova",
          "timestamp": "2024-01-01T00:00:00Z",
          "cpu_temp": 65.5,
          "gpu_temp": 70.2,
          "metadata": {}
        }

        """
    static let alert = """
        {
          "agent_id": "thermal-sentinel-nova",
          "type": "thermal",
          "severity": "critical",
          "node": "nova",
          "message": "CPU temperature 87.5\u{C2}\u{B0}C exceeds critical threshold",
          "details": {
            "sensor": "cpu",
            "temperature": 87.5,
            "threshold": 85
          },
          "timestamp": "2024-01-01T00:00:00Z"
        }

        """
    static let command = """
        {
          "action_id": "nova:thermal:throttle_50:1704067200",
          "action_type": "throttle_50",
          "parameters": {},
          "timestamp": "2024-01-01T00:00:00Z"
        }

        """
}

/// Reads a message as if it came on the subject of a node.
func decode<Message>(
    _ text: String, node: String = "nova",
    as read: (UnsafeRawBufferPointer, String) throws(MessageError) -> Message
) throws(MessageError) -> Message {
    let result: Result<Message, MessageError> = Array(text.utf8).withUnsafeBytes { bytes in
        do throws(MessageError) { return .success(try read(bytes, node)) } catch {
            return .failure(error)
        }
    }
    return try result.get()
}

@Suite("The seed's own messages")
struct SeedTests {
    private let midnight = Timestamp(seconds: 1_704_067_200)

    @Test func heartbeat() throws {
        let heartbeat = try decode(Seed.heartbeat, as: Heartbeat.init(decoding:node:))
        #expect(
            heartbeat
                == Heartbeat(
                    agentID: "thermal-sentinel-nova", agentType: "thermal_sentinel", node: "nova",
                    timestamp: midnight, cpuTemp: 65.5, gpuTemp: 70.2))
        #expect(heartbeat.verbs == nil)
        // Ours is the same text without the spaces.
        #expect(
            JSON.object(heartbeat.object).text
                == Seed.heartbeat.filter { $0 != " " && $0 != "\n" })
    }

    @Test func alert() throws {
        let alert = try decode(Seed.alert, as: Alert.init(decoding:node:))
        var expected = Alert(type: "thermal", severity: .critical, node: "nova", resource: "cpu")
        expected.agentID = "thermal-sentinel-nova"
        expected.message = "CPU temperature 87.5\u{C2}\u{B0}C exceeds critical threshold"
        expected.details = ["sensor": "cpu", "temperature": 87.5, "threshold": 85]
        expected.timestamp = midnight
        #expect(alert == expected)
        // Every member of the seed's stands in ours, in the same form.
        let theirs = try #require(JSON.parse(Seed.alert).object)
        for member in theirs.members { #expect(alert.object[member.name] == member.value) }
    }

    @Test func command() throws {
        let command = try decode(Seed.command, as: Command.init(decoding:node:))
        var expected = Command(
            actionID: "nova:thermal:throttle_50:1704067200", actionType: "throttle_50",
            node: "nova")
        expected.timestamp = midnight
        #expect(command == expected)
        let theirs = try #require(JSON.parse(Seed.command).object)
        for member in theirs.members { #expect(command.object[member.name] == member.value) }
    }

    @Test("the least alert that works by hand")
    func leastAlert() throws {
        let alert = try decode(
            #"{"type":"thermal","severity":"critical"}"#, as: Alert.init(decoding:node:))
        #expect(alert == Alert(type: "thermal", severity: .critical, node: "nova"))
    }
}
