/* Iterators for users: a merge over all sources of one view, without deletions and what has expired, inside bounds,
 * both ways.
 *
 * A version under a range tombstone of its own source or a newer one is left out. After some in a row all older sources
 * seek over the fragment, so a million keys that were deleted together cost as much as a few. */
#include "lsm/db.h"

#include "base/alloc.h"
#include "base/error.h"
#include "lsm/merge.h"
#include "lsm/separated.h"
#include "base/banned.h"

enum direction { NOWHERE, FORWARD, BACKWARD };

enum { COVERED_STEPS = 4 }; /* covered keys in a row that cost less than to seek over them */

/* A source with range tombstones: a memtable, or runs that do not overlap (they have been opened). */
struct ranged_source {
    unsigned number;                /* of its cursor */
    const struct tombstones *table; /* NULL: runs */
    struct run *const *runs;
    size_t count;
};

struct lsm_iterator {
    struct lsm *db;
    struct view *view;
    struct cursor *cursors;
    unsigned count;
    struct merge merge;
    uint64_t seq, now_s; /* of its creation, since 1970: entries whose time had come are not shown; 0: they are */
    struct ranged_source *ranged; /* newest first; NULL: no source has range tombstones */
    unsigned ranged_count;
    enum direction direction; /* NOWHERE: not valid */
    plsm_status status;
    plsm_slice from, to; /* into `bounds`; empty: open */
    uint64_t to_head;
    struct buf place;         /* the current key, when the direction changes */
    uint64_t scans, steps;    /* to be counted */
    bool no_value, separated; /* separated: `shown` is the current entry, its value read from a value log */
    struct entry shown;
    struct buf record; /* its value */
    bool moved;        /* the merge has left `last`, the key that this stands on (merge_ahead) */
    plsm_slice last;
    uint8_t (*keys)[CURSOR_KEY_ROOM]; /* behind the bounds: those that were given ahead */
    uint8_t bounds[];
};

/* Notes that the source whose cursor is opened next has range tombstones. */
static plsm_status add_ranged(struct lsm_iterator *it, const struct ranged_source *source)
{
    struct mem_account *before = budget_enter(&it->db->budget, BUDGET_ITERATORS);
    struct ranged_source *grown = mem_realloc(it->ranged, (it->ranged_count + 1) * sizeof *grown);
    budget_leave(before);
    if (!grown)
        return fail(PLSM_NO_MEMORY, "no memory for an iterator");
    it->ranged = grown;
    it->ranged[it->ranged_count] = *source;
    it->ranged[it->ranged_count++].number = it->count;
    return PLSM_OK;
}

static plsm_status open_table(struct lsm_iterator *it, const struct memtable *table,
                              const struct cursor_options *options)
{
    const struct tombstones *ranges = memtable_ranges(table); /* it->seq was read before: all that it sees are there */
    if (memtable_count(table) == 0)
        return PLSM_OK;
    if (ranges)
        TRY(add_ranged(it, &(struct ranged_source){.table = ranges}));
    return cursor_open_memtable(&it->cursors[it->count++], table, options);
}

static plsm_status open_runs(struct lsm_iterator *it, struct run *const *runs, size_t count,
                             const struct cursor_options *options)
{
    struct run_body *body = NULL;
    bool ranged = false;
    for (size_t i = 0; i < count && it->view->version->ranged > 0; i++)
        if (runs[i]->facts.ranges > 0) {
            TRY(run_open(runs[i], &body));
            ranged = true;
        }
    if (ranged)
        TRY(add_ranged(it, &(struct ranged_source){.runs = runs, .count = count}));
    return cursor_open_runs(&it->cursors[it->count++], runs, count, options);
}

