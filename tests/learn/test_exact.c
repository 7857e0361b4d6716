/* Exact sets: the right answer for every string, whatever the numbers look like; small where numbers are dense; given
 * up on early where keys are no dense numbers. */
#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/random.h"
#include "learn/exact.h"
#include "learn/exact_build.h"
#include "learn/exact_format.h"
#include "tests/harness/key_sets.h"
#include "tests/harness/number_keys.h"

#include "base/banned.h"

enum { SEED = 20250311, KEY_MAX = 8193 };

/* --- building and asking ------------------------------------------------------------------------------------------ */

/* What a failure is told with. */
static char at_hand[300];

/* Asks for any string, on both code paths. */
static void ask(const struct exact *set, const struct key_list *keys, plsm_slice key)
{
    size_t below = key_list_below(keys, key);
    bool there = below < keys->count && slice_equal(key_list_at(keys, below), key);
    bool begins = below < keys->count && slice_starts_with(key_list_at(keys, below), key);
    struct exact portable = *set;
    exact_use_portable(&portable);
    exact_prefetch(set, key);
    if (exact_contains(set, key) != there || exact_contains(&portable, key) != there ||
        exact_has_prefix(set, key) != begins || exact_has_prefix(&portable, key) != begins) {
        struct buf text = {0};
        for (size_t i = 0; i < key.size && i < 60; i++)
            ck_assert_int_eq(buf_printf(&text, "%02x", ((const uint8_t *)key.data)[i]), PLSM_OK);
        ck_abort_msg("%s: %zu keys, string %.*s (%zu bytes), there %d, a prefix %d: answers %d %d, %d %d", at_hand,
                     keys->count, (int)text.size, (const char *)text.data, key.size, there, begins,
                     exact_contains(set, key), exact_contains(&portable, key), exact_has_prefix(set, key),
                     exact_has_prefix(&portable, key));
    }
}

/* Adds `change` to the number that `size` bytes end in, in any base: carries at the digits and letters of text. */
static void step_number(uint8_t *bytes, size_t size, int change)
{
    for (size_t i = size; i-- > 0;) {
        uint8_t old = bytes[i];
        bytes[i] = (uint8_t)(old + change);
        if (old == '9' && change > 0)
            bytes[i] = '0';
        else if (old == '0' && change < 0)
            bytes[i] = '9';
        else if (old != (change > 0 ? 0xff : 0))
            return;
    }
}

/* A string near a key: another number, another length, another alphabet, other bytes. */
static void ask_near(const struct exact *set, const struct key_list *keys, plsm_slice key, struct random *random)
{
    uint8_t bytes[KEY_MAX + 4];
    size_t size = key.size, at = random_below(random, key.size);
    memcpy(bytes, key.data, size);
    switch (random_below(random, 9)) {
    case 0:
        step_number(bytes, size, 1);
        break;
    case 1:
        step_number(bytes, size, -1);
        break;
    case 2:
        step_number(bytes, at + 1, random_below(random, 2) ? 1 : -1);
        break;
    case 3:
        bytes[at] = (uint8_t)random_next(random);
        break;
    case 4:
        size = at;
        break;
    case 5:
        bytes[size++] = (uint8_t)(random_below(random, 2) ? 0 : '0' + random_below(random, 10));
        break;
    case 6: /* between the alphabets */
        bytes[at] = (uint8_t) "09:/afAF`@gG\xff"[random_below(random, 14)];
        break;
    case 7: /* the other case */
        for (size_t i = 0; i < size; i++)
            if ((bytes[i] >= 'a' && bytes[i] <= 'f') || (bytes[i] >= 'A' && bytes[i] <= 'F'))
                bytes[i] ^= 0x20;
        break;
    default:
        memmove(bytes + at, bytes + at + 1, size - at - 1);
        size--;
        break;
    }
    ask(set, keys, slice(bytes, size));
}

