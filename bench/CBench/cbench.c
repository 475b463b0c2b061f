#include "cbench.h"
#include "support.h"

#include <inttypes.h>
#include <nats/nats.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// MARK: The floor

typedef struct {
    natsConnection *nc;
    jsCtx *js;
    bool pipelined;
} floor_state;

static void command_from(floor_state *floor, const char *data, int length) {
    // The audited payload begins with the alert's subject, up to a space.
    const char *space = memchr(data, ' ', (size_t)length);
    if (space == NULL) return;
    const char *node = data + strlen("floor.alert.");
    char subject[128];
    snprintf(subject, sizeof subject, "floor.command.%.*s", (int)(space - node), node);
    natsConnection_Publish(floor->nc, subject, data, length);
}

static void on_ack(jsCtx *js, natsMsg *msg, jsPubAck *ack, jsPubAckErr *error, void *closure) {
    (void)js, (void)ack;
    if (error == NULL)
        command_from(closure, natsMsg_GetData(msg), natsMsg_GetDataLength(msg));
    natsMsg_Destroy(msg);
}

static void on_alert(natsConnection *nc, natsSubscription *sub, natsMsg *msg, void *closure) {
    (void)nc, (void)sub;
    floor_state *floor = closure;
    char record[1024];
    int length = snprintf(
        record, sizeof record, "%s %.*s", natsMsg_GetSubject(msg), natsMsg_GetDataLength(msg),
        natsMsg_GetData(msg));
    if (length >= (int)sizeof record) length = (int)sizeof record - 1;
    if (floor->pipelined) {
        js_PublishAsync(floor->js, "floor.audit", record, length, NULL);
    } else if (js_Publish(NULL, floor->js, "floor.audit", record, length, NULL, NULL) == NATS_OK) {
        command_from(floor, record, length);
    }
    natsMsg_Ack(msg, NULL);
    natsMsg_Destroy(msg);
}

int cbench_floor_streams(const char *url) {
    natsConnection *nc = NULL;
    jsCtx *js = NULL;
    natsStatus s = open_connection(&nc, url, true);
    if (s == NATS_OK) s = natsConnection_JetStream(&js, nc, NULL);
    const char *names[] = {"FLOOR_ALERTS", "FLOOR_AUDIT"};
    const char *subjects[] = {"floor.alert.*", "floor.audit"};
    for (int i = 0; i < 2 && s == NATS_OK; i++) {
        jsStreamConfig config;
        jsStreamConfig_Init(&config);
        config.Name = names[i];
        config.Subjects = &subjects[i];
        config.SubjectsLen = 1;
        s = js_AddStream(NULL, js, &config, NULL, NULL);
    }
    jsCtx_Destroy(js);
    natsConnection_Destroy(nc);
    return s == NATS_OK ? 0 : 1;
}

int cbench_floor_coordinator(const char *url, bool pipelined) {
    floor_state floor = {.pipelined = pipelined};
    jsOptions options;
    jsOptions_Init(&options);
    options.PublishAsync.MaxPending = 8192;
    options.PublishAsync.StallWait = 5000;
    options.PublishAsync.AckHandler = on_ack;
    options.PublishAsync.AckHandlerClosure = &floor;
    natsSubscription *sub = NULL;
    jsSubOptions how;
    jsSubOptions_Init(&how);
    how.Stream = "FLOOR_ALERTS";
    how.ManualAck = true;
    how.Config.Durable = "coordinator";
    how.Config.MaxAckPending = 20000;
    natsStatus s = open_connection(&floor.nc, url, true);
    if (s == NATS_OK) s = natsConnection_JetStream(&floor.js, floor.nc, &options);
    if (s == NATS_OK)
        s = js_Subscribe(&sub, floor.js, "floor.alert.*", on_alert, &floor, NULL, &how, NULL);
    if (s != NATS_OK) {
        fprintf(stderr, "floor: %s\n", natsStatus_GetText(s));
        return 1;
    }
    natsSubscription_SetPendingLimits(sub, -1, -1);
    natsConnection_Flush(floor.nc);
    puts("ready");
    fflush(stdout);
    for (;;) pause();
}

// MARK: The load

