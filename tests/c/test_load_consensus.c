/* The load client's check of what a consensus says of its sources. */
#include "harness.h"
#include "load_client.h"

#define SOURCES                                                                                                   \
    ",\"sources_used\":[\"coinbase\",\"kraken\"],\"sources_excluded\":[{\"exchange\":\"okx\",\"reason\":\"outlier\"}," \
    "{\"exchange\":\"gemini\",\"reason\":\"stale\"}],\"spread_bps\":1.3"
#define CONSENSUS                                                                                                  \
    "{\"asset\":\"BTC\",\"price\":83421.57,\"currency\":\"USD\",\"exchange\":\"consensus\",\"source\":\"consensus-median\"," \
    "\"timestamp\":\"2026-04-12T14:23:01.123456Z\"%s,\"age_ms\":     4,\"state\":\"live\",\"tier\":1,\"node\":\"N\"}"

static beast_load_fault read_text(const char *text)
{
    beast_load_expected expected = {.asset = {(const uint8_t *)"BTC", 3}, .max_age_ms = 1000};
    return beast_load_read(&expected, harness_at_end(text, strlen(text)), strlen(text)).fault;
}

static beast_load_fault read_consensus(const char *sources)
{
    char body[1024];
    snprintf(body, sizeof body, CONSENSUS, sources);
    return read_text(body);
}

static void a_consensus_says_who_took_part(void)
{
    static const char *const wrong[] = {
        "",
        ",\"sources_used\":[\"coinbase\"]",
        ",\"sources_used\":[],\"sources_excluded\":[],\"spread_bps\":0.0",
        ",\"sources_used\":[\"\"],\"sources_excluded\":[],\"spread_bps\":0.0",
        ",\"sources_used\":[\"a\"],\"sources_excluded\":[],\"spread_bps\":-1.0",
        ",\"sources_used\":[\"a\",],\"sources_excluded\":[],\"spread_bps\":1.0",
        ",\"sources_used\":[\"a\"],\"sources_used_more\":0,\"sources_excluded\":[],\"spread_bps\":1.0",
        ",\"sources_used\":[\"a\"],\"sources_excluded\":[{\"exchange\":\"okx\"}],\"spread_bps\":1.0",
    };
    CHECK_EQ(read_consensus(SOURCES), BEAST_LOAD_FAULT_NONE);
    CHECK_EQ(read_consensus(",\"sources_used\":[\"a\"],\"sources_excluded\":[],\"spread_bps\":0.0"), BEAST_LOAD_FAULT_NONE);
    CHECK_EQ(read_consensus(",\"sources_used\":[\"a\"],\"sources_used_more\":7,\"sources_excluded\":[],"
                            "\"sources_excluded_more\":64,\"spread_bps\":12.5"),
             BEAST_LOAD_FAULT_NONE);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CHECK_EQ(read_consensus(wrong[i]), BEAST_LOAD_FAULT_MALFORMED);
    for (size_t len = 0; len < strlen(SOURCES) - 2; len++) { /* without its fraction, the spread is a number, too */
        char cut[512];
        snprintf(cut, sizeof cut, "%.*s", (int)len, SOURCES);
        CHECK_EQ(read_consensus(cut), BEAST_LOAD_FAULT_MALFORMED);
    }
    /* They are the consensus's alone. */
    char body[1024];
    snprintf(body, sizeof body, CONSENSUS, SOURCES);
    char *name = strstr(body, "\"consensus\"");
    memcpy(name, "\"sensuscon\"", 11);
    CHECK_EQ(read_text(body), BEAST_LOAD_FAULT_MALFORMED);
}

int main(void)
{
    RUN(a_consensus_says_who_took_part);
    return harness_report();
}
