/* Large tables: zeroed memory that comes as it is touched, in large pages where the kernel has them. An entry drawn at
 * random from a table larger than the caches costs a page walk besides its line. */
#ifndef BEAST_PAGES_H
#define BEAST_PAGES_H

#include <stddef.h>

/* NULL without memory. Aligned to a page at least. */
void *beast_pages_new(size_t size);
/* What beast_pages_new gave for this size, or NULL. */
void beast_pages_free(void *memory, size_t size);

#endif
