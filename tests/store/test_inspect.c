/* Looking inside a store: known layouts give known figures, and sums add up. */
#include "../harness/inspect_fixture.h"
#include "../harness/key_sets.h"

#include <stdio.h>

#include "base/random.h"

#include "base/banned.h"

static struct env *env;

static void setup(void)
{
    env = env_memory_create(1);
    ck_assert_ptr_nonnull(env);
}

static void teardown(void)
{
    env_memory_destroy(env);
}

/* --- pages -------------------------------------------------------------------------------------------------------- */

struct pages {
    uint64_t count, keys, wrong, segments, tied;
    int64_t error_min, error_max;
    bool raw;
    struct buf last;
};

static void take_page(void *arg, const plsm_page_info *page)
{
    struct pages *pages = arg;
    ck_assert_uint_eq(page->page, pages->count++);
    pages->keys += page->keys;
    pages->wrong += page->keys_wrong;
    pages->segments += page->segments;
    pages->tied += page->tied;
    ck_assert_uint_eq(page->first_key.size > 0, page->keys > 0);
    if (page->keys == 0)
        return;
    pages->raw |= page->raw;
    ck_assert(page->raw_error_pages_min <= page->raw_error_pages_max);
    pages->error_min = page->raw_error_pages_min < pages->error_min ? page->raw_error_pages_min : pages->error_min;
    pages->error_max = page->raw_error_pages_max > pages->error_max ? page->raw_error_pages_max : pages->error_max;
    ck_assert(slice_compare(buf_slice(&pages->last), page->first_key) < 0);
    pages->last.size = 0;
    assert_ok(buf_append(&pages->last, page->first_key.data, page->first_key.size));
}

static uint64_t sum_of(const plsm_error_histogram *errors)
{
    uint64_t sum = 0;
    for (int i = 0; i < PLSM_INSPECT_ERRORS; i++)
        sum += errors->keys[i];
    return sum;
}

/* Asks a run for all keys; what must hold for every run that is not damaged, whatever its keys. */
static plsm_keys_info ask_keys(plsm *db, const plsm_run_info *run, const char *what)
{
    struct pages pages = {0};
    plsm_keys_info keys;
    plsm_inspect_options options = {.keys = 500, .seed = 7};
    const plsm_model_info *m = &run->model;
    assert_ok(plsm_inspect_keys(db, run->number, &options, take_page, &pages, &keys));
    buf_free(&pages.last);
    ck_assert_uint_eq(keys.entries, run->entries);
    ck_assert_uint_eq(pages.count, run->pages);
    ck_assert_uint_eq(pages.keys, keys.keys);
    ck_assert_uint_eq(keys.keys_answered, m->type ? keys.keys : 0);
    ck_assert_msg(keys.errors.keys[INSPECT_MIDDLE] == keys.keys_answered && pages.wrong == 0 &&
                      keys.errors.pages_max == 0,
                  "%s: the model is wrong", what);
    ck_assert_uint_eq(sum_of(&keys.errors), keys.keys_answered);
    ck_assert_uint_eq(sum_of(&keys.raw_errors), keys.raw_keys);
    ck_assert_uint_eq(keys.membership.denied, 0);
    ck_assert_uint_eq(keys.filter.denied, 0);
    ck_assert_uint_eq(keys.young.denied, 0);
    ck_assert_uint_eq(keys.young.present, run->young.serves ? keys.keys : 0);
    ck_assert_uint_eq(keys.filter.present, run->filter.disk_bytes ? keys.keys : 0);
    ck_assert_uint_eq(keys.membership.present, run->membership.disk_bytes ? keys.keys : 0);
    if (m->type)
        ck_assert_uint_eq(keys.borders, m->borders);
    if (pages.raw) {
        ck_assert_uint_eq(keys.raw_keys, keys.keys);
        ck_assert_msg(keys.borders_tied == m->ties + m->separators && pages.tied == keys.borders_tied,
                      "%s: %llu of %llu borders are tied, the model has %u and %u", what,
                      (unsigned long long)keys.borders_tied, (unsigned long long)keys.borders, m->ties, m->separators);
        ck_assert_msg(keys.raw_errors.pages_max <= m->error_pages_max, "%s: %llu pages off, %u are allowed", what,
                      (unsigned long long)keys.raw_errors.pages_max, m->error_pages_max);
        ck_assert_uint_eq(pages.segments, m->segments);
        int64_t worst = -pages.error_min > pages.error_max ? -pages.error_min : pages.error_max;
        ck_assert_int_eq(worst, (int64_t)keys.raw_errors.pages_max);
    }
    return keys;
}

