/* Any bytes as an HTTP request: the recogniser stays inside them, more bytes never change a verdict that was one,
 * and nothing is hot that a plain reading of RFC 9112 would divide elsewhere. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http_request.h"

#define MUST(condition)                                                                           \
    do {                                                                                          \
        if (!(condition))                                                                         \
            abort();                                                                              \
    } while (0)

static uint8_t scratch[BEAST_HTTP_HEAD_MAX];

/* Line by line, the slow way: the head ends at `len`, every line ends in CRLF, and no field frames a body. */
static void check_head(const uint8_t *data, size_t len)
{
    size_t start = 0, lines = 0;
    int hosts = 0;
    for (size_t i = 0; i < len; i++) {
        MUST(data[i] == '\t' || data[i] == '\r' || data[i] == '\n' || (data[i] >= ' ' && data[i] < 0x7F));
        MUST((data[i] == '\r') == (i + 1 < len && data[i + 1] == '\n'));
        if (data[i] != '\n')
            continue;
        const char *line = (const char *)data + start;
        size_t line_len = i - 1 - start;
        MUST(lines == 0 || line_len > 0 || i + 1 == len);
        MUST(lines == 0 || (*line != ' ' && *line != '\t'));
        hosts += strncasecmp(line, "host:", 5) == 0;
        MUST(strncasecmp(line, "content-length", 14) != 0 || line[14] != ':');
        MUST(strncasecmp(line, "transfer-encoding", 17) != 0 || line[17] != ':');
        MUST(strncasecmp(line, "upgrade:", 8) != 0 && strncasecmp(line, "expect:", 7) != 0);
        start = i + 1;
        lines++;
    }
    MUST(hosts == 1 && start == len && memcmp(data + len - 4, "\r\n\r\n", 4) == 0);
    const uint8_t *line_end = memchr(data, '\r', len);
    MUST(memcmp(data, "GET /price", 10) == 0 && !memchr(data, '%', (size_t)(line_end - data)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static beast_http_request whole, part;
    whole.price.scratch = part.price.scratch = scratch;
    beast_http_verdict verdict = beast_http_recognise(data, size, &whole);
    size_t step = size / 64 + 1; /* every prefix of short inputs, some of long ones */
    beast_http_verdict before = BEAST_HTTP_MORE;
    for (size_t len = 0; len < size; len += step) {
        uint8_t *prefix = malloc(len + 1);
        memcpy(prefix, data, len);
        beast_http_verdict now = beast_http_recognise(prefix, len, &part);
        MUST(before == BEAST_HTTP_MORE || now == before);
        MUST(now == BEAST_HTTP_MORE || now == verdict);
        MUST(now != BEAST_HTTP_HOT || part.consumed == whole.consumed);
        before = now;
        free(prefix);
    }
    if (verdict == BEAST_HTTP_HOT) {
        MUST(whole.consumed <= size && whole.consumed <= BEAST_HTTP_HEAD_MAX);
        check_head(data, whole.consumed);
        MUST(whole.price.fault || (whole.price.n_assets >= 1 && whole.price.n_assets <= BEAST_ASSETS_MAX));
    }
    return 0;
}
