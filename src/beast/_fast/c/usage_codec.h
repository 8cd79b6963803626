/* A run of usage records, of one lane and with consecutive sequences, as few bytes: column by column, each value the
 * distance to another, repeats counted. docs/usage.md describes every byte. Pure functions. */
#ifndef BEAST_USAGE_CODEC_H
#define BEAST_USAGE_CODEC_H

#include <stddef.h>

#include "status.h"
#include "usage_record.h"

#define BEAST_USAGE_VERSION 1
#define BEAST_USAGE_RUN_MAX (1u << 20) /* records of one run */

/* The most bytes that `n` records can take. */
size_t beast_usage_encode_max(uint32_t n);
/* Writes at most that many bytes to `out`; *len tells how many. The same records give the same bytes, always.
 * BAD_ARGUMENT: none or too many of them, several lanes, or a gap in their sequences. */
beast_status beast_usage_encode(const beast_usage *records, uint32_t n, uint8_t *out, size_t *len);

/* How many records there are in `data`. BAD_ARGUMENT: it doesn't begin like a run. */
beast_status beast_usage_decode_count(const uint8_t *data, size_t len, uint32_t *n);
/* All of them, as they were; `n` as told before. BAD_ARGUMENT: no run, whatever the bytes are; `out` is unspecified. */
beast_status beast_usage_decode(const uint8_t *data, size_t len, beast_usage *out, uint32_t n);

/* The first of several runs: how many records from the first one on are of one lane and consecutive. */
uint32_t beast_usage_run(const beast_usage *records, uint32_t n);

#endif
