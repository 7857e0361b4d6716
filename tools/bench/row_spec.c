#include "tools/bench/row_spec.h"

#include <stdio.h>

#include "base/bytes.h"
#include "base/error.h"
#include "store/plsm.h"
#include "tools/bench/shapes.h"
#include "tools/text.h"

#include "base/banned.h"

/* Values of each size with keys for 128 MiB, so that no size takes longer than another. */
#define OF_SIZE(bytes, batch)                                                                                          \
    "fillrandom:value-bytes=" bytes batch ":bytes=128m,overwrite:value-bytes=" bytes batch ":bytes=128m,"              \
    "readrandom:value-bytes=" bytes ":bytes=128m,readseq:value-bytes=" bytes ":bytes=128m"

const struct row_group row_groups[] = {
    {"writes", "fillseq:batch=1000,fillrandom:batch=1000,fillrandom,overwrite:batch=1000,deleterandom:batch=1000"},
    {"batches", "fillseq,fillseq:batch=100,fillrandom:batch=100,overwrite,overwrite:batch=100,deleterandom,"
                "deleterandom:batch=100"},
    {"reads", "readrandom,readhot,readzipf,readabsent,readseq,seekrandom"},
    {"states", "readrandom:state=reopened:ops=100k,readrandom:state=cold:ops=2k,readabsent:state=cold:ops=2k,"
               "readseq:state=cold,seekrandom:state=cold:ops=1k"},
    {"mixes", "mixed,ycsb-a,ycsb-b,ycsb-c,ycsb-d,ycsb-e:ops=100k,ycsb-f"},
    {"sync", "overwrite:sync:ops=2k,overwrite:sync:batch=100:ops=20k,overwrite:sync:threads=2:ops=4k,"
             "overwrite:sync:threads=8:ops=8k"},
    {"threads",
     "fillrandom:threads=2,fillrandom:batch=1000:threads=2,readrandom:threads=2,readseq:threads=2,mixed:threads=2,"
     "ycsb-a:threads=2"},
    {"values",
     OF_SIZE("10", ":batch=100") "," OF_SIZE("1k", ":batch=100") "," OF_SIZE("64k", "") "," OF_SIZE("1m", "")},
    {0},
};

static bool take_number(const char *text, const char *name, uint64_t base, uint64_t most, uint64_t *out, bool *has)
{
    size_t size = strlen(name);
    if (strncmp(text, name, size) != 0 || text[size] != '=')
        return false;
    *has = text_parse_number(text + size + 1, base, out) && *out <= most && (*out > 0 || base == 1024);
    return *has;
}

static bool take_state(const char *text, struct row_spec *row)
{
    if (strncmp(text, "state=", 6) != 0)
        return false;
    for (int state = 0; state < STATE_COUNT; state++)
        if (strcmp(text + 6, cache_state_names[state]) == 0) {
            row->state = (enum cache_state)state;
            row->has_state = true;
        }
    return row->has_state;
}

static bool take_setting(const char *text, struct row_spec *row)
{
    uint64_t number = 0;
    if (strcmp(text, "sync") == 0)
        return row->has_sync = true;
    if (take_number(text, "batch", 1000, 1000000, &number, &row->has_batch)) {
        row->batch = (uint32_t)number;
        return true;
    }
    if (take_number(text, "threads", 1000, 256, &number, &row->has_threads)) {
        row->threads = (uint32_t)number;
        return true;
    }
    if (take_number(text, "value-bytes", 1024, 1 << 20, &number, &row->has_value_bytes)) {
        row->value_bytes = (uint32_t)number;
        return true;
    }
    return take_number(text, "ops", 1000, UINT64_C(1) << 40, &row->ops, &row->has_ops) ||
           take_number(text, "keys", 1000, SHAPE_KEYS_MAX, &row->keys, &row->has_keys) ||
           take_number(text, "bytes", 1024, UINT64_C(1) << 40, &row->bytes, &row->has_bytes) || take_state(text, row);
}

