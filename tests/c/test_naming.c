/* From a symbol as frames write it to the one that is looked up. */
#include "harness.h"
#include "naming.h"

static beast_slice slice(const char *text)
{
    return (beast_slice){(const uint8_t *)text, (uint32_t)strlen(text)};
}

/* The symbol stands before an unreadable page, then behind one. */
static void check_name(const beast_naming *naming, const char *symbol, const char *name)
{
    uint8_t room[BEAST_VALUE_MAX];
    uint32_t len = (uint32_t)strlen(symbol);
    beast_slice found = beast_naming_apply(naming, (beast_slice){harness_at_end(symbol, len), len}, room);
    CHECK_TEXT(found.ptr, found.len, name);
    found = beast_naming_apply(naming, (beast_slice){harness_at_start(symbol, len), len}, room);
    CHECK_TEXT(found.ptr, found.len, name);
}

static void both_ends_are_taken_off_and_the_rest_is_folded(void)
{
    beast_naming naming;
    CHECK_EQ(beast_naming_set(&naming, BEAST_FOLD_UPPER, slice("market."), slice(".trade")), BEAST_OK);
    check_name(&naming, "market.btc_usdt.trade", "BTC_USDT");
    check_name(&naming, "btc.trade", "BTC");
    check_name(&naming, "market.btc", "BTC");
    check_name(&naming, "market..trade", "");
    check_name(&naming, "market.trade", "TRADE");
    check_name(&naming, "Market.x", "MARKET.X");
    CHECK_EQ(beast_naming_set(&naming, BEAST_FOLD_LOWER, slice(""), slice("-PERP")), BEAST_OK);
    check_name(&naming, "B[TC-PERP", "b[tc");
    CHECK_EQ(beast_naming_set(&naming, BEAST_FOLD_NONE, slice("t"), slice("")), BEAST_OK);
    check_name(&naming, "tBTCUSD", "BTCUSD");
    check_name(&naming, "t", "");
}

static void what_is_too_long_is_refused(void)
{
    static const char longest[] = "0123456789012345678901234567890123456789012345678901234567890123";
    static const char longer[] = "01234567890123456789012345678901234567890123456789012345678901234";
    beast_naming naming = {.fold = BEAST_FOLD_LOWER};
    CHECK_EQ(beast_naming_set(&naming, BEAST_FOLD_NONE, slice(longer), slice("")), BEAST_BAD_ARGUMENT);
    CHECK_EQ(beast_naming_set(&naming, BEAST_FOLD_NONE, slice(""), slice(longer)), BEAST_BAD_ARGUMENT);
    CHECK_EQ(naming.fold, BEAST_FOLD_LOWER);
    CHECK_EQ(beast_naming_set(&naming, BEAST_FOLD_NONE, slice(longest), slice(longest)), BEAST_OK);
    check_name(&naming, longest, "");
}

int main(void)
{
    RUN(both_ends_are_taken_off_and_the_rest_is_folded);
    RUN(what_is_too_long_is_refused);
    return harness_report();
}
