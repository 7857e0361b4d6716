#include "fs/commit.h"

#include <errno.h>
#include <linux/fuse.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/error.h"
#include "fs/entry.h"
#include "fs/inode.h"
#include "fs/link.h"
#include "fs/mountpoint.h"
#include "fs/ops.h"
#include "fs/remove.h"
#include "fs/xattr_sweep.h"
#include "base/banned.h"

/* --- names that are absent ---------------------------------------------------------------------------------------- */

enum { ABSENT_BITS = 1 << 20 };

struct absent {
    _Atomic uint64_t words[ABSENT_BITS / 64];
};

plsm_status absent_create(struct absent **out)
{
    *out = mem_zalloc(sizeof **out);
    return *out ? PLSM_OK : fail(PLSM_NO_MEMORY, "no memory for absent names");
}

void absent_destroy(struct absent *absent)
{
    mem_free(absent);
}

static uint64_t absent_hash(const struct node *parent, plsm_slice name)
{
    return (key_hash(name.data, name.size) ^ (uintptr_t)parent) * UINT64_C(0x9e3779b97f4a7c15);
}

void absent_note(struct fs *fs, const struct node *parent, plsm_slice name)
{
    uint64_t hash = absent_hash(parent, name);
    if (!fs->absent) /* in a view: nothing in it changes */
        return;
    for (int i = 0; i < 2; i++, hash = hash << 32 | hash >> 32) {
        uint32_t bit = (uint32_t)(hash >> 44);
        uint64_t mask = UINT64_C(1) << (bit % 64);
        if (!(atomic_load(&fs->absent->words[bit / 64]) & mask))
            atomic_fetch_or(&fs->absent->words[bit / 64], mask);
    }
}

bool absent_may_be(const struct fs *fs, const struct node *parent, plsm_slice name)
{
    uint64_t hash = absent_hash(parent, name);
    bool may = true;
    for (int i = 0; i < 2 && may; i++, hash = hash << 32 | hash >> 32) {
        uint32_t bit = (uint32_t)(hash >> 44);
        may = atomic_load(&fs->absent->words[bit / 64]) >> (bit % 64) & 1;
    }
    return may;
}

/* --- notices ------------------------------------------------------------------------------------------------------ */

/* From so many on, one message that outdates all names of the mount is cheaper than one for each. */
enum { NOTICES_EACH_MAX = 2000 };

struct notice {
    fuse_ino_t ino;     /* of the directory; without a name: of what is to be asked for its attributes again */
    size_t name_offset; /* in `names` */
    uint16_t name_size;
    bool expires; /* the name may stay what it is */
    bool kept;    /* who has it open keeps what was in it, until the kernel forgets that (fs/remove.c) */
};

static void add_notice(struct notices *notices, fuse_ino_t ino, plsm_slice name, bool expires)
{
    if (notices->count > 0) { /* keys of one new directory name it again and again */
        const struct notice *last = &notices->items[notices->count - 1];
        if (last->ino == ino && slice_equal(slice(notices->names.data + last->name_offset, last->name_size), name))
            return;
    }
    if (notices->count == notices->capacity) {
        size_t capacity = notices->capacity ? 2 * notices->capacity : 1; /* most are of one name */
        struct notice *items = mem_realloc(notices->items, capacity * sizeof *items);
        if (!items) {
            notices->incomplete = true;
            return;
        }
        notices->items = items;
        notices->capacity = capacity;
    }
    struct notice notice = {
        .ino = ino, .name_offset = notices->names.size, .name_size = (uint16_t)name.size, .expires = expires};
    /* With a terminator: libfuse sends one byte more than the name has. */
    if (buf_append(&notices->names, name.data, name.size) == PLSM_OK && buf_append(&notices->names, "", 1) == PLSM_OK)
        notices->items[notices->count++] = notice;
    else
        notices->incomplete = true;
}

void notices_add_name(struct notices *notices, uint64_t ino, plsm_slice name)
{
    add_notice(notices, ino, name, false);
}

