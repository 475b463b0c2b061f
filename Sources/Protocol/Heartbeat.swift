/// What an agent says of itself every few seconds on `skos.heartbeat.<node>`.
package struct Heartbeat: Sendable, Equatable, ObjectEncodable {
    /// Who sends it, such as `thermal-sentinel-nova`; unique in the fleet.
    package var agentID: String
    /// What it is, such as `thermal_sentinel`.
    package var agentType: String
    package var node: String
    /// When it was sent; `nil` when the sender does not say.
    package var timestamp: Timestamp?
    /// The hottest trustworthy CPU sensor, °C.
    package var cpuTemp: Double?
    /// The hottest trustworthy GPU sensor, °C.
    package var gpuTemp: Double?
    /// Anything else; SKOS' own agents say `verbs`, `version`, `probe` and more.
    package var metadata: JSON.Object
    /// Members that this version does not know; passed on as they came.
    package var extra: JSON.Object
    /// Bytes of the message it was read from; 0 when it was not read. Does not count when heartbeats
    /// are compared.
    package var size: Int { origin.bytes }

    private var origin = Origin()

    private struct Origin: Sendable, Equatable {
        var bytes = 0

        static func == (left: Origin, right: Origin) -> Bool { true }
    }

    package init(
        agentID: String, agentType: String, node: String, timestamp: Timestamp? = nil,
        cpuTemp: Double? = nil, gpuTemp: Double? = nil, metadata: JSON.Object = JSON.Object()
    ) {
        self.agentID = agentID
        self.agentType = agentType
        self.node = node
        self.timestamp = timestamp
        self.cpuTemp = cpuTemp
        self.gpuTemp = gpuTemp
        self.metadata = metadata
        extra = JSON.Object()
    }

    /// How many verbs are kept of an agent when there is no room for more.
    private static let verbLimit = 64

    private static let names = [
        "agent_id", "agent_type", "node", "timestamp", "cpu_temp", "gpu_temp", "metadata",
    ]

    /// The actions the agent offers; `nil` when it does not say, as agents in other languages may.
    package var verbs: [String]? { metadata["verbs"]?.array?.compactMap(\.string) }

    /// Reads a message of `skos.heartbeat.<node>`.
    ///
    /// - Throws: `MessageError` naming the field.
    package init(decoding message: UnsafeRawBufferPointer, node: String) throws(MessageError) {
        let fields = try Fields(message: message)
        agentType = try fields.required("agent_type", try fields.name("agent_type"))
        agentID = try fields.required("agent_id", try fields.agentID())
        self.node = try fields.node(of: node)
        timestamp = try fields.timestamp("timestamp")
        cpuTemp = try fields.double("cpu_temp", in: Limits.temperatures, unit: " °C")
        gpuTemp = try fields.double("gpu_temp", in: Limits.temperatures, unit: " °C")
        metadata = try fields.object("metadata") ?? JSON.Object()
        extra = fields.others(than: Self.names)
        origin.bytes = message.count
    }

    /// The heartbeat if there is room for it: when `total` bytes are too many, without anything in its
    /// metadata but the verbs.
    package func fitting(_ total: Int, limit: Int) -> Heartbeat {
        guard total > limit else { return self }
        var short = self
        short.metadata = JSON.Object()
        let names = verbs?.prefix(Self.verbLimit).filter { Name.isValid($0) }
        short.metadata["verbs"] = names.map { .array($0.map(JSON.string)) }
        short.extra = JSON.Object()
        return short
    }

    package func write(to object: inout ObjectWriter) {
        object.put("agent_id", agentID)
        object.put("agent_type", agentType)
        object.put("node", node)
        object.put("timestamp", timestamp)
        object.put("cpu_temp", cpuTemp)
        object.put("gpu_temp", gpuTemp)
        object.put("metadata", metadata)
        object.put(extra, except: Self.names)
    }
}

extension Fields {
    /// The node of a message: that of its subject; a `node` member must say the same.
    func node(of subjectNode: String) throws(MessageError) -> String {
        if let claimed = try name("node"), claimed != subjectNode {
            throw error("node", "\"\(claimed)\" is not the subject's node \"\(subjectNode)\"")
        }
        return subjectNode
    }
}
