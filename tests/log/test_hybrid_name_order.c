/* Names in order, which the hybrid log keeps while there is one listing after another. */
#include "base/random.h"
#include "log/hybrid_private.h"
#include "tests/harness/temporary.h"
#include "tests/log/hybrid_fixture.h"

#include "base/banned.h"

static uint64_t seed;

/* As if listings had read through the log many times. */
static void list_much(void)
{
    name_order_count(db, UINT64_MAX, UINT64_C(1) << 40);
}

static bool in_order(void)
{
    return statistic_of("hybrid.memory.names_in_order") > 0;
}

static unsigned count_names(const struct hybrid_snapshot *snapshot, const char *from, const char *to)
{
    struct hybrid_iterator *it = NULL;
    unsigned count = 0;
    must(hybrid_iterator_create(db, snapshot, slice_of(from), slice_of(to), true, &it));
    for (const struct hybrid_entry *e = hybrid_iterator_first(it); e; e = hybrid_iterator_next(it))
        count++;
    must(hybrid_iterator_status(it));
    hybrid_iterator_destroy(it);
    return count;
}

/* Directories that are listed one after the other, while names come, cost a few looks through the log, not one each. */
START_TEST(directories_in_turn)
{
    enum { ROUNDS = 300, DIRECTORIES = 7 };
    start();
    for (unsigned i = 0; i < KEYS; i++)
        put_number(i, 0);
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned directory = round % DIRECTORIES, names = KEYS + round;
        put_number(names++, 0);
        char from[] = {HYBRID_NAMES, 'd', 'i', 'r', (char)('0' + directory), '/', 0};
        char to[] = {HYBRID_NAMES, 'd', 'i', 'r', (char)('0' + directory), '0', 0};
        ck_assert_uint_eq(count_names(NULL, from, to), (names - directory + DIRECTORIES - 1) / DIRECTORIES);
    }
    ck_assert(in_order());
    ck_assert_uint_lt(statistic_of("hybrid.sorted_listings"), ROUNDS / 10);
    name_order_forget(db, 0);
    ck_assert(!in_order());
    ck_assert_uint_eq(count_names(NULL, "\1", "\2"), KEYS + ROUNDS);
    stop();
}
END_TEST

/* Whoever goes through a large part of the store goes on by a listing, where the order would look each up. */
START_TEST(long_ways_leave_the_order)
{
    start();
    for (unsigned i = 0; i < KEYS; i++)
        put_number(i, 0);
    list_much();
    must(hybrid_flush(db));
    ck_assert_uint_eq(count_names(NULL, "\1dir1/", "\1dir1/key10"), 1);
    ck_assert_uint_eq(statistic_of("hybrid.sorted_listings"), 0);
    ck_assert_uint_eq(count_names(NULL, "\1", "\2"), KEYS);
    ck_assert_uint_eq(statistic_of("hybrid.sorted_listings"), 1);
    stop();
}
END_TEST

/* So does whoever passes over many that have died, or has to ask the disk. */
START_TEST(dear_ways_leave_the_order)
{
    start();
    for (unsigned i = 0; i < KEYS; i++)
        put_number(i, 0);
    put(slice_of("\1z"), slice_of("last"));
    list_much();
    ck_assert_uint_eq(count_names(NULL, "\1dir1/key1", "\1dir1/key2"), 159);
    struct hybrid_snapshot *snapshot = hybrid_snapshot_create(db);
    ck_assert_uint_eq(statistic_of("hybrid.sorted_listings"), 0);
    for (unsigned i = 1; i < KEYS; i++)
        delete_number(i);
    ck_assert_uint_eq(count_names(NULL, "\1", "\2"), 2);
    ck_assert_uint_eq(statistic_of("hybrid.sorted_listings"), 1);
    hybrid_snapshot_destroy(db, snapshot);
    for (unsigned i = 0; i < KEYS; i++)
        put_number(i, 0);
    reopen(); /* now it is in files */
    list_much();
    ck_assert_uint_eq(count_names(NULL, "\1dir1/key1", "\1dir1/key2"), 159);
    ck_assert_uint_eq(statistic_of("hybrid.sorted_listings"), 1);
    stop();
}
END_TEST

/* Of a small memory that is for all the order may take a part; it does without it then, and tries no more. */
START_TEST(small_memories_go_without)
{
    env = env_memory_create(1);
    struct hybrid_options options = options_of(env);
    options.memory_of_all = true;
    must(hybrid_open("/s", &options, &db));
    for (unsigned i = 0; i < KEYS; i++)
        put_number(i, 0);
    for (unsigned i = 0; i < 3; i++) {
        list_much();
        ck_assert_uint_eq(count_names(NULL, "\1", "\2"), KEYS);
        name_order_forget(db, UINT64_MAX);
        ck_assert(!in_order());
        ck_assert_uint_lt(db->name_order.names_most, KEYS); /* it was tried */
    }
    stop();
}
END_TEST

