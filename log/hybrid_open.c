/* Opening and closing a store.
 *
 * The last recovery point names the segments; they are read through, which rebuilds index and counts. Then the redo
 * logs are replayed, as writes are made, into a log that begins on a new page: nothing is ever appended to a file of an
 * earlier opening. What was replayed is in a recovery point before the store is handed out. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/space.h"
#include "log/hybrid_private.h"

#include "base/banned.h"

enum { TRIES = 20, WAIT_NS = 10000000, PENDING = 16, MEMORY_LEAST = 3 << 19, PAGES_OF_MEMORY = 16 };

plsm_status hybrid_break(struct hybrid *db, plsm_status status)
{
    int whole = PLSM_OK;
    mutex_lock(&db->work_lock);
    if (atomic_load(&db->broken) == whole) {
        snprintf(db->broken_message, sizeof db->broken_message, "%s", plsm_message());
        atomic_store_explicit(&db->broken, (int)status, memory_order_release);
    }
    mutex_unlock(&db->work_lock);
    return status;
}

plsm_status hybrid_writable(struct hybrid *db)
{
    int broken = atomic_load_explicit(&db->broken, memory_order_acquire);
    if (__builtin_expect(broken == PLSM_OK && !db->options.read_only, 1))
        return PLSM_OK;
    if (broken == PLSM_OK)
        return fail(PLSM_READ_ONLY, "%s: the store was opened read-only", db->path);
    return fail(PLSM_READ_ONLY, "%s: read-only since a write failed (%s: %s); open it again once the cause is gone",
                db->path, plsm_status_name((plsm_status)broken), db->broken_message);
}

bool hybrid_is_read_only(struct hybrid *db)
{
    return db->options.read_only || atomic_load(&db->broken) != PLSM_OK;
}

/* A batch without a recovery point: the making of a store writes none before there is one. */
static plsm_status refuse_batch(void *arg, plsm_slice batch)
{
    const struct hybrid *db = arg;
    return fail(PLSM_CORRUPT, "%s: holds changes in redo logs, but no recovery point; restore it from a backup",
                db->path);
}

/* Whether a store may be made in a directory that holds none. */
static plsm_status may_create(struct hybrid *db, const struct inventory *inventory)
{
    struct redo_logs logs = {.numbers = inventory->redo.at, .count = inventory->redo.count, .first = 1};
    struct redo_found found = {0};
    plsm_status status = logs.count > 0 ? redo_replay(db->env, db->path, &logs, refuse_batch, db, &found) : PLSM_OK;
    if (status != PLSM_OK)
        return status == PLSM_CORRUPT ? refuse_batch(db, slice(NULL, 0)) : status;
    if (inventory->segments.count > 0) /* none is written in front of the first recovery point */
        return fail(PLSM_CORRUPT, "%s: holds segments, but no recovery point; restore it from a backup", db->path);
    if (!db->options.create || db->options.read_only)
        return fail(PLSM_NO_STORE, "%s: holds no store; create one with: plsm create %s", db->path, db->path);
    if (inventory->foreign)
        return fail(PLSM_INVALID, "%s: is not empty and holds no store; give an empty or a new directory", db->path);
    return PLSM_OK;
}

/* --- the handle --------------------------------------------------------------------------------------------------- */

static void destroy(struct hybrid *db)
{
    if (!db)
        return;
    maintenance_stop(db);
    redo_destroy(&db->redo);
    struct hybrid_segments *list = db->epoch ? atomic_load(&db->segments) : NULL;
    for (size_t i = 0; list && i < list->count; i++)
        hybrid_segment_free(list->at[i]);
    mem_free(list);
    key_order_free(&db->others);
    name_order_destroy(&db->name_order);
    epoch_destroy(db->epoch); /* what is retired is freed; the rest below */
    if (db->pages)
        pages_free(db);
    index_destroy(&db->index);
    prefixes_destroy(&db->prefixes);
    record_cache_destroy(&db->cache);
    listings_destroy(&db->listings);
    state_free(&db->state);
    env_unlock(db->store_lock);
    mem_free(db->scratch);
    mem_free(db->path);
    mutex_destroy(&db->checkpoint_lock);
    mutex_destroy(&db->write_lock);
    mutex_destroy(&db->flush_lock);
    mutex_destroy(&db->work_lock);
    condition_destroy(&db->work);
    db->magic = 0;
    mem_free(db);
}

