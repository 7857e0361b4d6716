/* Opening and closing.
 *
 * For writing: lock, find out what there is (append_recover.c), begin a new segment. What a segment holds that was not
 * closed cleanly may not be on the disk, and what stands behind its last record may be anything: such are merged to a
 * new one before the store is served.
 *
 * For reading, beside a writer or not: pin the files, then the same without writing anything. */
#include "log/append_recover.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/error.h"
#include "base/space.h"
#include "base/banned.h"

enum {
    PATH_SIZE_MAX = 4000,
    PIN_TRIES = 500, /* a writer holds the pin only while it removes files */
    PIN_WAIT_NS = 10 * 1000 * 1000,
    BESIDE_BYTES = 64 << 10, /* that writing a segment anew takes beside what it holds: heads, a new segment, a hint */
};

void append_options_default(struct append_options *options)
{
    *options = (struct append_options){
        .segment_size = 64 << 20,
        .mapped = true,
        .background = true,
        .merge_garbage_ppm = 500000,
    };
}

/* --- may it be opened --------------------------------------------------------------------------------------------- */

static plsm_status may_create(const struct append *db, const struct inventory *inventory)
{
    if (inventory->hints.count > 0)
        return fail(PLSM_CORRUPT, "%s: holds hints, but no segment; restore it from a backup", db->path);
    if (!db->options.create || db->options.read_only)
        return fail(PLSM_NO_STORE, "%s: holds no store; create one with: plsm create %s", db->path, db->path);
    if (inventory->foreign)
        return fail(PLSM_INVALID, "%s: is not empty and holds no store; give an empty or a new directory", db->path);
    return PLSM_OK;
}

static plsm_status lock_store(struct append *db)
{
    char path[APPEND_PATH_MAX];
    snprintf(path, sizeof path, "%s/LOCK", db->path);
    if (!db->options.read_only) {
        plsm_status status = env_lock(db->env, path, APPEND_LOCK_WRITER, true, &db->writer_lock);
        return status == PLSM_LOCKED
                   ? fail(PLSM_LOCKED, "%s: is in use by another process (mounted, or open for writing)", db->path)
                   : status;
    }
    plsm_status status = PLSM_LOCKED;
    for (int i = 0; status == PLSM_LOCKED && i < PIN_TRIES; i++) {
        status = env_lock(db->env, path, APPEND_LOCK_PIN, false, &db->pin_lock);
        if (status == PLSM_LOCKED)
            env_sleep_ns(db->env, PIN_WAIT_NS);
    }
    return status;
}

/* --- the struct --------------------------------------------------------------------------------------------------- */

static plsm_status prepare(const char *path, const struct append_options *options, struct append **out)
{
    size_t size = strlen(path) + 1;
    if (size > PATH_SIZE_MAX)
        return fail(PLSM_INVALID, "the path of the store is too long (%zu bytes)", size);
    if (options->segment_size < 64 << 10 || options->segment_size > 1 << 30)
        return fail(PLSM_INVALID, "file_size must be between 64K and 1G for the engine appendlog");
    struct append *db = mem_map(sizeof *db); /* zeroed, and aligned for its stripes */
    if (!db)
        return fail(PLSM_NO_MEMORY, "no memory to open the store");
    *out = db;
    db->options = *options;
    db->env = options->env;
    db->next_number = 1;
    mutex_init(&db->directory);
    mutex_init(&db->lock);
    turns_init(&db->turns, &db->lock);
    mutex_init(&db->sync_lock);
    mutex_init(&db->flush_lock);
    mutex_init(&db->merge_lock);
    condition_init(&db->work);
    condition_init(&db->progress);
    db->epoch = epoch_create();
    db->path = mem_alloc(size);
    db->slots = mem_map(APPEND_SLOTS * sizeof *db->slots);
    db->free_slots = mem_alloc(APPEND_SLOTS * sizeof *db->free_slots);
    if (db->epoch) {
        db->tree = key_tree_create(db->epoch, &db->account);
        db->versions = (struct slab){.epoch = db->epoch, .account = &db->account};
    }
    if (!db->tree || !db->path || !db->slots || !db->free_slots)
        return fail(PLSM_NO_MEMORY, "no memory to open the store");
    memcpy(db->path, path, size);
    for (unsigned i = 0; i < APPEND_SLOTS; i++)
        db->free_slots[db->free_slot_count++] = (uint16_t)(APPEND_SLOTS - 1 - i);
    return PLSM_OK;
}

