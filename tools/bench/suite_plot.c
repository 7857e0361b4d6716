/* Pictures. Figures of a job differ in unit and size, so bars are how many times more each engine takes than the best
 * one; those of the table of seed 003 are seconds, beside what was published; scaling is lines over the number of
 * keys. */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <sys/stat.h>

#include "base/error.h"
#include "tools/bench/published.h"
#include "tools/bench/suite_report.h"
#include "tools/plot.h"

#include "base/banned.h"

static const char *const endings[] = {"png", "svg"};
enum { ENDINGS = sizeof endings / sizeof *endings };

enum tool_exit suite_plot_possible(const struct tool *tool, const char *directory)
{
    enum tool_exit code = gnuplot_possible(tool, "picture.png");
    if (code != TOOL_OK)
        return code;
    if (mkdir(directory, 0777) < 0 && errno != EEXIST)
        return tool_error(tool, fail_errno(errno, directory, "make the directory"));
    return TOOL_OK;
}

/* --- scripts ----------------------------------------------------------------------------------------------------- */

/* A number of a block of data; what is not known, or would have no place on a logarithmic axis, is left out. */
static plsm_status put_number(struct buf *script, double value)
{
    return isnan(value) || value <= 0 ? buf_printf(script, " ?") : buf_printf(script, " %.6g", value);
}

static plsm_status put_text(struct buf *script, const char *text)
{
    return buf_printf(script, " \"%s\"", text); /* names of ours: without quotes */
}

/* How many times more than the best one a contender takes for a figure. */
static double times_of(const struct suite *suite, const struct suite_job *job, uint32_t c, uint32_t figure)
{
    double best = NAN;
    bool more = job->figures[figure].better == BETTER_MORE;
    for (uint32_t other = 0; other < suite->contender_count; other++) {
        double value = suite_median(suite, job, other, figure);
        best = isnan(best) || (more ? value > best : value < best) ? value : best;
    }
    return behind(suite_median(suite, job, c, figure), best, more);
}

/* More columns than gnuplot has colours of its own: hues all the way round. */
static plsm_status put_columns(struct buf *script, uint32_t columns)
{
    return buf_printf(script,
                      "do for [i=1:%u] { set linetype i linecolor rgb hsv2rgb((i - 1) / %u., 0.65, 0.9) }\n"
                      "plot for [i=2:%u] $data using i:xtic(1) title columnheader(i)\n",
                      columns, columns, columns);
}

static plsm_status put_bars(const struct suite *suite, const struct suite_job *job, struct buf *script)
{
    uint32_t columns = 1;
    TRY(buf_printf(script, "$data << EOD\nfigure"));
    for (uint32_t c = 0; c < suite->contender_count; c++)
        if (suite_has(job, &suite->contenders[c])) {
            TRY(put_text(script, contender_name(&suite->contenders[c])));
            columns++;
        }
    for (uint32_t figure = 0; figure < job->figure_count; figure++) {
        if (job->figures[figure].better == BETTER_NEITHER)
            continue;
        TRY(buf_printf(script, "\n\"%s\"", job->figures[figure].name));
        for (uint32_t c = 0; c < suite->contender_count; c++)
            if (suite_has(job, &suite->contenders[c]))
                TRY(put_number(script, times_of(suite, job, c, figure)));
    }
    TRY(buf_printf(script, "\nEOD\nset ylabel 'times the best one (logarithmic)'\n"));
    return put_columns(script, columns);
}

/* Seconds of each cell, and behind the engines those of the same kind that were published. */
static plsm_status put_table(const struct suite *suite, const struct suite_job *job, struct buf *script)
{
    uint32_t columns = 1, last = suite->contender_count;
    TRY(buf_printf(script, "$data << EOD\ncell"));
    for (uint32_t c = 0; c < last; c++, columns++)
        TRY(put_text(script, contender_name(&suite->contenders[c])));
    for (uint32_t c = 0; c < last; c++) {
        const char *published = published_engine(suite->contenders[c].engine);
        if (published && suite->contenders[c].promise == PROMISE_EACH) {
            TRY(buf_printf(script, " \"%s, published\"", published));
            columns++;
        }
    }
    for (uint32_t figure = 0; figure < job->figure_count; figure++) {
        if (job->figures[figure].better == BETTER_NEITHER)
            continue;
        TRY(buf_printf(script, "\n\"%s\"", job->figures[figure].name));
        for (uint32_t c = 0; c < last; c++)
            TRY(put_number(script, suite_median(suite, job, c, figure)));
        for (uint32_t c = 0; c < last; c++)
            if (published_engine(suite->contenders[c].engine) && suite->contenders[c].promise == PROMISE_EACH)
                TRY(put_number(script, suite_published(suite, job, &suite->contenders[c], figure)));
    }
    TRY(buf_printf(script, "\nEOD\nset ylabel 's (logarithmic)'\n"));
    return put_columns(script, columns);
}

