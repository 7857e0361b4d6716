/* Groups of writes that go into the memtable beside each other: what readers see is what one writer after the other
 * would have written. All in memory; to be run under the thread sanitizer too.
 *
 * Each writer writes numbers that go up, each in one batch, to keys of its own and to one key that all of them write.
 * With a number it writes what the others had acknowledged before it began. So whoever looks at one moment must see
 *   - one number on all keys of a writer: batches are atomic;
 *   - none below what was acknowledged before: they are visible once they are;
 *   - none of another writer below what a visible batch says: they are visible in their order;
 *   - on the shared key the newest number of whoever wrote it, for later numbers would have replaced it;
 *   - the number on its other keys, or the one before, on the key that each writer puts a number to by itself once the
 *     batch with it is acknowledged. */
#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env_fault.h"
#include "base/env_memory.h"
#include "base/error.h"
#include "base/random.h"
#include "lsm/lsm.h"
#include "tests/harness/pool.h"

#include "base/banned.h"

enum { WRITERS = 6, READERS = 2, KEYS = 12, ROUNDS = 1200, BUFFER_BYTES = 512 << 10, SHARED = WRITERS, CRASHES = 40 };

/* What a batch puts under each of its keys; all of it under some, in a batch that is large enough to go beside others.
 */
struct content {
    uint64_t writer, number;
    uint64_t before[WRITERS]; /* acknowledged when it was begun */
    uint8_t more[1000];
};

static struct {
    struct lsm *db;
    uint64_t seed, rounds;
    _Atomic uint64_t acknowledged[WRITERS], synced[WRITERS], increments;
    atomic_bool stop;
} all;

static void wrong(const char *what, uint64_t a, uint64_t b)
{
    fprintf(stderr, "seed %llu: %s: %llu, %llu (%s)\n", (unsigned long long)all.seed, what, (unsigned long long)a,
            (unsigned long long)b, plsm_message());
    abort();
}

static void good(plsm_status status, const char *what)
{
    if (status != PLSM_OK)
        wrong(what, status, 0);
}

/* Without the keyspace byte, which stands in front of it in the buffer. Keys of different writers are neighbours. */
static plsm_slice key_of(unsigned writer, unsigned i, char buffer[32])
{
    int size = writer == SHARED ? snprintf(buffer, 32, "\1shared") : snprintf(buffer, 32, "\1key%02u/%u", i, writer);
    return slice(buffer + 1, (size_t)size - 1);
}

static plsm_slice whole(plsm_slice key)
{
    return slice((const char *)key.data - 1, key.size + 1);
}

static void note_acknowledged(uint64_t numbers[WRITERS])
{
    for (unsigned w = 0; w < WRITERS; w++)
        numbers[w] = atomic_load(&all.acknowledged[w]);
}

/* --- writers ------------------------------------------------------------------------------------------------------ */

static void make_batch(struct batch *batch, struct random *r, unsigned writer, uint64_t number)
{
    struct content content = {.writer = writer, .number = number};
    char buffer[32];
    bool large = random_below(r, 3) > 0;
    note_acknowledged(content.before);
    batch_clear(batch);
    if (random_below(r, 40) == 0) { /* of nobody's keys: it only makes the group one that goes alone */
        good(batch_add(batch, BATCH_DELETE_RANGE, 1, slice_of("none"), slice(NULL, 0), slice_of("\1nonf")), "a range");
    }
    for (unsigned i = 0; i <= KEYS; i++) {
        size_t size = sizeof content - (large && i % 3 == 0 ? 0 : sizeof content.more);
        plsm_slice key = key_of(i < KEYS ? writer : SHARED, i, buffer);
        good(batch_add(batch, BATCH_PUT, 1, key, slice(NULL, 0), slice(&content, size)), "a batch");
    }
}

