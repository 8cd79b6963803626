/* Stage 1 of an answer as it is inlined into the loop over a batch: answer.h tells. */
#ifndef BEAST_ANSWER_LOOKUP_H
#define BEAST_ANSWER_LOOKUP_H

#include "answer.h"
#include "price_layout.h"

/* Where the first asset is looked up. */
static inline void beast_lookup_aim(const beast_layout *layout, const beast_request *req, beast_lookup *lookup)
{
    lookup->layout = layout;
    lookup->exchange = req->has_exchange ? beast_layout_exchange(layout, &req->exchange) : 0;
    lookup->place_hash = beast_place_hash(beast_name_hash(&req->assets[0]), lookup->exchange);
}

static inline void beast_lookup_begin(beast_key_cache *keys, const beast_layout *layout, const beast_request *req,
                                      beast_lookup *lookup)
{
    lookup->slot = NULL;
    if (__builtin_expect(req->fault != BEAST_FAULT_NONE, 0)) {
        lookup->key.literal.ptr = NULL;
        lookup->key.hashed = false;
        return;
    }
    if (!beast_key_prefetch(keys, req->api_key, &lookup->key))
        return;
    beast_lookup_aim(layout, req, lookup);
    const beast_slot *slot = beast_layout_fetch(layout, lookup->place_hash);
    if (!req->many && (!req->has_exchange || lookup->exchange - 1 < BEAST_CONSENSUS - 1))
        lookup->slot = slot;
}

#endif
