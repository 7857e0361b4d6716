/* Epoch-based reclamation.
 *
 * The domain counts epochs. A reader writes the current epoch into its thread's slot when it enters and 0 when it
 * leaves. Retiring first starts a new epoch e, then stamps the object with it: the object may go once every slot is
 * empty or holds at least e. Why that is safe, for a reader R and a writer that unlinked an object and then looks at
 * R's slot:
 *   - it sees an epoch >= e: R read the counter after the advance, so R sees the object unlinked;
 *   - it sees less than e: the object stays;
 *   - it sees 0 because R had not published yet: both sides have a full fence between their own store and their loads
 * of the other's, so R's loads come after the unlinking;
 *   - it sees 0 because R has left: R's release store orders its accesses before the freeing.
 *
 * Readers enter millions of times a second; a fence takes 20 cycles, and it keeps the loads of one bracket from
 * beginning before the one in front has ended. So where the kernel has it, whoever looks at the slots makes the fences
 * of all: barrier_for_all has R pass one at some point of its code, P. If R stored into its slot in front of P, that is
 * seen; if behind P, all of R's loads are behind P as well, and come after the unlinking.
 *
 * A sandbox may take that away from a process that has it. From then on, and for good, readers make their fences
 * themselves. Those that looked in front of that are waited for, once: a reader looks behind the store into its slot,
 * so only the processor still keeps that from being seen, which takes it less than a microsecond.
 */
#include "base/epoch.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/sync.h"

#include "base/banned.h"

enum {
    CACHE_LINE = 64,
    RECLAIM_EVERY = 64, /* retirements: a scan of the slots costs about as much as freeing that many objects */
    TURN_NS = 10000000,
};

struct slot {
    _Alignas(CACHE_LINE) _Atomic uint64_t epoch; /* 0: outside */
    unsigned nesting;                            /* only its own thread touches it */
};
_Static_assert(sizeof(struct slot) == CACHE_LINE, "threads must not share a line");

struct epoch {
    struct slot slots[EPOCH_THREADS];
    _Alignas(CACHE_LINE) _Atomic uint64_t current; /* starts at 1: 0 means outside */
    _Alignas(CACHE_LINE) mutex lock;               /* of what follows; never held while free_fn runs */
    struct epoch_node *oldest, **newest_next;      /* retired, epochs not descending */
    uint64_t retired;                              /* ever */
    _Atomic uint64_t quiescent;                    /* the last answer of oldest_in_use to epoch_quiescent */
};

/* --- slots of threads, shared by all domains --- */

static pthread_once_t slots_once = PTHREAD_ONCE_INIT;
static pthread_key_t slot_key;
static mutex slots_lock;
static condition slot_free;
static bool slot_taken[EPOCH_THREADS];
static unsigned slot_hint;         /* none below is free */
static _Atomic unsigned slot_high; /* slots at and above were never used; scans stop here */
static _Thread_local unsigned my_slot_plus_one;

static void slot_return(void *value)
{
    mutex_lock(&slots_lock);
    unsigned slot = (unsigned)(uintptr_t)value - 1;
    slot_taken[slot] = false;
    if (slot < slot_hint)
        slot_hint = slot;
    condition_signal(&slot_free);
    mutex_unlock(&slots_lock);
    my_slot_plus_one = 0; /* a later destructor of this thread may enter again and then takes a new one */
}

static void slots_init(void)
{
    mutex_init(&slots_lock);
    condition_init(&slot_free);
    int error = pthread_key_create(&slot_key, slot_return);
    INVARIANT(error == 0);
}

static __attribute__((noinline, cold)) unsigned slot_take(void)
{
    pthread_once(&slots_once, slots_init);
    mutex_lock(&slots_lock);
    unsigned slot = slot_hint;
    for (;;) {
        while (slot < EPOCH_THREADS && slot_taken[slot])
            slot++;
        if (slot < EPOCH_THREADS)
            break;
        slot_hint = EPOCH_THREADS;
        condition_wait(&slot_free, &slots_lock);
        slot = slot_hint;
    }
    slot_taken[slot] = true;
    slot_hint = slot + 1;
    if (slot + 1 > atomic_load(&slot_high))
        atomic_store(&slot_high, slot + 1);
    mutex_unlock(&slots_lock);
    my_slot_plus_one = slot + 1;
    int error = pthread_setspecific(slot_key, (void *)(uintptr_t)(slot + 1));
    INVARIANT(error == 0);
    return slot;
}

static inline struct slot *my_slot(struct epoch *domain)
{
    unsigned slot = my_slot_plus_one;
    return &domain->slots[__builtin_expect(slot != 0, 1) ? slot - 1 : slot_take()];
}

/* A full barrier. ThreadSanitizer does not understand fences: there, an exchange that no other thread sees does it, on
 * the processors it runs on, without hiding a race by a happens-before edge that is not there. */
#if defined(__SANITIZE_THREAD__)
#define EPOCH_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define EPOCH_TSAN 1
#endif
#endif

static inline void full_fence(void)
{
#ifdef EPOCH_TSAN
    static _Thread_local atomic_int own;
    atomic_exchange(&own, 1);
#else
    atomic_thread_fence(memory_order_seq_cst);
#endif
}

/* Whether whoever looks at the slots makes the fence of all; `asked`: it did at first, which is decided before there is
 * any domain. */
static _Atomic bool light;
static bool asked;
static pthread_once_t asked_once = PTHREAD_ONCE_INIT, turned_once = PTHREAD_ONCE_INIT;

