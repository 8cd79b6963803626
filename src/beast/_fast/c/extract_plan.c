#include "extract_plan.h"

#include <stdlib.h>
#include <string.h>

beast_plan *beast_plan_new(void)
{
    beast_plan *plan = calloc(1, sizeof *plan);
    if (plan) /* number 0 means none in every list */
        plan->n_nodes = plan->n_edges = plan->n_captures = 1;
    return plan;
}

void beast_plan_free(beast_plan *plan)
{
    free(plan);
}

beast_status beast_plan_shape(beast_plan *plan)
{
    if (plan->sealed)
        return BEAST_WRONG_STATE;
    if (plan->n_shapes == BEAST_SHAPES_MAX)
        return BEAST_FULL;
    plan->n_shapes++;
    return BEAST_OK;
}

beast_status beast_plan_bare_symbol(beast_plan *plan)
{
    if (plan->sealed || plan->n_shapes == 0)
        return BEAST_WRONG_STATE;
    plan->shapes[plan->n_shapes - 1].bare_symbol = true;
    return BEAST_OK;
}

beast_status beast_plan_scale(beast_plan *plan, uint32_t scale)
{
    if (plan->sealed || plan->n_shapes == 0)
        return BEAST_WRONG_STATE;
    if (scale > BEAST_SCALE_MAX)
        return BEAST_FULL;
    plan->shapes[plan->n_shapes - 1].scale = (uint8_t)scale;
    return BEAST_OK;
}

static beast_status new_node(beast_plan *plan, uint8_t *child)
{
    if (plan->n_nodes == BEAST_NODES_MAX)
        return BEAST_FULL;
    *child = plan->n_nodes++;
    return BEAST_OK;
}

static bool edge_is(const beast_edge *edge, const beast_step *step)
{
    if (step->kind == BEAST_STEP_INDEX)
        return edge->index == step->index;
    return edge->name_len == step->name_len && memcmp(edge->name, step->name, step->name_len) == 0;
}

/* The child behind a named or numbered step, made if it isn't there. */
static beast_status along_edge(beast_plan *plan, uint8_t *list, const beast_step *step, uint8_t *child)
{
    uint8_t *at = list;
    for (; *at != BEAST_NONE; at = &plan->edges[*at].next)
        if (edge_is(&plan->edges[*at], step)) {
            *child = plan->edges[*at].child;
            return BEAST_OK;
        }
    beast_status status = new_node(plan, child);
    if (status != BEAST_OK)
        return status;
    beast_edge *edge = &plan->edges[plan->n_edges];
    edge->child = *child;
    if (step->kind == BEAST_STEP_INDEX) {
        edge->index = (int16_t)step->index;
    } else {
        edge->name_len = (uint8_t)step->name_len;
        memcpy(edge->name, step->name, step->name_len);
    }
    *at = plan->n_edges++;
    return BEAST_OK;
}

static beast_status along_child(beast_plan *plan, uint8_t *child, uint8_t *found)
{
    beast_status status = *child == BEAST_NONE ? new_node(plan, child) : BEAST_OK;
    *found = *child;
    return status;
}

static beast_status along(beast_plan *plan, uint8_t from, const beast_step *step, uint8_t *child)
{
    beast_node *node = &plan->nodes[from];
    switch (step->kind) {
    case BEAST_STEP_NAME:
        if (step->name_len > BEAST_NAME_MAX)
            return BEAST_FULL;
        return along_edge(plan, &node->names, step, child);
    case BEAST_STEP_INDEX:
        if (step->index < -BEAST_BACK_MAX || step->index > INT16_MAX)
            return BEAST_FULL;
        if (step->index < 0 && -step->index > node->back)
            node->back = (uint8_t)-step->index;
        return along_edge(plan, &node->indexes, step, child);
    case BEAST_STEP_ONLY:
        return along_child(plan, &node->only, child);
    case BEAST_STEP_NAMED:
        return along_child(plan, &node->named, child);
    case BEAST_STEP_FIRST:
    case BEAST_STEP_LAST:
        return along_child(plan, &node->walk, child);
    case BEAST_STEP_EACH:
        return along_child(plan, &node->each, child);
    }
    return BEAST_BAD_ARGUMENT;
}

static bool is_walk(const beast_step *step)
{
    return step->kind == BEAST_STEP_FIRST || step->kind == BEAST_STEP_LAST || step->kind == BEAST_STEP_EACH;
}

/* Whether the step before this one leads to a member whatever its name. */
static bool is_any_member(const beast_step *steps, uint32_t i)
{
    return i > 0 && (steps[i - 1].kind == BEAST_STEP_ONLY || steps[i - 1].kind == BEAST_STEP_EACH);
}

