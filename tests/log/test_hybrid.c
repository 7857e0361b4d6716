/* The hybrid log by itself: changes in place, memory that is too small, snapshots, directories counted, compaction,
 * damaged files, and readers beside a writer who must never see half of a change. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/env_fault.h"
#include "base/env_memory.h"
#include "base/error.h"
#include "base/random.h"
#include "log/hybrid.h"
#include "log/hybrid_record.h"
#include "tests/harness/temporary.h"

#include "base/banned.h"

enum { KEYS = 3000, VALUE_MAX = 400 };

static struct env *env;
static struct hybrid *db;
static struct hybrid_value value;

#define must(call)                                                                                                     \
    do {                                                                                                               \
        plsm_status status_ = (call);                                                                                  \
        if (status_ != PLSM_OK)                                                                                        \
            ck_abort_msg("%s: %s: %s", #call, plsm_status_name(status_), plsm_message());                              \
    } while (0)

static struct hybrid_options options_of(struct env *where)
{
    return (struct hybrid_options){.env = where,
                                   .create = true,
                                   .memory = 1 << 20,
                                   .buffer_size = 256 << 10,
                                   .file_size = 256 << 10,
                                   .garbage_ppm = 500000,
                                   .redo = true,
                                   .log_mapped = true};
}

static void open_it(void)
{
    struct hybrid_options options = options_of(env);
    must(hybrid_open("/s", &options, &db));
}

static void start(void)
{
    env = env_memory_create(1);
    open_it();
}

static void reopen(void)
{
    must(hybrid_close(db));
    open_it();
}

static void stop(void)
{
    must(hybrid_check(db, NULL, NULL, NULL));
    must(hybrid_close(db));
    mem_free(value.memory);
    value = (struct hybrid_value){0};
    env_memory_destroy(env);
}

static plsm_slice name_of(unsigned number, char *text)
{
    int size = snprintf(text, 40, "%cdir%u/key%u", HYBRID_NAMES, number % 7, number);
    return slice(text, (size_t)size);
}

/* A value that says of which key and round it is, in every byte but the first eight. */
static plsm_slice value_of(unsigned number, unsigned round, uint8_t *bytes)
{
    size_t size = 8 + (number * 31 + round * 17) % (VALUE_MAX - 8);
    put_u32(bytes, number);
    put_u32(bytes + 4, round);
    memset(bytes + 8, (int)(number + round), size - 8);
    return slice(bytes, size);
}

static void put(plsm_slice key, plsm_slice bytes)
{
    struct batch batch = {0};
    const uint8_t *at = key.data;
    must(batch_add(&batch, BATCH_PUT, at[0], slice(at + 1, key.size - 1), slice("meta", 4), bytes));
    must(hybrid_write(db, &batch, NULL, NULL, HYBRID_LOGGED));
    batch_free(&batch);
}

static void put_as(unsigned number, enum hybrid_durability durability)
{
    char text[40];
    uint8_t bytes[VALUE_MAX];
    struct batch batch = {0};
    plsm_slice key = name_of(number, text);
    must(batch_add(&batch, BATCH_PUT, HYBRID_NAMES, slice(text + 1, key.size - 1), slice("meta", 4),
                   value_of(number, 0, bytes)));
    must(hybrid_write(db, &batch, NULL, NULL, durability));
    batch_free(&batch);
}

static void put_number(unsigned number, unsigned round)
{
    char key[40];
    uint8_t bytes[VALUE_MAX];
    put(name_of(number, key), value_of(number, round, bytes));
}

static void delete_number(unsigned number)
{
    char text[40];
    struct batch batch = {0};
    plsm_slice key = name_of(number, text);
    must(batch_add(&batch, BATCH_DELETE, HYBRID_NAMES, slice(text + 1, key.size - 1), slice(NULL, 0), slice(NULL, 0)));
    must(hybrid_write(db, &batch, NULL, NULL, HYBRID_LOGGED));
    batch_free(&batch);
}

static void expect(const struct hybrid_snapshot *snapshot, unsigned number, unsigned round)
{
    char key[40];
    uint8_t bytes[VALUE_MAX];
    must(hybrid_get(db, snapshot, name_of(number, key), false, false, &value));
    ck_assert(slice_equal(value.value, value_of(number, round, bytes)));
    ck_assert(slice_equal(value.meta, slice("meta", 4)));
}

