/* Holes of an edit: making them, finding them, and what space the rest takes.
 *
 * A hole is a piece that is not there. What is there comes from four places: dirty buffers, patches, pieces staged
 * here, and pieces of the base that were neither replaced here nor lie behind base_limit. */
#include "store/edit.h"

#include "base/banned.h"

/* --- finding ---------------------------------------------------------------------------------------------------- */

struct run {
    uint64_t start, end; /* of pieces; start UINT64_MAX: none */
};

static void earlier(struct run *best, uint64_t start, uint64_t end)
{
    if (start < best->start)
        *best = (struct run){start, end};
}

/* The first range of a set that ends behind `from`. */
static const struct range *range_behind(const struct ranges *set, uint64_t from)
{
    size_t low = 0, high = set->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (set->items[middle].end <= from)
            low = middle + 1;
        else
            high = middle;
    }
    return low < set->count ? &set->items[low] : NULL;
}

/* The first run of the base's pieces that still count, from `from` on. */
static plsm_status base_run(plsm_edit *edit, uint64_t from, struct run *run)
{
    *run = (struct run){UINT64_MAX, UINT64_MAX};
    while (edit->base.id && from < edit->base_limit) {
        const struct range *replaced = range_behind(&edit->staging.replaced, from);
        if (replaced && replaced->start <= from) {
            from = replaced->end;
            continue;
        }
        uint64_t limit = replaced && replaced->start < edit->base_limit ? replaced->start : edit->base_limit;
        TRY(extents_next_run(edit->db, edit->snapshot, &edit->base, from, limit, &run->start, &run->end));
        if (run->start != UINT64_MAX)
            break;
        from = limit;
    }
    return PLSM_OK;
}

plsm_status edit_next_run(plsm_edit *edit, uint64_t from, uint64_t *start, uint64_t *end)
{
    struct run best;
    TRY(base_run(edit, from, &best));
    const struct range *written = range_behind(&edit->staging.written, from);
    if (written)
        earlier(&best, written->start > from ? written->start : from, written->end);
    for (size_t i = 0; i < EDIT_SLOTS; i++) {
        const struct edit_slot *slot = &edit->slots[i];
        if (slot->used && slot->dirty && slot->index >= from)
            earlier(&best, slot->index, slot->index + 1);
    }
    uint64_t patched = patch_next(edit, from);
    if (patched != UINT64_MAX)
        earlier(&best, patched, patched + 1);
    *start = best.start;
    *end = best.end;
    return PLSM_OK;
}

/* The first piece from `from` on that is a hole. */
static plsm_status next_hole(plsm_edit *edit, uint64_t from, uint64_t *hole)
{
    uint64_t start = 0, end = from;
    do {
        *hole = end;
        TRY(edit_next_run(edit, *hole, &start, &end));
    } while (start == *hole);
    return PLSM_OK;
}

plsm_status plsm_edit_seek(plsm_edit *edit, uint64_t offset, bool hole, uint64_t *out)
{
    INVARIANT(edit->magic == EDIT_MAGIC);
    uint64_t index = offset / EXTENT_SIZE, found = index, end = 0;
    *out = offset;
    if (offset >= edit->size)
        return fail(PLSM_NOT_FOUND, "offset %llu is behind the end", (unsigned long long)offset);
    if (!edit->large) {
        *out = hole ? edit->size : offset;
        return PLSM_OK;
    }
    if (hole)
        TRY(next_hole(edit, index, &found));
    else
        TRY(edit_next_run(edit, index, &found, &end));
    if (found == UINT64_MAX)
        return fail(PLSM_NOT_FOUND, "no data follows offset %llu", (unsigned long long)offset);
    if (found > index)
        *out = found < extents_of(edit->size) ? found * EXTENT_SIZE : edit->size;
    return PLSM_OK;
}

plsm_status plsm_edit_stored(plsm_edit *edit, uint64_t *out)
{
    INVARIANT(edit->magic == EDIT_MAGIC);
    uint64_t pieces = 0, start = 0, end = 0;
    *out = edit->size;
    while (edit->large && end != UINT64_MAX) {
        TRY(edit_next_run(edit, end, &start, &end));
        pieces += end - start;
        *out = stored_of(pieces, edit->size);
    }
    return PLSM_OK;
}

/* --- making ----------------------------------------------------------------------------------------------------- */

plsm_status edit_zero(plsm_edit *edit, uint64_t index, size_t from, size_t to)
{
    uint64_t start = 0, end = 0;
    struct edit_slot *slot = NULL;
    TRY(edit_next_run(edit, index, &start, &end));
    if (start != index)
        return PLSM_OK;
    TRY(edit_slot(edit, index, &slot));
    memset(slot->data + from, 0, to - from);
    slot->dirty = true;
    return PLSM_OK;
}

static plsm_status punch_pieces(plsm_edit *edit, uint64_t from, uint64_t to)
{
    struct staging *staging = &edit->staging;
    TRY(ranges_reserve(&staging->written));
    TRY(ranges_reserve(&staging->replaced));
    edit_drop_slots(edit, from, to);
    ranges_remove(&staging->written, from, to);
    ranges_add(&staging->replaced, from, to);
    return PLSM_OK;
}

static plsm_status punch_large(plsm_edit *edit, uint64_t offset, uint64_t end)
{
    uint64_t first = offset / EXTENT_SIZE, last = end / EXTENT_SIZE;
    size_t from = (size_t)(offset % EXTENT_SIZE), to = (size_t)(end % EXTENT_SIZE);
    if (first == last && from > 0)
        return edit_zero(edit, first, from, to);
    if (from > 0)
        TRY(edit_zero(edit, first++, from, EXTENT_SIZE));
    if (end == edit->size && to > 0) { /* nothing is behind the end: the last piece can go as a whole */
        last++;
        to = 0;
    }
    if (first < last)
        TRY(punch_pieces(edit, first, last));
    return to > 0 ? edit_zero(edit, last, 0, to) : PLSM_OK;
}

plsm_status plsm_edit_punch(plsm_edit *edit, uint64_t offset, uint64_t size)
{
    INVARIANT(edit->magic == EDIT_MAGIC);
    TRY(refuse_writes(edit->db));
    if (size == 0 || offset >= edit->size)
        return PLSM_OK;
    uint64_t end = size < edit->size - offset ? offset + size : edit->size;
    edit->dirty = true; /* also when a part fails */
    if (edit->large)
        return punch_large(edit, offset, end);
    memset(edit->small.data + offset, 0, (size_t)(end - offset));
    return PLSM_OK;
}
