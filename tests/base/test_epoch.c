/* Epoch-based reclamation: what readers can reach is never freed (a use after free shows under the address sanitizer,
 * and by the poison below), what they cannot reach is. */
#include <check.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/env.h"
#include "base/epoch.h"
#include "base/random.h"
#include "base/sync.h"

#include "base/banned.h"

#define ALIVE UINT64_C(0x616c6976656f626a)

struct object {
    struct epoch_node node;
    uint64_t state, check;
    atomic_uint *freed;
};

static void object_free(struct epoch_node *node)
{
    struct object *object = (struct object *)node; /* node is its first member */
    ck_assert_uint_eq(object->state, ALIVE);
    atomic_fetch_add(object->freed, 1);
    object->state = 0;
    mem_free(object);
}

static struct object *object_create(uint64_t check, atomic_uint *freed)
{
    struct object *object = mem_zalloc(sizeof *object);
    *object = (struct object){.state = ALIVE, .check = check, .freed = freed};
    return object;
}

START_TEST(nothing_is_freed_while_a_reader_is_inside)
{
    struct epoch *domain = epoch_create();
    atomic_uint freed = 0;
    struct object *a = object_create(1, &freed), *b = object_create(2, &freed);
    epoch_enter(domain);
    epoch_enter(domain);
    epoch_retire(domain, &a->node, object_free);
    epoch_reclaim(domain);
    epoch_exit(domain); /* still inside the outer bracket */
    epoch_reclaim(domain);
    ck_assert_uint_eq(freed, 0);
    ck_assert_uint_eq(a->state, ALIVE);
    epoch_exit(domain);
    epoch_reclaim(domain);
    ck_assert_uint_eq(freed, 1);
    epoch_retire(domain, &b->node, object_free);
    epoch_destroy(domain);
    ck_assert_uint_eq(freed, 2);
    epoch_destroy(NULL);
}
END_TEST

START_TEST(retiring_alone_frees_in_the_end)
{
    struct epoch *domain = epoch_create();
    atomic_uint freed = 0;
    for (unsigned i = 1; i <= 1000; i++) {
        struct object *object = object_create(i, &freed);
        epoch_retire(domain, &object->node, object_free);
        ck_assert_uint_le(i - freed, 64);
    }
    epoch_reclaim(domain);
    ck_assert_uint_eq(freed, 1000);
    epoch_destroy(domain);
}
END_TEST

static struct epoch *chain_domain;

static void chain_free(struct epoch_node *node)
{
    struct object *object = (struct object *)node;
    if (object->check > 0) {
        struct object *next = object_create(object->check - 1, object->freed);
        epoch_retire(chain_domain, &next->node, chain_free);
    }
    object_free(node);
}

START_TEST(freeing_may_retire_more)
{
    chain_domain = epoch_create();
    atomic_uint freed = 0;
    struct object *object = object_create(99, &freed);
    epoch_retire(chain_domain, &object->node, chain_free);
    epoch_destroy(chain_domain);
    ck_assert_uint_eq(freed, 100);
}
END_TEST

START_TEST(quiescence_waits_for_older_readers_only)
{
    struct epoch *domain = epoch_create(), *other = epoch_create();
    uint64_t before = epoch_advance(domain);
    ck_assert(epoch_quiescent(domain, before));
    epoch_enter(domain);
    epoch_enter(other);
    ck_assert(epoch_quiescent(domain, before)); /* entered after it */
    uint64_t after = epoch_advance(domain);
    ck_assert_uint_gt(after, before);
    ck_assert(!epoch_quiescent(domain, after));
    epoch_exit(domain);
    ck_assert(epoch_quiescent(domain, after)); /* a bracket of another domain does not matter */
    ck_assert(!epoch_quiescent(other, epoch_advance(other)));
    epoch_exit(other);
    epoch_destroy(domain);
    epoch_destroy(other);
}
END_TEST

/* --- readers and writers at once --- */

enum { READERS = 6, WRITERS = 2, CELLS = 8, WRITES = 20000 };

static struct {
    struct epoch *domain;
    _Atomic(struct object *) cells[CELLS];
    atomic_uint freed;
    atomic_bool stop;
    atomic_uint wrong;
} stress;

static void read_cells(void *arg)
{
    struct random random;
    random_seed(&random, (uintptr_t)arg);
    while (!atomic_load(&stress.stop)) {
        epoch_enter(stress.domain);
        struct object *object = atomic_load_explicit(&stress.cells[random_below(&random, CELLS)], memory_order_acquire);
        uint64_t check = object->check;
        for (unsigned i = random_below(&random, 30); i > 0; i--)
            if (object->state != ALIVE || object->check != check)
                atomic_fetch_add(&stress.wrong, 1);
        if (random_below(&random, 1000) == 0)
            env_sleep_ns(env_posix(), 1000); /* others retire many meanwhile */
        if (object->state != ALIVE || object->check != check)
            atomic_fetch_add(&stress.wrong, 1);
        epoch_exit(stress.domain);
    }
}

