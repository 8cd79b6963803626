/* The recogniser of hot HTTP requests: docs/protocol.md, section 7. */
#include "harness.h"
#include "http_request.h"

static uint8_t scratch[BEAST_HTTP_HEAD_MAX];
static beast_http_request req = {.price.scratch = scratch};

static beast_http_verdict recognise(const char *text)
{
    size_t len = strlen(text);
    beast_http_verdict first = beast_http_recognise(harness_at_start(text, len), len, &req);
    beast_http_verdict second = beast_http_recognise(harness_at_end(text, len), len, &req);
    CHECK_EQ(first, second);
    return second;
}

static void check_verdict(int line, const char *text, beast_http_verdict want)
{
    beast_http_verdict got = recognise(text);
    if (got != want) {
        fprintf(stderr, "verdict %d, not %d, of ", got, want);
        harness_fail(__FILE__, line, text);
    }
}

#define CHECK_VERDICT(text, want) check_verdict(__LINE__, text, BEAST_HTTP_##want)
#define LINE(target) "GET " target " HTTP/1.1\r\n"
#define HOST "Host: localhost:8080\r\n"
#define KEY "Authorization: Bearer tb_1\r\n"
/* A request that is hot but for what is put into it. */
#define WITH_FIELD(field) LINE("/price?asset=BTC") HOST field "\r\n\r\n"
#define WITH_QUERY(query) LINE("/price?" query) HOST KEY "\r\n"

static bool slice_is(beast_slice slice, const char *text)
{
    return slice.ptr && slice.len == strlen(text) && memcmp(slice.ptr, text, slice.len) == 0;
}

static void reads_one_price(void)
{
    CHECK_VERDICT(LINE("/price?asset=btc&exchange=Kraken&max_age_ms=0500&allow_stale=true") HOST KEY "\r\n", HOT);
    const beast_request *price = &req.price;
    CHECK_EQ(price->fault, BEAST_FAULT_NONE);
    CHECK(slice_is(price->api_key, "tb_1"));
    CHECK_EQ(price->n_assets, 1);
    CHECK(memcmp(price->assets[0].word, "BTC\0\0\0\0\0", 8) == 0);
    CHECK(memcmp(price->exchange.word, "kraken\0\0", 8) == 0);
    CHECK(price->has_exchange && price->allow_stale && !price->many && !req.close && !price->id.ptr);
    CHECK_EQ(price->max_age_ms, 500);
}

static void reads_several_prices(void)
{
    CHECK_VERDICT(LINE("/prices?assets=BTC,eth,Btc,SOL") HOST "X-API-Key:\tk \t\r\nConnection: Close\r\n\r\nGET", HOT);
    CHECK_EQ(req.price.n_assets, 3);
    CHECK(req.price.many && req.close);
    CHECK(slice_is(req.price.api_key, "k"));
    CHECK_EQ(req.consumed,
        strlen(LINE("/prices?assets=BTC,eth,Btc,SOL") HOST "X-API-Key:\tk \t\r\nConnection: Close\r\n\r\n"));
    CHECK_VERDICT(LINE("/prices?assets=a-name-longer-than-twenty,A-name-longer-than-twenty") HOST "\r\n", HOT);
    CHECK_EQ(req.price.n_assets, 1);
    CHECK(req.price.api_key.ptr == NULL);
}

static void notes_faults(void)
{
    static const struct {
        const char *query;
        beast_fault fault;
    } cases[] = {
        {"/price", BEAST_FAULT_NO_ASSET},
        {"/price?", BEAST_FAULT_NO_ASSET},
        {"/prices?exchange=x", BEAST_FAULT_NO_ASSET},
        {"/price?asset=", BEAST_FAULT_ASSET},
        {"/price?asset=A&exchange=", BEAST_FAULT_EXCHANGE},
        {"/price?asset=A&max_age_ms=", BEAST_FAULT_MAX_AGE},
        {"/price?asset=A&max_age_ms=-1", BEAST_FAULT_MAX_AGE},
        {"/price?asset=A&max_age_ms=1.5", BEAST_FAULT_MAX_AGE},
        {"/price?asset=A&max_age_ms=9007199254740991", BEAST_FAULT_NONE},
        {"/price?asset=A&max_age_ms=9007199254740992", BEAST_FAULT_MAX_AGE},
        {"/price?asset=A&max_age_ms=99999999999999999999999999999999", BEAST_FAULT_MAX_AGE},
        {"/price?asset=A&allow_stale=", BEAST_FAULT_ALLOW_STALE},
        {"/price?asset=A&allow_stale=True", BEAST_FAULT_ALLOW_STALE},
        {"/price?asset=A&allow_stale=false", BEAST_FAULT_NONE},
        {"/price?exchange=&asset=", BEAST_FAULT_EXCHANGE},
        {"/prices?assets=", BEAST_FAULT_ASSETS},
        {"/prices?assets=,A", BEAST_FAULT_ASSETS},
        {"/prices?assets=A,", BEAST_FAULT_ASSETS},
        {"/prices?assets=A,,B", BEAST_FAULT_ASSETS},
        {"/prices?assets=1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9,0", BEAST_FAULT_NONE},
        {"/prices?assets=1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9,0,1", BEAST_FAULT_ASSETS},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256];
        snprintf(text, sizeof text, "GET %s HTTP/1.1\r\n" HOST KEY "\r\n", cases[i].query);
        CHECK_VERDICT(text, HOT);
        if (req.price.fault != cases[i].fault)
            harness_fail(__FILE__, __LINE__, cases[i].query);
    }
}

