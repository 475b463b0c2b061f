import Glibc
package import Platform

extension TmpfilesRules {
    /// Where files stand, those that override others first. The same name is read in the first one only.
    static let directories = [
        "/etc/tmpfiles.d", "/run/tmpfiles.d", "/usr/local/lib/tmpfiles.d", "/usr/lib/tmpfiles.d",
    ]
    /// How many files there may be, and how large one may be.
    static let fileLimit = 1024
    static let byteLimit = 1 << 20

    /// Reads what stands on the node. Where no such directory is, there are no rules.
    ///
    /// - Throws: what cannot be read. Then nobody knows what is to be left alone.
    package static func read(_ root: HostRoot) throws(FileFailure) -> TmpfilesRules {
        var rules = TmpfilesRules()
        var seen: Set<String> = []
        let files = HostFiles(root: HostRoot())
        for directory in directories {
            guard let real = try root.resolve(directory) else { continue }
            let names: [String]
            do throws(FileFailure) {
                names = try files.names(in: real.path)
            } catch  where error.errno == ENOENT || error.errno == ENOTDIR { continue }
            for name in names.sorted() where name.hasSuffix(".conf") && seen.insert(name).inserted {
                let path = directory + "/" + name
                guard seen.count <= fileLimit else {
                    throw FileFailure(.list, directory, .tooLong(limit: fileLimit))
                }
                guard let real = try root.resolve(path) else {
                    throw FileFailure(.open, path, errno: ENOENT)
                }
                // A link there takes the file of this name out of use.
                if real.nodePath == HostRoot.null { continue }
                let text = try files.readAll(real.path, limit: byteLimit)
                guard rules.add(text, file: path) else {
                    throw FileFailure(.read, path, .tooLong(limit: ruleLimit))
                }
            }
        }
        return rules
    }
}

extension Cleaner {
    /// The roots that may be cleaned at all, each with what is left alone in it because `tmpfiles.d` says
    /// so. When that cannot be read, none is.
    func spare(_ roots: [Root], _ report: inout CleaningReport) -> [Root] {
        let rules: TmpfilesRules
        do throws(FileFailure) { rules = try TmpfilesRules.read(root) } catch {
            for root in roots {
                report.leaveOut(
                    root.path, "what tmpfiles.d wants left alone is not known: \(error)")
            }
            return []
        }
        report.note(rules.oddities, count: rules.oddityCount)
        return roots.compactMap { root in
            switch rules.verdict(on: root.path) {
            case .leaveAlone(let place):
                report.leaveOut(root.path, "\(place) says that it is to be left alone")
                return nil
            case .walk(let exclusions):
                var root = root
                root.exclusions = exclusions
                return root
            }
        }
    }
}
