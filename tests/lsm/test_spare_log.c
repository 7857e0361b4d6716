/* The spare log: a log that is not needed any more becomes the next one (lsm/log.c). In memory. */
#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env_memory.h"
#include "lsm/db.h"
#include "base/banned.h"

enum { BUFFER = 64 << 10, VALUE = 1000, ROTATION = BUFFER / VALUE + 1 };
enum { TRIES = 3000, TRY_NS = 5000000 };

static struct env *disk;

static void setup(void)
{
    disk = env_memory_create(1);
    ck_assert_ptr_nonnull(disk);
}

static void teardown(void)
{
    env_memory_destroy(disk);
}

static struct lsm *open_tree(struct env *env, bool background, bool mapped)
{
    struct lsm_options o;
    struct lsm *db = NULL;
    lsm_options_default(&o);
    o.env = env;
    o.create = true;
    o.buffer_size = o.file_size = BUFFER;
    o.cache_size = 1 << 20;
    o.background = background;
    o.log_mapped = mapped;
    ck_assert_msg(lsm_open("/s", &o, &db) == PLSM_OK, "%s", plsm_message());
    return db;
}

static plsm_status try_put(struct lsm *db, unsigned number, bool sync)
{
    char key[32], value[VALUE];
    struct batch batch = {0};
    snprintf(key, sizeof key, "key%06u", number);
    memset(value, 'a' + (int)(number % 26), sizeof value);
    ck_assert_int_eq(batch_add(&batch, BATCH_PUT, 1, slice_of(key), (plsm_slice){0}, slice(value, sizeof value)),
                     PLSM_OK);
    plsm_status status = lsm_write(db, &batch, NULL, NULL, sync);
    batch_free(&batch);
    return status;
}

static void put_all(struct lsm *db, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++)
        ck_assert_msg(try_put(db, i, false) == PLSM_OK, "%s", plsm_message());
}

static bool holds(struct lsm *db, unsigned number)
{
    char key[32];
    struct lsm_value value = {0};
    snprintf(key, sizeof key, "\1key%06u", number);
    plsm_status status = lsm_get(db, NULL, slice_of(key), false, &value);
    ck_assert_msg(status == PLSM_OK || status == PLSM_NOT_FOUND, "%s", plsm_message());
    bool right = status == PLSM_OK && value.value.size == VALUE &&
                 *(const char *)value.value.data == (char)('a' + (int)(number % 26));
    ck_assert(status == PLSM_NOT_FOUND || right);
    lsm_value_free(&value);
    return status == PLSM_OK;
}

/* --- what is in the directory ------------------------------------------------------------------------------------- */

struct names {
    unsigned logs, spare;
    char last[64]; /* of the logs, by their numbers */
};

static void count_name(void *arg, const char *name)
{
    struct names *names = arg;
    if (strncmp(name, "log-", 4) != 0)
        return;
    bool spare = strstr(name, ".tmp") != NULL;
    names->spare += spare;
    names->logs += !spare;
    if (!spare && strcmp(name, names->last) > 0)
        snprintf(names->last, sizeof names->last, "%s", name);
}

static struct names names_in(struct env *env)
{
    struct names names = {0};
    ck_assert_int_eq(env_list(env, "/s", count_name, &names), PLSM_OK);
    return names;
}

/* How often a log was made out of a spare one. */
static unsigned times_made_over(struct env *env)
{
    unsigned times = 0;
    for (uint64_t call = 1; call <= env_memory_calls(env); call++) {
        char text[200];
        env_memory_describe(env, call, text, sizeof text);
        times += strncmp(text, "open to write over", 18) == 0 && strstr(text, ".tmp");
    }
    return times;
}

static uint64_t size_seen(struct env *env, const char *name)
{
    char path[100];
    struct env_file *file = NULL;
    uint64_t size = 0;
    snprintf(path, sizeof path, "/s/%s", name);
    ck_assert_int_eq(env_open(env, path, ENV_READ, &file), PLSM_OK);
    ck_assert_int_eq(env_size(file, &size), PLSM_OK);
    env_close(file);
    return size;
}

/* --- tests -------------------------------------------------------------------------------------------------------- */

