/* The signs of life of an exchange's connection; one writer, the feeds' thread. */
#ifndef BEAST_FEED_LINK_H
#define BEAST_FEED_LINK_H

#include "price_table.h"

typedef struct beast_link_state {
    bool up;
    uint32_t epoch;
    int64_t proven_ns; /* CLOCK_MONOTONIC */
} beast_link_state;

/* Open: a new epoch begins, which no earlier trade belongs to; returns it. */
uint32_t beast_link_up(beast_link *link, int64_t patience_ns, int64_t now_ns);
void beast_link_proven(beast_link *link, int64_t now_ns);
void beast_link_down(beast_link *link);
/* Something was lost on the way, or can't be read: the connection is as alive as before, but what it brought so far may
 * not be the last word. A new epoch begins; returns it. */
uint32_t beast_link_doubt(beast_link *link);
beast_link_state beast_link_read(const beast_link *link);
/* The epoch that the connection began with. */
uint32_t beast_link_first(const beast_link *link);

/* What proves what the connection brings. */
typedef struct beast_link_proof {
    uint32_t first;  /* as above: stands for the connection */
    int64_t left_ns; /* until it is no proof any more, unless something comes; not above 0: it is none */
} beast_link_proof;
beast_link_proof beast_link_prove(const beast_link *link, int64_t now_ns);

#endif
