// How soon a link that goes down is an alert.
#ifndef CBENCH_LINKS_H
#define CBENCH_LINKS_H
#include <stdint.h>

/// Switches the interface `name` off and on, `count` times. Each time: how long it took from the system
/// call until the kernel's word about it was read from a netlink socket (`floor_ns`), and until an alert
/// `tunnel_down` came from NATS (`alert_ns`). Returns 0 when there was one each time.
int cbench_links(
    const char *url, const char *name, int count, int64_t *floor_ns, int64_t *alert_ns);
#endif
