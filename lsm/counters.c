/* Striped counters. */
#include "lsm/counters.h"

#include "base/banned.h"

_Thread_local unsigned counter_stripe;

void counter_stripe_take(void)
{
    static _Atomic unsigned taken;
    unsigned mine = atomic_load_explicit(&taken, memory_order_relaxed);
    while (mine < COUNTER_STRIPES - 1 && !atomic_compare_exchange_weak(&taken, &mine, mine + 1))
        ;
    counter_stripe = mine + 1;
}

void counter_stripe_share(void)
{
    counter_stripe = COUNTER_STRIPES;
}

void counters_init(struct counters *c)
{
    c->stripes[COUNTER_STRIPES - 1].shared = true;
}

uint64_t counter_read(const struct counters *c, unsigned which)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < COUNTER_STRIPES; i++)
        sum += atomic_load_explicit(&c->stripes[i].values[which], memory_order_relaxed);
    return sum;
}

void counters_reset(struct counters *c)
{
    for (unsigned i = 0; i < COUNTER_STRIPES; i++)
        for (unsigned j = 0; j < COUNTERS; j++)
            atomic_store_explicit(&c->stripes[i].values[j], 0, memory_order_relaxed);
}

uint64_t counter_read_levels(const struct counters *c, unsigned which)
{
    uint64_t sum = 0;
    for (unsigned level = 0; level < COUNT_LEVELS; level++)
        sum += counter_read(c, which + level);
    return sum;
}
