/* Looking inside a store that is damaged, without memory, or being written: what is wrong is told, and nothing breaks.
 *
 * INSPECT_SECONDS: how long beside a writer. */
#include "../harness/inspect_fixture.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/random.h"
#include "lsm/run_format.h"

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

/* --- damage ------------------------------------------------------------------------------------------------------- */

/* The content of a run's file. */
static uint8_t *run_content(uint64_t number, size_t *size)
{
    char path[64];
    uint8_t *data = NULL;
    snprintf(path, sizeof path, "/s/run-%08llu", (unsigned long long)number);
    assert_ok(env_memory_content(env, path, &data, size));
    return data;
}

enum damage { HEADER, FOOTER, PAGE, FENCES, FILTER, MODEL, MEMBERSHIP, MODEL_FILE, DAMAGES };

static void damage_run(uint64_t number, enum damage damage)
{
    size_t size = 0;
    uint8_t *data = run_content(number, &size);
    const struct run_footer *footer = (const struct run_footer *)(const void *)(data + size - sizeof *footer);
    size_t at = 0;
    switch (damage) {
    case HEADER:
        at = 16;
        break;
    case FOOTER:
        at = size - sizeof *footer + 130;
        break;
    case PAGE:
        at = 2 * PAGE_SIZE + 100;
        break;
    case FENCES:
        at = footer->blocks[RUN_FENCES].offset + 20;
        break;
    case FILTER:
        at = footer->blocks[RUN_FILTER].offset + 50;
        break;
    case MODEL:
        at = footer->blocks[RUN_MODEL].offset + 100;
        break;
    default:
        at = footer->membership.offset + 90;
    }
    data[at] ^= 0x10;
}

static void damage_model_file(uint64_t number)
{
    char path[64];
    size_t size = 0;
    uint8_t *data = NULL;
    snprintf(path, sizeof path, "/s/model-%08llu", (unsigned long long)number);
    assert_ok(env_memory_content(env, path, &data, &size));
    data[20] ^= 1;
}

static const plsm_part_info *part_of(const plsm_run_info *run, enum damage damage)
{
    switch (damage) {
    case FENCES:
        return &run->fences;
    case FILTER:
        return &run->filter;
    case MODEL:
        return &run->model_block;
    case MEMBERSHIP:
        return &run->membership;
    default:
        return &run->model_file;
    }
}

/* A part that is damaged is told, the others are as they were, and the keys can be read. */
static void check_part(plsm *db, const plsm_run_info *run, enum damage damage)
{
    const plsm_part_info *part = part_of(run, damage);
    plsm_keys_info keys;
    ck_assert(part->damaged && !part->serves && part->disk_bytes > 0 && part->memory_bytes == 0);
    ck_assert_msg(*part->problem, "the damage has no name");
    for (enum damage other = FENCES; other < DAMAGES; other++)
        if (other != damage)
            ck_assert(!part_of(run, other)->damaged);
    assert_ok(plsm_inspect_keys(db, run->number, NULL, NULL, NULL, &keys));
    ck_assert_uint_eq(keys.keys, INSPECT_COUNTERS);
    ck_assert_uint_eq(keys.keys_answered, INSPECT_COUNTERS); /* by the other model, where there is one */
    ck_assert_uint_eq(keys.errors.keys[INSPECT_MIDDLE], INSPECT_COUNTERS);
    ck_assert_uint_eq(keys.filter.present, damage == FILTER ? 0 : INSPECT_COUNTERS);
    ck_assert_uint_eq(keys.membership.present, damage == MEMBERSHIP ? 0 : INSPECT_COUNTERS);
    ck_assert_uint_eq(keys.filter.denied + keys.membership.denied, 0);
    if (damage == MEMBERSHIP)
        ck_assert(run->filter.serves);
}

