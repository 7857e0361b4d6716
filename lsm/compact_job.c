/* Carrying out a compaction. A large one is split by keys into parts that are merged at the same time, in threads (with
 * background=0 one after the other); what all of them wrote is installed by one edit. */
#include "lsm/db.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "lsm/merge.h"
#include "lsm/output.h"
#include "base/banned.h"

/* A run of level 0 is as large as its sources together, up to what a filter and the offsets of packed units can hold,
 * with room to spare. */
#define RUN_BYTES_MOST (UINT64_C(8) << 30)
#define RUN_ENTRIES_MOST (UINT64_C(1) << 28)

enum {
    LOOK_ENTRIES = 1024,   /* how often a compaction looks whether the store is closing, or a merge is due, */
    SPACE_BYTES = 1 << 20, /* and whether there is room for more */
};

/* A compaction being carried out. */
struct job {
    struct lsm *db;
    const struct compaction *plan;
    struct version *version; /* the one it was picked from */
    uint64_t cutoff, seq_max;
    uint64_t now_s;                /* puts whose time has come by then are deletions */
    struct tombstone_merge ranges; /* the range tombstones of all sources, numbered as these */
    size_t older; /* index in level 0 of the first run that is older than all sources; its count: none */
    struct output_job output;
    struct merge_room room;
    struct collected collected; /* the value logs that it empties */
    atomic_bool failed;         /* some part did: the others stop */
    const void *seen;           /* the newest version when it was last looked at, for merges beside this one */
    struct edit edit;
    uint64_t bytes; /* written */
};

/* The keys [from, to) of a compaction; empty: open. Its own thread's. */
struct part {
    struct job *job;
    struct env_thread *thread;
    bool looks_around; /* in the thread that has compacting: for merges beside this one */
    plsm_slice from, to;
    struct buf border; /* `to` of this part and `from` of the next */
    struct run_writer *writer;
    struct output_values values;
    struct buf last_key;      /* of the entry before, kept or not */
    uint64_t newer_seq;       /* the sequence number of the next newer version of that key */
    size_t below[LSM_LEVELS]; /* per deeper level: first run that does not end before the current key */
    size_t ranges_at;         /* of the fragments: the first that does not end before it */
    struct output_ranges ranges;
    uint8_t byte;      /* with which the keys of the writer's run begin */
    uint64_t borders;  /* of runs of the level below the result's that are in it */
    struct run **runs; /* of the plan's runs, those that have to be read */
    struct edit edit;  /* the runs and value logs it added */
    uint64_t bytes;
    uint64_t looked_bytes; /* that were written when it last looked for room */
    plsm_status status;
    char message[512];
};

/* Gives the compaction up where it would take room that is kept. */
static plsm_status look_for_room(struct part *part)
{
    uint64_t written = part->bytes + part->values.bytes;
    if (part->writer)
        written += run_writer_size(part->writer);
    if (part->values.writer)
        written += value_log_writer_size(part->values.writer);
    if (written < part->looked_bytes + SPACE_BYTES)
        return PLSM_OK;
    part->looked_bytes = written;
    return space_for_more(part->job->db, &part->job->room);
}

/* Finishes a run, with the range tombstones up to `to` (empty: all with its first byte). */
static plsm_status finish_output(struct part *part, plsm_slice to)
{
    struct job *job = part->job;
    uint64_t bytes = 0;
    if (!part->writer)
        return PLSM_OK;
    TRY(output_add_ranges(&part->ranges, part->writer, part->byte, to));
    plsm_status status =
        output_finish(job->db, part->writer, job->plan->output_level, job->seq_max, &part->edit, &bytes);
    part->writer = NULL;
    part->bytes += bytes;
    return status;
}

/* Moves on to the first run of a level that does not end before `key`; whether it was another one. Keys in order. */
static bool move_on(struct part *part, unsigned level, plsm_slice key, uint64_t head)
{
    const struct level *l = &part->job->version->levels[level];
    size_t *at = &part->below[level], before = *at;
    while (*at < l->count && run_ends_before(l->runs[*at], key, head))
        ++*at;
    return *at > before;
}

