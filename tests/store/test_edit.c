/* Edits: against arrays of bytes, and the rules one by one. */
#include "../harness/edit_model.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/env_fault.h"

#include "base/banned.h"

/* With no edit open nothing may be left over: no marker, and no piece that no record counts (plsm_check). */
static void verify_clean(plsm *db)
{
    ck_assert_uint_eq(fixture_markers(db), 0);
    fixture_check(db);
}

static void run_model(const char *options, uint64_t seed, int steps, size_t size_max)
{
    struct env *env = env_memory_create(seed);
    struct edit_model model;
    plsm *db = fixture_open(env, PLSM_CREATE, options);
    edit_model_create(&model, db, seed, size_max);
    printf("edit model: seed %llu\n", (unsigned long long)seed);
    for (int step = 0; step < steps; step++) {
        edit_model_step(&model);
        if (step % 50 == 49)
            edit_model_verify(&model);
    }
    edit_model_verify(&model);
    fixture_check(db); /* while edits are open */
    ck_assert_uint_gt(model.committed_large, 5);
    for (int i = 0; i < MODEL_EDITS; i++) {
        plsm_edit_close(model.edits[i].edit);
        model.edits[i].edit = NULL;
    }
    verify_clean(db);
    edit_model_verify(&model);
    assert_ok(plsm_close(db));
    model.db = db = fixture_open(env, 0, options);
    edit_model_verify(&model);
    verify_clean(db);
    edit_model_destroy(&model);
    assert_ok(plsm_close(db));
    env_memory_destroy(env);
}

START_TEST(model)
{
    for (uint64_t seed = 1; seed <= 6; seed++)
        run_model(NULL, seed, 400, MODEL_SIZE_MAX);
    if (!fixture_is_tree())
        return;
    for (uint64_t seed = 101; seed <= 106; seed++)
        run_model("background=0,index=traditional", seed, 400, 600000);
    for (uint64_t seed = 201; seed <= 202; seed++)
        run_model("separate_above=1000,separate_garbage=0.2," FIXTURE_OPTIONS, seed, 400, 600000);
}
END_TEST

static struct env *env;
static plsm *db;
static uint8_t *data, *other;
enum { SIZE = 700000 };

static void start(void)
{
    env = env_memory_create(1);
    db = fixture_open(env, PLSM_CREATE, NULL);
    data = mem_alloc(SIZE);
    other = mem_alloc(SIZE);
    fixture_fill(data, SIZE, 1);
}

static void stop(void)
{
    verify_clean(db);
    assert_ok(plsm_close(db));
    env_memory_destroy(env);
    mem_free(data);
    mem_free(other);
}

static plsm_edit *open_edit(const char *key, plsm_edit_flags flags)
{
    plsm_edit *edit = NULL;
    assert_ok(plsm_edit_open(db, slice_of(key), flags, &edit));
    return edit;
}

static void commit(plsm_edit *edit)
{
    assert_ok(plsm_edit_commit(edit, slice_of("m"), PLSM_NONE));
}

static void put_data(const char *key)
{
    assert_ok(plsm_put(db, slice_of(key), slice(data, SIZE), PLSM_NONE));
}

/* The edit reads as the first `size` bytes of `data`. */
static void expect_edit(plsm_edit *edit, size_t size)
{
    size_t got = 0;
    assert_ok(plsm_edit_read(edit, 0, other, SIZE, &got));
    ck_assert_uint_eq(got, size);
    ck_assert(memcmp(other, data, size) == 0);
}

static void expect_key(const char *key, size_t size)
{
    size_t got = 0;
    uint8_t *found = fixture_read(db, NULL, key, &got);
    ck_assert_ptr_nonnull(found);
    ck_assert_uint_eq(got, size);
    ck_assert(memcmp(found, data, size) == 0);
    mem_free(found);
}

