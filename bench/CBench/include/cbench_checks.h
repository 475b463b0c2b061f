// The load of `skos.chain.check`, and the floor it is measured against.
#ifndef CBENCH_CHECKS_H
#define CBENCH_CHECKS_H
#include "cbench.h"

/// Answers every request of `floor.check` with as many bytes as an agent does, until the process is
/// killed. `asap`: each answer leaves at once, as an agent's do; else cnats collects them for up to
/// 1 ms, which gives the highest rate.
int cbench_echo(const char *url, bool asap);

/// Sends `count` requests to `subject`, at most `window` without an answer. `result`: done, p50 and p99
/// of the round trips, and elapsed.
int cbench_checks(
    const char *url, const char *subject, int count, int window, cbench_result *result);

/// Whether anybody answers requests of `subject`.
bool cbench_answers(const char *url, const char *subject);
#endif
