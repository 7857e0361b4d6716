/* Epochs where the kernel does not make the barriers that they ask it for: not at all, not any more, or only to a copy
 * of the process that registered. Each test is a process of its own: what it decides first is for good. */
#include <check.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/env.h"
#include "base/epoch.h"
#include "base/random.h"
#include "base/sync.h"

#include "base/banned.h"

/* membarrier fails in this thread from now on, and in those that it starts, as a sandbox has it. */
static void refuse_barriers(unsigned error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {.len = sizeof code / sizeof code[0], .filter = code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) {
        printf("no filter of system calls can be had here\n");
        exit(EXIT_SUCCESS);
    }
    ck_assert(!barrier_for_all());
    ck_assert_int_eq(errno, (int)error);
}

/* --- readers and writers at once --- */

#define ALIVE UINT64_C(0x616c6976656f626a)
enum { READERS = 3, WRITERS = 2, CELLS = 8, WRITES = 20000 };

struct object {
    struct epoch_node node;
    uint64_t state;
};

static struct {
    struct epoch *domain;
    _Atomic(struct object *) cells[CELLS];
    atomic_uint freed, wrong, ready;
    atomic_bool stop;
} stress;

static struct object *object_create(void)
{
    struct object *object = mem_zalloc(sizeof *object);
    object->state = ALIVE;
    return object;
}

static void object_free(struct epoch_node *node)
{
    struct object *object = (struct object *)node; /* node is its first member */
    object->state = 0;
    atomic_fetch_add(&stress.freed, 1);
    mem_free(object);
}

static void read_cells(void *arg)
{
    struct random random;
    random_seed(&random, (uintptr_t)arg);
    for (bool first = true; !atomic_load(&stress.stop); first = false) {
        epoch_enter(stress.domain);
        struct object *object = atomic_load_explicit(&stress.cells[random_below(&random, CELLS)], memory_order_acquire);
        for (unsigned i = random_below(&random, 30); i > 0; i--)
            if (object->state != ALIVE)
                atomic_fetch_add(&stress.wrong, 1);
        epoch_exit(stress.domain);
        if (first)
            atomic_fetch_add(&stress.ready, 1);
    }
}

static void write_cells(void *arg)
{
    struct random random;
    random_seed(&random, (uintptr_t)arg);
    for (unsigned i = 0; i < WRITES; i++) {
        struct object *old = atomic_exchange(&stress.cells[random_below(&random, CELLS)], object_create());
        epoch_retire(stress.domain, &old->node, object_free);
    }
}

static void start(void (*function)(void *arg), uintptr_t arg, struct env_thread **thread)
{
    ck_assert_int_eq(env_thread_start(env_posix(), function, (void *)arg, thread), PLSM_OK);
}

/* With `later`, barriers are refused when readers have been at it already, and not to them. */
static void run_stress(bool later)
{
    struct env_thread *readers[READERS] = {0}, *writers[WRITERS] = {0};
    if (!later)
        refuse_barriers(ENOSYS);
    stress.domain = epoch_create();
    for (int i = 0; i < CELLS; i++)
        atomic_store(&stress.cells[i], object_create());
    for (unsigned i = 0; i < READERS; i++)
        start(read_cells, i + 1, &readers[i]);
    while (atomic_load(&stress.ready) < READERS)
        spin_yield();
    if (later)
        refuse_barriers(EPERM);
    for (unsigned i = 0; i < WRITERS; i++)
        start(write_cells, READERS + i + 1, &writers[i]);
    for (unsigned i = 0; i < WRITERS; i++)
        env_thread_join(writers[i]);
    atomic_store(&stress.stop, true);
    for (unsigned i = 0; i < READERS; i++)
        env_thread_join(readers[i]);
    epoch_reclaim(stress.domain);
    ck_assert_uint_eq(stress.wrong, 0);
    ck_assert_uint_eq(stress.freed, WRITERS * WRITES);
    for (int i = 0; i < CELLS; i++)
        mem_free(atomic_load(&stress.cells[i]));
    epoch_destroy(stress.domain);
}

START_TEST(barriers_are_refused_from_the_start)
{
    run_stress(false);
}
END_TEST

START_TEST(barriers_are_refused_later)
{
    run_stress(true);
}
END_TEST

/* --- what waits for readers ends --- */

static void check_quiescence(struct epoch *domain)
{
    uint64_t epoch = epoch_advance(domain);
    ck_assert(epoch_quiescent(domain, epoch));
    epoch_enter(domain);
    ck_assert(!epoch_quiescent(domain, epoch_advance(domain)));
    epoch_exit(domain);
    ck_assert(epoch_quiescent(domain, epoch_advance(domain)));
}

START_TEST(quiescence_comes_without_barriers)
{
    struct epoch *domain = epoch_create();
    check_quiescence(domain);
    epoch_enter(domain);
    uint64_t inside = epoch_advance(domain);
    refuse_barriers(EPERM);
    ck_assert(!epoch_quiescent(domain, inside)); /* one who entered before is still seen */
    epoch_exit(domain);
    ck_assert(epoch_quiescent(domain, inside));
    check_quiescence(domain);
    epoch_destroy(domain);
}
END_TEST

START_TEST(quiescence_comes_in_a_copy_of_the_process)
{
    struct epoch *domain = epoch_create();
    check_quiescence(domain);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        check_quiescence(domain);
        _exit(EXIT_SUCCESS);
    }
    int how = -1;
    ck_assert_int_eq(waitpid(child, &how, 0), child);
    ck_assert_int_eq(how, 0);
    epoch_destroy(domain);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("epoch_barrier");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 120);
    tcase_add_test(all, barriers_are_refused_from_the_start);
    tcase_add_test(all, barriers_are_refused_later);
    tcase_add_test(all, quiescence_comes_without_barriers);
    tcase_add_test(all, quiescence_comes_in_a_copy_of_the_process);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_FORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
