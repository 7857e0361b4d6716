/* Publishing an edit: one atomic batch. What it holds and why that is enough stands at the head of extents.c. */
#include "base/alloc.h"
#include "store/edit.h"
#include "store/expiry.h"
#include "store/resolve.h"
#include "store/shared.h"

#include "base/banned.h"

struct publication {
    plsm_edit *edit;
    struct store_key key;  /* of the name, or of the shared value */
    plsm_slice meta;       /* the callers' */
    const struct buf *all; /* the content, when it goes into the tree as one entry; else NULL */
    struct reference reference;
    struct lifetime lifetime;
    struct resolve resolve; /* its `out` is the batch */
    struct engine_value value;
    bool moved; /* refused: the key does not refer to the edit's id */
};

static void clear(struct publication *p)
{
    batch_clear(&p->resolve.out);
    overlay_clear(&p->resolve.overlay);
    p->resolve.retired.count = 0;
    p->moved = false;
}

/* Adds the entry itself. A shared value keeps the names that it has now, and does not expire. */
static plsm_status add_entry(struct publication *p)
{
    uint8_t bytes[REFERENCE_SIZE], head[PLSM_META_MAX];
    plsm_slice meta = p->meta, value = p->all ? buf_slice(p->all) : slice(bytes, sizeof bytes), old = {NULL, 0};
    uint32_t names = 0;
    if (!p->all)
        reference_encode(&p->reference, bytes);
    if (p->edit->shared) {
        TRY(shared_meta_decode(p->edit->shared, p->value.meta, &names, &old));
        TRY(shared_meta(head, names, p->meta, &meta));
    }
    if (p->lifetime.expires_s && !p->edit->shared) {
        TRY(expiry_add_note(&p->resolve.out, p->lifetime.expires_s, p->reference.id, buf_slice(&p->edit->key)));
        return batch_add_timed(&p->resolve.out, BATCH_REFERENCE, PLSM_NAMES, buf_slice(&p->edit->key), meta, value,
                               p->lifetime.expires_s);
    }
    return batch_add(&p->resolve.out, p->all ? BATCH_PUT : BATCH_REFERENCE, p->key.bytes[0],
                     slice(p->key.bytes + 1, p->key.size - 1), meta, value);
}

