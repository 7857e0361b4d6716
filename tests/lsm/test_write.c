/* The write path: logs made in advance, readers beside them, syncs that many writers share. All in memory. */
#include <check.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env_fault.h"
#include "base/env_memory.h"
#include "base/error.h"
#include "lsm/db.h"
#include "lsm/lsm.h"

#include "base/banned.h"

enum { BUFFER_BYTES = 64 << 10, VALUE_BYTES = 900, HALF = 40, FULL = 90, POLLS = 20000, POLL_NS = 1000 * 1000 };

static struct lsm_options options(struct env *env, bool background)
{
    struct lsm_options o;
    lsm_options_default(&o);
    o.env = env;
    o.create = true;
    o.buffer_size = BUFFER_BYTES;
    o.file_size = BUFFER_BYTES;
    o.cache_size = 1 << 20;
    o.background = background;
    return o;
}

static struct lsm *open_tree(struct env *env, bool background)
{
    struct lsm_options o = options(env, background);
    struct lsm *db = NULL;
    ck_assert_msg(lsm_open("/s", &o, &db) == PLSM_OK, "%s", plsm_message());
    return db;
}

static plsm_status put(struct lsm *db, unsigned number, bool sync)
{
    static const char value[VALUE_BYTES];
    char key[32];
    struct batch batch = {0};
    snprintf(key, sizeof key, "key%06u", number);
    ck_assert_int_eq(batch_add(&batch, BATCH_PUT, 1, slice_of(key), (plsm_slice){0}, slice(value, sizeof value)),
                     PLSM_OK);
    plsm_status status = lsm_write(db, &batch, NULL, NULL, sync);
    batch_free(&batch);
    return status;
}

static void put_range(struct lsm *db, unsigned from, unsigned to, bool sync)
{
    for (unsigned i = from; i < to; i++)
        ck_assert_msg(put(db, i, sync) == PLSM_OK, "%s", plsm_message());
}

static void check_range(struct lsm *db, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        char key[32];
        struct lsm_value value = {0};
        snprintf(key, sizeof key, "\1key%06u", i);
        ck_assert_msg(lsm_get(db, NULL, slice_of(key), false, &value) == PLSM_OK, "key %u: %s", i, plsm_message());
        lsm_value_free(&value);
    }
}

static void count_log(void *arg, const char *name)
{
    *(unsigned *)arg += strncmp(name, "log-", 4) == 0;
}

static unsigned logs(struct env *env)
{
    unsigned count = 0;
    ck_assert_int_eq(env_list(env, "/s", count_log, &count), PLSM_OK);
    return count;
}

static void wait_for_logs(struct env *env, unsigned wanted)
{
    for (unsigned i = 0; logs(env) != wanted; i++) {
        ck_assert_msg(i < POLLS, "%u logs, %u expected", logs(env), wanted);
        env_sleep_ns(env, POLL_NS);
    }
}

/* --- the next log ------------------------------------------------------------------------------------------------- */

/* It is made when half of the memtable is used, not before; it disturbs no crash, and goes at a clean close. */
START_TEST(made_in_advance)
{
    struct env *env = env_memory_create(1);
    struct lsm *db = open_tree(env, true);
    put_range(db, 0, 10, false);
    env_sleep_ns(env, 20 * POLL_NS);
    ck_assert_uint_eq(logs(env), 1);
    put_range(db, 10, HALF, true);
    wait_for_logs(env, 2);
    put_range(db, HALF, HALF + 5, true);
    for (int kind = 0; kind < ENV_CRASH_COUNT; kind++)
        for (uint64_t seed = 0; seed < 20; seed++) {
            struct env *after = env_memory_crash(env, env_memory_calls(env), (enum env_crash)kind, seed);
            struct lsm *again = open_tree(after, false);
            check_range(again, 0, HALF + 5);
            ck_assert_int_eq(lsm_close(again), PLSM_OK);
            env_memory_destroy(after);
        }
    if (_i) { /* it is taken at the rotation, and one more is made */
        put_range(db, HALF + 5, FULL + HALF, true);
        check_range(db, 0, FULL + HALF);
    }
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    unsigned count = _i ? FULL + HALF : HALF + 5;
    db = open_tree(env, false);
    check_range(db, 0, count);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env_memory_destroy(env);
}
END_TEST

