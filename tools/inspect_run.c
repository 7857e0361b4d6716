/* plsm inspect run: what runs are made of, where their models err, what their filters let pass. */
#include "tools/inspect.h"
#include "tools/inspect_plot.h"

#include "base/alloc.h"

#include "base/banned.h"

struct looking {
    const struct tool *tool;
    const struct inspect_request *request;
    plsm *db;
    struct outline outline;
    struct inspect_picture picture;
    uint64_t runs, seen; /* `seen`: of those asked for */
    bool problems;
    plsm_status status;
};

/* --- one run ------------------------------------------------------------------------------------------------------ */

static void tell_facts(struct outline *o, const plsm_run_info *run)
{
    outline_number(o, "number", run->number);
    outline_number(o, "level", run->level);
    outline_text(o, "keyspace", inspect_keyspace(run->keyspace));
    outline_bytes(o, "smallest_key", run->smallest);
    outline_bytes(o, "largest_key", run->largest);
    outline_number(o, "entries", run->entries);
    outline_number(o, "deletions", run->deletions);
    outline_flag(o, "several_versions", run->versions);
    outline_number(o, "pages", run->pages);
    outline_text(o, "layout", run->layout);
    outline_number(o, "key_bytes", run->key_bytes);
    outline_number(o, "value_bytes", run->value_bytes);
    outline_number(o, "file_bytes", run->file_bytes);
    outline_number(o, "range_deletions", run->range_deletions);
    outline_number(o, "value_logs", run->value_logs);
    outline_number(o, "value_log_bytes", run->value_log_bytes);
    outline_text(o, "problem", *run->problem ? run->problem : NULL);
    if (run->damaged)
        return;
    outline_text(o, "compression", run->compression);
    outline_number(o, "page_bytes", run->page_bytes);
    outline_number(o, "page_raw_bytes", run->page_raw_bytes);
    outline_number(o, "job", run->job);
    outline_number(o, "write_us", run->write_us);
    outline_number(o, "train_us", run->train_us);
    outline_number(o, "filter_us", run->filter_us);
}

static void tell_part(struct outline *o, const char *name, const plsm_part_info *part, const plsm_run_info *run)
{
    outline_row(o);
    outline_text(o, "part", name);
    outline_number(o, "disk_bytes", part->disk_bytes);
    outline_number(o, "memory_bytes", part->memory_bytes);
    outline_ratio(o, "bits_per_key", inspect_bits(part->memory_bytes), (double)run->entries, 3);
    outline_flag(o, "serves", part->serves);
    outline_text(o, "problem", *part->problem ? part->problem : NULL);
    outline_row_end(o);
}

/* Parts that add up to what follows: all bytes on disk, and the memory of those that serve. Fingerprints are in the
 * pages already. */
static void tell_parts(struct outline *o, const plsm_run_info *run)
{
    const plsm_part_info pages = {.disk_bytes = run->page_bytes, .serves = true};
    const plsm_part_info fingerprints = {.disk_bytes = run->fingerprint_bytes,
                                         .memory_bytes = run->fingerprint_bytes,
                                         .serves = run->fingerprint_bytes > 0};
    const struct {
        const char *name;
        const plsm_part_info *part;
    } parts[] = {
        {"pages", &pages},
        {"model", &run->model_block},
        {"model file", &run->model_file},
        {"fences", &run->fences},
        {"membership", &run->membership},
        {"filter", &run->filter},
        {"share of the young table", &run->young},
    };
    enum { PARTS = sizeof parts / sizeof parts[0] };
    plsm_part_info all = {.disk_bytes = run->file_bytes + run->model_file.disk_bytes, .serves = true};
    plsm_part_info rest = {.disk_bytes = all.disk_bytes, .serves = true};
    outline_list(o, "parts", "parts");
    for (unsigned i = 0; i < PARTS; i++) {
        tell_part(o, parts[i].name, parts[i].part, run);
        rest.disk_bytes -= parts[i].part->disk_bytes;
        all.memory_bytes += parts[i].part->serves ? parts[i].part->memory_bytes : 0;
    }
    tell_part(o, "rest of the file", &rest, run);
    tell_part(o, "all", &all, run);
    tell_part(o, "fingerprints, in pages", &fingerprints, run);
    outline_list_end(o);
}