/* Builds, and compares answers for all keys and `rounds` strings near each with those of the sorted array. */
static bool check(struct key_list *keys, unsigned rounds, uint64_t seed)
{
    struct random random;
    struct buf bytes = {0};
    struct exact set;
    random_seed(&random, seed);
    bool built = key_list_build(keys, KEY_LIST_ANY_SIZE, &bytes);
    if (built) {
        ck_assert_msg(exact_open(buf_slice(&bytes), &set) == PLSM_OK, "%s", plsm_message());
        ck_assert_uint_eq(exact_keys(&set), keys->count);
        ck_assert_uint_eq(exact_memory(&set), bytes.size);
        for (size_t i = 0; i < keys->count; i++) {
            ask(&set, keys, key_list_at(keys, i));
            for (unsigned k = 0; k < rounds; k++)
                ask_near(&set, keys, key_list_at(keys, i), &random);
        }
        ask(&set, keys, slice(NULL, 0));
        ask(&set, keys, slice("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12));
        for (size_t size = 0; size < key_list_at(keys, 0).size; size++)
            ask(&set, keys, slice(key_list_at(keys, 0).data, size));
    }
    free(bytes.data);
    return built;
}

/* --- random sets of numbers --------------------------------------------------------------------------------------- */

/* What a random set looks like. */
struct plan {
    enum exact_alphabet alphabet;
    unsigned width, groups, prefix_min, prefix_max, suffix, per_group;
    uint64_t step, taken_of_1024, jump_of_1024;
    bool at_end, textual;
};

static uint64_t pick(struct random *random, const uint64_t *choices, size_t count)
{
    return choices[random_below(random, count)];
}

static struct plan make_plan(struct random *random)
{
    static const uint64_t steps[] = {1, 1, 1, 1, 2, 3, 10, 16, 256, 1000, 15000, 65536, UINT64_C(1) << 33};
    static const uint64_t taken[] = {1024, 1024, 1014, 1000, 920, 512, 256, 100, 16, 4};
    static const uint64_t jumps[] = {0, 0, 0, 1, 5, 30, 300};
    struct plan p = {.alphabet = (enum exact_alphabet)random_below(random, EXACT_ALPHABETS)};
    p.width = 1 + (unsigned)random_below(random, exact_width_max(p.alphabet));
    p.groups = random_below(random, 3) ? 1 : 1 + (unsigned)random_below(random, 60);
    p.prefix_min = (unsigned)random_below(random, 4);
    p.prefix_max = p.prefix_min + (random_below(random, 2) ? 0 : (unsigned)random_below(random, 30));
    p.suffix = random_below(random, 3) ? 0 : (unsigned)random_below(random, 20);
    p.per_group = 1 + (unsigned)random_below(random, p.groups > 1 ? 200 : 3000);
    p.step = pick(random, steps, sizeof steps / sizeof *steps);
    p.taken_of_1024 = pick(random, taken, sizeof taken / sizeof *taken);
    p.jump_of_1024 = pick(random, jumps, sizeof jumps / sizeof *jumps);
    p.at_end = random_below(random, 4) == 0;
    p.textual = random_below(random, 2);
    return p;
}

/* The largest number with so many digits. */
static uint64_t number_max(enum exact_alphabet alphabet, unsigned width)
{
    uint64_t base = alphabet == EXACT_BINARY ? 256 : alphabet == EXACT_DECIMAL ? 10 : 16, max = 0;
    for (unsigned i = 0; i < width; i++)
        max = max * base + base - 1;
    return max;
}

static void make_group(const struct plan *p, struct random *random, const uint8_t *prefix, size_t prefix_size,
                       const uint8_t *suffix, struct key_list *keys)
{
    uint8_t key[100];
    uint64_t max = number_max(p->alphabet, p->width);
    uint64_t number = random_below(random, 3) ? random_below(random, max / 2 + 1) : 0;
    if (p->at_end) /* so that it reaches the largest number there is */
        number = max - (max / p->step < p->per_group ? max / p->step : p->per_group) * p->step;
    memcpy(key, prefix, prefix_size);
    memcpy(key + prefix_size + p->width, suffix, p->suffix);
    for (unsigned i = 0; i <= p->per_group; i++) {
        if (random_below(random, 1024) < p->taken_of_1024 || i == 0) {
            exact_write_number(p->alphabet, p->width, number, key + prefix_size);
            key_list_add(keys, slice(key, prefix_size + p->width + p->suffix));
        }
        uint64_t ahead = p->step;
        if (random_below(random, 1024) < p->jump_of_1024)
            ahead += random_below(random, UINT64_C(1) << random_below(random, 50));
        if (ahead > max - number)
            break;
        number += ahead;
    }
}

static void make_keys(const struct plan *p, struct random *random, struct key_list *keys)
{
    uint8_t prefix[40], suffix[20];
    size_t size = 0;
    for (unsigned i = 0; i < p->suffix; i++)
        suffix[i] = (uint8_t)(p->textual ? "./-_a9F"[random_below(random, 7)] : (int)random_next(random));
    for (unsigned group = 0; group < p->groups; group++) {
        /* Some prefixes go on from the one before, so that one is a prefix of the other. */
        size_t from = random_below(random, 3) ? 0 : size;
        size = p->prefix_min + random_below(random, p->prefix_max - p->prefix_min + 1);
        for (size_t i = from < size ? from : 0; i < size; i++)
            prefix[i] = (uint8_t)(p->textual ? "cpu.09/aFz"[random_below(random, 10)] : (int)random_next(random));
        make_group(p, random, prefix, size, suffix, keys);
    }
    key_list_sort(keys);
}

START_TEST(all_answers_are_right)
{
    enum { ROUNDS = 250 };
    unsigned built = 0;
    for (uint64_t round = 0; round < ROUNDS; round++) {
        struct random random;
        struct key_list keys = {0};
        uint64_t seed = SEED + (uint64_t)_i * ROUNDS + round;
        random_seed(&random, seed);
        struct plan p = make_plan(&random);
        make_keys(&p, &random, &keys);
        snprintf(at_hand, sizeof at_hand,
                 "seed %" PRIu64 ", alphabet %d, width %u, groups %u, prefixes %u-%u, suffix %u, step %" PRIu64
                 ", taken %" PRIu64 ", jumps %" PRIu64,
                 seed, (int)p.alphabet, p.width, p.groups, p.prefix_min, p.prefix_max, p.suffix, p.step,
                 p.taken_of_1024, p.jump_of_1024);
        built += check(&keys, keys.count > 1000 ? 4 : 12, seed);
        key_list_free(&keys);
    }
    ck_assert_msg(built >= ROUNDS * 95 / 100, "only %u of %d sets were built", built, ROUNDS);
}
END_TEST

/* --- what sets cost --- */

START_TEST(dense_numbers_are_cheap)
{
    static const struct {
        enum number_shape shape;
        const char *alphabet;
        double bits; /* a key at most */
    } rows[] = {
        {NUMBERS_COUNTERS, "binary", 0.01},      {NUMBERS_MISSING_1, "binary", 0.12},
        {NUMBERS_MISSING_10, "binary", 0.75},    {NUMBERS_MISSING_75, "binary", 4.1},
        {NUMBERS_DECIMALS, "decimal", 0.01},     {NUMBERS_FILE_NAMES, "decimal", 0.01},
        {NUMBERS_HEX_LOWER, "hex", 0.01},        {NUMBERS_HEX_UPPER, "HEX", 0.01},
        {NUMBERS_EVERY_15000TH, "binary", 0.01}, {NUMBERS_SERIES, "binary", 0.5},
        {NUMBERS_SERIES_TEXT, "decimal", 0.75},  {NUMBERS_SERIES_MARKED, "binary", 0.5},
        {NUMBERS_CLUSTERS, "binary", 1.9},       {NUMBERS_COUNTERS_HALF_DENSE, "binary", 3.7},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct key_list keys = {0};
        struct buf bytes = {0};
        struct exact set;
        struct exact_info info;
        key_list_fill(&keys, rows[i].shape, 100000, SEED);
        ck_assert_msg(key_list_build(&keys, 9, &bytes), "row %zu: not built", i);
        ck_assert_msg(exact_open(buf_slice(&bytes), &set) == PLSM_OK, "row %zu: %s", i, plsm_message());
        exact_get_info(&set, &info);
        double bits = (double)bytes.size * 8 / (double)keys.count;
        ck_assert_msg(bits <= rows[i].bits, "row %zu: %.3f bits a key", i, bits);
        ck_assert_str_eq(info.alphabet, rows[i].alphabet);
        ck_assert_uint_eq(info.progressions + info.bitmaps + info.coded, set.segments);
        free(bytes.data);
        key_list_free(&keys);
        key_list_fill(&keys, rows[i].shape, 8000, SEED);
        ck_assert_msg(check(&keys, 2, SEED + i), "row %zu: not built", i);
        key_list_free(&keys);
    }
}
END_TEST

/* What a check of all numbers in order finds, one by one or together, is what lookups do: also where a hint that is
 * wrong misleads some of them in the middle of a segment. */
START_TEST(hints_are_checked)
{
    enum { RUNS = 40, NUMBERS = 400, ROUNDS = 150 };
    struct random random;
    unsigned misled = 0;
    uint64_t together = 0;
    random_seed(&random, SEED + (uint64_t)_i);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct key_list keys = {0};
        struct buf bytes = {0};
        struct exact set;
        uint64_t number = 1000, from = number, key = 0;
        for (unsigned run = 0; run < RUNS; run++, number += 300 + random_below(&random, NUMBERS))
            for (uint64_t n = 300 + random_below(&random, NUMBERS); n > 0; n--) {
                put_be64(&key, number++);
                key_list_add(&keys, slice(&key, sizeof key));
            }
        ck_assert(key_list_build(&keys, KEY_LIST_ANY_SIZE, &bytes));
        ck_assert_int_eq(exact_open(buf_slice(&bytes), &set), PLSM_OK);
        ck_assert_uint_gt(set.hint_buckets, 1);
        for (uint32_t i = 1; i < set.hint_buckets; i++) {
            uint8_t *hint = (uint8_t *)(uintptr_t)set.hints + (size_t)4 * i;
            uint32_t right = get_u32(hint);
            if (right == get_u32(hint + 4))
                continue;
            put_u32(hint, right + 1);
            struct exact_look look = {0}, even = {0};
            for (uint64_t n = from, held = 0; n < number; n += held ? held : 1) {
                held = exact_group_holds_even(&set, 0, n, 1, 2 + random_below(&random, NUMBERS), &even);
                for (uint64_t k = 0; k < held; k++)
                    if (!exact_group_holds(&set, 0, n + k))
                        ck_abort_msg("bucket %u, number %" PRIu64 ": said to be there", i, n + k);
                together += held;
            }
            for (uint64_t n = from; n < number; n++) {
                bool holds = exact_group_holds(&set, 0, n);
                put_u32(hint, right);
                misled += exact_group_holds(&set, 0, n) && !holds;
                put_u32(hint, right + 1);
                if (exact_group_holds_next(&set, 0, n, &look) != holds)
                    ck_abort_msg("bucket %u, number %" PRIu64 ": %d", i, n, holds);
            }
            put_u32(hint, right);
        }
        free(bytes.data);
        key_list_free(&keys);
    }
    ck_assert_uint_gt(misled, 0);
    ck_assert_uint_gt(together, 0);
}
END_TEST

/* One key below or above what the set costs decides. */
START_TEST(the_limit_holds)
{
    struct key_list keys = {0};
    struct buf bytes = {0};
    struct exact set;
    key_list_fill(&keys, NUMBERS_MISSING_75, 30000, SEED);
    ck_assert(key_list_build(&keys, KEY_LIST_ANY_SIZE, &bytes));
    double bits = (double)bytes.size * 8 / (double)keys.count;
    free(bytes.data);
    ck_assert(key_list_build(&keys, bits + 0.01, &bytes));
    ck_assert_int_eq(exact_open(buf_slice(&bytes), &set), PLSM_OK);
    free(bytes.data);
    ck_assert(!key_list_build(&keys, bits - 0.01, &bytes));
    free(bytes.data);
    ck_assert(!key_list_build(&keys, 0, &bytes));
    free(bytes.data);
    ck_assert(!key_list_build(&keys, -1, &bytes));
    free(bytes.data);
    key_list_free(&keys);
    ck_assert(!key_list_build(&keys, KEY_LIST_ANY_SIZE, &bytes)); /* no keys */
    free(bytes.data);
}
END_TEST

START_TEST(other_keys_are_given_up_on)
{
    static const enum key_shape shapes[] = {KEYS_RANDOM, KEYS_HEX,    KEYS_PATHS, KEYS_WORDS,
                                            KEYS_NESTED, KEYS_SERIES, KEYS_LONG,  KEYS_EDGE_BYTES};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        struct key_set *set = key_set_create(shapes[s], 20000, 20, SEED);
        struct exact_builder *b = exact_builder_create(10);
        struct buf out = {0};
        bool built = true;
        size_t last = 0;
        for (size_t i = 0; i < set->count; i++) {
            if (exact_builder_add(b, set->keys[i], i ? slice_common(set->keys[i - 1], set->keys[i]) : 0) != PLSM_OK)
                ck_abort_msg("%s: %s", key_shape_name(shapes[s]), plsm_message());
            last = exact_builder_alive(b) ? i : last;
        }
        ck_assert_msg(last < 3000, "%s: alive for %zu keys", key_shape_name(shapes[s]), last);
        ck_assert_int_eq(exact_builder_add(b, set->keys[0], 0), PLSM_OK); /* it does not look at keys any more */
        ck_assert_int_eq(exact_builder_finish(b, &out, &built), PLSM_OK);
        ck_assert(!built && out.size == 0);
        exact_builder_destroy(b);
        key_set_destroy(set);
    }
    exact_builder_destroy(NULL);
}
END_TEST

