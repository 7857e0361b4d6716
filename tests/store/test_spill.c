/* Batches that go into runs at once: their place among other writes, what they hide and leave out, what is refused, how
 * little memory they take. That a crash or a fault leaves all or nothing, tests/crash shows; beside other threads,
 * tests/store/test_threads.c. */
#include <stdio.h>

#include "base/alloc.h"
#include "base/codec.h"
#include "lsm/spill.h"
#include "tests/harness/resident.h"
#include "tests/harness/statistic.h"
#include "tests/harness/store_fixture.h"
#include "tests/harness/temporary.h"

#include "base/banned.h"

/* All batches are spilled; single writes are not. */
#define SPILLED FIXTURE_OPTIONS ",spill_above=1"
enum { NOW = 1000, MANY = 300 * 1000, VALUE = 100, LARGE = 20 << 10, REFERRED = 400 << 10 };

static struct env *env;
static plsm *db;
static plsm_batch *batch;

static void start(const char *options)
{
    env = env_memory_create(1);
    env_memory_set_wall_s(env, NOW);
    db = fixture_open(env, PLSM_CREATE, options);
    batch = plsm_batch_create();
}

static void stop(void)
{
    plsm_batch_destroy(batch);
    fixture_check(db);
    assert_ok(plsm_close(db));
    env_memory_destroy(env);
}

static void reopen(void)
{
    assert_ok(plsm_close(db));
    db = fixture_open(env, 0, SPILLED);
}

static unsigned spilled(void)
{
    return (unsigned)statistic(db->tree, "lsm.spilled_batches");
}

static void put(const char *key, const char *value)
{
    assert_ok(plsm_batch_put(batch, PLSM_NAMES, slice_of(key), slice_of("m"), slice_of(value)));
}

static void drop(const char *key)
{
    assert_ok(plsm_batch_delete(batch, PLSM_NAMES, slice_of(key)));
}

static void delete_range(const char *from, const char *to)
{
    assert_ok(plsm_batch_delete_range(batch, PLSM_NAMES, slice_of(from), slice_of(to)));
}

/* Writes the batch, which is spilled, and empties it. */
static void write_batch(plsm_durability durability)
{
    unsigned before = spilled();
    assert_ok(plsm_write(db, batch, durability));
    ck_assert_uint_gt(spilled(), before); /* what retires replaced values may be, too */
    plsm_batch_clear(batch);
}

