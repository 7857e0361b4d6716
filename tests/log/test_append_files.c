/* The append log: flushes and checkpoints beside writers and merges, and what becomes of files at each moment. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/env_memory.h"
#include "base/error.h"
#include "log/append_db.h"

#include "base/banned.h"

#define must(call) ck_assert_msg((call) == PLSM_OK, "%s: %s", #call, plsm_message())

/* The memory environment, in which something happens at some calls. */
static struct env *env;
static const struct env_ops *original;
static struct env_ops hooked;
static void (*happens)(void);
static unsigned happened;
static struct append *db;

static void happen(void)
{
    void (*what)(void) = happens;
    happens = NULL; /* not within itself */
    if (what) {
        happened++;
        what();
        happens = what;
    }
}

static plsm_status hooked_sync(struct env_file *file)
{
    happen();
    return original->sync(file);
}

static plsm_status hooked_sync_dir(struct env *base, const char *path)
{
    happen();
    return original->sync_dir(base, path);
}

static plsm_status hooked_rename(struct env *base, const char *from, const char *to)
{
    happen();
    return original->rename(base, from, to);
}

static struct append *open_log(struct env *base, const char *path, bool read_only)
{
    struct append *opened = NULL;
    struct append_options o;
    append_options_default(&o);
    o.env = base;
    o.create = !read_only;
    o.read_only = read_only;
    o.segment_size = 64 << 10;
    o.background = false;
    o.merge_garbage_ppm = 1000000; /* merges are asked for */
    must(append_open(path, &o, &opened));
    return opened;
}

static void setup(void)
{
    env = env_memory_create(1);
    original = env->ops;
    hooked = *original;
    env->ops = &hooked;
    happens = NULL;
    happened = 0;
    db = open_log(env, "/s", false);
}

static void teardown(void)
{
    must(append_close(db));
    env->ops = original;
    env_memory_destroy(env);
}

static void change(enum batch_kind kind, const char *key, const char *value)
{
    struct batch batch = {0};
    must(batch_add(&batch, kind, 1, slice_of(key), slice(NULL, 0), slice_of(value)));
    must(append_write(db, &batch, NULL, NULL, false));
    batch_free(&batch);
}

static void put(const char *key, const char *value)
{
    change(BATCH_PUT, key, value);
}

/* NULL: it is absent. */
static bool is(struct append *opened, const char *key, const char *value)
{
    struct append_value found = {0};
    char whole[32];
    snprintf(whole, sizeof whole, "\1%s", key);
    plsm_status status = append_get(opened, NULL, slice_of(whole), 0, &found);
    bool same = value ? status == PLSM_OK && slice_equal(found.value, slice_of(value)) : status == PLSM_NOT_FOUND;
    mem_free(found.memory);
    return same;
}

/* Merges one segment. */
static void merge(uint64_t number)
{
    for (size_t i = 0; i < db->segment_count; i++)
        if (db->segments[i]->number == number) {
            struct segment *victim = db->segments[i];
            mutex_lock(&db->merge_lock);
            must(merge_segments(db, &victim, 1));
            append_garbage_collect(db);
            mutex_unlock(&db->merge_lock);
            return;
        }
    ck_abort_msg("no segment %llu", (unsigned long long)number);
}

static plsm_status copy_file(void *arg, const struct append_file *file)
{
    struct env_file *from = NULL, *to = NULL;
    char path[64];
    snprintf(path, sizeof path, "%s/%s", (const char *)arg, file->name);
    must(env_open(env, file->path, ENV_READ, &from));
    must(env_open(env, path, ENV_APPEND, &to));
    uint64_t size = 0;
    must(env_size(from, &size));
    uint8_t *bytes = malloc(size);
    must(env_read(from, 0, bytes, size));
    must(env_append(to, bytes, size));
    free(bytes);
    env_close(from);
    env_close(to);
    return PLSM_OK;
}

static struct append *open_checkpoint(void)
{
    must(env_make_dir(env, "/c"));
    must(append_checkpoint(db, copy_file, (char[]){"/c"}));
    happens = NULL;
    return open_log(env, "/c", true);
}

/* --- flushes and checkpoints -------------------------------------------------------------------------------------- */

static void freeze_another(void)
{
    if (happened < 30) {
        put("later", "value");
        must(append_roll(db));
    }
}

START_TEST(a_flush_ends_beside_an_endless_writer)
{
    put("key", "value");
    hooked.rename = hooked_rename; /* of a hint: when a segment is sealed, another one is full */
    happens = freeze_another;
    must(append_flush(db));
    happens = NULL;
    ck_assert_uint_ge(happened, 1);
    ck_assert_uint_le(happened, 2);
}
END_TEST