/* --- known layouts ------------------------------------------------------------------------------------------------ */

START_TEST(counters_are_one_segment)
{
    plsm *db = inspect_counters(env, INSPECT_ONE_RUN, INSPECT_COUNTERS);
    assert_ok(plsm_flush(db));
    const plsm_run_info *run = inspect_only_run(db);
    ck_assert(strcmp(run->model.type, "linear") == 0 || strcmp(run->model.type, "plr") == 0);
    ck_assert_uint_eq(run->model.segments, 1);
    ck_assert_uint_eq(run->model.validation_accuracy_ppm, 1000000);
    ck_assert_uint_eq(run->model.training_keys, INSPECT_COUNTERS);
    ck_assert_uint_gt(run->model.trained_wall_ns, 0);
    ck_assert_uint_eq(run->level, 0);
    ck_assert_uint_eq(run->entries, INSPECT_COUNTERS);
    ck_assert_uint_eq(run->key_bytes, INSPECT_COUNTERS * 9); /* with the keyspace */
    ck_assert_uint_eq(run->value_bytes, INSPECT_COUNTERS * 10);
    ck_assert(slice_equal(run->smallest, slice_of("00000000")));
    ck_assert(slice_equal(run->largest, slice_of("00059997")));
    ck_assert(run->model_block.serves && !run->model_file.serves && !run->fences.serves);
    ck_assert_uint_eq(run->model_block.memory_bytes, run->model.memory_bytes);
    ck_assert_uint_gt(run->fences.memory_bytes, 0);
    ck_assert_str_eq(run->membership_kind, "exact");
    ck_assert(run->membership.serves && !run->filter.serves);
    ck_assert_uint_lt(run->membership.memory_bytes, run->filter.memory_bytes / 100);
    ck_assert_uint_gt(run->write_us, run->train_us + run->filter_us);
    plsm_keys_info keys = ask_keys(db, run, "counters");
    ck_assert_uint_eq(keys.keys, INSPECT_COUNTERS);
    ck_assert_uint_eq(keys.keys_learned, INSPECT_COUNTERS);
    ck_assert_uint_eq(keys.borders_tied, 0);
    ck_assert_uint_eq(keys.membership.absent, 500);
    ck_assert_uint_eq(keys.membership.passed, 0);
    ck_assert_uint_eq(keys.filter.absent, 500);
    assert_ok(plsm_close(db));
}
END_TEST

/* A tree written in one mode, looked at in the other: what serves is another part, and the figures are the same. */
START_TEST(modes)
{
    plsm *db = inspect_counters(env, INSPECT_ONE_RUN, INSPECT_COUNTERS);
    assert_ok(plsm_flush(db));
    assert_ok(plsm_close(db));
    db = fixture_open(env, PLSM_READ, INSPECT_ONE_RUN ",index=traditional");
    const plsm_run_info *run = inspect_only_run(db);
    ck_assert_ptr_nonnull(run->model.type);
    ck_assert(!run->model_block.serves && run->fences.serves && !run->membership.serves && run->filter.serves);
    ask_keys(db, run, "counters, traditional");
    assert_ok(plsm_close(db));

    db = inspect_counters(env, INSPECT_ONE_RUN ",index=traditional,filter_bits=0", INSPECT_COUNTERS);
    assert_ok(plsm_compact(db, slice(NULL, 0), slice(NULL, 0)));
    run = inspect_only_run(db);
    ck_assert_ptr_null(run->model.type);
    ck_assert_ptr_null(run->membership_kind);
    ck_assert(!run->model_block.serves && run->fences.serves && !run->filter.serves);
    ck_assert_uint_eq(run->model_block.disk_bytes, 0);
    ask_keys(db, run, "counters without model");
    assert_ok(plsm_close(db));
}
END_TEST

