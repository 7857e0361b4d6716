/* A cursor walks one sorted source: a memtable, or a list of runs that do not overlap (one run of level 0, or a level).
 *
 * It shows, of each key, the newest version with seq <= `seq` (deletions too), or with `all_versions` every version,
 * newest first. What it shows stays valid until it moves; the key of one step before stays valid one step longer, so
 * that a merge can compare without copying. The page it looks at is pinned in the cache or in memory of its own, so a
 * cursor holds no epoch bracket between calls; whoever owns it keeps the runs and the memtable referenced. */
#ifndef LSM_CURSOR_H
#define LSM_CURSOR_H

#include "lsm/memtable.h"
#include "lsm/run.h"

struct cursor_options {
    uint64_t seq;
    bool all_versions; /* forward only */
    bool no_value;     /* values of large units need not be there */
    bool bulk;         /* read far ahead from the start and leave the cache alone: compactions and checks */
    bool training;     /* traditional mode would not read this */
};

struct cursor {
    struct entry entry;  /* the current one; key whole */
    uint64_t head;       /* key_head of its key: decides most comparisons */
    bool valid;
    plsm_status status;  /* an error ends the walk: not valid, and not PLSM_OK */
    struct cursor_options options;

    /* a memtable */
    bool is_memtable;
    struct memtable_iterator memtable;
    const void *version;

    /* runs */
    struct run *const *runs;
    size_t run_count, run_at;
    struct run *run;
    struct run_body *body;
    const uint8_t *page, *page_end, *slots;
    uint32_t unit;
    unsigned slot, count;
    plsm_slice prefix;         /* of the page */
    uint8_t *buffer;           /* units read from the file or copied from the cache */
    size_t buffer_capacity;
    uint8_t *expanded;         /* a classic page in the packed layout; NULL until there is one */
    uint8_t *unpacked;         /* the page of a compressed run that was read ahead; NULL until there is one */
    size_t unpacked_capacity;
    bool buffer_checked;       /* it holds one page, unpacked and verified already */
    uint32_t buffered, buffered_count; /* units of `body` in it */
    unsigned ahead;            /* units to read at the next miss */
    uint32_t charged, charged_count;   /* units of `body` that simulated I/O was charged for last */
    unsigned charged_ahead;            /* units to charge for next: `ahead` of a store without a cache */
    uint64_t charged_end;              /* block behind what a walk forward was charged for; 0: none */
    uint32_t pinned; /* frame of the cache that `page` is in; 0: it is in `buffer` */
    bool backward;             /* the direction of the last move: which way to read ahead */
    uint8_t *keys[2];          /* the key being shown, and the one before; LSM_KEY_MAX each */
    unsigned key_at;
    bool prefix_ready[2];      /* the page's prefix stands at the front of keys[i] */
};

/* `runs` must stay as long as the cursor. PLSM_NO_MEMORY. */
plsm_status cursor_open_memtable(struct cursor *c, const struct memtable *table, const struct cursor_options *options);
plsm_status cursor_open_runs(struct cursor *c, struct run *const *runs, size_t count,
                             const struct cursor_options *options);
void cursor_close(struct cursor *c); /* accepts a zeroed one */

void cursor_first(struct cursor *c);
void cursor_last(struct cursor *c);
void cursor_seek(struct cursor *c, plsm_slice key);        /* first key >= key */
void cursor_seek_before(struct cursor *c, plsm_slice key); /* last key < key */
void cursor_next(struct cursor *c);
void cursor_previous(struct cursor *c);
/* The same as cursor_next where that is simple: the next entry of a run is on the same page, a visible put of common
 * size, and its head is below `head_end`. False: it is not, and the cursor stands where it stood. */
bool cursor_along(struct cursor *c, uint64_t head_end);

/* Key order of two valid cursors. */
static inline int cursor_compare(const struct cursor *a, const struct cursor *b)
{
    if (a->head != b->head)
        return a->head < b->head ? -1 : 1;
    return slice_compare(a->entry.key, b->entry.key);
}

/* Whom a cursor's memory is charged to. */
static inline struct mem_account *cursor_enter(const struct cursor *c)
{
    struct budget *budget = c->run_count ? c->runs[0]->context->budget : NULL;
    return budget_enter(budget, c->options.bulk ? BUDGET_COMPACTION : BUDGET_ITERATORS);
}

/* --- the two kinds (cursor_run.c; private to the cursor) --- */
void cursor_run_close(struct cursor *c);
void cursor_run_first(struct cursor *c);
void cursor_run_last(struct cursor *c);
void cursor_run_seek(struct cursor *c, plsm_slice key);
void cursor_run_seek_before(struct cursor *c, plsm_slice key);
void cursor_run_next(struct cursor *c);
void cursor_run_previous(struct cursor *c);

#endif