/* It cannot be made: then the rotation makes it. Its name cannot be made durable: that is final, as at a rotation. */
START_TEST(making_it_fails)
{
    struct env *memory = env_memory_create(1), *env = env_fault_create(memory);
    struct lsm *db = open_tree(env, true);
    static const enum env_call calls[] = {ENV_CALL_OPEN, ENV_CALL_SYNC, ENV_CALL_SYNC_DIR};
    put_range(db, 0, 20, true);
    env_fault_arm(env, calls[_i], 1, ENV_FAULT_IO, false);
    plsm_status status = PLSM_OK;
    unsigned done = 20;
    for (; status == PLSM_OK && done < 2 * FULL; done += status == PLSM_OK) {
        status = put(db, done, false);
        for (unsigned i = 0; done == HALF + 20 && !env_fault_fired(env) && i < POLLS; i++)
            env_sleep_ns(env, POLL_NS);
    }
    ck_assert(env_fault_fired(env));
    env_fault_disarm(env);
    ck_assert_int_eq(status, calls[_i] == ENV_CALL_SYNC_DIR ? PLSM_READ_ONLY : PLSM_OK);
    if (status != PLSM_OK) {
        ck_assert_int_eq(lsm_flush(db), PLSM_READ_ONLY);
        ck_assert_uint_eq(env_fault_calls(env, ENV_CALL_SYNC_DIR), 0); /* nor is it tried again */
    }
    check_range(db, 0, done);
    (void)lsm_close(db); /* may tell of the failure */
    db = open_tree(env, false);
    check_range(db, 0, done);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env_fault_destroy(env);
    env_memory_destroy(memory);
}
END_TEST

/* While a rotation writes the first record of the log that it took, another thread comes and wants to flush. */
static struct {
    struct env_ops ops;
    const struct env_ops *own;
    struct lsm *db;
    pthread_t other;
    atomic_bool armed;
} rotating;

static void *flush_other(void *arg)
{
    if (lsm_flush(arg) != PLSM_OK)
        abort();
    return NULL;
}

static plsm_status append_meanwhile(struct env_file *file, const void *data, size_t size, size_t *done)
{
    struct turn *me = rotating.armed ? atomic_load(&rotating.db->turns.last) : NULL;
    if (me && strstr(env_path(file), "/log-00000002")) {
        bool came = false;
        rotating.armed = false;
        ck_assert_int_eq(pthread_create(&rotating.other, NULL, flush_other, rotating.db), 0);
        for (unsigned i = 0; !came && i < POLLS; i++) {
            env_sleep_ns(file->env, POLL_NS);
            came = atomic_load(&rotating.db->turns.last) != me;
        }
        ck_assert(came);
    }
    return rotating.own->append(file, data, size, done);
}

/* It does not make that log once more, which would empty it. */
START_TEST(flushes_meet)
{
    struct env *env = env_memory_create(1);
    rotating.own = env->ops;
    rotating.ops = *env->ops;
    rotating.ops.append = append_meanwhile;
    env->ops = &rotating.ops;
    struct lsm *db = rotating.db = open_tree(env, true);
    rotating.armed = true;
    put_range(db, 0, 10, true);
    ck_assert_msg(lsm_flush(db) == PLSM_OK, "%s", plsm_message());
    ck_assert(!rotating.armed);
    pthread_join(rotating.other, NULL);
    put_range(db, 10, 20, true);
    ck_assert_msg(lsm_flush(db) == PLSM_OK, "%s", plsm_message());
    put_range(db, 20, 30, true);
    struct env *after = env_memory_crash(env, env_memory_calls(env), ENV_CRASH_DROP, 1);
    struct lsm *again = open_tree(after, false);
    check_range(again, 0, 30);
    ck_assert_int_eq(lsm_close(again), PLSM_OK);
    env_memory_destroy(after);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env->ops = rotating.own;
    env_memory_destroy(env);
}
END_TEST

