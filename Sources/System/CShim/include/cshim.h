// What Swift cannot say: system calls between fork and exec, and functions with variable arguments.
#ifndef SKOS_CSHIM_H
#define SKOS_CSHIM_H

/// Starts a program in a process group of its own, with signals as a fresh process has them, and bound
/// to the calling thread: when that thread ends, and with it at the latest this process, the kernel
/// kills the program. It has no input; `*output` becomes the end of a pipe from which what it prints, on
/// standard output or error, can be read.
///
/// Returns its process number, or -1 with `errno` set when it could not be started.
int skos_spawn_bound(const char *program, char *const arguments[], char *const environment[],
                     int *output);

#endif
