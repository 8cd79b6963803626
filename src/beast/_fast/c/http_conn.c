#include "http_conn.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Buffers of each kind: enough for every slow head or slow reader that deserves patience. Memory that was never
 * used is never committed. */
#define BUFFERS_MAX 1024u

_Static_assert(sizeof(beast_http_conn) <= BEAST_CACHE_LINE, "idle connections must be cheap");
_Static_assert(BEAST_HTTP_WRITE < 1 << 17, "unsent_at and unsent_len must hold it");
_Static_assert(BEAST_HTTP_READ < 1 << 15, "unread_len must hold it");

static bool buffers_open(beast_http_buffers *buffers, uint32_t count, size_t size)
{
    buffers->memory = malloc(count * size);
    buffers->free = NULL;
    if (!buffers->memory)
        return false;
    for (uint32_t i = count; i-- > 0;) {
        void *buffer = buffers->memory + i * size;
        *(void **)buffer = buffers->free;
        buffers->free = buffer;
    }
    return true;
}

static void *take_buffer(beast_http_buffers *buffers)
{
    void *buffer = buffers->free;
    if (buffer)
        buffers->free = *(void **)buffer;
    return buffer;
}

static void give_buffer(beast_http_buffers *buffers, void *buffer)
{
    if (!buffer)
        return;
    *(void **)buffer = buffers->free;
    buffers->free = buffer;
}

static void unlink_wait(beast_http_conn *conn)
{
    conn->prev->next = conn->next;
    conn->next->prev = conn->prev;
}

static void append_wait(beast_http_conn *ring, beast_http_conn *conn)
{
    conn->prev = ring->prev;
    conn->next = ring;
    ring->prev->next = conn;
    ring->prev = conn;
}

bool beast_http_pool_open(beast_http_pool *pool, beast_lane *lane, const beast_http_config *config)
{
    uint32_t buffers = config->max_connections < BUFFERS_MAX ? config->max_connections : BUFFERS_MAX;
    memset(pool, 0, sizeof *pool);
    pool->lane = lane;
    pool->sources = config->sources;
    pool->max = config->max_connections;
    pool->limit_ns[BEAST_HTTP_WAIT_IDLE] = config->idle_ns;
    pool->limit_ns[BEAST_HTTP_WAIT_HEAD] = config->head_ns;
    pool->limit_ns[BEAST_HTTP_WAIT_SEND] = config->send_ns;
    for (int i = 0; i < BEAST_HTTP_WAITS; i++)
        pool->waits[i].prev = pool->waits[i].next = &pool->waits[i];
    pool->slots = aligned_alloc(BEAST_CACHE_LINE, (size_t)pool->max * sizeof *pool->slots);
    if (!pool->slots)
        return false;
    memset(pool->slots, 0, (size_t)pool->max * sizeof *pool->slots);
    for (uint32_t i = pool->max; i-- > 0;) {
        pool->slots[i].next = pool->free_slots;
        pool->free_slots = &pool->slots[i];
    }
    return buffers_open(&pool->reads, buffers, BEAST_HTTP_READ) &&
           buffers_open(&pool->writes, buffers, sizeof(beast_http_unsent));
}

void beast_http_pool_close(beast_http_pool *pool)
{
    for (uint32_t i = 0; pool->slots && i < pool->max; i++)
        if (pool->slots[i].open)
            beast_http_conn_close(pool, &pool->slots[i]);
    free(pool->slots);
    free(pool->reads.memory);
    free(pool->writes.memory);
}

beast_http_conn *beast_http_conn_open(beast_http_pool *pool, int fd, const struct sockaddr *peer, int64_t now_ns)
{
    beast_counters *counters = &pool->lane->counters;
    beast_http_conn *conn = pool->free_slots;
    uint32_t source = 0;
    if (!conn) {
        beast_count(counters, BEAST_COUNTER_http_overloaded, 1);
        return NULL;
    }
    if (pool->sources && !beast_http_sources_enter(pool->sources, peer, &source)) {
        beast_count(counters, BEAST_COUNTER_http_source_limited, 1);
        return NULL;
    }
    beast_count(counters, BEAST_COUNTER_http_accepted, 1);
    pool->free_slots = conn->next;
    pool->open++;
    *conn = (beast_http_conn){
        .fd = fd, .open = true, .wait = BEAST_HTTP_WAIT_IDLE, .since_ns = now_ns, .source = source};
    append_wait(&pool->waits[BEAST_HTTP_WAIT_IDLE], conn);
    return conn;
}

static void drop_ready(beast_http_pool *pool, beast_http_conn *conn)
{
    beast_http_conn *before = NULL;
    for (beast_http_conn *at = pool->ready_first; at != conn; at = at->next_ready)
        before = at;
    *(before ? &before->next_ready : &pool->ready_first) = conn->next_ready;
    if (pool->ready_last == conn)
        pool->ready_last = before;
}

