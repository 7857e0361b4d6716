/* Recovery over several logs: what is promised when a flush, a sync or a close fails, and one cache starved of frames.
 * Each test here is a way in which the chain of logs once lost or hid something. All in memory. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/env_fault.h"
#include "base/env_memory.h"
#include "lsm/cache.h"
#include "lsm/lsm.h"
#include "lsm/page.h"
#include "base/banned.h"

enum { SEEDS = 60, VALUE_MAX = 4096 };

static struct env *disk, *faults;

static void setup(void)
{
    disk = env_memory_create(1);
    faults = env_fault_create(disk);
    ck_assert(disk && faults);
}

static void teardown(void)
{
    env_fault_destroy(faults);
    env_memory_destroy(disk);
}

static struct lsm_options options(struct env *env, bool background)
{
    struct lsm_options o;
    lsm_options_default(&o);
    o.env = env;
    o.create = true;
    o.buffer_size = 64 << 10;
    o.file_size = 64 << 10;
    o.cache_size = 1 << 20;
    o.background = background;
    o.separate_above = 0; /* pages are looked into here */
    return o;
}

static struct lsm *open_tree(struct env *env, bool background)
{
    struct lsm_options o = options(env, background);
    struct lsm *db = NULL;
    ck_assert_msg(lsm_open("/s", &o, &db) == PLSM_OK, "%s", plsm_message());
    return db;
}

static plsm_status put(struct lsm *db, unsigned number, bool sync, size_t value_size)
{
    static char value[VALUE_MAX];
    char key[32];
    struct batch batch = {0};
    ck_assert_uint_le(value_size, sizeof value);
    snprintf(key, sizeof key, "key%06u", number);
    memset(value, 'v', sizeof value);
    ck_assert_int_eq(batch_add(&batch, BATCH_PUT, 1, slice_of(key), (plsm_slice){0}, slice(value, value_size)),
                     PLSM_OK);
    plsm_status status = lsm_write(db, &batch, NULL, NULL, sync);
    batch_free(&batch);
    return status;
}

static bool holds(struct lsm *db, unsigned number)
{
    char key[32];
    struct lsm_value value = {0};
    snprintf(key, sizeof key, "\1key%06u", number);
    plsm_status status = lsm_get(db, NULL, slice_of(key), false, &value);
    ck_assert(status == PLSM_OK || status == PLSM_NOT_FOUND);
    lsm_value_free(&value);
    return status == PLSM_OK;
}

/* The numbers [from, to) are there. */
static void check_range(struct lsm *db, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++)
        ck_assert_msg(holds(db, i), "key %u is lost", i);
}

/* After a power loss now, in all variants, all of these are there: [0, first) and [10, 10 + second). */
static void check_power_loss(unsigned first, unsigned second)
{
    for (int kind = 0; kind < ENV_CRASH_COUNT; kind++)
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            struct env *after = env_memory_crash(disk, env_memory_calls(disk), (enum env_crash)kind, seed);
            struct lsm_options o = options(after, false);
            struct lsm *db = NULL;
            o.create = false;
            ck_assert_msg(lsm_open("/s", &o, &db) == PLSM_OK, "crash kind %d, seed %u: %s", kind, (unsigned)seed,
                          plsm_message());
            check_range(db, 0, first);
            check_range(db, 10, 10 + second);
            ck_assert_int_eq(lsm_close(db), PLSM_OK);
            env_memory_destroy(after);
        }
}

/* The flush at closing fails, for good: what was frozen stays in its log, which was closed behind the one after it
 * began. */
START_TEST(close_with_failing_flush)
{
    struct lsm *db = open_tree(faults, _i & 1);
    for (unsigned i = 0; i < 20; i++)
        ck_assert_int_eq(put(db, i, true, 1000), PLSM_OK);
    if (_i < 2)
        env_fault_arm(faults, ENV_CALL_OPEN, 2, ENV_FAULT_NO_SPACE, true); /* a new log can be made, runs cannot */
    else
        env_fault_arm(faults, ENV_CALL_SYNC_DIR, 2, ENV_FAULT_IO, false);
    lsm_close(db); /* may tell of it or not */
    ck_assert(env_fault_fired(faults));
    env_fault_disarm(faults);
    db = open_tree(faults, false);
    check_range(db, 0, 20);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
}
END_TEST