static void ask(void)
{
#ifndef EPOCH_TSAN
    asked = barrier_for_all_prepare();
    atomic_store(&light, asked);
#endif
}

static inline void reader_fence(void)
{
    atomic_signal_fence(memory_order_seq_cst); /* looks behind the store into the slot */
    if (__builtin_expect(atomic_load_explicit(&light, memory_order_relaxed), 1))
        atomic_signal_fence(memory_order_seq_cst);
    else
        full_fence();
}

static void turn(void)
{
    mutex lock;
    condition never;
    atomic_store(&light, false);
    full_fence();
    mutex_init(&lock);
    condition_init(&never);
    mutex_lock(&lock);
    while (condition_wait_ns(&never, &lock, TURN_NS))
        ; /* woke without reason */
    mutex_unlock(&lock);
    condition_destroy(&never);
    mutex_destroy(&lock);
}

/* The fence of who looks at the slots, and of all readers that do not make theirs. */
static void looker_fence(void)
{
    if (asked && !(atomic_load_explicit(&light, memory_order_relaxed) && barrier_for_all()))
        pthread_once(&turned_once, turn); /* whoever comes meanwhile waits as well */
    full_fence();
}

/* --- domains --- */

struct epoch *epoch_create(void)
{
    pthread_once(&asked_once, ask);
    struct epoch *domain = mem_map(sizeof *domain); /* page-aligned, which the cache lines need */
    if (!domain)
        return NULL;
    mutex_init(&domain->lock);
    atomic_init(&domain->current, 1);
    domain->newest_next = &domain->oldest;
    return domain;
}

static void free_list(struct epoch_node *node)
{
    struct mem_account *before = mem_account_use(NULL); /* whoever happens to be here is not who allocated these */
    while (node) {
        struct epoch_node *next = node->next; /* free_fn frees the node */
        node->free_fn(node);
        node = next;
    }
    mem_account_use(before);
}

void epoch_destroy(struct epoch *domain)
{
    if (!domain)
        return;
    for (unsigned i = 0; i < EPOCH_THREADS; i++)
        INVARIANT(atomic_load(&domain->slots[i].epoch) == 0);
    while (domain->oldest) { /* freeing one object may retire others */
        struct epoch_node *all = domain->oldest;
        domain->oldest = NULL;
        domain->newest_next = &domain->oldest;
        free_list(all);
    }
    mutex_destroy(&domain->lock);
    mem_unmap(domain, sizeof *domain);
}

void epoch_enter(struct epoch *domain)
{
    struct slot *slot = my_slot(domain);
    if (slot->nesting++ > 0)
        return;
    uint64_t now = atomic_load_explicit(&domain->current, memory_order_acquire);
    atomic_store_explicit(&slot->epoch, now, memory_order_relaxed);
    reader_fence();
}

void epoch_exit(struct epoch *domain)
{
    struct slot *slot = my_slot(domain);
    INVARIANT(slot->nesting > 0);
    if (--slot->nesting == 0)
        atomic_store_explicit(&slot->epoch, 0, memory_order_release);
}

/* The newest epoch such that everything unlinked before its start is out of every reader's reach; it stays so. */
static uint64_t oldest_in_use(struct epoch *domain)
{
    /* Loaded before the slots are: nothing newer than this may be judged by what they say. */
    uint64_t oldest = atomic_load_explicit(&domain->current, memory_order_acquire);
    looker_fence();
    unsigned high = atomic_load(&slot_high);
    for (unsigned i = 0; i < high; i++) {
        uint64_t epoch = atomic_load_explicit(&domain->slots[i].epoch, memory_order_acquire);
        if (epoch != 0 && epoch < oldest)
            oldest = epoch;
    }
    return oldest;
}

void epoch_reclaim(struct epoch *domain)
{
    uint64_t until = oldest_in_use(domain);
    mutex_lock(&domain->lock);
    struct epoch_node *first = domain->oldest, **end = &domain->oldest;
    while (*end && (*end)->epoch <= until)
        end = &(*end)->next;
    if (end == &domain->oldest) {
        first = NULL;
    } else {
        domain->oldest = *end;
        if (!domain->oldest)
            domain->newest_next = &domain->oldest;
        *end = NULL;
    }
    mutex_unlock(&domain->lock);
    free_list(first);
}

void epoch_retire(struct epoch *domain, struct epoch_node *node, void (*free_fn)(struct epoch_node *))
{
    node->next = NULL;
    node->free_fn = free_fn;
    mutex_lock(&domain->lock);
    node->epoch = epoch_advance(domain); /* under the lock, so that the list stays sorted */
    *domain->newest_next = node;
    domain->newest_next = &node->next;
    bool reclaim = ++domain->retired % RECLAIM_EVERY == 0;
    mutex_unlock(&domain->lock);
    if (reclaim)
        epoch_reclaim(domain);
}

uint64_t epoch_advance(struct epoch *domain)
{
    return atomic_fetch_add(&domain->current, 1) + 1;
}

int epoch_quiescent(struct epoch *domain, uint64_t epoch)
{
    if (epoch <= atomic_load_explicit(&domain->quiescent, memory_order_acquire))
        return true;
    uint64_t until = oldest_in_use(domain);
    if (until < epoch)
        return false;
    atomic_store_explicit(&domain->quiescent, until, memory_order_release); /* a lower one would be true, too */
    return true;
}
