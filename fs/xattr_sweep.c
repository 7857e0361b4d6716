#include "fs/xattr_sweep.h"

#include <stdlib.h>
#include <syslog.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/env.h"
#include "base/error.h"
#include "fs/inode.h"
#include "fs/xattr.h"
#include "base/banned.h"

/* --- changes from outside ----------------------------------------------------------------------------------------- */

struct dropping {
    struct fs *fs;
    struct buf ids; /* of u64 */
    plsm_status status;
};

static plsm_status any_records(struct fs *fs, bool *any)
{
    plsm_read_options options = {.keyspace = PLSM_INTERNAL};
    return plsm_has_prefix(fs->db, &options, slice_of(XATTR_RECORDS), any);
}

/* Whether a process has unpublished content of the file whose records have this id. */
static bool is_being_written(struct fs *fs, uint64_t id)
{
    bool is = false;
    mutex_lock(&fs->nodes.lock);
    for (uint32_t i = 0; i < fs->nodes.inode_count && !is; i++) {
        const struct inode *inode = fs->nodes.inodes[i];
        is = inode->attr.xattrs == id && inode->handles && (inode_content_dirty(inode) || inode->fresh);
    }
    mutex_unlock(&fs->nodes.lock);
    return is;
}

static void note_id(struct dropping *d, plsm_slice meta, uint32_t names)
{
    struct attr attr;
    if (names > 1 || meta.size == 0 || attr_decode(meta, &attr) != PLSM_OK || attr.xattrs == 0 ||
        is_being_written(d->fs, attr.xattrs))
        return;
    d->status = buf_append_u64(&d->ids, attr.xattrs);
}

static void note_key(struct dropping *d, plsm_slice key)
{
    plsm_value value = {0};
    plsm_read_options options = {.no_value = true};
    plsm_status status = plsm_get(d->fs->db, &options, key, &value);
    if (status == PLSM_OK)
        note_id(d, value.meta, value.names);
    else if (status != PLSM_NOT_FOUND)
        d->status = status;
    plsm_value_free(&value);
}

static void note_range(struct dropping *d, plsm_slice from, plsm_slice to)
{
    plsm_read_options options = {.no_value = true};
    plsm_iterator *it = NULL;
    d->status = plsm_iterator_create(d->fs->db, &options, from, to, &it);
    if (d->status != PLSM_OK)
        return;
    for (plsm_iterator_first(it); plsm_iterator_valid(it) && d->status == PLSM_OK; plsm_iterator_next(it))
        note_id(d, plsm_iterator_meta(it), plsm_iterator_names(it));
    if (d->status == PLSM_OK)
        d->status = plsm_iterator_status(it);
    plsm_iterator_destroy(it);
}

static void note_change(void *arg, const plsm_change *change)
{
    struct dropping *d = arg;
    if (change->keyspace != PLSM_NAMES || d->status != PLSM_OK)
        return;
    if (change->is_range)
        note_range(d, change->key, change->to);
    else
        note_key(d, change->key);
}

static plsm_status drop_noted(struct dropping *d, plsm_batch *batch)
{
    for (size_t i = 0; i < d->ids.size && d->status == PLSM_OK; i += sizeof(uint64_t))
        d->status = xattr_delete_all(d->fs, get_u64(d->ids.data + i), batch);
    buf_free(&d->ids);
    return d->status;
}

plsm_status xattr_drop_replaced(struct fs *fs, plsm_batch *batch)
{
    struct dropping d = {.fs = fs};
    bool any = false;
    TRY(any_records(fs, &any));
    if (any)
        plsm_batch_each(batch, note_change, &d);
    return drop_noted(&d, batch);
}

plsm_status xattr_drop_of(struct fs *fs, plsm_slice key, plsm_batch *batch)
{
    struct dropping d = {.fs = fs};
    bool any = false;
    TRY(any_records(fs, &any));
    if (any)
        note_key(&d, key);
    return drop_noted(&d, batch);
}

/* --- what nobody has ---------------------------------------------------------------------------------------------- */

