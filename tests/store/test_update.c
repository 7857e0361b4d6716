/* Updates: read, modify and write in one step, on every engine. What the function is shown, what becomes of meta, time,
 * large and shared values, what is refused, and that increments of several threads are all counted. */
#include <stdio.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "tests/harness/store_fixture.h"

#include "base/banned.h"

enum { NOW = 1000, LARGE = 300 << 10, THREADS = 4, COUNTERS = 3, INCREMENTS = 2000 };

static struct env *env;
static plsm *db;

static void start(const char *more)
{
    env = env_memory_create(1);
    env_memory_set_wall_s(env, NOW);
    db = fixture_open(env, PLSM_CREATE, fixture_options(more));
}

static void stop(void)
{
    fixture_check(db);
    assert_ok(plsm_close(db));
    env_memory_destroy(env);
}

/* What an update is to do, and what it was shown. */
struct plan {
    plsm_outcome outcome;
    plsm_slice value;
    plsm_status status;
    unsigned calls;
    bool was_there, was_large;
    uint64_t size;
    char old[64], meta[64];
};

static plsm_status decide(void *arg, const plsm_value *old, plsm_outcome *outcome, plsm_slice *value)
{
    struct plan *plan = arg;
    ck_assert_int_eq(*outcome, PLSM_KEEP);
    plan->calls++;
    plan->was_there = old;
    if (old) {
        plan->was_large = old->large;
        plan->size = old->size;
        snprintf(plan->old, sizeof plan->old, "%.*s", (int)old->value.size, (const char *)old->value.data);
        snprintf(plan->meta, sizeof plan->meta, "%.*s", (int)old->meta.size, (const char *)old->meta.data);
    }
    *outcome = plan->outcome;
    *value = plan->value;
    return plan->status;
}

static plsm_status update(const char *key, struct plan *plan, plsm_durability durability)
{
    return plsm_update(db, slice_of(key), decide, plan, durability);
}

static void replace(const char *key, const char *value)
{
    struct plan plan = {.outcome = PLSM_REPLACE, .value = slice_of(value)};
    assert_ok(update(key, &plan, PLSM_NONE));
    ck_assert_uint_eq(plan.calls, 1);
}

START_TEST(what_is_shown_and_done)
{
    start(NULL);
    for (unsigned stage = 0; stage < 2; stage++) {
        struct plan absent = {.outcome = PLSM_KEEP}, put = {.outcome = PLSM_REPLACE, .value = slice_of("first")},
                    longer = {.outcome = PLSM_REPLACE, .value = slice_of("longer than the first")},
                    empty = {.outcome = PLSM_REPLACE}, gone = {.outcome = PLSM_REMOVE};
        assert_ok(update("key", &absent, PLSM_NONE));
        ck_assert(!absent.was_there && absent.calls == 1);
        fixture_expect(db, "key", NULL);
        assert_ok(update("key", &put, PLSM_SYNC));
        ck_assert(!put.was_there);
        if (stage)
            assert_ok(plsm_flush(db));
        assert_ok(update("key", &longer, PLSM_NONE));
        ck_assert_str_eq(longer.old, "first");
        fixture_expect(db, "key", "longer than the first");
        assert_ok(update("key", &empty, PLSM_VOLATILE));
        ck_assert_str_eq(empty.old, "longer than the first");
        fixture_expect(db, "key", "");
        if (stage)
            assert_ok(plsm_flush(db));
        assert_ok(update("key", &absent, PLSM_SYNC));
        ck_assert(absent.was_there && absent.size == 0);
        assert_ok(update("key", &gone, PLSM_SYNC));
        fixture_expect(db, "key", NULL);
        assert_ok(update("key", &gone, PLSM_NONE));
        ck_assert(!gone.was_there && gone.calls == 2);
        fixture_expect(db, "key", NULL);
    }
    replace("stays", "there");
    assert_ok(plsm_close(db));
    db = fixture_open(env, 0, NULL);
    fixture_expect(db, "stays", "there");
    fixture_expect(db, "key", NULL);
    stop();
}
END_TEST

/* The old value may be a part of the new one: it is copied in time. */
static plsm_status halve(void *arg, const plsm_value *old, plsm_outcome *outcome, plsm_slice *value)
{
    (void)arg;
    *outcome = PLSM_REPLACE;
    *value = slice((const char *)old->value.data + old->value.size / 2, old->value.size / 2);
    return PLSM_OK;
}

