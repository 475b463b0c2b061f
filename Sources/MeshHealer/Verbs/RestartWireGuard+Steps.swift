import Antibody
import Platform

extension RestartWireGuard {
    /// Takes one step.
    ///
    /// - Returns: what else is to be said; `nil`: nothing.
    func take(
        _ step: Step, _ subject: MeshToolkit.Subject, _ ill: Set<String>, _ left: Duration
    ) throws(VerbFailure) -> String? {
        let repair = WireGuardRepair(toolkit: toolkit)
        let name = subject.interface
        let limit = min(left, startTime)
        switch step {
        case .linkUp: try repair.switchOn(name)
        case .routes: try repair.restoreRoutes(name, subject.peer)
        case .endpoint: try repair.setEndpoints(name, ill)
        case .syncconf: try repair.follow(name, subject.peer, ill)
        case .linkCycle: try repair.cycle(name)
        case .start:
            let path = toolkit.root.real(NodeNetwork.path(name))
            return try repair.make(name) {
                let (failure, running) = WireGuardQuick.up(name, path, timeLimit: limit)
                return (failure.map { "\(WireGuardQuick.program) up \(path): \($0)" }, running)
            }
        case .unit:
            let unit = "wg-quick@\(name).service"
            return try repair.make(name) {
                (Systemd.restart(unit, timeLimit: limit).map { "\(unit): \($0)" }, nil)
            }
        }
        return nil
    }
}
