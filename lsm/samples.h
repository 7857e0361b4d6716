/* Samples of a store: keys that it holds and keys that it was asked for in vain. From them a classifier learns to tell
 * the two apart (learn/classifier.h), and on misses that it has not seen it is decided what a run's filter is to be
 * (learn/membership.h).
 *
 * Both are reservoirs of SAMPLES_MAX keys, cut to CLASSIFIER_KEY_SIZE_MAX bytes. A new sample takes the place of an old
 * one with a probability that falls as 1 / n (Vitter, "Random Sampling with a Reservoir", 1985, algorithm R), but never
 * below 1/8: what has not been asked for lately is forgotten by and by.
 *
 * All functions may be called by any number of threads. */
#ifndef LSM_SAMPLES_H
#define LSM_SAMPLES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

enum {
    SAMPLES_MAX = 4096,
    SAMPLES_HELD_OUT = 3,      /* every so many-th miss is held out: nothing is trained on it */
    SAMPLES_FORGET = 8,        /* the probability of taking a sample stays above 1 / this */
    SAMPLES_PERIOD_KEYS = 256, /* runs that are written give so many-th key */
};

struct samples;

struct samples *samples_create(void);          /* NULL: no memory */
void samples_destroy(struct samples *samples); /* accepts NULL */

/* Whether a lookup that found nothing should be given to samples_miss: one in 8 while there are few, then one in 64, at
 * random. Costs about a nanosecond. */
bool samples_want_miss(const struct samples *samples);
void samples_miss(struct samples *samples, plsm_slice key);
void samples_key(struct samples *samples, plsm_slice key);

/* Copies of samples; zero it to start. */
struct sample_list {
    plsm_slice *keys; /* into bytes */
    size_t count;
    struct buf bytes;
};
void sample_list_free(struct sample_list *list);

/* The held-out misses within [smallest, largest]. PLSM_NO_MEMORY. */
plsm_status samples_held_out(struct samples *samples, plsm_slice smallest, plsm_slice largest, struct sample_list *out);

/* Appends a classifier for keys whose first byte is `keyspace`, or nothing when there is nothing to learn: too few
 * samples, or misses that look like keys. It is trained at the first call, and again once half as many misses as the
 * reservoir holds have come since: that takes some 50 ms of processor. PLSM_NO_MEMORY. `bits` and `run_keys` as for
 * classifier_train. */
plsm_status samples_classifier(struct samples *samples, uint8_t keyspace, unsigned bits, uint64_t run_keys,
                               struct buf *out);

/* How many are at hand, and how often a classifier was trained. */
struct samples_info {
    uint64_t keys, misses, trainings;
};
void samples_get_info(struct samples *samples, struct samples_info *out);

#endif
