/* Names in .plsm/range. */
#include <check.h>
#include <stdlib.h>

#include "fs/control_private.h"
#include "base/banned.h"

static const struct {
    const char *name, *from, *to; /* from NULL: it is none */
    bool tsv;
} ranges[] = {
    {"a..b", "a", "b", false},         {"..b", "", "b", false},       {"a..", "a", "", false},
    {"a..b.tsv", "a", "b", true},      {"...tsv", "", "", true},      {"a..b%2Etsv", "a", "b.tsv", false},
    {"a...b", "a", ".b", false},       {"a%2E..b", "a.", "b", false}, {"x%2Fy..x%2Fz", "x/y", "x/z", false},
    {"%25..%41%42", "%", "AB", false}, {"ab", NULL, NULL, false},     {"a.b", NULL, NULL, false},
    {"a%..b", NULL, NULL, false},      {"a%2..b", NULL, NULL, false}, {"a..%zz", NULL, NULL, false},
    {"a%2f..b", NULL, NULL, false},    {".tsv", NULL, NULL, false},   {"a.tsv", NULL, NULL, false},
};

START_TEST(test_ranges)
{
    struct range range;
    bool good = range_parse(slice_of(ranges[_i].name), &range);
    ck_assert_int_eq(good, ranges[_i].from != NULL);
    if (!good)
        return;
    ck_assert_int_eq(range.tsv, ranges[_i].tsv);
    ck_assert(slice_equal(slice(range.from, range.from_size), slice_of(ranges[_i].from)));
    ck_assert(slice_equal(slice(range.to, range.to_size), slice_of(ranges[_i].to)));
}
END_TEST

static const struct {
    const char *key;
    size_t size;
    const char *name;
} names[] = {
    {"a", 1, "a"},       {"a/b", 3, "a%2Fb"}, {"100%", 4, "100%25"}, {".", 1, "%2E"},
    {"..", 2, "%2E%2E"}, {"a\0", 2, "a%00"},  {"...", 3, "..."},     {"\xff", 1, "\xff"},
};

START_TEST(test_names)
{
    char name[NAME_SIZE_MAX + 1];
    size_t size = range_name(slice(names[_i].key, names[_i].size), name);
    ck_assert_uint_eq(size, strlen(names[_i].name));
    ck_assert_str_eq(name, names[_i].name);
}
END_TEST

/* Keys of every size get names that fit, and that differ where the keys do. */
START_TEST(test_long_names)
{
    static char key[PLSM_KEY_MAX];
    char name[NAME_SIZE_MAX + 1], other[NAME_SIZE_MAX + 1];
    for (int kind = 0; kind < 2; kind++) {
        memset(key, kind ? '/' : 'k', sizeof key);
        for (size_t size = 1; size < 600; size++) {
            size_t shown = range_name(slice(key, size), name);
            ck_assert(shown <= NAME_SIZE_MAX && name[shown] == 0 && strlen(name) == shown);
            ck_assert(!memchr(name, '/', shown));
            key[size - 1] ^= 1;
            range_name(slice(key, size), other);
            key[size - 1] ^= 1;
            ck_assert_str_ne(name, other);
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("control");
    TCase *tests = tcase_create("range");
    tcase_add_loop_test(tests, test_ranges, 0, sizeof ranges / sizeof ranges[0]);
    tcase_add_loop_test(tests, test_names, 0, sizeof names / sizeof names[0]);
    tcase_add_test(tests, test_long_names);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
