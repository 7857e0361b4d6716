#include "fs/inode.h"

#include <fuse_lowlevel.h>
#include <syslog.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checksum.h"
#include "base/env.h"
#include "base/error.h"
#include "fs/control.h"
#include "fs/link.h"
#include "fs/ops.h"
#include "base/banned.h"

static const uint64_t ino_unassigned = UINT64_C(1) << 63;

/* --- life --------------------------------------------------------------------------------------------------------- */

/* Table lock. */
static struct inode *make(struct node_table *table, struct node *node)
{
    if (table->inode_count == table->inode_capacity) {
        uint32_t capacity = table->inode_capacity ? 2 * table->inode_capacity : 64;
        struct inode **inodes = mem_realloc(table->inodes, capacity * sizeof *inodes);
        if (!inodes)
            return NULL;
        table->inodes = inodes;
        table->inode_capacity = capacity;
    }
    struct inode *inode = mem_zalloc(sizeof *inode);
    if (!inode)
        return NULL;
    mutex_init(&inode->lock);
    inode->node = node;
    inode->place = table->inode_count;
    table->inodes[table->inode_count++] = inode;
    node->inode = table->inode_count;
    return inode;
}

/* Takes it from its node. Table lock. */
static void take(struct node_table *table, struct inode *inode)
{
    struct inode *last = table->inodes[--table->inode_count];
    table->inodes[inode->place] = last;
    last->place = inode->place;
    last->node->inode = inode->place + 1;
    inode->node->inode = 0; /* behind the line above: it may be the last */
}

struct inode *inode_get(struct fs *fs, struct node *node)
{
    mutex_lock(&fs->nodes.lock);
    struct inode *inode = node_inode(&fs->nodes, node);
    if (!inode)
        inode = make(&fs->nodes, node);
    if (inode)
        inode->users++;
    mutex_unlock(&fs->nodes.lock);
    return inode;
}

struct inode *inode_get_existing(struct fs *fs, struct node *node)
{
    mutex_lock(&fs->nodes.lock);
    struct inode *inode = node_inode(&fs->nodes, node);
    if (inode)
        inode->users++;
    mutex_unlock(&fs->nodes.lock);
    return inode;
}

static void destroy(struct inode *inode)
{
    plsm_edit_close(inode->edit);
    mutex_destroy(&inode->lock);
    mem_free(inode);
}

void inode_put(struct fs *fs, struct inode *inode)
{
    mutex_lock(&fs->nodes.lock);
    INVARIANT(inode->users > 0);
    bool last = --inode->users == 0;
    if (last) {
        INVARIANT(!inode->dirty_link);
        take(&fs->nodes, inode);
        node_release_locked(&fs->nodes, inode->node);
    }
    mutex_unlock(&fs->nodes.lock);
    if (last)
        destroy(inode);
}

void inode_pin(struct fs *fs, struct inode *inode)
{
    mutex_lock(&fs->nodes.lock);
    if (!(inode->node->flags & NODE_PINS)) {
        inode->node->flags |= NODE_PINS;
        inode->users++;
    }
    mutex_unlock(&fs->nodes.lock);
}

void inode_forget(struct fs *fs, struct node *node, uint64_t lookups)
{
    struct inode *pinned = NULL;
    mutex_lock(&fs->nodes.lock);
    if (node->lookups == lookups && node->flags & NODE_PINS) {
        node->flags &= (uint8_t)~NODE_PINS;
        pinned = node_inode(&fs->nodes, node);
    }
    mutex_unlock(&fs->nodes.lock);
    node_forget(&fs->nodes, node, lookups); /* a pinned inode keeps the node until here */
    if (pinned)
        inode_put(fs, pinned);
}

void inode_destroy_all(struct fs *fs)
{
    while (fs->nodes.inode_count > 0) {
        struct inode *inode = fs->nodes.inodes[fs->nodes.inode_count - 1];
        take(&fs->nodes, inode);
        /* Nodes that are gone are not in the table: this is the last way to them. */
        if (inode_gone(inode))
            node_free(&fs->nodes, inode->node);
        destroy(inode);
    }
    fs->dirty = NULL;
}

/* --- attributes --------------------------------------------------------------------------------------------------- */

void inode_default(const struct fs *fs, plsm_slice key, bool directory, struct attr *attr)
{
    *attr = (struct attr){.ino = (key_hash(key.data, key.size) | ino_unassigned) ^ fs->ino_mask,
                          .mode = directory ? fs->default_directory_mode : fs->default_file_mode,
                          .uid = fs->default_uid,
                          .gid = fs->default_gid};
}