/* What looked like digits of the number in the first thousands of keys belongs to a prefix. */
START_TEST(numbers_turn_out_to_be_shorter)
{
    static const struct {
        const char *prefixes[4], *format, *suffix;
        unsigned width;
    } rows[] = {
        {{"Nhost10", "Nhost2", "Nhostname"}, "%s%010u%s", "", 10},
        {{"N\x01\xf3g77", "N\x02\x81g7", "N\x03\xffgg"}, "%s%013u%s", "", 13},
        {{"Nabc", "Nbeg", "Nzzff"}, "%s%08x%s", "", 8},
        {{"N1", "N2A", "N2B", "N3_"}, "%s%08X%s", ".JPG", 8},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct key_list keys = {0};
        struct buf bytes = {0};
        struct exact set;
        for (size_t p = 0; p < 4 && rows[i].prefixes[p]; p++)
            for (unsigned n = 0; n < 3000; n++) {
                char key[80];
                int size = snprintf(key, sizeof key, rows[i].format, rows[i].prefixes[p],
                                    1700000000u + 15 * n + n / 100 * 15 + (unsigned)p, rows[i].suffix);
                key_list_add(&keys, slice(key, (size_t)size));
            }
        ck_assert_msg(check(&keys, 1, SEED), "row %zu was not built", i);
        ck_assert(key_list_build(&keys, 1, &bytes));
        ck_assert_int_eq(exact_open(buf_slice(&bytes), &set), PLSM_OK);
        ck_assert_uint_eq(set.width, rows[i].width);
        free(bytes.data);
        key_list_free(&keys);
    }
}
END_TEST