/* Keys of every shape: ties, separators, tries, versions. */
START_TEST(shapes)
{
    enum key_shape shape = (enum key_shape)_i;
    struct key_set *set = key_set_create(shape, 6000, 50, 11);
    plsm *db = fixture_open(env, PLSM_CREATE, INSPECT_ONE_RUN ",model_run_bytes=1M");
    plsm_snapshot *snapshot = NULL;
    for (size_t i = 0; i < set->count; i++) {
        plsm_snapshot *next = i % 64 ? NULL : plsm_snapshot_create(db); /* so that versions are kept */
        if (next) {
            plsm_snapshot_destroy(db, snapshot);
            snapshot = next;
        }
        if (set->keys[i].size <= PLSM_KEY_MAX)
            assert_ok(plsm_put(db, set->keys[i], slice("a value of some length", 22), PLSM_NONE));
    }
    for (size_t i = 0; i < set->count && shape == KEYS_VERSIONS; i += 3) {
        assert_ok(plsm_put(db, set->keys[i], slice("newer", 5), PLSM_NONE));
        if (i % 2)
            assert_ok(plsm_delete(db, set->keys[i], PLSM_NONE));
    }
    assert_ok(plsm_flush(db));
    const plsm_run_info *run = inspect_only_run(db);
    ck_assert_uint_eq(run->versions, shape == KEYS_VERSIONS);
    ask_keys(db, run, key_shape_name(shape));
    plsm_snapshot_destroy(db, snapshot);
    assert_ok(plsm_close(db));
    key_set_destroy(set);
}
END_TEST

/* The plain layout: written by index=classic, told by every mode, and by its models once it was retrained. */
START_TEST(classic)
{
    static const char *const indexes[] = {"classic", "traditional", "learned"};
    plsm *db = inspect_counters(env, INSPECT_ONE_RUN ",index=classic", INSPECT_COUNTERS);
    assert_ok(plsm_flush(db));
    assert_ok(plsm_close(db));
    for (unsigned i = 0; i < sizeof indexes / sizeof indexes[0]; i++) {
        char options[100];
        struct inspect_levels levels = {0};
        plsm_lookup_info lookups;
        plsm_profile profile;
        snprintf(options, sizeof options, INSPECT_ONE_RUN ",index=%s", indexes[i]);
        db = fixture_open(env, PLSM_READ, options);
        const plsm_run_info *run = inspect_only_run(db);
        ck_assert_str_eq(run->layout, "classic");
        ck_assert_str_eq(run->filter_kind, "bloom");
        ck_assert_str_eq(run->membership_kind, "bloom");
        ck_assert_uint_eq(run->fingerprint_bytes, 0);
        ck_assert(run->fences.serves && run->filter.serves && !run->membership.serves && !run->young.serves);
        ck_assert_ptr_null(run->model.type);
        ask_keys(db, run, indexes[i]);
        assert_ok(plsm_inspect_levels(db, NULL, inspect_take_level, &levels, &lookups));
        ck_assert_uint_eq(levels.list[0].runs_classic, levels.list[0].runs);
        assert_ok(plsm_inspect_profile(db, NULL, &profile));
        ck_assert_str_eq(profile.index, indexes[i]);
        ck_assert_uint_eq(profile.answers_differ, 0);
        ck_assert_uint_eq(profile.all[PLSM_STEP_MODEL].lookups, 0);
        assert_ok(plsm_close(db));
    }
    db = fixture_open(env, 0, INSPECT_ONE_RUN);
    assert_ok(plsm_retrain(db, true, NULL, NULL));
    const plsm_run_info *run = inspect_only_run(db);
    ck_assert_str_eq(run->layout, "classic");
    ck_assert(run->model.beside && run->model_file.serves && !run->fences.serves);
    ck_assert_uint_eq(ask_keys(db, run, "classic, retrained").keys_answered, INSPECT_COUNTERS);
    assert_ok(plsm_close(db));
}
END_TEST

