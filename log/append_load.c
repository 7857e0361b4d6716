/* Filling the directory: the keys of all segments are merged in their order, by their hints. The change with the
 * highest number decides about a key, be it of the key or of a range. */
#include "log/append_hint.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/banned.h"

struct source {
    struct segment *segment;
    struct hint_cursor cursor;
    uint64_t head; /* of the key */
    unsigned rank; /* of several entries of one number that of the lowest is taken: it is on the disk */
};

struct loading {
    struct append *db;
    struct hint *hints; /* of db->segments */
    struct source *sources;
    size_t source_count;
    struct source **heap; /* by key; the newest entry of a key first */
    size_t heap_count;
    struct hint_range *ranges; /* by their first keys */
    size_t range_count, range_next;
    struct hint_range *open; /* those begun, the one with the highest number first */
    size_t open_count;
    struct key_tree_builder *builder;
};

/* --- the heap ----------------------------------------------------------------------------------------------------- */

static bool goes_before(const struct source *a, const struct source *b)
{
    if (a->head != b->head)
        return a->head < b->head;
    int order = slice_compare(buf_slice(&a->cursor.key), buf_slice(&b->cursor.key));
    if (order)
        return order < 0;
    return a->cursor.seq != b->cursor.seq ? a->cursor.seq > b->cursor.seq : a->rank < b->rank;
}

static void sift_down(struct loading *l, size_t at)
{
    struct source *moving = l->heap[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= l->heap_count)
            break;
        if (child + 1 < l->heap_count && goes_before(l->heap[child + 1], l->heap[child]))
            child++;
        if (!goes_before(l->heap[child], moving))
            break;
        l->heap[at] = l->heap[child];
        at = child;
    }
    l->heap[at] = moving;
}

/* Moves a source on; PLSM_NOT_FOUND at its end. */
static plsm_status advance(struct source *s)
{
    TRY(hint_next(&s->cursor));
    uint8_t bytes[8] = {0};
    size_t size = s->cursor.key.size;
    memcpy(bytes, s->cursor.key.data, size < sizeof bytes ? size : sizeof bytes);
    s->head = get_be64(bytes);
    return PLSM_OK;
}

static plsm_status advance_top(struct loading *l)
{
    plsm_status status = advance(l->heap[0]);
    if (status == PLSM_NOT_FOUND)
        l->heap[0] = l->heap[--l->heap_count];
    else
        TRY(status);
    if (l->heap_count > 0)
        sift_down(l, 0);
    return PLSM_OK;
}

/* --- ranges ------------------------------------------------------------------------------------------------------- */

static int by_start(const void *a, const void *b)
{
    return slice_compare(((const struct hint_range *)a)->from, ((const struct hint_range *)b)->from);
}

static plsm_status gather_ranges(struct loading *l)
{
    size_t most = 0;
    for (size_t i = 0; i < l->db->segment_count; i++)
        most += l->hints[i].facts.ranges;
    if (most == 0)
        return PLSM_OK;
    l->ranges = mem_alloc(most * sizeof *l->ranges);
    l->open = mem_alloc(most * sizeof *l->open);
    if (!l->ranges || !l->open)
        return fail(PLSM_NO_MEMORY, "no memory for %zu deletions of ranges", most);
    for (size_t i = 0; i < l->db->segment_count; i++) {
        const uint8_t *at = l->hints[i].ranges;
        while (l->range_count < most && hint_next_range(&l->hints[i], &at, &l->ranges[l->range_count]))
            l->range_count++;
        if (at != l->hints[i].points)
            return fail(PLSM_CORRUPT, "the hint of segment %" PRIu64 " is damaged", l->hints[i].facts.number);
    }
    qsort(l->ranges, l->range_count, sizeof *l->ranges, by_start);
    return PLSM_OK;
}

static void open_range(struct loading *l, const struct hint_range *range)
{
    size_t at = l->open_count++;
    for (; at > 0 && l->open[(at - 1) / 2].seq < range->seq; at = (at - 1) / 2)
        l->open[at] = l->open[(at - 1) / 2];
    l->open[at] = *range;
}

static void close_newest(struct loading *l)
{
    struct hint_range moving = l->open[--l->open_count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= l->open_count)
            break;
        if (child + 1 < l->open_count && l->open[child + 1].seq > l->open[child].seq)
            child++;
        if (l->open[child].seq <= moving.seq)
            break;
        l->open[at] = l->open[child];
        at = child;
    }
    l->open[at] = moving;
}

