/* Answers of learned mode, compared with those that a search without anything learned gives: no filter, no table over
 * young runs, no model, no prediction; the bounds of runs and fences alone. */
#include "lsm/read.h"

#include "base/error.h"
#include "base/banned.h"

enum { PER_MILLION = 1000000 };

/* Whether it is this thread's turn: at random, so that no pattern of lookups escapes (xorshift of Marsaglia, 2003). */
bool validation_due(uint32_t ppm)
{
    static _Thread_local uint32_t state = 2463534242u;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return ((uint64_t)state * PER_MILLION) >> 32 < ppm;
}

static plsm_status ask_run(struct run *run, const struct run_question *q, struct page_hold *hold, struct entry *entry)
{
    struct run_search s;
    (void)run_search_init(&s, run, true);
    if (!s.body)
        TRY(run_search_load(&s, true));
    s.model = NULL;
    TRY(run_search_locate(&s, q));
    return run_search_find(&s, q, hold, entry);
}

static plsm_status ask_runs(const struct version *version, const struct run_question *q, struct page_hold *hold,
                            struct entry *entry)
{
    struct enclosing_runs e = {.key = q->key, .head = key_head(q->key)};
    struct range_cover cover = {0};
    if (version->ranged > 0)
        TRY(read_range_cover(version, q->key, q->seq, &cover));
    for (;;) {
        struct run *run = enclosing_runs_next(&e, version);
        plsm_status status = run ? ask_run(run, q, hold, entry) : PLSM_NOT_FOUND;
        if (!run || read_ends_at_cover(&cover, run, &status, entry))
            return status;
    }
}

static bool same(const struct entry *entry, bool no_value, const struct lsm_value *out)
{
    bool value_there = !(no_value && entry->kind == BATCH_PUT);
    return entry->kind == out->kind && entry->expires_s == out->expires_s && entry->value.size == out->value_size &&
           slice_equal(entry->meta, out->meta) && (!value_there || slice_equal(entry->value, out->value));
}

plsm_status validate(struct lsm *db, const struct view *view, const struct run_question *question, plsm_status answered,
                     struct lsm_value *out)
{
    /* What this does is not counted as lookups: it has a stripe of its own, which nobody adds up. */
    struct counter_stripe ignored = {.shared = false};
    struct run_question q = *question;
    struct page_hold hold;
    struct entry entry;
    struct buf record = {0};
    hold.heap = NULL;
    q.counts = &ignored;
    q.trace = NULL;
    plsm_status status = ask_runs(view->version, &q, &hold, &entry);
    if (status == PLSM_OK && read_is_gone(db, &q, &entry))
        status = PLSM_NOT_FOUND;
    if (status == PLSM_OK && entry.separated) {
        entry.key = q.key;
        status = separated_resolve(view, &entry, q.no_value, SIM_POINT, &record);
    }
    counter_add(&db->counters, COUNT_VALIDATED, 1);
    if (status != answered || (status == PLSM_OK && !same(&entry, q.no_value, out))) {
        bool wrong =
            (status == PLSM_OK || status == PLSM_NOT_FOUND) && (answered == PLSM_OK || answered == PLSM_NOT_FOUND);
        if (wrong) /* otherwise one of the two could not read */
            counter_add(&db->counters, COUNT_VALIDATION_WRONG, 1);
        if (status == PLSM_OK)
            status = read_copy_out(view, q.key, &entry, q.no_value, out);
    }
    buf_free(&record);
    page_hold_release(&hold);
    return status;
}
