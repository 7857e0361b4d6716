/* Which engine is for which work: nothing of it is known beforehand, all is from the figures. */
#include <math.h>

#include "tools/bench/published.h"
#include "tools/bench/suite_report.h"

#include "base/banned.h"

static const double ALIKE = 1.1; /* means that differ by less are told as equals */

/* Those who promise the same. */
static bool contends(const struct suite *suite, uint32_t c)
{
    return suite->contenders[c].promise == PROMISE_EACH;
}

struct winner suite_winner(const struct suite *suite, const struct suite_job *job, uint32_t figure)
{
    struct spread spreads[SUITE_CONTENDERS_MAX];
    for (uint32_t c = 0; c < suite->contender_count; c++)
        spreads[c] = contends(suite, c) ? suite_spread(suite, job, c, figure) : (struct spread){NAN, NAN, NAN};
    return winner_of(spreads, suite->contender_count, job->figures[figure].better == BETTER_MORE);
}

/* --- kinds of work ----------------------------------------------------------------------------------------------- */

enum { RATIOS_MAX = SUITE_JOBS_MAX * SUITE_FIGURES_MAX };

struct ratios {
    double of[SUITE_CONTENDERS_MAX][RATIOS_MAX];
    uint32_t count;
};

/* A figure counts when somebody has it, and better than 0. */
static void add_ratios(const struct suite *suite, const struct suite_job *job, uint32_t figure, struct ratios *ratios)
{
    struct winner winner = suite_winner(suite, job, figure);
    bool more = job->figures[figure].better == BETTER_MORE;
    if (winner.best < 0)
        return;
    double best = suite_median(suite, job, (uint32_t)winner.best, figure);
    if (!(best > 0))
        return;
    for (uint32_t c = 0; c < suite->contender_count; c++)
        ratios->of[c][ratios->count] =
            contends(suite, c) ? behind(suite_median(suite, job, c, figure), best, more) : NAN;
    ratios->count++;
}

static int least_of(const struct standing *standing, uint32_t count, int without)
{
    int least = -1;
    for (uint32_t c = 0; c < count; c++)
        if ((int)c != without && !isnan(standing->behind[c]) &&
            (least < 0 || standing->behind[c] < standing->behind[least]))
            least = (int)c;
    return least;
}

void suite_standing(const struct suite *suite, enum work work, struct standing *out)
{
    static struct ratios ratios;
    ratios.count = 0;
    for (const struct suite_job *job = suite->jobs; job < suite->jobs + suite->job_count; job++)
        for (uint32_t figure = 0; figure < job->figure_count; figure++)
            if (job->figures[figure].better != BETTER_NEITHER && suite_work(job, &job->figures[figure]) == work)
                add_ratios(suite, job, figure, &ratios);
    *out = (struct standing){.figures = ratios.count};
    for (uint32_t c = 0; c < SUITE_CONTENDERS_MAX; c++)
        out->behind[c] = c < suite->contender_count ? mean_of_ratios(ratios.of[c], ratios.count) : NAN;
    out->best = least_of(out, suite->contender_count, -1);
    out->second = out->best < 0 ? -1 : least_of(out, suite->contender_count, out->best);
}

static void tell_work(const struct suite *suite, enum work work)
{
    struct standing s;
    suite_standing(suite, work, &s);
    if (s.best < 0)
        return;
    tool_print("  %-40s %8u", work_names[work], s.figures);
    for (uint32_t c = 0; c < suite->contender_count; c++)
        if (contends(suite, c)) {
            char text[FIGURE_TEXT_SIZE];
            tool_print(" %14s", suite_figure_text(text, s.behind[c]));
        }
    const char *best = suite->contenders[s.best].engine;
    bool alike = s.second >= 0 && s.behind[s.second] < ALIKE * s.behind[s.best];
    tool_print("  %s%s%s\n", best, alike ? " or " : "", alike ? suite->contenders[s.second].engine : "");
}

/* --- figures ----------------------------------------------------------------------------------------------------- */

/* How often a contender wins a job, and by how much at least and at most. */
struct tally {
    uint32_t wins;
    double least, most;
};

static void tell_job_winners(const struct suite *suite, const struct suite_job *job)
{
    struct tally tallies[SUITE_CONTENDERS_MAX] = {{0}};
    uint32_t judged = 0, clear = 0;
    for (uint32_t figure = 0; figure < job->figure_count; figure++) {
        struct winner winner = suite_winner(suite, job, figure);
        if (job->figures[figure].better == BETTER_NEITHER || winner.second < 0)
            continue;
        judged++;
        if (!winner.clear)
            continue;
        struct tally *tally = &tallies[winner.best];
        tally->least = tally->wins == 0 || winner.factor < tally->least ? winner.factor : tally->least;
        tally->most = tally->wins == 0 || winner.factor > tally->most ? winner.factor : tally->most;
        tally->wins++;
        clear++;
    }
    if (judged == 0)
        return;
    tool_print("  %-12s %-36s", job->part, job->label);
    for (uint32_t c = 0; c < suite->contender_count; c++)
        if (tallies[c].wins > 0)
            tool_print(" %s %u (%.1fx to %.1fx),", suite->contenders[c].engine, tallies[c].wins, tallies[c].least,
                       tallies[c].most);
    tool_print(" none clearly %u\n", judged - clear);
}

/* --- seed 003 ---------------------------------------------------------------------------------------------------- */

static void tell_beaten(const struct suite *suite)
{
    for (uint32_t c = 0; c < suite->contender_count; c++) {
        const struct contender *contender = &suite->contenders[c];
        uint32_t cells = 0, beaten = 0;
        double least = NAN;
        for (const struct suite_job *job = suite->jobs; job < suite->jobs + suite->job_count; job++)
            for (uint32_t figure = 0; figure < job->figure_count; figure++) {
                double ratio = suite_published(suite, job, contender, figure) / suite_median(suite, job, c, figure);
                if (isnan(ratio))
                    continue;
                cells++;
                beaten += ratio >= SUITE_BEATEN;
                least = isnan(least) || ratio < least ? ratio : least;
            }
        if (cells > 0)
            tool_print("  %-20s %u of %u cells of seed 003 (%s) are beaten by %.0fx; the least ratio is %.1fx\n",
                       contender_name(contender), beaten, cells, published_engine(contender->engine), SUITE_BEATEN,
                       least);
    }
}

static void tell_works(const struct suite *suite)
{
    tool_print("\nWhich one for which work: how many times more each takes than the best one, on average (geometric "
               "mean of the medians'\nratios; 1.00: the best in every figure that counts for it)\n\n");
    tool_print("  %-40s %8s", "work", "figures");
    for (uint32_t c = 0; c < suite->contender_count; c++)
        if (contends(suite, c))
            tool_print(" %14s", suite->contenders[c].engine);
    tool_print("  best\n");
    for (int work = WORK_NONE + 1; work < WORKS; work++)
        tell_work(suite, (enum work)work);
    tool_print("\nFigures that an engine wins clearly, and by how much over the next:\n\n");
    for (const struct suite_job *job = suite->jobs; job < suite->jobs + suite->job_count; job++)
        tell_job_winners(suite, job);
}

void suite_tell_conclusion(const struct suite *suite)
{
    uint32_t rivals = 0;
    for (uint32_t c = 0; c < suite->contender_count; c++)
        rivals += contends(suite, c);
    if (rivals > 1)
        tell_works(suite);
    tool_print("\n");
    tell_beaten(suite);
}
