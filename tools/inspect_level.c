/* plsm inspect level: models, filters and accuracy per level. */
#include "tools/inspect.h"

#include <math.h>

#include "base/error.h"

#include "base/banned.h"

struct levels {
    plsm_level_info list[PLSM_INSPECT_LEVELS];
    unsigned count;
    plsm_lookup_info lookups;
};

static void take_level(void *arg, const plsm_level_info *level)
{
    struct levels *l = arg;
    l->list[l->count++] = *level;
}

static uint64_t index_bytes(const plsm_level_info *l)
{
    return l->model_bytes + l->fences_bytes;
}

static uint64_t filter_bytes(const plsm_level_info *l)
{
    return l->membership_bytes + l->filter_bytes + l->young_bytes;
}

static void tell_levels(struct outline *o, const struct levels *levels)
{
    outline_list(o, "levels", "levels");
    for (unsigned i = 0; i < levels->count; i++) {
        const plsm_level_info *l = &levels->list[i];
        outline_row(o);
        outline_number(o, "level", l->level);
        outline_number(o, "runs", l->runs);
        outline_number(o, "damaged", l->runs_damaged);
        outline_number(o, "young", l->runs_young);
        outline_number(o, "classic", l->runs_classic);
        outline_number(o, "entries", l->entries);
        outline_number(o, "deletions", l->deletions);
        outline_number(o, "pages", l->pages);
        outline_number(o, "file_bytes", l->file_bytes);
        outline_number(o, "keys_sampled", l->keys);
        outline_share(o, "model_accuracy", (double)l->keys_right, (double)l->keys);
        outline_number(o, "worst_run", l->worst_run);
        outline_share(o, "worst_run_accuracy", l->worst_run_accuracy_ppm, l->worst_run ? 1e6 : 0);
        outline_number(o, "found", l->found);
        outline_share(o, "first_answer_accuracy", (double)l->found_first, (double)l->found);
        outline_row_end(o);
    }
    outline_list_end(o);
}

static void tell_bits(struct outline *o, const struct levels *levels)
{
    outline_list(o, "bits_per_key", "\nmemory, bits per entry; traditional: of those parts whether they serve or not");
    for (unsigned i = 0; i < levels->count; i++) {
        const plsm_level_info *l = &levels->list[i];
        double entries = (double)l->entries;
        outline_row(o);
        outline_number(o, "level", l->level);
        outline_ratio(o, "index", inspect_bits(index_bytes(l)), entries, 3);
        outline_ratio(o, "models", inspect_bits(l->model_bytes), entries, 3);
        outline_ratio(o, "fences", inspect_bits(l->fences_bytes), entries, 3);
        outline_ratio(o, "traditional_index", inspect_bits(l->traditional_index_bytes), entries, 3);
        outline_ratio(o, "filter", inspect_bits(filter_bytes(l)), entries, 3);
        outline_ratio(o, "memberships", inspect_bits(l->membership_bytes), entries, 3);
        outline_ratio(o, "filters", inspect_bits(l->filter_bytes), entries, 3);
        outline_ratio(o, "young_table", inspect_bits(l->young_bytes), entries, 3);
        outline_ratio(o, "traditional_filter", inspect_bits(l->traditional_filter_bytes), entries, 3);
        outline_number(o, "metadata_bytes_max", l->metadata_bytes_max);
        outline_row_end(o);
    }
    outline_list_end(o);
}

static void tell_routers(struct outline *o, const struct levels *levels)
{
    outline_list(o, "level_models", "\nmodels of levels: which run of it");
    for (unsigned i = 0; i < levels->count; i++) {
        const plsm_level_info *l = &levels->list[i];
        const plsm_model_info *m = &l->router;
        if (!m->type && !o->json)
            continue;
        outline_row(o);
        outline_number(o, "level", l->level);
        outline_text(o, "type", m->type);
        outline_number(o, "memory_bytes", m->memory_bytes);
        outline_number(o, "metadata_bytes", m->metadata_bytes);
        outline_number(o, "segments", m->segments);
        outline_number(o, "bounds", l->router_bounds);
        outline_share(o, "bounds_accuracy", (double)(l->router_bounds - l->router_bounds_wrong),
                      (double)l->router_bounds);
        outline_number(o, "keys", l->router_keys);
        outline_share(o, "keys_accuracy", (double)(l->router_keys - l->router_keys_wrong), (double)l->router_keys);
        outline_row_end(o);
    }
    outline_list_end(o);
}