/* Whether an older run that is no source may hold an older version of `key`. Keys must be asked in order. */
static bool exists_below(struct part *part, plsm_slice key)
{
    const struct job *job = part->job;
    const struct level *young = &job->version->levels[0];
    uint64_t head = key_head(key);
    for (size_t i = job->older; i < young->count; i++)
        if (run_encloses(young->runs[i], key, head))
            return true;
    for (unsigned level = job->plan->output_level + 1; level < LSM_LEVELS; level++) {
        const struct level *l = &job->version->levels[level];
        move_on(part, level, key, head);
        size_t at = part->below[level];
        if (at < l->count && slice_compare(l->runs[at]->facts.smallest, key) <= 0)
            return true;
    }
    return false;
}

static plsm_status start_output(struct part *part, uint8_t byte)
{
    part->byte = byte;
    part->borders = 0;
    return output_start(part->job->db, part->job->plan->output_level, &part->job->output, &part->writer);
}

/* Writes runs for the range tombstones in front of keys that begin with `byte`, and in front of where the part ends,
 * which have no entries beside them. */
static plsm_status write_ranges(struct part *part, unsigned byte)
{
    uint8_t first = 0;
    while (output_ranges_left(&part->ranges, byte, part->to, &first)) {
        TRY(start_output(part, first));
        TRY(finish_output(part, part->to));
    }
    return PLSM_OK;
}

/* Whether a run of the level below the result's ends in front of a key. Of each new key, in order. */
static bool is_at_border(struct part *part, plsm_slice key)
{
    unsigned lower = part->job->plan->output_level + 1;
    return lower > 1 && lower < LSM_LEVELS && move_on(part, lower, key, key_head(key));
}

/* Whether the run that is being written has what it may have, or half of that in front of the next run of the level
 * below, or two thirds in front of a later one: in its own turn it is not merged with a run then of which it would
 * overlap a corner (RocksDB asks for more with each run in the same way). */
static bool is_full(const struct part *part, bool at_border)
{
    const struct job *job = part->job;
    uint64_t entries_max = budget_run_entries(job->db->budget.bytes) / job->db->options.compact_threads;
    uint64_t bytes_max = job->plan->output_level > 0 ? job->db->options.file_size : RUN_BYTES_MOST;
    uint64_t bytes = run_writer_size(part->writer);
    if (entries_max > RUN_ENTRIES_MOST)
        entries_max = RUN_ENTRIES_MOST;
    uint64_t enough = !at_border ? bytes_max : part->borders == 1 ? bytes_max / 2 : bytes_max / 3 * 2;
    return bytes >= enough || run_writer_entries(part->writer) >= entries_max;
}

/* Ends the run that is being written in front of a key where its first byte is another, or where the run is full: only
 * between keys, since all versions of one stay in one run. A sorted run of level 0 is one run, unless it is huge or
 * memory does not suffice for its filter, so that lookups have few of them to look at. Range tombstones that reach over
 * that place are cut behind the last key: at that key with a zero byte more, the least key above it (if it can be that
 * long). */
static plsm_status cut_output(struct part *part, plsm_slice key, bool at_border)
{
    if (part->byte != *(const uint8_t *)key.data)
        return finish_output(part, (plsm_slice){0});
    part->borders += at_border;
    if (!is_full(part, at_border) || (part->last_key.size == LSM_KEY_MAX && part->job->ranges.list.count > 0))
        return PLSM_OK;
    TRY(buf_append(&part->last_key, "", 1));
    return finish_output(part, buf_slice(&part->last_key));
}

/* Decides about one version, which source `source` had, and writes it when it is to be kept. */
static plsm_status take(struct part *part, struct entry entry, unsigned source)
{
    struct job *job = part->job;
    bool same = part->last_key.size && slice_equal(entry.key, buf_slice(&part->last_key));
    bool hidden = same && part->newer_seq <= job->cutoff;
    uint64_t seq = entry.seq;
    if (!same) {
        bool at_border = is_at_border(part, entry.key);
        if (part->writer)
            TRY(cut_output(part, entry.key, at_border));
        part->last_key.size = 0;
        TRY(buf_append(&part->last_key, entry.key.data, entry.key.size));
    }
    part->newer_seq = hidden ? part->newer_seq : seq;
    if (hidden)
        return PLSM_OK;
    if (tombstone_judge(tombstones_next(&job->ranges.list, &part->ranges_at, entry.key), job->cutoff, source, &entry))
        return PLSM_OK;
    output_expire(job->db, job->now_s, &entry);
    if (seq <= job->cutoff && entry.kind == BATCH_DELETE && !exists_below(part, entry.key))
        return PLSM_OK;
    if (!part->writer) {
        uint8_t byte = *(const uint8_t *)entry.key.data;
        TRY(write_ranges(part, byte));
        TRY(start_output(part, byte));
    }
    TRY(output_add(job->db, job->version, &part->values, part->writer, &entry, &part->edit));
    return look_for_room(part);
}

