/* Plain fences: the first key of every page in full, found by binary search and whole comparisons. What textbooks and
 * LevelDB do, nearly (LevelDB shortens its separators and restarts between them); index=classic uses them, so that
 * the other indexes can be compared with them. Read through fences.h, which tells the kinds apart by their format. */
#ifndef LEARN_PLAIN_FENCES_H
#define LEARN_PLAIN_FENCES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

/* --- building; a zeroed builder is an empty one --- */

struct plain_fences_builder {
    struct buf keys;
    struct buf offsets; /* u32 each: where a key begins in `keys` */
    uint32_t pages;
};
void plain_fences_builder_free(struct plain_fences_builder *b);
/* A new page starts with key `first`; `last` is the last key of the page before it (empty for page 0). Both are copied
 * as far as needed. PLSM_INVALID when they are out of order, PLSM_TOO_LARGE above 2 GiB, PLSM_NO_MEMORY. */
plsm_status plain_fences_add(struct plain_fences_builder *b, plsm_slice last, plsm_slice first);
/* Appends the serialized fences to `out`; at least one page must have been added. PLSM_NO_MEMORY. */
plsm_status plain_fences_finish(const struct plain_fences_builder *b, struct buf *out);

/* --- reading --- */

struct plain_fences {
    uint8_t *bytes; /* a copy of the serialized form, owned; NULL: there are none (see struct fences) */
    const uint32_t *offsets;
    const uint8_t *keys;
    uint32_t pages;
    size_t bytes_size;
};
/* Whether serialized fences say that they are plain. */
bool plain_fences_recognise(plsm_slice bytes);
/* Parses; copies what it needs (the bytes may go). PLSM_CORRUPT when they are malformed, PLSM_NO_MEMORY. */
plsm_status plain_fences_open(plsm_slice bytes, struct plain_fences *out);
void plain_fences_close(struct plain_fences *f); /* accepts a zeroed one */
/* As fences_find: the last page whose fence is <= key; 0 when there is none. Safe from any thread. */
uint32_t plain_fences_find(const struct plain_fences *f, plsm_slice key);

#endif