/* Whatever the keys: if something is built, it is right. */
START_TEST(keys_of_every_shape)
{
    enum key_shape shape = (enum key_shape)_i;
    struct key_set *set = key_set_create(shape, shape == KEYS_LONG ? 300 : 3000, 20, SEED);
    struct key_list keys = {0};
    for (size_t i = 0; i < set->count; i++)
        if (i == 0 || !slice_equal(set->keys[i], set->keys[i - 1]))
            key_list_add(&keys, set->keys[i]);
    bool built = check(&keys, 2, SEED);
    bool may_not_fit =
        shape == KEYS_LONG || shape == KEYS_WORDS || shape == KEYS_EDGE_BYTES || shape == KEYS_MIXED_SPACES;
    ck_assert_msg(built || may_not_fit, "%s: not built", key_shape_name(shape));
    key_list_free(&keys);
    key_set_destroy(set);
}
END_TEST

/* --- edges -------------------------------------------------------------------------------------------------------- */

START_TEST(few_keys)
{
    static uint8_t longest[KEY_MAX];
    const plsm_slice sets[][4] = {
        {slice("a", 1)},
        {slice("\0", 1), slice("\xff", 1)},
        {slice("0", 1), slice("9", 1), slice("a", 1), slice("f", 1)},
        {slice("\0\0\0\0\0\0\0\0", 8), slice("\xff\xff\xff\xff\xff\xff\xff\xff", 8)},
        {slice("\xff\xff\xff\xff\xff\xff\xff\xfe", 8), slice("\xff\xff\xff\xff\xff\xff\xff\xff", 8)},
        {slice("\xff\xff\xff\xff\xff\xff\xff\xff\xff", 9)},
        {slice("9999999999999999998", 19), slice("9999999999999999999", 19)},
        {slice("0000000000000000000", 19), slice("9999999999999999999", 19)},
        {slice("18446744073709551615", 20), slice("18446744073709551616", 20), slice("99999999999999999999", 20)},
        {slice("ffffffffffffffff", 16)},
        {slice("0000000000000000", 16), slice("ffffffffffffffff", 16)},
        {slice("00000000000000000", 17), slice("fffffffffffffffff", 17)},
        {slice("A", 1), slice("F", 1), slice("f", 1)},
        {slice("a", 1), slice("a0", 2), slice("a00", 3), slice("a1", 2)},
        {slice("a0", 2), slice("a00", 3), slice("a01", 3), slice("a1", 2)},
        {slice("x1.txt", 6), slice("x2.txt", 6), slice("y1.txt", 6)},
        {slice(longest, KEY_MAX)},
        {slice(longest, KEY_MAX - 1), slice(longest, KEY_MAX)},
    };
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        struct key_list keys = {0};
        for (size_t k = 0; k < 4 && sets[i][k].size; k++)
            key_list_add(&keys, sets[i][k]);
        ck_assert_msg(check(&keys, 300, SEED + i), "set %zu was not built", i);
        key_list_free(&keys);
    }
}
END_TEST

