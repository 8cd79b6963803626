#include "miss_ring.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "spsc.h"

struct beast_miss_ring {
    beast_spsc ends;
    beast_miss miss[];
};

beast_miss_ring *beast_miss_ring_new(uint32_t capacity)
{
    size_t size = sizeof(beast_miss_ring) + capacity * sizeof(beast_miss);
    beast_miss_ring *ring = aligned_alloc(_Alignof(beast_miss_ring), (size + 63) & ~(size_t)63);
    if (ring && !beast_spsc_init(&ring->ends, capacity)) {
        free(ring);
        return NULL;
    }
    return ring;
}

void beast_miss_ring_free(beast_miss_ring *ring) { free(ring); }

beast_miss *beast_miss_claim(beast_miss_ring *ring)
{
    uint64_t at;
    return beast_spsc_claim(&ring->ends, &at) ? &ring->miss[at] : NULL;
}

void beast_miss_publish(beast_miss_ring *ring) { beast_spsc_publish(&ring->ends); }

bool beast_miss_take(beast_miss_ring *ring, beast_miss *out)
{
    uint64_t at;
    if (beast_spsc_waiting(&ring->ends, &at) == 0)
        return false;
    /* Datagrams are mostly short: the room behind them stays as it is. */
    memcpy(out, &ring->miss[at], offsetof(beast_miss, datagram));
    memcpy(out->datagram, ring->miss[at].datagram, out->len);
    beast_spsc_release(&ring->ends, 1);
    return true;
}