/* The larger the memory, the larger its pages, up to segments: less of them is left unused. */
static void choose_pages(struct hybrid *db)
{
    db->page_bits = PAGE_BITS_MIN;
    while (db->page_bits < PAGE_BITS_MAX && db->options.memory >> (db->page_bits + 1) >= PAGES_OF_MEMORY &&
           db->options.file_size >> (db->page_bits + 1) > 0)
        db->page_bits++;
    atomic_init(&db->pages_most, hybrid_pages_most(db->options.memory, 0, db->page_bits));
}

/* Segments, and what is written between two recovery points, that suit the file system: until a recovery point what is
 * written is there twice, in the log and in the redo log. */
static void fit_options(struct hybrid *db)
{
    struct env_space space;
    if (db->options.read_only || env_space(db->env, db->path, &space) != PLSM_OK)
        return;
    db->options.file_size = space_fit(db->options.file_size, space.bytes_total);
    db->recovery_bytes = space_fit(db->recovery_bytes, space.bytes_total);
}

static plsm_status handle_create(const char *path, const struct hybrid_options *options, struct hybrid **out)
{
    if (options->buffer_size < 64 << 10 || options->file_size < 64 << 10)
        return fail(PLSM_INVALID, "buffer_size and file_size must be at least 64K");
    if (strlen(path) > 3900)
        return fail(PLSM_INVALID, "the path of the store is too long");
    struct hybrid *db = *out = mem_zalloc(sizeof *db);
    if (!db)
        return fail(PLSM_NO_MEMORY, "%s: no memory to open the store", path);
    db->magic = HYBRID_STRUCT_MAGIC;
    db->options = *options;
    db->env = options->env;
    uint64_t half = options->memory / 2, least = options->buffer_size;
    db->recovery_bytes = least > half ? least : half;
    if (db->options.memory < MEMORY_LEAST)
        db->options.memory = MEMORY_LEAST;
    atomic_init(&db->room.low, true); /* until somebody has looked */
    mutex_init(&db->checkpoint_lock);
    mutex_init(&db->write_lock);
    mutex_init(&db->flush_lock);
    mutex_init(&db->work_lock);
    condition_init(&db->work);
    listings_init(&db->listings);
    name_order_init(&db->name_order);
    db->path = mem_alloc(strlen(path) + 1);
    db->scratch = mem_zalloc(RECORD_MAX + 8);
    db->epoch = epoch_create();
    db->pages = mem_map(PAGES_TABLE * sizeof db->pages[0]);
    db->frames = mem_map(PAGES_TABLE * sizeof db->frames[0]);
    if (!db->path || !db->scratch || !db->epoch || !db->pages || !db->frames)
        return fail(PLSM_NO_MEMORY, "%s: no memory to open the store", path);
    memcpy(db->path, path, strlen(path) + 1);
    db->others.tree = key_tree_create(db->epoch, &db->others.memory);
    if (!db->others.tree)
        return fail(PLSM_NO_MEMORY, "%s: no memory to open the store", path);
    redo_init(&db->redo, db->env, db->path, options->log_mapped);
    TRY(record_cache_create(&db->cache, db->epoch, db->options.memory));
    record_cache_set_limit(&db->cache, db->options.memory);
    return prefixes_create(&db->prefixes, db->epoch);
}

/* --- reading the log ---------------------------------------------------------------------------------------------- */

/* Whether a segment is of another store, by its number. */
static bool is_foreign(const struct hybrid *db, const struct hybrid_segment *segment)
{
    return segment->store && db->state.store && segment->store != db->state.store;
}

static bool is_in_state(const struct hybrid_state *state, uint64_t number)
{
    uint32_t i = 0;
    while (i < state->count && state->segments[i].number != number)
        i++;
    return i < state->count;
}

