/* How many unproven requests a source network gets an answer to: a small fixed table of generic cell rates, one
 * for the address and one for each prefix around it, each prefix with a multiple of the address's rate (the
 * way of Knot DNS's response rate limiting). Shared by all workers; approximate under collision, never
 * allocating, never locking. Only requests that prove no key ask it. */
#ifndef BEAST_SOURCE_LIMIT_H
#define BEAST_SOURCE_LIMIT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "status.h"

typedef struct beast_source_limit beast_source_limit;

/* `per_second` answers for one address; 0: no limit; a burst is one second's worth. Prefixes and their multiples:
 * IPv4 /32 x1, /24 x32, /20 x256, /18 x768; IPv6 /128 x1, /64 x2, /56 x3, /48 x4, /32 x64. */
beast_source_limit *beast_source_limit_new(uint32_t per_second);
void beast_source_limit_free(beast_source_limit *limit);
void beast_source_limit_set(beast_source_limit *limit, uint32_t per_second); /* any thread */
/* A trial: nobody is limited, but told apart. Any thread. */
void beast_source_limit_set_dry_run(beast_source_limit *limit, bool dry_run);

#define BEAST_SOURCE_NETWORKS_MAX 32
typedef struct beast_source_network {
    uint8_t address[16]; /* IPv6, or IPv4 inside ::ffff:0:0/96 */
    uint8_t bits;        /* 0..128; of an IPv4 network 96 more than it is written with */
} beast_source_network;

/* Networks that are never limited; replaces those before. A source may for a moment be judged by half of the change.
 * FULL: more than BEAST_SOURCE_NETWORKS_MAX; BAD_ARGUMENT: a network of more than 128 bits. One thread only. */
beast_status beast_source_limit_except(beast_source_limit *limit, const beast_source_network *list, uint32_t n);

typedef enum beast_source_verdict {
    BEAST_SOURCE_ALLOWED,
    BEAST_SOURCE_LIMITED, /* no answer */
    BEAST_SOURCE_DRY_RUN, /* would be limited */
} beast_source_verdict;

/* What one thread answers to all sources together, while they are limited: a flood of sources that are each within
 * their limit must not cost the answers of those who have keys. A generic cell rate as well; zeroed at first. */
#define BEAST_UNPROVEN_PER_SECOND 2000
#define BEAST_UNPROVEN_BURST 1000
typedef struct beast_source_total {
    int64_t arrival_ns;
} beast_source_total;

/* May this one be answered? Takes from the total and from every prefix of the source, or from none when one of them is
 * used up. An IPv4 address mapped into IPv6 counts as IPv4; any other family is always limited. */
beast_source_verdict beast_source_ask(beast_source_limit *limit, beast_source_total *total, const struct sockaddr *peer,
                                      int64_t now_ns);
/* Would it be LIMITED? Takes nothing, and costs one load while nobody is. */
bool beast_source_is_over(const beast_source_limit *limit, const struct sockaddr *peer, int64_t now_ns);

#endif