START_TEST(retrained)
{
    plsm *db = inspect_counters(env, INSPECT_ONE_RUN, INSPECT_COUNTERS);
    assert_ok(plsm_flush(db));
    const plsm_run_info *run = inspect_only_run(db);
    uint64_t embedded = run->model_block.disk_bytes;
    ck_assert_uint_eq(run->model_file.disk_bytes, 0);
    ck_assert(!run->model.beside);
    assert_ok(plsm_retrain(db, true, NULL, NULL));
    run = inspect_only_run(db);
    ck_assert_uint_eq(run->model_file.disk_bytes, embedded + 40);
    ck_assert(run->model.beside && run->model_file.serves && !run->model_block.serves);
    assert_ok(plsm_close(db));
    /* A better model than that is asked for: it is there, and says why it does not serve. */
    db = fixture_open(env, PLSM_READ, INSPECT_ONE_RUN ",model_run_bytes=16");
    run = inspect_only_run(db);
    ck_assert_ptr_nonnull(run->model.type);
    ck_assert(!run->model_file.serves && !run->model_block.serves && run->fences.serves && !run->model_file.damaged);
    ck_assert_ptr_nonnull(strstr(run->model_file.problem, "model_run_bytes"));
    assert_ok(plsm_close(db));
}
END_TEST

START_TEST(misses)
{
    char key[16];
    plsm_value value = {0};
    plsm *db = inspect_counters(env, INSPECT_ONE_RUN, INSPECT_COUNTERS);
    assert_ok(plsm_flush(db));
    for (unsigned i = 0; i < 3 * INSPECT_COUNTERS; i++)
        if (i % 3)
            assert_status(plsm_get(db, NULL, inspect_counter(i, key), &value), PLSM_NOT_FOUND);
    plsm_value_free(&value);
    plsm_keys_info keys = ask_keys(db, inspect_only_run(db), "misses");
    ck_assert_uint_gt(keys.filter.misses, 100);
    ck_assert_uint_eq(keys.filter.misses, keys.membership.misses);
    ck_assert_uint_eq(keys.membership.misses_passed, 0);
    ck_assert_uint_le(keys.filter.misses_passed, keys.filter.misses / 20);
    assert_ok(plsm_close(db));
}
END_TEST

START_TEST(nothing_there)
{
    plsm *db = fixture_open(env, PLSM_CREATE, INSPECT_ONE_RUN);
    struct inspect_runs runs = {0};
    plsm_keys_info keys;
    plsm_lookup_info lookups;
    plsm_profile profile;
    assert_ok(plsm_inspect_runs(db, inspect_take_run, &runs));
    ck_assert_uint_eq(runs.count, 0);
    assert_status(plsm_inspect_keys(db, 12345, NULL, NULL, NULL, &keys), PLSM_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(plsm_message(), "12345"));
    assert_ok(plsm_inspect_levels(db, NULL, NULL, NULL, &lookups));
    ck_assert_uint_eq(lookups.found, lookups.found_in_memory);
    assert_ok(plsm_inspect_profile(db, NULL, &profile));
    ck_assert_uint_eq(profile.answers_differ, 0);

    struct engine plain = *db->engine;
    const struct engine *engine = db->engine;
    plain.inspect_runs = NULL;
    plain.inspect_keys = NULL;
    plain.inspect_levels = NULL;
    plain.inspect_profile = NULL;
    db->engine = &plain;
    assert_status(plsm_inspect_runs(db, inspect_take_run, &runs), PLSM_UNSUPPORTED);
    assert_status(plsm_inspect_keys(db, 1, NULL, NULL, NULL, &keys), PLSM_UNSUPPORTED);
    assert_status(plsm_inspect_levels(db, NULL, NULL, NULL, &lookups), PLSM_UNSUPPORTED);
    assert_status(plsm_inspect_profile(db, NULL, &profile), PLSM_UNSUPPORTED);
    db->engine = engine;
    assert_ok(plsm_close(db));
}
END_TEST