static void read_content(struct lsm *db, const struct lsm_snapshot *snapshot, plsm_slice key, struct content *out)
{
    struct lsm_value value = {0};
    plsm_status status = lsm_get(db, snapshot, whole(key), false, &value);
    memset(out, 0, sizeof *out);
    if (status == PLSM_OK)
        memcpy(out, value.value.data, value.value.size);
    else if (status != PLSM_NOT_FOUND)
        good(status, "a get");
    lsm_value_free(&value);
}

struct increment {
    struct batch *batch;
    uint64_t before[WRITERS];
};

/* Adds an increment of the counter to the batch: nothing may come between the look and the write. */
static plsm_status increment(void *arg, struct lsm *db, const struct batch **batch)
{
    struct increment *inc = arg;
    struct lsm_value value = {0};
    struct content content;
    char buffer[32];
    uint64_t count = 0;
    for (unsigned w = 0; w < WRITERS; w++) {
        read_content(db, NULL, key_of(w, KEYS - 1, buffer), &content);
        if (content.number < inc->before[w])
            wrong("prepare does not see an earlier write", content.number, inc->before[w]);
    }
    plsm_status status = lsm_get(db, NULL, slice_of("\1counter"), false, &value);
    if (status == PLSM_OK)
        count = get_u64(value.value.data);
    else if (status != PLSM_NOT_FOUND)
        return status;
    lsm_value_free(&value);
    count++;
    *batch = inc->batch;
    return batch_add(inc->batch, BATCH_PUT, 1, slice_of("counter"), slice(NULL, 0), slice(&count, sizeof count));
}

static plsm_slice single_key(unsigned writer, char buffer[40])
{
    buffer[0] = 1;
    return slice(buffer + 1, (size_t)snprintf(buffer + 1, 39, "one%u", writer));
}

/* Every second one with room for a record around it. */
static void put_single(unsigned writer, uint64_t number, bool sync)
{
    enum { BYTES = 64 };
    uint8_t room[BATCH_ROOM_BEFORE + BYTES + BATCH_ROOM_BEHIND];
    char buffer[40];
    struct batch_change change = {
        .kind = BATCH_PUT, .key = single_key(writer, buffer), .value = slice(&number, sizeof number)};
    struct batch batch = {
        .bytes = {.data = room + BATCH_ROOM_BEFORE, .capacity = BYTES}, .count = 1, .roomy = number % 2};
    batch.bytes.size = batch_encode(batch.bytes.data, 1, &change);
    good(lsm_write_one(all.db, &batch, &change, sync), "a single put");
}

static uint64_t read_single(const struct lsm_snapshot *snapshot, unsigned writer)
{
    struct lsm_value value = {0};
    char buffer[40];
    plsm_status status = lsm_get(all.db, snapshot, whole(single_key(writer, buffer)), false, &value);
    if (status != PLSM_NOT_FOUND)
        good(status, "a get");
    uint64_t number = status == PLSM_OK ? get_u64(value.value.data) : 0;
    lsm_value_free(&value);
    return number;
}

static void *write_all(void *arg)
{
    unsigned writer = *(const unsigned *)arg;
    struct random r;
    struct batch batch = {0};
    random_seed(&r, all.seed * 100 + writer);
    for (uint64_t number = 1; number <= all.rounds; number++) {
        bool sync = random_below(&r, 50) == 0, looks = random_below(&r, 50) == 0;
        make_batch(&batch, &r, writer, number);
        struct increment inc = {.batch = &batch};
        note_acknowledged(inc.before);
        good(lsm_write(all.db, &batch, looks ? increment : NULL, &inc, sync), "a write");
        atomic_store(&all.acknowledged[writer], number);
        if (sync)
            atomic_store(&all.synced[writer], number);
        put_single(writer, number, random_below(&r, 100) == 0);
        if (looks)
            atomic_fetch_add(&all.increments, 1);
        if (writer == 0 && random_below(&r, 400) == 0)
            good(lsm_flush(all.db), "a flush");
        if (writer == 1 && random_below(&r, 400) == 0)
            good(lsm_sync(all.db), "a sync");
    }
    batch_free(&batch);
    return NULL;
}