START_TEST(damage_is_told)
{
    enum damage damage = (enum damage)_i;
    plsm *db = inspect_counters(env, INSPECT_ONE_RUN, INSPECT_COUNTERS);
    assert_ok(plsm_flush(db));
    assert_ok(plsm_retrain(db, true, NULL, NULL));
    uint64_t number = inspect_only_run(db)->number;
    assert_ok(plsm_close(db));
    if (damage == MODEL_FILE)
        damage_model_file(number);
    else
        damage_run(number, damage);

    struct inspect_levels levels = {0};
    plsm_lookup_info lookups;
    plsm_keys_info keys;
    plsm_profile profile;
    db = fixture_open(env, PLSM_READ, INSPECT_ONE_RUN);
    const plsm_run_info *run = NULL;
    const struct inspect_runs *runs = inspect_all_runs(db); /* of one store: bounds come from the MANIFEST */
    for (unsigned i = 0; i < runs->count; i++)
        run = runs->list[i].number == number ? &runs->list[i] : run;
    ck_assert_ptr_nonnull(run);
    ck_assert_uint_eq(run->entries, INSPECT_COUNTERS);
    ck_assert_uint_eq(run->damaged, damage == HEADER || damage == FOOTER);
    if (run->damaged || damage == PAGE)
        assert_status(plsm_inspect_keys(db, number, NULL, NULL, NULL, &keys), PLSM_CORRUPT);
    else
        check_part(db, run, damage);
    if (run->damaged)
        ck_assert_msg(strstr(run->problem, "run-"), "%s", run->problem);
    assert_ok(plsm_inspect_levels(db, NULL, inspect_take_level, &levels, &lookups));
    ck_assert_uint_eq(levels.list[0].runs_damaged, damage != PAGE);
    ck_assert_uint_eq(levels.list[0].pages_damaged > 0, damage == PAGE);
    plsm_status status = plsm_inspect_profile(db, NULL, &profile);
    ck_assert(status == PLSM_OK || status == PLSM_CORRUPT);
    assert_ok(plsm_close(db));
}
END_TEST

/* Any byte of a small run flipped: something is told, or nothing is wrong, and it never crashes. */
START_TEST(any_damage)
{
    enum { STRIDE = 41 };
    plsm *db = inspect_counters(env, INSPECT_ONE_RUN, 700);
    assert_ok(plsm_flush(db));
    uint64_t number = inspect_only_run(db)->number;
    assert_ok(plsm_close(db));
    size_t size = 0;
    run_content(number, &size);
    for (size_t at = 0; at < size; at += at < size - 6000 ? 997 : STRIDE) {
        struct inspect_levels levels = {0};
        plsm_inspect_options options = {.keys = 50};
        plsm_lookup_info lookups;
        plsm_keys_info keys;
        plsm_profile profile;
        run_content(number, &size)[at] ^= 0x41;
        db = fixture_open(env, PLSM_READ, INSPECT_ONE_RUN);
        inspect_all_runs(db);
        plsm_status status = plsm_inspect_keys(db, number, &options, NULL, NULL, &keys);
        ck_assert_msg(status == PLSM_OK || status == PLSM_CORRUPT || status == PLSM_VERSION, "byte %zu: %s", at,
                      plsm_status_name(status));
        if (status == PLSM_OK)
            ck_assert_uint_eq(keys.filter.denied + keys.membership.denied + keys.young.denied, 0);
        assert_ok(plsm_inspect_levels(db, &options, inspect_take_level, &levels, &lookups));
        status = plsm_inspect_profile(db, &options, &profile);
        ck_assert(status == PLSM_OK || status == PLSM_CORRUPT || status == PLSM_VERSION);
        assert_ok(plsm_close(db));
        run_content(number, &size)[at] ^= 0x41;
    }
}
END_TEST

/* --- allocations -------------------------------------------------------------------------------------------------- */

/* Calls what is looked at by `which`. */
static plsm_status look(plsm *db, int which, uint64_t number)
{
    struct inspect_runs runs = {0};
    struct inspect_levels levels = {0};
    plsm_keys_info keys;
    plsm_lookup_info lookups;
    plsm_profile profile;
    plsm_inspect_options options = {.keys = 20, .absent = true};
    switch (which) {
    case 0:
        return plsm_inspect_runs(db, inspect_take_run, &runs);
    case 1:
        return plsm_inspect_keys(db, number, &options, NULL, NULL, &keys);
    case 2:
        return plsm_inspect_levels(db, &options, inspect_take_level, &levels, &lookups);
    default:
        return plsm_inspect_profile(db, &options, &profile);
    }
}

