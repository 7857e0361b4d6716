#include "tools/bench/data.h"

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/error.h"
#include "base/random.h"

#include "base/banned.h"

/* 1 MiB stays in the second-level cache beside the work, and tells a wrong value from a right one but once in 2^20. */
enum { POOL_BITS = 20, POOL_SIZE = 1 << POOL_BITS };

plsm_status data_init(struct data *data, const char *shape, uint64_t keys, uint64_t more, uint32_t value_bytes,
                      uint64_t seed)
{
    *data = (struct data){.keys = keys, .seed = seed, .value_bytes = value_bytes};
    TRY(shape_open(shape, keys + more, seed, NULL, &data->set));
    permutation_init(&data->shuffle, keys, seed);
    size_t size = POOL_SIZE + (size_t)value_bytes + sizeof(uint64_t);
    data->pool = mem_alloc(size);
    if (!data->pool)
        return fail(PLSM_NO_MEMORY, "no memory for the values of the benchmark");
    struct random random;
    random_seed(&random, seed);
    for (size_t i = 0; i + sizeof(uint64_t) <= size; i += sizeof(uint64_t))
        put_u64(data->pool + i, random_next(&random));
    return PLSM_OK;
}

void data_free(struct data *data)
{
    shape_close(data->set);
    mem_free(data->pool);
    data->set = NULL;
    data->pool = NULL;
}

plsm_slice data_absent_key(const struct data *data, uint64_t index, uint8_t buffer[SHAPE_KEY_MAX])
{
    enum shape_absent way = SHAPE_ABSENT_OTHER;
    if (shape_absent_count(data->set, way) == 0) /* every line of the file is in the set */
        way = SHAPE_ABSENT_CHANGED;
    return shape_absent(data->set, way, index % shape_absent_count(data->set, way), buffer);
}

static size_t value_offset(plsm_slice key)
{
    uint64_t mixed;
    if (__builtin_expect(key.size == 16, 1))
        mixed =
            (get_u64(key.data) ^ get_u64((const uint8_t *)key.data + 8) * 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;
    else
        mixed = checksum(key.data, key.size, 0);
    return (size_t)(mixed >> (64 - POOL_BITS));
}

static const uint8_t *pool_at(const struct data *data, size_t offset, unsigned version)
{
    return data->pool + (offset ^ (size_t)version << (POOL_BITS - 1));
}

plsm_slice data_value(const struct data *data, plsm_slice key, unsigned version)
{
    return slice(pool_at(data, value_offset(key), version), data->value_bytes);
}

void data_fetch(const struct data *data, plsm_slice key)
{
    __builtin_prefetch(data->pool + value_offset(key));
}

/* What of a value is compared: its first 8 bytes. */
static inline uint64_t head_of(const struct data *data, const uint8_t *value)
{
    uint64_t head = 0;
    if (__builtin_expect(data->value_bytes >= sizeof head, 1))
        return get_u64(value);
    memcpy(&head, value, data->value_bytes);
    return head;
}

static int version_of(const struct data *data, size_t offset, uint64_t head)
{
    for (unsigned version = 0; version < 2; version++)
        if (head_of(data, pool_at(data, offset, version)) == head)
            return (int)version;
    return -1;
}

int data_version(const struct data *data, plsm_slice key, plsm_slice value)
{
    if (value.size != data->value_bytes)
        return -1;
    return value.size == 0 ? 0 : version_of(data, value_offset(key), head_of(data, value.data));
}

bool data_claim_begin(const struct data *data, plsm_slice key, plsm_slice value, struct data_claim *claim)
{
    if (value.size != data->value_bytes)
        return false;
    claim->place = (uint32_t)value_offset(key);
    claim->head = value.size > 0 ? head_of(data, value.data) : 0;
    __builtin_prefetch(data->pool + claim->place);
    return true;
}

bool data_claim_holds(const struct data *data, const struct data_claim *claim)
{
    return version_of(data, claim->place, claim->head) >= 0;
}
