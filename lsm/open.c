/* Opening and closing a store.
 *
 * For writing: lock, read the MANIFEST, replay the logs, write what they held into runs when they do not end cleanly
 * (so that nothing depends on bytes that may not be synced), start a new log and a new MANIFEST, remove what is left
 * over. Nothing is ever appended to a log or MANIFEST of an earlier opening.
 *
 * For reading, beside a writer or not: pin, read the MANIFEST, replay the logs into memory; nothing is written. */
#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "lsm/kept.h"
#include "lsm/recover.h"
#include "lsm/spill.h"
#include "base/banned.h"

enum {
    LOGS_MAX = 8,    /* so many clean logs may be kept for the next opening before their content is flushed */
    PIN_TRIES = 500, /* a writer holds the pin only while it removes files */
    PIN_WAIT_NS = 10 * 1000 * 1000,
};

void db_break(struct lsm *db, plsm_status status)
{
    if (db->broken != PLSM_OK)
        return;
    db->broken = status;
    snprintf(db->broken_message, sizeof db->broken_message, "%s", plsm_message());
    condition_broadcast(&db->progress);
    condition_broadcast(&db->work);
}

void db_background_failed(struct lsm *db, plsm_status status)
{
    if (status != PLSM_NO_SPACE && status != PLSM_QUOTA && status != PLSM_NO_MEMORY) {
        db_break(db, status);
        return;
    }
    db->background_status = status;
    snprintf(db->background_message, sizeof db->background_message, "%s", plsm_message());
}

plsm_status db_writable(const struct lsm *db)
{
    if (db->broken == PLSM_OK)
        return PLSM_OK;
    return fail(PLSM_READ_ONLY, "%s: read-only since a write failed (%s: %s); open it again once the cause is gone",
                db->path, plsm_status_name(db->broken), db->broken_message);
}

bool lsm_is_read_only(struct lsm *db)
{
    mutex_lock(&db->lock);
    bool read_only = db->options.read_only || db->broken != PLSM_OK;
    mutex_unlock(&db->lock);
    return read_only;
}

static void discard(void *arg, char kind, uint64_t number)
{
    garbage_add(arg, kind, number);
}

struct memtable *db_memtable_create(struct lsm *db)
{
    struct memtable *table = memtable_create(&db->pool);
    if (table)
        memtable_charge(table, &db->budget.users[BUDGET_MEMTABLES].account);
    return table;
}

/* Of the page cache, for units of several blocks. */
static size_t large_frame_bytes(const struct lsm_options *options)
{
    return options->compression_page > PAGE_SIZE ? options->compression_page : 2 * PAGE_SIZE;
}

static struct cache *create_cache(const struct lsm_options *options, struct epoch *epoch)
{
    uint64_t most = options->cache_size < options->memory ? options->cache_size : options->memory;
    if (options->memory == 0)
        return cache_create(options->cache_size, large_frame_bytes(options), epoch);
    return cache_create_elastic(most, large_frame_bytes(options), epoch);
}

