/* Connections of one HTTP lane: slots, buffers and clocks, all made at start. A connection without unread or unsent
 * bytes is one cache line. */
#ifndef BEAST_HTTP_CONN_H
#define BEAST_HTTP_CONN_H

#include "http_io.h"

#define BEAST_HTTP_READ 16384  /* what one read may bring, leftovers included */
#define BEAST_HTTP_WRITE 65536 /* answers of one read, collected before they are sent */

/* Answers that a slow reader has not taken yet. Their records are in no ring meanwhile, since the answers of other
 * connections come and go. */
typedef struct beast_http_unsent {
    uint8_t bytes[BEAST_HTTP_WRITE];
    uint32_t owed, booked; /* answers that have a record, and how many of them are sent, or lost */
    int64_t received_ns;   /* CLOCK_MONOTONIC: when the requests came */
    uint32_t end[BEAST_FLIGHT_ENDS]; /* of each answer in `bytes` */
    beast_usage record[BEAST_FLIGHT_ENDS];
} beast_http_unsent;

/* What a connection waits for. Each kind has one time limit, so its connections stand in order of expiry. */
typedef enum beast_http_wait {
    BEAST_HTTP_WAIT_IDLE, /* for a request to begin */
    BEAST_HTTP_WAIT_HEAD, /* for a request to be whole; it has unread bytes */
    BEAST_HTTP_WAIT_SEND, /* for the client to read; it has unsent bytes, and perhaps unread ones */
    BEAST_HTTP_WAITS
} beast_http_wait;

typedef struct beast_http_conn {
    struct beast_http_conn *prev, *next; /* of the same wait; `next` also chains free slots */
    struct beast_http_conn *next_ready;
    int64_t since_ns;                    /* CLOCK_MONOTONIC: when this wait began */
    uint8_t *unread;                     /* pooled buffers or NULL */
    beast_http_unsent *unsent;
    int fd;
    uint32_t source;                     /* beast_http_sources' name for where it comes from */
    uint32_t unsent_at : 17, wait : 2 /* beast_http_wait */, open : 1, closing : 1, leaving : 1, ready : 1;
    uint32_t unsent_len : 17, unread_len : 15;
} beast_http_conn;

typedef struct beast_http_buffers {
    uint8_t *memory;
    void *free; /* each free buffer begins with the next one's address */
} beast_http_buffers;

typedef struct beast_http_pool {
    beast_lane *lane;
    beast_http_sources *sources;
    beast_http_conn *slots, *free_slots;
    uint32_t max, open;
    int64_t limit_ns[BEAST_HTTP_WAITS];
    beast_http_conn waits[BEAST_HTTP_WAITS]; /* ring heads: `next` is the oldest */
    beast_http_conn *ready_first, *ready_last;
    beast_http_buffers reads, writes;
} beast_http_pool;

bool beast_http_pool_open(beast_http_pool *pool, beast_lane *lane, const beast_http_config *config);
void beast_http_pool_close(beast_http_pool *pool); /* closes every connection */

/* NULL: every slot is taken, or the peer has enough of them. Counts the connection, or why there is none. */
beast_http_conn *beast_http_conn_open(beast_http_pool *pool, int fd, const struct sockaddr *peer, int64_t now_ns);
/* Counts and closes; the slot may be another connection's from then on. */
void beast_http_conn_close(beast_http_pool *pool, beast_http_conn *conn);
/* The socket is somebody else's by now. */
void beast_http_conn_forget(beast_http_pool *pool, beast_http_conn *conn);

/* Its clock starts now, unless it waits for the same thing as before and `restart` is false. */
void beast_http_conn_wait(beast_http_pool *pool, beast_http_conn *conn, beast_http_wait wait, bool restart,
                          int64_t now_ns);
/* Copies bytes to keep; none gives the buffer back. When no buffer is free, the connection that waits longest loses
 * its own, and is closed. `conn` itself is never that one. */
void beast_http_keep_unread(beast_http_pool *pool, beast_http_conn *conn, const uint8_t *bytes, uint32_t len);
/* With the lane's unsent usage records, which leave its ring; their answers' ends are in its flight. */
void beast_http_keep_unsent(beast_http_pool *pool, beast_http_conn *conn, const uint8_t *bytes, uint32_t len,
                            int64_t received_ns);
/* What is owed still never leaves: it costs nobody anything. */
void beast_http_drop_unsent(beast_http_pool *pool, beast_http_conn *conn);

/* Connections that may hold more than one read brought. */
void beast_http_make_ready(beast_http_pool *pool, beast_http_conn *conn);
beast_http_conn *beast_http_take_ready(beast_http_pool *pool);

/* Closes whatever has waited too long. */
void beast_http_expire(beast_http_pool *pool, int64_t now_ns);

#endif
