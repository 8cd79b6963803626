/* A price request, whichever protocol brought it, and the byte scan of a UDP one. */
#ifndef BEAST_REQUEST_H
#define BEAST_REQUEST_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "sizes.h"
#include "status.h"

typedef struct beast_slice {
    const uint8_t *ptr; /* NULL: absent */
    uint32_t len;
} beast_slice;

/* A name as the table's index wants it: decoded, case-folded, zero-padded, compared as words. `len` is the
 * decoded length; a name longer than BEAST_ASSET_MAX can't be in any table: its words are zero. */
typedef struct beast_name {
    uint64_t word[3];
    uint32_t len;
    bool escaped;    /* `raw` holds a backslash */
    beast_slice raw; /* the token as sent, without its quotes */
} beast_name;

/* The first two cache lines are all that a plain request touches; the long tails stay cold. */
typedef struct beast_request {
    _Alignas(BEAST_CACHE_LINE) beast_fault fault;   /* NONE, or why it is a bad_request */
    uint8_t n_assets;    /* duplicates folded */
    bool many;           /* asked with "assets" */
    bool allow_stale;
    bool has_exchange;
    int64_t max_age_ms;  /* -1: absent */
    beast_slice api_key; /* decoded; absent and null alike: ptr NULL */
    beast_slice id;      /* the token as sent, quotes included; absent: ptr NULL */
    uint8_t *scratch;    /* the caller's, as long as the input: decoded text, at its token's offset in the input */
    beast_name assets[BEAST_ASSETS_MAX]; /* upper-cased, in the order asked */
    beast_name exchange; /* lower-cased */
} beast_request;

/* Reads one datagram of `len` bytes into `req`, whose `scratch` (at least `len` bytes) the caller has set.
 * Returns req->fault.
 *
 * A fault of syntax, UTF-8 or depth ends the reading: such a request has no id and no key. Any other
 * fault is noted, the first one wins, and reading goes on, so that the id can still be echoed.
 * Slices point into `buf` or into req->scratch: both must outlive their use. Never reads outside
 * buf[0..len), allocates nothing, and is a pure function of its input. */
beast_fault beast_request_parse(const uint8_t *buf, size_t len, beast_request *req);

/* What a request holds before anything was read: every member absent. */
static inline void beast_request_clear(beast_request *req)
{
    static_assert(BEAST_FAULT_NONE == 0 && offsetof(beast_request, scratch) == 48, "all before the scratch memory is zero");
    memset(req, 0, offsetof(beast_request, scratch));
    req->max_age_ms = -1;
}

/* Adds an asset unless the request has it already, however it was written. `raw` is its token inside `input`, whose
 * offset is its place in req->scratch; the caller sees to it that there are at most BEAST_ASSETS_MAX. */
void beast_request_add_asset(beast_request *req, const uint8_t *input, beast_slice raw, bool escaped);

/* Makes `name` of decoded text: upper-case for assets, lower-case for exchanges (ASCII letters only).
 * Sets the words and the length, not `raw`. Both protocols and the table's loader use it, so that a name
 * folds in one way only. */
void beast_name_fold(beast_name *name, const uint8_t *text, uint32_t len, bool upper);

#endif