/* The highest number of a deletion of a range with this key; keys come in order. */
static uint64_t deleted_at(struct loading *l, plsm_slice key)
{
    while (l->range_next < l->range_count && slice_compare(l->ranges[l->range_next].from, key) <= 0)
        open_range(l, &l->ranges[l->range_next++]);
    while (l->open_count > 0 && slice_compare(l->open[0].to, key) <= 0)
        close_newest(l);
    return l->open_count > 0 ? l->open[0].seq : 0;
}

/* --- filling ------------------------------------------------------------------------------------------------------ */

static plsm_status take_key(struct loading *l, const struct source *s)
{
    const struct hint_cursor *c = &s->cursor;
    plsm_slice key = buf_slice(&c->key);
    uint64_t deleted = l->range_count ? deleted_at(l, key) : 0;
    if (c->kind == BATCH_DELETE || c->seq < deleted)
        return PLSM_OK;
    append_place place = append_place_of(s->segment->slot, c->offset, c->size, c->timed);
    if (!key_tree_builder_add(l->builder, key, place))
        return fail(PLSM_NO_MEMORY, "no memory for all keys of the store: %" PRIu64 " bytes were taken",
                    (uint64_t)atomic_load(&l->db->account.bytes));
    atomic_fetch_add_explicit(&s->segment->live, c->size, memory_order_relaxed);
    atomic_fetch_add_explicit(&l->db->live_bytes, c->size, memory_order_relaxed);
    return PLSM_OK;
}

static plsm_status merge_keys(struct loading *l)
{
    struct buf last = {0};
    plsm_status status = PLSM_OK;
    while (status == PLSM_OK && l->heap_count > 0) {
        struct source *s = l->heap[0];
        status = take_key(l, s);
        if (status == PLSM_OK && l->heap_count > 1) {
            last.size = 0;
            status = buf_append(&last, s->cursor.key.data, s->cursor.key.size);
        }
        bool shared = l->heap_count > 1;
        if (status == PLSM_OK)
            status = advance_top(l);
        while (status == PLSM_OK && shared && l->heap_count > 0 &&
               slice_equal(buf_slice(&l->heap[0]->cursor.key), buf_slice(&last)))
            status = advance_top(l);
    }
    buf_free(&last);
    return status;
}

static plsm_status start_sources(struct loading *l)
{
    struct append *db = l->db;
    l->sources = mem_zalloc((db->segment_count + 1) * sizeof *l->sources);
    l->heap = mem_alloc((db->segment_count + 1) * sizeof *l->heap);
    if (!l->sources || !l->heap)
        return fail(PLSM_NO_MEMORY, "no memory to open the store");
    for (size_t i = 0; i < db->segment_count; i++) {
        struct source *s = &l->sources[l->source_count++];
        s->segment = db->segments[i];
        s->rank = db->segments[i]->state != SEGMENT_TORN ? 0 : db->segments[i]->merged ? 2 : 1;
        s->cursor.hint = &l->hints[i];
        s->cursor.at = l->hints[i].points;
        plsm_status status = advance(s);
        if (status == PLSM_OK)
            l->heap[l->heap_count++] = s;
        else if (status != PLSM_NOT_FOUND)
            return status;
    }
    for (size_t i = l->heap_count / 2; i-- > 0;)
        sift_down(l, i);
    return PLSM_OK;
}

plsm_status append_load(struct append *db, struct hint *hints)
{
    struct loading l = {.db = db, .hints = hints};
    l.builder = key_tree_builder_create(db->tree);
    plsm_status status = l.builder ? PLSM_OK : fail(PLSM_NO_MEMORY, "no memory to open the store");
    if (status == PLSM_OK)
        status = gather_ranges(&l);
    if (status == PLSM_OK)
        status = start_sources(&l);
    if (status == PLSM_OK)
        status = merge_keys(&l);
    if (status == PLSM_OK && !key_tree_builder_finish(l.builder))
        status = fail(PLSM_NO_MEMORY, "no memory for all keys of the store");
    for (size_t i = 0; i < db->segment_count && status != PLSM_NO_MEMORY; i++)
        if (hint_whole(&hints[i]) != PLSM_OK) /* whatever was concluded */
            status = PLSM_IO;
    key_tree_builder_destroy(l.builder);
    for (size_t i = 0; i < l.source_count; i++)
        buf_free(&l.sources[i].cursor.key);
    mem_free(l.sources);
    mem_free(l.heap);
    mem_free(l.ranges);
    mem_free(l.open);
    return status;
}
