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
    if (m->heap_count > 1)
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
    move(m, cursor_next);
}

void merge_previous(struct merge *m)
{
    move(m, cursor_previous);
}