/* Where it was the dead that took too much, it is tried again. */
START_TEST(excess_passes)
{
    enum { FEW = 300, MANY = 50000 };
    env = env_memory_create(1);
    struct hybrid_options options = options_of(env);
    options.memory_of_all = true;
    must(hybrid_open("/s", &options, &db));
    for (unsigned i = 0; i < FEW; i++)
        put_number(i, 0);
    list_much();
    ck_assert_uint_eq(count_names(NULL, "\1", "\2"), FEW);
    ck_assert(in_order());
    struct hybrid_snapshot *snapshot = hybrid_snapshot_create(db);
    for (unsigned i = FEW; i < MANY && !db->name_order.full; i++) {
        put_number(i, 0);
        delete_number(i);
    }
    ck_assert(db->name_order.full);
    hybrid_snapshot_destroy(db, snapshot);
    name_order_forget(db, UINT64_MAX);
    ck_assert(!in_order());
    list_much();
    unsigned last = count_names(NULL, "\1", "\2");
    ck_assert(in_order() && last >= FEW && last <= FEW + 1);
    stop();
}
END_TEST

/* Listings of moments that it could not serve do not bring it back. */
START_TEST(moments_before_do_not_count)
{
    start();
    for (unsigned i = 0; i < KEYS; i++)
        put_number(i, 0);
    struct hybrid_snapshot *snapshot = hybrid_snapshot_create(db);
    put_number(0, 1);
    list_much();
    ck_assert_uint_eq(count_names(NULL, "\1", "\2"), KEYS);
    ck_assert(in_order());
    name_order_forget(db, 0);
    name_order_count(db, snapshot->at, UINT64_C(1) << 40);
    ck_assert_uint_eq(count_names(NULL, "\1", "\2"), KEYS);
    ck_assert(!in_order());
    hybrid_snapshot_destroy(db, snapshot);
    stop();
}
END_TEST

/* --- against a model ---------------------------------------------------------------------------------------------- */

enum { NAMES = 300, WALKS = 5, STEPS = 60000 };

static unsigned sorted[NAMES]; /* numbers in the order of their names */
static unsigned now[NAMES];    /* round of the value, by place in that order; 0: it is not there */
static unsigned round_of_all;

/* An iterator or a snapshot, and what it is to show. */
static struct walk {
    struct hybrid_snapshot *snapshot;
    struct hybrid_iterator *it;
    int at; /* NAMES or -1: nowhere */
    unsigned seen[NAMES];
} walks[WALKS];

static int compare_names(const void *a, const void *b)
{
    char left[40], right[40];
    plsm_slice first = name_of(*(const unsigned *)a, left), second = name_of(*(const unsigned *)b, right);
    return slice_compare(first, second);
}

static int place_after(const struct walk *w, int at, int step)
{
    do
        at += step;
    while (at >= 0 && at < NAMES && w->seen[at] == 0);
    return at;
}

static void expect_entry(const struct walk *w, const struct hybrid_entry *e)
{
    char text[40];
    uint8_t bytes[VALUE_MAX];
    ck_assert_msg((e != NULL) == (w->at >= 0 && w->at < NAMES), "seed %llu: %s at place %d", (unsigned long long)seed,
                  e ? "an entry" : "nothing", w->at);
    must(hybrid_iterator_status(w->it));
    if (!e)
        return;
    ck_assert_msg(slice_equal(e->key, name_of(sorted[w->at], text)), "seed %llu: %.*s instead of %s",
                  (unsigned long long)seed, (int)e->key.size, (const char *)e->key.data, text);
    ck_assert(slice_equal(e->value, value_of(sorted[w->at], w->seen[w->at], bytes)));
}

static void move(struct walk *w, struct random *random)
{
    char text[40];
    int place = (int)random_below(random, NAMES);
    plsm_slice key = name_of(sorted[place], text);
    bool stands = w->at >= 0 && w->at < NAMES;
    switch (random_below(random, 16)) {
    case 0:
        w->at = place_after(w, -1, 1);
        return expect_entry(w, hybrid_iterator_first(w->it));
    case 1:
        w->at = place_after(w, NAMES, -1);
        return expect_entry(w, hybrid_iterator_last(w->it));
    case 2:
        w->at = place_after(w, place - 1, 1);
        return expect_entry(w, hybrid_iterator_seek(w->it, key));
    case 3:
        w->at = place_after(w, place, -1);
        return expect_entry(w, hybrid_iterator_seek_before(w->it, key));
    case 4:
    case 5:
    case 6:
        w->at = stands ? place_after(w, w->at, -1) : NAMES;
        return expect_entry(w, hybrid_iterator_previous(w->it));
    default:
        w->at = stands ? place_after(w, w->at, 1) : NAMES;
        return expect_entry(w, hybrid_iterator_next(w->it));
    }
}

