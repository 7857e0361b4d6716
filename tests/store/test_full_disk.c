/* Stores on file systems that get full: filled until nothing more is taken, partly deleted, compacted, filled again,
 * opened again, killed, and found without a byte left. At each step every key is compared with what was acknowledged,
 * a failure is one of space, deleting works, and what is deleted can be written again.
 *
 * FULL_DISK_ROW=n that row of the table only; FULL_DISK_TRACE=1 what was reached at each step. */
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/env_memory.h"
#include "base/random.h"
#include "tests/harness/pool.h"
#include "tests/harness/store_fixture.h"

#include "base/banned.h"

enum {
    KEYS_MAX = 40000,
    VALUE_MAX = 300 << 10,
    ROUNDS = 2,
    KIB = 1 << 10,
    MIB = 1 << 20,
};

enum sizes { SMALL, LARGE, MIXED, KEPT };

static const struct row {
    uint64_t capacity;
    const char *options;
    enum sizes sizes;
    unsigned live_percent; /* of the file system at least, in values, when it is full */
} rows[] = {
    {4 * MIB, "file_size=64K", SMALL, 25},
    {6 * MIB, "file_size=1M", MIXED, 25},
    {8 * MIB, "file_size=1M", LARGE, 50},
    {6 * MIB, "file_size=64M,buffer_size=64M,cache_size=32M", SMALL, 25},
    {12 * MIB, "file_size=64M,buffer_size=64M,cache_size=32M", LARGE, 50},
    {48 * MIB, "file_size=1M", KEPT, 50},
};
enum { ROWS = sizeof rows / sizeof *rows };

struct disk {
    const struct row *row;
    struct env *env;
    const struct env_ops *ops; /* of environments after a death; NULL: their own */
    plsm *db;
    struct random random;
    uint16_t versions[KEYS_MAX]; /* 0: absent */
    unsigned keys;               /* those that were tried */
    uint64_t live_bytes;
    uint8_t *value, *found;
    bool trace;
};

static size_t size_of(const struct disk *d, unsigned key, unsigned version)
{
    uint64_t state = key * UINT64_C(1000003) + version;
    uint64_t word = splitmix64(&state);
    enum sizes sizes = d->row->sizes;
    if (sizes == MIXED)
        sizes = word >> 32 & 7 ? SMALL : LARGE;
    if (sizes == SMALL)
        return 50 + word % 800;
    if (sizes == KEPT) /* in the logs of a tree */
        return 70000 + word % 30000;
    if (word % 32 == 0)
        return 200000 + word % 100000; /* in extents */
    return 5000 + word % 100000;
}

static plsm_slice key_of(unsigned key, char text[32])
{
    snprintf(text, 32, "k%08u", key * 7919 % 40009); /* not in order */
    return slice_of(text);
}

static plsm_slice value_of(struct disk *d, unsigned key, unsigned version)
{
    size_t size = size_of(d, key, version);
    fixture_fill(d->value, size, key * UINT64_C(65536) + version);
    return slice(d->value, size);
}

static bool is_lacking(plsm_status status)
{
    return status == PLSM_NO_SPACE || status == PLSM_QUOTA;
}

static const char *options_of(const struct disk *d)
{
    return fixture_options(d->row->options);
}

static uint64_t free_bytes(const struct disk *d)
{
    struct env_space space;
    assert_ok(env_space(d->env, "/", &space));
    return space.bytes_free;
}

static void tell(const struct disk *d, const char *what)
{
    if (d->trace)
        fprintf(stderr, "%-10s row %d: %-28s live %5lu KiB, free %5lu KiB of %lu\n", fixture_engine->name,
                (int)(d->row - rows), what, (unsigned long)(d->live_bytes / KIB), (unsigned long)(free_bytes(d) / KIB),
                (unsigned long)(d->row->capacity / KIB));
}

/* --- steps -------------------------------------------------------------------------------------------------------- */

