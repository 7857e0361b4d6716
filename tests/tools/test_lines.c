/* The key sets of the benchmarks that come from files. Seeds are fixed. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/harness/temporary.h"
#include "tests/tools/key_table.h"
#include "tools/bench/lines.c"
#include "tools/bench/shapes.c"
#include "base/banned.h"

static char *directory;

static void make_directory(void)
{
    directory = temporary_create();
}

static void remove_directory(void)
{
    temporary_destroy(directory);
}

static void write_file(const char *name, plsm_slice content)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(content.data, 1, content.size, file), content.size);
    ck_assert_int_eq(fclose(file), 0);
}

static int compare_lines(const void *a, const void *b)
{
    return slice_compare(*(const plsm_slice *)a, *(const plsm_slice *)b);
}

/* The lines of a file that the test has written, ascending. */
struct text {
    plsm_slice *lines;
    size_t count;
    struct buf bytes;
};

/* From now on `bytes`, lines in any order, is owned by the text; they are written to the file in order. */
static struct text write_sorted(const char *name, struct buf bytes, bool end)
{
    struct text text = {.lines = calloc(bytes.size, sizeof *text.lines), .bytes = bytes};
    struct buf sorted = {0};
    const char *at = (const char *)bytes.data, *behind = at + bytes.size;
    for (const char *line_end; at < behind; at = line_end + 1) {
        line_end = memchr(at, '\n', (size_t)(behind - at));
        text.lines[text.count++] = slice(at, (size_t)(line_end - at));
    }
    qsort(text.lines, text.count, sizeof *text.lines, compare_lines);
    size_t kept = 0;
    for (size_t i = 0; i < text.count; i++)
        if (i == 0 || slice_compare(text.lines[kept - 1], text.lines[i]) != 0)
            text.lines[kept++] = text.lines[i];
    text.count = kept;
    for (size_t i = 0; i < text.count; i++) {
        buf_append(&sorted, text.lines[i].data, text.lines[i].size);
        if (i + 1 < text.count || end)
            buf_append(&sorted, "\n", 1);
    }
    write_file(name, buf_slice(&sorted));
    buf_free(&sorted);
    return text;
}

static void text_free(struct text *text)
{
    free(text->lines);
    buf_free(&text->bytes);
}

static bool text_has(const struct text *text, plsm_slice line)
{
    return bsearch(&line, text->lines, text->count, sizeof line, compare_lines) != NULL;
}

/* Syllables of Latin and Cyrillic letters. */
static struct text write_words(size_t count, bool end)
{
    static const char *const syllables[] = {"ka", "lo", "mi", "tré", "ø", "да", "ни", "что", "sch", "a"};
    struct buf bytes = {0};
    struct random random;
    random_seed(&random, 21);
    for (size_t i = 0; i < count; i++) {
        for (uint64_t length = 2 + random_below(&random, 4); length > 0; length--)
            buf_printf(&bytes, "%s", syllables[random_below(&random, 10)]);
        buf_append(&bytes, "\n", 1);
    }
    return write_sorted("words.txt", bytes, end);
}

static struct text write_paths(unsigned packages)
{
    struct buf bytes = {0};
    for (unsigned p = 0; p < packages; p++)
        for (unsigned f = 0; f < 5; f++)
            buf_printf(&bytes, "usr/share/doc/package%u/%s%u\nusr/lib/lib%u.so.%u\n", p, f % 2 ? "html/" : "", f, p, f);
    return write_sorted("paths.txt", bytes, true);
}

/* Every line of the file is a key, was left out, or is held out, and each part is in order. */
static void check_parts(const struct shape_set *set, const struct text *text)
{
    uint8_t buffer[SHAPE_KEY_MAX];
    struct table table = {.rows = calloc(text->count, sizeof *table.rows)};
    plsm_slice last = {0};
    for (uint64_t i = 0; i < shape_count(set); i++) {
        plsm_slice key = shape_key(set, i, buffer);
        ck_assert(text_has(text, key));
        ck_assert(i == 0 || slice_compare(last, key) < 0);
        table_add(&table, key);
        last = key;
    }
    for (int w = 0; w < 2; w++) {
        enum shape_absent way = w ? SHAPE_ABSENT_FOREIGN : SHAPE_ABSENT_OTHER;
        for (uint64_t i = 0; i < shape_absent_count(set, way); i++) {
            plsm_slice key = shape_absent(set, way, i, buffer);
            ck_assert(text_has(text, key));
            table_add(&table, key);
        }
    }
    ck_assert_uint_eq(table.count, text->count);
    ck_assert_uint_eq(table_repeated(&table), 0);
    free(table.rows);
}

