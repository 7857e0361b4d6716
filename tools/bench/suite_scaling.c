/* How time, memory and disk grow with the number of keys: from 10^5 on, by tens. */
#include "base/error.h"
#include "tools/bench/clock.h"
#include "tools/bench/subject.h"

#include "base/banned.h"

enum { PUT, PUT_CPU, OVERWRITE, GET, GET_MANY, MEMORY, FILES, FIGURES };
enum { OPS_MAX = 1000000, LEAST = 100000 };

static const struct suite_figure figures[FIGURES] = {
    [PUT] = {"put of a new key", "ns", BETTER_LESS, WORK_WRITE_MANY},
    [PUT_CPU] = {"the same, CPU until idle", "ns", BETTER_LESS, WORK_WRITE_MANY},
    [OVERWRITE] = {"put of a key that is there", "ns", BETTER_LESS, WORK_WRITE_MANY},
    [GET] = {"get", "ns", BETTER_LESS, WORK_READ},
    [GET_MANY] = {"get of 100 keys at once, each", "ns", BETTER_LESS, WORK_READ},
    [MEMORY] = {"memory per key, caches included", "B", BETTER_LESS, WORK_MEMORY},
    [FILES] = {"disk per key, flushed at the end", "B", BETTER_LESS, WORK_SPACE},
};

_Static_assert(SUBJECT_MANY == 100, "the figure says it");

static plsm_status measure(struct subject *subject, const struct data *data, double *out)
{
    struct stopwatch watch;
    const struct row_options *row = &subject->errand->suite->plan->row;
    uint64_t most = row->ops ? row->ops : OPS_MAX, ops = data->keys < most ? data->keys : most;
    double before = (double)clock_memory().anonymous_bytes, keys = (double)data->keys;
    stopwatch_start(&watch);
    TRY(subject_load(subject, data, false));
    out[PUT] = stopwatch_wall_ns(&watch) / keys;
    TRY(subject_settle(subject));
    out[PUT_CPU] = stopwatch_cpu_ns(&watch) / keys;
    TRY(subject_read(subject, data, ops, 1)); /* caches are filled */
    stopwatch_start(&watch);
    TRY(subject_read(subject, data, ops, 2));
    out[GET] = stopwatch_wall_ns(&watch) / (double)ops;
    stopwatch_start(&watch);
    TRY(subject_read_many(subject, data, ops, 5));
    out[GET_MANY] = stopwatch_wall_ns(&watch) / (double)ops;
    out[MEMORY] = ((double)clock_memory().anonymous_bytes - before) / keys;
    stopwatch_start(&watch);
    TRY(subject_overwrite(subject, data, ops, 3));
    out[OVERWRITE] = stopwatch_wall_ns(&watch) / (double)ops;
    TRY(subject_read(subject, data, ops < 1000 ? ops : 1000, 4));
    TRY(plsm_flush(subject->db));
    TRY(subject_settle(subject));
    out[FILES] = subject_files(subject) / keys;
    return PLSM_OK;
}

static plsm_status run(const struct errand *errand, const char *directory, double *out)
{
    const struct row_options *row = &errand->suite->plan->row;
    uint64_t data_bytes = errand->job->keys * (row->value_bytes + 16) * 2;
    return subject_run(errand, directory, data_bytes > row->cache_bytes ? data_bytes : row->cache_bytes, measure, out);
}

void suite_add_scaling(struct suite *suite)
{
    uint64_t most = suite->plan->keys_max;
    for (uint64_t keys = most < LEAST ? most : LEAST;; keys = keys * 10 < most ? keys * 10 : most) {
        struct suite_job *job = suite_add(
            suite, &(struct suite_job){.part = "scaling",
                                       .about = "keys of 16 bytes (or --shape) in random order, each written once by a "
                                                "call of its own; then up to 10^6 lookups, as\nmany to fill caches "
                                                "before, as many by plsm_multi_get, which has their waits for memory "
                                                "overlap,\nand puts over what is there; caches larger than the data; "
                                                "wall time; making keys and comparing\nanswers counts",
                                       .figures = figures,
                                       .figure_count = FIGURES,
                                       .keys = keys,
                                       .all = true,
                                       .run = run});
        snprintf(job->label, sizeof job->label, "%llu keys", (unsigned long long)keys);
        if (keys == most)
            return;
    }
}
