/* Runs on their way into a version. */
#include "lsm/output.h"

#include "base/error.h"
#include "lsm/separated.h"
#include "base/banned.h"

enum { BYTES_GUESSED = 128 }; /* of an entry, where nothing is known */

/* As many as the last level has in as many bytes. */
static uint64_t keys_expected(const struct version *version, uint64_t bytes)
{
    const struct level *last = &version->levels[version_last_level(version)];
    uint64_t entries = 0;
    for (size_t i = 0; i < last->count; i++)
        entries += last->runs[i]->facts.entries;
    return last->bytes ? (uint64_t)((double)bytes * (double)entries / (double)last->bytes) : bytes / BYTES_GUESSED;
}

void output_job_start(struct lsm *db, uint64_t bytes, uint64_t oldest_s, struct output_job *job)
{
    mutex_lock(&db->lock);
    *job = (struct output_job){.train = ++db->jobs % db->options.train_every == 0,
                               .keys_expected = keys_expected(db->version, db->options.file_size),
                               .bytes = bytes,
                               .oldest_s = oldest_s};
    db->training_due |= job->train && db->options.train_every > 1;
    mutex_unlock(&db->lock);
}

unsigned output_filter_bits(const struct version *version, const struct lsm_options *options, unsigned level,
                            uint64_t bytes)
{
    struct tier_policy policy = tier_policy(options);
    unsigned last = version_last_level(version);
    if (policy.partial || level > 0) {
        if (last < level)
            last = level;
        if (last == 0)
            last = 1; /* level 0 is never the last for long */
        return filter_bits_for_level(level, last, options->filter_bits, options->size_ratio);
    }
    return filter_bits_for_level(tier_level(&policy, bytes), tier_level(&policy, version_largest_bytes(version, false)),
                                 options->filter_bits, options->size_ratio);
}

plsm_status output_start(struct lsm *db, unsigned level, struct output_job *job, struct run_writer **out)
{
    const struct lsm_options *options = &db->options;
    mutex_lock(&db->lock);
    uint64_t number = db->next_number++;
    unsigned last = version_last_level(db->version);
    struct run_plan plan = {.level = level, .group = version_group(db->version, level), .job = job->first};
    if (job->first == 0) /* parts of a compaction share it */
        job->first = (uint32_t)number;
    if (options->filter_bits)
        plan.filter_bits = output_filter_bits(db->version, options, level, job->bytes);
    bool large = level == 0 && job->bytes > db->version->young_bytes_max && job->bytes > 2 * options->buffer_size;
    mutex_unlock(&db->lock);
    if (last < level)
        last = level;
    plan.young = !large && (level == 0 || level < last);
    plan.tailored = !plan.young || !db->young; /* the others go into the table over young runs */
    plan.keys_expected = job->keys_expected;
    plan.oldest_s = job->oldest_s;
    plan.merged = job->merged;
    plan.flush = job->flush;
    bool learned = options->index == LSM_LEARNED;
    /* A run that will be merged soon: what takes time to make does not pay. */
    plan.blocked = (job->flush && plan.young && level == 0) || (learned && options->filter == LSM_FILTER_BLOCKED);
    plan.fuse_only = !learned || options->filter == LSM_FILTER_FUSE;
    plan.small = options->filter == LSM_FILTER_SMALL;
    const struct lsm_group_options *group = &options->groups[plan.group];
    plan.train = job->train && learned && group->model != LSM_MODEL_NONE && group->update;
    return run_writer_create(&db->context, number, &plan, out);
}

/* Enters a run above the last level into the table over young runs, unless it has better. */
static void enter_young(struct lsm *db, struct run *run, const struct run_writer *writer)
{
    const struct run_plan *plan = run_writer_plan(writer);
    size_t count = 0;
    const uint64_t *hashes = run_writer_hashes(writer, &count);
    if (!db->young || !plan->young)
        return;
    if (count == 0 || run_writer_membership(writer)->kind != MEMBERSHIP_FUSE) {
        run->young_need = UINT64_MAX;
        return;
    }
    mutex_lock(&db->lock);
    uint64_t expected = db->version->young_keys;
    mutex_unlock(&db->lock);
    uint64_t start_ns = env_cpu_ns(db->env);
    run->young_place = young_runs_enter(db->young, hashes, count, expected);
    counter_add(&db->counters, COUNT_FILTER_NS, env_cpu_ns(db->env) - start_ns);
}

/* --- values ------------------------------------------------------------------------------------------------------- */

plsm_status output_values_finish(struct output_values *values, struct edit *edit)
{
    struct value_log *log = NULL;
    if (!values->writer)
        return PLSM_OK;
    plsm_status status = value_log_writer_finish(values->writer, &log);
    if (status == PLSM_OK) {
        atomic_store(&log->obsolete, true); /* until the edit has it: its file goes with it */
        values->bytes += log->file_size;
        status = edit_add_values(edit, log);
    }
    if (status == PLSM_OK)
        atomic_store(&log->obsolete, false);
    value_log_writer_destroy(values->writer);
    values->writer = NULL;
    return status;
}

void output_values_end(struct output_values *values)
{
    value_log_writer_destroy(values->writer);
    values->writer = NULL;
    buf_free(&values->record);
}

