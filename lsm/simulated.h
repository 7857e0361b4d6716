/* Where the engine meets simulated I/O (simulate.h): which blocks its calls want, and which traditional mode would have
 * wanted for the same calls.
 *
 * The side of the mode in use is told by the engine as it goes: each page of a lookup or a seek (run_page), groups of
 * pages of lsm_multi_get as one batch, pages that cursors walk over with those they would read ahead, all that is
 * written to runs, models, logs and the MANIFEST. Whether a page is in the engine's own cache makes no difference: the
 * simulation has caches of its own.
 *
 * The traditional side is replayed afterwards, from what the answer has shown. A lookup: the runs whose bounds enclose
 * the key, newest first up to the one that had it, also those that the mode in use knew not to have it; the traditional
 * filter of each; where that says maybe, the page that the fences name, and the pages behind it over which versions of
 * the key were followed. A seek: the page that the fences name, and the one behind it when the place is there. So it is
 * exact, and nothing is read for it but, once per run, filter and fences. In traditional mode this gives what the other
 * side was told, which is how it is tested.
 *
 * Units of compressed runs are charged as what stands in the file, in whole blocks: each read brings the blocks that
 * its first and last byte are in. A scan pays once for a block that two of its reads share.
 *
 * What cursors walk over (also for compactions and checks) is the same in both modes and told to both; only training
 * reads what traditional mode would not. Not charged at all: opening runs (footer, index, filter), replaying logs, and
 * the second read of an entry whose key and meta are too long for the first block of its unit. */
#ifndef LSM_SIMULATED_H
#define LSM_SIMULATED_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "base/sync.h"
#include "lsm/simulate.h"

struct lsm;
struct run;
struct run_body;
struct run_question;
struct run_search;
struct version;

/* The simulation of a store. Calls with a run find it in the run's context, where it must be. */
struct simulated {
    struct simulation *simulation;
    struct lsm *db;
    _Atomic bool changed;                       /* bytes in memory, since they were counted */
    mutex counting;                             /* a leaf, but for the locks of the simulation */
    _Atomic uint64_t metadata_bytes[SIM_SIDES]; /* as they were counted */
};

/* By db->options; db->env must be set. NULL: no memory. */
struct simulated *simulated_create(struct lsm *db);
/* Accepts NULL. All runs must be gone. */
void simulated_destroy(struct simulated *s);

/* The bytes of index and filters in memory have changed, on either side: they are counted anew before they are needed.
 * Accepts NULL. */
static inline void simulated_changed(struct simulated *s)
{
    if (s)
        atomic_store_explicit(&s->changed, true, memory_order_release);
}
/* `bytes` were written. Accepts NULL. */
static inline void simulated_write(struct simulated *s, uint64_t bytes)
{
    if (s)
        simulation_write(s->simulation, bytes);
}

/* What a side was charged, and what index and filters take of its cache. All zero when `s` is NULL. */
struct simulated_account {
    struct simulation_totals totals;
    uint64_t metadata_bytes;
};
void simulated_account(struct simulated *s, enum simulation_side side, struct simulated_account *out);

/* A run was opened: traditional mode would have filter and fences in memory from now on. */
void simulated_open(struct run *run, struct run_body *body);
/* The file of a run or of a value log is going; both are numbered by one counter. */
void simulated_forget(struct simulated *s, uint64_t number);

/* The blocks of the units from `first` to `last` of a run; with `head_only` the first block of them. */
struct simulation_place simulated_units(const struct run *run, const struct run_body *body, uint32_t first,
                                        uint32_t last, bool head_only);

/* The mode in use looks at a page (with `head_only` at the first block of its unit). */
void simulated_page(const struct run *run, const struct run_body *body, uint32_t unit, bool head_only)
    __attribute__((cold));

/* The mode in use looks at the pages that these searches (at most SIMULATED_GROUP) have settled on, all together. Large
 * units are left out: they are read one by one. Takes the pages that are in the cache (search->page), so
 * that they are not told a second time. Inside an epoch bracket. */
enum { SIMULATED_GROUP = 64 };
void simulated_pages(struct run_search *const *searches, unsigned count);

/* A question that traditional mode would have put to a run, whether or not the mode in use did. */
struct simulated_lookup {
    struct run *run;
    const struct run_question *question;
    uint32_t version_unit; /* as in struct run_search; 0 when the run was not asked */
};
/* Replays them the traditional way, `together` or one after the other: at most SIMULATED_GROUP. Inside an epoch
 * bracket. */
void simulated_lookups(struct simulated *s, const struct simulated_lookup *lookups, unsigned count, bool together);

/* What a get found in the runs that it asked. */
struct simulated_trace {
    const struct run *answered; /* the others behind it were not asked; NULL: none has the key */
    unsigned count;             /* of runs whose versions of the key go on behind the first page */
    struct {
        const struct run *run;
        uint32_t version_unit;
    } walked[SIMULATED_GROUP]; /* those behind that many are taken to end on the first page */
};
/* NULL when nothing is simulated. */
static inline struct simulated_trace *simulated_trace_begin(const struct simulated *s, struct simulated_trace *trace)
{
    if (__builtin_expect(!s, 1))
        return NULL;
    trace->answered = NULL;
    trace->count = 0;
    return trace;
}
/* A run was asked. */
void simulated_note(struct simulated_trace *trace, const struct run *run, uint32_t version_unit, plsm_status status)
    __attribute__((cold));
/* The get with this question, and its trace, is over: replays it the traditional way. Inside an epoch bracket. */
void simulated_get(struct simulated *s, const struct version *version, const struct run_question *question);

/* run_seek found that the first place at or behind `key` is on `unit`. */
void simulated_seek(struct run *run, struct run_body *body, plsm_slice key, uint32_t unit);
/* Bytes of a value log. */
struct simulated_value {
    uint64_t log, offset, size;
};
/* Values (at most SIMULATED_GROUP) are read from value logs together. Both sides want the same; to be told when both
 * have come to the end of finding them. */
void simulated_values(struct simulated *s, const struct simulated_value *values, unsigned count,
                      enum simulation_kind kind);
/* A cursor wants blocks; with `training` traditional mode would not. */
void simulated_walk(const struct run *run, uint64_t first_block, uint64_t block_count, enum simulation_kind kind,
                    bool training);

#endif