enum {
    SWEEP_IDS_MAX = 1 << 20, /* 8 MiB of them at most; what is above, after the next mount */
    SWEEP_STEP = 1024,       /* entries between two looks at whether it is to end */
    SWEEP_BATCH_BYTES = 64 << 10,
};

struct xattr_sweep {
    struct fs *fs;
    plsm_snapshot *snapshot;
    plsm_iterator *names; /* made with it: what expires from then on is still found */
    struct env_thread *thread;
    _Atomic bool stop;
    struct buf ids;   /* of u64, in order: those that there are records of */
    struct buf owned; /* of u8: 1 for those that an entry has */
    uint64_t removed;
    plsm_status status;
};

/* The ids of all records; they are in order, as the records are. */
static plsm_status collect_ids(struct xattr_sweep *sweep)
{
    plsm_read_options options = {.keyspace = PLSM_INTERNAL, .snapshot = sweep->snapshot, .no_value = true};
    plsm_iterator *it = NULL;
    uint8_t end[sizeof XATTR_RECORDS - 1];
    plsm_slice from = slice_of(XATTR_RECORDS);
    uint64_t last = 0;
    memcpy(end, from.data, from.size);
    end[from.size - 1]++;
    TRY(plsm_iterator_create(sweep->fs->db, &options, from, slice(end, sizeof end), &it));
    plsm_status status = PLSM_OK;
    for (plsm_iterator_first(it); status == PLSM_OK && plsm_iterator_valid(it); plsm_iterator_next(it)) {
        plsm_slice key = plsm_iterator_key(it);
        uint64_t id = key.size > from.size + 8 ? get_be64((const uint8_t *)key.data + from.size) : 0;
        if (id == 0 || id == last)
            continue;
        if (sweep->ids.size == SWEEP_IDS_MAX * sizeof id || sweep->stop)
            break;
        last = id;
        status = buf_append_u64(&sweep->ids, id);
    }
    if (status == PLSM_OK)
        status = plsm_iterator_status(it);
    plsm_iterator_destroy(it);
    return status;
}

static int compare_ids(const void *key, const void *element)
{
    uint64_t id = *(const uint64_t *)key, at = get_u64(element);
    return id < at ? -1 : id > at;
}

static void note_owner(struct xattr_sweep *sweep, uint64_t id)
{
    const uint8_t *at = id ? bsearch(&id, sweep->ids.data, sweep->owned.size, sizeof id, compare_ids) : NULL;
    if (at)
        sweep->owned.data[(size_t)(at - sweep->ids.data) / sizeof id] = 1;
}

static plsm_status note_owners_of_meta(struct xattr_sweep *sweep, plsm_slice meta)
{
    struct attr attr = {0};
    if (meta.size == 0)
        return PLSM_OK;
    TRY(attr_decode(meta, &attr)); /* of a later version: it may have records */
    note_owner(sweep, attr.xattrs);
    note_owner(sweep, attr.ino);
    return PLSM_OK;
}

static plsm_status note_owners(struct xattr_sweep *sweep)
{
    plsm_read_options options = {.keyspace = PLSM_INTERNAL, .snapshot = sweep->snapshot, .no_value = true};
    plsm_value root = {0};
    uint64_t steps = 0;
    plsm_status status = plsm_get(sweep->fs->db, &options, slice_of(ROOT_KEY), &root);
    status = status == PLSM_OK ? note_owners_of_meta(sweep, root.meta) : status == PLSM_NOT_FOUND ? PLSM_OK : status;
    plsm_value_free(&root);
    for (plsm_iterator_first(sweep->names); status == PLSM_OK && plsm_iterator_valid(sweep->names);
         plsm_iterator_next(sweep->names)) {
        status = note_owners_of_meta(sweep, plsm_iterator_meta(sweep->names));
        if (++steps % SWEEP_STEP == 0 && sweep->stop)
            return status;
    }
    return status == PLSM_OK ? plsm_iterator_status(sweep->names) : status;
}

