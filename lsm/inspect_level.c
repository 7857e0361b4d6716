/* Levels: sums over their runs, the models of levels, and what lookups of sampled keys came to. */
#include "lsm/inspect_private.h"

#include "base/error.h"
#include "base/banned.h"

struct leveling {
    struct lsm *db;
    const struct view *view;
    struct random random;
    uint64_t wanted; /* keys */
    uint64_t entries;
    plsm_level_info levels[LSM_LEVELS];
};

static void count_kind(plsm_kind_count *kinds, const char *kind)
{
    if (!kind)
        kind = "none";
    for (unsigned i = 0; i < PLSM_INSPECT_KINDS; i++) {
        if (!kinds[i].kind)
            kinds[i].kind = kind;
        if (strcmp(kinds[i].kind, kind) == 0) {
            kinds[i].runs++;
            return;
        }
    }
}

/* --- runs --------------------------------------------------------------------------------------------------------- */

static bool has_damage(const plsm_run_info *run)
{
    return run->damaged || run->model_block.damaged || run->model_file.damaged || run->fences.damaged ||
           run->filter.damaged || run->membership.damaged;
}

static void add_run(plsm_level_info *level, const plsm_run_info *run)
{
    bool by_model = run->model_block.serves || run->model_file.serves;
    level->runs++;
    level->runs_damaged += has_damage(run);
    level->runs_young += run->young.serves;
    level->runs_classic += run->layout && strcmp(run->layout, "classic") == 0;
    level->entries += run->entries;
    level->deletions += run->deletions;
    level->file_bytes += run->file_bytes;
    level->pages += run->pages;
    level->filter_keys += run->filter_keys;
    count_kind(level->models, run->model.type);
    count_kind(level->memberships, run->membership_kind);
    level->model_bytes += by_model ? run->model.memory_bytes : 0;
    level->fences_bytes += run->fences.serves ? run->fences.memory_bytes : 0;
    level->membership_bytes += run->membership.serves ? run->membership.memory_bytes : 0;
    level->filter_bytes += run->filter.serves ? run->filter.memory_bytes : 0;
    level->young_bytes += run->young.memory_bytes;
    level->traditional_index_bytes += run->fences.memory_bytes;
    level->traditional_filter_bytes += run->filter.memory_bytes;
    if (run->model.metadata_bytes > level->metadata_bytes_max)
        level->metadata_bytes_max = run->model.metadata_bytes;
    if (run->model.type &&
        (level->worst_run == 0 || run->model.validation_accuracy_ppm < level->worst_run_accuracy_ppm)) {
        level->worst_run = run->number;
        level->worst_run_accuracy_ppm = run->model.validation_accuracy_ppm;
    }
}

/* --- sampled keys ------------------------------------------------------------------------------------------------- */

/* Asks the model of the run, and that of its level, for keys of run `at`. */
static void ask_models(const struct level *l, size_t at, const struct model *model, const struct key_list *keys,
                       plsm_level_info *level)
{
    for (size_t i = 0; i < keys->count; i++) {
        plsm_slice key = key_list_at(keys, i);
        if (model) {
            struct model_answer answer = model_find(model, key);
            level->keys++;
            level->keys_right += answer.learned && answer.page == keys->keys[i].unit;
        }
        if (l->router) {
            level->router_keys++;
            level->router_keys_wrong += router_find(l->router, key) != at;
        }
    }
}

static void ask_router(const struct level *l, size_t at, plsm_level_info *level)
{
    const struct run_facts *facts = &l->runs[at]->facts;
    level->router_bounds += 2;
    level->router_bounds_wrong += router_find(l->router, facts->smallest) != at;
    level->router_bounds_wrong += router_find(l->router, facts->largest) != at;
}

static plsm_status look_at_run(struct leveling *g, const struct level *l, size_t at, plsm_level_info *level)
{
    struct run *run = l->runs[at];
    struct run_parts parts;
    plsm_run_info info;
    struct key_list keys = {0};
    uint64_t own = (uint64_t)((unsigned __int128)g->wanted * run->facts.entries / g->entries);
    plsm_status status = inspect_run(g->db, l, at, &parts, &info);
    if (status == PLSM_OK)
        add_run(level, &info);
    if (status == PLSM_OK && !info.damaged)
        status = sample_run(g->db, run, own ? own : 1, &g->random, &keys, &level->pages_damaged);
    if (status == PLSM_CORRUPT) /* its fences, which are counted already */
        status = PLSM_OK;
    if (status == PLSM_OK) {
        ask_models(l, at, parts.model, &keys, level);
        if (l->router)
            ask_router(l, at, level);
    }
    key_list_free(&keys);
    run_parts_free(&parts);
    return status;
}

