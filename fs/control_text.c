/* The texts of the control surface: statistics in three forms, and what reading ctl, batch and batch.error shows. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/env.h"
#include "base/error.h"
#include "fs/control_private.h"
#include "fs/server.h"
#include "fs/transport.h"
#include "base/banned.h"

/* The format of batches, for whoever reads .plsm/batch; what is committed together, and how failures are told, with a
 * close and without (fs/control.h). */
static const char batch_by_close[] =
    "Changes written to one open file are committed together, all or none, when the process that opened it closes it,\n"
    "whichever of its children have written to it too. A signal that ends one of those that wrote: none.\n";
static const char batch_by_write[] =
    "The lines that a write ends are committed together, all or none: one of up to 1 MiB that begins at a multiple of\n"
    "4096 bytes, as the first one does; another one may be cut at the next such. A shell's printf writes each line by\n"
    "itself, dd and cp write many. A line without an end waits for the next write or fsync, and is dropped at close.\n";
static const char batch_format[] =
    "One change a line, in the order in which they are made:\n"
    "  KEY<tab>VALUE     put\n"
    "  \\-KEY             delete\n"
    "  \\~FROM<tab>TO     delete the keys in [FROM, TO); an empty TO: to the end\n"
    "  \\!KEY             only if KEY is absent\n"
    "  \\=KEY<tab>VALUE   only if KEY has this value\n"
    "Escapes in keys and values: \\t \\n \\\\ \\0 \\xHH. Values have at most 131072 bytes.\n";
static const char batch_errors_by_close[] =
    "close(2) fails with EINVAL (a line is wrong), EEXIST or ECANCELED (a condition does not hold), ENOSPC and so on;\n"
    "then nothing was changed, and batch.error says why. A shell's printf and echo do not tell failures of close:\n"
    "look at batch.error, or write with dd or cp, which do.\n";
static const char batch_errors_by_write[] =
    "write(2) fails with EINVAL (a line is wrong), EEXIST or ECANCELED (a condition does not hold), ENOSPC and so on;\n"
    "then nothing of it was changed, batch.error says why, and further writes to the open file are refused as well.\n";

static const char *const op_names[FS_OP_COUNT] = {
#define FS_OP_NAME(name) [FS_OP_##name] = #name,
    FS_OPS(FS_OP_NAME)
#undef FS_OP_NAME
};

/* --- what there is to tell ---------------------------------------------------------------------------------------- */

typedef void each_statistic(void *arg, const plsm_statistic *statistic);

static void tell_integer(each_statistic *each, void *arg, const char *name, uint64_t value)
{
    plsm_statistic statistic = {.name = name, .is_integer = true, .integer = value};
    each(arg, &statistic);
}

static void tell_real(each_statistic *each, void *arg, const char *name, double value)
{
    plsm_statistic statistic = {.name = name, .real = value};
    each(arg, &statistic);
}

static void tell_control(struct control *control, each_statistic *each, void *arg)
{
    tell_integer(each, arg, "fs.control.nodes", node_count(&control->nodes) + control->found);
    tell_integer(each, arg, "fs.control.commands", control->count_commands);
    tell_integer(each, arg, "fs.control.batches", control->count_batches);
    tell_integer(each, arg, "fs.control.batch_changes", control->count_changes);
    tell_integer(each, arg, "fs.control.batches_refused", control->count_refused);
    tell_integer(each, arg, "fs.control.batch_bytes_pending", control->fs->batch_bytes);
    uint64_t connections = 0, requests = 0;
    server_counts(atomic_load(&control->fs->server), &connections, &requests);
    tell_integer(each, arg, "fs.control.connections", connections);
    tell_integer(each, arg, "fs.control.requests", requests);
    tell_integer(each, arg, "fs.control.ranges", control->count_ranges);
    tell_integer(each, arg, "fs.control.snapshots", snapshots_count(control));
    tell_integer(each, arg, "fs.control.snapshots_taken", control->count_snapshots);
}

