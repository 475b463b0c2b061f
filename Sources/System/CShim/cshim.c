#define _GNU_SOURCE
#include "cshim.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

// Kernels before 5.11 do not know the flag; descriptors beyond this are not expected then.
#define HIGHEST_DESCRIPTOR 4096

int skos_close_from(void *actions, int first) {
    return posix_spawn_file_actions_addclosefrom_np(actions, first);
}

// After fork in a process with threads only async-signal-safe functions may be called.
static void become(const char *program, char *const arguments[], char *const environment[],
                   int output, int report, pid_t parent) {
    sigset_t none;
    sigemptyset(&none);
    for (int number = 1; number < NSIG; number++) signal(number, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    // So that Ctrl-C in a terminal reaches only us, and we end the program in our own order.
    setpgid(0, 0);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) goto failed;
    // The parent may have died before the line above.
    if (getppid() != parent) _exit(127);
    int nothing = open("/dev/null", O_RDONLY);
    if (nothing < 0 || dup2(nothing, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0)
        goto failed;
    if (syscall(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC) != 0)
        for (int each = 3; each < HIGHEST_DESCRIPTOR; each++) fcntl(each, F_SETFD, FD_CLOEXEC);
    execve(program, arguments, environment);
failed:;
    int code = errno;
    ssize_t written = write(report, &code, sizeof code);
    (void)written;
    _exit(127);
}

// Starts the program with its output going to `output`.
static int spawn(const char *program, char *const arguments[], char *const environment[],
                 int output) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return -1;
    pid_t parent = getpid();
    pid_t child = fork();
    if (child == 0) become(program, arguments, environment, output, ends[1], parent);
    int code = child < 0 ? errno : 0;
    close(ends[1]);
    if (child > 0) {
        // The other end closes when exec succeeds, and says why when it does not.
        ssize_t got;
        do got = read(ends[0], &code, sizeof code);
        while (got < 0 && errno == EINTR);
        if (got != sizeof code) code = 0;
    }
    close(ends[0]);
    if (code == 0) return child;
    if (child > 0) {
        int status;
        while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
        }
    }
    errno = code;
    return -1;
}

int skos_spawn_bound(const char *program, char *const arguments[], char *const environment[],
                     int *output) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return -1;
    int child = spawn(program, arguments, environment, ends[1]);
    int code = errno;
    close(ends[1]);
    if (child < 0) close(ends[0]);
    *output = ends[0];
    errno = code;
    return child;
}

// Never waits: a FIFO in place of a directory is refused by O_DIRECTORY.
#define READ_DIRECTORY (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)

int skos_open_beneath(int directory, const char *path, int one_mount) {
    struct open_how how = {
        .flags = READ_DIRECTORY,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS |
                   (one_mount ? RESOLVE_NO_XDEV : 0),
    };
    // EAGAIN: something was renamed meanwhile, so that the kernel could not be sure.
    for (int attempt = 0; attempt < 16; attempt++) {
        long descriptor = syscall(SYS_openat2, directory, path, &how, sizeof how);
        if (descriptor >= 0) return (int)descriptor;
        if (errno != EAGAIN && errno != EINTR) break;
    }
    return -errno;
}

int skos_open_step(int directory, const char *name) {
    int descriptor = openat(directory, name, READ_DIRECTORY);
    return descriptor >= 0 ? descriptor : -errno;
}

int skos_identify(int directory, const char *path, struct skos_identity *identity) {
    struct statx found;
    int flags = AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT;
    if (statx(directory, path, flags, STATX_TYPE | STATX_INO, &found) != 0) {
        // Old kernels, and old filters of system calls.
        struct stat plain;
        if (errno != ENOSYS && errno != EPERM) return -errno;
        if (fstatat(directory, path, &plain, AT_NO_AUTOMOUNT) != 0) return -errno;
        identity->major = major(plain.st_dev);
        identity->minor = minor(plain.st_dev);
        identity->inode = plain.st_ino;
        identity->mode = plain.st_mode;
        return 0;
    }
    identity->major = found.stx_dev_major;
    identity->minor = found.stx_dev_minor;
    identity->inode = found.stx_ino;
    identity->mode = found.stx_mode;
    return 0;
}

// Who opens a file while we have the lease makes the kernel send us SIGIO, which would end this process.
static void ignore_lease_breaks(void) {
    struct sigaction now;
    if (sigaction(SIGIO, NULL, &now) == 0 && now.sa_handler == SIG_DFL) signal(SIGIO, SIG_IGN);
}

int skos_has_attributes(int directory, const char *name) {
    int file = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (file < 0) return -errno;
    char names[4096];
    ssize_t size = flistxattr(file, names, sizeof names);
    int code = errno;
    close(file);
    if (size < 0) return code == ENOTSUP ? 0 : code == ERANGE ? 1 : -code;
    for (ssize_t at = 0; at < size; at += (ssize_t)strlen(names + at) + 1)
        if (strcmp(names + at, "security.selinux") != 0) return 1;
    return 0;
}

int skos_is_open(int directory, const char *name) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, ignore_lease_breaks);
    int file = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (file < 0) return -errno;
    int answer = 0;
    if (fcntl(file, F_SETLEASE, F_WRLCK) != 0)
        answer = errno == EAGAIN || errno == EBUSY ? 1 : -errno;
    else
        // Closing gives it back only when no child that is about to exec has the file too; until then
        // nobody could open it.
        fcntl(file, F_SETLEASE, F_UNLCK);
    close(file);
    return answer;
}

int skos_sync_filesystem(int descriptor) { return syncfs(descriptor) == 0 ? 0 : -errno; }

int skos_make_memory_file(void) {
    int descriptor = memfd_create("skos", MFD_CLOEXEC);
    return descriptor >= 0 ? descriptor : -errno;
}

int skos_reserve(int descriptor, long long offset, long long bytes) {
    return fallocate(descriptor, FALLOC_FL_KEEP_SIZE, offset, bytes) == 0 ? 0 : -errno;
}
