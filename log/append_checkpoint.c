/* Flushes and checkpoints: what was appended so far is to be in sealed segments.
 *
 * The segment that is written to is frozen in between two writes, so that all that was acknowledged is in it or in
 * those before. Writers wait for that alone, which is done in memory (append_roll.c): the one that takes its place was
 * prepared before, and sealing goes on beside them. A checkpoint has the segments that were in the list at that moment:
 * what a merge leaves away later may be dead only because of what was written later. */
#include <stdio.h>

#include "base/error.h"
#include "log/append_db.h"
#include "base/banned.h"

enum { TRIES = 3 }; /* that find a prepared segment gone, before writers wait until there is one */

struct freezing {
    struct append *db;
    uint64_t through; /* the last segment that is to be sealed */
    bool last;        /* try: wait for a segment if none is ready */
    bool again;       /* none was */
    bool hold;        /* those that were there, but that which is written to then: */
    struct segment **held;
    size_t count;
};

/* All but the active one. Under lock. */
static plsm_status hold_all(struct freezing *f)
{
    struct append *db = f->db;
    f->held = mem_alloc((db->segment_count + 1) * sizeof *f->held);
    for (size_t i = 0; f->held && i < db->segment_count; i++)
        if (db->segments[i] != db->active) {
            f->held[f->count++] = db->segments[i];
            segment_reference(db->segments[i]);
        }
    return f->held ? PLSM_OK : fail(PLSM_NO_MEMORY, "no memory for a checkpoint");
}

/* Nothing is in the active segment; of a checkpoint it may be left away if no other one says that it is there, as the
 * head of one that is newer does. Under lock. */
static bool is_unused(const struct freezing *f)
{
    const struct append *db = f->db;
    const struct segment *active = db->active;
    return active->head_end == atomic_load_explicit(&active->size, memory_order_relaxed) && db->segment_count > 1 &&
           (!f->hold || db->segments[db->segment_count - 1] == active);
}

/* As part of the queue, so that no other leader is at it. */
static plsm_status freeze(void *arg, const struct batch **batch)
{
    struct freezing *f = arg;
    struct append *db = f->db;
    *batch = NULL;
    mutex_lock(&db->lock);
    bool change = !is_unused(f);
    f->again = change && !f->last && !append_is_ready(db);
    mutex_unlock(&db->lock);
    if (f->again)
        return PLSM_OK;
    if (change)
        TRY(append_roll(db));
    mutex_lock(&db->lock);
    f->through = db->active->number - 1;
    plsm_status status = f->hold ? hold_all(f) : PLSM_OK;
    mutex_unlock(&db->lock);
    return status;
}

/* Freezes what there is and seals it. */
static plsm_status flush(struct freezing *f)
{
    struct append *db = f->db;
    plsm_status status = PLSM_OK;
    mutex_lock(&db->flush_lock);
    if (atomic_load(&db->frozen) > 0) /* where that cannot be done, no more may be frozen */
        status = work_seal(db, UINT64_MAX);
    f->again = true;
    for (unsigned i = 0; f->again && status == PLSM_OK; i++) {
        f->last = i == TRIES;
        mutex_lock(&db->lock);
        status = append_writable(db);
        bool prepare = !is_unused(f);
        mutex_unlock(&db->lock);
        if (status == PLSM_OK && prepare)
            status = append_ahead(db);
        if (status == PLSM_OK)
            status = append_write(db, NULL, freeze, f, false);
    }
    if (status == PLSM_OK)
        status = work_seal(db, f->through);
    mutex_unlock(&db->flush_lock);
    return status;
}

plsm_status append_flush(struct append *db)
{
    struct freezing f = {.db = db};
    if (db->options.read_only)
        return fail(PLSM_READ_ONLY, "%s: opened read-only", db->path);
    return flush(&f);
}

static plsm_status tell(struct append *db, const struct segment *s, const char *kind, bool optional,
                        plsm_status (*each)(void *arg, const struct append_file *file), void *arg)
{
    char path[APPEND_PATH_MAX];
    segment_path(db, kind, s->number, path);
    struct append_file file = {.name = strrchr(path, '/') + 1,
                               .path = path,
                               .size = optional ? 0 : atomic_load(&s->size),
                               .identity = s->salt,
                               .optional = optional};
    if (!optional) /* behind the last record stands that of the clean close */
        TRY(env_size(s->file, &file.size));
    return each(arg, &file);
}

plsm_status append_checkpoint(struct append *db, plsm_status (*each)(void *arg, const struct append_file *file),
                              void *arg)
{
    struct freezing f = {.db = db, .hold = true};
    if (db->options.read_only)
        return fail(PLSM_READ_ONLY, "%s: opened read-only", db->path);
    plsm_status status = flush(&f);
    for (size_t i = 0; i < f.count && status == PLSM_OK; i++) {
        status = tell(db, f.held[i], "segment", false, each, arg);
        if (status == PLSM_OK && f.held[i]->hinted)
            status = tell(db, f.held[i], "hint", true, each, arg);
    }
    struct fail_kept kept;
    fail_keep(&kept);
    for (size_t i = 0; i < f.count; i++)
        segment_release(f.held[i]);
    mem_free(f.held);
    return status == PLSM_OK ? PLSM_OK : fail_again(status, &kept);
}