static void leaves_other_request_lines(void)
{
    static const char *const lines[] = {
        "\r\n" WITH_QUERY("asset=A"), "POST /prices", "HEAD /price?asset=A", "get /price", "GET  /price",
        "GET /prices/",
        "GET /pricey", "GET /price#", "GET /exchanges", "GET /price/", "GET http://h/price", "GET /Price",
        "GET /price?asset=A HTTP/1.0", "GET /price?asset=A HTTP/2", "GET /price?asset=A  HTTP/1.1",
        "GET /price?asset=A\tHTTP/1.1",
        "GET /price?asset=A http/1.1", "GET /price?asset=A HTTP/1.1\n", "GET /price?asset=A HTTP/1.1 \r\n",
        "GET /price?asset=A\r\n",
        "GET /price?x", "GET /price?assets=A", "GET /prices?asset=A", "GET /price?asset=A&asset=B ",
        "GET /price?asset&",
        "GET /price?asset ", "GET /price?&asset=A", "GET /price?asset=A& ", "GET /price?asset=A&&",
        "GET /price?asset=%41",
        "GET /price?asset=A+", "GET /price?asset=A;", "GET /price?asset=A#", "GET /price?asset=A\"",
        "GET /price?asset=A\\",
        "GET /price?asset=\xC3", "GET /price?asset=A\x7F", "GET /price?asset=\x01", "GET /price?Asset=A",
        "GET /price?asset=<",
        "GET /price?id=1", "GET /price?max_age=1", "\x16\x03\x01", "PRI * HTTP/2.0",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        CHECK_VERDICT(lines[i], OTHER);
}

static void leaves_other_fields(void)
{
    static const char *const heads[] = {
        LINE("/price?asset=A") KEY "\r\n",              /* no Host */
        WITH_FIELD("Host: b"), WITH_FIELD("host:"), LINE("/price?asset=A") "Host:\r\n\r\n",
        LINE("/price?asset=A") "Host: a b\r\n\r\n",     LINE("/price?asset=A") "Host: a/b\r\n\r\n",
        LINE("/price?asset=A") "Host: a@b\r\n\r\n",     LINE("/price?asset=A") "Host: a,b\r\n\r\n",
        WITH_FIELD("Content-Length: 0"), WITH_FIELD("content-length: 5"), WITH_FIELD("Transfer-Encoding: chunked"),
        WITH_FIELD("TRANSFER-ENCODING:x"), WITH_FIELD("Transfer-Encoding : chunked"),
        WITH_FIELD("Transfer-Encoding\t: chunked"),
        WITH_FIELD(" Transfer-Encoding: chunked"), WITH_FIELD("X: a\r\n b"), WITH_FIELD("X: a\r\n\tb"),
        WITH_FIELD("X: a\nTransfer-Encoding: chunked"), WITH_FIELD("X: a\rTransfer-Encoding: chunked"),
        WITH_FIELD("X: \x01"),
        WITH_FIELD("X: \x7F"), WITH_FIELD("X: \x80"), WITH_FIELD("X: sixteen or more bytes \xFF of it"),
        WITH_FIELD("X\x80: a"),
        WITH_FIELD(": a"), WITH_FIELD("X"), WITH_FIELD("X Y: a"), WITH_FIELD("(X): a"), WITH_FIELD("Upgrade: h2c"),
        WITH_FIELD("Expect: 100-continue"), WITH_FIELD("Connection: upgrade"), WITH_FIELD("Connection: close, TE"),
        WITH_FIELD("Connection:"), WITH_FIELD("Connection: close\r\nConnection: close"),
        WITH_FIELD("Authorization: Basic YTpi"),
        WITH_FIELD("Authorization: Bearer"), WITH_FIELD("Authorization: Bearer "),
        WITH_FIELD("Authorization: Bearer  k"),
        WITH_FIELD("Authorization: Bearer a b"), WITH_FIELD("Authorization: Bearer\ta"), WITH_FIELD("Authorization:"),
        WITH_FIELD("X-API-Key:"), WITH_FIELD("X-API-Key: a b"), WITH_FIELD("X-API-Key: a\r\nX-API-Key: a"),
        WITH_FIELD("X-API-Key: a\r\nAuthorization: Bearer a"),
        WITH_FIELD("Authorization: Bearer a\r\nAuthorization: Bearer a"),
        LINE("/price?asset=A") HOST "\r\r\n", LINE("/price?asset=A") HOST "\n", LINE("/price?asset=A") "\r\n",
    };
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        CHECK_VERDICT(heads[i], OTHER);
}

static void accepts_harmless_fields(void)
{
    CHECK_VERDICT(WITH_FIELD("User-Agent: curl/8.0 (x; \"y\")\r\nAccept: */*\r\nX-Empty:\r\nX-Tab: a\tb\r\n"
                             "Cookie: a=b; c=d"), HOT);
    CHECK_VERDICT(WITH_FIELD("CONNECTION:keep-alive"), HOT);
    CHECK(!req.close);
    CHECK_VERDICT(WITH_FIELD("authorization:   bEARER k!#~  "), HOT);
    CHECK(slice_is(req.price.api_key, "k!#~"));
    CHECK_VERDICT(LINE("/price?asset=A") "hOsT:[::1]:8080\r\n\r\n", HOT);
    CHECK_VERDICT(WITH_QUERY("asset=A-b._~!$'()*,:@/?=1"), HOT);
    /* Names of the same length as those that matter. */
    CHECK_VERDICT(WITH_FIELD("Hose: a\r\nAccept: a\r\nUpgradf: a\r\nX-API-Kez: a\r\nConnectiom: a\r\n"
                             "Authorizatiom: a\r\nContent-Lengti: a\r\nTransfer-Encodinh: a"),
                  HOT);
    CHECK(req.price.api_key.ptr == NULL);
}

/* Every true prefix is MORE, whatever follows the whole is not looked at. */
static void waits_for_the_rest(void)
{
    static const char *const hot[] = {
        LINE("/price?asset=BTC&exchange=coinbase&max_age_ms=15&allow_stale=false") HOST KEY
            "Connection: keep-alive\r\n\r\n",
        LINE("/prices?assets=BTC,ETH,SOL") "Accept: */*\r\n" HOST "x-api-key: k\r\n\r\n",
        LINE("/price") HOST "\r\n",
        LINE("/price?") HOST "\r\n",
    };
    for (size_t i = 0; i < sizeof hot / sizeof *hot; i++) {
        size_t whole = strlen(hot[i]);
        for (size_t len = 0; len < whole; len++)
            if (beast_http_recognise(harness_at_end(hot[i], len), len, &req) != BEAST_HTTP_MORE)
                harness_fail(__FILE__, __LINE__, hot[i] + len);
        char text[512];
        snprintf(text, sizeof text, "%s\x01garbage", hot[i]);
        CHECK_VERDICT(text, HOT);
        CHECK_EQ(req.consumed, whole);
    }
}

/* The first byte that no hot request has is enough. */
static void decides_early(void)
{
    static const char *const early[] = {"P", "GE/", "GET /prie", "GET /pricez", "GET /price?b", "GET /price?assets",
                                        "GET /price?asset=A&asset=", "GET /price?asset=A%", "GET /price?asset=A HTTP/2",
                                        LINE("/price?asset=A") " ", LINE("/price?asset=A") "Transfer-Encoding ",
                                        LINE("/price?asset=A") "X: a\x01", LINE("/price?asset=A") "X: a\r\r"};
    for (size_t i = 0; i < sizeof early / sizeof *early; i++)
        CHECK_VERDICT(early[i], OTHER);
}

static void limits_the_head(void)
{
    static char text[2 * BEAST_HTTP_HEAD_MAX];
    static const char start[] = LINE("/price?asset=A") HOST "X: ";
    for (size_t whole = BEAST_HTTP_HEAD_MAX - 1; whole <= BEAST_HTTP_HEAD_MAX + 1; whole++) {
        memset(text, 'a', sizeof text);
        memcpy(text, start, strlen(start));
        memcpy(text + whole - 4, "\r\n\r\n", 4);
        bool fits = whole <= BEAST_HTTP_HEAD_MAX;
        for (size_t len = whole; len <= whole + 5; len++)
            CHECK_EQ(beast_http_recognise(harness_at_end(text, len), len, &req),
                fits ? BEAST_HTTP_HOT : BEAST_HTTP_OTHER);
        for (size_t len = whole - 5; len < whole; len++)
            CHECK_EQ(beast_http_recognise(harness_at_end(text, len), len, &req),
                     len < BEAST_HTTP_HEAD_MAX ? BEAST_HTTP_MORE : BEAST_HTTP_OTHER);
    }
}

int main(void)
{
    RUN(reads_one_price);
    RUN(reads_several_prices);
    RUN(notes_faults);
    RUN(leaves_other_request_lines);
    RUN(leaves_other_fields);
    RUN(accepts_harmless_fields);
    RUN(waits_for_the_rest);
    RUN(decides_early);
    RUN(limits_the_head);
    return harness_report();
}
