/* Merging cursors. See merge.h. */
#include "lsm/merge.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/banned.h"

plsm_status merge_init(struct merge *m, struct cursor *cursors, unsigned count, bool all_versions)
{
    *m = (struct merge){.cursors = cursors, .count = count, .all_versions = all_versions};
    m->heap = mem_alloc((count + 1) * sizeof *m->heap);
    return m->heap ? PLSM_OK : fail(PLSM_NO_MEMORY, "no memory for an iterator");
}

void merge_destroy(struct merge *m)
{
    mem_free(m->heap);
    *m = (struct merge){0};
}

/* Whether cursor `a` comes before cursor `b` in the direction of travel; equal keys: the newer source. */
static bool before(const struct merge *m, unsigned a, unsigned b)
{
    int order = cursor_compare(&m->cursors[a], &m->cursors[b]);
    if (order == 0)
        return a < b;
    return m->backward ? order > 0 : order < 0;
}

static void sift_down(struct merge *m, unsigned at)
{
    unsigned moving = m->heap[at];
    for (;;) {
        unsigned child = 2 * at + 1;
        if (child >= m->heap_count)
            break;
        if (child + 1 < m->heap_count && before(m, m->heap[child + 1], m->heap[child]))
            child++;
        if (!before(m, m->heap[child], moving))
            break;
        m->heap[at] = m->heap[child];
        at = child;
    }
    m->heap[at] = moving;
}

/* Builds the heap over the cursors as they stand. An error of any ends the stream: its keys would be missing. */
static void build(struct merge *m, bool backward)
{
    m->backward = backward;
    m->heap_count = 0;
    m->status = PLSM_OK;
    for (unsigned i = 0; i < m->count; i++) {
        if (m->cursors[i].status != PLSM_OK) {
            m->status = m->cursors[i].status;
            m->heap_count = 0;
            return;
        }
        if (m->cursors[i].valid)
            m->heap[m->heap_count++] = i;
    }
    for (unsigned at = m->heap_count / 2; at-- > 0;)
        sift_down(m, at);
}

/* sift_down of the top for two or three cursors going forward, without branches on keys: which of a few young runs
 * comes next is a coin toss, and a mispredicted branch costs more than all of this. False when heads are equal: then
 * whole keys have to be compared. */
static inline bool sift_few(struct merge *m)
{
    const struct cursor *cursors = m->cursors;
    unsigned *heap = m->heap, top = heap[0], left = heap[1], right = heap[m->heap_count - 1];
    uint64_t top_head = cursors[top].head, left_head = cursors[left].head, right_head = cursors[right].head;
    bool three = m->heap_count == 3;
    if (__builtin_expect(top_head == left_head || top_head == right_head || (three && left_head == right_head), 0))
        return false;
    unsigned child = 1 + (three & (right_head < left_head));
    uint64_t child_head = right_head < left_head ? right_head : left_head;
    unsigned child_cursor = heap[child];
    bool swap = child_head < top_head;
    heap[0] = swap ? child_cursor : top;
    heap[child] = swap ? top : child_cursor;
    return true;
}

/* Restores the heap after the cursor at its top has moved. */
static void top_moved(struct merge *m)
{
    struct cursor *top = &m->cursors[m->heap[0]];
    if (__builtin_expect(!top->valid, 0)) {
        if (top->status != PLSM_OK) {
            m->status = top->status;
            m->heap_count = 0;
            return;
        }
        m->heap[0] = m->heap[--m->heap_count];
    }
    if (m->heap_count > 1 && (m->heap_count > 3 || m->backward || !sift_few(m)))
        sift_down(m, 0);
}

void merge_first(struct merge *m)
{
    for (unsigned i = 0; i < m->count; i++)
        cursor_first(&m->cursors[i]);
    build(m, false);
}

void merge_last(struct merge *m)
{
    for (unsigned i = 0; i < m->count; i++)
        cursor_last(&m->cursors[i]);
    build(m, true);
}

void merge_seek(struct merge *m, plsm_slice key)
{
    for (unsigned i = 0; i < m->count; i++)
        cursor_seek(&m->cursors[i], key);
    build(m, false);
}

void merge_seek_before(struct merge *m, plsm_slice key)
{
    for (unsigned i = 0; i < m->count; i++)
        cursor_seek_before(&m->cursors[i], key);
    build(m, true);
}

void merge_skip(struct merge *m, unsigned source, plsm_slice key)
{
    if (m->status != PLSM_OK)
        return;
    for (unsigned i = source + 1; i < m->count; i++)
        if (m->cursors[i].valid && slice_compare(m->cursors[i].entry.key, key) < 0)
            cursor_seek(&m->cursors[i], key);
    build(m, false);
}

void merge_skip_before(struct merge *m, unsigned source, plsm_slice key)
{
    if (m->status != PLSM_OK)
        return;
    for (unsigned i = source + 1; i < m->count; i++)
        if (m->cursors[i].valid && slice_compare(m->cursors[i].entry.key, key) >= 0)
            cursor_seek_before(&m->cursors[i], key);
    build(m, true);
}

static void move(struct merge *m, void (*step)(struct cursor *))
{
    struct cursor *shown = &m->cursors[m->heap[0]];
    plsm_slice key = shown->entry.key; /* stays valid while `shown` moves once */
    uint64_t head = shown->head;
    step(shown);
    top_moved(m);
    if (m->all_versions)
        return;
    while (m->heap_count) { /* older versions of the key in other sources */
        struct cursor *top = &m->cursors[m->heap[0]];
        if (top->head != head || !slice_equal(top->entry.key, key))
            return;
        step(top);
        top_moved(m);
    }
}

void merge_next(struct merge *m)
{
    if (m->heap_count == 1) { /* nobody else can have a version of the key */
        cursor_next(&m->cursors[m->heap[0]]);
        if (!m->cursors[m->heap[0]].valid)
            top_moved(m);
        return;
    }
    move(m, cursor_next);
}

void merge_previous(struct merge *m)
{
    move(m, cursor_previous);
}
