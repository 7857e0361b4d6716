/* The hybrid log by itself: many keys at once, batches in place, what listings and the index take of the memory. */
#include "base/random.h"
#include "log/hybrid_private.h"
#include "tests/log/hybrid_fixture.h"

#include "base/banned.h"

static uint64_t seed;

/* Whatever the size and the alignment of what they come from: all bytes and zeros up to a whole word, and no more. */
START_TEST(words_are_whole)
{
    enum { MOST = 200 };
    uint8_t from[MOST + 8];
    _Alignas(8) uint8_t room[MOST + 24], back[MOST + 24];
    for (size_t i = 0; i < sizeof from; i++)
        from[i] = (uint8_t)(i * 37 + 1);
    for (size_t size = 0; size <= MOST; size++)
        for (size_t shift = 0; shift < 8; shift++) {
            size_t whole = round_8(size);
            memset(room, 0xee, sizeof room);
            memset(back, 0xdd, sizeof back);
            words_write(room, from + shift, size);
            ck_assert(bytes_equal(room, from + shift, size));
            for (size_t i = size; i < sizeof room; i++)
                ck_assert_uint_eq(room[i], i < whole ? 0 : 0xee);
            words_read(back, room, whole);
            ck_assert(bytes_equal(back, room, whole));
            for (size_t i = whole; i < sizeof back; i++)
                ck_assert_uint_eq(back[i], 0xdd);
        }
}
END_TEST

/* --- many keys ---------------------------------------------------------------------------------------------------- */

enum { MANY = 128 };
static struct hybrid_value values[MANY];

/* Asks for `count` keys from one on, in steps, at once and one by one. */
static void compare_many(const struct hybrid_snapshot *snapshot, unsigned first, unsigned step, size_t count,
                         bool no_value)
{
    char texts[MANY][40];
    plsm_slice keys[MANY] = {{0}};
    plsm_status statuses[MANY];
    for (size_t i = 0; i < count; i++)
        keys[i] = name_of(first + (unsigned)i * step, texts[i]);
    must(hybrid_multi_get(db, snapshot, keys, count, no_value, values, statuses));
    for (size_t i = 0; i < count; i++) {
        plsm_status status = hybrid_get(db, snapshot, keys[i], no_value, false, &value);
        ck_assert_int_eq(status, statuses[i]);
        ck_assert(slice_equal(value.value, values[i].value) && slice_equal(value.meta, values[i].meta));
        ck_assert_uint_eq(value.value_size, values[i].value_size);
    }
}

/* On the disk and in memory, deleted, and never there; all numbers of keys. */
START_TEST(many_at_once)
{
    start();
    for (unsigned i = 0; i < 3 * KEYS; i++)
        put_number(i, 0);
    struct hybrid_snapshot *snapshot = hybrid_snapshot_create(db);
    for (unsigned i = 0; i < 3 * KEYS; i += 3)
        put_number(i, 1);
    for (unsigned i = 0; i < 3 * KEYS; i += 5)
        delete_number(i);
    ck_assert_uint_gt(statistic_of("hybrid.address.head"), ADDRESS_FIRST);
    for (size_t count = 0; count <= MANY; count++) {
        compare_many(NULL, (unsigned)count * 70, 1, count, false);
        compare_many(NULL, (unsigned)count, 97, count, count % 2);
        compare_many(snapshot, (unsigned)count * 70, 1, count, count % 2);
    }
    hybrid_snapshot_destroy(db, snapshot);
    for (unsigned i = 0; i < MANY; i++) {
        mem_free(values[i].memory);
        values[i] = (struct hybrid_value){0};
    }
    stop();
}
END_TEST

/* --- batches in place --------------------------------------------------------------------------------------------- */

static void add_put(struct batch *batch, unsigned number, unsigned round)
{
    char text[40];
    uint8_t bytes[VALUE_MAX];
    plsm_slice key = name_of(number, text);
    must(batch_add(batch, BATCH_PUT, HYBRID_NAMES, slice(text + 1, key.size - 1), slice("meta", 4),
                   value_of(number, round, bytes)));
}

/* Values of one key are as large again 392 rounds later: such a batch takes no memory of the log, also where it has a
 * key twice, or deletes and puts it; with one key that is new it does. */