/* What an edit was opened on stays readable, whatever happens to the key. */
START_TEST(base_stays_readable)
{
    start();
    put_data("k");
    plsm_edit *reader = open_edit("k", 0), *writer = open_edit("k", 0), *third = open_edit("k", 0);
    ck_assert_uint_eq(plsm_edit_size(reader), SIZE);
    assert_ok(plsm_edit_truncate(writer, 150000));
    expect_edit(reader, SIZE);
    commit(writer);
    expect_key("k", 150000);
    expect_edit(reader, SIZE);
    expect_edit(writer, 150000);
    assert_ok(plsm_delete(db, slice_of("k"), PLSM_NONE));
    expect_edit(reader, SIZE);
    expect_edit(writer, 150000);
    assert_ok(plsm_edit_truncate(writer, 140000));
    expect_edit(writer, 140000);
    assert_ok(plsm_compact(db, slice(NULL, 0), slice(NULL, 0)));
    expect_edit(reader, SIZE);
    /* The third writes on what it was opened on; its base is gone by now, so it goes to an id of its own. */
    assert_ok(plsm_edit_write(third, SIZE - 10, data + SIZE - 10, 10));
    commit(third);
    expect_key("k", SIZE);
    /* And so does the second, whose id was retired under it. */
    commit(writer);
    expect_key("k", 140000);
    expect_edit(third, SIZE);
    plsm_edit_close(writer);
    plsm_edit_close(third);
    expect_edit(reader, SIZE);
    plsm_edit_close(reader);
    expect_key("k", 140000);
    ck_assert_uint_eq(fixture_count(db, PLSM_EXTENTS), 2);
    stop();
}
END_TEST

START_TEST(two_names_never_share)
{
    start();
    put_data("a");
    plsm_edit *edit = open_edit("a", 0);
    assert_ok(plsm_edit_write(edit, 0, "XX", 2));
    plsm_batch *batch = plsm_batch_create();
    assert_ok(plsm_batch_move(batch, slice_of("a"), slice_of("b")));
    assert_ok(plsm_write(db, batch, PLSM_NONE));
    plsm_batch_destroy(batch);
    commit(edit); /* to "a", which is not there any more */
    expect_key("b", SIZE);
    memcpy(data, "XX", 2);
    expect_key("a", SIZE);
    expect_edit(edit, SIZE);
    /* An edit that follows the rename changes in place. */
    uint64_t copies = atomic_load(&db->counters.copies);
    assert_ok(plsm_edit_set_key(edit, slice_of("c")));
    batch = plsm_batch_create();
    assert_ok(plsm_batch_move(batch, slice_of("a"), slice_of("c")));
    assert_ok(plsm_write(db, batch, PLSM_NONE));
    plsm_batch_destroy(batch);
    assert_ok(plsm_edit_write(edit, 0, data, 2));
    commit(edit);
    ck_assert_uint_eq(atomic_load(&db->counters.copies), copies);
    expect_key("c", SIZE);
    plsm_edit_close(edit);
    ck_assert_uint_eq(fixture_count(db, PLSM_INODES), 2);
    stop();
}
END_TEST

/* An abandoned generation must not come to light by a later commit. */
START_TEST(abandoned_is_gone)
{
    start();
    put_data("k");
    memset(other, 'x', SIZE);
    plsm_edit *edit = open_edit("k", 0);
    assert_ok(plsm_edit_write(edit, 0, other, SIZE));
    ck_assert(plsm_edit_dirty(edit));
    ck_assert_uint_gt(fixture_count(db, PLSM_EXTENTS), 6);
    ck_assert_uint_eq(fixture_markers(db), 1);
    plsm_edit_close(edit);
    expect_key("k", SIZE);
    edit = open_edit("k", 0);
    assert_ok(plsm_edit_write(edit, 0, data, 1));
    commit(edit);
    expect_key("k", SIZE);
    plsm_edit_close(edit);
    ck_assert_uint_eq(fixture_count(db, PLSM_EXTENTS), 6);
    stop();
}
END_TEST

