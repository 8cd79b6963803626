/* Where a ring of usage records lies: one page that says what it is and how far its two ends are, then the records.
 * In a file, mapped and shared, it outlives a process that is killed; without one it is memory like any other.
 *
 * docs/threads.md says in which order the words of the page change, and what a reader may conclude after a crash. */
#ifndef BEAST_USAGE_FILE_H
#define BEAST_USAGE_FILE_H

#include <stdatomic.h>
#include <stddef.h>

#include "flight.h"
#include "status.h"
#include "usage_record.h"

#define BEAST_USAGE_PAGE 4096

typedef struct beast_usage_page {
    char magic[8];
    uint32_t version, record_bytes;
    int64_t boot; /* CLOCK_REALTIME in ns: which life of the server this is */
    uint32_t lane, capacity;
    _Alignas(BEAST_CACHE_LINE) _Atomic uint64_t head; /* records before it were sent */
    _Atomic uint64_t from;    /* the first record of what is in flight */
    _Atomic uint64_t sending; /* beast_flight_word */
    _Alignas(BEAST_CACHE_LINE) _Atomic uint64_t tail; /* records before it are safe elsewhere */
    _Alignas(BEAST_CACHE_LINE) beast_flight flight;
} beast_usage_page;

typedef struct beast_usage_file {
    beast_usage_page *page;
    beast_usage *record;
    size_t size;
    int fd;     /* -1: no file */
    char *path; /* NULL: no file */
} beast_usage_file;

/* Room for `capacity` records (a power of two), all of it there from the start: nothing that is written later can find
 * the disk full. `folder` NULL: no file, and nothing is left of it. The file's name holds boot and lane, and while it is
 * open nobody can recover it. BAD_ARGUMENT, NO_MEMORY, or SYSTEM with errno. */
beast_status beast_usage_file_open(beast_usage_file *file, const char *folder, int64_t boot, uint32_t lane,
                                   uint32_t capacity);
/* Removes the file, too, when all that was claimed of it is safe elsewhere. */
void beast_usage_file_close(beast_usage_file *file, uint64_t claimed);

/* In a child that was forked: the file is its parent's alone, who may die before it. */
void beast_usage_file_abandon(beast_usage_file *file);

typedef struct beast_usage_found {
    int64_t boot;
    uint32_t lane, n;
    beast_usage *records; /* the caller frees it; NULL: none */
} beast_usage_found;

/* What a process has left behind that is there no more: the records whose answers the kernel has taken and that are not
 * released. The file stays as it is. SYSTEM with errno, EWOULDBLOCK while the process lives; BAD_ARGUMENT,
 * it is no ring; NO_MEMORY. */
beast_status beast_usage_recover(const char *path, beast_usage_found *found);

#endif
