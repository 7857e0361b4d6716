/* The generated key sets of the benchmarks. Seeds are fixed. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/tools/key_table.h"
#include "tools/bench/lines.c"
#include "tools/bench/shapes.c"
#include "base/banned.h"

/* --- generated shapes -------------------------------------------------------------------------------------------- */

enum { GENERATED = 9 };
static void check_different(const char *shape, uint64_t keys, uint64_t seed)
{
    uint8_t buffer[SHAPE_KEY_MAX];
    struct shape_set *set = open_set(shape, keys, seed, NULL);
    uint64_t all = keys;
    for (int way = 0; way < SHAPE_ABSENT_COUNT; way++)
        all += shape_absent_count(set, way);
    struct table table = {.rows = calloc(all, sizeof *table.rows)};
    ck_assert_ptr_nonnull(table.rows);
    for (uint64_t i = 0; i < keys; i++)
        table_add(&table, shape_key(set, i, buffer));
    ck_assert_uint_gt(shape_absent_count(set, SHAPE_ABSENT_OTHER), 0);
    for (int way = 0; way < SHAPE_ABSENT_COUNT; way++)
        for (uint64_t i = 0; i < shape_absent_count(set, way); i++)
            table_add(&table, shape_absent(set, way, i, buffer));
    ck_assert_msg(table_repeated(&table) == 0, "%s, %llu keys, seed %llu: a key comes twice", shape,
                  (unsigned long long)keys, (unsigned long long)seed);
    free(table.rows);
    shape_close(set);
}

START_TEST(generated_keys_differ_and_absent_ones_are_not_among_them)
{
    static const uint64_t sizes[] = {1, 2, 3, 9, 10, 99, 100, 101, 999, 1000, 1001, 4096, 10000};
    for (size_t size = 0; size < sizeof sizes / sizeof *sizes; size++)
        for (uint64_t seed = 1; seed < 3; seed++)
            check_different(shapes[_i].name, sizes[size], seed);
}
END_TEST

/* The order flag says what is so; and the same is made again. */
START_TEST(generated_keys_come_in_the_order_that_is_promised)
{
    enum { KEYS = 20000 };
    const struct shape *shape = &shapes[_i];
    uint8_t last[SHAPE_KEY_MAX], buffer[SHAPE_KEY_MAX], again[SHAPE_KEY_MAX];
    struct shape_set *set = open_set(shape->name, KEYS, 5, NULL), *twin = open_set(shape->name, KEYS, 5, NULL);
    uint64_t descents = 0;
    plsm_slice before = {0};
    for (uint64_t i = 0; i < KEYS; i++) {
        plsm_slice key = shape_key(set, i, buffer);
        ck_assert(slice_equal(key, shape_key(twin, i, again)));
        descents += i > 0 && slice_compare(before, key) >= 0;
        memcpy(last, key.data, key.size);
        before = slice(last, key.size);
    }
    ck_assert_msg(shape->ordered == (descents == 0), "%s: %llu descents", shape->name, (unsigned long long)descents);
    shape_close(set);
    shape_close(twin);
}
END_TEST

/* The same keys on every machine and in every version: figures of different days can be compared. ycsb's first two are
 * known from YCSB itself, those of random and decimal from earlier benchmarks. */
