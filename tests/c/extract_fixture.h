/* Plans from the text of their paths, for tests and the fuzzer. */
#ifndef BEAST_EXTRACT_FIXTURE_H
#define BEAST_EXTRACT_FIXTURE_H

#include <stdlib.h>
#include <string.h>

#include "extract.h"

/* Splits at dots; `text` must outlive the steps. */
static inline uint32_t fixture_steps(const char *text, beast_step steps[BEAST_STEPS_MAX])
{
    uint32_t n = 0;
    for (const char *at = text; *at && n < BEAST_STEPS_MAX; n++) {
        size_t len = strcspn(at, ".");
        char *end;
        long index = strtol(at, &end, 10);
        steps[n] = (beast_step){.kind = BEAST_STEP_NAME, .name = (const uint8_t *)at, .name_len = (uint32_t)len};
        if (end == at + len && len)
            steps[n] = (beast_step){.kind = BEAST_STEP_INDEX, .index = (int32_t)index};
        else if (len == 1 && *at == '*')
            steps[n].kind = BEAST_STEP_ONLY;
        else if (len == 7 && memcmp(at, "[first]", 7) == 0)
            steps[n].kind = BEAST_STEP_FIRST;
        else if (len == 6 && memcmp(at, "[last]", 6) == 0)
            steps[n].kind = BEAST_STEP_LAST;
        else if (len == 6 && memcmp(at, "[each]", 6) == 0)
            steps[n].kind = BEAST_STEP_EACH;
        else if (len == 6 && memcmp(at, "[name]", 6) == 0)
            steps[n].kind = BEAST_STEP_NAMED;
        at += len + (at[len] == '.');
    }
    return n;
}

static inline beast_status fixture_condition(beast_plan *plan, const char *path, beast_operator op, const char *value)
{
    beast_step steps[BEAST_STEPS_MAX];
    uint32_t n = fixture_steps(path, steps);
    return beast_plan_condition(plan, steps, n, op, BEAST_TOKEN_STRING, (const uint8_t *)value, (uint32_t)strlen(value));
}

static inline beast_status fixture_value(beast_plan *plan, beast_role role, const char *path, beast_time_format format)
{
    beast_step steps[BEAST_STEPS_MAX];
    uint32_t n = fixture_steps(path, steps);
    return beast_plan_value(plan, steps, n, role, format);
}

/* One shape, told by `where` being `what`; paths that are NULL are left out. */
static inline void fixture_shape(beast_plan *plan, const char *where, const char *what, const char *price,
                                 const char *symbol, const char *time, beast_time_format format, const char *fallback)
{
    beast_plan_shape(plan);
    fixture_condition(plan, where, BEAST_OP_EQ, what);
    fixture_value(plan, BEAST_ROLE_PRICE, price, format);
    fixture_value(plan, BEAST_ROLE_SYMBOL, symbol, format);
    if (time)
        fixture_value(plan, BEAST_ROLE_TIME, time, format);
    if (fallback)
        fixture_value(plan, BEAST_ROLE_FALLBACK, fallback, format);
}

static inline beast_status fixture_sequence(beast_plan *plan, const char *path)
{
    beast_step steps[BEAST_STEPS_MAX];
    uint32_t n = fixture_steps(path, steps);
    return beast_plan_sequence(plan, steps, n);
}

/* What is numbered. */
typedef enum fixture_numbers { FIXTURE_TRADES, FIXTURE_FRAMES } fixture_numbers;

/* Symbols are the names of members, prices are counted in thousandths. */
static inline void fixture_members(beast_plan *plan)
{
    beast_plan_shape(plan);
    beast_plan_scale(plan, 3);
    fixture_condition(plan, "channel", BEAST_OP_SUFFIX, "@trades");
    fixture_condition(plan, "u.*.[name]", BEAST_OP_ABSENT, "");
    fixture_value(plan, BEAST_ROLE_PRICE, "u.[each].[last].p", BEAST_TIME_UNIX_NS);
    fixture_value(plan, BEAST_ROLE_SYMBOL, "u.[each].[name]", BEAST_TIME_UNIX_NS);
    fixture_value(plan, BEAST_ROLE_TIME, "t", BEAST_TIME_UNIX_NS);
}

/* Every kind of step, every order, in four shapes. */
static inline beast_plan *fixture_plan(fixture_numbers numbers)
{
    beast_plan *plan = beast_plan_new();
    fixture_shape(plan, "channel", "trade", "data.[last].price", "data.[last].symbol", "data.[last].time",
                  BEAST_TIME_RFC3339, "time");
    if (numbers == FIXTURE_TRADES)
        fixture_value(plan, BEAST_ROLE_SEQUENCE, "data.[last].id", 0);
    else
        fixture_sequence(plan, "n");
    fixture_shape(plan, "channel", "nested", "events.[first].trades.[last].price", "events.[first].symbol",
                  "events.[first].trades.[last].time", BEAST_TIME_UNIX_MS, "time");
    if (numbers == FIXTURE_TRADES)
        fixture_shape(plan, "*.0.-1", "odd", "0.-2.p", "0.-1.*", NULL, BEAST_TIME_UNIX_NS, NULL);
    else
        fixture_members(plan);
    beast_plan_shape(plan);
    fixture_condition(plan, "p", BEAST_OP_PRESENT, "");
    fixture_condition(plan, "e", BEAST_OP_ABSENT, "");
    fixture_condition(plan, "s", BEAST_OP_PREFIX, "B");
    fixture_value(plan, BEAST_ROLE_PRICE, "p", BEAST_TIME_UNIX_NS);
    fixture_value(plan, BEAST_ROLE_SYMBOL, "s", BEAST_TIME_UNIX_NS);
    fixture_value(plan, BEAST_ROLE_TIME, "E", BEAST_TIME_UNIX_NS);
    if (numbers == FIXTURE_TRADES)
        fixture_value(plan, BEAST_ROLE_SEQUENCE, "n", 0);
    return beast_plan_seal(plan) == BEAST_OK ? plan : NULL;
}

#endif