void inode_value_attr(const struct fs *fs, plsm_slice key, struct attr *attr)
{
    inode_default(fs, key, false, attr);
    attr->ino ^= 1; /* the directory may have the number of the key itself */
    attr->mode &= ~(uint32_t)0222;
}

void inode_synthetic_attr(const struct fs *fs, plsm_slice key, struct attr *attr)
{
    inode_default(fs, key, true, attr);
    attr->ino ^= 2; /* there may be a file whose key is just that beginning */
}

plsm_status inode_decode(const struct fs *fs, plsm_slice key, plsm_slice meta, bool directory, struct attr *attr)
{
    inode_default(fs, key, directory, attr);
    if (meta.size == 0)
        return PLSM_OK;
    plsm_status status = attr_decode(meta, attr);
    attr->ino ^= fs->ino_mask;
    if (status == PLSM_OK && (bool)S_ISDIR(attr->mode) != directory)
        status = fail(PLSM_CORRUPT, "mode %o does not belong to a %s", attr->mode, directory ? "directory" : "file");
    if (status != PLSM_OK)
        status = fail(status, "key %.*s: %s", (int)(key.size < 200 ? key.size : 200), (const char *)key.data,
                      plsm_message());
    return status;
}

plsm_status inode_read_entry(struct fs *fs, const struct node *node, bool no_value, plsm_value *value)
{
    struct path path;
    plsm_read_options options = {.snapshot = fs->snapshot, .no_value = no_value};
    if (node_is_shared(node))
        return plsm_get_shared(fs->db, &options, node_shared(node), value);
    if (!node->parent) {
        options.keyspace = PLSM_INTERNAL;
        return plsm_get(fs->db, &options, slice_of(ROOT_KEY), value);
    }
    TRY(node_path(node, &path));
    return plsm_get(fs->db, &options, path_slice(&path), value);
}

plsm_status inode_read_value(struct fs *fs, const struct node *node, uint64_t offset, void *data, size_t size,
                             size_t *got)
{
    struct path path;
    plsm_read_options options = {.snapshot = fs->snapshot};
    if (node_is_shared(node))
        return plsm_read_shared(fs->db, &options, node_shared(node), offset, data, size, got);
    TRY(node_path(node, &path));
    return plsm_read(fs->db, &options, path_slice(&path), offset, data, size, got);
}

/* Reads attributes and size of a node; PLSM_NOT_FOUND only for files. */
static plsm_status read_attributes(struct fs *fs, const struct node *node, struct attr *attr, uint64_t *size)
{
    plsm_value value = {0};
    struct path path;
    bool directory = node->flags & NODE_DIRECTORY;
    plsm_status status = PLSM_OK;
    *size = 0;
    TRY(node_path(node, &path)); /* for what is made up from it, and for messages */
    plsm_slice key = node->parent ? path_slice(&path) : slice_of(ROOT_KEY);
    if (node->flags & NODE_SYNTHETIC) {
        inode_synthetic_attr(fs, key, attr);
        return PLSM_OK;
    }
    status = inode_read_entry(fs, node, true, &value);
    if (status == PLSM_NOT_FOUND && directory) {
        inode_default(fs, key, true, attr);
        status = PLSM_OK;
    } else if (status == PLSM_OK && node->flags & NODE_VALUE) {
        inode_value_attr(fs, key, attr);
        *size = value.size;
    } else if (status == PLSM_OK) {
        status = inode_decode(fs, key, value.meta, directory, attr);
        attr->holes = value.size - value.stored;
        attr->other_names = value.names - 1;
        attr->expires_s = value.expires_s;
        *size = value.size;
    }
    if (status == PLSM_OK && !node->parent)
        attr->ino = 1 ^ fs->ino_mask;
    plsm_value_free(&value);
    return status;
}

plsm_status inode_load(struct fs *fs, struct inode *inode)
{
    if (inode->loaded)
        return PLSM_OK;
    if (inode_gone(inode))
        return fail(PLSM_NOT_FOUND, "the file is gone");
    TRY(read_attributes(fs, inode->node, &inode->attr, &inode->size));
    inode->loaded = true;
    return PLSM_OK;
}

plsm_status inode_open_content(struct fs *fs, struct inode *inode)
{
    struct path path;
    if (inode->edit)
        return PLSM_OK;
    /* The key of a file that is gone does not matter any more: nothing is committed. */
    if (inode_gone(inode) && !inode->fresh)
        return fail(PLSM_NOT_FOUND, "the file is gone");
    plsm_edit_flags flags = inode->fresh ? PLSM_EDIT_NEW : 0;
    TRY(node_path(inode->node, &path));
    if (node_is_shared(inode->node))
        TRY(plsm_edit_open_shared(fs->db, node_shared(inode->node), flags, &inode->edit));
    else
        TRY(plsm_edit_open(fs->db, path_slice(&path), flags, &inode->edit));
    inode->fresh = false;
    return PLSM_OK;
}

