/* What is kept of every answered request: 48 bytes, little-endian, as rings, codec and Python hold them. */
#ifndef BEAST_USAGE_RECORD_H
#define BEAST_USAGE_RECORD_H

#include <stdint.h>

typedef enum beast_protocol { BEAST_PROTOCOL_UDP, BEAST_PROTOCOL_HTTP, BEAST_PROTOCOL_ASGI } beast_protocol;

typedef struct beast_usage {
    int64_t time_ns;     /* CLOCK_REALTIME when the batch was received */
    uint64_t sequence;   /* of this lane, from 1, without a gap unless usage_lost counts it */
    uint64_t key_id;     /* api_keys.id */
    uint32_t key_number; /* place in the key table, for giving back what could not be sent; 0 once published */
    uint32_t instrument; /* of the price; of the first one, when several were asked */
    uint32_t age_ms;     /* of that price, capped */
    uint32_t latency_ns; /* receive to sent, capped; 0: not measured */
    uint8_t state, tier, protocol, lane;
    uint16_t prices;     /* how many prices the answer held */
    uint8_t way;         /* beast_way: what "source" said */
    uint8_t reserved;
} beast_usage;

_Static_assert(sizeof(beast_usage) == 48, "Python and files hold records of this size");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "... and of this byte order");

#endif
