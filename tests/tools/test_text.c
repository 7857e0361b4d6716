/* The escapes of the record format, read back from pieces cut anywhere, and numbers for people. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/random.h"
#include "tools/suggest.h"
#include "tools/text.c"
#include "base/banned.h"

/* Decodes `text` given to the decoder in pieces of at most `piece` bytes; bare tabs and newlines are written as the
 * letters T and N, between brackets, so that they differ from decoded ones. False: a bad or unfinished escape. */
static bool decode(struct buf *out, plsm_slice text, size_t piece)
{
    struct text_unescape decoder = {0};
    const uint8_t *at = text.data, *end = at + text.size;
    while (at < end) {
        const uint8_t *stop = (size_t)(end - at) > piece ? at + piece : end;
        for (;;) {
            plsm_slice bytes = {0};
            enum text_event event = text_unescape_next(&decoder, &at, stop, &bytes);
            if (event == TEXT_END)
                break;
            if (event == TEXT_BAD)
                return false;
            if (event != TEXT_BYTES)
                bytes = slice(event == TEXT_TAB ? "[T]" : "[N]", 3);
            ck_assert_int_eq(buf_append(out, bytes.data, bytes.size), PLSM_OK);
        }
        ck_assert_ptr_eq(at, stop);
    }
    return text_unescape_complete(&decoder);
}

START_TEST(escapes_as_documented)
{
    static const struct {
        const char *bytes;
        size_t size;
        const char *text;
    } cases[] = {
        {"", 0, ""},
        {"plain text", 10, "plain text"},
        {"a\tb\nc\\d", 7, "a\\tb\\nc\\\\d"},
        {"\0", 1, "\\0"},
        {"\0001", 2, "\\01"},
        {"\x01\x1f\x7f\r", 4, "\\x01\\x1f\\x7f\\x0d"},
        {"\x80\xff", 2, "\x80\xff"},
        {"gr\xc3\xbc\xc3\x9f", 6, "gr\xc3\xbc\xc3\x9f"},
    };
    struct buf out = {0};
    ck_assert_int_eq(text_escape(&out, slice(cases[_i].bytes, cases[_i].size)), PLSM_OK);
    ck_assert_uint_eq(out.size, strlen(cases[_i].text));
    ck_assert_mem_eq(out.data ? (const char *)out.data : "", cases[_i].text, out.size);
    buf_free(&out);
}
END_TEST
enum { ESCAPE_CASES = 8 };

START_TEST(any_bytes_read_back)
{
    struct random random;
    random_seed(&random, (uint64_t)_i);
    uint8_t bytes[1024];
    size_t size = _i == 0 ? 256 : random_below(&random, sizeof bytes);
    for (size_t i = 0; i < size; i++) /* the first is every byte; later ones are rich in what needs escapes */
        bytes[i] = _i == 0 ? (uint8_t)i
                           : (uint8_t)(random_next(&random) & 1 ? "\t\n\\\0x0"[random_below(&random, 6)]
                                                                : (char)random_next(&random));
    struct buf text = {0};
    ck_assert_int_eq(text_escape(&text, slice(bytes, size)), PLSM_OK);
    if (size > 0)
        ck_assert_msg(!memchr(text.data, '\t', text.size) && !memchr(text.data, '\n', text.size) &&
                          !memchr(text.data, 0, text.size),
                      "seed %d: a separator is left in the text", _i);
    for (size_t piece = 1; piece < 9; piece++) {
        struct buf back = {0};
        ck_assert_msg(decode(&back, buf_slice(&text), piece), "seed %d, pieces of %zu", _i, piece);
        ck_assert_msg(slice_equal(buf_slice(&back), slice(bytes, size)), "seed %d, pieces of %zu", _i, piece);
        buf_free(&back);
    }
    buf_free(&text);
}
END_TEST

START_TEST(separators_and_escapes_differ)
{
    static const struct {
        const char *text, *decoded; /* NULL: not allowed */
    } cases[] = {
        {"key\tvalue\n", "key[T]value[N]"},
        {"a\\tb\t\\n\n", "a\tb[T]\n[N]"},
        {"\t\t\n\n", "[T][T][N][N]"},
        {"\\x41\\x4a\\x4Azz", "AJJzz"},
        {"\\\\x41", "\\x41"},
        {"\\x4", NULL},
        {"\\", NULL},
        {"\\x", NULL},
        {"\\xg0", NULL},
        {"\\x0g", NULL},
        {"\\r", NULL},
        {"\\1", NULL},
        {"\\\n", NULL},
        {"\\X41", NULL},
    };
    struct buf out = {0};
    for (size_t piece = 1; piece < 4; piece++) {
        out.size = 0;
        bool good = decode(&out, slice_of(cases[_i].text), piece);
        ck_assert_msg(good == (cases[_i].decoded != NULL), "%s in pieces of %zu", cases[_i].text, piece);
        if (good)
            ck_assert_msg(slice_equal(buf_slice(&out), slice_of(cases[_i].decoded)), "%s in pieces of %zu",
                          cases[_i].text, piece);
    }
    buf_free(&out);
}
END_TEST
enum { SEPARATOR_CASES = 14 };

