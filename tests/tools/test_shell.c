/* The parts of `plsm shell`: lines into words and back, integers as keys, completion, the history. Seeds are fixed. */
#include <check.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/random.h"
#include "tests/harness/temporary.h"
#include "tools/shell.h"
#include "tools/shell_course.h"
#include "tools/shell_history.h"
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

/* --- words -------------------------------------------------------------------------------------------------------- */

/* The words of a line, each in brackets; "!" in place of them where it is refused; ">" behind them when the line ends
 * within a word, "..." when within quotes. */
static void split(struct buf *out, plsm_slice line)
{
    struct shell_words words = {0};
    out->size = 0;
    if (shell_words_split(&words, line) != PLSM_OK) {
        ck_assert_int_eq(buf_append(out, "!", 1), PLSM_OK);
    } else {
        for (size_t i = 0; i < words.count; i++) {
            plsm_slice word = shell_word(&words, i);
            ck_assert_int_eq(buf_printf(out, "[%.*s]", (int)word.size, (const char *)word.data), PLSM_OK);
        }
        ck_assert_int_eq(buf_printf(out, "%s%s", words.word ? ">" : "", words.open ? "..." : ""), PLSM_OK);
    }
    ck_assert_int_eq(buf_append(out, "", 1), PLSM_OK);
    shell_words_free(&words);
}

static const struct {
    const char *line, *words;
} splits[] = {
    {"", ""},
    {"  \t ", ""},
    {"get", "[get]>"},
    {"  put  a\tb ", "[put][a][b]"},
    {"put \"a b\" 'c  d'", "[put][a b][c  d]>"},
    {"a\" b\"c' d'", "[a bc d]>"},
    {"put \"\" ''", "[put][][]>"},
    {"\\x41\\\\\\t", "[A\\\t]>"},
    {"a\\ b \\\"c\\' \\#d", "[a b][\"c'][#d]>"},
    {"\"a\\\" b\"", "[a\" b]>"},
    {"'a\\'", "[a\\]>"}, /* within single quotes nothing is an escape */
    {"'a\"b' \"c'd\"", "[a\"b][c'd]>"},
    {"get \"a b", "[get][a b]>..."},
    {"get '", "[get][]>..."},
    {"a\\q", "!"},
    {"a\\", "!"},
    {"a\\x4", "!"},
    {"a\\x4g", "!"},
    {"a\\-b", "!"}, /* a mark of changes is no escape */
    {"1 2 3 4", "[1][2][3][4]>"},
    {"1 2 3 4 5", "!"},
};

START_TEST(lines_into_words)
{
    struct buf got = {0};
    split(&got, slice_of(splits[_i].line));
    ck_assert_str_eq((const char *)got.data, splits[_i].words);
    buf_free(&got);
}
END_TEST

START_TEST(any_word_reads_back)
{
    static const char special[] = " \t\n\\\"'#x0/\x7f\x80\xc3\xbc\xff";
    struct random random;
    struct shell_words words = {0};
    struct buf line = {0};
    random_seed(&random, 1);
    for (int round = 0; round < 20000; round++) {
        uint8_t bytes[24];
        size_t size = random_next(&random) % sizeof bytes;
        for (size_t i = 0; i < size; i++)
            bytes[i] = random_next(&random) % 2 ? (uint8_t)random_next(&random)
                                                : (uint8_t)special[random_next(&random) % sizeof special];
        line.size = 0;
        ck_assert_int_eq(buf_append(&line, "get ", 4), PLSM_OK);
        ck_assert_int_eq(shell_word_quote(&line, slice(bytes, size)), PLSM_OK);
        ck_assert_ptr_null(memchr(line.data, '\n', line.size));
        ck_assert_int_eq(shell_words_split(&words, buf_slice(&line)), PLSM_OK);
        ck_assert_uint_eq(words.count, 2);
        ck_assert(slice_equal(shell_word(&words, 1), slice(bytes, size)));
        ck_assert(!words.open);
    }
    shell_words_free(&words);
    buf_free(&line);
}
END_TEST

