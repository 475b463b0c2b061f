/// The directories that the system lives in: no action deletes or moves anything there, whatever a file
/// names as a root. Those of programs, such as `/var/lib/APP/spool`, are for their owner to name.
enum SystemFolders {
    /// With all that is in them.
    private static let closed =
        [
            "bin", "boot", "dev", "efi", "etc", "lib", "lib32", "lib64", "libx32", "nix", "proc",
            "run", "sbin", "snap", "sys", "usr", "var/run", "var/spool/cron",
        ] + owners.map { "var/lib/" + $0 }

    /// Who keeps in `/var/lib` what the system or its containers are made of.
    private static let owners = [
        "apt", "containerd", "containers", "docker", "dpkg", "etcd", "flatpak", "incus", "kubelet",
        "libvirt", "lxc", "lxd", "machines", "pacman", "rancher", "rpm", "snapd", "systemd",
    ]

    /// What is in one of those and yet not the system's: crashed programs, and what the node's owner has
    /// put there.
    private static let open = ["usr/local", "var/lib/systemd/coredump"]

    /// What is in `/usr/local` as in `/usr`.
    private static let installed = [
        "bin", "etc", "games", "include", "lib", "lib64", "libexec", "sbin", "share", "src",
    ].map { "usr/local/" + $0 }

    /// Whoever names one of them as a whole has lost the rest of a path.
    private static let whole = [
        "root", "usr/local", "var", "var/lib", "var/lib/private", "var/spool",
    ]

    /// Where users keep their keys, in any directory.
    private static let secret = [".aws", ".gnupg", ".kube", ".ssh"]

    /// Why nothing may be deleted or moved in a normalized path; `nil`: it may.
    static func objection(to path: String) -> String? {
        if path == "/" || whole.contains(where: { path == "/" + $0 }) {
            return "too much of the system is in it; name a directory inside it"
        }
        if let folder = path.split(separator: "/").map(String.init).first(where: secret.contains) {
            return "\(folder) has keys; \(taboo)"
        }
        func first(_ folders: [String]) -> String? {
            folders.first { isPath(path, inside: "/" + $0) }
        }
        let folder = first(installed) ?? (first(open) == nil ? first(closed) : nil)
        return folder.map { "the system lives in /\($0); \(taboo)" }
    }

    private static let taboo = "nothing is deleted, moved or archived there"

    /// The same as the beginning of a regular expression.
    static var pattern: String {
        func list(_ names: [String]) -> String {
            names.map { name in
                name.reduce(into: "") { $0 += $1 == "." ? "\\." : String($1) }
            }.joined(separator: "|")
        }
        return "(?!(?!/(\(list(open)))(/|$))/(\(list(closed)))(/|$))"
            + "(?!/(\(list(installed)))(/|$))(?!/(\(list(whole)))$)(?!.*/(\(list(secret)))(/|$))"
    }
}
