/* Fences: front-coded separators (layout in separators.c: it is the serialized form) under an array of heads.
 *
 * A head is the first 8 bytes of a separator behind the prefix that all separators share, as a big-endian number, short
 * ones filled up with zeroes. Comparing heads never contradicts comparing separators; where heads are equal, the
 * front-coded bytes decide: a binary search over the groups, then at most one group is walked.
 *
 * Over the heads stands a static B+-tree without pointers (as the S+ tree in Slotin's "Algorithms for Modern
 * Hardware"): each layer holds the last head of every 16 of the layer below, so that a search reads two cache lines per
 * layer and counts in them without a branch.
 *
 *   layers   [ last of 256 heads | ... ]                                    at most 16 in the topmost
 *            [ last of 16 heads  | last of the next 16 | ... ]
 *   heads    [ 8 bytes of separator 1 | 8 bytes of separator 2 | ... ]      separator i is the one in front of page i
 *   groups   [ offset of separator 1  | offset of separator 17 | ... ]
 *   coded    [ whole 1 | shared, rest of 2 | ... | rest of 16 | whole 17 | ... ] */
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/alloc.h"
#include "base/error.h"
#include "learn/fences.h"
#include "learn/fences_private.h"
#include "learn/plain_fences.h"
#include "learn/separators.h"

#include "base/banned.h"

/* --- building --- */

struct fences_builder {
    struct separators_builder separators;
    uint32_t pages;
    bool is_plain;
    struct plain_fences_builder plain;
};

struct fences_builder *fences_builder_create(void)
{
    return mem_zalloc(sizeof(struct fences_builder));
}

struct fences_builder *fences_builder_create_plain(void)
{
    struct fences_builder *b = fences_builder_create();
    if (b)
        b->is_plain = true;
    return b;
}

void fences_builder_destroy(struct fences_builder *b)
{
    if (!b)
        return;
    separators_builder_free(&b->separators);
    plain_fences_builder_free(&b->plain);
    mem_free(b);
}

plsm_status fences_builder_add(struct fences_builder *b, plsm_slice last, plsm_slice first)
{
    if (b->is_plain)
        return plain_fences_add(&b->plain, last, first);
    if (b->pages > 0) {
        size_t size = separator_size(last, first);
        if (size == 0)
            return fail(PLSM_INVALID, "fences: page %u starts with a key below the last key before it", b->pages);
        TRY(separators_add(&b->separators, first, size));
    }
    b->pages++;
    return PLSM_OK;
}

plsm_status fences_builder_finish(struct fences_builder *b, struct buf *out)
{
    return b->is_plain ? plain_fences_finish(&b->plain, out) : separators_finish(&b->separators, out);
}

/* --- reading --- */

enum {
    NODE = 16,      /* heads in a node: two cache lines, four AVX2 comparisons */
    LAYERS_MAX = 8, /* enough for 2^31 heads */
};

struct fences {
    /* Heads with the top bit flipped, so that they sort as signed numbers, which is what AVX2 compares. Every layer is
     * filled up with the largest number, by one at least, to whole nodes. layers[0] are the heads themselves. */
    int64_t *heads;
    uint32_t layers[LAYERS_MAX]; /* where each layer starts in `heads` */
    unsigned layer_count;
    bool vectors; /* search with AVX2 */
    uint32_t *groups;
    uint8_t *bytes; /* owns what separators points into */
    struct separators separators;
    size_t bytes_size, heads_size;
    struct plain_fences plain; /* with pages: these are all there is */
};

/* The first 8 of `size` bytes as a number that sorts as they do. */
static inline int64_t head_of(const uint8_t *at, size_t size)
{
    uint64_t head = 0;
    if (size >= 8)
        head = get_be64(at);
    else
        for (size_t i = 0; i < size; i++)
            head |= (uint64_t)at[i] << (56 - 8 * i);
    return (int64_t)(head ^ (uint64_t)1 << 63);
}

static bool have_vectors(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt");
#else
    return false;
#endif
}

/* Where the layers go; they are filled once the heads are known. */
static void plan_layers(struct fences *f)
{
    uint64_t size = f->separators.count, start = 0;
    do {
        size = size / NODE + 1; /* nodes */
        f->layers[f->layer_count++] = (uint32_t)start;
        start += size * NODE;
    } while (size > 1);
    f->heads_size = start * sizeof *f->heads;
}

static void fill_layers(struct fences *f)
{
    uint64_t size = f->separators.count;
    for (unsigned layer = 0; layer < f->layer_count; layer++) {
        int64_t *heads = f->heads + f->layers[layer];
        if (layer > 0)
            for (uint64_t i = 0; i < size; i++)
                heads[i] = f->heads[f->layers[layer - 1] + i * NODE + NODE - 1];
        for (uint64_t i = size; i < (size / NODE + 1) * NODE; i++)
            heads[i] = INT64_MAX;
        size = size / NODE + 1;
    }
}

