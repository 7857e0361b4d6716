/* Publishing an edit: one atomic batch. What it holds and why that is enough stands at the head of extents.c. */
#include "base/alloc.h"
#include "store/edit.h"

#include "base/banned.h"

struct publication {
    plsm_edit *edit;
    struct store_key key;
    struct reference reference;
    struct batch batch;
    struct retired retired;
    struct engine_value value;
    bool moved; /* refused: the key does not refer to the edit's id */
};

/* Under the write serialisation: the key still refers to what is edited in place, or what it refers to is retired. */
static plsm_status prepare(void *arg, const struct batch **batch)
{
    struct publication *p = arg;
    plsm *db = p->edit->db;
    const struct reference *base = &p->edit->base;
    struct reference now = {0};
    p->moved = false;
    p->retired.count = 0;
    plsm_status status = db->engine->get(db->tree, NULL, key_slice(&p->key), true, &p->value);
    if (status && status != PLSM_NOT_FOUND)
        return status;
    if (status == PLSM_OK && p->value.kind == BATCH_REFERENCE)
        TRY(reference_decode(p->value.value, &now));
    if (base->id && (now.id != base->id || now.generation != base->generation)) {
        p->moved = true;
        return fail(PLSM_CONFLICT, "the key does not refer to the edited value any more");
    }
    if (!base->id && now.id)
        TRY(retire_in_batch(&now, &p->batch, &p->retired));
    *batch = &p->batch;
    return PLSM_OK;
}

/* Pieces of this generation that were cut off or punched again. */
static plsm_status add_cut_off(const struct staging *staging, struct batch *batch)
{
    for (size_t i = 0; i < staging->touched.count; i++)
        for (uint64_t at = staging->touched.items[i].start; at < staging->touched.items[i].end; at++)
            if (!ranges_has(&staging->written, at))
                TRY(extents_add_delete(batch, staging->id, at, staging->generation));
    return PLSM_OK;
}

/* The reference that staged pieces and the rest of the base make, and the deletions of what is superseded. */
static plsm_status add_staged(struct publication *p)
{
    plsm_edit *edit = p->edit;
    const struct staging *staging = &edit->staging;
    uint64_t deleted = 0, written = ranges_total(&staging->written);
    if (edit->base.id)
        TRY(extents_add_superseded(edit->db, &edit->base, edit->base_limit, &staging->replaced, &p->batch, &deleted));
    if (deleted > edit->base.extents)
        return fail(PLSM_CORRUPT, "id %llu has more extents than the %llu it should have; run plsm check",
                    (unsigned long long)edit->base.id, (unsigned long long)edit->base.extents);
    atomic_fetch_add_explicit(&edit->db->reclaimable, deleted * EXTENT_SIZE, memory_order_relaxed);
    uint64_t kept = edit->base.extents - deleted;
    p->reference = (struct reference){
        .id = staging->id,
        .size = edit->size,
        .generation = staging->generation,
        .extents = kept + written,
        .uniform = written == 0 ? (kept ? edit->base.uniform : 0) : (kept ? 0 : staging->generation),
    };
    TRY(add_cut_off(staging, &p->batch));
    TRY(extents_add_record(&p->batch, &p->reference));
    return staging->marked ? extents_delete_marker(&p->batch, staging->id, staging->generation) : PLSM_OK;
}

/* The edit now stands on what it has published. */
static void rebase(plsm_edit *edit, const struct reference *reference)
{
    if (!edit->staging.generation)
        return;
    edit->base = *reference;
    edit->base_limit = extents_of(reference->size);
    edit->staging.generation = 0;
    edit->staging.marked = false;
    edit->staging.touched.count = edit->staging.written.count = edit->staging.replaced.count = 0;
}

static plsm_status try_publish(struct publication *p, plsm_slice meta)
{
    plsm_edit *edit = p->edit;
    uint8_t bytes[REFERENCE_SIZE];
    if (edit->dirty) {
        TRY(edit_begin(edit));
        TRY(edit_flush_slots(edit));
    }
    batch_clear(&p->batch);
    p->reference = edit->base;
    if (edit->staging.generation)
        TRY(add_staged(p));
    reference_encode(&p->reference, bytes);
    TRY(batch_add(&p->batch, BATCH_REFERENCE, PLSM_NAMES, buf_slice(&edit->key), meta, slice(bytes, sizeof bytes)));
    return edit->db->engine->write(edit->db->tree, &p->batch, prepare, p, false);
}

static plsm_status commit_large(plsm_edit *edit, plsm_slice meta, plsm_durability durability)
{
    plsm *db = edit->db;
    struct publication *p = mem_zalloc(sizeof *p);
    if (!p)
        return fail(PLSM_NO_MEMORY, "no memory to commit a large value");
    p->edit = edit;
    key_join(&p->key, PLSM_NAMES, buf_slice(&edit->key));
    store_expect_references(db);
    plsm_status status = try_publish(p, meta);
    if (status == PLSM_CONFLICT && p->moved) {
        status = edit_detach(edit);
        if (status == PLSM_OK)
            status = try_publish(p, meta); /* on an id that no key refers to: cannot be refused again */
    }
    if (status == PLSM_OK) {
        rebase(edit, &p->reference);
        edit->dirty = false;
        if (durability == PLSM_SYNC) /* apart from the write: see write.c */
            status = db->engine->sync(db->tree);
        retire_finish(db, &p->retired);
        atomic_fetch_add_explicit(&db->counters.large_commits, 1, memory_order_relaxed);
    }
    batch_free(&p->batch);
    mem_free(p->retired.items);
    engine_value_free(&p->value);
    mem_free(p);
    return status;
}

/* Content that fits goes into the tree as one entry, also when it was larger before. */
static plsm_status commit_small(plsm_edit *edit, plsm_slice meta, plsm_durability durability)
{
    if (!edit->large)
        return store_put(edit->db, buf_slice(&edit->key), meta, buf_slice(&edit->small), durability);
    struct buf content = {0};
    size_t got = 0;
    plsm_status status = buf_reserve(&content, (size_t)edit->size);
    if (status == PLSM_OK)
        status = plsm_edit_read(edit, 0, content.data, (size_t)edit->size, &got);
    content.size = got;
    if (status == PLSM_OK)
        status = store_put(edit->db, buf_slice(&edit->key), meta, buf_slice(&content), durability);
    if (status == PLSM_OK) {
        edit_reset(edit);
        edit->small = content;
        edit->size = content.size;
    } else {
        buf_free(&content);
    }
    return status;
}

plsm_status plsm_edit_commit(plsm_edit *edit, plsm_slice meta, plsm_durability durability)
{
    INVARIANT(edit->magic == EDIT_MAGIC);
    TRY(refuse_writes(edit->db));
    if (meta.size > PLSM_META_MAX)
        return fail(PLSM_TOO_LARGE, "meta of %zu bytes: the limit is %u", meta.size, PLSM_META_MAX);
    if (edit->size > PLSM_INLINE_MAX)
        TRY(commit_large(edit, meta, durability));
    else
        TRY(commit_small(edit, meta, durability));
    edit->dirty = false;
    atomic_fetch_add_explicit(&edit->db->counters.commits, 1, memory_order_relaxed);
    return PLSM_OK;
}
