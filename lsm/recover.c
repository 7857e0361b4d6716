/* Recovery. See recover.h. */
#include "lsm/recover.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "lsm/write_group.h"
#include "base/banned.h"

static bool add_number(struct number_list *list, uint64_t number)
{
    number_list_add(list, number);
    return !list->no_memory;
}

static bool add_name(struct name_list *list, const char *name)
{
    size_t size = strlen(name) + 1;
    char *copy = mem_alloc(size);
    char **grown = copy ? mem_realloc(list->names, (list->count + 1) * sizeof *grown) : NULL;
    if (!grown) {
        mem_free(copy);
        return false;
    }
    memcpy(copy, name, size);
    list->names = grown;
    list->names[list->count++] = copy;
    return true;
}

/* A file that was being made, or the spare log. */
static bool is_temporary(const char *name)
{
    static const char *const prefixes[] = {"log-", "manifest-", "model-"};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        const char *rest = "";
        if (env_file_number(name, prefixes[i], &rest) && strcmp(rest, ".tmp") == 0)
            return true;
    }
    return false;
}

/* The number of a file called PREFIX and that number, as stores write it; 0: it is something else. */
static uint64_t own_number(const char *name, const char *prefix)
{
    char digits[24];
    const char *rest = "";
    uint64_t number = env_file_number(name, prefix, &rest);
    snprintf(digits, sizeof digits, "%08llu", (unsigned long long)number);
    return number && strcmp(name + strlen(prefix), digits) == 0 ? number : 0;
}

static void note_file(void *arg, const char *name)
{
    struct inventory *inventory = arg;
    uint64_t number = 0;
    bool ok = true;
    if ((number = own_number(name, "run-")))
        ok = add_number(&inventory->runs, number);
    else if ((number = own_number(name, "values-")))
        ok = add_number(&inventory->values, number);
    else if ((number = own_number(name, "log-")))
        ok = add_number(&inventory->logs, number);
    else if ((number = own_number(name, "manifest-")))
        ok = add_number(&inventory->manifests, number);
    else if ((number = own_number(name, "model-")))
        ok = add_number(&inventory->models, number);
    else if (is_temporary(name))
        ok = add_name(&inventory->temporary, name);
    else if (strcmp(name, "LOCK") != 0 && strcmp(name, "lost+found") != 0)
        inventory->foreign = true;
    if (!ok)
        inventory->status = fail(PLSM_NO_MEMORY, "no memory to open the store");
}

plsm_status inventory_read(struct lsm *db, struct inventory *out)
{
    *out = (struct inventory){0};
    plsm_status status = env_list(db->env, db->path, note_file, out);
    if (status == PLSM_NOT_FOUND)
        status = fail(PLSM_NO_STORE, "%s: there is no such directory, so no store; create one with: plsm create %s",
                      db->path, db->path);
    if (status == PLSM_OK)
        status = out->status;
    number_list_sort(&out->runs);
    number_list_sort(&out->values);
    number_list_sort(&out->logs);
    number_list_sort(&out->manifests);
    return status;
}

void inventory_free(struct inventory *inventory)
{
    number_list_free(&inventory->runs);
    number_list_free(&inventory->logs);
    number_list_free(&inventory->manifests);
    number_list_free(&inventory->models);
    number_list_free(&inventory->values);
    for (size_t i = 0; i < inventory->temporary.count; i++)
        mem_free(inventory->temporary.names[i]);
    mem_free(inventory->temporary.names);
    *inventory = (struct inventory){0};
}

static plsm_status missing_manifest(const char *path)
{
    return fail(PLSM_CORRUPT,
                "%s: is of a store whose MANIFEST is missing; restore that from a backup, or make a new store in "
                "another directory",
                path);
}

/* Is a reclog_each. */
static plsm_status refuse_batch(void *path, uint64_t user, plsm_slice payload, uint64_t offset)
{
    return user == LOG_USER_IDENTITY ? PLSM_OK : missing_manifest(path);
}

plsm_status inventory_check_unborn(const struct lsm *db, const struct inventory *inventory)
{
    char path[4096];
    if (inventory->runs.count > 0) {
        run_path(&db->context, inventory->runs.at[0], path, sizeof path);
        return missing_manifest(path);
    }
    if (inventory->values.count > 0) {
        value_log_path(&db->context, inventory->values.at[0], path, sizeof path);
        return missing_manifest(path);
    }
    for (size_t i = 0; i < inventory->logs.count; i++) {
        struct reclog_result result;
        log_path(db, inventory->logs.at[i], path, sizeof path);
        TRY(reclog_read(db->env, path, LOG_MAGIC, refuse_batch, path, &result));
    }
    return PLSM_OK;
}