static plsm_status make_bars(const struct suite *suite, const struct suite_job *job, struct buf *script)
{
    TRY(buf_printf(script,
                   "set title '%s: %s'\nset style data histograms\nset style histogram clustered gap 1\n"
                   "set style fill solid 0.8\nset logscale y\nset grid y\nset datafile missing '?'\n"
                   "set xtics rotate by -30\nset key outside\n",
                   job->part, job->label));
    return job->tell ? put_table(suite, job, script) : put_bars(suite, job, script);
}

/* A small picture for each figure of a part whose jobs differ in the number of keys, a line for each contender. */
static plsm_status make_lines(const struct suite *suite, const struct suite_job *first, uint32_t jobs,
                              struct buf *script)
{
    for (uint32_t c = 0; c < suite->contender_count; c++) {
        TRY(buf_printf(script, "$engine%u << EOD\n", c));
        for (const struct suite_job *job = first; job < first + jobs; job++) {
            TRY(buf_printf(script, "%llu", (unsigned long long)job->keys));
            for (uint32_t figure = 0; figure < job->figure_count; figure++)
                TRY(put_number(script, suite_median(suite, job, c, figure)));
            TRY(buf_printf(script, "\n"));
        }
        TRY(buf_printf(script, "EOD\n"));
    }
    TRY(buf_printf(script,
                   "set multiplot layout 2,%u\nset logscale x\nset xrange [%.6g:%.6g]\nset grid\nset yrange [0:*]\n"
                   "set xlabel 'keys'\nset datafile missing '?'\nset key below samplen 1\n",
                   (first->figure_count + 1) / 2, 0.8 * (double)first->keys, 1.2 * (double)first[jobs - 1].keys));
    for (uint32_t figure = 0; figure < first->figure_count; figure++) {
        TRY(buf_printf(script, "set title '%s'\nset ylabel '%s'\nplot ", first->figures[figure].name,
                       first->figures[figure].unit));
        for (uint32_t c = 0; c < suite->contender_count; c++)
            TRY(buf_printf(script, "%s$engine%u using 1:%u with linespoints title '%s'", c ? ", " : "", c, figure + 2,
                           contender_name(&suite->contenders[c])));
        TRY(buf_printf(script, "\n"));
    }
    return buf_printf(script, "unset multiplot\n");
}

/* --- drawing ----------------------------------------------------------------------------------------------------- */

/* "DIRECTORY/PART-LABEL.ENDING", in which every run of other characters than letters and digits is a dash. */
static bool path_of(const struct suite *suite, const char *part, const char *label, const char *ending,
                    char path[PATH_MAX])
{
    char name[2 * SUITE_LABEL_SIZE];
    size_t size = 0;
    snprintf(name, sizeof name, "%s%s%s", part, *label ? " " : "", label);
    for (const char *at = name; *at; at++) {
        bool plain = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || (*at >= '0' && *at <= '9');
        if (plain || (size > 0 && name[size - 1] != '-'))
            name[size++] = plain ? *at : '-';
    }
    name[size] = '\0';
    return snprintf(path, PATH_MAX, "%s/%s.%s", suite->plan->plot, name, ending) < PATH_MAX;
}

static enum tool_exit draw(const struct tool *tool, const struct suite *suite, const char *part, const char *label,
                           plsm_status made, struct buf *script)
{
    char path[PATH_MAX];
    enum tool_exit code = made == PLSM_OK ? TOOL_OK : tool_error(tool, made);
    for (int ending = 0; ending < ENDINGS && code == TOOL_OK; ending++)
        code = path_of(suite, part, label, endings[ending], path)
                   ? gnuplot_draw(tool, path, 1600, 900, buf_slice(script))
                   : tool_error(tool, fail(PLSM_INVALID, "%s: the path is too long", suite->plan->plot));
    buf_free(script);
    return code;
}

enum tool_exit suite_plot(const struct tool *tool, const struct suite *suite)
{
    enum tool_exit code = TOOL_OK;
    for (const struct suite_job *job = suite->jobs; job < suite->jobs + suite->job_count && code == TOOL_OK;) {
        struct buf script = {0};
        uint32_t jobs = 0;
        while (job + jobs < suite->jobs + suite->job_count && strcmp(job[jobs].part, "scaling") == 0)
            jobs++;
        if (jobs > 0)
            code = draw(tool, suite, job->part, "", make_lines(suite, job, jobs, &script), &script);
        else
            code = draw(tool, suite, job->part, job->label, make_bars(suite, job, &script), &script);
        job += jobs > 0 ? jobs : 1;
    }
    return code;
}
