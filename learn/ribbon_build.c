/* Bumped ribbon: building. The layout stands at the top of ribbon.c.
 *
 * One layer at a time. Its hashes are sorted by their start: first into partitions that fit the cache, then each
 * partition as its turn comes. Buckets are taken in ascending order, the hashes of one in descending order of starts,
 * and each equation is brought into the row echelon form of the rows before ("ribbon" elimination: adding a row moves
 * the first coefficient forward, and it never reaches further than 64 rows behind its start). The first equation of a
 * bucket that contradicts the others ends the bucket: it and all that start before the next threshold go to the next
 * layer, and those of them that were entered already are taken out again, which is easy as they came last. In the end
 * the solution is read off from the last row to the first. */
#include "base/alloc.h"
#include "base/error.h"
#include "learn/ribbon_format.h"
#include "learn/scratch.h"

#include "base/banned.h"

enum {
    PARTITIONS_MAX = 1024,
    PARTITION_SHIFT_MIN = 11, /* 2048 starts; partitions are made of whole buckets */
};

/* A row that was filled while a bucket was entered. */
struct filled {
    uint32_t row;
    uint32_t offset; /* of the hash's start in the bucket */
};

struct builder {
    unsigned bits;
    bool vectors;
    uint32_t blocks[RIBBON_LAYERS_MAX];
    unsigned layer_count;
    size_t exceptions;

    struct scratch scratch; /* holds what follows, sized for the first layer */
    uint64_t *ordered;      /* the layer's hashes by start */
    uint64_t *left;         /* hashes that this layer leaves to the next */
    uint64_t *rows;         /* coefficients of each row of the echelon form, the row's own at bit 0; 0: no such row */
    uint16_t *results;      /* of each row */
    uint32_t *start_ends;   /* per start of a partition: where its hashes end, from the partition's first */
    uint32_t partition_ends[PARTITIONS_MAX + 1];
    struct filled filled[RIBBON_BUCKET + RIBBON_BLOCK];
};

/* --- sizes --- */

/* Blocks of a layer over `keys` hashes; 2 at least. A few more keys than rows, so that hardly a row stays empty: then
 * about 2 % of the keys go to the next layer. Rounded up, so that a small layer does not refuse whole buckets.
 * Worked example: 10,000 hashes: 10,000 - 156 rows are 153.8 blocks: 154. */
static uint32_t layer_blocks(size_t keys)
{
    size_t blocks = (keys - keys / 64) / RIBBON_BLOCK + 1;
    return blocks < 2 ? 2 : (uint32_t)blocks;
}

static uint64_t layer_size(uint32_t blocks, unsigned bits)
{
    return ribbon_words_size(blocks, bits) + ribbon_codes_size(blocks);
}

static unsigned partition_shift(uint32_t starts)
{
    unsigned shift = PARTITION_SHIFT_MIN;
    while ((starts - 1) >> shift >= PARTITIONS_MAX)
        shift++;
    return shift;
}

/* --- memory --- */

static plsm_status reserve(struct builder *b, size_t keys)
{
    uint32_t blocks = layer_blocks(keys);
    size_t rows = (size_t)blocks * RIBBON_BLOCK, starts = (size_t)1 << partition_shift(ribbon_starts(blocks));
    size_t size = 2 * keys * sizeof(uint64_t) + rows * (sizeof *b->rows + sizeof *b->results) +
                  (starts + 1) * sizeof *b->start_ends;
    b->ordered = scratch_reserve(&b->scratch, size);
    if (!b->ordered)
        return fail(PLSM_NO_MEMORY, "ribbon: no memory to build one over %zu keys", keys);
    b->left = b->ordered + keys;
    b->rows = b->left + keys;
    b->start_ends = (uint32_t *)(void *)(b->rows + rows);
    b->results = (uint16_t *)(void *)(b->start_ends + starts + 1);
    return PLSM_OK;
}

/* --- sorting by start --- */

/* Counting sort of the hashes into b->ordered by the partition of their start. */
static void order_by_partition(struct builder *b, const uint64_t *hashes, size_t count, uint32_t starts, unsigned shift)
{
    uint32_t *end = b->partition_ends, partitions = ((starts - 1) >> shift) + 1;
    uint64_t *ordered = b->ordered;
    memset(end, 0, (partitions + 1) * sizeof *end);
    for (size_t i = 0; i < count; i++)
        end[(hash_scale(ribbon_mix(hashes[i]), starts) >> shift) + 1]++;
    for (uint32_t i = 0; i < partitions; i++)
        end[i + 1] += end[i];
    for (size_t i = 0; i < count; i++) /* end[i], so far where partition i starts, moves to where it ends */
        ordered[end[hash_scale(ribbon_mix(hashes[i]), starts) >> shift]++] = hashes[i];
}

