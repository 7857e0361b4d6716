/* How rows of benchmarks are written, and the groups of them. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "store/plsm.h"
#include "tools/bench/bench.h"
#include "tools/bench/row_spec.h"
#include "base/banned.h"

START_TEST(rows_are_read_with_their_settings)
{
    struct row_spec rows[ROW_SPECS_MAX];
    uint32_t count = 0;
    struct row_options options = {.batch = 1, .threads = 2, .value_bytes = 100, .ops = 7, .shape = "random"};
    ck_assert_int_eq(row_specs_parse("readrandom,fillseq:batch=1k:value-bytes=2k,"
                                     "overwrite:sync:threads=8:ops=20k:state=cold,fillrandom:value-bytes=0,"
                                     "readseq:keys=3k",
                                     rows, &count),
                     PLSM_OK);
    ck_assert_uint_eq(count, 5);
    row_spec_apply(&rows[0], &options);
    ck_assert_ptr_eq(options.workload, workload_find("readrandom"));
    ck_assert_uint_eq(options.batch, 1);
    ck_assert_uint_eq(options.threads, 2);
    ck_assert_uint_eq(options.ops, 7);
    ck_assert(!options.sync && options.state == STATE_WARM);
    row_spec_apply(&rows[1], &options);
    ck_assert_str_eq(rows[1].title, "fillseq:batch=1k:value-bytes=2k");
    ck_assert_str_eq(options.shape, "decimal");
    ck_assert_uint_eq(options.batch, 1000);
    ck_assert_uint_eq(options.value_bytes, 2048);
    row_spec_apply(&rows[2], &options);
    ck_assert(options.sync && options.state == STATE_COLD);
    ck_assert_uint_eq(options.threads, 8);
    ck_assert_uint_eq(options.ops, 20000);
    row_spec_apply(&rows[3], &options);
    ck_assert_uint_eq(options.value_bytes, 0);
    row_spec_apply(&rows[4], &options);
    ck_assert_uint_eq(options.keys, 3000);
}
END_TEST

START_TEST(rows_of_so_many_bytes_have_fewer_keys)
{
    static const struct {
        const char *row;
        uint64_t keys;
    } cases[] = {
        {"readseq:value-bytes=1008:bytes=64k", 64},
        {"readseq:value-bytes=1008:bytes=1m", 1000},
        {"readseq:bytes=1k:value-bytes=1008", 1},
        {"readseq:value-bytes=1m:bytes=1k", 1},
        {"readseq:bytes=1k:keys=7", 7},
    };
    struct row_spec rows[ROW_SPECS_MAX];
    uint32_t count = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct row_options options = {.keys = 1000, .value_bytes = 100, .shape = "random"};
        ck_assert_int_eq(row_specs_parse(cases[i].row, rows, &count), PLSM_OK);
        row_spec_apply(&rows[0], &options);
        ck_assert_msg(options.keys == cases[i].keys, "%s: %lu keys", cases[i].row, (unsigned long)options.keys);
    }
}
END_TEST

static bool has_row(const struct row_spec *rows, uint32_t count, uint32_t batch, uint32_t threads, uint32_t value_bytes)
{
    for (uint32_t i = 0; i < count; i++)
        if ((!batch || rows[i].batch == batch) && (!threads || rows[i].threads == threads) &&
            (!value_bytes || rows[i].value_bytes == value_bytes))
            return true;
    return false;
}

/* A group is a word for its rows, between others too; together they have all that a table of engines should have, and
 * no row twice. */