static void tell_mount(struct fs *fs, each_statistic *each, void *arg)
{
    char name[64], error[sizeof fs->error_last];
    tell_integer(each, arg, "fs.nodes", node_count(&fs->nodes));
    plsm_statistic transport = {.name = "fs.transport", .is_text = true, .text = transport_name(fs->transport)};
    each(arg, &transport);
    tell_integer(each, arg, "fs.threads", transport_threads(fs->transport));
    tell_control(fs->control, each, arg);
    for (int op = 0; op < FS_OP_COUNT; op++) {
        const struct histogram *h = &fs->op_ns[op];
        snprintf(name, sizeof name, "fs.%s.count", op_names[op]);
        tell_integer(each, arg, name, histogram_count(h));
        snprintf(name, sizeof name, "fs.%s.p50_us", op_names[op]);
        tell_real(each, arg, name, (double)histogram_quantile(h, 0.5) / 1000);
        snprintf(name, sizeof name, "fs.%s.p99_us", op_names[op]);
        tell_real(each, arg, name, (double)histogram_quantile(h, 0.99) / 1000);
    }
    mutex_lock(&fs->error_lock);
    uint64_t errors = fs->errors;
    memcpy(error, fs->error_last, sizeof error);
    mutex_unlock(&fs->error_lock);
    tell_integer(each, arg, "fs.errors", errors);
    plsm_statistic last = {.name = "fs.error_last", .is_text = true, .text = error};
    if (error[0])
        each(arg, &last);
}

/* Those of the store, with what the mount has in memory beside it. */
struct told {
    each_statistic *each;
    void *arg;
    uint64_t nodes_bytes;
};

static void tell_of_store(void *arg, const plsm_statistic *statistic)
{
    const struct told *told = arg;
    if (strcmp(statistic->name, "mem.bytes") != 0) {
        told->each(told->arg, statistic);
        return;
    }
    tell_integer(told->each, told->arg, statistic->name, statistic->integer + told->nodes_bytes);
    tell_integer(told->each, told->arg, "mem.nodes", told->nodes_bytes);
}

static void tell_all(struct control *control, each_statistic *each, void *arg)
{
    struct fs *fs = control->fs;
    struct told told = {each, arg, node_bytes(&fs->nodes) + control_node_bytes(control)};
    plsm_statistics(fs->db, tell_of_store, &told);
    tell_mount(fs, each, arg);
}

/* --- as lines, and as JSON ---------------------------------------------------------------------------------------- */

/* Where statistics go; remembers that one did not fit. */
struct printed {
    struct buf *text;
    plsm_status status;
};

static void print_line(void *arg, const plsm_statistic *statistic)
{
    struct printed *printed = arg;
    plsm_status status = PLSM_OK;
    if (statistic->is_text)
        status = buf_printf(printed->text, "%s %s\n", statistic->name, statistic->text);
    else if (statistic->is_integer)
        status = buf_printf(printed->text, "%s %" PRIu64 "\n", statistic->name, statistic->integer);
    else
        status = buf_printf(printed->text, "%s %.6g\n", statistic->name, statistic->real);
    if (status != PLSM_OK)
        printed->status = status;
}

plsm_status control_json_string(struct buf *out, plsm_slice bytes)
{
    const uint8_t *data = bytes.data;
    TRY(buf_append(out, "\"", 1));
    for (size_t i = 0; i < bytes.size; i++) {
        if (data[i] == '"' || data[i] == '\\')
            TRY(buf_printf(out, "\\%c", data[i]));
        else if (data[i] < 0x20 || data[i] > 0x7e)
            TRY(buf_printf(out, "\\u%04x", data[i]));
        else
            TRY(buf_append(out, data + i, 1));
    }
    return buf_append(out, "\"", 1);
}

static plsm_status print_json_value(struct buf *text, const plsm_statistic *statistic)
{
    TRY(buf_printf(text, "%s  \"%s\": ", text->size > 2 ? ",\n" : "", statistic->name));
    if (statistic->is_text)
        return control_json_string(text, slice_of(statistic->text));
    if (statistic->is_integer)
        return buf_printf(text, "%" PRIu64, statistic->integer);
    return isfinite(statistic->real) ? buf_printf(text, "%.6g", statistic->real) : buf_append(text, "null", 4);
}

static void print_json(void *arg, const plsm_statistic *statistic)
{
    struct printed *printed = arg;
    plsm_status status = print_json_value(printed->text, statistic);
    if (status != PLSM_OK)
        printed->status = status;
}

/* --- OpenMetrics -------------------------------------------------------------------------------------------------- */