/* Opens a cursor for every source that can hold something inside the bounds, newest first. */
static plsm_status open_sources(struct lsm_iterator *it, const struct cursor_options *options)
{
    const struct view *view = it->view;
    unsigned most = view->table_count + LSM_LEVELS + (unsigned)view->version->levels[0].count;
    struct mem_account *before = budget_enter(&it->db->budget, BUDGET_ITERATORS);
    it->cursors = mem_alloc(most * sizeof *it->cursors);
    budget_leave(before);
    if (!it->cursors)
        return fail(PLSM_NO_MEMORY, "no memory for an iterator");
    for (unsigned i = 0; i < view->table_count; i++)
        TRY(open_table(it, view->tables[i], options));
    for (unsigned l = 0; l < LSM_LEVELS; l++) {
        const struct level *level = &view->version->levels[l];
        size_t first = 0, behind = level->count;
        if (l == 0) {
            for (size_t i = 0; i < level->count; i++) {
                const struct run_facts *facts = &level->runs[i]->facts;
                if ((!it->from.size || slice_compare(facts->largest, it->from) >= 0) &&
                    (!it->to.size || slice_compare(facts->smallest, it->to) < 0))
                    TRY(open_runs(it, &level->runs[i], 1, options));
            }
            continue;
        }
        if (it->from.size)
            first = runs_reaching(level->runs, level->count, it->from, key_head(it->from));
        while (behind > first && it->to.size && slice_compare(level->runs[behind - 1]->facts.smallest, it->to) >= 0)
            behind--;
        if (first < behind)
            TRY(open_runs(it, level->runs + first, behind - first, options));
    }
    return PLSM_OK;
}

static plsm_status create(struct lsm *db, const struct lsm_snapshot *snapshot, plsm_slice from, plsm_slice to,
                          bool no_value, struct lsm_iterator **out)
{
    struct mem_account *before = budget_enter(&db->budget, BUDGET_ITERATORS);
    struct lsm_iterator *it = mem_alloc(sizeof *it + LSM_AHEAD_MAX * sizeof *it->keys + from.size + to.size);
    budget_leave(before);
    *out = NULL;
    if (!it)
        return fail(PLSM_NO_MEMORY, "no memory for an iterator");
    *it = (struct lsm_iterator){.db = db, .no_value = no_value};
    it->from = slice(it->bounds, from.size);
    it->to = slice(it->bounds + from.size, to.size);
    it->keys = (void *)(it->bounds + from.size + to.size);
    if (from.size)
        memcpy(it->bounds, from.data, from.size);
    if (to.size)
        memcpy(it->bounds + from.size, to.data, to.size);
    it->view = view_acquire_at(db, snapshot, &it->seq);
    it->now_s = db_now_s(db); /* after the view: what this one has lost had expired by then */
    struct cursor_options options = {.seq = it->seq, .no_value = no_value};
    plsm_status status = open_sources(it, &options);
    if (status == PLSM_OK)
        status = merge_init(&it->merge, it->cursors, it->count, false);
    it->to_head = to.size ? merge_head_end(&it->merge, it->to) : UINT64_MAX;
    if (status != PLSM_OK) {
        lsm_iterator_destroy(it);
        return status;
    }
    *out = it;
    return PLSM_OK;
}

plsm_status lsm_iterator_create(struct lsm *db, const struct lsm_snapshot *snapshot, plsm_slice from, plsm_slice to,
                                struct lsm_iterator **out)
{
    return create(db, snapshot, from, to, false, out);
}

plsm_status lsm_iterator_create_no_value(struct lsm *db, const struct lsm_snapshot *snapshot, plsm_slice from,
                                         plsm_slice to, struct lsm_iterator **out)
{
    return create(db, snapshot, from, to, true, out);
}

void lsm_iterator_show_expired(struct lsm_iterator *it)
{
    it->now_s = 0;
}