static bool must_stop(struct job *job)
{
    struct lsm *db = job->db;
    mutex_lock(&db->lock);
    bool stop = db->closing || db->broken != PLSM_OK;
    mutex_unlock(&db->lock);
    return stop || atomic_load_explicit(&job->failed, memory_order_relaxed);
}

/* Carries out those merges of newer runs that have become due meanwhile: small ones cannot wait for the end of one that
 * takes minutes, or writers would. */
static plsm_status merge_beside(struct job *job)
{
    struct lsm *db = job->db;
    plsm_status status = PLSM_OK;
    bool worked = !tier_policy(&db->options).partial;
    struct mem_account *before = mem_account_use(NULL); /* versions outlive the merge */
    while (worked && status == PLSM_OK) {
        struct compaction plan = {0};
        struct version *version = version_newest(db);
        worked = job->seen != version && tiers_compaction(version, &db->options, job->plan, &plan, &status);
        job->seen = version;
        plan.inside = job->plan;
        if (worked && status == PLSM_OK)
            status = space_excuse(compaction_run(db, version, &plan)); /* once for each version */
        compaction_free(&plan);
        version_unref(version);
    }
    mem_account_use(before);
    return status;
}

/* Every so many entries. */
static plsm_status look_around(struct part *part)
{
    if (must_stop(part->job))
        return fail(PLSM_READ_ONLY, "%s: closing", part->job->db->path);
    return part->looks_around ? merge_beside(part->job) : PLSM_OK;
}

static plsm_status merge_part(struct part *part, struct merge *merge)
{
    uint64_t entries = 0, to_head = part->to.size ? key_head(part->to) : 0;
    if (part->from.size)
        merge_seek(merge, part->from);
    else
        merge_first(merge);
    for (; merge_valid(merge); merge_next(merge)) {
        const struct entry *entry = merge_entry(merge);
        if (part->to.size && key_head(entry->key) >= to_head && slice_compare(entry->key, part->to) >= 0)
            break;
        if (++entries % LOOK_ENTRIES == 0)
            TRY(look_around(part));
        TRY(take(part, *entry, merge_source(merge)));
    }
    TRY(merge->status);
    TRY(finish_output(part, part->to));
    TRY(write_ranges(part, UINT8_MAX + 1));
    TRY(output_values_finish(&part->values, &part->edit));
    part->bytes += part->values.bytes;
    return PLSM_OK;
}

/* Opens a cursor for each source, newest first. Runs that newer range tombstones cover wholly, for every reader, need
 * not be read; a cursor without any stays zeroed, and shows nothing. */
static plsm_status open_cursors(struct part *part, struct cursor *cursors, unsigned *count)
{
    struct cursor_options options = {.seq = SEQ_MAX, .all_versions = true, .bulk = true};
    const struct compaction *plan = part->job->plan;
    struct run **runs = plan->runs, **left = part->runs;
    for (size_t i = 0; i < plan->source_count; i++, ++*count) {
        size_t left_count = 0;
        for (size_t j = 0; j < plan->sources[i].count; j++, runs++)
            if (!tombstone_merge_covers(&part->job->ranges, (*runs)->facts.smallest, (*runs)->facts.largest,
                                        (uint32_t)i))
                left[left_count++] = *runs;
        if (left_count)
            TRY(cursor_open_runs(&cursors[*count], left, left_count, &options));
        left += left_count;
    }
    return PLSM_OK;
}

static plsm_status merge_sources(struct part *part)
{
    const struct compaction *plan = part->job->plan;
    struct merge merge = {0};
    unsigned count = 0;
    struct cursor *cursors = mem_zalloc(plan->source_count * sizeof *cursors);
    part->runs = mem_alloc(plan->run_count * sizeof *part->runs);
    plsm_status status = cursors && part->runs ? output_ranges_begin(&part->ranges, &part->job->ranges.list, part->from)
                                               : fail(PLSM_NO_MEMORY, "no memory for a compaction");
    if (status == PLSM_OK)
        status = open_cursors(part, cursors, &count);
    if (status == PLSM_OK)
        status = merge_init(&merge, cursors, count, true);
    if (status == PLSM_OK)
        status = merge_part(part, &merge);
    merge_destroy(&merge);
    for (size_t i = 0; cursors && i < plan->source_count; i++)
        cursor_close(&cursors[i]);
    mem_free(cursors);
    mem_free(part->runs);
    return status;
}

