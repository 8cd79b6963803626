/* The inside of the key table, for key_*.c only. */
#ifndef BEAST_KEY_TABLE_INNER_H
#define BEAST_KEY_TABLE_INNER_H

#include "key_index.h"
#include "key_table.h"

struct beast_key_table {
    beast_key *records; /* max_keys of them reserved; memory comes as they fill */
    uint32_t max_keys;
    _Atomic(beast_key_index *) index;
    _Atomic uint64_t version; /* grows with every key added or dropped */
    _Atomic uint32_t count;   /* keys */
    _Atomic uint32_t made;    /* records ever used */
    uint32_t reusable;        /* number + 1 of the first dropped record that no reader holds; 0: none */
    uint32_t dropped;         /* the same of those that a reader may still hold */
};

#endif
