/* The flush interval: what writes cost when plsm_flush, which writes what is in memory to files, is called every so
 * many of them. */
#include "base/error.h"
#include "tools/bench/subject.h"

#include "base/banned.h"

enum { NEVER, RARE, NOW_AND_THEN, OFTEN, FIGURES };
enum { OPS_MAX = 200000 };

static const struct suite_figure figures[FIGURES] = {
    [NEVER] = {"put, no flush", "ns", BETTER_LESS, WORK_NONE},
    [RARE] = {"put, a flush every 100,000", "ns", BETTER_LESS, WORK_FLUSH},
    [NOW_AND_THEN] = {"put, a flush every 10,000", "ns", BETTER_LESS, WORK_FLUSH},
    [OFTEN] = {"put, a flush every 1,000", "ns", BETTER_LESS, WORK_FLUSH},
};
static const uint64_t intervals[FIGURES] = {UINT64_MAX, 100000, 10000, 1000};

static plsm_status measure(struct subject *subject, const struct data *data, double *out)
{
    const struct row_options *row = &subject->errand->suite->plan->row;
    uint64_t ops = row->ops && row->ops < OPS_MAX ? row->ops : OPS_MAX;
    struct stopwatch watch;
    TRY(subject_load(subject, data, true));
    for (int figure = 0; figure < FIGURES; figure++) {
        if (figure != NEVER && ops < intervals[figure])
            continue;
        TRY(subject_settle(subject));
        stopwatch_start(&watch);
        for (uint64_t done = 0; done < ops;) {
            uint64_t left = ops - done, count = left < intervals[figure] ? left : intervals[figure];
            TRY(subject_overwrite(subject, data, count, done + (uint64_t)figure));
            done += count;
            if (count == intervals[figure])
                TRY(plsm_flush(subject->db));
        }
        out[figure] = stopwatch_wall_ns(&watch) / (double)ops;
    }
    return PLSM_OK;
}

static plsm_status run(const struct errand *errand, const char *directory, double *out)
{
    return subject_run(errand, directory, errand->suite->plan->row.cache_bytes, measure, out);
}

void suite_add_flush(struct suite *suite)
{
    struct suite_job *job = suite_add(
        suite, &(struct suite_job){.part = "flush",
                                   .about = "200,000 puts (or --ops, if that is less) of keys that are there, with "
                                            "plsm_flush every so many; wall time, flushes\nincluded",
                                   .figures = figures,
                                   .figure_count = FIGURES,
                                   .keys = suite_keys(suite),
                                   .run = run});
    snprintf(job->label, sizeof job->label, "%llu keys", (unsigned long long)job->keys);
}
