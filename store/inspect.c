/* Looking inside: what the engine tells, with keys as callers know them. */
#include "base/bytes.h"
#include "store/internal.h"

#include "base/banned.h"

static plsm_status unsupported(const plsm *db)
{
    return fail(PLSM_UNSUPPORTED, "the engine %s has nothing like this inside to look at", db->engine->name);
}

/* An internal key without its keyspace byte. */
static plsm_slice own_key(plsm_slice key)
{
    return key.size ? slice((const uint8_t *)key.data + 1, key.size - 1) : key;
}

static const plsm_inspect_options *or_default(const plsm_inspect_options *options)
{
    static const plsm_inspect_options none;
    return options ? options : &none;
}

struct telling {
    void (*each_run)(void *arg, const plsm_run_info *run);
    void (*each_page)(void *arg, const plsm_page_info *page);
    void *arg;
};

static void tell_run(void *arg, const plsm_run_info *run)
{
    const struct telling *t = arg;
    plsm_run_info own = *run;
    own.keyspace = run->smallest.size ? *(const uint8_t *)run->smallest.data : 0;
    own.smallest = own_key(run->smallest);
    own.largest = own_key(run->largest);
    t->each_run(t->arg, &own);
}

static void tell_page(void *arg, const plsm_page_info *page)
{
    const struct telling *t = arg;
    plsm_page_info own = *page;
    own.first_key = own_key(page->first_key);
    t->each_page(t->arg, &own);
}

plsm_status plsm_inspect_values(plsm *db, void (*each)(void *arg, const plsm_value_log_info *log), void *arg)
{
    INVARIANT(db->magic == STORE_MAGIC);
    if (!db->engine->inspect_values)
        return unsupported(db);
    db->engine->inspect_values(db->tree, each, arg);
    return PLSM_OK;
}

plsm_status plsm_inspect_runs(plsm *db, void (*each)(void *arg, const plsm_run_info *run), void *arg)
{
    INVARIANT(db->magic == STORE_MAGIC);
    struct telling t = {.each_run = each, .arg = arg};
    return db->engine->inspect_runs ? db->engine->inspect_runs(db->tree, tell_run, &t) : unsupported(db);
}

plsm_status plsm_inspect_keys(plsm *db, uint64_t number, const plsm_inspect_options *options,
                              void (*each)(void *arg, const plsm_page_info *page), void *arg, plsm_keys_info *out)
{
    INVARIANT(db->magic == STORE_MAGIC);
    struct telling t = {.each_page = each, .arg = arg};
    if (!db->engine->inspect_keys)
        return unsupported(db);
    return db->engine->inspect_keys(db->tree, number, or_default(options), each ? tell_page : NULL, &t, out);
}

plsm_status plsm_inspect_levels(plsm *db, const plsm_inspect_options *options,
                                void (*each)(void *arg, const plsm_level_info *level), void *arg, plsm_lookup_info *out)
{
    INVARIANT(db->magic == STORE_MAGIC);
    if (!db->engine->inspect_levels)
        return unsupported(db);
    return db->engine->inspect_levels(db->tree, or_default(options), each, arg, out);
}

plsm_status plsm_inspect_profile(plsm *db, const plsm_inspect_options *options, plsm_profile *out)
{
    INVARIANT(db->magic == STORE_MAGIC);
    if (!db->engine->inspect_profile)
        return unsupported(db);
    return db->engine->inspect_profile(db->tree, or_default(options), out);
}

const char *plsm_step_name(plsm_step step)
{
    static const char *const names[PLSM_STEPS] = {
        [PLSM_STEP_VIEW] = "view",     [PLSM_STEP_MEMTABLES] = "memtables", [PLSM_STEP_HASH] = "hash",
        [PLSM_STEP_YOUNG] = "young",   [PLSM_STEP_CHOICE] = "choice",       [PLSM_STEP_MEMBERSHIP] = "membership",
        [PLSM_STEP_MODEL] = "model",   [PLSM_STEP_LOCATE] = "locate",       [PLSM_STEP_PAGE] = "page",
        [PLSM_STEP_SEARCH] = "search", [PLSM_STEP_COPY] = "copy",
    };
    return step < PLSM_STEPS ? names[step] : "unknown";
}