static plsm_status parse_row(const char *text, size_t size, struct row_spec *row)
{
    char piece[ROW_TITLE_SIZE];
    *row = (struct row_spec){0};
    if (size >= sizeof row->title)
        return fail(PLSM_INVALID, "--rows: %.20s... is too long", text);
    if (size > 0 && text[size - 1] == ':')
        return fail(PLSM_INVALID, "--rows: %.*s ends in a colon", (int)size, text);
    memcpy(row->title, text, size);
    for (const char *at = row->title; *at;) {
        size_t length = strcspn(at, ":");
        snprintf(piece, sizeof piece, "%.*s", (int)length, at);
        if (at == row->title) {
            row->workload = workload_find(piece);
            if (!row->workload)
                return fail(PLSM_INVALID, "--rows: %s: no such workload", piece);
        } else if (!take_setting(piece, row)) {
            return fail(
                PLSM_INVALID,
                "--rows: %s: not one of batch=N, threads=N, value-bytes=N, ops=N, keys=N, bytes=N, state=S, sync",
                piece);
        }
        at += length + (at[length] == ':');
    }
    return row->workload ? PLSM_OK : fail(PLSM_INVALID, "--rows: a row is empty");
}

static const struct row_group *group_of(const char *text, size_t size)
{
    for (const struct row_group *group = row_groups; group->name; group++)
        if (strlen(group->name) == size && memcmp(group->name, text, size) == 0)
            return group;
    return NULL;
}

static plsm_status add_row(const char *text, size_t size, struct row_spec rows[ROW_SPECS_MAX], uint32_t *count)
{
    if (*count == ROW_SPECS_MAX)
        return fail(PLSM_INVALID, "--rows: more than %d rows", ROW_SPECS_MAX);
    return parse_row(text, size, &rows[(*count)++]);
}

/* Groups have rows alone, no further groups. */
static plsm_status add_group(const struct row_group *group, struct row_spec rows[ROW_SPECS_MAX], uint32_t *count)
{
    for (const char *text = group->rows;; text++) {
        size_t size = strcspn(text, ",");
        TRY(add_row(text, size, rows, count));
        text += size;
        if (!*text)
            return PLSM_OK;
    }
}

plsm_status row_specs_parse(const char *text, struct row_spec rows[ROW_SPECS_MAX], uint32_t *count)
{
    for (*count = 0;; text++) {
        size_t size = strcspn(text, ",");
        const struct row_group *group = group_of(text, size);
        TRY(group ? add_group(group, rows, count) : add_row(text, size, rows, count));
        text += size;
        if (!*text)
            return PLSM_OK;
    }
}

static uint64_t keys_within(const struct row_options *options, uint64_t bytes)
{
    const uint64_t key_bytes = 16, keys = bytes / (key_bytes + options->value_bytes);
    return keys >= options->keys ? options->keys : keys > 0 ? keys : 1;
}

void row_spec_apply(const struct row_spec *row, struct row_options *options)
{
    options->workload = row->workload;
    options->batch = row->has_batch ? row->batch : options->batch;
    options->threads = row->has_threads ? row->threads : options->threads;
    options->value_bytes = row->has_value_bytes ? row->value_bytes : options->value_bytes;
    options->ops = row->has_ops ? row->ops : options->ops;
    options->keys = row->has_keys ? row->keys : options->keys;
    if (row->has_bytes)
        options->keys = keys_within(options, row->bytes);
    options->state = row->has_state ? row->state : options->state;
    options->sync = row->has_sync || options->sync;
    if (row->workload->ordered && !shape_find(options->shape)->ordered)
        options->shape = "decimal";
}

plsm_status row_options_check(const struct row_options *options)
{
    const uint64_t most = PLSM_BATCH_MAX / 2;
    if (options->value_bytes > PLSM_INLINE_MAX && options->batch > 1)
        return fail(PLSM_INVALID, "values above %u bytes are not written in batches", PLSM_INLINE_MAX);
    if ((uint64_t)options->value_bytes * options->batch > most)
        return fail(PLSM_INVALID, "a batch of %u values of %u bytes is larger than %llu MiB", options->batch,
                    options->value_bytes, (unsigned long long)(most >> 20));
    if (options->workload && options->workload->kind == WORKLOAD_DELETE && options->ops > options->keys)
        return fail(PLSM_INVALID, "%s: cannot delete more keys than there are", options->workload->name);
    return PLSM_OK;
}