/* All strings of two bytes, all of one byte, and all of them but one. */
START_TEST(every_number_there_is)
{
    struct key_list keys = {0};
    for (unsigned skipped = 0; skipped < 3; skipped++) {
        unsigned size = skipped < 2 ? 2 : 1;
        for (unsigned i = 0; i < 1u << (8 * size); i++) {
            uint8_t key[2] = {(uint8_t)(size == 2 ? i >> 8 : i), (uint8_t)i};
            if (skipped != 1 || i != 0xfffe)
                key_list_add(&keys, slice(key, size));
        }
        ck_assert(check(&keys, 1, SEED));
        key_list_free(&keys);
    }
}
END_TEST

START_TEST(numbers_are_read_as_they_are_written)
{
    struct random random;
    random_seed(&random, SEED);
    for (int a = 0; a < EXACT_ALPHABETS; a++)
        for (unsigned width = 1; width <= exact_width_max(a); width++)
            for (int round = 0; round < 200; round++) {
                uint8_t key[40];
                size_t front = random_below(&random, 12);
                uint64_t number = random_next(&random), back = 0, max = number_max(a, width);
                number = round == 0 ? 0 : round == 1 ? max : max == UINT64_MAX ? number : number % (max + 1);
                memset(key, round % 2 ? 0xff : '0', sizeof key);
                exact_write_number(a, width, number, key + front);
                uint64_t mask = exact_number_mask(a, width);
                if (!exact_read_number(a, width, mask, key, front + width, &back) || back != number)
                    ck_abort_msg("alphabet %d, width %u: %" PRIu64 " became %" PRIu64, a, width, number, back);
                uint8_t *at = key + front + random_below(&random, width);
                *at = (uint8_t)random_next(&random);
                if (exact_read_number(a, width, mask, key, front + width, &back) != exact_is_digit(a, *at))
                    ck_abort_msg("alphabet %d, width %u: byte %02x", a, width, *at);
            }
}
END_TEST