/* Segments that the recovery point does not know are left over, and go; unless it is not theirs. */
static plsm_status check_leftovers(struct hybrid *db, const struct inventory *inventory)
{
    for (size_t i = 0; i < inventory->segments.count; i++) {
        struct hybrid_segment *segment = NULL;
        if (is_in_state(&db->state, inventory->segments.at[i]))
            continue;
        plsm_status status = hybrid_segment_open(db->env, db->path, inventory->segments.at[i], &segment);
        if (status == PLSM_OK && is_foreign(db, segment))
            status = fail(PLSM_CORRUPT, "%s: is of another store than the recovery point; restore both from one backup",
                          segment->path);
        else if (status == PLSM_CORRUPT || status == PLSM_VERSION)
            status = PLSM_OK; /* not whole: a crash left it */
        hybrid_segment_free(segment);
        TRY(status);
    }
    return PLSM_OK;
}

static plsm_status open_segments(struct hybrid *db)
{
    struct hybrid_segments *list = hybrid_segments_alloc(db->state.count);
    if (!list)
        return fail(PLSM_NO_MEMORY, "%s: no memory for its segments", db->path);
    atomic_store(&db->segments, list);
    for (uint32_t i = 0; i < db->state.count; i++) {
        const struct state_segment *s = &db->state.segments[i];
        TRY(hybrid_segment_open(db->env, db->path, s->number, &list->at[i]));
        list->count++;
        struct hybrid_segment *segment = list->at[i];
        if (segment->salt != s->salt || segment->start != s->start || is_foreign(db, segment))
            return fail(PLSM_CORRUPT, "%s: is another segment than the one that belongs here; restore it from a backup",
                        segment->path);
        if (hybrid_segment_end(segment) < s->end)
            return fail(PLSM_CORRUPT,
                        "%s: ends at offset %" PRIu64 ", %" PRIu64 " bytes are missing; restore it from a "
                        "backup",
                        segment->path, hybrid_segment_offset(segment, hybrid_segment_end(segment)),
                        s->end - hybrid_segment_end(segment));
        atomic_store(&segment->end, s->end);
        count_add(&db->log_bytes, s->end - s->start);
    }
    return PLSM_OK;
}

/* Entries that are about to be put into the index: their lines are under way. */
struct rebuilding {
    struct hybrid *db;
    uint64_t hashes[PENDING], addresses[PENDING];
    uint64_t records, bytes;
};

static void put_pending(struct rebuilding *r, uint64_t at)
{
    index_put(&r->db->index, r->hashes[at % PENDING], r->addresses[at % PENDING], 0);
}

static plsm_status rebuild_record(void *arg, const struct hybrid_record *record, uint64_t address)
{
    struct rebuilding *r = arg;
    plsm_slice key = record_key(record);
    TRY(index_reserve(&r->db->index, 1, 0));
    if (r->records >= PENDING)
        put_pending(r, r->records);
    r->hashes[r->records % PENDING] = key_hash(key.data, key.size);
    r->addresses[r->records % PENDING] = address;
    index_prefetch(&r->db->index, r->hashes[r->records % PENDING]);
    r->records++;
    r->bytes += record_size(record);
    return count_record(r->db, record, r->db->state.begin);
}

/* Index and counts of the log up to the recovery point. */
static plsm_status rebuild(struct hybrid *db)
{
    struct rebuilding r = {.db = db};
    TRY(index_create(&db->index, db->epoch, db->state.live));
    TRY(hybrid_scan(db, db->state.begin, db->state.tail, rebuild_record, &r));
    count_add(&db->unused_bytes, counted(&db->log_bytes) - r.bytes);
    TRY(index_reserve(&db->index, PENDING, 0));
    for (uint64_t i = r.records > PENDING ? r.records - PENDING : 0; i < r.records; i++)
        put_pending(&r, i);
    epoch_enter(db->epoch);
    key_order_drop_dead(db, &db->others, UINT64_MAX, true);
    epoch_exit(db->epoch);
    if (counted(&db->live) != db->state.live || counted(&db->names) != db->state.names)
        return fail(PLSM_CORRUPT,
                    "%s: the log holds %" PRIu64 " entries instead of %" PRIu64
                    "; restore the segments from one backup",
                    db->path, counted(&db->live), db->state.live);
    return PLSM_OK;
}

