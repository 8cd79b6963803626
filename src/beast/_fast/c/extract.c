#include "extract.h"

#include <string.h>

#include "extract_form.h"
#include "extract_plan.h"
#include "extract_trade.h"

/* Where the frame's own number is kept. */
#define SEQUENCE_SLOT (BEAST_FRAME_SHAPE * BEAST_ROLES + BEAST_ROLE_SEQUENCE)
#define SEQUENCE_BIT (1u << SEQUENCE_SLOT)

/* One frame being read. Scope 0 is the frame; scope k is an element of the k-th array that is walked. */
typedef struct run {
    beast_json json;
    const beast_plan *plan;
    beast_extraction *out;
    uint32_t captured; /* slots that hold a value of the scopes we are in */
    uint32_t held;     /* conditions met */
    uint32_t failed;   /* shapes that a condition has ruled out */
    uint32_t only;     /* shapes that are being taken: not all when a scope is read again */
    uint32_t again;    /* scopes being read again, one bit each */
    uint32_t tested;   /* conditions held against a value, which stood at `test` */
    uint32_t late[BEAST_WALKS_MAX]; /* by scope: shapes that miss a value which may still come in this scope */
    uint32_t at[BEAST_WALKS_MAX];
    const uint8_t *test[BEAST_CONDITIONS_MAX];
    beast_value slots[(BEAST_SHAPES_MAX + 1) * BEAST_ROLES];
} run;

static const uint8_t *walk(run *r, const beast_node *node, const uint8_t *p, uint32_t level, uint32_t depth);

static bool meets(const beast_condition *condition, const beast_value *value)
{
    uint8_t room[BEAST_VALUE_MAX];
    beast_slice text;
    if (condition->op == BEAST_OP_PRESENT)
        return true;
    if (value->kind != condition->kind || !beast_value_decode(value, room, &text))
        return false;
    bool fits = condition->op == BEAST_OP_EQ ? text.len == condition->len : text.len >= condition->len;
    if (condition->op == BEAST_OP_SUFFIX) { /* the end of a longer one may not have been decoded */
        fits = fits && text.len <= BEAST_VALUE_MAX;
        text.ptr += fits ? text.len - condition->len : 0;
    }
    return fits && beast_same_bytes(text.ptr, condition->operand, condition->len);
}

/* Gives a value to everyone who waits for it at this node. null is as good as absent. */
static void capture(run *r, const beast_node *node, const beast_value *value)
{
    if (value->kind == BEAST_TOKEN_NULL)
        return;
    for (uint8_t i = node->captures; i != BEAST_NONE; i = r->plan->captures[i].next) {
        const beast_capture *wanted = &r->plan->captures[i];
        if (wanted->role >= 0) {
            uint32_t slot = wanted->shape * BEAST_ROLES + (uint32_t)wanted->role;
            r->slots[slot] = *value;
            r->captured |= 1u << slot;
            continue;
        }
        const beast_condition *condition = &r->plan->conditions[wanted->condition];
        if (condition->op != BEAST_OP_PRESENT && condition->op != BEAST_OP_ABSENT) {
            r->tested |= 1u << wanted->condition;
            r->test[wanted->condition] = value->ptr;
        }
        if (condition->op != BEAST_OP_ABSENT && meets(condition, value))
            r->held |= 1u << wanted->condition;
        else
            r->failed |= 1u << wanted->shape;
    }
}

static bool member_is(const beast_value *name, const beast_edge *edge)
{
    uint8_t decoded[BEAST_VALUE_MAX];
    beast_slice text = {name->ptr, name->len};
    if (name->escaped && !beast_value_decode(name, decoded, &text))
        return false;
    return text.len == edge->name_len && beast_same_bytes(text.ptr, edge->name, text.len);
}