START_TEST(sizes)
{
    static uint8_t bytes[PLSM_INLINE_MAX + 1];
    start(NULL);
    fixture_fill(bytes, PLSM_INLINE_MAX, 7);
    struct plan whole = {.outcome = PLSM_REPLACE, .value = slice(bytes, PLSM_INLINE_MAX)};
    struct plan above = {.outcome = PLSM_REPLACE, .value = slice(bytes, PLSM_INLINE_MAX + 1)};
    assert_ok(update("key", &whole, PLSM_NONE));
    assert_status(update("key", &above, PLSM_NONE), PLSM_TOO_LARGE);
    for (size_t size = PLSM_INLINE_MAX; size > 0; size /= 2) {
        size_t got = 0;
        uint8_t *found = fixture_read(db, NULL, "key", &got);
        ck_assert_uint_eq(got, size);
        ck_assert(memcmp(found, bytes + PLSM_INLINE_MAX - size, size) == 0);
        mem_free(found);
        assert_ok(plsm_update(db, slice_of("key"), halve, NULL, PLSM_NONE));
    }
    stop();
}
END_TEST

static plsm_status write_inside(void *arg, const plsm_value *old, plsm_outcome *outcome, plsm_slice *value)
{
    plsm_value other = {0};
    struct plan plan = {0};
    (void)old;
    assert_status(plsm_put(db, slice_of("other"), slice_of("x"), PLSM_NONE), PLSM_INVALID);
    assert_status(plsm_delete(db, slice_of("other"), PLSM_NONE), PLSM_INVALID);
    assert_status(update("other", &plan, PLSM_NONE), PLSM_INVALID);
    assert_status(plsm_flush(db), PLSM_INVALID);
    assert_status(plsm_sync(db), PLSM_INVALID);
    ck_assert_uint_eq(plan.calls, 0);
    assert_ok(plsm_get(db, NULL, slice_of("other"), &other));
    snprintf(arg, 64, "%.*s seen", (int)other.value.size, (const char *)other.value.data);
    plsm_value_free(&other);
    *outcome = PLSM_REPLACE;
    *value = slice_of((const char *)arg);
    return PLSM_OK;
}

static plsm_status fail_inside(void *arg, const plsm_value *old, plsm_outcome *outcome, plsm_slice *value)
{
    (void)arg;
    (void)old;
    (void)outcome;
    (void)value;
    return plsm_delete(db, slice_of(""), PLSM_NONE);
}

START_TEST(refusals)
{
    char text[64];
    start(NULL);
    fixture_put(db, "key", "value");
    fixture_put(db, "other", "one");
    struct plan fails = {.outcome = PLSM_REPLACE, .value = slice_of("never"), .status = PLSM_CONFLICT};
    struct plan odd = {.outcome = (plsm_outcome)7}, unseen = {.outcome = PLSM_REMOVE};
    assert_status(update("key", &fails, PLSM_NONE), PLSM_CONFLICT);
    ck_assert_msg(strstr(plsm_message(), "\"key\"") != NULL, "%s", plsm_message());
    ck_assert_str_eq(strrchr(plsm_message(), ':'), ": conflict");
    assert_status(plsm_update(db, slice_of("key"), fail_inside, NULL, PLSM_NONE), PLSM_INVALID);
    ck_assert_msg(strstr(plsm_message(), "\"key\"") && strstr(plsm_message(), "invalid: the function of a plsm_update"),
                  "%s", plsm_message());
    assert_status(update("key", &odd, PLSM_NONE), PLSM_INVALID);
    assert_status(update("", &unseen, PLSM_NONE), PLSM_INVALID);
    assert_status(update("key", &unseen, (plsm_durability)9), PLSM_INVALID);
    assert_ok(plsm_update(db, slice_of("key"), write_inside, text, PLSM_NONE));
    fixture_expect(db, "key", "one seen");
    fixture_put(db, "other", "two"); /* writing goes on */
    plsm *reader = fixture_open(env, PLSM_READ, NULL);
    assert_status(plsm_update(reader, slice_of("key"), decide, &unseen, PLSM_NONE), PLSM_READ_ONLY);
    assert_ok(plsm_close(reader));
    ck_assert_uint_eq(unseen.calls, 0);
    fixture_expect(db, "key", "one seen");
    stop();
}
END_TEST

static uint64_t expiry_of(const char *key)
{
    plsm_value value = {0};
    assert_ok(plsm_get(db, NULL, slice_of(key), &value));
    uint64_t expires_s = value.expires_s;
    plsm_value_free(&value);
    return expires_s;
}