/* Puts the value of an entry into a value log, and a pointer into its place: into `bytes`. */
static plsm_status separate(struct lsm *db, struct output_values *values, struct entry *entry, uint8_t *bytes,
                            struct edit *edit)
{
    struct value_pointer pointer;
    if (!values->writer) {
        mutex_lock(&db->lock);
        uint64_t number = db->next_number++;
        mutex_unlock(&db->lock);
        /* They stay there, whatever level their entries come to: as they would be packed in the end. */
        TRY(value_log_writer_create(&db->context, number, db->options.groups[LSM_GROUP_LAST].codec, &values->writer));
    }
    TRY(value_log_writer_add(values->writer, entry->key, entry->value, &pointer));
    entry->value = slice(bytes, value_pointer_write(bytes, &pointer));
    entry->separated = true;
    return value_log_writer_size(values->writer) >= db->options.file_size ? output_values_finish(values, edit)
                                                                          : PLSM_OK;
}

/* Brings the value of an entry back when what is left of its value log is to be given up. */
static plsm_status bring_back(struct lsm *db, const struct version *version, struct output_values *values,
                              struct entry *entry)
{
    uint64_t log = value_pointer_of(entry).log;
    const struct version_values *there = version_values_of(version, log);
    if (there && !collected_has(values->collected, log))
        return PLSM_OK;
    values->record.size = 0;
    TRY(separated_read(there ? there->log : NULL, entry->key, entry, SIM_SCAN, &values->record, &entry->value));
    entry->separated = false;
    counter_add(&db->counters, COUNT_REWRITTEN_BYTES, entry->value.size);
    counter_add(&db->counters, COUNT_COMPACT_READ_BYTES, values->record.size);
    return PLSM_OK;
}

void output_expire(struct lsm *db, uint64_t now_s, struct entry *entry)
{
    if (__builtin_expect(!entry_expired(entry, now_s), 1) || entry->kind != BATCH_PUT)
        return;
    *entry = (struct entry){.key = entry->key, .seq = entry->seq, .kind = BATCH_DELETE};
    counter_add(&db->counters, COUNT_EXPIRED, 1);
}

plsm_status output_add_value(struct lsm *db, const struct version *version, struct output_values *values,
                             struct run_writer *writer, struct entry *entry, struct edit *edit)
{
    uint8_t pointer[VALUE_POINTER_BYTES_MAX];
    uint64_t above = db->options.separate_above;
    if (entry->separated && version)
        TRY(bring_back(db, version, values, entry));
    if (above && entry->kind == BATCH_PUT && !entry->separated && entry->value.size >= above)
        TRY(separate(db, values, entry, pointer, edit));
    return run_writer_add(writer, entry);
}

plsm_status output_finish(struct lsm *db, struct run_writer *writer, unsigned level, uint64_t seq_max,
                          struct edit *edit, uint64_t *bytes)
{
    struct run_facts facts;
    *bytes = 0;
    plsm_status status = run_writer_finish(writer, seq_max, &facts);
    if (status == PLSM_OK) {
        struct run *run = run_create(&db->context, &facts);
        if (run) {
            run->group = run_writer_plan(writer)->group;
            atomic_store_explicit(&run->level, (uint8_t)level, memory_order_relaxed);
            enter_young(db, run, writer);
        }
        status = run ? edit_add(edit, level, run) : fail(PLSM_NO_MEMORY, "no memory for a run");
        if (status != PLSM_OK)
            garbage_add(db, 'r', facts.number);
        *bytes = facts.file_size;
    }
    run_writer_destroy(writer);
    return status;
}

/* --- range tombstones --------------------------------------------------------------------------------------------- */

plsm_status output_ranges_begin(struct output_ranges *o, const struct tombstones *list, plsm_slice from)
{
    *o = (struct output_ranges){.list = list};
    if (from.size == 0 || list->count == 0)
        return PLSM_OK;
    o->at = tombstones_reaching(list, from);
    bool inside = o->at < list->count && slice_compare(list->list[o->at].from, from) < 0;
    return inside ? buf_append(&o->from, from.data, from.size) : PLSM_OK;
}

void output_ranges_free(struct output_ranges *o)
{
    buf_free(&o->from);
}

static uint8_t byte_of(const struct tombstone *t)
{
    return *(const uint8_t *)t->from.data;
}

plsm_status output_add_ranges(struct output_ranges *o, struct run_writer *writer, uint8_t byte, plsm_slice to)
{
    for (; o->at < o->list->count && byte_of(&o->list->list[o->at]) == byte; o->at++) {
        const struct tombstone *t = &o->list->list[o->at];
        plsm_slice from = o->from.size ? buf_slice(&o->from) : t->from;
        if (to.size && slice_compare(from, to) >= 0)
            break;
        bool cut = to.size && slice_compare(to, t->to) < 0;
        if (tombstone_kept(t) > 0)
            TRY(run_writer_add_range(writer, t, from, cut ? to : t->to));
        o->from.size = 0;
        if (cut)
            return buf_append(&o->from, to.data, to.size);
    }
    return PLSM_OK;
}

bool output_ranges_left(struct output_ranges *o, unsigned byte, plsm_slice to, uint8_t *first)
{
    while (o->at < o->list->count && byte_of(&o->list->list[o->at]) < byte) {
        const struct tombstone *t = &o->list->list[o->at];
        if (to.size && slice_compare(o->from.size ? buf_slice(&o->from) : t->from, to) >= 0)
            return false;
        *first = byte_of(t);
        if (tombstone_kept(t) > 0)
            return true;
        o->at++;
        o->from.size = 0;
    }
    return false;
}
