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
/* True: answer it. Takes from every prefix of the source, or from none when one of them is used up. An IPv4 address
 * mapped into IPv6 counts as IPv4; any other family is never answered. */
bool beast_source_allow(beast_source_limit *limit, const struct sockaddr *peer, int64_t now_ns);

#endif
