import Glibc
package import Platform

/// What the mesh healer sees of its node, and how. Everything blocks, for a few seconds at most.
package protocol MeshNetwork: Sendable {
    /// The interfaces of this network namespace.
    func links() throws(NetlinkFailure) -> [NetworkLink]
    /// Whether a link is a WireGuard interface.
    func isWireGuard(_ link: NetworkLink) -> Bool
    func device(_ link: NetworkLink) throws(WireGuardFailure) -> WireGuardDevice
    /// Why an interface that was there and is not was hardly meant to go; `nil`: nothing shows that it
    /// was not.
    ///
    /// - Throws: why nobody knows.
    func mishap(_ name: String) throws(WireGuardFailure) -> Mishap?
    /// The interfaces whose `wireguard-go` was killed and has left its socket behind, of those that are
    /// meant.
    func leftBehind(_ isMeant: (String) -> Bool) -> [String]
    /// Whether systemd says that the unit of an interface was stopped, and has not failed.
    func isStopped(_ name: String) -> Bool
    /// The interfaces on which `wg-quick` is at work just now, whoever runs it.
    func quickRuns() -> Set<String>
    /// Where the kernel would send a packet; `nil`: it does not say.
    func way(to address: IPAddress, mark: UInt32) -> NetworkRoutes.Way?
    /// The ranges that are routed out of a link, of one family; `nil`: the kernel does not say.
    func routed(_ link: NetworkLink, isV6: Bool) -> [IPPrefix]?
    /// The ranges that a routing table knows, of one family; `nil`: the kernel does not say.
    func ranges(inTable table: Int, isV6: Bool) -> [IPPrefix]?
    func echo(_ targets: [EchoTarget], limit: Duration) -> [EchoOutcome]
    /// The text of an interface's configuration file; `nil`: there is none, or it cannot be read.
    func configuration(_ name: String) -> [UInt8]?
    /// Whether there is something by the name of an interface's configuration file, readable or not.
    func hasConfiguration(_ name: String) -> Bool
    /// Why an interface's configuration file is of no use, where that is not its content; `nil`: it can be
    /// read, or there is to be none.
    func configurationFault(_ name: String) -> String?
}

/// The real node.
package struct NodeNetwork: MeshNetwork {
    private let root: HostRoot
    private let socket: WireGuardSocket
    private let tool: WireGuardTool
    private let probe: EchoProbe

    package init(
        root: HostRoot, socket: WireGuardSocket = WireGuardSocket(),
        tool: WireGuardTool = WireGuardTool(), probe: EchoProbe = EchoProbe()
    ) {
        self.root = root
        self.socket = socket
        self.tool = tool
        self.probe = probe
    }

    package func links() throws(NetlinkFailure) -> [NetworkLink] { try NetworkLinks.all() }

    package func isWireGuard(_ link: NetworkLink) -> Bool {
        link.kind == "wireguard" || socket.presence(link.name) == .alive
    }

    package func device(_ link: NetworkLink) throws(WireGuardFailure) -> WireGuardDevice {
        if link.kind != "wireguard" { return try socket.device(link.name) }
        do throws(WireGuardFailure) { return try WireGuardKernel.device(link.name) } catch {
            // The same question in other words may be answered, and else says why not.
            guard tool.isInstalled else { throw error }
            let denied = error.isDenied ? error : nil
            do throws(WireGuardFailure) { return try tool.device(link.name) } catch {
                throw denied ?? error
            }
        }
    }

    package func mishap(_ name: String) throws(WireGuardFailure) -> Mishap? {
        if socket.presence(name) == .stale {
            return Mishap("wireguard-go has ended without cleaning up: it crashed or was killed")
        }
        guard Systemd.isRunning(root) else { return nil }
        guard let isActive = Systemd.isActive("wg-quick@\(name).service") else {
            throw WireGuardFailure("systemd does not say how wg-quick@\(name).service is")
        }
        guard isActive else { return nil }
        return Mishap("systemd's wg-quick@\(name).service is active", isByUnit: true)
    }

    package func leftBehind(_ isMeant: (String) -> Bool) -> [String] { socket.leftBehind(isMeant) }

    package func isStopped(_ name: String) -> Bool {
        let unit = "wg-quick@\(name).service"
        return Systemd.isRunning(root) && Systemd.isActive(unit) == false
            && !Systemd.hasFailed(unit)
    }

    package func quickRuns() -> Set<String> { QuickRuns.names(root) }

    package func way(to address: IPAddress, mark: UInt32) -> NetworkRoutes.Way? {
        try? NetworkRoutes.way(to: address, mark: mark)
    }

    package func routed(_ link: NetworkLink, isV6: Bool) -> [IPPrefix]? {
        guard let routes = try? NetworkRoutes.all(isV6: isV6) else { return nil }
        return routes.filter { $0.device == link.index && $0.table != 255 }.map(\.prefix)
    }

    package func ranges(inTable table: Int, isV6: Bool) -> [IPPrefix]? {
        guard let routes = try? NetworkRoutes.all(isV6: isV6) else { return nil }
        return routes.filter { $0.table == table }.map(\.prefix)
    }

    package func echo(_ targets: [EchoTarget], limit: Duration) -> [EchoOutcome] {
        probe.run(targets, limit: limit)
    }

    package func configuration(_ name: String) -> [UInt8]? {
        try? HostFiles(root: root).read(Self.path(name), limit: WireGuardConf.limit)
    }

    package func hasConfiguration(_ name: String) -> Bool {
        var status = stat()
        return lstat(root.real(Self.path(name)), &status) == 0 || errno != ENOENT
    }

    package func configurationFault(_ name: String) -> String? {
        // Whoever may not read it knows nothing of it.
        guard geteuid() == 0 else { return nil }
        guard hasConfiguration(name) else {
            let template = root.real(Self.path(name) + ".template")
            return access(template, F_OK) == 0 ? "it is not there, and its template is" : nil
        }
        do throws(FileFailure) {
            _ = try HostFiles(root: root).read(Self.path(name), limit: WireGuardConf.limit)
            return nil
        } catch { return "it cannot be read: \(error)" }
    }

    /// Where an interface's configuration is, as the node sees it.
    package static func path(_ name: String) -> String { "/etc/wireguard/\(name).conf" }
}