/* Sorts b->ordered[from, to), whose starts are [low, high), by start: mixed there, as it was in `hashes`. */
static void sort_partition(struct builder *b, uint64_t *hashes, size_t from, size_t to, uint32_t starts, uint32_t low,
                           uint32_t high)
{
    uint32_t *end = b->start_ends;
    uint64_t *ordered = b->ordered;
    memset(end, 0, (high - low + 1) * sizeof *end);
    for (size_t i = from; i < to; i++) {
        hashes[i] = ordered[i];
        end[hash_scale(ribbon_mix(ordered[i]), starts) - low + 1]++;
    }
    for (uint32_t i = 0; i < high - low; i++)
        end[i + 1] += end[i];
    for (size_t i = from; i < to; i++) {
        uint64_t mixed = ribbon_mix(hashes[i]);
        ordered[from + end[hash_scale(mixed, starts) - low]++] = mixed;
    }
}

/* --- elimination --- */

enum outcome { FILLED, REDUNDANT, CONTRADICTION };

/* Enters the equation of a hash; *row is its start, and then the row that it filled. */
static inline enum outcome enter(uint64_t *rows, uint16_t *results, uint64_t mixed, uint32_t mask, uint32_t *row)
{
    uint64_t coefficients = ribbon_coefficients(mixed);
    uint32_t result = ribbon_result(mixed) & mask, at = *row;
    while (rows[at]) {
        coefficients ^= rows[at];
        result ^= results[at];
        if (coefficients == 0)
            return result == 0 ? REDUNDANT : CONTRADICTION;
        unsigned step = (unsigned)__builtin_ctzll(coefficients);
        coefficients >>= step;
        at += step;
    }
    rows[at] = coefficients;
    results[at] = (uint16_t)result;
    *row = at;
    return FILLED;
}

/* Enters keys[0, count), ascending by start, of the bucket whose first start is `low`. Returns how many of them, the
 * first ones, must go to the next layer, and the code that says so. */
static size_t enter_bucket(struct builder *b, const uint64_t *keys, size_t count, uint32_t starts, uint32_t low,
                           unsigned *code)
{
    uint32_t mask = (1u << b->bits) - 1, threshold = 0;
    size_t filled = 0, at = count;
    *code = 0;
    for (; at > 0; at--) {
        uint32_t start = hash_scale(keys[at - 1], starts), row = start;
        enum outcome outcome = enter(b->rows, b->results, keys[at - 1], mask, &row);
        if (outcome == FILLED) {
            b->filled[filled++] = (struct filled){row, start - low};
        } else if (outcome == CONTRADICTION) {
            while (ribbon_threshold(*code) <= start - low)
                ++*code;
            threshold = ribbon_threshold(*code);
            break;
        }
    }
    for (; filled > 0 && b->filled[filled - 1].offset < threshold; filled--) {
        b->rows[b->filled[filled - 1].row] = 0;
        b->results[b->filled[filled - 1].row] = 0;
    }
    while (at < count && hash_scale(keys[at], starts) - low < threshold)
        at++;
    return at;
}

/* Builds the echelon form of a layer over the hashes, which are brought into order; fills in its codes. Returns how
 * many hashes are left, in b->left (which `hashes` may be as well). */
static size_t eliminate(struct builder *b, uint64_t *hashes, size_t count, uint32_t starts, uint8_t *codes)
{
    unsigned shift = partition_shift(starts);
    uint32_t zeroed = 0;
    size_t from = 0, left = 0;
    order_by_partition(b, hashes, count, starts, shift);
    for (uint32_t partition = 0; partition <= (starts - 1) >> shift; partition++) {
        uint32_t low = partition << shift, high = starts - low < 1u << shift ? starts : low + (1u << shift);
        size_t to = b->partition_ends[partition];
        memset(b->rows + zeroed, 0, (high + RIBBON_BLOCK - zeroed) * sizeof *b->rows);
        memset(b->results + zeroed, 0, (high + RIBBON_BLOCK - zeroed) * sizeof *b->results);
        zeroed = high + RIBBON_BLOCK;
        sort_partition(b, hashes, from, to, starts, low, high);
        const uint64_t *keys = b->ordered + from;
        size_t first = 0;
        for (uint32_t start = low; start < high; start += RIBBON_BUCKET) {
            uint32_t bucket = start / RIBBON_BUCKET, next = high - start < RIBBON_BUCKET ? high : start + RIBBON_BUCKET;
            size_t end = b->start_ends[next - low - 1];
            unsigned code;
            size_t bumped = enter_bucket(b, keys + first, end - first, starts, start, &code);
            codes[bucket / RIBBON_CODES_PER_BYTE] |= (uint8_t)(code << 2 * (bucket % RIBBON_CODES_PER_BYTE));
            memcpy(b->left + left, keys + first, bumped * sizeof *keys);
            left += bumped;
            first = end;
        }
        from = to;
    }
    return left;
}

/* --- solving --- */

/* The rows of a block from the last to the first. `state` has for each result bit the 64 rows behind the present one,
 * the next at bit 0. An empty row is 0. */
