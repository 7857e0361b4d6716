/* Mutexes and condition variables of the C library under names of our own: one place to change them, and the only one
 * that calls pthread besides env_posix.c (threads themselves come from base/env). */
#ifndef BASE_SYNC_H
#define BASE_SYNC_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

typedef pthread_mutex_t mutex;
typedef pthread_cond_t condition;

void mutex_init(mutex *m);
/* Of one that is mostly held for a few instructions: who finds it locked looks again at once, for a moment, before
 * going to sleep, which takes ten times as long. */
void mutex_init_brief(mutex *m);
void mutex_destroy(mutex *m);
static inline void mutex_lock(mutex *m) { pthread_mutex_lock(m); }
static inline bool mutex_lock_if_free(mutex *m) { return pthread_mutex_trylock(m) == 0; }
static inline void mutex_unlock(mutex *m) { pthread_mutex_unlock(m); }

/* Between two looks at a variable that another thread is about to change. */
static inline void spin_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Instead of it once that has been in vain for long: whoever is to change the variable may be waiting for this
 * processor. */
void spin_yield(void);

/* About a microsecond, less or more by the kind of processor: between two looks that take the variable's line from
 * whoever is at work with it. */
void spin_moment(void);
enum { MOMENTS = 8 }; /* of them, before it is time to sleep */

/* For a lock that is taken again and again for less than it takes to wake up a thread, or to bring what it guards to
 * another processor: looks from time to time whether it is free before it sleeps (turns.h tells why), so not at once as
 * with mutex_init_brief. Returns whether nobody had it. */
bool mutex_lock_hovering(mutex *m);

/* Barriers that one side pays for, where the other one passes often: whoever calls barrier_for_all has each thread of
 * this process pass a full memory barrier between the call and its return, wherever that thread is then; so it need
 * only keep the compiler from changing its order (Linux's membarrier; Desnoyers, McKenney, Stern, Dagenais and Walpole,
 * "User-Level Implementations of Read-Copy Update", IEEE TPDS 2012). A microsecond or so.
 * barrier_for_all_prepare: once, before; whether the kernel has it. barrier_for_all: false: it could not, this time. */
bool barrier_for_all_prepare(void);
bool barrier_for_all(void);

void condition_init(condition *c); /* on the monotonic clock */
void condition_destroy(condition *c);
static inline void condition_wait(condition *c, mutex *m) { pthread_cond_wait(c, m); }
/* Waits at most `timeout_ns`; returns whether it was signalled (or woke spuriously) rather than timed out. */
int condition_wait_ns(condition *c, mutex *m, uint64_t timeout_ns);
static inline void condition_signal(condition *c) { pthread_cond_signal(c); }
static inline void condition_broadcast(condition *c) { pthread_cond_broadcast(c); }

#endif