static bool set_has(const struct shape_set *set, plsm_slice key)
{
    uint8_t buffer[SHAPE_KEY_MAX];
    for (uint64_t i = 0; i < shape_count(set); i++)
        if (slice_equal(shape_key(set, i, buffer), key))
            return true;
    return false;
}

/* How many bytes two slices share at their ends. */
static size_t common_end(plsm_slice a, plsm_slice b)
{
    const uint8_t *p = a.data, *q = b.data;
    size_t n = 0;
    while (n < a.size && n < b.size && p[a.size - 1 - n] == q[b.size - 1 - n])
        n++;
    return n;
}

/* Changed keys are not in the set and differ from theirs in one character. */
static void check_changed(const struct shape_set *set)
{
    uint8_t buffer[SHAPE_KEY_MAX], other[SHAPE_KEY_MAX];
    uint64_t odd = 0, step = 1 + shape_count(set) / 300;
    ck_assert_uint_eq(shape_absent_count(set, SHAPE_ABSENT_CHANGED), shape_count(set));
    for (uint64_t i = 0; i < shape_count(set); i += step) {
        plsm_slice key = shape_key(set, i, other), changed = shape_absent(set, SHAPE_ABSENT_CHANGED, i, buffer);
        ck_assert(!set_has(set, changed));
        size_t same = slice_common(key, changed) + common_end(key, changed);
        ck_assert_uint_gt(same, 0);
        ck_assert_uint_ge(same + 2, key.size);
        ck_assert_uint_ge(same + 3, changed.size);
        odd += memchr(changed.data, '\n', changed.size) != NULL;
    }
    ck_assert_uint_eq(odd, 0);
}

START_TEST(words_are_the_lines_of_a_file)
{
    struct text text = write_words(4000, _i != 1);
    uint64_t keys = _i == 2 ? text.count / 3 : _i == 3 ? text.count - 1 : text.count;
    struct shape_set *set = open_set("words", keys, 4, directory);
    ck_assert(shape_of(set)->ordered);
    ck_assert_uint_eq(shape_absent_count(set, SHAPE_ABSENT_OTHER), text.count - keys);
    ck_assert_uint_eq(shape_absent_count(set, SHAPE_ABSENT_FOREIGN), 0);
    check_parts(set, &text);
    check_changed(set);
    shape_close(set);
    text_free(&text);
}
END_TEST

START_TEST(changed_words_are_whole_characters)
{
    struct text text = write_words(3000, true);
    struct shape_set *set = open_set("words", text.count, 4, directory);
    for (uint64_t i = 0; i < text.count; i++) {
        uint8_t buffer[SHAPE_KEY_MAX];
        plsm_slice changed = shape_absent(set, SHAPE_ABSENT_CHANGED, i, buffer);
        for (size_t b = 0; b < changed.size; b++) { /* all letters of the file have one byte or two */
            bool two = buffer[b] >= 0xc0;
            ck_assert(two ? b + 1 < changed.size && continues(buffer[b + 1]) : buffer[b] < 0x80);
            b += two;
        }
    }
    shape_close(set);
    text_free(&text);
}
END_TEST

START_TEST(a_sample_is_the_same_again_and_another_with_another_seed)
{
    struct text text = write_words(6000, true);
    uint64_t keys = text.count / 2, same = 0, front = 0;
    uint8_t buffer[SHAPE_KEY_MAX];
    struct shape_set *set = open_set("words", keys, 4, directory), *twin = open_set("words", keys, 4, directory);
    struct shape_set *other = open_set("words", keys, 5, directory);
    for (uint64_t i = 0; i < keys; i++) {
        plsm_slice key = shape_key(set, i, buffer);
        ck_assert(slice_equal(key, shape_key(twin, i, buffer)));
        same += set_has(other, key);
        front += slice_compare(key, text.lines[text.count / 2]) < 0;
    }
    double deviation = sqrt((double)text.count) / 4; /* of hypergeometric counts */
    ck_assert_double_eq_tol((double)same, (double)keys / 2, 5 * deviation);
    ck_assert_double_eq_tol((double)front, (double)keys / 2, 5 * deviation);
    shape_close(set);
    shape_close(twin);
    shape_close(other);
    text_free(&text);
}
END_TEST