/* Outdates all names of the mount at once. Only the kernel's header of the day may know the code. */
static bool outdate_all_names(struct fs *fs)
{
    enum { NOTIFY_INC_EPOCH = 8 };
    struct fuse_out_header header = {.len = sizeof header, .error = NOTIFY_INC_EPOCH};
    /* Cleared first: a name that is told absent from here on is noted before its answer; what the kernel asked for
     * before is outdated whenever the answer comes. */
    for (size_t i = 0; i < ABSENT_BITS / 64; i++)
        atomic_store(&fs->absent->words[i], 0);
    if (write(fuse_session_fd(fs->session), &header, sizeof header) == (ssize_t)sizeof header)
        return true;
    for (size_t i = 0; i < ABSENT_BITS / 64; i++) /* an older kernel: any name may be known as absent */
        atomic_store(&fs->absent->words[i], UINT64_MAX);
    return false;
}

/* Has the kernel look a name up again. A directory is looked at again before it is dropped, as what is mounted in it
 * goes with it. */
static void outdate_name(struct fs *fs, const struct notice *notice, const char *name)
{
    /* Failures: the kernel does not know it (any more), or the mount is gone. */
    if (!notice->expires || fuse_lowlevel_notify_expire_entry(fs->session, notice->ino, name, notice->name_size,
                                                              FUSE_LL_EXPIRE_ONLY) == -ENOSYS)
        fuse_lowlevel_notify_inval_entry(fs->session, notice->ino, name, notice->name_size);
}

void notices_drop(struct notices *notices)
{
    mem_free(notices->items);
    buf_free(&notices->names);
    *notices = (struct notices){0};
}

void notices_send(struct fs *fs, struct notices *notices)
{
    bool all = false;
    /* With all names, directories are dropped without a look, and with them what is mounted there. */
    if (fs->session &&
        (notices->incomplete || (notices->count > NOTICES_EACH_MAX && !mountpoint_has_mounts(fs->device))))
        all = outdate_all_names(fs);
    for (size_t i = 0; fs->session && i < notices->count; i++) {
        const struct notice *notice = &notices->items[i];
        const char *name = (const char *)notices->names.data + notice->name_offset;
        if (notice->name_size == 0)
            fuse_lowlevel_notify_inval_inode(fs->session, notice->ino, -1, 0);
        else if (!all || notice->kept) /* a name that is only outdated goes at its next lookup, if there is one */
            outdate_name(fs, notice, name);
    }
    notices_drop(notices);
}

/* --- which nodes a change meets ----------------------------------------------------------------------------------- */

/* Where nobody tells who has a file open (fs/file.h), so many that a batch changes keep their content for who has; who
 * has another one open gets ESTALE for what the kernel has not kept. They are read with the tree lock held, so that
 * others wait: a batch over 1,000 values of 3,000 bytes in memory takes 10 ms instead of 7. */
enum { KEPT_MAX = 1000 };

/* A node that stands for a key which changes. */
struct met {
    struct node *node;   /* held */
    struct inode *inode; /* of prepare_gone; NULL: nobody has it open */
};

struct commit {
    struct fs *fs;
    struct notices *notices;
    struct met *met;
    size_t count, capacity;
    unsigned kept;          /* of KEPT_MAX */
    struct entry entry;     /* room to work in */
    struct node *directory; /* of the last key, held; NULL: the root */
    struct path directory_key;
    bool directory_deletes;
    plsm_status status;
};

/* Names by which the kernel may know, or hold for absent, what has this piece (without '/'). A directory also has the
 * name that it shows under beside a file. */
static void note_names(struct commit *commit, struct node *parent, plsm_slice piece, bool directory, bool known)
{
    struct shown_name shown;
    for (int beside = piece.size == 0; beside <= directory; beside++) {
        escape_encode(piece, !parent->parent, beside, &shown);
        if (known || absent_may_be(commit->fs, parent, slice(shown.bytes, shown.size)))
            add_notice(commit->notices, node_ino(commit->fs, parent), slice(shown.bytes, shown.size), directory);
    }
}

/* Takes note of a node, held, and takes it over. */
static bool add_met(struct commit *commit, struct met met)
{
    if (commit->count == commit->capacity) {
        size_t capacity = commit->capacity ? 2 * commit->capacity : 64;
        struct met *grown = mem_realloc(commit->met, capacity * sizeof *grown);
        if (!grown) {
            commit->status = fail(PLSM_NO_MEMORY, "no memory to note which files change");
            inode_forget(commit->fs, met.node, 1);
            return false;
        }
        commit->met = grown;
        commit->capacity = capacity;
    }
    commit->met[commit->count++] = met;
    return true;
}

