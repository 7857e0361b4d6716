/* Failing calls and failing allocations at every place of a short life of large values: a failed operation leaves the
 * old value, what is acknowledged is there after reopening, and nothing leaks. */
#include "../harness/edit_model.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/env_fault.h"
#include "tests/harness/pool.h"

#include "base/banned.h"

enum { SIZE = 500000, OPERATIONS = 9 };

static uint8_t *data;

static plsm_status edit(plsm *db, const char *key, plsm_edit_flags flags, uint64_t offset, size_t size, uint64_t cut)
{
    plsm_edit *open = NULL;
    plsm_status status = plsm_edit_open(db, slice_of(key), flags, &open);
    if (status == PLSM_OK)
        status = plsm_edit_write(open, offset, data + 1, size);
    if (status == PLSM_OK && cut)
        status = plsm_edit_truncate(open, cut);
    if (status == PLSM_OK)
        status = plsm_edit_commit(open, slice_of("m"), PLSM_SYNC);
    plsm_edit_close(open);
    return status;
}

static plsm_status move(plsm *db, const char *from, const char *to)
{
    plsm_batch *batch = plsm_batch_create();
    if (!batch)
        return PLSM_NO_MEMORY;
    plsm_status status = plsm_batch_move(batch, slice_of(from), slice_of(to));
    if (status == PLSM_OK)
        status = plsm_write(db, batch, PLSM_SYNC);
    plsm_batch_destroy(batch);
    return status;
}

/* One of the operations, each durable when it succeeds. */
static plsm_status operate(plsm *db, int number)
{
    const char *a = edit_model_key(0), *b = edit_model_key(1);
    switch (number) {
    case 0:
        return plsm_put(db, slice_of(a), slice(data, SIZE), PLSM_SYNC);
    case 1: /* in place */
        return edit(db, a, 0, 130000, 150000, 0);
    case 2: /* cut off, some of it just written */
        return edit(db, a, 0, 200000, 290000, 300001);
    case 3:
        return plsm_put(db, slice_of(b), slice(data, SIZE - 1), PLSM_SYNC);
    case 4: /* replaces a large value */
        return move(db, a, b);
    case 5: /* a large one by a new large one */
        return edit(db, b, PLSM_EDIT_NEW, 10, 400000, 0);
    case 6: /* small again */
        return edit(db, b, 0, 10, 10, 1000);
    case 7:
        return plsm_put(db, slice_of(b), slice(data, SIZE - 2), PLSM_SYNC);
    default:
        return plsm_delete(db, slice_of(b), PLSM_SYNC);
    }
}

/* How many faults apart. Of engines but the tree a few tell whether they leave the store what it needs. */
static uint64_t stride(void)
{
    return (fixture_is_tree() ? 1 : 12) * setting("TEST_THIN", 1);
}

/* What the store holds after each number of operations. */
static struct model_digest states[OPERATIONS + 1];

