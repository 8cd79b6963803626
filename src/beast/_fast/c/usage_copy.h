/* Usage records as rows of PostgreSQL's binary COPY, in the order of usage_logs' columns:
 *
 *     at, key_id, asset, exchange, source, node, boot, lane, sequence, protocol, state, tier, prices, age_ms, latency_ns
 *
 * PostgreSQL's documentation describes the format under COPY, "Binary Format". Pure functions. */
#ifndef BEAST_USAGE_COPY_H
#define BEAST_USAGE_COPY_H

#include <stddef.h>

#include "status.h"
#include "usage_record.h"

#define BEAST_COPY_NAME_MAX 64 /* bytes of a node's, an asset's or an exchange's name */

/* All of a name's room can be read, whatever its length. */
typedef struct beast_copy_name {
    const uint8_t *asset, *exchange; /* NULL: nobody told this instrument's name */
    uint8_t asset_len, exchange_len;
} beast_copy_name;

typedef struct beast_copy {
    const uint8_t *node;
    uint32_t node_len;
    int64_t boot;
    const beast_copy_name *names; /* by instrument */
    uint32_t n_names;
} beast_copy;

/* How many bytes their rows take. Stops at a record that can't be a row, and says which one: NOT_FOUND, its instrument
 * has no name; BAD_ARGUMENT, a member is out of its range. */
beast_status beast_copy_measure(const beast_copy *copy, const beast_usage *records, uint32_t n, size_t *len,
                                uint32_t *which);
/* Writes just as many. */
void beast_copy_rows(const beast_copy *copy, const beast_usage *records, uint32_t n, uint8_t *out);

#endif