static plsm_status remove_rest(struct xattr_sweep *sweep)
{
    struct fs *fs = sweep->fs;
    plsm_batch *batch = plsm_batch_create();
    plsm_status status = batch ? PLSM_OK : fail(PLSM_NO_MEMORY, "no memory for a batch");
    for (size_t i = 0; i < sweep->owned.size && status == PLSM_OK && !sweep->stop; i++) {
        bool last = i + 1 == sweep->owned.size;
        if (!sweep->owned.data[i]) {
            status = xattr_delete_all(fs, get_u64(sweep->ids.data + 8 * i), batch);
            sweep->removed++;
        }
        if (status != PLSM_OK || (!last && plsm_batch_bytes(batch) < SWEEP_BATCH_BYTES))
            continue;
        status = plsm_write(fs->db, batch, PLSM_NONE);
        plsm_batch_clear(batch);
    }
    plsm_batch_destroy(batch);
    return status;
}

static plsm_status reserve_owned(struct xattr_sweep *sweep)
{
    size_t count = sweep->ids.size / sizeof(uint64_t);
    TRY(buf_reserve(&sweep->owned, count + 1));
    memset(sweep->owned.data, 0, count + 1);
    sweep->owned.size = count;
    return PLSM_OK;
}

static void run_sweep(void *arg)
{
    struct xattr_sweep *sweep = arg;
    plsm_status status = collect_ids(sweep);
    if (status == PLSM_OK)
        status = reserve_owned(sweep);
    if (status == PLSM_OK)
        status = note_owners(sweep);
    /* Ended early, it does not know yet who owns what. */
    if (status == PLSM_OK && !sweep->stop)
        status = remove_rest(sweep);
    if (status != PLSM_OK)
        syslog(LOG_WARNING, "extended attributes that no file has were not removed: %s", plsm_message());
    sweep->status = status;
    plsm_iterator_destroy(sweep->names);
    plsm_snapshot_destroy(sweep->fs->db, sweep->snapshot);
    sweep->names = NULL;
    sweep->snapshot = NULL;
}

static void free_sweep(struct xattr_sweep *sweep)
{
    plsm_iterator_destroy(sweep->names);
    plsm_snapshot_destroy(sweep->fs->db, sweep->snapshot);
    buf_free(&sweep->ids);
    buf_free(&sweep->owned);
    mem_free(sweep);
}

static plsm_status start(struct xattr_sweep *sweep)
{
    plsm *db = sweep->fs->db;
    sweep->snapshot = plsm_snapshot_create(db);
    if (!sweep->snapshot)
        return fail(PLSM_NO_MEMORY, "no memory for a snapshot");
    plsm_read_options options = {.snapshot = sweep->snapshot, .no_value = true};
    TRY(plsm_iterator_create(db, &options, slice(NULL, 0), slice(NULL, 0), &sweep->names));
    return env_thread_start(env_posix(), run_sweep, sweep, &sweep->thread);
}

plsm_status xattr_sweep_start(struct fs *fs, struct xattr_sweep **out)
{
    bool any = false;
    *out = NULL;
    TRY(any_records(fs, &any));
    if (!any)
        return PLSM_OK;
    struct xattr_sweep *sweep = mem_zalloc(sizeof *sweep);
    if (!sweep)
        return fail(PLSM_NO_MEMORY, "no memory to look for extended attributes");
    sweep->fs = fs;
    plsm_status status = start(sweep);
    if (status != PLSM_OK) {
        free_sweep(sweep);
        return status;
    }
    *out = sweep;
    return PLSM_OK;
}

plsm_status xattr_sweep_wait(struct xattr_sweep *sweep, uint64_t *removed)
{
    env_thread_join(sweep->thread);
    sweep->thread = NULL;
    *removed = sweep->removed;
    return sweep->status;
}

void xattr_sweep_end(struct xattr_sweep *sweep)
{
    if (!sweep)
        return;
    sweep->stop = true;
    env_thread_join(sweep->thread);
    free_sweep(sweep);
}