/* Frees everything; files are closed, nothing is written. */
static void destroy(struct append *db)
{
    if (!db)
        return;
    for (size_t i = 0; i < db->segment_count; i++)
        segment_retire(db->segments[i], false);
    for (unsigned i = 0; i < db->ready_count; i++)
        segment_retire(db->ready[i], false);
    key_tree_destroy(db->tree);
    if (db->epoch) {
        slab_destroy(&db->versions);
        epoch_destroy(db->epoch); /* the last segments */
    }
    env_unlock(db->pin_lock);
    env_unlock(db->writer_lock);
    buf_free(&db->payload);
    mem_free(db->ops);
    mem_free(db->chained);
    mem_free(db->segments);
    mem_free(db->garbage);
    mem_free(db->free_slots);
    if (db->slots)
        mem_unmap(db->slots, APPEND_SLOTS * sizeof *db->slots);
    mem_free(db->path);
    condition_destroy(&db->work);
    condition_destroy(&db->progress);
    mutex_destroy(&db->directory);
    mutex_destroy(&db->lock);
    mutex_destroy(&db->sync_lock);
    mutex_destroy(&db->flush_lock);
    mutex_destroy(&db->merge_lock);
    mem_unmap(db, sizeof *db);
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

/* Where there is no room to write torn segments anew, they are served as they are for now: what they hold is made to
 * survive power loss, and no segment that is begun names them among those it follows, so that none is taken to stand
 * behind a loss because of them. */
static plsm_status keep_torn(struct append *db, bool *kept)
{
    uint64_t room = 0, needed = 0;
    *kept = false;
    for (size_t i = 0; i < db->segment_count; i++) {
        uint64_t size = atomic_load(&db->segments[i]->size); /* with deletions, which may have to be kept */
        if (db->segments[i]->state == SEGMENT_TORN && size > needed)
            needed = size;
    }
    TRY(room_for_merge(db->env, db->path, 0, &room));
    if (needed + BESIDE_BYTES <= room || db->loss) /* what was left out, behind a loss, must be written down */
        return PLSM_OK;
    for (size_t i = 0; i < db->segment_count; i++) {
        struct segment *s = db->segments[i];
        if (s->state != SEGMENT_TORN)
            continue;
        TRY(env_sync(s->file));
        *kept |= s->kept = !s->closed;
        if (s->closed)
            s->state = SEGMENT_SEALED;
    }
    return PLSM_OK;
}

static plsm_status open_writer(struct append *db, const struct inventory *inventory)
{
    char path[APPEND_PATH_MAX + 8];
    bool kept = false;
    if (inventory->segments.count > 0)
        db->next_number = inventory->segments.at[inventory->segments.count - 1] + 1;
    if (db->segment_count == 0) {
        TRY(may_create(db, inventory));
        plsm_status status = env_sync_parent(db->env, db->path);
        if (status != PLSM_OK && status != PLSM_PERMISSION) /* one that may not be read is somebody else's */
            return status;
        env_random(db->env, &db->store_id, sizeof db->store_id);
    } else if (db->options.exclusive) {
        return fail(PLSM_EXISTS, "%s: there is a store already", db->path);
    }
    TRY(keep_torn(db, &kept));
    TRY(append_roll(db));
    TRY(append_sync_logs(db)); /* with its head: a new store is one that has a segment with a head */
    mutex_lock(&db->merge_lock);
    plsm_status status = work_merge_torn(db);
    if (kept && space_is_lacking(status))
        status = PLSM_OK; /* later */
    for (size_t i = 0; i < inventory->temporary.count; i++) {
        snprintf(path, sizeof path, "%s/hint-%06" PRIu64 ".tmp", db->path, inventory->temporary.at[i]);
        env_remove(db->env, path);
    }
    append_garbage_collect(db);
    mutex_unlock(&db->merge_lock);
    if (status == PLSM_OK && db->options.background)
        status = work_start(db);
    return status;
}

static plsm_status open_reader(const struct append *db, const struct inventory *inventory)
{
    return db->segment_count == 0 ? may_create(db, inventory) : PLSM_OK;
}

static void fit_options(struct append *db)
{
    struct env_space space;
    if (env_space(db->env, db->path, &space) == PLSM_OK) /* otherwise there is no such directory, as will be told */
        db->options.segment_size = space_fit(db->options.segment_size, space.bytes_total);
}

static plsm_status make_directory(struct append *db)
{
    plsm_status status = env_make_dir(db->env, db->path);
    return status == PLSM_EXISTS ? PLSM_OK : status;
}

plsm_status append_open(const char *path, const struct append_options *options, struct append **out)
{
    struct inventory inventory = {0};
    struct append *db = NULL;
    uint64_t start_ns = env_now_ns(options->env);
    *out = NULL;
    plsm_status status = prepare(path, options, &db);
    if (status == PLSM_OK && options->create && !options->read_only)
        status = make_directory(db);
    if (status == PLSM_OK && !options->read_only)
        fit_options(db);
    if (status == PLSM_OK) /* without a store nothing is left behind, not even LOCK */
        status = append_inventory_read(db, &inventory);
    if (status == PLSM_OK && inventory.segments.count == 0)
        status = may_create(db, &inventory);
    if (status == PLSM_OK)
        status = lock_store(db);
    if (status == PLSM_OK)
        status = append_inventory_read(db, &inventory);
    if (status == PLSM_OK)
        status = append_recover(db, &inventory);
    if (status == PLSM_OK)
        status = options->read_only ? open_reader(db, &inventory) : open_writer(db, &inventory);
    append_inventory_free(&inventory);
    if (status != PLSM_OK) {
        struct fail_kept kept;
        fail_keep(&kept);
        if (db && db->has_threads)
            work_stop(db);
        destroy(db);
        fail_again(status, &kept);
        if (space_is_lacking(status))
            fail_context(status, "no room to open the store for writing; make some on its file system, or open it "
                                 "read-only");
        return status;
    }
    db->open_ns = env_now_ns(options->env) - start_ns;
    *out = db;
    return PLSM_OK;
}

/* --- closing ------------------------------------------------------------------------------------------------------ */

/* A segment that was begun and not used goes, so that opening and closing leaves nothing behind. */
static void remove_unused(struct append *db, struct segment *s)
{
    char path[APPEND_PATH_MAX];
    segment_path(db, "segment", s->number, path);
    mutex_lock(&db->lock);
    segment_list_remove(db, s);
    mutex_unlock(&db->lock);
    segment_retire(s, false);
    env_remove(db->env, path); /* what stays otherwise is merged by the next opening */
}

static plsm_status shut_down(struct append *db)
{
    mutex_lock(&db->lock);
    struct segment *s = db->active;
    bool broken = db->broken != PLSM_OK;
    bool unused = s && s->head_end == atomic_load(&s->size) && db->segment_count > 1 &&
                  s->number == db->begun; /* else the head of a newer one says that it is there */
    if (s && !unused) {
        s->state = SEGMENT_FROZEN;
        atomic_fetch_add(&db->frozen, 1);
    }
    db->active = NULL;
    mutex_unlock(&db->lock);
    if (broken)
        return PLSM_OK; /* it was told; the next opening goes by what the disk has */
    append_ahead_drop(db);
    if (unused)
        remove_unused(db, s);
    plsm_status status = work_seal(db, UINT64_MAX);
    if (space_is_lacking(status)) /* the next opening looks at what is not closed */
        status = append_sync_logs(db);
    TRY(status);
    mutex_lock(&db->merge_lock);
    append_garbage_collect(db);
    mutex_unlock(&db->merge_lock);
    return PLSM_OK;
}

plsm_status append_close(struct append *db)
{
    plsm_status status = PLSM_OK;
    if (!db)
        return PLSM_OK;
    if (db->has_threads)
        work_stop(db);
    if (!db->options.read_only)
        status = shut_down(db);
    destroy(db);
    return status;
}

bool append_is_read_only(struct append *db)
{
    mutex_lock(&db->lock);
    bool read_only = db->options.read_only || db->broken != PLSM_OK;
    mutex_unlock(&db->lock);
    return read_only;
}
