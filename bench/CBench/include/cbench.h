// The load of the benchmarks, and the floor they are measured against: the same work done by the
// least code that cnats allows. In C, so that the load costs both sides the same.
#ifndef CBENCH_H
#define CBENCH_H
#include <stdbool.h>
#include <stdint.h>

/// What a run measured; times in nanoseconds.
typedef struct {
    int64_t done;       ///< commands received, each alert counted once
    int64_t doubled;    ///< execute commands beyond the first for an alert
    int64_t p50, p99;   ///< alert published -> command received
    int64_t elapsed;    ///< first alert published -> last command received
} cbench_result;

/// Runs the floor's coordinator until the process is killed: alerts of `floor.alert.*` from a durable
/// push consumer, an audit record published and its ack awaited, then the command. With one in flight
/// the ack is awaited in place; else acks are pipelined. Returns only on failure.
int cbench_floor_coordinator(const char *url, bool pipelined);

/// Creates the floor's streams. Returns 0 when they are there.
int cbench_floor_streams(const char *url);

/// Publishes `count` alerts on `<space>.alert.<prefix><n>`, at most `window` without a command, and
/// waits for the commands on `<space>.command.<prefix><n>`. With `answers` each command is answered
/// with a result on `<space>.result.<prefix><n>`.
int cbench_heal(
    const char *url, const char *space, const char *prefix, int count, int window, bool answers,
    cbench_result *result);

/// Publishes an alert on each `skos.alert.<prefix><n>`, and waits for nothing that follows from it.
/// Returns 0 when all are sent.
int cbench_alerts(const char *url, const char *prefix, int count);

/// Deletes a stream. Returns 0 when it is gone.
int cbench_forget(const char *url, const char *stream);

/// Publishes heartbeats of `agents` agents at `rate` a second for `seconds`; returns how many.
int64_t cbench_heartbeats(const char *url, int agents, int rate, double seconds);

#include "cbench_checks.h"
#include "cbench_links.h"
#endif
