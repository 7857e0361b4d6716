/* Membership: may a run hold this key? One face over the structures that can tell, and the choice between them.
 *
 *   exact        where keys are dense numbers: no errors, a few bits per key or next to none (learn/exact.h)
 *   partitioned  where keys that are asked for in vain differ from keys of the run: fewer bits for the same share of
 *                errors (learn/partitioned.h)
 *   ribbon       10 % smaller than a fuse filter, twice the time (learn/ribbon.h): where memory is dear
 *   fuse         everywhere else (learn/filter.h)
 *
 * What is chosen for a run is decided on its own keys and on a sample of real misses. The fuse filter is made in any
 * case: it is the traditional filter, and stays on disk beside what was chosen. In front of filters a template may
 * stand: the sizes of keys and bytes that are the same in all of them; it is kept where it turns away misses.
 *
 * Whatever serves, no key of the run is denied: each is asked for before the structure is given out. */
#ifndef LEARN_MEMBERSHIP_H
#define LEARN_MEMBERSHIP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "learn/exact.h"
#include "learn/filter.h"
#include "learn/partitioned.h"
#include "learn/ribbon.h"

enum membership_kind { MEMBERSHIP_FUSE, MEMBERSHIP_RIBBON, MEMBERSHIP_EXACT, MEMBERSHIP_PARTITIONED, MEMBERSHIP_KINDS };

enum {
    TEMPLATE_WORDS = 4,       /* of 8 bytes, from the front of a key */
    TEMPLATE_MISSES_MIN = 64, /* without so many misses there is no template */
    TEMPLATE_PERCENT_MIN = 5, /* of them, that it must turn away to be worth its time */
    MEMBERSHIP_HEADER_SIZE = 80,
    EXACT_GAPLESS_PART = 16, /* such a set is at most one part in so many of the plain filter */
};
/* A directory (a prefix that ends in '/') is entered into filters of keys as this ^ key_hash of it. */
#define MEMBERSHIP_DIRECTORY_SALT UINT64_C(0x6469726563746f72)

/* What all keys have in common. */
struct key_template {
    uint32_t size_min, size_max;   /* bytes */
    uint32_t words;                /* that lie within every key */
    uint64_t mask[TEMPLATE_WORDS]; /* ones in bytes that are the same in all keys */
    uint64_t value[TEMPLATE_WORDS];
};

/* --- building: every key once, ascending --- */

/* How a run's membership is to be made. */
struct membership_wish {
    unsigned bits;         /* fingerprint bits of the plain filter, FILTER_BITS_MIN to FILTER_BITS_MAX */
    uint64_t keys;         /* about how many there will be; 0: nobody knows */
    bool fuse_only;        /* nothing but the plain filter */
    bool bloom;            /* with fuse_only: the plain filter is that of learn/bloom.h */
    bool blocked;          /* the plain filter is that of learn/blocked.h */
    bool small;            /* ribbons rather than fuse filters */
    bool gapless;          /* an exact set only of keys nearly without gaps (EXACT_GAPLESS_PART) */
    bool tailored;         /* to what is asked for in vain: partitioned, or with a template */
    plsm_slice classifier; /* serialized (learn/classifier.h), valid until the builder is destroyed; empty: none */
};

struct membership_builder;

/* NULL: no memory. PLSM_CORRUPT does not exist here: a malformed classifier is left out. */
struct membership_builder *membership_builder_create(const struct membership_wish *wish);
void membership_builder_destroy(struct membership_builder *b); /* accepts NULL */
/* Adds the next key; `hash` is its key_hash, `shared` how many bytes it begins with that the key before began with too
 * (0 for the first). With `directories` its directories are entered as well. PLSM_NO_MEMORY. */
plsm_status membership_builder_add(struct membership_builder *b, plsm_slice key, uint64_t hash, size_t shared,
                                   bool directories);

/* Appends the key_hash ^ `salt`, 8 bytes each, of every directory of `key` that ends behind its first `shared` bytes:
 * of those that it does not have in common with the key before. PLSM_NO_MEMORY. */
plsm_status membership_directory_hashes(plsm_slice key, size_t shared, uint64_t salt, struct buf *out);

/* What came of it. */
struct membership_built {
    enum membership_kind kind;
    bool has_template;
    uint64_t hashes; /* of keys and directories: what filter_bits are counted by */
    uint64_t missed; /* keys that what was built denied: it was dropped then, and the library has an error */
    double planned_false_positives; /* of a partitioned filter: share of misses like those held out */
};

/* Appends the plain filter to `filter`, and what is to serve to `membership`: nothing where that is the plain filter
 * alone. `misses` are keys that were asked for in vain within the bounds of the run (held out: no classifier was
 * trained on them); there may be none. PLSM_NO_MEMORY, PLSM_TOO_LARGE (2^29 keys). Call it once. */
plsm_status membership_builder_finish(struct membership_builder *b, const plsm_slice *misses, size_t miss_count,
                                      struct buf *filter, struct buf *membership, struct membership_built *built);
/* After that: the hashes that are in the plain filter, some perhaps twice, directories salted. The builder's. */
const uint64_t *membership_builder_hashes(const struct membership_builder *b, size_t *count);

/* --- reading --- */

/* Over serialized bytes, which stay where they are and must outlive it. */
struct membership {
    enum membership_kind kind;
    bool has_template;
    struct key_template template;
    union {
        struct filter filter;
        struct ribbon ribbon;
        struct exact exact;
        struct partitioned partitioned;
    };
};

/* The kind that a serialized membership is of: what does not need the plain filter can be opened without it.
 * MEMBERSHIP_KINDS when it is malformed. */
enum membership_kind membership_kind_of(plsm_slice bytes);
/* Reads a serialized membership; `filter` is the plain filter, which kind MEMBERSHIP_FUSE is made of (otherwise it may
 * be NULL). PLSM_CORRUPT when it is malformed, PLSM_VERSION when a newer version wrote it. */
plsm_status membership_open(plsm_slice bytes, const struct filter *filter, struct membership *out);
/* The plain filter alone, as membership. */
void membership_of_filter(const struct filter *filter, struct membership *out);

/* False: the key is not in the run. `query` must have been initialised by membership_query_init for this key; it keeps
 * what is computed once. */
bool membership_may_contain(const struct membership *m, struct partitioned_query *query);
static inline void membership_query_init(struct partitioned_query *query, plsm_slice key, uint64_t hash)
{
    partitioned_query_init(query, key, hash);
}
/* Brings what membership_may_contain will read towards the cache. */
void membership_prefetch(const struct membership *m, struct partitioned_query *query);
/* False: no key of the run begins with `prefix`, which ends in '/'; `hash` is its key_hash. For runs whose keys were
 * added with their directories. */
bool membership_may_have_directory(const struct membership *m, plsm_slice prefix, uint64_t hash);
bool template_admits(const struct key_template *template, plsm_slice key);
const char *membership_kind_name(enum membership_kind kind); /* static */

#endif
