/* Membership, partitioned: may a run hold this key? Fewer bits than a plain filter where misses differ from keys.
 *
 * After "Partitioned Learned Bloom Filters" (Vaidya, Knorr, Mitzenmacher, Kraska, ICLR 2021): a learned function sorts
 * keys into classes (learn/classifier.h), and each class of the run has a filter of its own with as many fingerprint
 * bits as it is worth: few where keys are many and misses rare, none at all where misses hardly come, and a class
 * without any key of the run says no. In front of them stands, where keys are paths, a filter of the run's directories:
 * a key whose directory the run does not have is not in the run, and directories are several times fewer than keys. (A
 * prefix decides, as in the prefix Bloom filters of RocksDB; here both stages share one budget of false positives.)
 *
 * No key of the run is ever denied: classes are computed by one pure function when writing and when reading, every key
 * is in the filter of its class, and a class says no only if no key was counted in it. A classifier that learned
 * nonsense costs bytes or false positives, never a key.
 *
 * The rate of false positives is that of misses like those it was planned for. When misses change their nature, a class
 * with few bits lets more of them pass (without a filter all) until the run is written again. */
#ifndef LEARN_PARTITIONED_H
#define LEARN_PARTITIONED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "learn/classifier.h"
#include "learn/filter.h"

/* --- policy --- */

enum {
    PARTITION_ALWAYS = 0,       /* instead of a number of bits: no filter, the answer is maybe */
    PARTITION_NEVER = 255,      /* instead of a number of bits: no key, the answer is no */
    PARTITION_MISSES_MIN = 128, /* held-out misses without which nothing is planned */
    PARTITION_GAIN_PERCENT = 5  /* what a partitioned filter must save to be worth having */
};

/* What is known of a run and of what is asked of it in vain. */
struct partition_counts {
    unsigned classes;                               /* 1 to CLASSIFIER_CLASSES_MAX; 1: there is no classifier */
    uint64_t keys[CLASSIFIER_CLASSES_MAX];          /* of the run, all of them */
    uint32_t misses[CLASSIFIER_CLASSES_MAX];        /* held out, whose directory is in the run */
    uint32_t misses_beside[CLASSIFIER_CLASSES_MAX]; /* held out, whose directory is not; 0 without directories */
    uint64_t directories;                           /* of the run; 0: it has no filter of them */
    uint64_t classifier_size;                       /* bytes */
};

/* How the bits are spent. */
struct partition_plan {
    unsigned classes;                     /* 1: without the classifier */
    uint8_t bits[CLASSIFIER_CLASSES_MAX]; /* 1 to 16, PARTITION_ALWAYS or PARTITION_NEVER */
    uint8_t directory_bits;               /* 0: no filter of directories */
    uint64_t size, plain_size;            /* bytes of all filters with the classifier; of the plain filter */
    double false_positive_rate;           /* expected of misses like those held out */
    bool worth;                           /* PARTITION_GAIN_PERCENT smaller than the plain filter, on enough misses */
};

/* The smallest partition whose expected false positive rate is at most 2^-bits, that of a plain filter of keys and
 * directories with `bits` bits. Each class starts with 16 bits; the step down that saves most bytes for the false
 * positives it adds is taken until none is left within the budget (marginal analysis: Fox, "Discrete Optimization via
 * Marginal Analysis", 1966). The filter of directories has at least `bits`: it also answers whether a directory is
 * there. One miss more than was seen is assumed in every class, so that few misses promise little. When the classifier
 * is not worth its bytes the plan has one class. Random keys give nothing to save: there `worth` is false, and the run
 * keeps its plain filter. Pure.
 *
 * Worked example: bits 8, so 0.39 % of misses may pass. 100,000 keys: 90,000 of class 0, 10,000 of class 1; of 998
 * misses 9 are of class 0, 989 of class 1; a classifier of 1,000 bytes. So 1 % of misses meet class 0, 99 % class 1.
 * Class 0 gets 2 bits, which lets 1 % / 4 = 0.25 % pass, class 1 gets 10 bits: 0.99 / 1,024 = 0.10 %. Together 0.35 %,
 * in about 44,000 bytes with the classifier, where the plain filter takes 119,000. One bit less for class 0 would pass
 * 0.50 % alone; 9 bits for class 1 would be 0.44 % together. */
