/* Asking a run for all its keys: what its model says of each against where it is, and what filters say of keys that are
 * there and of keys that are not. */
#include "lsm/inspect_private.h"

#include "base/checksum.h"
#include "base/error.h"
#include "lsm/cursor.h"
#include "base/banned.h"

/* One run being asked. */
struct asking {
    struct lsm *db;
    const struct version *version;
    const struct level *level; /* of the run */
    size_t at;                 /* there */
    struct run *run;           /* NULL: there is none of that number */
    struct run_parts parts;
    uint64_t wanted;      /* absent keys */
    struct random random; /* that makes them */
    struct key_list kept; /* keys that they are made from */
    uint64_t period;      /* of keeping one */
    struct buf last;      /* the key before */
    void (*each)(void *arg, const plsm_page_info *page);
    void *arg;
    plsm_page_info page;  /* that is being read */
    struct buf first_key; /* of it */
    uint32_t segment;     /* of the model: how many begin in front of what was read */
    uint64_t rank;        /* borders in front of this page that codes tell apart: what the raw prediction is about */
    uint64_t code_before; /* of the key before */
    plsm_keys_info *out;
};

/* --- errors ------------------------------------------------------------------------------------------------------- */

static unsigned bucket_of(int64_t error)
{
    enum { MIDDLE = PLSM_INSPECT_ERRORS / 2 };
    uint64_t size = error < 0 ? (uint64_t)-error : (uint64_t)error;
    unsigned log2 = size > 1 ? 64 - (unsigned)__builtin_clzll(size - 1) : 0; /* rounded up */
    unsigned distance = size == 0 ? 0 : log2 + 1 < MIDDLE ? log2 + 1 : MIDDLE;
    return error < 0 ? MIDDLE - distance : MIDDLE + distance;
}

static void note_error(plsm_error_histogram *errors, int64_t error)
{
    uint64_t size = error < 0 ? (uint64_t)-error : (uint64_t)error;
    errors->keys[bucket_of(error)]++;
    errors->pages_sum += size;
    if (size > errors->pages_max)
        errors->pages_max = size;
}

/* --- the model ---------------------------------------------------------------------------------------------------- */

/* The first key that begins on a page. */
static plsm_status begin_page(struct asking *a, plsm_slice key, uint64_t code)
{
    bool border = a->out->keys > 0;
    a->page.tied = border && a->page.raw && code == a->code_before;
    a->rank += border && !a->page.tied;
    a->out->borders += border;
    a->out->borders_tied += a->page.tied;
    a->page.code = code;
    a->first_key.size = 0;
    TRY(buf_append(&a->first_key, key.data, key.size));
    a->page.first_key = buf_slice(&a->first_key);
    return PLSM_OK;
}

static plsm_status ask_model(struct asking *a, plsm_slice key, uint32_t unit)
{
    const struct model *model = a->parts.model;
    uint64_t code = 0, position = 0;
    bool first = a->page.keys++ == 0;
    a->page.raw = model && model_raw_position(model, key, &code, &position);
    if (first)
        TRY(begin_page(a, key, code));
    if (!model)
        return PLSM_OK;
    struct model_answer answer = model_find(model, key);
    a->out->keys_answered++;
    a->out->keys_learned += answer.learned;
    a->page.keys_wrong += answer.page != unit;
    note_error(&a->out->errors, (int64_t)answer.page - unit);
    if (first)
        a->page.answer_page = answer.page;
    if (!a->page.raw)
        return PLSM_OK;
    int64_t error = (int64_t)(position >> 16) - (int64_t)a->rank;
    a->code_before = code;
    a->out->raw_keys++;
    note_error(&a->out->raw_errors, error);
    if (first) {
        a->page.raw_page = (double)position / 65536 - (double)a->rank + unit;
        a->page.raw_error_pages_min = a->page.raw_error_pages_max = error;
    }
    if (error < a->page.raw_error_pages_min)
        a->page.raw_error_pages_min = error;
    if (error > a->page.raw_error_pages_max)
        a->page.raw_error_pages_max = error;
    return PLSM_OK;
}