/* The struct with everything that needs no file. */
static plsm_status prepare(const char *path, const struct lsm_options *options, struct lsm **out)
{
    struct lsm_options chosen = *options;
    if (options->memory > 0 && options->buffer_size == 0)
        chosen.buffer_size = budget_buffer_bytes(options->memory);
    TRY(options_check(&chosen));
    size_t size = strlen(path) + 1;
    if (size > 4000)
        return fail(PLSM_INVALID, "the path of the store is too long (%zu bytes)", size);
    struct lsm *db = mem_zalloc(sizeof *db);
    if (!db)
        return fail(PLSM_NO_MEMORY, "no memory to open the store");
    db->magic = LSM_STRUCT_MAGIC;
    counters_init(&db->counters);
    db->options = chosen;
    db->follow.on = options->policy == LSM_POLICY_AUTO;
    if (db->follow.on) /* until the runs are known */
        db->options.policy = LSM_POLICY_LEVELED;
    budget_init(&db->budget, options->memory);
    if (options->base_fpr_ppm && options->filter_bits)
        db->options.filter_bits = filter_bits_for_rate(options->base_fpr_ppm);
    db->env = options->env;
    mutex_init(&db->edit_lock);
    mutex_init(&db->lock);
    mutex_init(&db->sync_turn);
    turns_init(&db->turns, &db->lock);
    mutex_init(&db->snapshot_lock);
    mutex_init(&db->collect_lock);
    mutex_init(&db->garbage_lock);
    condition_init(&db->work);
    condition_init(&db->progress);
    condition_init(&db->company_came);
    condition_init(&db->landing);
    arena_pool_init(&db->pool, chosen.buffer_size);
    db->path = mem_alloc(size);
    db->epoch = epoch_create();
    if (db->path && db->epoch)
        db->cache = create_cache(options, db->epoch);
    budget_set_cache(&db->budget, db->cache);
    db->context.compression = compression_create();
    bool learned = options->index == LSM_LEARNED && options->filter_bits;
    bool sampled = learned && options->filter != LSM_FILTER_FUSE;
    bool young = learned && options->filter_young && options->filter != LSM_FILTER_SMALL;
    struct mem_account *before = budget_enter(&db->budget, BUDGET_FILTERS);
    if (sampled)
        db->samples = samples_create();
    budget_leave(before);
    if (young)
        db->young = young_runs_create();
    if (db->young) {
        db->young->account = &db->budget.users[BUDGET_FILTERS].account;
        db->young->epoch = db->epoch;
    }
    db->kept_above = options->read_only ? SIZE_MAX : kept_above(&db->options);
    db->kept = mem_zalloc(sizeof *db->kept);
    db->kept_share = SPACE_KEPT_SHARE_MAX;
    *out = db;
    if (!db->kept || !db->cache || !db->context.compression || (sampled && !db->samples) || (young && !db->young))
        return fail(PLSM_NO_MEMORY, "no memory to open the store");
    memcpy(db->path, path, size);
    db->context = (struct run_context){
        .env = db->env,
        .path = db->path,
        .cache = db->cache,
        .compression = db->context.compression,
        .budget = &db->budget,
        .epoch = db->epoch,
        .counters = &db->counters,
        .index = options->index,
        .options = &db->options,
        .samples = db->samples,
        .young = db->young,
        .verify_checksums = options->verify_checksums,
        .discard = discard,
        .discard_arg = db,
    };
    for (unsigned i = 0; i < LSM_GROUPS; i++) {
        mutex_init(&db->context.shelves[i].lock);
        db->context.shelves[i].most = options->groups[i].cache;
    }
    if (options->simulate) {
        db->context.simulated = simulated_create(db);
        if (!db->context.simulated)
            return fail(PLSM_NO_MEMORY, "no memory to simulate I/O with a cache of %llu bytes",
                        (unsigned long long)options->simulation.cache_bytes);
    }
    return PLSM_OK;
}

static void memlog_close(struct memlog *memlog)
{
    reclog_close(memlog->log);
    memtable_unref(memlog->table);
    value_log_unref(memlog->values);
}

/* Frees everything; files are closed, nothing is written. */
static void destroy(struct lsm *db)
{
    if (!db)
        return;
    if (db->epoch)
        epoch_reclaim(db->epoch);
    view_release(atomic_load(&db->view));
    version_unref(db->version);
    if (db->epoch)
        epoch_destroy(db->epoch); /* the last views, and so the last runs */
    if (db->writer_lock)
        garbage_collect(db);
    log_drop_spare(db);
    memlog_close(&db->active);
    reclog_close(db->prepared_log);
    for (unsigned i = 0; i < db->frozen_count; i++)
        memlog_close(&db->frozen[i]);
    if (db->kept)
        kept_record_free(db->kept);
    mem_free(db->kept);
    arena_pool_destroy(&db->pool);
    manifest_close(db->manifest, false);
    run_context_destroy(&db->context);
    samples_destroy(db->samples);
    young_runs_destroy(db->young);
    simulated_destroy(db->context.simulated);
    compression_destroy(db->context.compression);
    budget_set_cache(&db->budget, NULL);
    cache_destroy(db->cache);
    env_unlock(db->pin_lock);
    env_unlock(db->writer_lock);
    for (unsigned i = 0; i < LSM_LEVELS; i++)
        buf_free(&db->compact_cursor[i]);
    mem_free(db->garbage.files);
    condition_destroy(&db->work);
    condition_destroy(&db->progress);
    condition_destroy(&db->company_came);
    condition_destroy(&db->landing);
    budget_destroy(&db->budget);
    mutex_destroy(&db->edit_lock);
    mutex_destroy(&db->lock);
    mutex_destroy(&db->sync_turn);
    mutex_destroy(&db->snapshot_lock);
    mutex_destroy(&db->collect_lock);
    mutex_destroy(&db->garbage_lock);
    mem_free(db->path);
    db->magic = 0;
    mem_free(db);
}

