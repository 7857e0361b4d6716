/* What is told of writes are totals: a slice that meets a large compaction costs a multiple of one that does not, in
 * each mode at another time, so the quartiles over slices only show how far they lie apart. Full compactions of the
 * same keys are alike: of them medians are told. */
#include "tools/bench/compare_writes.h"

#include <math.h>

#include "base/alloc.h"
#include "base/env.h"
#include "base/error.h"
#include "tools/bench/clock.h"
#include "tools/bench/contest.h"
#include "tools/bench/quantile.h"
#include "tools/progress.h"

#include "base/banned.h"

enum { SLICES = 16, SLICE_LEAST = 10000, COMPACTIONS = 5, REWRITTEN_OF = 100, READ_SLICE = 10000 };

/* Of one mode. */
struct writer {
    plsm *db;
    double wall_ns[SLICES], cpu_ns[SLICES]; /* of slices */
    double settle_wall_ns, settle_cpu_ns;   /* of the flush and first compaction */
    double compact_wall_ns[COMPACTIONS], compact_cpu_ns[COMPACTIONS];
    double train_ns, all_cpu_ns; /* from the first slice to the end of the last compaction */
};

struct writing {
    const struct stores *stores;
    struct writer writers[COMPARE_MODES_MAX];
    uint32_t slices;
    uint64_t entries; /* that a full compaction has to do with */
    struct progress progress;
};

const char *compare_reference(const struct compare_plan *plan)
{
    for (uint32_t i = 0; i < plan->mode_count; i++)
        if (strcmp(plan->modes[i], "traditional") == 0)
            return plan->modes[i];
    return plan->modes[plan->mode_count - 1];
}

/* --- reading everything ------------------------------------------------------------------------------------------- */

static plsm_status read_all_of(const struct stores *stores, plsm *db, const char *mode, struct questions *q,
                               uint64_t *answers)
{
    uint8_t buffer[SHAPE_MADE_MAX];
    struct probe probe = {.db = db};
    struct probe_time time;
    plsm_status status = PLSM_OK;
    for (uint64_t i = 0, keys = stores->data->keys; i < keys && status == PLSM_OK;) {
        questions_clear(q);
        for (; q->count < q->capacity && i < keys && status == PLSM_OK; i++)
            status = questions_add_of(q, stores->data, data_key(stores->data, data_shuffled(stores->data, i), buffer),
                                      false);
        questions_done(q);
        if (status == PLSM_OK)
            status = probe_run(&probe, PROBE_MANY_100, q, answers, &time);
        if (status == PLSM_OK)
            status = probe_compare(q, "what was written", q->right, mode, answers);
    }
    probe_free(&probe);
    return status;
}

plsm_status compare_read_all(const struct stores *stores)
{
    struct questions q = {0};
    uint64_t *answers = mem_alloc(READ_SLICE * sizeof *answers);
    plsm_status status = answers ? questions_init(&q, READ_SLICE) : fail(PLSM_NO_MEMORY, "no memory to read with");
    for (uint32_t mode = 0; mode < stores->plan->mode_count && status == PLSM_OK; mode++)
        if (stores->db[mode])
            status = read_all_of(stores, stores->db[mode], stores->plan->modes[mode], &q, answers);
    questions_free(&q);
    mem_free(answers);
    return status;
}

/* --- measuring ---------------------------------------------------------------------------------------------------- */

struct span {
    uint64_t wall_ns, cpu_ns;
};

static struct span span_begin(void)
{
    return (struct span){env_now_ns(env_posix()), clock_process_cpu_ns()};
}

/* Wall time until now; processor time until the background is idle. */
static void span_end(struct span begun, struct writer *writer, double *wall_ns, double *cpu_ns)
{
    *wall_ns = (double)(env_now_ns(env_posix()) - begun.wall_ns);
    clock_wait_until_idle();
    *cpu_ns = (double)(clock_process_cpu_ns() - begun.cpu_ns);
    writer->all_cpu_ns += *cpu_ns;
}

static uint64_t in_random_order(const void *arg, uint64_t i)
{
    return data_scattered(arg, i);
}

/* Other keys each time, spread over all. */
static uint64_t in_other_order(const void *arg, uint64_t i)
{
    const struct data *data = arg;
    return data_shuffled(data, data_shuffled(data, i % data->keys));
}

static plsm_status write_slice(struct writing *w, uint32_t slice, uint32_t mode)
{
    struct writer *writer = &w->writers[mode];
    uint64_t keys = w->stores->data->keys, first = keys * slice / w->slices, end = keys * (slice + 1) / w->slices;
    struct span begun = span_begin();
    TRY(stores_write(w->stores, writer->db, in_random_order, w->stores->data, first, end - first));
    span_end(begun, writer, &writer->wall_ns[slice], &writer->cpu_ns[slice]);
    return PLSM_OK;
}