static void expect_none(unsigned number)
{
    char key[40];
    ck_assert_int_eq(hybrid_get(db, NULL, name_of(number, key), false, false, &value), PLSM_NOT_FOUND);
}

static void take(void *arg, const char *name, bool is_real, uint64_t integer, double real)
{
    void **wanted = arg;
    if (strcmp(name, wanted[0]) == 0)
        *(uint64_t *)wanted[1] = integer;
}

static uint64_t statistic_of(const char *name)
{
    uint64_t found = UINT64_MAX;
    void *wanted[] = {(void *)(uintptr_t)name, &found};
    hybrid_statistics(db, take, wanted);
    ck_assert_uint_ne(found, UINT64_MAX);
    return found;
}

START_TEST(changes_in_place)
{
    uint8_t bytes[VALUE_MAX] = {0};
    plsm_slice key = slice("\1key", 4);
    start();
    put(key, slice(bytes, 100));
    uint64_t tail = statistic_of("hybrid.address.tail");
    for (size_t size = 0; size <= 100; size += 10) {
        put(key, slice(bytes, size));
        must(hybrid_get(db, NULL, key, false, false, &value));
        ck_assert_uint_eq(value.value_size, size);
    }
    ck_assert_uint_eq(statistic_of("hybrid.address.tail"), tail);
    ck_assert_uint_eq(statistic_of("hybrid.changes.in_place"), 11);
    put(key, slice(bytes, 200)); /* does not fit */
    ck_assert_uint_gt(statistic_of("hybrid.address.tail"), tail);
    tail = statistic_of("hybrid.address.tail");
    must(hybrid_flush(db));
    put(key, slice(bytes, 200)); /* nothing is changed below a recovery point */
    ck_assert_uint_gt(statistic_of("hybrid.address.tail"), tail);
    ck_assert_uint_eq(statistic_of("store.keys"), 1);
    reopen();
    ck_assert_uint_eq(statistic_of("store.keys"), 1);
    stop();
}
END_TEST

START_TEST(larger_than_memory)
{
    start();
    for (unsigned round = 0; round < 4; round++)
        for (unsigned i = 0; i < 2 * KEYS; i++)
            put_number(i, round);
    ck_assert_uint_gt(statistic_of("store.bytes_disk"), 1 << 20);
    for (unsigned i = 0; i < 2 * KEYS; i += 3)
        delete_number(i);
    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; i < 2 * KEYS; i++)
            if (i % 3)
                expect(NULL, i, 3);
            else
                expect_none(i);
        ck_assert_uint_eq(statistic_of("store.keys"), 4 * KEYS / 3);
        reopen();
    }
    uint64_t before = statistic_of("io.reads");
    hybrid_statistics_reset(db);
    expect(NULL, 1, 3);
    ck_assert_uint_eq(statistic_of("io.reads"), 1); /* one read, and none for the next */
    expect(NULL, 1, 3);
    ck_assert_uint_eq(statistic_of("io.reads"), 1);
    ck_assert_uint_gt(before, 0);
    stop();
}
END_TEST

START_TEST(snapshots_stay)
{
    struct hybrid_snapshot *snapshots[5];
    start();
    for (unsigned round = 0; round < 5; round++) {
        for (unsigned i = 0; i < KEYS; i++)
            put_number(i, round);
        snapshots[round] = hybrid_snapshot_create(db);
        ck_assert_ptr_nonnull(snapshots[round]);
    }
    for (unsigned i = 0; i < KEYS; i++)
        delete_number(i);
    must(hybrid_compact(db));
    for (unsigned round = 0; round < 5; round++) {
        for (unsigned i = 0; i < KEYS; i += 7)
            expect(snapshots[round], i, round);
        hybrid_snapshot_destroy(db, snapshots[round]);
    }
    must(hybrid_compact(db));
    ck_assert_uint_eq(statistic_of("store.keys"), 0);
    ck_assert_uint_lt(statistic_of("store.bytes_disk"), 64 << 10);
    stop();
}
END_TEST

static bool has(const char *prefix)
{
    bool found = false;
    must(hybrid_has_prefix(db, NULL, slice_of(prefix), &found));
    return found;
}