/* --- readers ------------------------------------------------------------------------------------------------------ */

static void check_content(const struct content *content, unsigned writer, unsigned i, struct content seen[WRITERS + 1])
{
    if (i == 0 || writer == SHARED)
        seen[writer] = *content;
    else if (content->number != seen[writer].number)
        wrong("a batch is seen in part", content->number, seen[writer].number);
    if (writer != SHARED && content->number > 0 && content->writer != writer)
        wrong("another writer's content", content->writer, writer);
}

/* Everything at one moment. */
static void check_moment(const struct lsm_snapshot *snapshot, const uint64_t before[WRITERS])
{
    struct content seen[WRITERS + 1], content;
    char buffer[32];
    for (unsigned i = 0; i < KEYS; i++)
        for (unsigned w = 0; w < WRITERS; w++) {
            read_content(all.db, snapshot, key_of(w, i, buffer), &content);
            check_content(&content, w, i, seen);
        }
    read_content(all.db, snapshot, key_of(SHARED, 0, buffer), &content);
    check_content(&content, SHARED, 0, seen);
    for (unsigned w = 0; w < WRITERS && snapshot; w++) {
        uint64_t single = read_single(snapshot, w);
        if (single != seen[w].number && single + 1 != seen[w].number)
            wrong("a single put is not seen in its order", single, seen[w].number);
    }
    for (unsigned w = 0; w < WRITERS; w++)
        if (seen[w].number < before[w])
            wrong("an acknowledged write is not seen", seen[w].number, before[w]);
    for (unsigned by = 0; by <= WRITERS; by++)
        for (unsigned w = 0; w < WRITERS; w++)
            if (seen[w].number < seen[by].before[w])
                wrong("a later write is seen, and one before it is not", seen[w].number, seen[by].before[w]);
    if (seen[SHARED].number > 0 && seen[SHARED].number != seen[seen[SHARED].writer].number)
        wrong("the shared key has an older number", seen[SHARED].number, seen[seen[SHARED].writer].number);
}

static void check_met(plsm_slice key, plsm_slice value, unsigned met[WRITERS], struct content seen[WRITERS + 1])
{
    struct content content = {0};
    unsigned w = (unsigned)(((const char *)key.data)[key.size - 1] - '0');
    memcpy(&content, value.data, value.size);
    check_content(&content, w, met[w]++, seen);
}

/* The same by an iterator, whose moment is when it is made; part of what it shows is given ahead. */
static void check_scan(const uint64_t before[WRITERS])
{
    struct content seen[WRITERS + 1] = {0};
    struct key_value ahead[LSM_AHEAD_MAX];
    struct lsm_iterator *it = NULL;
    good(lsm_iterator_create(all.db, NULL, slice_of("\1key"), slice_of("\1kez"), &it), "an iterator");
    unsigned met[WRITERS] = {0};
    for (lsm_iterator_first(it); lsm_iterator_valid(it); lsm_iterator_next(it)) {
        const struct entry *entry = lsm_iterator_entry(it);
        check_met(entry->key, entry->value, met, seen);
        size_t count = lsm_iterator_ahead(it, ahead, LSM_AHEAD_MAX);
        for (size_t i = 0; i < count; i++)
            check_met(ahead[i].key, ahead[i].value, met, seen);
    }
    good(lsm_iterator_status(it), "a scan");
    lsm_iterator_destroy(it);
    for (unsigned w = 0; w < WRITERS; w++) {
        if (met[w] != 0 && met[w] != KEYS)
            wrong("a scan sees a batch in part", met[w], w);
        if (seen[w].number < before[w])
            wrong("a scan does not see an acknowledged write", seen[w].number, before[w]);
    }
}

