#include "tools/bench/suite_report.h"

#include <math.h>

#include "tools/bench/report.h"
#include "tools/text.h"
#include "tools/tool.h"

#include "base/banned.h"

char *suite_figure_text(char out[FIGURE_TEXT_SIZE], double value)
{
    if (isnan(value))
        snprintf(out, FIGURE_TEXT_SIZE, "-");
    else
        snprintf(out, FIGURE_TEXT_SIZE, "%.*f",
                 value >= 100 || value == 0 ? 0
                 : value >= 10              ? 1
                 : value >= 1               ? 2
                                            : 3,
                 value);
    return out;
}

void suite_tell_conditions(const struct suite *suite)
{
    const struct bench_plan *plan = suite->plan;
    char cache[TEXT_NUMBER_SIZE], ops[40] = "";
    if (plan->row.ops)
        snprintf(ops, sizeof ops, " --ops=%llu", (unsigned long long)plan->row.ops);
    tool_print("command: plsm bench engines --engine=%s --keys=%s --max-keys=%llu --batch=%u --threads=%u --repeat=%u "
               "--value-bytes=%u --cache-bytes=%llu%s%s%s%s%s\n",
               plan->engines, plan->keys_text, (unsigned long long)plan->keys_max, plan->row.batch, plan->row.threads,
               plan->repeat, plan->row.value_bytes, (unsigned long long)plan->row.cache_bytes, ops,
               plan->parts ? " --parts=" : "", plan->parts ? plan->parts : "", plan->row.options ? " -o " : "",
               plan->row.options ? plan->row.options : "");
    report_machine("");
    tool_print(
        "conditions: medians of %u run%s in turns of all engines, each in a process of its own; caches of %s where "
        "an engine has one;\n  a put survives the death of the process when it returns, not power loss (sync "
        "off)",
        plan->repeat, plan->repeat > 1 ? "s" : "", text_bytes(cache, plan->row.cache_bytes));
    if (plan->row.batch > 1)
        tool_print(";\n  \"batches\": in atomic batches of %u, each of which does (those who published hold as much "
                   "back)",
                   plan->row.batch);
    if (suite->has_volatile)
        tool_print(
            ";\n  \"volatile\": each by itself, and the process may take with it what was not flushed, synced or "
            "checkpointed since");
    tool_print(".\n  *: the best one by a tenth at least, and in each of its runs better than any other in any of its "
               "own\n");
    tool_flush();
}

/* --- a table ----------------------------------------------------------------------------------------------------- */

enum { NAME_COLUMNS = 46, VALUE_COLUMNS = 18 };

/* Values of a figure, of those who have this job, the winner marked. */
static void tell_line(const struct suite *suite, const struct suite_job *job, uint32_t figure)
{
    char text[FIGURE_TEXT_SIZE], name[64];
    const struct suite_figure *f = &job->figures[figure];
    struct winner winner = suite_winner(suite, job, figure);
    snprintf(name, sizeof name, "%s%s%s", f->name, *f->unit ? ", " : "", f->unit);
    tool_print("  %-*s", NAME_COLUMNS, name);
    for (uint32_t c = 0; c < suite->contender_count; c++) {
        if (!suite_has(job, &suite->contenders[c]))
            continue;
        bool best = f->better != BETTER_NEITHER && winner.clear && winner.best == (int)c;
        tool_print(" %*s%s", VALUE_COLUMNS, suite_figure_text(text, suite_median(suite, job, c, figure)),
                   best ? "*" : " ");
    }
    tool_print("\n");
}

static void tell_table(const struct suite *suite, const struct suite_job *job)
{
    tool_print("\n  %-*s", NAME_COLUMNS, job->label);
    for (uint32_t c = 0; c < suite->contender_count; c++)
        if (suite_has(job, &suite->contenders[c])) {
            tool_print(" %*s ", VALUE_COLUMNS, contender_name(&suite->contenders[c]));
        }
    tool_print("\n");
    for (uint32_t figure = 0; figure < job->figure_count; figure++)
        tell_line(suite, job, figure);
}

