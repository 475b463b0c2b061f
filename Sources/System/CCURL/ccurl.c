#define CURL_DISABLE_TYPECHECK
#define CURL_DISABLE_DEPRECATION
#include "ccurl.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <string.h>

static CURLcode (*global_init)(long);
static CURL *(*easy_init)(void);
static CURLcode (*easy_setopt)(CURL *, CURLoption, ...);
static CURLcode (*easy_perform)(CURL *);
static CURLcode (*easy_getinfo)(CURL *, CURLINFO, ...);
static void (*easy_cleanup)(CURL *);
static const char *(*easy_strerror)(CURLcode);
static struct curl_slist *(*slist_append)(struct curl_slist *, const char *);
static void (*slist_free_all)(struct curl_slist *);

// A function's address in an object pointer's place: POSIX has dlsym so.
static int find(void *library, const char *name, void *place) {
    void *address = dlsym(library, name);
    memcpy(place, &address, sizeof address);
    return address != NULL;
}

const char *skos_curl_load(const char *name) {
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        const char *reason = dlerror();
        return reason != NULL ? reason : "it cannot be loaded";
    }
    if (!find(library, "curl_global_init", &global_init) ||
        !find(library, "curl_easy_init", &easy_init) ||
        !find(library, "curl_easy_setopt", &easy_setopt) ||
        !find(library, "curl_easy_perform", &easy_perform) ||
        !find(library, "curl_easy_getinfo", &easy_getinfo) ||
        !find(library, "curl_easy_cleanup", &easy_cleanup) ||
        !find(library, "curl_easy_strerror", &easy_strerror) ||
        !find(library, "curl_slist_append", &slist_append) ||
        !find(library, "curl_slist_free_all", &slist_free_all)) {
        dlclose(library);
        return "it is no libcurl";
    }
    if (global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        dlclose(library);
        return "curl_global_init failed";
    }
    return NULL;
}

struct reply {
    size_t limit;
    size_t bytes;
};

// The reply is of no interest beyond its status. Taking less than what came ends the transfer.
static size_t take(char *data, size_t size, size_t count, void *context) {
    (void)data;
    struct reply *reply = context;
    reply->bytes += size * count;
    return reply->bytes > reply->limit ? 0 : size * count;
}

static void configure(CURL *curl, const struct skos_curl_post *post, struct reply *reply,
                      char *error) {
    easy_setopt(curl, CURLOPT_ERRORBUFFER, error);
    // Timeouts without signals, which threads share.
    easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    easy_setopt(curl, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
    easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
    easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    easy_setopt(curl, CURLOPT_HTTP09_ALLOWED, 0L);
    easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L);
    easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L);
    // Whatever http_proxy says.
    easy_setopt(curl, CURLOPT_PROXY, "");
    easy_setopt(curl, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, post->connect_ms);
    easy_setopt(curl, CURLOPT_TIMEOUT_MS, post->total_ms);
    easy_setopt(curl, CURLOPT_USERAGENT, post->user_agent);
    easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    easy_setopt(curl, CURLOPT_WRITEDATA, reply);
    easy_setopt(curl, CURLOPT_POST, 1L);
    easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)post->body_bytes);
    easy_setopt(curl, CURLOPT_POSTFIELDS, post->body);
}

void skos_curl_send(const struct skos_curl_post *post, struct skos_curl_answer *answer) {
    memset(answer, 0, sizeof *answer);
    char error[CURL_ERROR_SIZE] = "";
    struct reply reply = {.limit = post->reply_bytes, .bytes = 0};
    CURL *curl = easy_init();
    if (curl == NULL) {
        answer->code = CURLE_OUT_OF_MEMORY;
        strcpy(answer->error, "libcurl has no memory");
        return;
    }
    // Without it a large body would wait for the server's permission.
    struct curl_slist *headers = slist_append(NULL, "Expect:");
    for (size_t index = 0; index < post->header_count && headers != NULL; index++) {
        struct curl_slist *longer = slist_append(headers, post->headers[index]);
        if (longer == NULL) slist_free_all(headers);
        headers = longer;
    }
    CURLcode code = CURLE_OUT_OF_MEMORY;
    if (headers != NULL) {
        configure(curl, post, &reply, error);
        easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
        // An address that does not fit is refused here.
        code = easy_setopt(curl, CURLOPT_URL, post->url);
        if (code == CURLE_OK) code = easy_perform(curl);
    }
    easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer->status);
    answer->code = (int)code;
    if (code != CURLE_OK) {
        const char *text = error[0] != '\0' ? error : easy_strerror(code);
        strncpy(answer->error, text, sizeof answer->error - 1);
    }
    easy_cleanup(curl);
    slist_free_all(headers);
}
