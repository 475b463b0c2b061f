/// A symptom that somebody noticed, or (severity `ok`) that has cleared: `skos.alert.<node>`.
///
/// The least that works by hand is `{"type":"thermal","severity":"critical"}`.
package struct Alert: Sendable, Equatable, ObjectEncodable {
    /// Unique for each alert; without one the receiver names it by its place in the stream.
    package var id: String?
    /// Who noticed, such as `thermal-sentinel-nova`.
    package var agentID: String?
    /// What kind of symptom, such as `thermal`.
    package var type: String
    package var severity: Severity
    package var node: String
    /// What it is about, such as `cpu`; empty: the node as a whole.
    package var resource: String
    /// One sentence for people.
    package var message: String?
    /// The measured value, in `unit`.
    package var value: Double?
    package var unit: String?
    /// The threshold that was crossed, in `unit`.
    package var threshold: Double?
    /// The message or incident that caused it.
    package var cause: String?
    /// Whether it is a drill: nothing may touch hardware.
    package var drill: Bool
    package var details: JSON.Object
    /// When it was noticed; without one, when the stream received it.
    package var timestamp: Timestamp?
    /// Members that this version does not know; passed on as they came.
    package var extra: JSON.Object

    package init(type: String, severity: Severity, node: String, resource: String = "") {
        self.type = type
        self.severity = severity
        self.node = node
        self.resource = resource
        drill = false
        details = JSON.Object()
        extra = JSON.Object()
    }

    private static let names = [
        "id", "agent_id", "type", "severity", "node", "resource", "message", "value", "unit",
        "threshold", "cause", "drill", "details", "timestamp",
    ]

    /// Reads a message of `skos.alert.<node>`.
    ///
    /// - Throws: `MessageError` naming the field.
    package init(decoding message: UnsafeRawBufferPointer, node: String) throws(MessageError) {
        try self.init(Fields(message: message), node: node)
    }

    /// Reads an alert that is part of another message.
    ///
    /// - Throws: `MessageError` naming the field.
    package init(_ fields: Fields, node: String) throws(MessageError) {
        type = try fields.required("type", try fields.name("type"))
        severity = try fields.required("severity", try fields.choice("severity", Severity.self))
        self.node = try fields.node(of: node)
        id = try fields.identifier("id")
        agentID = try fields.agentID()
        self.message = try fields.string("message")
        value = try fields.double("value")
        unit = try fields.identifier("unit")
        threshold = try fields.double("threshold")
        cause = try fields.identifier("cause")
        drill = try fields.bool("drill") ?? false
        timestamp = try fields.timestamp("timestamp")
        details = try fields.object("details") ?? JSON.Object()
        let inner = Fields(details, path: "details")
        let sensor = try inner.identifier("sensor", limit: Limits.resourceBytes)
        let named = try fields.identifier("resource", limit: Limits.resourceBytes) ?? ""
        resource = named.isEmpty ? sensor ?? "" : named
        _ = try inner.double("temperature", in: Limits.temperatures, unit: " °C")
        if type == "thermal", let value, !Limits.temperatures.contains(value) {
            throw fields.error("value", "\(value) is not a temperature in °C")
        }
        extra = fields.others(than: Self.names)
    }

    package func write(to object: inout ObjectWriter) {
        object.put("id", id)
        object.put("agent_id", agentID)
        object.put("type", type)
        object.put("severity", severity.rawValue)
        object.put("node", node)
        object.put("resource", resource.isEmpty ? nil : resource)
        object.put("message", message)
        object.put("value", value)
        object.put("unit", unit)
        object.put("threshold", threshold)
        object.put("cause", cause)
        object.put("drill", drill ? true : nil)
        object.put("details", details.isEmpty ? nil : details)
        object.put("timestamp", timestamp)
        object.put(extra, except: Self.names)
    }
}
