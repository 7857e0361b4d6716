/* Keys as file names: the documented examples, and random keys and names both ways. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/random.h"
#include "fs/escape.h"

#include "base/banned.h"

static void check_shown(plsm_slice raw, bool in_root, bool beside, const char *expected)
{
    struct shown_name shown;
    struct raw_name back;
    escape_encode(raw, in_root, beside, &shown);
    ck_assert_str_eq(shown.bytes, expected);
    ck_assert_uint_eq(shown.raw_size, raw.size);
    ck_assert_int_eq(shown.kind, beside ? NAME_BESIDE : NAME_PLAIN);
    escape_decode(slice(shown.bytes, shown.size), in_root, &back);
    ck_assert_int_eq(back.kind, shown.kind);
    ck_assert(slice_equal(slice(back.bytes, back.size), raw));
}

START_TEST(test_examples)
{
    static const struct {
        const char *raw;
        size_t size;
        bool in_root, beside;
        const char *shown;
    } rows[] = {
        {"a", 1, true, false, "a"},
        {"100%", 4, false, false, "100%"},
        {"foo%20bar", 9, false, false, "foo%20bar"},
        {"%", 1, false, false, "%"},
        {"%25", 3, false, false, "%25"},
        {"%2F", 3, false, false, "%2F"},
        {"http:%2F%2Fx%2F", 15, false, false, "http:%2F%2Fx%2F"},
        {"a\0b", 3, false, false, "a%00b"},
        {"a%00b", 5, false, false, "a%2500b"},
        {"a%2500b", 7, false, false, "a%252500b"},
        {"%\0", 2, false, false, "%%00"},
        {"%25\0", 4, false, false, "%25%00"},
        {".", 1, false, false, "%2E"},
        {"..", 2, false, false, "%2E."},
        {"...", 3, false, false, "..."},
        {"%2E", 3, false, false, "%252E"},
        {"%252E.", 6, false, false, "%25252E."},
        {".stats", 6, true, false, "%2Estats"},
        {".stats", 6, false, false, ".stats"},
        {"%2Eplsm", 7, true, false, "%252Eplsm"},
        {"%2Eplsm", 7, false, false, "%2Eplsm"},
        {"a", 1, false, true, "a%2F."},
        {"", 0, true, true, "%2F."},
        {"a%2F.", 5, false, false, "a%252F."},
        {"a%2F.", 5, false, true, "a%252F.%2F."},
        {".", 1, false, true, "%2E%2F."},
        {"%2F%value", 9, false, false, "%252F%value"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        check_shown(slice(rows[i].raw, rows[i].size), rows[i].in_root, rows[i].beside, rows[i].shown);
    struct raw_name raw;
    escape_decode(slice_of(NAME_OF_VALUE), false, &raw);
    ck_assert_int_eq(raw.kind, NAME_VALUE);
}
END_TEST

/* Names that are not shown for any key decode to something that shows otherwise, and do not crash. */
START_TEST(test_not_canonical)
{
    static const char *const names[] = {"a%2F.%2F.", "%2F%value%2F.", "%2Estats%2F.%2F."};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct raw_name raw;
        struct shown_name shown;
        escape_decode(slice_of(names[i]), true, &raw);
        ck_assert_int_eq(raw.kind, NAME_BESIDE);
        escape_encode(slice(raw.bytes, raw.size), true, true, &shown);
        ck_assert(!slice_equal(slice(shown.bytes, shown.size), slice_of(names[i])));
    }
}
END_TEST

/* Random bytes from an alphabet in which escapes are likely. */
static size_t random_bytes(struct random *r, size_t size_max, bool zero, uint8_t *out)
{
    static const char alphabet[] = "\0%%%%0022255EF..a";
    static const char *const words[] = {"%00", "%25", "%2F.", "%2E", "%2F%value", ".stats", "%2Estats", "25", "00"};
    size_t size = 1 + random_below(r, size_max);
    for (size_t i = 0; i < size;) {
        if (random_below(r, 4) == 0) {
            const char *word = words[random_below(r, sizeof words / sizeof words[0])];
            size_t n = strlen(word) < size - i ? strlen(word) : size - i;
            memcpy(out + i, word, n);
            i += n;
        } else {
            out[i++] = (uint8_t)alphabet[!zero + random_below(r, sizeof alphabet - 1 - !zero)];
        }
    }
    return size;
}

