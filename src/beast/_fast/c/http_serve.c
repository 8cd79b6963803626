#include "http_serve.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "usage_send.h"
#include "worker.h"

/* Bytes of one connection on their way through one round: all that came in, how much of it is answered, and what
 * of the answers is not yet sent. */
typedef struct turn {
    const uint8_t *in;
    uint32_t in_len, answered;
    uint32_t out_len;
    bool failed; /* the client is gone */
} turn;

/* An answer is paid for once the kernel has its last byte. */
static void book(beast_lane *lane, uint32_t sent)
{
    uint32_t *end = beast_usage_flight(lane->usage)->end, owed = beast_usage_unsent(lane->usage), n = 0;
    while (n < owed && end[n] <= sent)
        n++;
    beast_lane_sent(lane, n);
    for (uint32_t i = n; i < owed; i++)
        end[i - n] = end[i] - sent;
}

static void send_answers(beast_http *http, const beast_http_conn *conn, turn *now)
{
    if (now->out_len == 0)
        return;
    beast_usage_ring *ring = http->lane->usage;
    ssize_t sent = beast_usage_send(ring, conn->fd, http->out, now->out_len, beast_usage_unsent(ring), 0);
    now->failed = sent < 0 && errno != EAGAIN && errno != EINTR;
    book(http->lane, sent > 0 ? (uint32_t)sent : 0);
    if (sent <= 0)
        return;
    now->out_len -= (uint32_t)sent;
    if (now->out_len > 0)
        memmove(http->out, http->out + sent, now->out_len);
}

/* The last answer before the lane leaves says so, where nothing that came is left to answer. */
static bool is_last(const beast_http *http, const turn *now, bool more)
{
    return http->request.close ||
           (http->draining && !more && now->answered + http->request.consumed == now->in_len);
}

/* False: the turn ends here. */
static bool answer_one(beast_http *http, beast_http_conn *conn, turn *now, bool more)
{
    const beast_lane *lane = http->lane;
    beast_reply reply;
    switch (beast_http_recognise(now->in + now->answered, now->in_len - now->answered, &http->request)) {
    case BEAST_HTTP_MORE:
        return false;
    case BEAST_HTTP_OTHER:
        conn->leaving = true;
        return false;
    case BEAST_HTTP_HOT:
        break;
    }
    bool close = is_last(http, now, more);
    now->out_len += beast_http_answer(&http->heads, http->lane, &http->request.price, conn->fd, close, &http->moment,
                                      http->out + now->out_len, &reply);
    if (reply.missed) {
        conn->leaving = true; /* the ASGI side asks the slower tiers */
        return false;
    }
    if (reply.recorded)
        beast_usage_flight(lane->usage)->end[beast_usage_unsent(lane->usage) - 1] = now->out_len;
    now->answered += http->request.consumed;
    conn->closing = close;
    return !close;
}

static bool has_room(const beast_http *http, const turn *now)
{
    return now->out_len <= BEAST_HTTP_WRITE - BEAST_HTTP_ANSWER_MAX && beast_usage_unsent(http->lane->usage) < BEAST_FLIGHT_ENDS;
}

/* As many requests as are whole, as long as the client takes the answers. */
static void answer_all(beast_http *http, beast_http_conn *conn, turn *now, bool more)
{
    do {
        while (now->answered < now->in_len && has_room(http, now))
            if (!answer_one(http, conn, now, more)) {
                send_answers(http, conn, now);
                return;
            }
        send_answers(http, conn, now);
    } while (now->out_len == 0 && !now->failed && now->answered < now->in_len);
}

/* TCP has no stamp of the kernel's for a request: its time begins when this lane learnt that bytes are there, so that
 * what it did for others of the round counts, and ends when the kernel has all answers. */
static void record_latency(beast_http *http, const turn *now)
{
    bool answered = now->answered > 0 && now->out_len == 0 && !now->failed;
    if (http->sample_every == 0 || !answered || ++http->answered < http->sample_every)
        return;
    http->answered = 0;
    beast_histogram_add(&http->lane->latency, beast_moment_now().now_ns - http->moment.now_ns);
}

/* Everything it was owed is sent: away with it, and with the bytes that nobody has answered. */
static void hand_over(beast_http *http, beast_http_conn *conn, const uint8_t *unread, uint32_t len)
{
    beast_lane *lane = http->lane;
    epoll_ctl(http->epoll_fd, EPOLL_CTL_DEL, conn->fd, NULL);
    if (beast_handover_give(lane->handovers, conn->fd, unread, len, lane->shared->wake_fd) != BEAST_OK) {
        beast_count(&lane->counters, BEAST_COUNTER_http_overloaded, 1);
        if (beast_http_recognise(unread, len, &http->request) == BEAST_HTTP_HOT) {
            len = beast_http_unavailable(&http->heads, lane, &http->request.price, true, http->out);
            send(conn->fd, http->out, len, MSG_NOSIGNAL);
        }
        beast_http_conn_close(&http->pool, conn);
        return;
    }
    beast_count(&lane->counters, BEAST_COUNTER_http_handed_over, 1);
    beast_http_conn_forget(&http->pool, conn);
}