/* A flush whose file is synced only when the next memtable is half full. */
static struct {
    struct env_ops ops;
    const struct env_ops *own;
    struct lsm *db;
    atomic_bool armed;
    _Atomic int there; /* whether the next log was when the flush went into the manifest; below 0: not yet */
} flushing;

static plsm_status sync_late(struct env_file *file)
{
    bool is_manifest = strstr(env_path(file), "/manifest-"), is_run = !is_manifest && !strstr(env_path(file), "/log-");
    if (flushing.armed && is_manifest) {
        mutex_lock(&flushing.db->lock);
        flushing.there = flushing.db->prepared_log != NULL;
        mutex_unlock(&flushing.db->lock);
        flushing.armed = false;
    }
    for (unsigned i = 0; is_run && flushing.armed && flushing.db->next_log_state == NEXT_LOG_NOT_WANTED; i++) {
        ck_assert(i < POLLS);
        env_sleep_ns(file->env, POLL_NS);
    }
    return flushing.own->sync(file);
}

/* The next log is made although the flusher has not ended: a leader that waits for the end of it would make it, too. */
START_TEST(made_during_a_flush)
{
    struct env *env = env_memory_create(1);
    flushing.own = env->ops;
    flushing.ops = *env->ops;
    flushing.ops.sync = sync_late;
    env->ops = &flushing.ops;
    struct lsm *db = flushing.db = open_tree(env, true);
    flushing.there = -1;
    flushing.armed = true;
    put_range(db, 0, FULL + HALF, false);
    for (unsigned i = 0; flushing.there < 0; i++) {
        ck_assert(i < POLLS);
        env_sleep_ns(env, POLL_NS);
    }
    ck_assert_int_eq(flushing.there, 1);
    check_range(db, 0, FULL + HALF);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env->ops = flushing.own;
    env_memory_destroy(env);
}
END_TEST

/* --- a reader beside the writer ----------------------------------------------------------------------------------- */

static struct {
    struct env_ops ops;
    const struct env_ops *own;
    struct lsm *writer;
    unsigned opened; /* logs by the reader; 0: not under way */
    unsigned done;   /* keys written */
    bool reading;
} beside;

/* The reader has listed two logs and read the first to its end, when the writer fills the memtable, goes on in the
 * second log and syncs it. */
static plsm_status open_late(struct env *env, const char *path, enum env_open_flags flags, struct env_file **out)
{
    if (beside.reading && flags == ENV_READ && strstr(path, "/log-") && ++beside.opened == 2) {
        beside.reading = false;
        put_range(beside.writer, beside.done, 2 * FULL, true);
        beside.done = 2 * FULL;
    }
    return beside.own->open(env, path, flags, out);
}

START_TEST(logs_grow_beside_a_reader)
{
    struct env *env = env_memory_create(1);
    beside.own = env->ops;
    beside.ops = *env->ops;
    beside.ops.open = open_late;
    env->ops = &beside.ops;
    struct lsm *reader = NULL, *db = beside.writer = open_tree(env, true);
    put_range(db, 0, HALF, true);
    wait_for_logs(env, 2);
    beside.done = HALF;
    beside.opened = 0;
    beside.reading = true;
    struct lsm_options o = options(env, false);
    o.create = false;
    o.read_only = true;
    ck_assert_msg(lsm_open("/s", &o, &reader) == PLSM_OK, "%s", plsm_message());
    ck_assert_uint_eq(beside.done, 2 * FULL);
    check_range(reader, 0, HALF); /* and some of what came later */
    ck_assert_int_eq(lsm_close(reader), PLSM_OK);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env->ops = beside.own;
    env_memory_destroy(env);
}
END_TEST

