/* From a parsed request to the bytes of its answer: key, admission, look-up, freshness, text, usage record.
 * The same code serves the UDP lanes, the HTTP lanes and the ASGI side, so an answer can't depend on the way it
 * was asked. docs/protocol.md is the specification, engine/reference.py its readable twin. */
#ifndef BEAST_ANSWER_H
#define BEAST_ANSWER_H

#include "lane.h"
#include "request.h"

/* Room that an answer may need, slack for fixed-size copies included: a single price or an error, id and padding
 * too; and a body of 30 entries whose names came in one HTTP head. */
#define BEAST_SINGLE_MAX 1472
#define BEAST_BODY_MAX (BEAST_ASSETS_MAX * (400 + BEAST_TAIL_MAX) + BEAST_HTTP_HEAD_MAX + 512)

/* Moments of one batch, read once for all its requests. */
typedef struct beast_moment {
    int64_t now_ns;  /* CLOCK_MONOTONIC */
    int64_t wall_ns; /* CLOCK_REALTIME */
} beast_moment;

typedef struct beast_reply {
    beast_result result; /* of several assets: ANSWERED if one has a price, else what the first came to */
    bool proven;         /* the key was good: the answer may be longer than the request */
    bool missed;         /* memory had no servable price, a slower tier may, and the lane can park or hand over: it
                          * must, or say `unavailable`. Nothing was recorded or taken from the key's allowance. */
    bool recorded;       /* a usage record is claimed for it, to be published when it is sent */
    uint8_t entries;     /* how many entries the body holds, each ending (exclusively) at its entry_end; else 0 */
    beast_key *key;      /* NULL unless proven */
    int64_t retry_ns;    /* RATE_LIMITED only */
    uint32_t len;        /* bytes written */
    uint16_t entry_end[BEAST_ASSETS_MAX];
} beast_reply;

/* Look-ups that can start before the answer is due, for a whole batch at a time. */
typedef struct beast_lookup {
    _Alignas(BEAST_CACHE_LINE) const beast_layout *layout;
    const beast_slot *slot; /* of the only asset, most likely; NULL: the short way to an answer is not for this one */
    uint64_t place_hash; /* of the first asset */
    uint32_t exchange;   /* 0: any, or none of that name */
    int fd;              /* the socket whose other end asks, where there is no `peer`; -1: neither */
    const struct sockaddr *peer; /* who asks; both are the caller's to set before the answer */
    beast_key_search key;
} beast_lookup;
static_assert(sizeof(beast_lookup) == 2 * BEAST_CACHE_LINE, "two cache lines for each of a batch");

/* Stage 1 of a batch: hash key and first asset, prefetch their lines. A request without a key is looked up no
 * further. The steps of key_table.h may follow for lookup->key. */
void beast_answer_prefetch(const beast_lane *lane, const beast_request *req, beast_lookup *lookup);

/* Stage 2: the whole answer as one JSON body without padding, written to `out` (at least BEAST_SINGLE_MAX bytes,
 * when several assets are asked BEAST_BODY_MAX). Admits the key, takes from its allowance or gives back, counts,
 * and claims the usage record (the caller publishes it once the kernel has the answer). `admitted` is NULL, or the
 * record admitted before (a parked request asked again: only its allowance is taken). Between
 * beast_reader_enter and beast_reader_leave of the lane. */
void beast_answer_body(beast_lane *lane, const beast_request *req, beast_lookup *lookup, beast_key *admitted,
                       const beast_moment *moment, uint8_t *out, beast_reply *reply);

/* One asset as an entry of section 4, for those who watch it and were admitted before: no key is asked, nothing counted,
 * recorded or taken. Returns the length; `out` has room for BEAST_SINGLE_MAX. Main thread only: it is the table's
 * writer, so the layout can't be swapped meanwhile. */
uint32_t beast_answer_watched(beast_lane *lane, const beast_request *req, const beast_moment *moment, uint8_t *out);

/* The other end of stage 2, for a proven key that was not admitted: counts it, and writes the error. */
void beast_answer_refusal(beast_lane *lane, const beast_request *req, beast_key *key, beast_result result,
                          int64_t retry_ns, uint8_t *out, beast_reply *reply);

/* The error object of `result` for the whole request, without `last`; the message can be left out. Returns its
 * length, at most BEAST_SINGLE_MAX. */
uint32_t beast_answer_error(const beast_request *req, beast_result result, int64_t retry_ns, bool message,
                            uint8_t *out);

/* How many requests the key may send at once; 0: as many as it likes. */
uint32_t beast_key_burst(const beast_shared *shared, const beast_key *key);

/* BEAST_RESULTS and BEAST_FAULTS as values. */
typedef struct beast_result_info {
    const char *name, *code;
    int http;
    const char *reason, *message;
} beast_result_info;

const beast_result_info *beast_result_describe(beast_result result);
const char *beast_fault_name(beast_fault fault);
const char *beast_fault_message(beast_fault fault);

#endif
