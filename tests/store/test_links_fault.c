/* Failing calls and failing allocations at every place of a short life of a value that several names share: a failed
 * operation leaves things as they were, what is acknowledged is there after reopening, plsm_check finds every count
 * right, and with the last name everything goes. */
#include "../harness/store_fixture.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/env_fault.h"

#include "base/banned.h"

enum { SIZE = 270000, PAGE = 4096, OPERATIONS = 7, KEYS = 3, SHARED = 70000 };

static const char *const keys[KEYS] = {"a", "b", "c"};
static uint8_t *data;

static plsm_status link_key(plsm *db, const char *from, const char *to)
{
    plsm_batch *batch = plsm_batch_create();
    if (!batch)
        return PLSM_NO_MEMORY;
    plsm_status status = from ? plsm_batch_share(batch, slice_of(from), SHARED) : PLSM_OK;
    if (status == PLSM_OK)
        status = plsm_batch_link(batch, SHARED, slice_of(to), slice_of("m"));
    if (status == PLSM_OK)
        status = plsm_write(db, batch, PLSM_SYNC);
    plsm_batch_destroy(batch);
    return status;
}

/* Writes a page into each of two extents. */
static plsm_status edit(plsm *db)
{
    plsm_edit *open = NULL;
    plsm_status status = plsm_edit_open_shared(db, SHARED, 0, &open);
    for (uint64_t offset = PAGE; status == PLSM_OK && offset < SIZE - 2 * PAGE; offset += 128 << 10)
        status = plsm_edit_write(open, offset, data + 1, PAGE);
    if (status == PLSM_OK)
        status = plsm_edit_commit(open, slice_of("e"), PLSM_SYNC);
    plsm_edit_close(open);
    return status;
}

/* One of the operations, each durable when it succeeds. */
static plsm_status operate(plsm *db, int number)
{
    switch (number) {
    case 0:
        return plsm_put(db, slice_of("a"), slice(data, SIZE), PLSM_SYNC);
    case 1:
        return link_key(db, "a", "b");
    case 2:
        return edit(db);
    case 3:
        return link_key(db, NULL, "c");
    case 4: /* a name is taken away, by a deletion and by a put */
        return plsm_delete(db, slice_of("a"), PLSM_SYNC);
    case 5:
        return plsm_put(db, slice_of("b"), slice_of("small"), PLSM_SYNC);
    default: /* the last one, and what is no name of it */
        return plsm_delete_range(db, slice_of("b"), slice_of("d"), PLSM_SYNC);
    }
}

/* --- states ------------------------------------------------------------------------------------------------------- */

struct state {
    struct {
        uint64_t sum, size, shared, names, meta;
    } keys[KEYS]; /* names 0: absent */
};

static struct state states[OPERATIONS + 1];

static struct state look(plsm *db)
{
    struct state state = {0};
    for (int i = 0; i < KEYS; i++) {
        plsm_value value = {0};
        size_t size = 0;
        uint8_t *bytes = fixture_read(db, NULL, keys[i], &size);
        if (bytes) {
            assert_ok(plsm_get(db, NULL, slice_of(keys[i]), &value));
            state.keys[i].sum = checksum(bytes, size, 0);
            state.keys[i].size = size;
            state.keys[i].shared = value.shared;
            state.keys[i].names = value.names;
            state.keys[i].meta = value.meta.size ? *(const uint8_t *)value.meta.data : 0;
        }
        plsm_value_free(&value);
        mem_free(bytes);
    }
    return state;
}

static bool is_state(plsm *db, int number)
{
    struct state found = look(db);
    return number <= OPERATIONS && memcmp(&found, &states[number], sizeof found) == 0;
}

static void learn_states(void)
{
    struct env *env = env_memory_create(1);
    plsm *db = fixture_open(env, PLSM_CREATE, NULL);
    data = mem_alloc(SIZE);
    fixture_fill(data, SIZE, 1);
    states[0] = look(db);
    for (int i = 0; i < OPERATIONS; i++) {
        assert_ok(operate(db, i));
        states[i + 1] = look(db);
        ck_assert(!is_state(db, i));
    }
    assert_ok(plsm_close(db));
    env_memory_destroy(env);
}

