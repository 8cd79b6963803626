/* What a frame of an exchange says about prices: a row's plan, run over the frame's JSON in one forward walk.
 * beast.feeds.rows.plan says what a plan means; beast.feeds.rows.twin is the slow, readable twin.
 *
 * A plan has up to BEAST_SHAPES_MAX shapes, in order: the first one whose conditions all hold reads the frame.
 * A path may walk arrays and objects; each innermost element is then a trade, and per symbol the newest one by the path's own
 * order wins. The frame must be JSON from its first byte to its last, also where the plan doesn't look. */
#ifndef BEAST_EXTRACT_H
#define BEAST_EXTRACT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sizes.h"
#include "request.h"
#include "status.h"

#define BEAST_SHAPES_MAX 4
#define BEAST_CONDITIONS_MAX 32   /* of all shapes together */
#define BEAST_STEPS_MAX 12        /* of one path */
#define BEAST_WALKS_MAX 3         /* arrays and objects that one path walks */
#define BEAST_NAME_MAX 40         /* bytes of a member's name in a path */
#define BEAST_OPERAND_MAX 64      /* bytes of a condition's value */
#define BEAST_SCALE_MAX 30        /* places that a price's point may be moved to the left */
#define BEAST_BACK_MAX 8          /* smallest index from the end: -8 */
#define BEAST_TRADES_MAX 64       /* symbols that one frame may bring */
#define BEAST_VALUE_MAX 64        /* bytes of a price, symbol or time as it stands in the frame */
#define BEAST_FRAME_DEPTH_MAX 64
#define BEAST_HOLES_MAX 48        /* values in a form */
#define BEAST_FORM_TEXT 1024      /* bytes of a form besides its values */

typedef enum beast_frame_kind { BEAST_FRAME_OTHER, BEAST_FRAME_TRADE, BEAST_FRAME_MALFORMED } beast_frame_kind;

typedef enum beast_time_format {
    BEAST_TIME_RFC3339,
    BEAST_TIME_UNIX_S,
    BEAST_TIME_UNIX_MS,
    BEAST_TIME_UNIX_US,
    BEAST_TIME_UNIX_NS,
} beast_time_format;

typedef enum beast_role {
    BEAST_ROLE_PRICE,
    BEAST_ROLE_SYMBOL,
    BEAST_ROLE_TIME,
    BEAST_ROLE_FALLBACK,
    BEAST_ROLE_SEQUENCE, /* the trade's number, where each trade of a symbol has the one after the last */
} beast_role;
#define BEAST_ROLES 5

typedef enum beast_operator {
    BEAST_OP_EQ,
    BEAST_OP_PREFIX,
    BEAST_OP_SUFFIX, /* of a string of at most BEAST_VALUE_MAX bytes */
    BEAST_OP_PRESENT,
    BEAST_OP_ABSENT,
} beast_operator;

/* EQ compares a STRING decoded, and any other token by its characters. */
typedef enum beast_token_kind { BEAST_TOKEN_STRING, BEAST_TOKEN_BARE, BEAST_TOKEN_NULL, BEAST_TOKEN_CONTAINER } beast_token_kind;

typedef enum beast_step_kind {
    BEAST_STEP_NAME,  /* a member */
    BEAST_STEP_INDEX, /* an element; negative: from the end */
    BEAST_STEP_ONLY,  /* the only member, whatever its name */
    BEAST_STEP_FIRST, /* every element; the newest stands first */
    BEAST_STEP_LAST,  /* every element; the newest stands last */
    BEAST_STEP_EACH,  /* every member, also of those with one name; the first is the newest */
    BEAST_STEP_NAMED, /* behind ONLY or EACH: the member's name. The path ends there */
} beast_step_kind;

typedef struct beast_step {
    beast_step_kind kind;
    int32_t index;
    const uint8_t *name;
    uint32_t name_len;
} beast_step;

typedef struct beast_plan beast_plan;

/* A plan is built shape by shape, sealed, and never changed again. FULL: a limit above was passed;
 * BAD_ARGUMENT: the path can't be meant (a condition that walks, shapes without price or symbol, ...). A format is that
 * of a time. */
beast_plan *beast_plan_new(void);
void beast_plan_free(beast_plan *plan);
beast_status beast_plan_shape(beast_plan *plan);
beast_status beast_plan_condition(beast_plan *plan, const beast_step *steps, uint32_t n, beast_operator op,
                                  beast_token_kind kind, const uint8_t *operand, uint32_t len);
beast_status beast_plan_value(beast_plan *plan, const beast_step *steps, uint32_t n, beast_role role,
                              beast_time_format format);