static void begin_walk(struct walk *w, struct random *random)
{
    memcpy(w->seen, now, sizeof now);
    w->at = NAMES;
    if (random_below(random, 3) == 0)
        ck_assert_ptr_nonnull(w->snapshot = hybrid_snapshot_create(db)); /* an iterator comes later */
    else
        must(hybrid_iterator_create(db, NULL, slice_of("\1"), slice_of("\2"), false, &w->it));
}

static void end_walk(struct walk *w)
{
    hybrid_iterator_destroy(w->it);
    hybrid_snapshot_destroy(db, w->snapshot);
    *w = (struct walk){0};
}

static void change_names(struct random *random)
{
    struct batch batch = {0};
    uint8_t bytes[VALUE_MAX];
    for (uint64_t changes = 1 + random_below(random, 4); changes > 0; changes--) {
        unsigned place = (unsigned)random_below(random, NAMES);
        char text[40], behind[40];
        plsm_slice key = name_of(sorted[place], text), none = slice(NULL, 0);
        bool put_it = random_below(random, 2);
        now[place] = put_it ? ++round_of_all : 0;
        if (put_it) {
            must(batch_add(&batch, BATCH_PUT, HYBRID_NAMES, slice(text + 1, key.size - 1), slice("meta", 4),
                           value_of(sorted[place], round_of_all, bytes)));
        } else if (random_below(random, 8) == 0 && place + 3 < NAMES) {
            plsm_slice to = name_of(sorted[place + 3], behind);
            now[place + 1] = now[place + 2] = 0;
            must(batch_add(&batch, BATCH_DELETE_RANGE, HYBRID_NAMES, slice(text + 1, key.size - 1), none,
                           slice(behind, to.size)));
        } else {
            must(batch_add(&batch, BATCH_DELETE, HYBRID_NAMES, slice(text + 1, key.size - 1), none, none));
        }
    }
    must(hybrid_write(db, &batch, NULL, NULL, HYBRID_LOGGED));
    batch_free(&batch);
}

START_TEST(iterators_see_their_moment)
{
    struct random random;
    unsigned kept = 0;
    random_seed(&random, seed);
    memset(now, 0, sizeof now);
    for (unsigned i = 0; i < NAMES; i++)
        sorted[i] = i;
    qsort(sorted, NAMES, sizeof sorted[0], compare_names);
    start();
    for (unsigned step = 0; step < STEPS; step++) {
        struct walk *w = &walks[random_below(&random, WALKS)];
        uint64_t choice = random_below(&random, 200);
        if (choice < 50)
            change_names(&random);
        else if (choice == 50)
            must(random_below(&random, 2) ? hybrid_flush(db) : hybrid_compact(db));
        else if (choice == 51)
            list_much();
        else if (choice == 52 && random_below(&random, 2))
            name_order_forget(db, 0);
        else if (choice < 56)
            end_walk(w);
        else if (w->it)
            move(w, &random);
        else if (w->snapshot && random_below(&random, 32) == 0)
            must(hybrid_iterator_create(db, w->snapshot, slice_of("\1"), slice_of("\2"), false, &w->it));
        else if (!w->snapshot)
            begin_walk(w, &random);
        kept += db->name_order.keys.tree != NULL;
        if (step % 3000 == 2999) {
            for (unsigned i = 0; i < WALKS; i++)
                end_walk(&walks[i]);
            change_names(&random);
            ck_assert(!db->name_order.keys.tree || key_tree_check(db->name_order.keys.tree));
        }
    }
    ck_assert_msg(kept > STEPS / 4 && kept < STEPS, "seed %llu: in order for %u of %u steps", (unsigned long long)seed,
                  kept, (unsigned)STEPS);
    stop();
}
END_TEST

static void add_number(struct batch *batch, enum batch_kind kind, unsigned number)
{
    char text[40];
    plsm_slice key = name_of(number, text), none = slice(NULL, 0);
    must(batch_add(batch, kind, HYBRID_NAMES, slice(text + 1, key.size - 1), none, none));
}

