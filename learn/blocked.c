/* Serialized form, little-endian:
 *    0  u8   format, 17
 *    1  u8   bits that a key sets, 8
 *    2  u16  0
 *    4  u32  blocks; 0 in a filter without keys
 *    8  u64  hashes it was built from
 *   16  u64  0
 *   24  u64  0
 *   32       the blocks, 32 bytes each: 8 words of 32 bits
 * The block of a hash is its upper half scaled to their number. In word i its bit is number (hash * MULTIPLIER >> (24 +
 * 5 i)) mod 32. */
#include "learn/blocked.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/error.h"

#include "base/banned.h"

#define MULTIPLIER UINT64_C(0x9e3779b97f4a7c15) /* odd; 2^64 divided by the golden ratio (Knuth, volume 3, 6.4) */

enum { HEADER_SIZE = 32, BLOCK_SIZE = 32, BLOCK_BITS = 256, KEY_BITS = 8, FIRST_BIT = 24 };

static bool portable;

void blocked_use_portable(bool on)
{
    portable = on;
}

static inline uint64_t bits_of(uint64_t hash)
{
    return hash * MULTIPLIER >> FIRST_BIT;
}

static inline size_t place_of(uint64_t hash, uint32_t block_count)
{
    return (size_t)((hash >> 32) * block_count >> 32) * BLOCK_SIZE;
}

unsigned blocked_bits_for(unsigned fingerprint_bits)
{
    unsigned bits = 3 * fingerprint_bits / 2;
    return bits < BLOCKED_BITS_MIN ? BLOCKED_BITS_MIN : bits > BLOCKED_BITS_MAX ? BLOCKED_BITS_MAX : bits;
}

/* --- by vectors: the 8 words of a block at once ------------------------------------------------------------------ */

#if defined(__x86_64__)
#define BLOCKED_AVX2 1

/* A block with the bits of a hash alone. */
static inline __attribute__((target("avx2"))) __m256i block_of(uint64_t hash)
{
    uint64_t bits = bits_of(hash);
    const __m256i shifts = _mm256_setr_epi32(0, 5, 10, 15, 0, 5, 10, 15);
    __m256i fields = _mm256_set_m128i(_mm_set1_epi32((int)(bits >> 20)), _mm_set1_epi32((int)bits));
    fields = _mm256_and_si256(_mm256_srlv_epi32(fields, shifts), _mm256_set1_epi32(31));
    return _mm256_sllv_epi32(_mm256_set1_epi32(1), fields);
}

static __attribute__((target("avx2"))) void add_all_avx2(uint8_t *body, uint32_t blocks, const uint64_t *hashes,
                                                         size_t count)
{
    for (size_t k = 0; k < count; k++) {
        __m256i *block = (__m256i *)(void *)(body + place_of(hashes[k], blocks));
        _mm256_storeu_si256(block, _mm256_or_si256(_mm256_loadu_si256(block), block_of(hashes[k])));
    }
}

static __attribute__((target("avx2"))) size_t missing_avx2(const struct blocked *blocked, const uint64_t *hashes,
                                                           size_t count)
{
    size_t missing = 0;
    for (size_t k = 0; k < count; k++) {
        const __m256i *block = (const void *)(blocked->blocks + place_of(hashes[k], blocked->block_count));
        missing += !_mm256_testc_si256(_mm256_loadu_si256(block), block_of(hashes[k]));
    }
    return missing;
}
#endif

static void add_all(uint8_t *body, uint32_t blocks, const uint64_t *hashes, size_t count)
{
    for (size_t k = 0; k < count; k++) {
        uint64_t bits = bits_of(hashes[k]);
        uint8_t *block = body + place_of(hashes[k], blocks);
        for (unsigned i = 0; i < KEY_BITS; i++, bits >>= 5)
            put_u32(block + 4 * i, get_u32(block + 4 * i) | UINT32_C(1) << (bits & 31));
    }
}

static bool have_vectors(void)
{
#ifdef BLOCKED_AVX2
    return !portable && __builtin_cpu_supports("avx2");
#else
    return false;
#endif
}

