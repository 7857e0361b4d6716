/* A queue whose first one leads. */
#include "base/turns.h"

#include <stdio.h>

#include "base/error.h"
#include "base/banned.h"

enum { SPINS = 200 }; /* looks for one's turn, about 3 us, before going to sleep */

bool turns_hover(struct turns *turns, struct turn *me)
{
    for (unsigned i = 0; i < MOMENTS; i++) {
        spin_moment();
        if (!atomic_load_explicit(&turns->last, memory_order_relaxed) && turns_try(turns, me))
            return true;
    }
    return false;
}

bool turns_queue(struct turns *turns, struct turn *me, bool *second)
{
    struct turn *before = atomic_exchange_explicit(&turns->last, me, memory_order_acq_rel);
    *second = false;
    if (!before) {
        atomic_store_explicit(&me->state, TURN_LEADS, memory_order_relaxed);
        return true;
    }
    /* Until the link is there it cannot go. */
    *second = atomic_load_explicit(&before->state, memory_order_relaxed) == TURN_LEADS;
    atomic_store(&before->next, me);
    return false;
}

enum turn_state turns_await(struct turns *turns, struct turn *me, bool soon)
{
    enum turn_state state = TURN_WAITS;
    for (unsigned i = 0; soon && i < SPINS; i++) {
        state = atomic_load_explicit(&me->state, memory_order_acquire);
        if (state != TURN_WAITS)
            return state;
        spin_pause();
    }
    condition_init(&me->wake);
    mutex_lock(turns->lock);
    if (atomic_compare_exchange_strong_explicit(&me->state, &state, TURN_SLEEPS, memory_order_acq_rel,
                                                memory_order_acquire))
        while ((state = atomic_load_explicit(&me->state, memory_order_acquire)) == TURN_SLEEPS)
            condition_wait(&me->wake, turns->lock);
    mutex_unlock(turns->lock);
    condition_destroy(&me->wake);
    return state;
}

struct turn *turns_next(const struct turn *turn)
{
    struct turn *next = turn_behind(turn);
    for (unsigned i = 0; !next; next = turn_behind(turn), i++) {
        if (i < SPINS)
            spin_pause();
        else
            spin_yield();
    }
    return next;
}

void turns_tell(struct turns *turns, struct turn *turn, enum turn_state state, bool *locked)
{
    enum turn_state before = TURN_WAITS;
    if (atomic_compare_exchange_strong_explicit(&turn->state, &before, state, memory_order_release,
                                                memory_order_relaxed))
        return;
    if (!*locked)
        mutex_lock(turns->lock);
    *locked = true;
    atomic_store_explicit(&turn->state, state, memory_order_release);
    condition_signal(&turn->wake);
}

void turns_tell_served(struct turns *turns, struct turn *leader, unsigned count, plsm_status status, bool *locked)
{
    struct turn *next = count > 1 ? turn_behind(leader) : NULL;
    leader->status = status;
    for (unsigned i = 1; i < count; i++) {
        struct turn *turn = next;
        next = turn_behind(turn);
        turn->status = status;
        if (status != PLSM_OK)
            snprintf(turn->message, TURN_MESSAGE_BYTES, "%s", plsm_message());
        turns_tell(turns, turn, TURN_DONE, locked); /* those that wake up go on once all are told */
    }
}