START_TEST(generated_keys_stay_what_they_are)
{
    static const struct {
        const char *shape;
        uint64_t index;
        const char *key;
    } known[] = {
        {"counters", 0, "0000000000000000"},
        {"counters", 123456, "000000000001e240"},
        {"counters10", 0, "0000000000074fae"},
        {"counters10", 123456, "00000000000cf720"},
        {"counters75", 0, "0000000000102178"},
        {"counters75", 123456, "00000000000e7553"},
        {"ycsb", 0, "user6284781860667377211"},
        {"ycsb", 1, "user8517097267634966620"},
        {"ycsb", 123456, "user6192148097294465718"},
        {"random", 0, "380182a31a5a2cc43dbd5657dd5fad37"},
        {"random", 123456, "f9d064d1199dd74db20579ff81d1c459"},
        {"hex", 0, "380182a31a5a2cc43dbd5657dd5fad37"},
        {"hex", 123456, "f9d064d1199dd74db20579ff81d1c459"},
        {"series", 0, "c42c5a1aa38201380000018bd104229d"},
        {"series", 123456, "da540f30d6a16ae60000018bd0664c01"},
        {"series_jitter", 0, "c42c5a1aa38201380000018bd10422a4"},
        {"series_jitter", 123456, "da540f30d6a16ae60000018bd0664c08"},
        {"decimal", 0, "0000000000000000"},
        {"decimal", 123456, "0000000001234560"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        uint8_t buffer[SHAPE_KEY_MAX];
        char hex[2 * SHAPE_KEY_MAX + 1] = "";
        struct shape_set *set = open_set(known[i].shape, 1000000, 1, NULL);
        plsm_slice key = shape_key(set, known[i].index, buffer);
        for (size_t b = 0; b < key.size; b++)
            snprintf(hex + 2 * b, 3, "%02x", buffer[b]);
        bool is_text = slice_equal(key, slice_of(known[i].key)), is_hex = strcmp(hex, known[i].key) == 0;
        ck_assert_msg(is_text || is_hex, "%s, key %llu: %.*s %s", known[i].shape, (unsigned long long)known[i].index,
                      (int)key.size, (const char *)key.data, hex);
        shape_close(set);
    }
}
END_TEST

START_TEST(seeds_make_other_keys_where_there_is_chance)
{
    static const struct {
        const char *shape;
        bool chance;
    } shapes_of_seeds[] = {{"counters", false}, {"counters10", true}, {"counters75", true}, {"ycsb", false},
                           {"random", true},    {"hex", true},        {"series", true},     {"decimal", false}};
    for (size_t s = 0; s < sizeof shapes_of_seeds / sizeof *shapes_of_seeds; s++) {
        uint8_t one[SHAPE_KEY_MAX], two[SHAPE_KEY_MAX];
        struct shape_set *first = open_set(shapes_of_seeds[s].shape, 1000, 1, NULL);
        struct shape_set *second = open_set(shapes_of_seeds[s].shape, 1000, 2, NULL);
        unsigned same = 0;
        for (uint64_t i = 0; i < 1000; i++)
            same += slice_equal(shape_key(first, i, one), shape_key(second, i, two));
        ck_assert_msg(shapes_of_seeds[s].chance ? same < 10 : same == 1000, "%s: %u keys are the same",
                      shapes_of_seeds[s].shape, same);
        shape_close(first);
        shape_close(second);
    }
}
END_TEST

/* Numbers that are there and numbers that are missing are all numbers there are. Which are missing cannot be told from
 * coin flips: gaps are geometrically distributed (chi-squared with 39 degrees of freedom is above 86 with a chance of
 * 2e-5), and counts in blocks of numbers vary as much as they do by chance, no more and no less, whatever the size. */
START_TEST(missing_numbers_are_missing_at_random)
{
    const struct shape *shape = &shapes[1 + _i % 2];
    uint64_t keys = _i / 2 % 2 ? 400000 : 30000, seed = 11 + (uint64_t)_i / 4;
    struct shape_set *set = open_set(shape->name, keys, seed, NULL);
    uint64_t missing = shape_absent_count(set, SHAPE_ABSENT_OTHER), all = keys + missing;
    double there = (double)keys / (double)all, rare = there < 0.5 ? there : 1 - there;
    ck_assert_double_eq_tol(there, _i % 2 ? 0.25 : 0.90, 1e-4);
    uint8_t buffer[SHAPE_KEY_MAX], *is_there = calloc(1, all);
    ck_assert_ptr_nonnull(is_there);
    for (uint64_t i = 0; i < keys; i++)
        is_there[get_be64(shape_key(set, i, buffer).data)] = 1;
    uint64_t gaps[40] = {0}, gap = 0, count = 0, both = 0, neither = 0;
    for (uint64_t i = 0; i < missing; i++) {
        uint8_t *number = &is_there[get_be64(shape_absent(set, SHAPE_ABSENT_OTHER, i, buffer).data)];
        both += *number == 1;
        *number |= 2;
    }
    for (uint64_t x = 0; x < all; x++, gap++) {
        neither += is_there[x] == 0;
        if ((is_there[x] == 1) == (there < 0.5)) {
            gaps[gap < 39 ? gap : 39]++;
            count++;
            gap = (uint64_t)-1;
        }
    }
    ck_assert_uint_eq(both, 0);
    ck_assert_uint_eq(neither, 0);
    double chi_squared = 0;
    for (int g = 0; g < 40; g++) {
        double expected = (double)count * pow(1 - rare, g) * (g < 39 ? rare : 1);
        double off = (double)gaps[g] - expected;
        chi_squared += expected > 5 ? off * off / expected : 0;
    }
    ck_assert_msg(chi_squared < 86, "%s: chi-squared of the gaps %g", shape->name, chi_squared);

    for (uint64_t block = 2; block < all / 50; block *= 4) {
        double squares = 0, blocks = floor((double)all / (double)block);
        for (uint64_t b = 0; b < (uint64_t)blocks; b++) {
            uint64_t in_block = 0;
            for (uint64_t x = 0; x < block; x++)
                in_block += is_there[b * block + x] == 1;
            double off = (double)in_block - (double)block * there;
            squares += off * off;
        }
        double expected = (double)block * there * (1 - there) * (1 - (double)block / (double)all);
        double deviations = (squares / blocks / expected - 1) / sqrt(2 / blocks);
        ck_assert_msg(fabs(deviations) < 4.5, "%s, seed %llu: counts in blocks of %llu are off by %.1f deviations",
                      shape->name, (unsigned long long)seed, (unsigned long long)block, deviations);
    }
    free(is_there);
    shape_close(set);
}
END_TEST

/* --- ycsb and hex ------------------------------------------------------------------------------------------------ */

/* As YCSB's Utils.fnvhash64 has it: eight bytes, lowest first, then the absolute value. */
static uint64_t ycsb_plain(uint64_t counter)
{
    int64_t hash = (int64_t)0xcbf29ce484222325u;
    for (int i = 0; i < 8; i++, counter >>= 8)
        hash = (int64_t)(((uint64_t)hash ^ (counter & 0xff)) * 1099511628211u);
    return (uint64_t)llabs(hash);
}

START_TEST(ycsb_keys_are_those_of_ycsb)
{
    uint8_t buffer[SHAPE_KEY_MAX];
    uint64_t short_ones = 0, wrong = 0;
    for (uint64_t i = 0; i < 1000000; i++) {
        uint32_t counter = i < 300000 ? (uint32_t)i : (uint32_t)i * 0x9e3779b9u;
        char expected[40];
        plsm_slice key = ycsb_of(counter, buffer);
        uint64_t hash = ycsb_plain(counter);
        wrong += ycsb_hash(counter) != hash;
        if (i % 64 && hash >= 100000000000000000)
            continue; /* printing takes longest: the common lengths now and then, the others always */
        int size = snprintf(expected, sizeof expected, "user%llu", (unsigned long long)hash);
        wrong += !slice_equal(key, slice(expected, (size_t)size));
        short_ones += size < 4 + 17;
    }
    ck_assert_uint_eq(wrong, 0);
    ck_assert_uint_gt(short_ones, 1000);
}
END_TEST

/* Sorts numbers by their digits of 16 bits. */
static void radix_sort(uint64_t *numbers, uint64_t *scratch, size_t count)
{
    static size_t next[65537];
    for (unsigned shift = 0; shift < 64; shift += 16) {
        memset(next, 0, sizeof next);
        for (size_t i = 0; i < count; i++)
            next[(numbers[i] >> shift & 0xffff) + 1]++;
        for (int digit = 0; digit < 65536; digit++)
            next[digit + 1] += next[digit];
        for (size_t i = 0; i < count; i++)
            scratch[next[numbers[i] >> shift & 0xffff]++] = numbers[i];
        uint64_t *sorted = scratch;
        scratch = numbers;
        numbers = sorted;
    }
}

/* No two of all 2^32 counters have the same hash. Each step is a bijection for a given byte, so two hashes are equal
 * only if, behind the third byte, two states differ in their lowest byte alone. Absolute values are equal also if two
 * states are each other's negative but for the lowest byte: -(h * 256 + l) is ~h * 256 + (256 - l), or -h * 256. */
START_TEST(ycsb_hashes_of_all_counters_differ)
{
    enum { STATES = 1 << 24 };
    uint64_t *states = malloc(2 * STATES * sizeof *states);
    ck_assert_ptr_nonnull(states);
    for (uint32_t bytes = 0; bytes < STATES; bytes++) {
        uint64_t hash = 0xcbf29ce484222325u;
        for (unsigned shift = 0; shift < 24; shift += 8)
            hash = (hash ^ (bytes >> shift & 0xff)) * 1099511628211u;
        states[bytes] = hash >> 8;
    }
    radix_sort(states, states + STATES, STATES);
    const uint64_t mask = UINT64_MAX >> 8;
    uint64_t equal = 0, opposite = 0;
    for (size_t i = 0, high = STATES, higher = STATES; i < STATES; i++) {
        equal += i > 0 && states[i - 1] == states[i];
        while (high > 0 && states[high - 1] > (~states[i] & mask))
            high--;
        while (higher > 0 && states[higher - 1] > (-states[i] & mask))
            higher--;
        opposite += high > 0 && states[high - 1] == (~states[i] & mask);
        opposite += higher > 0 && states[higher - 1] == (-states[i] & mask);
    }
    ck_assert_uint_eq(equal, 0);
    ck_assert_uint_eq(opposite, 0);
    free(states);
}
END_TEST

START_TEST(digits_are_right)
{
    const uint64_t end = 10000000000000000;
    uint8_t buffer[SHAPE_KEY_MAX];
    char expected[40];
    uint64_t wrong = 0, nines = 9;
    struct random random;
    random_seed(&random, 3);
    for (int i = 0; i < 100000; i++) {
        uint64_t number = i < 20000 ? (uint64_t)i : random_below(&random, end);
        if (i % 1000 == 0) { /* around powers of ten */
            nines = nines < end / 10 ? nines * 10 + 9 : 9;
            number = nines + (uint64_t)(i / 1000 % 2);
        }
        snprintf(expected, sizeof expected, "%016llu", (unsigned long long)number);
        wrong += number < end && !slice_equal(decimal16(number, buffer), slice_of(expected));
        uint32_t bytes = (uint32_t)random_next(&random);
        snprintf(expected, sizeof expected, "%02x%02x%02x%02x", bytes & 0xff, bytes >> 8 & 0xff, bytes >> 16 & 0xff,
                 bytes >> 24);
        put_u64(buffer, hex8(bytes));
        wrong += !slice_equal(slice(buffer, 8), slice_of(expected));
    }
    ck_assert_uint_eq(wrong, 0);
}
END_TEST

/* --- series ------------------------------------------------------------------------------------------------------ */

START_TEST(series_are_what_is_written_of_them)
{
    enum { SERIES = 60 };
    bool jitter = _i == 1;
    struct shape_set *set = open_set(jitter ? "series_jitter" : "series", SERIES * 1000, 9, NULL);
    uint64_t late_ones = 0, places[101] = {0}, earliest = UINT64_MAX, latest = 0;
    ck_assert_uint_eq(shape_absent_count(set, SHAPE_ABSENT_OTHER), SERIES * 10);
    for (uint64_t s = 0; s < SERIES; s++) {
        uint8_t buffer[SHAPE_KEY_MAX], id[8];
        uint64_t begin = series_at(set, s).begin_ms, last = 0;
        earliest = begin < earliest ? begin : earliest;
        latest = begin > latest ? begin : latest;
        for (uint64_t k = 0; k < 1000; k++) {
            plsm_slice key = shape_key(set, s * 1000 + k, buffer);
            ck_assert_uint_eq(key.size, 16);
            if (k == 0)
                memcpy(id, buffer, 8);
            ck_assert_mem_eq(id, buffer, 8);
            uint64_t ms = get_be64(buffer + 8) - begin, late = ms % 15000, measurement = ms / 15000;
            ck_assert_uint_le(late, jitter ? 9 : 0);
            late_ones += late > 0;
            ck_assert(k == 0 || measurement > last);
            ck_assert(measurement == k + k / 100 || measurement == k + k / 100 + 1);
            last = measurement;
            shape_absent(set, SHAPE_ABSENT_CHANGED, s * 1000 + k, buffer);
            ck_assert_mem_eq(id, buffer, 8);
            ms = get_be64(buffer + 8) - begin;
            ck_assert_uint_eq(ms / 15000, measurement);
            ck_assert_uint_ge(ms % 15000, 10);
        }
        for (uint64_t block = 0; block < 10; block++) {
            shape_absent(set, SHAPE_ABSENT_OTHER, s * 10 + block, buffer);
            ck_assert_mem_eq(id, buffer, 8);
            uint64_t measurement = (get_be64(buffer + 8) - begin) / 15000;
            ck_assert_uint_eq(measurement / 101, block);
            places[measurement % 101]++;
        }
    }
    double chi_squared = 0, expected = SERIES * 10 / 101.0;
    for (int place = 0; place < 101; place++)
        chi_squared += ((double)places[place] - expected) * ((double)places[place] - expected) / expected;
    ck_assert_msg(chi_squared < 165, "places of the missing: chi-squared %g of 100 degrees", chi_squared);
    ck_assert_uint_eq(late_ones > 0, jitter);
    ck_assert_uint_lt(earliest - SERIES_EPOCH_MS, 86400000 / 20);
    ck_assert_uint_gt(latest - SERIES_EPOCH_MS, 86400000 / 20 * 19);
    ck_assert_uint_lt(latest - SERIES_EPOCH_MS, 86400000);
    shape_close(set);
}
END_TEST

static void check_shuffle(uint64_t keys, uint64_t seed)
{
    uint64_t in_place = 0, ascents = 0, last = 0, repeated = 0;
    struct shape_set *set = open_set("counters", keys, seed, NULL);
    uint8_t *seen = calloc(1, keys);
    ck_assert_ptr_nonnull(seen);
    for (uint64_t i = 0; i < keys; i++) {
        uint64_t index = shape_shuffled(set, i);
        if (index >= keys)
            ck_abort_msg("%llu keys: %llu is none", (unsigned long long)keys, (unsigned long long)index);
        repeated += seen[index]++ > 0;
        in_place += index == i;
        ascents += index > last;
        last = index;
    }
    ck_assert_msg(repeated == 0, "%llu keys, seed %llu: some come twice", (unsigned long long)keys,
                  (unsigned long long)seed);
    if (keys >= 1000) {
        ck_assert_uint_lt(in_place, keys / 50);
        ck_assert_uint_lt(ascents, keys * 6 / 10);
        ck_assert_uint_gt(ascents, keys * 4 / 10);
    }
    free(seen);
    shape_close(set);
}

START_TEST(shuffle_is_a_bijection)
{
    static const uint64_t more[] = {1000, 1023, 1024, 1025, 65537};
    for (uint64_t seed = 0; seed < 3; seed++) {
        for (uint64_t keys = 1; keys < 40; keys++)
            check_shuffle(keys, seed);
        for (size_t m = 0; m < sizeof more / sizeof *more; m++)
            check_shuffle(more[m], seed);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tools/shapes");
    TCase *tests = tcase_create("generated");
    tcase_add_loop_test(tests, generated_keys_differ_and_absent_ones_are_not_among_them, 0, GENERATED);
    tcase_add_loop_test(tests, generated_keys_come_in_the_order_that_is_promised, 0, GENERATED);
    tcase_add_test(tests, generated_keys_stay_what_they_are);
    tcase_add_test(tests, seeds_make_other_keys_where_there_is_chance);
    tcase_add_loop_test(tests, missing_numbers_are_missing_at_random, 0, 8);
    tcase_add_test(tests, ycsb_keys_are_those_of_ycsb);
    tcase_add_test(tests, ycsb_hashes_of_all_counters_differ);
    tcase_add_test(tests, digits_are_right);
    tcase_add_loop_test(tests, series_are_what_is_written_of_them, 0, 2);
    tcase_add_test(tests, shuffle_is_a_bijection);
    tcase_set_timeout(tests, 120);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
