/* What reading and building a ribbon must agree on; the layout stands at the top of ribbon.c. Private to ribbon.c and
 * ribbon_build.c, and to their test. */
#ifndef LEARN_RIBBON_FORMAT_H
#define LEARN_RIBBON_FORMAT_H

#include <assert.h>

#include "learn/hashes.h"
#include "learn/ribbon.h"

enum {
    RIBBON_FORMAT = 1,
    RIBBON_BITS = 1,
    RIBBON_LAYERS = 2,
    RIBBON_EXCEPTIONS = 4,
    RIBBON_KEYS = 8,
    RIBBON_BLOCKS = 16,
    RIBBON_HEADER_SIZE = RIBBON_BLOCKS + 4 * RIBBON_LAYERS_MAX,
    RIBBON_BLOCK = 64,           /* rows in a block, which is a word for each bit of the result; also the width */
    RIBBON_BLOCKS_MAX = 1 << 26, /* starts fit in 32 bits */
    RIBBON_BUCKET = 256,         /* starts that share a code */
    RIBBON_CODES_PER_BYTE = 4,
};

#define RIBBON_SEED UINT64_C(0x726962626f6e) /* any constant */

/* By the code of a bucket, the hashes that start less than so many places behind its first start went to the next
 * layer: 0, 20, 48 or 256, all. Found by experiment: finer steps cost more than they save. */
static inline uint32_t ribbon_threshold(unsigned code)
{
    return (uint32_t)(0x0100003000140000u >> 16 * code) & 0xffff;
}

static_assert(RIBBON_BUCKET == 0x0100, "the last threshold");

/* The hash as a layer sees it; each layer sees the one before it mixed again. */
static inline uint64_t ribbon_mix(uint64_t hash)
{
    return hash_mix(hash, RIBBON_SEED);
}

/* A row of the system of equations: which of the 64 rows from the start on are added up (the first is), and what the
 * sum must be. Neither is linear in the other, nor in the start, which is in the highest bits. */
static inline uint64_t ribbon_coefficients(uint64_t mixed)
{
    return ((mixed ^ mixed >> 32) * 0x9e3779b97f4a7c15u) | 1;
}

static inline uint32_t ribbon_result(uint64_t mixed)
{
    return (uint32_t)((mixed * 0xd6e8feb86659fd93u) >> (64 - RIBBON_BITS_MAX));
}

/* Two blocks at least: a row may reach into the block behind the one that it starts in. */
static inline uint32_t ribbon_starts(uint32_t blocks)
{
    return (blocks - 1) * RIBBON_BLOCK;
}

static inline uint64_t ribbon_words_size(uint32_t blocks, uint32_t bits)
{
    return (uint64_t)blocks * bits * sizeof(uint64_t);
}

static inline uint64_t ribbon_codes_size(uint32_t blocks)
{
    uint32_t buckets = (ribbon_starts(blocks) + RIBBON_BUCKET - 1) / RIBBON_BUCKET;
    return (buckets + RIBBON_CODES_PER_BYTE - 1) / RIBBON_CODES_PER_BYTE;
}

/* Whether the processor has AVX2 and counts bits. */
bool ribbon_have_vectors(void);
/* ribbon_build in either way, which must give the same bytes. */
plsm_status ribbon_build_with(uint64_t *hashes, size_t count, unsigned bits, bool vectors, struct buf *out);

#endif