START_TEST(estimates_are_as_described)
{
    static const struct {
        uint64_t count, span, bits;
    } rows[] = {{960, 1024, 424}, /* the example in exact_build.h */
                {64, 1024, 424},
                {1, 1, 0},
                {5000000, 5000000, 0},
                {500, 1000, 1000},
                {9, 10, 10},
                {10000, 10001, 31},
                {1, UINT32_MAX, 16 + 33 + 24 * (UINT32_MAX >> 14)}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t bits = exact_position_bits(rows[i].count, rows[i].span);
        ck_assert_msg(bits == rows[i].bits, "row %zu: %" PRIu64 " bits", i, bits);
    }
    /* 64 in a block: 640 positions at a tenth, so 512. */
    ck_assert_uint_eq(exact_block_log2(100, 1000), 9);
    ck_assert_uint_eq(exact_block_log2(500, 1000), EXACT_BLOCK_LOG2_MIN);
    ck_assert_uint_eq(exact_block_log2(1, UINT32_MAX), EXACT_BLOCK_LOG2_MAX);
}
END_TEST

START_TEST(the_same_keys_give_the_same_bytes)
{
    struct key_list keys = {0};
    struct buf a = {0}, b = {0};
    key_list_fill(&keys, NUMBERS_SERIES_TEXT, 20000, SEED);
    ck_assert(key_list_build(&keys, 9, &a) && key_list_build(&keys, 9, &b));
    ck_assert(slice_equal(buf_slice(&a), buf_slice(&b)));
    free(a.data);
    free(b.data);
    key_list_free(&keys);
}
END_TEST

