/* The few things a C test needs: checks that count, inputs laid flush against unreadable pages, a main.
 *
 *     static void adds_up(void) { CHECK_EQ(1 + 1, 2); }
 *     int main(void) { RUN(adds_up); return harness_report(); }
 */
#ifndef BEAST_HARNESS_H
#define BEAST_HARNESS_H

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

static const char *harness_test;
static unsigned long harness_failures;

static inline void harness_fail(const char *file, int line, const char *what)
{
    if (harness_failures++ < 50)
        fprintf(stderr, "%s:%d: %s: %s\n", file, line, harness_test ? harness_test : "-", what);
}

#define CHECK(condition)                                                                          \
    do {                                                                                          \
        if (!(condition))                                                                         \
            harness_fail(__FILE__, __LINE__, #condition);                                         \
    } while (0)

/* Integers of any type. */
#define CHECK_EQ(got, want)                                                                       \
    do {                                                                                          \
        long long harness_got = (long long)(got), harness_want = (long long)(want);               \
        if (harness_got != harness_want) {                                                        \
            char harness_text[256];                                                               \
            snprintf(harness_text, sizeof harness_text, "%s is %lld, not %lld", #got, harness_got, harness_want); \
            harness_fail(__FILE__, __LINE__, harness_text);                                       \
        }                                                                                         \
    } while (0)

/* `len` bytes against a string. */
#define CHECK_TEXT(ptr, len, want)                                                                \
    do {                                                                                          \
        const char *harness_p = (const char *)(ptr), *harness_w = (want);                         \
        size_t harness_n = (size_t)(len);                                                         \
        if (harness_n != strlen(harness_w) || (harness_n && memcmp(harness_p, harness_w, harness_n))) { \
            char harness_text[512];                                                               \
            snprintf(harness_text, sizeof harness_text, "%s is \"%.*s\", not \"%s\"", #ptr,       \
                     (int)(harness_n < 200 ? harness_n : 200), harness_p, harness_w);             \
            harness_fail(__FILE__, __LINE__, harness_text);                                       \
        }                                                                                         \
    } while (0)

#define RUN(test)                                                                                 \
    do {                                                                                          \
        harness_test = #test;                                                                     \
        test();                                                                                   \
    } while (0)

static inline int harness_report(void)
{
    if (harness_failures)
        fprintf(stderr, "%lu checks failed\n", harness_failures);
    return harness_failures ? EXIT_FAILURE : EXIT_SUCCESS;
}

#define HARNESS_ROOM ((size_t)1 << 20) /* longest input */
#define HARNESS_GUARD ((size_t)1 << 16)

/* Readable memory between two unreadable pages; made once, overwritten by the next input. */
static inline uint8_t *harness_room(void)
{
    static uint8_t *room;
    if (room)
        return room;
    uint8_t *map = mmap(NULL, HARNESS_ROOM + 2 * HARNESS_GUARD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED || mprotect(map + HARNESS_GUARD, HARNESS_ROOM, PROT_READ | PROT_WRITE) != 0) {
        perror("harness_room");
        exit(EXIT_FAILURE);
    }
    return room = map + HARNESS_GUARD;
}

/* A copy whose last byte is the last readable one: reading past the end crashes. */
static inline uint8_t *harness_at_end(const void *bytes, size_t len)
{
    uint8_t *copy = harness_room() + HARNESS_ROOM - len;
    return len ? memcpy(copy, bytes, len) : copy;
}

/* A copy whose first byte is the first readable one: reading before the start crashes. */
static inline uint8_t *harness_at_start(const void *bytes, size_t len)
{
    return len ? memcpy(harness_room(), bytes, len) : harness_room();
}

/* xorshift64*: the same run every time for the same seed. */
static inline uint64_t harness_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(0x2545F4914F6CDD1D);
}

static inline int64_t harness_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

#endif