static plsm_status make_directory(struct lsm *db)
{
    plsm_status status = env_make_dir(db->env, db->path);
    return status == PLSM_EXISTS ? PLSM_OK : status;
}

/* Locks for writing, or pins for reading. */
static plsm_status lock_store(struct lsm *db)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/LOCK", db->path);
    if (!db->options.read_only) {
        plsm_status status = env_lock(db->env, path, LOCK_WRITER, true, &db->writer_lock);
        if (status == PLSM_LOCKED)
            return fail(PLSM_LOCKED, "%s: is in use by another process (mounted, or open for writing)", db->path);
        return status;
    }
    plsm_status status = PLSM_LOCKED;
    for (int i = 0; status == PLSM_LOCKED && i < PIN_TRIES; i++) {
        status = env_lock(db->env, path, LOCK_PIN, false, &db->pin_lock);
        if (status == PLSM_LOCKED)
            env_sleep_ns(db->env, PIN_WAIT_NS);
    }
    return status;
}

/* The files that the version names must be there: a missing one would show only when it is read. */
static plsm_status check_files(struct lsm *db, const struct version *version, const struct inventory *inventory)
{
    char path[4096];
    for (unsigned level = 0; level < LSM_LEVELS; level++)
        for (size_t i = 0; i < version->levels[level].count; i++) {
            uint64_t number = version->levels[level].runs[i]->facts.number;
            if (!number_list_has(&inventory->runs, number)) {
                run_path(&db->context, number, path, sizeof path);
                return fail(PLSM_CORRUPT, "%s: the run is missing; restore it from a backup", path);
            }
        }
    for (size_t i = 0; i < version->values_count; i++)
        if (!number_list_has(&inventory->values, version->values[i].log->number)) {
            value_log_path(&db->context, version->values[i].log->number, path, sizeof path);
            return fail(PLSM_CORRUPT, "%s: the value log is missing; restore it from a backup", path);
        }
    return PLSM_OK;
}

/* Makes the name of a new store's directory durable, also one that an earlier creation left. A parent that may not be
 * read is somebody else's, who made the directory. */
static plsm_status sync_parent(struct lsm *db)
{
    plsm_status status = env_sync_parent(db->env, db->path);
    return status == PLSM_PERMISSION ? PLSM_OK : status;
}

/* Whether a directory holds nothing of a store: what is called like it does not count beside other things, where there
 * is no MANIFEST. */
static bool is_empty(const struct inventory *inventory)
{
    bool any = inventory->runs.count + inventory->values.count + inventory->logs.count > 0;
    return inventory->manifests.count == 0 && (inventory->foreign || !any);
}

/* Whether a store may be made in a directory that holds none. */
static plsm_status may_create(const struct lsm *db, const struct inventory *inventory)
{
    if (!db->options.create || db->options.read_only)
        return fail(PLSM_NO_STORE, "%s: holds no store; create one with: plsm create %s", db->path, db->path);
    if (inventory->foreign)
        return fail(PLSM_INVALID, "%s: is not empty and holds no store; give an empty or a new directory", db->path);
    return PLSM_OK;
}

/* A directory in which there was no MANIFEST when it was listed. A reader beside who makes the store may have seen logs
 * of the finished one since: then it is listed anew. */
static plsm_status check_unborn(struct lsm *db, struct inventory *inventory)
{
    plsm_status status = is_empty(inventory) ? PLSM_OK : inventory_check_unborn(db, inventory);
    if (status == PLSM_CORRUPT && db->options.read_only) {
        inventory_free(inventory);
        TRY(inventory_read(db, inventory));
        if (inventory->manifests.count > 0)
            return PLSM_OK;
        status = inventory_check_unborn(db, inventory);
    }
    return status == PLSM_OK ? may_create(db, inventory) : status;
}

