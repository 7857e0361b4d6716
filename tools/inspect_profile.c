/* plsm inspect profile: where the time of a lookup goes. */
#include "tools/inspect.h"

#include "base/error.h"

#include "base/banned.h"

enum { PROFILES = 2 }; /* of present keys, of absent ones */

struct profiles {
    plsm_profile list[PROFILES];
    unsigned count;
};

static bool on_level(const plsm_profile *p, unsigned level)
{
    for (unsigned step = 0; step < PLSM_STEPS; step++)
        if (p->levels[level][step].lookups > 0)
            return true;
    return false;
}

static double sum_ns(const plsm_step_info *step)
{
    return step->mean_ns * (double)step->lookups;
}

static void tell_step(struct outline *o, const char *name, const plsm_step_info *step, const plsm_profile *p)
{
    outline_text(o, "step", name);
    outline_number(o, "lookups", step->lookups);
    outline_real(o, "median_ns", step->median_ns, 0);
    outline_real(o, "mean_ns", step->mean_ns, 1);
    outline_ratio(o, "mean_ns_of_all", sum_ns(step), (double)p->total.lookups, 1);
    outline_share(o, "share", sum_ns(step), sum_ns(&p->total));
}

/* All steps on a level, of the lookups that came to it. */
static plsm_step_info level_total(const plsm_profile *p, unsigned level)
{
    plsm_step_info total = {0};
    double ns = 0;
    for (unsigned step = 0; step < PLSM_STEPS; step++) {
        const plsm_step_info *own = &p->levels[level][step];
        ns += sum_ns(own);
        total.lookups = own->lookups > total.lookups ? own->lookups : total.lookups;
    }
    total.mean_ns = total.lookups ? ns / (double)total.lookups : 0;
    return total;
}

/* In text a column per level: the mean of those lookups that took the step there. */
static void tell_columns(struct outline *o, unsigned step, const plsm_profile *p)
{
    for (unsigned level = 0; level < PLSM_INSPECT_LEVELS; level++) {
        char name[32];
        if (!on_level(p, level))
            continue;
        snprintf(name, sizeof name, "L%u_mean_ns", level);
        plsm_step_info own = step < PLSM_STEPS ? p->levels[level][step] : level_total(p, level);
        outline_ratio(o, name, sum_ns(&own), (double)own.lookups, 1);
    }
}

static void tell_steps(struct outline *o, const plsm_profile *p)
{
    outline_list(o, "steps", NULL);
    for (unsigned step = 0; step <= PLSM_STEPS; step++) {
        bool total = step == PLSM_STEPS;
        const plsm_step_info *info = total ? &p->total : &p->all[step];
        if (info->lookups == 0)
            continue;
        outline_row(o);
        tell_step(o, total ? "all" : plsm_step_name((plsm_step)step), info, p);
        if (!o->json)
            tell_columns(o, step, p);
        outline_row_end(o);
    }
    outline_list_end(o);
}

static void tell_levels(struct outline *o, const plsm_profile *p)
{
    outline_list(o, "levels", NULL);
    for (unsigned level = 0; level < PLSM_INSPECT_LEVELS; level++)
        for (unsigned step = 0; step < PLSM_STEPS; step++) {
            if (p->levels[level][step].lookups == 0)
                continue;
            outline_row(o);
            outline_number(o, "level", level);
            tell_step(o, plsm_step_name((plsm_step)step), &p->levels[level][step], p);
            outline_row_end(o);
        }
    outline_list_end(o);
}

static void tell_profile(struct outline *o, const plsm_profile *p, bool absent)
{
    double keys = (double)p->keys;
    outline_text(o, "keys_are", absent ? "absent" : "present");
    outline_text(o, "index", p->index);
    outline_number(o, "keys", p->keys);
    outline_number(o, "found", p->found);
    outline_number(o, "damaged", p->damaged);
    outline_number(o, "interrupted", p->interrupted);
    outline_real(o, "clock_ns", p->clock_ns, 1);
    outline_ratio(o, "ordinary_lookup_ns", p->get_ns, keys > 0 ? 1 : 0, 1);
    outline_ratio(o, "lookup_in_steps_ns", p->total.mean_ns, keys > 0 ? 1 : 0, 1);
    outline_ratio(o, "pages_per_lookup", (double)p->pages, keys, 3);
    outline_ratio(o, "pages_read_from_files_per_lookup", (double)p->pages_read, keys, 3);
    outline_ratio(o, "runs_searched_per_lookup", (double)p->run_lookups, keys, 3);
    outline_share(o, "fallback_rate", (double)p->fallbacks, (double)p->run_lookups);
    outline_number(o, "answers_that_differ", p->answers_differ);
    tell_steps(o, p);
    if (o->json)
        tell_levels(o, p);
}

