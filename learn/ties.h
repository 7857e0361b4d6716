/* Ties: borders between pages that the first words of codes do not tell apart, as the keys on both sides have equal
 * ones. The second words do: a child node for each group of ties, in the manner of RadixStringSpline (Spector et al.,
 * "Bounding the Last Mile: Efficient Learned String Indexing", 2021). Private to learn/.
 *
 * Ties are counted apart from the borders of the piecewise linear model: the page of a key is how many of both kinds
 * are at or below it. `rank` is how many of the other kind are. */
#ifndef LEARN_TIES_H
#define LEARN_TIES_H

#include <stdint.h>

#include "learn/codes.h"

/* One tie: after `rank` other borders, both sides have the first word `code`; the second words are low < high. */
struct tie {
    uint64_t code, low, high;
    uint32_t rank;
};

/* Appends the serialized form (layout in ties.c) of ties in key order to `out`; `ranks` is how many other borders there
 * are. PLSM_TOO_LARGE, without a message: too many ties too close together for it. PLSM_NO_MEMORY. */
plsm_status ties_build(const struct tie *ties, size_t count, uint32_t ranks, struct buf *out);

struct ties {
    uint32_t count, groups, ranks;
    uint8_t *memory;              /* owns everything below */
    const uint64_t *group_code;   /* ascending */
    const uint64_t *cuts;         /* per tie: second words from here on are behind it */
    const uint32_t *group_first;  /* ties in front of each group; one more at the end */
    const uint32_t *rank_base;    /* per 64 ranks: groups in front */
    const uint16_t *rank_offset;  /* per rank and one more: groups in front, less that */
    size_t memory_size;
};

/* Reads serialized ties at *at and moves *at behind them; `ranks` as they were built with. PLSM_CORRUPT,
 * PLSM_NO_MEMORY. Give back with ties_free. */
plsm_status ties_parse(const uint8_t **at, const uint8_t *end, uint32_t ranks, struct ties *out);
void ties_free(struct ties *t); /* accepts a zeroed one */

/* How many ties are at or below a key: `rank` other borders are, and coder_code gave `code` and `state` for it. */
uint32_t ties_below(const struct ties *t, uint32_t rank, const struct coder *coder, plsm_slice key, uint64_t code,
                    enum code_state state);

#endif
