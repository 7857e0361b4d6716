/* Outlines: the same calls as text and as JSON, tables aligned, any bytes escaped. */
#include <check.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "tools/outline.c"
#include "tools/text.c"
#include "base/banned.h"

/* What would go to standard output. */
static struct buf written;

bool tool_write(const void *data, size_t size)
{
    ck_assert_int_eq(buf_append(&written, data, size), PLSM_OK);
    return true;
}

bool tool_print(const char *format, ...)
{
    char text[4096];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    ck_assert(size >= 0 && (size_t)size < sizeof text);
    return tool_write(text, (size_t)size);
}

static void expect(const char *text)
{
    ck_assert_msg(slice_equal(buf_slice(&written), slice_of(text)), "\n%.*s\ninstead of\n%s", (int)written.size,
                  (const char *)written.data, text);
    buf_free(&written);
}

/* A document with everything in it. */
static void tell(struct outline *o, bool json)
{
    outline_start(o, json);
    outline_section(o, json ? NULL : "all", "all");
    outline_number(o, "some_number", UINT64_MAX);
    outline_integer(o, "below_0", INT64_MIN);
    outline_real(o, "real", 1.0 / 3, 2);
    outline_real(o, "no_real", NAN, 2);
    outline_ratio(o, "ratio", 1, 4, 1);
    outline_ratio(o, "no_ratio", 1, 0, 1);
    outline_flag(o, "flag", true);
    outline_text(o, "text", "say \"\\\n");
    outline_text(o, "nothing", NULL);
    outline_bytes(o, "bytes", slice("a\0\t\xff\"\\", 6));
    outline_moment(o, "moment", UINT64_C(86400) * 1000000000);
    outline_moment(o, "never", 0);
    outline_list(o, "list", "list");
    for (unsigned i = 9; i < 12; i++) {
        outline_row(o);
        outline_text(o, "the_name", i == 9 ? "n" : "long name");
        outline_number(o, "i", i);
        outline_share(o, "share", i, 12);
        outline_row_end(o);
    }
    outline_list_end(o);
    outline_list(o, "empty", "nothing in it");
    outline_list_end(o);
    outline_section_end(o);
}

START_TEST(text)
{
    struct outline o;
    tell(&o, false);
    ck_assert(outline_end(&o));
    expect("all\n"
           "  some number                        18446744073709551615\n"
           "  below 0                            -9223372036854775808\n"
           "  real                               0.33\n"
           "  no real                            -\n"
           "  ratio                              0.2\n"
           "  no ratio                           -\n"
           "  flag                               yes\n"
           "  text                               say \"\\\n\n"
           "  nothing                            -\n"
           "  bytes                              a\\0\\t\\xff\"\\\\\n"
           "  moment                             1970-01-02T00:00:00Z\n"
           "  never                              -\n"
           "list\n"
           "  the name    i    share\n"
           "  n           9  75.00 %\n"
           "  long name  10  83.33 %\n"
           "  long name  11  91.67 %\n");
}
END_TEST

START_TEST(json)
{
    struct outline o;
    tell(&o, true);
    ck_assert(outline_end(&o));
    expect("{\n"
           "  \"some_number\": 18446744073709551615,\n"
           "  \"below_0\": -9223372036854775808,\n"
           "  \"real\": 0.333333333,\n"
           "  \"no_real\": null,\n"
           "  \"ratio\": 0.25,\n"
           "  \"no_ratio\": null,\n"
           "  \"flag\": true,\n"
           "  \"text\": \"say \\\"\\\\\\u000a\",\n"
           "  \"nothing\": null,\n"
           "  \"bytes\": \"a\\\\0\\\\t\\\\xff\\\"\\\\\\\\\",\n"
           "  \"moment\": \"1970-01-02T00:00:00Z\",\n"
           "  \"never\": null,\n"
           "  \"list\": [\n"
           "    {\n"
           "      \"the_name\": \"n\",\n"
           "      \"i\": 9,\n"
           "      \"share\": 0.75\n"
           "    },\n"
           "    {\n"
           "      \"the_name\": \"long name\",\n"
           "      \"i\": 10,\n"
           "      \"share\": 0.833333333\n"
           "    },\n"
           "    {\n"
           "      \"the_name\": \"long name\",\n"
           "      \"i\": 11,\n"
           "      \"share\": 0.916666667\n"
           "    }\n"
           "  ],\n"
           "  \"empty\": []\n"
           "}\n");
}
END_TEST

/* What is nearly nothing or nearly all is not rounded to it. */
START_TEST(shares)
{
    static const struct {
        double part, whole;
        const char *text;
    } cases[] = {{0, 5, "0.00 %"},      {5, 5, "100.00 %"}, {1, 1e6, "<0.01 %"}, {999999, 1e6, ">99.99 %"},
                 {5, 100000, "0.01 %"}, {1, 3, "33.33 %"},  {1, 0, "-"},         {99994, 100000, "99.99 %"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct outline o;
        char line[128];
        outline_start(&o, false);
        outline_share(&o, "share", cases[i].part, cases[i].whole);
        snprintf(line, sizeof line, "  share                              %s\n", cases[i].text);
        ck_assert(outline_end(&o));
        expect(line);
    }
}
END_TEST

/* Long keys are cut in text and whole in JSON; invalid UTF-8 never gets into either. */
START_TEST(long_bytes)
{
    uint8_t key[300];
    struct outline o;
    for (size_t i = 0; i < sizeof key; i++)
        key[i] = (uint8_t)i;
    outline_start(&o, false);
    outline_bytes(&o, "key", slice(key, sizeof key));
    ck_assert(outline_end(&o));
    ck_assert_uint_lt(written.size, 110);
    ck_assert_ptr_nonnull(memmem(written.data, written.size, "...\n", 4));
    buf_free(&written);
    outline_start(&o, true);
    outline_bytes(&o, NULL, slice(key, sizeof key));
    ck_assert(outline_end(&o));
    ck_assert_uint_gt(written.size, sizeof key);
    for (size_t i = 0; i + 1 < written.size; i++)
        ck_assert(written.data[i] >= 0x20 && written.data[i] < 0x7f);
    buf_free(&written);
}
END_TEST

START_TEST(no_memory)
{
    struct outline o;
    bool good = false;
    for (uint64_t nth = 1; !good; nth++) {
        ck_assert_int_eq(buf_reserve(&written, 1 << 20), PLSM_OK); /* not counted */
        mem_fail_at(nth);
        tell(&o, false);
        good = outline_end(&o);
        ck_assert(good == (mem_count() < nth));
        mem_fail_at(0);
        buf_free(&written);
        ck_assert_uint_lt(nth, 100);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("outline");
    TCase *cases = tcase_create("outline");
    tcase_add_test(cases, text);
    tcase_add_test(cases, json);
    tcase_add_test(cases, shares);
    tcase_add_test(cases, long_bytes);
    tcase_add_test(cases, no_memory);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
