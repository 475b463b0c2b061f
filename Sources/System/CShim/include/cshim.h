// What Swift cannot say: system calls between fork and exec, and functions with variable arguments.
#ifndef SKOS_CSHIM_H
#define SKOS_CSHIM_H

/// Has a program that is started with these `posix_spawn_file_actions_t` begin without any descriptor from
/// `first` on. Returns 0, or the error's number.
int skos_close_from(void *actions, int first);

/// Starts a program in a process group of its own, with signals as a fresh process has them, and bound
/// to the calling thread: when that thread ends, and with it at the latest this process, the kernel
/// kills the program. It has no input; `*output` becomes the end of a pipe from which what it prints, on
/// standard output or error, can be read.
///
/// Returns its process number, or -1 with `errno` set when it could not be started.
int skos_spawn_bound(const char *program, char *const arguments[], char *const environment[],
                     int *output);

/// Opens a directory below another for reading: never through a symbolic link, never above it, and with
/// `one_mount` never on another mount. Returns a descriptor, or -errno; -ENOSYS where the kernel, and
/// -EPERM where a filter of system calls, does not let `openat2` through.
int skos_open_beneath(int directory, const char *path, int one_mount);

/// The same for one name, with what every kernel has; it does not look at mounts.
int skos_open_step(int directory, const char *name);

/// What a file is, wherever its names are.
struct skos_identity {
    unsigned int major;
    unsigned int minor;
    unsigned long long inode;
    unsigned int mode;
};

/// Finds out what a path leads to, through links, without asking a server that may be dead where the
/// kernel knows the answer. Returns 0, or -errno.
int skos_identify(int directory, const char *path, struct skos_identity *identity);

/// Whether anybody but us has a regular file open, or mapped, or as the image of a loop device: the kernel
/// itself says so when asked for a lease. From the first call on this process ignores SIGIO, unless it
/// handles it. Returns 1 or 0, or -errno when it does not say.
int skos_is_open(int directory, const char *name);

/// Whether a regular file has extended attributes or an access list, beside SELinux' label. Returns 1 or 0, or
/// -errno.
int skos_has_attributes(int directory, const char *name);

/// Writes back all of the file system that an open descriptor is on. Returns 0, or -errno.
int skos_sync_filesystem(int descriptor);

/// Makes an empty file that is in memory only and ends with its last descriptor. Returns that, or -errno.
int skos_make_memory_file(void);

/// Sets blocks aside for `bytes` bytes of a file from `offset` on; its length stays as it is. Returns 0, or -errno.
int skos_reserve(int descriptor, long long offset, long long bytes);

#endif