void lsm_iterator_destroy(struct lsm_iterator *it)
{
    if (!it)
        return;
    counter_add(&it->db->counters, COUNT_SCANS, it->scans);
    counter_add(&it->db->counters, COUNT_SCAN_ENTRIES, it->steps);
    merge_destroy(&it->merge);
    for (unsigned i = 0; i < it->count; i++)
        cursor_close(&it->cursors[i]);
    view_release(it->view);
    buf_free(&it->record); /* values on their way to the caller are not charged */
    struct mem_account *before = budget_enter(&it->db->budget, BUDGET_ITERATORS);
    mem_free(it->cursors);
    mem_free(it->ranged);
    buf_free(&it->place);
    mem_free(it);
    budget_leave(before);
}

static const struct tombstone *find_range(const struct ranged_source *source, plsm_slice key)
{
    if (source->table)
        return tombstones_find(source->table, key);
    size_t at = runs_reaching(source->runs, source->count, key, key_head(key));
    if (at == source->count || source->runs[at]->facts.ranges == 0)
        return NULL;
    return tombstones_find(atomic_load_explicit(&source->runs[at]->body, memory_order_acquire)->ranges, key);
}

/* The fragment that hides what the merge shows, and the number of its source; NULL: nothing does. */
static const struct tombstone *covering(const struct lsm_iterator *it, unsigned *number)
{
    const struct entry *entry = merge_entry(&it->merge);
    unsigned source = merge_source(&it->merge);
    for (unsigned i = 0; i < it->ranged_count && it->ranged[i].number <= source; i++) {
        const struct tombstone *t = find_range(&it->ranged[i], entry->key);
        uint64_t seq = t ? tombstone_visible(t, it->seq) : 0;
        *number = it->ranged[i].number;
        if (seq > 0 && (*number < source || seq > entry->seq))
            return t;
    }
    return NULL;
}

static void step(struct lsm_iterator *it, enum direction direction)
{
    if (direction == FORWARD)
        merge_next(&it->merge);
    else
        merge_previous(&it->merge);
}

/* Shows the entry that the merge stands on; its value, when it is in a value log, is read now: later nobody could be
 * told that it cannot be. */
static void show(struct lsm_iterator *it, enum direction direction)
{
    const struct entry *entry = merge_entry(&it->merge);
    it->direction = direction;
    it->separated = entry->separated;
    if (__builtin_expect(!entry->separated, 1))
        return;
    it->shown = *entry;
    it->record.size = 0;
    it->status = separated_resolve(it->view, &it->shown, it->no_value, SIM_POINT, &it->record);
    if (it->status != PLSM_OK)
        it->direction = NOWHERE;
}

/* After the merge moved: skips deletions and what has expired, and stops at the bound. */
static void settle(struct lsm_iterator *it, enum direction direction)
{
    unsigned covered = 0; /* keys in a row */
    it->direction = NOWHERE;
    while (merge_valid(&it->merge)) {
        const struct cursor *top = merge_cursor(&it->merge);
        const struct tombstone *range = NULL;
        unsigned number = 0;
        if (direction == FORWARD && it->to.size && top->head >= it->to_head &&
            slice_compare(top->entry.key, it->to) >= 0)
            return;
        if (direction == BACKWARD && it->from.size && slice_compare(top->entry.key, it->from) < 0)
            return;
        if (__builtin_expect(it->ranged != NULL, 0))
            range = covering(it, &number);
        if (top->entry.kind != BATCH_DELETE && !range && !entry_expired(&top->entry, it->now_s)) {
            show(it, direction);
            return;
        }
        step(it, direction);
        covered = range ? covered + 1 : 0;
        if (covered < COVERED_STEPS)
            continue;
        if (direction == FORWARD)
            merge_skip(&it->merge, number, range->to);
        else
            merge_skip_before(&it->merge, number, range->from);
        covered = 0;
    }
    it->status = it->merge.status;
}

/* Every way of moving but by steps. */
static void start_over(struct lsm_iterator *it)
{
    it->scans++;
    it->status = PLSM_OK;
    it->moved = false;
}

void lsm_iterator_first(struct lsm_iterator *it)
{
    start_over(it);
    if (it->from.size)
        merge_seek(&it->merge, it->from);
    else
        merge_first(&it->merge);
    settle(it, FORWARD);
}

