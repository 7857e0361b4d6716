#include "tools/bench/contest.h"

#include <math.h>

#include "base/alloc.h"
#include "base/error.h"
#include "tools/bench/quantile.h"
#include "tools/progress.h"

#include "base/banned.h"

enum { WARM_UP_SLICES = 2 };

/* What a running contest needs beside its results. */
struct ring {
    struct contest *contest;
    struct questions questions;
    struct probe *probes; /* one a lane */
    uint64_t *answers;    /* of each lane, one behind the other */
    struct stats *stats;
};

void contest_init(struct contest *contest, const struct stores *stores, const char *what, const enum probe_kind *kinds,
                  uint32_t count, struct choice *choice, uint64_t slice)
{
    *contest = (struct contest){.stores = stores,
                                .what = what,
                                .choice = choice,
                                .slice = slice > 0 ? slice : 1,
                                .rounds = stores->plan->rounds};
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t mode = 0; mode < stores->plan->mode_count; mode++)
            contest->lanes[contest->lane_count++] = (struct lane){.mode = mode, .kind = kinds[i]};
}

void contest_free(struct contest *contest)
{
    for (uint32_t i = 0; i < contest->lane_count; i++) {
        mem_free(contest->lanes[i].wall_ns);
        mem_free(contest->lanes[i].cpu_ns);
    }
    contest->lane_count = 0;
}

static const char *mode_of(const struct contest *contest, uint32_t lane)
{
    return contest->stores->plan->modes[contest->lanes[lane].mode];
}

/* --- answers ------------------------------------------------------------------------------------------------------ */

static bool finds(enum probe_kind kind)
{
    return kind == PROBE_FIND_FILE || kind == PROBE_FIND_PAGE;
}

/* Answers of lookups are known beforehand. Those of ranges are compared among each other, and those about files among
 * modes that read the same ones. */
static plsm_status compare_answers(const struct ring *ring)
{
    const struct contest *contest = ring->contest;
    const struct compare_plan *plan = contest->stores->plan;
    uint64_t slice = contest->slice;
    for (uint32_t i = 0; i < contest->lane_count; i++) {
        const struct lane *lane = &contest->lanes[i];
        const uint64_t *answers = ring->answers + i * slice;
        for (uint32_t j = 0; j < i; j++) {
            const struct lane *other = &contest->lanes[j];
            bool comparable = lane->kind == other->kind &&
                              (!finds(lane->kind) || stores_owner(plan, lane->mode) == stores_owner(plan, other->mode));
            if (comparable)
                TRY(probe_compare(&ring->questions, mode_of(contest, j), ring->answers + j * slice, mode_of(contest, i),
                                  answers));
        }
        if (!finds(lane->kind) && lane->kind != PROBE_RANGE)
            TRY(probe_compare(&ring->questions, "what was written", ring->questions.right, mode_of(contest, i),
                              answers));
    }
    return PLSM_OK;
}

/* --- rounds ------------------------------------------------------------------------------------------------------- */

static plsm_status ask(struct ring *ring, uint32_t lane, struct probe_time *time)
{
    return probe_run(&ring->probes[lane], ring->contest->lanes[lane].kind, &ring->questions,
                     ring->answers + lane * ring->contest->slice, time);
}

static plsm_status fill(struct ring *ring)
{
    const struct contest *contest = ring->contest;
    return choice_fill(contest->choice, contest->stores->data, contest->slice, &ring->questions);
}

static void add_stats(struct lane *lane, const struct stats *stats)
{
    double lookups = stats_get(stats, "io.gets"), found = stats_get(stats, "io.gets_found");
    lane->lookups += lookups;
    lane->found += found;
    lane->reads += stats_get(stats, "io.reads");
    lane->read_bytes += stats_get(stats, "io.read_bytes");
    lane->pages += stats_get(stats, "io.pages_per_get") * lookups;
    lane->cache_hits += stats_get(stats, "cache.hits");
    lane->cache_misses += stats_get(stats, "cache.misses");
    lane->level += stats_get(stats, "learn.level.accuracy") * found;
    lane->file += stats_get(stats, "learn.file.accuracy") * found;
    lane->block += stats_get(stats, "learn.block.accuracy") * found;
    lane->fallback += stats_get(stats, "learn.fallback_rate");
    lane->false_positives += stats_get(stats, "filter.false_positive_rate");
}

/* Statistics are taken outside of the time that is measured. */
static plsm_status measure(struct ring *ring, uint32_t number, uint32_t round)
{
    struct contest *contest = ring->contest;
    struct lane *lane = &contest->lanes[number];
    plsm *db = contest->stores->db[lane->mode];
    struct probe_time time = {0};
    plsm_statistics_reset(db);
    TRY(ask(ring, number, &time));
    stats_read(db, ring->stats);
    add_stats(lane, ring->stats);
    lane->wall_ns[round] = (double)time.wall_ns / (double)contest->slice;
    lane->cpu_ns[round] = (double)time.cpu_ns / (double)contest->slice;
    return PLSM_OK;
}

