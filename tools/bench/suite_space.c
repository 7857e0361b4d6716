/* What keys take in memory and on disk, before and after they were overwritten and compacted, what compaction does for
 * reads, and what a get takes from the disk. */
#include "base/error.h"
#include "tools/bench/clock.h"
#include "tools/bench/files.h"
#include "tools/bench/subject.h"
#include "tools/bench/victim.h"

#include "base/banned.h"

enum { MEMORY, READS, DISK_READS, LOADED, OVERWRITTEN, COMPACTED, COMPACTION, GET_BEFORE, GET_AFTER, FIGURES };
enum { OPS_MAX = 1000000, COLD_ONE_OF = 500, COLD_FIRST = 20, SMALL_CACHE_BYTES = 8 << 20, PAGE = 4096 };

static const struct suite_figure figures[FIGURES] = {
    [MEMORY] = {"memory per key, cache of 8 MiB", "B", BETTER_LESS, WORK_MEMORY},
    [READS] = {"read calls per get, cache of 8 MiB", "", BETTER_NEITHER, WORK_NONE},
    [DISK_READS] = {"4 KiB from the disk per get, cold", "", BETTER_NEITHER, WORK_NONE},
    [LOADED] = {"disk per key, written once", "B", BETTER_LESS, WORK_SPACE},
    [OVERWRITTEN] = {"disk per key, overwritten", "B", BETTER_LESS, WORK_SPACE},
    [COMPACTED] = {"disk per key, compacted", "B", BETTER_LESS, WORK_SPACE},
    [COMPACTION] = {"compaction of everything", "s", BETTER_LESS, WORK_NONE},
    [GET_BEFORE] = {"get, overwritten", "ns", BETTER_LESS, WORK_READ},
    [GET_AFTER] = {"get, compacted", "ns", BETTER_LESS, WORK_READ},
};

struct scene {
    const struct errand *errand;
    const char *directory;
    const struct data *data;
};

static plsm_status write_all(const void *arg, double *nothing)
{
    const struct scene *scene = arg;
    struct subject subject = {0};
    (void)nothing;
    TRY(subject_open(&subject, scene->errand, scene->directory, "store", SMALL_CACHE_BYTES));
    TRY(subject_load(&subject, scene->data, true));
    TRY(subject_settle(&subject));
    return subject_close(&subject);
}

/* In a process that did not write it, after everything has been read. */
static plsm_status measure_memory(const struct scene *scene, double *out)
{
    struct subject subject = {0};
    double keys = (double)scene->data->keys, before = (double)clock_memory().anonymous_bytes;
    plsm_status status = subject_open(&subject, scene->errand, scene->directory, "store", SMALL_CACHE_BYTES);
    uint64_t calls = clock_read_calls();
    if (status == PLSM_OK)
        status = subject_read_all(&subject, scene->data);
    out[READS] = (double)(clock_read_calls() - calls) / keys;
    out[MEMORY] = ((double)clock_memory().anonymous_bytes - before) / keys;
    out[LOADED] = subject_files(&subject) / keys;
    plsm_status closed = subject_close(&subject);
    return status == PLSM_OK ? closed : status;
}

/* Of so few keys that hardly a page is read again; whether calls or maps read it. An opening may have read all. */
static plsm_status measure_cold(const struct scene *scene, double *out)
{
    struct subject subject = {0};
    uint64_t ops = scene->data->keys / COLD_ONE_OF + 1, bytes = 0;
    plsm_status status = subject_open(&subject, scene->errand, scene->directory, "store", SMALL_CACHE_BYTES);
    if (status == PLSM_OK)
        status = subject_read(&subject, scene->data, COLD_FIRST, 3);
    if (status == PLSM_OK)
        status = files_forget(subject.path);
    bytes = clock_disk_bytes();
    if (status == PLSM_OK)
        status = subject_read(&subject, scene->data, ops, 4);
    *out = (double)(clock_disk_bytes() - bytes) / PAGE / (double)ops;
    plsm_status closed = subject_close(&subject);
    return status == PLSM_OK ? closed : status;
}

static plsm_status measure_gets(struct subject *subject, const struct data *data, double *ns)
{
    const struct row_options *row = &subject->errand->suite->plan->row;
    uint64_t most = row->ops ? row->ops : OPS_MAX, ops = data->keys < most ? data->keys : most;
    struct stopwatch watch;
    TRY(subject_read(subject, data, ops, 1)); /* caches are filled */
    stopwatch_start(&watch);
    TRY(subject_read(subject, data, ops, 2));
    *ns = stopwatch_wall_ns(&watch) / (double)ops;
    return PLSM_OK;
}

static plsm_status measure_space(struct subject *subject, const struct data *data, double *out)
{
    double keys = (double)data->keys;
    struct stopwatch watch;
    plsm_slice open_end = {0};
    TRY(subject_overwrite(subject, data, data->keys, 3));
    TRY(subject_settle(subject));
    out[OVERWRITTEN] = subject_files(subject) / keys;
    TRY(measure_gets(subject, data, &out[GET_BEFORE]));
    stopwatch_start(&watch);
    TRY(plsm_compact(subject->db, open_end, open_end));
    out[COMPACTION] = stopwatch_wall_ns(&watch) / 1e9;
    TRY(subject_settle(subject));
    out[COMPACTED] = subject_files(subject) / keys;
    return measure_gets(subject, data, &out[GET_AFTER]);
}

static plsm_status run(const struct errand *errand, const char *directory, double *out)
{
    const struct row_options *row = &errand->suite->plan->row;
    struct data data = {0};
    struct subject subject = {0};
    struct scene scene = {errand, directory, &data};
    double nothing = 0;
    plsm_status status = data_init(&data, row->shape, errand->job->keys, 0, row->value_bytes, row->seed);
    if (status == PLSM_OK)
        status = victim_run(write_all, &scene, &nothing);
    if (status == PLSM_OK)
        status = measure_memory(&scene, out);
    if (status == PLSM_OK)
        status = measure_cold(&scene, &out[DISK_READS]);
    if (status == PLSM_OK)
        status = subject_open(&subject, errand, directory, "store", row->cache_bytes);
    if (status == PLSM_OK)
        status = measure_space(&subject, &data, out);
    plsm_status closed = subject_close(&subject);
    data_free(&data);
    return status == PLSM_OK ? closed : status;
}

void suite_add_space(struct suite *suite)
{
    struct suite_job *job = suite_add(
        suite, &(struct suite_job){
                   .part = "space",
                   .about = "memory: what is no file's, of a process that has opened the store and read "
                            "all of it, over what it had before;\ncold: behind an opening and 20 gets, the page "
                            "cache dropped, one in 500 keys;\ndisk: blocks of the store's files, "
                            "after each key was written once, after as many puts of random keys, after\n"
                            "plsm_compact of everything; wall time",
                   .figures = figures,
                   .figure_count = FIGURES,
                   .keys = suite_keys(suite),
                   .run = run});
    snprintf(job->label, sizeof job->label, "%llu keys of 16 bytes, values of %u", (unsigned long long)job->keys,
             suite->plan->row.value_bytes);
}