START_TEST(directories_are_counted)
{
    start();
    ck_assert(!has("\1") && !has("\1dir1/"));
    for (unsigned i = 0; i < 700; i++)
        put_number(i, 0);
    uint64_t listings = statistic_of("hybrid.sorted_listings");
    ck_assert(has("\1") && has("\1dir1/") && has("\1dir6/") && !has("\1dir7/") && !has("\1dir1/key1/"));
    for (unsigned i = 1; i < 700; i += 7)
        delete_number(i);
    ck_assert(!has("\1dir1/") && has("\1dir2/"));
    reopen();
    ck_assert(!has("\1dir1/") && has("\1dir2/"));
    ck_assert_uint_eq(statistic_of("hybrid.sorted_listings"), listings * 0); /* none was needed */
    put_number(1, 0);
    ck_assert(has("\1dir1/") && has("\1dir1/k") && !has("\1dir1/l"));
    stop();
}
END_TEST

/* A key of slashes alone: what is deep is not counted, but found. */
START_TEST(deep_directories_are_found)
{
    char deep[4002] = "\1";
    memset(deep + 1, '/', 4000);
    start();
    put(slice(deep, 4001), slice_of("value"));
    ck_assert_uint_lt(statistic_of("hybrid.memory.directories"), 64 << 10);
    for (size_t size = 1; size < 4000; size += 1 + size / 2) {
        char kept = deep[size];
        deep[size] = '\0';
        ck_assert(has(deep));
        deep[size] = kept;
    }
    reopen();
    struct batch batch = {0};
    must(batch_add(&batch, BATCH_DELETE, HYBRID_NAMES, slice(deep + 1, 4000), slice(NULL, 0), slice(NULL, 0)));
    must(hybrid_write(db, &batch, NULL, NULL, HYBRID_LOGGED));
    batch_free(&batch);
    for (size_t size = 1; size < 4000; size += 1 + size / 2) {
        deep[size] = '\0';
        ck_assert(!has(deep));
        deep[size] = '/';
    }
    stop();
}
END_TEST

START_TEST(compaction_takes_little)
{
    start();
    for (unsigned round = 0; round < 10; round++)
        for (unsigned i = 0; i < 3 * KEYS; i++) /* more than fits into memory */
            put_number(i, round);
    /* Garbage is kept at half of the log, and one segment beside. */
    uint64_t live = statistic_of("store.bytes_live"), disk = statistic_of("store.bytes_disk");
    ck_assert_uint_gt(statistic_of("hybrid.compaction.segments"), 0);
    ck_assert_uint_lt(disk, 2 * live + 4 * (256 << 10) + 2 * (256 << 10));
    must(hybrid_compact(db));
    ck_assert_uint_lt(statistic_of("store.bytes_disk"), live + live / 2 + (256 << 10));
    for (unsigned i = 0; i < 3 * KEYS; i++)
        expect(NULL, i, 9);
    stop();
}
END_TEST

/* Ends of pages that no record takes are no garbage: compaction would not have an end. */
START_TEST(unused_ends_are_no_garbage)
{
    static uint8_t large[HYBRID_VALUE_MAX];
    env = env_memory_create(1);
    struct hybrid_options options = options_of(env);
    options.garbage_ppm = 100000;
    must(hybrid_open("/s", &options, &db));
    for (unsigned i = 0; i < 40; i++) {
        char key[40];
        put(name_of(i, key), slice(large, sizeof large)); /* one for each page */
    }
    for (unsigned pass = 0; pass < 2; pass++) {
        must(hybrid_flush(db));
        for (unsigned i = 0; i < 100; i++)
            put_number(1000 + i, pass);
        ck_assert_uint_lt(statistic_of("hybrid.garbage_bytes"), 128 << 10);
        ck_assert_uint_eq(statistic_of("hybrid.compaction.segments"), 0);
        must(hybrid_close(db));
        must(hybrid_open("/s", &options, &db));
    }
    put_number(0, 0);
    must(hybrid_compact(db));
    ck_assert_uint_gt(statistic_of("hybrid.compaction.segments"), 0);
    ck_assert_uint_lt(statistic_of("hybrid.garbage_bytes"), 128 << 10);
    stop();
}
END_TEST

static char found_path[200];

