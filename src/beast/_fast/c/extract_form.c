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

#if defined(__SSE2__)
/* One bit for each of 16 bytes that is another. */
static inline unsigned differ(const uint8_t *a, const uint8_t *b)
{
    __m128i one = _mm_loadu_si128((const __m128i *)(const void *)a);
    __m128i other = _mm_loadu_si128((const __m128i *)(const void *)b);
    return (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(one, other)) ^ 0xFFFF;
}
#endif

/* Whether the frame goes on at `p` as the form does at `text`, behind whose last byte there is room. */
static inline bool goes_on(const uint8_t *p, const uint8_t *end, const uint8_t *text, uint32_t len)
{
#if defined(__SSE2__)
    if (BEAST_LIKELY(end - p >= 16 && len <= 16))
        return (differ(p, text) & ((1u << len) - 1)) == 0;
    if (len > 16 && end - p >= len) {
        unsigned any = differ(p + len - 16, text + len - 16);
        for (uint32_t i = 0; i + 16 < len; i += 16)
            any |= differ(p + i, text + i);
        return any == 0;
    }
#endif
    return end - p >= len && beast_same_bytes(p, text, len);
}

/* The end of a value that may stand in a hole, or NULL. */
static inline const uint8_t *fill(const beast_json *json, const uint8_t *p, beast_hole_kind kind)
{
    if (kind == BEAST_HOLE_STRING)
        return beast_json_plain(json, p); /* a quote must follow: it is part of the text behind the hole */
    if (kind == BEAST_HOLE_NUMBER)
        return beast_scan_decimal(p + (p < json->end && *p == '-'), json->end);
    return p < json->end && *p == 't' ? beast_scan_literal(p, json->end, "true", 4)
                                      : beast_scan_literal(p, json->end, "false", 5);
}

bool beast_form_read(const beast_form *form, const beast_json *json, beast_value roles[BEAST_ROLES])
{
    const uint8_t *p = json->begin, *end = json->end, *text = form->text;
    for (const beast_hole *hole = form->hole;; hole++) {
        if (!goes_on(p, end, text, hole->text_len))
            return false;
        const uint8_t *value = p + hole->text_len;
        text += hole->text_len;
        if (hole->kind == BEAST_HOLE_NONE)
            return value == end;
        if (!(p = fill(json, value, hole->kind)))
            return false;
        if (hole->role == BEAST_ROLES)
            continue;
        uint8_t kind = hole->kind == BEAST_HOLE_STRING ? BEAST_TOKEN_STRING : BEAST_TOKEN_BARE;
        roles[hole->role] = (beast_value){value, (uint32_t)(p - value), kind, false};
    }
}
