/* Space taken before large pieces are written, where little is free and where the file system has no way to take any.
 * The calls to the kernel that decide are this program's own. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/env.h"
#include "base/error.h"

#include "base/banned.h"

enum { SMALL = 100, LARGE = 8 << 20 };

static char directory[64], path[80];
static uint8_t bytes[LARGE], back[LARGE];
static uint64_t bytes_free; /* what the file system tells */
static bool takes;          /* whether it lets take space */
static unsigned asked, taken;

int fstatfs(int fd, struct statfs *out)
{
    asked++;
    *out = (struct statfs){.f_type = EXT4_SUPER_MAGIC, .f_bsize = 4096, .f_bavail = bytes_free / 4096};
    return 0;
}

int fallocate(int fd, int mode, off_t from, off_t size)
{
    taken++;
    errno = EOPNOTSUPP;
    return takes ? (int)syscall(SYS_fallocate, fd, mode, from, size) : -1;
}

static void setup(void)
{
    snprintf(directory, sizeof directory, "/tmp/plsm-env-take-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/file", directory);
    for (size_t i = 0; i < LARGE; i++)
        bytes[i] = (uint8_t)(1 + i % 251);
    bytes_free = UINT64_C(1) << 40;
    takes = true;
}

static void teardown(void)
{
    unlink(path);
    rmdir(directory);
}

static void append(struct env_file *file, size_t size)
{
    ck_assert_msg(env_append(file, bytes, size) == PLSM_OK, "%s", plsm_message());
}

/* Whether this process shows the file as memory. */
static bool is_mapped(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[400];
    bool found = false;
    ck_assert_ptr_nonnull(maps);
    while (fgets(line, sizeof line, maps))
        found |= strstr(line, path) != NULL;
    fclose(maps);
    return found;
}

/* The size that another process sees. */
static uint64_t size_seen(void)
{
    struct stat status;
    ck_assert_int_eq(stat(path, &status), 0);
    return (uint64_t)status.st_size;
}

/* A large piece that is too much of what is free takes no more than itself, and small ones are copied as before. */
START_TEST(little_space_stops_no_copies)
{
    static const size_t pieces[] = {SMALL, LARGE, SMALL, SMALL, LARGE, SMALL};
    enum { PIECES = sizeof pieces / sizeof *pieces };
    struct env_file *file = NULL;
    uint64_t end = 0;
    ck_assert_int_eq(env_open(env_posix(), path, ENV_LOG, &file), PLSM_OK);
    ck_assert_uint_eq(asked, 1);
    for (unsigned i = 0; i < PIECES; i++) {
        append(file, pieces[i]);
        ck_assert_msg(is_mapped(), "piece %u", i);
        end += pieces[i];
        ck_assert_msg((size_seen() > end) == (pieces[i] == SMALL), "piece %u", i);
        bytes_free = 64 << 20; /* just enough for the 4 MiB that are taken for small ones */
    }
    end = 0;
    for (unsigned i = 0; i < PIECES; i++, end += pieces[i - 1]) {
        ck_assert_int_eq(env_read(file, end, back, pieces[i]), PLSM_OK);
        ck_assert_msg(memcmp(back, bytes, pieces[i]) == 0, "piece %u", i);
    }
    env_close(file);
}
END_TEST

/* A file system that has no way to take space is asked once, for a log with small pieces in front twice. */
START_TEST(no_way_to_take_space)
{
    static const enum env_open_flags flags[] = {ENV_APPEND, ENV_LOG};
    struct env_file *file = NULL;
    takes = false;
    ck_assert_int_eq(env_open(env_posix(), path, flags[_i], &file), PLSM_OK);
    append(file, SMALL);
    for (unsigned i = 0; i < 3; i++)
        append(file, LARGE);
    ck_assert_uint_eq(taken, flags[_i] == ENV_LOG ? 2 : 1);
    ck_assert(!is_mapped());
    ck_assert_uint_eq(size_seen(), SMALL + 3 * LARGE);
    ck_assert_int_eq(env_read(file, SMALL + 2 * LARGE, back, LARGE), PLSM_OK);
    ck_assert(memcmp(back, bytes, LARGE) == 0);
    env_close(file);
}
END_TEST

/* A log whose first piece is a large one. */
START_TEST(no_way_to_take_space_ahead)
{
    struct env_file *file = NULL;
    takes = false;
    ck_assert_int_eq(env_open(env_posix(), path, ENV_LOG, &file), PLSM_OK);
    for (unsigned i = 0; i < 3; i++)
        append(file, LARGE);
    append(file, SMALL);
    ck_assert_uint_eq(taken, 1);
    ck_assert_uint_eq(size_seen(), SMALL + 3 * LARGE);
    env_close(file);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("env, space taken");
    TCase *tests = tcase_create("env_take");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, little_space_stops_no_copies);
    tcase_add_loop_test(tests, no_way_to_take_space, 0, 2);
    tcase_add_test(tests, no_way_to_take_space_ahead);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
