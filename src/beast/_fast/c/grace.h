/* Quiescent-state reclamation: readers say when they are inside, a writer that swapped a pointer waits until
 * everyone who may still hold the old one has been outside once. Readers never wait. */
#ifndef BEAST_GRACE_H
#define BEAST_GRACE_H

#include <stdatomic.h>
#include <stdint.h>

#include "sizes.h"

typedef struct beast_reader {
    _Alignas(BEAST_CACHE_LINE) _Atomic uint64_t count; /* odd: inside */
} beast_reader;

/* The fence of entering orders "I am inside" before the loads of shared pointers (seq_cst both sides). The store is
 * a release too: a writer that meets this visit has also seen the end of the one before. */
static inline void beast_reader_enter(beast_reader *reader)
{
    uint64_t count = atomic_load_explicit(&reader->count, memory_order_relaxed);
    atomic_store_explicit(&reader->count, count + 1, memory_order_release);
    atomic_thread_fence(memory_order_seq_cst);
}

static inline void beast_reader_leave(beast_reader *reader)
{
    uint64_t count = atomic_load_explicit(&reader->count, memory_order_relaxed);
    atomic_store_explicit(&reader->count, count + 1, memory_order_release);
}

/* All readers of an engine; filled before any thread starts, constant afterwards. */
typedef struct beast_readers {
    uint32_t count;
    beast_reader *reader[2 * BEAST_WORKERS_MAX + 2];
} beast_readers;

/* Returns once every reader that was inside has left; yields the processor while it waits.
 * Called by the one writer after it has swapped a pointer. */
void beast_readers_wait(const beast_readers *readers);

#endif
