/* Any bytes as a frame: extraction stays inside them, says the same each time, and hands out only what a price, a
 * symbol, a time and a number may be. */
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
        MUST(trade->sequence_first <= trade->sequence && trade->sequenced <= trades->elements);
        MUST((trade->sequence_first != 0) == (trade->sequenced != 0));
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
        MUST(trade->sequence_first == again->sequence_first && trade->sequence == again->sequence);
        MUST(trade->sequenced == again->sequenced);
    }
}

/* One plan's three ways to a frame: the walk, the form that it leaves itself, and the form of an earlier frame. */
typedef struct reader {
    beast_plan *plan;
    beast_extraction walked, own, earlier;
} reader;

static void check_reader(reader *r, const uint8_t *frame, size_t size)
{
    const beast_extraction *others[] = {&r->own, &r->earlier};
    r->walked.form.holes = 0;
    beast_frame_kind kind = beast_extract(r->plan, frame, size, &r->walked);
    MUST(kind <= BEAST_FRAME_MALFORMED && !(kind == BEAST_FRAME_MALFORMED && r->walked.sequenced));
    r->own.form = r->walked.form;
    MUST(beast_extract(r->plan, frame, size, &r->own) == kind);
    MUST(beast_extract(r->plan, frame, size, &r->earlier) == kind);
    if (kind == BEAST_FRAME_TRADE)
        check_trades(r->walked.trades);
    for (int i = 0; i < 2; i++) {
        MUST(others[i]->sequenced == r->walked.sequenced);
        MUST(!r->walked.sequenced || others[i]->sequence == r->walked.sequence);
        if (kind == BEAST_FRAME_TRADE)
            check_same(r->walked.trades, others[i]->trades);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static reader readers[] = {[FIXTURE_TRADES] = {.plan = NULL}, [FIXTURE_FRAMES] = {.plan = NULL}};
    uint8_t *frame = malloc(size + 1); /* its own block, so that the sanitizer sees its end */
    memcpy(frame, data, size);
    for (fixture_numbers numbers = FIXTURE_TRADES; numbers <= FIXTURE_FRAMES; numbers++) {
        if (!readers[numbers].plan)
            MUST(readers[numbers].plan = fixture_plan(numbers));
        check_reader(&readers[numbers], frame, size);
    }
    free(frame);
    return 0;
}
