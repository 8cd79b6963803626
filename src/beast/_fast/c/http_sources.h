/* How many connections each source has, over all HTTP lanes: the limit that keeps one client from taking every slot.
 *
 * A source is an IPv4 address or an IPv6 /64, which is what one customer gets. Nobody is remembered: each of two rows
 * counts a source in one of its cells, chosen by a seeded hash, and the smaller of both is never below the truth (a
 * count-min sketch, Cormode and Muthukrishnan, 2005). A source is refused too early only when both of its cells are
 * shared with sources that hold many connections themselves; nobody outside can tell who shares a cell. */
#ifndef BEAST_HTTP_SOURCES_H
#define BEAST_HTTP_SOURCES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

typedef struct beast_http_sources beast_http_sources;

/* `limit` connections at most for each source; 0: no limit. NULL: out of memory. */
beast_http_sources *beast_http_sources_new(uint32_t limit);
void beast_http_sources_free(beast_http_sources *sources);
/* From now on; who has more already keeps them. Any thread. */
void beast_http_sources_set(beast_http_sources *sources, uint32_t limit);

/* Counts one more connection of `peer`. False, and nothing counted: it has enough. Any thread. */
bool beast_http_sources_enter(beast_http_sources *sources, const struct sockaddr *peer, uint32_t *source);
/* Takes back what `enter` counted and named `source`. Any thread. */
void beast_http_sources_leave(beast_http_sources *sources, uint32_t source);

#endif
