/* Rounds: slices of the same operations in several lanes, in turns. A lane is a mode and a way to ask. */
#ifndef TOOLS_BENCH_CONTEST_H
#define TOOLS_BENCH_CONTEST_H

#include "tools/bench/choice.h"
#include "tools/bench/stores.h"

enum { CONTEST_LANES_MAX = 3 * COMPARE_MODES_MAX };

struct lane {
    uint32_t mode; /* its number in the plan */
    enum probe_kind kind;
    double *wall_ns, *cpu_ns; /* per operation, one a round */
    /* Summed over the rounds. Rates of what was found are weighted by how much was, the others are not. */
    double lookups, found, reads, read_bytes, pages, cache_hits, cache_misses;
    double level, file, block, fallback, false_positives;
};

struct contest {
    const struct stores *stores;
    const char *what; /* for the progress line; static */
    struct choice *choice;
    uint64_t slice; /* operations */
    unsigned level; /* of PROBE_FIND_* */
    uint32_t rounds;
    struct lane lanes[CONTEST_LANES_MAX];
    uint32_t lane_count;
};

/* The lane that comes at a place of a round. Each lane comes at each place equally often, and every other time the
 * order is turned round: of lanes 0, 1, 2 the orders are 012, 120, 201, 210, 102, 021, and so on. */
static inline uint32_t contest_order(uint32_t lanes, uint32_t round, uint32_t place)
{
    uint32_t turned = round / lanes % 2;
    return ((turned ? lanes - 1 - place : place) + (turned ? lanes - round % lanes : round)) % lanes;
}

/* A contest of all modes, for each of `count` kinds (mode after mode for each kind). */
void contest_init(struct contest *contest, const struct stores *stores, const char *what, const enum probe_kind *kinds,
                  uint32_t count, struct choice *choice, uint64_t slice);
void contest_free(struct contest *contest);
/* Runs it, after two slices in each lane that are not measured. PLSM_CORRUPT: answers differ. */
plsm_status contest_run(struct contest *contest);
/* The lane that has the mode `name` and the kind of `lane`; -1: there is none. */
int contest_find(const struct contest *contest, const char *name, enum probe_kind kind);

/* The figures of a lane into a row; ratios are over the lane `against` (negative: none). */
void contest_row(const struct contest *contest, uint32_t lane, int against, struct compare_row *row);

#endif
