/* Lists of keys that are numbers in many spellings: what exact sets are tested with. */
#ifndef TESTS_HARNESS_NUMBER_KEYS_H
#define TESTS_HARNESS_NUMBER_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

/* Keys in one buffer. Zero it to start. */
struct key_list {
    struct buf bytes;
    size_t *ends; /* of each key in `bytes` */
    size_t count, room;
};

plsm_slice key_list_at(const struct key_list *keys, size_t i); /* valid until the next key_list_add */
size_t key_list_shared(const struct key_list *keys, size_t i); /* bytes that begin it and the key before; 0: none is */
void key_list_add(struct key_list *keys, plsm_slice key);
/* Sorts, and keeps one of equal ones. */
void key_list_sort(struct key_list *keys);
/* How many keys of a sorted list are below `key`. */
size_t key_list_below(const struct key_list *keys, plsm_slice key);
void key_list_free(struct key_list *keys);

enum number_shape {
    NUMBERS_COUNTERS,  /* big-endian, every number */
    NUMBERS_MISSING_1, /* one in a hundred missing at random */
    NUMBERS_MISSING_10,
    NUMBERS_MISSING_75,
    NUMBERS_DECIMALS,
    NUMBERS_FILE_NAMES, /* decimal digits between text */
    NUMBERS_HEX_LOWER,
    NUMBERS_HEX_UPPER,
    NUMBERS_EVERY_15000TH,
    NUMBERS_SERIES,              /* series numbers, then times at even distances, one in a hundred missing */
    NUMBERS_SERIES_TEXT,         /* the same with names of several lengths and decimal times */
    NUMBERS_SERIES_MARKED,       /* with the same bytes behind each time */
    NUMBERS_CLUSTERS,            /* 50 in a row, then a gap */
    NUMBERS_DIGESTS,             /* 16 random hex digits */
    NUMBERS_COUNTERS_HALF_DENSE, /* 10,000 in a row, then one in four */
};

/* Adds about `count` keys of a shape, sorted; the same ones for the same seed. */
void key_list_fill(struct key_list *keys, enum number_shape shape, size_t count, uint64_t seed);

/* Builds an exact set over a sorted list. False when none was built. The bytes are in an allocation of their very size,
 * so that a sanitizer sees the first byte read behind them; free(out->data) in any case. */
bool key_list_build(const struct key_list *keys, double bits_per_key, struct buf *out);
enum { KEY_LIST_ANY_SIZE = 1000000 }; /* bits per key that no set exceeds */

#endif
