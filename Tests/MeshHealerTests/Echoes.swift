import Foundation
import Glibc
import Testing

/// Echoes from A to C, twenty in a second and with numbers, until somebody asks which were lost.
final class Echoes: Sendable {
    private let process: Process
    private let log: String

    init(_ tunnels: Tunnels) throws {
        log = "\(tunnels.directory.path)/echoes-\(UUID().uuidString)"
        // More would not fit into the buffers of a program that this machine lets wait for some seconds.
        // The session is made first: what waits for it is nobody's loss.
        try tunnels.exec("a", "ping", "-c", "1", "-W", "30", "10.88.0.3")
        process = try tunnels.launch(
            "echoes", in: "a", ["ping", "-i", "0.05", "10.88.0.3"], log: log)
    }

    /// Ends them; the numbers that are missing between the first and the last that came back.
    func lost() throws -> [Int] {
        kill(process.processIdentifier, SIGINT)
        process.waitUntilExit()
        let text = try String(contentsOfFile: log, encoding: .utf8)
        var last = 0
        var seen: Set<Int> = []
        for line in text.split(separator: "\n") where line.contains("bytes from") {
            guard let start = line.range(of: "icmp_seq=")?.upperBound else { continue }
            guard let number = Int(line[start...].prefix { $0.isNumber }) else { continue }
            // The kernel counts with 16 bits.
            var whole = last - last % 65536 + number
            if whole + 32768 < last { whole += 65536 }
            seen.insert(whole)
            last = max(last, whole)
        }
        #expect(seen.count > 5, "hardly any echo was answered: \(text.suffix(300))")
        guard let first = seen.min() else { return [] }
        return (first...last).filter { !seen.contains($0) }
    }
}