/* The inode of a file that somebody has open, or may have; NULL: nobody has, or there is no memory. The notice of its
 * name is the last one. */
static struct inode *inode_of_open(struct commit *commit, struct node *node)
{
    struct notices *notices = commit->notices;
    bool maybe = commit->fs->no_open && commit->kept < KEPT_MAX;
    struct inode *inode = maybe ? inode_get(commit->fs, node) : inode_get_existing(commit->fs, node);
    commit->kept += maybe;
    if (inode && notices->count > 0)
        notices->items[notices->count - 1].kept = true;
    return inode;
}

/* What was in a file could not be kept. Where perhaps nobody has it open, a damaged one is not to stay for that, just
 * as with unlink. */
static void not_kept(struct commit *commit, plsm_status status)
{
    if (!commit->fs->no_open || status == PLSM_NO_MEMORY)
        commit->status = status;
}

/* One of the names of a shared value goes. Whether it has others then the store tells, when it has been written. */
static void meet_shared(struct commit *commit, struct node *node)
{
    struct fs *fs = commit->fs;
    plsm_status status = PLSM_OK;
    if (!add_met(commit, (struct met){.node = node}))
        return;
    struct inode *inode = inode_of_open(commit, node);
    add_notice(commit->notices, node_ino(fs, node), slice(NULL, 0), false);
    if (!inode)
        return;
    commit->met[commit->count - 1].inode = inode;
    mutex_lock(&inode->lock);
    status = inode_load(fs, inode);
    if (status == PLSM_OK && (inode->handles || fs->no_open) && !inode->fresh)
        status = inode_open_content(fs, inode); /* who has it open goes on reading it */
    mutex_unlock(&inode->lock);
    if (status != PLSM_OK)
        not_kept(commit, status);
}

/* Takes note of the node of a file, held, and takes it over. */
static void meet(struct commit *commit, struct node *node)
{
    struct fs *fs = commit->fs;
    struct met met = {.node = node};
    struct inode *inode = inode_of_open(commit, node);
    mutex_lock(&fs->nodes.lock);
    bool writing = inode && inode->handles && (inode_content_dirty(inode) || inode->fresh);
    mutex_unlock(&fs->nodes.lock);
    if (inode) { /* what is being written comes when it is closed, with the attributes that it has now */
        plsm_status status = inode_stat(fs, node, &commit->entry.attr, &commit->entry.size);
        if (status == PLSM_OK && !writing)
            status = prepare_gone(fs, node, &commit->entry, &met.inode);
        if (status != PLSM_OK && status != PLSM_NOT_FOUND)
            not_kept(commit, status);
        inode_put(fs, inode);
    }
    if (writing)
        inode_forget(fs, node, 1);
    else if (!add_met(commit, met) && met.inode)
        inode_put(fs, met.inode);
}

/* Times of a directory that waited to be written go with its entry: they would bring it back. */
static void drop_times(struct fs *fs, struct node *node)
{
    struct inode *inode = inode_get_existing(fs, node);
    if (!inode)
        return;
    mutex_lock(&inode->lock);
    inode->attr_dirty = inode->loaded = false;
    inode_note(fs, inode);
    mutex_unlock(&inode->lock);
    inode_put(fs, inode);
}

/* The directory's own entry changes. */
static void meet_directory(struct commit *commit, struct node *node, bool deletes)
{
    struct fs *fs = commit->fs;
    struct node *value = node_hold(&fs->nodes, node, slice(NULL, 0), 0);
    add_notice(commit->notices, node_ino(fs, node), slice(NULL, 0), false);
    add_notice(commit->notices, node_ino(fs, node), slice_of(NAME_OF_VALUE), false);
    if (value)
        meet(commit, value);
    if (deletes) {
        atomic_fetch_or(&node->flags, NODE_IMPLIED);
        drop_times(fs, node);
        return;
    }
    struct inode *inode = inode_get(fs, node);
    if (!inode)
        return;
    mutex_lock(&inode->lock);
    if (!inode->attr_dirty) /* else times wait to be written, which are newer than the change */
        inode->loaded = false;
    mutex_unlock(&inode->lock);
    inode_put(fs, inode);
}

