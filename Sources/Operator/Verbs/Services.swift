extension Program {
    /// The verbs that run until they are stopped.
    static func services(_ parts: Parts) -> [Verb] {
        [
            Verb(
                "coordinator", "decide and record: the brain of the fleet",
                details:
                    "Takes alerts from NATS, applies the policies of the configuration, writes the "
                    + "audit, and commands the agents. One at a time leads: another one at the same "
                    + "NATS stands by, and takes over within seconds when the leader is gone.",
                examples: ["skos coordinator --config /etc/skos/config.yaml"],
                isService: true, run: parts.coordinator),
            Verb(
                "agent", "watch this node and act on it",
                details: "Runs the named agents in one process.",
                parameters: [
                    Parameter(
                        "KIND", .oneOrMore, choices: parts.agentKinds, "which agents to run")
                ],
                examples: ["skos agent thermal"], isService: true, run: parts.agents),
            Verb(
                "up", "run everything that one node needs",
                details:
                    "A nats-server of its own with JetStream, a coordinator and all agents, in "
                    + "one process tree that starts and stops as one. NATS listens on this machine "
                    + "only, at the port of nats.urls.",
                flags: [
                    Flag(
                        "external-nats",
                        "use the NATS of the configuration instead of starting one"),
                    Flag(
                        "nats-server", value: "PATH",
                        "the nats-server to start; default: $SKOS_NATS_SERVER, then PATH, then "
                            + "/usr/sbin/nats-server"),
                    Flag(
                        "monitoring-port", value: "PORT",
                        "where NATS shows its monitoring pages on this machine, 0 for not at all; "
                            + "default: $SKOS_MONITORING_PORT, else 8222"),
                ],
                examples: ["skos up", "skos up --config config.yaml --monitoring-port 0"],
                isService: true, run: parts.up),
        ]
    }
}