/* Evenly spaced numbers, then others: with holes, another step, another prefix, of more digits. */
static void fill_even_and_odd(struct key_list *keys, uint64_t seed)
{
    struct random random;
    uint64_t number = 99990000, step = 10;
    random_seed(&random, seed);
    for (unsigned i = 0; i < 30000; i++) {
        char key[40];
        unsigned chance = (unsigned)random_below(&random, 2000);
        step = chance == 0 ? 1 + random_below(&random, 20) : step;
        number += chance == 1 ? random_below(&random, 1000000000) : step;
        int size = snprintf(key, sizeof key, "%s%016" PRIu64, i < 20000 ? "even" : "odd", number);
        key_list_add(keys, slice(key, (size_t)size));
    }
    key_list_sort(keys);
}

/* What is said of keys beforehand makes no difference. */
START_TEST(shared_bytes_save_time_only)
{
    for (uint64_t seed = SEED; seed < SEED + 10; seed++) {
        struct key_list keys = {0};
        struct buf told = {0}, untold = {0};
        bool built = false;
        fill_even_and_odd(&keys, seed);
        ck_assert(key_list_build(&keys, KEY_LIST_ANY_SIZE, &told));
        struct exact_builder *b = exact_builder_create(KEY_LIST_ANY_SIZE);
        for (size_t i = 0; i < keys.count; i++)
            ck_assert_int_eq(exact_builder_add(b, key_list_at(&keys, i), 0), PLSM_OK);
        ck_assert_int_eq(exact_builder_finish(b, &untold, &built), PLSM_OK);
        ck_assert(built && slice_equal(buf_slice(&told), buf_slice(&untold)));
        exact_builder_destroy(b);
        snprintf(at_hand, sizeof at_hand, "even and odd, seed %" PRIu64, seed);
        ck_assert(check(&keys, 1, seed));
        buf_free(&untold);
        free(told.data);
        key_list_free(&keys);
    }
}
END_TEST