/* The same when cleaning up fails: the id is not written in place again. */
START_TEST(tainted_ids_are_copied)
{
    struct env *base = env_memory_create(1);
    env = env_fault_create(base);
    db = fixture_open(env, PLSM_CREATE, NULL);
    data = mem_alloc(SIZE);
    other = mem_alloc(SIZE);
    fixture_fill(data, SIZE, 1);
    put_data("k");
    memset(other, 'x', SIZE);
    plsm_edit *edit = open_edit("k", 0);
    assert_ok(plsm_edit_write(edit, 0, other, 400000));
    mem_fail_at(1); /* the batch of deletions */
    plsm_edit_close(edit);
    ck_assert_uint_eq(fixture_markers(db), 1);
    expect_key("k", SIZE);
    edit = open_edit("k", 0);
    assert_ok(plsm_edit_write(edit, SIZE - 1, data + SIZE - 1, 1));
    commit(edit);
    expect_key("k", SIZE);
    ck_assert_uint_eq(atomic_load(&db->counters.copies), 1);
    plsm_edit_close(edit);
    assert_ok(plsm_close(db));
    db = fixture_open(env, 0, NULL); /* finishes it */
    expect_key("k", SIZE);
    verify_clean(db);
    ck_assert_uint_eq(fixture_count(db, PLSM_EXTENTS), 6);
    assert_ok(plsm_close(db));
    env_fault_destroy(env);
    env_memory_destroy(base);
    mem_free(data);
    mem_free(other);
}
END_TEST

START_TEST(sizes_and_limits)
{
    start();
    plsm_edit *edit = open_edit("k", PLSM_EDIT_NEW);
    size_t got = 1;
    assert_ok(plsm_edit_read(edit, 0, other, 10, &got));
    ck_assert_uint_eq(got, 0);
    assert_status(plsm_edit_write(edit, PLSM_VALUE_MAX, "x", 1), PLSM_TOO_LARGE);
    assert_status(plsm_edit_write(edit, UINT64_MAX, "xx", 2), PLSM_TOO_LARGE);
    assert_status(plsm_edit_truncate(edit, PLSM_VALUE_MAX + 1), PLSM_TOO_LARGE);
    assert_ok(plsm_edit_write(edit, PLSM_VALUE_MAX, "x", 0));
    ck_assert_uint_eq(plsm_edit_size(edit), 0);
    assert_status(plsm_edit_commit(edit, slice(data, 256), PLSM_NONE), PLSM_TOO_LARGE);
    ck_assert(plsm_edit_dirty(edit));
    /* A sparse value as large as can be takes one piece. */
    assert_ok(plsm_edit_write(edit, PLSM_VALUE_MAX - 1, "x", 1));
    commit(edit);
    ck_assert_uint_eq(fixture_count(db, PLSM_EXTENTS), 1);
    assert_ok(plsm_edit_read(edit, PLSM_VALUE_MAX - 3, other, 10, &got));
    ck_assert_uint_eq(got, 3);
    ck_assert(memcmp(other, "\0\0x", 3) == 0);
    assert_ok(plsm_read(db, NULL, slice_of("k"), PLSM_VALUE_MAX - 3, other, 10, &got));
    ck_assert_uint_eq(got, 3);
    ck_assert(memcmp(other, "\0\0x", 3) == 0);
    assert_ok(plsm_read(db, NULL, slice_of("k"), PLSM_VALUE_MAX, other, 10, &got));
    ck_assert_uint_eq(got, 0);
    /* Grown by truncation only: no piece at all. */
    assert_ok(plsm_edit_truncate(edit, 0));
    assert_ok(plsm_edit_truncate(edit, PLSM_INLINE_MAX + 1));
    commit(edit);
    ck_assert_uint_eq(fixture_count(db, PLSM_EXTENTS), 0);
    ck_assert_uint_eq(fixture_count(db, PLSM_INODES), 1);
    plsm_value found = {0};
    assert_ok(plsm_get(db, NULL, slice_of("k"), &found));
    ck_assert(found.large);
    ck_assert_uint_eq(found.size, PLSM_INLINE_MAX + 1);
    plsm_value_free(&found);
    /* Small again: inline. */
    assert_ok(plsm_edit_truncate(edit, PLSM_INLINE_MAX));
    commit(edit);
    assert_ok(plsm_get(db, NULL, slice_of("k"), &found));
    ck_assert(!found.large);
    ck_assert_uint_eq(found.value.size, PLSM_INLINE_MAX);
    ck_assert(slice_equal(found.meta, slice_of("m")));
    plsm_value_free(&found);
    ck_assert_uint_eq(fixture_count(db, PLSM_INODES), 0);
    plsm_edit_close(edit);
    assert_status(plsm_edit_open(db, slice_of("absent"), 0, &edit), PLSM_NOT_FOUND);
    assert_status(plsm_edit_open(db, slice(NULL, 0), PLSM_EDIT_NEW, &edit), PLSM_INVALID);
    plsm_edit_close(NULL);
    stop();
}
END_TEST

