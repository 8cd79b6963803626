/* What the files of the load client share. */
#ifndef BEAST_LOAD_INNER_H
#define BEAST_LOAD_INNER_H

#include <string.h>
#include <time.h>

#include "load_client.h"

enum {
    BEAST_LOAD_REQUEST_MAX = 512,
    BEAST_LOAD_ID_DIGITS = 10,
    BEAST_LOAD_ROOM = 64 * 65536 /* receive buffer of a whole run */
};

/* A request that waits for its answer. */
typedef struct beast_flight {
    uint64_t id; /* 0: free */
    int64_t due_ns, sent_ns;
    uint32_t client, asset;
} beast_flight;

/* A socket. Where answers carry no id they come in order, and `queue` holds what they answer. */
typedef struct beast_load_socket {
    int fd;
    uint32_t window; /* most requests in flight */
    uint32_t in_flight;
    uint32_t first; /* of the queue */
    uint8_t *held;  /* HTTP: the start of an answer */
    uint32_t held_len;
    beast_flight queue[BEAST_LOAD_WINDOW_MAX];
} beast_load_socket;

typedef struct beast_load beast_load;

/* What UDP, UDP with segments and HTTP do differently. */
typedef struct beast_load_wire {
    beast_status (*open)(beast_load *load, beast_load_socket *s);
    /* Sends at most `most` requests and says how many left. */
    uint32_t (*send)(beast_load *load, beast_load_socket *s, uint32_t most);
    beast_status (*receive)(beast_load *load, beast_load_socket *s);
    /* Counts what is due since before `oldest` as lost. */
    beast_status (*expire)(beast_load *load, int64_t oldest);
} beast_load_wire;

struct beast_load {
    const beast_load_config *config;
    const beast_load_wire *wire;
    const atomic_bool *stop;
    beast_load_report *report;
    beast_load_socket *sockets;
    int poller;
    int64_t start_ns, end_ns;
    int64_t received_ns; /* when the answers at hand were read */
    uint64_t issued;  /* requests sent so far */
    uint32_t turn;    /* open loop: the socket that is next */
    uint64_t in_flight;
    uint64_t random;
    uint64_t next_id;
    beast_flight *flights; /* by id; a power of two of them */
    uint64_t flights_mask;
    uint32_t request_size; /* longest request */
    uint8_t *room;         /* BEAST_LOAD_ROOM bytes to receive into, or NULL */
    uint8_t *out;          /* WINDOW_MAX requests to send */
};

extern const beast_load_wire beast_load_udp, beast_load_segment, beast_load_http;

static inline int64_t beast_load_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* One writer: no locked instruction. */
static inline void beast_load_add(_Atomic uint64_t *figure, uint64_t n)
{
    atomic_store_explicit(figure, atomic_load_explicit(figure, memory_order_relaxed) + n, memory_order_relaxed);
}

static inline uint32_t beast_load_least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* When request `number` should leave, by the schedule of the open loop. */
static inline int64_t beast_load_due(const beast_load *load, uint64_t number)
{
    uint64_t rate = load->config->rate;
    return load->start_ns + (int64_t)(number / rate * 1000000000 + number % rate * 1000000000 / rate);
}

/* load_text.c. Draws a key and an asset and writes the request, at most BEAST_LOAD_REQUEST_MAX bytes; returns its
 * length. `flight` has the id, and is told the asset. */
uint32_t beast_load_write(beast_load *load, beast_flight *flight, uint8_t *out);
/* Length of the longest request, or 0 when one would be too long. */
uint32_t beast_load_longest(const beast_load_config *config);

/* load_flight.c: requests under way, found by id or by their place in a socket's queue. */
beast_status beast_flights_open(beast_load *load);
/* How many requests may leave this socket now, at most `most`. */
uint32_t beast_flight_room(const beast_load *load, const beast_load_socket *s, uint32_t most);
/* A request that leaves now, `ahead` places after those already issued. */
beast_flight beast_flight_next(beast_load *load, const beast_load_socket *s, uint32_t ahead, int64_t now);
void beast_flight_begin(beast_load *load, beast_load_socket *s, const beast_flight *flight);
/* The request that this id, or the oldest one, belongs to: over now. False: there is none. */
bool beast_flight_end(beast_load *load, beast_load_socket *s, uint64_t id, beast_flight *found);
/* Everything in flight on this socket is lost, for good. */
void beast_flight_lose(beast_load *load, beast_load_socket *s);
bool beast_flight_overdue(const beast_load_socket *s, int64_t oldest);
beast_status beast_flights_expire(beast_load *load, int64_t oldest);

/* load_count.c. */
void beast_load_count(beast_load *load, const beast_flight *flight, beast_load_answer answer, const uint8_t *text,
                      size_t len);
void beast_load_wrong(beast_load *load, beast_load_fault fault, const uint8_t *text, size_t len);
static inline beast_load_expected beast_load_expect(const beast_load *load, const beast_flight *flight, bool udp)
{
    return (beast_load_expected){load->config->assets[flight->asset], load->config->exchange,
                                 load->config->max_age_ms, udp};
}

/* load_udp.c, for load_segment.c. */
beast_status beast_load_udp_open(beast_load *load, beast_load_socket *s);
void beast_load_datagram(beast_load *load, beast_load_socket *s, const uint8_t *text, size_t len);

#endif
