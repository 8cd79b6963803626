#include "usage_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define VERSION 1
#define NAME_MAX_LEN 64
#define UNFINISHED ".new"

static const char MAGIC[8] = "beastuse";

_Static_assert(sizeof(beast_usage_page) <= BEAST_USAGE_PAGE, "the page holds it");

static bool is_capacity(uint64_t capacity)
{
    return capacity > 0 && (capacity & (capacity - 1)) == 0 && capacity <= UINT32_MAX;
}

static size_t size_of(uint64_t capacity) { return BEAST_USAGE_PAGE + capacity * sizeof(beast_usage); }

/* ---- as long as the process lives ---- */

static beast_status map(beast_usage_file *file)
{
    int flags = file->fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
    void *memory = mmap(NULL, file->size, PROT_READ | PROT_WRITE, flags, file->fd, 0);

    if (memory == MAP_FAILED)
        return file->fd >= 0 ? BEAST_SYSTEM : BEAST_NO_MEMORY;
    /* A lane that writes its first lap shall not wait for the pages to come. */
    if (file->fd >= 0)
        memset(memory, 0, file->size);
    file->page = memory;
    file->record = (beast_usage *)((uint8_t *)memory + BEAST_USAGE_PAGE);
    return BEAST_OK;
}

/* `folder/BOOT-LANE.ring.new` until it is a ring, then without the last part. */
static beast_status create(beast_usage_file *file, const char *folder, int64_t boot, uint32_t lane)
{
    size_t room = strlen(folder) + NAME_MAX_LEN;

    file->path = malloc(room);
    if (!file->path)
        return BEAST_NO_MEMORY;
    snprintf(file->path, room, "%s/%020lld-%03u.ring" UNFINISHED, folder, (long long)boot, lane);
    file->fd = open(file->path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (file->fd < 0)
        return BEAST_SYSTEM;
    do
        errno = posix_fallocate(file->fd, 0, (off_t)file->size);
    while (errno == EINTR);
    return errno || flock(file->fd, LOCK_EX | LOCK_NB) ? BEAST_SYSTEM : BEAST_OK;
}

/* Renaming would replace a ring of the same name, which somebody may still have to recover; it is for file systems that
 * know no links. */
static int name_it(const char *path, const char *name)
{
    if (link(path, name) == 0)
        return unlink(path);
    if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS)
        return -1;
    if (access(name, F_OK) == 0) {
        errno = EEXIST;
        return -1;
    }
    return rename(path, name);
}

static beast_status finish(beast_usage_file *file)
{
    size_t len = strlen(file->path) - strlen(UNFINISHED);
    char *name = strndup(file->path, len);

    if (!name)
        return BEAST_NO_MEMORY;
    int failed = name_it(file->path, name);
    free(name);
    if (failed)
        return BEAST_SYSTEM;
    file->path[len] = '\0';
    return BEAST_OK;
}

static void close_all(beast_usage_file *file, bool remove)
{
    int error = errno;

    if (file->fd >= 0 && remove) /* not in a child that has abandoned it */
        unlink(file->path);
    if (file->page)
        munmap(file->page, file->size);
    if (file->fd >= 0)
        close(file->fd);
    free(file->path);
    *file = (beast_usage_file){.fd = -1};
    errno = error;
}

beast_status beast_usage_file_open(beast_usage_file *file, const char *folder, int64_t boot, uint32_t lane,
                                   uint32_t capacity)
{
    beast_status status = BEAST_OK;

    *file = (beast_usage_file){.fd = -1, .size = size_of(capacity)};
    if (!is_capacity(capacity))
        return BEAST_BAD_ARGUMENT;
    if (folder)
        status = create(file, folder, boot, lane);
    if (status == BEAST_OK)
        status = map(file);
    if (status == BEAST_OK) {
        beast_usage_page *page = file->page;
        page->version = VERSION;
        page->record_bytes = sizeof(beast_usage);
        page->boot = boot;
        page->lane = lane;
        page->capacity = capacity;
        memcpy(page->magic, MAGIC, sizeof MAGIC);
        status = folder ? finish(file) : BEAST_OK;
    }
    if (status != BEAST_OK)
        close_all(file, true);
    return status;
}