static plsm_status run_rounds(struct ring *ring)
{
    struct contest *contest = ring->contest;
    struct probe_time time;
    struct progress progress;
    progress_start(&progress, contest->what, contest->rounds, false);
    plsm_status status = PLSM_OK;
    for (uint32_t round = 0; round < WARM_UP_SLICES && status == PLSM_OK; round++) {
        status = fill(ring);
        for (uint32_t i = 0; i < contest->lane_count && status == PLSM_OK; i++)
            status = ask(ring, i, &time);
        if (status == PLSM_OK)
            status = compare_answers(ring);
    }
    for (uint32_t round = 0; round < contest->rounds && status == PLSM_OK; round++) {
        status = fill(ring);
        for (uint32_t i = 0; i < contest->lane_count && status == PLSM_OK; i++)
            status = measure(ring, contest_order(contest->lane_count, round, i), round);
        if (status == PLSM_OK)
            status = compare_answers(ring);
        progress_update(&progress, round + 1);
    }
    progress_end(&progress);
    return status;
}

static plsm_status prepare(struct ring *ring)
{
    struct contest *contest = ring->contest;
    bool good = true;
    ring->stats = mem_alloc(sizeof *ring->stats);
    ring->probes = mem_zalloc(contest->lane_count * sizeof *ring->probes);
    ring->answers = mem_alloc(contest->lane_count * contest->slice * sizeof *ring->answers);
    for (uint32_t i = 0; i < contest->lane_count; i++) {
        struct lane *lane = &contest->lanes[i];
        lane->wall_ns = mem_alloc(contest->rounds * sizeof *lane->wall_ns);
        lane->cpu_ns = mem_alloc(contest->rounds * sizeof *lane->cpu_ns);
        good = good && lane->wall_ns && lane->cpu_ns;
    }
    if (!good || !ring->stats || !ring->probes || !ring->answers)
        return fail(PLSM_NO_MEMORY, "no memory to compare with");
    for (uint32_t i = 0; i < contest->lane_count; i++) {
        ring->probes[i].db = contest->stores->db[contest->lanes[i].mode];
        ring->probes[i].level = contest->level;
    }
    return questions_init(&ring->questions, contest->slice);
}

plsm_status contest_run(struct contest *contest)
{
    struct ring ring = {.contest = contest};
    plsm_status status = prepare(&ring);
    if (status == PLSM_OK)
        status = run_rounds(&ring);
    for (uint32_t i = 0; i < contest->lane_count && ring.probes; i++)
        probe_free(&ring.probes[i]);
    questions_free(&ring.questions);
    mem_free(ring.answers);
    mem_free(ring.probes);
    mem_free(ring.stats);
    return status;
}

/* --- results ------------------------------------------------------------------------------------------------------ */

int contest_find(const struct contest *contest, const char *name, enum probe_kind kind)
{
    for (uint32_t i = 0; i < contest->lane_count; i++)
        if (contest->lanes[i].kind == kind && strcmp(mode_of(contest, i), name) == 0)
            return (int)i;
    return -1;
}

static void put_quartiles(const double *values, const double *over, uint32_t count, double *scratch, double *median,
                          double *first, double *third)
{
    for (uint32_t i = 0; i < count; i++)
        scratch[i] = over ? values[i] / over[i] : values[i];
    struct quartiles q = quartiles_of(scratch, count);
    *median = q.median;
    *first = q.first;
    *third = q.third;
}

void contest_row(const struct contest *contest, uint32_t number, int against, struct compare_row *row)
{
    double scratch[COMPARE_ROUNDS_MAX], *f = row->figures;
    const struct lane *lane = &contest->lanes[number];
    double rounds = contest->rounds, cached = lane->cache_hits + lane->cache_misses;
    row->mode = mode_of(contest, number);
    f[FIGURE_ROUNDS] = rounds;
    f[FIGURE_OPS] = rounds * (double)contest->slice;
    put_quartiles(lane->wall_ns, NULL, contest->rounds, scratch, &f[FIGURE_WALL_NS], &f[FIGURE_WALL_Q1],
                  &f[FIGURE_WALL_Q3]);
    put_quartiles(lane->cpu_ns, NULL, contest->rounds, scratch, &f[FIGURE_CPU_NS], &f[FIGURE_CPU_Q1],
                  &f[FIGURE_CPU_Q3]);
    f[FIGURE_OPS_PER_S] = 1e9 / f[FIGURE_WALL_NS];
    if (against >= 0) {
        const struct lane *other = &contest->lanes[against];
        put_quartiles(lane->wall_ns, other->wall_ns, contest->rounds, scratch, &f[FIGURE_WALL_RATIO],
                      &f[FIGURE_WALL_RATIO_Q1], &f[FIGURE_WALL_RATIO_Q3]);
        put_quartiles(lane->cpu_ns, other->cpu_ns, contest->rounds, scratch, &f[FIGURE_CPU_RATIO],
                      &f[FIGURE_CPU_RATIO_Q1], &f[FIGURE_CPU_RATIO_Q3]);
    }
    f[FIGURE_READS] = lane->reads / f[FIGURE_OPS];
    f[FIGURE_READ_BYTES] = lane->read_bytes / f[FIGURE_OPS];
    if (lane->lookups > 0) {
        f[FIGURE_PAGES] = lane->pages / lane->lookups;
        f[FIGURE_FALLBACK_RATE] = lane->fallback / rounds;
        f[FIGURE_FALSE_POSITIVE_RATE] = lane->false_positives / rounds;
    }
    if (cached > 0)
        f[FIGURE_HIT_RATE] = lane->cache_hits / cached;
    if (lane->found > 0) {
        f[FIGURE_LEVEL_ACCURACY] = lane->level / lane->found;
        f[FIGURE_FILE_ACCURACY] = lane->file / lane->found;
        f[FIGURE_BLOCK_ACCURACY] = strcmp(row->mode, "learned") == 0 ? lane->block / lane->found : NAN;
    }
}
