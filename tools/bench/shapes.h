/* Sets of keys of many shapes, the same for every engine and on every machine: keys of the form that people use, and
 * absent keys of the same form.
 *
 * Generated shapes are pure functions of a seed and an index: nothing is stored, a set of 10^8 keys costs as much as
 * one of ten. Shapes of files take the lines of a file that scripts/key-sets makes from Debian's packages.
 *
 * counters       8 bytes, big-endian, every number from 0. Absent: the numbers behind the last.
 * counters10     8 bytes, big-endian, 10 % of the numbers missing, at random. Absent: the missing ones.
 * counters75     the same, 75 % missing.
 * ycsb           "user" and a decimal number: the hash of a counter, as the inserts of YCSB make them (Cooper et al.
 *                2010; there fnvhash64 of Utils, with insertorder=hashed, zeropadding=1): FNV-1a of the counter's 8
 *                bytes, lowest first, and its absolute value. Absent: other counters.
 * random         16 bytes, two hashes of the index. Absent: other indexes.
 * hex            32 hex digits, lower case: the bytes of `random`. Absent: other indexes.
 * series         measurements of many series, 1,000 of each: 8 bytes that are a hash of the series' number, then the
 *                time in ms, 8 bytes, big-endian. Each series begins at a moment of its own within a day and is
 *                measured every 15 s; of each 101 measurements in a row one is missing, at random. Absent: those, or
 *                moments between two.
 * series_jitter  the same, each measurement 0 to 9 ms late.
 * decimal        16 decimal digits, index times ten. Absent: numbers between.
 * words          lines of words.txt: words of 20 languages.
 * paths          lines of paths.txt: the files of Debian's packages and their sources. Directories are held out, to ask
 *                for files of other trees.
 *
 * Keys of counters, ycsb and decimal are the same for every seed. All functions may be called from any number of
 * threads at a time. */
#ifndef TOOLS_BENCH_SHAPES_H
#define TOOLS_BENCH_SHAPES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

enum { SHAPE_KEY_MAX = 512 };      /* bytes of the longest key */
enum { SHAPE_MADE_MAX = 32 };      /* bytes of the longest key that is generated */
enum { SHAPE_KEYS_MAX = 1 << 30 }; /* of a set */

/* Ways for a key not to be in the set. */
enum shape_absent {
    SHAPE_ABSENT_OTHER,   /* made as the set's are, but left out: a missing number, another hash, another line of the
                           * file. Different for each index, so a caller that wants new keys can take these. */
    SHAPE_ABSENT_CHANGED, /* the key of this index with one character changed; for series, between two moments */
    SHAPE_ABSENT_FOREIGN, /* of other trees: 1/16 of all directories (the first four of a path name a tree) is held out
                           * of the set */
    SHAPE_ABSENT_COUNT    /* not a way: how many there are */
};

struct shape {
    const char *name, *about;
    bool ordered;                    /* index order is key order */
    bool scattered;                  /* index order has nothing to do with key order */
    const char *file;                /* that its keys come from; NULL: generated */
    const struct shape_maker *maker; /* private to shapes.c */
};

extern const struct shape shapes[];               /* ended by one without a name */
const struct shape *shape_find(const char *name); /* NULL: none of that name */

struct shape_set;

/* Opens the set of `keys` (1 to SHAPE_KEYS_MAX) keys of the shape `name`; *out is to be closed with shape_close.
 * `directory` has the files (NULL: ${XDG_CACHE_HOME:-$HOME/.cache}/plsm-key-sets, where scripts/key-sets puts them) and
 * is not looked at for generated shapes. Files are read whole, and stay in memory with 4 bytes a line.
 * PLSM_INVALID: no such shape, a wrong number of keys, or a file with too few lines; PLSM_NOT_FOUND: the file is not
 * there, the message says which command makes it; PLSM_CORRUPT: it is empty, or its lines do not ascend bytewise or
 * have no or more than SHAPE_KEY_MAX bytes; PLSM_TOO_LARGE: it has 4 GiB or more; PLSM_NO_MEMORY, PLSM_IO. */
plsm_status shape_open(const char *name, uint64_t keys, uint64_t seed, const char *directory, struct shape_set **out);
void shape_close(struct shape_set *set); /* accepts NULL */

const struct shape *shape_of(const struct shape_set *set);
uint64_t shape_count(const struct shape_set *set);

/* The key with this index, below shape_count. A generated key is written to `buffer` and costs 2 to 15 ns; a line costs
 * two cache misses, and the slice points into the set instead, until it is closed. */
plsm_slice shape_key(const struct shape_set *set, uint64_t index, uint8_t buffer[SHAPE_MADE_MAX]);

/* How many keys are absent in this way; 0: this set has none. Generated shapes have as many as keys, but of missing
 * numbers and measurements as many as are missing. */
uint64_t shape_absent_count(const struct shape_set *set, enum shape_absent way);
/* An absent key; index below shape_absent_count. Costs as much as shape_key, but for lines that are changed: those take
 * a search of the set, some microseconds in 10^7 lines. */
plsm_slice shape_absent(const struct shape_set *set, enum shape_absent way, uint64_t index,
                        uint8_t buffer[SHAPE_KEY_MAX]);

/* A bijection of [0, shape_count) without visible order: the i-th index of a random walk over all keys. */
uint64_t shape_shuffled(const struct shape_set *set, uint64_t i);

#endif
