/* Which young runs may hold a key? One structure over all runs but those of the last level answers for all of them in
 * one probe of, nearly always, one cache line: a table of 16-bit fingerprints with a run slot beside each. It changes
 * with every flush and compaction and is never rebuilt from keys; one that has become too large gives its entries to a
 * smaller one.
 *
 * The idea is Chucky's (Dayan and Twitto, "Chucky: A Succinct Cuckoo Filter for LSM-Tree", SIGMOD 2021) and SlimDB's
 * (Ren et al., VLDB 2017); the overflow bits that keep negative answers to one bucket are those of the Morton filter
 * (Breslow and Jayasena, VLDB 2018).
 *
 * The caller gives each young run one of YOUNG_SLOTS run slots and brings about this order:
 *   young_insert(slot) returns true  ->  publish, with release, a version whose readers know the slot
 *   publish a version without the slot  ->  wait until no reader of an older version is left (epochs)
 *   ->  young_remove(bit of the slot)  ->  the slot may be used again
 * Readers load the version with acquire before they call young_find, and look only at the bits of slots that their
 * version knows: all other bits mean nothing, as runs are entered and swept meanwhile. A view that is held for long
 * counts as a reader while somebody may ask young_find on its behalf.
 *
 * Functions marked "writer" are called by one thread at a time (the caller holds a lock); all others by any thread at
 * any time between young_create and young_destroy, without locks. */
#ifndef LEARN_YOUNG_H
#define LEARN_YOUNG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { YOUNG_SLOTS = 64 };

struct young;

/* An empty table that holds `entries` entries at its design load of 86 %: 29.8 bits for each. It comes in pieces of
 * 64 KiB (17,612 entries), and at least one; from 1 MiB on so many, a sixteenth more at most, that young_shrink has
 * parts to choose from, two at least. Memory is resident only once touched. NULL: no memory (or more than 6 * 10^10
 * entries). */
struct young *young_create(uint64_t entries);
void young_destroy(struct young *young); /* accepts NULL; no reader may be left */

/* Writer. Enters the hashes (key_hash of base/checksum.h: all 64 bits must be well mixed) of the keys of one run into
 * run slot `slot`, which must not be in use. A hash that occurs several times costs one entry, or a few where its
 * bucket is full. False: there was no room for one of them; all that went in has been taken out again (by a sweep as
 * young_remove does it) and the slot is free as before. */
bool young_insert(struct young *young, unsigned slot, const uint64_t *hashes, size_t count);

/* Writer. Takes all entries of the slots whose bits are set in `slots` out and frees these slots; those that are not in
 * use do not matter. Goes through the whole table once: better all runs of a compaction in one call than one by one. */
void young_remove(struct young *young, uint64_t slots);

/* Writer. The smallest table that holds `entries` entries at the design load among those that are the 2nd, 3rd, ...
 * part of `young`, with all that is in it now: the same runs in the same slots. NULL: none of these is large enough, or
 * there is no memory. Readers may go on with `young`, which stays as it is; those who come to know of another slot must
 * use the new one by then. Goes through the whole table once: 50 ms for one of 54 MB with 4 M entries. */
struct young *young_shrink(const struct young *young, uint64_t entries);

/* Bit s set: the run in slot s may hold the key. Bit s clear: it does not, if the slot is one that this reader may ask
 * for (see above). For a key that is in none of the runs some bit is set with probability 0.026 % at the design load,
 * in proportion to the load below it. */
uint64_t young_find(const struct young *young, uint64_t hash);
/* Brings the bucket that young_find will read for `hash` towards the cache. */
void young_prefetch(const struct young *young, uint64_t hash);

/* How many more entries fit before the design load is reached. An insert of at most as many hashes succeeds, unless
 * most keys are in 8 runs or more. Beyond the design load inserts succeed too (up to 97 % where most keys are in one
 * run, 92 % where they are in 4), but get slow, and more probes have to look further. */
uint64_t young_room(const struct young *young);
uint64_t young_size(const struct young *young);   /* how many fit into an empty one */
uint64_t young_memory(const struct young *young); /* bytes */

struct young_counts {
    uint64_t entries;        /* equal pairs of fingerprint and slot in a bucket count once */
    uint64_t capacity;       /* entries that fit at a load of 100 % */
    double load;             /* entries / capacity */
    uint64_t slots;          /* bit s: run slot s is in use */
    uint64_t probes_further; /* calls of young_find that looked at more than one cache line, since young_create */
};
/* Each figure is right by itself; together they may be from slightly different moments. */
void young_count(const struct young *young, struct young_counts *out);

#endif
