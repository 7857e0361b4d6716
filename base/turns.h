/* A queue whose first one leads: it may do the work of those behind it, and then the one behind those leads.
 *
 * The queue is the list of Mellor-Crummey and Scott's lock ("Algorithms for scalable synchronization on shared-memory
 * multiprocessors", ACM TOCS 1991): who comes puts itself behind the last one with one exchange, and looks at a word of
 * its own until it is told; who leaves tells the next. A thread that finds nobody takes no lock at all. Those who wait
 * for long sleep under a lock of the caller's.
 *
 * In such a queue two threads that come again and again take turns, and with each turn the lines of all that the work
 * touches move from one processor to the other: some 100 ns a line, where a short piece of work takes some 500 ns
 * altogether. So who finds somebody may first hover: it looks from time to time whether nobody is there, and only after
 * some looks it queues up. Whoever leads meanwhile finds its lines where they were, leaves and comes again a few times
 * before the other one gets in. Nobody is overtaken who is in the queue: for those who hover it is free only when it is
 * empty. (Of locks this is known as barging: those of Go and of WebKit let whoever is running take the lock, and hand
 * it over in order only to those who have waited for long; Pizlo, "Locking in WebKit", 2016.) */
#ifndef BASE_TURNS_H
#define BASE_TURNS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "base/sync.h"

enum turn_state { TURN_WAITS, TURN_SLEEPS, TURN_LEADS, TURN_DONE };

/* On the stack of its thread. Who is done may return as soon as it sees TURN_DONE: telling that is the last thing that
 * is done to a turn, unless it sleeps, for then it needs the lock to wake up. */
struct turn {
    _Atomic enum turn_state state;
    struct turn *_Atomic next; /* behind it; NULL: nobody, or not linked yet */
    condition wake;            /* nothing unless it sleeps */
    plsm_status status;        /* once it is done: how that ended, */
    char *message;             /* and of a failure why: TURN_MESSAGE_BYTES */
};
enum { TURN_MESSAGE_BYTES = 256 };

struct turns {
    char apart[64]; /* what everybody changes is on a cache line of its own */
    struct turn *_Atomic last; /* NULL: nobody is there */
    char apart_too[64];
    mutex *lock; /* the caller's, for sleeping */
};

static inline void turns_init(struct turns *turns, mutex *lock)
{
    atomic_init(&turns->last, NULL);
    turns->lock = lock;
}

/* Before all else with a turn. `message`: TURN_MESSAGE_BYTES that live as long as it. */
static inline void turn_init(struct turn *me, char *message)
{
    me->status = PLSM_OK;
    me->message = message;
    atomic_init(&me->state, TURN_WAITS);
    atomic_init(&me->next, NULL);
}

/* Leads if nobody is there; otherwise it is not in the queue. */
static inline bool turns_try(struct turns *turns, struct turn *me)
{
    struct turn *nobody = NULL;
    if (!atomic_compare_exchange_strong_explicit(&turns->last, &nobody, me, memory_order_acq_rel, memory_order_relaxed))
        return false;
    atomic_store_explicit(&me->state, TURN_LEADS, memory_order_relaxed);
    return true;
}

/* turns_try again and again, for some microseconds: for work that takes less time than it takes to hand over what it
 * needs, such as a write of so many bytes. */
enum { TURNS_SHORT_BYTES = 1 << 10 };
bool turns_hover(struct turns *turns, struct turn *me);

/* Goes to the end of the queue. True: it leads. *second: it is right behind the one that leads. */
bool turns_queue(struct turns *turns, struct turn *me, bool *second);

/* Waits, once in the queue, until this one leads or is done, which is returned. `soon`: that may be in a moment, so it
 * looks for some microseconds before it sleeps. */
enum turn_state turns_await(struct turns *turns, struct turn *me, bool soon);

/* Who is behind a turn that is in the queue; NULL: nobody, or somebody who is about to link itself. The leader's, or of
 * those that it has taken out of the queue and has not told yet. */
static inline struct turn *turn_behind(const struct turn *turn)
{
    return atomic_load_explicit(&turn->next, memory_order_acquire);
}

/* Who is behind a turn, once it has linked itself: somebody is there. The leader's. */
struct turn *turns_next(const struct turn *turn);

/* Takes all up to `last` out of the queue, and returns who is to lead then; NULL: nobody is there, and this thread does
 * not lead any more. The leader's, which tells the next one (turns_tell), and those it has served. */
static inline struct turn *turns_leave(struct turns *turns, struct turn *last)
{
    struct turn *expected = last;
    if (!turn_behind(last) && atomic_compare_exchange_strong_explicit(&turns->last, &expected, NULL,
                                                                      memory_order_acq_rel, memory_order_relaxed))
        return NULL;
    return turns_next(last);
}

/* Tells a turn that it leads or is done. *locked: whether the caller holds the lock; where the other one sleeps that is
 * taken, and the caller gives it up once it has told all. */
void turns_tell(struct turns *turns, struct turn *turn, enum turn_state state, bool *locked);

/* Tells those behind a leader that it has served, `count` with itself, that they are done, with a status and this
 * thread's message. They have left the queue. As turns_tell. */
void turns_tell_served(struct turns *turns, struct turn *leader, unsigned count, plsm_status status, bool *locked);

/* Tells the one that turns_leave has returned, if any, that it leads. Without lock. */
static inline void turns_hand_over(struct turns *turns, struct turn *next)
{
    bool locked = false;
    if (next)
        turns_tell(turns, next, TURN_LEADS, &locked);
    if (locked)
        mutex_unlock(turns->lock);
}

#endif
