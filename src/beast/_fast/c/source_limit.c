#include "source_limit.h"

#include <assert.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "sizes.h"

#define NS_PER_S INT64_C(1000000000)
#define LIMITING_NS NS_PER_S /* for so long after somebody was over the limit it is asked who is */
#define UNPROVEN_INTERVAL_NS (NS_PER_S / BEAST_UNPROVEN_PER_SECOND)
#define WAYS 4
#define SETS 16384
#define PREFIXES_MAX 5
#define MAPPED UINT64_C(0xffff00000000) /* ::ffff:0:0/96 */

/* One network's generic cell rate. Whose it is and when its next request is due are two words: while one
 * network takes a place from another, a third may for a moment count on the wrong one. */
typedef struct cell {
    _Atomic uint64_t tag; /* of the network; 0: free */
    _Atomic int64_t arrival_ns;
} cell;

/* A network that is never limited. */
typedef struct exception {
    _Atomic uint64_t high, low, mask_high, mask_low;
} exception;

struct beast_source_limit {
    _Alignas(BEAST_CACHE_LINE) cell set[SETS][WAYS];
    uint64_t seed[2]; /* from the kernel: nobody outside can tell who shares a set */
    _Atomic uint32_t per_second;
    _Atomic uint32_t dry_run;
    _Atomic int64_t limiting_ns; /* about when somebody was last over the limit */
    _Atomic uint32_t exceptions;
    exception exception[BEAST_SOURCE_NETWORKS_MAX];
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
    uint64_t high, low;                 /* the address, left-aligned */
    uint64_t written_high, written_low; /* the address as IPv6 */
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
    atomic_init(&limit->limiting_ns, INT64_MIN / 2);
    return limit;
}

void beast_source_limit_free(beast_source_limit *limit) { free(limit); }

void beast_source_limit_set(beast_source_limit *limit, uint32_t per_second)
{
    atomic_store_explicit(&limit->per_second, per_second, memory_order_relaxed);
}

void beast_source_limit_set_dry_run(beast_source_limit *limit, bool dry_run)
{
    atomic_store_explicit(&limit->dry_run, dry_run, memory_order_relaxed);
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
        uint64_t address = ntohl(v4->sin_addr.s_addr);
        *out = (networks){address << 32, 0, 0, MAPPED | address, IPV4, sizeof IPV4 / sizeof *IPV4};
        return true;
    }
    if (peer->sa_family != AF_INET6)
        return false;
    const struct in6_addr *v6 = &((const struct sockaddr_in6 *)peer)->sin6_addr;
    uint64_t high = load_big(v6->s6_addr), low = load_big(v6->s6_addr + 8);
    if (IN6_IS_ADDR_V4MAPPED(v6))
        *out = (networks){low << 32, 0, high, low, IPV4, sizeof IPV4 / sizeof *IPV4};
    else
        *out = (networks){high, low, high, low, IPV6, sizeof IPV6 / sizeof *IPV6};
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

static uint64_t mask_of(int bits)
{
    if (bits <= 0)
        return 0;
    return bits >= 64 ? UINT64_MAX : ~(UINT64_MAX >> bits);
}

beast_status beast_source_limit_except(beast_source_limit *limit, const beast_source_network *list, uint32_t n)
{
    if (n > BEAST_SOURCE_NETWORKS_MAX)
        return BEAST_FULL;
    for (uint32_t i = 0; i < n; i++)
        if (list[i].bits > 128)
            return BEAST_BAD_ARGUMENT;
    atomic_store_explicit(&limit->exceptions, 0, memory_order_relaxed);
    for (uint32_t i = 0; i < n; i++) {
        exception *to = &limit->exception[i];
        uint64_t mask_high = mask_of(list[i].bits), mask_low = mask_of(list[i].bits - 64);
        atomic_store_explicit(&to->mask_high, mask_high, memory_order_relaxed);
        atomic_store_explicit(&to->mask_low, mask_low, memory_order_relaxed);
        atomic_store_explicit(&to->high, load_big(list[i].address) & mask_high, memory_order_relaxed);
        atomic_store_explicit(&to->low, load_big(list[i].address + 8) & mask_low, memory_order_relaxed);
    }
    atomic_store_explicit(&limit->exceptions, n, memory_order_release);
    return BEAST_OK;
}