plsm_status blocked_build(const uint64_t *hashes, size_t count, unsigned bits_per_key, struct buf *out)
{
    if (count > UINT32_MAX)
        return fail(PLSM_TOO_LARGE, "blocked filter: %zu keys in one run are too many", count);
    uint64_t blocks = ((uint64_t)count * bits_per_key + BLOCK_BITS - 1) / BLOCK_BITS, bytes = blocks * BLOCK_SIZE;
    if (buf_reserve(out, HEADER_SIZE + bytes))
        return fail(PLSM_NO_MEMORY, "blocked filter: no memory for its %llu bytes", (unsigned long long)bytes);
    uint8_t *at = out->data + out->size, *body = at + HEADER_SIZE;
    memset(at, 0, HEADER_SIZE + bytes);
    at[0] = BLOCKED_FORMAT;
    at[1] = KEY_BITS;
    put_u32(at + 4, (uint32_t)blocks);
    put_u64(at + 8, count);
#ifdef BLOCKED_AVX2
    if (have_vectors())
        add_all_avx2(body, (uint32_t)blocks, hashes, count);
    else
#endif
        add_all(body, (uint32_t)blocks, hashes, count);
    out->size += HEADER_SIZE + bytes;
    return PLSM_OK;
}

plsm_status blocked_open(plsm_slice bytes, struct blocked *out)
{
    const uint8_t *at = bytes.data;
    *out = (struct blocked){0};
    if (bytes.size < HEADER_SIZE)
        return fail(PLSM_CORRUPT, "blocked filter: %zu bytes are less than its header", bytes.size);
    if (at[0] != BLOCKED_FORMAT || at[1] != KEY_BITS || get_u16(at + 2) != 0 || get_u64(at + 16) != 0 ||
        get_u64(at + 24) != 0)
        return fail(PLSM_CORRUPT, "blocked filter: unknown format %u with %u bits per key, or reserved bytes not zero",
                    at[0], at[1]);
    uint64_t keys = get_u64(at + 8);
    uint32_t blocks = get_u32(at + 4);
    if (bytes.size != HEADER_SIZE + (uint64_t)blocks * BLOCK_SIZE || (keys == 0) != (blocks == 0))
        return fail(PLSM_CORRUPT, "blocked filter: %u blocks in %zu bytes", blocks, bytes.size);
    *out = (struct blocked){.blocks = at + HEADER_SIZE, .block_count = blocks, .keys = keys};
    return PLSM_OK;
}

/* Not 0: the bits of a hash in the words [from, to) of its block are set; `bits` begins with that of the first. */
static inline uint32_t words_hold(const uint8_t *block, uint64_t bits, unsigned from, unsigned to)
{
    uint32_t all = 1;
    for (unsigned i = from; i < to; i++, bits >>= 5)
        all &= get_u32(block + 4 * i) >> (bits & 31);
    return all;
}

/* One branch: half of the words turn nearly all away that are not there. */
static inline bool holds(const struct blocked *blocked, uint64_t hash)
{
    enum { HALF = KEY_BITS / 2 };
    uint64_t bits = bits_of(hash);
    const uint8_t *block = blocked->blocks + place_of(hash, blocked->block_count);
    return words_hold(block, bits, 0, HALF) && words_hold(block, bits >> 5 * HALF, HALF, KEY_BITS);
}

bool blocked_may_contain(const struct blocked *blocked, uint64_t hash)
{
    return blocked->block_count != 0 && holds(blocked, hash);
}

size_t blocked_missing(const struct blocked *blocked, const uint64_t *hashes, size_t count)
{
    const struct blocked b = *blocked;
    size_t missing = 0;
    if (b.block_count == 0)
        return count;
#ifdef BLOCKED_AVX2
    if (have_vectors())
        return missing_avx2(&b, hashes, count);
#endif
    for (size_t i = 0; i < count; i++)
        missing += !holds(&b, hashes[i]);
    return missing;
}

const void *blocked_place(const struct blocked *blocked, uint64_t hash)
{
    return blocked->block_count ? blocked->blocks + place_of(hash, blocked->block_count) : NULL;
}
