/* The hybrid log by itself: changes in place, memory that is too small, snapshots, directories counted, compaction,
 * damaged files, full disks. */
#include "base/env_fault.h"
#include "log/hybrid_private.h"
#include "tests/harness/resident.h"
#include "tests/harness/temporary.h"
#include "tests/log/hybrid_fixture.h"

#include "base/banned.h"

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

static char reported[4][300];
static unsigned report_count;

static void note_line(void *arg, const char *line)
{
    (void)arg;
    if (report_count < 4)
        snprintf(reported[report_count], sizeof reported[0], "%s", line);
    report_count++;
}

/* Counts that are not those of the log are found, and told with the directory. */
START_TEST(wrong_counts_are_found)
{
    char key[40];
    struct batch batch = {0};
    start();
    for (unsigned i = 0; i < 70; i++)
        put_number(i, 0);
    delete_number(1);
    must(batch_add_timed(&batch, BATCH_PUT, HYBRID_NAMES, slice_of("dir1/timed"), slice(NULL, 0), slice(NULL, 0),
                         UINT32_MAX));
    must(hybrid_write(db, &batch, NULL, NULL, HYBRID_LOGGED));
    batch_free(&batch);
    for (unsigned pass = 0; pass < 2; pass++) {
        must(hybrid_check(db, note_line, NULL, NULL));
        ck_assert_uint_eq(report_count, 0);
        reopen();
    }
    ck_assert(prefixes_count(&db->prefixes, name_of(2, key), 1, 0));
    ck_assert_int_eq(hybrid_check(db, note_line, NULL, NULL), PLSM_CORRUPT);
    ck_assert_uint_eq(report_count, 1);
    ck_assert_msg(strstr(reported[0], "below dir2/") != NULL, "%s", reported[0]);
    ck_assert(prefixes_count(&db->prefixes, name_of(2, key), -1, 0));
    for (unsigned i = 2; i < 70; i += 7) /* so that nothing is counted there */
        ck_assert(prefixes_count(&db->prefixes, name_of(i, key), -1, 0));
    report_count = 0;
    ck_assert_int_eq(hybrid_check(db, note_line, NULL, NULL), PLSM_CORRUPT);
    ck_assert_uint_eq(report_count, 1);
    ck_assert_msg(strstr(reported[0], "below dir2/ 0 keys") != NULL, "%s", reported[0]);
    for (unsigned i = 2; i < 70; i += 7)
        ck_assert(prefixes_count(&db->prefixes, name_of(i, key), 1, 0));
    must(hybrid_check(db, note_line, NULL, NULL));
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
    enum { SEGMENT = 256 << 10, BESIDE = 3 };
    struct env_space space;
    uint64_t most = 0, capacity = 1 << 30;
    start();
    for (unsigned round = 0; round < 10; round++)
        for (unsigned i = 0; i < 3 * KEYS; i++) { /* more than fits into memory */
            put_number(i, round);
            uint64_t now = i % 16 == 0 ? statistic_of("store.bytes_disk") : 0;
            most = now > most ? now : most;
        }
    uint64_t live = statistic_of("store.bytes_live");
    ck_assert_uint_gt(statistic_of("hybrid.compaction.segments"), 0);
    ck_assert_uint_lt(most, 2 * live + 6 * SEGMENT); /* garbage is kept at half of the log at all times */
    /* With the recovery point that it ends with, a compaction of everything takes so many segments beside. */
    env_memory_set_capacity(env, capacity);
    must(env_space(env, "/s", &space));
    env_memory_set_capacity(env, capacity - space.bytes_free + BESIDE * SEGMENT);
    must(hybrid_compact(db));
    env_memory_set_capacity(env, 0);
    ck_assert_uint_lt(statistic_of("store.bytes_disk"), live + live / 2 + SEGMENT);
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

/* Also of a log of less than a million bytes. */
START_TEST(little_garbage_stays)
{
    uint8_t bytes[400] = {0};
    char key[40];
    start();
    for (unsigned i = 0; statistic_of("hybrid.address.tail") < 900000; i++)
        put(name_of(i, key), slice(bytes, sizeof bytes));
    for (unsigned pass = 0; pass < 20; pass++) {
        must(hybrid_flush(db)); /* so that the next put is no change in place */
        put(name_of(0, key), slice(bytes, sizeof bytes));
    }
    ck_assert_uint_gt(statistic_of("hybrid.garbage_bytes"), 0);
    ck_assert_uint_eq(statistic_of("hybrid.compaction.segments"), 0);
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

/* A record that replaces one of another key: all counts are right, but of its own key two live. */
START_TEST(two_of_one_key_are_told)
{
    struct hybrid_iterator *it = NULL;
    uint8_t *data = NULL;
    size_t size = 0;
    start();
    put_number(1, 0);
    put_number(8, 0); /* in the same directory */
    must(hybrid_flush(db));
    put_number(1, 1);
    must(hybrid_close(db));
    must(env_list(env, "/s", note_file, (void *)(uintptr_t) "hybrid-segment-"));
    must(env_memory_content(env, found_path, &data, &size));
    uint64_t salt = get_u64(data + 16), address = get_u64(data + 24);
    struct hybrid_record *record = (struct hybrid_record *)(void *)(data + 48);
    for (unsigned i = 0; i < 2; i++) {
        address += record_size(record);
        record = (struct hybrid_record *)(void *)((uint8_t *)record + record_size(record));
    }
    ck_assert_uint_eq(replaces_address(record->replaces), get_u64(data + 24));
    record->replaces = record->previous = get_u64(data + 24) + record_size((void *)(data + 48));
    record->checksum = record_checksum(record, address, salt);
    open_it();
    ck_assert_int_eq(hybrid_iterator_create(db, NULL, slice_of("\1dir1/"), slice_of("\1dir10"), true, &it),
                     PLSM_CORRUPT);
    ck_assert_msg(strstr(plsm_message(), "are of one key"), "%s", plsm_message());
    must(hybrid_close(db));
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

/* What leaves the memory is given back page by page, not only when many have left: on a disk, where files take none. */
START_TEST(pages_that_left_are_given_back)
{
    static uint8_t large[HYBRID_VALUE_MAX / 2];
    char *path = temporary_create(), key[40];
    struct hybrid_options options = options_of(env_posix());
    options.memory = 8 << 20;
    options.buffer_size = options.file_size = 4 << 20;
    must(hybrid_open(path, &options, &db));
    uint64_t before = resident_bytes(), most = 0;
    for (unsigned i = 0; i < 600; i++) {
        put(name_of(i, key), slice(large, sizeof large));
        uint64_t now = resident_bytes() - before;
        most = now > most ? now : most;
    }
    ck_assert_uint_gt(statistic_of("hybrid.address.head"), 28 << 20);
    if (!SANITIZED)
        ck_assert_uint_lt(most, 16 << 20);
    must(hybrid_close(db));
    temporary_destroy(path);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {changes_in_place,        larger_than_memory,
                                  snapshots_stay,          directories_are_counted,
                                  wrong_counts_are_found,  deep_directories_are_found,
                                  compaction_takes_little, unused_ends_are_no_garbage,
                                  little_garbage_stays,    room_that_comes_back,
                                  damage_is_told,          lies_are_told,
                                  two_of_one_key_are_told, no_store_is_made_over_another,
                                  large_batches_pass,      pages_that_left_are_given_back};
    return run_tests("hybrid", tests, sizeof tests / sizeof tests[0]);
}
