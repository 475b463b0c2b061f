/// Paths below the top of a tree that a walk leaves alone, name by name: as no pattern for a name crosses
/// a slash, a walk knows at each directory what may still match in it.
package struct PathExclusion: Sendable, Hashable {
    package enum Extent: Sendable, Hashable {
        /// What matches, and all that is below.
        case everything
        /// What matches alone; what is in a directory is not meant.
        case itself
    }

    /// A pattern for the name on each level below the top; at least one.
    package var names: [GlobPattern]
    package var extent: Extent

    package init(names: [GlobPattern], extent: Extent) {
        self.names = names
        self.extent = extent
    }
}

extension [PathExclusion] {
    /// Whether the entry with this name is left alone; for a directory's content, `inside` says more.
    func exclude(_ name: UnsafeBufferPointer<UInt8>, isDirectory: Bool) -> Bool {
        contains { exclusion in
            exclusion.names.count == 1 && !(isDirectory && exclusion.extent == .itself)
                && exclusion.names[0].matches(name)
        }
    }

    /// What of it holds inside the directory with this name.
    func inside(_ name: UnsafeBufferPointer<UInt8>) -> [PathExclusion] {
        compactMap { exclusion in
            guard exclusion.names.count > 1, exclusion.names[0].matches(name) else { return nil }
            return PathExclusion(
                names: Array<GlobPattern>(exclusion.names.dropFirst()), extent: exclusion.extent)
        }
    }
}
