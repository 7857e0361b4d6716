/* Pages of mapped files that are lost (env_posix_catch_lost_pages): files that are cut short under their mappings. */
#include <check.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/env.h"
#include "base/error.h"
#include "tests/harness/temporary.h"

#include "base/banned.h"

enum { PAGE = 4096, PAGES = 4 };

#define must(call) ck_assert_msg((call) == PLSM_OK, "%s: %s", #call, plsm_message())

static char directory[64], path[80];

static void setup(void)
{
    snprintf(directory, sizeof directory, "/tmp/plsm-env-lost-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/file", directory);
    signal(SIGBUS, SIG_DFL); /* sanitizers handle it */
}

static void teardown(void)
{
    unlink(path);
    rmdir(directory);
}

static void write_pages(void)
{
    static uint8_t bytes[PAGES * PAGE];
    struct env_file *file = NULL;
    memset(bytes, 'x', sizeof bytes);
    must(env_open(env_posix(), path, ENV_APPEND, &file));
    must(env_append(file, bytes, sizeof bytes));
    env_close(file);
}

static struct env_file *map_pages(atomic_bool *lost, const volatile uint8_t **out)
{
    struct env_file *file = NULL;
    const void *map = NULL;
    must(env_open(env_posix(), path, ENV_READ, &file));
    must(env_map(file, (size_t)PAGES * PAGE, lost, &map));
    *out = map;
    return file;
}

START_TEST(a_read_of_a_lost_page_is_told)
{
    atomic_bool lost = false, other_lost = false;
    const volatile uint8_t *map = NULL, *other = NULL;
    uint8_t byte = 0;
    env_posix_catch_lost_pages();
    write_pages();
    struct env_file *file = map_pages(&lost, &map), *second = map_pages(&other_lost, &other);
    ck_assert_int_eq(map[3 * PAGE], 'x');
    ck_assert(env_map_whole(&lost));
    ck_assert_int_eq(truncate(path, PAGE), 0);
    ck_assert_int_eq(map[0], 'x');
    ck_assert(env_map_whole(&lost));
    ck_assert_int_eq(map[2 * PAGE + 5], 0);
    ck_assert(!env_map_whole(&lost));
    ck_assert_int_eq(map[PAGE - 1], 'x'); /* what is there still */
    ck_assert_int_eq(env_read(file, 2 * PAGE + 5, &byte, 1), PLSM_CORRUPT);
    ck_assert(env_map_whole(&other_lost));
    env_close(file);
    ck_assert_int_eq(other[PAGE], 0);
    ck_assert(!env_map_whole(&other_lost));
    env_close(second);
}
END_TEST

static const volatile uint8_t *shared_map;

static void touch(void *arg)
{
    *(int *)arg = shared_map[PAGE];
}

START_TEST(threads_of_the_environment_are_told)
{
    atomic_bool lost = false;
    struct env_thread *thread = NULL;
    int seen = -1;
    env_posix_catch_lost_pages();
    write_pages();
    struct env_file *file = map_pages(&lost, &shared_map);
    ck_assert_int_eq(truncate(path, 0), 0);
    must(env_thread_start(env_posix(), touch, &seen, &thread));
    env_thread_join(thread);
    ck_assert_int_eq(seen, 0);
    ck_assert(!env_map_whole(&lost));
    env_close(file);
}
END_TEST

/* More than a block of watches, which are used again. */
START_TEST(each_of_many_mappings_has_its_own_note)
{
    enum { MANY = 250 };
    static atomic_bool lost[MANY];
    static struct env_file *files[MANY];
    const volatile uint8_t *maps[MANY];
    env_posix_catch_lost_pages();
    write_pages();
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < MANY; i++)
            if (!files[i])
                files[i] = map_pages(&lost[i], &maps[i]);
        for (unsigned i = round; i < MANY; i += 3 - round) {
            env_close(files[i]);
            files[i] = NULL;
        }
    }
    ck_assert_int_eq(truncate(path, 0), 0);
    for (unsigned i = 0; i < MANY; i++)
        if (files[i]) {
            ck_assert(env_map_whole(&lost[i]));
            ck_assert_int_eq(maps[i][PAGE], 0);
            ck_assert(!env_map_whole(&lost[i]));
            env_close(files[i]);
            files[i] = NULL;
        } else {
            ck_assert(env_map_whole(&lost[i]));
        }
}
END_TEST