/* In whatever thread. */
static void run_part(void *arg)
{
    struct part *part = arg;
    struct mem_account *before = budget_enter(&part->job->db->budget, BUDGET_COMPACTION);
    part->status = merge_sources(part);
    if (part->status != PLSM_OK) {
        snprintf(part->message, sizeof part->message, "%s", plsm_message());
        atomic_store(&part->job->failed, true);
    }
    run_writer_destroy(part->writer);
    part->writer = NULL;
    output_ranges_free(&part->ranges);
    output_values_end(&part->values);
    buf_free(&part->last_key);
    budget_leave(before);
}

static void run_part_thread(void *arg)
{
    counter_stripe_share();
    run_part(arg);
}

/* --- range tombstones --------------------------------------------------------------------------------------------- */

/* Whether an older run that is no source may hold something in a fragment. */
static bool overlaps_below(const struct job *job, const struct tombstone *t)
{
    const struct level *young = &job->version->levels[0];
    size_t first = 0;
    for (size_t i = job->older; i < young->count; i++)
        if (run_overlaps(young->runs[i], t->from, t->to))
            return true;
    for (unsigned level = job->plan->output_level + 1; level < LSM_LEVELS; level++)
        if (version_overlapping(job->version, level, t->from, t->to, &first) > 0)
            return true;
    return false;
}

static plsm_status add_ranges(struct job *job)
{
    const struct compaction *plan = job->plan;
    struct run **runs = plan->runs + plan->run_count;
    for (size_t i = plan->source_count; i-- > 0;) /* oldest first */
        for (size_t j = plan->sources[i].count; j-- > 0;) {
            struct run_body *body = NULL;
            if ((*--runs)->facts.ranges == 0)
                continue;
            TRY(run_open(*runs, &body));
            TRY(tombstone_merge_add(&job->ranges, body->ranges, (uint32_t)i));
        }
    return PLSM_OK;
}

/* Counts the runs that need not be read. */
static void count_covered(struct job *job)
{
    struct run **runs = job->plan->runs;
    for (size_t i = 0; i < job->plan->source_count; i++)
        for (size_t j = 0; j < job->plan->sources[i].count; j++, runs++)
            counter_add(
                &job->db->counters, COUNT_RUNS_COVERED,
                tombstone_merge_covers(&job->ranges, (*runs)->facts.smallest, (*runs)->facts.largest, (uint32_t)i));
}

/* Merges the range tombstones of all sources. Those that every reader sees go where nothing older is left below. */
static plsm_status merge_ranges(struct job *job)
{
    job->ranges.cutoff = job->cutoff;
    TRY(add_ranges(job));
    for (size_t i = 0; i < job->ranges.list.count; i++) {
        struct tombstone *t = &job->ranges.list.list[i];
        uint64_t oldest = t->seq;
        for (const struct tombstone_older *older = t->older; older; older = older->older)
            oldest = older->seq;
        t->settled = oldest <= job->cutoff && !overlaps_below(job, t);
    }
    tombstone_merge_join(&job->ranges);
    count_covered(job);
    return PLSM_OK;
}

/* --- parts -------------------------------------------------------------------------------------------------------- */

size_t compaction_parts(const struct compaction *plan, const struct lsm_options *options)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < plan->run_count; i++)
        bytes += plan->runs[i]->facts.file_size;
    uint64_t parts = bytes / options->buffer_size;
    return parts < 1 ? 1 : parts < options->compact_threads ? (size_t)parts : options->compact_threads;
}

/* The runs of the source that has the most pages, and how many pages. */
static struct run **largest_source(const struct compaction *plan, uint64_t *pages)
{
    struct run **largest = plan->runs, **runs = plan->runs;
    *pages = 0;
    for (size_t i = 0; i < plan->source_count; i++) {
        uint64_t units = 0;
        for (size_t j = 0; j < plan->sources[i].count; j++)
            units += runs[j]->facts.units;
        if (units > *pages) {
            *pages = units;
            largest = runs;
        }
        runs += plan->sources[i].count;
    }
    return largest;
}

/* The least key above the first one of a page (or that one without its end, where it is as long as keys may be): range
 * tombstones that end there end with a key that can be named, the one before. */
