/* The form of a frame: its text with the values cut out. Frames of one exchange look alike, so the next frame is
 * first held against the form of the last one; where it fits, only the values are read. */
#ifndef BEAST_EXTRACT_FORM_H
#define BEAST_EXTRACT_FORM_H

#include "extract_scan.h"

/* Forgets the form and learns that of `json`, a well-formed frame with one trade. `fixed` are the places of values
 * that decided who reads the frame: they are part of the form. `places` are those of the trade's values, by role; NULL:
 * it has none. Some frames leave no form: they are too long, or their values are written in an unusual way. */
void beast_form_learn(beast_form *form, const beast_json *json, const uint8_t *const *fixed, uint32_t n_fixed,
                      const uint8_t *const places[BEAST_ROLES]);

/* Reads a frame that fits a form that was learnt. False: it doesn't, which says nothing about it. `roles` that the form doesn't have stay as
 * they are. */
bool beast_form_read(const beast_form *form, const beast_json *json, beast_value roles[BEAST_ROLES]);

#endif
