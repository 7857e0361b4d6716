/* The hybrid log and threads: nobody sees half of a change, or loses what he is looking at. */
#include "base/random.h"
#include "tests/harness/pool.h"
#include "tests/harness/temporary.h"
#include "tests/log/hybrid_fixture.h"

#include "base/banned.h"

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

/* Many keys at once beside: as a snapshot. */
static void read_many_beside(void *arg)
{
    enum { MANY = 24 };
    struct hybrid_value seen[MANY] = {0};
    struct random random;
    random_seed(&random, (uintptr_t)arg);
    while (!atomic_load(&done)) {
        char texts[MANY][40];
        plsm_slice keys[MANY];
        plsm_status statuses[MANY];
        unsigned from = (unsigned)random_below(&random, HOT - MANY + 1), last = UINT32_MAX;
        for (unsigned i = 0; i < MANY; i++)
            keys[i] = name_of(from + i, texts[i]);
        must(hybrid_multi_get(db, NULL, keys, MANY, false, seen, statuses));
        for (unsigned i = 0; i < MANY; i++) {
            uint8_t bytes[VALUE_MAX];
            if (statuses[i] == PLSM_NOT_FOUND)
                continue;
            unsigned round = get_u32((const uint8_t *)seen[i].value.data + 4);
            ck_assert(slice_equal(seen[i].value, value_of(from + i, round, bytes)));
            ck_assert_msg(last == UINT32_MAX || round == last || round + 1 == last, "%u behind %u", round, last);
            last = round;
        }
    }
    for (unsigned i = 0; i < MANY; i++)
        mem_free(seen[i].memory);
}

/* Without meta, the shortest way. */
static void put_plain(unsigned number, unsigned round)
{
    char text[40];
    uint8_t bytes[VALUE_MAX], room[BATCH_ROOM_BEFORE + 2 * VALUE_MAX + BATCH_ROOM_BEHIND];
    plsm_slice key = name_of(number, text);
    struct batch_change change = {
        .kind = BATCH_PUT, .key = slice(text + 1, key.size - 1), .value = value_of(number, round, bytes)};
    struct batch batch = {
        .bytes = {.data = room + BATCH_ROOM_BEFORE, .capacity = 2 * VALUE_MAX}, .count = 1, .roomy = true};
    batch.bytes.size = batch_encode(batch.bytes.data, HYBRID_NAMES, &change);
    must(hybrid_write_one(db, &batch, &change, HYBRID_LOGGED));
}

