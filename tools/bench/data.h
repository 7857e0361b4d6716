/* The keys and values of the benchmarks: the same for every engine, made from their index, so that none is stored
 * and each that is read can be checked.
 *
 * Keys are of one of the shapes of shapes.h. Values are pieces of a pool of random bytes (nothing compresses), chosen
 * by the key and a version, so handing one out copies nothing. */
#ifndef TOOLS_BENCH_DATA_H
#define TOOLS_BENCH_DATA_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "tools/bench/permutation.h"
#include "tools/bench/shapes.h"

struct data {
    uint64_t keys, seed;
    uint32_t value_bytes;
    struct shape_set *set;
    struct permutation shuffle; /* of the keys */
    uint8_t *pool;
};

/* `keys` keys of the shape `shape`, and `more` that are not there at first. Errors as shape_open. Free with data_free,
 * also after a failure. */
plsm_status data_init(struct data *data, const char *shape, uint64_t keys, uint64_t more, uint32_t value_bytes,
                      uint64_t seed);
void data_free(struct data *data); /* accepts a zeroed one */

/* The key with this index; indexes from data->keys on are of keys that are not loaded at first. Valid as that of
 * shape_key. */
static inline plsm_slice data_key(const struct data *data, uint64_t index, uint8_t buffer[SHAPE_MADE_MAX])
{
    return shape_key(data->set, index, buffer);
}
/* A key that is never stored, between those that are where the shape allows that; any index. */
plsm_slice data_absent_key(const struct data *data, uint64_t index, uint8_t buffer[SHAPE_KEY_MAX]);
/* A bijection of [0, data->keys) without visible order: the i-th index of a random walk over all keys. */
static inline uint64_t data_shuffled(const struct data *data, uint64_t i)
{
    return permutation_at(&data->shuffle, i);
}
/* The index of the i-th key when keys are written in random order. */
static inline uint64_t data_scattered(const struct data *data, uint64_t i)
{
    return shape_of(data->set)->scattered ? i : data_shuffled(data, i);
}

/* The value of a key in version 0 or 1; valid as long as `data`. */
plsm_slice data_value(const struct data *data, plsm_slice key, unsigned version);
/* Which version `value` is of the key `key`, judged by its size and first 8 bytes; -1: none, a wrong answer.
 * It touches nothing but these two: what it costs is the same whatever the engine leaves of the processor's cache. */
int data_version(const struct data *data, plsm_slice key, plsm_slice value);

#endif
