/* Striped counters. */
#include "lsm/counters.h"

#include "base/banned.h"

unsigned counter_stripe(void)
{
    static _Atomic unsigned next;
    static _Thread_local unsigned mine; /* stripe + 1; 0: none yet */
    if (!mine)
        mine = atomic_fetch_add_explicit(&next, 1, memory_order_relaxed) % COUNTER_STRIPES + 1;
    return mine - 1;
}

uint64_t counter_read(const struct counters *c, enum counter which)
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
