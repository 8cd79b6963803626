/* The networks that a key may be used from: short lists, made aside and swapped in. */
#include <arpa/inet.h>
#include <endian.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "key_table_inner.h"

static uint64_t load_big(const uint8_t *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return be64toh(word);
}

static uint64_t mask_of(uint32_t bits) { return bits == 0 ? 0 : UINT64_MAX << (64 - bits); }

static beast_key_networks *build(const beast_source_network *list, uint32_t n)
{
    size_t size = sizeof(beast_key_networks) + n * sizeof((beast_key_networks *)0)->network[0];
    beast_key_networks *networks = calloc(1, size);
    if (!networks)
        return NULL;
    networks->n = n;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t high = mask_of(list[i].bits < 64 ? list[i].bits : 64);
        uint64_t low = mask_of(list[i].bits > 64 ? list[i].bits - 64 : 0);
        networks->network[i].mask_high = high;
        networks->network[i].mask_low = low;
        networks->network[i].high = load_big(list[i].address) & high;
        networks->network[i].low = load_big(list[i].address + 8) & low;
    }
    return networks;
}

static bool are_same(const beast_key_networks *a, const beast_key_networks *b)
{
    return a && a->n == b->n && memcmp(a->network, b->network, a->n * sizeof a->network[0]) == 0;
}

beast_status beast_key_restrict(beast_key_table *table, const uint8_t digest[32], const beast_source_network *list,
                                uint32_t n, const beast_readers *readers)
{
    beast_key *key = beast_key_by_digest(table, digest);
    if (!key)
        return BEAST_NOT_FOUND;
    if (n > BEAST_KEY_NETWORKS_MAX)
        return BEAST_FULL;
    for (uint32_t i = 0; i < n; i++)
        if (list[i].bits > 128)
            return BEAST_BAD_ARGUMENT;
    _Atomic(beast_key_networks *) *place = &table->networks[beast_key_number(table, key)];
    beast_key_networks *old = atomic_load_explicit(place, memory_order_relaxed), *networks = build(list, n);
    if (!networks)
        return BEAST_NO_MEMORY;
    if (are_same(old, networks)) {
        free(networks);
        return BEAST_OK;
    }
    atomic_store_explicit(place, networks, memory_order_seq_cst);
    if (old) {
        beast_readers_wait(readers);
        free(old);
    }
    return BEAST_OK;
}

void beast_key_forget_networks(beast_key_table *table, const beast_key *key)
{
    _Atomic(beast_key_networks *) *place = &table->networks[beast_key_number(table, key)];
    free(atomic_exchange_explicit(place, NULL, memory_order_relaxed)); /* no reader holds the record */
}

bool beast_key_is_from(const beast_key_table *table, const beast_key *key, const struct sockaddr *peer)
{
    const beast_key_networks *networks =
        atomic_load_explicit(&table->networks[beast_key_number(table, key)], memory_order_acquire);
    uint64_t high, low;

    if (!networks || !peer)
        return false;
    if (peer->sa_family == AF_INET) {
        high = 0;
        low = UINT64_C(0xFFFF00000000) | ntohl(((const struct sockaddr_in *)peer)->sin_addr.s_addr);
    } else if (peer->sa_family == AF_INET6) {
        high = load_big(((const struct sockaddr_in6 *)peer)->sin6_addr.s6_addr);
        low = load_big(((const struct sockaddr_in6 *)peer)->sin6_addr.s6_addr + 8);
    } else {
        return false;
    }
    for (uint32_t i = 0; i < networks->n; i++)
        if ((((high ^ networks->network[i].high) & networks->network[i].mask_high) |
             ((low ^ networks->network[i].low) & networks->network[i].mask_low)) == 0)
            return true;
    return false;
}

bool beast_key_opens(const beast_key_table *table, const uint8_t digest[32], const struct sockaddr *peer)
{
    const beast_key *key = beast_key_by_digest(table, digest);
    uint32_t flags = key ? atomic_load_explicit(&key->flags, memory_order_relaxed) : BEAST_KEY_NO_PRICE;

    return !(flags & BEAST_KEY_NO_PRICE) &&
           (!peer || !(flags & BEAST_KEY_NETWORKS) || beast_key_is_from(table, key, peer));
}
