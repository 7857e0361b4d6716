/* Bumped ribbon (BuRR; the papers are named in ribbon.h): reading.
 *
 * A hash stands for an equation: the exclusive or of some rows of a table, chosen by the hash among the 64 from the
 * hash's start on, is the hash's result, of 1 to 16 bits. The table solves the equations of all keys, so every key
 * passes; a stranger's equation holds by chance. There are fewer rows than keys, so that hardly a row is wasted, and
 * some equations do not fit: they are left to the next layer, all that start in the first so many places of a bucket,
 * and the bucket's code says how many. What the last layer leaves is kept in full.
 *
 *   start    0 . . . . . 19 | 20 . . . . . . . . . . . 255 | 256 . . .     bucket 0 with code 1, bucket 1
 *            next layer     | this layer                   |
 *   row      [ block 0   ][ block 1   ][ block 2   ][ block 3   ][ ...      a block is 64 rows, stored as columns
 *
 * Serialized form, little-endian:
 *    0  u8   format, 1
 *    1  u8   result bits, 1 to 16
 *    2  u8   layers, 0 to 4
 *    3  u8   0
 *    4  u32  exceptions
 *    8  u64  hashes it was built from
 *   16  u32  [4] blocks of each layer, 2 to 2^26; 0 for layers that are not there. Starts are 64 (blocks - 1).
 *   32       the solution of each layer: for each block a u64 for each result bit, row i at bit i of it
 *            u64 [exceptions], ascending: the hashes as the last layer saw them (without layers: as they are)
 *            the codes of each layer: 2 bits for each bucket of 256 starts, lowest first, filled up with 0 to a byte */
#include <assert.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/error.h"
#include "learn/ribbon_format.h"

#include "base/banned.h"

static_assert(RIBBON_HEADER_SIZE == 32, "the layout above");
static_assert(RIBBON_BLOCK == 8 * sizeof(uint64_t), "a block's column is a word");

enum { CACHE_LINE = 64 };

bool ribbon_have_vectors(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt");
#else
    return false;
#endif
}

plsm_status ribbon_open(plsm_slice bytes, struct ribbon *out)
{
    const uint8_t *at = bytes.data;
    *out = (struct ribbon){0};
    if (bytes.size < RIBBON_HEADER_SIZE)
        return fail(PLSM_CORRUPT, "ribbon: %zu bytes are less than its header", bytes.size);
    if (at[0] != RIBBON_FORMAT)
        return fail(PLSM_CORRUPT, "ribbon: unknown format %u (this program knows %d)", at[0], RIBBON_FORMAT);
    struct ribbon r = {.bits = at[RIBBON_BITS],
                       .layer_count = at[RIBBON_LAYERS],
                       .exception_count = get_u32(at + RIBBON_EXCEPTIONS),
                       .keys = get_u64(at + RIBBON_KEYS),
                       .vectors = ribbon_have_vectors()};
    if (r.bits < RIBBON_BITS_MIN || r.bits > RIBBON_BITS_MAX || r.layer_count > RIBBON_LAYERS_MAX || at[3] != 0)
        return fail(PLSM_CORRUPT, "ribbon: %u result bits, %u layers or a reserved byte not zero", r.bits,
                    r.layer_count);
    uint64_t offsets[RIBBON_LAYERS_MAX][2] = {{0}}, size = RIBBON_HEADER_SIZE, exceptions;
    for (unsigned i = 0; i < RIBBON_LAYERS_MAX; i++) {
        uint32_t blocks = get_u32(at + RIBBON_BLOCKS + 4 * i);
        if (i < r.layer_count ? blocks < 2 || blocks > RIBBON_BLOCKS_MAX : blocks != 0)
            return fail(PLSM_CORRUPT, "ribbon: layer %u has %u blocks", i, blocks);
        offsets[i][0] = size;
        size += ribbon_words_size(blocks, r.bits);
    }
    exceptions = size;
    size += (uint64_t)r.exception_count * sizeof(uint64_t);
    for (unsigned i = 0; i < r.layer_count; i++) {
        offsets[i][1] = size;
        size += ribbon_codes_size(get_u32(at + RIBBON_BLOCKS + 4 * i));
    }
    if (bytes.size != size)
        return fail(PLSM_CORRUPT, "ribbon: %zu bytes instead of %llu", bytes.size, (unsigned long long)size);
    for (unsigned i = 0; i < r.layer_count; i++) {
        r.layers[i].words = at + offsets[i][0];
        r.layers[i].codes = at + offsets[i][1];
        r.layers[i].starts = ribbon_starts(get_u32(at + RIBBON_BLOCKS + 4 * i));
    }
    r.exceptions = at + exceptions;
    *out = r;
    return PLSM_OK;
}

