/* The keys and values of the benchmarks: the same for every engine, made from their index, so that none is stored
 * and each that is read can be checked.
 *
 * Keys have 16 bytes. Random ones are two hashes of the index: their order has nothing to do with the index.
 * Decimal ones are the index times ten, padded with zeros: index order is key order. Values are pieces of a pool of
 * random bytes (nothing compresses), chosen by the key and a version, so handing one out copies nothing. */
#ifndef TOOLS_BENCH_DATA_H
#define TOOLS_BENCH_DATA_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

enum { DATA_KEY_SIZE = 16 };

struct data {
    uint64_t keys, seed;
    uint32_t value_bytes;
    bool decimal;
    uint8_t *pool;
};

plsm_status data_init(struct data *data, uint64_t keys, uint32_t value_bytes, bool decimal, uint64_t seed);
void data_free(struct data *data);

/* The key with this index; indexes from data->keys on are of keys that are not loaded at first. */
void data_key(const struct data *data, uint64_t index, uint8_t key[DATA_KEY_SIZE]);
/* A key that is never stored, between those that are. */
void data_absent_key(const struct data *data, uint64_t index, uint8_t key[DATA_KEY_SIZE]);
/* A bijection of [0, data->keys) without visible order: the i-th index of a random walk over all keys. */
uint64_t data_shuffled(const struct data *data, uint64_t i);

/* The value of a key in version 0 or 1; valid as long as `data`. */
plsm_slice data_value(const struct data *data, const uint8_t key[DATA_KEY_SIZE], unsigned version);
/* Which version `value` is of the key `key`, judged by its size and first 8 bytes; -1: none, a wrong answer. */
int data_version(const struct data *data, plsm_slice key, plsm_slice value);

#endif
