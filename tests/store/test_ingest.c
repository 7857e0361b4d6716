/* Files of other stores: taken in whole and right, or refused; and nothing of them stays that did not come in. */
#include <stdio.h>
#include <stdlib.h>

#include "../harness/store_fixture.h"

#include "base/alloc.h"
#include "base/env_fault.h"
#include "tests/harness/statistic.h"

#include "base/banned.h"

#define FROM "/from"

enum { KEYS = 3000, DAMAGES = 400, PATH_SIZE = 64 };

static struct env *env;
static plsm *db;

static const char *number_key(unsigned i)
{
    static char key[32];
    snprintf(key, sizeof key, "dir/key-%07u", i);
    return key;
}

static const char *number_value(unsigned i)
{
    static char value[64];
    snprintf(value, sizeof value, "value %u of some thirty bytes", i * i);
    return value;
}

/* Another store with the keys [from, to), loaded; closed. */
static void make_store(const char *path, const char *options, unsigned from, unsigned to)
{
    plsm *other = NULL;
    plsm_bulk *bulk = NULL;
    assert_ok(plsm_open_env(env, path, PLSM_CREATE, options, &other));
    assert_ok(plsm_bulk_create(other, &bulk));
    for (unsigned i = from; i < to; i++)
        assert_ok(plsm_bulk_put(bulk, PLSM_NAMES, slice_of(number_key(i)), slice_of("m"), slice_of(number_value(i))));
    assert_ok(plsm_bulk_finish(bulk));
    plsm_bulk_destroy(bulk);
    assert_ok(plsm_close(other));
}

struct files {
    char names[64][PATH_SIZE];
    const char *store;
    unsigned count;
};