static void note_file(void *arg, const char *name)
{
    size_t size = strlen(arg);
    if (strncmp(name, arg, size) == 0 && name[size] >= '0' && name[size] <= '9')
        snprintf(found_path, sizeof found_path, "/s/%s", name);
}

/* Where the nth append of a flush finds the disk or the quota full. */
static bool flush_without_room(unsigned nth, enum env_fault fault, plsm_status status)
{
    start();
    must(hybrid_close(db));
    struct env *disk = env;
    env = env_fault_create(disk);
    ck_assert_ptr_nonnull(env);
    open_it();
    for (unsigned number = 0; number < 100; number++)
        put_number(number, 1);
    env_fault_arm(env, ENV_CALL_APPEND, nth, fault, true);
    plsm_status got = hybrid_flush(db);
    bool fired = env_fault_fired(env);
    ck_assert_int_eq(got, fired ? status : PLSM_OK);
    env_fault_disarm(env);
    ck_assert(!hybrid_is_read_only(db));
    put_number(0, 2);
    must(hybrid_flush(db));
    reopen();
    expect(NULL, 0, 2);
    for (unsigned number = 1; number < 100; number++)
        expect(NULL, number, 1);
    must(hybrid_close(db));
    env_fault_destroy(env);
    env = disk;
    open_it();
    stop();
    return fired;
}

/* It hinders nothing once there is room again. */
START_TEST(room_that_comes_back)
{
    unsigned appends = 0;
    for (unsigned nth = 1; flush_without_room(nth, ENV_FAULT_NO_SPACE, PLSM_NO_SPACE); nth++) {
        ck_assert(flush_without_room(nth, ENV_FAULT_QUOTA, PLSM_QUOTA));
        appends++;
    }
    ck_assert_uint_gt(appends, 1);
}
END_TEST

/* A byte that is wrong anywhere in a recovery point or a segment is told, with the file's name. */
START_TEST(damage_is_told)
{
    static const char *const kinds[] = {"hybrid-", "hybrid-segment-"};
    start();
    for (unsigned i = 0; i < 50; i++)
        put_number(i, 0);
    must(hybrid_close(db));
    struct hybrid_options options = options_of(env);
    for (unsigned kind = 0; kind < 2; kind++) {
        uint8_t *data = NULL;
        size_t size = 0;
        must(env_list(env, "/s", note_file, (void *)(uintptr_t)kinds[kind]));
        must(env_memory_content(env, found_path, &data, &size));
        for (size_t at = 0; at < size; at += 1 + at / 40) {
            data[at] ^= 0x10;
            plsm_status status = hybrid_open("/s", &options, &db);
            ck_assert_msg(status == PLSM_CORRUPT || (status == PLSM_VERSION && at >= 8 && at < 12), "%s: byte %zu: %s",
                          found_path, at, plsm_status_name(status));
            ck_assert_msg(strstr(plsm_message(), found_path) != NULL, "%s", plsm_message());
            data[at] ^= 0x10;
        }
    }
    must(env_remove(env, found_path));
    ck_assert_int_eq(hybrid_open("/s", &options, &db), PLSM_CORRUPT);
    ck_assert_msg(strstr(plsm_message(), found_path) != NULL, "%s", plsm_message());
    env_memory_destroy(env);
}
END_TEST

/* A record whose checksum is right, but which replaces what is not there. */
START_TEST(lies_are_told)
{
    struct hybrid_options options;
    uint8_t *data = NULL;
    size_t size = 0;
    start();
    options = options_of(env);
    put_number(1, 0);
    put_number(2, 0);
    must(hybrid_close(db));
    must(env_list(env, "/s", note_file, (void *)(uintptr_t) "hybrid-segment-"));
    must(env_memory_content(env, found_path, &data, &size));
    uint64_t salt = get_u64(data + 16), start_address = get_u64(data + 24);
    struct hybrid_record *first = (struct hybrid_record *)(void *)(data + 48);
    uint64_t address = start_address + record_size(first);
    struct hybrid_record *second = (struct hybrid_record *)(void *)(data + 48 + record_size(first));
    struct record_sizes sizes = record_sizes(second);
    sizes.kind = BATCH_DELETE;
    atomic_store(&second->sizes, sizes_pack(sizes));
    second->replaces = replaces_pack(start_address, record_size(first), false);
    second->checksum = record_checksum(second, address, salt);
    ck_assert_int_eq(hybrid_open("/s", &options, &db), PLSM_CORRUPT);
    env_memory_destroy(env);
}
END_TEST