/* --- levels ------------------------------------------------------------------------------------------------------- */

/* Several levels, some keys in memory. Keys are too sparse for exact sets, which would stay out of the young table. */
static plsm *several_levels(const char *options)
{
    char key[16];
    struct random random;
    plsm *db = fixture_open(env, PLSM_CREATE, options);
    random_seed(&random, 5);
    for (unsigned i = 0; i < INSPECT_COUNTERS; i++) {
        snprintf(key, sizeof key, "%08x", (unsigned)random_below(&random, UINT64_C(1) << 32));
        assert_ok(plsm_put(db, slice(key, 8), slice(key, 8), PLSM_NONE));
    }
    return db;
}

static void compare_level(const plsm_level_info *level, const struct inspect_runs *runs)
{
    plsm_level_info sum = {0};
    for (unsigned i = 0; i < runs->count; i++) {
        const plsm_run_info *run = &runs->list[i];
        if (run->level != level->level)
            continue;
        sum.runs++;
        sum.entries += run->entries;
        sum.pages += run->pages;
        sum.file_bytes += run->file_bytes;
        sum.model_bytes += run->model_block.serves ? run->model_block.memory_bytes : 0;
        sum.fences_bytes += run->fences.serves ? run->fences.memory_bytes : 0;
        sum.membership_bytes += run->membership.serves ? run->membership.memory_bytes : 0;
        sum.filter_bytes += run->filter.serves ? run->filter.memory_bytes : 0;
        sum.traditional_filter_bytes += run->filter.memory_bytes;
        sum.runs_young += run->young.serves;
        sum.young_bytes += run->young.memory_bytes;
        ck_assert(!run->young.serves || !(run->filter.serves || run->membership.serves));
        ck_assert_uint_eq(run->young.serves, run->young.memory_bytes > 0);
        ck_assert_uint_eq(run->page_bytes, run->pages * 4096);
        ck_assert_str_eq(run->layout, "packed");
    }
    ck_assert_uint_eq(level->runs, sum.runs);
    ck_assert_uint_eq(level->entries, sum.entries);
    ck_assert_uint_eq(level->pages, sum.pages);
    ck_assert_uint_eq(level->file_bytes, sum.file_bytes);
    ck_assert_uint_eq(level->model_bytes, sum.model_bytes);
    ck_assert_uint_eq(level->fences_bytes, sum.fences_bytes);
    ck_assert_uint_eq(level->membership_bytes, sum.membership_bytes);
    ck_assert_uint_eq(level->filter_bytes, sum.filter_bytes);
    ck_assert_uint_eq(level->traditional_filter_bytes, sum.traditional_filter_bytes);
    ck_assert_uint_eq(level->runs_young, sum.runs_young);
    ck_assert_uint_eq(level->young_bytes, sum.young_bytes);
    ck_assert_uint_eq(level->runs_classic, 0);
    uint64_t models = 0, memberships = 0;
    for (unsigned i = 0; i < PLSM_INSPECT_KINDS; i++) {
        models += level->models[i].kind ? level->models[i].runs : 0;
        memberships += level->memberships[i].kind ? level->memberships[i].runs : 0;
    }
    ck_assert_uint_eq(models, sum.runs);
    ck_assert_uint_eq(memberships, sum.runs);
}