/* Walks all separators once: bounds, order, heads, group offsets. Order is checked because find relies on it. */
static plsm_status index_separators(struct fences *f)
{
    const struct separators *list = &f->separators;
    struct buf whole = {0};
    plsm_status status = buf_reserve(&whole, SEPARATOR_SIZE_MAX);
    const uint8_t *at = list->coded;
    for (uint32_t i = 0; status == PLSM_OK && i < list->count; i++) {
        struct separator s = {0};
        if (i % SEPARATOR_GROUP == 0)
            f->groups[i / SEPARATOR_GROUP] = (uint32_t)(at - list->coded);
        at = separator_decode(at, list->end, i % SEPARATOR_GROUP, &s);
        bool sound = at && s.shared <= whole.size;
        if (sound && i > 0) {
            plsm_slice before = slice(whole.data + s.shared, whole.size - s.shared);
            sound = slice_compare(before, slice(s.suffix, s.suffix_size)) <= 0;
            /* find relies on shared counts being as large as they can be */
            if (i % SEPARATOR_GROUP != 0 && before.size && s.suffix_size)
                sound = sound && whole.data[s.shared] != s.suffix[0];
        }
        if (!sound) {
            status = fail(PLSM_CORRUPT, "separators: number %u of %u is malformed or out of order", i, list->count);
            break;
        }
        if (s.suffix_size)
            memcpy(whole.data + s.shared, s.suffix, s.suffix_size);
        whole.size = s.shared + s.suffix_size;
        f->heads[i] = head_of(whole.data, whole.size);
    }
    if (status == PLSM_OK && at != list->end)
        status = fail(PLSM_CORRUPT, "separators: %zu bytes behind the last", (size_t)(list->end - at));
    buf_free(&whole);
    return status;
}

static plsm_status open_plain(plsm_slice bytes, struct fences **out)
{
    struct fences *f = mem_zalloc(sizeof *f);
    if (!f)
        return fail(PLSM_NO_MEMORY, "fences: no memory for them");
    plsm_status status = plain_fences_open(bytes, &f->plain);
    if (status) {
        fences_close(f);
        f = NULL;
    }
    *out = f;
    return status;
}

plsm_status fences_open(plsm_slice bytes, struct fences **out)
{
    *out = NULL;
    if (plain_fences_recognise(bytes))
        return open_plain(bytes, out);
    struct separators list = {0};
    TRY(separators_parse(bytes, &list));
    if (bytes.size > INT32_MAX) /* with which LAYERS_MAX reckons: fewer than 2^31 heads */
        return fail(PLSM_CORRUPT, "separators: %zu bytes are more than a list can have", bytes.size);
    struct fences *f = mem_zalloc(sizeof *f);
    plsm_status status = PLSM_NO_MEMORY;
    if (!f)
        goto done;
    size_t groups = (list.count + (size_t)SEPARATOR_GROUP - 1) / SEPARATOR_GROUP;
    f->separators.count = list.count;
    f->vectors = have_vectors();
    plan_layers(f);
    f->heads = mem_alloc(f->heads_size);
    f->groups = mem_alloc((groups + 1) * sizeof *f->groups);
    f->bytes = mem_alloc(bytes.size);
    if (!f->heads || !f->groups || !f->bytes)
        goto done;
    memcpy(f->bytes, bytes.data, bytes.size);
    f->bytes_size = bytes.size;
    status = separators_parse(slice(f->bytes, bytes.size), &f->separators);
    if (status == PLSM_OK)
        status = index_separators(f);
    if (status == PLSM_OK)
        fill_layers(f);
done:
    if (status) {
        fences_close(f);
        return status == PLSM_NO_MEMORY ? fail(status, "fences: no memory for %u pages", list.count + 1) : status;
    }
    *out = f;
    return PLSM_OK;
}

void fences_close(struct fences *f)
{
    if (!f)
        return;
    mem_free(f->heads);
    mem_free(f->groups);
    mem_free(f->bytes);
    plain_fences_close(&f->plain);
    mem_free(f);
}

uint32_t fences_pages(const struct fences *f)
{
    return f->plain.pages ? f->plain.pages : f->separators.count + 1;
}

bool fences_are_plain(const struct fences *f)
{
    return f->plain.pages > 0;
}

size_t fences_memory(const struct fences *f)
{
    if (f->plain.pages)
        return sizeof *f + f->plain.bytes_size;
    size_t groups = (f->separators.count + (size_t)SEPARATOR_GROUP - 1) / SEPARATOR_GROUP;
    return sizeof *f + f->heads_size + (groups + 1) * sizeof *f->groups + f->bytes_size;
}

/* How many heads of a node are below `head`. */
static inline unsigned node_below(const int64_t *node, int64_t head)
{
    unsigned below = 0;
    for (unsigned i = 0; i < NODE; i++)
        below += node[i] < head;
    return below;
}

static uint32_t heads_below_portable(const struct fences *f, int64_t head)
{
    uint32_t at = 0;
    for (unsigned layer = f->layer_count; layer-- > 0;)
        at = at * NODE + node_below(f->heads + f->layers[layer] + (size_t)at * NODE, head);
    return at;
}