/* Reopens without faults: `done` operations, or one more, must be there; then the rest is done. */
static void reopen(struct env *env, int done, const char *what, uint64_t nth)
{
    plsm *db = fixture_open(env, 0, NULL);
    done += !is_state(db, done);
    if (!is_state(db, done))
        ck_abort_msg("%s %llu: up to operation %d neither the old nor the new state", what, (unsigned long long)nth,
                     done);
    fixture_check(db);
    ck_assert_uint_eq(fixture_markers(db), 0);
    for (; done < OPERATIONS; done++)
        assert_ok(operate(db, done));
    ck_assert(is_state(db, OPERATIONS));
    ck_assert_uint_eq(fixture_markers(db), 0);
    ck_assert_uint_eq(fixture_count(db, PLSM_INODES), 0);
    ck_assert_uint_eq(fixture_count(db, PLSM_EXTENTS), 0);
    assert_ok(plsm_close(db));
}

/* --- faults ------------------------------------------------------------------------------------------------------- */

static void fail_calls(enum env_fault fault, bool sticky, const char *name)
{
    uint64_t nth = 1;
    unsigned failures = 0;
    for (bool fired = true; fired; nth++) {
        struct env *base = env_memory_create(nth), *env = env_fault_create(base);
        plsm *db = fixture_open(env, PLSM_CREATE, NULL);
        int done = 0;
        env_fault_arm(env, ENV_CALL_ANY, nth, fault, sticky);
        while (done < OPERATIONS && operate(db, done) == PLSM_OK)
            done++;
        fired = env_fault_fired(env);
        env_fault_disarm(env);
        failures += done < OPERATIONS;
        ck_assert(done == OPERATIONS || fired);
        if (done < OPERATIONS && !is_state(db, done) && !is_state(db, done + 1))
            ck_abort_msg("%s %llu: after %d operations the open store is neither old nor new", name,
                         (unsigned long long)nth, done);
        plsm_close(db); /* may fail, too */
        reopen(base, done, name, nth);
        env_fault_destroy(env);
        env_memory_destroy(base);
    }
    printf("link faults: %s at each of %llu calls, %u operations failed\n", name, (unsigned long long)nth - 1,
           failures);
    ck_assert_uint_gt(failures, fixture_is_tree() ? 20 : 5);
}

START_TEST(failed_calls)
{
    learn_states();
    fail_calls(ENV_FAULT_IO, false, "EIO");
    fail_calls(ENV_FAULT_NO_SPACE, true, "ENOSPC from");
    mem_free(data);
}
END_TEST

START_TEST(failed_allocations)
{
    unsigned failures = 0;
    uint64_t nth = 1;
    learn_states();
    for (bool fired = true; fired; nth++) {
        struct env *env = env_memory_create(nth);
        plsm *db = fixture_open(env, PLSM_CREATE, NULL);
        int done = 0;
        mem_fail_at(nth);
        while (done < OPERATIONS && operate(db, done) == PLSM_OK)
            done++;
        fired = mem_count() >= nth;
        mem_fail_at(0);
        failures += done < OPERATIONS;
        ck_assert(done == OPERATIONS || fired);
        if (!is_state(db, done))
            ck_abort_msg("allocation %llu: operation %d failed and changed something", (unsigned long long)nth, done);
        plsm_close(db);
        reopen(env, done, "allocation", nth);
        env_memory_destroy(env);
    }
    printf("link faults: %llu allocations, %u operations failed\n", (unsigned long long)nth - 1, failures);
    ck_assert_uint_gt(failures, 20);
    mem_free(data);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {failed_calls, failed_allocations};
    return fixture_run_engines("links_fault", tests, sizeof tests / sizeof tests[0]);
}