/* A merge that goes on for long: the segments that writers fill meanwhile are sealed nevertheless. */
START_TEST(writers_go_on_beside_a_merge)
{
    char value[8 << 10];
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = 0;
    must(append_close(db));
    struct append_options o;
    append_options_default(&o);
    o.env = env;
    o.segment_size = 64 << 10;
    must(append_open("/s", &o, &db));
    mutex_lock(&db->merge_lock);
    for (unsigned i = 0; i < 100; i++)
        put("key", value);
    mutex_unlock(&db->merge_lock);
    ck_assert(is(db, "key", value));
}
END_TEST

static void write_one(void)
{
    put("beside", "value");
}

/* A write comes to its end while the flush waits for the disk: were the flush at the head of the queue, never. */
START_TEST(a_flush_does_not_keep_writers_waiting)
{
    put("key", "value");
    hooked.sync = hooked_sync;
    hooked.sync_dir = hooked_sync_dir;
    happens = write_one;
    must(append_flush(db));
    struct append *checkpoint = open_checkpoint();
    ck_assert_uint_ge(happened, 8);
    ck_assert(is(checkpoint, "key", "value"));
    must(append_close(checkpoint));
    ck_assert(is(db, "beside", "value"));
}
END_TEST

static void overwrite_and_merge(void)
{
    if (happened > 1)
        return;
    put("key", "new");
    merge(1);
}

/* What a merge leaves away because of a write behind the checkpoint is in the checkpoint still. */
START_TEST(checkpoints_are_of_one_moment)
{
    put("key", "old");
    must(append_flush(db));
    put("other", "value");
    hooked.rename = hooked_rename;
    happens = overwrite_and_merge;
    struct append *checkpoint = open_checkpoint();
    ck_assert(is(checkpoint, "key", "old"));
    ck_assert(is(checkpoint, "other", "value"));
    must(append_close(checkpoint));
    ck_assert(is(db, "key", "new"));
}
END_TEST

/* A merge's head names the segment that is written to, which is empty and not in the checkpoint. */
START_TEST(checkpoints_behind_merges_can_be_opened)
{
    put("a", "value");
    must(append_flush(db));
    put("b", "value");
    must(append_compact(db));
    struct append *checkpoint = open_checkpoint();
    ck_assert(is(checkpoint, "a", "value") && is(checkpoint, "b", "value"));
    must(append_close(checkpoint));
}
END_TEST

/* --- power loss --------------------------------------------------------------------------------------------------- */

/* How many of what was written one after another is there; nothing of it behind a gap. */
static unsigned written(struct append *opened)
{
    static const char *const keys[] = {"a", "b", "c", "d", "e"};
    unsigned count = 0, there = 0;
    for (unsigned i = 0; i < 5; i++) {
        bool found = is(opened, keys[i], "value");
        there += found;
        count += found && count == i;
    }
    ck_assert_uint_eq(count, there);
    return count;
}

static void begin_another(void)
{
    must(append_roll(db));
}

static void begin_prepared(void)
{
    struct segment *fresh = NULL;
    must(segment_prepare(db, SEGMENT_ACTIVE, &fresh));
    must(segment_begin(fresh));
    mutex_lock(&db->lock);
    must(append_activate(db, fresh));
    mutex_unlock(&db->lock);
}

/* Of segments that were not synced nothing survives that was written after what is lost, also when the opening that
 * leaves it away is crashed. */
START_TEST(the_newest_writes_are_lost_first)
{
    bool seen[6] = {0};
    put("a", "value");
    if (_i) { /* and segments whose heads may be lost */
        must(append_flush(db));
        put("b", "value");
        begin_prepared();
        put("c", "value");
        begin_prepared();
    } else {
        put("b", "value");
        begin_another();
        begin_another();
        put("c", "value");
        begin_another();
    }
    put("d", "value");
    put("e", "value");
    uint64_t calls = env_memory_calls(env);
    for (uint64_t seed = 0; seed < 300; seed++) {
        enum env_crash kind = seed % 2 ? ENV_CRASH_REORDER : ENV_CRASH_TORN;
        struct env *crashed = env_memory_crash(env, calls - seed / 2 % 3, kind, seed);
        struct append *opened = open_log(crashed, "/s", false);
        unsigned count = written(opened);
        seen[count] = true;
        for (uint64_t at = 0; seed % 32 == 1 && at <= env_memory_calls(crashed); at++) {
            struct env *again = env_memory_crash(crashed, at, ENV_CRASH_REORDER, seed + at);
            struct append *second = open_log(again, "/s", false);
            ck_assert_uint_eq(written(second), count);
            must(append_close(second));
            second = open_log(again, "/s", true);
            ck_assert_uint_eq(written(second), count);
            must(append_close(second));
            env_memory_destroy(again);
        }
        must(append_close(opened));
        env_memory_destroy(crashed);
    }
    ck_assert((seen[0] || _i) && seen[1] && seen[2] && seen[3]);
    struct env *kept = env_memory_crash(env, calls, ENV_CRASH_KEEP, 0);
    struct append *opened = open_log(kept, "/s", false);
    ck_assert_uint_eq(written(opened), 5);
    must(append_close(opened));
    env_memory_destroy(kept);
}
END_TEST

