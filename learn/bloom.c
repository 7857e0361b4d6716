/* Serialized form, little-endian:
 *    0  u8   format, 16
 *    1  u8   hash functions, 7
 *    2  u16  0
 *    4  u32  0
 *    8  u64  hashes it was built from
 *   16  u64  bits, a multiple of 8; 0 in a filter without keys
 *   24       the bits, lowest of each byte first */
#include "base/error.h"
#include "learn/bloom.h"

#include "base/banned.h"

enum {
    HEADER_SIZE = 24,
    BITS_MIN = 64, /* as LevelDB: a filter over a few keys would err often otherwise */
};

/* Hash function number i is hash + i * step_of(hash), scaled from 64 bits to the bits there are. */
static inline uint64_t step_of(uint64_t hash)
{
    return hash >> 17 | hash << 47;
}

static inline uint64_t scale(uint64_t hash, uint64_t bit_count)
{
    return (uint64_t)(((unsigned __int128)hash * bit_count) >> 64);
}

bool bloom_may_contain(const struct bloom *bloom, uint64_t hash)
{
    if (bloom->bit_count == 0)
        return false;
    uint64_t step = step_of(hash);
    for (unsigned i = 0; i < BLOOM_HASHES; i++, hash += step) {
        uint64_t bit = scale(hash, bloom->bit_count);
        if (!(bloom->bits[bit >> 3] >> (bit & 7) & 1))
            return false;
    }
    return true;
}

plsm_status bloom_build(const uint64_t *hashes, size_t count, struct buf *out)
{
    if (count > SIZE_MAX / BLOOM_BITS_PER_KEY - BITS_MIN)
        return fail(PLSM_TOO_LARGE, "Bloom filter: %zu keys in one run are too many", count);
    uint64_t bytes = ((uint64_t)count * BLOOM_BITS_PER_KEY + 7) / 8;
    if (bytes < BITS_MIN / 8)
        bytes = count ? BITS_MIN / 8 : 0;
    if (buf_reserve(out, HEADER_SIZE + bytes))
        return fail(PLSM_NO_MEMORY, "Bloom filter: no memory for its %llu bytes", (unsigned long long)bytes);
    uint8_t *at = out->data + out->size, *bits = at + HEADER_SIZE;
    memset(at, 0, HEADER_SIZE + bytes);
    at[0] = BLOOM_FORMAT;
    at[1] = BLOOM_HASHES;
    put_u64(at + 8, count);
    put_u64(at + 16, bytes * 8);
    for (size_t k = 0; k < count; k++) {
        uint64_t hash = hashes[k], step = step_of(hash);
        for (unsigned i = 0; i < BLOOM_HASHES; i++, hash += step) {
            uint64_t bit = scale(hash, bytes * 8);
            bits[bit >> 3] |= (uint8_t)(1u << (bit & 7));
        }
    }
    out->size += HEADER_SIZE + bytes;
    return PLSM_OK;
}

plsm_status bloom_open(plsm_slice bytes, struct bloom *out)
{
    const uint8_t *at = bytes.data;
    *out = (struct bloom){0};
    if (bytes.size < HEADER_SIZE)
        return fail(PLSM_CORRUPT, "Bloom filter: %zu bytes are less than its header", bytes.size);
    if (at[0] != BLOOM_FORMAT || at[1] != BLOOM_HASHES || get_u16(at + 2) != 0 || get_u32(at + 4) != 0)
        return fail(PLSM_CORRUPT, "Bloom filter: unknown format %u with %u hash functions, or reserved bytes not zero",
                    at[0], at[1]);
    uint64_t keys = get_u64(at + 8), bit_count = get_u64(at + 16);
    if (bit_count % 8 != 0 || bit_count / 8 != bytes.size - HEADER_SIZE || (keys == 0) != (bit_count == 0))
        return fail(PLSM_CORRUPT, "Bloom filter: %llu bits in %zu bytes", (unsigned long long)bit_count, bytes.size);
    *out = (struct bloom){.bits = at + HEADER_SIZE, .bit_count = bit_count, .keys = keys};
    return PLSM_OK;
}