/* Sends this thread what the kernel does for a page of memory that is damaged. */
static void damage(int code, const volatile void *address)
{
    siginfo_t info = {.si_signo = SIGBUS, .si_code = code};
    info.si_addr = (void *)(uintptr_t)address;
    ck_assert_int_eq(syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGBUS, &info), 0);
}

/* Of a page that nobody asked for nothing is lost yet; that one is asked for is another signal. */
START_TEST(damage_that_is_told_ahead_loses_nothing)
{
    atomic_bool lost = false;
    const volatile uint8_t *map = NULL;
    env_posix_catch_lost_pages();
    write_pages();
    struct env_file *file = map_pages(&lost, &map);
    damage(BUS_MCEERR_AO, map + PAGE);
    damage(BUS_MCEERR_AO, path); /* in no mapping */
    ck_assert(env_map_whole(&lost));
    ck_assert_int_eq(map[PAGE], 'x');
    damage(BUS_MCEERR_AR, map + PAGE);
    ck_assert(!env_map_whole(&lost));
    ck_assert_int_eq(map[PAGE], 0);
    ck_assert_int_eq(map[2 * PAGE], 'x');
    ck_assert_int_eq(truncate(path, 0), 0);
    ck_assert_int_eq(map[2 * PAGE], 0); /* is caught still */
    env_close(file);
}
END_TEST

/* Appends at first, then to a page that is no more; `over`: to a file that is written over. */
START_TEST(nothing_is_done_to_a_log_that_lost_a_page)
{
    bool over = _i;
    struct env_file *file = NULL;
    uint8_t bytes[3000] = {1, 2, 3};
    env_posix_catch_lost_pages();
    if (!temporary_maps_logs(directory))
        return;
    if (over)
        write_pages();
    must(env_open(env_posix(), path, over ? ENV_LOG_OVER : ENV_LOG, &file));
    must(env_append(file, bytes, 100));
    ck_assert_int_eq(truncate(path, 0), 0);
    ck_assert_int_eq(env_append(file, bytes, 100), PLSM_IO);
    ck_assert_msg(strstr(plsm_message(), path) && strstr(plsm_message(), "lost"), "%s", plsm_message());
    ck_assert_int_eq(env_append(file, bytes, 100), PLSM_IO);
    ck_assert_int_eq(env_append(file, bytes, sizeof bytes), PLSM_IO); /* would be written */
    ck_assert_int_eq(env_append_pieces(file, &(plsm_slice){bytes, 10}, 1), PLSM_IO);
    ck_assert_int_eq(env_append_synced(file, bytes, 10), PLSM_IO);
    ck_assert_int_eq(env_sync(file), PLSM_IO);
    ck_assert_int_eq(env_truncate(file, 100), PLSM_IO);
    env_close(file);
    must(env_open(env_posix(), path, ENV_LOG, &file)); /* the next handle knows nothing of it */
    must(env_append(file, bytes, 100));
    must(env_sync(file));
    env_close(file);
}
END_TEST

/* A store behind the end of a file within its last page is no SIGBUS: neither is it acknowledged. */
START_TEST(a_log_that_is_cut_within_a_page_is_not_synced)
{
    struct env_file *file = NULL;
    uint8_t bytes[100] = {1, 2, 3};
    plsm_status status = PLSM_OK;
    if (!temporary_maps_logs(directory))
        return;
    must(env_open(env_posix(), path, ENV_LOG, &file));
    must(env_append(file, bytes, sizeof bytes));
    ck_assert_int_eq(truncate(path, 50), 0);
    for (unsigned i = 0; i < 2 * PAGE / sizeof bytes && status == PLSM_OK; i++) {
        status = env_append(file, bytes, sizeof bytes);
        if (_i == 0)
            status = env_sync(file);
    }
    ck_assert_int_eq(status, PLSM_IO);
    ck_assert_msg(strstr(plsm_message(), path) && strstr(plsm_message(), "lost"), "%s", plsm_message());
    ck_assert_int_eq(env_append(file, bytes, sizeof bytes), PLSM_IO);
    ck_assert_int_eq(env_sync(file), PLSM_IO);
    env_close(file);
}
END_TEST