static void tell_kinds(struct outline *o, const char *of, unsigned level, const plsm_kind_count *kinds)
{
    for (unsigned i = 0; i < PLSM_INSPECT_KINDS && kinds[i].kind; i++) {
        outline_row(o);
        outline_number(o, "level", level);
        outline_text(o, "of", of);
        outline_text(o, "kind", kinds[i].kind);
        outline_number(o, "runs", kinds[i].runs);
        outline_row_end(o);
    }
}

static void tell_lookups(struct outline *o, const struct levels *levels)
{
    const plsm_lookup_info *l = &levels->lookups;
    double in_runs = (double)(l->found - l->found_in_memory), first = 0, all = 0;
    for (unsigned i = 0; i < levels->count; i++) {
        all += (double)levels->list[i].found;
        first += (double)levels->list[i].found_first;
    }
    outline_section(o, "lookups", "\nlookups of keys sampled from the whole store");
    outline_number(o, "keys", l->keys);
    outline_number(o, "found", l->found);
    outline_number(o, "found_in_memory", l->found_in_memory);
    outline_number(o, "damaged", l->damaged);
    outline_share(o, "level_accuracy", in_runs - (double)l->level_wrong, in_runs);
    outline_share(o, "file_accuracy", in_runs - (double)l->file_wrong, in_runs);
    outline_share(o, "page_accuracy", first, all);
    outline_number(o, "level_models_wrong", l->router_wrong);
    outline_share(o, "fallback_rate", (double)l->fallbacks, (double)l->run_lookups);
    outline_ratio(o, "filters_asked_per_key", (double)l->filter_probes, (double)l->keys, 3);
    outline_ratio(o, "young_table_asked_per_key", (double)l->young_probes, (double)l->keys, 3);
    outline_ratio(o, "runs_searched_per_key", (double)l->run_lookups, (double)l->keys, 3);
    outline_ratio(o, "pages_per_key", (double)l->pages, (double)l->keys, 3);
    outline_section_end(o);
}

static void tell_young(struct outline *o, const plsm_young_info *young)
{
    outline_section(o, "young_table", "\nyoung table: which runs above the last level may hold a key");
    outline_number(o, "tables", young->tables);
    outline_number(o, "runs", young->runs);
    outline_number(o, "entries", young->entries);
    outline_number(o, "bytes", young->bytes);
    outline_ratio(o, "bits_per_entry", inspect_bits(young->bytes), (double)young->entries, 3);
    outline_section_end(o);
}

static bool tell(const struct levels *levels, bool json)
{
    struct outline o;
    outline_start(&o, json);
    if (json)
        outline_section(&o, NULL, NULL);
    tell_levels(&o, levels);
    tell_bits(&o, levels);
    tell_routers(&o, levels);
    outline_list(&o, "kinds", "\nkinds of models and memberships");
    for (unsigned i = 0; i < levels->count; i++) {
        tell_kinds(&o, "model", levels->list[i].level, levels->list[i].models);
        tell_kinds(&o, "membership", levels->list[i].level, levels->list[i].memberships);
    }
    outline_list_end(&o);
    tell_lookups(&o, levels);
    if (json || levels->lookups.young.runs > 0)
        tell_young(&o, &levels->lookups.young);
    if (json)
        outline_section_end(&o);
    return outline_end(&o);
}

/* --- the picture -------------------------------------------------------------------------------------------------- */