void beast_usage_file_close(beast_usage_file *file, uint64_t claimed)
{
    if (file->page)
        close_all(file, atomic_load_explicit(&file->page->tail, memory_order_acquire) == claimed);
}

void beast_usage_file_abandon(beast_usage_file *file)
{
    if (file->fd < 0)
        return;
    /* The lock is held for as long as anybody has this description open, or mapped. In its place comes memory that is
     * nobody's. */
    mmap(file->page, file->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    close(file->fd);
    file->fd = -1;
}

/* ---- after its death ---- */

static bool is_ring(const beast_usage_page *page, off_t size)
{
    return memcmp(page->magic, MAGIC, sizeof MAGIC) == 0 && page->version == VERSION &&
           page->record_bytes == sizeof(beast_usage) && is_capacity(page->capacity) && page->lane <= UINT8_MAX &&
           size == (off_t)size_of(page->capacity);
}

static bool read_whole(int fd, void *to, size_t len, off_t at)
{
    while (len > 0) {
        ssize_t got = pread(fd, to, len, at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        to = (uint8_t *)to + got;
        len -= (size_t)got;
        at += got;
    }
    return true;
}

/* Only the loss of power leaves pages behind that are of different ages. A record of an earlier lap has a sequence that
 * is too low for its place, and one that was never written has none. */
static bool belongs(const beast_usage *record, const beast_usage_page *page, uint64_t place, uint64_t *ahead)
{
    if (record->lane != page->lane || record->sequence < place + *ahead)
        return false;
    *ahead = record->sequence - place;
    return true;
}

static beast_status read_records(int fd, const beast_usage_page *page, beast_usage_found *found)
{
    uint64_t head = atomic_load(&page->head), at = atomic_load(&page->tail), ahead = 1;
    uint64_t flown = atomic_load(&page->from) + beast_flight_taken(&page->flight, atomic_load(&page->sending));
    uint64_t end = flown > head ? flown : head;

    if (end < at || end - at > page->capacity)
        return BEAST_BAD_ARGUMENT;
    if (end == at)
        return BEAST_OK;
    found->records = malloc((end - at) * sizeof(beast_usage));
    if (!found->records)
        return BEAST_NO_MEMORY;
    for (; at != end; at++) {
        beast_usage *record = &found->records[found->n];
        off_t place = (off_t)(at & (page->capacity - 1));
        if (!read_whole(fd, record, sizeof *record, BEAST_USAGE_PAGE + place * (off_t)sizeof *record))
            return BEAST_SYSTEM;
        record->key_number = 0;
        found->n += belongs(record, page, at, &ahead);
    }
    return BEAST_OK;
}

beast_status beast_usage_recover(const char *path, beast_usage_found *found)
{
    _Alignas(BEAST_CACHE_LINE) beast_usage_page page;
    beast_status status = BEAST_SYSTEM;
    struct stat about;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    *found = (beast_usage_found){.n = 0};
    /* The kernel gives the lock up when the last thread of its holder is gone, and with it the last send. */
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &about) == 0) {
        status = BEAST_BAD_ARGUMENT;
        if (about.st_size >= BEAST_USAGE_PAGE && read_whole(fd, &page, sizeof page, 0) && is_ring(&page, about.st_size)) {
            found->boot = page.boot;
            found->lane = page.lane;
            status = read_records(fd, &page, found);
        }
    }
    int error = errno;
    if (fd >= 0)
        close(fd);
    if (status != BEAST_OK) {
        free(found->records);
        *found = (beast_usage_found){.n = 0};
    }
    errno = error;
    return status;
}