static plsm_status page_border(struct lsm *db, struct run *run, uint32_t unit, struct buf *out)
{
    struct run_body *body = NULL;
    struct page_hold hold;
    hold.heap = NULL;
    TRY(buf_reserve(out, LSM_KEY_MAX + 1));
    TRY(run_open(run, &body));
    epoch_enter(db->epoch);
    /* Not charged as I/O of its own: the merge reads the page too. */
    plsm_status status = run_page_uncharged(run, body, unit, true, &hold);
    if (status == PLSM_OK) {
        size_t size = run_page_key(hold.page, 0, out->data).size;
        size -= size == LSM_KEY_MAX;
        out->data[size] = 0;
        out->size = size + 1;
    }
    page_hold_release(&hold);
    epoch_exit(db->epoch);
    return status;
}

/* Chooses the borders between `count` parts, at equal distances in the largest source. Two may be equal where one key
 * has many versions: nothing is between them then. */
static plsm_status choose_borders(struct job *job, struct part *parts, size_t count)
{
    uint64_t pages = 0, before = 0;
    struct run **run = largest_source(job->plan, &pages);
    for (size_t i = 0; i < count; i++)
        parts[i].job = job;
    parts[0].looks_around = true;
    for (size_t i = 0; i < count; i++)
        parts[i].values.collected = &job->collected;
    for (size_t i = 0; i + 1 < count; i++) {
        uint64_t page = pages * (i + 1) / count;
        for (; page - before >= (*run)->facts.units; run++)
            before += (*run)->facts.units;
        TRY(page_border(job->db, *run, (uint32_t)(page - before), &parts[i].border));
        parts[i].to = parts[i + 1].from = buf_slice(&parts[i].border);
    }
    return PLSM_OK;
}

/* Merges all parts; the first in this thread, and those for which there is no thread. */
static void run_parts(struct job *job, struct part *parts, size_t count)
{
    for (size_t i = 1; i < count && job->db->options.background; i++)
        if (env_thread_start(job->db->env, run_part_thread, &parts[i], &parts[i].thread) != PLSM_OK)
            parts[i].thread = NULL;
    for (size_t i = 0; i < count; i++)
        if (!parts[i].thread)
            run_part(&parts[i]);
    for (size_t i = 0; i < count; i++)
        env_thread_join(parts[i].thread);
}

/* Puts what the parts wrote together. The first failure counts. */
static plsm_status collect_parts(struct job *job, struct part *parts, size_t count)
{
    plsm_status status = PLSM_OK;
    for (size_t i = 0; i < count; i++) {
        job->bytes += parts[i].bytes;
        for (size_t j = 0; j < parts[i].edit.added_count; j++) {
            struct run *run = parts[i].edit.added[j].run;
            run_ref(run);
            plsm_status added = edit_add(&job->edit, job->plan->output_level, run);
            if (added != PLSM_OK)
                atomic_store(&run->obsolete, true);
            status = status == PLSM_OK ? added : status;
        }
        for (size_t j = 0; j < parts[i].edit.values_count; j++) {
            struct value_log *log = parts[i].edit.values[j];
            value_log_ref(log);
            plsm_status added = edit_add_values(&job->edit, log);
            if (added != PLSM_OK)
                atomic_store(&log->obsolete, true);
            status = status == PLSM_OK ? added : status;
        }
    }
    for (size_t i = 0; i < count && status == PLSM_OK; i++)
        if (parts[i].status != PLSM_OK && parts[i].status != PLSM_READ_ONLY)
            status = fail(parts[i].status, "%s", parts[i].message);
    for (size_t i = 0; i < count && status == PLSM_OK; i++) /* stopped */
        if (parts[i].status != PLSM_OK)
            status = fail(parts[i].status, "%s", parts[i].message);
    return status;
}

