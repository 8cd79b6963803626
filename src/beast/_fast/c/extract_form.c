#include "extract_form.h"

/* Adds the text up to a value, and the value's kind. */
static bool cut(beast_form *form, const uint8_t *text, size_t len, beast_hole_kind kind, uint8_t role)
{
    if (form->holes == BEAST_HOLES_MAX || form->text_len + len > BEAST_FORM_TEXT)
        return false;
    memcpy(form->text + form->text_len, text, len);
    form->text_len = (uint16_t)(form->text_len + len);
    form->hole[form->holes++] = (beast_hole){(uint16_t)len, (uint8_t)kind, role};
    return true;
}

static uint8_t role_of(const uint8_t *const places[BEAST_ROLES], const uint8_t *ptr)
{
    uint8_t role = 0;
    while (role < BEAST_ROLES && places[role] != ptr)
        role++;
    return role;
}

static bool is_fixed(const uint8_t *const *fixed, uint32_t n_fixed, const uint8_t *ptr)
{
    for (uint32_t i = 0; i < n_fixed; i++)
        if (fixed[i] == ptr)
            return true;
    return false;
}

/* One token that is no punctuation, at *p; moves *p behind it. Names and nulls stay in the form's text. */
static beast_hole_kind read_token(beast_json *json, const uint8_t **p, beast_value *value)
{
    const uint8_t *after = *p = beast_scan_scalar(json, *p, value);
    if (!after || value->escaped || value->kind == BEAST_TOKEN_NULL)
        return BEAST_HOLE_NONE;
    if (value->kind == BEAST_TOKEN_STRING)
        return beast_scan_peek(&after, json->end) == ':' ? BEAST_HOLE_NONE : BEAST_HOLE_STRING;
    return *value->ptr == 't' || *value->ptr == 'f' ? BEAST_HOLE_BOOLEAN : BEAST_HOLE_NUMBER;
}

void beast_form_learn(beast_form *form, const beast_json *json, const uint8_t *const *fixed, uint32_t n_fixed,
                      const uint8_t *const places[BEAST_ROLES])
{
    beast_json own = *json;
    const uint8_t *kept = json->begin; /* from here on, text is still to be added */
    uint32_t wanted = 0;
    for (uint32_t role = 0; role < BEAST_ROLES; role++)
        wanted += places[role] != NULL;
    form->holes = form->text_len = 0;
    for (const uint8_t *p = json->begin; p && p < json->end;) {
        if (beast_json_is_space(*p) || strchr("{}[],:", *p)) {
            p++;
            continue;
        }
        beast_value value;
        beast_hole_kind kind = read_token(&own, &p, &value);
        if (kind == BEAST_HOLE_NONE || is_fixed(fixed, n_fixed, value.ptr))
            continue;
        uint8_t role = role_of(places, value.ptr);
        wanted -= role < BEAST_ROLES;
        if (!cut(form, kept, (size_t)(value.ptr - kept), kind, role)) {
            form->holes = 0;
            return;
        }
        kept = value.ptr + value.len;
    }
    /* A value of the trade that could not be cut out (it has escapes, or decides who reads) would be lost. */
    if (wanted || !cut(form, kept, (size_t)(json->end - kept), BEAST_HOLE_NONE, BEAST_ROLES))
        form->holes = 0;
}

/* The end of a value that may stand in a hole, or NULL. */
static inline const uint8_t *fill(const beast_json *json, const uint8_t *p, uint8_t kind)
{
    switch (kind) {
    case BEAST_HOLE_STRING:
        return beast_json_plain(json, p); /* a quote must follow: it is part of the text behind the hole */
    case BEAST_HOLE_NUMBER:
        return beast_scan_decimal(p + (p < json->end && *p == '-'), json->end);
    case BEAST_HOLE_BOOLEAN:
        return p < json->end && *p == 't' ? beast_scan_literal(p, json->end, "true", 4)
                                          : beast_scan_literal(p, json->end, "false", 5);
    default:
        return p;
    }
}

bool beast_form_read(const beast_form *form, const beast_json *json, beast_value roles[BEAST_ROLES])
{
    const uint8_t *p = json->begin, *text = form->text;
    for (uint32_t i = 0; i < form->holes; i++) {
        const beast_hole *hole = &form->hole[i];
        if (json->end - p < hole->text_len || !beast_same_bytes(p, text, hole->text_len))
            return false;
        const uint8_t *value = p + hole->text_len;
        text += hole->text_len;
        if (!(p = fill(json, value, hole->kind)))
            return false;
        if (hole->role < BEAST_ROLES)
            roles[hole->role] = (beast_value){value, (uint32_t)(p - value),
                                              hole->kind == BEAST_HOLE_STRING ? BEAST_TOKEN_STRING : BEAST_TOKEN_BARE, false};
    }
    return form->holes > 0 && p == json->end;
}