START_TEST(meta_and_time_stay)
{
    start("ttl=500");
    plsm_batch *batch = plsm_batch_create();
    assert_ok(plsm_batch_put_expiring(batch, slice_of("key"), slice_of("its meta"), slice_of("a"), NOW + 100));
    assert_ok(plsm_batch_put_expiring(batch, slice_of("for ever"), slice_of("m"), slice_of("a"), 0));
    assert_ok(plsm_write(db, batch, PLSM_NONE));
    plsm_batch_destroy(batch);
    for (unsigned i = 0; i < 3; i++) {
        struct plan plan = {.outcome = PLSM_REPLACE, .value = slice("bcdefghijklmn", 1 + 6 * i)};
        assert_ok(update("key", &plan, PLSM_NONE));
        ck_assert_str_eq(plan.meta, "its meta");
        ck_assert_uint_eq(expiry_of("key"), NOW + 100);
        assert_ok(plsm_flush(db));
    }
    replace("for ever", "b");
    ck_assert_uint_eq(expiry_of("for ever"), 0);
    replace("new", "b");
    ck_assert_uint_eq(expiry_of("new"), NOW + 500);
    env_memory_set_wall_s(env, NOW + 101);
    struct plan late = {.outcome = PLSM_REPLACE, .value = slice_of("again")};
    assert_ok(update("key", &late, PLSM_NONE));
    ck_assert(!late.was_there);
    ck_assert_uint_eq(expiry_of("key"), NOW + 101 + 500);
    fixture_expect(db, "key", "again");
    stop();
}
END_TEST

static void put_large(const char *key, uint64_t expires_s)
{
    uint8_t *bytes = mem_alloc(LARGE);
    fixture_fill(bytes, LARGE, 3);
    assert_ok(plsm_put_expiring(db, slice_of(key), slice(bytes, LARGE), expires_s, PLSM_NONE));
    mem_free(bytes);
}

/* The extents of what an update replaces or deletes are given back, also when its time has come. */
START_TEST(large_values)
{
    start(NULL);
    put_large("replaced", 0);
    put_large("deleted", 0);
    put_large("late", NOW + 5);
    struct plan keep = {.outcome = PLSM_KEEP}, gone = {.outcome = PLSM_REMOVE}, late = gone;
    assert_ok(update("replaced", &keep, PLSM_NONE));
    ck_assert(keep.was_large && keep.size == LARGE && keep.old[0] == '\0');
    replace("replaced", "small");
    fixture_expect(db, "replaced", "small");
    assert_ok(update("deleted", &gone, PLSM_NONE));
    ck_assert(gone.was_large);
    fixture_expect(db, "deleted", NULL);
    env_memory_set_wall_s(env, NOW + 5);
    assert_ok(update("late", &late, PLSM_NONE));
    ck_assert(!late.was_there);
    ck_assert_uint_eq(fixture_count(db, PLSM_EXTENTS), 0);
    ck_assert_uint_eq(fixture_count(db, PLSM_NAMES), 1);
    stop();
}
END_TEST

static void link_to(const char *from, const char *to, uint64_t *shared)
{
    plsm_batch *batch = plsm_batch_create();
    assert_ok(plsm_new_id(db, shared));
    assert_ok(plsm_batch_share(batch, slice_of(from), *shared));
    assert_ok(plsm_batch_link(batch, *shared, slice_of(to), slice_of("meta")));
    assert_ok(plsm_write(db, batch, PLSM_NONE));
    plsm_batch_destroy(batch);
}

START_TEST(shared_values)
{
    uint64_t small = 0, large = 0;
    start(NULL);
    fixture_put(db, "a", "one");
    put_large("c", 0);
    link_to("a", "b", &small);
    link_to("c", "d", &large);
    struct plan plan = {.outcome = PLSM_REPLACE, .value = slice_of("two")}, big = plan, gone = {.outcome = PLSM_REMOVE};
    assert_ok(update("a", &plan, PLSM_NONE));
    ck_assert_str_eq(plan.old, "one");
    ck_assert_str_eq(plan.meta, "meta");
    fixture_expect(db, "b", "two");
    assert_ok(update("d", &big, PLSM_NONE));
    ck_assert(big.was_large);
    fixture_expect(db, "c", "two");
    ck_assert_uint_eq(fixture_count(db, PLSM_EXTENTS), 0);
    fixture_check(db);
    assert_ok(update("a", &gone, PLSM_NONE));
    fixture_expect(db, "a", NULL);
    fixture_expect(db, "b", "two");
    assert_ok(update("b", &gone, PLSM_NONE));
    plsm_value value = {0};
    assert_status(plsm_get_shared(db, NULL, small, &value), PLSM_NOT_FOUND);
    plsm_value_free(&value);
    stop();
}
END_TEST