START_TEST(allocations_fail)
{
    plsm *db = inspect_counters(env, INSPECT_ONE_RUN, 700);
    assert_ok(plsm_flush(db));
    uint64_t number = inspect_only_run(db)->number;
    assert_ok(plsm_close(db));
    for (uint64_t nth = 1;; nth++) {
        db = fixture_open(env, PLSM_READ, INSPECT_ONE_RUN);
        mem_fail_at(nth);
        plsm_status status = look(db, _i, number);
        bool failed = mem_count() >= nth;
        mem_fail_at(0);
        ck_assert_msg(status == PLSM_OK || (failed && status == PLSM_NO_MEMORY), "allocation %llu: %s",
                      (unsigned long long)nth, plsm_status_name(status));
        assert_ok(look(db, _i, number)); /* nothing is left half done */
        assert_ok(plsm_close(db));
        if (!failed)
            break;
        ck_assert_uint_lt(nth, 1000);
    }
}
END_TEST

/* --- beside a writer ---------------------------------------------------------------------------------------------- */

struct writer {
    plsm *db;
    atomic_bool stop;
    plsm_status status;
};

static void write_on(void *arg)
{
    struct writer *w = arg;
    struct random random;
    char key[16], value[100] = {0};
    random_seed(&random, 9);
    while (!atomic_load(&w->stop) && w->status == PLSM_OK) {
        plsm_slice at = inspect_counter((unsigned)random_below(&random, 100000), key);
        w->status = random_below(&random, 8) ? plsm_put(w->db, at, slice(value, sizeof value), PLSM_NONE)
                                             : plsm_delete(w->db, at, PLSM_NONE);
    }
}

static void count_run(void *arg, const plsm_run_info *run)
{
    uint64_t *newest = arg;
    ck_assert(!run->damaged && !run->fences.damaged && !run->filter.damaged && !run->membership.damaged);
    *newest = run->number > *newest ? run->number : *newest;
}

/* A run that was told may be gone when its keys are asked for. */
START_TEST(beside_a_writer)
{
    const char *seconds = getenv("INSPECT_SECONDS");
    uint64_t end_ns = env_now_ns(env) + (uint64_t)(seconds ? atoi(seconds) : 2) * 1000000000;
    struct writer writer = {.db = fixture_open(env, PLSM_CREATE,
                                               "buffer_size=128K,file_size=128K,size_ratio=3,"
                                               "l0_compact=2,cache_size=256K,model_batch=0")};
    struct env_thread *thread = NULL;
    uint64_t asked = 0;
    assert_ok(env_thread_start(env, write_on, &writer, &thread));
    while (env_now_ns(env) < end_ns) {
        struct inspect_levels levels = {0};
        plsm_inspect_options options = {.keys = 200, .seed = asked};
        plsm_keys_info keys;
        plsm_lookup_info lookups;
        plsm_profile profile;
        uint64_t newest = 0;
        assert_ok(plsm_inspect_runs(writer.db, count_run, &newest));
        plsm_status status =
            newest ? plsm_inspect_keys(writer.db, newest, &options, NULL, NULL, &keys) : PLSM_NOT_FOUND;
        ck_assert(status == PLSM_OK || status == PLSM_NOT_FOUND);
        if (status == PLSM_OK) {
            ck_assert_uint_eq(keys.errors.keys[INSPECT_MIDDLE], keys.keys_answered);
            ck_assert_uint_eq(keys.filter.denied + keys.membership.denied + keys.young.denied, 0);
            asked++;
        }
        assert_ok(plsm_inspect_levels(writer.db, &options, inspect_take_level, &levels, &lookups));
        options.absent = asked % 2;
        assert_ok(plsm_inspect_profile(writer.db, &options, &profile));
        ck_assert_uint_eq(profile.answers_differ, 0);
    }
    atomic_store(&writer.stop, true);
    env_thread_join(thread);
    assert_ok(writer.status);
    ck_assert_uint_gt(asked, 0);
    assert_ok(plsm_close(writer.db));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("inspect damage");
    TCase *cases = tcase_create("inspect damage");
    tcase_set_timeout(cases, 300);
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_add_loop_test(cases, damage_is_told, 0, DAMAGES);
    tcase_add_test(cases, any_damage);
    tcase_add_loop_test(cases, allocations_fail, 0, 4);
    tcase_add_test(cases, beside_a_writer);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
