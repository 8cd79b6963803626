#include "grace.h"

#include <sched.h>

void beast_readers_wait(const beast_readers *readers)
{
    /* Pairs with the fence of entering: a reader not seen inside here will see the swapped pointer. */
    atomic_thread_fence(memory_order_seq_cst);
    for (uint32_t i = 0; i < readers->count; i++) {
        uint64_t seen = atomic_load_explicit(&readers->reader[i]->count, memory_order_acquire);
        if ((seen & 1) == 0)
            continue;
        while (atomic_load_explicit(&readers->reader[i]->count, memory_order_acquire) == seen)
            sched_yield();
    }
}
