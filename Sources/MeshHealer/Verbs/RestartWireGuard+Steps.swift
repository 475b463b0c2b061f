import Antibody
import Platform

extension RestartWireGuard {
    /// Takes one step.
    func take(
        _ step: Step, _ subject: MeshToolkit.Subject, _ ill: Set<String>, _ left: Duration
    ) throws(VerbFailure) {
        let repair = WireGuardRepair(toolkit: toolkit)
        let name = subject.interface
        switch step {
        case .linkUp: try repair.switchOn(name)
        case .routes: try repair.restoreRoutes(name, subject.peer)
        case .endpoint: try repair.setEndpoints(name, ill)
        case .syncconf: try repair.follow(name, subject.peer, ill)
        case .linkCycle: try repair.cycle(name)
        case .start:
            let path = toolkit.root.real(NodeNetwork.path(name))
            try repair.make(name) {
                WireGuardQuick.up(path, timeLimit: min(left, Self.startTime)) {
                    ((try? toolkit.link(name)) ?? nil)?.isUp == true
                }.map { "\(WireGuardQuick.program) up \(path): \($0)" }
            }
        case .unit:
            let unit = "wg-quick@\(name).service"
            try repair.make(name) {
                Systemd.restart(unit, timeLimit: min(left, Self.startTime))
                    .map { "\(unit): \($0)" }
            }
        }
    }
}
