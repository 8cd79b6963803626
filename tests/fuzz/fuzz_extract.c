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

static void check_trades(const beast_trades *trades)
{
    MUST(trades->count <= BEAST_TRADES_MAX);
    for (uint32_t i = 0; i < trades->count; i++) {
        const beast_trade *trade = &trades->trade[i];
        MUST(trade->symbol.len >= 1 && trade->symbol.len <= BEAST_VALUE_MAX);
        MUST(trade->time_ns >= 0);
        check_price(trade->price);
        for (uint32_t j = 0; j < i; j++) /* each symbol once */
            MUST(trade->symbol.len != trades->trade[j].symbol.len ||
                 memcmp(trade->symbol.ptr, trades->trade[j].symbol.ptr, trade->symbol.len) != 0);
    }
}

static void check_same(const beast_trades *one, const beast_trades *other)
{
    MUST(one->count == other->count && one->bad_prices == other->bad_prices && one->nameless == other->nameless);
    for (uint32_t i = 0; i < one->count; i++) {
        const beast_trade *trade = &one->trade[i], *again = &other->trade[i];
        MUST(trade->symbol.len == again->symbol.len && trade->price.len == again->price.len);
        MUST(memcmp(trade->symbol.ptr, again->symbol.ptr, trade->symbol.len) == 0);
        MUST(memcmp(trade->price.ptr, again->price.ptr, trade->price.len) == 0);
        MUST(trade->time_ns == again->time_ns);
    }
}

/* Each frame is read by the walk, by the form that it leaves itself, and by the form of an earlier frame. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static beast_plan *plan;
    static beast_extraction walked, own, earlier;
    if (!plan)
        MUST(plan = fixture_plan());
    uint8_t *frame = malloc(size + 1); /* its own block, so that the sanitizer sees its end */
    memcpy(frame, data, size);
    walked.form.holes = 0;
    beast_frame_kind kind = beast_extract(plan, frame, size, &walked);
    MUST(kind <= BEAST_FRAME_MALFORMED);
    own.form = walked.form;
    MUST(beast_extract(plan, frame, size, &own) == kind);
    MUST(beast_extract(plan, frame, size, &earlier) == kind);
    if (kind == BEAST_FRAME_TRADE) {
        check_trades(walked.trades);
        check_same(walked.trades, own.trades);
        check_same(walked.trades, earlier.trades);
    }
    free(frame);
    return 0;
}
