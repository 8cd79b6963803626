/* What happens to usage records once they have left their ring, in ns per record, the best of nine rounds.
 *
 *     /tmp/bench_usage               ns, and bytes per record
 *     valgrind --tool=callgrind --toggle-collect=encode /tmp/bench_usage 1
 *                                    instructions, of one round */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "usage_codec.h"
#include "usage_copy.h"
#include "usage_sum.h"

#define RECORDS 20000
#define INSTRUMENTS 150
#define NAME "coinbase\0......................................................." /* and its room */

static beast_usage records[RECORDS], decoded[RECORDS];
static beast_usage_sum sums[2 * RECORDS];
static beast_copy_name names[INSTRUMENTS];
static uint8_t bytes[RECORDS * 64], rows[RECORDS * 320];
static size_t bytes_len, rows_len;
static uint32_t found;

static uint64_t below(uint64_t bound)
{
    static uint64_t state = 7;
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (state * UINT64_C(0x2545F4914F6CDD1D) >> 11) % bound;
}

/* A busy lane: batches of up to 32, a thousand keys or more, prices of 150 assets. */
static void fill(uint64_t keys)
{
    int64_t time_ns = INT64_C(1776003781123456789);
    uint32_t latency_ns = 0, left = 0;

    for (uint32_t i = 0; i < RECORDS; i++, left--) {
        if (left == 0) {
            left = 1 + (uint32_t)below(32);
            time_ns += 20000 + (int64_t)below(60000);
            latency_ns = 5000 + (uint32_t)below(55000);
        }
        records[i] = (beast_usage){.time_ns = time_ns, .sequence = i + 1, .key_id = 1000 + below(keys), .tier = 1, .prices = 1,
                                   .instrument = (uint32_t)below(INSTRUMENTS), .latency_ns = latency_ns,
                                   .age_ms = (uint32_t)(below(900) * below(900) / 900)};
    }
}

static void __attribute__((noinline)) encode(void) { beast_usage_encode(records, RECORDS, bytes, &bytes_len); }
static void __attribute__((noinline)) decode(void) { beast_usage_decode(bytes, bytes_len, decoded, RECORDS); }
static void __attribute__((noinline)) sum_up(void) { found = beast_usage_sum_up(records, RECORDS, sums, 2 * RECORDS); }

static void __attribute__((noinline)) copy(void)
{
    const beast_copy copy = {.node = (const uint8_t *)NAME, .node_len = 9, .boot = 1, .names = names, .n_names = INSTRUMENTS};
    uint32_t which;
    if (beast_copy_measure(&copy, records, RECORDS, &rows_len, &which) == BEAST_OK)
        beast_copy_rows(&copy, records, RECORDS, rows);
}

static double seconds(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}

static double best_of(int rounds, void (*step)(void))
{
    double best = 1e9;
    for (int round = 0; round < rounds; round++) {
        double before = seconds();
        step();
        double ns = (seconds() - before) / RECORDS * 1e9;
        best = ns < best ? ns : best;
    }
    return best;
}

int main(int argc, char **argv)
{
    const int rounds = argc > 1 ? atoi(argv[1]) : 9;

    for (uint32_t i = 0; i < INSTRUMENTS; i++)
        names[i] = (beast_copy_name){(const uint8_t *)NAME, (const uint8_t *)NAME, 3 + i % 5, 8};
    for (uint64_t keys = 1000; keys <= 1000000; keys *= 1000) {
        fill(keys);
        double encoded = best_of(rounds, encode), back = best_of(rounds, decode), copied = best_of(rounds, copy);
        double summed = best_of(rounds, sum_up);
        printf("%-40s %6.1f ns, %.2f bytes\n", keys == 1000 ? "encode, 1,000 keys" : "encode, 1,000,000 keys", encoded,
               (double)bytes_len / RECORDS);
        printf("%-40s %6.1f ns\n", "decode", back);
        printf("%-40s %6.1f ns, %.0f bytes\n", "row for COPY", copied, (double)rows_len / RECORDS);
        printf("%-40s %6.1f ns, %u sums\n", "sum by key and hour", summed, found);
    }
    if (memcmp(records, decoded, sizeof records) != 0)
        return 1;
    return 0;
}