static void write_cells(void *arg)
{
    struct random random;
    random_seed(&random, (uintptr_t)arg);
    for (unsigned i = 0; i < WRITES; i++) {
        struct object *new = object_create(random_next(&random), &stress.freed);
        struct object *old = atomic_exchange(&stress.cells[random_below(&random, CELLS)], new);
        epoch_retire(stress.domain, &old->node, object_free);
    }
}

START_TEST(readers_never_see_freed_objects)
{
    stress.domain = epoch_create();
    for (int i = 0; i < CELLS; i++)
        atomic_store(&stress.cells[i], object_create((uint64_t)i, &stress.freed));
    struct env_thread *threads[READERS + WRITERS] = {0};
    for (uintptr_t i = 0; i < READERS + WRITERS; i++)
        ck_assert_int_eq(
            env_thread_start(env_posix(), i < READERS ? read_cells : write_cells, (void *)(i + 1), &threads[i]),
            PLSM_OK);
    for (int i = READERS; i < READERS + WRITERS; i++)
        env_thread_join(threads[i]);
    atomic_store(&stress.stop, true);
    for (int i = 0; i < READERS; i++)
        env_thread_join(threads[i]);
    ck_assert_uint_eq(stress.wrong, 0);
    epoch_reclaim(stress.domain);
    ck_assert_uint_eq(stress.freed, WRITERS * WRITES);
    for (int i = 0; i < CELLS; i++)
        mem_free(atomic_load(&stress.cells[i]));
    epoch_destroy(stress.domain);
}
END_TEST

/* --- slots --- */

static struct {
    struct epoch *domain;
    mutex lock;
    condition changed;
    unsigned inside;
    bool leave;
} crowd;

static void visit(void *arg)
{
    epoch_enter(crowd.domain);
    mutex_lock(&crowd.lock);
    crowd.inside++;
    condition_broadcast(&crowd.changed);
    while (!crowd.leave)
        condition_wait(&crowd.changed, &crowd.lock);
    mutex_unlock(&crowd.lock);
    epoch_exit(crowd.domain);
}

/* More threads over time than there are slots: ended threads give theirs back. */
START_TEST(ended_threads_give_slots_back)
{
    crowd.domain = epoch_create();
    mutex_init(&crowd.lock);
    condition_init(&crowd.changed);
    crowd.leave = true;
    for (int i = 0; i < EPOCH_THREADS + 100; i++) {
        struct env_thread *thread = NULL;
        ck_assert_int_eq(env_thread_start(env_posix(), visit, NULL, &thread), PLSM_OK);
        env_thread_join(thread);
    }
    ck_assert_uint_eq(crowd.inside, EPOCH_THREADS + 100);
    /* Many at once, all inside: an object retired now waits for each. */
    enum { MANY = 64 };
    struct env_thread *threads[MANY] = {0};
    crowd.leave = false;
    crowd.inside = 0;
    for (int i = 0; i < MANY; i++)
        ck_assert_int_eq(env_thread_start(env_posix(), visit, NULL, &threads[i]), PLSM_OK);
    mutex_lock(&crowd.lock);
    while (crowd.inside < MANY)
        condition_wait(&crowd.changed, &crowd.lock);
    mutex_unlock(&crowd.lock);
    atomic_uint freed = 0;
    struct object *object = object_create(1, &freed);
    epoch_retire(crowd.domain, &object->node, object_free);
    epoch_reclaim(crowd.domain);
    ck_assert_uint_eq(freed, 0);
    mutex_lock(&crowd.lock);
    crowd.leave = true;
    condition_broadcast(&crowd.changed);
    mutex_unlock(&crowd.lock);
    for (int i = 0; i < MANY; i++)
        env_thread_join(threads[i]);
    epoch_reclaim(crowd.domain);
    ck_assert_uint_eq(freed, 1);
    epoch_destroy(crowd.domain);
    condition_destroy(&crowd.changed);
    mutex_destroy(&crowd.lock);
}
END_TEST

START_TEST(condition_waits_time_out)
{
    mutex lock;
    condition never;
    mutex_init(&lock);
    condition_init(&never);
    mutex_lock(&lock);
    uint64_t start = env_now_ns(env_posix());
    while (condition_wait_ns(&never, &lock, 20000000))
        ; /* woke without reason: allowed */
    ck_assert_uint_ge(env_now_ns(env_posix()) - start, 20000000);
    mutex_unlock(&lock);
    condition_destroy(&never);
    mutex_destroy(&lock);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("epoch");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 120);
    tcase_add_test(all, nothing_is_freed_while_a_reader_is_inside);
    tcase_add_test(all, retiring_alone_frees_in_the_end);
    tcase_add_test(all, freeing_may_retire_more);
    tcase_add_test(all, quiescence_waits_for_older_readers_only);
    tcase_add_test(all, readers_never_see_freed_objects);
    tcase_add_test(all, ended_threads_give_slots_back);
    tcase_add_test(all, condition_waits_time_out);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