/* An append fails halfway and is cut off again; the next log is synced; power loss may bring the half record back. */
START_TEST(cut_back_append)
{
    const enum env_fault full = _i == 1 ? ENV_FAULT_QUOTA : ENV_FAULT_NO_SPACE;
    const plsm_status status = _i == 1 ? PLSM_QUOTA : PLSM_NO_SPACE;
    struct lsm *db = open_tree(faults, false);
    for (unsigned i = 0; i < 3; i++)
        ck_assert_int_eq(put(db, i, true, 10), PLSM_OK);
    env_fault_arm(faults, ENV_CALL_APPEND, 1, full, true);
    ck_assert_int_eq(put(db, 50, false, 3000), status);
    env_fault_arm(faults, ENV_CALL_OPEN, 2, full, true);
    ck_assert_int_eq(lsm_flush(db), status); /* has started a new log */
    for (unsigned i = 0; i <= (unsigned)_i; i++)
        ck_assert_int_eq(put(db, 10 + i, true, 10), PLSM_OK);
    check_power_loss(3, 1 + (unsigned)_i);
    env_fault_disarm(faults);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
}
END_TEST

/* The record of a clean close was written, its sync failed; the log is kept, a later one is synced, then power
 * fails. */
START_TEST(close_record_not_synced)
{
    struct lsm *db = open_tree(faults, false);
    for (unsigned i = 0; i < 3; i++)
        ck_assert_int_eq(put(db, i, true, 10), PLSM_OK);
    env_fault_arm(faults, ENV_CALL_SYNC, 2, ENV_FAULT_IO, true);
    ck_assert_int_eq(lsm_close(db), PLSM_IO);
    env_fault_disarm(faults);
    db = open_tree(faults, false);
    for (unsigned i = 0; i <= (unsigned)_i; i++)
        ck_assert_int_eq(put(db, 10 + i, true, 10), PLSM_OK);
    check_power_loss(3, 1 + (unsigned)_i);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
}
END_TEST

/* Every byte of a log that was closed and kept, flipped, and the log cut at every length: an error or all answers. */
START_TEST(damaged_kept_log)
{
    struct lsm *db = open_tree(disk, false);
    uint8_t *data = NULL;
    size_t size = 0;
    unsigned errors = 0;
    for (unsigned i = 0; i < 3; i++)
        ck_assert_int_eq(put(db, i, true, 10), PLSM_OK);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    db = open_tree(disk, false);
    for (unsigned i = 10; i < 13; i++)
        ck_assert_int_eq(put(db, i, false, 10), PLSM_OK);
    uint64_t calls = env_memory_calls(disk);
    ck_assert_int_eq(env_memory_content(disk, "/s/log-00000001", &data, &size), PLSM_OK);
    for (size_t at = 0; at < size; at++) {
        struct env *after = env_memory_crash(disk, calls, ENV_CRASH_KEEP, 1);
        struct lsm_options o = options(after, false);
        struct lsm *damaged = NULL;
        size_t copy_size = 0;
        ck_assert_int_eq(env_memory_content(after, "/s/log-00000001", &data, &copy_size), PLSM_OK);
        if (_i == 0)
            data[at] ^= 1;
        else
            memset(data + at, 0, copy_size - at);
        if (lsm_open("/s", &o, &damaged) == PLSM_OK) {
            check_range(damaged, 0, 3);
            check_range(damaged, 10, 13);
            ck_assert_int_eq(lsm_close(damaged), PLSM_OK);
        } else {
            errors++;
        }
        env_memory_destroy(after);
    }
    ck_assert_uint_gt(errors, size / 5);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
}
END_TEST

/* Runs and value logs that the MANIFEST cannot know go when the store is opened, but not when that fails because a log
 * is missing: then it may be the MANIFEST that is wrong. */
START_TEST(unnamed_files)
{
    const char *const unnamed[] = {"/s/run-00000099", "/s/values-00000098"};
    struct lsm *db = open_tree(disk, false);
    struct lsm_options o = options(disk, false);
    struct env_file *file = NULL;
    ck_assert_int_eq(put(db, 0, false, 10), PLSM_OK);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(env_open(disk, unnamed[i], ENV_APPEND, &file), PLSM_OK);
        env_close(file);
    }
    ck_assert_int_eq(env_rename(disk, "/s/log-00000001", "/away"), PLSM_OK);
    ck_assert_int_eq(lsm_open("/s", &o, &db), PLSM_CORRUPT);
    for (int i = 0; i < 2; i++) {
        ck_assert_msg(env_open(disk, unnamed[i], ENV_READ, &file) == PLSM_OK, "%s", plsm_message());
        env_close(file);
    }
    ck_assert_int_eq(env_rename(disk, "/away", "/s/log-00000001"), PLSM_OK);
    db = open_tree(disk, false);
    check_range(db, 0, 1);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(env_open(disk, unnamed[i], ENV_READ, &file), PLSM_NOT_FOUND);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
}
END_TEST

