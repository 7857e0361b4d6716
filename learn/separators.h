/* A sorted list of separator keys, front-coded: what the fences are made of, and the part of a learned model that its
 * arithmetic cannot do. Private to learn/. */
#ifndef LEARN_SEPARATORS_H
#define LEARN_SEPARATORS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

enum {
    SEPARATOR_GROUP = 16,              /* every so many the whole string is written, so that a search can start there */
    SEPARATOR_SIZE_MAX = (1 << 16) - 1 /* far above the longest key; bounds what damaged bytes can ask for */
};

/* The shortest string s with last < s <= first is a prefix of `first`; returns how long it is. Where last == first (the
 * versions of one key straddle a page border) no such string exists: the answer is first.size + 1, meaning `first`
 * followed by a zero byte, the smallest string above it. 0 when last > first. */
size_t separator_size(plsm_slice last, plsm_slice first);

/* --- writing --- */

struct separators_builder {
    struct buf coded;    /* front-coded without groups: the common prefix is known only at the end */
    struct buf previous; /* the last one added */
    size_t common;       /* bytes that all of them share */
    uint32_t count;
};

/* Adds prefix[0, size), where size may be prefix.size + 1 (see separator_size). PLSM_INVALID when it is smaller than
 * the one before it or too long. */
plsm_status separators_add(struct separators_builder *b, plsm_slice prefix, size_t size);
/* Appends the serialized list (layout in separators.c) to `out`. */
plsm_status separators_finish(const struct separators_builder *b, struct buf *out);
void separators_builder_free(struct separators_builder *b); /* accepts a zeroed one */

/* --- reading --- */

/* A parsed list; points into the serialized bytes. */
struct separators {
    const uint8_t *prefix; /* cut from every separator */
    const uint8_t *coded, *end;
    uint32_t count, prefix_size;
};

/* Reads the header. PLSM_CORRUPT when it is malformed; the coded part is checked by whoever walks it. */
plsm_status separators_parse(plsm_slice bytes, struct separators *out);

/* One coded separator: it shares `shared` bytes with the one before it, then `suffix` follows. */
struct separator {
    uint32_t shared, suffix_size;
    const uint8_t *suffix;
};

/* Decodes the separator at `at`; `in_group` is its number modulo SEPARATOR_GROUP. Returns the byte behind it, or NULL
 * when the bytes up to `end` do not hold one. */
const uint8_t *separator_decode(const uint8_t *at, const uint8_t *end, unsigned in_group, struct separator *out);

#endif
