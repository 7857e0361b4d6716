/* Files of the two logs that say what no store says, with checksums that are right: numbers near 2^64, ends that are
 * missing in front of what was synced, files without those that they need. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/checksum.h"
#include "log/append_db.h"
#include "log/hybrid_redo.h"
#include "tests/log/hybrid_fixture.h"

#include "base/banned.h"

/* --- the append log ----------------------------------------------------------------------------------------------- */

enum { SALT = 16, SYNCED = 16, USER = 24 }; /* of a record log, and of a record (base/reclog.c) */

static struct append *append_db;

static plsm_status open_append(struct env *base, bool read_only)
{
    struct append_options o;
    append_options_default(&o);
    o.env = base;
    o.create = !read_only;
    o.read_only = read_only;
    o.segment_size = 64 << 10;
    o.background = false;
    o.merge_garbage_ppm = 1000000;
    return append_open("/a", &o, &append_db);
}

static void append_put(const char *key, const char *content, bool sync)
{
    struct batch batch = {0};
    must(batch_add(&batch, BATCH_PUT, 1, slice_of(key), slice(NULL, 0), slice_of(content)));
    must(append_write(append_db, &batch, NULL, NULL, sync));
    batch_free(&batch);
}

static bool append_has(const char *key, const char *content)
{
    struct append_value found = {0};
    char whole[32];
    snprintf(whole, sizeof whole, "\1%s", key);
    plsm_status status = append_get(append_db, NULL, slice_of(whole), 0, &found);
    bool same = status == PLSM_OK && slice_equal(found.value, slice_of(content));
    mem_free(found.memory);
    return same;
}

static uint8_t *content_of(const char *path, size_t *size)
{
    uint8_t *data = NULL;
    must(env_memory_content(env, path, &data, size));
    return data;
}

/* The second record of a segment, in which there are entries. */
static uint8_t *entries_of(uint8_t *data)
{
    uint64_t head = get_u32(data + APPEND_RECORDS_AT + 8);
    return data + APPEND_RECORDS_AT + APPEND_RECORD_HEAD + (head + 7) / 8 * 8;
}

static void seal_record(uint8_t *data, uint8_t *record)
{
    uint64_t size = APPEND_RECORD_HEAD + (get_u32(record + 8) + 7) / 8 * 8;
    put_u64(record, checksum(record + 8, size - 8, get_u64(data + SALT) ^ (uint64_t)(record - data)));
}

static void cut_file(const char *path, size_t to)
{
    struct env_file *file = NULL;
    size_t size;
    uint8_t *data = content_of(path, &size), *kept = malloc(to + 1);
    ck_assert(kept && to <= size);
    if (to)
        memcpy(kept, data, to);
    must(env_open(env, path, ENV_APPEND, &file));
    if (to)
        must(env_append(file, kept, to));
    env_close(file);
    free(kept);
}

static void refused(bool read_only, const char *name)
{
    plsm_status status = open_append(env, read_only);
    ck_assert_msg(status == PLSM_CORRUPT, "%s: %s", plsm_status_name(status), plsm_message());
    ck_assert_msg(strstr(plsm_message(), name) != NULL, "%s", plsm_message());
}

static void start_append(void)
{
    env = env_memory_create(1);
    must(open_append(env, false));
}

/* The files as they are now, of a process that has come to its end. */
static void kill_append(void)
{
    struct env *image = env_memory_crash(env, env_memory_calls(env), ENV_CRASH_KEEP, 1);
    append_close(append_db);
    env_memory_destroy(env);
    env = image;
}

/* Changes are numbered from 1 on: what has a number near 2^64 leaves none for what is written next. */
START_TEST(numbers_of_changes)
{
    static const uint64_t wrong[] = {UINT64_MAX, UINT64_MAX - 1, UINT64_C(1) << 63, APPEND_SEQ_MAX + 1};
    for (unsigned i = 0; i < 4; i++) {
        size_t size;
        start_append();
        append_put("key", "value", true);
        kill_append();
        uint8_t *data = content_of("/a/segment-000001", &size), *record = entries_of(data);
        put_u64(record + USER, wrong[i]);
        seal_record(data, record);
        refused(false, "segment-000001");
        refused(true, "segment-000001");
        put_u64(record + USER, APPEND_SEQ_MAX / 2 + 1);
        seal_record(data, record);
        refused(false, "/a");
        must(open_append(env, true));
        ck_assert(append_has("key", "value"));
        must(append_close(append_db));
        put_u64(record + USER, APPEND_SEQ_MAX / 2);
        seal_record(data, record);
        must(open_append(env, false));
        append_put("key", "new", false);
        append_put("other", "new", false);
        ck_assert(append_has("key", "new"));
        must(append_close(append_db));
        must(open_append(env, true)); /* nothing that was written is refused */
        ck_assert(append_has("key", "new") && append_has("other", "new"));
        must(append_close(append_db));
        env_memory_destroy(env);
    }
}
END_TEST