START_TEST(from_which_size_on)
{
    static const struct {
        uint64_t buffer_size, spill_above, expected;
    } rows[] = {{64 << 20, 0, 64 << 20}, {64 << 10, 0, 1 << 20}, {64 << 20, 4 << 10, 4 << 10}, {4 << 20, 0, 4 << 20}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        ck_assert_uint_eq(
            spill_above(&(struct lsm_options){.buffer_size = rows[i].buffer_size, .spill_above = rows[i].spill_above}),
            rows[i].expected);
    plsm_abilities abilities;
    start(FIXTURE_OPTIONS);
    put("a", "1");
    assert_ok(plsm_write(db, batch, PLSM_NONE));
    ck_assert_uint_eq(spilled(), 0);
    plsm_get_abilities(db, &abilities);
    ck_assert_uint_eq(abilities.spills_above, 1 << 20);
    stop();
}
END_TEST

/* Between writes of the same keys before and after, seen from snapshots of all moments, and after reopening. */
START_TEST(in_its_place)
{
    start(SPILLED);
    fixture_put(db, "a", "before");
    fixture_put(db, "b", "before");
    fixture_put(db, "c", "before");
    plsm_snapshot *before = plsm_snapshot_create(db);
    put("c", "in it");
    drop("b");
    put("a", "in it");
    write_batch(PLSM_NONE);
    plsm_snapshot *with = plsm_snapshot_create(db);
    fixture_put(db, "c", "after");
    fixture_put(db, "b", "after");
    put("d", "second");
    put("a", "second");
    write_batch(PLSM_SYNC);
    fixture_expect_at(db, before, "a", "before");
    fixture_expect_at(db, before, "b", "before");
    fixture_expect_at(db, before, "c", "before");
    fixture_expect_at(db, before, "d", NULL);
    fixture_expect_at(db, with, "a", "in it");
    fixture_expect_at(db, with, "b", NULL);
    fixture_expect_at(db, with, "c", "in it");
    assert_ok(plsm_compact(db, slice(NULL, 0), slice(NULL, 0)));
    fixture_expect_at(db, before, "a", "before");
    fixture_expect_at(db, before, "b", "before");
    fixture_expect_at(db, with, "b", NULL);
    fixture_expect_at(db, with, "c", "in it");
    plsm_snapshot_destroy(db, before);
    plsm_snapshot_destroy(db, with);
    for (unsigned i = 0; i < 2; i++, reopen()) {
        fixture_expect(db, "a", "second");
        fixture_expect(db, "b", "after");
        fixture_expect(db, "c", "after");
        fixture_expect(db, "d", "second");
    }
    stop();
}
END_TEST

START_TEST(the_last_change_of_a_key_counts)
{
    start(SPILLED);
    put("b", "1");
    put("a", "1");
    drop("a");
    put("b", "2");
    drop("c");
    put("c", "3");
    assert_ok(plsm_batch_put(batch, PLSM_INODES, slice_of("b"), slice(NULL, 0), slice_of("inode")));
    write_batch(PLSM_NONE);
    fixture_expect(db, "a", NULL);
    fixture_expect(db, "b", "2");
    fixture_expect(db, "c", "3");
    ck_assert_uint_eq(fixture_count(db, PLSM_NAMES), 2);
    ck_assert_uint_eq(fixture_count(db, PLSM_INODES), 1);
    stop();
}
END_TEST

/* What was there before, what the batch puts before, what it puts behind; also when all of it is merged. */
START_TEST(ranges_are_deleted_in_their_place)
{
    start(SPILLED);
    fixture_put(db, "k1", "old");
    fixture_put(db, "k3", "old");
    fixture_put(db, "k5", "old");
    plsm_snapshot *before = plsm_snapshot_create(db);
    put("k2", "hidden");
    put("k4", "hidden");
    delete_range("k2", "k5");
    put("k4", "shown");
    put("k0", "shown");
    delete_range("k0", "k1");
    delete_range("k4x", "k9");
    put("k6", "shown");
    write_batch(PLSM_NONE);
    for (unsigned i = 0; i < 3; i++) {
        fixture_expect(db, "k0", NULL);
        fixture_expect(db, "k1", "old");
        fixture_expect(db, "k2", NULL);
        fixture_expect(db, "k3", NULL);
        fixture_expect(db, "k4", "shown");
        fixture_expect(db, "k5", NULL);
        fixture_expect(db, "k6", "shown");
        if (i == 0) {
            fixture_expect_at(db, before, "k3", "old");
            fixture_expect_at(db, before, "k4", NULL);
            fixture_expect_at(db, before, "k5", "old");
            plsm_snapshot_destroy(db, before);
            reopen();
        } else {
            assert_ok(plsm_compact(db, slice(NULL, 0), slice(NULL, 0)));
        }
    }
    delete_range("k", "l"); /* nothing but a range */
    write_batch(PLSM_NONE);
    ck_assert_uint_eq(fixture_count(db, PLSM_NAMES), 0);
    stop();
}
END_TEST

static uint64_t deletions(void)
{
    const struct version *version = ((const struct lsm *)db->tree)->version;
    uint64_t count = 0;
    for (unsigned level = 0; level < LSM_LEVELS; level++)
        for (size_t i = 0; i < version->levels[level].count; i++)
            count += version->levels[level].runs[i]->facts.deletions;
    return count;
}

/* On the last level nothing would ever take them away: neither in an empty store nor where nothing is in the way. */
START_TEST(deletions_go_in_a_merge)
{
    static const char *const bounds[][2] = {{"b", "d"}, {"n", "p"}, {"r", "t"}};
    start(SPILLED);
    for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++) {
        put(bounds[i][0], "there");
        drop("c");
        assert_ok(plsm_batch_put_expiring(batch, slice_of("o"), slice(NULL, 0), slice_of("expired"), NOW));
        put(bounds[i][1], "there");
        write_batch(PLSM_NONE);
        ck_assert_uint_ge(deletions(), 1);
        assert_ok(plsm_compact(db, slice(NULL, 0), slice(NULL, 0)));
        ck_assert_uint_eq(deletions(), 0);
    }
    drop("z");
    write_batch(PLSM_NONE);
    ck_assert_uint_eq(deletions(), 1);
    assert_ok(plsm_compact(db, slice(NULL, 0), slice(NULL, 0)));
    ck_assert_uint_eq(deletions(), 0);
    ck_assert_uint_eq(fixture_count(db, PLSM_NAMES), 6);
    stop();
}
END_TEST