/* What a reader finds lost for good is not waited for. */
START_TEST(lost_ends_are_read)
{
    struct env *env = env_memory_create(1);
    struct lsm *db = open_tree(env, true);
    put_range(db, 0, 20, true);
    put_range(db, 20, FULL, false); /* the second log has begun, neither end is synced */
    unsigned seen = 0;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct env *after = env_memory_crash(env, env_memory_calls(env), ENV_CRASH_TORN, seed);
        struct lsm_options o = options(after, false);
        struct lsm *reader = NULL;
        o.create = false;
        o.read_only = true;
        ck_assert_msg(lsm_open("/s", &o, &reader) == PLSM_OK, "seed %u: %s", (unsigned)seed, plsm_message());
        check_range(reader, 0, 20);
        ck_assert_int_eq(lsm_close(reader), PLSM_OK);
        seen += logs(after) > 1;
        env_memory_destroy(after);
    }
    ck_assert_uint_gt(seen, 10);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env_memory_destroy(env);
}
END_TEST

/* --- group commit ------------------------------------------------------------------------------------------------- */

enum { WRITERS = 8, WRITES = 40, SYNCS_MOST = WRITES * 3 / 2, TRIES = 20 };

static struct {
    struct env_ops ops;
    const struct env_ops *own;
    _Atomic unsigned syncs;
} slow;

static plsm_status sync_slowly(struct env_file *file)
{
    atomic_fetch_add(&slow.syncs, 1);
    env_sleep_ns(file->env, 1000 * 1000);
    return slow.own->sync(file);
}

struct sync_writer {
    struct lsm *db;
    unsigned from;
};

static void *write_synced(void *arg)
{
    const struct sync_writer *w = arg;
    for (unsigned i = 0; i < WRITES; i++)
        if (put(w->db, w->from + i, true) != PLSM_OK)
            abort();
    return NULL;
}

/* All writers once through; how many syncs that took. */
static unsigned share_syncs(struct lsm *db, unsigned from)
{
    pthread_t threads[WRITERS];
    struct sync_writer writers[WRITERS];
    atomic_store(&slow.syncs, 0);
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct sync_writer){db, from + i * WRITES};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, write_synced, &writers[i]), 0);
    }
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    unsigned syncs = atomic_load(&slow.syncs);
    printf("write: %u syncs for %u writes of %u threads\n", syncs, WRITERS * WRITES, WRITERS);
    return syncs;
}

/* A sync that is held where it reaches the log. */
static struct {
    struct env_ops ops;
    const struct env_ops *own;
    atomic_bool holds;
    _Atomic unsigned syncs; /* of logs */
} held;

static plsm_status sync_held(struct env_file *file)
{
    if (!strstr(env_path(file), "/log-"))
        return held.own->sync(file);
    atomic_fetch_add(&held.syncs, 1);
    for (unsigned i = 0; held.holds && i < POLLS; i++)
        env_sleep_ns(file->env, POLL_NS);
    return held.own->sync(file);
}

static void *sync_all(void *arg)
{
    if (lsm_sync(arg) != PLSM_OK)
        abort();
    return NULL;
}

/* Writes go on while all is synced, and those that ask for a sync meanwhile share one. */
START_TEST(writes_go_on_beside_a_sync)
{
    struct env *env = env_memory_create(1);
    pthread_t threads[WRITERS];
    held.own = env->ops;
    held.ops = *env->ops;
    held.ops.sync = sync_held;
    env->ops = &held.ops;
    struct lsm *db = open_tree(env, true);
    put_range(db, 0, 5, false);
    held.holds = true;
    held.syncs = 0;
    for (unsigned i = 0; i < WRITERS; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, sync_all, db), 0);
        for (unsigned j = 0; held.syncs == 0; j++) {
            ck_assert(j < POLLS);
            env_sleep_ns(env, POLL_NS);
        }
    }
    put_range(db, 5, 10, false);
    ck_assert(held.holds);
    ck_assert_uint_eq(held.syncs, 1);
    env_sleep_ns(env, 20 * POLL_NS); /* all of them have asked by then */
    held.holds = false;
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_le(held.syncs, 2);
    ck_assert_int_eq(lsm_sync(db), PLSM_OK);
    struct env *after = env_memory_crash(env, env_memory_calls(env), ENV_CRASH_DROP, 1);
    struct lsm *again = open_tree(after, false);
    check_range(again, 0, 10);
    ck_assert_int_eq(lsm_close(again), PLSM_OK);
    env_memory_destroy(after);
    ck_assert_int_eq(lsm_flush(db), PLSM_OK);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env->ops = held.own;
    env_memory_destroy(env);
}
END_TEST

