/* The environment in which nobody waits. See sleepless.h. */
#include "tests/harness/sleepless.h"

#include "base/banned.h"

_Thread_local uint64_t sleepless_thread_ns;

static void sleepless_sleep_ns(struct env *env, uint64_t ns)
{
    struct sleepless *sleepless = (struct sleepless *)(void *)env;
    atomic_fetch_add(&sleepless->slept_ns, ns);
    atomic_fetch_add(&sleepless->sleeps, 1);
    sleepless_thread_ns += ns + sleepless->over_ns;
}

static uint64_t sleepless_now_ns(struct env *env)
{
    return sleepless_thread_ns;
}

void sleepless_init(struct sleepless *sleepless)
{
    static const struct env_ops ops = {.sleep_ns = sleepless_sleep_ns, .now_ns = sleepless_now_ns};
    sleepless->env.ops = &ops;
    atomic_store(&sleepless->slept_ns, 0);
    atomic_store(&sleepless->sleeps, 0);
    sleepless->over_ns = 0;
}
