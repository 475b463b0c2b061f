#include "cbench_checks.h"
#include "support.h"

#include <nats/nats.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void on_request(natsConnection *nc, natsSubscription *sub, natsMsg *msg, void *closure) {
    (void)sub, (void)closure;
    static const char answer[] = "{\"allow\":true}";
    if (natsMsg_GetReply(msg) != NULL)
        natsConnection_Publish(nc, natsMsg_GetReply(msg), answer, sizeof answer - 1);
    natsMsg_Destroy(msg);
}

int cbench_echo(const char *url, bool asap) {
    natsConnection *nc = NULL;
    natsSubscription *sub = NULL;
    if (open_connection(&nc, url, asap) != NATS_OK) return 1;
    if (natsConnection_QueueSubscribe(&sub, nc, "floor.check", "floor", on_request, NULL)
        != NATS_OK)
        return 1;
    for (;;) pause();
}

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int64_t *sent, *took;
    int done;
} asker;

static void on_answer(natsConnection *nc, natsSubscription *sub, natsMsg *msg, void *closure) {
    (void)nc, (void)sub;
    asker *asker = closure;
    int64_t now = now_ns();
    // The last token of the subject is the number of the request; "no responders" has no payload.
    const char *dot = strrchr(natsMsg_GetSubject(msg), '.');
    int number = dot == NULL ? -1 : atoi(dot + 1);
    if (natsMsg_GetDataLength(msg) > 0 && number >= 0) {
        pthread_mutex_lock(&asker->lock);
        asker->took[asker->done++] = now - asker->sent[number];
        pthread_cond_signal(&asker->changed);
        pthread_mutex_unlock(&asker->lock);
    }
    natsMsg_Destroy(msg);
}

static int by_size(const void *a, const void *b) {
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

int cbench_checks(
    const char *url, const char *subject, int count, int window, cbench_result *result) {
    asker asker = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    asker.sent = calloc((size_t)count, sizeof *asker.sent);
    asker.took = calloc((size_t)count, sizeof *asker.took);
    natsConnection *nc = NULL;
    natsSubscription *sub = NULL;
    memset(result, 0, sizeof *result);
    if (open_connection(&nc, url, window == 1) != NATS_OK) return 1;
    if (natsConnection_Subscribe(&sub, nc, "answers.*", on_answer, &asker) != NATS_OK) return 1;
    natsConnection_FlushTimeout(nc, 5000);
    int64_t start = now_ns();
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += 60;
    bool late = false;
    for (int number = 0; number < count && !late; number++) {
        pthread_mutex_lock(&asker.lock);
        while (number - asker.done >= window && !late)
            late = pthread_cond_timedwait(&asker.changed, &asker.lock, &limit) != 0;
        pthread_mutex_unlock(&asker.lock);
        char reply[32], payload[128];
        snprintf(reply, sizeof reply, "answers.%d", number);
        int length = snprintf(
            payload, sizeof payload,
            "{\"chain_id\":\"chain-%d\",\"depth\":3,\"from\":\"writer\",\"to\":\"critic\"}",
            number % 1000);
        asker.sent[number] = now_ns();
        natsConnection_PublishRequest(nc, subject, reply, payload, length);
    }
    pthread_mutex_lock(&asker.lock);
    while (asker.done < count && !late)
        late = pthread_cond_timedwait(&asker.changed, &asker.lock, &limit) != 0;
    result->elapsed = now_ns() - start;
    result->done = asker.done;
    pthread_mutex_unlock(&asker.lock);
    natsSubscription_Unsubscribe(sub);
    natsConnection_Close(nc);
    if (result->done > 0) {
        qsort(asker.took, (size_t)result->done, sizeof *asker.took, by_size);
        result->p50 = asker.took[result->done / 2];
        result->p99 = asker.took[result->done * 99 / 100];
    }
    // A late handler may still look at the arrays; the process ends soon.
    return late ? 1 : 0;
}

bool cbench_answers(const char *url, const char *subject) {
    natsConnection *nc = NULL;
    natsMsg *msg = NULL;
    if (open_connection(&nc, url, true) != NATS_OK) return false;
    const char *question = "{\"chain_id\":\"probe\"}";
    natsStatus s = natsConnection_RequestString(&msg, nc, subject, question, 500);
    natsMsg_Destroy(msg);
    natsConnection_Destroy(nc);
    return s == NATS_OK;
}