/* Writers that come back in time share each sync, all of them: one sync per eight writes is the ideal, and nearly two
 * are what it takes when nobody waits for those who were served by the last one. On a machine that is busy with other
 * things they do not come back in time: then it is tried again. What they wrote is durable. */
START_TEST(syncs_are_shared)
{
    struct env *env = env_memory_create(1);
    struct lsm_options o = options(env, true);
    struct lsm *db = NULL;
    o.buffer_size = 64 << 20; /* no rotation */
    slow.own = env->ops;
    slow.ops = *env->ops;
    slow.ops.sync = sync_slowly;
    env->ops = &slow.ops;
    ck_assert_int_eq(lsm_open("/s", &o, &db), PLSM_OK);
    unsigned syncs = UINT_MAX, tries = 0;
    for (; syncs > SYNCS_MOST && tries < TRIES; tries++)
        syncs = share_syncs(db, tries * WRITERS * WRITES);
    ck_assert_uint_le(syncs, SYNCS_MOST);
    struct env *after = env_memory_crash(env, env_memory_calls(env), ENV_CRASH_DROP, 1);
    struct lsm *again = open_tree(after, false);
    check_range(again, 0, tries * WRITERS * WRITES);
    ck_assert_int_eq(lsm_close(again), PLSM_OK);
    env_memory_destroy(after);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env->ops = slow.own;
    env_memory_destroy(env);
}
END_TEST

/* --- failures ----------------------------------------------------------------------------------------------------- */

struct two {
    struct lsm *db;
    struct env *env;
    pthread_t other;
    plsm_status status; /* of the other one */
};

static void *put_other(void *arg)
{
    struct two *two = arg;
    two->status = put(two->db, 1, false);
    return NULL;
}

/* Fails once another writer has come, whose append is to fail, too. */
static plsm_status refuse(void *arg, struct lsm *db, const struct batch **batch)
{
    struct two *two = arg;
    struct turn *me = atomic_load(&db->turns.last);
    bool came = false;
    (void)batch;
    ck_assert_int_eq(pthread_create(&two->other, NULL, put_other, two), 0);
    for (unsigned i = 0; !came && i < POLLS; i++) {
        env_sleep_ns(two->env, POLL_NS);
        came = atomic_load(&db->turns.last) != me;
    }
    ck_assert(came);
    env_fault_arm(two->env, ENV_CALL_APPEND, 1, ENV_FAULT_NO_SPACE, true);
    return fail(PLSM_INVALID, "refused by its own look");
}

/* A leader whose own write has failed tells of that, not of what became of another one behind it. */
START_TEST(own_message)
{
    struct env *memory = env_memory_create(1), *env = env_fault_create(memory);
    struct lsm *db = open_tree(env, false);
    struct two two = {.db = db, .env = env};
    ck_assert_int_eq(lsm_write(db, NULL, refuse, &two, false), PLSM_INVALID);
    ck_assert_str_eq(plsm_message(), "refused by its own look");
    pthread_join(two.other, NULL);
    env_fault_disarm(env);
    ck_assert_int_eq(two.status, PLSM_NO_SPACE);
    put_range(db, 0, 2, false);
    check_range(db, 0, 2);
    ck_assert_int_eq(lsm_close(db), PLSM_OK);
    env_fault_destroy(env);
    env_memory_destroy(memory);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("write");
    TCase *tests = tcase_create("write");
    tcase_set_timeout(tests, 300);
    tcase_add_loop_test(tests, made_in_advance, 0, 2);
    tcase_add_loop_test(tests, making_it_fails, 0, 3);
    tcase_add_test(tests, flushes_meet);
    tcase_add_test(tests, made_during_a_flush);
    tcase_add_test(tests, logs_grow_beside_a_reader);
    tcase_add_test(tests, lost_ends_are_read);
    tcase_add_test(tests, syncs_are_shared);
    tcase_add_test(tests, writes_go_on_beside_a_sync);
    tcase_add_test(tests, own_message);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