/* A segment's head says up to which number all was written before. */
START_TEST(numbers_in_heads)
{
    size_t size;
    start_append();
    append_put("key", "value", true);
    kill_append();
    uint8_t *data = content_of("/a/segment-000001", &size), *record = data + APPEND_RECORDS_AT;
    uint8_t *head = record + APPEND_RECORD_HEAD;
    put_u64(head + 24, UINT64_MAX);
    put_u64(head + 48, checksum(head, 48, get_u64(head + 8)));
    seal_record(data, record);
    refused(false, "segment-000001");
    env_memory_destroy(env);
}
END_TEST

/* A hint that lies about numbers is no hint: the segment tells. */
START_TEST(numbers_in_hints)
{
    enum { SEQ_MIN = 56, SEQ_MAX = 64, CHECKSUM = 152, NUMBER = 24 };
    size_t size;
    start_append();
    append_put("key", "value", false);
    must(append_close(append_db));
    for (unsigned i = 0; i < 3; i++) {
        uint8_t *data = content_of("/a/hint-000001", &size);
        put_u64(data + (i == 1 ? SEQ_MIN : SEQ_MAX), i == 2 ? 0 : UINT64_MAX - 1);
        put_u64(data + CHECKSUM, checksum(data, CHECKSUM, get_u64(data + NUMBER)));
        must(open_append(env, true));
        ck_assert(append_has("key", "value"));
        ck_assert_uint_eq(atomic_load(&append_db->hints_damaged), 1);
        ck_assert_int_eq(append_check(append_db, NULL, NULL, NULL), PLSM_CORRUPT);
        must(append_close(append_db));
        must(open_append(env, false)); /* makes it anew */
        append_put("key", "value", false);
        must(append_check(append_db, NULL, NULL, NULL));
        must(append_close(append_db));
    }
    env_memory_destroy(env);
}
END_TEST

START_TEST(numbers_of_segments)
{
    struct env_file *file = NULL;
    start_append();
    append_put("key", "value", false);
    must(append_close(append_db));
    must(env_open(env, "/a/segment-18446744073709551615", ENV_APPEND, &file));
    env_close(file);
    refused(false, "segment-18446744073709551615");
    refused(true, "segment-18446744073709551615");
    env_memory_destroy(env);
}
END_TEST

/* A segment that has no hint yet, and one behind it of which something was synced. */
START_TEST(ends_in_front_of_what_was_synced)
{
    for (unsigned round = 0; round < 3; round++) {
        size_t size;
        start_append();
        append_put("a", "value", false);
        must(append_roll(append_db));
        append_put("b", "value", round > 0);
        if (round == 2)
            append_put("c", "value", false); /* which tells that the one before is synced */
        kill_append();
        uint8_t *data = content_of("/a/segment-000001", &size);
        cut_file("/a/segment-000001", (size_t)(entries_of(data) - data) + 8);
        if (round == 2) {
            refused(true, "segment-000001");
            refused(false, "segment-000001");
        } else { /* nothing proves that it was not power loss */
            must(open_append(env, false));
            ck_assert(!append_has("a", "value") && !append_has("b", "value"));
            must(append_close(append_db));
        }
        env_memory_destroy(env);
    }
}
END_TEST

/* A merge leaves out what is dead by what was written before it came to its end: that is synced then, and if it were
 * lost, neither would be there. */
START_TEST(ends_in_front_of_a_merge)
{
    start_append();
    append_put("a", "old", false);
    must(append_flush(append_db));
    append_put("a", "new", false);
    struct segment *victim = append_db->segments[0];
    mutex_lock(&append_db->merge_lock);
    must(merge_segments(append_db, &victim, 1));
    mutex_unlock(&append_db->merge_lock);
    kill_append();
    size_t size;
    uint8_t *data = content_of("/a/segment-000002", &size);
    cut_file("/a/segment-000002", (size_t)(entries_of(data) - data) + 8);
    refused(true, "segment-000002");
    refused(false, "segment-000002");
    env_memory_destroy(env);
}
END_TEST