START_TEST(levels_add_up)
{
    bool learned = _i == 0;
    plsm *db = several_levels(learned ? INSPECT_SMALL : INSPECT_SMALL ",index=traditional");
    struct inspect_levels levels = {0};
    plsm_lookup_info lookups;
    plsm_inspect_options options = {.keys = 3000, .seed = 1};
    assert_ok(plsm_inspect_levels(db, &options, inspect_take_level, &levels, &lookups));
    ck_assert_uint_gt(levels.count, 1);
    const struct inspect_runs *runs = inspect_all_runs(db);
    uint64_t found = 0, routed = 0, all = 0, young = 0, young_bytes = 0;
    for (unsigned i = 0; i < levels.count; i++) {
        const plsm_level_info *level = &levels.list[i];
        compare_level(level, runs);
        all += level->runs;
        found += level->found;
        routed += level->router.type != NULL;
        young += level->runs_young;
        young_bytes += level->young_bytes;
        ck_assert_uint_eq(level->runs_damaged, 0);
        ck_assert_uint_eq(level->keys_right, level->keys);
        ck_assert(learned ? level->keys > 0 : level->keys == 0);
        ck_assert_uint_eq(level->found_first, learned ? level->found : 0);
        ck_assert_uint_eq(level->router_bounds, level->router.type ? 2 * level->runs : 0);
        ck_assert_uint_eq(level->router_bounds_wrong, 0);
        ck_assert_uint_eq(level->router_keys_wrong, 0);
    }
    ck_assert_uint_eq(all, runs->count);
    ck_assert_uint_eq(levels.list[levels.count - 1].runs_young, 0); /* on the last level none is */
    ck_assert(learned ? young > 0 : young == 0);
    ck_assert_uint_ge(lookups.young.runs, young); /* some are not swept out yet */
    ck_assert_uint_ge(lookups.young.bytes, young_bytes);
    ck_assert_uint_eq(lookups.young.bytes > 0, learned);
    ck_assert_uint_eq(lookups.young_probes > 0, learned); /* none for keys outside of all young runs */
    ck_assert_uint_le(lookups.young_probes, lookups.keys - lookups.found_in_memory);
    for (unsigned i = 0; i < runs->count; i++)
        ask_keys(db, &runs->list[i], "a run of several levels");
    ck_assert(learned ? routed > 0 : routed == 0);
    ck_assert_uint_eq(lookups.keys, 3000);
    ck_assert_uint_eq(lookups.found, 3000);
    ck_assert_uint_gt(lookups.found_in_memory, 0);
    ck_assert_uint_eq(found + lookups.found_in_memory, lookups.found);
    ck_assert_uint_eq(lookups.fallbacks, 0);
    ck_assert_uint_ge(lookups.run_lookups, found);
    ck_assert_uint_le(lookups.level_wrong, lookups.file_wrong);
    assert_ok(plsm_close(db));
}
END_TEST

/* --- the profile -------------------------------------------------------------------------------------------------- */

static double ns_of(const plsm_step_info *step)
{
    return step->mean_ns * (double)step->lookups;
}

