// libcurl, loaded when it is first needed: linking it would cost every agent 2 MiB of memory, and no
// agent calls it. Its options also have variable arguments, which Swift cannot pass.
#ifndef SKOS_CCURL_H
#define SKOS_CCURL_H

#include <stddef.h>

/// One POST.
struct skos_curl_post {
    const char *url;
    /// Lines such as `Content-Type: application/json`.
    const char *const *headers;
    size_t header_count;
    const void *body;
    size_t body_bytes;
    const char *user_agent;
    long connect_ms;
    /// For all of it, connecting included.
    long total_ms;
    /// More than this of the reply is not read.
    size_t reply_bytes;
};

/// What came of it.
struct skos_curl_answer {
    /// libcurl's code; 0: the reply was read to its end.
    int code;
    /// The status of the reply, or 0 when there was none.
    long status;
    /// What went wrong, as libcurl says it.
    char error[256];
};

/// Loads the library. Returns NULL, or why that is not possible. Only to be called once it has not
/// worked, and by one thread at a time.
const char *skos_curl_load(const char *name);

/// Sends a request, and blocks until there is an answer or the time is over. It follows no redirect,
/// speaks HTTP and HTTPS only, verifies certificates, and uses no proxy and no files of the user. Only
/// to be called once the library is loaded.
void skos_curl_send(const struct skos_curl_post *post, struct skos_curl_answer *answer);

#endif
