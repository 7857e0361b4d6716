/* Networks: never descending and in bounds for every pair of codes, whoever wrote their bytes; near their borders. */
#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/random.h"
#include "learn/network.h"
#include "learn/network_private.h"

#include "base/banned.h"

enum { SEED = 20240607, HEADER = 16, PAGE_KEYS = 33 };

/* --- borders of many shapes --- */

enum shape {
    EQUAL,       /* keys at equal distances, over all codes */
    COUNTER,     /* every code from 0 */
    COUNTER_TOP, /* every code up to the last */
    UNIFORM,     /* random codes */
    EXPONENTIAL, /* distances that grow with the code */
    CLUSTERS,    /* dense runs of keys behind each power of two */
    LUMPY,       /* clusters of all sizes and densities, with nothing in between */
    REGIONS,     /* a few random places */
    ALONE,       /* one key to a page: each code belongs to two borders */
    SHAPES
};

static const char *const shape_names[SHAPES] = {"equal",   "counter",     "counter at the top",
                                                "uniform", "exponential", "clusters",
                                                "lumpy",   "regions",     "one key to a page"};

static double random_unit(struct random *random)
{
    return (double)(random_next(random) >> 11) / 9007199254740992.0;
}

static uint64_t make_code(enum shape shape, uint64_t i, uint64_t count, struct random *random)
{
    switch (shape) {
    case EQUAL:
        return i * (UINT64_MAX / count);
    case COUNTER:
    case ALONE:
        return i;
    case COUNTER_TOP:
        return UINT64_MAX - i;
    case EXPONENTIAL: {
        uint64_t top = (uint64_t)1 << (1 + random_below(random, 62));
        return top + random_below(random, top);
    }
    case CLUSTERS:
        return ((uint64_t)1 << (i % 64)) + i / 64;
    case LUMPY: {
        uint64_t cluster = (uint64_t)(random_unit(random) * random_unit(random) * 300);
        uint64_t width = (uint64_t)1 << (20 + cluster % 30);
        return cluster * 0x9e3779b97f4a7c15u / 2 +
               (uint64_t)(random_unit(random) * random_unit(random) * (double)width);
    }
    case REGIONS:
        return (1 + random_below(random, 5)) * 0x2fffffffffffffffu + random_below(random, (uint64_t)1 << 40);
    default:
        return random_next(random);
    }
}