/* The first creation fails at making the directory's name durable; the second one must do it. */
START_TEST(creation_twice)
{
    struct lsm_options o = options(faults, false);
    struct lsm *db = NULL;
    env_fault_arm(faults, ENV_CALL_SYNC_DIR, 1, ENV_FAULT_IO, false);
    ck_assert_int_eq(lsm_open("/s", &o, &db), PLSM_IO);
    env_fault_disarm(faults);
    db = open_tree(faults, false);
    ck_assert_int_eq(put(db, 0, true, 10), PLSM_OK);
    check_power_loss(1, 0);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
}
END_TEST

/* Memtables full and no run can be written: what is in the logs can still be synced. */
START_TEST(sync_without_room)
{
    struct lsm *db = open_tree(faults, false);
    plsm_status status = PLSM_OK;
    for (unsigned i = 0; i < 400 && status == PLSM_OK; i++) {
        env_fault_arm(faults, ENV_CALL_OPEN, 2, ENV_FAULT_NO_SPACE, true); /* logs can be made, runs cannot */
        status = put(db, i, false, 1500);
    }
    ck_assert_int_eq(status, PLSM_NO_SPACE);
    ck_assert_msg(lsm_sync(db) == PLSM_OK, "%s", plsm_message());
    env_fault_disarm(faults);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
}
END_TEST

/* A page with a right checksum and a prefix longer than any key may be: refused, not trusted. */
START_TEST(prefix_over_the_limit)
{
    enum { PREFIX = 20000 };
    uint8_t *data = NULL;
    size_t size = 0;
    struct buf large = {0};
    struct batch batch = {0};
    struct lsm *db = open_tree(disk, false);
    ck_assert_int_eq(buf_reserve(&large, 60000), PLSM_OK);
    memset(large.data, 'v', 60000);
    plsm_slice value = slice(large.data, 60000);
    ck_assert_int_eq(batch_add(&batch, BATCH_PUT, 1, slice_of("key"), (plsm_slice){0}, value), PLSM_OK);
    ck_assert_int_eq(lsm_write(db, &batch, NULL, NULL, false), PLSM_OK);
    ck_assert_int_eq(lsm_flush(db), PLSM_OK);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    ck_assert_int_eq(env_memory_content(disk, "/s/run-00000001", &data, &size), PLSM_OK);
    uint8_t *page = data + PAGE_SIZE;
    uint64_t seed = get_u64(data + 24) ^ PAGE_SIZE; /* the salt, the page's offset */
    size_t page_size = page_bytes(page);
    ck_assert_int_eq(page_verify(page, page_size, seed, true), PLSM_OK);
    ((struct page_header *)(void *)page)->prefix_size = PREFIX;
    put_u16(page + 26, 28 + PREFIX); /* the only slot */
    memset(page + 28, 'k', PREFIX);
    memcpy(page + 28 + PREFIX, "\0\0\144", 3); /* a put, no key behind the prefix, 100 bytes */
    put_u64(page + 16, checksum(page + PAGE_SIZE, page_size - PAGE_SIZE, ~seed));
    put_u64(page, checksum(page + 8, PAGE_SIZE - 8, seed));
    ck_assert_int_eq(page_verify(page, page_size, seed, true), PLSM_CORRUPT);
    db = open_tree(disk, false);
    struct lsm_iterator *it = NULL;
    ck_assert_int_eq(lsm_iterator_create(db, NULL, (plsm_slice){0}, (plsm_slice){0}, &it), PLSM_OK);
    lsm_iterator_first(it);
    ck_assert(!lsm_iterator_valid(it));
    ck_assert_int_eq(lsm_iterator_status(it), PLSM_CORRUPT);
    lsm_iterator_destroy(it);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    batch_free(&batch);
    buf_free(&large);
}
END_TEST

