/* From a symbol as frames write it to the one that is looked up. */
#ifndef BEAST_NAMING_H
#define BEAST_NAMING_H

#include "extract.h"

typedef enum beast_fold { BEAST_FOLD_NONE, BEAST_FOLD_UPPER, BEAST_FOLD_LOWER } beast_fold;

typedef struct beast_naming {
    beast_fold fold; /* of ASCII letters, at last */
    uint32_t prefix_len, suffix_len;
    uint8_t prefix[BEAST_VALUE_MAX]; /* taken off a symbol that begins with it */
    uint8_t suffix[BEAST_VALUE_MAX]; /* then this, off one that ends with it */
} beast_naming;

/* BAD_ARGUMENT: prefix or suffix is longer than BEAST_VALUE_MAX; nothing has changed. */
beast_status beast_naming_set(beast_naming *naming, beast_fold fold, beast_slice prefix, beast_slice suffix);

/* The name of a symbol of 1..BEAST_VALUE_MAX bytes: it lies in the symbol or in `room`, and may be empty. */
beast_slice beast_naming_apply(const beast_naming *naming, beast_slice symbol, uint8_t room[BEAST_VALUE_MAX]);

#endif