/* What has died goes from the order, as soon as no snapshot can ask for it. */
START_TEST(the_dead_go)
{
    start();
    for (unsigned i = 0; i < KEYS; i++)
        put_number(i, 0);
    struct hybrid_snapshot *before = hybrid_snapshot_create(db);
    delete_number(0);
    list_much();
    ck_assert_uint_eq(count_names(NULL, "\1", "\2"), KEYS - 1);
    ck_assert_uint_eq(count_names(before, "\1", "\2"), KEYS); /* by a listing */
    hybrid_snapshot_destroy(db, before);
    put_number(0, 0);
    struct hybrid_snapshot *snapshot = hybrid_snapshot_create(db);
    for (unsigned i = 0; i < KEYS; i++)
        delete_number(i);
    ck_assert_uint_eq(count_names(NULL, "\1", "\2"), 0);
    ck_assert_uint_eq(count_names(snapshot, "\1", "\2"), KEYS);
    ck_assert_uint_eq(key_tree_count(db->name_order.keys.tree), KEYS);
    hybrid_snapshot_destroy(db, snapshot);
    const struct key_order *keys = &db->name_order.keys;
    for (unsigned i = 0; i < KEYS / 32; i++) {
        put_number(i, 1);
        ck_assert_uint_le(keys->dead_done, keys->dead.size / 2);
    }
    ck_assert_uint_eq(key_tree_count(keys->tree), KEYS / 32);
    ck_assert_uint_eq(count_names(NULL, "\1", "\2"), KEYS / 32);
    struct batch batch = {0};
    for (unsigned i = 0; i < KEYS; i++)
        put_number(i, 2);
    for (unsigned i = 0; i < KEYS; i++)
        add_number(&batch, BATCH_DELETE, i);
    must(hybrid_write(db, &batch, NULL, NULL, HYBRID_LOGGED));
    batch_free(&batch);
    ck_assert_uint_eq(key_tree_count(keys->tree), 0);
    stop();
}
END_TEST

static uint64_t kept_names(void)
{
    mutex_lock(&db->write_lock);
    uint64_t count = key_tree_count(db->name_order.keys.tree);
    mutex_unlock(&db->write_lock);
    return count;
}

/* Names die while a snapshot is there, and what says so leaves the memory. */
static void let_die(void)
{
    for (unsigned i = 0; i < KEYS; i++)
        put_number(i, 0);
    list_much();
    ck_assert_uint_eq(count_names(NULL, "\1", "\2"), KEYS);
    struct hybrid_snapshot *snapshot = hybrid_snapshot_create(db);
    for (unsigned i = 0; i < KEYS; i++)
        delete_number(i);
    for (unsigned round = 0; round < 10; round++) {
        for (unsigned i = KEYS; i < KEYS + KEYS / 2; i++)
            put_number(i, round);
        must(hybrid_flush(db)); /* each round is appended */
    }
    ck_assert_uint_eq(kept_names(), KEYS + KEYS / 2);
    hybrid_snapshot_destroy(db, snapshot);
}

/* What has died and is on disk is not read for by writers. */
START_TEST(the_dead_on_disk_wait)
{
    start();
    let_die();
    uint64_t head = address_of(&db->head), begin = address_of(&db->begin);
    ck_assert_uint_gt(head, begin);
    mutex_lock(&db->write_lock);
    epoch_enter(db->epoch);
    uint64_t reads = counted(&db->counters.cache_misses);
    key_order_drop_dead(db, &db->name_order.keys, UINT64_MAX, false);
    epoch_exit(db->epoch);
    mutex_unlock(&db->write_lock);
    ck_assert_uint_eq(counted(&db->counters.cache_misses), reads);
    ck_assert_uint_eq(kept_names(), KEYS + KEYS / 2);
    unsigned pieces = 1;
    while (key_order_drain(db, &db->name_order.keys))
        pieces++;
    ck_assert_uint_gt(pieces, KEYS / 500);
    ck_assert_uint_eq(kept_names(), KEYS / 2);
    ck_assert_uint_gt(counted(&db->counters.cache_misses), reads);
    ck_assert_uint_eq(count_names(NULL, "\1", "\2"), KEYS / 2);
    stop();
}
END_TEST