/* Goes on in `node`, held, which is the directory (or synthetic directory) that the first `size` bytes of `key` are. */
static void enter(struct commit *commit, struct node *node, plsm_slice key, size_t size, bool deletes)
{
    if (commit->directory)
        inode_forget(commit->fs, commit->directory, 1);
    commit->directory = node;
    commit->directory_deletes = deletes;
    commit->directory_key.size = size;
    memcpy(commit->directory_key.bytes, key.data, size);
}

/* The node, held, of the shared value that a key is a name of; NULL: none that the kernel knows. Such nodes are not
 * found by their names (fs/link.h), so the store is asked, while there are any. */
static struct node *hold_shared(struct commit *commit, plsm_slice key)
{
    struct fs *fs = commit->fs;
    plsm_value value = {0};
    plsm_read_options options = {.no_value = true};
    mutex_lock(&fs->nodes.lock);
    bool any = fs->nodes.shared.children > 0;
    mutex_unlock(&fs->nodes.lock);
    plsm_status status = any ? plsm_get(fs->db, &options, key, &value) : PLSM_NOT_FOUND;
    struct node *node = status == PLSM_OK && value.shared ? node_hold_shared(&fs->nodes, value.shared) : NULL;
    plsm_value_free(&value);
    if (status != PLSM_OK && status != PLSM_NOT_FOUND)
        commit->status = status;
    return node;
}

/* The last component of a key: a file. */
static void meet_file(struct commit *commit, struct node *parent, plsm_slice piece, plsm_slice key)
{
    struct node_table *nodes = &commit->fs->nodes;
    uint8_t *with_slash = commit->entry.key.bytes;
    struct node *node = node_hold(nodes, parent, piece, 0);
    if (!node)
        node = hold_shared(commit, key);
    memcpy(with_slash, piece.data, piece.size);
    with_slash[piece.size] = '/';
    struct node *directory = node_hold(nodes, parent, slice(with_slash, piece.size + 1), 0);
    note_names(commit, parent, piece, false, node || directory); /* the directory may have this name, or get it */
    if (directory)
        inode_forget(commit->fs, directory, 1);
    if (node && node_is_shared(node))
        meet_shared(commit, node);
    else if (node)
        meet(commit, node);
}

/* Follows a key from the root, or from the directory of the last one, as far as the kernel knows it. */
static void meet_key(struct commit *commit, plsm_slice key, bool deletes)
{
    struct node_table *nodes = &commit->fs->nodes;
    plsm_slice known = path_slice(&commit->directory_key);
    bool same = commit->directory && commit->directory_deletes == deletes && slice_starts_with(key, known);
    size_t at = same && key.size > known.size ? known.size : 0;
    while (at < key.size) {
        struct node *parent = at ? commit->directory : &nodes->root, *node = NULL;
        const uint8_t *bytes = (const uint8_t *)key.data + at, *slash = memchr(bytes, '/', key.size - at);
        plsm_slice piece = slice(bytes, slash ? (size_t)(slash - bytes) : key.size - at);
        struct shown_name shown = {.kind = NAME_PLAIN};
        if (piece.size > NAME_SIZE_MAX / 4)
            escape_encode(piece, at == 0, false, &shown);
        if (shown.kind == NAME_PIECE) { /* a component that is cut: what is cut off shows in a synthetic directory */
            plsm_slice name = slice(shown.bytes, shown.size);
            node = node_hold(nodes, parent, slice(bytes, shown.raw_size), NODE_SYNTHETIC);
            if (node || absent_may_be(commit->fs, parent, name))
                add_notice(commit->notices, node_ino(commit->fs, parent), name, true);
            if (node)
                enter(commit, node, key, at += shown.raw_size, deletes);
        } else if (!slash) {
            meet_file(commit, parent, piece, key);
        } else {
            bool own = piece.size + 1 == key.size - at;
            node = node_hold(nodes, parent, slice(bytes, piece.size + 1), 0);
            /* A directory that is there only through what lies in it may go with that. */
            if (!node || own || (deletes && node->flags & NODE_IMPLIED))
                note_names(commit, parent, piece, true, node != NULL);
            if (node && own)
                meet_directory(commit, node, deletes);
            if (node)
                enter(commit, node, key, at += piece.size + 1, deletes);
        }
        if (!node)
            break;
    }
}

