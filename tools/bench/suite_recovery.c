/* How long it takes until a store answers again: after a clean close, after kill -9, after kill -9 when most of it had
 * been flushed before, and the same when the files that only save time are gone (the append log has such, its hints).
 * What wrote the store was another process; then every key is looked up. */
#include <errno.h>
#include <ftw.h>
#include <unistd.h>

#include "base/error.h"
#include "tools/bench/subject.h"
#include "tools/bench/victim.h"

#include "base/banned.h"

enum { CLOSE, CLOSED, KILLED, FLUSHED, HINTLESS, FIGURES };
enum { REST_OF = 10 };

static const struct suite_figure figures[FIGURES] = {
    [CLOSE] = {"close", "ms", BETTER_LESS, WORK_NONE},
    [CLOSED] = {"open, first get: closed", "ms", BETTER_LESS, WORK_OPEN},
    [KILLED] = {"open, first get: killed", "ms", BETTER_LESS, WORK_OPEN},
    [FLUSHED] = {"open, first get: flushed, 10 % more, killed", "ms", BETTER_LESS, WORK_OPEN},
    [HINTLESS] = {"open, first get: the same without hints", "ms", BETTER_NEITHER, WORK_NONE},
};
static const char *const names[FIGURES] = {"", "closed", "killed", "flushed", "hintless"};

struct history {
    const struct errand *errand;
    const char *directory;
    const struct data *data;
    int figure;
};

static plsm_status open_subject(const struct history *history, struct subject *subject)
{
    return subject_open(subject, history->errand, history->directory, names[history->figure],
                        history->errand->suite->plan->row.cache_bytes);
}

/* All keys are written, each by a call of its own; then, where it has been flushed, a tenth of them again. *close_ms
 * is of a store that is closed. */
static plsm_status live(const void *arg, double *close_ms)
{
    const struct history *history = arg;
    struct subject subject = {0};
    struct stopwatch watch;
    TRY(open_subject(history, &subject));
    TRY(subject_load(&subject, history->data, false));
    if (history->figure >= FLUSHED) {
        TRY(plsm_flush(subject.db));
        TRY(subject_overwrite(&subject, history->data, history->data->keys / REST_OF, 1));
    }
    if (history->figure != CLOSED)
        return PLSM_OK;
    stopwatch_start(&watch);
    plsm_status status = subject_close(&subject);
    *close_ms = stopwatch_wall_ns(&watch) / 1e6;
    return status;
}

static unsigned removed; /* hints; nftw hands no argument on */

static int remove_hint(const char *path, const struct stat *info, int type, struct FTW *walk)
{
    (void)info;
    if (type != FTW_F || strncmp(path + walk->base, "hint-", 5) != 0)
        return 0;
    removed++;
    return unlink(path);
}

/* Without any, the figure would be of a store that has its hints under another name. */
static plsm_status remove_hints(const struct history *history)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", history->directory, names[history->figure]);
    removed = 0;
    if (nftw(path, remove_hint, 16, FTW_PHYS) != 0)
        return fail_errno(errno, path, "remove hints");
    return removed > 0 ? PLSM_OK : fail(PLSM_NOT_FOUND, "%s: there are no hints to remove", path);
}

static plsm_status recover(const struct history *history, double *out)
{
    struct subject subject = {0};
    struct stopwatch watch;
    double close_ms = 0;
    TRY(victim_run(live, history, &close_ms));
    if (history->figure == CLOSED)
        out[CLOSE] = close_ms;
    if (history->figure == HINTLESS)
        TRY(remove_hints(history));
    stopwatch_start(&watch);
    plsm_status status = open_subject(history, &subject);
    if (status == PLSM_OK)
        status = subject_read_one(&subject, history->data, 0);
    out[history->figure] = stopwatch_wall_ns(&watch) / 1e6;
    if (status == PLSM_OK)
        status = subject_read_all(&subject, history->data);
    plsm_status closed = subject_close(&subject);
    rows_remove(subject.path);
    return status == PLSM_OK ? closed : status;
}

static plsm_status run(const struct errand *errand, const char *directory, double *out)
{
    const struct row_options *row = &errand->suite->plan->row;
    struct data data = {0};
    plsm_status status = data_init(&data, row->shape, errand->job->keys, 0, row->value_bytes, row->seed);
    int end = strcmp(errand->contender->engine, "appendlog") == 0 ? FIGURES : HINTLESS;
    for (int figure = CLOSED; figure < end && status == PLSM_OK; figure++)
        status =
            recover(&(struct history){.errand = errand, .directory = directory, .data = &data, .figure = figure}, out);
    data_free(&data);
    return status;
}

void suite_add_recovery(struct suite *suite)
{
    struct suite_job *job = suite_add(
        suite, &(struct suite_job){.part = "recovery",
                                   .about = "another process writes each key by a call of its own, and closes "
                                            "the store or is killed (SIGKILL); files are\ncached by the "
                                            "kernel; behind it every key is looked up, untimed; wall time",
                                   .figures = figures,
                                   .figure_count = FIGURES,
                                   .keys = suite_keys(suite),
                                   .run = run});
    snprintf(job->label, sizeof job->label, "%llu keys", (unsigned long long)job->keys);
}