/* They go although nobody writes any more. */
START_TEST(the_dead_go_in_the_background)
{
    enum { TRIES = 500, WAIT_NS = 10000000 };
    char *directory = temporary_create(), path[4200];
    snprintf(path, sizeof path, "%s/store", directory);
    struct hybrid_options options = options_of(env_posix());
    options.background = true;
    must(hybrid_open(path, &options, &db));
    let_die();
    for (unsigned i = 0; i < TRIES && kept_names() > KEYS / 2; i++)
        env_sleep_ns(env_posix(), WAIT_NS);
    ck_assert_uint_eq(kept_names(), KEYS / 2);
    must(hybrid_check(db, NULL, NULL, NULL));
    must(hybrid_close(db));
    temporary_destroy(directory);
}
END_TEST

static struct env_ops deleting_ops;
static plsm_status (*read_before)(struct env_file *file, uint64_t offset, void *data, size_t size, size_t *got);
static bool deleted;
enum { DIE = 100 };

static plsm_status delete_and_read(struct env_file *file, uint64_t offset, void *data, size_t size, size_t *got)
{
    if (!deleted) {
        deleted = true;
        for (unsigned i = 0; i < DIE; i++)
            put_number(KEYS + i, 0);
        for (unsigned i = 0; i < DIE; i++) {
            delete_number(i);
            delete_number(KEYS + i);
        }
    }
    return read_before(file, offset, data, size, got);
}

/* So does what dies while the order is made. */
START_TEST(the_dead_go_meanwhile)
{
    start();
    for (unsigned i = 0; i < KEYS; i++)
        put_number(i, 0);
    reopen(); /* now it is in files */
    db->recovery_bytes = UINT64_MAX;
    db->options.garbage_ppm = 1000000; /* both would wait for this reader */
    deleting_ops = *env->ops;
    read_before = deleting_ops.read;
    deleting_ops.read = delete_and_read;
    env->ops = &deleting_ops;
    deleted = false;
    list_much();
    ck_assert_uint_eq(count_names(NULL, "\1dir1/", "\1dir1/key2"), 157);
    ck_assert(deleted && in_order());
    for (unsigned i = DIE; i < 2 * DIE; i++)
        put_number(i, 1);
    ck_assert_uint_eq(key_tree_count(db->name_order.keys.tree), KEYS - DIE);
    ck_assert_uint_eq(count_names(NULL, "\1", "\2"), KEYS - DIE);
    stop();
}
END_TEST

/* --- threads ------------------------------------------------------------------------------------------------------ */

enum { MOVING = 200, MOVES = 4000, LISTERS = 3 };
static atomic_bool done;

static void list_beside(void *arg)
{
    for (unsigned i = 0; !atomic_load(&done); i++) {
        ck_assert_uint_eq(count_names(NULL, "\1", "\2"), MOVING);
        list_much();
        if (arg && i % 8 == 0)
            name_order_forget(db, 0);
    }
}

/* Whoever lists while each name becomes another one, in a step, sees one of the two. */
START_TEST(nobody_misses_a_name)
{
    struct env_thread *threads[LISTERS];
    char *directory = temporary_create(), path[4200];
    unsigned names[MOVING];
    snprintf(path, sizeof path, "%s/store", directory);
    struct hybrid_options options = options_of(env_posix());
    options.background = true;
    must(hybrid_open(path, &options, &db));
    for (unsigned i = 0; i < MOVING; i++)
        put_number(names[i] = i, 0);
    atomic_store(&done, false);
    for (uintptr_t i = 0; i < LISTERS; i++)
        must(env_thread_start(env_posix(), list_beside, (void *)i, &threads[i]));
    for (unsigned i = 0; i < MOVES; i++) {
        struct batch batch = {0};
        unsigned *name = &names[i * 7 % MOVING];
        add_number(&batch, BATCH_DELETE, *name);
        *name = (*name + MOVING) % (5 * MOVING);
        add_number(&batch, BATCH_PUT, *name);
        must(hybrid_write(db, &batch, NULL, NULL, HYBRID_LOGGED));
        batch_free(&batch);
    }
    atomic_store(&done, true);
    for (unsigned i = 0; i < LISTERS; i++)
        env_thread_join(threads[i]);
    must(hybrid_check(db, NULL, NULL, NULL));
    must(hybrid_close(db));
    temporary_destroy(directory);
}
END_TEST

int main(void)
{
    seed = env_now_ns(env_posix());
    printf("seed %llu\n", (unsigned long long)seed);
    const TTest *const tests[] = {
        directories_in_turn,   long_ways_leave_the_order,     dear_ways_leave_the_order,  small_memories_go_without,
        excess_passes,         moments_before_do_not_count,   iterators_see_their_moment, the_dead_go,
        the_dead_on_disk_wait, the_dead_go_in_the_background, the_dead_go_meanwhile,      nobody_misses_a_name};
    return run_tests("hybrid_name_order", tests, sizeof tests / sizeof tests[0]);
}