static void take_in_place(void *arg, const plsm_statistic *statistic)
{
    if (strcmp(statistic->name, "hybrid.changes.in_place") == 0)
        *(uint64_t *)arg = statistic->integer;
}

/* A record that has room for the new value is changed where it stands. */
START_TEST(in_place)
{
    if (strcmp(fixture_engine->name, "hybridlog") != 0)
        return;
    start(NULL);
    fixture_put(db, "counter", "0000");
    uint64_t before = UINT64_MAX, behind = 0;
    plsm_statistics(db, take_in_place, &before);
    for (unsigned i = 0; i < 100; i++)
        replace("counter", i % 2 ? "0001" : "2");
    plsm_statistics(db, take_in_place, &behind);
    ck_assert_uint_eq(behind - before, 100);
    stop();
}
END_TEST

/* --- in the function ---------------------------------------------------------------------------------------------- */

static plsm *inner;     /* a second store; db is the outer one */
static plsm_bulk *load; /* that db has begun, of an engine with such; else NULL */

static void count_statistics(void *arg, const plsm_statistic *statistic)
{
    (void)statistic;
    ++*(unsigned *)arg;
}

/* Of db, in the function of an update of it: what may be done is done, and nothing waits for this very write. */
static void try_all(void)
{
    plsm_value value = {0};
    plsm_bulk *bulk = NULL;
    struct plan plan = {0};
    unsigned told = 0;
    uint64_t id = 0;
    plsm_statistics(db, count_statistics, &told);
    ck_assert_uint_gt(told, 0);
    assert_ok(plsm_get(db, NULL, slice_of("linked"), &value));
    ck_assert(slice_equal(value.value, slice_of("shared")));
    plsm_value_free(&value);
    assert_status(plsm_put(db, slice_of("other"), slice_of("x"), PLSM_NONE), PLSM_INVALID);
    assert_status(update("other", &plan, PLSM_NONE), PLSM_INVALID);
    assert_status(plsm_new_id(db, &id), PLSM_INVALID);
    assert_status(plsm_sync(db), PLSM_INVALID);
    assert_status(plsm_check(db, NULL, NULL, NULL), PLSM_INVALID);
    assert_status(plsm_bulk_create(db, &bulk), PLSM_INVALID);
    if (load)
        assert_status(plsm_bulk_finish(load), PLSM_INVALID);
    ck_assert_uint_eq(plan.calls, 0);
}

static plsm_status in_the_inner(void *arg, const plsm_value *old, plsm_outcome *outcome, plsm_slice *value)
{
    (void)arg;
    (void)old;
    try_all();
    assert_status(plsm_put(inner, slice_of("k"), slice_of("x"), PLSM_NONE), PLSM_INVALID);
    *outcome = PLSM_REPLACE;
    *value = slice_of("of the inner");
    return PLSM_OK;
}

static plsm_status in_the_outer(void *arg, const plsm_value *old, plsm_outcome *outcome, plsm_slice *value)
{
    (void)arg;
    (void)old;
    try_all();
    assert_ok(plsm_put(inner, slice_of("before"), slice_of("x"), PLSM_NONE));
    assert_ok(plsm_update(inner, slice_of("k"), in_the_inner, NULL, PLSM_NONE));
    assert_ok(plsm_put(inner, slice_of("behind"), slice_of("x"), PLSM_NONE));
    try_all();
    *outcome = PLSM_REPLACE;
    *value = slice_of("of the outer");
    return PLSM_OK;
}

START_TEST(updates_of_two_stores)
{
    uint64_t shared = 0;
    struct env *other = env_memory_create(2);
    start(NULL);
    inner = fixture_open(other, PLSM_CREATE, fixture_options(NULL));
    fixture_put(db, "linked", "shared");
    link_to("linked", "second", &shared);
    load = NULL;
    if (fixture_is_tree())
        assert_ok(plsm_bulk_create(db, &load));
    assert_ok(plsm_update(db, slice_of("k"), in_the_outer, NULL, PLSM_NONE));
    plsm_bulk_destroy(load);
    fixture_expect(db, "k", "of the outer");
    fixture_expect(inner, "k", "of the inner");
    fixture_put(db, "other", "is written again");
    fixture_check(inner);
    assert_ok(plsm_close(inner));
    env_memory_destroy(other);
    stop();
}
END_TEST

