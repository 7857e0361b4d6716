#include "tools/bench/data.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/random.h"

#include "base/banned.h"

/* 1 MiB stays in the second-level cache beside the work, and tells a wrong value from a right one but once in 2^20. */
enum { POOL_BITS = 20, POOL_SIZE = 1 << POOL_BITS };

plsm_status data_init(struct data *data, uint64_t keys, uint32_t value_bytes, bool decimal, uint64_t seed)
{
    *data = (struct data){.keys = keys, .seed = seed, .value_bytes = value_bytes, .decimal = decimal};
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
    mem_free(data->pool);
    data->pool = NULL;
}

static void decimal_key(uint64_t number, uint8_t key[DATA_KEY_SIZE])
{
    for (int i = DATA_KEY_SIZE - 1; i >= 0; i--, number /= 10)
        key[i] = (uint8_t)('0' + number % 10);
}

/* SplitMix64's step is a bijection, so different indexes have different first halves, hence different keys. */
static void random_key(uint64_t index, uint64_t seed, uint8_t key[DATA_KEY_SIZE])
{
    uint64_t state = index + (seed << 32), first = splitmix64(&state);
    put_u64(key, first);
    put_u64(key + 8, splitmix64(&state));
}

void data_key(const struct data *data, uint64_t index, uint8_t key[DATA_KEY_SIZE])
{
    if (data->decimal)
        decimal_key(index * 10, key);
    else
        random_key(index, data->seed, key);
}

void data_absent_key(const struct data *data, uint64_t index, uint8_t key[DATA_KEY_SIZE])
{
    if (data->decimal)
        decimal_key(index * 10 + 5, key);
    else
        random_key(index + (UINT64_C(1) << 48), data->seed, key);
}

/* Rounds of xor-shift and odd multiplication, each a bijection of k-bit numbers; results of keys and above are sent
 * through again (cycle walking; Black and Rogaway 2002), less than twice on average. */
uint64_t data_shuffled(const struct data *data, uint64_t i)
{
    unsigned bits = data->keys > 2 ? 64 - (unsigned)__builtin_clzll(data->keys - 1) : 1;
    uint64_t mask = (UINT64_C(1) << bits) - 1;
    unsigned shift = bits / 2 + 1;
    uint64_t state = data->seed, multiplier = splitmix64(&state) | 1, second = splitmix64(&state) | 1;
    do {
        i = (i * multiplier + state) & mask;
        i ^= i >> shift;
        i = i * second & mask;
        i ^= i >> shift;
        i = i * multiplier & mask;
        i ^= i >> shift;
    } while (i >= data->keys);
    return i;
}

static size_t value_offset(const uint8_t *key, unsigned version)
{
    uint64_t mixed = (get_u64(key) ^ get_u64(key + 8) * 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;
    return (size_t)(mixed >> (64 - POOL_BITS)) ^ (size_t)version << (POOL_BITS - 1);
}

plsm_slice data_value(const struct data *data, const uint8_t key[DATA_KEY_SIZE], unsigned version)
{
    return slice(data->pool + value_offset(key, version), data->value_bytes);
}

int data_version(const struct data *data, plsm_slice key, plsm_slice value)
{
    if (key.size != DATA_KEY_SIZE || value.size != data->value_bytes)
        return -1;
    size_t compared = value.size < 8 ? value.size : 8;
    for (unsigned version = 0; version < 2; version++)
        if (compared == 0 || memcmp(data->pool + value_offset(key.data, version), value.data, compared) == 0)
            return (int)version;
    return -1;
}
