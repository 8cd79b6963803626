/* The two ways a UDP request is read, the short cut for plain ones and the general one, hold the same opinion. */
#include "harness.h"
#include "request.h"

static uint8_t scratch[4096];
static beast_request req = {.scratch = scratch};

static const char *const valid[] = {
    "{\"api_key\":\"tb_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\",\"asset\":\"BTC\"}",
    "{\"api_key\": \"tb_0123456789abcdef\", \"asset\": \"btc\", \"exchange\": \"kraken\", \"id\": \"a1\"}",
    "{\"api_key\":\"tb_0123456789abcdef\",\"asset\":\"btc\",\"exchange\":\"kraken\",\"id\":\"a1\"}",
    "{\"api_key\":\"tb_0123456789abcdef\",\"asset\":\"Sol\",\"id\":\"0123456789012345678901234567890123456789\"}",
    "{\"id\":\"a1\",\"exchange\":\"okx\",\"asset\":\"BTC-PERP.X\",\"api_key\":\"tb_0123456789abcdef\"}",
    "{\"api_key\":\"tb_1\",\"assets\":[\"BTC\",\"ETH\",\"SOL\"],\"id\":7,\"max_age_ms\":12,\"allow_stale\":false}",
    "{\"x\":[{\"y\":[1.5e-3,\"\\u00e9\\ud83d\\ude00\",null]}],\"asset\":\"\xE2\x82\xAC\"}",
};

/* A prefix is never a whole request, and never sends the reader outside. */
static void refuses_every_prefix(void)
{
    for (size_t i = 0; i < sizeof valid / sizeof *valid; i++) {
        size_t whole = strlen(valid[i]);
        for (size_t len = 0; len <= whole; len++) {
            beast_fault fault = beast_request_parse(harness_at_end(valid[i], len), len, &req);
            if (len == whole)
                CHECK_EQ(fault, BEAST_FAULT_NONE);
            else
                CHECK(fault == BEAST_FAULT_SYNTAX || fault == BEAST_FAULT_UTF8);
        }
    }
}

static size_t offset(beast_slice slice, const uint8_t *input)
{
    return slice.ptr ? (size_t)(slice.ptr - input) : SIZE_MAX;
}

/* The short cut for plain requests must not be of another opinion than the general reading, which two more spaces
 * before the first member force. */
static void agrees_with_the_short_cut(const char *text, size_t len)
{
    static beast_request general;
    static uint8_t moved_scratch[4096];
    char moved[BEAST_DATAGRAM_MAX + 2];
    if (len == 0 || len > BEAST_DATAGRAM_MAX - 2 || text[0] != '{')
        return;
    moved[0] = '{';
    moved[1] = moved[2] = ' ';
    memcpy(moved + 3, text + 1, len - 1);
    general.scratch = moved_scratch;
    beast_fault want = beast_request_parse((const uint8_t *)moved, len + 2, &general);
    const uint8_t *input = harness_at_end(text, len);
    CHECK_EQ(beast_request_parse(input, len, &req), want);
    CHECK_EQ(req.n_assets, general.n_assets);
    CHECK_EQ(req.many, general.many);
    CHECK_EQ(req.has_exchange, general.has_exchange);
    CHECK_EQ(req.max_age_ms, general.max_age_ms);
    CHECK_EQ(req.id.len, general.id.len);
    CHECK_EQ(req.api_key.len, general.api_key.len);
    if (want == BEAST_FAULT_NONE) {
        if (general.id.ptr)
            CHECK_EQ(offset(req.id, input), offset(general.id, (const uint8_t *)moved) - 2);
        CHECK(memcmp(req.assets[0].word, general.assets[0].word, 24) == 0);
        CHECK_EQ(req.assets[0].escaped, general.assets[0].escaped);
        CHECK(!req.has_exchange || memcmp(req.exchange.word, general.exchange.word, 24) == 0);
    }
}

static void agrees_on_mutations(void)
{
    static const char alphabet[] = "{}[]\",:\\ u01aA\x01\xC3\xFF/";
    uint64_t seed = 7;
    for (int round = 0; round < 100000; round++) {
        char text[256];
        const char *base = valid[harness_random(&seed) % (sizeof valid / sizeof *valid)];
        size_t len = strlen(base);
        memcpy(text, base, len);
        for (uint64_t n = harness_random(&seed) % 3; n > 0; n--) {
            size_t at = harness_random(&seed) % len;
            if (harness_random(&seed) % 4) {
                text[at] = alphabet[harness_random(&seed) % (sizeof alphabet - 1)];
            } else {
                memmove(text + at, text + at + 1, len - at - 1);
                len--;
            }
        }
        agrees_with_the_short_cut(text, len);
    }
}

int main(void)
{
    RUN(refuses_every_prefix);
    RUN(agrees_on_mutations);
    return harness_report();
}
