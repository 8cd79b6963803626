/* SHA-256 against published vectors, and the processor's instructions against the portable code. */
#include "harness.h"
#include "sha256.h"

static void check_digest(const uint8_t *data, size_t len, const char *want)
{
    uint8_t digest[2][BEAST_SHA256_LEN];
    beast_sha256(data, len, digest[0]);
    beast_sha256_portable(data, len, digest[1]);
    for (int way = 0; way < 2; way++) {
        char text[2 * BEAST_SHA256_LEN + 1];
        for (int i = 0; i < BEAST_SHA256_LEN; i++)
            snprintf(text + 2 * i, 3, "%02x", digest[way][i]);
        CHECK_TEXT(text, strlen(text), want);
    }
}

/* NIST, "Secure Hash Standard example values" and the Cryptographic Algorithm Validation Program. */
static void agrees_with_nist(void)
{
    static const struct {
        const char *message, *digest;
    } known[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrst"
         "nopqrstu",
         "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        check_digest((const uint8_t *)known[i].message, strlen(known[i].message), known[i].digest);

    static uint8_t million[1000000];
    memset(million, 'a', sizeof million);
    check_digest(million, sizeof million, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void both_ways_agree_at_every_length(void)
{
    uint64_t random = 1;
    uint8_t bytes[400];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)harness_random(&random);
    for (size_t len = 0; len <= sizeof bytes; len++) {
        uint8_t fast[BEAST_SHA256_LEN], portable[BEAST_SHA256_LEN];
        beast_sha256(harness_at_end(bytes, len), len, fast);
        beast_sha256_portable(harness_at_end(bytes, len), len, portable);
        CHECK(memcmp(fast, portable, sizeof fast) == 0);
    }
}

int main(void)
{
    RUN(agrees_with_nist);
    RUN(both_ways_agree_at_every_length);
    return harness_report();
}
