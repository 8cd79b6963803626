/* Any bytes as a frame: extraction stays inside them, says the same each time, and hands out only what a price, a
 * symbol and a time may be. */
#include <stdlib.h>
#include <string.h>

#include "../c/extract_fixture.h"

#define MUST(condition)                                                                           \
    do {                                                                                          \
        if (!(condition))                                                                         \
            abort();                                                                              \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_price(beast_slice price)
{
    bool positive = false;
    MUST(price.len >= 1 && price.len <= BEAST_PRICE_MAX);
    MUST(price.ptr[0] != '.' && price.ptr[price.len - 1] != '.');
    MUST(price.len == 1 || price.ptr[0] != '0' || price.ptr[1] == '.');
    for (uint32_t i = 0, points = 0; i < price.len; i++) {
        points += price.ptr[i] == '.';
        positive |= price.ptr[i] >= '1' && price.ptr[i] <= '9';
        MUST(points <= 1 && (price.ptr[i] == '.' || (price.ptr[i] >= '0' && price.ptr[i] <= '9')));
    }
    MUST(positive);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static beast_plan *plan;
    static beast_extraction first, second;
    if (!plan)
        MUST(plan = fixture_plan());
    uint8_t *frame = malloc(size + 1); /* its own block, so that the sanitizer sees its end */
    memcpy(frame, data, size);
    beast_frame_kind kind = beast_extract(plan, frame, size, &first);
    second.form.holes = 0; /* the second time by the walk, whatever the form of an earlier frame did for the first */
    MUST(kind <= BEAST_FRAME_MALFORMED && beast_extract(plan, frame, size, &second) == kind);
    MUST(kind != BEAST_FRAME_TRADE || (first.trades->count == second.trades->count &&
                                       first.trades->bad_prices == second.trades->bad_prices &&
                                       first.trades->nameless == second.trades->nameless));
    for (uint32_t i = 0; kind == BEAST_FRAME_TRADE && i < first.trades->count; i++) {
        const beast_trade *trade = &first.trades->trade[i], *again = &second.trades->trade[i];
        MUST(first.trades->count <= BEAST_TRADES_MAX);
        MUST(trade->symbol.len >= 1 && trade->symbol.len <= BEAST_VALUE_MAX);
        MUST(trade->symbol.len == again->symbol.len && trade->price.len == again->price.len);
        MUST(memcmp(trade->symbol.ptr, again->symbol.ptr, trade->symbol.len) == 0);
        MUST(memcmp(trade->price.ptr, again->price.ptr, trade->price.len) == 0);
        MUST(trade->time_ns >= 0 && trade->time_ns == again->time_ns);
        check_price(trade->price);
        for (uint32_t j = 0; j < i; j++) /* each symbol once */
            MUST(trade->symbol.len != first.trades->trade[j].symbol.len ||
                 memcmp(trade->symbol.ptr, first.trades->trade[j].symbol.ptr, trade->symbol.len) != 0);
    }
    free(frame);
    return 0;
}