START_TEST(profile_adds_up)
{
    bool learned = _i % 2 == 0, absent = _i / 2;
    plsm *db = several_levels(learned ? INSPECT_SMALL : INSPECT_SMALL ",index=traditional");
    plsm_inspect_options options = {.keys = 2000, .absent = absent};
    plsm_profile p;
    double sum_ns = 0;
    assert_ok(plsm_inspect_profile(db, &options, &p));
    ck_assert_str_eq(p.index, learned ? "learned" : "traditional");
    ck_assert_uint_eq(p.keys, 2000);
    ck_assert_uint_eq(p.found, absent ? 0 : 2000);
    ck_assert_uint_eq(p.answers_differ, 0);
    ck_assert_uint_eq(p.total.lookups + p.interrupted, p.keys);
    ck_assert(p.clock_ns > 0 && p.get_ns > 0);
    for (unsigned step = 0; step < PLSM_STEPS; step++) {
        double levels_ns = 0;
        uint64_t on_levels = 0;
        for (unsigned level = 0; level < PLSM_INSPECT_LEVELS; level++) {
            levels_ns += ns_of(&p.levels[level][step]);
            on_levels += p.levels[level][step].lookups;
        }
        if (on_levels > 0)
            ck_assert_double_eq_tol(levels_ns, ns_of(&p.all[step]), 1 + levels_ns * 1e-6);
        ck_assert_uint_le(p.all[step].lookups, p.total.lookups);
        sum_ns += ns_of(&p.all[step]);
    }
    ck_assert_double_eq_tol(sum_ns, ns_of(&p.total), 1 + sum_ns * 1e-6);
    ck_assert_uint_eq(p.all[PLSM_STEP_VIEW].lookups, p.total.lookups);
    ck_assert_uint_eq(p.all[PLSM_STEP_MEMTABLES].lookups, p.total.lookups);
    ck_assert_uint_gt(p.all[PLSM_STEP_MEMBERSHIP].lookups, 0);
    /* The table is not asked for keys outside of all its runs. */
    ck_assert_uint_eq(p.all[PLSM_STEP_YOUNG].lookups > 0, learned);
    ck_assert_uint_le(p.all[PLSM_STEP_YOUNG].lookups, p.all[PLSM_STEP_HASH].lookups);
    ck_assert_uint_eq(p.all[PLSM_STEP_MODEL].lookups > 0, learned && p.run_lookups > 0);
    ck_assert_uint_eq(p.all[PLSM_STEP_SEARCH].lookups, p.all[PLSM_STEP_LOCATE].lookups);
    ck_assert_uint_eq(p.all[PLSM_STEP_COPY].lookups, absent ? 0 : p.total.lookups);
    ck_assert_uint_ge(p.pages, p.run_lookups);
    /* Those found in memory go no further. */
    ck_assert(absent ? p.all[PLSM_STEP_HASH].lookups == p.total.lookups
                     : p.all[PLSM_STEP_HASH].lookups < p.total.lookups);
    assert_ok(plsm_close(db));
}
END_TEST

static void add_reads(void *arg, const plsm_statistic *statistic)
{
    static const char *const names[] = {"sim.reads",
                                        "sim.hits",
                                        "sim.blocks",
                                        "sim.traditional_reads",
                                        "sim.traditional_hits",
                                        "sim.traditional_blocks"};
    uint64_t *values = arg;
    for (unsigned i = 0; i < 6; i++)
        if (strcmp(statistic->name, names[i]) == 0)
            values[i] = statistic->integer;
}

/* What looking inside does is no read of the mode in use; but lookups are, and are told to both sides. */
START_TEST(simulated)
{
    plsm *db = several_levels(INSPECT_SMALL ",index=traditional,sim=ssd");
    plsm_inspect_options options = {.keys = 500, .absent = true};
    plsm_keys_info keys;
    plsm_lookup_info lookups;
    plsm_profile profile;
    struct inspect_levels levels = {0};
    uint64_t values[6] = {0}, reads_before = 0;
    plsm_statistics(db, add_reads, values);
    reads_before = values[0];
    const struct inspect_runs *runs = inspect_all_runs(db);
    for (unsigned i = 0; i < runs->count; i++)
        assert_ok(plsm_inspect_keys(db, runs->list[i].number, &options, NULL, NULL, &keys));
    assert_ok(plsm_inspect_levels(db, &options, inspect_take_level, &levels, &lookups));
    assert_ok(plsm_inspect_profile(db, &options, &profile));
    options.absent = false;
    assert_ok(plsm_inspect_profile(db, &options, &profile));
    plsm_statistics(db, add_reads, values);
    ck_assert_uint_gt(values[0], reads_before);
    for (unsigned i = 0; i < 3; i++)
        ck_assert_uint_eq(values[i], values[i + 3]);
    assert_ok(plsm_close(db));
}
END_TEST