struct replaying {
    struct lsm *db;
    struct replay *out;
    const char *path;
    uint64_t number;       /* of the log */
    uint64_t first_offset; /* of the first record of this log; 0: none yet */
    uint64_t end_before;   /* where the log before ended */
    bool has_before;       /* there is a log before that is needed */
    bool ignoring_before;  /* the log before was not to be seen either */
    bool ignoring;         /* something before this is lost: records are only looked at for what they prove */
    bool pointed;          /* the memtable points into this log: of a store that is open for reading */
};

/* Writes what was replayed so far into runs, when it is as much as a memtable may hold. */
static plsm_status flush_full(struct lsm *db, struct replay *replay)
{
    if (db->options.read_only || replay->keep || memtable_bytes(replay->table) < db->options.buffer_size)
        return PLSM_OK;
    struct memtable *fresh = db_memtable_create(db);
    if (!fresh)
        return fail(PLSM_NO_MEMORY, "no memory to replay a log");
    plsm_status status = flush_table(db, &(struct memlog){.table = replay->table}, &replay->edit);
    memtable_unref(replay->table);
    replay->table = fresh;
    return status;
}

/* The first record of a log. */
static plsm_status check_identity(struct replaying *r, uint64_t user, plsm_slice payload)
{
    const uint8_t *bytes = payload.data;
    if (user != LOG_USER_IDENTITY || payload.size != LOG_IDENTITY_BYTES || get_u64(bytes) != r->db->store_id ||
        get_u64(bytes + 8) != r->number)
        return fail(PLSM_CORRUPT,
                    "%s: is not log %llu of this store: files were exchanged; restore them from one backup", r->path,
                    (unsigned long long)r->number);
    uint64_t size_before = get_u64(bytes + 16);
    if (!size_before)
        r->ignoring = false; /* an opening has settled what was before, up to the same loss */
    if (!size_before || !r->has_before)
        return PLSM_OK;
    if (r->db->options.read_only && size_before > r->end_before && !r->ignoring_before &&
        (r->out->grown_log != r->number - 1 || r->out->grown_end != r->end_before)) {
        r->out->grown_log = r->number - 1;
        r->out->grown_end = r->end_before;
        return fail(PLSM_CONFLICT, "%s: the log before it has grown", r->path);
    }
    /* What stands behind that size in the log before is garbage, such as a record whose append failed and was cut off
     * again; what stands before it must be there. */
    r->ignoring = r->ignoring_before || size_before != r->end_before;
    if (r->ignoring && !r->ignoring_before && get_u64(bytes + 24))
        return fail(PLSM_CORRUPT, "%s: the log before it was closed at %llu bytes, and is damaged at offset %llu",
                    r->path, (unsigned long long)size_before, (unsigned long long)r->end_before);
    return PLSM_OK;
}

/* Adds the batches of a record to the memtable. Values that stay in the log are taken out of it by a writer, which
 * flushes them into value logs of their own; a reader, which flushes nothing, points to them. */
static void add_record(struct replaying *r, uint64_t seq, plsm_slice payload, uint64_t offset, bool kept)
{
    struct write_group group;
    write_group_begin(&group, r->out->table, WRITE_GROUP_ALONE, seq);
    if (kept && r->db->options.read_only) {
        write_group_keep_recorded(&group, r->number | VALUE_LOG_WRITTEN, offset + RECLOG_RECORD_BYTES);
        r->pointed = true;
    }
    write_group_add(&group, payload);
    write_group_end(&group);
    r->out->seq_last = group.seq;
    if (group.seq > atomic_load(&r->db->seq))
        atomic_store(&r->db->seq, group.seq);
}

static plsm_status replay_record(void *arg, uint64_t seq, plsm_slice payload, uint64_t offset)
{
    struct replaying *r = arg;
    struct batch_change change;
    const uint8_t *at = payload.data, *end = at + payload.size;
    size_t changes = 0, ranges = 0;
    bool kept = false;
    if (!r->first_offset) {
        r->first_offset = offset;
        return check_identity(r, seq, payload);
    }
    if (r->ignoring)
        return PLSM_OK;
    while (batch_next(&at, end, &change)) {
        changes++;
        kept |= change.kept;
        if (change.key.size < 1 || change.key.size > LSM_KEY_MAX || change.meta.size > LSM_META_MAX ||
            change.value.size > LSM_VALUE_MAX)
            return fail(PLSM_CORRUPT, "%s: record at offset %llu: a key, meta or value above its limit", r->path,
                        (unsigned long long)offset);
        if (change.kind != BATCH_DELETE_RANGE)
            continue;
        ranges++;
        if (!tombstone_range_sound(change.key, change.value))
            return fail(PLSM_CORRUPT, "%s: record at offset %llu: a range of keys that is none", r->path,
                        (unsigned long long)offset);
    }
    if (at != end || seq < r->out->seq_last || seq == 0 || seq > SEQ_MAX - ranges)
        return fail(PLSM_CORRUPT, "%s: record at offset %llu: is not a batch", r->path, (unsigned long long)offset);
    if (r->db->options.read_only && seq > atomic_load(&r->db->seq) + 1) {
        r->out->overtaken = true;
        return fail(PLSM_CONFLICT, "%s: record at offset %llu: a bulk load came in before it", r->path,
                    (unsigned long long)offset);
    }
    TRY(flush_full(r->db, r->out));
    TRY(memtable_reserve_ranges(r->out->table, changes, payload.size, ranges));
    add_record(r, seq, payload, offset, kept);
    return PLSM_OK;
}