/* Lays a path into the tree for a shape, and hangs `capture` at its end. */
static beast_status lay(beast_plan *plan, const beast_step *steps, uint32_t n, beast_capture capture)
{
    uint8_t at = 0, walks = 0, shape = capture.shape;
    bool condition = capture.role < 0;
    uint32_t slot = condition ? 0 : beast_slot_bit(shape, (uint32_t)capture.role);
    beast_shape *own = &plan->shapes[shape];
    if (n > BEAST_STEPS_MAX || plan->n_captures == BEAST_NODES_MAX)
        return BEAST_FULL;
    plan->nodes[0].shapes |= (uint8_t)(1u << shape);
    plan->nodes[0].slots |= slot;
    for (uint32_t i = 0; i < n; i++) {
        if (steps[i].kind == BEAST_STEP_NAMED && (i + 1 < n || !is_any_member(steps, i)))
            return BEAST_BAD_ARGUMENT;
        beast_status status = along(plan, at, &steps[i], &at);
        if (status != BEAST_OK)
            return status;
        plan->nodes[at].shapes |= (uint8_t)(1u << shape);
        plan->nodes[at].slots |= slot;
        if (!is_walk(&steps[i]))
            continue;
        if (condition || shape == BEAST_FRAME_SHAPE)
            return BEAST_BAD_ARGUMENT;
        if (walks == BEAST_WALKS_MAX)
            return BEAST_FULL;
        if (capture.role == BEAST_ROLE_PRICE)
            own->last[walks] = steps[i].kind == BEAST_STEP_LAST;
        own->node[capture.role][walks++] = at;
    }
    if (!condition)
        own->level[capture.role] = walks;
    capture.next = plan->nodes[at].captures;
    plan->captures[plan->n_captures] = capture;
    plan->nodes[at].captures = plan->n_captures++;
    return BEAST_OK;
}

beast_status beast_plan_condition(beast_plan *plan, const beast_step *steps, uint32_t n, beast_operator op,
                                  beast_token_kind kind, const uint8_t *operand, uint32_t len)
{
    if (plan->sealed || plan->n_shapes == 0)
        return BEAST_WRONG_STATE;
    if (plan->n_conditions == BEAST_CONDITIONS_MAX || len > BEAST_OPERAND_MAX)
        return BEAST_FULL;
    beast_condition *condition = &plan->conditions[plan->n_conditions];
    condition->shape = (uint8_t)(plan->n_shapes - 1);
    condition->op = (uint8_t)op;
    condition->kind = (uint8_t)kind;
    condition->len = (uint8_t)len;
    if (len)
        memcpy(condition->operand, operand, len);
    beast_shape *shape = &plan->shapes[condition->shape];
    uint32_t bit = 1u << plan->n_conditions;
    shape->conditions |= bit;
    if (op != BEAST_OP_ABSENT)
        shape->must_hold |= bit;
    return lay(plan, steps, n, (beast_capture){.shape = condition->shape, .role = -1, .condition = plan->n_conditions++});
}

beast_status beast_plan_value(beast_plan *plan, const beast_step *steps, uint32_t n, beast_role role,
                              beast_time_format format)
{
    if (plan->sealed || plan->n_shapes == 0)
        return BEAST_WRONG_STATE;
    uint8_t number = (uint8_t)(plan->n_shapes - 1);
    beast_shape *shape = &plan->shapes[number];
    if (shape->has[role])
        return BEAST_BAD_ARGUMENT;
    shape->has[role] = true;
    shape->format[role] = format;
    return lay(plan, steps, n, (beast_capture){.shape = number, .role = (int8_t)role});
}

beast_status beast_plan_sequence(beast_plan *plan, const beast_step *steps, uint32_t n)
{
    bool *has = &plan->shapes[BEAST_FRAME_SHAPE].has[BEAST_ROLE_SEQUENCE];
    if (plan->sealed)
        return BEAST_WRONG_STATE;
    if (*has)
        return BEAST_BAD_ARGUMENT;
    *has = true;
    return lay(plan, steps, n, (beast_capture){.shape = BEAST_FRAME_SHAPE, .role = BEAST_ROLE_SEQUENCE});
}

/* Symbol, times and number must stand beside the price or above it: they may walk what it walks only. */
static bool walks_along(const beast_shape *shape, beast_role role)
{
    uint8_t level = shape->level[role];
    return level <= shape->level[BEAST_ROLE_PRICE] &&
           memcmp(shape->node[role], shape->node[BEAST_ROLE_PRICE], level) == 0;
}

beast_status beast_plan_seal(beast_plan *plan)
{
    if (plan->sealed || plan->n_shapes == 0)
        return BEAST_WRONG_STATE;
    for (uint32_t s = 0; s < plan->n_shapes; s++) {
        const beast_shape *shape = &plan->shapes[s];
        if (!shape->has[BEAST_ROLE_PRICE] || !shape->has[BEAST_ROLE_SYMBOL] || !shape->conditions)
            return BEAST_BAD_ARGUMENT;
        if (shape->has[BEAST_ROLE_SEQUENCE] && plan->shapes[BEAST_FRAME_SHAPE].has[BEAST_ROLE_SEQUENCE])
            return BEAST_BAD_ARGUMENT;
        for (beast_role role = BEAST_ROLE_SYMBOL; role < BEAST_ROLES; role++)
            if (!walks_along(shape, role))
                return BEAST_BAD_ARGUMENT;
        uint8_t level = shape->level[BEAST_ROLE_PRICE];
        uint8_t element = level ? shape->node[BEAST_ROLE_PRICE][level - 1] : 0;
        plan->nodes[element].emits |= (uint8_t)(1u << s);
    }
    plan->sealed = true;
    return BEAST_OK;
}