/* What is there: the newest MANIFEST, or an empty state for a store to be made. */
static plsm_status read_state(struct lsm *db, struct inventory *inventory, struct manifest_state *state)
{
    TRY(inventory_read(db, inventory));
    if (inventory->manifests.count == 0)
        TRY(check_unborn(db, inventory));
    if (inventory->manifests.count == 0) {
        TRY(sync_parent(db));
        const struct number_list *logs = &inventory->logs;
        *state = (struct manifest_state){
            .version = version_create(), .log_floor = number_list_last(logs) + 1, .next_number = 1};
        env_random(db->env, &state->store_id, sizeof state->store_id);
        return state->version ? PLSM_OK : fail(PLSM_NO_MEMORY, "no memory to open the store");
    }
    if (db->options.exclusive)
        return fail(PLSM_EXISTS, "%s: there is a store already", db->path);
    TRY(manifest_read(&db->context, number_list_last(&inventory->manifests), state));
    if (state->log_floor == 0 || state->next_number == 0)
        return fail(PLSM_CORRUPT, "%s: the MANIFEST does not say which logs are needed; restore it from a backup",
                    db->path);
    inventory_free(inventory); /* again: a writer may have made logs and runs meanwhile */
    TRY(inventory_read(db, inventory));
    return check_files(db, state->version, inventory);
}

/* Flushes what the logs held, unless they may simply be kept. */
static plsm_status settle_logs(struct lsm *db, struct replay *replay, uint64_t floor)
{
    bool empty = memtable_count(replay->table) == 0;
    bool keep = replay->clean && replay->edit.added_count == 0 && replay->logs <= LOGS_MAX &&
                memtable_bytes(replay->table) < db->options.buffer_size / 4;
    db->log_floor = floor;
    if ((keep || replay->keep) && !empty)
        return PLSM_OK;
    if (!empty) {
        TRY(flush_table(db, &(struct memlog){.table = replay->table}, &replay->edit));
        memtable_unref(replay->table);
        replay->table = db_memtable_create(db);
        if (!replay->table)
            return fail(PLSM_NO_MEMORY, "no memory for a memtable");
    }
    db->log_floor = replay->log_last + 1;
    return PLSM_OK;
}

/* Brings what the logs hold into memory, and into runs as far as they may not be kept. */
static plsm_status take_logs(struct lsm *db, const struct inventory *inventory, uint64_t floor, struct replay *replay)
{
    TRY(replay_logs(db, inventory, floor, replay));
    return settle_logs(db, replay, floor);
}

/* Takes back what take_logs did, up to its failure. */
static void forget_replay(struct lsm *db, struct replay *replay)
{
    edit_disown(&replay->edit);
    replay_free(replay);
    garbage_collect(db);
}

/* The same without a run, where there is no room for one: the logs are kept, synced, and what they hold stays in
 * memory, so that something can be deleted. Behind a loss that cannot be, since a log that follows would not count. */
static plsm_status keep_logs(struct lsm *db, const struct inventory *inventory, uint64_t floor, struct replay *replay)
{
    struct fail_kept kept;
    fail_keep(&kept);
    forget_replay(db, replay);
    replay->keep = true;
    TRY(take_logs(db, inventory, floor, replay));
    if (replay->lost && memtable_count(replay->table) > 0)
        return fail_again(PLSM_NO_SPACE, &kept);
    return replay_sync_logs(db, inventory, floor);
}

static plsm_status start_log(struct lsm *db, struct replay *replay)
{
    uint64_t number = replay->log_last + 1;
    bool kept = db->log_floor <= replay->log_last;
    TRY(log_values(db, number, &db->active.values));
    TRY(log_create(db, number, kept ? replay->end_last : 0, kept, &db->active.log));
    if (db->active.values)
        db->active.values->salt = reclog_salt(db->active.log);
    db->active.table = replay->table;
    replay->table = NULL;
    db->active.log_first = db->log_floor;
    db->active.log_last = number;
    db->next_log = number + 1;
    return PLSM_OK;
}