static void expect_key(struct disk *d, plsm *db, unsigned key)
{
    char text[32];
    size_t got = 0;
    plsm_status status = plsm_read(db, NULL, key_of(key, text), 0, d->found, VALUE_MAX, &got);
    if (d->versions[key] == 0) {
        ck_assert_msg(status == PLSM_NOT_FOUND, "key %u: %s instead of absent", key, plsm_status_name(status));
        return;
    }
    ck_assert_msg(status == PLSM_OK, "key %u: %s: %s", key, plsm_status_name(status), plsm_message());
    plsm_slice expected = value_of(d, key, d->versions[key]);
    ck_assert_msg(slice_equal(slice(d->found, got), expected), "key %u: %zu bytes that are not version %u", key, got,
                  d->versions[key]);
}

static void expect_all_of(struct disk *d, plsm *db)
{
    uint64_t there = 0;
    for (unsigned key = 0; key < d->keys; key++) {
        expect_key(d, db, key);
        there += d->versions[key] > 0;
    }
    ck_assert_uint_eq(fixture_count(db, PLSM_NAMES), there);
}

/* Through the store at hand, and through one that is opened for reading, which takes no space. */
static void expect_all(struct disk *d)
{
    plsm *reader = NULL;
    expect_all_of(d, d->db);
    assert_ok(plsm_open_env(d->env, "/s", PLSM_READ, options_of(d), &reader));
    for (unsigned key = 0; key < d->keys; key += 7)
        expect_key(d, reader, key);
    assert_ok(plsm_close(reader));
}

static plsm_status put(struct disk *d, unsigned key)
{
    char text[32];
    unsigned version = d->versions[key] + 1u + random_below(&d->random, 3);
    plsm_status status = plsm_put(d->db, key_of(key, text), value_of(d, key, version), PLSM_NONE);
    if (status != PLSM_OK)
        return status;
    if (d->versions[key])
        d->live_bytes -= size_of(d, key, d->versions[key]);
    d->versions[key] = (uint16_t)version;
    d->live_bytes += size_of(d, key, version);
    return PLSM_OK;
}

static void remove_key(struct disk *d, unsigned key)
{
    char text[32];
    plsm_status status = plsm_delete(d->db, key_of(key, text), PLSM_NONE);
    ck_assert_msg(status == PLSM_OK, "row %d: deleting key %u: %s: %s", (int)(d->row - rows), key,
                  plsm_status_name(status), plsm_message());
    if (d->versions[key])
        d->live_bytes -= size_of(d, key, d->versions[key]);
    d->versions[key] = 0;
}

/* Puts keys that are absent, new ones last, until there is no more room. */
static void fill(struct disk *d)
{
    plsm_status status = PLSM_OK;
    for (unsigned key = 0; key < KEYS_MAX && status == PLSM_OK; key++) {
        if (key == d->keys)
            d->keys++;
        if (d->versions[key] == 0)
            status = put(d, key);
    }
    ck_assert_msg(is_lacking(status), "row %d: filling ended with %s: %s", (int)(d->row - rows),
                  plsm_status_name(status), plsm_message());
    tell(d, "full");
}

static void delete_some(struct disk *d, unsigned modulus)
{
    for (unsigned key = 0; key < d->keys; key++)
        if (key % modulus != 0 && d->versions[key])
            remove_key(d, key);
    tell(d, "partly deleted");
}

/* May find that there is no room for all of it, but must leave the store as good as it was. */
static void compact(struct disk *d)
{
    plsm_status status = plsm_compact(d->db, slice(NULL, 0), slice(NULL, 0));
    ck_assert_msg(status == PLSM_OK || is_lacking(status), "row %d: compacting: %s: %s", (int)(d->row - rows),
                  plsm_status_name(status), plsm_message());
    tell(d, status == PLSM_OK ? "compacted" : "compacted, not all of it");
}

static void reopen(struct disk *d)
{
    assert_ok(plsm_close(d->db));
    d->db = NULL;
    d->db = fixture_open(d->env, 0, options_of(d));
}

/* Somebody else takes all that is free, or gives some of it back. */
static void take_all_but(struct disk *d, uint64_t left)
{
    env_memory_set_capacity(d->env, 0);
    struct env_space space;
    assert_ok(env_space(d->env, "/", &space));
    env_memory_set_capacity(d->env, space.bytes_total - space.bytes_free + left);
}

