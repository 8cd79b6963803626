#include "source_limit.h"

#include <assert.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "sizes.h"

#define NS_PER_S INT64_C(1000000000)
#define WAYS 4
#define SETS 16384
#define PREFIXES_MAX 5

/* One network's generic cell rate. Whose it is and when its next request is due are two words: while one
 * network takes a place from another, a third may for a moment count on the wrong one. */
typedef struct cell {
    _Atomic uint64_t tag; /* of the network; 0: free */
    _Atomic int64_t arrival_ns;
} cell;

struct beast_source_limit {
    _Alignas(BEAST_CACHE_LINE) cell set[SETS][WAYS];
    uint64_t seed[2]; /* from the kernel: nobody outside can tell who shares a set */
    _Atomic uint32_t per_second;
};
static_assert(WAYS * sizeof(cell) == BEAST_CACHE_LINE, "a set is one cache line");

typedef struct prefix {
    uint8_t bits;
    uint16_t times; /* the address's rate */
} prefix;

static const prefix IPV4[] = {{32, 1}, {24, 32}, {20, 256}, {18, 768}};
static const prefix IPV6[] = {{128, 1}, {64, 2}, {56, 3}, {48, 4}, {32, 64}};

/* The networks a source lies in. */
typedef struct networks {
    uint64_t high, low; /* the address, left-aligned */
    const prefix *prefixes;
    int n;
} networks;

beast_source_limit *beast_source_limit_new(uint32_t per_second)
{
    beast_source_limit *limit = aligned_alloc(_Alignof(beast_source_limit), sizeof *limit);
    if (!limit)
        return NULL;
    memset(limit, 0, sizeof *limit);
    if (getrandom(limit->seed, sizeof limit->seed, 0) != (ssize_t)sizeof limit->seed) {
        free(limit);
        return NULL;
    }
    atomic_init(&limit->per_second, per_second);
    return limit;
}

void beast_source_limit_free(beast_source_limit *limit) { free(limit); }

void beast_source_limit_set(beast_source_limit *limit, uint32_t per_second)
{
    atomic_store_explicit(&limit->per_second, per_second, memory_order_relaxed);
}

static uint64_t load_big(const uint8_t *p)
{
    uint64_t word = 0;
    for (int i = 0; i < 8; i++)
        word = word << 8 | p[i];
    return word;
}

static bool networks_of(const struct sockaddr *peer, networks *out)
{
    if (peer->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)peer;
        *out = (networks){(uint64_t)ntohl(v4->sin_addr.s_addr) << 32, 0, IPV4, sizeof IPV4 / sizeof *IPV4};
        return true;
    }
    if (peer->sa_family != AF_INET6)
        return false;
    const struct in6_addr *v6 = &((const struct sockaddr_in6 *)peer)->sin6_addr;
    uint64_t high = load_big(v6->s6_addr), low = load_big(v6->s6_addr + 8);
    if (IN6_IS_ADDR_V4MAPPED(v6))
        *out = (networks){low << 32, 0, IPV4, sizeof IPV4 / sizeof *IPV4};
    else
        *out = (networks){high, low, IPV6, sizeof IPV6 / sizeof *IPV6};
    return true;
}

static inline uint64_t mix(uint64_t a, uint64_t b)
{
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t tag_of(const beast_source_limit *limit, const networks *source, int i)
{
    int bits = source->prefixes[i].bits;
    uint64_t high = bits < 64 ? source->high & ~(UINT64_MAX >> bits) : source->high;
    uint64_t low = bits > 64 ? source->low : 0;
    uint64_t kind = (uint64_t)bits << 8 | (source->prefixes == IPV4);
    uint64_t tag = mix(mix(high ^ limit->seed[0], low ^ limit->seed[1]) ^ kind, limit->seed[0] | 1);
    return tag ? tag : 1;
}

/* The network's cell. A new one takes the place that is due soonest: one that is not in debt loses nothing. */
static cell *cell_of(beast_source_limit *limit, uint64_t tag)
{
    cell *set = limit->set[tag % SETS], *soonest = set;
    int64_t due = INT64_MAX;
    for (int way = 0; way < WAYS; way++) {
        if (atomic_load_explicit(&set[way].tag, memory_order_relaxed) == tag)
            return &set[way];
        int64_t arrival = atomic_load_explicit(&set[way].arrival_ns, memory_order_relaxed);
        if (arrival < due) {
            due = arrival;
            soonest = &set[way];
        }
    }
    atomic_store_explicit(&soonest->tag, tag, memory_order_relaxed);
    atomic_store_explicit(&soonest->arrival_ns, 0, memory_order_relaxed);
    return soonest;
}

/* Generic cell rate with a burst of one second's worth: moves the arrival time on, or leaves it. */
static bool take(cell *cell, int64_t interval, int64_t tolerance, int64_t now_ns)
{
    int64_t arrival = atomic_load_explicit(&cell->arrival_ns, memory_order_relaxed), next;
    do {
        if (arrival - now_ns > tolerance)
            return false;
        next = (arrival > now_ns ? arrival : now_ns) + interval;
    } while (!atomic_compare_exchange_weak_explicit(&cell->arrival_ns, &arrival, next, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

bool beast_source_allow(beast_source_limit *limit, const struct sockaddr *peer, int64_t now_ns)
{
    networks source;
    int64_t per_second = atomic_load_explicit(&limit->per_second, memory_order_relaxed);
    if (per_second == 0)
        return true;
    if (!networks_of(peer, &source))
        return false;
    cell *cells[PREFIXES_MAX];
    int64_t intervals[PREFIXES_MAX];
    for (int i = 0; i < source.n; i++) {
        int64_t rate = per_second * source.prefixes[i].times;
        cells[i] = cell_of(limit, tag_of(limit, &source, i));
        intervals[i] = (NS_PER_S + rate - 1) / rate;
        if (take(cells[i], intervals[i], (rate - 1) * intervals[i], now_ns))
            continue;
        while (i-- > 0) /* one is used up: the others get back what was taken */
            atomic_fetch_sub_explicit(&cells[i]->arrival_ns, intervals[i], memory_order_relaxed);
        return false;
    }
    return true;
}
