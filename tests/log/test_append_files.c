/* The append log: flushes and checkpoints beside writers and merges, and what becomes of files at each moment. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/env_memory.h"
#include "base/error.h"
#include "log/append_db.h"
#include "log/append_policy.h"

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

/* Flushes freeze segments beside writers: those wait until few enough are left. */
START_TEST(few_segments_wait_to_be_sealed)
{
    static char large[70 << 10];
    memset(large, 'x', sizeof large - 1);
    for (unsigned i = 0; i <= PACE_STOP; i++) {
        put("key", "value");
        must(append_roll(db));
    }
    put("key", large);
    ck_assert_uint_eq(db->frozen, PACE_STOP + 1);
    db->has_threads = true; /* none: who writes seals no more than must be */
    put("key", "value");
    db->has_threads = false;
    ck_assert_uint_eq(db->frozen, PACE_STOP);
    must(append_sync(db));
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

static void begin_another(bool sync_head)
{
    must(append_roll(db));
    if (sync_head)
        must(reclog_sync(db->active->writer));
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
        begin_another(false);
        put("c", "value");
        begin_another(false);
    } else {
        put("b", "value");
        begin_another(true);
        begin_another(true);
        put("c", "value");
        begin_another(true);
    }
    put("d", "value");
    put("e", "value");
    must(append_ahead(db));
    uint64_t calls = env_memory_calls(env);
    for (uint64_t seed = 0; seed < 300; seed++) {
        enum env_crash kind = seed % 2 ? ENV_CRASH_REORDER : ENV_CRASH_TORN;
        struct env *crashed = env_memory_crash(env, calls - seed / 2 % 7, kind, seed);
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

static void overwrite(void)
{
    if (happened == 1)
        put("key", "new");
}

/* What is left out of a merge because of a write beside it, in front of its end, is gone for good: if that write is
 * lost then, the store is damaged, and not one in which the key never was. */
START_TEST(a_merge_goes_by_what_is_synced)
{
    put("key", "old");
    must(append_flush(db));
    hooked.sync = hooked_sync;
    happens = overwrite; /* when the new segment has its head */
    merge(1);
    happens = NULL;
    for (unsigned round = 0; round < 3; round++) {
        struct env *image = env_memory_crash(env, env_memory_calls(env), ENV_CRASH_KEEP, 1);
        struct env_file *file = NULL;
        struct append *opened = NULL;
        uint8_t kept[APPEND_RECORDS_AT + 200], *data = NULL;
        size_t size;
        must(env_memory_content(image, "/s/segment-000002", &data, &size));
        size_t head = APPEND_RECORD_HEAD + (get_u32(data + APPEND_RECORDS_AT + 8) + 7) / 8 * 8, cut = 1 + head + round;
        memcpy(kept, data, APPEND_RECORDS_AT + cut);
        if (round > 0) { /* otherwise all of it is there */
            must(env_open(image, "/s/segment-000002", ENV_APPEND, &file));
            must(env_append(file, kept, APPEND_RECORDS_AT + cut));
            env_close(file);
        }
        struct append_options o;
        append_options_default(&o);
        o.env = image;
        o.read_only = round == 2;
        plsm_status status = append_open("/s", &o, &opened);
        ck_assert_msg(status == (round ? PLSM_CORRUPT : PLSM_OK), "%s: %s", plsm_status_name(status), plsm_message());
        if (round == 0)
            ck_assert(is(opened, "key", "new"));
        else
            ck_assert_msg(strstr(plsm_message(), "segment-000002") != NULL, "%s", plsm_message());
        must(append_close(opened));
        env_memory_destroy(image);
    }
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
    unsigned opens, at;
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

/* The merge waits when its new segment has its head, and nothing else. At one of the files that the reader opens a key
 * is written, and the merge comes to its end. */
static plsm_status waiting_open(struct env *base, const char *path, enum env_open_flags flags, struct env_file **out)
{
    if (is_merger && flags == ENV_READ && strcmp(path, "/s/segment-000001") == 0) {
        tell(&meeting.merging);
        wait_until(&meeting.go);
    } else if (!is_merger && flags == ENV_READ && ++meeting.opens == meeting.at) {
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
        hooked.open = waiting_open;
        must(env_thread_start(env_posix(), merge_first, NULL, &thread));
        wait_until(&meeting.merging);
        struct append *reader = open_log(env, "/s", true);
        more = meeting.opens >= at;
        bool newer = is(reader, "key", "new");
        ck_assert_msg(newer || is(reader, "key", "old"), "key is lost with a merge at file %u", at);
        ck_assert_msg(is(reader, "last", "old") || (newer && is(reader, "last", "new")), "a gap at file %u", at);
        must(append_close(reader));
        tell(&meeting.go);
        env_thread_join(thread);
        condition_destroy(&meeting.changed);
        mutex_destroy(&meeting.lock);
        hooked.open = original->open;
        teardown();
        setup();
    }
}
END_TEST

/* At one of the files that the reader opens segments are written to and sealed, one of which was ready before. */
static plsm_status filling_open(struct env *base, const char *path, enum env_open_flags flags, struct env_file **out)
{
    if (flags == ENV_READ && ++meeting.opens == meeting.at) {
        static const char *const keys[] = {"b", "c", "d"};
        for (unsigned i = 0; i < 3; i++) {
            put(keys[i], "value");
            must(append_flush(db));
        }
        put("e", "value");
    }
    return original->open(base, path, flags, out);
}

/* Who reads a segment before its end is written reads none that followed it and was sealed meanwhile. */
START_TEST(readers_beside_segments_that_were_ready)
{
    bool more = true;
    unsigned seen = 0;
    for (unsigned at = 1; more; at++) {
        put("a", "value");
        must(append_ahead(db));
        meeting = (struct meeting){.at = at};
        hooked.open = filling_open;
        struct append *reader = open_log(env, "/s", true);
        more = meeting.opens >= at;
        hooked.open = original->open;
        unsigned count = written(reader);
        ck_assert_uint_ge(count, 1);
        seen |= 1u << count;
        must(append_close(reader));
        teardown();
        setup();
    }
    ck_assert_uint_ne(seen, 1u << 1); /* also what was written meanwhile */
}
END_TEST

/* At one of the files that the reader opens those segments are sealed that are full. */
static plsm_status sealing_open(struct env *base, const char *path, enum env_open_flags flags, struct env_file **out)
{
    if (flags == ENV_READ && ++meeting.opens == meeting.at) {
        hooked.open = original->open;
        must(work_seal(db, UINT64_MAX));
    }
    return original->open(base, path, flags, out);
}

/* What was acknowledged before the reader opened the store is seen, however many segments wait to be sealed. */
START_TEST(readers_beside_segments_being_sealed)
{
    static const char *const keys[] = {"a", "b", "c", "d"};
    bool more = true;
    for (unsigned at = 1; more; at++) {
        for (unsigned i = 0; i < 4; i++) {
            if (i > 0)
                must(append_roll(db));
            put(keys[i], "value");
        }
        meeting = (struct meeting){.at = at};
        hooked.open = sealing_open;
        struct append *reader = open_log(env, "/s", true);
        more = meeting.opens >= at;
        hooked.open = original->open;
        ck_assert_msg(written(reader) == 4, "%u of 4 with sealing at file %u", written(reader), at);
        must(append_close(reader));
        teardown();
        setup();
    }
}
END_TEST

/* --- segments that are ready -------------------------------------------------------------------------------------- */

static _Thread_local bool is_writer;
static unsigned writer_syncs;

static plsm_status counted_sync(struct env_file *file)
{
    writer_syncs += is_writer;
    return original->sync(file);
}

static plsm_status counted_sync_dir(struct env *base, const char *path)
{
    writer_syncs += is_writer;
    return original->sync_dir(base, path);
}

/* Until the threads have caught up. */
static void wait_for_threads(void)
{
    mutex_lock(&db->lock);
    for (;;) {
        bool frozen = false;
        for (size_t i = 0; i < db->segment_count; i++)
            frozen |= db->segments[i]->state == SEGMENT_FROZEN;
        if (!frozen && !db->preparing && !append_ahead_due(db))
            break;
        condition_wait_ns(&db->progress, &db->lock, 1000000);
    }
    mutex_unlock(&db->lock);
}

/* The writer that fills a segment waits for no disk when the next one begins. */
START_TEST(the_writer_syncs_nothing)
{
    char value[8 << 10];
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = 0;
    must(append_close(db));
    struct append_options o;
    append_options_default(&o);
    o.env = env;
    o.segment_size = 64 << 10;
    o.merge_garbage_ppm = 1000000; /* a merge would take what is ready */
    must(append_open("/s", &o, &db));
    hooked.sync = counted_sync;
    hooked.sync_dir = counted_sync_dir;
    writer_syncs = 0;
    is_writer = true;
    uint64_t first = db->begun;
    for (unsigned i = 0; i < 100; i++) {
        put("key", value);
        wait_for_threads();
    }
    ck_assert_uint_ge(db->begun, first + 10);
    ck_assert_uint_eq(writer_syncs, 0);
    is_writer = false;
    ck_assert(is(db, "key", value));
}
END_TEST

static unsigned count_segments(void)
{
    unsigned count = 0;
    char path[64];
    for (unsigned i = 1; i < 20; i++) {
        struct env_file *file = NULL;
        snprintf(path, sizeof path, "/s/segment-%06u", i);
        count += env_open(env, path, ENV_READ, &file) == PLSM_OK;
        env_close(file);
    }
    return count;
}

/* Segments are begun in the order of their numbers, so that the newest knows of all others: merges take what is ready,
 * too. What is ready and not used goes. */
START_TEST(the_newest_knows_of_all)
{
    put("a", "value");
    must(append_flush(db)); /* 1 */
    put("b", "value");
    must(append_ahead(db)); /* 3 */
    merge(1);
    ck_assert(has_segment(3));
    must(append_flush(db)); /* 2 */
    put("c", "value");
    must(append_flush(db)); /* 4 */
    must(append_ahead(db));
    ck_assert_uint_eq(count_segments(), 5);
    must(append_close(db));
    ck_assert_uint_eq(count_segments(), 3);
    for (unsigned i = 2; i <= 4; i++) {
        char path[64], away[64];
        struct append *opened = NULL;
        struct append_options o;
        append_options_default(&o);
        o.env = env;
        snprintf(path, sizeof path, "/s/segment-%06u", i);
        snprintf(away, sizeof away, "/away-%u", i);
        must(env_rename(env, path, away));
        ck_assert_int_eq(append_open("/s", &o, &opened), PLSM_CORRUPT); /* of the last its hint knows */
        must(append_close(opened));
        must(env_rename(env, away, path));
    }
    db = open_log(env, "/s", false);
    ck_assert(is(db, "a", "value") && is(db, "b", "value"));
}
END_TEST

/* A directory that could not be synced is not synced again. */
static plsm_status failing_sync_dir(struct env *base, const char *path)
{
    happened++;
    return fail(PLSM_IO, "%s: the disk is gone", path);
}

START_TEST(a_failed_sync_of_the_directory_is_the_last)
{
    put("a", "value");
    hooked.sync_dir = failing_sync_dir;
    ck_assert_int_eq(append_flush(db), PLSM_IO);
    ck_assert_int_eq(append_flush(db), PLSM_READ_ONLY);
    ck_assert(append_is_read_only(db));
    ck_assert_uint_eq(happened, 1);
    hooked.sync_dir = original->sync_dir;
    ck_assert(is(db, "a", "value"));
}
END_TEST

/* Nor is it where files were removed: those might come back, and nothing would say that they count no more. */
START_TEST(a_failed_sync_of_removals_is_the_last)
{
    put("a", "value");
    must(append_flush(db));
    must(append_ahead(db));
    hooked.sync_dir = failing_sync_dir;
    merge(1);
    ck_assert_int_eq(append_compact(db), PLSM_READ_ONLY);
    ck_assert_uint_eq(happened, 1);
    hooked.sync_dir = original->sync_dir;
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("append_files");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 60);
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_test(all, a_flush_ends_beside_an_endless_writer);
    tcase_add_test(all, few_segments_wait_to_be_sealed);
    tcase_add_test(all, writers_go_on_beside_a_merge);
    tcase_add_test(all, a_flush_does_not_keep_writers_waiting);
    tcase_add_test(all, checkpoints_are_of_one_moment);
    tcase_add_test(all, checkpoints_behind_merges_can_be_opened);
    tcase_add_loop_test(all, the_newest_writes_are_lost_first, 0, 2);
    tcase_add_test(all, a_merge_goes_by_what_is_synced);
    tcase_add_test(all, merged_segments_without_hints_are_written_anew);
    tcase_add_test(all, readers_beside_a_merge);
    tcase_add_test(all, readers_beside_segments_that_were_ready);
    tcase_add_test(all, readers_beside_segments_being_sealed);
    tcase_add_test(all, the_writer_syncs_nothing);
    tcase_add_test(all, the_newest_knows_of_all);
    tcase_add_test(all, a_failed_sync_of_the_directory_is_the_last);
    tcase_add_test(all, a_failed_sync_of_removals_is_the_last);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