/* Frames of a small cache go on being recycled while scans stand still on some of its pages. */
START_TEST(cache_with_idle_pins)
{
    enum { FRAMES = 64, MISSES = 1000, PINS = 20 };
    static cache_slot slots[2 * MISSES];
    uint32_t number = 0, pins[PINS];
    unsigned had[2] = {0};
    struct epoch *epoch = epoch_create();
    struct cache *cache = cache_create(FRAMES * PAGE_SIZE, 16 << 10, epoch);
    for (unsigned round = 0; round < 2; round++)
        for (unsigned i = 0; i < MISSES; i++) {
            cache_slot *slot = &slots[round * MISSES + i];
            epoch_enter(epoch);
            if (cache_take(cache, &number)) {
                had[round]++;
                cache_publish(cache, slot, number);
            }
            epoch_exit(epoch);
            if (round == 1 && i < PINS && !cache_pin(cache, slot, &pins[i]))
                pins[i] = 0;
        }
    ck_assert_uint_gt(had[0], MISSES / 2);
    ck_assert_msg(had[1] > had[0] / 2, "%u frames without pins, %u with", had[0], had[1]);
    for (unsigned i = 0; i < PINS; i++)
        if (pins[i])
            cache_unpin(cache, pins[i]);
    cache_forget(cache, slots, 2 * MISSES);
    cache_destroy(cache);
    epoch_destroy(epoch);
}
END_TEST

/* The MANIFEST is gone: what it named is no creation that did not come to its end, and stays, whether it stands in runs
 * or in logs alone. */
START_TEST(manifest_gone)
{
    struct lsm *db = open_tree(disk, false);
    bool flushed = _i & 1;
    uint64_t manifest = 0;
    char path[64];
    ck_assert_int_eq(put(db, 0, true, 1000), PLSM_OK);
    if (flushed)
        ck_assert_int_eq(lsm_flush(db), PLSM_OK);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    do
        snprintf(path, sizeof path, "/s/manifest-%08u", (unsigned)++manifest);
    while (env_rename(disk, path, "/kept") != PLSM_OK);
    for (unsigned i = 0; i < 3; i++) {
        struct lsm_options o = options(disk, false);
        o.create = i < 2;
        o.exclusive = i == 1;
        o.read_only = i == 2;
        ck_assert_int_eq(lsm_open("/s", &o, &db), PLSM_CORRUPT);
        ck_assert_ptr_nonnull(strstr(plsm_message(), flushed ? "/s/run-" : "/s/log-"));
    }
    ck_assert_int_eq(env_rename(disk, "/kept", path), PLSM_OK);
    db = open_tree(disk, false);
    check_range(db, 0, 1);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
}
END_TEST

static const struct env_ops *plain;
static unsigned hidden_lists, removed_logs;

static void (*tell_name)(void *arg, const char *name);

static void tell_no_manifest(void *arg, const char *name)
{
    if (strncmp(name, "manifest-", 9) != 0)
        tell_name(arg, name);
}

/* The first lists are from before the MANIFEST was made. */
static plsm_status list_as_it_was(struct env *env, const char *path, void (*each)(void *arg, const char *name),
                                  void *arg)
{
    tell_name = each;
    return plain->list(env, path, hidden_lists > 0 && hidden_lists-- ? tell_no_manifest : each, arg);
}

static plsm_status note_removal(struct env *env, const char *path)
{
    removed_logs += strncmp(path, "/s/log-", 7) == 0;
    return plain->remove(env, path);
}

/* A reader lists a directory before a store in it is finished, and reads its log behind that. */
START_TEST(read_beside_creation)
{
    struct lsm *db = open_tree(disk, false);
    struct lsm_options o = options(disk, false);
    ck_assert_int_eq(put(db, 0, false, 10), PLSM_OK);
    o.create = false;
    o.read_only = true;
    plain = disk->ops;
    struct env_ops ops = *plain;
    ops.list = list_as_it_was;
    disk->ops = &ops;
    hidden_lists = 2;
    struct lsm *reader = NULL;
    ck_assert_msg(lsm_open("/s", &o, &reader) == PLSM_OK, "%s", plsm_message());
    check_range(reader, 0, 1);
    ck_assert_int_eq(lsm_close(reader), PLSM_OK);
    hidden_lists = UINT32_MAX;
    ck_assert_int_eq(lsm_open("/s", &o, &reader), PLSM_CORRUPT);
    disk->ops = plain;
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
}
END_TEST

/* Opening for writing fails at one call after the other: while a reader has the store no log goes, and without one all
 * that was made does. */
