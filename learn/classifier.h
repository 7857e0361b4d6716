/* Classes of keys: a small learned function from the bytes of a key to a class, so that a filter can spend its bits
 * where misses are likely and keys are few (the learned part of a partitioned learned Bloom filter: Vaidya, Knorr,
 * Mitzenmacher, Kraska, "Partitioned Learned Bloom Filters", ICLR 2021; learn/partitioned.h is the other part).
 *
 * A linear model over hashed features (learn/features.h): the score of a key is the sum of the weights of its cells,
 * the class is how many of a few thresholds the score has reached. Class 0 looks most like keys of the store, the last
 * one most like misses. A class is a pure function of the serialized classifier and the first CLASSIFIER_KEY_SIZE_MAX
 * bytes of a key, in integers only: writer and reader agree on it, whatever it is worth. */
#ifndef LEARN_CLASSIFIER_H
#define LEARN_CLASSIFIER_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

enum {
    CLASSIFIER_CLASSES_MAX = 8,
    CLASSIFIER_KEY_SIZE_MAX = 128,    /* so many bytes of a sampled key are enough */
    CLASSIFIER_SIZE_MAX = 4096 + 32,  /* serialized bytes; it may be an eighth of that */
    CLASSIFIER_SAMPLES_MIN = 512,     /* with fewer keys or misses there is nothing to learn from */
    CLASSIFIER_SAMPLES_MAX = 1 << 16, /* of each; the time of training grows with them */
};

/* A classifier over its serialized bytes, which stay where they are and must outlive it. */
struct classifier {
    const uint8_t *weights; /* two a byte */
    unsigned features;      /* kinds, of learn/features.h */
    unsigned cell_bits;     /* there are 2^cell_bits weights */
    unsigned classes;       /* 2 to CLASSIFIER_CLASSES_MAX */
    int32_t thresholds[CLASSIFIER_CLASSES_MAX - 1];
};

/* What a classifier is trained from, in any order, repeats allowed. Every fourth of each list is held back from the
 * weights and chooses thresholds, kinds of features and size. */
struct classifier_samples {
    const plsm_slice *keys;   /* drawn from the keys of the store */
    const plsm_slice *misses; /* drawn from what was asked for in vain; keep others back for partitioned_plan */
    size_t key_count, miss_count;
};

/* Trains a classifier for runs of about `run_keys` keys whose plain filter would have `bits` fingerprint bits, and
 * appends it to `out`; the same samples give the same bytes. Appends nothing when no classifier is worth its bytes:
 * when the partitioned filter would not be 5 % smaller than the plain one (partition_plan) by the quarter of the
 * samples that weights were not trained on, as is so with random keys. Takes 30 to 50 ms of processor for 4,000 keys
 * and 2,700 misses of 63 bytes. PLSM_NO_MEMORY; PLSM_INVALID for `bits` outside FILTER_BITS_MIN to FILTER_BITS_MAX or
 * more than CLASSIFIER_SAMPLES_MAX samples. */
plsm_status classifier_train(const struct classifier_samples *samples, unsigned bits, uint64_t run_keys,
                             struct buf *out);
/* Reads a serialized classifier. PLSM_CORRUPT when it is malformed. */
plsm_status classifier_open(plsm_slice bytes, struct classifier *out);
/* The class of a key, below classifier->classes. */
unsigned classifier_class(const struct classifier *classifier, plsm_slice key);

#endif
