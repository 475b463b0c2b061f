import CShim
import Glibc

/// A secret that another program reads as a file.
///
/// It is in memory only, so that nothing is left of it whenever and however this process ends.
package struct SecretMemory: ~Copyable, Sendable {
    private let descriptor: Int32

    package init(_ bytes: [UInt8]) throws(FileFailure) {
        descriptor = skos_make_memory_file()
        guard descriptor >= 0 else { throw FileFailure(.write, "memory", errno: -descriptor) }
        try writeAll(bytes, to: descriptor, "memory")
    }

    deinit { close(descriptor) }

    /// Gives the path at which programs that this process starts meanwhile find it.
    package func withPath<Failure>(
        _ body: (String) throws(Failure) -> Void
    ) throws(Failure) {
        try body("/proc/\(getpid())/fd/\(descriptor)")
    }
}