/* A tree is held out with all of its files; of 1,501 about one in 16. */
START_TEST(foreign_paths_are_of_trees_held_out)
{
    struct text text = write_paths(1500);
    uint64_t keys = _i ? 4000 : 5000;
    struct shape_set *set = open_set("paths", keys, 1 + (uint64_t)_i, directory);
    uint8_t buffer[SHAPE_KEY_MAX];
    uint64_t foreign = shape_absent_count(set, SHAPE_ABSENT_FOREIGN);
    check_parts(set, &text);
    check_changed(set);
    ck_assert_uint_eq(foreign % 5 == 0, true);
    for (uint64_t i = 0; i < foreign; i++) {
        plsm_slice tree = tree_of(shape_absent(set, SHAPE_ABSENT_FOREIGN, i, buffer));
        for (uint64_t k = 0; k < keys; k += 7)
            ck_assert(!slice_equal(tree, tree_of(shape_key(set, k, buffer))));
    }
    if (foreign < 7500) /* usr/lib, half of the files, is not among them */
        ck_assert_double_eq_tol((double)foreign / 5, 1500 / 16.0, 5 * sqrt(1500 / 16.0));
    shape_close(set);
    text_free(&text);
}
END_TEST

START_TEST(trees_are_the_first_directories_of_a_path)
{
    static const char *const paths[][2] = {
        {"usr/share/doc/bash/README", "usr/share/doc/bash"},
        {"usr/share/doc/bash/html/index.html", "usr/share/doc/bash"},
        {"usr/share/doc/README", "usr/share/doc"},
        {"usr/bin/env", "usr/bin"},
        {"init", ""},
        {"/a", ""},
        {"a/", "a"},
    };
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        ck_assert(slice_equal(tree_of(slice_of(paths[i][0])), slice_of(paths[i][1])));
}
END_TEST

/* No other character would do: what is never in a line is put in. */
START_TEST(a_change_is_found_also_where_all_letters_are_keys)
{
    write_file("words.txt", slice_of("a\nb\n"));
    struct shape_set *set = open_set("words", 2, 1, directory);
    for (uint64_t i = 0; i < 2; i++) {
        uint8_t buffer[SHAPE_KEY_MAX];
        ck_assert(slice_equal(shape_absent(set, SHAPE_ABSENT_CHANGED, i, buffer), slice_of("\n")));
    }
    shape_close(set);
}
END_TEST

/* Keys have up to 512 bytes, changed ones too: here each second letter would make them longer. */
START_TEST(the_longest_lines_fit)
{
    struct buf bytes = {0};
    for (unsigned i = 0; i < 40; i++) {
        buf_printf(&bytes, "%02u", i);
        for (unsigned letter = 0; letter < (SHAPE_KEY_MAX - 2) / 2; letter++)
            buf_printf(&bytes, "%s", i % 2 ? "é" : letter % 3 ? "ab" : "cd");
        buf_append(&bytes, "\n", 1);
    }
    struct text text = write_sorted("words.txt", bytes, true);
    struct shape_set *set = open_set("words", 40, 1, directory);
    uint8_t buffer[SHAPE_KEY_MAX + 4];
    for (uint64_t i = 0; i < 40; i++) {
        ck_assert_uint_eq(shape_key(set, i, buffer).size, SHAPE_KEY_MAX);
        ck_assert_uint_le(shape_absent(set, SHAPE_ABSENT_CHANGED, i, buffer).size, SHAPE_KEY_MAX);
    }
    check_changed(set);
    shape_close(set);
    text_free(&text);
}
END_TEST

/* --- failures ---------------------------------------------------------------------------------------------------- */

static void refused(const char *name, uint64_t keys, plsm_status expected, const char *sentence)
{
    struct shape_set *set = NULL;
    plsm_status status = shape_open(name, keys, 1, directory, &set);
    ck_assert_msg(status == expected, "%s: %s, \"%s\"", name, plsm_status_name(status), plsm_message());
    ck_assert_ptr_null(set);
    ck_assert_msg(strstr(plsm_message(), sentence) != NULL, "\"%s\" has no \"%s\"", plsm_message(), sentence);
    ck_assert(!shape_find(name) || !shape_find(name)->file || strstr(plsm_message(), directory) != NULL);
}