/* --- integers ----------------------------------------------------------------------------------------------------- */

static const struct {
    const char *text;
    bool good;
    int64_t number;
} integers[] = {
    {"0", true, 0},
    {"-0", true, 0},
    {"+7", true, 7},
    {"007", true, 7},
    {"2147483647", true, INT32_MAX},
    {"2147483648", false, 0},
    {"-2147483648", true, INT32_MIN},
    {"-2147483649", false, 0},
    {"9223372036854775808", false, 0},
    {"99999999999999999999999", false, 0},
    {"", false, 0},
    {"-", false, 0},
    {"1x", false, 0},
    {" 1", false, 0},
    {"1.0", false, 0},
    {"--1", false, 0},
};

START_TEST(integers_are_parsed)
{
    int64_t number = 0;
    ck_assert_int_eq(shell_parse_integer(slice_of(integers[_i].text), INT32_MIN, INT32_MAX, &number),
                     integers[_i].good);
    if (integers[_i].good)
        ck_assert_int_eq(number, integers[_i].number);
}
END_TEST

START_TEST(widest_integers)
{
    int64_t number = 0;
    ck_assert(shell_parse_integer(slice_of("-9223372036854775808"), INT64_MIN, INT64_MAX, &number));
    ck_assert_int_eq(number, INT64_MIN);
    ck_assert(shell_parse_integer(slice_of("9223372036854775807"), INT64_MIN, INT64_MAX, &number));
    ck_assert_int_eq(number, INT64_MAX);
    ck_assert(!shell_parse_integer(slice_of("-9223372036854775809"), INT64_MIN, INT64_MAX, &number));
}
END_TEST

/* The order of keys is that of the integers, within [ "\0", "\1" ), and each reads back. */
START_TEST(keys_of_integers)
{
    static const int32_t numbers[] = {INT32_MIN, INT32_MIN + 1, -65536, -256, -2, -1, 0, 1, 7, 255, 256, INT32_MAX};
    static const uint8_t seven[] = {0, 0x80, 0, 0, 7}, minus_two[] = {0, 0x7f, 0xff, 0xff, 0xfe};
    uint8_t before[COURSE_KEY_SIZE] = {0}, key[COURSE_KEY_SIZE], value[COURSE_VALUE_SIZE];
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        plsm_slice bytes = course_key(key, numbers[i]);
        ck_assert(course_is_pair(bytes, COURSE_VALUE_SIZE));
        ck_assert_int_eq(course_key_of(bytes), numbers[i]);
        ck_assert_int_eq(course_value_of(course_value(value, numbers[i])), numbers[i]);
        ck_assert_int_lt(i ? memcmp(before, key, sizeof key) : -1, 0);
        ck_assert_int_lt(slice_compare(slice("\0", 1), bytes), 0);
        ck_assert_int_gt(slice_compare(slice("\1", 1), bytes), 0);
        memcpy(before, key, sizeof key);
    }
    ck_assert_mem_eq(course_key(key, 7).data, seven, sizeof seven);
    ck_assert_mem_eq(course_key(key, -2).data, minus_two, sizeof minus_two);
    ck_assert(slice_equal(course_bound(key, INT64_C(1) << 31), slice("\1", 1)));
    ck_assert_int_eq(course_key_of(course_bound(key, INT64_MIN)), INT32_MIN);
    ck_assert(!course_is_pair(slice("\0abc", 4), 4));
    ck_assert(!course_is_pair(slice("abcde", 5), 4));
    ck_assert(!course_is_pair(course_key(key, 1), 5));
}
END_TEST

/* --- completion --------------------------------------------------------------------------------------------------- */