static void put_of_size(const char *key, size_t size, uint64_t seed)
{
    uint8_t *data = mem_alloc(size);
    fixture_fill(data, size, seed);
    if (size > PLSM_INLINE_MAX)
        assert_ok(plsm_put(db, slice_of(key), slice(data, size), PLSM_NONE));
    else
        assert_ok(plsm_batch_put(batch, PLSM_NAMES, slice_of(key), slice(NULL, 0), slice(data, size)));
    mem_free(data);
}

static void expect_of_size(const char *key, size_t size, uint64_t seed)
{
    size_t found_size = 0;
    uint8_t *found = fixture_read(db, NULL, key, &found_size), *data = mem_alloc(size);
    fixture_fill(data, size, seed);
    ck_assert_ptr_nonnull(found);
    ck_assert_uint_eq(found_size, size);
    ck_assert(memcmp(found, data, size) == 0);
    mem_free(found);
    mem_free(data);
}

/* Values for value logs go there at once, and references and moves are resolved by who leads. */
START_TEST(values_of_all_kinds)
{
    start(SPILLED);
    put_of_size("referred", REFERRED, 1);
    put_of_size("replaced", REFERRED, 2);
    uint64_t extents = fixture_count(db, PLSM_EXTENTS);
    put_of_size("large 1", LARGE, 3);
    put_of_size("large 2", LARGE, 4);
    put("replaced", "small");
    assert_ok(plsm_batch_move(batch, slice_of("referred"), slice_of("moved")));
    assert_ok(plsm_batch_put_expiring(batch, slice_of("expires"), slice(NULL, 0), slice_of("1"), NOW + 10));
    assert_ok(plsm_batch_put_expiring(batch, slice_of("expired"), slice(NULL, 0), slice_of("1"), NOW));
    assert_ok(plsm_batch_if_absent(batch, PLSM_NAMES, slice_of("moved")));
    write_batch(PLSM_NONE);
    ck_assert_uint_ge((unsigned)statistic(db->tree, "values.files"), 1);
    ck_assert_uint_eq(fixture_count(db, PLSM_EXTENTS), extents / 2);
    for (unsigned i = 0; i < 2; i++, reopen()) {
        expect_of_size("large 1", LARGE, 3);
        expect_of_size("large 2", LARGE, 4);
        expect_of_size("moved", REFERRED, 1);
        fixture_expect(db, "replaced", "small");
        fixture_expect(db, "referred", NULL);
        fixture_expect(db, "expires", i == 0 ? "1" : NULL);
        fixture_expect(db, "expired", NULL);
        env_memory_set_wall_s(env, NOW + 10);
    }
    put("moved", "2");
    assert_ok(plsm_batch_if_absent(batch, PLSM_NAMES, slice_of("moved")));
    assert_status(plsm_write(db, batch, PLSM_NONE), PLSM_EXISTS);
    expect_of_size("moved", REFERRED, 1);
    stop();
}
END_TEST

/* With the filters, models and compression of the level where they will stand, also where something is in memory. */
START_TEST(made_for_their_level)
{
    for (unsigned leading = 0; leading < 2; leading++) {
        start(SPILLED);
        fixture_put(db, "z", "in memory");
        put("a", "1");
        put("b", "1");
        if (leading)
            assert_ok(plsm_batch_if_absent(batch, PLSM_NAMES, slice_of("a")));
        write_batch(PLSM_NONE);
        const struct level *level = &((const struct lsm *)db->tree)->version->levels[1];
        ck_assert_uint_eq(level->count, 1);
        ck_assert_int_eq(level->runs[0]->group, LSM_GROUP_LAST);
        stop();
    }
}
END_TEST