/* A sample. Those of one family must follow one another, so all are gathered first. */
struct metric {
    char family[96], label[48], source[96];
    double value;
    bool exact; /* `integer` is the value */
    uint64_t integer;
    bool done;
};
struct metrics {
    struct buf list; /* of struct metric */
    plsm_status status;
};

/* Words that Prometheus wants otherwise: base units, spelt out, and names that end in _count belong to summaries. */
static const struct unit {
    const char *word, *instead;
    double factor;
} units[] = {{"ns", "seconds", 1e-9},
             {"us", "seconds", 1e-6},
             {"ms", "seconds", 1e-3},
             {"bits", "bytes", 0.125},
             {"count", "number", 1}};

/* Adds a part of a statistic's name to the family, word by word. */
static void name_part(struct metric *metric, char *part)
{
    char *rest = NULL;
    for (char *word = strtok_r(part, "_", &rest); word; word = strtok_r(NULL, "_", &rest)) {
        size_t size = strlen(metric->family);
        const char *said = word;
        for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
            if (strcmp(word, units[i].word) != 0)
                continue;
            said = units[i].instead;
            metric->exact = metric->exact && units[i].factor == 1;
            metric->value *= units[i].factor;
        }
        snprintf(metric->family + size, sizeof metric->family - size, "_%s", said);
    }
}

/* "lsm.level.1.files" is plsm_lsm_level_files{level="1"}, "fs.read.p50_us" plsm_fs_p50_seconds{op="read"};
 * "fs.read.count" is plsm_fs_operations. A text is a label of a sample of 1. */
static void name_metric(struct metric *metric, const plsm_statistic *statistic)
{
    char parts[sizeof metric->source], *at = parts, *rest = NULL, operations[] = "operations";
    bool is_op = false;
    snprintf(metric->family, sizeof metric->family, "plsm");
    snprintf(metric->source, sizeof metric->source, "%s", statistic->name);
    snprintf(parts, sizeof parts, "%s", statistic->name);
    for (int i = 0; (at = strtok_r(i ? NULL : parts, ".", &rest)); i++) {
        if (*at >= '0' && *at <= '9') {
            snprintf(metric->label, sizeof metric->label, "{level=\"%s\"}", at);
            continue;
        }
        for (int op = 0; i == 1 && op < FS_OP_COUNT && strncmp(statistic->name, "fs.", 3) == 0; op++)
            is_op = is_op || strcmp(at, op_names[op]) == 0;
        if (i == 1 && is_op)
            snprintf(metric->label, sizeof metric->label, "{op=\"%s\"}", at);
        else
            name_part(metric, is_op && strcmp(at, "count") == 0 ? operations : at);
    }
    for (char *c = metric->family; *c; c++)
        if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9')))
            *c = '_';
}

static void gather_metric(void *arg, const plsm_statistic *statistic)
{
    struct metrics *metrics = arg;
    struct metric metric = {.exact = statistic->is_integer, .integer = statistic->integer};
    if (statistic->is_text && strcmp(statistic->name, "fs.error_last") == 0)
        return; /* a sentence, no name of something */
    metric.value = statistic->is_text ? 1 : statistic->is_integer ? (double)statistic->integer : statistic->real;
    name_metric(&metric, statistic);
    if (statistic->is_text) {
        size_t size = strlen(metric.family);
        snprintf(metric.family + size, sizeof metric.family - size, "_info");
        snprintf(metric.label, sizeof metric.label, "{value=\"%.30s\"}", statistic->text);
        for (char *c = metric.label + 8; c[0] && c[2]; c++)
            if (*c == '"' || *c == '\\' || *c == '\n')
                *c = '_';
    }
    plsm_status status = buf_append(&metrics->list, &metric, sizeof metric);
    if (status != PLSM_OK)
        metrics->status = status;
}

static plsm_status print_family(struct buf *text, struct metric *list, size_t count)
{
    const char *family = list[0].family;
    TRY(buf_printf(text, "# HELP %s \"%s\" in the statistics.\n# TYPE %s gauge\n", family, list[0].source, family));
    for (size_t i = 0; i < count; i++) {
        if (list[i].done || strcmp(list[i].family, family) != 0)
            continue;
        list[i].done = true;
        TRY(buf_printf(text, "%s%s ", family, list[i].label));
        if (list[i].exact)
            TRY(buf_printf(text, "%" PRIu64 "\n", list[i].integer));
        else if (isfinite(list[i].value))
            TRY(buf_printf(text, "%.9g\n", list[i].value));
        else
            TRY(buf_printf(text, "%s\n", isnan(list[i].value) ? "NaN" : list[i].value > 0 ? "+Inf" : "-Inf"));
    }
    return PLSM_OK;
}