static plsm_status merge_plan(struct job *job)
{
    size_t count = compaction_parts(job->plan, &job->db->options);
    struct part *parts = mem_zalloc(count * sizeof *parts);
    if (!parts)
        return fail(PLSM_NO_MEMORY, "no memory for a compaction");
    struct mem_account *before = budget_enter(&job->db->budget, BUDGET_COMPACTION);
    job->ranges.arena.account = mem_account_now();
    plsm_status status = merge_ranges(job);
    budget_leave(before);
    if (status == PLSM_OK)
        status = choose_borders(job, parts, count);
    if (status == PLSM_OK) {
        run_parts(job, parts, count);
        status = collect_parts(job, parts, count);
        counter_add(&job->db->counters, COUNT_COMPACTION_PARTS, count);
    }
    for (size_t i = 0; i < count; i++) {
        buf_free(&parts[i].border);
        edit_free(&parts[i].edit);
    }
    mem_free(parts);
    return status;
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

/* Removes the sources, and notes what the result takes over from them. */
static plsm_status remove_sources(struct job *job)
{
    const struct compaction *plan = job->plan;
    uint64_t bytes = 0, oldest_s = UINT64_MAX;
    struct run **run = plan->runs;
    for (size_t i = 0; i < plan->source_count; i++)
        for (size_t j = 0; j < plan->sources[i].count; j++, run++) {
            const struct run_facts *facts = &(*run)->facts;
            job->seq_max = facts->seq_max > job->seq_max ? facts->seq_max : job->seq_max;
            oldest_s = facts->oldest_s < oldest_s ? facts->oldest_s : oldest_s;
            bytes += facts->file_size;
            TRY(edit_remove(&job->edit, plan->sources[i].level, facts->number));
        }
    if (!plan->trivial)
        output_job_start(job->db, bytes, oldest_s, &job->output);
    job->output.merged = true;
    return PLSM_OK;
}

/* Where in level 0 those begin that are older than all sources. */
static size_t find_older(const struct version *version, const struct compaction *plan)
{
    const struct level *young = &version->levels[0];
    size_t behind = 0;
    size_t of_level0 = 0;
    for (size_t i = 0; i < plan->source_count && plan->sources[i].level == 0; i++)
        of_level0 += plan->sources[i].count;
    for (size_t i = 0; i < young->count; i++)
        for (size_t j = 0; j < of_level0; j++)
            behind = young->runs[i] == plan->runs[j] ? i + 1 : behind;
    return of_level0 ? behind : young->count;
}

/* Where the next compaction of the level goes on. */
static plsm_status move_cursor(struct lsm *db, const struct compaction *plan)
{
    struct buf *cursor = &db->compact_cursor[plan->level];
    plsm_slice last = plan->runs[plan->sources[0].count - 1]->facts.smallest;
    cursor->size = 0;
    return buf_append(cursor, last.data, last.size);
}

/* Whether there is room for a merge, and what it may collect in what is left of that. Where the file system is nearly
 * full, value logs with less garbage than otherwise are worth it. */
static plsm_status find_room(struct job *job)
{
    struct lsm *db = job->db;
    uint64_t bytes = 0;
    for (size_t i = 0; i < job->plan->run_count; i++)
        bytes += job->plan->runs[i]->facts.file_size;
    TRY(space_for_merge(db, &job->room));
    uint64_t room = job->room.bytes;
    if (compaction_bytes_least(job->plan) / 2 > room)
        return space_refuse_merge(db->path);
    TRY(compaction_collect(job->version, job->plan, values_garbage_ppm(db), room > bytes ? room - bytes : 0,
                           &job->collected));
    uint64_t collects = job->plan->collects;
    return collects == 0 || collected_has(&job->collected, collects) ? PLSM_OK : space_refuse_merge(db->path);
}

plsm_status compaction_run(struct lsm *db, struct version *version, const struct compaction *plan)
{
    struct job job = {.db = db, .plan = plan, .version = version, .cutoff = snapshot_cutoff(db), .now_s = db_now_s(db)};
    job.older = find_older(version, plan);
    plsm_status status = remove_sources(&job);
    if (status == PLSM_OK && plan->trivial) {
        run_ref(plan->runs[0]);
        status = edit_add(&job.edit, plan->output_level, plan->runs[0]);
    } else if (status == PLSM_OK) {
        status = find_room(&job);
        if (status == PLSM_OK)
            status = merge_plan(&job);
        if (status == PLSM_OK)
            status = env_sync_dir(db->env, db->path);
    }
    if (status == PLSM_OK)
        status = install_edit(db, &job.edit, false);
    else
        edit_disown(&job.edit);
    if (status == PLSM_OK) {
        counter_add(&db->counters, plan->trivial ? COUNT_TRIVIAL_MOVES : COUNT_COMPACTIONS, 1);
        counter_add(&db->counters, COUNT_COMPACTIONS_BESIDE, plan->inside != NULL);
        counter_add(&db->counters, COUNT_COMPACT_BYTES, job.bytes);
        status = move_cursor(db, plan);
    }
    edit_free(&job.edit);
    collected_free(&job.collected);
    struct mem_account *before = budget_enter(&db->budget, BUDGET_COMPACTION);
    tombstone_merge_free(&job.ranges);
    budget_leave(before);
    return status;
}
