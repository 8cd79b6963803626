/* Usage records there and back. As bytes of a run: refused, or records that encode to bytes that decode to the same. As
 * records: after their lanes and sequences are put right, encoding fits its bound and decoding gives them back. */
#include <stdlib.h>
#include <string.h>

#include "flight.h"
#include "usage_codec.h"

#define MUST(condition)                                                                           \
    do {                                                                                          \
        if (!(condition))                                                                         \
            abort();                                                                              \
    } while (0)

#define MANY 65536 /* more than that of one input only shows that counting costs time */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void there_and_back(const beast_usage *records, uint32_t n)
{
    size_t len;
    uint32_t count;
    uint8_t *bytes = malloc(beast_usage_encode_max(n));
    beast_usage *again = malloc(n * sizeof *again);
    MUST(bytes && again);
    MUST(beast_usage_encode(records, n, bytes, &len) == BEAST_OK);
    MUST(len <= beast_usage_encode_max(n));
    bytes = realloc(bytes, len); /* so that reading beyond the end shows */
    MUST(beast_usage_decode_count(bytes, len, &count) == BEAST_OK && count == n);
    MUST(beast_usage_decode(bytes, len, again, n) == BEAST_OK);
    MUST(memcmp(again, records, n * sizeof *again) == 0);
    free(bytes);
    free(again);
}

static void as_bytes(const uint8_t *data, size_t size)
{
    uint32_t n;
    if (beast_usage_decode_count(data, size, &n) != BEAST_OK || n > MANY)
        return;
    beast_usage *records = malloc(n * sizeof *records);
    MUST(records);
    if (beast_usage_decode(data, size, records, n) == BEAST_OK)
        there_and_back(records, n);
    free(records);
}

static void as_records(const uint8_t *data, size_t size)
{
    uint32_t n = (uint32_t)(size / sizeof(beast_usage));
    beast_usage *records = malloc(size + 1);
    MUST(records);
    memcpy(records, data, n * sizeof *records);
    uint64_t first = n > 0 ? records[0].sequence >> 1 : 0;
    for (uint32_t i = 0; i < n; i++) {
        records[i].lane = records[0].lane;
        records[i].sequence = first + i;
    }
    if (n > 0)
        there_and_back(records, n);
    free(records);
}

/* What a crash has left of a flight may be anything, too. */
static void as_flight(const uint8_t *data, size_t size)
{
    static beast_flight flight;
    beast_flight_word word = 0;
    memcpy(&word, data, size < sizeof word ? size : sizeof word);
    memcpy(&flight, data, size < sizeof flight ? size : sizeof flight);
    MUST(beast_flight_taken(&flight, word) <= 64 * (BEAST_FLIGHT_SPARE + 1));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    as_bytes(data, size);
    as_records(data, size);
    as_flight(data, size);
    return 0;
}