void beast_http_conn_forget(beast_http_pool *pool, beast_http_conn *conn)
{
    if (conn->ready)
        drop_ready(pool, conn);
    if (pool->sources)
        beast_http_sources_leave(pool->sources, conn->source);
    unlink_wait(conn);
    give_buffer(&pool->reads, conn->unread);
    beast_http_drop_unsent(pool, conn);
    conn->open = false;
    conn->next = pool->free_slots;
    pool->free_slots = conn;
    pool->open--;
}

void beast_http_conn_close(beast_http_pool *pool, beast_http_conn *conn)
{
    close(conn->fd); /* which takes it out of epoll, too */
    beast_count(&pool->lane->counters, BEAST_COUNTER_http_closed, 1);
    beast_http_conn_forget(pool, conn);
}

void beast_http_conn_wait(beast_http_pool *pool, beast_http_conn *conn, beast_http_wait wait, bool restart,
                          int64_t now_ns)
{
    if (conn->wait == wait && !restart)
        return;
    unlink_wait(conn);
    conn->wait = (uint8_t)wait;
    conn->since_ns = now_ns;
    append_wait(&pool->waits[wait], conn);
}

/* Who has waited longest for a head gives way first: it is the likeliest not to mean well. */
static void make_room(beast_http_pool *pool, const beast_http_conn *conn, bool unread)
{
    for (int wait = unread ? BEAST_HTTP_WAIT_HEAD : BEAST_HTTP_WAIT_SEND; wait < BEAST_HTTP_WAITS; wait++) {
        const beast_http_conn *ring = &pool->waits[wait];
        for (beast_http_conn *at = ring->next; at != ring; at = at->next)
            if (at != conn && (unread ? at->unread != NULL : at->unsent != NULL)) {
                beast_count(&pool->lane->counters, BEAST_COUNTER_http_overloaded, 1);
                beast_http_conn_close(pool, at);
                return;
            }
    }
}

void beast_http_keep_unread(beast_http_pool *pool, beast_http_conn *conn, const uint8_t *bytes, uint32_t len)
{
    conn->unread_len = len & 0x7FFF;
    if (len == 0) {
        give_buffer(&pool->reads, conn->unread);
        conn->unread = NULL;
        return;
    }
    if (!conn->unread && !(conn->unread = take_buffer(&pool->reads))) {
        make_room(pool, conn, true);
        conn->unread = take_buffer(&pool->reads);
    }
    memcpy(conn->unread, bytes, len);
}

void beast_http_keep_unsent(beast_http_pool *pool, beast_http_conn *conn, const uint8_t *bytes, uint32_t len,
                            int64_t received_ns)
{
    beast_usage_ring *ring = pool->lane->usage;
    beast_http_unsent *unsent;
    if (!conn->unsent && !(conn->unsent = take_buffer(&pool->writes))) {
        make_room(pool, conn, false);
        conn->unsent = take_buffer(&pool->writes);
    }
    unsent = conn->unsent;
    conn->unsent_at = 0;
    conn->unsent_len = len & 0x1FFFF;
    memcpy(unsent->bytes, bytes, len);
    unsent->owed = beast_usage_unsent(ring);
    unsent->booked = 0;
    unsent->received_ns = received_ns;
    memcpy(unsent->end, beast_usage_flight(ring)->end, unsent->owed * sizeof *unsent->end);
    for (uint32_t i = 0; i < unsent->owed; i++)
        unsent->record[i] = *beast_usage_at(ring, i);
    beast_usage_drop(ring, unsent->owed);
}

void beast_http_drop_unsent(beast_http_pool *pool, beast_http_conn *conn)
{
    beast_http_unsent *unsent = conn->unsent;
    if (unsent)
        beast_lane_refund(pool->lane, unsent->record + unsent->booked, unsent->owed - unsent->booked);
    give_buffer(&pool->writes, unsent);
    conn->unsent = NULL;
    conn->unsent_at = conn->unsent_len = 0;
}

void beast_http_make_ready(beast_http_pool *pool, beast_http_conn *conn)
{
    if (conn->ready)
        return;
    conn->ready = true;
    conn->next_ready = NULL;
    *(pool->ready_last ? &pool->ready_last->next_ready : &pool->ready_first) = conn;
    pool->ready_last = conn;
}

beast_http_conn *beast_http_take_ready(beast_http_pool *pool)
{
    beast_http_conn *conn = pool->ready_first;
    if (!conn)
        return NULL;
    conn->ready = false;
    pool->ready_first = conn->next_ready;
    if (!pool->ready_first)
        pool->ready_last = NULL;
    return conn;
}

void beast_http_expire(beast_http_pool *pool, int64_t now_ns)
{
    for (int wait = 0; wait < BEAST_HTTP_WAITS; wait++) {
        const beast_http_conn *ring = &pool->waits[wait];
        while (ring->next != ring && now_ns - ring->next->since_ns >= pool->limit_ns[wait]) {
            beast_count(&pool->lane->counters, BEAST_COUNTER_http_timed_out, 1);
            beast_http_conn_close(pool, ring->next);
        }
    }
}
