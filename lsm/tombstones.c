/* Range tombstones: the list. Ideas and the format stand in tombstones.h. */
#include "lsm/tombstones.h"

#include "base/alloc.h"
#include "base/error.h"
#include "lsm/lsm.h"
#include "base/banned.h"

enum { LIST_ALIGNMENT = 8, CAPACITY_MIN = 16 };

size_t tombstones_reaching(const struct tombstones *t, plsm_slice key)
{
    size_t low = 0, high = t->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (slice_compare(t->list[middle].to, key) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct tombstone *tombstones_find(const struct tombstones *t, plsm_slice key)
{
    size_t at = tombstones_reaching(t, key);
    return at < t->count && slice_compare(t->list[at].from, key) <= 0 ? &t->list[at] : NULL;
}

const struct tombstone *tombstones_next(const struct tombstones *t, size_t *at, plsm_slice key)
{
    while (*at < t->count && slice_compare(t->list[*at].to, key) <= 0)
        ++*at;
    return *at < t->count && slice_compare(t->list[*at].from, key) <= 0 ? &t->list[*at] : NULL;
}

/* --- making ------------------------------------------------------------------------------------------------------- */

/* Fragments lie between neighbouring ends of deletions: `count` of them have at most twice as many ends, and each
 * deletion brings two more. */
static size_t fragments_max(size_t count, size_t more)
{
    return 2 * (count + more);
}

size_t tombstones_bytes(size_t count, size_t more)
{
    size_t fragments = fragments_max(count, more);
    return sizeof(struct tombstones) + fragments * (sizeof(struct tombstone) + sizeof(struct tombstone_older)) +
           (fragments + 2) * (LIST_ALIGNMENT - 1);
}

struct tombstones *tombstones_copy(struct arena *arena, const struct tombstones *from, size_t more)
{
    size_t count = from ? from->count : 0, capacity = fragments_max(count, more);
    struct tombstones *t = arena_alloc(arena, sizeof *t, LIST_ALIGNMENT);
    *t = (struct tombstones){.count = count, .capacity = capacity};
    t->list = arena_alloc(arena, capacity * sizeof *t->list, LIST_ALIGNMENT);
    if (count)
        memcpy(t->list, from->list, count * sizeof *t->list);
    return t;
}

plsm_slice tombstones_key(struct arena *arena, plsm_slice key)
{
    uint8_t *bytes = arena_alloc(arena, key.size, 1);
    memcpy(bytes, key.data, key.size);
    return slice(bytes, key.size);
}

/* Makes room for `extra` fragments at `at`. */
static void open_gap(struct tombstones *t, size_t at, size_t extra)
{
    INVARIANT(t->count + extra <= t->capacity);
    memmove(t->list + at + extra, t->list + at, (t->count - at) * sizeof *t->list);
    t->count += extra;
}

/* Cuts the fragment that has `key` inside, so that one begins there. Returns the first fragment at or behind `key`. */
static size_t cut(struct tombstones *t, plsm_slice key)
{
    size_t at = tombstones_reaching(t, key);
    if (at == t->count || slice_compare(t->list[at].from, key) >= 0)
        return at;
    open_gap(t, at, 1);
    t->list[at] = t->list[at + 1];
    t->list[at].to = key;
    t->list[at + 1].from = key;
    return at + 1;
}

/* Puts the deletion on top of a fragment. */
static void cover(struct tombstone *t, struct arena *arena, uint64_t seq, uint32_t source, uint64_t low)
{
    if (t->seq < low) {
        struct tombstone_older *older = arena_alloc(arena, sizeof *older, LIST_ALIGNMENT);
        *older = (struct tombstone_older){.seq = t->seq, .source = t->source, .older = t->older};
        t->older = older;
    }
    t->seq = seq;
    t->source = source;
}

plsm_status tombstones_add(struct tombstones *t, struct arena *arena, plsm_slice from, plsm_slice to, uint64_t seq,
                           uint32_t source, uint64_t low)
{
    size_t first = cut(t, from), behind = cut(t, to), beneath = 0;
    for (size_t i = first; i < behind; i++)
        beneath += t->list[i].seq < low;
    TRY(arena_reserve(arena, beneath * (sizeof(struct tombstone_older) + LIST_ALIGNMENT - 1)));
    plsm_slice at = from; /* up to here all is covered */
    for (size_t i = first; i < behind; i++) {
        cover(&t->list[i], arena, seq, source, low);
        if (slice_compare(at, t->list[i].from) < 0) {
            plsm_slice end = t->list[i].from;
            open_gap(t, i++, 1);
            behind++;
            t->list[i - 1] = (struct tombstone){.from = at, .to = end, .seq = seq, .source = source};
        }
        at = t->list[i].to;
    }
    if (slice_compare(at, to) < 0) {
        open_gap(t, behind, 1);
        t->list[behind] = (struct tombstone){.from = at, .to = to, .seq = seq, .source = source};
    }
    return PLSM_OK;
}

/* --- merging ------------------------------------------------------------------------------------------------------ */

void tombstone_merge_free(struct tombstone_merge *m)
{
    arena_free(&m->arena);
    mem_free(m->list.list);
    *m = (struct tombstone_merge){0};
}

static plsm_status grow(struct tombstones *t)
{
    size_t wanted = fragments_max(t->count, 1);
    if (wanted <= t->capacity)
        return PLSM_OK;
    if (wanted < 2 * t->capacity)
        wanted = 2 * t->capacity;
    if (wanted < CAPACITY_MIN)
        wanted = CAPACITY_MIN;
    struct tombstone *list = mem_realloc(t->list, wanted * sizeof *list);
    if (!list)
        return fail(PLSM_NO_MEMORY, "no memory to merge deletions of ranges");
    t->list = list;
    t->capacity = wanted;
    return PLSM_OK;
}

static plsm_status merge_one(struct tombstone_merge *m, const struct tombstone *fragment, uint64_t seq, uint32_t number)
{
    TRY(grow(&m->list));
    /* Of two that every reader sees the newer one does for both. Nothing else may be replaced. */
    uint64_t low = seq <= m->cutoff ? 0 : seq;
    return tombstones_add(&m->list, &m->arena, fragment->from, fragment->to, seq, number, low);
}

plsm_status tombstone_merge_add(struct tombstone_merge *m, const struct tombstones *source, uint32_t number)
{
    for (size_t i = 0; i < source->count; i++) {
        const struct tombstone *fragment = &source->list[i];
        uint64_t last = 0; /* of those added, which go from the oldest to the newest */
        while (last < fragment->seq) {
            uint64_t next = fragment->seq;
            for (const struct tombstone_older *o = fragment->older; o && o->seq > last; o = o->older)
                next = o->seq;
            TRY(merge_one(m, fragment, next, number));
            last = next;
        }
    }
    return PLSM_OK;
}

static bool same_deletions(const struct tombstone *a, const struct tombstone *b)
{
    const struct tombstone_older *x = a->older, *y = b->older;
    if (a->seq != b->seq || a->source != b->source || a->settled != b->settled)
        return false;
    for (; x && y; x = x->older, y = y->older)
        if (x->seq != y->seq || x->source != y->source)
            return false;
    return !x && !y;
}

void tombstone_merge_join(struct tombstone_merge *m)
{
    struct tombstone *list = m->list.list;
    size_t kept = 0;
    for (size_t i = 0; i < m->list.count; i++) {
        if (kept > 0 && slice_equal(list[kept - 1].to, list[i].from) && same_deletions(&list[kept - 1], &list[i]))
            list[kept - 1].to = list[i].to;
        else
            list[kept++] = list[i];
    }
    m->list.count = kept;
}

/* Whether a deletion hides a version. One that deletes too and stands beside it is of no use either. */
static bool hides(uint64_t seq, uint32_t from, uint32_t source, const struct entry *entry)
{
    return from < source || (from == source && seq + (entry->kind == BATCH_DELETE) > entry->seq);
}

bool tombstone_judge(const struct tombstone *t, uint64_t cutoff, uint32_t source, struct entry *entry)
{
    struct tombstone_older top = {0};
    uint64_t behind = 0; /* the newest deletion that does not hide it */
    if (t)
        top = (struct tombstone_older){.seq = t->seq, .source = t->source, .older = t->older};
    for (const struct tombstone_older *at = t ? &top : NULL; at; at = at->older) {
        if (hides(at->seq, at->source, source, entry)) {
            if (at->seq <= cutoff)
                return true;
        } else if (!behind && !(t->settled && !at->older)) {
            behind = at->seq;
        }
    }
    if (entry->seq <= cutoff)
        entry->seq = behind;
    return false;
}

bool tombstone_merge_covers(const struct tombstone_merge *m, plsm_slice smallest, plsm_slice largest, uint32_t source)
{
    plsm_slice at = smallest;
    for (size_t i = tombstones_reaching(&m->list, smallest); i < m->list.count; i++) {
        const struct tombstone *t = &m->list.list[i];
        const struct tombstone_older top = {.seq = t->seq, .source = t->source, .older = t->older}, *seen = &top;
        while (seen && seen->seq > m->cutoff)
            seen = seen->older;
        if (slice_compare(t->from, at) > 0 || !seen || seen->source >= source)
            return false;
        if (slice_compare(t->to, largest) > 0)
            return true;
        at = t->to;
    }
    return false;
}

/* --- the block ---------------------------------------------------------------------------------------------------- */

size_t tombstone_kept(const struct tombstone *t)
{
    size_t count = 1;
    for (const struct tombstone_older *older = t->older; older; older = older->older)
        count++;
    return count - t->settled;
}

plsm_status tombstone_encode(struct buf *out, const struct tombstone *t, plsm_slice from, plsm_slice to)
{
    size_t count = tombstone_kept(t);
    uint64_t last = t->seq;
    TRY(buf_append_slice(out, from));
    TRY(buf_append_slice(out, to));
    TRY(buf_append_varint(out, count));
    TRY(buf_append_varint(out, last));
    for (const struct tombstone_older *older = t->older; --count > 0; older = older->older) {
        TRY(buf_append_varint(out, last - older->seq));
        last = older->seq;
    }
    return PLSM_OK;
}

bool tombstone_range_sound(plsm_slice from, plsm_slice to)
{
    const uint8_t *a = from.data, *b = to.data;
    return from.size >= 2 && from.size <= LSM_KEY_MAX && to.size >= 1 && to.size <= LSM_KEY_MAX &&
           slice_compare(from, to) < 0 && (a[0] == b[0] || (to.size == 1 && b[0] == a[0] + 1));
}

plsm_slice tombstone_last_key(plsm_slice to)
{
    const uint8_t *bytes = to.data;
    return slice(bytes, to.size - (to.size > 1 && bytes[to.size - 1] == 0));
}

static const uint8_t *get_key(const uint8_t *at, const uint8_t *end, plsm_slice *key)
{
    uint64_t size = 0;
    at = get_varint(at, end, &size);
    if (!at || size > (uint64_t)(end - at))
        return NULL;
    *key = slice(at, (size_t)size);
    return at + size;
}

/* Reads one fragment; its older deletions go to *nodes, which is moved behind them, but only where it is not NULL. */
static const uint8_t *get_fragment(const uint8_t *at, const uint8_t *end, struct tombstone *t,
                                   struct tombstone_older **nodes, size_t *node_count)
{
    uint64_t count = 0;
    *t = (struct tombstone){0};
    if (!(at = get_key(at, end, &t->from)) || !(at = get_key(at, end, &t->to)) ||
        !tombstone_range_sound(t->from, t->to) || !(at = get_varint(at, end, &count)) || count == 0 ||
        !(at = get_varint(at, end, &t->seq)) || t->seq == 0 || t->seq > SEQ_MAX)
        return NULL;
    const struct tombstone_older **link = &t->older;
    uint64_t seq = t->seq;
    for (uint64_t i = 1; i < count; i++) {
        uint64_t less = 0;
        at = get_varint(at, end, &less);
        if (!at || less == 0 || less >= seq)
            return NULL;
        seq -= less;
        ++*node_count;
        if (nodes) {
            struct tombstone_older *node = (*nodes)++;
            *node = (struct tombstone_older){.seq = seq};
            *link = node;
            link = &node->older;
        }
    }
    return at;
}

/* Reads a block: into `list` and `nodes` where they are there, otherwise only checks it and counts the nodes. */
static bool get_block(plsm_slice block, uint64_t count, struct tombstone *list, struct tombstone_older *nodes,
                      size_t *node_count)
{
    const uint8_t *at = block.data, *end = at + block.size;
    struct tombstone t, before = {0};
    uint64_t said = 0;
    *node_count = 0;
    at = get_varint(at, end, &said);
    if (!at || said != count || count == 0)
        return false;
    for (uint64_t i = 0; i < count; i++) {
        at = get_fragment(at, end, &t, list ? &nodes : NULL, node_count);
        if (!at || (i > 0 && slice_compare(before.to, t.from) > 0))
            return false;
        if (list)
            list[i] = t;
        before = t;
    }
    return at == end;
}

plsm_status tombstones_decode(plsm_slice block, uint64_t count, struct tombstones **out)
{
    size_t node_count = 0;
    *out = NULL;
    if (!get_block(block, count, NULL, NULL, &node_count)) /* afterwards the counts are bounded by the block's size */
        return PLSM_CORRUPT;
    size_t list_bytes = (size_t)count * sizeof(struct tombstone),
           node_bytes = node_count * sizeof(struct tombstone_older);
    struct tombstones *t = mem_alloc(sizeof *t + list_bytes + node_bytes + block.size);
    if (!t)
        return fail(PLSM_NO_MEMORY, "no memory for deletions of ranges");
    *t = (struct tombstones){.count = (size_t)count, .capacity = (size_t)count, .list = (struct tombstone *)(t + 1)};
    struct tombstone_older *nodes = (struct tombstone_older *)(void *)((uint8_t *)t->list + list_bytes);
    uint8_t *bytes = (uint8_t *)nodes + node_bytes;
    memcpy(bytes, block.data, block.size);
    INVARIANT(get_block(slice(bytes, block.size), count, t->list, nodes, &node_count));
    *out = t;
    return PLSM_OK;
}
