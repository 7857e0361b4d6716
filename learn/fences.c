/* Fences: front-coded separators (layout in separators.c: it is the serialized form) under an array of heads.
 *
 * A head is the first 8 bytes of a separator behind the prefix that all separators share, as a big-endian number, short
 * ones filled up with zeroes. Comparing heads never contradicts comparing separators; where heads are equal, the
 * front-coded bytes decide: a binary search over the groups, then at most one group is walked.
 *
 *   heads    [ 8 bytes of separator 1 | 8 bytes of separator 2 | ... ]      separator i is the one in front of page i
 *   groups   [ offset of separator 1  | offset of separator 17 | ... ]
 *   coded    [ whole 1 | shared, rest of 2 | ... | rest of 16 | whole 17 | ... ] */
#include "base/alloc.h"
#include "base/error.h"
#include "learn/fences.h"
#include "learn/separators.h"

#include "base/banned.h"

/* --- building --- */

struct fences_builder {
    struct separators_builder separators;
    uint32_t pages;
};

struct fences_builder *fences_builder_create(void)
{
    return mem_zalloc(sizeof(struct fences_builder));
}

void fences_builder_destroy(struct fences_builder *b)
{
    if (!b)
        return;
    separators_builder_free(&b->separators);
    mem_free(b);
}

plsm_status fences_builder_add(struct fences_builder *b, plsm_slice last, plsm_slice first)
{
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
    return separators_finish(&b->separators, out);
}

/* --- reading --- */

struct fences {
    uint64_t *heads;
    uint32_t *groups;
    uint8_t *bytes; /* owns what separators points into */
    struct separators separators;
    size_t bytes_size;
};

/* The first 8 of `size` bytes as a number that sorts as they do. */
static inline uint64_t head_of(const uint8_t *at, size_t size)
{
    if (size >= 8)
        return get_be64(at);
    uint64_t head = 0;
    for (size_t i = 0; i < size; i++)
        head |= (uint64_t)at[i] << (56 - 8 * i);
    return head;
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

plsm_status fences_open(plsm_slice bytes, struct fences **out)
{
    *out = NULL;
    struct separators list = {0};
    TRY(separators_parse(bytes, &list));
    if (bytes.size > UINT32_MAX)
        return fail(PLSM_CORRUPT, "separators: %zu bytes are more than a list can have", bytes.size);
    struct fences *f = mem_zalloc(sizeof *f);
    plsm_status status = PLSM_NO_MEMORY;
    if (!f)
        goto done;
    size_t groups = (list.count + (size_t)SEPARATOR_GROUP - 1) / SEPARATOR_GROUP;
    f->heads = mem_alloc((list.count + 1) * sizeof *f->heads);
    f->groups = mem_alloc((groups + 1) * sizeof *f->groups);
    f->bytes = mem_alloc(bytes.size);
    if (!f->heads || !f->groups || !f->bytes)
        goto done;
    memcpy(f->bytes, bytes.data, bytes.size);
    f->bytes_size = bytes.size;
    status = separators_parse(slice(f->bytes, bytes.size), &f->separators);
    if (status == PLSM_OK)
        status = index_separators(f);
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
    mem_free(f);
}

uint32_t fences_pages(const struct fences *f)
{
    return f->separators.count + 1;
}

size_t fences_memory(const struct fences *f)
{
    size_t groups = (f->separators.count + (size_t)SEPARATOR_GROUP - 1) / SEPARATOR_GROUP;
    return sizeof *f + (f->separators.count + (size_t)1) * sizeof *f->heads + (groups + 1) * sizeof *f->groups +
           f->bytes_size;
}

/* How many of `count` sorted heads are below `head`. No branch depends on the data: the compiler makes it conditional
 * moves, as mispredictions would cost more than the comparisons. */
static inline uint32_t heads_below(const uint64_t *heads, uint32_t count, uint64_t head)
{
    const uint64_t *base = heads;
    if (count == 0)
        return 0;
    while (count > 1) {
        uint32_t half = count / 2;
        base += base[half - 1] < head ? half : 0;
        count -= half;
    }
    return (uint32_t)(base - heads) + (*base < head);
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
    if (list->count == 0 || key.size == 0)
        return 0;
    plsm_slice prefix = slice(list->prefix, list->prefix_size);
    if (!slice_starts_with(key, prefix))
        return slice_compare(key, prefix) < 0 ? 0 : list->count;
    key = slice((const uint8_t *)key.data + prefix.size, key.size - prefix.size);
    uint64_t head = head_of(key.data, key.size);
    uint32_t below = heads_below(f->heads, list->count, head);
    if (below == list->count || f->heads[below] != head)
        return below;
    uint32_t equal =
        head == UINT64_MAX ? list->count - below : heads_below(f->heads + below, list->count - below, head + 1);
    return resolve_tie(f, below, below + equal, key);
}