/* Numbers that no file has, whatever was left behind. */
static void choose_numbers(struct lsm *db, const struct inventory *inventory, const struct manifest_state *state)
{
    const struct number_list *const lists[] = {&inventory->runs, &inventory->values};
    db->next_number = state->next_number;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        if (lists[i]->count && number_list_last(lists[i]) >= db->next_number)
            db->next_number = number_list_last(lists[i]) + 1;
}

static bool has_run(const struct version *version, uint64_t number)
{
    for (unsigned level = 0; level < LSM_LEVELS; level++)
        for (size_t i = 0; i < version->levels[level].count; i++)
            if (version->levels[level].runs[i]->facts.number == number)
                return true;
    return false;
}

/* Removes what was left of flushes and merges that were cut short since the MANIFEST was last written: no state of it
 * names their numbers, so this needs no new MANIFEST, for which they may leave no room. Only once the logs were read:
 * if one that the MANIFEST needs is not there it may be an older one, put back by mistake, and these files of a newer
 * one. */
static void remove_unnamed(struct lsm *db, const struct inventory *inventory, uint64_t next_number)
{
    char path[8192];
    for (size_t i = 0; i < inventory->runs.count; i++)
        if (inventory->runs.at[i] >= next_number)
            garbage_add(db, 'r', inventory->runs.at[i]);
    for (size_t i = 0; i < inventory->values.count; i++)
        if (inventory->values.at[i] >= next_number)
            garbage_add(db, 'v', inventory->values.at[i]);
    for (size_t i = 0; i < inventory->temporary.count; i++) {
        snprintf(path, sizeof path, "%s/%s", db->path, inventory->temporary.names[i]);
        env_remove(db->env, path);
    }
    garbage_collect(db);
}

static void collect_leftovers(struct lsm *db, const struct inventory *inventory)
{
    for (size_t i = 0; i < inventory->runs.count; i++)
        if (!has_run(db->version, inventory->runs.at[i]))
            garbage_add(db, 'r', inventory->runs.at[i]);
    for (size_t i = 0; i < inventory->values.count; i++)
        if (!version_values_of(db->version, inventory->values.at[i]))
            garbage_add(db, 'v', inventory->values.at[i]);
    for (size_t i = 0; i < inventory->models.count; i++)
        if (!has_run(db->version, inventory->models.at[i]))
            garbage_add(db, 'r', inventory->models.at[i]);
    for (size_t i = 0; i < inventory->logs.count; i++)
        if (inventory->logs.at[i] < db->log_floor)
            garbage_add(db, 'l', inventory->logs.at[i]);
    for (size_t i = 0; i < inventory->manifests.count; i++)
        if (inventory->manifests.at[i] < manifest_number(db->manifest))
            garbage_add(db, 'm', inventory->manifests.at[i]);
}

static plsm_status publish(struct lsm *db)
{
    struct view *view = view_alloc();
    if (!view)
        return fail(PLSM_NO_MEMORY, "no memory to open the store");
    mutex_lock(&db->lock);
    view_publish(db, view);
    mutex_unlock(&db->lock);
    return PLSM_OK;
}

/* Brings what the logs hold into memory and runs, as far as there is room. */
static plsm_status take_logs_in_room(struct lsm *db, const struct inventory *inventory,
                                     const struct manifest_state *state, struct replay *replay)
{
    plsm_status status = take_logs(db, inventory, state->log_floor, replay);
    if (status == PLSM_OK || space_is_lacking(status))
        remove_unnamed(db, inventory, state->next_number);
    if (space_is_lacking(status)) {
        forget_replay(db, replay);
        status = take_logs(db, inventory, state->log_floor, replay);
    }
    return space_is_lacking(status) ? keep_logs(db, inventory, state->log_floor, replay) : status;
}

/* The new log, and the MANIFEST that names it and the runs that replaying wrote. *final: a failure after which nobody
 * knows what is on the disk, so that it must not be tried again. */