START_TEST(groups_stand_for_their_rows)
{
    struct row_spec rows[ROW_SPECS_MAX];
    uint32_t count = 0, all = 0;
    for (const struct row_group *group = row_groups; group->name; group++) {
        ck_assert_msg(row_specs_parse(group->name, rows, &count) == PLSM_OK, "%s: %s", group->name, plsm_message());
        all += count;
        ck_assert_ptr_nonnull(strstr(bench_contest_rows, group->name));
    }
    ck_assert_int_eq(row_specs_parse("readseq,sync,mixed", rows, &count), PLSM_OK);
    ck_assert_str_eq(rows[0].title, "readseq");
    ck_assert_str_eq(rows[1].title, "overwrite:sync:ops=2k");
    ck_assert_str_eq(rows[count - 1].title, "mixed");
    ck_assert_int_eq(row_specs_parse("syncs", rows, &count), PLSM_INVALID);
    ck_assert_int_eq(row_specs_parse("values,values,values,values,values", rows, &count), PLSM_INVALID);
    ck_assert_int_eq(row_specs_parse(bench_contest_rows, rows, &count), PLSM_OK);
    ck_assert_uint_eq(count, all);
    ck_assert(has_row(rows, count, 0, 2, 0) && has_row(rows, count, 100, 0, 0) && has_row(rows, count, 1000, 0, 0));
    ck_assert(has_row(rows, count, 0, 0, 10) && has_row(rows, count, 0, 0, 1 << 10));
    ck_assert(has_row(rows, count, 0, 0, 64 << 10) && has_row(rows, count, 0, 0, 1 << 20));
    for (uint32_t i = 0; i < count; i++) {
        struct row_options options = {.keys = 1000000, .value_bytes = 100, .batch = 1, .shape = "random"};
        row_spec_apply(&rows[i], &options);
        ck_assert_msg(row_options_check(&options) == PLSM_OK, "%s: %s", rows[i].title, plsm_message());
        ck_assert_msg(options.keys * options.value_bytes <= 128 << 20, "%s is large", rows[i].title);
        for (uint32_t j = 0; j < i; j++)
            ck_assert_str_ne(rows[i].title, rows[j].title);
    }
}
END_TEST

#define SETTINGS ":batch=1:batch=1:batch=1:batch=1"
#define LONG_ROW "readrandom" SETTINGS SETTINGS SETTINGS

START_TEST(wrong_rows_are_refused)
{
    static const char *const wrong[] = {"",
                                        "frob",
                                        "readrandom,",
                                        ",readrandom",
                                        "readrandom:",
                                        "readrandom:frob",
                                        "readrandom:batch",
                                        "readrandom:batch=",
                                        "readrandom:batch=0",
                                        "readrandom:batch=x",
                                        "readrandom:batch=2m",
                                        "readrandom:threads=257",
                                        "readrandom:state=hot",
                                        "readrandom:sync=1",
                                        "readrandom:value-bytes=2m",
                                        "readrandom:keys=0",
                                        "readrandom:keys=2g",
                                        "readrandom:bytes=x",
                                        ":batch=1",
                                        LONG_ROW};
    struct row_spec rows[ROW_SPECS_MAX];
    uint32_t count = 0;
    char many[ROW_SPECS_MAX * 8 + 16] = "";
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        ck_assert_msg(row_specs_parse(wrong[i], rows, &count) == PLSM_INVALID, "\"%s\" was taken", wrong[i]);
    for (int i = 0; i <= ROW_SPECS_MAX; i++)
        snprintf(many + strlen(many), sizeof many - strlen(many), "%smixed", i ? "," : "");
    ck_assert_int_eq(row_specs_parse(many, rows, &count), PLSM_INVALID);
    ck_assert_int_eq(row_specs_parse(bench_first_rows, rows, &count), PLSM_OK);
    ck_assert_uint_eq(count, 6);
}
END_TEST

START_TEST(rows_beyond_the_limits_are_refused)
{
    struct row_options options = {.workload = workload_find("deleterandom"), .keys = 10, .ops = 10, .batch = 1000};
    options.value_bytes = PLSM_INLINE_MAX;
    ck_assert_int_eq(row_options_check(&options), PLSM_OK);
    options.batch = 10000;
    ck_assert_int_eq(row_options_check(&options), PLSM_INVALID);
    options.value_bytes = PLSM_INLINE_MAX + 1;
    options.batch = 2;
    ck_assert_int_eq(row_options_check(&options), PLSM_INVALID);
    options.batch = 1;
    ck_assert_int_eq(row_options_check(&options), PLSM_OK);
    options.ops = 11;
    ck_assert_int_eq(row_options_check(&options), PLSM_INVALID);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tools/row specs");
    TCase *texts = tcase_create("rows");
    tcase_add_test(texts, rows_are_read_with_their_settings);
    tcase_add_test(texts, rows_of_so_many_bytes_have_fewer_keys);
    tcase_add_test(texts, groups_stand_for_their_rows);
    tcase_add_test(texts, wrong_rows_are_refused);
    tcase_add_test(texts, rows_beyond_the_limits_are_refused);
    tcase_set_timeout(texts, 60);
    suite_add_tcase(suite, texts);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