static void tell_model(struct outline *o, const plsm_model_info *m)
{
    outline_section(o, "model", "model");
    outline_text(o, "type", m->type);
    if (m->type) {
        outline_flag(o, "in_a_file_of_its_own", m->beside);
        outline_number(o, "segments", m->segments);
        outline_number(o, "network_units", m->units);
        outline_number(o, "trie_nodes", m->nodes);
        outline_number(o, "feature_dimensions", m->dimensions);
        outline_number(o, "parameters", m->parameters);
        outline_number(o, "borders", m->borders);
        outline_number(o, "borders_excepted", m->exceptions);
        outline_number(o, "borders_by_second_word", m->ties);
        outline_number(o, "borders_by_separator", m->separators);
        outline_number(o, "error_pages_max", m->error_pages_max);
        outline_number(o, "memory_bytes", m->memory_bytes);
        outline_number(o, "metadata_bytes", m->metadata_bytes);
        outline_real(o, "find_ns", m->find_ns, 1);
        outline_number(o, "training_keys", m->training_keys);
        outline_moment(o, "trained", m->trained_wall_ns);
        outline_real(o, "train_us", (double)m->train_ns / 1000, 1);
        outline_share(o, "training_accuracy", m->training_accuracy_ppm, 1e6);
        outline_share(o, "validation_accuracy", m->validation_accuracy_ppm, 1e6);
    }
    outline_section_end(o);
}

/* --- its keys ----------------------------------------------------------------------------------------------------- */

/* The errors in a bucket: see PLSM_INSPECT_ERRORS. */
static void bucket_bounds(int bucket, int64_t *from, int64_t *to)
{
    int distance = bucket - PLSM_INSPECT_ERRORS / 2, size = distance < 0 ? -distance : distance;
    int64_t low = size < 3 ? size : ((int64_t)1 << (size - 2)) + 1, high = size < 3 ? size : (int64_t)1 << (size - 1);
    *from = distance < 0 ? -high : low;
    *to = distance < 0 ? -low : high;
}

static void tell_errors(struct outline *o, const plsm_keys_info *keys)
{
    outline_list(o, "errors", "errors: pages too far, before and after correction");
    for (int i = 0; i < PLSM_INSPECT_ERRORS; i++) {
        int64_t from = 0, to = 0;
        if (keys->raw_errors.keys[i] == 0 && keys->errors.keys[i] == 0)
            continue;
        bucket_bounds(i, &from, &to);
        outline_row(o);
        outline_integer(o, "from_pages", from);
        outline_integer(o, "to_pages", to);
        outline_number(o, "keys_raw", keys->raw_errors.keys[i]);
        outline_share(o, "share_raw", (double)keys->raw_errors.keys[i], (double)keys->raw_keys);
        outline_number(o, "keys_corrected", keys->errors.keys[i]);
        outline_share(o, "share_corrected", (double)keys->errors.keys[i], (double)keys->keys_answered);
        outline_row_end(o);
    }
    outline_list_end(o);
}

static void tell_asked(struct outline *o, const char *what, const plsm_membership_info *m)
{
    if (m->present == 0)
        return;
    outline_row(o);
    outline_text(o, "asked", what);
    outline_number(o, "keys_present", m->present);
    outline_number(o, "false_negatives", m->denied);
    outline_number(o, "keys_absent", m->absent);
    outline_share(o, "false_positive_rate", (double)m->passed, (double)m->absent);
    outline_number(o, "misses_sampled", m->misses);
    outline_share(o, "false_positive_rate_of_misses", (double)m->misses_passed, (double)m->misses);
    outline_row_end(o);
}

static uint64_t keys_right(const plsm_keys_info *keys)
{
    return keys->errors.keys[PLSM_INSPECT_ERRORS / 2];
}

static void tell_keys(struct outline *o, const plsm_keys_info *keys, const plsm_run_info *run)
{
    outline_section(o, "keys", "keys, all read from the file");
    outline_number(o, "keys_checked", keys->keys);
    outline_number(o, "keys_asked_of_the_model", keys->keys_answered);
    outline_number(o, "keys_on_another_page", keys->keys_answered - keys_right(keys));
    outline_share(o, "answered_by_the_model_alone", (double)keys->keys_learned, (double)keys->keys_answered);
    outline_share(o, "borders_with_equal_codes", keys->raw_keys ? (double)keys->borders_tied : 0,
                  keys->raw_keys ? (double)keys->borders : 0);
    outline_ratio(o, "raw_error_pages_mean", (double)keys->raw_errors.pages_sum, (double)keys->raw_keys, 3);
    outline_ratio(o, "raw_error_pages_max", (double)keys->raw_errors.pages_max, keys->raw_keys ? 1 : 0, 0);
    outline_section_end(o);
    if (keys->keys_answered > 0)
        tell_errors(o, keys);
    outline_list(o, "membership", "membership: may the run hold a key?");
    char name[64];
    snprintf(name, sizeof name, "%s%s", run->membership_kind ? run->membership_kind : "",
             run->membership_template ? " with template" : "");
    tell_asked(o, name, &keys->membership);
    snprintf(name, sizeof name, "traditional filter (%s)", run->filter_kind ? run->filter_kind : "");
    tell_asked(o, name, &keys->filter);
    tell_asked(o, "young table", &keys->young);
    outline_list_end(o);
}