/* The child that a member leads to, the first time it is met: of two members with one name the first counts. */
static const beast_node *child_of(const run *r, const beast_node *node, const beast_value *name, uint64_t seen[2])
{
    for (uint8_t i = node->names; i != BEAST_NONE; i = r->plan->edges[i].next) {
        const beast_edge *edge = &r->plan->edges[i];
        if (!member_is(name, edge))
            continue;
        uint64_t bit = UINT64_C(1) << (i & 63), *word = &seen[i >> 6];
        if (*word & bit)
            return NULL;
        *word |= bit;
        return &r->plan->nodes[edge->child];
    }
    return NULL;
}

/* Whether a value of an outer scope is missing so far, so that the trade has to wait for that scope's end. */
static bool comes_late(run *r, uint32_t number)
{
    const beast_shape *shape = &r->plan->shapes[number];
    for (uint32_t role = BEAST_ROLE_SYMBOL; role < BEAST_ROLES; role++) {
        uint32_t scope = shape->level[role];
        if (!shape->has[role] || scope == shape->level[BEAST_ROLE_PRICE] ||
            (r->captured & beast_slot_bit(number, role)) || (r->again & 1u << scope))
            continue;
        r->late[scope] |= 1u << number;
        return true;
    }
    return false;
}

/* The end of a scope whose elements are trades. */
static void emit(run *r, const beast_node *node)
{
    for (uint32_t shapes = node->emits & ~r->failed & r->only; shapes; shapes &= shapes - 1) {
        uint32_t number = (uint32_t)__builtin_ctz(shapes);
        beast_value *values = &r->slots[number * BEAST_ROLES];
        if (comes_late(r, number))
            continue;
        for (uint32_t role = 0; role < BEAST_ROLES; role++)
            if (!(r->captured & beast_slot_bit(number, role)))
                values[role].ptr = NULL;
        beast_trades_take(&r->out->by_shape[number], &r->plan->shapes[number], values, r->at);
    }
}

/* The name of a member that was met whatever its name. */
static void capture_name(run *r, const beast_node *member, const beast_value *name)
{
    if (member->named != BEAST_NONE)
        capture(r, &r->plan->nodes[member->named], name);
}

/* An element of a walked array, or a member of a walked object (which has a name): a scope of its own. It is read again when trades inside it came before a value
 * they share; that value is known the second time. */
static const uint8_t *walk_scope(run *r, const beast_node *node, const beast_value *name, const uint8_t *start,
                                 uint32_t scope, uint32_t depth)
{
    r->captured &= ~node->slots;
    r->again &= ~(1u << scope);
    if (name)
        capture_name(r, node, name);
    const uint8_t *p = walk(r, node, start, scope, depth);
    if (!p)
        return NULL;
    emit(r, node);
    if (scope == BEAST_WALKS_MAX || !r->late[scope])
        return p;
    uint32_t only = r->only;
    r->only = r->late[scope];
    r->late[scope] = 0;
    r->again |= 1u << scope;
    p = walk(r, node, start, scope, depth);
    r->only = only;
    return p;
}

static const uint8_t *walk_member(run *r, const beast_node *node, const beast_value *name, const uint8_t *start,
                                  uint32_t index, uint32_t level, uint32_t depth, uint64_t seen[2])
{
    const beast_node *child = child_of(r, node, name, seen);
    const uint8_t *p = child ? walk(r, child, start, level, depth) : NULL;
    if (child && !p)
        return NULL;
    if (node->each == BEAST_NONE)
        return p ? p : beast_scan_skip(&r->json, start, depth);
    r->at[level] = index;
    return walk_scope(r, &r->plan->nodes[node->each], name, start, level + 1, depth);
}

static const uint8_t *walk_object(run *r, const beast_node *node, const uint8_t *p, uint32_t level, uint32_t depth)
{
    const uint8_t *end = r->json.end, *value;
    uint64_t seen[2] = {0}; /* edges taken */
    uint32_t members = 0;
    uint8_t after;
    beast_value name;
    if (beast_scan_peek(&p, end) == '}')
        return p + 1;
    do {
        if (!(value = beast_scan_name(&r->json, p, &name)) ||
            !(p = walk_member(r, node, &name, value, members, level, depth, seen)))
            return NULL;
        members++;
        after = beast_scan_peek(&p, end);
    } while (after == ',' && p++);
    if (after != '}')
        return NULL;
    /* Only now is it known that the only member was one. */
    if (members == 1 && node->only != BEAST_NONE) {
        capture_name(r, &r->plan->nodes[node->only], &name);
        if (!walk(r, &r->plan->nodes[node->only], value, level, depth))
            return NULL;
    }
    return p + 1;
}

