/* Which runs are in the table over young runs (learn/young.h), and the places they have there.
 *
 * Young are all runs but those of the last level: about a tenth of the keys, and most of the runs that a lookup would
 * have to ask. One probe of the table answers for all of them. A run whose own membership is better than a filter (an
 * exact set) stays outside and is asked by itself, as are runs for which there is no room.
 *
 * There are up to YOUNG_TABLES tables. When a run does not fit, a larger table is made beside the one there is, and the
 * old one is freed once the last of its runs is gone: runs live until they are compacted, so none is moved to it, and a
 * lookup looks at one table most of the time. A run that finds no room is tried again when there is some (adopt.c).
 * A table that has been less than a quarter full for a while, as when much was young for a time, until a level became
 * the last one, gives its entries to a smaller one, in which places stay the same: so versions do not change. Readers
 * may still be at the old one, which goes with their epoch.
 *
 * A place is a table and a slot in it. It is counted how many need it: the run that has it, and each version that says
 * so (version.h). A place that nobody needs is swept: since readers of a version hold it or an epoch, nobody can still
 * ask for that place then. To ask for a place at all takes being inside the epoch. */
#ifndef LSM_YOUNG_RUNS_H
#define LSM_YOUNG_RUNS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/alloc.h"
#include "base/epoch.h"
#include "base/sync.h"
#include "learn/young.h"

enum {
    YOUNG_TABLES = 3,
    YOUNG_PLACE_NONE = 255, /* in no table */
};
_Static_assert(YOUNG_TABLES *YOUNG_SLOTS <= YOUNG_PLACE_NONE, "a place fits a byte");

struct young_runs {
    struct mem_account *account; /* that tables are charged to; NULL: none */
    struct epoch *epoch;         /* of readers; NULL: there are none */
    mutex lock;                  /* for writers */
    struct young_table {
        struct young *_Atomic table; /* there is one as long as one of its places is needed; a smaller one may come */
        uint64_t used;               /* slots */
        uint64_t sparse_ns;          /* since when it is known to be sparse (young_runs_fit); 0: it is not */
        _Atomic uint64_t idle;       /* slots that nobody needs any more */
        _Atomic uint32_t needed[YOUNG_SLOTS];
    } tables[YOUNG_TABLES];
};

/* A set of places: one bit per slot of each table. */
struct young_places {
    uint64_t slots[YOUNG_TABLES];
};

static inline bool young_places_has(const struct young_places *places, uint8_t place)
{
    return places->slots[place / YOUNG_SLOTS] >> (place % YOUNG_SLOTS) & 1;
}
static inline bool young_places_meet(const struct young_places *a, const struct young_places *b)
{
    uint64_t both = 0;
    for (unsigned t = 0; t < YOUNG_TABLES; t++)
        both |= a->slots[t] & b->slots[t];
    return both != 0;
}

struct young_runs *young_runs_create(void);    /* without tables; NULL: no memory */
void young_runs_destroy(struct young_runs *y); /* accepts NULL */

/* Enters the hashes of a run's keys. The place, needed by one; YOUNG_PLACE_NONE when there is no room. `expected` says
 * how many keys all young runs have. Any thread; may take a while (30 to 50 ns per hash), and sweeps first. */
uint8_t young_runs_enter(struct young_runs *y, const uint64_t *hashes, size_t count, uint64_t expected);
/* A run of so many hashes finds room now, and most often none of more does. Sweeps first. */
uint64_t young_runs_room(struct young_runs *y);
/* How many entries a table is made for, for a run of `count` hashes where the others hold `present` entries. For all
 * that is expected, since each table costs every lookup a cache miss; but not much more than is there, since memory is
 * to follow what is entered. With present 0 and count 500: 4,000 where 30,000 are expected, 3,000 where 3,000 are, as
 * when a store is opened, and 1,000 where none are, as in a new store. Pure. */
uint64_t young_runs_table_size(uint64_t present, uint64_t count, uint64_t expected);
/* Puts smaller tables in the place of those that have been sparse for YOUNG_SPARSE_NS: less than a quarter full, also
 * if all that is `expected` (as above) came into them. A while, so that flushes and compactions that fill and empty a
 * table in turns do not change its size each time. A smaller one has room for half as much again, at least. Sweeps
 * first; the table is gone through once, in which time no run can be entered, as while one is. `now_ns`: any clock that
 * does not go back. True: call again after a while, since there are tables that have not been sparse for so long, or an
 * old one waits for its last readers. */
bool young_runs_fit(struct young_runs *y, uint64_t expected, uint64_t now_ns);
enum { YOUNG_SPARSE_NS = 2 * 1000 * 1000 * 1000 };
/* One more, one less needs the place. */
void young_runs_need(struct young_runs *y, uint8_t place);
void young_runs_release(struct young_runs *y, uint8_t place);
/* Takes out what nobody needs, and frees tables that are not needed any more. Goes through the tables: milliseconds. */
void young_runs_sweep(struct young_runs *y);

/* For readers, inside the epoch: the table as it is now. */
static inline struct young *young_runs_table(const struct young_runs *y, unsigned table)
{
    return atomic_load_explicit(&y->tables[table].table, memory_order_acquire);
}
/* Likewise: `of` are places that the reader's version names. Which of them may hold a key. */
static inline void young_runs_prefetch(const struct young_runs *y, const struct young_places *of, uint64_t hash)
{
    for (unsigned t = 0; t < YOUNG_TABLES; t++)
        if (of->slots[t])
            young_prefetch(young_runs_table(y, t), hash);
}
static inline void young_runs_find(const struct young_runs *y, const struct young_places *of, uint64_t hash,
                                   struct young_places *out)
{
    for (unsigned t = 0; t < YOUNG_TABLES; t++)
        out->slots[t] = of->slots[t] ? young_find(young_runs_table(y, t), hash) & of->slots[t] : 0;
}

struct young_runs_info {
    uint64_t tables, runs, entries, bytes;
    uint64_t probes_further; /* as struct young_counts; of the tables that there are */
};
void young_runs_get_info(struct young_runs *y, struct young_runs_info *out);

#endif
