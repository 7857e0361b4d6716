/* Checking a store: every run is read and compared with everything that is said about it. */
#include "lsm/db.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/error.h"
#include "lsm/cursor.h"
#include "lsm/ingest.h"
#include "lsm/separated.h"
#include "base/banned.h"

enum { PROBLEMS_MAX = 100, PROGRESS_ENTRIES = 1 << 14 };

struct check {
    struct lsm *db;
    void (*report)(void *arg, const char *line);
    void (*progress)(void *arg, uint64_t done, uint64_t all);
    void *arg;
    uint64_t done, all; /* bytes of runs, and of the records in value logs that they point to */
    uint64_t problems;
    lsm_bulk_allow *allow; /* of a foreign run: what its entries may be; NULL: of a run of this store */
    void *allow_arg;
    char first[1024]; /* of a foreign run: the first problem */
    const struct version *version;
    struct buf record;
};

static void problem(struct check *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void problem(struct check *c, const char *format, ...)
{
    char line[1024];
    va_list arguments;
    if (++c->problems > PROBLEMS_MAX || (!c->report && !c->allow))
        return;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (c->report)
        c->report(c->arg, line);
    if (c->problems == 1)
        memcpy(c->first, line, sizeof c->first);
}

/* What the entries of a run add up to, compared with its facts. */
struct sums {
    uint64_t entries, deletions, expiring, key_bytes, value_bytes;
    uint64_t record_bytes; /* of value logs */
    bool versions;
    struct run_values *values; /* as many as the run's facts have, for the same value logs: what its entries point to */
    bool values_strange;       /* some point elsewhere */
};

static plsm_status sums_init(struct sums *sums, const struct run *run)
{
    const struct run_facts *f = &run->facts;
    sums->values = f->values_count ? mem_zalloc(f->values_count * sizeof *sums->values) : NULL;
    if (f->values_count && !sums->values)
        return fail(PLSM_NO_MEMORY, "no memory to check a run");
    for (size_t i = 0; i < f->values_count; i++)
        sums->values[i].log = f->values[i].log;
    return PLSM_OK;
}

static void compare_sums(struct check *c, const struct run *run, const struct sums *sums, const char *path)
{
    const struct run_facts *f = &run->facts;
    if (sums->entries != f->entries || sums->deletions != f->deletions || sums->key_bytes != f->key_bytes ||
        sums->expiring != f->expiring || sums->value_bytes != f->value_bytes || sums->versions != f->versions)
        problem(c, "%s: holds %llu entries (%llu deletions), the MANIFEST says %llu (%llu), or their sizes differ",
                path, (unsigned long long)sums->entries, (unsigned long long)sums->deletions,
                (unsigned long long)f->entries, (unsigned long long)f->deletions);
}

/* Reads a value that is in a value log. Only what no later one can be read without ends the check. */
static plsm_status check_value(struct check *c, const struct run *run, struct sums *sums, const struct cursor *cursor,
                               const char *path)
{
    struct value_pointer pointer = value_pointer_of(&cursor->entry);
    plsm_slice value = {0};
    size_t i = 0;
    while (i < run->facts.values_count && sums->values[i].log != pointer.log)
        i++;
    uint64_t record_bytes = value_record_size(cursor->entry.key.size, &pointer);
    if (i < run->facts.values_count)
        sums->values[i].bytes += record_bytes;
    sums->record_bytes += record_bytes;
    sums->values_strange |= i == run->facts.values_count;
    sums->value_bytes += pointer.size;
    c->record.size = 0;
    const struct version_values *there = version_values_of(c->version, pointer.log);
    plsm_status status =
        separated_read(there ? there->log : NULL, cursor->entry.key, &cursor->entry, SIM_SCAN, &c->record, &value);
    if (status == PLSM_OK || status == PLSM_NO_MEMORY)
        return status;
    problem(c, "%s: page %u: %s", path, cursor->unit, plsm_message());
    return PLSM_OK;
}

/* Compares what the entries point to with what the MANIFEST and the run itself say of it. */
static plsm_status compare_values(struct check *c, const struct run *run, struct run_body *body,
                                  const struct sums *sums, const char *path)
{
    const struct run_facts *f = &run->facts;
    struct buf block = {0};
    plsm_status status = PLSM_OK;
    if (body->extension.values.size)
        status = run_read_block(body, &body->extension.values, "value logs", &block);
    const uint8_t *at = block.data, *end = at + block.size;
    bool same = !sums->values_strange;
    for (size_t i = 0; i < f->values_count; i++) {
        uint64_t number = 0, bytes = 0;
        same &= sums->values[i].bytes == f->values[i].bytes;
        at = at ? get_varint(at, end, &number) : NULL;
        at = at ? get_varint(at, end, &bytes) : NULL;
        same &= at && number == f->values[i].log && bytes == f->values[i].bytes;
    }
    if (status == PLSM_OK && (!same || at != end))
        problem(c, "%s: its entries, the run and the MANIFEST do not agree on which value logs it points into", path);
    buf_free(&block);
    return status;
}

/* All that is asked for keys of a run. */
struct indexes {
    struct run_body *body;
    struct fences *fences;
};

static plsm_status load_indexes(struct check *c, struct run *run, struct indexes *out, const char *path)
{
    struct run_membership *membership = NULL;
    const struct filter *filter = NULL;
    TRY(run_open(run, &out->body));
    TRY(run_fences(run, out->body, &out->fences));
    epoch_enter(c->db->epoch);
    plsm_status status = run_filter(run, out->body, &filter);
    if (status == PLSM_OK)
        status = run_membership(run, out->body, &membership);
    bool own = status == PLSM_OK && membership->bytes.size > 0;
    epoch_exit(c->db->epoch);
    TRY(status);
    if (atomic_load(&out->body->model_state) == MODEL_MISSING && out->body->footer.blocks[RUN_MODEL].size)
        problem(c, "%s: the model is damaged or of a newer version (the run is served by its fences)", path);
    if (out->body->footer.membership.size && c->db->options.index == LSM_LEARNED && !own)
        problem(c, "%s: what serves in place of the filter is damaged or of a newer version (the filter serves)", path);
    return PLSM_OK;
}

/* Whether the traditional filter or what serves in its place denies a key of the run. */
static plsm_status ask_filters(struct run *run, struct run_body *body, plsm_slice key, bool *denied)
{
    struct run_membership *membership = NULL;
    const struct filter *filter = NULL;
    struct partitioned_query query;
    uint64_t hash = key_hash(key.data, key.size);
    membership_query_init(&query, key, hash);
    TRY(run_filter(run, body, &filter));
    TRY(run_membership(run, body, &membership));
    *denied = (filter && !filter_may_contain(filter, hash)) ||
              (!membership->none && !membership_may_contain(&membership->membership, &query));
    return PLSM_OK;
}

/* The filter must not deny the key, and both indexes must name the page on which it begins. */
static plsm_status check_key(struct check *c, struct run *run, const struct indexes *indexes,
                             const struct cursor *cursor, const char *path)
{
    plsm_slice key = cursor->entry.key;
    bool denied = false;
    epoch_enter(c->db->epoch);
    plsm_status status = ask_filters(run, indexes->body, key, &denied);
    const struct run_model *model = run_model(run, indexes->body);
    uint32_t page = model ? model_find(model->model, key).page : cursor->unit;
    epoch_exit(c->db->epoch);
    if (denied && c->allow) {
        problem(c, "%s: page %u: the filter denies a key that is there", path, cursor->unit);
    } else if (denied) {
        counter_add(&c->db->counters, COUNT_FILTER_MISSED, 1);
        problem(c, "%s: page %u: the filter denies a key that is there", path, cursor->unit);
    }
    if (fences_find(indexes->fences, key) != cursor->unit)
        problem(c, "%s: page %u: the fences name page %u for a key of it", path, cursor->unit,
                fences_find(indexes->fences, key));
    if (page != cursor->unit)
        problem(c, "%s: page %u: the model names page %u for a key of it", path, cursor->unit, page);
    if (slice_compare(key, run->facts.smallest) < 0 || slice_compare(key, run->facts.largest) > 0)
        problem(c, "%s: page %u: a key is outside of the bounds in the MANIFEST", path, cursor->unit);
    return status;
}

/* An entry that no bulk load could have written does not come in with one. */
static plsm_status check_foreign_entry(const struct check *c, const struct entry *entry, const char *path)
{
    if (entry->kind != BATCH_PUT || entry->seq != 0 || entry->separated || entry->key.size < 2)
        return fail(PLSM_INVALID,
                    "%s: holds other things than plain puts that everybody may see; compact the store that wrote it "
                    "while it has no large values",
                    path);
    return c->allow(c->allow_arg, entry->key, entry->meta, entry->value);
}

/* What is to be read of a run: its file, and its records in value logs. */
static uint64_t bytes_of(const struct run *run)
{
    uint64_t bytes = run->facts.file_size;
    for (size_t i = 0; i < run->facts.values_count; i++)
        bytes += run->facts.values[i].bytes;
    return bytes;
}

static plsm_status check_run(struct check *c, struct run *run)
{
    char path[4096];
    struct cursor_options options = {.seq = SEQ_MAX, .all_versions = true, .bulk = true};
    struct cursor cursor = {0};
    struct indexes indexes = {0};
    struct sums sums = {0};
    struct buf last = {0};
    uint64_t done = c->done;
    run_path(&c->db->context, run->facts.number, path, sizeof path);
    plsm_status status = load_indexes(c, run, &indexes, path);
    if (status == PLSM_OK)
        status = sums_init(&sums, run);
    if (status == PLSM_OK)
        status = cursor_open_runs(&cursor, &run, 1, &options);
    for (status == PLSM_OK ? cursor_first(&cursor) : (void)0; status == PLSM_OK && cursor.valid; cursor_next(&cursor)) {
        plsm_slice key = cursor.entry.key;
        int order = sums.entries ? slice_compare(buf_slice(&last), key) : -1;
        if (order > 0)
            problem(c, "%s: page %u: keys are out of order", path, cursor.unit);
        if (order == 0)
            sums.versions = true;
        else
            status = check_key(c, run, &indexes, &cursor, path);
        if (c->allow && status == PLSM_OK)
            status = check_foreign_entry(c, &cursor.entry, path);
        sums.entries++;
        sums.deletions += cursor.entry.kind == BATCH_DELETE;
        sums.expiring += cursor.entry.expires_s > 0 && cursor.entry.kind == BATCH_PUT;
        sums.key_bytes += key.size;
        sums.value_bytes += cursor.entry.meta.size;
        if (!cursor.entry.separated)
            sums.value_bytes += cursor.entry.value.size;
        else if (status == PLSM_OK)
            status = check_value(c, run, &sums, &cursor, path);
        last.size = 0;
        if (status == PLSM_OK)
            status = buf_append(&last, key.data, key.size);
        c->done = done + run_unit_offset(indexes.body, cursor.unit) + sums.record_bytes;
        if (c->progress && sums.entries % PROGRESS_ENTRIES == 0)
            c->progress(c->arg, c->done < c->all ? c->done : c->all, c->all);
    }
    if (status == PLSM_OK)
        status = cursor.status;
    if (status == PLSM_OK)
        status = compare_values(c, run, indexes.body, &sums, path);
    if (status == PLSM_OK)
        compare_sums(c, run, &sums, path);
    else if (status == PLSM_CORRUPT || status == PLSM_VERSION || status == PLSM_IO) {
        problem(c, "%s", plsm_message());
        status = PLSM_OK; /* go on with the next run */
    }
    cursor_close(&cursor);
    buf_free(&last);
    mem_free(sums.values);
    c->done = done + bytes_of(run);
    return status;
}

/* Runs of level 0 of one sequence number are parts of one sorted run: their order says nothing, so they may share no
 * key. That levels below are in order is looked at whenever a version is made. */
static void check_parts(struct check *c, const struct level *young)
{
    char path[4096];
    for (size_t i = 0; i < young->count; i++)
        for (size_t j = i + 1; j < young->count && young->runs[j]->facts.seq_max == young->runs[i]->facts.seq_max;
             j++) {
            const struct run_facts *f = &young->runs[i]->facts;
            run_path(&c->db->context, f->number, path, sizeof path);
            if (run_overlaps(young->runs[j], f->smallest, f->largest))
                problem(c, "%s: shares keys with run %llu of the same sequence number", path,
                        (unsigned long long)young->runs[j]->facts.number);
        }
}

plsm_status lsm_check(struct lsm *db, void (*report)(void *arg, const char *line),
                      void (*progress)(void *arg, uint64_t done, uint64_t all), void *arg)
{
    struct check c = {.db = db, .report = report, .progress = progress, .arg = arg};
    plsm_status status = PLSM_OK;
    struct view *view = view_acquire(db);
    c.version = view->version;
    for (unsigned level = 0; level < LSM_LEVELS; level++)
        for (size_t i = 0; i < view->version->levels[level].count; i++)
            c.all += bytes_of(view->version->levels[level].runs[i]);
    check_parts(&c, &view->version->levels[0]);
    for (unsigned level = 0; level < LSM_LEVELS; level++)
        for (size_t i = 0; i < view->version->levels[level].count && status == PLSM_OK; i++)
            status = check_run(&c, view->version->levels[level].runs[i]);
    if (progress)
        progress(arg, c.all, c.all);
    buf_free(&c.record);
    view_release(view);
    if (status == PLSM_OK && c.problems)
        status = fail(PLSM_CORRUPT, "%s: %llu problems were found", db->path, (unsigned long long)c.problems);
    return status;
}

plsm_status check_foreign_run(struct lsm *db, struct run *run, lsm_bulk_allow *allow, void *arg)
{
    struct check c = {.db = db, .allow = allow, .allow_arg = arg};
    TRY(check_run(&c, run));
    return c.problems ? fail(PLSM_CORRUPT, "%s", c.first) : PLSM_OK;
}