static plsm_status close_edits(void *arg, const plsm_value *old, plsm_outcome *outcome, plsm_slice *value)
{
    plsm_edit **edits = arg;
    (void)old;
    (void)value;
    for (unsigned i = 0; i < 2; i++)
        plsm_edit_close(edits[i]);
    *outcome = PLSM_KEEP;
    return PLSM_OK;
}

/* What an edit had staged, and what it had open when it was deleted, is left to the next open. */
START_TEST(edits_are_closed_inside)
{
    plsm_edit *edits[2] = {NULL, NULL};
    uint8_t *bytes = mem_zalloc(LARGE);
    start(NULL);
    put_large("deleted", 0);
    assert_ok(plsm_edit_open(db, slice_of("new"), PLSM_EDIT_NEW, &edits[0]));
    assert_ok(plsm_edit_open(db, slice_of("deleted"), 0, &edits[1]));
    for (unsigned i = 0; i < 2; i++)
        assert_ok(plsm_edit_write(edits[i], 0, bytes, LARGE));
    mem_free(bytes);
    assert_ok(plsm_delete(db, slice_of("deleted"), PLSM_NONE));
    ck_assert_uint_gt(fixture_markers(db), 2);
    assert_ok(plsm_update(db, slice_of("key"), close_edits, edits, PLSM_NONE));
    ck_assert_uint_gt(fixture_markers(db), 2);
    assert_ok(plsm_close(db));
    db = fixture_open(env, 0, NULL);
    ck_assert_uint_eq(fixture_count(db, PLSM_EXTENTS), 0);
    ck_assert_uint_eq(fixture_markers(db), 0);
    stop();
}
END_TEST

/* --- threads ------------------------------------------------------------------------------------------------------ */

static plsm_status add(void *arg, const plsm_value *old, plsm_outcome *outcome, plsm_slice *value)
{
    char *text = arg; /* the number has more or fewer digits, so that the size changes */
    unsigned long number = 0;
    for (size_t i = 0; old && i < old->value.size; i++)
        number = 10 * number + (unsigned long)(((const char *)old->value.data)[i] - '0');
    *value = slice(text, (size_t)snprintf(text, 32, "%lu", number + 1));
    *outcome = PLSM_REPLACE;
    return PLSM_OK;
}

struct counting {
    struct env_thread *thread;
    unsigned number, failed;
};

static void count(void *arg)
{
    struct counting *counting = arg;
    char key[32], text[32];
    for (unsigned i = 0; i < INCREMENTS; i++) {
        snprintf(key, sizeof key, "counter %u", (i + counting->number) % COUNTERS);
        plsm_status status = plsm_update(db, slice_of(key), add, text, i % 256 ? PLSM_NONE : PLSM_SYNC);
        if (status == PLSM_OK && i % 8 == counting->number) /* other writers beside */
            status = plsm_put(db, slice_of("beside"), slice_of(text), PLSM_NONE);
        if (status == PLSM_OK && i % 512 == 511)
            status = plsm_flush(db);
        counting->failed += status != PLSM_OK;
    }
}

START_TEST(no_increment_is_lost)
{
    struct counting all[THREADS] = {{0}};
    unsigned long sum = 0;
    start("background=1");
    for (unsigned i = 0; i < THREADS; i++) {
        all[i].number = i;
        assert_ok(env_thread_start(env_posix(), count, &all[i], &all[i].thread));
    }
    for (unsigned i = 0; i < THREADS; i++) {
        env_thread_join(all[i].thread);
        ck_assert_uint_eq(all[i].failed, 0);
    }
    for (unsigned i = 0; i < COUNTERS; i++) {
        char key[32];
        size_t size = 0;
        snprintf(key, sizeof key, "counter %u", i);
        uint8_t *text = fixture_read(db, NULL, key, &size);
        unsigned long number = 0;
        for (size_t at = 0; at < size; at++)
            number = 10 * number + (unsigned long)(text[at] - '0');
        sum += number;
        mem_free(text);
    }
    ck_assert_uint_eq(sum, THREADS * INCREMENTS);
    stop();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {what_is_shown_and_done,
                                  sizes,
                                  refusals,
                                  meta_and_time_stay,
                                  large_values,
                                  shared_values,
                                  in_place,
                                  updates_of_two_stores,
                                  edits_are_closed_inside,
                                  no_increment_is_lost};
    return fixture_run_engines("update", tests, sizeof tests / sizeof tests[0]);
}