/* What a hint tells of the segment that is gone, or of its end. */
START_TEST(hints_tell_of_segments)
{
    size_t size;
    start_append();
    append_put("a", "value", false);
    must(append_flush(append_db));
    append_put("b", "value", false);
    must(append_close(append_db));
    struct env *whole = env;
    for (unsigned round = 0; round < 6; round++) {
        env = env_memory_crash(whole, env_memory_calls(whole), ENV_CRASH_KEEP, 1);
        char path[] = "/a/segment-000001";
        path[sizeof path - 2] = (char)('1' + round % 2);
        content_of(path, &size);
        if (round < 2)
            must(env_remove(env, path));
        else
            cut_file(path, round < 4 ? size - 1 : 0);
        refused(false, strrchr(path, '/'));
        refused(true, strrchr(path, '/'));
        env_memory_destroy(env);
    }
    env = env_memory_crash(whole, env_memory_calls(whole), ENV_CRASH_KEEP, 1);
    must(env_remove(env, "/a/segment-000001"));
    must(env_remove(env, "/a/segment-000002"));
    refused(false, "/a"); /* no store is made there */
    env_memory_destroy(env);
    env_memory_destroy(whole);
}
END_TEST

/* --- the hybrid log ----------------------------------------------------------------------------------------------- */

static void hybrid_refused(bool read_only, const char *name)
{
    struct hybrid_options options = options_of(env);
    options.read_only = read_only;
    options.create = !read_only;
    struct hybrid *opened = NULL;
    plsm_status status = hybrid_open("/s", &options, &opened);
    ck_assert_msg(status == PLSM_CORRUPT, "%s: %s", plsm_status_name(status), plsm_message());
    ck_assert_msg(strstr(plsm_message(), name) != NULL, "%s", plsm_message());
}

static void kill_hybrid(void)
{
    struct env *image = env_memory_crash(env, env_memory_calls(env), ENV_CRASH_KEEP, 1);
    must(hybrid_close(db));
    env_memory_destroy(env);
    env = image;
}

START_TEST(numbers_in_recovery_points)
{
    static const unsigned places[] = {32, 40}; /* of the redo log, and of the next segment */
    size_t size;
    start();
    put_number(1, 0);
    must(hybrid_flush(db));
    must(hybrid_close(db));
    uint8_t *data = content_of("/s/hybrid-000002", &size);
    for (unsigned i = 0; i < 2; i++) {
        uint64_t kept = get_u64(data + places[i]);
        put_u64(data + places[i], UINT64_MAX);
        put_u64(data + size - 8, checksum(data, size - 8, 2));
        hybrid_refused(false, "hybrid-000002");
        hybrid_refused(true, "hybrid-000002");
        put_u64(data + places[i], kept);
        put_u64(data + size - 8, checksum(data, size - 8, 2));
    }
    open_it();
    expect(NULL, 1, 0);
    stop();
}
END_TEST

START_TEST(numbers_of_files)
{
    static const char *const names[] = {"/s/hybrid-9999999999999999999", "/s/hybrid-segment-9999999999999999999",
                                        "/s/hybrid-redo-9999999999999999999"};
    for (unsigned i = 0; i < 3; i++) {
        struct env_file *file = NULL;
        start();
        put_number(1, 0);
        must(hybrid_close(db));
        must(env_open(env, names[i], ENV_APPEND, &file));
        env_close(file);
        hybrid_refused(false, "9999999999999999999");
        hybrid_refused(true, "9999999999999999999");
        must(env_remove(env, names[i]));
        open_it();
        expect(NULL, 1, 0);
        stop();
    }
}
END_TEST

/* Two redo logs, as a crash within a recovery point leaves them: the second is nothing without the first. */
START_TEST(redo_logs_that_are_missing)
{
    enum { FIRST = APPEND_RECORDS_AT }; /* record of any log */
    bool seen = false;
    start();
    put_number(1, 0);
    uint64_t from = env_memory_calls(env);
    must(hybrid_flush(db));
    uint64_t to = env_memory_calls(env);
    for (uint64_t at = from; at <= to; at++) {
        struct env *before = env;
        size_t size;
        uint8_t *data = NULL;
        env = env_memory_crash(before, at, ENV_CRASH_KEEP, 1);
        bool both = env_memory_content(env, "/s/hybrid-redo-000002", &data, &size) == PLSM_OK &&
                    size > FIRST + APPEND_RECORD_HEAD && get_u32(data + FIRST + 8) == REDO_HEAD_SIZE &&
                    env_memory_content(env, "/s/hybrid-000002", &data, &size) != PLSM_OK;
        if (both) {
            seen = true;
            must(env_remove(env, "/s/hybrid-redo-000001"));
            hybrid_refused(false, "hybrid-redo-000002");
        }
        env_memory_destroy(env);
        env = before;
    }
    ck_assert(seen);
    stop();
}
END_TEST