/* Tells a page when the next one begins, or the run ends. Segments belong to the page in front of whose end, the first
 * code of the next page, they begin; those of the run's end to its last page. */
static void end_page(struct asking *a, const uint64_t *next_code)
{
    uint64_t code = 0;
    while (a->parts.model && model_segment(a->parts.model, a->segment, &code) && (!next_code || code < *next_code)) {
        a->page.segments++;
        a->segment++;
    }
    if (a->each)
        a->each(a->arg, &a->page);
}

/* --- filters ------------------------------------------------------------------------------------------------------ */

enum kind { PRESENT, ABSENT, MISS };

static void count_answer(plsm_membership_info *info, enum kind kind, bool maybe)
{
    switch (kind) {
    case PRESENT:
        info->present++;
        info->denied += !maybe;
        break;
    case ABSENT:
        info->absent++;
        info->passed += maybe;
        break;
    case MISS:
        info->misses++;
        info->misses_passed += maybe;
        break;
    }
}

static void ask_filters(struct asking *a, plsm_slice key, enum kind kind)
{
    uint64_t hash = key_hash(key.data, key.size);
    struct partitioned_query query;
    membership_query_init(&query, key, hash);
    if (a->parts.has_membership)
        count_answer(&a->out->membership, kind, membership_may_contain(&a->parts.membership, &query));
    if (a->parts.has_filter)
        count_answer(&a->out->filter, kind, filter_may_contain(&a->parts.filter, hash));
    if (a->parts.place != YOUNG_PLACE_NONE) {
        struct young_places found;
        epoch_enter(a->db->epoch);
        young_runs_find(a->version->young, &a->version->in_table, hash, &found);
        epoch_exit(a->db->epoch);
        count_answer(&a->out->young, kind, young_places_has(&found, a->parts.place));
    }
}

/* Whether the run has a key, by its page, which fences name best: no lookup, and nothing is counted of it. */
static plsm_status has_key(struct asking *a, plsm_slice key, bool *out)
{
    const struct run_parts *parts = &a->parts;
    uint64_t hash = key_hash(key.data, key.size);
    uint32_t unit = parts->fences ? fences_find(parts->fences, key) : model_find(parts->model, key).page;
    struct page_hold hold;
    struct entry entry;
    hold.heap = NULL;
    epoch_enter(a->db->epoch);
    plsm_status status = unit < a->run->facts.units ? run_page_uncharged(a->run, parts->body, unit, true, &hold)
                                                    : fail(PLSM_CORRUPT, "the index names page %u", unit);
    if (status == PLSM_OK)
        *out = page_find(hold.page, key, hash, 0, &entry) < page_count(hold.page);
    page_hold_release(&hold);
    epoch_exit(a->db->epoch);
    return status;
}

/* A key that may not be there: asked for when it is not. Those outside of the bounds never get to a filter. */
static plsm_status ask_if_absent(struct asking *a, plsm_slice key, enum kind kind)
{
    bool there = false;
    if (!run_encloses(a->run, key, key_head(key)))
        return PLSM_OK;
    TRY(has_key(a, key, &there));
    if (!there)
        ask_filters(a, key, kind);
    return PLSM_OK;
}

static plsm_status ask_for_absent_keys(struct asking *a)
{
    enum { TRIES = 4 }; /* where most keys beside those that are there are there too, few are found */
    struct buf key = {0};
    plsm_status status = PLSM_OK;
    const plsm_membership_info *counted = a->parts.has_membership ? &a->out->membership : &a->out->filter;
    bool asked = a->parts.has_membership || a->parts.has_filter;
    for (uint64_t i = 0; asked && a->kept.count && i < TRIES * a->wanted && counted->absent < a->wanted; i++) {
        plsm_slice like = key_list_at(&a->kept, random_below(&a->random, a->kept.count));
        status = make_similar(&a->random, key_list_at(&a->kept, i % a->kept.count), like, &key);
        if (status == PLSM_OK)
            status = ask_if_absent(a, buf_slice(&key), ABSENT);
        if (status != PLSM_OK)
            break;
    }
    buf_free(&key);
    return status;
}

