import CShim
package import Glibc

/// An open directory of a tree that others may be changing, and maybe with ill intent. What is below it
/// is reached one name at a time, from the open directory and never by a path, so that no link, no `..`
/// and no mount leads anywhere else.
///
/// It is a plain handle: whoever opens it closes it.
package struct SafeDirectory: Sendable {
    /// How the kernel is asked.
    package enum Method: Sendable, CaseIterable {
        /// `openat2`, since Linux 5.6.
        case kernel
        /// Name by name without following links, and comparing mounts: everywhere.
        case steps
    }

    /// Directories in which nothing is ever deleted, whatever a file of settings says.
    static let protected: Set<String> = [
        "/", "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/run", "/sbin",
        "/sys", "/usr", "/var",
    ]

    package let descriptor: Int32
    private let method: Method
    /// The mount it is on; 0 where the kernel compares them.
    private let mount: Int64

    private init(descriptor: Int32, method: Method, mount: Int64) {
        self.descriptor = descriptor
        self.method = method
        self.mount = mount
    }

    /// Opens the top of a tree. No part of its path may be a symbolic link: who may exchange one would
    /// choose what is deleted.
    ///
    /// - Parameters:
    ///   - path: an absolute path of the node.
    ///   - root: where the node's files are.
    ///   - method: how; `nil`: by the kernel where it can.
    /// - Returns: the open directory.
    /// - Throws: why it cannot be opened, or must not be.
    package static func open(
        _ path: String, root: HostRoot, method: Method? = nil
    ) throws(FileFailure) -> SafeDirectory {
        let real = root.real(path)
        let names = path.split(separator: "/")
        guard path.hasPrefix("/"), !names.contains(".."), !names.contains("."),
            !protected.contains("/" + names.joined(separator: "/"))
        else { throw FileFailure(.open, real, .forbidden) }
        let start = Glibc.open(root.real("/"), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard start >= 0 else { throw FileFailure(.open, root.real("/"), errno: errno) }
        if method != .steps {
            let descriptor = skos_open_beneath(start, names.joined(separator: "/"), 0)
            if descriptor >= 0 || method == .kernel || !isUnavailable(descriptor) {
                _ = Glibc.close(start)
                guard descriptor >= 0 else { throw FileFailure(.open, real, errno: -descriptor) }
                return SafeDirectory(descriptor: descriptor, method: .kernel, mount: 0)
            }
        }
        var descriptor = start
        for name in names {
            let next = skos_open_step(descriptor, String(name))
            _ = Glibc.close(descriptor)
            guard next >= 0 else { throw FileFailure(.open, real, errno: -next) }
            descriptor = next
        }
        do throws(FileFailure) {
            let mount = try mountID(of: descriptor)
            return SafeDirectory(descriptor: descriptor, method: .steps, mount: mount)
        } catch {
            _ = Glibc.close(descriptor)
            throw error
        }
    }

    /// Opens a directory in this one.
    ///
    /// - Throws: `EXDEV` when something is mounted there, `ELOOP` or `ENOTDIR` when it is a link or a
    ///   file.
    package func child(_ name: UnsafePointer<CChar>) throws(FileFailure) -> SafeDirectory {
        switch method {
        case .kernel:
            let child = skos_open_beneath(descriptor, name, 1)
            guard child >= 0 else { throw failure(name, -child) }
            return SafeDirectory(descriptor: child, method: method, mount: 0)
        case .steps:
            // What `openat2` refuses by itself.
            guard !Self.leadsElsewhere(name) else { throw failure(name, EXDEV) }
            let child = skos_open_step(descriptor, name)
            guard child >= 0 else { throw failure(name, -child) }
            let mount = try? Self.mountID(of: child)
            guard mount == self.mount else {
                _ = Glibc.close(child)
                throw failure(name, mount == nil ? EIO : EXDEV)
            }
            return SafeDirectory(descriptor: child, method: method, mount: self.mount)
        }
    }

    /// Opens a directory further down, name by name.
    ///
    /// - Returns: an open directory of its own, also for no names at all. It is no duplicate, whose
    ///   position in the directory would be shared: a second walk would find nothing.
    package func descend(_ names: [[UInt8]]) throws(FileFailure) -> SafeDirectory {
        let copy = skos_open_step(descriptor, ".")
        guard copy >= 0 else { throw failure(".", -copy) }
        var directory = SafeDirectory(descriptor: copy, method: method, mount: mount)
        for name in names {
            let next: SafeDirectory
            do throws(FileFailure) {
                next = try directory.child(name.map(CChar.init(bitPattern:)) + [0])
            } catch {
                directory.close()
                throw error
            }
            directory.close()
            directory = next
        }
        return directory
    }

    /// Whether anybody has a file of this directory open; `nil` where the kernel does not say.
    package func isOpen(_ name: UnsafePointer<CChar>) -> Bool? {
        let answer = skos_is_open(descriptor, name)
        return answer < 0 ? nil : answer == 1
    }

    /// Whether a file of this directory has extended attributes or an access list; `nil` where it cannot be
    /// asked. Labels of SELinux do not count: they follow from where a file is.
    package func hasAttributes(_ name: UnsafePointer<CChar>) -> Bool? {
        let answer = skos_has_attributes(descriptor, name)
        return answer < 0 ? nil : answer == 1
    }

    /// The mount it is on, by its number in this process' mount namespace.
    package func mountID() throws(FileFailure) -> Int64 { try Self.mountID(of: descriptor) }

    /// Writes back all of its file system: some count what was deleted as free only then.
    package func syncFileSystem() { _ = skos_sync_filesystem(descriptor) }

    package func close() { _ = Glibc.close(descriptor) }

    /// What stands under a name, links not followed; `nil` when there is nothing.
    package func status(_ name: UnsafePointer<CChar>) -> stat? {
        var status = stat()
        let flags = AT_SYMLINK_NOFOLLOW | 0x800  // AT_NO_AUTOMOUNT
        return fstatat(descriptor, name, &status, flags) == 0 ? status : nil
    }

    /// Whether a descriptor of `openat2` says that there is no such call, or none for us.
    private static func isUnavailable(_ descriptor: Int32) -> Bool {
        descriptor == -ENOSYS || descriptor == -EPERM
    }

    private static func leadsElsewhere(_ name: UnsafePointer<CChar>) -> Bool {
        strcmp(name, "") == 0 || strcmp(name, "..") == 0 || strchr(name, 0x2F) != nil
    }

    /// The mount that an open file is on. Numbers of devices cannot tell bind mounts apart.
    static func mountID(of descriptor: Int32) throws(FileFailure) -> Int64 {
        let path = "/proc/self/fdinfo/\(descriptor)"
        let text = try HostFiles(root: HostRoot()).read(path, limit: HostFiles.attributeLimit)
        for line in text.split(separator: 0x0A) where line.starts(with: "mnt_id:".utf8) {
            if let id = Int64(sysfs: line.dropFirst(7)) { return id }
        }
        throw FileFailure(.read, path, errno: EIO)
    }

    private func failure(_ name: UnsafePointer<CChar>, _ code: Int32) -> FileFailure {
        FileFailure(.open, MountEntry.name(Array(String(cString: name).utf8)), errno: code)
    }
}