/* The names in [from, to) of shared values that the kernel knows. */
static void meet_shared_range(struct commit *commit, plsm_slice from, plsm_slice to)
{
    struct node_table *nodes = &commit->fs->nodes;
    plsm_read_options options = {.no_value = true};
    plsm_iterator *it = NULL;
    mutex_lock(&nodes->lock);
    bool any = nodes->shared.children > 0;
    mutex_unlock(&nodes->lock);
    if (!any || commit->status != PLSM_OK)
        return;
    commit->status = plsm_iterator_create(commit->fs->db, &options, from, to, &it);
    if (commit->status != PLSM_OK)
        return;
    for (plsm_iterator_first(it); plsm_iterator_valid(it) && commit->status == PLSM_OK; plsm_iterator_next(it))
        if (plsm_iterator_shared(it) && node_find_shared(nodes, plsm_iterator_shared(it)))
            meet_key(commit, plsm_iterator_key(it), true);
    if (commit->status == PLSM_OK)
        commit->status = plsm_iterator_status(it);
    plsm_iterator_destroy(it);
}

/* What there is in a range. */
struct finding {
    plsm_slice from, to;
    struct path *path;   /* room to work in */
    struct node **found; /* held */
    size_t count;
};

static void find_in_range(void *arg, struct node *node)
{
    struct finding *f = arg;
    if (node_is_shared(node)) /* its path is no key */
        return;
    bool in = node_path(node, f->path) == PLSM_OK && slice_compare(path_slice(f->path), f->from) >= 0 &&
              (f->to.size == 0 || slice_compare(path_slice(f->path), f->to) < 0);
    if (!in && !(node->flags & (NODE_IMPLIED | NODE_SYNTHETIC)))
        return;
    node->lookups++;
    f->found[f->count++] = node;
}

/* Every node whose key is in [from, to), and all directories that may have gone with what lay in them. */
static void meet_range(struct commit *commit, plsm_slice from, plsm_slice to)
{
    struct node_table *nodes = &commit->fs->nodes;
    struct finding f = {.from = from, .to = to, .path = &commit->entry.key};
    mutex_lock(&nodes->lock);
    f.found = mem_alloc((nodes->count + 1) * sizeof *f.found);
    if (f.found)
        node_each(nodes, find_in_range, &f);
    mutex_unlock(&nodes->lock);
    if (!f.found)
        commit->status = fail(PLSM_NO_MEMORY, "no memory to note which files change");
    for (size_t i = 0; i < f.count; i++) {
        struct node *node = f.found[i], *parent = node_parent(node);
        plsm_slice piece = node_name(node);
        bool directory = node->flags & NODE_DIRECTORY, synthetic = node->flags & NODE_SYNTHETIC;
        bool value = node->flags & NODE_VALUE;
        if (value) { /* goes with its directory's entry, or stays with it */
            add_notice(commit->notices, node_ino(commit->fs, parent), slice_of(NAME_OF_VALUE), false);
        } else if (synthetic) {
            commit->notices->incomplete = true; /* its name depends on what is in it */
        } else {
            piece.size -= directory;
            note_names(commit, parent, piece, directory, true);
        }
        if (!directory) {
            meet(commit, node);
            continue;
        }
        if (!synthetic && !(node->flags & NODE_IMPLIED))
            meet_directory(commit, node, true);
        else if (!synthetic)
            drop_times(commit->fs, node);
        inode_forget(commit->fs, node, 1);
    }
    mem_free(f.found);
    meet_shared_range(commit, from, to);
}

static void meet_change(void *arg, const plsm_change *change)
{
    struct commit *commit = arg;
    if (change->keyspace != PLSM_NAMES || commit->status != PLSM_OK)
        return;
    if (change->is_range)
        meet_range(commit, change->key, change->to);
    else
        meet_key(commit, change->key, change->deletes);
}

/* --- batches from outside ----------------------------------------------------------------------------------------- */

plsm_status commit_charge(struct fs *fs, uint64_t *charged, uint64_t bytes)
{
    if (bytes <= *charged)
        return PLSM_OK;
    uint64_t grown = bytes - *charged;
    *charged = bytes;
    if (atomic_fetch_add(&fs->batch_bytes, grown) + grown > PLSM_BATCH_MAX)
        return fail(PLSM_NO_MEMORY, "all open batches together hold more than %llu bytes",
                    (unsigned long long)PLSM_BATCH_MAX);
    return PLSM_OK;
}