START_TEST(bytes_of_value_logs_count)
{
    char key[32];
    start(SPILLED);
    for (unsigned i = 0; i < 8; i++) {
        snprintf(key, sizeof key, "large %u", i);
        put_of_size(key, LARGE, i);
    }
    write_batch(PLSM_NONE);
    ck_assert_uint_ge((unsigned)statistic(db->tree, "lsm.bulk_bytes"), 8 * LARGE);
    stop();
}
END_TEST

/* What depends on the present state is large only once it is known: moves of what holds much. */
START_TEST(by_who_leads)
{
    char key[32], moved[32];
    start(FIXTURE_OPTIONS ",spill_above=100K");
    for (unsigned i = 0; i < 40; i++) {
        snprintf(key, sizeof key, "from/%u", i);
        put_of_size(key, 4000, i);
        assert_ok(plsm_write(db, batch, PLSM_NONE));
        plsm_batch_clear(batch);
    }
    for (unsigned i = 0; i < 40; i++) {
        snprintf(key, sizeof key, "from/%u", i);
        snprintf(moved, sizeof moved, "to/%u", i);
        assert_ok(plsm_batch_move(batch, slice_of(key), slice_of(moved)));
    }
    write_batch(PLSM_SYNC);
    for (unsigned i = 0; i < 40; i++) {
        snprintf(key, sizeof key, "to/%u", i);
        expect_of_size(key, 4000, i);
    }
    ck_assert_uint_eq(fixture_count(db, PLSM_NAMES), 40);
    stop();
}
END_TEST

/* A disk that is too small: nothing is changed, nothing is left, and smaller writes go on. */
START_TEST(without_room)
{
    char key[32];
    struct env_space there, left;
    start(FIXTURE_OPTIONS ",spill_above=64K");
    fixture_put(db, "0", "kept");
    assert_ok(plsm_close(db));
    env_memory_set_capacity(env, 8 << 20);
    db = fixture_open(env, 0, FIXTURE_OPTIONS ",spill_above=64K");
    assert_ok(env_space(env, "/", &there));
    for (unsigned i = 0; i < 3000; i++) {
        snprintf(key, sizeof key, "%u", i * 7919 % 3000);
        put_of_size(key, 3000, i);
    }
    plsm_status status = plsm_write(db, batch, PLSM_NONE);
    ck_assert_msg(status == PLSM_NO_SPACE, "%s", plsm_status_name(status));
    ck_assert_msg(strstr(plsm_message(), "/s: a batch of") != NULL, "%s", plsm_message());
    ck_assert_uint_eq(spilled(), 0);
    fixture_expect(db, "0", "kept");
    ck_assert_uint_eq(fixture_count(db, PLSM_NAMES), 1);
    assert_ok(env_space(env, "/", &left));
    ck_assert_uint_ge(left.bytes_free + (256 << 10), there.bytes_free);
    fixture_put(db, "1", "more");
    assert_ok(plsm_delete(db, slice_of("0"), PLSM_NONE));
    env_memory_set_capacity(env, 256 << 20);
    assert_ok(plsm_write(db, batch, PLSM_NONE));
    ck_assert_uint_eq(fixture_count(db, PLSM_NAMES), 3000);
    stop();
}
END_TEST

/* Writes a batch of `bytes` beside what a disk of 16 MiB holds; whether it was taken. */
static bool fits(const char *options, size_t bytes, bool same)
{
    char key[32];
    uint8_t value[VALUE] = {0};
    start(options);
    fixture_put(db, "0", "kept");
    assert_ok(plsm_close(db));
    env_memory_set_capacity(env, 16 << 20);
    db = fixture_open(env, 0, options);
    struct lsm *tree = db->tree;
    for (unsigned i = 0; plsm_batch_bytes(batch) < bytes; i++) {
        snprintf(key, sizeof key, "%016u", i);
        if (!same)
            fixture_fill(value, sizeof value, i);
        assert_ok(plsm_batch_put(batch, PLSM_NAMES, slice_of(key), slice(NULL, 0), slice(value, sizeof value)));
    }
    uint64_t number = tree->next_number;
    plsm_status status = plsm_write(db, batch, PLSM_NONE);
    ck_assert_msg(status == PLSM_OK || status == PLSM_NO_SPACE, "%s", plsm_status_name(status));
    ck_assert_uint_eq(spilled(), status == PLSM_OK);
    if (status == PLSM_NO_SPACE && !strstr(options, "compression"))
        ck_assert_uint_eq(tree->next_number, number); /* no run was begun */
    if (status == PLSM_NO_SPACE)
        fixture_put(db, "1", "more");
    stop();
    return status == PLSM_OK;
}