static plsm_status settle(struct writing *w, uint32_t mode)
{
    struct writer *writer = &w->writers[mode];
    struct span begun = span_begin();
    TRY(plsm_compact(writer->db, (plsm_slice){0}, (plsm_slice){0}));
    span_end(begun, writer, &writer->settle_wall_ns, &writer->settle_cpu_ns);
    return PLSM_OK;
}

/* One in a hundred keys is written again, so that all files have to be merged. */
static plsm_status compact_again(struct writing *w, uint32_t round, uint32_t mode)
{
    struct writer *writer = &w->writers[mode];
    uint64_t count = w->stores->data->keys / REWRITTEN_OF + 1;
    double unused_wall_ns, unused_cpu_ns;
    struct span begun = span_begin();
    TRY(stores_write(w->stores, writer->db, in_other_order, w->stores->data, round * count, count));
    TRY(plsm_flush(writer->db));
    span_end(begun, writer, &unused_wall_ns, &unused_cpu_ns);
    begun = span_begin();
    TRY(plsm_compact(writer->db, (plsm_slice){0}, (plsm_slice){0}));
    span_end(begun, writer, &writer->compact_wall_ns[round], &writer->compact_cpu_ns[round]);
    return PLSM_OK;
}

/* `steps` of each mode in turns, the order turned round from one to the next. */
static plsm_status in_turns(struct writing *w, uint32_t steps,
                            plsm_status (*step)(struct writing *w, uint32_t number, uint32_t mode))
{
    uint32_t modes = w->stores->plan->mode_count;
    for (uint32_t i = 0; i < steps; i++)
        for (uint32_t m = 0; m < modes; m++) {
            TRY(step(w, i, i % 2 ? modes - 1 - m : m));
            progress_update(&w->progress, w->progress.done + 1);
        }
    return PLSM_OK;
}

static plsm_status settle_step(struct writing *w, uint32_t number, uint32_t mode)
{
    (void)number;
    return settle(w, mode);
}

/* --- rows --------------------------------------------------------------------------------------------------------- */

static double sum(const double *values, uint32_t count)
{
    double total = 0;
    for (uint32_t i = 0; i < count; i++)
        total += values[i];
    return total;
}

static void put_ratio(const double *values, const double *over, uint32_t count, double *median, double *first,
                      double *third)
{
    double ratios[SLICES + COMPACTIONS];
    for (uint32_t i = 0; i < count; i++)
        ratios[i] = values[i] / over[i];
    struct quartiles q = quartiles_of(ratios, count);
    *median = q.median;
    *first = q.first;
    *third = q.third;
}

/* Totals over the slices, and with `settled` of what is left behind them too. */
static void put_row(const struct writing *w, const struct writer *writer, const struct writer *over, bool settled,
                    struct compare_row *row)
{
    double ops = (double)w->stores->data->keys, *f = row->figures;
    double wall = sum(writer->wall_ns, w->slices) + (settled ? writer->settle_wall_ns : 0);
    double cpu = sum(writer->cpu_ns, w->slices) + (settled ? writer->settle_cpu_ns : 0);
    double wall_over = sum(over->wall_ns, w->slices) + (settled ? over->settle_wall_ns : 0);
    double cpu_over = sum(over->cpu_ns, w->slices) + (settled ? over->settle_cpu_ns : 0);
    f[FIGURE_ROUNDS] = w->slices;
    f[FIGURE_OPS] = ops;
    f[FIGURE_OPS_PER_S] = ops / (wall / 1e9);
    f[FIGURE_WALL_NS] = wall / ops;
    f[FIGURE_CPU_NS] = cpu / ops;
    if (!settled) {
        double unused;
        put_ratio(writer->wall_ns, over->wall_ns, w->slices, &unused, &f[FIGURE_WALL_RATIO_Q1],
                  &f[FIGURE_WALL_RATIO_Q3]);
        put_ratio(writer->cpu_ns, over->cpu_ns, w->slices, &unused, &f[FIGURE_CPU_RATIO_Q1], &f[FIGURE_CPU_RATIO_Q3]);
    }
    f[FIGURE_WALL_RATIO] = wall / wall_over;
    f[FIGURE_CPU_RATIO] = cpu / cpu_over;
}

static void compact_row(const struct writing *w, const struct writer *writer, const struct writer *over,
                        struct compare_row *row)
{
    double ops = (double)w->entries, copy[COMPACTIONS], *f = row->figures;
    f[FIGURE_ROUNDS] = COMPACTIONS;
    f[FIGURE_OPS] = ops * COMPACTIONS;
    memcpy(copy, writer->compact_wall_ns, sizeof copy);
    f[FIGURE_WALL_NS] = quantile(copy, COMPACTIONS, 0.5) / ops;
    f[FIGURE_OPS_PER_S] = 1e9 / f[FIGURE_WALL_NS];
    memcpy(copy, writer->compact_cpu_ns, sizeof copy);
    f[FIGURE_CPU_NS] = quantile(copy, COMPACTIONS, 0.5) / ops;
    put_ratio(writer->compact_wall_ns, over->compact_wall_ns, COMPACTIONS, &f[FIGURE_WALL_RATIO],
              &f[FIGURE_WALL_RATIO_Q1], &f[FIGURE_WALL_RATIO_Q3]);
    put_ratio(writer->compact_cpu_ns, over->compact_cpu_ns, COMPACTIONS, &f[FIGURE_CPU_RATIO], &f[FIGURE_CPU_RATIO_Q1],
              &f[FIGURE_CPU_RATIO_Q3]);
}