static bool is_excepted(const beast_source_limit *limit, const networks *source)
{
    uint32_t n = atomic_load_explicit(&limit->exceptions, memory_order_acquire);

    for (uint32_t i = 0; i < n; i++) {
        const exception *to = &limit->exception[i];
        uint64_t high = source->written_high & atomic_load_explicit(&to->mask_high, memory_order_relaxed);
        uint64_t low = source->written_low & atomic_load_explicit(&to->mask_low, memory_order_relaxed);
        if (high == atomic_load_explicit(&to->high, memory_order_relaxed) &&
            low == atomic_load_explicit(&to->low, memory_order_relaxed))
            return true;
    }
    return false;
}

/* The rate of one prefix, as generic cell rate. */
typedef struct pace {
    int64_t interval, tolerance;
} pace;

static inline pace pace_of(const networks *source, int i, int64_t per_second)
{
    int64_t rate = per_second * source->prefixes[i].times;
    int64_t interval = (NS_PER_S + rate - 1) / rate;
    return (pace){interval, (rate - 1) * interval};
}

static bool take_all(beast_source_limit *limit, const networks *source, int64_t per_second, int64_t now_ns)
{
    cell *cells[PREFIXES_MAX];
    int64_t intervals[PREFIXES_MAX];

    for (int i = 0; i < source->n; i++) {
        pace pace = pace_of(source, i, per_second);
        cells[i] = cell_of(limit, tag_of(limit, source, i));
        intervals[i] = pace.interval;
        if (take(cells[i], pace.interval, pace.tolerance, now_ns))
            continue;
        while (i-- > 0) /* one is used up: the others get back what was taken */
            atomic_fetch_sub_explicit(&cells[i]->arrival_ns, intervals[i], memory_order_relaxed);
        return false;
    }
    return true;
}

/* Asked before the source's own cells, which a flood of sources finds cold. */
static bool is_used_up(const beast_source_total *total, int64_t now_ns)
{
    return total->arrival_ns - now_ns > (BEAST_UNPROVEN_BURST - 1) * UNPROVEN_INTERVAL_NS;
}

static void take_of(beast_source_total *total, int64_t now_ns)
{
    total->arrival_ns = (total->arrival_ns > now_ns ? total->arrival_ns : now_ns) + UNPROVEN_INTERVAL_NS;
}

beast_source_verdict beast_source_ask(beast_source_limit *limit, beast_source_total *total, const struct sockaddr *peer,
                                      int64_t now_ns)
{
    networks source;
    int64_t per_second = atomic_load_explicit(&limit->per_second, memory_order_relaxed);

    if (per_second == 0)
        return BEAST_SOURCE_ALLOWED;
    if (!networks_of(peer, &source))
        return BEAST_SOURCE_LIMITED;
    if (is_excepted(limit, &source))
        return BEAST_SOURCE_ALLOWED;
    bool used_up = is_used_up(total, now_ns);
    if (!used_up && take_all(limit, &source, per_second, now_ns)) {
        take_of(total, now_ns);
        return BEAST_SOURCE_ALLOWED;
    }
    if (atomic_load_explicit(&limit->dry_run, memory_order_relaxed))
        return BEAST_SOURCE_DRY_RUN;
    if (used_up)
        return BEAST_SOURCE_LIMITED;
    if (now_ns - atomic_load_explicit(&limit->limiting_ns, memory_order_relaxed) > LIMITING_NS / 8)
        atomic_store_explicit(&limit->limiting_ns, now_ns, memory_order_relaxed);
    return BEAST_SOURCE_LIMITED;
}

bool beast_source_is_over(const beast_source_limit *limit, const struct sockaddr *peer, int64_t now_ns)
{
    networks source;
    int64_t per_second = atomic_load_explicit(&limit->per_second, memory_order_relaxed);

    if (now_ns - atomic_load_explicit(&limit->limiting_ns, memory_order_relaxed) > LIMITING_NS || per_second == 0 ||
        atomic_load_explicit(&limit->dry_run, memory_order_relaxed) || !networks_of(peer, &source) ||
        is_excepted(limit, &source))
        return false;
    for (int i = 0; i < source.n; i++) {
        uint64_t tag = tag_of(limit, &source, i);
        const cell *set = limit->set[tag % SETS];
        for (int way = 0; way < WAYS; way++)
            if (atomic_load_explicit(&set[way].tag, memory_order_relaxed) == tag &&
                atomic_load_explicit(&set[way].arrival_ns, memory_order_relaxed) - now_ns >
                    pace_of(&source, i, per_second).tolerance)
                return true;
    }
    return false;
}