void partition_plan(const struct partition_counts *counts, unsigned bits, struct partition_plan *out);

/* Bytes in front of the filters and the classifier. */
size_t partitioned_header_size(unsigned classes);

/* --- writing --- */

/* What the writer of a run has gathered. The arrays stay the caller's. */
struct partitioned_input {
    const uint64_t *hashes;      /* key_hash of every key; neighbours may repeat */
    const uint8_t *classes;      /* classifier_class of every key; NULL: no classifier */
    size_t count;                /* of both */
    const uint64_t *directories; /* key_hash of every prefix of a key that ends in '/', each once; NULL: none */
    size_t directory_count;
    plsm_slice classifier;    /* serialized; empty when classes is NULL */
    const plsm_slice *misses; /* held out: the classifier was not trained on them; perhaps cut, to not less than
                                 CLASSIFIER_KEY_SIZE_MAX bytes */
    size_t miss_count;
    unsigned bits; /* of the plain filter to compare with, FILTER_BITS_MIN to FILTER_BITS_MAX */
};

/* Counts, and plans by the policy above. PLSM_NO_MEMORY; PLSM_INVALID for a class or a number of bits out of range;
 * PLSM_CORRUPT for a malformed classifier. */
plsm_status partitioned_plan(const struct partitioned_input *input, struct partition_plan *out);
/* Appends the serialized filter that `plan` (of the same input) asks for, worth having or not, to `out`. Takes about
 * as long as building the plain filter. PLSM_NO_MEMORY, or PLSM_INVALID for a plan that would deny keys or cannot be
 * followed, with `out` as it was. The caller adds its own checksum. */
plsm_status partitioned_build(const struct partitioned_input *input, const struct partition_plan *plan,
                              struct buf *out);

/* The directory of a key: up to and including its last '/'. Empty when it has none. */
plsm_slice partitioned_directory(plsm_slice key);

/* --- reading --- */

/* A partitioned filter over its serialized bytes, which stay where they are and must outlive it. */
struct partitioned {
    struct classifier classifier; /* all zero with one class */
    struct filter directories;    /* if has_directories */
    struct filter filters[CLASSIFIER_CLASSES_MAX];
    uint8_t bits[CLASSIFIER_CLASSES_MAX]; /* as in the plan */
    unsigned classes;
    bool has_directories;
};

/* A key on its way through the filters of several runs. What depends on the key alone is computed once, and the class
 * once for all filters whose `classifier` reads the same bytes in memory (a reader of many runs may let equal ones do
 * so). */
struct partitioned_query {
    plsm_slice key;
    uint64_t hash;           /* key_hash(key) */
    uint64_t directory_hash; /* of its directory, once it is sought and if it has one */
    bool directory_sought, has_directory;
    const uint8_t *classified_by; /* the weights of the classifier that `class` is of; NULL: none yet */
    unsigned class;
};

/* Reads a serialized filter. PLSM_CORRUPT when it is malformed. */
plsm_status partitioned_open(plsm_slice bytes, struct partitioned *out);
void partitioned_query_init(struct partitioned_query *query, plsm_slice key, uint64_t hash);
/* False: the key is not in the run. */
bool partitioned_may_contain(const struct partitioned *filter, struct partitioned_query *query);
/* Brings what partitioned_may_contain will read first towards the cache: the places in the filter of directories or,
 * where there is none, in the filter of the key's class; for groups of lookups. */
void partitioned_prefetch(const struct partitioned *filter, struct partitioned_query *query);
/* False: no key of the run has this directory, given by the key_hash of its name with the '/' behind it. */
bool partitioned_may_have_directory(const struct partitioned *filter, uint64_t directory_hash);
/* The answer of one class, for a writer that checks what it built. `class` may be any number. */
bool partitioned_class_may_contain(const struct partitioned *filter, unsigned class, uint64_t hash);

#endif
