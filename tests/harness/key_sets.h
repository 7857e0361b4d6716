/* Sorted sets of keys of many shapes, cut into pages: what the indexes of a run are tested with. */
#ifndef TESTS_HARNESS_KEY_SETS_H
#define TESTS_HARNESS_KEY_SETS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/random.h"

enum key_shape {
    KEYS_COUNTERS,         /* big-endian, every number */
    KEYS_COUNTERS_SPARSE,  /* big-endian, numbers missing at random */
    KEYS_DECIMALS,         /* "key" and a number with leading zeroes */
    KEYS_DECIMALS_RAGGED,  /* "user" and a number without */
    KEYS_RANDOM,           /* 16 random bytes */
    KEYS_HEX,              /* 32 hex digits */
    KEYS_PATHS,            /* directories, files, extensions */
    KEYS_WORDS,            /* syllables: long shared prefixes of many lengths */
    KEYS_SERIES,           /* a random series number, then a time */
    KEYS_NESTED,           /* each a prefix of others: a, aa, aaa, ... */
    KEYS_EDGE_BYTES,       /* only 0x00, 0x01, 0xfe, 0xff, of any length */
    KEYS_LONG,             /* up to 8 KiB, differing far behind */
    KEYS_SKEWED,           /* dense clusters at distances that double */
    KEYS_DEEP_CLUSTERS,    /* half random, half behind one long prefix */
    KEYS_VERSIONS,         /* runs of equal keys, so that borders are straddled */
    KEYS_MIXED_SPACES,     /* short binary and long textual keys behind different first bytes */
    KEY_SHAPE_COUNT
};

const char *key_shape_name(enum key_shape shape);

struct key_set {
    plsm_slice *keys; /* ascending; equal neighbours only in KEYS_VERSIONS */
    uint32_t *pages;  /* of each key: ascending from 0 */
    size_t count;
    uint32_t page_count;
    uint8_t *bytes; /* owns the keys' bytes */
    size_t bytes_size, bytes_capacity;
};

/* At most `count` keys (fewer where they would repeat), at least one, on pages of 1 to `page_keys_max` keys. */
struct key_set *key_set_create(enum key_shape shape, size_t count, unsigned page_keys_max, uint64_t seed);
void key_set_destroy(struct key_set *set); /* accepts NULL */

/* Any string near the keys of the set: one of them with bytes changed, cut or appended. At most `capacity` bytes. */
size_t key_set_mutate(const struct key_set *set, struct random *random, uint8_t *out, size_t capacity);

/* Between which pages (inclusive) the answer for any string must be. For a key of the set, and for every string between
 * two keys of one page, that is one page. */
struct page_range {
    uint32_t low, high;
};
struct page_range key_set_expected(const struct key_set *set, plsm_slice key);

/* Calls `border` for every page in order, as a run's writer does. */
plsm_status key_set_borders(const struct key_set *set,
                            plsm_status (*border)(void *arg, plsm_slice last, plsm_slice first), void *arg);

/* Tells all keys, each once with how many bytes it shares with the one before, and the last key of each page. */
plsm_status key_set_tell(const struct key_set *set, plsm_status (*key)(void *arg, plsm_slice key, size_t shared),
                         plsm_status (*page)(void *arg, plsm_slice last), void *arg);
/* The keys [*first, *last] that begin on a page (their first version stands there); false: none does. */
bool key_set_page(const struct key_set *set, uint32_t page, size_t *first, size_t *last);

#endif