static void sync_often(void *arg)
{
    for (unsigned i = 0; i < 100; i++)
        must(env_sync(arg));
}

/* Of the handle itself a cut is no loss, also where another thread syncs beside. */
START_TEST(cuts_of_its_own_lose_nothing)
{
    struct env_file *file = NULL;
    struct env_thread *thread = NULL;
    uint8_t bytes[100] = {1, 2, 3};
    must(env_open(env_posix(), path, ENV_LOG, &file));
    must(env_append(file, bytes, sizeof bytes));
    must(env_thread_start(env_posix(), sync_often, file, &thread));
    for (unsigned i = 0; i < 100; i++) {
        must(env_truncate(file, 50));
        must(env_append(file, bytes, sizeof bytes));
    }
    env_thread_join(thread);
    must(env_sync(file));
    env_close(file);
}
END_TEST

/* A page of a file that is mapped by somebody else, of which nobody has anything. */
static volatile uint8_t *foreign_page(void)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    void *memory = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
    ck_assert_ptr_ne(memory, MAP_FAILED);
    close(fd);
    return memory;
}

static sigjmp_buf back;
static volatile sig_atomic_t caught;

static void on_signal(int number)
{
    caught = number;
    siglongjmp(back, 1);
}

static void on_signal_with_address(int number, siginfo_t *info, void *context)
{
    caught = info->si_addr ? number : -1;
    siglongjmp(back, 1);
}

START_TEST(other_pages_go_to_the_handler_before)
{
    struct sigaction theirs = {.sa_handler = on_signal};
    if (_i) {
        theirs.sa_flags = SA_SIGINFO;
        theirs.sa_sigaction = on_signal_with_address;
    }
    ck_assert_int_eq(sigaction(SIGBUS, &theirs, NULL), 0);
    env_posix_catch_lost_pages();
    env_posix_catch_lost_pages();
    volatile uint8_t *page = foreign_page();
    if (sigsetjmp(back, 1) == 0)
        ck_assert_int_eq(page[0], -1); /* not reached */
    ck_assert_int_eq(caught, SIGBUS);
}
END_TEST

/* How a process ends that has caught lost pages, and had none or SIG_IGN (`ignored`) before. */
static int end_of(bool ignored, bool sent)
{
    int status = 0;
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        signal(SIGBUS, ignored ? SIG_IGN : SIG_DFL);
        env_posix_catch_lost_pages();
        if (sent)
            raise(SIGBUS);
        else
            _exit(foreign_page()[0]);
        _exit(77);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
}

START_TEST(without_a_handler_before_the_process_ends)
{
    ck_assert_int_eq(end_of(false, false), SIGBUS);
    ck_assert_int_eq(end_of(true, false), SIGBUS); /* the kernel lets nobody ignore it */
    ck_assert_int_eq(end_of(false, true), SIGBUS);
    ck_assert_int_eq(end_of(true, true), -77);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("env, lost pages");
    TCase *tests = tcase_create("env_lost");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, a_read_of_a_lost_page_is_told);
    tcase_add_test(tests, threads_of_the_environment_are_told);
    tcase_add_test(tests, each_of_many_mappings_has_its_own_note);
    tcase_add_loop_test(tests, nothing_is_done_to_a_log_that_lost_a_page, 0, 2);
    tcase_add_test(tests, damage_that_is_told_ahead_loses_nothing);
    tcase_add_loop_test(tests, a_log_that_is_cut_within_a_page_is_not_synced, 0, 2);
    tcase_add_test(tests, cuts_of_its_own_lose_nothing);
    tcase_add_loop_test(tests, other_pages_go_to_the_handler_before, 0, 2);
    tcase_add_test(tests, without_a_handler_before_the_process_ends);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