static inline __attribute__((always_inline)) void solve(const uint64_t *rows, const uint16_t *results, uint32_t blocks,
                                                        uint32_t bits, uint8_t *words)
{
    uint64_t state[RIBBON_BITS_MAX] = {0};
    for (size_t block = blocks; block-- > 0;) {
        for (size_t row = (block + 1) * RIBBON_BLOCK; row-- > block * RIBBON_BLOCK;) {
            uint64_t others = rows[row] >> 1;
            uint32_t result = results[row];
            for (uint32_t i = 0; i < bits; i++) {
                uint64_t bit = ((uint64_t)__builtin_parityll(state[i] & others) ^ result >> i) & 1;
                state[i] = state[i] << 1 | bit;
            }
        }
        for (uint32_t i = 0; i < bits; i++)
            put_u64(words + (block * bits + i) * sizeof(uint64_t), state[i]);
    }
}

/* The same, compiled for processors that count bits by themselves. */
#if defined(__x86_64__)
__attribute__((target("popcnt")))
#endif
static void
solve_popcount(const uint64_t *rows, const uint16_t *results, uint32_t blocks, uint32_t bits, uint8_t *words)
{
    solve(rows, results, blocks, bits, words);
}

/* --- the whole --- */

/* Appends the solution of a layer to `out` and its codes to `codes`. *count becomes how many hashes are left. */
static plsm_status add_layer(struct builder *b, uint64_t *hashes, size_t *count, struct buf *out, struct buf *codes)
{
    uint32_t blocks = layer_blocks(*count);
    uint64_t words_size = ribbon_words_size(blocks, b->bits), codes_size = ribbon_codes_size(blocks);
    TRY(buf_reserve(out, words_size));
    TRY(buf_reserve(codes, codes_size));
    memset(codes->data + codes->size, 0, codes_size);
    *count = eliminate(b, hashes, *count, ribbon_starts(blocks), codes->data + codes->size);
    if (b->vectors)
        solve_popcount(b->rows, b->results, blocks, b->bits, out->data + out->size);
    else
        solve(b->rows, b->results, blocks, b->bits, out->data + out->size);
    out->size += words_size;
    codes->size += codes_size;
    b->blocks[b->layer_count++] = blocks;
    return PLSM_OK;
}

static plsm_status add_layers(struct builder *b, uint64_t *hashes, size_t count, struct buf *out)
{
    struct buf codes = {0};
    plsm_status status = PLSM_OK;
    while (status == PLSM_OK && b->layer_count < RIBBON_LAYERS_MAX &&
           count * sizeof(uint64_t) > layer_size(layer_blocks(count), b->bits)) {
        status = add_layer(b, hashes, &count, out, &codes);
        hashes = b->left;
    }
    if (hashes != b->left && count > 0)
        memcpy(b->left, hashes, count * sizeof *hashes);
    hashes_sort(b->left, b->ordered, count);
    b->exceptions = hashes_drop_neighbours(b->left, count);
    if (status == PLSM_OK)
        status = buf_append(out, b->left, b->exceptions * sizeof *hashes);
    if (status == PLSM_OK)
        status = buf_append(out, codes.data, codes.size);
    buf_free(&codes);
    return status;
}

plsm_status ribbon_build_with(uint64_t *hashes, size_t count, unsigned bits, bool vectors, struct buf *out)
{
    if (bits < RIBBON_BITS_MIN || bits > RIBBON_BITS_MAX)
        return fail(PLSM_INVALID, "ribbon: %u result bits; %d to %d are possible", bits, RIBBON_BITS_MIN,
                    RIBBON_BITS_MAX);
    if (count > UINT32_MAX / 8)
        return fail(PLSM_TOO_LARGE, "ribbon: %zu keys in one run are too many", count);
    struct builder *b = mem_zalloc(sizeof *b);
    size_t start = out->size;
    plsm_status status = PLSM_OK;
    if (!b)
        return fail(PLSM_NO_MEMORY, "ribbon: no memory to build one");
    b->bits = bits;
    b->vectors = vectors;
    if ((status = reserve(b, count)) || (status = buf_reserve(out, RIBBON_HEADER_SIZE)))
        goto done;
    memset(out->data + start, 0, RIBBON_HEADER_SIZE);
    out->size += RIBBON_HEADER_SIZE;
    if ((status = add_layers(b, hashes, count, out)))
        goto done;
    uint8_t *header = out->data + start;
    header[0] = RIBBON_FORMAT;
    header[RIBBON_BITS] = (uint8_t)bits;
    header[RIBBON_LAYERS] = (uint8_t)b->layer_count;
    put_u32(header + RIBBON_EXCEPTIONS, (uint32_t)b->exceptions);
    put_u64(header + RIBBON_KEYS, count);
    for (unsigned i = 0; i < b->layer_count; i++)
        put_u32(header + RIBBON_BLOCKS + 4 * i, b->blocks[i]);
done:
    if (status != PLSM_OK)
        out->size = start;
    scratch_free(&b->scratch);
    mem_free(b);
    return status;
}

plsm_status ribbon_build(uint64_t *hashes, size_t count, unsigned bits, struct buf *out)
{
    return ribbon_build_with(hashes, count, bits, ribbon_have_vectors(), out);
}