static void note_run(void *arg, const char *name)
{
    struct files *files = arg;
    if (strncmp(name, "run-", 4) == 0 && files->count < 64)
        snprintf(files->names[files->count++], PATH_SIZE, "%s/%s", files->store, name);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static struct files list_runs(const char *store)
{
    struct files files = {.store = store};
    assert_ok(env_list(env, store, note_run, &files));
    qsort(files.names, files.count, PATH_SIZE, by_name);
    return files;
}

static void start(const char *options)
{
    env = env_memory_create(3);
    db = fixture_open(env, PLSM_CREATE, options);
}

static void stop(void)
{
    fixture_check(db);
    assert_ok(plsm_close(db));
    env_memory_destroy(env);
}

static plsm_status ingest(plsm *into, const struct files *files)
{
    plsm_bulk *bulk = NULL;
    plsm_status status = plsm_bulk_create(into, &bulk);
    for (unsigned i = 0; i < files->count && status == PLSM_OK; i++)
        status = plsm_bulk_add_file(bulk, files->names[i]);
    if (status == PLSM_OK)
        status = plsm_bulk_finish(bulk);
    plsm_bulk_destroy(bulk);
    return status;
}

static void expect_all(void)
{
    ck_assert_uint_eq(fixture_count(db, PLSM_NAMES), KEYS);
    for (unsigned i = 0; i < KEYS; i += 59)
        fixture_expect(db, number_key(i), number_value(i));
}

/* Files of every mode into a store of every mode, and again, over themselves; into the deepest level where it is free.
 * */
START_TEST(test_modes)
{
    static const char *const modes[] = {"learned", "traditional", "classic", "learned,compression=lz4"};
    char options[200], path[PATH_SIZE];
    for (unsigned into = 0; into < 3; into++) {
        for (unsigned from = 0; from < 4; from++) {
            snprintf(options, sizeof options, FIXTURE_OPTIONS ",index=%s", modes[into]);
            start(options);
            snprintf(options, sizeof options, FIXTURE_OPTIONS ",file_size=64K,index=%s", modes[from]);
            snprintf(path, sizeof path, "%s-%u", FROM, from);
            make_store(path, options, 0, KEYS);
            struct files files = list_runs(path);
            ck_assert_uint_gt(files.count, from == 3 ? 0 : 1);
            assert_ok(ingest(db, &files));
            expect_all();
            ck_assert_uint_eq((unsigned)statistic(db->tree, "lsm.level.0.files"), 0);
            ck_assert_uint_eq((unsigned)statistic(db->tree, "lsm.level.1.files"), files.count);
            fixture_put(db, number_key(59), "changed");
            assert_ok(ingest(db, &files));
            expect_all();
            assert_ok(plsm_compact(db, slice(NULL, 0), slice(NULL, 0)));
            expect_all();
            stop();
        }
    }
}
END_TEST

/* What has its place in another store only. */
START_TEST(test_refused)
{
    start(NULL);
    plsm *other = NULL;
    plsm_bulk *bulk = NULL;
    struct files none = {.names = {"/nothing"}, .count = 1}, files;
    uint8_t *large = mem_zalloc(PLSM_INLINE_MAX + 1);
    assert_status(ingest(db, &none), PLSM_NOT_FOUND);
    make_store(FROM, FIXTURE_OPTIONS ",file_size=64K", 0, KEYS);
    files = list_runs(FROM);
    assert_ok(plsm_bulk_create(db, &bulk)); /* the wrong way round, and what follows an error */
    assert_ok(plsm_bulk_add_file(bulk, files.names[1]));
    assert_status(plsm_bulk_add_file(bulk, files.names[0]), PLSM_INVALID);
    assert_status(plsm_bulk_add_file(bulk, files.names[1]), PLSM_INVALID);
    assert_ok(plsm_bulk_put(bulk, PLSM_NAMES, slice_of("z"), slice(NULL, 0), slice_of("1")));
    plsm_bulk_destroy(bulk);
    ck_assert_uint_eq(list_runs("/s").count, 0);

    assert_ok(plsm_open_env(env, FROM "-mixed", PLSM_CREATE, FIXTURE_OPTIONS, &other));
    fixture_put(other, "a", "1");
    assert_ok(plsm_delete(other, slice_of("b"), PLSM_NONE));
    assert_ok(plsm_flush(other));
    assert_ok(plsm_close(other));
    files = list_runs(FROM "-mixed");
    assert_status(ingest(db, &files), PLSM_INVALID); /* a deletion */
    assert_ok(plsm_open_env(env, FROM "-ranged", PLSM_CREATE, FIXTURE_OPTIONS, &other));
    fixture_put(other, "b", "1");
    assert_ok(plsm_flush(other));
    plsm_snapshot *snapshot = plsm_snapshot_create(other); /* so that the deletion is kept */
    assert_ok(plsm_delete_range(other, slice_of("b"), slice_of("c"), PLSM_NONE));
    fixture_put(other, "a", "1");
    assert_ok(plsm_flush(other));
    plsm_snapshot_destroy(other, snapshot);
    assert_ok(plsm_close(other));
    files = list_runs(FROM "-ranged");
    memcpy(files.names[0], files.names[--files.count], PATH_SIZE);
    files.count = 1;
    assert_status(ingest(db, &files), PLSM_INVALID);
    ck_assert_ptr_nonnull(strstr(plsm_message(), "deletes ranges"));
    assert_ok(plsm_open_env(env, FROM "-large", PLSM_CREATE, FIXTURE_OPTIONS, &other));
    assert_ok(plsm_put(other, slice_of("a"), slice(large, PLSM_INLINE_MAX + 1), PLSM_NONE));
    assert_ok(plsm_flush(other));
    assert_ok(plsm_close(other));
    files = list_runs(FROM "-large");
    for (unsigned i = 0; i < files.count; i++) { /* names, inodes, extents, internal: a reference, or not public */
        struct files one = {.count = 1};
        memcpy(one.names[0], files.names[i], PATH_SIZE);
        plsm_status status = ingest(db, &one);
        ck_assert_msg(status == PLSM_INVALID, "%s: %s", one.names[0], plsm_status_name(status));
    }
    ck_assert_uint_eq(list_runs("/s").count, 0);
    ck_assert_uint_eq(fixture_count(db, PLSM_NAMES), 0);
    mem_free(large);
    stop();
}
END_TEST

static void write_file(const char *path, const uint8_t *bytes, size_t size)
{
    struct env_file *file = NULL;
    assert_ok(env_open(env, path, ENV_APPEND, &file));
    assert_ok(env_append(file, bytes, size));
    env_close(file);
}

/* A changed byte anywhere, and a missing end: refused, or of no importance. */
START_TEST(test_damaged)
{
    start(NULL);
    make_store(FROM, FIXTURE_OPTIONS, 0, KEYS);
    struct files files = list_runs(FROM), damaged = {.names = {"/damaged"}, .count = 1};
    struct env_file *file = NULL;
    uint64_t size = 0;
    ck_assert_uint_eq(files.count, 1);
    assert_ok(env_open(env, files.names[0], ENV_READ, &file));
    assert_ok(env_size(file, &size));
    uint8_t *bytes = mem_alloc(size);
    ck_assert_ptr_nonnull(bytes);
    assert_ok(env_read(file, 0, bytes, size));
    env_close(file);
    unsigned accepted = 0;
    for (unsigned i = 0; i < DAMAGES; i++) {
        uint64_t at = i < DAMAGES / 4   ? i
                      : i < DAMAGES / 2 ? size - 1 - (i - DAMAGES / 4) * 3
                                        : size / DAMAGES * i + 11;
        bytes[at] ^= (uint8_t)(1 << i % 8);
        write_file("/damaged", bytes, size);
        plsm_status status = ingest(db, &damaged);
        accepted += status == PLSM_OK;
        ck_assert_msg(status == PLSM_OK || status == PLSM_CORRUPT || status == PLSM_VERSION || status == PLSM_INVALID,
                      "byte %lu: %s", (unsigned long)at, plsm_message());
        if (status == PLSM_OK)
            expect_all();
        bytes[at] ^= (uint8_t)(1 << i % 8);
        if (i % 8 == 0) {
            write_file("/damaged", bytes, (size_t)(size / DAMAGES * i));
            ck_assert_msg(ingest(db, &damaged) != PLSM_OK, "cut at %lu", (unsigned long)(size / DAMAGES * i));
        }
    }
    printf("ingest: %u of %u changed bytes are of no importance\n", accepted, DAMAGES);
    ck_assert_uint_lt(accepted, DAMAGES / 4); /* the zeros behind the header, and between blocks */
    mem_free(bytes);
    assert_ok(ingest(db, &files));
    expect_all();
    stop();
}
END_TEST

/* Every storage call and every allocation fails in turn: all of it comes in, or nothing, and no file is left over. */
START_TEST(test_faults)
{
    for (unsigned trouble = 0; trouble < 2; trouble++) {
        bool fired = true;
        for (uint64_t nth = 1; fired; nth += 1 + nth / 16) {
            env = env_memory_create(nth);
            struct env *fault = env_fault_create(env);
            make_store(FROM, FIXTURE_OPTIONS, 0, 300);
            struct files files = list_runs(FROM);
            assert_ok(plsm_open_env(fault, "/s", PLSM_CREATE, FIXTURE_OPTIONS, &db));
            fixture_put(db, number_key(7), "old");
            if (trouble == 0)
                env_fault_arm(fault, ENV_CALL_ANY, nth, ENV_FAULT_IO, false);
            else
                mem_fail_at(nth);
            plsm_status status = ingest(db, &files);
            fired = trouble == 0 ? env_fault_fired(fault) : mem_count() >= nth;
            env_fault_disarm(fault);
            mem_fail_at(0);
            plsm_close(db);
            db = fixture_open(env, 0, NULL);
            uint64_t keys = fixture_count(db, PLSM_NAMES);
            ck_assert_msg(keys == 300 || (keys == 1 && status != PLSM_OK), "fault %lu: %lu keys", (unsigned long)nth,
                          (unsigned long)keys);
            fixture_expect(db, number_key(7), keys == 1 ? "old" : number_value(7));
            ck_assert_uint_eq(list_runs("/s").count, (unsigned)statistic(db->tree, "store.files"));
            assert_ok(plsm_close(db));
            env_fault_destroy(fault);
            env_memory_destroy(env);
        }
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_modes, test_refused, test_damaged, test_faults};
    return fixture_run("ingest", tests, sizeof tests / sizeof *tests);
}