/// The little of systemd that is asked for.
enum Systemd {
    static func isRunning(_ root: HostRoot) -> Bool {
        root.isMachine && access("/run/systemd/system", F_OK) == 0
    }

    /// `nil`: systemd does not say.
    static func isActive(_ unit: String) -> Bool? {
        let output = try? Subprocess(
            "/usr/bin/systemctl", ["is-active", "--quiet", unit], timeLimit: .seconds(2)
        ).run()
        // 1: it cannot be asked; 3 and 4: it does not run, or there is no such unit.
        guard let code = output?.exitCode, code != 1 else { return nil }
        return code == 0
    }

    /// Whether there is something to start by that name, running or not.
    static func exists(_ unit: String) -> Bool {
        let output = try? Subprocess(
            "/usr/bin/systemctl", ["cat", "--no-pager", unit], timeLimit: .seconds(2)
        ).run()
        return output?.exitCode == 0
    }

    static func hasFailed(_ unit: String) -> Bool {
        let output = try? Subprocess(
            "/usr/bin/systemctl", ["is-failed", "--quiet", unit], timeLimit: .seconds(2)
        ).run()
        return output?.exitCode == 0
    }

    static func restart(_ unit: String, timeLimit: Duration) -> String? {
        do throws(Subprocess.Failure) {
            let output = try Subprocess(
                "/usr/bin/systemctl", ["restart", unit], timeLimit: timeLimit
            ).run()
            return output.exitCode == 0 ? nil : "exit code \(output.exitCode)"
        } catch { return "\(error)" }
    }
}

/// Whether a name matches one of some shell patterns.
package func matches(_ name: String, _ patterns: [String]) -> Bool {
    patterns.contains { fnmatch($0, name, 0) == 0 }
}

/// Whether a pattern is a plain name.
package func isName(_ pattern: String) -> Bool { !pattern.contains { "*?[\\".contains($0) } }

/// The program that comes with WireGuard's tools and makes a tunnel of a configuration file. Where the
/// kernel has no WireGuard it starts `wireguard-go`.
enum WireGuardQuick {
    static let program = "/usr/bin/wg-quick"

    /// Why it cannot be used here; `nil`: it can.
    static var obstacle: String? {
        guard geteuid() == 0 else { return "only root can make an interface" }
        return access(program, X_OK) == 0 ? nil : "\(program) is not installed"
    }

    /// Makes the interface of a file. What it starts lives on when this process ends. What the file runs
    /// may take its time when the interface is on already: with it the tunnel would be killed.
    ///
    /// - Returns: why that failed, and whether it goes on.
    static func up(
        _ name: String, _ path: String, timeLimit: Duration
    ) -> (failure: String?, running: pid_t?) {
        func link() -> NetworkLink? {
            ((try? NetworkLinks.all()) ?? []).first { $0.name == name }
        }
        var running: pid_t?
        do throws(Subprocess.Failure) {
            let code = try Subprocess(program, ["up", path], timeLimit: timeLimit).complete {
                child in
                running = link()?.isUp == true ? child : nil
                return running != nil
            }
            return (code ?? 0 == 0 ? nil : "exit code \(code ?? 0)", running)
        } catch {
            // Killed amid its work, it leaves one behind that is no tunnel.
            if case .timedOut = error, let link = link(), link.kind == "wireguard", !link.isUp {
                try? NetworkLinks.remove(link.index)
            }
            return ("\(error)", nil)
        }
    }
}