START_TEST(failed_opening_beside_reader)
{
    bool pinned = _i == 0;
    struct lsm_options o = options(disk, false);
    struct lsm *db = open_tree(disk, false), *reader = NULL;
    ck_assert_int_eq(put(db, 0, false, 10), PLSM_OK);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    o.create = false;
    o.read_only = true;
    if (pinned)
        ck_assert_int_eq(lsm_open("/s", &o, &reader), PLSM_OK);
    plain = disk->ops;
    struct env_ops ops = *plain;
    ops.remove = note_removal;
    disk->ops = &ops;
    removed_logs = 0;
    o = options(faults, false);
    plsm_status status = PLSM_NO_SPACE;
    unsigned failures = 0;
    for (unsigned nth = 1; status == PLSM_NO_SPACE; nth++) {
        env_fault_arm(faults, ENV_CALL_OPEN, nth, ENV_FAULT_NO_SPACE, true);
        status = lsm_open("/s", &o, &db);
        failures += status == PLSM_NO_SPACE;
    }
    env_fault_disarm(faults);
    ck_assert_msg(status == PLSM_OK, "%s", plsm_message());
    ck_assert_uint_gt(failures, 1);
    ck_assert_int_eq(removed_logs > 0, !pinned);
    check_range(db, 0, 1);
    disk->ops = plain;
    ck_assert_int_eq(lsm_close(reader), PLSM_OK);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
}
END_TEST

/* Somebody else's directory, in which things are called like those of a store: no store is told there, and nothing is
 * left in it. */
START_TEST(names_like_ours)
{
    static const char *const names[][2] = {
        {"log-1", "notes"}, {"run-3", NULL}, {"values-2", NULL}, {"log-20261128", "notes"}, {"run-00000003", "notes"}};
    const plsm_status statuses[] = {PLSM_INVALID, PLSM_NO_STORE, PLSM_NO_STORE};
    char path[64];
    struct env_file *file = NULL;
    ck_assert_int_eq(env_make_dir(disk, "/s"), PLSM_OK);
    for (unsigned i = 0; i < 2 && names[_i][i]; i++) {
        snprintf(path, sizeof path, "/s/%s", names[_i][i]);
        ck_assert_int_eq(env_open(disk, path, ENV_APPEND, &file), PLSM_OK);
        env_close(file);
    }
    for (unsigned i = 0; i < 3; i++) {
        struct lsm_options o = options(disk, false);
        struct lsm *db = NULL;
        o.create = i == 0;
        o.read_only = i == 2;
        ck_assert_msg(lsm_open("/s", &o, &db) == statuses[i], "%s: %s", names[_i][0], plsm_message());
        ck_assert_int_eq(env_open(disk, "/s/LOCK", ENV_READ, &file), PLSM_NOT_FOUND);
    }
}
END_TEST

/* An append finds no room, and there is some right behind: nobody hears of it, whatever the room was taken by. */
START_TEST(append_lacks_room_once)
{
    struct lsm *db = open_tree(faults, _i & 1);
    for (unsigned i = 0; i < 10; i++) {
        env_fault_arm(faults, ENV_CALL_APPEND, 1, _i & 2 ? ENV_FAULT_QUOTA : ENV_FAULT_NO_SPACE, false);
        ck_assert_msg(put(db, i, i & 1, 100) == PLSM_OK, "%s", plsm_message());
        ck_assert(env_fault_fired(faults));
    }
    env_fault_disarm(faults);
    check_range(db, 0, 10);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    db = open_tree(faults, false);
    check_range(db, 0, 10);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("recovery");
    TCase *tcase = tcase_create("recovery");
    tcase_set_timeout(tcase, 300);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, close_with_failing_flush, 0, 4);
    tcase_add_loop_test(tcase, cut_back_append, 0, 3);
    tcase_add_loop_test(tcase, close_record_not_synced, 0, 3);
    tcase_add_loop_test(tcase, damaged_kept_log, 0, 2);
    tcase_add_test(tcase, creation_twice);
    tcase_add_loop_test(tcase, manifest_gone, 0, 2);
    tcase_add_test(tcase, unnamed_files);
    tcase_add_test(tcase, read_beside_creation);
    tcase_add_loop_test(tcase, failed_opening_beside_reader, 0, 2);
    tcase_add_loop_test(tcase, names_like_ours, 0, 5);
    tcase_add_loop_test(tcase, append_lacks_room_once, 0, 4);
    tcase_add_test(tcase, sync_without_room);
    tcase_add_test(tcase, prefix_over_the_limit);
    tcase_add_test(tcase, cache_with_idle_pins);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