START_TEST(arguments)
{
    struct buf out = {0};
    ck_assert_int_eq(text_unescape_all(&out, slice_of("a\tb\\x00\n")), PLSM_OK);
    ck_assert_uint_eq(out.size, 5);
    ck_assert_mem_eq(out.data, "a\tb\0\n", 5);
    ck_assert_int_eq(text_unescape_all(&out, slice_of("bad\\q")), PLSM_INVALID);
    ck_assert_ptr_nonnull(strstr(plsm_message(), "bad\\q"));
    ck_assert_int_eq(text_unescape_all(&out, slice_of("short\\x1")), PLSM_INVALID);
    ck_assert_ptr_nonnull(strstr(plsm_message(), "short\\x1"));
    buf_free(&out);
}
END_TEST

START_TEST(quotes_are_cut)
{
    char out[32];
    ck_assert_str_eq(text_quote(out, sizeof out, slice("a\0b", 3)), "a\\0b");
    for (size_t size = 16; size <= sizeof out; size++) {
        uint8_t bytes[100];
        memset(bytes, size % 2 ? 'x' : 1, sizeof bytes);
        memset(out, 'E', sizeof out);
        text_quote(out, size, slice(bytes, sizeof bytes));
        ck_assert_uint_lt(strlen(out), size);
        ck_assert_str_eq(out + strlen(out) - 3, "...");
    }
}
END_TEST

START_TEST(numbers_for_people)
{
    char out[TEXT_NUMBER_SIZE];
    ck_assert_str_eq(text_bytes(out, 0), "0 B");
    ck_assert_str_eq(text_bytes(out, 1023), "1023 B");
    ck_assert_str_eq(text_bytes(out, 1536), "1.5 KiB");
    ck_assert_str_eq(text_bytes(out, UINT64_MAX), "16.0 EiB");
    ck_assert_str_eq(text_count(out, 999), "999");
    ck_assert_str_eq(text_count(out, 12345), "12.3 k");
    ck_assert_str_eq(text_count(out, 1250000), "1.25 M");
    ck_assert_str_eq(text_duration(out, 7), "0:07");
    ck_assert_str_eq(text_duration(out, 3723), "1:02:03");
}
END_TEST

START_TEST(numbers_from_people)
{
    static const struct {
        const char *text;
        uint64_t base, value;
        bool good;
    } cases[] = {
        {"0", 1000, 0, true},
        {"1000000", 1000, 1000000, true},
        {"1m", 1000, 1000000, true},
        {"1M", 1024, 1048576, true},
        {"3k", 1024, 3072, true},
        {"2t", 1024, UINT64_C(2) << 40, true},
        {"18446744073709551615", 1000, UINT64_MAX, true},
        {"18446744073709551616", 1000, 0, false},
        {"18446744073709551615k", 1000, 0, false},
        {"", 1000, 0, false},
        {"-1", 1000, 0, false},
        {" 1", 1000, 0, false},
        {"1x", 1000, 0, false},
        {"1kk", 1000, 0, false},
        {"k", 1000, 0, false},
    };
    uint64_t value = 0;
    ck_assert_msg(text_parse_number(cases[_i].text, cases[_i].base, &value) == cases[_i].good, "%s", cases[_i].text);
    if (cases[_i].good)
        ck_assert_uint_eq(value, cases[_i].value);
}
END_TEST
enum { PARSE_CASES = 15 };

START_TEST(slips)
{
    static const struct {
        const char *word, *name;
        unsigned distance;
        bool fits;
    } cases[] = {
        {"get", "get", 0, true},
        {"gte", "get", 1, true},
        {"ge", "get", 1, true},
        {"gett", "get", 1, true},
        {"g", "get", 2, false},
        {"put", "get", 2, false},
        {"", "get", 3, false},
        {"", "", 0, true},
        {"checkpiont", "checkpoint", 1, true},
        {"chekpont", "checkpoint", 2, true},
        {"scan", "stats", 3, false},
        {"a word of more than thirty-one letters", "a word of more than thirty-one letters", 255, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned distance = 0, back = 0;
        bool fits = suggest_fits(slice_of(cases[i].word), slice_of(cases[i].name), &distance);
        ck_assert_msg(distance == cases[i].distance && fits == cases[i].fits, "%s, %s: %u", cases[i].word,
                      cases[i].name, distance);
        suggest_fits(slice_of(cases[i].name), slice_of(cases[i].word), &back);
        ck_assert_uint_eq(back, distance);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tools/text");
    TCase *tests = tcase_create("text");
    tcase_add_loop_test(tests, escapes_as_documented, 0, ESCAPE_CASES);
    tcase_add_loop_test(tests, any_bytes_read_back, 0, 200);
    tcase_add_loop_test(tests, separators_and_escapes_differ, 0, SEPARATOR_CASES);
    tcase_add_test(tests, arguments);
    tcase_add_test(tests, quotes_are_cut);
    tcase_add_test(tests, numbers_for_people);
    tcase_add_loop_test(tests, numbers_from_people, 0, PARSE_CASES);
    tcase_add_test(tests, slips);
    tcase_set_timeout(tests, 120);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
