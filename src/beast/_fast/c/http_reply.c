#include "http_reply.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const char until_length[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ";

static void write_date(char out[32], int64_t second)
{
    static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t at = (time_t)second;
    struct tm utc;
    gmtime_r(&at, &utc);
    snprintf(out, 32, "%.3s, %02u %.3s %04u %02u:%02u:%02u GMT", days + 3 * utc.tm_wday, (unsigned)utc.tm_mday % 100,
             months + 3 * utc.tm_mon, (unsigned)(utc.tm_year + 1900) % 10000, (unsigned)utc.tm_hour % 100,
             (unsigned)utc.tm_min % 100, (unsigned)utc.tm_sec % 100);
}

void beast_http_heads_refresh(beast_http_heads *heads, int64_t wall_ns)
{
    int64_t second = wall_ns / 1000000000;
    if (second == heads->second)
        return;
    heads->second = second;
    if (second >= heads->month.end || second < heads->month.begin)
        heads->month = beast_month_of(second);
    write_date(heads->date, second);
    heads->length_at = sizeof until_length - 1;
    heads->usual_len = (uint32_t)snprintf(heads->usual, sizeof heads->usual,
                                          "%s000\r\nCache-Control: no-store\r\nDate: %s\r\n\r\n", until_length,
                                          heads->date);
}

static uint32_t write_head(const beast_http_heads *heads, const beast_reply *reply, const char *lines, bool close,
                           char *out)
{
    const beast_result_info *info = beast_result_describe(reply->result);
    return (uint32_t)snprintf(out, BEAST_HTTP_HEADERS_MAX,
                              "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %u\r\n"
                              "Cache-Control: no-store\r\nDate: %s\r\n%s%s\r\n",
                              info->http, info->reason, reply->len, heads->date, lines,
                              close ? "Connection: close\r\n" : "");
}

/* Puts the head before a body that stands where the usual head would end, unless there is more to tell. */
static uint32_t put_head(const beast_http_heads *heads, const beast_lane *lane, const beast_reply *reply, bool close,
                         const beast_moment *moment, uint8_t *out)
{
    uint8_t lines[BEAST_LIMIT_LINES_MAX + 1];
    uint32_t lines_len = beast_limit_lines(lane->shared, reply, moment, &heads->month, lines);
    if (reply->result == BEAST_RESULT_ANSWERED && !close && reply->len >= 100 && reply->len <= 999) {
        if (lines_len) {
            uint8_t *body = out + heads->usual_len;
            memmove(body + lines_len, body, reply->len);
            memcpy(body - 2, lines, lines_len); /* before the empty line */
            memcpy(body - 2 + lines_len, "\r\n", 2);
        }
        memcpy(out, heads->usual, heads->usual_len - (lines_len ? 2 : 0));
        uint8_t *digits = out + heads->length_at;
        digits[0] = (uint8_t)('0' + reply->len / 100);
        digits[1] = (uint8_t)('0' + reply->len / 10 % 10);
        digits[2] = (uint8_t)('0' + reply->len % 10);
        return heads->usual_len + lines_len + reply->len;
    }
    char head[BEAST_HTTP_HEADERS_MAX];
    lines[lines_len] = 0;
    uint32_t len = write_head(heads, reply, (const char *)lines, close, head);
    memmove(out + len, out + heads->usual_len, reply->len);
    memcpy(out, head, len);
    return len + reply->len;
}

static void count(beast_lane *lane, beast_result result)
{
    bool answered = result == BEAST_RESULT_ANSWERED;
    beast_count(&lane->counters, BEAST_COUNTER_tcp_requests, 1);
    beast_count(&lane->counters, answered ? BEAST_COUNTER_http_answered : BEAST_COUNTER_http_refused, 1);
}

uint32_t beast_http_answer(const beast_http_heads *heads, beast_lane *lane, const beast_request *req, int fd, bool close,
                           const beast_moment *moment, uint8_t *out, beast_reply *reply)
{
    beast_lookup lookup;
    lookup.peer = NULL;
    lookup.fd = fd;
    beast_answer_prefetch(lane, req, &lookup);
    beast_answer_body(lane, req, &lookup, NULL, moment, out + heads->usual_len, reply);
    if (reply->missed)
        return 0;
    count(lane, reply->result);
    return put_head(heads, lane, reply, close, moment, out);
}

uint32_t beast_http_unavailable(const beast_http_heads *heads, beast_lane *lane, const beast_request *req, bool close,
                                uint8_t *out)
{
    const beast_moment unknown = {0};
    beast_reply reply = {.result = BEAST_RESULT_UNAVAILABLE};
    reply.len = beast_answer_error(req, reply.result, 0, true, out + heads->usual_len);
    count(lane, reply.result);
    return put_head(heads, lane, &reply, close, &unknown, out);
}