START_TEST(what_is_wrong_is_said)
{
    static const struct {
        const char *content;
        plsm_status status;
        const char *sentence;
    } bad[] = {
        {"", PLSM_CORRUPT, "the file is empty"},
        {"a\nc\nb\n", PLSM_CORRUPT, "line 3 does not come after the one before it"},
        {"a\nb\nb\n", PLSM_CORRUPT, "line 3 does not come after"},
        {"b\na", PLSM_CORRUPT, "line 2 does not come after"},
        {"\na\nb\n", PLSM_CORRUPT, "line 1 is empty"},
        {"a\n\nb\n", PLSM_CORRUPT, "line 2 is empty"},
        {"\n", PLSM_CORRUPT, "line 1 is empty"},
        {"a\nb\n", PLSM_INVALID, "2 of its lines can be keys, fewer than the 3 asked for"},
    };
    refused("counter", 1, PLSM_INVALID, "counter: no such shape of keys; there are counters, counters10, ");
    refused("", 1, PLSM_INVALID, "series_jitter, decimal, words, paths");
    refused("random", 0, PLSM_INVALID, "0 keys");
    refused("random", SHAPE_KEYS_MAX + UINT64_C(1), PLSM_INVALID, "1073741825 keys: a set has 1 to 1073741824");
    refused("words", 1, PLSM_NOT_FOUND, "words.txt: there is no such file; make it: scripts/key-sets ");
    refused("paths", 1, PLSM_NOT_FOUND, "paths.txt: there is no such file; make it: scripts/key-sets ");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_file("words.txt", slice_of(bad[i].content));
        refused("words", 3, bad[i].status, bad[i].sentence);
        if (bad[i].status == PLSM_CORRUPT)
            refused("words", 3, bad[i].status, "make it again: scripts/key-sets ");
    }
    char line[SHAPE_KEY_MAX + 2];
    memset(line, 'a', sizeof line);
    write_file("words.txt", slice(line, SHAPE_KEY_MAX));
    shape_close(open_set("words", 1, 1, directory));
    write_file("words.txt", slice(line, SHAPE_KEY_MAX + 1));
    refused("words", 1, PLSM_CORRUPT, "line 1 is too long for a key");
    shape_close(NULL);
}
END_TEST

static void open_default(const char *cache, const char *home, plsm_status expected, const char *sentence)
{
    struct shape_set *set = NULL;
    cache ? setenv("XDG_CACHE_HOME", cache, 1) : unsetenv("XDG_CACHE_HOME");
    home ? setenv("HOME", home, 1) : unsetenv("HOME");
    ck_assert_int_eq(shape_open("words", 1, 1, NULL, &set), expected);
    ck_assert_msg(strstr(plsm_message(), sentence) != NULL, "%s", plsm_message());
}

START_TEST(files_are_looked_for_in_the_cache_of_the_user)
{
    char long_path[PATH_MAX + 10];
    memset(long_path, 'x', sizeof long_path);
    long_path[sizeof long_path - 1] = '\0';
    open_default("/nowhere/cache", "/nowhere/home", PLSM_NOT_FOUND, "/nowhere/cache/plsm-key-sets/words.txt: ");
    open_default("", "/nowhere/home", PLSM_NOT_FOUND, "/nowhere/home/.cache/plsm-key-sets/words.txt: ");
    open_default(NULL, "/nowhere/home", PLSM_NOT_FOUND, "scripts/key-sets /nowhere/home/.cache/plsm-key-sets");
    open_default(NULL, NULL, PLSM_INVALID, "HOME is not set");
    open_default(long_path, NULL, PLSM_INVALID, "the path is too long");
    open_default("", long_path, PLSM_INVALID, "the path is too long");
}
END_TEST

/* Each allocation fails once: an error, nothing leaks (AddressSanitizer sees), and then it works. */
START_TEST(memory_may_run_out)
{
    const char *names[] = {"counters10", "paths", "no such shape"};
    struct text text = write_paths(200);
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        bool known = shape_find(names[n]) != NULL;
        plsm_status status = PLSM_NO_MEMORY;
        uint64_t failed = 0;
        for (; status == PLSM_NO_MEMORY; failed++) {
            struct shape_set *set = NULL;
            mem_fail_at(failed + 1);
            status = shape_open(names[n], 500, 1, directory, &set);
            mem_fail_at(0);
            ck_assert_int_eq(set != NULL, status == PLSM_OK);
            ck_assert(status != PLSM_NO_MEMORY || plsm_message()[0] != '\0');
            shape_close(set);
        }
        ck_assert_int_eq(status, known ? PLSM_OK : PLSM_INVALID);
        ck_assert_uint_gt(failed, 1);
    }
    text_free(&text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tools/lines");
    TCase *tests = tcase_create("files");
    tcase_add_checked_fixture(tests, make_directory, remove_directory);
    tcase_add_loop_test(tests, words_are_the_lines_of_a_file, 0, 4);
    tcase_add_test(tests, changed_words_are_whole_characters);
    tcase_add_test(tests, a_sample_is_the_same_again_and_another_with_another_seed);
    tcase_add_loop_test(tests, foreign_paths_are_of_trees_held_out, 0, 2);
    tcase_add_test(tests, trees_are_the_first_directories_of_a_path);
    tcase_add_test(tests, a_change_is_found_also_where_all_letters_are_keys);
    tcase_add_test(tests, the_longest_lines_fit);
    tcase_add_test(tests, what_is_wrong_is_said);
    tcase_add_test(tests, files_are_looked_for_in_the_cache_of_the_user);
    tcase_add_test(tests, memory_may_run_out);
    tcase_set_timeout(tests, 120);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