void lsm_iterator_last(struct lsm_iterator *it)
{
    start_over(it);
    if (it->to.size)
        merge_seek_before(&it->merge, it->to);
    else
        merge_last(&it->merge);
    settle(it, BACKWARD);
}

void lsm_iterator_seek(struct lsm_iterator *it, plsm_slice key)
{
    start_over(it);
    merge_seek(&it->merge, it->from.size && slice_compare(key, it->from) < 0 ? it->from : key);
    settle(it, FORWARD);
}

void lsm_iterator_seek_before(struct lsm_iterator *it, plsm_slice key)
{
    start_over(it);
    merge_seek_before(&it->merge, it->to.size && slice_compare(key, it->to) > 0 ? it->to : key);
    settle(it, BACKWARD);
}

/* Copies the current key: the merge turns round by seeking. */
static bool remember_place(struct lsm_iterator *it)
{
    plsm_slice key = it->moved ? it->last : merge_entry(&it->merge)->key;
    it->place.size = 0;
    struct mem_account *before = budget_enter(&it->db->budget, BUDGET_ITERATORS);
    it->status = buf_append(&it->place, key.data, key.size);
    budget_leave(before);
    if (it->status != PLSM_OK)
        it->direction = NOWHERE;
    return it->status == PLSM_OK;
}

static void step_forward(struct lsm_iterator *it)
{
    if (it->direction == BACKWARD) {
        if (!remember_place(it))
            return;
        merge_seek(&it->merge, buf_slice(&it->place)); /* stands on the same key again */
        if (!merge_valid(&it->merge)) {
            settle(it, FORWARD);
            return;
        }
    }
    merge_next(&it->merge);
    settle(it, FORWARD);
}

const struct entry *lsm_iterator_next(struct lsm_iterator *it)
{
    if (it->direction == NOWHERE)
        return NULL;
    it->steps++;
    if (it->moved) {
        it->moved = false;
        merge_leave(&it->merge, it->last);
        settle(it, FORWARD);
    } else {
        step_forward(it);
    }
    return it->direction == NOWHERE ? NULL : lsm_iterator_entry(it);
}

size_t lsm_iterator_ahead(struct lsm_iterator *it, struct key_value *out, size_t most)
{
    /* What simulated I/O is charged for must not depend on how far somebody looks ahead. */
    if (it->direction != FORWARD || it->moved || it->ranged || it->db->context.simulated)
        return 0;
    struct merge_ahead ahead = {.keys = it->keys,
                                .out = out,
                                .most = most < LSM_AHEAD_MAX ? (unsigned)most : LSM_AHEAD_MAX,
                                .head_end = it->to_head};
    plsm_slice shown = merge_entry(&it->merge)->key;
    unsigned count = merge_ahead(&it->merge, &ahead);
    it->steps += count;
    it->moved = ahead.moved;
    it->last = count > 0 ? out[count - 1].key : shown;
    it->separated = it->separated && count == 0;
    return count;
}

void lsm_iterator_unused(struct lsm_iterator *it, size_t count)
{
    it->steps -= count;
}

void lsm_iterator_previous(struct lsm_iterator *it)
{
    if (it->direction == NOWHERE)
        return;
    it->steps++;
    if (it->direction == FORWARD) {
        if (!remember_place(it))
            return;
        it->moved = false;
        merge_seek_before(&it->merge, buf_slice(&it->place));
    } else {
        merge_previous(&it->merge);
    }
    settle(it, BACKWARD);
}

bool lsm_iterator_valid(const struct lsm_iterator *it)
{
    return it->direction != NOWHERE;
}

plsm_status lsm_iterator_status(const struct lsm_iterator *it)
{
    return it->status;
}

const struct entry *lsm_iterator_entry(const struct lsm_iterator *it)
{
    return __builtin_expect(it->separated, 0) ? &it->shown : merge_entry(&it->merge);
}
