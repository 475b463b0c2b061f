// Measures SKOS against a floor of the same run; see docs/benchmarks.md.
import CBench
import Foundation

let arguments = CommandLine.arguments
let usage = """
    usage: skos-bench [--rounds N] [--files N] [--only WHAT]…
    WHAT: latency throughput burst heartbeats restart agent agents checks chains up
          cleanup mounts mesh
    Environment: SKOS_BINARY (default .build/release/skos), NATS_SERVER (default nats-server on PATH).
    """

if arguments.count == 3, arguments[1].hasPrefix("floor") {
    exit(cbench_floor_coordinator(arguments[2], arguments[1] == "floor-pipelined"))
}
if arguments.count == 3, arguments[1].hasPrefix("echo") {
    exit(cbench_echo(arguments[2], arguments[1] == "echo"))
}
var rounds = 3
var files = 50_000
var only: Set<String> = []
var rest = arguments.dropFirst()
while let argument = rest.popFirst() {
    switch (argument, rest.first) {
    case ("--rounds", let value?) where Int(value) != nil:
        rounds = Int(value) ?? 3
        rest.removeFirst()
    case ("--files", let value?) where Int(value) != nil:
        files = Int(value) ?? files
        rest.removeFirst()
    case ("--only", let value?):
        only.insert(value)
        rest.removeFirst()
    default:
        print(usage)
        exit(argument == "--help" ? 0 : 2)
    }
}
let environment = ProcessInfo.processInfo.environment
let servers = (environment["PATH"] ?? "").split(separator: ":").map { "\($0)/nats-server" }
let found = (servers + ["/usr/sbin/nats-server"]).first {
    FileManager.default.isExecutableFile(atPath: $0)
}
guard let natsServer = environment["NATS_SERVER"] ?? found else {
    print("nats-server was not found; install it or name it in NATS_SERVER")
    exit(1)
}

let wants = { [only] (name: String) in only.isEmpty || only.contains(name) }

do {
    let bench = try Bench(
        skos: environment["SKOS_BINARY"] ?? ".build/release/skos", natsServer: natsServer,
        rounds: rounds)
    if wants("latency") { try bench.latency(count: 2000) }
    if wants("throughput") { try bench.throughput(count: 9000) }
    if wants("burst") { try bench.burst(count: 2000) }
    if wants("heartbeats") { try bench.heartbeats(agents: 10000, rate: 100_000, seconds: 5) }
    if wants("restart") { try bench.restart(incidents: 9_900, records: 160_000) }
    if wants("agent") { try bench.agent(seconds: 60) }
    if wants("agents") { try bench.agents(seconds: 60) }
    if wants("chains") { bench.chains(count: 1_000_000) }
    if wants("checks") { try bench.checks(count: 200_000) }
    if wants("up") { try bench.startUp() }
    if wants("cleanup") { try bench.cleanup(files: files) }
    if wants("mounts") { try bench.mounts(count: 500) }
    if wants("mesh") { try bench.mesh(count: 20) }
    print("\n| what | floor | SKOS | ratio | line | holds |\n|---|---|---|---|---|---|")
    for row in bench.rows {
        let holds = row.holds.map { $0 ? "yes" : "**no**" } ?? "–"
        print(
            "| \(row.name) | \(row.floor) | \(row.skos) | \(row.ratio) | \(row.line) | \(holds) |")
    }
} catch {
    print("skos-bench: \(error)")
    exit(1)
}