/* --- lines for programs ------------------------------------------------------------------------------------------ */

/* A number, or what stands for none. */
static char *number_text(char out[FIGURE_TEXT_SIZE], double value, const char *none)
{
    if (isnan(value))
        snprintf(out, FIGURE_TEXT_SIZE, "%s", none);
    else
        snprintf(out, FIGURE_TEXT_SIZE, "%.6g", value);
    return out;
}

static const char *const better_names[] = {"less", "more", "neither"};

struct line {
    const struct suite_job *job;
    const struct suite_figure *figure;
    const struct contender *contender;
    struct spread spread;
    double published;
};

static void print_json(const struct line *line)
{
    char median[FIGURE_TEXT_SIZE], least[FIGURE_TEXT_SIZE], most[FIGURE_TEXT_SIZE], published[FIGURE_TEXT_SIZE],
        ratio[FIGURE_TEXT_SIZE];
    double times = line->published / line->spread.median;
    tool_print(
        "{\"workload\":\"engines\",\"part\":\"%s\",\"label\":\"%s\",\"keys\":%llu,\"figure\":\"%s\",\"unit\":\"%s\","
        "\"better\":\"%s\",\"engine\":\"%s\",\"writes\":\"%s\",\"median\":%s,\"least\":%s,\"most\":%s,"
        "\"published\":%s,\"ratio\":%s,\"beaten\":%s}\n",
        line->job->part, line->job->label, (unsigned long long)line->job->keys, line->figure->name, line->figure->unit,
        better_names[line->figure->better], line->contender->engine, promise_names[line->contender->promise],
        number_text(median, line->spread.median, "null"), number_text(least, line->spread.least, "null"),
        number_text(most, line->spread.most, "null"), number_text(published, line->published, "null"),
        number_text(ratio, times, "null"),
        isnan(times)            ? "null"
        : times >= SUITE_BEATEN ? "true"
                                : "false");
}

static void print_csv(FILE *csv, const struct line *line)
{
    char median[FIGURE_TEXT_SIZE], least[FIGURE_TEXT_SIZE], most[FIGURE_TEXT_SIZE], published[FIGURE_TEXT_SIZE],
        ratio[FIGURE_TEXT_SIZE];
    fprintf(csv, "%s,\"%s\",%llu,\"%s\",%s,%s,%s,%s,%s,%s,%s,%s,%s\n", line->job->part, line->job->label,
            (unsigned long long)line->job->keys, line->figure->name, line->figure->unit,
            better_names[line->figure->better], line->contender->engine, promise_names[line->contender->promise],
            number_text(median, line->spread.median, ""), number_text(least, line->spread.least, ""),
            number_text(most, line->spread.most, ""), number_text(published, line->published, ""),
            number_text(ratio, line->published / line->spread.median, ""));
}

static void print_lines(const struct suite *suite, const struct suite_job *job, FILE *csv)
{
    if (csv && job == suite->jobs)
        fputs("part,label,keys,figure,unit,better,engine,writes,median,least,most,published,ratio\n", csv);
    for (uint32_t figure = 0; figure < job->figure_count; figure++)
        for (uint32_t c = 0; c < suite->contender_count; c++) {
            struct line line = {job, &job->figures[figure], &suite->contenders[c], suite_spread(suite, job, c, figure),
                                suite_published(suite, job, &suite->contenders[c], figure)};
            if (!suite_has(job, line.contender))
                continue;
            if (suite->plan->json)
                print_json(&line);
            if (csv)
                print_csv(csv, &line);
        }
}

void suite_tell_job(const struct suite *suite, const struct suite_job *job, bool first, FILE *csv)
{
    if (suite->plan->json || csv)
        print_lines(suite, job, csv);
    if (!suite->plan->json) {
        if (first)
            tool_print("\n%s: %s\n", job->part, job->about);
        job->tell ? job->tell(suite, job) : tell_table(suite, job);
    }
    tool_flush();
    if (csv)
        fflush(csv);
}