static void expect_plain(unsigned number, unsigned round)
{
    char text[40];
    uint8_t bytes[VALUE_MAX];
    must(hybrid_get(db, NULL, name_of(number, text), false, false, &value));
    ck_assert(slice_equal(value.value, value_of(number, round, bytes)));
    ck_assert_uint_eq(value.meta.size, 0);
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

/* A disk each of whose three syncs of a round takes until what it waits for has happened: at the first, of one writer
 * alone, begin those who are to share the second; in that begins one more, who is too late for it; the third, his own,
 * takes until all others have returned. */
enum { SHARING = 7, SYNCERS = SHARING + 2, ROUNDS = 25, WAITS_MAX = 20000 };
static unsigned redo_syncs, put_round;
static struct env_thread *syncers[SYNCERS];
static atomic_uint returned;
static atomic_bool waited_in_vain;

static void put_synced(void *arg)
{
    put_as(put_round * SYNCERS + (unsigned)(uintptr_t)arg, HYBRID_SYNC);
    atomic_fetch_add(&returned, 1);
}

static void start_syncers(uintptr_t from, uintptr_t to)
{
    for (uintptr_t i = from; i < to; i++)
        must(env_thread_start(env_posix(), put_synced, (void *)i, &syncers[i]));
}

static bool has_happened(unsigned sync)
{
    uint64_t written = statistic_of("store.keys") - put_round * SYNCERS;
    return sync == 1 ? written == 1 + SHARING : sync == 2 ? written == SYNCERS : atomic_load(&returned) == 1 + SHARING;
}

static plsm_status sync_when_it_has_happened(struct env_file *file)
{
    unsigned waits = 0, sync = strstr(file->path, "redo-") ? ++redo_syncs : 0; /* one at a time */
    if (sync == 1)
        start_syncers(1, 1 + SHARING);
    if (sync == 2)
        start_syncers(1 + SHARING, SYNCERS);
    while (sync > 0 && !has_happened(sync) && waits++ < WAITS_MAX)
        env_sleep_ns(env_posix(), 1000 * 1000);
    if (waits > WAITS_MAX)
        atomic_store(&waited_in_vain, true);
    return sync_before(file);
}

/* Writers go on while another one's change is synced, and share the next sync; who waits for a sync that has his change
 * too leaves with it, not behind the next one. */
START_TEST(writers_share_syncs)
{
    start();
    stopping_ops = *env->ops;
    sync_before = stopping_ops.sync;
    stopping_ops.sync = sync_when_it_has_happened;
    env->ops = &stopping_ops;
    for (put_round = 0; put_round < ROUNDS; put_round++) {
        redo_syncs = 0;
        atomic_store(&returned, 0);
        start_syncers(0, 1);
        for (unsigned i = 0; i < SYNCERS; i++) /* the syncs of those in front have begun them */
            env_thread_join(syncers[i]);
        ck_assert(!atomic_load(&waited_in_vain));
        ck_assert_uint_eq(redo_syncs, 3);
    }
    for (unsigned number = 0; number < ROUNDS * SYNCERS; number++)
        expect(NULL, number, 0);
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

/* Writers and readers of entries with meta and without, which take other ways. */
static void change_beside_readers(void (*put_it)(unsigned number, unsigned round),
                                  void (*expect_it)(unsigned number, unsigned round))
{
    enum { THREADS = 4 };
    void (*const readers[THREADS])(void *arg) = {read_beside, read_beside, read_many_beside, snapshot_beside};
    struct env_thread *threads[THREADS];
    char *directory = temporary_create(), path[4200];
    snprintf(path, sizeof path, "%s/store", directory);
    struct hybrid_options options = options_of(env_posix());
    options.background = true;
    must(hybrid_open(path, &options, &db));
    atomic_store(&done, false);
    for (uintptr_t i = 0; i < THREADS; i++)
        must(env_thread_start(env_posix(), readers[i], (void *)(i + 1), &threads[i]));
    for (unsigned i = 0; i < WRITES; i++)
        put_it(i % HOT, i / HOT); /* in the order of numbers, so a snapshot sees at most one step of rounds */
    atomic_store(&done, true);
    for (unsigned i = 0; i < THREADS; i++)
        env_thread_join(threads[i]);
    ck_assert_uint_gt(statistic_of("hybrid.changes.in_place"), 0);
    must(hybrid_check(db, NULL, NULL, NULL));
    must(hybrid_close(db));
    must(hybrid_open(path, &options, &db));
    for (unsigned i = 0; i < HOT; i++)
        expect_it(i, (WRITES - 1 - i) / HOT);
    must(hybrid_close(db));
    mem_free(value.memory);
    value = (struct hybrid_value){0};
    temporary_destroy(directory);
}

static void expect_now(unsigned number, unsigned round)
{
    expect(NULL, number, round);
}

START_TEST(nobody_sees_half_of_a_change)
{
    change_beside_readers(put_number, expect_now);
}
END_TEST

START_TEST(nobody_sees_half_of_a_plain_change)
{
    change_beside_readers(put_plain, expect_plain);
}
END_TEST

/* --- writers ------------------------------------------------------------------------------------------------------ */

enum {
    WRITERS = 3,
    NEW = 60000, /* keys that each of them makes: more in all than the index has room for at first */
    OWN = 50,    /* that each writes again and again, */
    SHARED = 16, /* and that all of them do, in one batch, */
    OWN_FROM = 1 << 20,
    SHARED_FROM = 1 << 21,
    BATCH_EVERY = 10 /* so often */
};

static void put_shared(unsigned round)
{
    struct batch batch = {0};
    for (unsigned i = 0; i < SHARED; i++) {
        char text[40];
        uint8_t bytes[VALUE_MAX];
        plsm_slice key = name_of(SHARED_FROM + i, text);
        must(batch_add(&batch, BATCH_PUT, HYBRID_NAMES, slice(text + 1, key.size - 1), (plsm_slice){0},
                       value_of(SHARED_FROM + i, round, bytes)));
    }
    must(hybrid_write(db, &batch, NULL, NULL, HYBRID_LOGGED));
    batch_free(&batch);
}

static void write_beside(void *arg)
{
    struct hybrid_value seen = {0};
    unsigned me = (unsigned)(uintptr_t)arg, count = (unsigned)thinned(NEW);
    for (unsigned i = 0; i < count; i++) {
        char text[40];
        uint8_t bytes[VALUE_MAX];
        unsigned own = OWN_FROM + me + WRITERS * (i % OWN);
        put_plain(me + WRITERS * i, 0);
        put_plain(own, i / OWN);
        must(hybrid_get(db, NULL, name_of(own, text), false, false, &seen)); /* nobody else writes it */
        ck_assert(slice_equal(seen.value, value_of(own, i / OWN, bytes)));
        if (i % BATCH_EVERY == 0)
            put_shared(WRITERS * i + me);
    }
    mem_free(seen.memory);
}

static void expect_written(void)
{
    unsigned count = (unsigned)thinned(NEW);
    for (unsigned i = 0; i < WRITERS * count; i++)
        expect_plain(i, 0);
    for (unsigned i = 0; i < OWN; i++)
        for (unsigned me = 0; me < WRITERS; me++)
            expect_plain(OWN_FROM + me + WRITERS * i, (count - 1 - i) / OWN);
    char text[40];
    must(hybrid_get(db, NULL, name_of(SHARED_FROM, text), false, false, &value));
    unsigned round = get_u32((const uint8_t *)value.value.data + 4);
    for (unsigned i = 0; i < SHARED; i++)
        expect_plain(SHARED_FROM + i, round);
}

/* Each write is there, and none is undone by another's, while the index grows, pages leave and recovery points are
 * taken. */
START_TEST(writers_meet)
{
    struct env_thread *threads[WRITERS];
    char *directory = temporary_create(), path[4200];
    snprintf(path, sizeof path, "%s/store", directory);
    struct hybrid_options options = options_of(env_posix());
    options.background = true;
    options.memory = options.buffer_size = options.file_size = 4 << 20;
    must(hybrid_open(path, &options, &db));
    for (uintptr_t i = 0; i < WRITERS; i++)
        must(env_thread_start(env_posix(), write_beside, (void *)i, &threads[i]));
    for (unsigned i = 0; i < WRITERS; i++)
        env_thread_join(threads[i]);
    expect_written();
    must(hybrid_check(db, NULL, NULL, NULL));
    must(hybrid_close(db));
    must(hybrid_open(path, &options, &db));
    expect_written();
    must(hybrid_close(db));
    mem_free(value.memory);
    value = (struct hybrid_value){0};
    temporary_destroy(directory);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {sync_waits_for_volatile_writes,
                                  writers_share_syncs,
                                  segments_wait_for_readers,
                                  nobody_sees_half_of_a_move,
                                  nobody_sees_half_of_a_change,
                                  nobody_sees_half_of_a_plain_change,
                                  writers_meet};
    return run_tests("hybrid_threads", tests, sizeof tests / sizeof tests[0]);
}
