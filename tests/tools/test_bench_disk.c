/* What rows of benchmarks tell of the disk: pages that came from it, and what it takes by itself. */
#include <check.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/error.h"
#include "tests/harness/temporary.h"
#include "tools/bench/files.h"
#include "tools/bench/floor.h"
#include "tools/bench/workload.h"
#include "base/banned.h"

/* Whether the file system of a directory has direct reads; those that have none are mostly in memory alone. */
static bool reads_directly(const char *directory)
{
    char path[512];
    double ns = 0;
    snprintf(path, sizeof path, "%s/device", directory);
    ck_assert_int_eq(floor_device_read(path, 1, 1, &ns), PLSM_OK);
    return ns > 0;
}

static struct row_options cold_reads(const struct adapter *engine, const char *options)
{
    return (struct row_options){.workload = workload_find("readrandom"),
                                .engine = engine,
                                .index = engine->has_index ? "learned" : NULL,
                                .options = options,
                                .keys = 50000,
                                .ops = 100,
                                .seed = 1,
                                .value_bytes = 100,
                                .batch = 1,
                                .threads = 1,
                                .shape = "random",
                                .state = STATE_COLD};
}

/* With one thread and several; what is in memory waits for no device. */
START_TEST(cold_reads_tell_of_the_device)
{
    struct row_options options = cold_reads(&adapter_lsm, NULL);
    struct row_result result;
    char *directory = temporary_create();
    options.threads = _i ? 3 : 1;
    bool known = reads_directly(directory);
    ck_assert_msg(workload_run(&options, directory, &result) == PLSM_OK, "%s", plsm_message());
    ck_assert(known == (result.device_ns > 0) && known == (row_device_times(&options, &result) > 0));
    if (known)
        ck_assert_double_eq_tol(row_device_times(&options, &result),
                                1e9 * options.threads / result.ops_per_s / result.device_ns, 1e-6);
    ck_assert_double_ge(result.pages_per_op, 0.7);
    temporary_destroy(directory);
}
END_TEST

/* A get of the append log reads one page by a map, or two, which no read call tells; and by calls if it is told to. */
START_TEST(pages_of_maps_are_counted_where_they_come_from_the_disk)
{
    struct row_options options = cold_reads(&adapter_appendlog, _i ? "log=written" : NULL);
    struct row_result result;
    char *directory = temporary_create();
    ck_assert_msg(workload_run(&options, directory, &result) == PLSM_OK, "%s", plsm_message());
    ck_assert((result.pages_per_op < 0) == !_i);
    if (reads_directly(directory)) {
        ck_assert_double_ge(result.disk_pages_per_op, 0.7);           /* the first reads fetched one in ten */
        ck_assert_double_le(result.disk_pages_per_op, _i ? 40 : 1.2); /* calls have the kernel read ahead */
    }
    temporary_destroy(directory);
}
END_TEST

/* A row whose writes are synced stands beside the device's own sync. */
START_TEST(synced_rows_tell_of_the_device)
{
    struct row_options options = {.workload = workload_find("overwrite"),
                                  .engine = &adapter_lsm,
                                  .index = "learned",
                                  .keys = 100,
                                  .ops = 5,
                                  .value_bytes = 10,
                                  .batch = 1,
                                  .threads = 1,
                                  .sync = true,
                                  .shape = "random"};
    struct row_result result;
    char *directory = temporary_create();
    ck_assert_msg(workload_run(&options, directory, &result) == PLSM_OK, "%s", plsm_message());
    ck_assert_double_gt(result.device_ns, 0);
    ck_assert_double_ge(result.syncs_per_op, 1);
    ck_assert_double_le(result.syncs_per_op, 2); /* of 5 puts: there may be a file made as well */
    ck_assert_double_eq_tol(row_device_times(&options, &result), 1e9 / result.ops_per_s / result.device_ns, 1e-6);
    double one = row_device_times(&options, &result);
    options.batch = 7; /* a sync for each */
    ck_assert_double_eq_tol(row_device_times(&options, &result), 7 * one, 1e-6);
    temporary_destroy(directory);
}
END_TEST

START_TEST(devices_are_measured_and_leave_nothing_behind)
{
    char path[512];
    double one = 0, three = 0, sync = 0;
    char *directory = temporary_create();
    snprintf(path, sizeof path, "%s/device", directory);
    ck_assert_int_eq(floor_device_read(path, 3 << 20, 1, &one), PLSM_OK);
    ck_assert_int_eq(floor_device_read(path, 3 << 20, 3, &three), PLSM_OK);
    ck_assert_int_eq(floor_device_sync(path, &sync), PLSM_OK);
    ck_assert(one != 0 && (one > 0) == (three > 0) && sync > 0);
    ck_assert_uint_eq(files_bytes(directory), 0);
    ck_assert_int_eq(floor_device_sync("/none/device", &sync), PLSM_NOT_FOUND);
    temporary_destroy(directory);
}
END_TEST

/* A file system in memory that only this process sees, which is a fork; false: not allowed. */
static bool mount_memory(const char *directory, const char *options)
{
    return geteuid() == 0 && unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("none", directory, "tmpfs", 0, options) == 0;
}

/* Those take direct reads since Linux 6.6, but there is no device. */
START_TEST(memory_is_no_device)
{
    char *directory = temporary_create();
    double sync = 0;
    char path[512];
    snprintf(path, sizeof path, "%s/device", directory);
    if (mount_memory(directory, "size=3m")) {
        ck_assert(!reads_directly(directory));
        ck_assert_int_eq(floor_device_sync(path, &sync), PLSM_OK);
        ck_assert_double_gt(sync, 0);
        ck_assert_uint_eq(files_bytes(directory), 0);
        ck_assert_int_eq(umount(directory), 0);
    }
    temporary_destroy(directory);
}
END_TEST

START_TEST(a_device_without_space_cannot_be_measured)
{
    char *directory = temporary_create();
    double sync = 0;
    char path[512];
    snprintf(path, sizeof path, "%s/device", directory);
    if (mount_memory(directory, "size=64k")) {
        ck_assert_int_eq(floor_device_sync(path, &sync), PLSM_OK);
        ck_assert_double_eq(sync, -1);
        ck_assert_uint_eq(files_bytes(directory), 0);
        ck_assert_int_eq(umount(directory), 0);
    }
    temporary_destroy(directory);
}
END_TEST

START_TEST(a_file_that_was_there_before_stays)
{
    char *directory = temporary_create();
    double ns = 0;
    char path[512];
    snprintf(path, sizeof path, "%s/device", directory);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fclose(file);
    ck_assert_int_eq(floor_device_read(path, 1, 1, &ns), PLSM_IO);
    ck_assert_int_eq(floor_device_sync(path, &ns), PLSM_IO);
    ck_assert_double_eq(ns, -1);
    ck_assert_int_eq(access(path, F_OK), 0);
    temporary_destroy(directory);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tools/bench disk");
    TCase *disk = tcase_create("disk");
    tcase_add_loop_test(disk, cold_reads_tell_of_the_device, 0, 2);
    tcase_add_loop_test(disk, pages_of_maps_are_counted_where_they_come_from_the_disk, 0, 2);
    tcase_add_test(disk, synced_rows_tell_of_the_device);
    tcase_add_test(disk, devices_are_measured_and_leave_nothing_behind);
    tcase_add_test(disk, memory_is_no_device);
    tcase_add_test(disk, a_device_without_space_cannot_be_measured);
    tcase_add_test(disk, a_file_that_was_there_before_stays);
    tcase_set_timeout(disk, 120);
    suite_add_tcase(suite, disk);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