/* Every piece of a key shows as names that can be file names, and these lead back to it. */
START_TEST(test_pieces_random)
{
    uint64_t seed = getenv("SEED") ? strtoull(getenv("SEED"), NULL, 0) : 1;
    struct random r;
    random_seed(&r, seed);
    for (int round = 0; round < 30000; round++) {
        uint8_t piece[1000];
        size_t size = random_bytes(&r, round % 8 == 0 ? 999 : round % 4 == 0 ? 260 : 12, true, piece), done = 0;
        bool in_root = random_below(&r, 2), beside = random_below(&r, 4) == 0;
        struct shown_name shown;
        do {
            bool root = in_root && done == 0;
            escape_encode(slice(piece + done, size - done), root, beside, &shown);
            ck_assert_msg(shown.size > 0 && shown.size <= NAME_SIZE_MAX && strlen(shown.bytes) == shown.size &&
                              !strchr(shown.bytes, '/') && strcmp(shown.bytes, ".") && strcmp(shown.bytes, "..") &&
                              (!root || (strcmp(shown.bytes, ".stats") && strcmp(shown.bytes, ".plsm"))),
                          "seed %llu round %d: %s", (unsigned long long)seed, round, shown.bytes);
            struct raw_name back;
            escape_decode(slice(shown.bytes, shown.size), root, &back);
            ck_assert_msg(back.kind == shown.kind && back.size == shown.raw_size &&
                              memcmp(back.bytes, piece + done, back.size) == 0,
                          "seed %llu round %d: %s", (unsigned long long)seed, round, shown.bytes);
            done += shown.raw_size;
            ck_assert(escape_cut_at(slice(piece, size), in_root, beside, done) == (shown.kind == NAME_PIECE));
        } while (done < size);
        ck_assert_int_ne(shown.kind, NAME_PIECE); /* something is left for the last name */
    }
}
END_TEST

/* A name stands for itself, or is one that is refused; no two names stand for the same key. */
START_TEST(test_names_random)
{
    uint64_t seed = getenv("SEED") ? strtoull(getenv("SEED"), NULL, 0) : 2;
    struct random r;
    random_seed(&r, seed);
    unsigned refused = 0, rounds = 100000;
    for (unsigned round = 0; round < rounds; round++) {
        uint8_t name[256];
        size_t size = random_bytes(&r, round % 4 == 0 ? 255 : 12, false, name);
        bool in_root = random_below(&r, 2);
        struct raw_name raw;
        struct shown_name shown;
        escape_decode(slice(name, size), in_root, &raw);
        if (raw.kind == NAME_VALUE || (raw.kind == NAME_PLAIN && raw.size == 0)) {
            refused++;
            continue;
        }
        escape_encode(slice(raw.bytes, raw.size), in_root, raw.kind == NAME_BESIDE, &shown);
        bool same = raw.kind == shown.kind && slice_equal(slice(shown.bytes, shown.size), slice(name, size));
        /* Plain names, which are what users type, are never refused, except those the kernel never sends. */
        bool special = (size == 1 && name[0] == '.') || (size == 2 && name[0] == '.' && name[1] == '.') ||
                       (in_root && slice_equal(slice(name, size), slice_of(".stats")));
        ck_assert_msg(same || raw.kind != NAME_PLAIN || special, "seed %llu round %u: %.*s", (unsigned long long)seed,
                      round, (int)size, (const char *)name);
        refused += !same;
    }
    ck_assert_uint_lt(refused, rounds / 4);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("escape");
    TCase *tests = tcase_create("escape");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, test_examples);
    tcase_add_test(tests, test_not_canonical);
    tcase_add_test(tests, test_pieces_random);
    tcase_add_test(tests, test_names_random);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