START_TEST(batches_in_place)
{
    enum { SOME = 100, SAME = VALUE_MAX - 8 };
    struct batch batch = {0};
    start();
    for (unsigned i = 0; i < SOME; i++)
        put_number(i, 0);
    uint64_t tail = statistic_of("hybrid.address.tail");
    for (unsigned i = 0; i < SOME; i++)
        add_put(&batch, i, SAME);
    add_put(&batch, 7, 2 * SAME);
    must(batch_add(&batch, BATCH_DELETE, HYBRID_NAMES, slice_of("dir1/key8"), slice(NULL, 0), slice(NULL, 0)));
    add_put(&batch, 8, 3 * SAME);
    must(batch_add(&batch, BATCH_DELETE, HYBRID_NAMES, slice_of("dir2/key9"), slice(NULL, 0), slice(NULL, 0)));
    must(hybrid_write(db, &batch, NULL, NULL, HYBRID_LOGGED));
    ck_assert_uint_eq(statistic_of("hybrid.address.tail"), tail);
    ck_assert_uint_eq(statistic_of("hybrid.changes.in_place"), SOME + 4);
    add_put(&batch, 9, 4 * SAME);
    add_put(&batch, SOME, 0);
    add_put(&batch, SOME, 1);
    must(hybrid_write(db, &batch, NULL, NULL, HYBRID_LOGGED));
    ck_assert_uint_gt(statistic_of("hybrid.address.tail"), tail);
    batch_free(&batch);
    for (unsigned pass = 0; pass < 2; pass++) {
        ck_assert_uint_eq(statistic_of("store.keys"), SOME + 1);
        for (unsigned i = 0; i < SOME; i++)
            expect(NULL, i, i == 7 ? 2 * SAME : i == 8 ? 3 * SAME : i == 9 ? 4 * SAME : SAME);
        expect(NULL, SOME, 1);
        reopen();
    }
    stop();
}
END_TEST

/* --- memory ------------------------------------------------------------------------------------------------------- */

/* The names of a directory, by an iterator of its own. */
static uint64_t count_names(const char *from, const char *to)
{
    struct hybrid_iterator *it = NULL;
    uint64_t count = 0;
    must(hybrid_iterator_create(db, NULL, slice_of(from), slice_of(to), true, &it));
    for (const struct hybrid_entry *e = hybrid_iterator_first(it); e; e = hybrid_iterator_next(it))
        count++;
    must(hybrid_iterator_status(it));
    hybrid_iterator_destroy(it);
    return count;
}

START_TEST(listings_are_shared)
{
    start();
    for (unsigned i = 0; i < 700; i++)
        put_number(i, 0);
    for (unsigned i = 0; i < 10; i++)
        ck_assert_uint_eq(count_names("\1dir1/", "\1dir10"), 100);
    ck_assert_uint_eq(statistic_of("hybrid.sorted_listings"), 1);
    ck_assert_uint_gt(statistic_of("hybrid.memory.listings"), 0);
    ck_assert_uint_eq(count_names("\1dir1/", "\1dir3"), 200); /* another range */
    ck_assert_uint_eq(statistic_of("hybrid.sorted_listings"), 2);
    struct hybrid_iterator *before = NULL;
    must(hybrid_iterator_create(db, NULL, slice_of("\1dir1/"), slice_of("\1dir3"), false, &before));
    delete_number(1);
    put_number(701, 0);
    put_number(708, 0);
    ck_assert_uint_eq(count_names("\1dir1/", "\1dir3"), 201); /* another moment: the end of the log is read */
    ck_assert_uint_eq(statistic_of("hybrid.sorted_listings"), 2);
    unsigned found = 0;
    for (const struct hybrid_entry *e = hybrid_iterator_first(before); e; e = hybrid_iterator_next(before))
        found += e->value.size >= 8 && get_u32(e->value.data) < 700;
    ck_assert_uint_eq(found, 200);
    hybrid_iterator_destroy(before);
    stop();
}
END_TEST

