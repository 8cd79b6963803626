#include "http_sources.h"

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define CELLS_BITS 14
#define CELLS (1u << CELLS_BITS)

struct beast_http_sources {
    uint64_t seed[2];
    _Atomic uint32_t limit;
    _Atomic uint32_t cell[2][CELLS];
};

_Static_assert(2 * CELLS_BITS <= 32, "one word names a cell of each row");

beast_http_sources *beast_http_sources_new(uint32_t limit)
{
    beast_http_sources *sources = calloc(1, sizeof *sources);
    if (!sources)
        return NULL;
    if (getrandom(sources->seed, sizeof sources->seed, 0) != (ssize_t)sizeof sources->seed) {
        free(sources);
        return NULL;
    }
    atomic_init(&sources->limit, limit);
    return sources;
}

void beast_http_sources_free(beast_http_sources *sources)
{
    free(sources);
}

void beast_http_sources_set(beast_http_sources *sources, uint32_t limit)
{
    atomic_store_explicit(&sources->limit, limit, memory_order_relaxed);
}

/* What of the address makes the source; other families are one source. */
static uint64_t source_of(const struct sockaddr *peer)
{
    uint64_t high = 0;
    uint32_t low = 0;
    if (peer->sa_family == AF_INET)
        return 1 + (uint64_t)((const struct sockaddr_in *)(const void *)peer)->sin_addr.s_addr;
    if (peer->sa_family != AF_INET6)
        return 0;
    const struct in6_addr *v6 = &((const struct sockaddr_in6 *)(const void *)peer)->sin6_addr;
    memcpy(&high, v6->s6_addr, sizeof high);
    memcpy(&low, v6->s6_addr + 12, sizeof low);
    return IN6_IS_ADDR_V4MAPPED(v6) ? 1 + (uint64_t)low : high;
}

/* One cell of each row, in one word. The multiplication is wide, so that both halves of the result depend on all of
 * the address and of the seed. */
static uint32_t cells_of(const beast_http_sources *sources, const struct sockaddr *peer)
{
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)(source_of(peer) ^ sources->seed[0]) * (sources->seed[1] | 1);
    uint64_t mixed = (uint64_t)product ^ (uint64_t)(product >> 64);
    product = (wide)(mixed ^ sources->seed[1]) * (sources->seed[0] | 1);
    mixed = (uint64_t)product ^ (uint64_t)(product >> 64);
    return (uint32_t)(mixed >> 20) & (CELLS * CELLS - 1);
}

static _Atomic uint32_t *cell_of(beast_http_sources *sources, uint32_t source, int row)
{
    return &sources->cell[row][source >> (row * CELLS_BITS) & (CELLS - 1)];
}

bool beast_http_sources_enter(beast_http_sources *sources, const struct sockaddr *peer, uint32_t *source)
{
    uint32_t limit = atomic_load_explicit(&sources->limit, memory_order_relaxed);
    *source = cells_of(sources, peer);
    uint32_t first = atomic_fetch_add_explicit(cell_of(sources, *source, 0), 1, memory_order_relaxed);
    uint32_t second = atomic_fetch_add_explicit(cell_of(sources, *source, 1), 1, memory_order_relaxed);
    if (limit == 0 || (first < second ? first : second) < limit)
        return true;
    beast_http_sources_leave(sources, *source);
    return false;
}

void beast_http_sources_leave(beast_http_sources *sources, uint32_t source)
{
    atomic_fetch_sub_explicit(cell_of(sources, source, 0), 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(cell_of(sources, source, 1), 1, memory_order_relaxed);
}