static void put_training(const struct writer *writer, const struct stats *stats, struct compare_row *row)
{
    double *f = row->figures, train_ns = stats_get(stats, "learn.train_ns");
    f[FIGURE_TRAIN_NS] = train_ns > 0 ? stats_get(stats, "learn.train_ns_per_key") : NAN;
    f[FIGURE_TRAIN_SHARE] = train_ns / writer->all_cpu_ns;
    f[FIGURE_FILTER_NS] = stats_get(stats, "filter.build_ns_per_key");
    f[FIGURE_WRITE_AMPLIFICATION] = stats_get(stats, "lsm.write_amplification");
}

static plsm_status tell_rows(const struct writing *w, const struct compare_row *base,
                             void (*each)(void *arg, const struct compare_row *row), void *arg)
{
    static const char *const operations[] = {"put", "put_and_compact", "compact", "write_all"};
    enum { PUT, PUT_AND_COMPACT, COMPACT, WRITE_ALL };
    const struct compare_plan *plan = w->stores->plan;
    const char *reference = compare_reference(plan);
    const struct writer *over = NULL;
    struct stats *stats = mem_alloc(sizeof *stats);
    if (!stats)
        return fail(PLSM_NO_MEMORY, "no memory for statistics");
    for (uint32_t mode = 0; mode < plan->mode_count; mode++)
        if (plan->modes[mode] == reference)
            over = &w->writers[mode];
    for (int i = PUT; i <= WRITE_ALL; i++)
        for (uint32_t mode = 0; mode < plan->mode_count; mode++) {
            const struct writer *writer = &w->writers[mode];
            struct compare_row row = *base;
            compare_row_clear(&row);
            row.operation = operations[i];
            row.mode = plan->modes[mode];
            row.against = reference;
            if (i == COMPACT)
                compact_row(w, writer, over, &row);
            else if (i == WRITE_ALL) {
                stats_read(writer->db, stats);
                put_training(writer, stats, &row);
                row.figures[FIGURE_CPU_RATIO] = writer->all_cpu_ns / over->all_cpu_ns;
            } else
                put_row(w, writer, over, i == PUT_AND_COMPACT, &row);
            each(arg, &row);
        }
    mem_free(stats);
    return PLSM_OK;
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */

static plsm_status run(struct writing *w, const struct compare_row *base,
                       void (*each)(void *arg, const struct compare_row *row), void *arg)
{
    uint32_t modes = w->stores->plan->mode_count;
    struct stores read_back = *w->stores;
    for (uint32_t mode = 0; mode < modes; mode++) {
        char name[64];
        snprintf(name, sizeof name, "write-%s", w->stores->plan->modes[mode]); /* one for each mode, whoever owns it */
        TRY(stores_open_one(w->stores, name, mode, PLSM_CREATE | PLSM_EXCLUSIVE, NULL, &w->writers[mode].db));
        read_back.db[mode] = w->writers[mode].db;
    }
    clock_wait_until_idle();
    progress_start(&w->progress, "write", (uint64_t)modes * (w->slices + 1 + COMPACTIONS), false);
    TRY(in_turns(w, w->slices, write_slice));
    TRY(in_turns(w, 1, settle_step));
    TRY(in_turns(w, COMPACTIONS, compact_again));
    progress_end(&w->progress);
    TRY(compare_read_all(&read_back));
    return tell_rows(w, base, each, arg);
}

plsm_status compare_writes(const struct stores *stores, const struct compare_row *base,
                           void (*each)(void *arg, const struct compare_row *row), void *arg)
{
    struct writing *w = mem_zalloc(sizeof *w);
    if (!w)
        return fail(PLSM_NO_MEMORY, "no memory to compare writes");
    w->stores = stores;
    uint64_t slices = stores->data->keys / SLICE_LEAST;
    w->slices = slices < 1 ? 1 : slices > SLICES ? SLICES : (uint32_t)slices;
    w->entries = stores->data->keys;
    plsm_status status = run(w, base, each, arg);
    progress_end(&w->progress);
    for (uint32_t mode = 0; mode < COMPARE_MODES_MAX; mode++) {
        plsm_status closed = plsm_close(w->writers[mode].db);
        status = status == PLSM_OK ? closed : status;
    }
    mem_free(w);
    return status;
}
