/* Compaction policies: what is merged next, and how much writers are slowed down. All are pure functions of a version.
 *
 * A sorted run is what a key can be in only once: a deeper level as a whole, or the runs of level 0 that have the same
 * seq_max (a flush or a merge wrote them, cut into parts that share no key). Keys that begin with different bytes never
 * meet in a run, so every first byte (keyspace) is compacted by itself. */
#ifndef LSM_COMPACTION_H
#define LSM_COMPACTION_H

#include "lsm/version.h"

/* One merge of neighbouring sorted runs. */
struct compaction {
    unsigned level;        /* of the newest source */
    unsigned output_level; /* of the result, in the place of its sources where those are on that level alone */
    struct run **runs;     /* of all sources, one source after the other, newest first; in each in key order */
    struct compaction_source {
        unsigned level;
        size_t count;      /* runs */
    } *sources;
    size_t run_count, source_count;
    bool trivial;          /* move the one run down as it is */
    uint64_t collects;     /* the value log that it is carried out for; 0: it is not for one */
    const struct compaction *inside; /* the merge that waits while this one is carried out; NULL: none */
};
void compaction_free(struct compaction *c);

/* Chooses the most urgent compaction; false when none is needed: by the policy of the options, then runs that are
 * mostly deletions, then runs with data older than compact_age, then runs of which half has expired, then value logs to
 * be collected. `cursors` are keys per level: of the next runs behind them that one goes which overlaps least below, or
 * which deletes. `now_s` is the time since 1970. The arrays are allocated; PLSM_NO_MEMORY through *status. Pure
 * otherwise. */
bool compaction_pick(const struct version *version, const struct lsm_options *options, const struct buf *cursors,
                     uint64_t now_s, struct compaction *out, plsm_status *status);
/* Into how many parts by keys a merge is split: compact_threads at most, each of buffer_size at least. Example: 2
 * threads, buffer_size 64 MiB: 1 below 128 MiB, 2 from there on. Pure. */
size_t compaction_parts(const struct compaction *plan, const struct lsm_options *options);
/* All runs of `level` that overlap [from, to] and what they overlap below; false when there is none. */
bool compaction_pick_range(const struct version *version, unsigned level, plsm_slice from, plsm_slice to,
                           struct compaction *out, plsm_status *status);

/* --- space (compact_space.c) --- */

/* What the merges that a version may need soon take beside it, at most: bytes. Leveled: level 0 with all of level 1, or
 * one run with what it overlaps, the larger; otherwise as many memtables as are merged first. What stands in value logs
 * is not moved. Example: leveled, files of 1 MiB, ratio 10: level 0 holds 4 MiB, level 1 4, level 2 40: 13 MiB, as one
 * run of level 1 and 12 of level 2 are more than levels 0 and 1. Pure. */
uint64_t compaction_room(const struct version *version, const struct lsm_options *options);
/* What a merge writes at least: each entry of a newer source may hide one of the oldest, no more. 0 where ranges are
 * deleted, keys have several versions, or entries expire. Example: 1,000 entries in 100 KiB, newer sources have 400: 60
 * KiB. Pure. */
uint64_t compaction_bytes_least(const struct compaction *plan);
/* Leaves so many runs of a plan's upper level as may be merged within `bytes`, but one; plans of level 0 and those of
 * one run stay as they are. PLSM_NO_MEMORY. */
plsm_status compaction_limit(const struct version *version, uint64_t bytes, struct compaction *plan);

/* --- value logs (compact_values.c) --- */

/* Runs to be rewritten where they are, because they point into a value log of which too much is garbage: more than
 * `ppm` millionths. Only those of which no more than `bytes` are to be written anew, with the runs; the one with most
 * garbage first. False: there is none such. */
bool compaction_pick_values(const struct version *version, uint32_t ppm, uint64_t bytes, struct compaction *out,
                            plsm_status *status);

/* Numbers of value logs, in order. */
struct collected {
    uint64_t *logs;
    size_t count;
};
/* Which value logs a merge is to empty as far as its runs point there, so that they go when the last run has been at
 * it: those of which more than `ppm` millionths are garbage, as long as what is to be written anew is no more than
 * `bytes` together; first the one that the plan is for, then by how much garbage there is to each byte. Example: the
 * plan points to 10 bytes in log 1 (90 are garbage), 30 in 2 (70), 40 in 3 (60): with 50 bytes 1 and 2. The array is
 * allocated; PLSM_NO_MEMORY. Pure otherwise. */
plsm_status compaction_collect(const struct version *version, const struct compaction *plan, uint32_t ppm,
                               uint64_t bytes, struct collected *out);
void collected_free(struct collected *collected);
bool collected_has(const struct collected *collected, uint64_t log); /* false for NULL */

/* --- leveled (compact_pick.c) --- */

/* What level `level` may hold before it is compacted: bytes. Level 1 as much as starts a compaction of level 0, each
 * deeper level size_ratio times more. Example: buffer_size 64 MiB, l0_compact 4, ratio 10: 256 MiB, 2.5 GiB, 25 GiB. */
