/* SHA-256 (FIPS 180-4). */
#ifndef BEAST_SHA256_H
#define BEAST_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define BEAST_SHA256_LEN 32

/* Uses the processor's instructions where they are. */
void beast_sha256(const uint8_t *data, size_t len, uint8_t digest[BEAST_SHA256_LEN]);

/* The same without them: what other processors run, and what tests compare with. */
void beast_sha256_portable(const uint8_t *data, size_t len, uint8_t digest[BEAST_SHA256_LEN]);

#endif