static plsm_status ask_for_misses(struct asking *a)
{
    struct sample_list misses = {0};
    if (!a->db->samples)
        return PLSM_OK;
    plsm_status status = samples_held_out(a->db->samples, a->run->facts.smallest, a->run->facts.largest, &misses);
    for (size_t i = 0; i < misses.count && status == PLSM_OK; i++)
        status = ask_if_absent(a, misses.keys[i], MISS);
    sample_list_free(&misses);
    return status;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

/* A new key; further versions of the one before are entries only. */
static plsm_status take_key(struct asking *a, plsm_slice key, uint32_t unit)
{
    TRY(ask_model(a, key, unit));
    ask_filters(a, key, PRESENT);
    if (a->out->keys % a->period == 0)
        TRY(key_list_add(&a->kept, key, unit));
    a->out->keys++;
    a->last.size = 0;
    return buf_append(&a->last, key.data, key.size);
}

static plsm_status take_entry(struct asking *a, const struct cursor *cursor)
{
    plsm_slice key = cursor->entry.key;
    bool again = a->out->keys > 0 && slice_equal(key, buf_slice(&a->last));
    if (a->out->entries > 0 && cursor->unit != a->page.page) {
        uint64_t code = 0, position = 0;
        bool raw = !again && a->parts.model && model_raw_position(a->parts.model, key, &code, &position);
        end_page(a, raw ? &code : &a->code_before);
        a->page = (plsm_page_info){.page = cursor->unit};
    }
    a->out->entries++;
    return again ? PLSM_OK : take_key(a, key, cursor->unit);
}

static plsm_status read_run(struct asking *a)
{
    struct cursor_options options = {.seq = SEQ_MAX, .all_versions = true, .no_value = true, .bulk = true};
    struct cursor cursor = {0};
    TRY(cursor_open_runs(&cursor, &a->run, 1, &options));
    plsm_status status = PLSM_OK;
    for (cursor_first(&cursor); status == PLSM_OK && cursor.valid; cursor_next(&cursor))
        status = take_entry(a, &cursor);
    if (status == PLSM_OK)
        status = cursor.status;
    if (status == PLSM_OK)
        end_page(a, NULL);
    cursor_close(&cursor);
    return status;
}

static plsm_status ask_run(struct asking *a)
{
    plsm_run_info info;
    TRY(inspect_run(a->db, a->level, a->at, &a->parts, &info));
    if (info.damaged)
        return fail(PLSM_CORRUPT, "%s", info.problem);
    a->period = a->wanted < info.entries ? info.entries / a->wanted : 1;
    TRY(read_run(a));
    if (!a->parts.fences && !a->parts.model) /* nothing tells where a key would be */
        return PLSM_OK;
    TRY(ask_for_absent_keys(a));
    return ask_for_misses(a);
}

static void find_run(struct asking *a, uint64_t number)
{
    for (a->level = a->version->levels; a->level < a->version->levels + LSM_LEVELS; a->level++)
        for (a->at = 0; a->at < a->level->count; a->at++)
            if (a->level->runs[a->at]->facts.number == number) {
                a->run = a->level->runs[a->at];
                return;
            }
}

plsm_status lsm_inspect_keys(struct lsm *db, uint64_t number, const plsm_inspect_options *options,
                             void (*each)(void *arg, const plsm_page_info *page), void *arg, plsm_keys_info *out)
{
    plsm_status status = PLSM_NOT_FOUND;
    INVARIANT(db->magic == LSM_STRUCT_MAGIC);
    *out = (plsm_keys_info){0};
    struct view *view = view_acquire(db);
    struct asking a = {
        .db = db, .version = view->version, .wanted = inspect_keys(options), .each = each, .arg = arg, .out = out};
    random_seed(&a.random, options->seed);
    find_run(&a, number);
    if (a.run)
        status = ask_run(&a);
    else
        fail(status, "%s: there is no run %llu", db->path, (unsigned long long)number);
    run_parts_free(&a.parts);
    key_list_free(&a.kept);
    buf_free(&a.last);
    buf_free(&a.first_key);
    view_release(view);
    return status;
}
