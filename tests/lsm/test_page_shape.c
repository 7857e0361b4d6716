/* Guesses about where in a page an entry is: the policy, and how often it is right; exact searches of packed pages of
 * every number of entries. */
#include <check.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/error.h"
#include "base/random.h"
#include "lsm/page.h"

#include "base/banned.h"

enum { SEED = 20261127 };

START_TEST(shapes_follow_the_number_of_entries)
{
    static const struct {
        double entries;
        unsigned entries_from, before, size;
    } rows[] = {
        {32, 112, 477, 1078}, {32.9, 112, 477, 1078}, {1, 19, 2700, 4096},   {0, 19, 2700, 4096},
        {170, 526, 207, 435}, {8, 40, 954, 2415},     {1300, 2048, 74, 149},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct page_shape shape = page_shape_of(rows[i].entries);
        ck_assert_msg(
            shape.entries_from == rows[i].entries_from && shape.before == rows[i].before && shape.size == rows[i].size,
            "%g entries: from %u, %u before, size %u", rows[i].entries, shape.entries_from, shape.before, shape.size);
    }
}
END_TEST

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* A page of `count` entries with 8-byte keys and values of `value_size` bytes. */
static void make_page(const uint64_t *keys, unsigned count, size_t value_size, struct buf *out)
{
    static const uint8_t value[4096] = {0};
    struct page_builder builder = {0};
    plsm_slice before = {0};
    uint8_t bytes[2][8];
    out->size = 0;
    for (unsigned i = 0; i < count; i++) {
        put_be64(bytes[i % 2], keys[i]);
        struct entry entry = {.key = slice(bytes[i % 2], 8), .value = slice(value, value_size), .kind = BATCH_PUT};
        size_t shared = i ? slice_common(before, entry.key) : 0;
        ck_assert(page_builder_fits(&builder, &entry, shared));
        ck_assert_int_eq(page_builder_add(&builder, &entry, key_hash(entry.key.data, 8), shared, false), PLSM_OK);
        before = entry.key;
    }
    ck_assert_int_eq(page_builder_finish(&builder, 0, out), PLSM_OK);
    page_builder_free(&builder);
}

/* Pages of random keys: the bytes of a key lie where it was guessed about 9 times of 10, and less often where a page is
 * not full. */
START_TEST(guesses_are_mostly_right)
{
    static const struct {
        unsigned count;
        size_t value_size;
    } rows[] = {{32, 110}, {16, 230}, {8, 480}, {100, 24}};
    struct random random;
    struct buf page = {0};
    random_seed(&random, SEED + (uint64_t)_i);
    unsigned asked = 0, right = 0, count = rows[_i].count;
    struct page_shape shape = page_shape_of(count);
    for (unsigned round = 0; round < 500; round++) {
        uint64_t keys[128];
        for (unsigned i = 0; i < count; i++)
            keys[i] = random_next(&random);
        qsort(keys, count, sizeof keys[0], by_number);
        make_page(keys, count, rows[_i].value_size, &page);
        for (unsigned i = 0; i < count; i++, asked++) {
            struct entry entry;
            uint8_t key[8];
            put_be64(key, keys[i]);
            unsigned within = (unsigned)(keys[i] >> 56);
            ck_assert_uint_eq(page_find(page.data, slice(key, 8), key_hash(key, 8), 0, &entry), i);
            unsigned at = shape.entries_from + (((unsigned)PAGE_SIZE - shape.entries_from) * within >> 8);
            unsigned from = at > shape.before ? at - shape.before : 0;
            size_t is = (size_t)((const uint8_t *)entry.key.data - page.data);
            right += is >= from && is + entry.key.size <= from + shape.size;
            page_fetch_likely(page.data, &shape, within);
        }
    }
    ck_assert_msg(right >= asked * 13 / 20 && right < asked, "row %d: %u of %u", _i, right, asked);
    buf_free(&page);
}
END_TEST

/* From one entry to as many as fit: each key is found in its slot, from any slot up to its own on; others are not, even
 * where their fingerprint is that of an entry. */
START_TEST(packed_pages_are_searched_exactly)
{
    struct random random;
    struct buf page = {0};
    random_seed(&random, SEED);
    for (unsigned count = 1; count <= 250; count += count < 70 ? 1 : 13) {
        uint64_t keys[250];
        for (unsigned i = 0; i < count; i++)
            keys[i] = (uint64_t)i << 32 | random_below(&random, 1000) << 1;
        make_page(keys, count, 0, &page);
        ck_assert_int_eq(page_verify(page.data, page.size, 0, true), PLSM_OK);
        for (unsigned i = 0; i < count; i++) {
            struct entry entry;
            uint8_t key[8];
            put_be64(key, keys[i]);
            uint64_t hash = key_hash(key, 8);
            for (unsigned from = 0; from <= i; from += 1 + (unsigned)random_below(&random, 9))
                ck_assert_uint_eq(page_find(page.data, slice(key, 8), hash, from, &entry), i);
            ck_assert_uint_eq(page_find(page.data, slice(key, 8), hash, i + 1, &entry), count);
            page_fetch_entry(page.data, hash);
            key[7] |= 1; /* another key, with the fingerprint of this one */
            ck_assert_uint_eq(page_find(page.data, slice(key, 8), hash, 0, &entry), count);
        }
    }
    buf_free(&page);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("page_shape");
    TCase *all = tcase_create("page_shape");
    tcase_set_timeout(all, 60);
    tcase_add_test(all, shapes_follow_the_number_of_entries);
    tcase_add_loop_test(all, guesses_are_mostly_right, 0, 4);
    tcase_add_test(all, packed_pages_are_searched_exactly);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
