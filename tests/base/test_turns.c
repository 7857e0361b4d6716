/* Turns: one leads at a time, everybody is served once, and in the order of the queue. */
#include <check.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/env.h"
#include "base/random.h"
#include "base/turns.h"
#include "base/banned.h"

enum { THREADS = 4, ROUNDS = 20000, SERVED_MAX = 3 };

static mutex lock;
static struct turns turns;

static void setup(void)
{
    mutex_init(&lock);
    turns_init(&turns, &lock);
}

static void teardown(void)
{
    ck_assert_ptr_null(atomic_load(&turns.last));
    mutex_destroy(&lock);
}

START_TEST(the_queue_keeps_its_order)
{
    struct turn a, b, c, d;
    bool second = true;
    turn_init(&a, NULL);
    turn_init(&b, NULL);
    turn_init(&c, NULL);
    turn_init(&d, NULL);
    ck_assert(turns_try(&turns, &a));
    ck_assert(!turns_try(&turns, &b));
    ck_assert(!turns_hover(&turns, &b)); /* nobody leaves meanwhile */
    ck_assert_ptr_null(turn_behind(&a));
    ck_assert(!turns_queue(&turns, &b, &second));
    ck_assert(second);
    ck_assert(!turns_queue(&turns, &c, &second));
    ck_assert(!second);
    ck_assert_ptr_eq(turn_behind(&a), &b);
    ck_assert_ptr_eq(turns_leave(&turns, &b), &c); /* a has served b */
    bool locked = false;
    turns_tell(&turns, &b, TURN_DONE, &locked);
    ck_assert(!locked); /* it does not sleep */
    turns_hand_over(&turns, &c);
    ck_assert_int_eq(turns_await(&turns, &b, true), TURN_DONE);
    ck_assert_int_eq(turns_await(&turns, &c, false), TURN_LEADS);
    ck_assert(!turns_try(&turns, &d)); /* not before c has left */
    ck_assert_ptr_null(turns_leave(&turns, &c));
    ck_assert(turns_hover(&turns, &d));
    ck_assert_ptr_null(turns_leave(&turns, &d));
    turn_init(&a, NULL);
    ck_assert(turns_queue(&turns, &a, &second));
    ck_assert_ptr_null(turns_leave(&turns, &a));
}
END_TEST

/* A turn with what its thread wants done, as writers of a store are. */
struct visitor {
    struct turn turn; /* first */
    unsigned thread;
    bool served;
};

/* Plain variables: only who leads may touch them. */
static bool inside;
static uint64_t visits[THREADS], led;
static atomic_uint done;

/* For threads: a failed check must not jump out of one. */
static void must(bool holds)
{
    if (!holds)
        abort();
}

static void visit(struct visitor *v)
{
    must(!v->served);
    v->served = true;
    visits[v->thread]++;
}

static void lead(struct visitor *me, uint64_t random)
{
    struct visitor *served[SERVED_MAX + 1];
    unsigned count = 0, most = 1 + (unsigned)(random % (SERVED_MAX + 1));
    bool locked = false;
    must(!inside);
    inside = true;
    led++;
    for (struct turn *t = &me->turn; t && count < most; t = turn_behind(t)) {
        served[count] = (struct visitor *)t;
        visit(served[count++]);
    }
    if (random >> 32 & 1) /* some come meanwhile, and fall asleep */
        spin_moment();
    if ((random >> 40 & 255) == 0)
        env_sleep_ns(env_posix(), 100000);
    inside = false;
    struct turn *next = turns_leave(&turns, &served[count - 1]->turn);
    turns_tell_served(&turns, &me->turn, count, PLSM_OK, &locked);
    if (next)
        turns_tell(&turns, next, TURN_LEADS, &locked);
    if (locked)
        mutex_unlock(&lock);
}

static void come_and_go(void *arg)
{
    unsigned thread = (unsigned)(uintptr_t)arg;
    struct random random;
    random_seed(&random, thread + 1);
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct visitor me = {.thread = thread};
        uint64_t r = random_next(&random);
        bool second = false;
        turn_init(&me.turn, NULL);
        bool leads = turns_try(&turns, &me.turn) || (r >> 50 & 1 && turns_hover(&turns, &me.turn)) ||
                     turns_queue(&turns, &me.turn, &second) ||
                     turns_await(&turns, &me.turn, second && (r >> 51 & 3)) == TURN_LEADS;
        if (leads)
            lead(&me, r);
        else
            atomic_fetch_add(&done, 1);
        must(me.served);
    }
}

START_TEST(everybody_is_served_once)
{
    struct env_thread *threads[THREADS];
    uint64_t sum = 0;
    for (unsigned i = 0; i < THREADS; i++)
        ck_assert_int_eq(env_thread_start(env_posix(), come_and_go, (void *)(uintptr_t)i, &threads[i]), PLSM_OK);
    for (unsigned i = 0; i < THREADS; i++)
        env_thread_join(threads[i]);
    for (unsigned i = 0; i < THREADS; i++) {
        ck_assert_uint_eq(visits[i], ROUNDS);
        sum += visits[i];
    }
    ck_assert_uint_eq(led + done, sum);
    ck_assert_uint_gt(done, 0);
    ck_assert(!inside);
}
END_TEST

static uint64_t guarded;

static void add(void *arg)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        mutex_lock_hovering(arg);
        guarded++;
        if (i % 256 == 0) /* longer than anybody hovers */
            env_sleep_ns(env_posix(), 50000);
        mutex_unlock(arg);
    }
}

START_TEST(a_lock_that_is_hovered_over_is_held_by_one)
{
    struct env_thread *threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++)
        ck_assert_int_eq(env_thread_start(env_posix(), add, &lock, &threads[i]), PLSM_OK);
    for (unsigned i = 0; i < THREADS; i++)
        env_thread_join(threads[i]);
    ck_assert_uint_eq(guarded, (uint64_t)THREADS * ROUNDS);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("turns");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 120);
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_test(all, the_queue_keeps_its_order);
    tcase_add_test(all, everybody_is_served_once);
    tcase_add_test(all, a_lock_that_is_hovered_over_is_held_by_one);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