static void note_page(void *arg, const plsm_page_info *page)
{
    struct looking *l = arg;
    if (l->request->plot)
        inspect_picture_page(&l->picture, page);
}

/* Reads all keys. A damaged page is told, and the next run's turn comes. */
static void look_at_keys(struct looking *l, const plsm_run_info *run)
{
    plsm_keys_info *keys = mem_zalloc(sizeof *keys);
    plsm_status status =
        keys ? plsm_inspect_keys(l->db, run->number, &l->request->options, note_page, l, keys) : PLSM_NO_MEMORY;
    if (status == PLSM_OK) {
        tell_keys(&l->outline, keys, run);
        l->problems |= keys_right(keys) != keys->keys_answered || keys->membership.denied || keys->filter.denied ||
                       keys->young.denied;
    } else if (status == PLSM_CORRUPT || status == PLSM_IO) {
        outline_section(&l->outline, "keys", "keys");
        outline_text(&l->outline, "problem", plsm_message());
        outline_section_end(&l->outline);
        l->problems = true;
    } else {
        l->status = status;
    }
    mem_free(keys);
}

static void show_run(struct looking *l, const plsm_run_info *run, bool with_keys)
{
    struct outline *o = &l->outline;
    char title[64];
    snprintf(title, sizeof title, "%srun %llu", l->seen > 1 ? "\n" : "", (unsigned long long)run->number);
    if (o->json)
        outline_row(o);
    else
        tool_print("%s\n", title);
    tell_facts(o, run);
    if (!run->damaged) {
        tell_parts(o, run);
        tell_model(o, &run->model);
        if (o->json) {
            outline_text(o, "membership_kind", run->membership_kind);
            outline_flag(o, "membership_template", run->membership_template);
            outline_text(o, "filter_kind", run->filter_kind);
            outline_flag(o, "young", run->young.serves);
        }
        if (with_keys)
            look_at_keys(l, run);
    }
    if (o->json)
        outline_row_end(o);
}

/* --- all runs ----------------------------------------------------------------------------------------------------- */

/* What lookups ask whether the run may hold a key. */
static void name_asked(const plsm_run_info *run, char *out, size_t size)
{
    if (run->young.serves)
        snprintf(out, size, "young table");
    else if (run->membership.serves)
        snprintf(out, size, "%s%s", run->membership_kind, run->membership_template ? "+template" : "");
    else
        snprintf(out, size, "%s", run->filter.serves ? run->filter_kind : "none");
}

/* A line of the overview. */
static void list_run(struct outline *o, const plsm_run_info *run)
{
    const plsm_model_info *m = &run->model;
    const char *part = NULL, *problem = NULL;
    bool by_model = run->model_block.serves || run->model_file.serves;
    uint64_t filter = (run->membership.serves ? run->membership.memory_bytes : 0) +
                      (run->filter.serves ? run->filter.memory_bytes : 0) + run->young.memory_bytes;
    char kind[64];
    name_asked(run, kind, sizeof kind);
    inspect_problem(run, 0, &part, &problem);
    outline_row(o);
    outline_number(o, "run", run->number);
    outline_number(o, "level", run->level);
    outline_number(o, "entries", run->entries);
    outline_number(o, "pages", run->pages);
    outline_number(o, "file_bytes", run->file_bytes);
    outline_text(o, "layout", run->layout);
    outline_text(o, "model", m->type ? m->type : "none");
    outline_number(o, "segments", m->segments + m->units + m->nodes);
    outline_number(o, "model_bytes", m->memory_bytes);
    outline_ratio(o, "index_bits", inspect_bits(by_model ? m->memory_bytes : run->fences.memory_bytes),
                  (double)run->entries, 3);
    outline_share(o, "accuracy", m->validation_accuracy_ppm, m->type ? 1e6 : 0);
    outline_text(o, "membership", kind);
    outline_ratio(o, "filter_bits", inspect_bits(filter), (double)run->entries, 3);
    outline_moment(o, "trained", m->trained_wall_ns);
    outline_text(o, "problem", part);
    outline_row_end(o);
}

