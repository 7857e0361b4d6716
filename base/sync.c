/* Mutexes and condition variables. */
#include "base/sync.h"

#include <errno.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>
#if defined(__linux__)
#include <linux/membarrier.h>
#include <sys/syscall.h>
#endif

#include "base/error.h"

#include "base/banned.h"

void mutex_init(mutex *m)
{
    int error = pthread_mutex_init(m, NULL);
    INVARIANT(error == 0); /* glibc: default attributes need no memory */
}

void mutex_init_brief(mutex *m)
{
#if defined(PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP)
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP);
    int error = pthread_mutex_init(m, &attributes);
    INVARIANT(error == 0);
    pthread_mutexattr_destroy(&attributes);
#else
    mutex_init(m);
#endif
}

void mutex_destroy(mutex *m)
{
    int error = pthread_mutex_destroy(m);
    INVARIANT(error == 0); /* EBUSY: destroyed while held */
}

void spin_yield(void)
{
    sched_yield();
}

void spin_moment(void)
{
    enum { PAUSES = 64 };
    for (unsigned i = 0; i < PAUSES; i++)
        spin_pause();
}

bool mutex_lock_hovering(mutex *m)
{
    for (unsigned i = 0; i < MOMENTS; i++) {
        if (pthread_mutex_trylock(m) == 0)
            return i == 0;
        spin_moment();
    }
    mutex_lock(m);
    return false;
}

#if defined(__linux__) && defined(SYS_membarrier)
bool barrier_for_all_prepare(void)
{
    return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
}

bool barrier_for_all(void)
{
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0)
        return true;
    /* EPERM: nobody has asked for it in this process, which is a copy of the one that did. */
    return errno == EPERM && barrier_for_all_prepare() &&
           syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0;
}
#else
bool barrier_for_all_prepare(void)
{
    return false;
}

bool barrier_for_all(void)
{
    return false;
}
#endif

void condition_init(condition *c)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    /* A timeout must not jump when somebody sets the clock. */
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    int error = pthread_cond_init(c, &attributes);
    INVARIANT(error == 0);
    pthread_condattr_destroy(&attributes);
}

void condition_destroy(condition *c)
{
    pthread_cond_destroy(c);
}

int condition_wait_ns(condition *c, mutex *m, uint64_t timeout_ns)
{
    enum { SECOND = 1000000000 };
    /* Beyond a century is for ever: keeps time_t from overflowing when a caller passes UINT64_MAX. */
    const uint64_t timeout_ns_max = UINT64_C(100) * 366 * 86400 * SECOND;
    if (timeout_ns > timeout_ns_max)
        timeout_ns = timeout_ns_max;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t nsec = (uint64_t)until.tv_nsec + timeout_ns % SECOND;
    until.tv_sec += (time_t)(timeout_ns / SECOND + nsec / SECOND);
    until.tv_nsec = (long)(nsec % SECOND);
    return pthread_cond_timedwait(c, m, &until) != ETIMEDOUT;
}
