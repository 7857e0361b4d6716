/* What callers of the mount get for a failure, and which failures are counted. */
#include <check.h>
#include <errno.h>

#include "base/error.h"
#include "fs/fs.h"
#include "base/banned.h"

START_TEST(test_errnos)
{
    static struct fs fs;
    mutex_init(&fs.error_lock);
    ck_assert_int_eq(fs_errno(&fs, PLSM_OK), 0);
    ck_assert_int_eq(fs_errno_of_change(&fs, PLSM_OK), 0);
    ck_assert_int_eq(fs_errno(&fs, PLSM_NO_SPACE), ENOSPC);
    ck_assert_int_eq(fs_errno_of_change(&fs, PLSM_NO_SPACE), ENOSPC);
    ck_assert_int_eq(fs_errno(&fs, fail_errno(EDQUOT, "/s/log", "append")), EDQUOT);
    ck_assert_int_eq(fs_errno(&fs, fail(PLSM_NOT_FOUND, "no such key")), ENOENT);
    ck_assert_uint_eq(fs.errors, 0);
    ck_assert_int_eq(fs_errno_of_change(&fs, fail(PLSM_NOT_FOUND, "the entry is\ngone")), EIO);
    ck_assert_uint_eq(fs.errors, 1);
    ck_assert_str_eq(fs.error_last, "the entry is gone");
    ck_assert_int_eq(fs_errno(&fs, fail(PLSM_CORRUPT, "a checksum")), EIO);
    ck_assert_uint_eq(fs.errors, 2);
    ck_assert_str_eq(fs.error_last, "a checksum");
    mutex_destroy(&fs.error_lock);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("errors");
    TCase *tests = tcase_create("tests");
    tcase_add_test(tests, test_errnos);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
