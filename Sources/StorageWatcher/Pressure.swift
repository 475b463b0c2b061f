package import Platform
package import Protocol

/// How much the node's work waits for what it lacks (PSI), as far as the kernel measures it.
package enum Pressure {
    /// The members for a heartbeat: for `io` and the others, what share of the last ten seconds some of
    /// the work, and all of it, has waited. Empty where the kernel does not say.
    package static func read(_ files: any FileAccess) -> JSON.Object {
        var pressure = JSON.Object()
        for name in ["cpu", "io", "memory"] {
            guard let text = try? files.text("/proc/pressure/\(name)") else { continue }
            let values = parse(text)
            if !values.isEmpty { pressure[name] = .object(values) }
        }
        return pressure
    }

    /// `some avg10=1.64 avg60=0.54 …` → `some_avg10`.
    package static func parse(_ text: String) -> JSON.Object {
        var values = JSON.Object()
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ")
            guard let kind = words.first, kind == "some" || kind == "full" else { continue }
            for word in words.dropFirst() where word.hasPrefix("avg10=") {
                guard let value = Double(word.dropFirst(6)), (0...100).contains(value) else {
                    continue
                }
                values["\(kind)_avg10"] = .number(value)
            }
        }
        return values
    }
}
