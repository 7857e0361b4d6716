#include "tools/bench/data.h"

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/error.h"
#include "base/random.h"

#include "base/banned.h"

/* 1 MiB stays in the second-level cache beside the work, and tells a wrong value from a right one but 2 times in 2^17,
 * as either version is taken. Its words are what SplitMix64 gives, one after another: hashes of their places, so that
 * each can be told alone. */
enum { POOL_BITS = 17, POOL_WORDS = 1 << POOL_BITS };

plsm_status data_init(struct data *data, const char *shape, uint64_t keys, uint64_t more, uint32_t value_bytes,
                      uint64_t seed)
{
    *data = (struct data){.keys = keys, .seed = seed, .value_bytes = value_bytes};
    TRY(shape_open(shape, keys + more, seed, NULL, &data->set));
    permutation_init(&data->shuffle, keys, seed);
    size_t size = POOL_WORDS * sizeof(uint64_t) + (size_t)value_bytes + sizeof(uint64_t);
    data->pool = mem_alloc(size);
    if (!data->pool)
        return fail(PLSM_NO_MEMORY, "no memory for the values of the benchmark");
    uint64_t state = seed;
    for (size_t i = 0; i + sizeof(uint64_t) <= size; i += sizeof(uint64_t))
        put_u64(data->pool + i, splitmix64(&state));
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

static inline uint64_t mix(uint64_t low, uint64_t high)
{
    return (low ^ high * 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;
}

/* Which word of the pool the value begins with. */
static inline size_t first_word(plsm_slice key, unsigned version)
{
    const uint8_t *bytes = key.data;
    uint64_t mixed = key.size == 16 ? mix(get_u64(bytes), get_u64(bytes + 8)) : checksum(key.data, key.size, 0);
    return (size_t)(mixed >> (64 - POOL_BITS)) ^ (size_t)version << (POOL_BITS - 1);
}

/* That word, without a look at it: a cache miss may cost more than an entry of a scan. */
static inline uint64_t word_at(const struct data *data, size_t i)
{
    uint64_t state = data->seed + i * SPLITMIX64_STEP;
    return splitmix64(&state);
}

plsm_slice data_value(const struct data *data, plsm_slice key, unsigned version)
{
    return slice(data->pool + first_word(key, version) * sizeof(uint64_t), data->value_bytes);
}

static __attribute__((noinline)) int version_of(const struct data *data, plsm_slice key, plsm_slice value)
{
    uint64_t head = 0, mask = UINT64_MAX;
    if (value.size != data->value_bytes)
        return -1;
    if (value.size < sizeof head)
        mask = ((uint64_t)1 << 8 * value.size) - 1;
    if (value.size > 0)
        memcpy(&head, value.data, value.size < sizeof head ? value.size : sizeof head);
    for (unsigned version = 0; version < 2; version++)
        if (((word_at(data, first_word(key, version)) ^ head) & mask) == 0)
            return (int)version;
    return -1;
}

int data_version(const struct data *data, plsm_slice key, plsm_slice value)
{
    bool common = key.size == 16 && value.size == data->value_bytes && value.size >= sizeof(uint64_t);
    if (__builtin_expect(common, 1) && word_at(data, first_word(key, 0)) == get_u64(value.data))
        return 0;
    return version_of(data, key, value);
}