/* Whether the hash, as `layer` sees it, was left to the next one. */
static inline bool bumped(const struct ribbon *r, unsigned layer, uint32_t start)
{
    uint32_t bucket = start / RIBBON_BUCKET;
    unsigned code = r->layers[layer].codes[bucket / RIBBON_CODES_PER_BYTE] >> 2 * (bucket % RIBBON_CODES_PER_BYTE) & 3;
    return start % RIBBON_BUCKET < ribbon_threshold(code);
}

static bool find_exception(const struct ribbon *r, uint64_t mixed)
{
    uint32_t low = 0, high = r->exception_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        uint64_t at = get_u64(r->exceptions + sizeof(uint64_t) * (size_t)middle);
        if (at == mixed)
            return true;
        if (at < mixed)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

/* The equation of a hash: which rows of two neighbouring blocks are added up, and what the sum must be. */
struct equation {
    const uint8_t *words, *next; /* the columns of the two blocks */
    uint64_t here, there;        /* the rows of each */
    uint32_t wanted;
};

static inline struct equation equation_of(const struct ribbon *r, unsigned layer, uint64_t mixed, uint32_t start)
{
    size_t size = r->bits * sizeof(uint64_t);
    const uint8_t *words = r->layers[layer].words + start / RIBBON_BLOCK * size;
    uint64_t coefficients = ribbon_coefficients(mixed);
    unsigned shift = start % RIBBON_BLOCK;
    return (struct equation){.words = words,
                             .next = words + size,
                             .here = coefficients << shift,
                             .there = coefficients >> 1 >> (RIBBON_BLOCK - 1 - shift),
                             .wanted = ribbon_result(mixed)};
}

/* Whether it holds. Without a branch on what is read. */
static inline __attribute__((always_inline)) bool holds(const struct equation *e, uint32_t bits)
{
    uint32_t difference = 0;
    for (uint32_t i = 0; i < bits; i++) {
        size_t at = sizeof(uint64_t) * i;
        uint64_t sum = (get_u64(e->words + at) & e->here) ^ (get_u64(e->next + at) & e->there);
        difference |= (uint32_t)__builtin_parityll(sum) ^ e->wanted >> i;
    }
    return (difference & 1) == 0;
}

/* Which way it is computed must be known when this is compiled. */
typedef bool holds_function(const struct equation *e, uint32_t bits);

static inline __attribute__((always_inline)) bool may_contain(const struct ribbon *r, uint64_t hash,
                                                              holds_function *equation_holds)
{
    for (unsigned layer = 0; layer < r->layer_count; layer++) {
        hash = ribbon_mix(hash);
        uint32_t start = hash_scale(hash, r->layers[layer].starts);
        if (__builtin_expect(!bumped(r, layer, start), 1)) {
            struct equation e = equation_of(r, layer, hash, start);
            return equation_holds(&e, r->bits);
        }
    }
    return find_exception(r, hash);
}

static inline __attribute__((always_inline)) size_t missing(const struct ribbon *r, const uint64_t *hashes,
                                                            size_t count, holds_function *equation_holds)
{
    size_t denied = 0;
    for (size_t i = 0; i < count; i++)
        denied += !may_contain(r, hashes[i], equation_holds);
    return denied;
}

#if defined(__x86_64__)
#define VECTORS __attribute__((target("avx2,popcnt")))

/* The sums of 4 neighbouring result bits. */
static inline VECTORS uint32_t four_sums(const struct equation *e, uint32_t first)
{
    static const uint8_t odd[32] __attribute__((aligned(32))) = {0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 0, 1, 0, 1, 1, 0,
                                                                 0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 0, 1, 0, 1, 1, 0};
    const void *words = e->words + sizeof(uint64_t) * first, *next = e->next + sizeof(uint64_t) * first;
    __m256i here = _mm256_and_si256(_mm256_loadu_si256(words), _mm256_set1_epi64x((long long)e->here));
    __m256i there = _mm256_and_si256(_mm256_loadu_si256(next), _mm256_set1_epi64x((long long)e->there));
    __m256i sum = _mm256_xor_si256(here, there);
    /* Each byte to its low nibble, each nibble to its parity, 8 of these to their number. */
    sum = _mm256_and_si256(_mm256_xor_si256(sum, _mm256_srli_epi64(sum, 4)), _mm256_set1_epi8(15));
    sum = _mm256_shuffle_epi8(_mm256_load_si256((const void *)odd), sum);
    sum = _mm256_sad_epu8(sum, _mm256_setzero_si256());
    return (uint32_t)_mm256_movemask_pd(_mm256_castsi256_pd(_mm256_slli_epi64(sum, 63)));
}

static inline VECTORS bool holds_vectors(const struct equation *e, uint32_t bits)
{
    uint32_t difference = 0, i = 0;
    if (bits < 4)
        return holds(e, bits);
    for (; i + 4 < bits; i += 4)
        difference |= four_sums(e, i) ^ e->wanted >> i;
    difference |= four_sums(e, bits - 4) ^ e->wanted >> (bits - 4); /* some of them again */
    return (difference & 15) == 0;
}

static VECTORS bool may_contain_vectors(const struct ribbon *r, uint64_t hash)
{
    return may_contain(r, hash, holds_vectors);
}

static VECTORS size_t missing_vectors(const struct ribbon *r, const uint64_t *hashes, size_t count)
{
    return missing(r, hashes, count, holds_vectors);
}
#else
static bool may_contain_vectors(const struct ribbon *r, uint64_t hash)
{
    return may_contain(r, hash, holds);
}

static size_t missing_vectors(const struct ribbon *r, const uint64_t *hashes, size_t count)
{
    return missing(r, hashes, count, holds);
}
#endif

bool ribbon_may_contain(const struct ribbon *ribbon, uint64_t hash)
{
    return ribbon->vectors ? may_contain_vectors(ribbon, hash) : may_contain(ribbon, hash, holds);
}

size_t ribbon_missing(const struct ribbon *ribbon, const uint64_t *hashes, size_t count)
{
    return ribbon->vectors ? missing_vectors(ribbon, hashes, count) : missing(ribbon, hashes, count, holds);
}

/* Of the first layer alone: it answers for nearly all. */
void ribbon_prefetch(const struct ribbon *ribbon, uint64_t hash)
{
    if (ribbon->layer_count == 0)
        return;
    uint32_t start = hash_scale(ribbon_mix(hash), ribbon->layers[0].starts);
    size_t size = ribbon->bits * sizeof(uint64_t);
    const uint8_t *words = ribbon->layers[0].words + start / RIBBON_BLOCK * size;
    __builtin_prefetch(ribbon->layers[0].codes + start / RIBBON_BUCKET / RIBBON_CODES_PER_BYTE);
    for (size_t at = 0; at < 2 * size; at += CACHE_LINE)
        __builtin_prefetch(words + at);
    __builtin_prefetch(words + 2 * size - 1);
}