struct timespec inode_now(void)
{
    uint64_t ns = env_wall_ns(env_posix());
    return (struct timespec){(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
}

void inode_touch(struct fs *fs, struct inode *inode, bool modified)
{
    inode->attr.ctime = inode_now();
    if (modified)
        inode->attr.mtime = inode->attr.ctime;
    inode->attr_dirty = true;
    inode_note(fs, inode);
}

/* Attributes and size of a loaded inode as they are now. */
static plsm_status tell(const struct inode *inode, struct attr *attr, uint64_t *size)
{
    uint64_t stored = 0;
    *attr = inode->attr;
    *size = inode_size(inode);
    if (inode->edit)
        TRY(plsm_edit_stored(inode->edit, &stored));
    if (inode->edit || inode->fresh)
        attr->holes = inode->edit ? *size - stored : 0;
    return PLSM_OK;
}

plsm_status inode_stat(struct fs *fs, struct node *node, struct attr *attr, uint64_t *size)
{
    struct inode *inode = inode_get_existing(fs, node);
    if (!inode)
        return node->flags & NODE_GONE ? fail(PLSM_NOT_FOUND, "the file is gone")
                                       : read_attributes(fs, node, attr, size);
    mutex_lock(&inode->lock);
    plsm_status status = inode_load(fs, inode);
    if (status == PLSM_OK)
        status = tell(inode, attr, size);
    mutex_unlock(&inode->lock);
    inode_put(fs, inode);
    return status;
}

bool inode_overlay(struct fs *fs, struct node *node, struct attr *attr, uint64_t *size)
{
    struct inode *inode = inode_get_existing(fs, node);
    if (!inode)
        return false;
    mutex_lock(&inode->lock);
    bool knows = inode->loaded && tell(inode, attr, size) == PLSM_OK;
    mutex_unlock(&inode->lock);
    inode_put(fs, inode);
    return knows;
}

/* --- publishing --------------------------------------------------------------------------------------------------- */

void inode_note(struct fs *fs, struct inode *inode)
{
    bool dirty = inode_content_dirty(inode) || inode->attr_dirty;
    mutex_lock(&fs->nodes.lock);
    if (dirty && !inode->dirty_link) {
        inode->users++; /* the list holds it; never the last user, as the caller is one */
        inode->dirty_since_ns = env_now_ns(env_posix());
        inode->dirty_next = fs->dirty;
        inode->dirty_link = &fs->dirty;
        if (fs->dirty)
            fs->dirty->dirty_link = &inode->dirty_next;
        fs->dirty = inode;
    } else if (!dirty && inode->dirty_link) {
        *inode->dirty_link = inode->dirty_next;
        if (inode->dirty_next)
            inode->dirty_next->dirty_link = inode->dirty_link;
        inode->dirty_link = NULL;
        inode->dirty_since_ns = 0;
        INVARIANT(inode->users > 1);
        inode->users--;
    }
    mutex_unlock(&fs->nodes.lock);
}

/* Adds to `batch` what gives an entry this meta; its content stays. */
static plsm_status put_attributes(const struct inode *inode, plsm_slice key, plsm_slice meta, plsm_batch *batch)
{
    if (!inode->node->parent)
        return plsm_batch_put(batch, PLSM_INTERNAL, slice_of(ROOT_KEY), meta, slice(NULL, 0));
    if (node_is_shared(inode->node))
        return plsm_batch_set_meta_shared(batch, node_shared(inode->node), meta);
    /* The library may have given a directory's key a value: keep it. */
    if (!(inode->node->flags & NODE_DIRECTORY) || inode->size > 0)
        return plsm_batch_set_meta(batch, key, meta);
    return plsm_batch_put(batch, PLSM_NAMES, key, meta, slice(NULL, 0));
}

static plsm_status write_attributes(struct fs *fs, struct inode *inode, plsm_slice key, plsm_slice meta,
                                    plsm_batch *batch)
{
    TRY(put_attributes(inode, key, meta, batch));
    TRY(plsm_write(fs->db, batch, fs->content_durability));
    if (inode->node->parent)
        atomic_fetch_and(&inode->node->flags, (uint8_t)~NODE_IMPLIED);
    return PLSM_OK;
}

static plsm_status publish_attributes(struct fs *fs, struct inode *inode, plsm_slice key, plsm_slice meta)
{
    plsm_batch *batch = plsm_batch_create();
    if (!batch)
        return fail(PLSM_NO_MEMORY, "no memory for a batch");
    plsm_status status = write_attributes(fs, inode, key, meta, batch);
    plsm_batch_destroy(batch);
    /* Those of a file that has expired meanwhile, or that a batch has deleted while it was open, went with it. */
    return status == PLSM_CONFLICT ? PLSM_OK : status;
}

static plsm_status publish_content(struct fs *fs, struct inode *inode, plsm_slice key, plsm_slice meta)
{
    TRY(inode_open_content(fs, inode));
    if (node_is_shared(inode->node))
        plsm_edit_set_shared(inode->edit, node_shared(inode->node)); /* it may have become so */
    else
        TRY(plsm_edit_set_key(inode->edit, key)); /* a directory above may have been renamed */
    TRY(plsm_edit_commit(inode->edit, meta, fs->content_durability));
    inode->size = plsm_edit_size(inode->edit);
    inode->attr.expires_s = fs->ttl_s ? plsm_now_s(fs->db) + fs->ttl_s : 0;
    return tell(inode, &inode->attr, &inode->size);
}

plsm_status inode_publish(struct fs *fs, struct inode *inode)
{
    struct path path;
    uint8_t meta[ATTR_SIZE_MAX];
    plsm_status status = PLSM_OK;
    if (!inode_content_dirty(inode) && !inode->attr_dirty)
        return PLSM_OK;
    if (inode->failed != PLSM_OK && !inode_gone(inode))
        return fail(inode->failed, "not published: the last write to it failed");
    if (!inode_gone(inode) && !(inode->node->flags & NODE_SYNTHETIC)) {
        TRY(inode_load(fs, inode));
        TRY(node_path(inode->node, &path));
        plsm_slice encoded = slice(meta, attr_encode(&inode->attr, meta));
        if (inode_content_dirty(inode))
            status = publish_content(fs, inode, path_slice(&path), encoded);
        else
            status = publish_attributes(fs, inode, path_slice(&path), encoded);
        struct node *parent = node_parent(inode->node);
        if (parent)
            atomic_fetch_add(&parent->publications, 1);
        if (parent && parent->flags & NODE_IMPLIED)
            directories_changed(fs, NULL); /* directories that had gone from outside may be back */
    }
    if (status == PLSM_OK) {
        inode->written = inode->truncated = inode->flushed_once = inode->attr_dirty = false;
        inode_note(fs, inode);
    }
    return status;
}

plsm_status inode_write_xattrs(struct fs *fs, struct inode *inode, uint64_t xattrs, plsm_batch *batch)
{
    struct path path;
    uint8_t meta[ATTR_SIZE_MAX];
    struct attr attr;
    uint64_t size = 0;
    bool waits = inode_content_dirty(inode);
    TRY(inode_load(fs, inode));
    TRY(node_path(inode->node, &path));
    attr = inode->attr;
    if (waits) /* content and attributes are published together, later: only the id goes into those of the store */
        TRY(read_attributes(fs, inode->node, &attr, &size));
    attr.xattrs = xattrs;
    attr.ctime = inode_now();
    TRY(write_attributes(fs, inode, path_slice(&path), slice(meta, attr_encode(&attr, meta)), batch));
    inode->attr.xattrs = xattrs;
    inode->attr.ctime = attr.ctime;
    inode->attr_dirty = waits;
    inode_note(fs, inode);
    if (inode->node->parent)
        atomic_fetch_add(&node_parent(inode->node)->publications, 1);
    return PLSM_OK;
}

void inode_discard(struct fs *fs, struct inode *inode)
{
    inode->written = inode->truncated = inode->flushed_once = inode->attr_dirty = false;
    inode->failed = PLSM_OK;
    plsm_edit_close(inode->edit);
    inode->edit = NULL;
    inode->fresh = inode->loaded = false;
    atomic_fetch_or(&inode->node->flags, NODE_STALE);
    inode_note(fs, inode);
}

void inode_settle(struct fs *fs, struct inode *inode)
{
    if (!inode_content_dirty(inode) && !inode->attr_dirty)
        return;
    if (inode_gone(inode)) {
        inode_publish(fs, inode); /* only takes it from the list of dirty ones */
    } else {
        inode_discard(fs, inode);
        atomic_store(&fs->stale, true);
    }
}

/* The first inode in the list that has been dirty since before `before_ns`, with a user more. Files wait for
 * publish_interval, directories for TIMES_DELAY_NS; `age_file_ns` 0: at once, UINT64_MAX: never. */
static struct inode *next_due(struct fs *fs, uint64_t now_ns, uint64_t age_file_ns, uint64_t age_directory_ns)
{
    mutex_lock(&fs->nodes.lock);
    struct inode *inode = fs->dirty;
    for (; inode; inode = inode->dirty_next) {
        uint64_t age_ns = inode->node->flags & NODE_DIRECTORY ? age_directory_ns : age_file_ns;
        if (inode->dirty_since_ns <= now_ns && now_ns - inode->dirty_since_ns >= age_ns)
            break;
    }
    if (inode)
        inode->users++;
    mutex_unlock(&fs->nodes.lock);
    return inode;
}

/* Publishes all that is due. What fails is due again after its whole age, so that it does not hold up the others. */
static void publish_due(struct fs *fs, uint64_t now_ns, uint64_t age_file_ns, uint64_t age_directory_ns)
{
    struct inode *inode = NULL;
    while ((inode = next_due(fs, now_ns, age_file_ns, age_directory_ns))) {
        tree_share(&fs->nodes);
        mutex_lock(&inode->lock);
        plsm_status status = inode_publish(fs, inode);
        if (status != PLSM_OK) {
            fs_errno_of_change(fs, status); /* counts and logs it */
            mutex_lock(&fs->nodes.lock);
            inode->dirty_since_ns = now_ns;
            mutex_unlock(&fs->nodes.lock);
        }
        mutex_unlock(&inode->lock);
        tree_unshare(&fs->nodes);
        inode_put(fs, inode);
    }
}

struct stale {
    struct node *found[64]; /* held */
    unsigned count;
};

static void find_stale(void *arg, struct node *node)
{
    struct stale *stale = arg;
    if (!(node->flags & NODE_STALE) || stale->count == sizeof stale->found / sizeof *stale->found)
        return;
    atomic_fetch_and(&node->flags, (uint8_t)~NODE_STALE);
    node->lookups++;
    stale->found[stale->count++] = node;
}

/* What a mapping has changed stays in the kernel's pages when it could not be written. Where no open comes at which to
 * drop them, it is told to; that waits for pages which requests have, so it is not for a thread of the loop. */
static void drop_stale(struct fs *fs)
{
    struct stale stale = {0};
    if (!atomic_exchange(&fs->stale, false) || fs->ended)
        return;
    mutex_lock(&fs->nodes.lock);
    node_each(&fs->nodes, find_stale, &stale);
    mutex_unlock(&fs->nodes.lock);
    if (stale.count == sizeof stale.found / sizeof *stale.found)
        atomic_store(&fs->stale, true); /* there may be more, for the next time */
    for (unsigned i = 0; i < stale.count; i++) {
        fuse_lowlevel_notify_inval_inode(fs->session, node_ino(fs, stale.found[i]), 0, 0);
        inode_forget(fs, stale.found[i], 1);
    }
}

void inode_ticker(void *arg)
{
    struct fs *fs = arg;
    uint64_t interval_ns = fs->options.publish_interval_ns ? fs->options.publish_interval_ns : UINT64_MAX;
    mutex_lock(&fs->ticker_lock);
    while (!fs->ticker_stop) {
        condition_wait_ns(&fs->ticker_wake, &fs->ticker_lock, TIMES_DELAY_NS / 2);
        mutex_unlock(&fs->ticker_lock);
        publish_due(fs, env_now_ns(env_posix()), interval_ns, TIMES_DELAY_NS);
        drop_stale(fs);
        if (!fs->options.read_only)
            plsm_reclaim(fs->db); /* what fails here fails a write, too, and is told there */
        node_trim(&fs->nodes);
        control_trim(fs->control);
        mutex_lock(&fs->ticker_lock);
    }
    mutex_unlock(&fs->ticker_lock);
}

plsm_status inode_publish_all(struct fs *fs)
{
    plsm_status first = PLSM_OK;
    for (struct inode *inode = NULL; (inode = next_due(fs, UINT64_MAX, 0, 0));) {
        tree_share(&fs->nodes);
        mutex_lock(&inode->lock);
        plsm_status status = inode_publish(fs, inode);
        if (status != PLSM_OK) {
            syslog(LOG_ERR, "lost at unmount: %s", plsm_message());
            inode_discard(fs, inode);
            first = first == PLSM_OK ? status : first;
        }
        mutex_unlock(&inode->lock);
        tree_unshare(&fs->nodes);
        inode_put(fs, inode);
    }
    return first;
}
