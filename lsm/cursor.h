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

enum {
    CURSOR_KEY_MOVE = 16,    /* key bytes behind the prefix up to this many are moved by one move of fixed size */
    CURSOR_KEY_COMMON = 496, /* room for a key that an allocator has at hand; longer ones get their own */
};

struct cursor_options {
    uint64_t seq;
    bool all_versions; /* forward only */
    bool no_value;     /* values of large units need not be there */
    bool bulk;         /* read far ahead from the start and leave the cache alone: compactions and checks */
    bool training;     /* traditional mode would not read this */
};

struct cursor {
    struct entry entry;  /* the current one; key whole */
    uint64_t head;       /* key_head of its key behind `skip` bytes: decides most comparisons */
    size_t skip;         /* all keys begin with the same so many bytes; 0 unless somebody knows of more */
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
    uintptr_t fetch_ahead;     /* how far behind an entry is what is to be brought towards the processor's cache when
                                * it is looked at: the same place of the next page, wherever that is (it wraps), or
                                * further in this one */
    plsm_slice prefix;         /* of the page */
    uint64_t prefix_head;      /* of it behind `skip` bytes */
    size_t prefix_shift;       /* how many bytes that is; may be above 8 */
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
    uint8_t *keys[2];          /* the key being shown, and the one before; CURSOR_KEY_COMMON each, or a long one */
    uint8_t *common_keys, *long_keys[2]; /* LSM_KEY_MAX each; NULL until one is needed */
    unsigned key_at;
    bool prefix_ready[2];      /* the page's prefix stands at the front of keys[i] */
    bool simple;               /* a key of the run has one version, which is visible if it has no number of its own */
    bool lags;                 /* `entry` is of before; the current one is at `at`: inside merge_ahead only */
    const uint8_t *at;
};

/* `runs` must stay as long as the cursor. PLSM_NO_MEMORY. */
plsm_status cursor_open_memtable(struct cursor *c, const struct memtable *table, const struct cursor_options *options);
plsm_status cursor_open_runs(struct cursor *c, struct run *const *runs, size_t count,
                             const struct cursor_options *options);
void cursor_close(struct cursor *c); /* accepts a zeroed one */

void cursor_first(struct cursor *c);
void cursor_last(struct cursor *c);
/* Brings what seeks of `count` cursors to `key` will read towards the processor's cache, one kind after another: the
 * misses of all of them then overlap. Only a hint: nothing moves, nothing is read from files. */
void cursors_fetch(struct cursor *cursors, unsigned count, plsm_slice key);
void cursor_seek(struct cursor *c, plsm_slice key);        /* first key >= key */
void cursor_seek_before(struct cursor *c, plsm_slice key); /* last key < key */
void cursor_next(struct cursor *c);
void cursor_previous(struct cursor *c);
static inline uint64_t cursor_head(const struct cursor *c, plsm_slice key)
{
    return key.size > c->skip ? key_head(slice((const uint8_t *)key.data + c->skip, key.size - c->skip)) : 0;
}

/* `at`: where an entry stands; `by`: fetch_ahead of its cursor. */
static inline void cursor_fetch_ahead(const uint8_t *at, uintptr_t by)
{
    __builtin_prefetch((const void *)((uintptr_t)at + by));
    __builtin_prefetch((const void *)((uintptr_t)at + by + 64)); /* entries rarely fit one cache line */
}

/* Whether the entry at `at` is a put of common size without anything else, far enough from the end of its page. */
static inline bool cursor_common(const uint8_t *at, const uint8_t *page_end)
{
    if (at + 3 + CURSOR_KEY_MOVE > page_end)
        return false;
    /* Kind and flags, and the upper bits of both sizes. */
    return (get_u32(at) & 0x8080ff) == BATCH_PUT && at[1] <= CURSOR_KEY_MOVE;
}

/* Where the next entry of a run stands, if it is on the same page, visible, and a common one; or NULL. Of a memtable's
 * cursor `slot` and `count` are 0. */
static inline const uint8_t *cursor_peek(const struct cursor *c, unsigned slot)
{
    if (slot >= c->count || !c->simple)
        return NULL;
    const uint8_t *at = c->page + get_u16(c->slots + 2 * slot);
    cursor_fetch_ahead(at, c->fetch_ahead);
    return cursor_common(at, c->page_end) ? at : NULL;
}

/* The head of the key of a common entry, from the page: from where its parts were just written together, it could only
 * be loaded once both had arrived in the cache. */
static inline uint64_t cursor_common_head(const uint8_t *at, uint64_t prefix_head, size_t prefix_shift)
{
    uint64_t rest = get_be64(at + 3);
    if (__builtin_expect(at[1] < 8, 0))
        rest &= at[1] ? UINT64_MAX << (64 - 8 * at[1]) : 0;
    return prefix_head | (prefix_shift < 8 ? rest >> 8 * prefix_shift : 0);
}

/* The same as cursor_next where that is simple, but that `entry` lags behind: see cursor_catch_up. False: it is not, or
 * there is none on the page; the cursor stands where it stood. */
static inline bool cursor_along(struct cursor *c)
{
    const uint8_t *at = cursor_peek(c, c->slot + 1);
    if (!at)
        return false;
    c->slot++;
    c->at = at;
    c->lags = true;
    c->head = cursor_common_head(at, c->prefix_head, c->prefix_shift);
    return true;
}

/* After cursor_along, once or more often: shows the entry. A merge of many passes most entries on without that. */
static inline void cursor_catch_up(struct cursor *c)
{
    if (!c->lags)
        return;
    const uint8_t *at = c->at;
    size_t size = at[1], prefix_size = c->prefix.size;
    unsigned key_at = c->key_at ^ 1;
    uint8_t *key = c->keys[key_at];
    if (__builtin_expect(!c->prefix_ready[key_at], 0)) {
        memcpy(key, c->prefix.data, prefix_size);
        c->prefix_ready[key_at] = true;
    }
    memcpy(key + prefix_size, at + 3, CURSOR_KEY_MOVE);
    c->lags = false;
    c->backward = false;
    c->key_at = key_at;
    c->entry = (struct entry){.key = slice(key, prefix_size + size),
                              .value = slice(at + 3 + size, at[2]),
                              .seq = c->run->seq,
                              .kind = BATCH_PUT};
}

enum { CURSOR_KEY_ROOM = 64 };
/* Key (copied to `key`) and value of a cursor that lags behind. False: its keys may need more room. */
static inline bool cursor_give(const struct cursor *c, uint8_t key[CURSOR_KEY_ROOM], struct key_value *out)
{
    const uint8_t *at = c->at;
    size_t size = at[1], prefix_size = c->prefix.size;
    if (prefix_size > CURSOR_KEY_ROOM - CURSOR_KEY_MOVE)
        return false;
    if (__builtin_expect(prefix_size <= CURSOR_KEY_MOVE, 1))
        memcpy(key, c->prefix.data, CURSOR_KEY_MOVE); /* inside the page: it stands before the entries */
    else
        memcpy(key, c->prefix.data, prefix_size);
    memcpy(key + prefix_size, at + 3, CURSOR_KEY_MOVE);
    *out = (struct key_value){slice(key, prefix_size + size), slice(at + 3 + size, at[2])};
    return true;
}

/* Goes along for at most `most` entries whose heads are below `head_end`; of each, key (copied to keys[i]) and value go
 * to out[i]. Returns how many; it stands on the last of them. */
unsigned cursor_ahead(struct cursor *c, uint64_t head_end, uint8_t (*keys)[CURSOR_KEY_ROOM], struct key_value *out,
                      unsigned most);

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