static const uint8_t *walk_element(run *r, const beast_node *node, const uint8_t *start, uint32_t index,
                                   uint32_t level, uint32_t depth)
{
    const uint8_t *p = NULL;
    for (uint8_t i = node->indexes; i != BEAST_NONE; i = r->plan->edges[i].next) {
        const beast_edge *edge = &r->plan->edges[i];
        if ((uint32_t)edge->index == index && !(p = walk(r, &r->plan->nodes[edge->child], start, level, depth)))
            return NULL;
    }
    if (node->walk == BEAST_NONE)
        return p ? p : beast_scan_skip(&r->json, start, depth);
    r->at[level] = index;
    return walk_scope(r, &r->plan->nodes[node->walk], NULL, start, level + 1, depth);
}

/* The elements that negative indexes mean, now that the length is known. */
static bool walk_from_end(run *r, const beast_node *node, const uint8_t *const *starts, uint32_t count, uint32_t level,
                          uint32_t depth)
{
    for (uint8_t i = node->indexes; i != BEAST_NONE; i = r->plan->edges[i].next) {
        const beast_edge *edge = &r->plan->edges[i];
        if (edge->index >= 0 || (uint32_t)-edge->index > count)
            continue;
        const uint8_t *start = starts[(count - (uint32_t)-edge->index) % BEAST_BACK_MAX];
        if (!walk(r, &r->plan->nodes[edge->child], start, level, depth))
            return false;
    }
    return true;
}

static const uint8_t *walk_array(run *r, const beast_node *node, const uint8_t *p, uint32_t level, uint32_t depth)
{
    const uint8_t *end = r->json.end, *starts[BEAST_BACK_MAX];
    uint32_t count = 0;
    if (beast_scan_peek(&p, end) == ']')
        return p + 1;
    for (;;) {
        p = beast_scan_space(p, end);
        starts[count % BEAST_BACK_MAX] = p;
        if (!(p = walk_element(r, node, p, count++, level, depth)))
            return NULL;
        uint8_t after = beast_scan_peek(&p, end);
        if (after == ']')
            break;
        if (after != ',')
            return NULL;
        p++;
    }
    return !node->back || walk_from_end(r, node, starts, count, level, depth) ? p + 1 : NULL;
}

/* Reads the value at `p`, which `node` stands for. `depth` counts the containers around it. */
static const uint8_t *walk(run *r, const beast_node *node, const uint8_t *p, uint32_t level, uint32_t depth)
{
    uint8_t c = p < r->json.end ? *p : 0;
    beast_value value = {p, 0, BEAST_TOKEN_CONTAINER, false};
    if (c != '{' && c != '[')
        p = beast_scan_scalar(&r->json, p, &value);
    else if (!(node->shapes & ~r->failed & r->only))
        p = beast_scan_skip(&r->json, p, depth);
    else if (depth >= BEAST_FRAME_DEPTH_MAX)
        return NULL;
    else if (c == '{')
        p = walk_object(r, node, p + 1, level, depth + 1);
    else
        p = walk_array(r, node, p + 1, level, depth + 1);
    if (p && node->captures != BEAST_NONE)
        capture(r, node, &value);
    return p;
}

/* The whole frame, which is scope 0. */
static bool read_frame(run *r)
{
    const uint8_t *p = walk(r, &r->plan->nodes[0], beast_scan_space(r->json.begin, r->json.end), 0, 0);
    return p && beast_scan_space(p, r->json.end) == r->json.end &&
           (!r->json.wide || beast_utf8_valid(r->json.begin, (size_t)(r->json.end - r->json.begin)));
}

