/* Every size the hot path relies on, in bytes unless the name says otherwise. */
#ifndef BEAST_SIZES_H
#define BEAST_SIZES_H

#define BEAST_CACHE_LINE 64
#define BEAST_BATCH 32            /* datagrams a receive or send call carries: the measured knee */
#define BEAST_RECEIVE_MAX 128     /* messages received before the first is answered, where peers repeat */
#define BEAST_DATAGRAM_MAX 1232   /* longest UDP request: IPv6's minimum MTU less headers */
#define BEAST_ANSWER_MAX 1400     /* longest UDP answer: one Ethernet frame, tunnels allowed for */
#define BEAST_ANSWER_PAD 256      /* single-price UDP answers are padded to this length ... */
#define BEAST_ANSWER_PAD_STEP 64  /* ... or, when longer, to the next multiple of this one */
#define BEAST_ASSETS_MAX 30       /* entries of "assets", as sent */
#define BEAST_DEPTH_MAX 8         /* nesting of a request; the outer object is depth 1 */
#define BEAST_ASSET_MAX 20        /* longest asset name that can be in the table */
#define BEAST_EXCHANGE_MAX 16     /* longest exchange name that can be in the table */
#define BEAST_CURRENCY_MAX 10
#define BEAST_PRICE_MAX 40        /* decimal digits and point of a price */
#define BEAST_ID_MAX 64           /* an id between its quotes, or an integer's digits, as sent */
#define BEAST_ID_TOKEN_MAX (BEAST_ID_MAX + 2)
#define BEAST_NODE_MAX 64
#define BEAST_KEY_MAX 128         /* longest API key literal; a longer one is never looked up */
#define BEAST_EXCHANGES_MAX 64    /* exchanges in one table, besides the consensus */
#define BEAST_TAIL_MAX 880        /* what a consensus' answer says of its sources: with all else it fits an answer */
#define BEAST_LINKS_MAX 1024      /* exchange connections whose life the table knows of */
#define BEAST_HTTP_HEAD_MAX 8192  /* request line and headers of a hot HTTP request */
#define BEAST_WORKERS_MAX 256

#endif