/* Not where logs are written, either: nothing is gained then. */
START_TEST(becomes_the_next_log)
{
    enum { ROTATIONS = 8 };
    bool mapped = _i;
    struct lsm *db = open_tree(disk, false, mapped);
    for (unsigned i = 0; i < ROTATIONS; i++) {
        put_all(db, i * ROTATION, (i + 1) * ROTATION);
        ck_assert_uint_le(names_in(disk).spare, mapped);
    }
    unsigned times = times_made_over(disk);
    ck_assert_uint_ge(times, mapped ? ROTATIONS - 3 : 0);
    ck_assert_uint_le(times, mapped ? ROTATIONS : 0);
    for (unsigned i = 0; i < ROTATIONS * ROTATION; i++)
        ck_assert(holds(db, i));
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    ck_assert_uint_eq(names_in(disk).spare, 0);
    ck_assert_uint_eq(names_in(disk).logs, 1);
    db = open_tree(disk, false, mapped);
    for (unsigned i = 0; i < ROTATIONS * ROTATION; i++)
        ck_assert(holds(db, i));
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
}
END_TEST

/* A crash after every call: what was promised is there, nothing that was written into an older log comes back (all of
 * it is deleted), and what is left over is removed. */
START_TEST(crash_after_every_call)
{
    enum { ROUNDS = 4, CALLS_MAX = 4000 };
    static unsigned promised[CALLS_MAX];
    struct lsm *db = open_tree(disk, false, true);
    uint64_t opened = env_memory_calls(disk);
    unsigned count = 0;
    memset(promised, 0, sizeof promised);
    for (unsigned round = 0; round < ROUNDS * ROTATION; round += 10) {
        put_all(db, count, count + 9);
        ck_assert_int_eq(try_put(db, count + 9, true), PLSM_OK);
        count += 10;
        ck_assert_uint_lt(env_memory_calls(disk), CALLS_MAX);
        promised[env_memory_calls(disk)] = count;
    }
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    uint64_t calls = env_memory_calls(disk);
    ck_assert_uint_lt(calls, CALLS_MAX);
    ck_assert_uint_ge(times_made_over(disk), 2);
    unsigned least = 0;
    for (uint64_t call = opened; call <= calls; call++) {
        least = promised[call] ? promised[call] : least;
        enum env_crash kind = (enum env_crash)((call + (uint64_t)_i) % ENV_CRASH_COUNT);
        struct env *after = env_memory_crash(disk, call, kind, call);
        struct lsm *again = open_tree(after, false, true);
        for (unsigned i = 0, gone = 0; i < count + 10; i++) {
            bool there = holds(again, i);
            gone |= !there;
            ck_assert_msg(there || i >= least, "call %" PRIu64 ", kind %d: key %u is lost", call, kind, i);
            ck_assert_msg(!there || !gone, "call %" PRIu64 ", kind %d: a key before %u is lost", call, kind, i);
        }
        ck_assert_uint_le(names_in(after).spare, 1); /* what was a spare one is gone, what was a log may be one */
        put_all(again, 1000, 1000 + ROTATION);
        ck_assert_int_eq(lsm_close(again), PLSM_OK);
        ck_assert_uint_eq(names_in(after).spare, 0);
        env_memory_destroy(after);
    }
}
END_TEST

/* A log that somebody has linked is a copy of theirs. */
START_TEST(a_second_name_keeps_it)
{
    struct lsm *db = open_tree(disk, false, true);
    char path[100];
    uint8_t *content = NULL;
    size_t size = 0;
    put_all(db, 0, ROTATION / 2);
    snprintf(path, sizeof path, "/s/%s", names_in(disk).last);
    ck_assert_int_eq(env_link(disk, path, "/copy"), PLSM_OK);
    ck_assert_int_eq(env_memory_content(disk, "/copy", &content, &size), PLSM_OK);
    ck_assert_uint_gt(size, VALUE);
    uint8_t *before = malloc(size);
    memcpy(before, content, size);
    put_all(db, ROTATION / 2, 5 * ROTATION);
    size_t now = 0;
    ck_assert_int_eq(env_memory_content(disk, "/copy", &content, &now), PLSM_OK);
    ck_assert_uint_ge(now, size); /* more was appended as long as it was the log */
    ck_assert(memcmp(content, before, size) == 0);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    free(before);
}
END_TEST