static void *read_all(void *arg)
{
    while (!atomic_load(&all.stop)) {
        uint64_t before[WRITERS];
        note_acknowledged(before);
        struct lsm_snapshot *snapshot = lsm_snapshot_create(all.db);
        if (!snapshot)
            abort();
        check_moment(snapshot, before);
        lsm_snapshot_destroy(all.db, snapshot);
        note_acknowledged(before);
        check_scan(before);
    }
    return NULL;
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */

static void check_end(void)
{
    uint64_t numbers[WRITERS];
    struct lsm_value value = {0};
    for (unsigned w = 0; w < WRITERS; w++)
        numbers[w] = all.rounds;
    check_moment(NULL, numbers);
    ck_assert_int_eq(lsm_get(all.db, NULL, slice_of("\1counter"), false, &value), PLSM_OK);
    ck_assert_uint_eq(get_u64(value.value.data), atomic_load(&all.increments));
    lsm_value_free(&value);
}

static void run_threads(void)
{
    pthread_t threads[WRITERS + READERS];
    unsigned numbers[WRITERS];
    for (unsigned i = 0; i < WRITERS; i++) {
        numbers[i] = i;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, write_all, &numbers[i]), 0);
    }
    for (unsigned i = WRITERS; i < WRITERS + READERS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, read_all, NULL), 0);
    for (unsigned i = 0; i < WRITERS + READERS; i++) {
        if (i == WRITERS)
            atomic_store(&all.stop, true);
        pthread_join(threads[i], NULL);
    }
}

/* What a power loss at any time leaves is a moment, too: all batches up to one, whole, and those that were synced. */
static void crash_anywhere(struct env *env, struct lsm_options o)
{
    struct lsm *db = all.db;
    struct random r;
    uint64_t calls = env_memory_calls(env), none[WRITERS] = {0}, synced[WRITERS];
    random_seed(&r, all.seed);
    for (unsigned w = 0; w < WRITERS; w++)
        synced[w] = atomic_load(&all.synced[w]);
    for (unsigned i = 0; i < CRASHES; i++) {
        uint64_t at = i % 3 == 0 ? calls : random_below(&r, calls + 1);
        o.env = env_memory_crash(env, at, (enum env_crash)(i % ENV_CRASH_COUNT), i);
        ck_assert_msg(lsm_open("/s", &o, &all.db) == PLSM_OK, "%s", plsm_message());
        struct lsm_snapshot *snapshot = lsm_snapshot_create(all.db);
        check_moment(snapshot, at == calls ? synced : none);
        lsm_snapshot_destroy(all.db, snapshot);
        ck_assert_int_eq(lsm_close(all.db), PLSM_OK);
        env_memory_destroy(o.env);
    }
    all.db = db;
}

START_TEST(seen_in_order)
{
    struct env *env = env_memory_create(1);
    struct lsm_options o;
    lsm_options_default(&o);
    o.env = env;
    o.create = true;
    o.buffer_size = BUFFER_BYTES;
    o.file_size = BUFFER_BYTES;
    o.cache_size = 1 << 20;
    o.background = _i != 1;
    memset(&all, 0, sizeof all);
    all.seed = 1 + (uint64_t)_i;
    all.rounds = thinned(ROUNDS);
    ck_assert_msg(lsm_open("/s", &o, &all.db) == PLSM_OK, "%s", plsm_message());
    run_threads();
    check_end();
    crash_anywhere(env, o);
    /* What a killed process leaves. */
    struct env *after = env_memory_crash(env, env_memory_calls(env), ENV_CRASH_KEEP, 1);
    ck_assert_int_eq(lsm_close(all.db), PLSM_OK);
    env_memory_destroy(env);
    o.env = after;
    o.create = false;
    ck_assert_msg(lsm_open("/s", &o, &all.db) == PLSM_OK, "%s", plsm_message());
    check_end();
    ck_assert_msg(lsm_check(all.db, NULL, NULL, NULL) == PLSM_OK, "%s", plsm_message());
    ck_assert_int_eq(lsm_close(all.db), PLSM_OK);
    env_memory_destroy(after);
}
END_TEST

/* --- writes that fail --------------------------------------------------------------------------------------------- */