uint64_t level_bytes_max(const struct lsm_options *options, unsigned level);

/* --- sorted runs: tiered, lazy, and whatever runs_per_level and runs_last_level say (compact_tiers.c) --- */

/* How many sorted runs may be on a logical level. Those of Dostoevsky's Fluid LSM-tree (Dayan and Idreos, SIGMOD 2018),
 * with size_ratio T: leveled 1 and 1, tiered T - 1 and T - 1 (size-tiered, as Cassandra's), lazy T - 1 and 1. */
struct tier_policy {
    uint64_t buffer_size;
    unsigned size_ratio;
    unsigned runs_per_level, runs_last_level;
    bool partial; /* one run on each level, by the policy leveled: levels are merged piece by piece instead */
};
struct tier_policy tier_policy(const struct lsm_options *options);

/* The logical level of a sorted run: which power of size_ratio times a T-th of buffer_size comes nearest to its bytes.
 * Example: buffer 64 MiB, ratio 10: up to 20 MiB 0, up to 202 MiB 1 (a memtable's), up to 2 GiB 2 (ten of them). */
unsigned tier_level(const struct tier_policy *policy, uint64_t bytes);

/* Which of the sorted runs of one first byte, given by their bytes, newest first, are to be merged: *first and how many
 * (0: none). A run is at least on the logical level of those before it. The newest level that holds more than it may is
 * merged as a whole, and with it the next one where the result would exceed that too. Example: ratio 4, buffer 4 (so a
 * T-th is 1), three runs per level and one on the last: bytes 4 4 4 16 70: nothing; 4 4 4 4 16 70: the first four, into
 * 16; 4 4 4 4 16 16 16 70: all of them, as 16 runs into four, and those into the last. Pure. */
size_t tiers_pick(const struct tier_policy *policy, const uint64_t *bytes, size_t count, size_t *first);
/* By how many sorted runs their levels exceed what they may hold: 0 where nothing is to be merged. Example: as above, 4
 * 4 4 4 16 70: 1. */
unsigned tiers_excess(const struct tier_policy *policy, const uint64_t *bytes, size_t count);

/* The compaction that the sorted runs of a version need; false: none. Merges that hold the oldest sorted run of a first
 * byte go to the last level, cut at file_size, others stay in level 0; a run that overlaps nothing below is moved. What
 * `inside` (NULL: nothing) and those around it merge, and what is older, is left alone, and so is all below level 0: so
 * small merges need not wait for a large one to end. */
bool tiers_compaction(const struct version *version, const struct lsm_options *options,
                      const struct compaction *inside, struct compaction *out, plsm_status *status);
/* The same from the sorted run that `run` of level 0 is in: with the next older one when what that one adds is at most
 * size_ratio times larger and two runs of file_size, or, with `down`, with all older ones; false: not worth it. */
bool tiers_compaction_from(const struct version *version, const struct lsm_options *options, const struct run *run,
                           bool down, struct compaction *out, plsm_status *status);

/* --- writers --- */

/* What writers are slowed down by, in runs as l0_slowdown and l0_stop count them. Leveled: level0_depth. Otherwise
 * level 0 may well hold many runs, and what counts is by how many it exceeds what it may hold: that many above
 * l0_compact - 1, where the first merge is due. Example: tiered, ratio 10, l0_compact 4: 27 runs on three levels: 0;
 * 12 fresh ones: 6. */
unsigned writers_depth(const struct version *version, const struct lsm_options *options);
/* Nanoseconds that a writer of `bytes` is held back while that is `depth`: 64 MiB/s at `slowdown`, falling to 1 MiB/s
 * just below `stop`, never more than 20 ms at once. Example: slowdown 8, stop 20, depth 8, 64 KiB: 1 ms. */
uint64_t pacing_ns(unsigned depth, unsigned slowdown, unsigned stop, uint64_t bytes);
/* The same while no memtable may be frozen before a flush ends that is expected to take `expected_ns` and has taken
 * `passed_ns`: what is left of that time is spread over the `room` bytes left in the active memtable. A flush that
 * takes longer than expected is taken to need another eighth. Never more than 20 ms at once; 0 where nothing is
 * expected. Example: 32 MiB of room, 200 ms expected, 100 passed, 64 KiB: 195 us. */
uint64_t queue_pacing_ns(uint64_t bytes, uint64_t room, uint64_t expected_ns, uint64_t passed_ns);

/* --- building plans: between the files of the policies --- */

/* Reserves memory for all that could be in a plan. */
plsm_status compaction_begin(const struct version *version, struct compaction *out);
/* Adds a run of level 0, to be called newest first: to the source before where both are parts of one sorted run. */
void compaction_add_young(struct compaction *c, struct run *run);
/* Adds runs of a deeper level as a source. */
void compaction_add_level(struct compaction *c, unsigned level, struct run *const *runs, size_t count);
/* Adds what the sources so far overlap on the output level. */
void compaction_add_overlapped(const struct version *version, struct compaction *c);

#endif