/* Puts a log that the memtable points into among those. */
static plsm_status add_values(struct replaying *r, uint64_t salt)
{
    struct value_log *log = value_log_create(&r->db->context, r->number | VALUE_LOG_WRITTEN, salt, 0);
    if (!log)
        return fail(PLSM_NO_MEMORY, "no memory to replay a log");
    log->next = r->out->values;
    r->out->values = log;
    return PLSM_OK;
}

plsm_status replay_logs(struct lsm *db, const struct inventory *inventory, uint64_t floor, struct replay *out)
{
    char path[4096], lost_path[4096] = "";
    uint64_t lost_at = 0, end_before = 0;
    bool torn = false; /* the log before ends with something that is no record */
    bool lost = false; /* a log before lost its end: nothing behind may be seen */
    plsm_status status = PLSM_OK;
    *out = (struct replay){.log_last = floor - 1,
                           .clean = true,
                           .table = db_memtable_create(db),
                           .keep = out->keep,
                           .grown_log = out->grown_log,
                           .grown_end = out->grown_end};
    if (!out->table)
        return fail(PLSM_NO_MEMORY, "no memory to replay the logs");
    for (size_t i = 0; i < inventory->logs.count && status == PLSM_OK; i++) {
        uint64_t number = inventory->logs.at[i];
        struct reclog_result result = {0};
        if (number < floor)
            continue;
        log_path(db, number, path, sizeof path);
        if (number != out->log_last + 1) {
            log_path(db, out->log_last + 1, path, sizeof path);
            return fail(PLSM_CORRUPT, "%s: the log is missing; restore it, or what was written last is lost", path);
        }
        struct replaying r = {.db = db,
                              .out = out,
                              .path = path,
                              .number = number,
                              .end_before = end_before,
                              .has_before = out->logs > 0,
                              .ignoring_before = lost,
                              .ignoring = lost || torn};
        status = reclog_read(db->env, path, LOG_MAGIC, replay_record, &r, &result);
        if (status == PLSM_OK && r.pointed)
            status = add_values(&r, result.salt);
        if (r.ignoring && !lost && r.first_offset) { /* one that was made in advance has nothing to ignore */
            lost = true;
            lost_at = end_before;
            log_path(db, number - 1, lost_path, sizeof lost_path);
        } else if (!r.ignoring) {
            lost = false;
        }
        out->log_last = number;
        out->logs++;
        out->clean &= result.closed && !result.torn && !lost;
        /* Syncing goes from the oldest log on: a later log with a synced record proves that this one was whole. */
        if (status == PLSM_OK && lost && r.first_offset && result.synced > r.first_offset)
            status = fail(PLSM_CORRUPT, "%s: damaged at offset %llu, where it had been synced", lost_path,
                          (unsigned long long)lost_at);
        torn = result.torn;
        out->lost = lost;
        out->end_last = end_before = result.records_end;
    }
    if (status == PLSM_OK && out->logs == 0 &&
        inventory->manifests.count) { /* the active one is there from the start */
        log_path(db, floor, path, sizeof path);
        status = fail(PLSM_CORRUPT, "%s: the log is missing; restore it, or what was written last is lost", path);
    }
    return status;
}

plsm_status replay_sync_logs(struct lsm *db, const struct inventory *inventory, uint64_t floor)
{
    char path[4096];
    plsm_status status = PLSM_OK;
    for (size_t i = 0; i < inventory->logs.count && status == PLSM_OK; i++) {
        struct env_file *file = NULL;
        if (inventory->logs.at[i] < floor)
            continue;
        log_path(db, inventory->logs.at[i], path, sizeof path);
        status = env_open(db->env, path, ENV_READ, &file);
        if (status == PLSM_OK)
            status = env_sync(file);
        env_close(file);
    }
    return status;
}

plsm_status replay_settled(struct lsm *db, const struct inventory *inventory, uint64_t floor, struct replay *replay)
{
    const unsigned tries_max = 100;
    plsm_status status = PLSM_OK;
    for (unsigned tries = 0; tries < tries_max; tries++) {
        status = replay_logs(db, inventory, floor, replay);
        if (status != PLSM_CONFLICT || replay->overtaken)
            break;
        struct replay again = {.grown_log = replay->grown_log, .grown_end = replay->grown_end};
        replay_free(replay);
        *replay = again;
    }
    return status;
}

void replay_free(struct replay *replay)
{
    memtable_unref(replay->table);
    value_log_unref(replay->values);
    edit_free(&replay->edit);
    *replay = (struct replay){0};
}
