/* What a memtable must hold, as a sorted array; and keys made to hurt a radix tree. */
#ifndef TESTS_MEMTABLE_MODEL_H
#define TESTS_MEMTABLE_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/random.h"
#include "lsm/entry.h"

struct memtable_model_version {
    uint64_t seq;
    enum batch_kind kind;
    size_t meta_size, value_size;
};

struct memtable_model_key {
    uint8_t *key;
    size_t size;
    struct memtable_model_version *versions; /* oldest first */
    size_t count;
};

struct memtable_model {
    struct memtable_model_key *keys;
    size_t count, capacity;
    uint64_t versions;
};

static inline plsm_slice memtable_model_slice(const struct memtable_model_key *k)
{
    return slice(k->key, k->size);
}

/* The position of the first key >= `key`. */
size_t memtable_model_find(const struct memtable_model *model, plsm_slice key);
void memtable_model_add(struct memtable_model *model, const struct entry *entry);
void memtable_model_free(struct memtable_model *model);

/* Content of a version: bytes that follow from its sequence number, so that the model need not keep them. */
void memtable_model_content(uint64_t seq, uint8_t *bytes, size_t size);

enum { MEMTABLE_MODEL_KEY_ROOM = 10000 };
/* Writes a key of 0 to 8,193 bytes to `key`, which has MEMTABLE_MODEL_KEY_ROOM bytes, often one that is related to a
 * key of the model. Returns its size. */
size_t memtable_model_make_key(struct random *r, const struct memtable_model *model, uint8_t *key);
size_t memtable_model_random_bytes(struct random *r, uint8_t *key, size_t size);

#endif