static bool has_segment(uint64_t number)
{
    bool found = false;
    for (size_t i = 0; i < db->segment_count; i++)
        found |= db->segments[i]->number == number;
    return found;
}

/* Without its hint nobody knows that the close of a merged segment is on the disk: what it replaces is not removed
 * before there is one of which that is known. */
START_TEST(merged_segments_without_hints_are_written_anew)
{
    for (unsigned round = 0; round < 2; round++) {
        put("a", "value");
        must(append_flush(db));
        put("b", "value");
        struct append *reader = open_log(env, "/s", true); /* so that files stay */
        merge(1);
        must(append_close(db));
        if (round == 0)
            must(env_remove(env, "/s/hint-000003"));
        db = open_log(env, "/s", false);
        ck_assert_int_eq(has_segment(3), round);
        ck_assert(!has_segment(1));
        ck_assert(is(db, "a", "value") && is(db, "b", "value"));
        must(append_close(reader));
        teardown();
        setup();
    }
}
END_TEST

/* --- readers beside the writer ------------------------------------------------------------------------------------ */

static struct meeting {
    mutex lock;
    condition changed;
    bool merging, go, merged;
    unsigned syncs, opens, at;
} meeting;
static _Thread_local bool is_merger;

static void *wait_until(const bool *what)
{
    mutex_lock(&meeting.lock);
    while (!*what)
        condition_wait(&meeting.changed, &meeting.lock);
    mutex_unlock(&meeting.lock);
    return NULL;
}

static void tell(bool *what)
{
    mutex_lock(&meeting.lock);
    *what = true;
    condition_broadcast(&meeting.changed);
    mutex_unlock(&meeting.lock);
}

/* The merge waits when its new segment has its head, and nothing else. */
static plsm_status waiting_sync(struct env_file *file)
{
    if (is_merger && ++meeting.syncs == 2) {
        tell(&meeting.merging);
        wait_until(&meeting.go);
    }
    return original->sync(file);
}

/* At one of the files that the reader opens a key is written, and the merge comes to its end. */
static plsm_status waiting_open(struct env *base, const char *path, enum env_open_flags flags, struct env_file **out)
{
    if (!is_merger && flags == ENV_READ && ++meeting.opens == meeting.at) {
        hooked.open = original->open;
        put("key", "new");
        if (meeting.at % 2)
            must(append_flush(db));
        put("last", "new");
        tell(&meeting.go);
        wait_until(&meeting.merged);
    }
    return original->open(base, path, flags, out);
}

static void merge_first(void *arg)
{
    (void)arg;
    is_merger = true;
    merge(1);
    tell(&meeting.merged);
}

/* Whatever a merge leaves away while a reader opens the store: it sees the old value or the new one. */
START_TEST(readers_beside_a_merge)
{
    bool more = true;
    for (unsigned at = 1; more; at++) {
        struct env_thread *thread = NULL;
        put("key", "old");
        must(append_flush(db));
        put("last", "old");
        meeting = (struct meeting){.at = at};
        mutex_init(&meeting.lock);
        condition_init(&meeting.changed);
        hooked.sync = waiting_sync;
        must(env_thread_start(env_posix(), merge_first, NULL, &thread));
        wait_until(&meeting.merging);
        hooked.open = waiting_open;
        struct append *reader = open_log(env, "/s", true);
        hooked.open = original->open;
        more = meeting.opens >= at;
        bool newer = is(reader, "key", "new");
        ck_assert_msg(newer || is(reader, "key", "old"), "key is lost with a merge at file %u", at);
        ck_assert_msg(is(reader, "last", "old") || (newer && is(reader, "last", "new")), "a gap at file %u", at);
        must(append_close(reader));
        tell(&meeting.go);
        env_thread_join(thread);
        condition_destroy(&meeting.changed);
        mutex_destroy(&meeting.lock);
        hooked.sync = original->sync;
        teardown();
        setup();
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("append_files");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 60);
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_test(all, a_flush_ends_beside_an_endless_writer);
    tcase_add_test(all, writers_go_on_beside_a_merge);
    tcase_add_test(all, a_flush_does_not_keep_writers_waiting);
    tcase_add_test(all, checkpoints_are_of_one_moment);
    tcase_add_test(all, checkpoints_behind_merges_can_be_opened);
    tcase_add_loop_test(all, the_newest_writes_are_lost_first, 0, 2);
    tcase_add_test(all, merged_segments_without_hints_are_written_anew);
    tcase_add_test(all, readers_beside_a_merge);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
