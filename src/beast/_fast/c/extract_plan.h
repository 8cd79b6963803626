/* The inside of a plan: the paths of all shapes as one tree, so that one walk serves them all. */
#ifndef BEAST_EXTRACT_PLAN_H
#define BEAST_EXTRACT_PLAN_H

#include "extract.h"

#define BEAST_NODES_MAX 96
#define BEAST_FRAME_SHAPE BEAST_SHAPES_MAX /* the frame itself, of whatever shape; its only role is SEQUENCE */
#define BEAST_NONE 0 /* the root is nobody's child, edge or capture, so its number is free to mean none */

/* How one gets from a node to a child. Edges of a node are a list. */
typedef struct beast_edge {
    uint8_t next, child;
    uint8_t name_len;
    int16_t index;
    uint8_t name[BEAST_NAME_MAX];
} beast_edge;

/* What is done with the value at a node: it fills a slot, or is put to a condition's test. */
typedef struct beast_capture {
    uint8_t next;
    uint8_t shape;
    int8_t role;      /* beast_role, or -1: a condition */
    uint8_t condition;
} beast_capture;

typedef struct beast_node {
    uint8_t names, indexes; /* lists of edges */
    uint8_t only, walk, each; /* children */
    uint8_t named;          /* child: the name of the member that this node stands for */
    uint8_t back;           /* how many last elements the negative indexes need */
    uint8_t captures;       /* list */
    uint8_t emits;          /* shapes whose trades are the elements here, one bit each */
    uint8_t shapes;         /* shapes that look at or below this node */
    uint32_t slots;         /* slots filled at or below this node */
} beast_node;

typedef struct beast_condition {
    uint8_t shape, op, kind;
    uint8_t len;
    uint8_t operand[BEAST_OPERAND_MAX];
} beast_condition;

typedef struct beast_shape {
    bool bare_symbol;             /* a number may stand for the symbol */
    uint8_t scale;                /* of prices: how far their point is moved to the left */
    bool has[BEAST_ROLES];
    uint8_t level[BEAST_ROLES];   /* how many arrays the role's path walks */
    uint8_t node[BEAST_ROLES][BEAST_WALKS_MAX]; /* the elements it walks over */
    bool last[BEAST_WALKS_MAX];   /* the price's arrays: the newest stands last */
    uint32_t conditions;          /* one bit each */
    uint32_t must_hold;           /* those that a value has to meet; the others are absences */
    beast_time_format format[BEAST_ROLES];
} beast_shape;

struct beast_plan {
    uint8_t n_shapes, n_conditions, n_nodes, n_edges, n_captures;
    bool sealed;
    beast_node nodes[BEAST_NODES_MAX];
    beast_edge edges[BEAST_NODES_MAX];
    beast_capture captures[BEAST_NODES_MAX];
    beast_condition conditions[BEAST_CONDITIONS_MAX];
    beast_shape shapes[BEAST_SHAPES_MAX + 1];
};

/* A slot is one role of one shape. */
static inline uint32_t beast_slot_bit(uint32_t shape, uint32_t role)
{
    return 1u << (shape * BEAST_ROLES + role);
}

#endif