/* The process dies, or the power fails, where it stands. After the latter any unsynced write may be gone. Then `left`
 * bytes are free; 0: as many as there were. */
static void die_with(struct disk *d, enum env_crash kind, uint64_t left)
{
    if (kind != ENV_CRASH_KEEP)
        assert_ok(plsm_sync(d->db));
    struct env *after = env_memory_crash(d->env, env_memory_calls(d->env), kind, 7);
    ck_assert_ptr_nonnull(after);
    (void)plsm_close(d->db);
    env_memory_destroy(d->env);
    d->env = after;
    if (d->ops)
        after->ops = d->ops;
    env_memory_set_capacity(after, d->row->capacity);
    if (left > 0)
        take_all_but(d, left);
    d->db = fixture_open(after, 0, options_of(d));
    tell(d, "opened after its death");
}

static void die(struct disk *d, enum env_crash kind)
{
    die_with(d, kind, 0);
}

/* --- tests -------------------------------------------------------------------------------------------------------- */

static struct disk *setup(const struct row *row)
{
    struct disk *d = calloc(1, sizeof *d);
    d->row = row;
    d->env = env_memory_create(3);
    d->value = malloc(VALUE_MAX + 8);
    d->found = malloc(VALUE_MAX);
    d->trace = getenv("FULL_DISK_TRACE") != NULL;
    random_seed(&d->random, 5);
    env_memory_set_capacity(d->env, row->capacity);
    d->db = fixture_open(d->env, PLSM_CREATE, options_of(d));
    return d;
}

static void teardown(struct disk *d)
{
    (void)plsm_close(d->db);
    env_memory_destroy(d->env);
    free(d->value);
    free(d->found);
    free(d);
}

static bool wanted(size_t row)
{
    const char *only = getenv("FULL_DISK_ROW");
    return only ? (size_t)atoi(only) == row : row < thinned(ROWS);
}

/* Full, half deleted, compacted, full again, round after round. */
START_TEST(again_and_again)
{
    for (size_t i = 0; i < ROWS; i++) {
        if (!wanted(i))
            continue;
        struct disk *d = setup(&rows[i]);
        fill(d);
        uint64_t full_bytes = d->live_bytes;
        ck_assert_uint_ge(full_bytes, rows[i].capacity / 100 * rows[i].live_percent);
        expect_all(d);
        for (unsigned round = 0; round < ROUNDS; round++) {
            delete_some(d, 2);
            expect_all(d);
            compact(d);
            expect_all(d);
            if (round == 1)
                reopen(d);
            fill(d);
            expect_all(d);
            ck_assert_msg(d->live_bytes >= full_bytes / 4 * 3, "row %zu, round %u: %lu bytes instead of %lu", i, round,
                          (unsigned long)d->live_bytes, (unsigned long)full_bytes);
            if (round == 0)
                die(d, ENV_CRASH_KEEP);
            else if (round == 1)
                die(d, ENV_CRASH_TORN);
            expect_all(d);
        }
        fixture_check(d->db);
        teardown(d);
    }
}
END_TEST

/* After the process's death less and less is free: down to what a log and a MANIFEST take the store opens for writing,
 * whether what memory held fits into runs beside them or not. Below that it leaves what there is for the next time. */
START_TEST(opened_with_ever_less_room)
{
    enum { BLOCK = 4 * KIB, LIVE = 30 * KIB, MOST = 2 * LIVE, LEAST = 3 * BLOCK };
    struct disk *d = setup(&rows[0]);
    while (d->live_bytes < LIVE)
        ck_assert_int_eq(put(d, d->keys++), PLSM_OK);
    struct env *before = d->env;
    plsm *living = d->db;
    uint64_t calls = env_memory_calls(before);
    for (uint64_t left = MOST; left > 0; left -= BLOCK) {
        d->env = env_memory_crash(before, calls, ENV_CRASH_KEEP, 7);
        ck_assert_ptr_nonnull(d->env);
        take_all_but(d, left);
        plsm_status status = plsm_open_env(d->env, "/s", 0, options_of(d), &d->db);
        ck_assert_msg(status == PLSM_OK || (left < LEAST && is_lacking(status)), "%lu KiB: %s: %s",
                      (unsigned long)(left / KIB), plsm_status_name(status), plsm_message());
        if (status == PLSM_OK) {
            expect_all(d);
            assert_ok(plsm_close(d->db));
        } else {
            ck_assert_uint_ge(free_bytes(d), left);
        }
        env_memory_destroy(d->env);
    }
    d->env = before;
    d->db = living;
    teardown(d);
}
END_TEST