/* Holes, in a value that could not be written out. */
START_TEST(holes)
{
    start();
    const uint64_t end = PLSM_VALUE_MAX, half = end / 2;
    plsm_edit *edit = open_edit("k", PLSM_EDIT_NEW);
    plsm_value found = {0};
    uint64_t at = 0, stored = 1;
    assert_status(plsm_edit_seek(edit, 0, false, &at), PLSM_NOT_FOUND);
    assert_ok(plsm_edit_stored(edit, &stored));
    ck_assert_uint_eq(stored, 0);
    assert_ok(plsm_edit_truncate(edit, end));
    assert_status(plsm_edit_seek(edit, 7, false, &at), PLSM_NOT_FOUND);
    assert_ok(plsm_edit_seek(edit, 7, true, &at));
    ck_assert_uint_eq(at, 7);
    assert_ok(plsm_edit_write(edit, half, data, SIZE));
    assert_ok(plsm_edit_punch(edit, 0, half));
    commit(edit);
    assert_ok(plsm_edit_seek(edit, 7, false, &at));
    ck_assert_uint_eq(at, half);
    assert_ok(plsm_edit_seek(edit, half + 3, true, &at));
    ck_assert_uint_eq(at, half + 6 * EXTENT_SIZE);
    assert_ok(plsm_get(db, NULL, slice_of("k"), &found));
    ck_assert_uint_eq(found.size, end);
    ck_assert_uint_eq(found.stored, 6 * EXTENT_SIZE);
    /* Behind the cut there is nothing to zero, so nothing comes to be there. */
    assert_ok(plsm_edit_truncate(edit, end - 5));
    assert_ok(plsm_edit_punch(edit, half + EXTENT_SIZE + 1, 3 * EXTENT_SIZE));
    assert_ok(plsm_edit_punch(edit, half + 6 * EXTENT_SIZE - 1, UINT64_MAX));
    assert_ok(plsm_edit_punch(edit, end, 1));
    assert_ok(plsm_edit_seek(edit, half, true, &at));
    ck_assert_uint_eq(at, half + 2 * EXTENT_SIZE);
    assert_ok(plsm_edit_stored(edit, &stored));
    ck_assert_uint_eq(stored, 4 * EXTENT_SIZE);
    commit(edit);
    plsm_iterator *it = NULL;
    assert_ok(plsm_iterator_create(db, NULL, slice(NULL, 0), slice(NULL, 0), &it));
    plsm_iterator_first(it);
    ck_assert_uint_eq(plsm_iterator_size(it), end - 5);
    ck_assert_uint_eq(plsm_iterator_stored(it), 4 * EXTENT_SIZE);
    plsm_iterator_destroy(it);
    /* Everything punched out of a dense value. */
    put_data("d");
    plsm_edit *dense = open_edit("d", 0);
    assert_ok(plsm_edit_seek(dense, 5, false, &at));
    ck_assert_uint_eq(at, 5);
    assert_ok(plsm_edit_seek(dense, 5, true, &at));
    ck_assert_uint_eq(at, SIZE);
    assert_ok(plsm_edit_punch(dense, 0, SIZE));
    assert_ok(plsm_edit_stored(dense, &stored));
    ck_assert_uint_eq(stored, 0);
    commit(dense);
    memset(data, 0, SIZE);
    expect_key("d", SIZE);
    ck_assert_uint_eq(fixture_count(db, PLSM_EXTENTS), 4);
    plsm_edit_close(dense);
    plsm_edit_close(edit);
    plsm_value_free(&found);
    stop();
}
END_TEST

static void take_flushes(void *arg, const plsm_statistic *statistic)
{
    if (strcmp(statistic->name, "lsm.flushes") == 0 || strcmp(statistic->name, "hybrid.recovery_points") == 0)
        *(uint64_t *)arg = statistic->integer;
}

