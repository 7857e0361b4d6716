/* Where an edit's pieces go: taking an id, writing pieces under a generation of its own, copying to another id, and
 * cleaning up. The rules stand at the head of extents.c. */
#include "base/alloc.h"
#include "store/edit.h"

#include "base/banned.h"

/* Writes one piece, with the marker before the first one and whenever one lies lower than all before. */
static plsm_status staging_write(plsm *db, struct staging *staging, struct batch *batch, uint64_t index,
                                 plsm_slice bytes)
{
    bool mark = !staging->marked || index < staging->lowest;
    TRY(ranges_reserve(&staging->touched));
    TRY(ranges_reserve(&staging->written));
    TRY(ranges_reserve(&staging->replaced));
    batch_clear(batch);
    if (mark)
        TRY(extents_add_marker(batch, staging->id, staging->generation, index));
    TRY(extents_add_put(batch, staging->id, index, staging->generation, bytes));
    TRY(db->engine->write(db->tree, batch, NULL, NULL, PLSM_NONE));
    if (mark) {
        staging->marked = true;
        staging->lowest = index;
    }
    ranges_add(&staging->touched, index, index + 1);
    ranges_add(&staging->written, index, index + 1);
    ranges_add(&staging->replaced, index, index + 1);
    atomic_fetch_add_explicit(&db->counters.extents_written, 1, memory_order_relaxed);
    return PLSM_OK;
}

/* Gives an id back and deletes its extents when it was retired meanwhile. */
static void release(plsm *db, uint64_t id, bool tainted)
{
    struct reference retired;
    if (owners_release(&db->owners, id, tainted, &retired))
        extents_retire(db, &retired);
}

/* Deletes what was staged, gives the id back and zeroes the struct. What cannot be deleted now is found by its marker
 * at the next open; until then nobody gets the id. */
static void staging_drop(plsm *db, struct staging *staging)
{
    bool tainted = staging->marked && extents_abandon(db, staging->id, staging->generation, &staging->touched);
    if (staging->id)
        release(db, staging->id, tainted);
    ranges_free(&staging->touched);
    ranges_free(&staging->written);
    ranges_free(&staging->replaced);
    *staging = (struct staging){0};
}

/* A fresh id and generation. */
static plsm_status staging_create(plsm *db, struct staging *staging)
{
    bool taken = false;
    uint64_t id = 0;
    TRY(plsm_new_id(db, &id));
    TRY(owners_take(&db->owners, id, &taken));
    INVARIANT(taken);
    staging->id = id;
    return plsm_new_id(db, &staging->generation);
}

static void drop_snapshot(plsm_edit *edit)
{
    if (edit->snapshot)
        edit->db->engine->snapshot_destroy(edit->db->tree, edit->snapshot);
    edit->snapshot = NULL;
}

/* Tries to become the owner of the base's id, as long as it still is what was opened. */
static plsm_status take_base(plsm_edit *edit, bool *taken)
{
    plsm *db = edit->db;
    struct reference now = {0};
    TRY(owners_take(&db->owners, edit->base.id, taken));
    if (!*taken)
        return PLSM_OK;
    plsm_status status = extents_published(db, edit->base.id, &now);
    if (status == PLSM_OK && memcmp(&now, &edit->base, sizeof now) == 0) {
        edit->staging.id = edit->base.id;
        drop_snapshot(edit);
        return PLSM_OK;
    }
    release(db, edit->base.id, false);
    *taken = false;
    return status == PLSM_NOT_FOUND ? PLSM_OK : status;
}

plsm_status edit_begin(plsm_edit *edit)
{
    if (edit->staging.generation)
        return PLSM_OK;
    if (!edit->staging.id) {
        bool taken = false;
        if (!edit->base.id)
            return staging_create(edit->db, &edit->staging);
        TRY(take_base(edit, &taken));
        if (!taken)
            return edit_detach(edit);
    }
    TRY(plsm_new_id(edit->db, &edit->staging.generation));
    INVARIANT(edit->staging.generation > edit->base.generation);
    return PLSM_OK;
}

static bool has_dirty_slot(const plsm_edit *edit, uint64_t index)
{
    for (size_t i = 0; i < EDIT_SLOTS; i++)
        if (edit->slots[i].used && edit->slots[i].dirty && edit->slots[i].index == index)
            return true;
    return false;
}

plsm_status edit_load(plsm_edit *edit, uint64_t index, bool *found)
{
    *found = false;
    if (ranges_has(&edit->staging.written, index)) {
        *found = true;
        return extents_get(edit->db, edit->staging.id, index, edit->staging.generation, &edit->loaded);
    }
    if (!edit->base.id || index >= edit->base_limit || ranges_has(&edit->staging.replaced, index))
        return PLSM_OK;
    return extents_load(edit->db, edit->snapshot, &edit->base, index, &edit->loaded, found);
}

/* Copies the pieces of a run to another staging, but for those that a dirty buffer will be written over. */
static plsm_status copy_run(plsm_edit *edit, struct staging *fresh, uint64_t start, uint64_t end)
{
    for (uint64_t index = start; index < end; index++) {
        bool found = false;
        if (has_dirty_slot(edit, index))
            continue;
        TRY(edit_load(edit, index, &found));
        if (found)
            TRY(staging_write(edit->db, fresh, &edit->batch, index, edit->loaded.value));
    }
    return PLSM_OK;
}

plsm_status edit_detach(plsm_edit *edit)
{
    struct staging fresh = {0};
    plsm_status status = staging_create(edit->db, &fresh);
    uint64_t start = 0, end = 0;
    while (status == PLSM_OK && end != UINT64_MAX) {
        status = edit_next_run(edit, end, &start, &end);
        if (status == PLSM_OK && start != UINT64_MAX)
            status = copy_run(edit, &fresh, start, end);
    }
    if (status) {
        staging_drop(edit->db, &fresh);
        return status;
    }
    staging_drop(edit->db, &edit->staging);
    drop_snapshot(edit);
    edit->staging = fresh;
    edit->base = (struct reference){0};
    edit->base_limit = 0;
    atomic_fetch_add_explicit(&edit->db->counters.copies, 1, memory_order_relaxed);
    return PLSM_OK;
}

plsm_status edit_write_piece(plsm_edit *edit, uint64_t index, plsm_slice bytes)
{
    TRY(edit_begin(edit));
    return staging_write(edit->db, &edit->staging, &edit->batch, index, bytes);
}

void edit_reset(plsm_edit *edit)
{
    staging_drop(edit->db, &edit->staging);
    drop_snapshot(edit);
    edit->base = (struct reference){0};
    edit->base_limit = 0;
    patches_free(edit);
    for (size_t i = 0; i < EDIT_SLOTS; i++)
        mem_free(edit->slots[i].data);
    memset(edit->slots, 0, sizeof edit->slots);
    engine_value_free(&edit->loaded);
    batch_free(&edit->batch);
    batch_clear(&edit->batch);
    buf_free(&edit->small);
    edit->large = false;
    edit->size = 0;
}