/* Nothing is free any more, because of somebody else: reading goes on, opening for writing says what is wrong, and as
 * soon as there is a little room something can be deleted, which makes more. */
START_TEST(without_a_byte)
{
    for (size_t i = 0; i < ROWS; i++) {
        if (!wanted(i))
            continue;
        struct disk *d = setup(&rows[i]);
        plsm *reader = NULL;
        fill(d);
        assert_ok(plsm_sync(d->db));
        struct env *after = env_memory_crash(d->env, env_memory_calls(d->env), ENV_CRASH_KEEP, 7);
        (void)plsm_close(d->db);
        d->db = NULL;
        env_memory_destroy(d->env);
        d->env = after;
        take_all_but(d, 0);
        plsm_status status = plsm_open_env(d->env, "/s", 0, options_of(d), &d->db);
        if (status != PLSM_OK) {
            ck_assert_msg(is_lacking(status), "row %zu: %s: %s", i, plsm_status_name(status), plsm_message());
            ck_assert_ptr_nonnull(strstr(plsm_message(), "read-only"));
            ck_assert_ptr_null(d->db);
        }
        tell(d, status == PLSM_OK ? "opened without a byte" : "not opened");
        assert_ok(plsm_open_env(d->env, "/s", PLSM_READ, options_of(d), &reader));
        expect_all_of(d, reader);
        assert_ok(plsm_close(reader));
        (void)plsm_close(d->db);
        d->db = NULL;
        take_all_but(d, 128 * KIB);
        d->db = fixture_open(d->env, 0, options_of(d));
        tell(d, "opened with 128 KiB");
        for (unsigned key = 0; key < d->keys && key < 100; key++)
            remove_key(d, key);
        expect_all(d);
        env_memory_set_capacity(d->env, d->row->capacity);
        delete_some(d, 3);
        compact(d);
        expect_all(d);
        uint64_t before = d->live_bytes;
        fill(d);
        ck_assert_uint_gt(d->live_bytes, before + rows[i].capacity / 100 * rows[i].live_percent / 3);
        reopen(d);
        expect_all(d);
        fixture_check(d->db);
        teardown(d);
    }
}
END_TEST

struct flusher {
    plsm *db;
    atomic_bool stop;
    unsigned lacked;
    plsm_status status;
};

static void flush_on(void *arg)
{
    struct flusher *f = arg;
    while (!atomic_load(&f->stop) && f->status == PLSM_OK) {
        plsm_status status = plsm_flush(f->db);
        f->lacked += is_lacking(status);
        f->status = is_lacking(status) ? PLSM_OK : status;
    }
}

static const struct env_ops *prompt;

/* Whoever asks for the free space is held up before it hears of it. */
static plsm_status space_as_it_was(struct env *env, const char *path, struct env_space *out)
{
    plsm_status status = prompt->space(env, path, out);
    env_sleep_ns(env_posix(), 500000);
    return status;
}

/* There is no room to flush what memory holds after the process's death: flushes try, take all there is, and fail.
 * Deletions go on meanwhile, though what they hear of the free space may be of a flush that has ended since. Once there
 * is room flushes do not fail any more. */