static beast_frame_kind finish(const beast_plan *plan, uint32_t number, beast_extraction *out)
{
    beast_trades_date(&out->by_shape[number], &plan->shapes[number]);
    out->trades = &out->by_shape[number];
    return BEAST_FRAME_TRADE;
}

static void read_sequence(beast_extraction *out, const beast_value *value)
{
    out->sequenced = beast_value_sequence(value, &out->sequence);
}

static beast_frame_kind read_by_walk(run *r)
{
    for (uint32_t i = 0; i < r->plan->n_shapes; i++)
        beast_trades_clear(&r->out->by_shape[i]);
    if (!read_frame(r))
        return BEAST_FRAME_MALFORMED;
    emit(r, &r->plan->nodes[0]);
    if (r->late[0]) {
        r->only = r->late[0];
        r->again = 1;
        if (!read_frame(r))
            return BEAST_FRAME_MALFORMED;
    }
    if (r->captured & SEQUENCE_BIT)
        read_sequence(r->out, &r->slots[SEQUENCE_SLOT]);
    for (uint32_t i = 0; i < r->plan->n_shapes; i++)
        if (!(r->failed & 1u << i) && !(r->plan->shapes[i].must_hold & ~r->held))
            return finish(r->plan, i, r->out);
    return BEAST_FRAME_OTHER;
}

static bool read_by_form(const beast_plan *plan, const beast_json *json, beast_extraction *out)
{
    static const uint32_t nowhere[BEAST_WALKS_MAX];
    uint32_t number = out->form.shape;
    beast_trades *trades = &out->by_shape[number];
    beast_value values[BEAST_ROLES] = {{.ptr = NULL}};
    if (!beast_form_read(&out->form, json, values))
        return false;
    if (plan->shapes[BEAST_FRAME_SHAPE].has[BEAST_ROLE_SEQUENCE]) {
        read_sequence(out, &values[BEAST_ROLE_SEQUENCE]);
        values[BEAST_ROLE_SEQUENCE].ptr = NULL;
    }
    beast_trades_clear(trades);
    beast_trades_take(trades, &plan->shapes[number], values, nowhere);
    finish(plan, number, out);
    return true;
}

/* A frame with one trade leaves its form behind. The places come from the trade: the slots may since have been filled
 * by an element that had none. A price that was rewritten stands nowhere in the frame, and leaves no form. */
static void learn(const run *r)
{
    const beast_trade *trade = &r->out->trades->trade[0];
    const uint8_t *fixed[BEAST_CONDITIONS_MAX];
    const uint8_t *places[BEAST_ROLES] = {trade->price.ptr, trade->symbol.ptr, trade->time.ptr, trade->fallback.ptr,
                                          trade->number.ptr};
    uint32_t n_fixed = 0, number = (uint32_t)(r->out->trades - r->out->by_shape);
    if (r->captured & SEQUENCE_BIT)
        places[BEAST_ROLE_SEQUENCE] = r->slots[SEQUENCE_SLOT].ptr;
    for (uint32_t tested = r->tested; tested; tested &= tested - 1)
        fixed[n_fixed++] = r->test[__builtin_ctz(tested)];
    beast_form_learn(&r->out->form, &r->json, fixed, n_fixed, places);
    r->out->form.shape = number;
}

beast_frame_kind beast_extract(const beast_plan *plan, const uint8_t *frame, size_t len, beast_extraction *out)
{
    const beast_json json = {.begin = frame, .end = frame + len};
    out->sequenced = false;
    if (len > UINT32_MAX)
        return BEAST_FRAME_MALFORMED;
    if (out->form.holes && read_by_form(plan, &json, out))
        return BEAST_FRAME_TRADE;
    run r; /* places and slots stay as they are: `tested` and `captured` say which of them hold something */
    memset(&r, 0, offsetof(run, test));
    r.json = json;
    r.plan = plan;
    r.out = out;
    r.only = ~0u;
    beast_frame_kind kind = read_by_walk(&r);
    if (kind == BEAST_FRAME_TRADE && out->trades->elements == 1 && out->trades->count == 1)
        learn(&r);
    return kind;
}
