/// Where in a tree a walk stopped, so that another one can go on there.
///
/// It is a hint and nothing more: each file is judged anew. What was moved or deleted since, or a file
/// system whose positions do not last, makes a walk begin elsewhere, never take another file.
package struct WalkCursor: Sendable, Equatable {
    /// The kernel's position in each directory on the way, from the top.
    var positions: [Int] = []
    /// The names of the directories below the top, without that of the top.
    var names: [[CChar]] = []

    /// The top.
    package init() {}

    init(positions: [Int], names: [[CChar]]) {
        self.positions = positions
        self.names = names
    }
}