START_TEST(deleted_beside_flushes_without_room)
{
    enum { DELETIONS = 100 }; /* nearly all of keys that are not there: so many fit a memtable */
    const struct row *row = &rows[ROWS - 1];
    struct disk *d = setup(row);
    ck_assert_int_eq(row->sizes, KEPT);
    while (d->live_bytes < 512 * KIB)
        ck_assert_int_eq(put(d, d->keys++), PLSM_OK);
    prompt = d->env->ops;
    struct env_ops late = *prompt;
    late.space = space_as_it_was;
    d->ops = &late;
    die_with(d, ENV_CRASH_KEEP, 256 * KIB);
    struct flusher flusher = {.db = d->db};
    struct env_thread *thread = NULL;
    assert_ok(env_thread_start(env_posix(), flush_on, &flusher, &thread));
    for (unsigned key = 0; key < DELETIONS; key++) {
        remove_key(d, key);
        env_sleep_ns(env_posix(), 200000);
    }
    atomic_store(&flusher.stop, true);
    env_thread_join(thread);
    assert_ok(flusher.status);
    if (d->trace)
        printf("%u flushes lacked room\n", flusher.lacked);
    env_memory_set_capacity(d->env, row->capacity);
    assert_ok(plsm_flush(d->db));
    expect_all(d);
    teardown(d);
}
END_TEST

/* All is deleted: nearly all of the file system is free again. */
START_TEST(emptied)
{
    for (size_t i = 0; i < ROWS; i++) {
        if (!wanted(i))
            continue;
        struct disk *d = setup(&rows[i]);
        fill(d);
        for (unsigned key = 0; key < d->keys; key++)
            remove_key(d, key);
        compact(d);
        reopen(d);
        compact(d);
        expect_all(d);
        ck_assert_msg(free_bytes(d) > rows[i].capacity / 4 * 3, "row %zu: %lu bytes free", i,
                      (unsigned long)free_bytes(d));
        fill(d);
        expect_all(d);
        teardown(d);
    }
}
END_TEST

/* The process dies when it is full: what memtables held is there, can be deleted, and gives its room back. */
START_TEST(killed_when_full)
{
    for (size_t i = 0; i < ROWS; i++) {
        if (!wanted(i))
            continue;
        struct disk *d = setup(&rows[i]);
        fill(d);
        die(d, i % 2 ? ENV_CRASH_KEEP : ENV_CRASH_TORN);
        expect_all(d);
        delete_some(d, 8);
        compact(d);
        expect_all(d);
        ck_assert_msg(free_bytes(d) > rows[i].capacity / 2, "row %zu: %lu bytes free", i, (unsigned long)free_bytes(d));
        die(d, ENV_CRASH_KEEP);
        expect_all(d);
        teardown(d);
    }
}
END_TEST

/* Opened in what a crash left, with the same limit: all is there, and something can be deleted. */
static void look_at_crash(struct disk *d, uint64_t call, enum env_crash kind)
{
    plsm *db = NULL;
    struct env *after = env_memory_crash(d->env, call, kind, call);
    ck_assert_ptr_nonnull(after);
    env_memory_set_capacity(after, d->row->capacity);
    plsm_status status = plsm_open_env(after, "/s", 0, options_of(d), &db);
    ck_assert_msg(status == PLSM_OK, "row %d: crash %d behind call %lu: %s: %s", (int)(d->row - rows), (int)kind,
                  (unsigned long)call, plsm_status_name(status), plsm_message());
    expect_all_of(d, db);
    char text[32];
    assert_ok(plsm_delete(db, key_of(0, text), PLSM_SYNC));
    assert_ok(plsm_close(db));
    env_memory_destroy(after);
}

/* Compacting a full store is cut short, by the process's death or by power loss, at some places. */
START_TEST(killed_while_compacting)
{
    enum { PLACES = 12 };
    for (size_t i = 0; i < ROWS; i += 2) {
        if (!wanted(i))
            continue;
        struct disk *d = setup(&rows[i]);
        fill(d);
        delete_some(d, 2);
        assert_ok(plsm_sync(d->db));
        uint64_t from = env_memory_calls(d->env);
        compact(d);
        uint64_t to = env_memory_calls(d->env);
        for (unsigned place = 0; place <= PLACES; place++) {
            uint64_t call = from + (to - from) * place / PLACES;
            look_at_crash(d, call, ENV_CRASH_KEEP);
            look_at_crash(d, call, place % 2 ? ENV_CRASH_TORN : ENV_CRASH_DROP);
        }
        teardown(d);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        again_and_again, opened_with_ever_less_room, without_a_byte,         deleted_beside_flushes_without_room,
        emptied,         killed_when_full,           killed_while_compacting};
    return fixture_run_engines("full disk", tests, sizeof tests / sizeof tests[0]);
}