static uint64_t last_16(plsm_slice key)
{
    char digits[17] = {0};
    memcpy(digits, (const uint8_t *)key.data + key.size - 16, 16);
    return strtoull(digits, NULL, 10);
}

/* Numbers that are found together are all there, one by one; of those without gaps most are found so. */
START_TEST(even_numbers_are_found_together)
{
    struct key_list keys = {0};
    struct buf bytes = {0};
    struct exact set;
    struct random random;
    uint64_t together = 0, group = 0;
    random_seed(&random, SEED);
    fill_even_and_odd(&keys, SEED);
    ck_assert(key_list_build(&keys, KEY_LIST_ANY_SIZE, &bytes));
    ck_assert_int_eq(exact_open(buf_slice(&bytes), &set), PLSM_OK);
    for (unsigned i = 0; i < 20000; i++) {
        struct exact_look look = {0};
        size_t at = random_below(&random, keys.count - 1);
        plsm_slice key = key_list_at(&keys, at), next = key_list_at(&keys, at + 1);
        size_t prefix = key.size - 16;
        uint64_t number = last_16(key), step = random_below(&random, 30) + 1;
        if (random_below(&random, 2) && last_16(next) > number)
            step = last_16(next) - number;
        plsm_slice rest = slice((const uint8_t *)key.data + set.common_size, prefix - set.common_size);
        uint64_t count = random_below(&random, 3000) + 2;
        ck_assert(exact_find_group(&set, rest, &group));
        uint64_t held = exact_group_holds_even(&set, group, number, step, count, &look);
        ck_assert_uint_le(held, count);
        for (uint64_t k = 0; k < held; k++)
            ck_assert(exact_group_holds(&set, group, number + k * step));
        together += held;
    }
    ck_assert_uint_gt(together, 100000);
    free(bytes.data);
    key_list_free(&keys);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("exact");
    TCase *answers = tcase_create("answers"), *sizes = tcase_create("sizes");
    printf("seed %d\n", SEED);
    tcase_set_timeout(answers, 240);
    tcase_set_timeout(sizes, 240);
    tcase_add_loop_test(answers, all_answers_are_right, 0, 4);
    tcase_add_loop_test(answers, keys_of_every_shape, 0, KEY_SHAPE_COUNT);
    tcase_add_test(answers, few_keys);
    tcase_add_test(answers, numbers_turn_out_to_be_shorter);
    tcase_add_test(answers, every_number_there_is);
    tcase_add_test(answers, numbers_are_read_as_they_are_written);
    tcase_add_test(sizes, dense_numbers_are_cheap);
    tcase_add_test(sizes, the_limit_holds);
    tcase_add_test(answers, hints_are_checked);
    tcase_add_test(answers, shared_bytes_save_time_only);
    tcase_add_test(answers, even_numbers_are_found_together);
    tcase_add_test(sizes, other_keys_are_given_up_on);
    tcase_add_test(sizes, estimates_are_as_described);
    tcase_add_test(sizes, the_same_keys_give_the_same_bytes);
    suite_add_tcase(suite, answers);
    suite_add_tcase(suite, sizes);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