static int compare_codes(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

/* At most `count` borders; fewer where codes repeat. */
static struct plr_borders make_borders(enum shape shape, uint32_t count, uint64_t seed)
{
    struct random random;
    random_seed(&random, seed);
    uint64_t page = shape == ALONE ? 1 : PAGE_KEYS, keys = (count + (uint64_t)1) * page;
    uint64_t *codes = malloc(keys * sizeof *codes);
    struct plr_borders b = {malloc((count + 1) * sizeof(uint64_t)), malloc((count + 1) * sizeof(uint64_t)), 0};
    for (uint64_t i = 0; i < keys; i++)
        codes[i] = make_code(shape, i, keys, &random);
    qsort(codes, keys, sizeof *codes, compare_codes);
    for (uint64_t i = page; i < keys; i += page) {
        if (codes[i - 1] == codes[i])
            continue;
        b.low[b.count] = codes[i - 1];
        b.high[b.count++] = codes[i];
    }
    free(codes);
    return b;
}

static void free_borders(struct plr_borders *b)
{
    free(b->low);
    free(b->high);
}

/* --- networks --- */

static struct network parse(const struct buf *bytes)
{
    struct network net;
    const uint8_t *at = bytes->data;
    ck_assert_msg(network_parse(&at, bytes->data + bytes->size, &net) == PLSM_OK, "%s", plsm_message());
    ck_assert_ptr_eq(at, bytes->data + bytes->size);
    return net;
}

static struct network train(const struct plr_borders *borders)
{
    struct buf bytes = {0};
    ck_assert_msg(network_train(borders, &bytes) == PLSM_OK, "%s", plsm_message());
    ck_assert_uint_le(bytes.size, NETWORK_SIZE_MAX);
    struct network net = parse(&bytes);
    ck_assert_uint_eq(net.borders, borders->count);
    ck_assert_uint_le(net.units, network_units(borders->count));
    buf_free(&bytes);
    return net;
}

/* A code that is likely to show a fault: at a hinge or an end, at either end of all codes, at a border, anywhere. */
static uint64_t probe(const struct network *net, const struct plr_borders *borders, struct random *random)
{
    static const uint64_t edges[] = {0, UINT64_MAX, INT64_MAX, (uint64_t)INT64_MAX + 1, UINT32_MAX};
    uint64_t near = random_below(random, 5) - 2, choice = random_below(random, 8);
    if (net->units > 0 && choice < 3) {
        uint64_t unit = random_below(random, net->units);
        int64_t at = choice ? net->hinges[unit] : net->ends[unit];
        return ((uint64_t)at ^ (uint64_t)1 << 63) +
               (choice < 2 ? near : random_next(random) >> random_below(random, 64));
    }
    if (choice == 3)
        return edges[random_below(random, 5)] + near;
    if (choice < 6 && borders && borders->count > 0)
        return borders->high[random_below(random, borders->count)] + near;
    return random_next(random) >> random_below(random, 64);
}

/* `count` probes in order: positions never descend, stay within the bound, and both ways to evaluate agree. Sorted, all
 * pairs are covered by neighbours. */
static void check_order(const struct network *net, const struct plr_borders *borders, size_t count, uint64_t seed)
{
    struct random random;
    struct network portable = *net;
    uint64_t *codes = malloc(count * sizeof *codes), before = 0;
    network_use_portable(&portable);
    random_seed(&random, seed);
    for (size_t i = 0; i < count; i++)
        codes[i] = probe(net, borders, &random);
    codes[0] = 0;
    codes[count - 1] = UINT64_MAX;
    qsort(codes, count, sizeof *codes, compare_codes);
    for (size_t i = 0; i < count; i++) {
        uint64_t position = network_position(net, codes[i]);
        if (position < before)
            ck_abort_msg("seed %" PRIu64 ": positions descend at code %" PRIu64, seed, codes[i]);
        if (position != network_position(&portable, codes[i]))
            ck_abort_msg("seed %" PRIu64 ": two ways, two positions of code %" PRIu64, seed, codes[i]);
        before = position;
    }
    ck_assert_uint_le(before, (2 * (uint64_t)net->borders) << NETWORK_FRACTION_BITS);
    free(codes);
}

static uint32_t error_of(const struct network *net, const struct plr_borders *borders)
{
    uint32_t error = 0;
    network_error(net, borders, &error);
    return error;
}

/* --- what is trained --- */

START_TEST(positions_never_descend)
{
    static const uint32_t counts[] = {100, 16000, 60000};
    for (unsigned c = 0; c < 3; c++) {
        uint64_t seed = SEED + c * 100 + (uint64_t)_i;
        struct plr_borders borders = make_borders((enum shape)_i, counts[c], seed);
        struct network net = train(&borders);
        check_order(&net, &borders, c == 1 ? 1000000 : 100000, seed);
        network_free(&net);
        free_borders(&borders);
    }
}
END_TEST

/* The largest errors, in pages, that may come out with 16,000 borders: a little above what did when this was written.
 */
START_TEST(networks_are_near)
{
    static const uint32_t error_max[SHAPES] = {1, 1, 1, 3, 5, 3, 66, 3, 1};
    struct plr_borders borders = make_borders((enum shape)_i, 16000, SEED);
    struct network net = train(&borders);
    uint32_t error = error_of(&net, &borders);
    ck_assert_msg(error <= error_max[_i], "%s: off by %u pages", shape_names[_i], error);
    network_free(&net);
    free_borders(&borders);
}
END_TEST

START_TEST(few_borders_are_near)
{
    for (uint32_t count = 0; count <= 40; count++) {
        for (unsigned shape = 0; shape < SHAPES; shape++) {
            struct plr_borders borders = make_borders((enum shape)shape, count, SEED + count);
            struct network net = train(&borders);
            uint32_t error = error_of(&net, &borders);
            ck_assert_msg(error <= (count <= 3 ? 1 : 1 + count / 8), "%s, %u borders: off by %u", shape_names[shape],
                          count, error);
            check_order(&net, &borders, 1000, SEED + count);
            network_free(&net);
            free_borders(&borders);
        }
    }
}
END_TEST

START_TEST(one_border_anywhere_is_exact)
{
    static const uint64_t lows[] = {0, 1, 12345, INT64_MAX, UINT64_MAX - 1};
    for (unsigned i = 0; i < 5; i++) {
        uint64_t low = lows[i], high = i % 2 ? UINT64_MAX : low + 1;
        struct plr_borders borders = {&low, &high, 1};
        struct network net = train(&borders);
        ck_assert_uint_eq(network_position(&net, low), 1 << NETWORK_FRACTION_BITS);
        ck_assert_uint_eq(network_position(&net, high), 1 << NETWORK_FRACTION_BITS);
        ck_assert_uint_eq(error_of(&net, &borders), 0);
        network_free(&net);
    }
}
END_TEST

/* Borders at 0 | 1, 1 | 2, 2 | 4, 4 | 8, ... up to the last code. */
START_TEST(doubling_distances_are_followed)
{
    uint64_t low[65] = {0}, high[65] = {1};
    struct plr_borders borders = {low, high, 65};
    for (unsigned i = 1; i < 65; i++) {
        low[i] = (uint64_t)1 << (i - 1);
        high[i] = i < 64 ? low[i] * 2 : UINT64_MAX;
    }
    struct network net = train(&borders);
    ck_assert_uint_le(error_of(&net, &borders), 5);
    check_order(&net, &borders, 100000, SEED);
    network_free(&net);
}
END_TEST

START_TEST(equal_distances_take_one_unit)
{
    static const uint32_t counts[] = {2, 3, 1000, 16000, 400000};
    for (unsigned c = 0; c < 5; c++) {
        struct plr_borders borders = make_borders(c % 2 ? COUNTER : EQUAL, counts[c], SEED);
        struct network net = train(&borders);
        ck_assert_uint_le(net.units, 1);
        ck_assert_uint_le(error_of(&net, &borders), 1);
        network_free(&net);
        free_borders(&borders);
    }
}
END_TEST

START_TEST(the_error_is_that_of_all_borders)
{
    struct plr_borders borders = make_borders(LUMPY, 20000, SEED);
    struct network net = train(&borders);
    uint64_t largest = 0;
    for (uint32_t i = 0; i < borders.count; i++) {
        int64_t page = (int64_t)(i + 1) << NETWORK_FRACTION_BITS;
        int64_t low = (int64_t)network_position(&net, borders.low[i]) - page;
        int64_t high = (int64_t)network_position(&net, borders.high[i]) - page;
        uint64_t error = (uint64_t)(llabs(low) > llabs(high) ? llabs(low) : llabs(high));
        largest = error > largest ? error : largest;
    }
    uint32_t pages = error_of(&net, &borders);
    ck_assert_uint_le(largest, (uint64_t)pages << NETWORK_FRACTION_BITS);
    ck_assert_uint_gt(largest, (uint64_t)(pages - 1) << NETWORK_FRACTION_BITS);
    /* A code far off, on either side of a border. */
    uint64_t whole = borders.high[0];
    borders.high[0] = UINT64_MAX;
    ck_assert_uint_ge(error_of(&net, &borders), borders.count - pages - 2);
    borders.high[0] = whole;
    borders.low[borders.count - 1] = 0;
    ck_assert_uint_ge(error_of(&net, &borders), borders.count - pages - 2);
    network_free(&net);
    free_borders(&borders);
}
END_TEST

START_TEST(the_same_borders_give_the_same_bytes)
{
    for (unsigned shape = 0; shape < SHAPES; shape++) {
        struct plr_borders borders = make_borders((enum shape)shape, 3000, SEED);
        struct buf a = {0}, b = {0};
        ck_assert_int_eq(buf_append(&b, "before", 6), PLSM_OK); /* what is in `out` stays */
        ck_assert_int_eq(network_train(&borders, &a), PLSM_OK);
        ck_assert_int_eq(network_train(&borders, &b), PLSM_OK);
        ck_assert_int_eq(memcmp(b.data, "before", 6), 0);
        ck_assert(slice_equal(buf_slice(&a), slice(b.data + 6, b.size - 6)));
        buf_free(&a);
        buf_free(&b);
        free_borders(&borders);
    }
}
END_TEST

START_TEST(units_follow_borders)
{
    static const struct {
        uint32_t borders, expected;
    } rows[] = {{0, 8},     {1, 8},     {512, 8},   {575, 8},    {576, 9},     {2000, 31}, /* the example */
                {4032, 63}, {4095, 63}, {4096, 64}, {16000, 64}, {400000, 64}, {UINT32_MAX, 64}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        ck_assert_uint_eq(network_units(rows[i].borders), rows[i].expected);
}
END_TEST

/* --- bytes --- */

/* Parses bytes that may be damaged, copied to their very size for ASan. Refused, or lawful. */
static bool try_parse(const uint8_t *bytes, size_t size, uint64_t seed)
{
    uint8_t *copy = malloc(size + !size);
    const uint8_t *at = copy;
    struct network net;
    memcpy(copy, bytes, size);
    plsm_status status = network_parse(&at, copy + size, &net);
    ck_assert(status == PLSM_OK || status == PLSM_CORRUPT);
    ck_assert(status == PLSM_OK ? at > copy && at <= copy + size : at == copy && !net.memory);
    free(copy);
    if (status == PLSM_OK)
        check_order(&net, NULL, 300, seed);
    network_free(&net);
    return status == PLSM_OK;
}

START_TEST(damage_is_harmless)
{
    static const enum shape shapes[] = {UNIFORM, CLUSTERS, LUMPY};
    for (unsigned s = 0; s < 3; s++) {
        struct plr_borders borders = make_borders(shapes[s], 700, SEED);
        struct buf bytes = {0};
        unsigned accepted = 0;
        ck_assert_int_eq(network_train(&borders, &bytes), PLSM_OK);
        for (size_t at = 0; at < bytes.size; at++) {
            uint8_t whole = bytes.data[at];
            for (unsigned value = 0; value < 256; value++) {
                bytes.data[at] = (uint8_t)value;
                bool parsed = try_parse(bytes.data, bytes.size, SEED + value);
                accepted += parsed;
                ck_assert_msg(!parsed || value == whole || at < 5 || at >= 8, "byte %zu may not be %u", at, value);
            }
            bytes.data[at] = whole;
        }
        ck_assert_uint_gt(accepted, bytes.size); /* so that more than refusals was tried */
        for (size_t size = 0; size < bytes.size; size++)
            ck_assert(!try_parse(bytes.data, size, SEED));
        buf_free(&bytes);
        free_borders(&borders);
    }
}
END_TEST

/* Units made of any numbers that pass for numbers: every field at and around its limits. */
START_TEST(made_up_networks_are_lawful)
{
    struct random random;
    unsigned accepted = 0;
    random_seed(&random, SEED);
    for (unsigned i = 0; i < 30000; i++) {
        struct buf bytes = {0};
        uint8_t header[HEADER] = {0}, unit[5];
        uint64_t units = random_below(&random, random_below(&random, 2) ? 66 : 4);
        put_u32(header, (uint32_t)(random_next(&random) >> random_below(&random, 64)));
        header[4] = (uint8_t)units;
        put_u64(header + 8, random_next(&random) >> random_below(&random, 64));
        ck_assert_int_eq(buf_append(&bytes, header, sizeof header), PLSM_OK);
        for (; units > 0; units--) {
            unit[0] = (uint8_t)random_below(&random, 65);
            put_u32(unit + 1, (uint32_t)random_next(&random));
            unit[4] = (uint8_t)random_below(&random, 66);
            ck_assert_int_eq(buf_append(&bytes, unit, sizeof unit), PLSM_OK);
            for (int number = 0; number < 2; number++)
                ck_assert_int_eq(buf_append_varint(&bytes, random_next(&random) >> random_below(&random, 64)), PLSM_OK);
        }
        accepted += try_parse(bytes.data, bytes.size, SEED + i);
        buf_free(&bytes);
    }
    ck_assert_msg(accepted > 1000, "only %u of them were networks", accepted);
}
END_TEST

START_TEST(a_run_ends_with_the_last_code)
{
    uint8_t bytes[HEADER + 5 + 10 + 10] = {100, [4] = 1}, *at = bytes + HEADER;
    put_u32(at + 1, 3 << 20); /* three pages for a code */
    at = put_varint(put_varint(at + 5, 1000), UINT64_MAX - 10);
    struct buf all = {bytes, (size_t)(at - bytes), 0};
    struct network net = parse(&all);
    ck_assert_uint_eq(network_position(&net, UINT64_MAX - 10), 0);
    ck_assert_uint_eq(network_position(&net, UINT64_MAX - 1), 27 << NETWORK_FRACTION_BITS);
    ck_assert_uint_eq(network_position(&net, UINT64_MAX), 30 << NETWORK_FRACTION_BITS);
    check_order(&net, NULL, 1000, SEED);
    network_free(&net);
    /* On a grid of 2^60 codes, 16 steps are beyond all codes. */
    bytes[HEADER] = 60;
    put_u32(bytes + HEADER + 1, 0); /* whatever it weighs */
    at = put_varint(put_varint(bytes + HEADER + 5, 15), 1);
    ck_assert(try_parse(bytes, (size_t)(at - bytes), SEED));
    at = put_varint(put_varint(bytes + HEADER + 5, 16), 1);
    ck_assert(!try_parse(bytes, (size_t)(at - bytes), SEED));
    at = put_varint(put_varint(bytes + HEADER + 5, 1), 16);
    ck_assert(!try_parse(bytes, (size_t)(at - bytes), SEED));
}
END_TEST

/* The most that fits: 64 units that each give all they can, up to the bound and one step above it. */
START_TEST(sums_do_not_overflow)
{
    uint8_t bytes[HEADER + 64 * (5 + 10 + 1)] = {0};
    uint8_t *at = bytes + HEADER;
    uint64_t each = (uint64_t)UINT32_MAX * ((1 << 24) - 1); /* just below 2^56 */
    for (unsigned i = 0; i < 64; i++) {
        put_u32(at + 1, (1 << 24) - 1);
        at = put_varint(at + 5, UINT64_MAX);
        *at++ = 0;
    }
    put_u32(bytes, UINT32_MAX);
    bytes[4] = 64;
    ck_assert(!try_parse(bytes, (size_t)(at - bytes), SEED)); /* 64 * 2^56 against a bound of 2^53 */
    for (uint8_t *unit = bytes + HEADER; unit < at; unit += 16)
        unit[4] = 10;
    uint64_t bound = (2 * (uint64_t)UINT32_MAX) << 20, bias = bound - 64 * (each >> 10);
    put_u64(bytes + 8, bias);
    ck_assert(try_parse(bytes, (size_t)(at - bytes), SEED));
    put_u64(bytes + 8, bias + 1);
    ck_assert(!try_parse(bytes, (size_t)(at - bytes), SEED));
}
END_TEST

START_TEST(failed_allocations_are_reported)
{
    struct plr_borders borders = make_borders(LUMPY, 1000, SEED);
    struct network net;
    bool done = false;
    for (uint64_t nth = 1; !done; nth++) {
        struct buf bytes = {0};
        mem_fail_at(nth);
        plsm_status status = network_train(&borders, &bytes);
        done = mem_count() < nth;
        mem_fail_at(0);
        ck_assert_int_eq(status, done ? PLSM_OK : PLSM_NO_MEMORY);
        ck_assert_uint_eq(bytes.size != 0, done);
        const uint8_t *at = bytes.data;
        if (done) {
            mem_fail_at(1);
            ck_assert_int_eq(network_parse(&at, bytes.data + bytes.size, &net), PLSM_NO_MEMORY);
            mem_fail_at(0);
            ck_assert_ptr_eq(at, bytes.data);
        }
        buf_free(&bytes);
    }
    free_borders(&borders);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("network");
    TCase *trained = tcase_create("trained"), *safe = tcase_create("safe");
    tcase_set_timeout(trained, 240);
    tcase_set_timeout(safe, 240);
    tcase_add_loop_test(trained, positions_never_descend, 0, SHAPES);
    tcase_add_loop_test(trained, networks_are_near, 0, SHAPES);
    tcase_add_test(trained, few_borders_are_near);
    tcase_add_test(trained, one_border_anywhere_is_exact);
    tcase_add_test(trained, doubling_distances_are_followed);
    tcase_add_test(trained, equal_distances_take_one_unit);
    tcase_add_test(trained, the_error_is_that_of_all_borders);
    tcase_add_test(trained, the_same_borders_give_the_same_bytes);
    tcase_add_test(trained, units_follow_borders);
    tcase_add_test(safe, damage_is_harmless);
    tcase_add_test(safe, made_up_networks_are_lawful);
    tcase_add_test(safe, a_run_ends_with_the_last_code);
    tcase_add_test(safe, sums_do_not_overflow);
    tcase_add_test(safe, failed_allocations_are_reported);
    suite_add_tcase(suite, trained);
    suite_add_tcase(suite, safe);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