/* Nothing is made over the changes of a store that has lost its recovery point, although no segment was written yet. */
START_TEST(redo_logs_without_a_recovery_point)
{
    start();
    put_number(1, 0);
    kill_hybrid();
    must(env_rename(env, "/s/hybrid-000001", "/kept"));
    hybrid_refused(false, "/s");
    hybrid_refused(true, "/s");
    must(env_rename(env, "/kept", "/s/hybrid-000001"));
    open_it();
    expect(NULL, 1, 0);
    stop();
}
END_TEST

static void write_file(const char *path, const void *bytes, size_t size)
{
    struct env_file *file = NULL;
    must(env_open(env, path, ENV_APPEND, &file));
    must(env_append(file, bytes, size));
    env_close(file);
}

/* The number of a store is in all files: those of another one are told. */
START_TEST(files_of_two_stores)
{
    struct env *first;
    size_t size;
    start();
    put_number(1, 0);
    kill_hybrid();
    first = env;
    env = env_memory_create(2);
    open_it();
    put_number(2, 0);
    kill_hybrid();
    uint8_t *data = content_of("/s/hybrid-redo-000001", &size), *copy = malloc(size);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, data, size);
    env_memory_destroy(env);
    env = first;
    write_file("/s/hybrid-redo-000001", copy, size);
    free(copy);
    hybrid_refused(false, "hybrid-redo-000001");
    hybrid_refused(true, "hybrid-redo-000001");
    env_memory_destroy(env);
}
END_TEST

/* A redo log without the number of a store, with one change. */
static void write_old_redo(const char *path, const char *key, const char *content)
{
    static const uint8_t head[REDO_HEAD_SIZE_OLDEST];
    struct reclog_writer *writer = NULL;
    struct batch batch = {0};
    plsm_slice part = slice(head, sizeof head);
    must(batch_add(&batch, BATCH_PUT, HYBRID_NAMES, slice_of(key), slice(NULL, 0), slice_of(content)));
    must(reclog_create(env, path, REDO_MAGIC, &writer));
    must(reclog_append(writer, REDO_HEAD, &part, 1));
    part = buf_slice(&batch.bytes);
    must(reclog_append(writer, REDO_BATCH, &part, 1));
    reclog_close(writer);
    batch_free(&batch);
}

/* Files of before stores had numbers are read, and are of such a store from then on. */
START_TEST(files_of_before)
{
    enum { HEAD = 72, OLD_HEAD = 64, SEGMENT_STORE = 32, SEGMENT_CHECKSUM = 40 };
    uint8_t old[1024];
    size_t size;
    start();
    put_number(1, 0);
    must(hybrid_close(db));
    uint8_t *data = content_of("/s/hybrid-segment-000001", &size);
    put_u64(data + SEGMENT_STORE, 0);
    put_u64(data + SEGMENT_CHECKSUM, checksum(data, SEGMENT_CHECKSUM, 0));
    data = content_of("/s/hybrid-000002", &size);
    ck_assert_uint_eq(get_u32(data + 8), 2);
    ck_assert(size > HEAD && size < sizeof old);
    memcpy(old, data, OLD_HEAD);
    memcpy(old + OLD_HEAD, data + HEAD, size - HEAD);
    put_u32(old + 8, 1);
    size -= HEAD - OLD_HEAD;
    put_u64(old + size - 8, checksum(old, size - 8, 2));
    write_file("/s/hybrid-000002", old, size);
    write_old_redo("/s/hybrid-redo-000005", "old", "value");
    for (unsigned pass = 0; pass < 3; pass++) {
        open_it();
        expect(NULL, 1, 0);
        must(hybrid_get(db, NULL, slice_of("\1old"), false, false, &value));
        ck_assert(slice_equal(value.value, slice_of("value")));
        put_number(2 + pass, pass);
        must(hybrid_check(db, NULL, NULL, NULL));
        if (pass == 1)
            kill_hybrid();
        else
            must(hybrid_close(db));
    }
    open_it();
    for (unsigned pass = 0; pass < 3; pass++)
        expect(NULL, 2 + pass, pass);
    stop();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {numbers_of_changes,
                                  numbers_in_heads,
                                  numbers_in_hints,
                                  numbers_of_segments,
                                  ends_in_front_of_what_was_synced,
                                  ends_in_front_of_a_merge,
                                  hints_tell_of_segments,
                                  numbers_in_recovery_points,
                                  numbers_of_files,
                                  redo_logs_that_are_missing,
                                  redo_logs_without_a_recovery_point,
                                  files_of_two_stores,
                                  files_of_before};
    return run_tests("hostile", tests, sizeof tests / sizeof tests[0]);
}
