/* Codes do not help where keys share long prefixes of many lengths, as words and paths do: what tells two pages apart
 * is deep inside the keys, at a different depth for each. A blind trie does: it keeps at which bytes keys part ways on
 * the way to the borders between pages, and by which value; of the keys themselves it keeps nothing else. Private to
 * learn/.
 *
 * Sources: blind tries of Ferragina and Grossi ("The String B-Tree", JACM 1999), after Morrison's PATRICIA (1968);
 * nodes with three sides of Bentley and Sedgewick ("Fast Algorithms for Sorting and Searching Strings", 1997); that a
 * trie without labels can be exact for the keys it was made for is the idea behind monotone minimal perfect hashing
 * (Belazzougui, Boldi, Pagh and Vigna, SODA 2009). Ours tells pages apart, not keys: three to four nodes of about 2.5
 * bytes a page, however long the keys are (trie_build.c says why that is enough).
 *
 * For a key of the run the answer is exact. Any other string gets some page; trie_edge then finds the right one with
 * what that page shows. */
#ifndef LEARN_TRIE_H
#define LEARN_TRIE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

/* Where neighbouring keys part ways: they share `depth` bytes; the greater one has `byte` there, and the smaller one a
 * smaller byte or its end. */
struct trie_event {
    uint16_t depth;
    uint8_t byte;
    bool border; /* between the last key of a page and the first of the next; otherwise inside a page */
};

/* Makes the trie from the events of a run in key order and appends its serialized form (layout in trie.c) to `out`. Of
 * the inside of a page these are needed: going from either of its borders inward, each that is shallower than all
 * before it. PLSM_NO_MEMORY; PLSM_TOO_LARGE when it would not fit 2 GiB. */
plsm_status trie_build(const struct trie_event *events, size_t count, struct buf *out);

/* A trie over its serialized bytes, which stay where they are and outlive it. */
struct trie {
    const uint8_t *top;    /* nodes whose subtrees are too large for a block */
    const uint8_t *places; /* where each block is, and the rank in front of it */
    const uint8_t *blocks;
    uint32_t top_nodes, block_count, blocks_size, borders, nodes;
};

/* Reads a trie at *at and moves *at behind it. PLSM_CORRUPT. */
plsm_status trie_parse(const uint8_t **at, const uint8_t *end, struct trie *out);

/* A rank in the making: where the way through the top ended. */
struct trie_probe {
    uint32_t block, depth;
};
/* Goes through the top, which is small, and fetches the block that decides. Returns the rank in front of that block. */
uint32_t trie_begin(const struct trie *t, plsm_slice key, struct trie_probe *probe);
/* How many borders lie at or below `key`. Any thread. */
uint32_t trie_end(const struct trie *t, plsm_slice key, const struct trie_probe *probe);

/* Which leaf a key comes to: ascending with the keys of the run. A page has several leaves where its keys part ways far
 * in front of its borders. */
uint64_t trie_leaf(const struct trie *t, plsm_slice key);
/* Where a key belongs that is not on the page that was answered. `shared` is how many bytes it shares with any key of
 * the run that comes to the same leaf (which is on that page); `above` says whether it is the greater of the two.
 * Returns the rank such that all keys on pages before it are smaller than `key`, and all on pages behind it greater. */
uint32_t trie_edge(const struct trie *t, plsm_slice key, size_t shared, bool above);

#endif
