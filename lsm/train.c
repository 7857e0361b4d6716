/* Training runs that are there already: those that were written without a model (train_every, model_update=0,
 * traditional mode), whose model is damaged or of another version, or all of them. A run's keys are read once, in
 * order; its new model goes into a file beside it, the run itself is not touched. */
#include "lsm/db.h"

#include "base/alloc.h"
#include "base/error.h"
#include "lsm/cursor.h"
#include "base/banned.h"

/* One run told to a builder. */
struct telling {
    struct model_builder *builder;
    struct buf last; /* the key before */
    uint32_t unit;
    uint64_t entries;
};

static plsm_status tell_entry(struct telling *t, const struct cursor *cursor)
{
    plsm_slice key = cursor->entry.key;
    size_t shared = slice_common(buf_slice(&t->last), key);
    bool again = t->entries > 0 && shared == key.size && shared == t->last.size;
    if (cursor->unit != t->unit)
        TRY(model_builder_page(t->builder, buf_slice(&t->last)));
    t->unit = cursor->unit;
    t->entries++;
    if (again)
        return PLSM_OK;
    TRY(model_builder_key(t->builder, key, shared));
    t->last.size = shared;
    return buf_append(&t->last, (const uint8_t *)key.data + shared, key.size - shared);
}

/* Makes the LIDX block of a run; *built false: nothing keeps to what is wished. */
static plsm_status make_block(struct lsm *db, struct run *run, struct buf *block, bool *built)
{
    struct cursor_options options = {
        .seq = SEQ_MAX, .all_versions = true, .no_value = true, .bulk = true, .training = true};
    struct telling t = {.builder = model_builder_create()};
    struct cursor cursor = {0};
    struct model_wish wish = {0};
    struct run_body *body = NULL;
    plsm_status status = t.builder ? run_open(run, &body) : fail(PLSM_NO_MEMORY, "no memory to train a run");
    if (status == PLSM_OK) {
        wish = run_model_wish(&db->context, run->group,
                              fences_memory_expected(run->facts.units, body->footer.blocks[RUN_FENCES].size));
        status = cursor_open_runs(&cursor, &run, 1, &options);
    }
    if (status == PLSM_OK)
        cursor_first(&cursor);
    for (; status == PLSM_OK && cursor.valid; cursor_next(&cursor))
        status = tell_entry(&t, &cursor);
    if (status == PLSM_OK)
        status = cursor.status;
    if (status == PLSM_OK)
        status = model_builder_page(t.builder, buf_slice(&t.last));
    if (status == PLSM_OK)
        status = model_builder_finish(t.builder, &wish, t.entries, env_wall_ns(db->env), block, built);
    cursor_close(&cursor);
    model_builder_destroy(t.builder);
    buf_free(&t.last);
    return status;
}

static plsm_status train_run(struct lsm *db, struct run *run, bool *wrote)
{
    struct run_body *body = NULL;
    struct buf block = {0};
    bool built = false;
    uint64_t start_ns = env_cpu_ns(db->env);
    TRY(run_open(run, &body));
    struct mem_account *before = budget_enter(&db->budget, BUDGET_COMPACTION);
    plsm_status status = make_block(db, run, &block, &built);
    if (status == PLSM_OK && built) {
        mutex_lock(&run->loading);
        status = run_model_replace(run, body, buf_slice(&block), true);
        mutex_unlock(&run->loading);
        *wrote = true;
    }
    buf_free(&block);
    budget_leave(before);
    counter_add(&db->counters, COUNT_TRAIN_NS, env_cpu_ns(db->env) - start_ns);
    counter_add(&db->counters, COUNT_TRAIN_KEYS, run->facts.entries);
    return status;
}

static bool needs_training(struct lsm *db, struct run *run, bool all, plsm_status *status)
{
    struct run_body *body = NULL;
    if (db->options.index != LSM_LEARNED || db->options.groups[run->group].model == LSM_MODEL_NONE)
        return false;
    *status = run_open(run, &body);
    return *status == PLSM_OK && (all || atomic_load(&body->model_state) == MODEL_MISSING);
}

plsm_status version_renew(struct lsm *db, bool train)
{
    struct edit nothing = {0};
    struct version *next = NULL;
    struct view *view = view_alloc();
    plsm_status status = view ? PLSM_OK : fail(PLSM_NO_MEMORY, "no memory for a view");
    mutex_lock(&db->edit_lock);
    if (status == PLSM_OK)
        status = version_apply(db->version, &nothing, &next);
    if (status == PLSM_OK && train)
        status = version_train(next, &db->options, false);
    if (status == PLSM_OK) {
        mutex_lock(&db->lock);
        struct version *old = db->version;
        db->version = next;
        version_settle(next);
        view_publish(db, view);
        mutex_unlock(&db->lock);
        version_unref(old);
    } else {
        version_unref(next);
        view_release(view);
    }
    mutex_unlock(&db->edit_lock);
    return status;
}

plsm_status lsm_retrain(struct lsm *db, bool all, void (*progress)(void *arg, uint64_t done, uint64_t bytes), void *arg)
{
    plsm_status status = PLSM_OK;
    bool wrote = false;
    uint64_t done = 0, bytes = 0;
    if (db->options.read_only)
        return fail(PLSM_READ_ONLY, "%s: opened read-only", db->path);
    struct view *view = view_acquire(db);
    for (unsigned level = 0; level < LSM_LEVELS; level++)
        bytes += view->version->levels[level].bytes;
    for (unsigned level = 0; level < LSM_LEVELS; level++)
        for (size_t i = 0; i < view->version->levels[level].count && status == PLSM_OK; i++) {
            struct run *run = view->version->levels[level].runs[i];
            if (needs_training(db, run, all, &status))
                status = train_run(db, run, &wrote);
            done += run->facts.file_size;
            if (progress)
                progress(arg, done, bytes);
        }
    view_release(view);
    if (status == PLSM_OK && wrote)
        status = env_sync_dir(db->env, db->path);
    if (status == PLSM_OK)
        status = version_renew(db, true);
    epoch_reclaim(db->epoch);
    return status;
}

void train_pending(struct lsm *db)
{
    mutex_lock(&db->lock);
    bool due = db->training_due;
    db->training_due = false;
    mutex_unlock(&db->lock);
    if (due)
        lsm_retrain(db, false, NULL, NULL);
}