/* What has lost its recovery point is no empty directory, in which a store may be made. */
START_TEST(no_store_is_made_over_another)
{
    struct hybrid_options options;
    start();
    options = options_of(env);
    put_number(1, 0);
    must(hybrid_close(db));
    must(env_list(env, "/s", note_file, (void *)(uintptr_t) "hybrid-"));
    must(env_rename(env, found_path, "/kept"));
    ck_assert_int_eq(hybrid_open("/s", &options, &db), PLSM_CORRUPT);
    must(env_rename(env, "/kept", found_path));
    open_it();
    expect(NULL, 1, 0);
    stop();
}
END_TEST

/* Batches larger than the memory are written, and the memory is as small again as it should be. */
START_TEST(large_batches_pass)
{
    enum { VALUES = 100 };
    static uint8_t large[HYBRID_VALUE_MAX];
    struct batch batch = {0};
    start();
    for (unsigned i = 0; i < VALUES; i++) {
        char key[40];
        plsm_slice name = name_of(i, key);
        must(batch_add(&batch, BATCH_PUT, HYBRID_NAMES, slice(key + 1, name.size - 1), slice(NULL, 0),
                       slice(large, sizeof large)));
    }
    must(hybrid_write(db, &batch, NULL, NULL, HYBRID_LOGGED));
    batch_free(&batch);
    ck_assert_uint_gt(statistic_of("hybrid.memory.log"), 10 << 20);
    for (unsigned i = 0; i < 6 * VALUES; i++) {
        char key[40];
        put(name_of(VALUES + i, key), slice(large, sizeof large / 3));
    }
    put_number(VALUES, 0);
    ck_assert_uint_lt(statistic_of("hybrid.memory.log"), 2 << 20);
    expect(NULL, VALUES, 0);
    stop();
}
END_TEST

/* --- threads ------------------------------------------------------------------------------------------------------ */

enum { HOT = 64, WRITES = 40000 };
static atomic_bool done;

/* Reads at random: what a value says of itself must be so in every byte. */
static void read_beside(void *arg)
{
    struct hybrid_value seen = {0};
    struct random random;
    random_seed(&random, (uintptr_t)arg);
    while (!atomic_load(&done)) {
        char text[40];
        uint8_t bytes[VALUE_MAX];
        unsigned number = (unsigned)random_below(&random, HOT);
        plsm_status status = hybrid_get(db, NULL, name_of(number, text), false, false, &seen);
        if (status == PLSM_NOT_FOUND)
            continue;
        ck_assert_msg(status == PLSM_OK, "%s", plsm_message());
        ck_assert_uint_eq(get_u32(seen.value.data), number);
        unsigned round = get_u32((const uint8_t *)seen.value.data + 4);
        ck_assert(slice_equal(seen.value, value_of(number, round, bytes)));
    }
    mem_free(seen.memory);
}

/* Snapshots beside: all values of one have rounds that do not go back. */
static void snapshot_beside(void *arg)
{
    struct hybrid_value seen = {0};
    while (!atomic_load(&done)) {
        struct hybrid_snapshot *snapshot = hybrid_snapshot_create(db);
        unsigned last = UINT32_MAX;
        for (unsigned number = 0; number < HOT; number++) {
            char text[40];
            plsm_status status = hybrid_get(db, snapshot, name_of(number, text), false, false, &seen);
            if (status == PLSM_NOT_FOUND)
                continue;
            ck_assert_msg(status == PLSM_OK, "%s", plsm_message());
            unsigned round = get_u32((const uint8_t *)seen.value.data + 4);
            ck_assert_msg(last == UINT32_MAX || round == last || round + 1 == last, "%u behind %u", round, last);
            last = round;
        }
        hybrid_snapshot_destroy(db, snapshot);
    }
    mem_free(seen.memory);
}

/* A disk that stops in the middle of a sync of a segment. */
static struct env_ops stopping_ops;
static plsm_status (*sync_before)(struct env_file *file);
static struct env_thread *syncing;
static atomic_bool synced;
static bool synced_meanwhile;

