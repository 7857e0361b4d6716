/* What the engines should reach, judged by what was measured. Of an engine with several promises the best figure
 * counts: how safe each put is does not matter to these limits, and all are told in the tables. A get that reads one
 * record reads two pages where it lies across their border, which is why the limit of pages is not 1. */
#include <math.h>

#include "tools/bench/suite_report.h"
#include "tools/tool.h"

#include "base/banned.h"

static const struct limit {
    const char *about, *part, *figure, *engine;
    const char *other; /* the limit is so many times the figure of this engine; NULL: it is a figure itself */
    double limit;      /* at most */
    const char *unit;
} limits[] = {
    {"get (8 M/s)", "scaling", "get", "hybridlog", NULL, 125, "ns"},
    {"get, 100 keys a call (8 M/s)", "scaling", "get of 100 keys at once, each", "hybridlog", NULL, 125, "ns"},
    {"put in place (6 M/s)", "scaling", "put of a key that is there", "hybridlog", NULL, 166.7, "ns"},
    {"get, of the hybrid log's", "scaling", "get", "appendlog", "hybridlog", 2, "times"},
    {"get, 100 keys a call, of its", "scaling", "get of 100 keys at once, each", "appendlog", "hybridlog", 2, "times"},
    {"open, killed", "recovery", "open, first get: flushed, 10 % more, killed", "lsm", NULL, 1000, "ms"},
    {"open, killed", "recovery", "open, first get: flushed, 10 % more, killed", "appendlog", NULL, 3000, "ms"},
    {"open, killed", "recovery", "open, first get: flushed, 10 % more, killed", "hybridlog", NULL, 3000, "ms"},
    {"open, killed, hints gone", "recovery", "open, first get: the same without hints", "appendlog", NULL, 10000, "ms"},
    {"4 KiB from the disk per cold get", "space", "4 KiB from the disk per get, cold", "appendlog", NULL, 1.05, ""},
    {"files of a checkpoint, unchanged", "checkpoint", "new files, nothing changed", "lsm", NULL, 0, "files"},
    {"files of a checkpoint, unchanged", "checkpoint", "new files, nothing changed", "appendlog", NULL, 0, "files"},
    {"files of a checkpoint, unchanged", "checkpoint", "new files, nothing changed", "hybridlog", NULL, 0, "files"},
    {"longest put during checkpoints", "checkpoint", "longest put during checkpoints", "lsm", NULL, 10, "ms"},
    {"longest put during checkpoints", "checkpoint", "longest put during checkpoints", "appendlog", NULL, 10, "ms"},
    {"longest put during checkpoints", "checkpoint", "longest put during checkpoints", "hybridlog", NULL, 10, "ms"},
};
enum { LIMITS = sizeof limits / sizeof *limits };

/* The job of a part with the most keys; NULL: it was not measured. */
static const struct suite_job *job_of(const struct suite *suite, const char *part)
{
    const struct suite_job *found = NULL;
    for (const struct suite_job *job = suite->jobs; job < suite->jobs + suite->job_count; job++)
        if (strcmp(job->part, part) == 0 && (!found || job->keys > found->keys))
            found = job;
    return found;
}

/* The least figure of an engine, whatever it promises; NAN: there is none. */
static double least_of(const struct suite *suite, const struct suite_job *job, const char *name, const char *engine)
{
    double least = NAN;
    for (uint32_t f = 0; f < job->figure_count; f++)
        for (uint32_t c = 0; c < suite->contender_count; c++)
            if (strcmp(job->figures[f].name, name) == 0 && strcmp(suite->contenders[c].engine, engine) == 0)
                least = fmin(least, suite_median(suite, job, c, f)); /* of a number and NAN: the number */
    return least;
}

void suite_tell_limits(const struct suite *suite)
{
    bool first = true;
    for (const struct limit *limit = limits; limit < limits + LIMITS; limit++) {
        char text[FIGURE_TEXT_SIZE], most[FIGURE_TEXT_SIZE];
        const struct suite_job *job = job_of(suite, limit->part);
        double measured = job ? least_of(suite, job, limit->figure, limit->engine) : NAN;
        if (limit->other)
            measured /= job ? least_of(suite, job, limit->figure, limit->other) : NAN;
        if (isnan(measured))
            continue;
        if (first)
            tool_print("\nWhat the engines should reach, at most, on a quiet machine with 10 M keys; measured with the "
                       "most keys of each part:\n\n");
        first = false;
        tool_print("  %-34s %-10s %8s %-6s %-8s %s (%s, %s)\n", limit->about, limit->engine,
                   suite_figure_text(most, limit->limit), limit->unit, measured <= limit->limit ? "met" : "not met",
                   suite_figure_text(text, measured), job->part, job->label);
    }
}