static plsm_status look_at_level(struct leveling *g, unsigned number)
{
    const struct level *l = &g->view->version->levels[number];
    plsm_level_info *level = &g->levels[number];
    plsm_status status = PLSM_OK;
    level->level = number;
    for (size_t i = 0; i < l->count && status == PLSM_OK; i++)
        status = look_at_run(g, l, i, level);
    if (l->router) {
        struct model_info info;
        router_get_info(l->router, &info);
        inspect_model(&info, &level->router);
        level->router.memory_bytes = router_bytes(l->router);
    }
    return status;
}

/* --- lookups ------------------------------------------------------------------------------------------------------ */

static uint64_t found_in_runs(struct lsm *db, const struct counted *before)
{
    uint64_t found = 0;
    for (unsigned level = 0; level < LSM_LEVELS; level++)
        found += count_since(db, before, COUNT_FOUND + level);
    return found;
}

static plsm_status look_up(struct leveling *g, plsm_lookup_info *out)
{
    struct key_list keys = {0};
    struct lsm_value value = {0};
    struct counted before;
    uint64_t damaged = 0; /* is told by levels */
    plsm_status status = sample_view(g->db, g->view, g->wanted, &g->random, &keys, &damaged);
    count_from(g->db, &before);
    for (size_t i = 0; i < keys.count && i < g->wanted && status == PLSM_OK; i++) {
        uint64_t in_runs = found_in_runs(g->db, &before);
        status = lsm_get(g->db, NULL, key_list_at(&keys, i), true, &value);
        out->keys++;
        out->found += status == PLSM_OK;
        out->found_in_memory += status == PLSM_OK && found_in_runs(g->db, &before) == in_runs;
        out->damaged += status == PLSM_CORRUPT;
        if (status == PLSM_NOT_FOUND || status == PLSM_CORRUPT)
            status = PLSM_OK;
    }
    for (unsigned level = 0; level < LSM_LEVELS; level++) {
        plsm_level_info *l = &g->levels[level];
        l->found = count_since(g->db, &before, COUNT_FOUND + level);
        l->found_first = l->found - count_since(g->db, &before, COUNT_FOUND_OTHERWISE + level);
    }
    out->level_wrong = count_since(g->db, &before, COUNT_LEVEL_WRONG);
    out->file_wrong = count_since(g->db, &before, COUNT_FILE_WRONG);
    out->router_wrong = count_since(g->db, &before, COUNT_ROUTER_WRONG);
    out->run_lookups = count_since(g->db, &before, COUNT_RUN_LOOKUPS);
    out->fallbacks = count_since(g->db, &before, COUNT_MODEL_FALLBACK);
    out->filter_probes = count_since(g->db, &before, COUNT_FILTER_PROBES);
    out->young_probes = count_since(g->db, &before, COUNT_YOUNG_PROBES);
    out->pages = count_since(g->db, &before, COUNT_GET_PAGES);
    inspect_young(g->db, &out->young);
    key_list_free(&keys);
    lsm_value_free(&value);
    return status;
}

plsm_status lsm_inspect_levels(struct lsm *db, const plsm_inspect_options *options,
                               void (*each)(void *arg, const plsm_level_info *level), void *arg, plsm_lookup_info *out)
{
    plsm_status status = PLSM_OK;
    INVARIANT(db->magic == LSM_STRUCT_MAGIC);
    *out = (plsm_lookup_info){0};
    struct view *view = view_acquire(db);
    struct leveling g = {.db = db, .view = view, .wanted = inspect_keys(options)};
    random_seed(&g.random, options->seed);
    g.entries = version_entries(view->version);
    for (unsigned level = 0; level < LSM_LEVELS && status == PLSM_OK; level++)
        status = look_at_level(&g, level);
    if (status == PLSM_OK)
        status = look_up(&g, out);
    for (unsigned level = 0; level < LSM_LEVELS && status == PLSM_OK; level++)
        if (g.levels[level].runs > 0)
            each(arg, &g.levels[level]);
    view_release(view);
    return status;
}