void commit_discharge(struct fs *fs, uint64_t *charged)
{
    atomic_fetch_sub(&fs->batch_bytes, *charged);
    *charged = 0;
}

/* --- committing --------------------------------------------------------------------------------------------------- */

static struct commit *begin(struct fs *fs, struct notices *notices)
{
    struct commit *commit = mem_zalloc(sizeof *commit);
    if (!commit) {
        fail(PLSM_NO_MEMORY, "no memory for a commit");
        return NULL;
    }
    commit->fs = fs;
    commit->notices = notices;
    tree_exclude(&fs->nodes);
    return commit;
}

/* After the write: whether a shared value that lost a name has gone with it. `inode` may be NULL. */
static bool shared_gone(struct fs *fs, struct node *node, struct inode *inode)
{
    plsm_value value = {0};
    plsm_read_options options = {.no_value = true};
    plsm_status status = plsm_get_shared(fs->db, &options, node_shared(node), &value);
    if (inode && (status == PLSM_OK || status == PLSM_NOT_FOUND)) {
        mutex_lock(&inode->lock);
        inode->attr.other_names = status == PLSM_OK ? value.names - 1 : 0;
        mutex_unlock(&inode->lock);
    }
    plsm_value_free(&value);
    return status == PLSM_NOT_FOUND;
}

static plsm_status finish(struct commit *commit, plsm_status status, plsm_durability durability)
{
    struct fs *fs = commit->fs;
    for (size_t i = 0; i < commit->count; i++) {
        struct node *node = commit->met[i].node;
        bool gone = status == PLSM_OK && !(node->flags & NODE_GONE); /* a key may have come twice */
        if (gone && node_is_shared(node))
            gone = shared_gone(fs, node, commit->met[i].inode);
        if (commit->met[i].inode)
            finish_gone(fs, commit->met[i].inode, gone);
        else if (gone)
            node_remove(&fs->nodes, node);
        inode_forget(fs, node, 1);
    }
    if (commit->directory)
        inode_forget(fs, commit->directory, 1);
    tree_unexclude(&fs->nodes);
    mem_free(commit->met);
    mem_free(commit);
    if (status == PLSM_OK && durability == PLSM_SYNC)
        status = plsm_sync(fs->db); /* without the lock: others go on while the disk works */
    return status;
}

plsm_status commit_batch(struct fs *fs, plsm_batch *batch, plsm_durability durability, struct notices *notices)
{
    struct commit *commit = begin(fs, notices);
    if (!commit)
        return PLSM_NO_MEMORY;
    plsm_batch_each(batch, meet_change, commit);
    plsm_status status = commit->status;
    if (status == PLSM_OK)
        status = xattr_drop_replaced(fs, batch);
    if (status == PLSM_OK)
        status = plsm_write(fs->db, batch, PLSM_NONE);
    directories_changed(fs, NULL);
    return finish(commit, status, durability);
}

/* Publishes the value, and removes the extended attributes of the old one. Between the two a crash may come, after
 * which nobody has them (fs/xattr_sweep.h). */
static plsm_status publish_edit(struct fs *fs, plsm_edit *edit, plsm_slice key)
{
    plsm_batch *batch = plsm_batch_create();
    plsm_status status = batch ? xattr_drop_of(fs, key, batch) : fail(PLSM_NO_MEMORY, "no memory for a batch");
    if (status == PLSM_OK)
        status = plsm_edit_commit(edit, slice(NULL, 0), PLSM_NONE);
    if (status == PLSM_OK && plsm_batch_count(batch) > 0)
        (void)plsm_write(fs->db, batch, PLSM_NONE); /* the value is there all the same */
    plsm_batch_destroy(batch);
    return status;
}

plsm_status commit_edit(struct fs *fs, plsm_edit *edit, plsm_slice key, plsm_durability durability,
                        struct notices *notices)
{
    struct commit *commit = begin(fs, notices);
    if (!commit)
        return PLSM_NO_MEMORY;
    meet_key(commit, key, false);
    plsm_status status = commit->status;
    if (status == PLSM_OK)
        status = publish_edit(fs, edit, key);
    directories_changed(fs, NULL);
    return finish(commit, status, durability);
}