static bool same(const struct model_digest *a, const struct model_digest *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

static void learn_states(void)
{
    struct env *env = env_memory_create(1);
    plsm *db = fixture_open(env, PLSM_CREATE, NULL);
    data = mem_alloc(SIZE + 1);
    fixture_fill(data, SIZE + 1, 1);
    states[0] = edit_store_digest(db);
    for (int i = 0; i < OPERATIONS; i++) {
        assert_ok(operate(db, i));
        states[i + 1] = edit_store_digest(db);
        ck_assert(!same(&states[i], &states[i + 1]));
    }
    ck_assert_uint_eq(fixture_count(db, PLSM_EXTENTS), 0);
    assert_ok(plsm_close(db));
    env_memory_destroy(env);
}

/* Reopens without faults: `done` operations, or one more, must be there. */
static void reopen(struct env *env, int done, const char *what, uint64_t nth)
{
    plsm *db = fixture_open(env, 0, NULL);
    struct model_digest found = edit_store_digest(db);
    bool one_more = done < OPERATIONS && same(&found, &states[done + 1]);
    if (!same(&found, &states[done]) && !one_more)
        ck_abort_msg("%s %llu: after %d operations neither the old nor the new state", what, (unsigned long long)nth,
                     done);
    ck_assert_uint_eq(fixture_markers(db), 0);
    fixture_check(db);
    for (int i = done + one_more; i < OPERATIONS; i++)
        assert_ok(operate(db, i));
    found = edit_store_digest(db);
    ck_assert(same(&found, &states[OPERATIONS]));
    ck_assert_uint_eq(fixture_markers(db), 0);
    ck_assert_uint_eq(fixture_count(db, PLSM_EXTENTS), 0);
    assert_ok(plsm_close(db));
}

START_TEST(failed_calls)
{
    static const struct {
        enum env_fault fault;
        bool sticky;
        const char *name;
    } kinds[] = {
        {ENV_FAULT_IO, false, "EIO"},
        {ENV_FAULT_NO_SPACE, false, "ENOSPC"},
        {ENV_FAULT_NO_SPACE, true, "ENOSPC from"},
        {ENV_FAULT_SHORT, false, "short"},
    };
    learn_states();
    for (size_t kind = 0; kind < sizeof kinds / sizeof kinds[0]; kind++) {
        bool fired = true;
        unsigned failures = 0;
        uint64_t nth = 1;
        for (; fired; nth += stride()) {
            struct env *base = env_memory_create(nth), *env = env_fault_create(base);
            plsm *db = fixture_open(env, PLSM_CREATE, NULL);
            int done = 0;
            env_fault_arm(env, ENV_CALL_ANY, nth, kinds[kind].fault, kinds[kind].sticky);
            while (done < OPERATIONS && operate(db, done) == PLSM_OK)
                done++;
            fired = env_fault_fired(env);
            env_fault_disarm(env);
            failures += done < OPERATIONS;
            if (done < OPERATIONS) {
                struct model_digest found = edit_store_digest(db);
                if (!same(&found, &states[done]) && !same(&found, &states[done + 1]))
                    ck_abort_msg("%s %llu: after %d operations the open store is neither old nor new", kinds[kind].name,
                                 (unsigned long long)nth, done);
            }
            ck_assert(done == OPERATIONS || fired);
            ck_assert(done == OPERATIONS || kinds[kind].fault != ENV_FAULT_SHORT);
            plsm_close(db); /* may fail, too */
            reopen(base, done, kinds[kind].name, nth);
            env_fault_destroy(env);
            env_memory_destroy(base);
        }
        printf("edit faults: %s within %llu calls, %u operations failed\n", kinds[kind].name,
               (unsigned long long)nth - 1, failures);
        ck_assert_uint_gt(nth, 40);
    }
    mem_free(data);
}
END_TEST

START_TEST(failed_allocations)
{
    unsigned failures = 0;
    uint64_t nth = 1;
    learn_states();
    for (bool fired = true; fired; nth += stride()) {
        struct env *env = env_memory_create(nth);
        plsm *db = fixture_open(env, PLSM_CREATE, NULL);
        int done = 0;
        mem_fail_at(nth);
        while (done < OPERATIONS && operate(db, done) == PLSM_OK)
            done++;
        fired = mem_count() >= nth;
        mem_fail_at(0);
        failures += done < OPERATIONS;
        if (done < OPERATIONS) {
            struct model_digest found = edit_store_digest(db);
            if (!same(&found, &states[done]))
                ck_abort_msg("allocation %llu: operation %d failed and changed something", (unsigned long long)nth,
                             done);
        }
        ck_assert(done == OPERATIONS || fired);
        plsm_close(db);
        reopen(env, done, "allocation", nth);
        env_memory_destroy(env);
    }
    printf("edit faults: %llu allocations, %u operations failed\n", (unsigned long long)nth - 1, failures);
    ck_assert_uint_gt(failures, fixture_is_tree() ? thinned(20) : 0);
    mem_free(data);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {failed_calls, failed_allocations};
    return fixture_run_engines("edit_fault", tests, sizeof tests / sizeof tests[0]);
}