static void take_run(void *arg, const plsm_run_info *run)
{
    struct looking *l = arg;
    const struct inspect_request *r = l->request;
    l->runs++;
    if (l->status != PLSM_OK || (r->one && run->number != r->run))
        return;
    l->seen++;
    l->problems |= inspect_damaged(run);
    if (r->plot)
        inspect_picture_run(&l->picture, run);
    if (r->one || r->all || r->json)
        show_run(l, run, r->one || r->all);
    else
        list_run(&l->outline, run);
}

/* What is wrong in the runs of the overview, a line each. */
static void take_problem(void *arg, const plsm_run_info *run)
{
    const char *part = NULL, *problem = NULL;
    (void)arg;
    for (unsigned i = 0; inspect_problem(run, i, &part, &problem); i++)
        tool_print("run %llu: %s: %s\n", (unsigned long long)run->number, part, problem);
}

static plsm_status look(struct looking *l)
{
    const struct inspect_request *r = l->request;
    bool list = !r->json && !r->one && !r->all;
    outline_start(&l->outline, r->json);
    if (r->json)
        outline_section(&l->outline, NULL, NULL);
    if (r->json || list)
        outline_list(&l->outline, "runs", "runs");
    plsm_status status = plsm_inspect_runs(l->db, take_run, l);
    if (r->json || list)
        outline_list_end(&l->outline);
    if (r->json)
        outline_section_end(&l->outline);
    if (!outline_end(&l->outline) && status == PLSM_OK)
        status = PLSM_NO_MEMORY;
    if (status == PLSM_OK)
        status = l->status;
    if (!r->json && l->runs == 0)
        tool_print("no runs\n");
    if (status == PLSM_OK && list)
        status = plsm_inspect_runs(l->db, take_problem, NULL);
    return status;
}

static enum tool_exit run(struct tool *tool, int argc, char **argv)
{
    struct inspect_request request;
    enum tool_exit code = TOOL_OK;
    plsm *db = NULL;
    if (!inspect_begin(tool, argc, argv, INSPECT_RUNS | INSPECT_KEYS | INSPECT_PLOT, &request, &db, &code))
        return code;
    struct looking l = {.tool = tool, .request = &request, .db = db};
    plsm_status status = look(&l);
    if (status != PLSM_OK)
        code = tool_error(tool, status);
    if (code == TOOL_OK && request.one && l.seen == 0) {
        tool_say(tool, "there is no run %llu among %llu", (unsigned long long)request.run, (unsigned long long)l.runs);
        code = TOOL_NEGATIVE;
    }
    code = inspect_end(tool, db, code, l.problems);
    if (request.plot && (code == TOOL_OK || code == TOOL_NEGATIVE) && l.seen > 0) {
        enum tool_exit drawn = inspect_picture_draw(tool, &l.picture, request.plot);
        code = drawn == TOOL_OK ? code : drawn;
    }
    inspect_picture_free(&l.picture);
    return code;
}

const struct command command_inspect_run = {
    .name = "inspect run",
    .arguments = "STORE",
    .summary = "Analyzes runs, the files of sorted keys",
    .help =
        "Without --run and --all: a line per run. index_bits and filter_bits are memory per entry of what serves.\n\n"
        "      --run=N        all of run N: parts, model, and what they answer for every key of the run (read from\n"
        "                     the file) and for absent keys, made by changing a byte of keys\n"
        "      --all          the same for each run\n"
        "      --keys=N       absent keys to ask for; 10,000 by default\n"
        "      --seed=N       of their choice; 0 by default\n"
        "      --json         one JSON document\n"
        "      --plot=FILE    with --run: where its keys lie and where its model puts them, as .png or .svg\n\n"
        "Errors are in pages. Raw is the prediction in front of its correction; corrected is what lookups use, and is\n"
        "0 for every key that is there. Parts that serve are asked first, with the options given by -o; 'all' is what\n"
        "is on disk, and the memory of those that serve. segments: or nodes of a trie, or units of a network. The\n"
        "young table, one for all runs above the last level, is in memory only: a store just opened does not use it\n"
        "yet.\n\n"
        "Example:\n  plsm inspect run --run=12 --plot=run.png /var/lib/words\n",
    .run = run,
};