/* Of a writer whose write has failed, all keys must hold what it wrote last with success. */
static void check_own(unsigned writer, uint64_t number)
{
    struct content content;
    char buffer[32];
    for (unsigned i = 0; i < KEYS; i++) {
        read_content(all.db, NULL, key_of(writer, i, buffer), &content);
        if (content.number != number)
            wrong("a write that failed is seen, or one that did not is not", content.number, number);
    }
}

static void *write_some(void *arg)
{
    unsigned writer = *(const unsigned *)arg;
    struct random r;
    struct batch batch = {0};
    random_seed(&r, all.seed * 100 + writer);
    for (uint64_t number = 1; number <= all.rounds; number++) {
        make_batch(&batch, &r, writer, number);
        plsm_status status = lsm_write(all.db, &batch, NULL, NULL, random_below(&r, 50) == 0);
        if (status == PLSM_OK)
            atomic_store(&all.acknowledged[writer], number);
        else if (status == PLSM_NO_SPACE || status == PLSM_NO_MEMORY)
            atomic_fetch_add(&all.increments, 1);
        else
            good(status, "a write");
        check_own(writer, atomic_load(&all.acknowledged[writer]));
    }
    batch_free(&batch);
    return NULL;
}

static void *make_fail(void *arg)
{
    struct env *env = arg;
    struct random r;
    random_seed(&r, all.seed);
    while (!atomic_load(&all.stop)) {
        if (random_below(&r, 2))
            env_fault_arm(env, ENV_CALL_APPEND, 1 + random_below(&r, 20), ENV_FAULT_NO_SPACE, true);
        else
            env_fault_disarm(env);
        env_sleep_ns(env, 300 * 1000);
    }
    env_fault_disarm(env);
    return NULL;
}

static void run_failing(struct env *env)
{
    pthread_t threads[WRITERS + 1];
    unsigned numbers[WRITERS];
    for (unsigned i = 0; i < WRITERS; i++) {
        numbers[i] = i;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, write_some, &numbers[i]), 0);
    }
    ck_assert_int_eq(pthread_create(&threads[WRITERS], NULL, make_fail, env), 0);
    for (unsigned i = 0; i <= WRITERS; i++) {
        if (i == WRITERS)
            atomic_store(&all.stop, true);
        pthread_join(threads[i], NULL);
    }
}

/* A group that fails for want of space, while others are on their way into the memtable, leaves nothing behind. */
START_TEST(failures)
{
    struct env *base = env_memory_create(1), *env = env_fault_create(base);
    struct lsm_options o;
    lsm_options_default(&o);
    o.env = env;
    o.create = true;
    o.buffer_size = 4 * BUFFER_BYTES;
    o.file_size = BUFFER_BYTES;
    o.cache_size = 1 << 20;
    memset(&all, 0, sizeof all);
    all.seed = 10 + (uint64_t)_i;
    all.rounds = thinned(ROUNDS);
    ck_assert_msg(lsm_open("/s", &o, &all.db) == PLSM_OK, "%s", plsm_message());
    run_failing(env);
    printf("write beside: %llu writes of %u failed\n", (unsigned long long)atomic_load(&all.increments),
           (unsigned)(WRITERS * all.rounds));
    struct env *after = env_memory_crash(base, env_memory_calls(base), ENV_CRASH_KEEP, 1);
    ck_assert_int_eq(lsm_close(all.db), PLSM_OK);
    env_fault_destroy(env);
    env_memory_destroy(base);
    o.env = after;
    o.create = false;
    ck_assert_msg(lsm_open("/s", &o, &all.db) == PLSM_OK, "%s", plsm_message());
    for (unsigned w = 0; w < WRITERS; w++)
        check_own(w, atomic_load(&all.acknowledged[w]));
    ck_assert_int_eq(lsm_close(all.db), PLSM_OK);
    env_memory_destroy(after);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("write beside");
    TCase *tests = tcase_create("write_beside");
    tcase_set_timeout(tests, 300);
    tcase_add_loop_test(tests, seen_in_order, 0, 3);
    tcase_add_loop_test(tests, failures, 0, 2);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
