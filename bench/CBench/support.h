// What the floors and the loads share.
#pragma once

#include <nats/nats.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

static inline int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static inline natsStatus open_connection(natsConnection **nc, const char *url, bool asap) {
    natsOptions *options = NULL;
    natsStatus s = natsOptions_Create(&options);
    if (s == NATS_OK) s = natsOptions_SetURL(options, url);
    if (s == NATS_OK) s = natsOptions_SetSendAsap(options, asap);
    if (s == NATS_OK) s = natsConnection_Connect(nc, options);
    natsOptions_Destroy(options);
    return s;
}