/* A batch that is not taken is refused before anything is written, and others can write meanwhile; but where it is
 * packed nobody knows whether it will fit. */
START_TEST(refused_before)
{
    const size_t step = 256 << 10;
    size_t size = step;
    while (size < 32 << 20 && fits(FIXTURE_OPTIONS ",spill_above=1", size, false))
        size += step;
    printf("up to %zu KiB fit\n", (size - step) >> 10);
    ck_assert(size > 4 << 20 && size < 16 << 20);
    for (; size < 32 << 20; size += 4 * step)
        ck_assert(!fits(FIXTURE_OPTIONS ",spill_above=1", size, false));
    if (codec_available(CODEC_LZ4) != PLSM_OK)
        return;
    ck_assert(!fits(FIXTURE_OPTIONS ",spill_above=1,compression=lz4", size, false));
    ck_assert(fits(FIXTURE_OPTIONS ",spill_above=1,compression=lz4", size, true));
}
END_TEST

/* The most that this process has had resident since resident_again. */
static uint64_t resident_most(void)
{
    char line[128];
    unsigned long kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    ck_assert_ptr_nonnull(file);
    while (fgets(line, sizeof line, file) && sscanf(line, "VmHWM: %lu", &kib) != 1)
        ;
    fclose(file);
    return (uint64_t)kib << 10;
}

/* False: this kernel, or who confines the process, does not let it. */
static bool resident_again(void)
{
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (!file)
        return false;
    bool written = fputs("5", file) >= 0;
    return fclose(file) == 0 && written;
}

/* Beside its own bytes and 16 for each change a large batch takes no more than the budget. */
START_TEST(takes_little_memory)
{
    enum { BUDGET = 16 << 20, SLACK = 8 << 20 };
    char key[32], *directory = temporary_create(), path[4200];
    uint8_t value[VALUE];
    snprintf(path, sizeof path, "%s/store", directory);
    assert_ok(plsm_open(path, PLSM_CREATE, "memory=16M,separate_above=0", &db));
    batch = plsm_batch_create();
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(key, sizeof key, "%016u", (unsigned)(i * UINT64_C(7919) % MANY));
        fixture_fill(value, sizeof value, i);
        assert_ok(plsm_batch_put(batch, PLSM_NAMES, slice_of(key), slice(NULL, 0), slice(value, sizeof value)));
    }
    bool seen = resident_again();
    uint64_t before = resident_most();
    write_batch(PLSM_NONE);
    uint64_t most = resident_most() - before, bytes = plsm_batch_bytes(batch);
    printf("a batch of %d changes took %lu KiB%s\n", MANY, (unsigned long)(most >> 10),
           seen ? "" : ", or what came before it did: /proc/self/clear_refs cannot be written, so no limit is tested");
    ck_assert_uint_eq(bytes, 0);
    if (!SANITIZED && seen)
        ck_assert_uint_le(most, BUDGET + 16 * MANY + SLACK);
    ck_assert_uint_eq(fixture_count(db, PLSM_NAMES), MANY);
    plsm_batch_destroy(batch);
    assert_ok(plsm_close(db));
    temporary_destroy(directory);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {from_which_size_on,
                                  in_its_place,
                                  the_last_change_of_a_key_counts,
                                  ranges_are_deleted_in_their_place,
                                  deletions_go_in_a_merge,
                                  values_of_all_kinds,
                                  made_for_their_level,
                                  bytes_of_value_logs_count,
                                  by_who_leads,
                                  without_room,
                                  refused_before,
                                  takes_little_memory};
    return fixture_run("spill", tests, sizeof tests / sizeof *tests);
}
