#include "counters.h"

const char *beast_counter_name(beast_counter which)
{
    static const char *const names[BEAST_COUNTER_COUNT] = {
#define X(name) #name,
        BEAST_COUNTERS(X)
#undef X
    };
    return names[which];
}

void beast_counters_add(const beast_counters *block, uint64_t sum[BEAST_COUNTER_COUNT])
{
    for (int i = 0; i < BEAST_COUNTER_COUNT; i++)
        sum[i] += atomic_load_explicit(&block->value[i], memory_order_relaxed);
}