/* Answers `in`, and leaves the connection waiting for whatever has to come next. `more`: the kernel may hold more
 * of it already. */
static void take_turn(beast_http *http, beast_http_conn *conn, uint32_t len, bool more)
{
    turn now = {.in = http->in, .in_len = len};
    int64_t now_ns = http->moment.now_ns;
    answer_all(http, conn, &now, more);
    record_latency(http, &now);
    const uint8_t *rest = now.in + now.answered;
    uint32_t rest_len = now.in_len - now.answered;
    if (now.failed) {
        beast_lane_unsent(http->lane, beast_usage_unsent(http->lane->usage));
        beast_http_conn_close(&http->pool, conn);
    } else if (now.out_len > 0) {
        beast_http_keep_unsent(&http->pool, conn, http->out, now.out_len, now_ns);
        beast_http_keep_unread(&http->pool, conn, rest, rest_len);
        beast_http_conn_wait(&http->pool, conn, BEAST_HTTP_WAIT_SEND, true, now_ns);
    } else if (conn->leaving) {
        hand_over(http, conn, rest, rest_len);
    } else if (conn->closing || (http->draining && rest_len == 0 && !more)) {
        beast_http_conn_close(&http->pool, conn);
    } else {
        beast_http_keep_unread(&http->pool, conn, rest, rest_len);
        beast_http_conn_wait(&http->pool, conn, rest_len ? BEAST_HTTP_WAIT_HEAD : BEAST_HTTP_WAIT_IDLE,
                             now.answered > 0, now_ns);
        if (more)
            beast_http_make_ready(&http->pool, conn);
    }
}

void beast_http_serve(beast_http *http, beast_http_conn *conn, bool ending)
{
    uint32_t kept = conn->unread_len, room = BEAST_HTTP_READ - kept;
    if (conn->unsent)
        return; /* reading goes on when it has read */
    ssize_t got = recv(conn->fd, http->in + kept, room, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        if (http->draining && kept == 0)
            beast_http_conn_close(&http->pool, conn);
        return;
    }
    if (got <= 0) {
        beast_http_conn_close(&http->pool, conn);
        return;
    }
    if (kept > 0)
        memcpy(http->in, conn->unread, kept);
    /* A short read emptied the socket: a second one would bring nothing, but for the end that was announced. */
    take_turn(http, conn, kept + (uint32_t)got, ending || (uint32_t)got == room);
}

/* The records of what a slow reader is still owed, in the lane's ring for the time of one send of bytes from `at` on. */
static uint32_t claim_again(beast_lane *lane, const beast_http_unsent *unsent, uint32_t at)
{
    uint32_t n = 0;
    for (uint32_t i = unsent->booked; i < unsent->owed; i++, n++) {
        if (!beast_usage_claim_again(lane->usage, &unsent->record[i]))
            break;
        beast_usage_flight(lane->usage)->end[n] = unsent->end[i] - at;
    }
    return n;
}

/* All answers up to `len` are sent: `claimed` of their records are in the ring, others found no room there. */
static void book_again(beast_lane *lane, beast_http_unsent *unsent, uint32_t claimed, uint32_t len)
{
    uint32_t done = 0;
    while (unsent->booked + done < unsent->owed && unsent->end[unsent->booked + done] <= len)
        done++;
    uint32_t sent = done < claimed ? done : claimed;
    beast_lane_sent(lane, sent);
    beast_usage_drop(lane->usage, claimed - sent);
    for (uint32_t lost = sent; lost < done; lost++) {
        beast_usage_lose(lane->usage);
        beast_count(&lane->counters, BEAST_COUNTER_usage_lost, 1);
    }
    unsent->booked += done;
}

static ssize_t send_again(beast_http *http, const beast_http_conn *conn)
{
    beast_lane *lane = http->lane;
    beast_http_unsent *unsent = conn->unsent;
    uint32_t at = conn->unsent_at, claimed = claim_again(lane, unsent, at);
    beast_usage_received(lane->usage, unsent->received_ns);
    ssize_t sent = beast_usage_send(lane->usage, conn->fd, unsent->bytes + at, conn->unsent_len - at, claimed, 0);
    int error = errno;
    book_again(lane, unsent, claimed, at + (sent > 0 ? (uint32_t)sent : 0));
    beast_usage_received(lane->usage, http->moment.now_ns);
    errno = error;
    return sent;
}

void beast_http_resume(beast_http *http, beast_http_conn *conn)
{
    ssize_t sent = send_again(http, conn);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (sent < 0) {
        beast_http_conn_close(&http->pool, conn);
        return;
    }
    conn->unsent_at += (uint32_t)sent & 0x1FFFF;
    if (conn->unsent_at < conn->unsent_len)
        return;
    beast_http_drop_unsent(&http->pool, conn);
    uint32_t kept = conn->unread_len;
    if (kept > 0)
        memcpy(http->in, conn->unread, kept);
    if (conn->leaving)
        hand_over(http, conn, http->in, kept);
    else if (conn->closing)
        beast_http_conn_close(&http->pool, conn);
    else
        take_turn(http, conn, kept, true);
}