static plsm_status print_metrics(struct control *control, struct buf *text)
{
    struct metrics metrics = {0};
    tell_all(control, gather_metric, &metrics);
    plsm_status status = metrics.status;
    struct metric *list = (struct metric *)(void *)metrics.list.data;
    size_t count = metrics.list.size / sizeof *list;
    for (size_t i = 0; i < count && status == PLSM_OK; i++)
        if (!list[i].done)
            status = print_family(text, list + i, count - i);
    buf_free(&metrics.list);
    return status == PLSM_OK ? buf_printf(text, "# EOF\n") : status;
}

/* --- texts -------------------------------------------------------------------------------------------------------- */

static plsm_status make_text(struct control *control, enum control_kind kind, struct buf *text)
{
    struct printed printed = {.text = text};
    plsm_status status = PLSM_OK;
    switch (kind) {
    case CONTROL_STATS_TEXT:
        tell_all(control, print_line, &printed);
        return printed.status;
    case CONTROL_STATS_JSON:
        TRY(buf_printf(text, "{\n"));
        tell_all(control, print_json, &printed);
        return printed.status == PLSM_OK ? buf_printf(text, "\n}\n") : printed.status;
    case CONTROL_METRICS:
        return print_metrics(control, text);
    case CONTROL_CTL:
        return control_command_text(control, text);
    case CONTROL_BATCH:
        return buf_printf(text, "%s%s%s", control->fs->no_open ? batch_by_write : batch_by_close, batch_format,
                          control->fs->no_open ? batch_errors_by_write : batch_errors_by_close);
    default: /* CONTROL_BATCH_ERROR */
        mutex_lock(&control->lock);
        if (control->batch_error[0])
            status = buf_printf(text, "%s\n", control->batch_error);
        mutex_unlock(&control->lock);
        return status;
    }
}

struct control_text *control_text_of(struct buf *bytes)
{
    struct control_text *text = mem_zalloc(sizeof *text);
    if (!text) {
        buf_free(bytes);
        return NULL;
    }
    *text = (struct control_text){.text = *bytes, .users = 1};
    text->taken_ns = env_now_ns(env_posix());
    text->taken_wall_ns = env_wall_ns(env_posix());
    *bytes = (struct buf){0};
    return text;
}

static void put_locked(struct control_text *text)
{
    if (text && --text->users == 0) {
        buf_free(&text->text);
        mem_free(text);
    }
}

void control_text_put(struct control *control, struct control_text *text)
{
    mutex_lock(&control->lock);
    put_locked(text);
    mutex_unlock(&control->lock);
}

plsm_status control_text_take(struct control *control, enum control_kind kind, plsm_slice name, bool fresh,
                              struct control_text **out)
{
    struct buf bytes = {0};
    *out = NULL;
    if (kind == CONTROL_LEVEL)
        return control_level_text(control, name, fresh, out);
    mutex_lock(&control->lock);
    struct control_text *text = control->newest[kind];
    bool young = text && env_now_ns(env_posix()) - text->taken_ns < YOUNG_NS;
    if (!fresh && young)
        text->users++;
    mutex_unlock(&control->lock);
    if (!fresh && young) {
        *out = text;
        return PLSM_OK;
    }
    plsm_status status = make_text(control, kind, &bytes);
    if (status != PLSM_OK) {
        buf_free(&bytes);
        return status;
    }
    text = control_text_of(&bytes);
    if (!text)
        return fail(PLSM_NO_MEMORY, "no memory for a text");
    mutex_lock(&control->lock);
    text->users++;
    put_locked(control->newest[kind]);
    control->newest[kind] = text;
    mutex_unlock(&control->lock);
    *out = text;
    return PLSM_OK;
}

void control_texts_forget(struct control *control)
{
    mutex_lock(&control->lock);
    for (int i = 0; i < CONTROL_KINDS; i++) {
        put_locked(control->newest[i]);
        control->newest[i] = NULL;
    }
    mutex_unlock(&control->lock);
}
