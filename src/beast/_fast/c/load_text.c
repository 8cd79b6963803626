#include "load_inner.h"

#define PUT(out, literal) (memcpy((out), (literal), sizeof(literal) - 1), (out) + sizeof(literal) - 1)
#define LENGTH(literal) (sizeof(literal) - 1)

static uint8_t *put(uint8_t *out, beast_slice text)
{
    memcpy(out, text.ptr, text.len);
    return out + text.len;
}

/* xorshift64*: the same requests in every run. */
static uint32_t draw(beast_load *load, uint32_t n)
{
    load->random ^= load->random >> 12;
    load->random ^= load->random << 25;
    load->random ^= load->random >> 27;
    return (uint32_t)((load->random * UINT64_C(0x2545F4914F6CDD1D) >> 32) * n >> 32);
}

static uint8_t *put_id(uint8_t *out, uint64_t id)
{
    out = PUT(out, ",\"id\":");
    for (int digit = BEAST_LOAD_ID_DIGITS - 1; digit >= 0; digit--, id /= 10)
        out[digit] = (uint8_t)('0' + id % 10);
    return out + BEAST_LOAD_ID_DIGITS;
}

static uint8_t *put_udp(const beast_load_config *c, beast_slice key, const beast_flight *flight, uint8_t *out)
{
    out = put(PUT(out, "{\"api_key\":\""), key);
    out = put(PUT(out, "\",\"asset\":\""), c->assets[flight->asset]);
    if (c->exchange.ptr != NULL)
        out = put(PUT(out, "\",\"exchange\":\""), c->exchange);
    *out++ = '"';
    if (flight->id != 0)
        out = put_id(out, flight->id);
    *out++ = '}';
    return out;
}

static uint8_t *put_http(const beast_load_config *c, beast_slice key, const beast_flight *flight, uint8_t *out)
{
    out = put(PUT(out, "GET /price?asset="), c->assets[flight->asset]);
    if (c->exchange.ptr != NULL)
        out = put(PUT(out, "&exchange="), c->exchange);
    out = put(PUT(out, " HTTP/1.1\r\nHost: beast\r\nX-API-Key: "), key);
    return PUT(out, "\r\n\r\n");
}

uint32_t beast_load_write(beast_load *load, beast_flight *flight, uint8_t *out)
{
    const beast_load_config *c = load->config;
    beast_slice key = c->keys[draw(load, c->n_keys)];
    flight->asset = draw(load, c->n_assets);
    uint8_t *end = c->protocol == BEAST_LOAD_HTTP ? put_http(c, key, flight, out) : put_udp(c, key, flight, out);
    return (uint32_t)(end - out);
}

static uint32_t longest_of(const beast_slice *texts, uint32_t n)
{
    uint32_t longest = 0;
    for (uint32_t i = 0; i < n; i++)
        longest = texts[i].len > longest ? texts[i].len : longest;
    return longest;
}

/* The words around key, asset and exchange stay below a quarter of the room. */
uint32_t beast_load_longest(const beast_load_config *config)
{
    uint64_t names = (uint64_t)longest_of(config->keys, config->n_keys) +
                     longest_of(config->assets, config->n_assets) + config->exchange.len;
    if (names > BEAST_LOAD_REQUEST_MAX * 3 / 4)
        return 0;
    uint64_t words = config->protocol == BEAST_LOAD_HTTP
                         ? LENGTH("GET /price?asset=&exchange= HTTP/1.1\r\nHost: beast\r\nX-API-Key: \r\n\r\n")
                         : LENGTH("{\"api_key\":\"\",\"asset\":\"\",\"exchange\":\"\",\"id\":}") + BEAST_LOAD_ID_DIGITS;
    return (uint32_t)(names + words);
}