/* Under the write serialisation: the key still refers to what is edited in place, or it lets go of what it holds. */
static plsm_status prepare(void *arg, const struct batch **batch)
{
    struct publication *p = arg;
    plsm *db = p->edit->db;
    const struct reference *base = &p->edit->base;
    struct reference now = {0};
    bool in_place = !p->all && base->id;
    plsm_status status = db->engine->get_any(db->tree, NULL, key_slice(&p->key), true, &p->value);
    if (status && status != PLSM_NOT_FOUND)
        return status;
    if (status && p->edit->shared)
        return fail(PLSM_CONFLICT, "no key has the shared value %llu any more", (unsigned long long)p->edit->shared);
    bool refers = status == PLSM_OK && p->value.kind == BATCH_REFERENCE;
    if (refers && !is_link(p->value.value))
        TRY(reference_decode(p->value.value, &now));
    if (in_place && (now.id != base->id || now.generation != base->generation)) {
        p->moved = true;
        return fail(PLSM_CONFLICT, "the key does not refer to the edited value any more");
    }
    if (!in_place && refers)
        TRY(resolve_let_go(&p->resolve, p->value.value));
    TRY(add_entry(p));
    *batch = &p->resolve.out;
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
    struct batch *batch = &p->resolve.out;
    uint64_t deleted = 0, written = ranges_total(&staging->written);
    if (edit->base.id)
        TRY(extents_add_superseded(edit->db, &edit->base, edit->base_limit, &staging->replaced, batch, &deleted));
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
    TRY(add_cut_off(staging, batch));
    TRY(extents_add_record(batch, &p->reference));
    return staging->marked ? extents_delete_marker(batch, staging->id, staging->generation) : PLSM_OK;
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

static plsm_status try_publish(struct publication *p)
{
    plsm_edit *edit = p->edit;
    if (edit->dirty) {
        TRY(edit_begin(edit));
        TRY(edit_flush_slots(edit));
    }
    clear(p);
    p->reference = edit->base;
    if (edit->staging.generation)
        TRY(add_staged(p));
    return edit->db->engine->write(edit->db->tree, &p->resolve.out, prepare, p, PLSM_NONE);
}

static struct publication *publication_create(plsm_edit *edit, plsm_slice meta)
{
    struct publication *p = mem_zalloc(sizeof *p);
    uint8_t shared[SHARED_KEY_SIZE];
    if (!p)
        return NULL;
    p->edit = edit;
    p->meta = meta;
    p->resolve.db = edit->db;
    if (edit->shared) {
        p->key.size = shared_key(shared, edit->shared).size;
        memcpy(p->key.bytes, shared, p->key.size);
    } else {
        key_join(&p->key, PLSM_NAMES, buf_slice(&edit->key));
    }
    return p;
}

/* After the write: what was replaced goes. */
static plsm_status publication_finish(struct publication *p, plsm_durability durability)
{
    plsm *db = p->edit->db;
    plsm_status status = durability == PLSM_SYNC ? db->engine->sync(db->tree) : PLSM_OK; /* apart: see write.c */
    retire_finish(db, &p->resolve.retired);
    return status;
}

static void publication_destroy(struct publication *p)
{
    resolve_free(&p->resolve);
    engine_value_free(&p->value);
    mem_free(p);
}

static plsm_status commit_large(plsm_edit *edit, plsm_slice meta, struct lifetime lifetime, plsm_durability durability)
{
    plsm *db = edit->db;
    struct publication *p = publication_create(edit, meta);
    if (!p)
        return fail(PLSM_NO_MEMORY, "no memory to commit a large value");
    p->lifetime = lifetime;
    store_expect_references(db);
    plsm_status status = try_publish(p);
    if (status == PLSM_CONFLICT && p->moved) {
        status = edit_detach(edit);
        if (status == PLSM_OK)
            status = try_publish(p); /* on an id that no key refers to: cannot be refused again */
    }
    if (status == PLSM_OK) {
        rebase(edit, &p->reference);
        if (lifetime.expires_s)
            expiry_expect(db, lifetime.expires_s);
        edit->dirty = false;
        status = publication_finish(p, durability);
        atomic_fetch_add_explicit(&db->counters.large_commits, 1, memory_order_relaxed);
    }
    publication_destroy(p);
    return status;
}

/* Publishes content that fits into one entry. */
static plsm_status publish_small(plsm_edit *edit, const struct buf *content, plsm_slice meta, struct lifetime lifetime,
                                 plsm_durability durability)
{
    if (!edit->shared)
        return store_put(edit->db, buf_slice(&edit->key), meta, buf_slice(content), lifetime, durability);
    struct publication *p = publication_create(edit, meta);
    if (!p)
        return fail(PLSM_NO_MEMORY, "no memory to commit a shared value");
    p->all = content;
    plsm_status status = edit->db->engine->write(edit->db->tree, &p->resolve.out, prepare, p, PLSM_NONE);
    if (status == PLSM_OK)
        status = publication_finish(p, durability);
    publication_destroy(p);
    return status;
}

/* Content that fits goes into the tree as one entry, also when it was larger before. */
static plsm_status commit_small(plsm_edit *edit, plsm_slice meta, struct lifetime lifetime, plsm_durability durability)
{
    if (!edit->large)
        return publish_small(edit, &edit->small, meta, lifetime, durability);
    struct buf content = {0};
    size_t got = 0;
    plsm_status status = buf_reserve(&content, (size_t)edit->size);
    if (status == PLSM_OK)
        status = plsm_edit_read(edit, 0, content.data, (size_t)edit->size, &got);
    content.size = got;
    if (status == PLSM_OK)
        status = publish_small(edit, &content, meta, lifetime, durability);
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
    TRY(durability_check(durability));
    if (meta.size > PLSM_META_MAX)
        return fail(PLSM_TOO_LARGE, "meta of %zu bytes: the limit is %u", meta.size, PLSM_META_MAX);
    struct lifetime lifetime = edit->lifetime;
    if (!lifetime.timed && !edit->shared) /* shared values do not expire, and may have been opened without a key */
        lifetime = store_lifetime(edit->db, buf_slice(&edit->key));
    if (edit->size > PLSM_INLINE_MAX)
        TRY(commit_large(edit, meta, lifetime, durability));
    else
        TRY(commit_small(edit, meta, lifetime, durability));
    edit->dirty = false;
    atomic_fetch_add_explicit(&edit->db->counters.commits, 1, memory_order_relaxed);
    return PLSM_OK;
}