static bool tell(const struct profiles *profiles, bool json)
{
    struct outline o;
    outline_start(&o, json);
    if (json) {
        outline_section(&o, NULL, NULL);
        outline_list(&o, "profiles", NULL);
    }
    for (unsigned i = 0; i < profiles->count; i++) {
        if (json)
            outline_row(&o);
        else
            tool_print("%slookups of %s keys\n", i > 0 ? "\n" : "", i > 0 ? "absent" : "present");
        tell_profile(&o, &profiles->list[i], i > 0);
        if (json)
            outline_row_end(&o);
    }
    if (json) {
        outline_list_end(&o);
        outline_section_end(&o);
    }
    return outline_end(&o);
}

/* --- the picture -------------------------------------------------------------------------------------------------- */

static plsm_status make_script(const struct profiles *profiles, struct buf *script)
{
    TRY(buf_printf(script, "$steps << EOD\n"));
    for (unsigned step = 0; step < PLSM_STEPS; step++) {
        TRY(buf_printf(script, "%s", plsm_step_name((plsm_step)step)));
        for (unsigned i = 0; i < profiles->count; i++) {
            const plsm_profile *p = &profiles->list[i];
            uint64_t lookups = p->total.lookups;
            TRY(buf_printf(script, " %.2f", lookups ? sum_ns(&p->all[step]) / (double)lookups : 0.0));
        }
        TRY(buf_printf(script, "\n"));
    }
    return buf_printf(script,
                      "EOD\n"
                      "set style data histogram\nset style histogram clustered\nset style fill solid 0.7\n"
                      "set boxwidth 0.9\nset grid y\nset yrange [0:*]\nset xtics rotate by -30\n"
                      "set ylabel 'ns per lookup'\n"
                      "plot $steps using 2:xtic(1) title 'present keys'%s\n",
                      profiles->count > 1 ? ", $steps using 3 title 'absent keys'" : "");
}

static enum tool_exit draw(const struct tool *tool, const struct profiles *profiles, const char *path)
{
    enum { WIDTH = 900, HEIGHT = 500 };
    struct buf script = {0};
    if (profiles->list[0].keys == 0) {
        tool_say(tool, "there are no keys to look up");
        return TOOL_ERROR;
    }
    return gnuplot_draw_made(tool, path, WIDTH, HEIGHT, make_script(profiles, &script), &script);
}

static enum tool_exit run(struct tool *tool, int argc, char **argv)
{
    struct inspect_request request;
    struct profiles profiles = {0};
    enum tool_exit code = TOOL_OK;
    plsm_status status = PLSM_OK;
    bool problems = false;
    plsm *db = NULL;
    if (!inspect_begin(tool, argc, argv, INSPECT_KEYS | INSPECT_ABSENT | INSPECT_PLOT, &request, &db, &code))
        return code;
    profiles.count = request.options.absent ? PROFILES : 1;
    for (unsigned i = 0; i < profiles.count && status == PLSM_OK; i++) {
        plsm_inspect_options options = request.options;
        options.absent = i > 0;
        status = plsm_inspect_profile(db, &options, &profiles.list[i]);
        problems |= profiles.list[i].answers_differ > 0 || profiles.list[i].damaged > 0;
    }
    if (status == PLSM_OK && !tell(&profiles, request.json))
        status = PLSM_NO_MEMORY;
    if (status != PLSM_OK)
        code = tool_error(tool, status);
    if (code == TOOL_OK && request.plot)
        code = draw(tool, &profiles, request.plot);
    return inspect_end(tool, db, code, problems);
}

const struct command command_inspect_profile = {
    .name = "inspect profile",
    .arguments = "STORE",
    .summary = "Analyzes where the time of a lookup goes",
    .help =
        "      --keys=N       keys to look up; 10,000 by default\n"
        "      --absent       then also keys that are not there, made by changing a byte of those that are\n"
        "      --seed=N       of their choice; 0 by default\n"
        "      --json         one JSON document\n"
        "      --plot=FILE    time per step, as .png or .svg\n\n"
        "Keys are sampled from the whole store, in random order, and looked up once to fill the cache. Then they are\n"
        "looked up as usual (ordinary_lookup_ns), and in steps with a time stamp behind each. What a stamp costs is\n"
        "measured and taken off (clock_ns); but it keeps the processor from overlapping one step with the next, so\n"
        "the steps add up to more than an ordinary lookup takes. Lookups in which the thread lost its processor are\n"
        "left out (interrupted). mean_ns and median_ns are of the lookups that took the step, mean_ns_of_all of all\n"
        "of them. With -o index=traditional there is no model step.\n\n"
        "Example:\n  plsm inspect profile --keys=100k --absent /var/lib/words\n",
    .run = run,
};