static plsm_status start_anew(struct lsm *db, const struct inventory *inventory, struct replay *replay, bool *final)
{
    struct version *next = NULL;
    *final = false;
    TRY(start_log(db, replay));
    *final = true;
    TRY(env_sync_dir(db->env, db->path)); /* also the names of runs that replaying wrote */
    *final = false;
    TRY(version_apply(db->version, &replay->edit, &next));
    struct manifest_state fresh = {.version = next,
                                   .log_floor = db->log_floor,
                                   .next_number = db->next_number,
                                   .seq = atomic_load(&db->seq),
                                   .store_id = db->store_id};
    plsm_status status = version_train(next, &db->options, false);
    if (status == PLSM_OK)
        status =
            manifest_create(&db->context, number_list_last(&inventory->manifests) + 1, &fresh, &db->manifest, final);
    if (status != PLSM_OK) {
        version_unref(next);
        return status;
    }
    version_unref(db->version);
    db->version = next;
    version_tell_runs(db->version, false);
    return PLSM_OK;
}

/* Takes the new log away again, which holds nothing, so that a failure leaves as much room as there was; keeps the
 * message. Where a reader pins the store, who may have seen it, it stays. */
static void forget_log(struct lsm *db, uint64_t number)
{
    char path[4096];
    struct fail_kept kept;
    struct env_lock *pin = NULL;
    fail_keep(&kept);
    memlog_close(&db->active);
    db->active = (struct memlog){0};
    snprintf(path, sizeof path, "%s/LOCK", db->path);
    if (env_lock(db->env, path, LOCK_PIN, true, &pin) == PLSM_OK) {
        log_path(db, number, path, sizeof path);
        env_remove(db->env, path);
    }
    env_unlock(pin);
    fail_again(PLSM_OK, &kept);
}

static plsm_status start_or_forget(struct lsm *db, const struct inventory *inventory, struct replay *replay,
                                   bool *final)
{
    uint64_t number = replay->log_last + 1;
    plsm_status status = start_anew(db, inventory, replay, final);
    if (status != PLSM_OK && !*final)
        forget_log(db, number);
    return status;
}

/* Where the runs that replaying wrote have left no room for the log and the MANIFEST they are given up for these. */
static plsm_status start_in_room(struct lsm *db, const struct inventory *inventory, uint64_t floor,
                                 struct replay *replay)
{
    bool final = false;
    plsm_status status = start_or_forget(db, inventory, replay, &final);
    if (!space_is_lacking(status) || final || replay->edit.added_count == 0)
        return status;
    TRY(keep_logs(db, inventory, floor, replay));
    return start_or_forget(db, inventory, replay, &final);
}

static plsm_status open_writer(struct lsm *db, const struct inventory *inventory, struct manifest_state *state,
                               struct replay *replay)
{
    choose_numbers(db, inventory, state);
    if (db->follow.on)
        TRY(follow_first(state->version, &db->options, db_now_s(db), &db->options.policy));
    db->follow.wanted = db->options.policy;
    db->version = state->version; /* flushing asks it for the last level */
    version_tell_runs(db->version, true);
    state->version = NULL;
    TRY(take_logs_in_room(db, inventory, state, replay));
    TRY(start_in_room(db, inventory, state->log_floor, replay));
    TRY(publish(db));
    collect_leftovers(db, inventory);
    garbage_collect(db);
    plsm_status status = PLSM_OK;
    if (db->options.background)
        background_start(db, &status);
    return status;
}

static plsm_status open_reader(struct lsm *db, struct manifest_state *state, struct replay *replay)
{
    db->version = state->version;
    state->version = NULL;
    version_tell_runs(db->version, true);
    TRY(version_train(db->version, &db->options, false));
    db->active.table = replay->table;
    db->active.values = replay->values;
    replay->table = NULL;
    replay->values = NULL;
    TRY(publish(db));
    plsm_status status = PLSM_OK;
    if (db->options.background && db->young)
        background_start(db, &status);
    return status;
}

/* Reads what the MANIFEST says, and for a reader also the logs: in one state of the store. The writer beside it may
 * bring in a bulk load between the two, and go on in the logs behind it: then all is read again. */
static plsm_status read_all(struct lsm *db, struct inventory *inventory, struct manifest_state *state,
                            struct replay *replay)
{
    const unsigned tries_max = 100;
    for (unsigned tries = 1;; tries++) {
        TRY(read_state(db, inventory, state));
        atomic_store(&db->seq, state->seq);
        db->store_id = state->store_id;
        if (!db->options.read_only)
            return PLSM_OK;
        plsm_status status = replay_settled(db, inventory, state->log_floor, replay);
        if (status != PLSM_CONFLICT || !replay->overtaken || tries == tries_max)
            return status;
        version_unref(state->version);
        state->version = NULL;
        replay_free(replay);
        inventory_free(inventory);
    }
}

