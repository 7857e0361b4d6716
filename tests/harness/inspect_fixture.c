#include "inspect_fixture.h"

#include <stdio.h>

#include "base/banned.h"

plsm_slice inspect_counter(unsigned number, char text[16])
{
    snprintf(text, 16, "%08u", number);
    return slice_of(text);
}

plsm *inspect_counters(struct env *env, const char *options, unsigned count)
{
    char key[16];
    plsm *db = fixture_open(env, PLSM_CREATE, options);
    for (unsigned i = 0; i < count; i++)
        assert_ok(plsm_put(db, inspect_counter(3 * i, key), slice("0123456789", 10), PLSM_NONE));
    return db;
}

void inspect_take_run(void *arg, const plsm_run_info *run)
{
    struct inspect_runs *runs = arg;
    ck_assert_uint_lt(runs->count, INSPECT_RUNS_MAX);
    ck_assert(slice_compare(run->smallest, run->largest) <= 0);
    runs->list[runs->count++] = *run;
}

void inspect_take_level(void *arg, const plsm_level_info *level)
{
    struct inspect_levels *levels = arg;
    ck_assert(levels->count == 0 || levels->list[levels->count - 1].level < level->level);
    levels->list[levels->count++] = *level;
}

const struct inspect_runs *inspect_all_runs(plsm *db)
{
    static struct inspect_runs runs;
    runs.count = 0;
    assert_ok(plsm_inspect_runs(db, inspect_take_run, &runs));
    return &runs;
}

const plsm_run_info *inspect_only_run(plsm *db)
{
    const struct inspect_runs *runs = inspect_all_runs(db);
    const plsm_run_info *found = NULL;
    for (unsigned i = 0; i < runs->count; i++)
        if (runs->list[i].keyspace == PLSM_NAMES) {
            ck_assert_msg(!found, "there are several runs");
            found = &runs->list[i];
        }
    ck_assert_ptr_nonnull(found);
    return found;
}