/* Puts until the next log was made in advance out of the spare one, as the active one was. */
static unsigned put_until_prepared(struct lsm *db)
{
    enum { ROTATIONS_MAX = 400 };
    unsigned count = 0;
    bool prepared = false;
    for (; !prepared && count < ROTATIONS_MAX * ROTATION; count += 4) {
        put_all(db, count, count + 4);
        mutex_lock(&db->lock);
        prepared = db->prepared_log && db->prepared_over;
        mutex_unlock(&db->lock);
        prepared = prepared && times_made_over(disk) >= 3;
    }
    ck_assert(prepared);
    return count;
}

/* Killed on a full disk: that garbage stands behind the end of a log, and no record in the next one, is no loss. So the
 * store opens without a run, to be made room in. */
START_TEST(opens_on_a_full_disk)
{
    enum { LITTLE = BUFFER / 4 }; /* for a log and a MANIFEST, not for a run */
    struct lsm *db = open_tree(disk, true, true);
    unsigned count = put_until_prepared(db);
    bool busy = true;
    for (unsigned i = 0; busy; i++) { /* what a thread was writing would be removed, and give room */
        ck_assert_uint_lt(i, TRIES);
        mutex_lock(&db->lock);
        busy = db->frozen_count > 0 || db->flushing || db->compacting;
        mutex_unlock(&db->lock);
        env_sleep_ns(disk, busy ? TRY_NS : 0);
    }
    ck_assert(db->prepared_over);
    struct env *after = env_memory_crash(disk, env_memory_calls(disk), ENV_CRASH_KEEP, 1);
    struct env_space space;
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    ck_assert_int_eq(env_space(after, "/", &space), PLSM_OK);
    uint64_t used = space.bytes_total - space.bytes_free;
    env_memory_set_capacity(after, used + LITTLE);
    struct lsm *again = open_tree(after, false, true);
    for (unsigned i = 0; i < count; i++)
        ck_assert(holds(again, i));
    env_memory_set_capacity(after, 0);
    put_all(again, count, count + ROTATION);
    ck_assert_int_eq(lsm_close(again), PLSM_OK);
    env_memory_destroy(after);
}
END_TEST

/* Its space is there for what needs it. */
START_TEST(goes_when_space_is_short)
{
    struct lsm *db = open_tree(disk, false, true);
    put_all(db, 0, 3 * ROTATION);
    ck_assert_uint_eq(names_in(disk).spare, 1);
    env_memory_set_capacity(disk, 1 << 20);
    for (unsigned i = 0; i < 20 * ROTATION; i++)
        if (try_put(db, 3 * ROTATION + i, false) != PLSM_OK)
            break;
    ck_assert_uint_eq(names_in(disk).spare, 0);
    env_memory_set_capacity(disk, 0);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    ck_assert_uint_eq(names_in(disk).spare, 0);
}
END_TEST

/* Nothing is written for a moment: neither it nor the log made out of it in advance takes space any more. */
START_TEST(goes_when_idle)
{
    struct lsm *db = open_tree(disk, true, true);
    unsigned count = put_until_prepared(db);
    uint64_t size = 0;
    bool idle = false;
    for (unsigned i = 0; i < TRIES && !idle; i++) {
        env_sleep_ns(disk, 10 * TRY_NS);
        struct names names = names_in(disk);
        size = size_seen(disk, names.last);
        idle = names.spare == 0 && (names.logs == 1 || size <= 4096);
    }
    ck_assert_msg(idle, "%u spare logs, the last log has %" PRIu64 " bytes", names_in(disk).spare, size);
    put_all(db, count, count + 3 * ROTATION); /* and goes on */
    count += 3 * ROTATION;
    for (unsigned i = 0; i < count; i++)
        ck_assert(holds(db, i));
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    ck_assert_uint_eq(names_in(disk).spare, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("spare log");
    TCase *tests = tcase_create("spare_log");
    tcase_set_timeout(tests, 300);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, becomes_the_next_log, 0, 2);
    tcase_add_loop_test(tests, crash_after_every_call, 0, ENV_CRASH_COUNT);
    tcase_add_test(tests, a_second_name_keeps_it);
    tcase_add_test(tests, opens_on_a_full_disk);
    tcase_add_test(tests, goes_when_space_is_short);
    tcase_add_test(tests, goes_when_idle);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