/* The prices of the shape being built are counted in units of ten to the minus `scale`. */
beast_status beast_plan_scale(beast_plan *plan, uint32_t scale);
/* The symbol of the shape being built may be a number, too: one that stands for a symbol on this connection. */
beast_status beast_plan_bare_symbol(beast_plan *plan);
/* The number of the frame itself, where each frame of a connection has the one after the last. It is read from every
 * frame, whatever it holds; no trade of such a plan has a number. */
beast_status beast_plan_sequence(beast_plan *plan, const beast_step *steps, uint32_t n);
beast_status beast_plan_seal(beast_plan *plan);

/* A value as it stands in the frame: a string's bytes between its quotes, or the token. */
typedef struct beast_value {
    const uint8_t *ptr; /* NULL: the frame has none */
    uint32_t len;
    uint8_t kind; /* beast_token_kind */
    bool escaped;
} beast_value;

/* Slices point into the frame or into the trade itself. */
typedef struct beast_trade {
    beast_slice symbol; /* decoded */
    beast_slice price;  /* decimal text without exponent, greater than zero, 1..BEAST_PRICE_MAX bytes */
    int64_t time_ns;    /* since 1970 UTC; 0: the frame has none */
    /* Of the numbers that the symbol's trades in this frame have, the lowest and the highest; 0: none has one. Where
     * `sequenced`, the count of those that do, is less than the numbers from first to last, trades are missing between
     * them: they were never sent, or dropped for their price. */
    uint64_t sequence_first, sequence;
    uint32_t sequenced;
    beast_value time, fallback, number;
    uint32_t at[BEAST_WALKS_MAX]; /* where it stood in the walked arrays */
    uint8_t price_text[BEAST_PRICE_MAX];
    uint8_t symbol_text[BEAST_VALUE_MAX];
} beast_trade;

typedef struct beast_trades {
    uint32_t elements;   /* trades met, whatever became of them */
    uint32_t count;      /* those taken: one for each symbol */
    uint32_t bad_prices; /* trades dropped for their price */
    uint32_t nameless;   /* trades without a usable symbol */
    uint32_t overflow;   /* trades of symbols beyond BEAST_TRADES_MAX */
    beast_trade trade[BEAST_TRADES_MAX + 1]; /* the one behind the last is being read */
} beast_trades;

typedef enum beast_hole_kind {
    BEAST_HOLE_NONE, /* the end of the frame */
    BEAST_HOLE_STRING,
    BEAST_HOLE_NUMBER,
    BEAST_HOLE_BOOLEAN,
} beast_hole_kind;

typedef struct beast_hole {
    uint16_t text_len; /* of the text before it */
    uint8_t kind;
    uint8_t role;      /* BEAST_ROLES: none */
} beast_hole;

/* What the last frame with one trade looked like; see extract_form.h. It makes reading faster, nothing else. */
typedef struct beast_form {
    uint16_t holes; /* 0: none was learnt */
    uint16_t text_len;
    uint32_t shape; /* that read it */
    beast_hole hole[BEAST_HOLES_MAX];
    uint8_t text[BEAST_FORM_TEXT + 16]; /* the last bytes are room for whoever reads 16 at once */
} beast_form;

/* The caller's memory for one plan's frames, one at a time; zeroed before the first one. About 60 KB, of which a
 * plain frame touches little. */
typedef struct beast_extraction {
    const beast_trades *trades; /* of the shape that read the frame; set with kind TRADE */
    uint64_t sequence;          /* of the frame; the first one may be 0 */
    bool sequenced;             /* the frame has one */
    beast_form form;
    beast_trades by_shape[BEAST_SHAPES_MAX];
} beast_extraction;

/* What it comes to depends on plan and frame alone. Allocates nothing, reads nothing outside frame[0..len). */
beast_frame_kind beast_extract(const beast_plan *plan, const uint8_t *frame, size_t len, beast_extraction *out);

/* A value without its escapes: `text` lies in the frame or in `room`, which holds its first BEAST_VALUE_MAX bytes. */
bool beast_value_decode(const beast_value *value, uint8_t room[BEAST_VALUE_MAX], beast_slice *text);
/* The same, of 1..BEAST_VALUE_MAX bytes. */
static inline bool beast_value_text(const beast_value *value, uint8_t room[BEAST_VALUE_MAX], beast_slice *text)
{
    bool plain = value->ptr && value->kind <= BEAST_TOKEN_BARE && !value->escaped;
    if (plain)
        *text = (beast_slice){value->ptr, value->len};
    return (plain || beast_value_decode(value, room, text)) && text->len - 1 < BEAST_VALUE_MAX;
}
/* The point of what stands there moved `scale` places to the left. */
bool beast_value_price(const beast_value *value, uint32_t scale, uint8_t room[BEAST_PRICE_MAX], beast_slice *price);
int64_t beast_value_time(const beast_value *value, beast_time_format format);
/* An integer of 64 bits without sign, as a number or as a string of its digits. */
bool beast_value_sequence(const beast_value *value, uint64_t *sequence);

#endif