/* What is listed again and again, while keys come, change and go and the log is compacted, is what is there. */
START_TEST(listings_follow)
{
    enum { NAMES = 700, ROUNDS = 300, CHANGES = 20 };
    static unsigned rounds[NAMES]; /* of their values; 0: not there */
    struct random random;
    random_seed(&random, seed);
    memset(rounds, 0, sizeof rounds);
    start();
    for (unsigned round = 1; round <= ROUNDS; round++) {
        unsigned changes = (unsigned)random_below(&random, CHANGES), listed = 0, there = 0;
        for (unsigned i = 0; i < changes; i++) {
            unsigned number = (unsigned)random_below(&random, NAMES);
            bool put = random_below(&random, 3) > 0;
            rounds[number] = put ? round : 0;
            if (put)
                put_number(number, round);
            else
                delete_number(number);
        }
        if (random_below(&random, 20) == 0)
            must(random_below(&random, 2) ? hybrid_flush(db) : hybrid_compact(db));
        struct hybrid_iterator *it = NULL;
        must(hybrid_iterator_create(db, NULL, slice_of("\1dir2/"), slice_of("\1dir5"), false, &it));
        plsm_slice last = {0};
        char kept[40];
        for (const struct hybrid_entry *e = hybrid_iterator_first(it); e; e = hybrid_iterator_next(it)) {
            uint8_t bytes[VALUE_MAX];
            unsigned number = get_u32(e->value.data);
            ck_assert_msg(number < NAMES && rounds[number] > 0, "seed %llu, round %u", (unsigned long long)seed, round);
            ck_assert(slice_equal(e->value, value_of(number, rounds[number], bytes)));
            ck_assert(last.size == 0 || slice_compare(last, e->key) < 0);
            memcpy(kept, e->key.data, e->key.size);
            last = slice(kept, e->key.size);
            listed++;
        }
        must(hybrid_iterator_status(it));
        hybrid_iterator_destroy(it);
        for (unsigned number = 0; number < NAMES; number++)
            there += rounds[number] > 0 && number % 7 >= 2 && number % 7 < 5;
        ck_assert_msg(listed == there, "seed %llu, round %u: %u of %u", (unsigned long long)seed, round, listed, there);
    }
    ck_assert_uint_lt(statistic_of("hybrid.sorted_listings"), ROUNDS / 4);
    stop();
}
END_TEST

START_TEST(memory_is_shared_out)
{
    const uint64_t mib = 1 << 20;
    const struct {
        uint64_t memory, other;
        unsigned page_bits;
        uint64_t pages;
    } rows[] = {
        {64 * mib, 20 * mib, 22, 9}, /* as its comment says */
        {64 * mib, 60 * mib, 22, 4},
        {64 * mib, 80 * mib, 22, 4},
        {64 * mib, 0, 22, 14},
        {3 << 19, 0, 18, 5},
        {UINT64_C(1) << 44, 0, 22, PAGES_TABLE / 2},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        ck_assert_uint_eq(hybrid_pages_most(rows[i].memory, rows[i].other, rows[i].page_bits), rows[i].pages);
}
END_TEST

/* The index, here 2 MiB, is charged to the memory, if that is for all. */
START_TEST(the_index_is_charged)
{
    const uint64_t memory = 4 << 20, index = 2 << 20;
    for (unsigned all = 0; all < 2; all++) {
        env = env_memory_create(1);
        struct hybrid_options options = options_of(env);
        options.memory = memory;
        options.memory_of_all = all;
        must(hybrid_open("/s", &options, &db));
        for (unsigned i = 0; i < 10 * KEYS; i++)
            put_number(i, 0);
        ck_assert_uint_ge(statistic_of("hybrid.memory.index"), index);
        ck_assert_uint_eq(statistic_of("mem.budget"), all ? memory : 0);
        if (all)
            ck_assert_uint_le(statistic_of("mem.bytes"), memory);
        else
            ck_assert_uint_gt(statistic_of("mem.bytes"), memory);
        expect(NULL, 0, 0);
        expect(NULL, 10 * KEYS - 1, 0);
        stop();
    }
}
END_TEST

int main(void)
{
    seed = env_now_ns(env_posix());
    printf("seed %llu\n", (unsigned long long)seed);
    const TTest *const tests[] = {words_are_whole, many_at_once,         batches_in_place,    listings_are_shared,
                                  listings_follow, memory_is_shared_out, the_index_is_charged};
    return run_tests("hybrid_lookups", tests, sizeof tests / sizeof tests[0]);
}