plsm_status lsm_open(const char *path, const struct lsm_options *options, struct lsm **out)
{
    struct inventory inventory = {0};
    struct manifest_state state = {0};
    struct replay replay = {0};
    struct lsm *db = NULL;
    *out = NULL;
    plsm_status status = prepare(path, options, &db);
    if (status == PLSM_OK && options->create && !options->read_only)
        status = make_directory(db);
    if (status == PLSM_OK) {
        space_fit_options(db);
        db->options.spill_above = spill_above(&db->options);
    }
    if (status == PLSM_OK) /* without a store nothing is left behind, not even LOCK */
        status = inventory_read(db, &inventory);
    if (status == PLSM_OK && is_empty(&inventory))
        status = may_create(db, &inventory);
    inventory_free(&inventory);
    if (status == PLSM_OK)
        status = lock_store(db);
    if (status == PLSM_OK)
        status = read_all(db, &inventory, &state, &replay);
    if (status == PLSM_OK)
        status = options->read_only ? open_reader(db, &state, &replay) : open_writer(db, &inventory, &state, &replay);
    version_unref(state.version);
    replay_free(&replay);
    inventory_free(&inventory);
    if (status != PLSM_OK) {
        struct fail_kept kept;
        fail_keep(&kept);
        if (db && (db->flusher || db->compactor))
            background_stop(db);
        destroy(db);
        fail_again(status, &kept);
        if (space_is_lacking(status))
            fail_context(status, "no room to open the store for writing; make some on its file system, or open it "
                                 "read-only");
        return status;
    }
    *out = db;
    return PLSM_OK;
}

/* A log for which there is no room to say that it was closed is one that was not: nothing is lost. Where the store
 * is broken nothing is said either: the MANIFEST may name the log as a value log of the length that it has. */
static plsm_status close_log(struct reclog_writer **log, bool broken)
{
    plsm_status status = PLSM_OK, closed = PLSM_OK;
    if (*log && !reclog_broken(*log) && reclog_synced(*log) < reclog_size(*log))
        status = reclog_sync(*log);
    if (broken)
        reclog_close(*log);
    else
        closed = reclog_close_clean(*log);
    *log = NULL;
    return status == PLSM_OK ? space_excuse(closed) : status;
}

/* Brings everything onto the disk. What is large goes into runs; a small rest stays in the log, so that opening,
 * putting one key and closing does not make a run each time. Values in the log count in full: the next opening would
 * have to write them anew. */
static plsm_status shut_down(struct lsm *db)
{
    plsm_status status = PLSM_OK;
    bool broken = db->broken != PLSM_OK; /* then the next opening recovers from the logs, which are only synced */
    if (!broken && memtable_bytes(db->active.table) + db->active.kept_bytes >= db->options.buffer_size / 8)
        lsm_flush(db); /* if it fails the logs have it all */
    while (!broken && status == PLSM_OK && db->frozen_count > 0)
        status = flush_oldest(db);
    status = PLSM_OK;
    broken = db->broken != PLSM_OK;
    for (unsigned i = 0; i < db->frozen_count && status == PLSM_OK; i++)
        status = close_log(&db->frozen[i].log, broken);
    if (status == PLSM_OK)
        status = close_log(&db->active.log, broken);
    log_drop_prepared(db);
    if (status == PLSM_OK && !broken) {
        status = space_excuse(manifest_close(db->manifest, true)); /* each record was synced */
        db->manifest = NULL;
    }
    return status;
}

plsm_status lsm_close(struct lsm *db)
{
    plsm_status status = PLSM_OK;
    if (!db)
        return PLSM_OK;
    INVARIANT(db->magic == LSM_STRUCT_MAGIC);
    if (db->flusher || db->compactor)
        background_stop(db);
    if (!db->options.read_only) {
        db->options.background = 0; /* what is left is done here */
        status = shut_down(db);
    }
    destroy(db);
    return status;
}
