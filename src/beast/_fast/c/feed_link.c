#include "feed_link.h"

/* The link is down while its facts change, so that no reader takes an old trade for one of the new connection. */
uint32_t beast_link_up(beast_link *link, int64_t patience_ns, int64_t now_ns)
{
    uint32_t epoch = atomic_load_explicit(&link->epoch, memory_order_relaxed) + 1;
    uint32_t before = atomic_load_explicit(&link->first, memory_order_relaxed);
    int64_t lost_ns = atomic_load_explicit(&link->proven_ns, memory_order_relaxed);

    atomic_store_explicit(&link->up, 0, memory_order_relaxed);
    atomic_store_explicit(&link->first, epoch, memory_order_release);
    atomic_store_explicit(&link->epoch, epoch, memory_order_relaxed);
    atomic_store_explicit(&link->before, before, memory_order_relaxed);
    atomic_store_explicit(&link->lost_ns, lost_ns, memory_order_relaxed);
    atomic_store_explicit(&link->patience_ns, patience_ns, memory_order_relaxed);
    atomic_store_explicit(&link->proven_ns, now_ns, memory_order_relaxed);
    atomic_store_explicit(&link->up, 1, memory_order_release);
    return epoch;
}

uint32_t beast_link_doubt(beast_link *link)
{
    uint32_t epoch = atomic_load_explicit(&link->epoch, memory_order_relaxed) + 1;

    atomic_store_explicit(&link->epoch, epoch, memory_order_relaxed);
    return epoch;
}

void beast_link_proven(beast_link *link, int64_t now_ns)
{
    atomic_store_explicit(&link->proven_ns, now_ns, memory_order_relaxed);
}

void beast_link_down(beast_link *link)
{
    atomic_store_explicit(&link->up, 0, memory_order_release);
}

beast_link_state beast_link_read(const beast_link *link)
{
    return (beast_link_state){
        .up = atomic_load_explicit(&link->up, memory_order_acquire) != 0,
        .epoch = atomic_load_explicit(&link->epoch, memory_order_relaxed),
        .proven_ns = atomic_load_explicit(&link->proven_ns, memory_order_relaxed),
    };
}

uint32_t beast_link_first(const beast_link *link)
{
    return atomic_load_explicit(&link->first, memory_order_relaxed);
}

beast_link_proof beast_link_prove(const beast_link *link, int64_t now_ns)
{
    bool up = atomic_load_explicit(&link->up, memory_order_relaxed) != 0;
    int64_t until_ns = atomic_load_explicit(&link->proven_ns, memory_order_relaxed) +
                       atomic_load_explicit(&link->patience_ns, memory_order_relaxed);
    return (beast_link_proof){.first = beast_link_first(link), .left_ns = up ? until_ns - now_ns : 0};
}
