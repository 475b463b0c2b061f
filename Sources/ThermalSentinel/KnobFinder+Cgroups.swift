import Platform

extension KnobFinder {
    /// Control groups that hold ordinary work; the kernel's, the init system's own and virtual
    /// machines' groups are not touched.
    static let throttledSlices = ["system.slice", "user.slice"]
    /// Groups that keep the node reachable and the healer informed; never throttled one by one.
    static let vitalUnits = ["sshd.service", "ssh.service", "dbus.service", "nats.service"]
    /// More processors than this are not believed.
    static let maxProcessors = 8192

    /// The `cpu.max` of the slices, version 2 of control groups.
    ///
    /// Where this process lives in one of them, that slice is left alone and the groups beside ours are
    /// taken instead: a healer that slows down itself reports late.
    func cgroups() -> Found {
        var found = Found()
        let root = "/sys/fs/cgroup"
        guard let controllers = files.textIfReadable(root + "/cgroup.controllers"),
            controllers.split(separator: " ").contains("cpu"),
            let processors = processorCount()
        else { return found }
        let own = ownGroup()
        for slice in Self.throttledSlices {
            let directory = root + "/" + slice
            if own == "/" + slice || own.hasPrefix("/" + slice + "/") {
                for name in (try? files.names(in: directory))?.sorted() ?? []
                where isThrottledBesideOwn(name) && !("\(own)/").hasPrefix("/\(slice)/\(name)/") {
                    add(directory + "/" + name, processors, &found)
                }
            } else {
                add(directory, processors, &found)
            }
            if found.knobs.count >= Self.maxKnobs { break }
        }
        return found
    }

    private func isThrottledBesideOwn(_ name: String) -> Bool {
        let isUnit =
            name.hasSuffix(".service") || name.hasSuffix(".scope") || name.hasSuffix(".slice")
        return isUnit && !name.hasPrefix("systemd-") && !Self.vitalUnits.contains(name)
    }

    private func add(_ directory: String, _ processors: Int64, _ found: inout Found) {
        let path = directory + "/cpu.max"
        guard found.knobs.count < Self.maxKnobs,
            let (text, value) = attribute(.cgroup, path, &found)
        else { return }
        let period = KnobText.period(text)
        found.knobs.append(
            Knob(
                kind: .cgroup, path: path, text: text, value: value, full: processors * period,
                floor: period / 100, step: 1))
    }

    /// How many processors are online, by `0-3,8`.
    private func processorCount() -> Int64? {
        guard let text = files.textIfReadable("/sys/devices/system/cpu/online") else { return nil }
        var count: Int64 = 0
        for part in text.split(separator: ",") {
            let ends = part.split(separator: "-", maxSplits: 1).map { Int64($0) }
            guard let first = ends.first, let first, let last = ends.last, let last, last >= first,
                last < Self.maxProcessors
            else { return nil }
            count += last - first + 1
        }
        return count > 0 ? count : nil
    }

    /// This process's own group in version 2, such as `/system.slice/skos.service`.
    private func ownGroup() -> String {
        let text = files.textIfReadable("/proc/self/cgroup") ?? ""
        let line = text.split(separator: "\n").first { $0.hasPrefix("0::") }
        return line.map { String($0.dropFirst(3)) } ?? "/"
    }
}
