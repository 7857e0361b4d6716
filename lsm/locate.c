/* Where a lookup would look, and where it finds: for those who study indexes. */
#include "lsm/read.h"

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/error.h"
#include "base/banned.h"

static size_t newest_enclosing(const struct level *level, plsm_slice key, uint64_t head)
{
    size_t i = 0;
    while (i < level->count && !run_encloses(level->runs[i], key, head))
        i++;
    return i;
}

/* As run_seek asks; nothing is counted. */
static plsm_status locate_page(struct run *run, plsm_slice key, struct lsm_place *out)
{
    struct run_body *body = NULL;
    struct fences *fences = NULL;
    TRY(run_open(run, &body));
    const struct run_model *model = run_model(run, body);
    if (model) {
        struct model_answer answer = model_find(model->model, key);
        out->page = answer.page < run->facts.units ? answer.page : run->facts.units - 1;
        out->learned = answer.learned;
        return PLSM_OK;
    }
    TRY(run_fences(run, body, &fences));
    out->page = fences_find(fences, key);
    return PLSM_OK;
}

plsm_status lsm_locate(struct lsm *db, plsm_slice key, unsigned level, bool page, struct lsm_place *out)
{
    plsm_status status = PLSM_NOT_FOUND;
    INVARIANT(db->magic == LSM_STRUCT_MAGIC);
    *out = (struct lsm_place){0};
    if (level >= LSM_LEVELS)
        return PLSM_NOT_FOUND;
    epoch_enter(db->epoch);
    const struct view *view = atomic_load_explicit(&db->view, memory_order_acquire);
    const struct level *l = &view->version->levels[level];
    struct run_question q = {.key = key, .counts = counters_mine(&db->counters)};
    uint64_t head = key_head(key);
    size_t at = level == 0 ? newest_enclosing(l, key, head) : l->count ? read_run_of_level(l, &q, head) : 0;
    if (at < l->count) {
        struct run *run = l->runs[at];
        out->run = run->facts.number;
        status = page ? locate_page(run, key, out) : PLSM_OK;
    }
    epoch_exit(db->epoch);
    return status;
}

/* Asks one run. */
static plsm_status find_in_run(struct run *run, const struct run_question *q, struct entry *entry,
                               struct lsm_found *out)
{
    struct run_search s;
    struct page_hold hold;
    hold.heap = NULL;
    if (!run_search_init(&s, run, false))
        TRY(run_search_load(&s, false));
    run_search_prefetch_filter(&s, q);
    if (!run_search_may_contain(&s, q))
        return PLSM_NOT_FOUND;
    TRY(run_search_locate(&s, q));
    out->predicted = s.unit;
    plsm_status status = run_search_find(&s, q, &hold, entry);
    page_hold_release(&hold);
    if (status == PLSM_OK) {
        out->run = run->facts.number;
        out->level = atomic_load_explicit(&run->level, memory_order_relaxed);
        out->page = s.version_unit;
        out->learned = s.learned;
    }
    return status;
}

plsm_status lsm_find(struct lsm *db, plsm_slice key, struct lsm_found *out)
{
    struct counter_stripe *uncounted = mem_zalloc(sizeof *uncounted);
    struct run_question q = {.key = key, .hash = key_hash(key.data, key.size), .no_value = true, .counts = uncounted};
    struct enclosing_runs e = {.key = key, .head = key_head(key)};
    struct entry entry = {0};
    plsm_status status = PLSM_NOT_FOUND;
    INVARIANT(db->magic == LSM_STRUCT_MAGIC);
    *out = (struct lsm_found){0};
    if (!uncounted)
        return fail(PLSM_NO_MEMORY, "no memory for a lookup");
    epoch_enter(db->epoch);
    /* The view before the sequence number: see db.h. */
    const struct view *view = atomic_load_explicit(&db->view, memory_order_acquire);
    q.seq = atomic_load_explicit(&db->seq, memory_order_acquire);
    for (unsigned i = 0; i < view->table_count && !out->in_memory; i++)
        out->in_memory = memtable_get(view->tables[i], key, q.seq, &entry);
    if (out->in_memory)
        status = PLSM_OK;
    for (struct run *run = NULL; status == PLSM_NOT_FOUND && (run = enclosing_runs_next(&e, view->version));)
        status = find_in_run(run, &q, &entry, out);
    if (status == PLSM_OK && entry.kind == BATCH_DELETE)
        status = PLSM_NOT_FOUND;
    epoch_exit(db->epoch);
    mem_free(uncounted);
    return status;
}
