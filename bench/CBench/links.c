#include "cbench_links.h"
#include "support.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct {
    unsigned index;
    int netlink;
    // When the link was last heard to be off; 0: not yet.
    _Atomic int64_t heard;
} listener;

static void *listen_to_links(void *closure) {
    listener *l = closure;
    char buffer[65536];
    for (;;) {
        ssize_t got = recv(l->netlink, buffer, sizeof buffer, 0);
        if (got <= 0) return NULL;
        size_t left = (size_t)got;
        for (struct nlmsghdr *m = (struct nlmsghdr *)buffer; NLMSG_OK(m, left);
             m = NLMSG_NEXT(m, left)) {
            struct ifinfomsg *info = NLMSG_DATA(m);
            if (m->nlmsg_type != RTM_NEWLINK || (unsigned)info->ifi_index != l->index) continue;
            int64_t none = 0;
            if (!(info->ifi_flags & IFF_UP))
                atomic_compare_exchange_strong(&l->heard, &none, now_ns());
        }
    }
}

static int set_up(const char *name, int up) {
    struct ifreq request = {0};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int failed = s < 0 || ioctl(s, SIOCGIFFLAGS, &request) != 0;
    if (!failed) {
        request.ifr_flags = (short)(up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP);
        failed = ioctl(s, SIOCSIFFLAGS, &request) != 0;
    }
    if (s >= 0) close(s);
    return failed;
}

/// Waits for an alert about the tunnel that says it is down, or that it is up.
static int64_t alert(natsSubscription *sub, bool is_down) {
    int64_t end = now_ns() + INT64_C(10000000000);
    while (now_ns() < end) {
        natsMsg *msg = NULL;
        if (natsSubscription_NextMsg(&msg, sub, 1000) != NATS_OK) continue;
        int64_t now = now_ns();
        char text[4096];
        snprintf(
            text, sizeof text, "%.*s", natsMsg_GetDataLength(msg), natsMsg_GetData(msg));
        natsMsg_Destroy(msg);
        bool is_ok = strstr(text, "\"severity\":\"ok\"") != NULL;
        if (strstr(text, "tunnel_down") != NULL && is_ok != is_down) return now;
    }
    return 0;
}

int cbench_links(
    const char *url, const char *name, int count, int64_t *floor_ns, int64_t *alert_ns) {
    natsConnection *nc = NULL;
    natsSubscription *sub = NULL;
    listener l = {.index = if_nametoindex(name)};
    l.netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};
    if (l.index == 0 || bind(l.netlink, (struct sockaddr *)&address, sizeof address) != 0) return 1;
    if (open_connection(&nc, url, true) != NATS_OK) return 1;
    if (natsConnection_SubscribeSync(&sub, nc, "skos.alert.>") != NATS_OK) return 1;
    natsConnection_Flush(nc);
    pthread_t thread;
    pthread_create(&thread, NULL, listen_to_links, &l);
    int failed = 0;
    for (int i = 0; i < count && !failed; i++) {
        // Links that have come to rest, as they are when something breaks.
        usleep(700000);
        atomic_store(&l.heard, 0);
        int64_t start = now_ns();
        failed = set_up(name, 0);
        int64_t came = failed ? 0 : alert(sub, true);
        floor_ns[i] = atomic_load(&l.heard) - start;
        alert_ns[i] = came - start;
        failed = failed || came == 0 || floor_ns[i] < 0;
        usleep(700000);
        failed = failed || set_up(name, 1) || alert(sub, false) == 0;
    }
    shutdown(l.netlink, SHUT_RDWR);
    pthread_cancel(thread);
    pthread_join(thread, NULL);
    close(l.netlink);
    natsSubscription_Destroy(sub);
    natsConnection_Destroy(nc);
    return failed;
}