static int by_value(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void answer(natsConnection *nc, const char *space, const char *node, natsMsg *msg) {
    const char *data = natsMsg_GetData(msg);
    const char *id = strstr(data, "\"action_id\":\"");
    if (id == NULL) return;
    id += strlen("\"action_id\":\"");
    const char *end = strchr(id, '"');
    if (end == NULL) return;
    char subject[128], payload[512];
    snprintf(subject, sizeof subject, "%s.result.%s", space, node);
    int length = snprintf(
        payload, sizeof payload,
        "{\"action_id\":\"%.*s\",\"status\":\"done\",\"outcome\":\"succeeded\",\"undo\":{}}",
        (int)(end - id), id);
    natsConnection_Publish(nc, subject, payload, length);
}

static const char alert[] =
    "{\"agent_id\":\"thermal-sentinel\",\"type\":\"thermal\",\"severity\":\"critical\","
    "\"message\":\"CPU temperature 87.5 °C exceeds critical threshold\","
    "\"details\":{\"sensor\":\"cpu\",\"temperature\":87.5,\"threshold\":85}}";

int cbench_heal(
    const char *url, const char *space, const char *prefix, int count, int window, bool answers,
    cbench_result *result) {
    memset(result, 0, sizeof *result);
    natsConnection *nc = NULL;
    natsSubscription *sub = NULL;
    char subject[128], head[128];
    snprintf(subject, sizeof subject, "%s.command.*", space);
    natsStatus s = open_connection(&nc, url, window == 1);
    if (s == NATS_OK) s = natsConnection_SubscribeSync(&sub, nc, subject);
    if (s == NATS_OK) s = natsSubscription_SetPendingLimits(sub, -1, -1);
    if (s == NATS_OK) s = natsConnection_Flush(nc);
    int64_t *sent_at = calloc((size_t)count, sizeof *sent_at);
    int64_t *latency = calloc((size_t)count, sizeof *latency);
    int head_length = snprintf(head, sizeof head, "%s.command.%s", space, prefix);
    int sent = 0;
    int64_t first = now_ns();
    while (s == NATS_OK && result->done < count) {
        while (sent < count && sent - result->done < window && s == NATS_OK) {
            snprintf(subject, sizeof subject, "%s.alert.%s%d", space, prefix, sent);
            sent_at[sent++] = now_ns();
            s = natsConnection_Publish(nc, subject, alert, (int)sizeof alert - 1);
        }
        natsMsg *msg = NULL;
        s = natsSubscription_NextMsg(&msg, sub, 60000);
        if (s != NATS_OK) break;
        const char *node = natsMsg_GetSubject(msg) + strlen(space) + strlen(".command.");
        int n = strncmp(natsMsg_GetSubject(msg), head, (size_t)head_length) == 0
            ? atoi(natsMsg_GetSubject(msg) + head_length) : -1;
        if (n >= 0 && n < sent && strstr(natsMsg_GetData(msg), "\"operation\"") == NULL) {
            if (latency[n] != 0) {
                result->doubled++;
            } else {
                int64_t now = now_ns();
                latency[n] = now - sent_at[n];
                result->done++;
                result->elapsed = now - first;
                if (answers) answer(nc, space, node, msg);
            }
        }
        natsMsg_Destroy(msg);
    }
    int64_t k = 0;
    for (int i = 0; i < count; i++)
        if (latency[i] != 0) latency[k++] = latency[i];
    qsort(latency, (size_t)k, sizeof *latency, by_value);
    if (k > 0) {
        result->p50 = latency[k / 2];
        result->p99 = latency[k * 99 / 100];
    }
    free(sent_at);
    free(latency);
    if (nc != NULL) natsConnection_Flush(nc);
    natsSubscription_Destroy(sub);
    natsConnection_Destroy(nc);
    return result->done == count ? 0 : 1;
}

int cbench_alerts(const char *url, const char *prefix, int count) {
    natsConnection *nc = NULL;
    natsStatus s = open_connection(&nc, url, false);
    char subject[128];
    for (int i = 0; i < count && s == NATS_OK; i++) {
        snprintf(subject, sizeof subject, "skos.alert.%s%d", prefix, i);
        s = natsConnection_Publish(nc, subject, alert, (int)sizeof alert - 1);
    }
    if (s == NATS_OK) s = natsConnection_FlushTimeout(nc, 30000);
    natsConnection_Destroy(nc);
    return s == NATS_OK ? 0 : 1;
}

int cbench_forget(const char *url, const char *stream) {
    natsConnection *nc = NULL;
    jsCtx *js = NULL;
    natsStatus s = open_connection(&nc, url, true);
    if (s == NATS_OK) s = natsConnection_JetStream(&js, nc, NULL);
    if (s == NATS_OK) s = js_DeleteStream(js, stream, NULL, NULL);
    jsCtx_Destroy(js);
    natsConnection_Destroy(nc);
    return s == NATS_OK ? 0 : 1;
}

int64_t cbench_heartbeats(const char *url, int agents, int rate, double seconds) {
    natsConnection *nc = NULL;
    if (open_connection(&nc, url, false) != NATS_OK) return -1;
    int64_t start = now_ns(), sent = 0, end = start + (int64_t)(seconds * 1e9);
    char subject[64], payload[512];
    for (int64_t now = start; now < end; now = now_ns()) {
        // A batch every 5 ms keeps the rate without waking for each.
        int64_t due = (now - start) * rate / INT64_C(1000000000);
        for (; sent < due; sent++) {
            int agent = (int)(sent % agents);
            snprintf(subject, sizeof subject, "skos.heartbeat.h%d", agent);
            int length = snprintf(
                payload, sizeof payload,
                "{\"agent_id\":\"thermal-sentinel-h%d\",\"agent_type\":\"thermal_sentinel\","
                "\"node\":\"h%d\",\"timestamp\":\"2024-01-01T00:00:00Z\",\"cpu_temp\":65.5,"
                "\"gpu_temp\":70.2,\"metadata\":{}}",
                agent, agent);
            if (natsConnection_Publish(nc, subject, payload, length) != NATS_OK) return -1;
        }
        usleep(5000);
    }
    natsConnection_FlushTimeout(nc, 5000);
    natsConnection_Destroy(nc);
    return sent;
}