static plsm_status make_script(const struct levels *levels, struct buf *script)
{
    double index_end = 0, filter_end = 0;
    TRY(buf_printf(script, "$levels << EOD\n"));
    for (unsigned i = 0; i < levels->count; i++) {
        const plsm_level_info *l = &levels->list[i];
        double entries = l->entries ? (double)l->entries : 1;
        double index = inspect_bits(index_bytes(l)) / entries, filter = inspect_bits(filter_bytes(l)) / entries;
        double old_index = inspect_bits(l->traditional_index_bytes) / entries;
        double old_filter = inspect_bits(l->traditional_filter_bytes) / entries;
        index_end = fmax(index_end, fmax(index, old_index));
        filter_end = fmax(filter_end, fmax(filter, old_filter));
        TRY(buf_printf(script, "%u %.4f %.4f %.4f %.4f %.4f %.4f\n", l->level,
                       l->keys ? 100.0 * (double)l->keys_right / (double)l->keys : 0.0,
                       l->found ? 100.0 * (double)l->found_first / (double)l->found : 0.0, index, old_index, filter,
                       old_filter));
    }
    return buf_printf(script,
                      "EOD\n"
                      "set style data histogram\nset style histogram clustered\nset style fill solid 0.7\n"
                      "set boxwidth 0.9\nset grid y\nset xlabel 'level'\nset key above\n"
                      "set multiplot layout 3,1\n"
                      "set ylabel 'per cent'\nset yrange [0:105]\n"
                      "plot $levels using 2:xtic(1) title 'model, first answer right', "
                      "$levels using 3 title 'lookups, first answer right'\n"
                      "set ylabel 'bits per key'\nset yrange [0:%.6g]\n"
                      "plot $levels using 4:xtic(1) title 'index', $levels using 5 title 'traditional index'\n"
                      "set yrange [0:%.6g]\n"
                      "plot $levels using 6:xtic(1) title 'filter', $levels using 7 title 'traditional filter'\n"
                      "unset multiplot\n",
                      gnuplot_axis_end(index_end), gnuplot_axis_end(filter_end));
}

static enum tool_exit draw(const struct tool *tool, const struct levels *levels, const char *path)
{
    enum { WIDTH = 900, HEIGHT = 900 };
    struct buf script = {0};
    if (levels->count == 0) {
        tool_say(tool, "there are no levels to draw");
        return TOOL_ERROR;
    }
    return gnuplot_draw_made(tool, path, WIDTH, HEIGHT, make_script(levels, &script), &script);
}

static enum tool_exit run(struct tool *tool, int argc, char **argv)
{
    struct inspect_request request;
    struct levels levels = {0};
    enum tool_exit code = TOOL_OK;
    bool problems = false;
    plsm *db = NULL;
    if (!inspect_begin(tool, argc, argv, INSPECT_KEYS | INSPECT_PLOT, &request, &db, &code))
        return code;
    plsm_status status = plsm_inspect_levels(db, &request.options, take_level, &levels, &levels.lookups);
    if (status == PLSM_OK && !tell(&levels, request.json))
        status = PLSM_NO_MEMORY;
    if (status != PLSM_OK)
        code = tool_error(tool, status);
    for (unsigned i = 0; i < levels.count; i++)
        problems |= levels.list[i].runs_damaged || levels.list[i].pages_damaged;
    problems |= levels.lookups.damaged > 0;
    if (code == TOOL_OK && request.plot)
        code = draw(tool, &levels, request.plot);
    return inspect_end(tool, db, code, problems);
}

const struct command command_inspect_level = {
    .name = "inspect level",
    .arguments = "STORE",
    .summary = "Analyzes levels: their models, filters and accuracy",
    .help = "      --keys=N       sampled keys to ask for; 10,000 by default\n"
            "      --seed=N       of their choice; 0 by default\n"
            "      --json         one JSON document\n"
            "      --plot=FILE    accuracy and bits per key of each level, as .png or .svg\n\n"
            "model_accuracy: keys sampled from the runs of the level that the model of their run alone puts on their\n"
            "page. first_answer_accuracy: the same for what lookups of keys sampled from the whole store found on the\n"
            "level. Level and file accuracy: of these lookups, whether the first run searched was on the level of\n"
            "the key, and whether it was the run of the key. worst_run: that with the lowest validation accuracy.\n"
            "young, classic: runs in the table over young runs, which is in memory only and not in use in a store\n"
            "just opened; runs in the plain layout.\n\n"
            "Example:\n  plsm inspect level --keys=100k /var/lib/words\n",
    .run = run,
};