static void sync_beside(void *arg)
{
    must(hybrid_sync(db));
    atomic_store(&synced, true);
}

static plsm_status stop_and_sync(struct env_file *file)
{
    if (strstr(file->path, "segment-") && !syncing) {
        must(env_thread_start(env_posix(), sync_beside, NULL, &syncing));
        env_sleep_ns(env_posix(), 50 * 1000 * 1000);
        synced_meanwhile = atomic_load(&synced);
    }
    return sync_before(file);
}

/* A sync while a recovery point is being written returns when the volatile writes in that are safe, not before. */
START_TEST(sync_waits_for_volatile_writes)
{
    start();
    stopping_ops = *env->ops;
    sync_before = stopping_ops.sync;
    stopping_ops.sync = stop_and_sync;
    put_as(1, HYBRID_VOLATILE);
    env->ops = &stopping_ops;
    must(hybrid_flush(db));
    ck_assert_ptr_nonnull(syncing);
    env_thread_join(syncing);
    ck_assert(!synced_meanwhile && atomic_load(&synced));
    uint64_t points = statistic_of("hybrid.recovery_points");
    must(hybrid_sync(db));
    ck_assert_uint_eq(statistic_of("hybrid.recovery_points"), points); /* nothing is left to be saved */
    expect(NULL, 1, 0);
    stop();
}
END_TEST

/* A reader that stands still in a read, until somebody waits for it. */
static struct env_ops waiting_ops;
static plsm_status (*read_before)(struct env_file *file, uint64_t offset, void *data, size_t size, size_t *got);
static _Thread_local bool is_slow;
static atomic_bool stands, may_go;

static plsm_status read_slowly(struct env_file *file, uint64_t offset, void *data, size_t size, size_t *got)
{
    if (is_slow) {
        atomic_store(&stands, true);
        while (!atomic_load(&may_go))
            env_sleep_ns(env_posix(), 1000000);
    }
    return read_before(file, offset, data, size, got);
}

static void sleep_and_let_go(struct env *here, uint64_t ns)
{
    atomic_store(&may_go, true);
    env_sleep_ns(env_posix(), ns);
}

static void get_two_slowly(void *arg)
{
    struct hybrid_value values[2] = {0};
    char texts[2][40];
    plsm_slice keys[] = {name_of(1, texts[0]), name_of(2, texts[1])};
    plsm_status statuses[2];
    is_slow = true;
    must(hybrid_multi_get(db, NULL, keys, 2, false, values, statuses));
    ck_assert_int_eq(statuses[0], PLSM_OK);
    ck_assert_int_eq(statuses[1], PLSM_NOT_FOUND);
    mem_free(values[0].memory);
    mem_free(values[1].memory);
}

/* A segment in which nothing is live goes while a reader is about to look at a deletion in it. */
START_TEST(segments_wait_for_readers)
{
    struct env_thread *reader = NULL;
    start();
    put_number(2, 0);
    delete_number(2); /* in place, so that compaction has no reason to look for it */
    reopen();
    put_number(1, 0);
    reopen();
    waiting_ops = *env->ops;
    read_before = waiting_ops.read;
    waiting_ops.read = read_slowly;
    waiting_ops.sleep_ns = sleep_and_let_go;
    env->ops = &waiting_ops;
    must(env_thread_start(env_posix(), get_two_slowly, NULL, &reader));
    while (!atomic_load(&stands))
        env_sleep_ns(env_posix(), 1000000);
    must(hybrid_compact(db));
    env_thread_join(reader);
    ck_assert_uint_eq(statistic_of("hybrid.compaction.segments"), 1);
    stop();
}
END_TEST

enum { MOVES = 500, BETWEEN = 300 };

static void add_change(struct batch *batch, enum batch_kind kind, const char *key)
{
    must(batch_add(batch, kind, HYBRID_NAMES, slice_of(key), slice(NULL, 0), slice(NULL, 0)));
}

static void look_for_directory(void *arg)
{
    while (!atomic_load(&done))
        ck_assert(has("\1moved/"));
}

