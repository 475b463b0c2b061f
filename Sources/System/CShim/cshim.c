#define _GNU_SOURCE
#include "cshim.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

// Kernels before 5.11 do not know the flag; descriptors beyond this are not expected then.
#define HIGHEST_DESCRIPTOR 4096

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