static uint64_t flushes(void)
{
    uint64_t count = UINT64_MAX;
    plsm_statistics(db, take_flushes, &count);
    ck_assert_uint_ne(count, UINT64_MAX);
    return count;
}

/* The space of large values comes back without waiting for a memtable's worth of other writes. */
START_TEST(reclaims)
{
    if (!fixture_is_tree()) /* the others flush for themselves meanwhile */
        return;
    start();
    uint64_t before = flushes(), after = 0;
    assert_ok(plsm_reclaim(db));
    ck_assert_uint_eq(flushes(), before);
    for (uint64_t bytes = 0; bytes < PLSM_RECLAIM + SIZE; bytes += SIZE - EXTENT_SIZE)
        put_data("k");
    before = flushes();
    assert_ok(plsm_reclaim(db));
    after = flushes();
    ck_assert_uint_ge(after, before + fixture_is_tree()); /* another engine may just have done it by itself */
    assert_ok(plsm_reclaim(db));
    ck_assert_uint_eq(flushes(), after);
    expect_key("k", SIZE);
    stop();
}
END_TEST

/* References whose entry ends about where a page of 4 KiB does, read without their value: a listing and a look before a
 * write must get them whole. */
START_TEST(long_names)
{
    enum { SHORTEST = 3980, LONGEST = 4110 };
    static uint8_t key[LONGEST];
    struct env *memory = env_memory_create(1);
    db = fixture_open(memory, PLSM_CREATE, fixture_is_tree() ? "background=0,cache_size=0" : NULL);
    data = mem_zalloc(SIZE);
    plsm_read_options no_value = {.no_value = true};
    plsm_value found = {0};
    for (size_t size = SHORTEST; size <= LONGEST; size++) {
        memset(key, (int)(size % 251), size);
        plsm_edit *edit = NULL;
        assert_ok(plsm_edit_open(db, slice(key, size), PLSM_EDIT_NEW, &edit));
        assert_ok(plsm_edit_truncate(edit, 200000 + size));
        assert_ok(plsm_edit_commit(edit, slice(NULL, 0), PLSM_NONE));
        plsm_edit_close(edit);
    }
    assert_ok(plsm_flush(db));
    assert_ok(plsm_compact(db, slice(NULL, 0), slice(NULL, 0)));
    for (size_t size = SHORTEST; size <= LONGEST; size++) {
        memset(key, (int)(size % 251), size);
        assert_ok(plsm_get(db, &no_value, slice(key, size), &found));
        ck_assert_uint_eq(found.size, 200000 + size);
    }
    plsm_iterator *it = NULL;
    size_t count = 0;
    assert_ok(plsm_iterator_create(db, &no_value, slice(NULL, 0), slice(NULL, 0), &it));
    for (plsm_iterator_first(it); plsm_iterator_valid(it); plsm_iterator_next(it), count++)
        ck_assert_uint_eq(plsm_iterator_size(it), 200000 + plsm_iterator_key(it).size);
    assert_ok(plsm_iterator_status(it));
    plsm_iterator_destroy(it);
    ck_assert_uint_eq(count, LONGEST - SHORTEST + 1);
    for (size_t size = SHORTEST; size <= LONGEST; size++) {
        memset(key, (int)(size % 251), size);
        assert_ok(plsm_put(db, slice(key, size), slice_of("small"), PLSM_NONE));
    }
    ck_assert_uint_eq(fixture_count(db, PLSM_INODES), 0);
    verify_clean(db);
    plsm_value_free(&found);
    mem_free(data);
    assert_ok(plsm_close(db));
    env_memory_destroy(memory);
}
END_TEST

/* Every allocation on the way of a large commit fails once: the old value stays, and the commit works when tried again.
 */