struct value_logs {
    uint64_t count, bytes, live_bytes, runs;
};

static void take_value_log(void *arg, const plsm_value_log_info *log)
{
    struct value_logs *logs = arg;
    ck_assert_uint_gt(log->number, 0);
    ck_assert_uint_ge(log->bytes, log->live_bytes);
    ck_assert_uint_gt(log->runs, 0);
    logs->count++;
    logs->bytes += log->bytes;
    logs->live_bytes += log->live_bytes;
    logs->runs += log->runs;
}

/* What runs say that they point to is what is alive; what was overwritten and merged away is garbage. */
START_TEST(value_logs)
{
    static const uint8_t large[8000];
    enum { KEYS = 100, OVERWRITTEN = 30 };
    plsm *db = fixture_open(env, PLSM_CREATE, INSPECT_ONE_RUN ",separate_garbage=1,deletions_compact=0");
    char text[16];
    for (unsigned i = 0; i < KEYS + OVERWRITTEN; i++) {
        if (i == KEYS)
            assert_ok(plsm_flush(db));
        assert_ok(plsm_put(db, inspect_counter(i % KEYS, text), slice(large, sizeof large), PLSM_NONE));
    }
    assert_ok(plsm_compact(db, (plsm_slice){0}, (plsm_slice){0}));
    struct value_logs logs = {0};
    assert_ok(plsm_inspect_values(db, take_value_log, &logs));
    const plsm_run_info *run = inspect_only_run(db);
    ck_assert_uint_eq(run->value_logs, logs.count);
    ck_assert_uint_eq(run->value_log_bytes, logs.live_bytes);
    ck_assert_uint_eq(logs.runs, logs.count);
    ck_assert_uint_gt(logs.live_bytes, KEYS * sizeof large);
    ck_assert_uint_gt(logs.bytes - logs.live_bytes, OVERWRITTEN * sizeof large);
    ck_assert_uint_lt(logs.bytes - logs.live_bytes, (OVERWRITTEN + 1) * sizeof large);
    ck_assert_uint_eq(run->range_deletions, 0);
    plsm_slice first = slice_of("0"), behind = slice_of("1");
    assert_ok(plsm_delete_range(db, first, behind, PLSM_NONE));
    assert_ok(plsm_flush(db));
    uint64_t ranges = 0;
    const struct inspect_runs *runs = inspect_all_runs(db);
    for (unsigned i = 0; i < runs->count; i++)
        ranges += runs->list[i].range_deletions;
    ck_assert_uint_eq(ranges, 1);
    assert_ok(plsm_close(db));
}
END_TEST

START_TEST(step_names)
{
    for (unsigned i = 0; i < PLSM_STEPS; i++)
        for (unsigned j = 0; j < i; j++)
            ck_assert_str_ne(plsm_step_name((plsm_step)i), plsm_step_name((plsm_step)j));
    ck_assert_str_eq(plsm_step_name(PLSM_STEPS), "unknown");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("inspect");
    TCase *cases = tcase_create("inspect");
    tcase_set_timeout(cases, 300);
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_add_test(cases, counters_are_one_segment);
    tcase_add_test(cases, modes);
    tcase_add_loop_test(cases, shapes, 0, KEY_SHAPE_COUNT);
    tcase_add_test(cases, classic);
    tcase_add_test(cases, retrained);
    tcase_add_test(cases, misses);
    tcase_add_test(cases, nothing_there);
    tcase_add_loop_test(cases, levels_add_up, 0, 2);
    tcase_add_loop_test(cases, profile_adds_up, 0, 4);
    tcase_add_test(cases, simulated);
    tcase_add_test(cases, value_logs);
    tcase_add_test(cases, step_names);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