static void set_addresses(struct hybrid *db)
{
    db->memory_base = (db->state.tail + page_bytes(db) - 1) & ~(page_bytes(db) - 1);
    db->pages_end = db->memory_base;
    atomic_store(&db->begin, db->state.begin);
    atomic_store(&db->floor, db->state.begin);
    _Atomic uint64_t *all[] = {&db->head, &db->flushed, &db->read_only, &db->tail};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        atomic_store(all[i], db->memory_base);
}

static plsm_status replay_batch(void *arg, plsm_slice batch)
{
    return apply_replayed(arg, batch);
}

/* What is there: the newest recovery point, or an empty state for a store to be made. */
static plsm_status read_state(struct hybrid *db, struct inventory *inventory)
{
    TRY(hybrid_inventory_read(db, inventory));
    if (inventory->states.count > 0) {
        if (db->options.exclusive)
            return fail(PLSM_EXISTS, "%s: there is a store already", db->path);
        return state_read(db->env, db->path, number_list_last(&inventory->states), &db->state);
    }
    TRY(may_create(db, inventory));
    plsm_status status = env_sync_parent(db->env, db->path);
    if (status != PLSM_OK && status != PLSM_PERMISSION)
        return status;
    /* What a creation left that did not come to its end was never acknowledged. */
    db->state = (struct hybrid_state){.begin = ADDRESS_FIRST,
                                      .tail = ADDRESS_FIRST,
                                      .redo = number_list_last(&inventory->redo) + 1,
                                      .next_segment = number_list_last(&inventory->segments) + 1};
    return PLSM_OK;
}

/* The logs from a number on. */
static size_t skip_below(const struct number_list *numbers, uint64_t least)
{
    size_t skipped = 0;
    while (skipped < numbers->count && numbers->at[skipped] < least)
        skipped++;
    return skipped;
}