#if defined(__x86_64__)
__attribute__((target("avx2,popcnt"))) static uint32_t heads_below_avx2(const struct fences *f, int64_t head)
{
    const __m256i wanted = _mm256_set1_epi64x(head);
    uint32_t at = 0;
    for (unsigned layer = f->layer_count; layer-- > 0;) {
        const __m256i *node = (const void *)(f->heads + f->layers[layer] + (size_t)at * NODE);
        __m256i a = _mm256_cmpgt_epi64(wanted, _mm256_loadu_si256(node));
        __m256i b = _mm256_cmpgt_epi64(wanted, _mm256_loadu_si256(node + 1));
        __m256i c = _mm256_cmpgt_epi64(wanted, _mm256_loadu_si256(node + 2));
        __m256i d = _mm256_cmpgt_epi64(wanted, _mm256_loadu_si256(node + 3));
        /* Sixteen masks of 64 bits become sixteen of 2 bits; only how many are set matters, not their order. */
        __m256i all = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
        at = at * NODE + (unsigned)__builtin_popcount((unsigned)_mm256_movemask_epi8(all)) / 2;
    }
    return at;
}
#endif

/* How many heads are below `head`. Never more than there are, as the fill is below nothing. */
static inline uint32_t heads_below(const struct fences *f, int64_t head)
{
#if defined(__x86_64__)
    if (f->vectors)
        return heads_below_avx2(f, head);
#endif
    return heads_below_portable(f, head);
}

void fences_use_portable(struct fences *f)
{
    f->vectors = false;
}

/* How many separators of group `group`, but none from number `stop` on, are <= key. Comparing goes along with
 * decoding: while separators are below the key, `matched` is how many bytes the last one shares with it. One that
 * shares more with its predecessor than the key does is still below, one that shares less is above. */
static uint32_t count_in_group(const struct fences *f, uint32_t group, uint32_t stop, plsm_slice key)
{
    const uint8_t *at = f->separators.coded + f->groups[group];
    uint32_t index = group * SEPARATOR_GROUP;
    size_t matched = 0;
    for (; index < stop && index < (group + 1) * SEPARATOR_GROUP; index++) {
        struct separator s = {0};
        at = separator_decode(at, f->separators.end, index % SEPARATOR_GROUP, &s);
        if (s.shared > matched)
            continue;
        if (s.shared < matched)
            break;
        plsm_slice rest = slice((const uint8_t *)key.data + matched, key.size - matched);
        plsm_slice suffix = slice(s.suffix, s.suffix_size);
        if (slice_compare(suffix, rest) > 0)
            break;
        matched += slice_common(suffix, rest);
    }
    return index;
}

/* Separators [from, to) have the key's head. How many separators in all are <= key? */
static uint32_t resolve_tie(const struct fences *f, uint32_t from, uint32_t to, plsm_slice key)
{
    /* The last group in question whose first separator is <= key; the group `from` lies in starts at or before it. */
    uint32_t low = from / SEPARATOR_GROUP, high = (to - 1) / SEPARATOR_GROUP;
    while (low < high) {
        uint32_t middle = high - (high - low) / 2;
        struct separator s = {0};
        separator_decode(f->separators.coded + f->groups[middle], f->separators.end, 0, &s);
        if (slice_compare(slice(s.suffix, s.suffix_size), key) <= 0)
            low = middle;
        else
            high = middle - 1;
    }
    return count_in_group(f, low, to, key);
}

uint32_t fences_find(const struct fences *f, plsm_slice key)
{
    const struct separators *list = &f->separators;
    if (f->plain.pages)
        return plain_fences_find(&f->plain, key);
    if (list->count == 0 || key.size == 0)
        return 0;
    plsm_slice prefix = slice(list->prefix, list->prefix_size);
    if (!slice_starts_with(key, prefix))
        return slice_compare(key, prefix) < 0 ? 0 : list->count;
    key = slice((const uint8_t *)key.data + prefix.size, key.size - prefix.size);
    int64_t head = head_of(key.data, key.size);
    uint32_t below = heads_below(f, head);
    if (below == list->count || f->heads[below] != head)
        return below;
    uint32_t up_to = head == INT64_MAX ? list->count : heads_below(f, head + 1);
    return resolve_tie(f, below, up_to, key);
}

bool fences_within(const struct fences *f, plsm_slice key, uint32_t page, unsigned *within)
{
    const struct separators *list = &f->separators;
    if (page == 0 || page >= list->count || key.size <= list->prefix_size) /* plain ones have no separators */
        return false;
    int64_t head = head_of((const uint8_t *)key.data + list->prefix_size, key.size - list->prefix_size);
    int64_t low = f->heads[page - 1], high = f->heads[page];
    if (head <= low || head >= high) {
        *within = head <= low ? 0 : FENCES_WITHIN - 1;
        return true;
    }
    uint64_t gap = (uint64_t)high - (uint64_t)low, behind = (uint64_t)head - (uint64_t)low;
    bool wide = gap >= UINT64_MAX / FENCES_WITHIN;
    *within = (unsigned)(wide ? behind / (gap / FENCES_WITHIN + 1) : behind * FENCES_WITHIN / gap);
    return true;
}