static plsm *open_store(void)
{
    plsm *db = NULL;
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/store", directory);
    ck_assert_int_eq(plsm_open(path, PLSM_CREATE, "background=0", &db), PLSM_OK);
    static const char *const keys[] = {"apple",     "apricot",   "b c",  "dir/", "dir/one",
                                       "dir/sub/x", "dir/sub/y", "dir2", "lone", "tab\tkey"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        ck_assert_int_eq(plsm_put(db, slice_of(keys[i]), slice_of("v"), PLSM_NONE), PLSM_OK);
    for (int i = 0; i < 1000; i++) {
        char key[32];
        snprintf(key, sizeof key, "many/prefix%04d", i);
        ck_assert_int_eq(plsm_put(db, slice_of(key), slice_of("v"), PLSM_NONE), PLSM_OK);
    }
    return db;
}

/* Line, where the word begins, what is put there, whether it is whole, how many are listed, whether more, the first. */
static const struct {
    const char *line;
    size_t from;
    const char *text;
    bool whole;
    size_t count;
    bool more;
    const char *first;
} completions[] = {
    {"ge", 0, "get", true, 1, false, "get"},
    {"re", 0, "re", false, 2, false, "remove"},
    {"zz", 0, "", false, 0, false, ""},
    {"help sw", 5, "switch", true, 1, false, "switch"},
    {"timing o", 7, "o", false, 2, false, "on"},
    {"switch t", 7, "traditional", true, 1, false, "traditional"},
    {"get ap", 4, "ap", false, 2, false, "apple"},
    {"get app", 4, "apple", true, 1, false, "apple"},
    {"get b", 4, "b\\ c", true, 1, false, "b\\ c"},
    {"get \"b c", 4, "b\\ c", true, 1, false, "b\\ c"},
    {"get l", 4, "lone", true, 1, false, "lone"},
    {"get tab", 4, "tab\\tkey", true, 1, false, "tab\\tkey"},
    {"get d", 4, "dir", false, 2, false, "dir/"},
    {"get dir/", 4, "dir/", false, 3, false, "dir/"},
    {"get dir/s", 4, "dir/sub/", false, 1, false, "dir/sub/"},
    {"get m", 4, "many/", false, 1, false, "many/"},
    {"get many/", 4, "many/prefix0", false, 100, true, "many/prefix0000"},
    {"get many/prefix001", 4, "many/prefix001", false, 10, false, "many/prefix0010"},
    {"range lone d", 11, "dir", false, 2, false, "dir/"},
    {"put lone d", 11, "", false, 0, false, ""},
    {"get lone x", 9, "", false, 0, false, ""},
    {"get nothing", 4, "", false, 0, false, ""},
};

START_TEST(words_are_completed)
{
    struct shell shell = {.db = open_store()};
    struct shell_completion c = {0};
    shell.target.db = shell.db;
    const char *line = completions[_i].line;
    ck_assert_int_eq(shell_complete(&shell, slice_of(line), &c), PLSM_OK);
    ck_assert_uint_eq(c.count, completions[_i].count);
    ck_assert_int_eq(c.more, completions[_i].more);
    ck_assert_int_eq(buf_append(&c.text, "", 1), PLSM_OK);
    ck_assert_int_eq(buf_append(&c.list, "", 1), PLSM_OK);
    if (c.count > 0) {
        ck_assert_uint_eq(c.from, completions[_i].from);
        ck_assert_int_eq(c.whole, completions[_i].whole);
        /* "many/": the thousand begin with "prefix0" all */
        ck_assert_str_eq((const char *)c.text.data, completions[_i].text);
        ck_assert_str_eq((const char *)c.list.data, completions[_i].first);
    }
    buf_free(&c.text);
    buf_free(&c.list);
    ck_assert_int_eq(plsm_close(shell.db), PLSM_OK);
}
END_TEST

START_TEST(bad_lines_are_not_completed)
{
    struct shell shell = {0};
    struct shell_completion c = {0};
    ck_assert_int_eq(shell_complete(&shell, slice_of("get a\\"), &c), PLSM_INVALID);
    ck_assert_int_eq(shell_complete(&shell, slice_of("l /tm"), &c), PLSM_OK);
    ck_assert(c.is_file_name);
    buf_free(&c.text);
    buf_free(&c.list);
}
END_TEST

/* --- history ------------------------------------------------------------------------------------------------------ */

struct seen {
    size_t count;
    char first[64], last[64];
};

static void see(void *arg, const char *line)
{
    struct seen *seen = arg;
    if (seen->count++ == 0)
        snprintf(seen->first, sizeof seen->first, "%s", line);
    snprintf(seen->last, sizeof seen->last, "%s", line);
}

static struct seen open_and_see(struct shell_history **history)
{
    struct seen seen = {0};
    *history = shell_history_open(see, &seen);
    ck_assert_ptr_nonnull(*history);
    return seen;
}

START_TEST(history_is_kept)
{
    char path[PATH_MAX], line[32];
    struct stat file = {0};
    struct shell_history *history = NULL, *other = NULL;
    snprintf(path, sizeof path, "%s/state", directory);
    ck_assert_int_eq(setenv("XDG_STATE_HOME", path, 1), 0);
    ck_assert_uint_eq(open_and_see(&history).count, 0);
    shell_history_add(history, slice_of("get a"));
    shell_history_add(history, slice_of("two\nlines"));
    shell_history_add(history, slice("n\0l", 3));
    shell_history_add(history, slice_of(""));
    struct seen seen = open_and_see(&other); /* while the first is open */
    ck_assert_uint_eq(seen.count, 1);
    ck_assert_str_eq(seen.first, "get a");
    for (int i = 0; i < 2 * SHELL_HISTORY_LINES; i++) {
        snprintf(line, sizeof line, "get %d", i);
        shell_history_add(i % 2 ? history : other, slice_of(line));
    }
    shell_history_close(history);
    shell_history_close(other);
    snprintf(path, sizeof path, "%s/state/plsm/history", directory);
    ck_assert_int_eq(chmod(path, 0644), 0);
    seen = open_and_see(&history); /* cuts it */
    ck_assert_uint_eq(seen.count, SHELL_HISTORY_LINES);
    snprintf(line, sizeof line, "get %d", SHELL_HISTORY_LINES);
    ck_assert_str_eq(seen.first, line);
    shell_history_add(history, slice_of("the end"));
    shell_history_close(history);
    seen = open_and_see(&history);
    shell_history_close(history);
    ck_assert_uint_eq(seen.count, SHELL_HISTORY_LINES);
    ck_assert_str_eq(seen.last, "the end");
    ck_assert_int_eq(stat(path, &file), 0);
    ck_assert_uint_eq(file.st_mode & 0777, 0600);
    ck_assert_uint_lt((unsigned)file.st_size, 12 * SHELL_HISTORY_LINES);
}
END_TEST

START_TEST(history_needs_a_place)
{
    ck_assert_int_eq(unsetenv("XDG_STATE_HOME"), 0);
    ck_assert_int_eq(setenv("HOME", "/dev/null", 1), 0);
    ck_assert_ptr_null(shell_history_open(see, NULL));
    ck_assert_int_eq(unsetenv("HOME"), 0);
    ck_assert_ptr_null(shell_history_open(see, NULL));
    shell_history_add(NULL, slice_of("get a"));
    shell_history_close(NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("shell");
    TCase *parser = tcase_create("parser"), *state = tcase_create("state");
    tcase_add_loop_test(parser, lines_into_words, 0, sizeof splits / sizeof *splits);
    tcase_add_test(parser, any_word_reads_back);
    tcase_add_loop_test(parser, integers_are_parsed, 0, sizeof integers / sizeof *integers);
    tcase_add_test(parser, widest_integers);
    tcase_add_test(parser, keys_of_integers);
    tcase_add_test(parser, bad_lines_are_not_completed);
    tcase_add_checked_fixture(state, make_directory, remove_directory);
    tcase_add_loop_test(state, words_are_completed, 0, sizeof completions / sizeof *completions);
    tcase_add_test(state, history_is_kept);
    tcase_add_test(state, history_needs_a_place);
    suite_add_tcase(suite, parser);
    suite_add_tcase(suite, state);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
