/* What a classifier sees of a key: a cell of a table for each feature that the key has. Private to learn/.
 *
 * A feature is a piece of the key and its kind, hashed to a cell (the hashing trick: Weinberger and others, "Feature
 * Hashing for Large Scale Multitask Learning", ICML 2009). */
#ifndef LEARN_FEATURES_H
#define LEARN_FEATURES_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

enum {
    FEATURE_KEY_SIZE_MAX = 128, /* only so many bytes of a key are looked at: misses are remembered cut to them */
    FEATURE_CELL_BITS = 13,     /* a cell is a number below 2^13; smaller tables use its lower bits */
    FEATURES_MAX = 272          /* more than any key can have */
};

/* Kinds of features; a classifier has a set of them. Paths of 63 bytes have 11, 12 and 63 cells on average.
 * HEADS: the first 2, 3, 4, 6, 8, 12, 16, ... 32 bytes: which part of the order of keys this is.
 * TOKENS: every longest piece of letters, digits and bytes above 127, wherever it is; one of more than 8 bytes counts
 * by its first 8 and its size.
 * PAIRS: every two neighbouring bytes, wherever they are. */
enum feature_kind { FEATURE_HEADS = 1, FEATURE_TOKENS = 2, FEATURE_PAIRS = 4, FEATURE_KINDS_ALL = 7 };

/* Both are in integers only and depend on the first FEATURE_KEY_SIZE_MAX bytes alone. */

/* Writes the cells of `key` for the kinds in `kinds` to `cells` (room for FEATURES_MAX); returns how many there are. */
size_t features_list(plsm_slice key, unsigned kinds, uint16_t *cells);
/* The sum of the weights of these cells. `weights` has 2^cell_bits of them, each half a byte: that of cell 2 i is the
 * low half of byte i, that of cell 2 i + 1 the high half. What a half stands for: feature_weights. */
int32_t features_score(plsm_slice key, unsigned kinds, const uint8_t *weights, unsigned cell_bits);

extern const int8_t feature_weights[16];

/* Bit i: whether byte first + i of the `size` bytes, at most FEATURE_KEY_SIZE_MAX, is neither letter nor digit nor
 * above 127, for 64 bytes; 0 behind `size`. `first` is a multiple of 64 below `size`. FEATURE_BLOCK bytes can be read
 * even where `size` is less. Both give the same bits; tests compare them. */
enum { FEATURE_BLOCK = 16 };
uint64_t feature_borders_portable(const uint8_t *bytes, size_t size, size_t first);
#if defined(__SSE2__)
uint64_t feature_borders_sse2(const uint8_t *bytes, size_t size, size_t first);
#endif

#endif
