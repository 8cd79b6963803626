/* A ring's file with any bytes in its page and its records: refused, or records that are no more than it has places for,
 * of its lane, with ascending sequences. Two bytes say where, the third what is written over a good file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "usage_ring.h"

#define MUST(condition)                                                                           \
    do {                                                                                          \
        if (!(condition))                                                                         \
            abort();                                                                              \
    } while (0)

#define CAPACITY 16
#define SIZE (BEAST_USAGE_PAGE + CAPACITY * sizeof(beast_usage))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A ring that a process has left with five records published and a flight of three under way. */
static void make_good(uint8_t good[SIZE])
{
    char folder[] = "/tmp/beast-fuzz-XXXXXX", path[64];
    beast_usage taken[CAPACITY];
    MUST(mkdtemp(folder));
    beast_usage_ring *ring = beast_usage_ring_open(folder, 1, 2, CAPACITY);
    MUST(ring);
    for (uint32_t i = 0; i < 20; i++) {
        beast_usage *record = beast_usage_claim(ring);
        uint64_t sequence = record->sequence;
        *record = (beast_usage){.sequence = sequence, .lane = 2, .key_id = i};
        if (i < 17)
            beast_usage_sent(ring, 1, 0);
        if (i < 12)
            MUST(beast_usage_take(ring, taken, CAPACITY) == 1);
    }
    beast_flight *flight = beast_usage_flight(ring);
    flight->message[0].msg_len = flight->message[1].msg_len = 100;
    flight->recorded[0] = 3;
    flight->recorded[1] = flight->recorded[2] = 1;
    beast_usage_sending(ring, beast_flight_messages(0, 3));
    snprintf(path, sizeof path, "%s/%020d-%03d.ring", folder, 1, 2);
    FILE *file = fopen(path, "rb");
    MUST(file && fread(good, 1, SIZE, file) == SIZE);
    fclose(file);
    beast_usage_ring_free(ring);
    unlink(path);
    rmdir(folder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t good[SIZE], file[SIZE];
    static char path[64];
    static int fd = -1;
    bool untouched = size == 0;
    beast_usage_found found;

    if (fd < 0) {
        make_good(good);
        fd = memfd_create("ring", MFD_CLOEXEC);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    memcpy(file, good, SIZE);
    for (; size >= 3; data += 3, size -= 3)
        file[(data[0] | data[1] << 8) % SIZE] = data[2];
    MUST(pwrite(fd, file, SIZE, 0) == SIZE && ftruncate(fd, size ? SIZE - data[0] % 2 : SIZE) == 0);
    if (beast_usage_recover(path, &found) != BEAST_OK) {
        MUST(!untouched);
        return 0;
    }
    MUST(found.n <= CAPACITY && (!untouched || found.n == 8));
    for (uint32_t i = 0; i < found.n; i++)
        MUST(found.records[i].lane == found.lane && (i == 0 || found.records[i].sequence > found.records[i - 1].sequence));
    free(found.records);
    return 0;
}
