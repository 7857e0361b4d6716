/* Where a lookup would look, without looking there: for those who study indexes. */
#include "lsm/read.h"

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
