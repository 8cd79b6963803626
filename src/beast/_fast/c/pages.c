#include "pages.h"

#include <sys/mman.h>

void *beast_pages_new(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    (void)madvise(memory, size, MADV_HUGEPAGE); /* a wish: small pages do as well */
    return memory;
}

void beast_pages_free(void *memory, size_t size)
{
    if (memory)
        munmap(memory, size);
}