static plsm_status read_store(struct hybrid *db, struct inventory *inventory)
{
    TRY(read_state(db, inventory));
    uint64_t next_segment = number_list_last(&inventory->segments) + 1,
             next_redo = number_list_last(&inventory->redo) + 1;
    atomic_store(&db->next_segment, next_segment > db->state.next_segment ? next_segment : db->state.next_segment);
    db->next_redo = next_redo > db->state.redo ? next_redo : db->state.redo;
    TRY(hybrid_number_check(db, atomic_load(&db->next_segment)));
    TRY(hybrid_number_check(db, db->next_redo));
    db->store = db->state.store;
    while (db->store == 0)
        env_random(db->env, &db->store, sizeof db->store);
    db->redo.store = db->store;
    set_addresses(db);
    TRY(open_segments(db));
    TRY(check_leftovers(db, inventory));
    TRY(rebuild(db));
    share_memory(db);
    size_t below = skip_below(&inventory->redo, db->state.redo);
    struct redo_logs logs = {.numbers = inventory->redo.at + below,
                             .count = inventory->redo.count - below,
                             .first = db->state.redo,
                             .store = db->state.store};
    struct redo_found found = {0};
    plsm_status status = redo_replay(db->env, db->path, &logs, replay_batch, db, &found);
    db->replayed = found.any;
    db->replay_skipped = found.skipped;
    return status;
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

static plsm_status begin_redo(struct hybrid *db)
{
    struct redo_log log = {0};
    TRY(redo_create(&db->redo, db->next_redo++, &log));
    plsm_status status = redo_switch(&db->redo, &log);
    if (status != PLSM_OK)
        redo_abandon(&db->redo, &log);
    return status;
}

/* Where there is no room for a recovery point, the redo logs that were replayed go on to count, synced, in front of a
 * new one, until the next one that is due: so something can be deleted. */
static plsm_status go_on_without(struct hybrid *db, const struct inventory *inventory)
{
    struct fail_kept kept;
    fail_keep(&kept);
    if (!db->replayed || db->replay_skipped || !db->options.redo)
        return fail_again(PLSM_NO_SPACE, &kept);
    size_t below = skip_below(&inventory->redo, db->state.redo);
    TRY(redo_sync_files(db->env, db->path, inventory->redo.at + below, inventory->redo.count - below));
    return db->redo.current.writer ? PLSM_OK : begin_redo(db);
}

static plsm_status open_writer(struct hybrid *db, const struct inventory *inventory)
{
    plsm_status status = PLSM_OK;
    if (db->replayed || db->state.number == 0) {
        mutex_lock(&db->checkpoint_lock);
        status = take_recovery_point(db, false);
        mutex_unlock(&db->checkpoint_lock);
        if (space_is_lacking(status))
            status = go_on_without(db, inventory);
    } else if (db->options.redo) {
        status = begin_redo(db);
    }
    TRY(status);
    mutex_lock(&db->checkpoint_lock);
    remove_leftovers(db);
    mutex_unlock(&db->checkpoint_lock);
    return PLSM_OK;
}

/* *out is to be destroyed also when it fails. */
static plsm_status open_once(const char *path, const struct hybrid_options *options, struct hybrid **out)
{
    struct inventory inventory = {0};
    plsm_status status = handle_create(path, options, out);
    struct hybrid *db = *out;
    if (status == PLSM_OK && options->create && !options->read_only) {
        status = env_make_dir(db->env, path);
        status = status == PLSM_EXISTS ? PLSM_OK : status;
    }
    if (status == PLSM_OK) {
        fit_options(db);
        choose_pages(db);
    }
    if (status == PLSM_OK) /* without a store nothing is left behind, not even LOCK */
        status = hybrid_inventory_read(db, &inventory);
    if (status == PLSM_OK && inventory.states.count == 0)
        status = may_create(db, &inventory);
    if (status == PLSM_OK)
        status = hybrid_lock_store(db);
    if (status == PLSM_OK)
        status = read_store(db, &inventory);
    if (status == PLSM_OK && !options->read_only)
        status = open_writer(db, &inventory);
    if (status == PLSM_OK && options->background) {
        status = maintenance_start(db);
        if (options->read_only)
            status = PLSM_OK; /* all it lacks without is pages that come back into memory */
    }
    hybrid_inventory_free(&inventory);
    return status;
}

plsm_status hybrid_open(const char *path, const struct hybrid_options *options, struct hybrid **out)
{
    struct hybrid *db = NULL;
    *out = NULL;
    plsm_status status = open_once(path, options, &db);
    /* A writer beside may have gone on from one redo log to the next while they were read, and have closed since. */
    bool beside = options->read_only;
    for (int i = 0; status == PLSM_CORRUPT && beside && i < TRIES; i++) {
        beside = has_writer(db);
        destroy(db);
        db = NULL;
        if (beside)
            env_sleep_ns(options->env, WAIT_NS);
        status = open_once(path, options, &db);
    }
    if (status == PLSM_OK)
        *out = db;
    else
        destroy(db);
    if (space_is_lacking(status))
        fail_context(status, "no room to open the store for writing; make some on its file system, or open it "
                             "read-only");
    return status;
}

/* The redo log is empty and goes, unless somebody is reading it. */
static void close_redo(struct hybrid *db)
{
    struct env_lock *lock = NULL;
    if (!lock_out_readers(db, &lock))
        return;
    redo_abandon(&db->redo, &db->redo.current);
    env_unlock(lock);
}

/* Everything goes into a recovery point; where that fails, the redo log has it. */
static plsm_status shut_down(struct hybrid *db)
{
    char reason[512];
    if (atomic_load(&db->broken) != PLSM_OK)
        return PLSM_OK; /* it was told; the next opening recovers */
    plsm_status status = hybrid_flush(db);
    if (status == PLSM_OK) {
        if (db->redo.current.writer)
            close_redo(db);
        return PLSM_OK;
    }
    if (atomic_load(&db->broken) != PLSM_OK || counted(&db->volatile_bytes) > 0)
        return status;
    snprintf(reason, sizeof reason, "%s", plsm_message());
    return redo_sync(&db->redo) == PLSM_OK ? PLSM_OK : fail(status, "%s", reason);
}

plsm_status hybrid_close(struct hybrid *db)
{
    plsm_status status = PLSM_OK;
    if (!db)
        return PLSM_OK;
    INVARIANT(db->magic == HYBRID_STRUCT_MAGIC && !db->snapshots);
    maintenance_stop(db);
    if (!db->options.read_only)
        status = shut_down(db);
    destroy(db);
    return status;
}