/* A directory in which a batch gives a name another one is never empty. */
START_TEST(nobody_sees_half_of_a_move)
{
    struct env_thread *reader = NULL;
    start();
    put(slice_of("\1moved/0"), slice_of("value"));
    atomic_store(&done, false);
    must(env_thread_start(env_posix(), look_for_directory, NULL, &reader));
    for (unsigned i = 0; i < MOVES; i++) {
        struct batch batch = {0};
        add_change(&batch, BATCH_DELETE, i % 2 ? "moved/1" : "moved/0");
        for (unsigned j = 0; j < BETWEEN; j++)
            add_change(&batch, i % 2 ? BATCH_DELETE : BATCH_PUT, (char[]){'b', (char)('0' + j % 64), '/', (char)j, 0});
        add_change(&batch, BATCH_PUT, i % 2 ? "moved/0" : "moved/1");
        must(hybrid_write(db, &batch, NULL, NULL, HYBRID_LOGGED));
        batch_free(&batch);
    }
    atomic_store(&done, true);
    env_thread_join(reader);
    stop();
}
END_TEST

START_TEST(nobody_sees_half_of_a_change)
{
    struct env_thread *threads[3];
    char *directory = temporary_create(), path[4200];
    snprintf(path, sizeof path, "%s/store", directory);
    struct hybrid_options options = options_of(env_posix());
    options.background = true;
    must(hybrid_open(path, &options, &db));
    atomic_store(&done, false);
    must(env_thread_start(env_posix(), read_beside, (void *)1, &threads[0]));
    must(env_thread_start(env_posix(), read_beside, (void *)2, &threads[1]));
    must(env_thread_start(env_posix(), snapshot_beside, NULL, &threads[2]));
    for (unsigned i = 0; i < WRITES; i++)
        put_number(i % HOT, i / HOT); /* in the order of numbers, so a snapshot sees at most one step of rounds */
    atomic_store(&done, true);
    for (unsigned i = 0; i < 3; i++)
        env_thread_join(threads[i]);
    ck_assert_uint_gt(statistic_of("hybrid.changes.in_place"), 0);
    must(hybrid_check(db, NULL, NULL, NULL));
    must(hybrid_close(db));
    must(hybrid_open(path, &options, &db));
    for (unsigned i = 0; i < HOT; i++)
        expect(NULL, i, (WRITES - 1 - i) / HOT);
    must(hybrid_close(db));
    mem_free(value.memory);
    value = (struct hybrid_value){0};
    temporary_destroy(directory);
}
END_TEST

/* Want of space passes, be it the disk or a quota that is used up, and wherever it comes: the store stays writable. */
START_TEST(full_disks_pass)
{
    static const enum env_fault faults[] = {ENV_FAULT_NO_SPACE, ENV_FAULT_QUOTA};
    static const plsm_status statuses[] = {PLSM_NO_SPACE, PLSM_QUOTA};
    for (unsigned i = 0; i < 2; i++) {
        struct env *memory = env_memory_create(1), *faulty = env_fault_create(memory);
        unsigned round = 0;
        env = faulty;
        open_it();
        for (bool fails = true; fails;) {
            round++;
            for (unsigned n = 0; n < KEYS; n++)
                put_number(n, round);
            env_fault_arm(env, ENV_CALL_APPEND, round, faults[i], false);
            plsm_status status = hybrid_flush(db);
            fails = env_fault_fired(env);
            env_fault_disarm(env);
            ck_assert_int_eq(status, fails ? statuses[i] : PLSM_OK);
        }
        env = memory;
        reopen();
        env_fault_destroy(faulty);
        for (unsigned n = 0; n < KEYS; n++)
            expect(NULL, n, round);
        stop();
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("hybrid");
    TCase *tcase = tcase_create("hybrid");
    tcase_set_timeout(tcase, 300);
    const TTest *const tests[] = {changes_in_place,
                                  larger_than_memory,
                                  snapshots_stay,
                                  directories_are_counted,
                                  deep_directories_are_found,
                                  compaction_takes_little,
                                  unused_ends_are_no_garbage,
                                  room_that_comes_back,
                                  damage_is_told,
                                  lies_are_told,
                                  no_store_is_made_over_another,
                                  large_batches_pass,
                                  sync_waits_for_volatile_writes,
                                  segments_wait_for_readers,
                                  nobody_sees_half_of_a_move,
                                  nobody_sees_half_of_a_change,
                                  full_disks_pass};
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tcase_add_test(tcase, tests[i]);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