START_TEST(failed_allocations)
{
    start();
    unsigned failures = 0;
    for (uint64_t nth = 1; nth < 200; nth++) {
        put_data("k");
        plsm_edit *edit = open_edit("k", 0);
        mem_fail_at(nth);
        plsm_status first = plsm_edit_write(edit, 1000, data + 1000, 300000);
        plsm_status second = first ? first : plsm_edit_commit(edit, slice(NULL, 0), PLSM_NONE);
        uint64_t count = mem_count();
        mem_fail_at(0);
        expect_key("k", SIZE);
        if (second) {
            ck_assert_int_eq(second, PLSM_NO_MEMORY);
            failures++;
            assert_ok(plsm_edit_write(edit, 1000, data + 1000, 300000));
            commit(edit);
            expect_key("k", SIZE);
        }
        plsm_edit_close(edit);
        if (count < nth)
            break;
    }
    printf("edits: %u allocations failed\n", failures);
    ck_assert_uint_gt(failures, 3);
    stop();
}
END_TEST

static plsm_status write_page(plsm_edit *edit, uint8_t *all, size_t number)
{
    enum { PAGE = 4096 };
    memset(all + number * PAGE, (int)(number % 251) + 1, PAGE);
    return plsm_edit_write(edit, number * PAGE, all + number * PAGE, PAGE);
}

static void expect_all(plsm_edit *edit, const uint8_t *all, size_t size)
{
    uint8_t *found = mem_alloc(size);
    size_t got = 0;
    assert_ok(plsm_edit_read(edit, 0, found, size, &got));
    ck_assert_uint_eq(got, size);
    ck_assert_mem_eq(found, all, size);
    mem_free(found);
}

/* More pages than all edits of a store may keep: the edit that has them writes them, another one without any does
 * without, and memory that runs out loses none of them. */
START_TEST(pages_have_a_budget)
{
    enum { BUDGET = PLSM_EDITS_MEMORY / 4096, PAGES = BUDGET + 41, BYTES = PAGES * 4096, STEP = 32, FEW = 20 };
    uint8_t *all[2] = {mem_zalloc(BYTES), mem_zalloc(BYTES)};
    plsm_edit *edits[2] = {NULL, NULL};
    start();
    for (int i = 0; i < 2; i++) {
        assert_ok(plsm_edit_open(db, slice_of(edit_model_key(i)), PLSM_EDIT_NEW, &edits[i]));
        assert_ok(plsm_edit_truncate(edits[i], BYTES));
    }
    size_t page = 0, kept = 0;
    unsigned failures = 0;
    for (size_t i = 0; i < PAGES; i++, page = (page + STEP) % PAGES) {
        plsm_status status = PLSM_NO_MEMORY;
        for (uint64_t nth = 1; status == PLSM_NO_MEMORY; nth += 7) { /* where all are written it fails now and then */
            mem_fail_at(kept < BUDGET ? 0 : nth);
            status = write_page(edits[0], all[0], page);
            mem_fail_at(0);
            failures += status == PLSM_NO_MEMORY;
        }
        assert_ok(status);
        kept = (size_t)atomic_load(&db->patch_pages);
        ck_assert_uint_le(kept, BUDGET);
        if (i + 2 == BUDGET)
            expect_all(edits[0], all[0], BYTES);
    }
    ck_assert_uint_gt(failures, 0);
    ck_assert_uint_gt(atomic_load(&db->counters.extents_written), 0);
    expect_all(edits[0], all[0], BYTES);
    for (size_t i = 0; i < BUDGET - 200; i++) /* again, so that the other one finds little room */
        assert_ok(write_page(edits[0], all[0], i));
    for (size_t i = 0; i < 2 * FEW; i++)
        assert_ok(write_page(edits[1], all[1], i % FEW * (PAGES / FEW)));
    for (int i = 0; i < 2; i++) {
        assert_ok(plsm_edit_commit(edits[i], slice(NULL, 0), PLSM_NONE));
        expect_all(edits[i], all[i], BYTES);
        plsm_edit_close(edits[i]);
        mem_free(all[i]);
    }
    ck_assert_uint_eq(atomic_load(&db->patch_pages), 0);
    stop();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {base_stays_readable,
                                  pages_have_a_budget,
                                  two_names_never_share,
                                  abandoned_is_gone,
                                  tainted_ids_are_copied,
                                  sizes_and_limits,
                                  failed_allocations,
                                  long_names,
                                  holes,
                                  reclaims,
                                  model};
    return fixture_run_engines("edit", tests, sizeof tests / sizeof tests[0]);
}
