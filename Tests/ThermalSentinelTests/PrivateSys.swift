import Foundation
import Glibc
import Platform
import Testing

/// A `/sys` of one thread's own.
enum PrivateSys {
    struct Failure: Error, CustomStringConvertible {
        var description: String
    }

    /// Whether this process may make one.
    static let isPossible: Bool = {
        guard geteuid() == 0 else { return false }
        return (try? run(prepare: { _ in }, body: { true })) == true
    }()

    /// Runs `body` on a thread that sees the tree which `prepare` wrote: its `sys/class` and
    /// `sys/devices` over the machine's.
    static func run<T: Sendable>(
        prepare: @escaping @Sendable (String) throws -> Void,
        body: @escaping @Sendable () throws -> T
    ) throws -> T {
        let directory = try TemporaryDirectory()
        let result = TimedWorker().runBlocking(limit: .seconds(60)) {
            Result<T, any Error> {
                try enter()
                // The upper directory of an overlay cannot lie on another overlay, as containers' do.
                try mount("tmpfs", directory.path, "tmpfs", 0, "size=64m")
                // The mounts end with the thread, but a moment too late for removing the directory.
                defer { unmount(directory.path) }
                try prepare(directory.path)
                for name in ["class", "devices"] {
                    let (upper, work) = (
                        directory.path + "/sys/" + name, directory.path + "/w" + name
                    )
                    for path in [upper, work] {
                        try FileManager.default.createDirectory(
                            atPath: path, withIntermediateDirectories: true)
                    }
                    try mount(
                        "overlay", "/sys/" + name, "overlay", 0,
                        "lowerdir=/sys/\(name),upperdir=\(upper),workdir=\(work)")
                }
                return try body()
            }
        }
        return try #require(result).get()
    }

    /// Gives the calling thread mounts of its own, which are gone with it.
    private static func enter() throws {
        // <sched.h> shows unshare only with _GNU_SOURCE, which Swift's import does not set.
        typealias Unshare = @convention(c) (Int32) -> Int32
        guard let symbol = dlsym(nil, "unshare") else { throw Failure(description: "no unshare") }
        let cloneNewNamespace: Int32 = 0x0002_0000
        guard unsafeBitCast(symbol, to: Unshare.self)(cloneNewNamespace) == 0 else {
            throw Failure(description: "unshare: \(errnoText(errno))")
        }
        let recursivePrivate: UInt = 1 << 14 | 1 << 18
        try mount("none", "/", nil, recursivePrivate, nil)
    }

    /// `MS_REMOUNT | MS_RDONLY`.
    static let remountReadOnly: UInt = 32 | 1

    static func unmount(_ target: String) {
        typealias Unmount = @convention(c) (UnsafePointer<CChar>?, Int32) -> Int32
        guard let symbol = dlsym(nil, "umount2") else { return }
        let detach: Int32 = 2
        _ = unsafeBitCast(symbol, to: Unmount.self)(target, detach)
    }

    static func mount(
        _ source: String, _ target: String, _ type: String?, _ flags: UInt, _ options: String?
    ) throws {
        typealias Mount =
            @convention(c) (
                UnsafePointer<CChar>?, UnsafePointer<CChar>?, UnsafePointer<CChar>?, UInt,
                UnsafeRawPointer?
            ) -> Int32
        guard let symbol = dlsym(nil, "mount") else { throw Failure(description: "no mount") }
        let call = unsafeBitCast(symbol, to: Mount.self)
        let code = source.withCString { source in
            target.withCString { target in
                (options ?? "").withCString { options in
                    guard let type else { return call(source, target, nil, flags, options) }
                    return type.withCString { call(source, target, $0, flags, options) }
                }
            }
        }
        guard code == 0 else { throw Failure(description: "mount \(target): \(errnoText(errno))") }
    }
}
