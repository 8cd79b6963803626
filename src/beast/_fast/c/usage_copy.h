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

/* The most bytes that one row can take. */
size_t beast_copy_row_max(const beast_copy *copy);

/* Writes at most n times that many bytes to `out`; *len tells how many, *done how many rows. Stops at a record that
 * can't be a row: NOT_FOUND, its instrument has no name; BAD_ARGUMENT, a member is out of its range. */
beast_status beast_copy_rows(const beast_copy *copy, const beast_usage *records, uint32_t n, uint8_t *out, size_t *len,
                             uint32_t *done);

#endif
