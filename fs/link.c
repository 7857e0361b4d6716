#include "fs/link.h"

#include <errno.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checksum.h"
#include "base/error.h"
#include "fs/control.h"
#include "fs/ops.h"
#include "base/banned.h"

enum { LINKS_NAME_MAX = 200 }; /* longer components may show as more than one name (fs/escape.h) */

struct node *entry_node(struct fs *fs, struct node *parent, const struct entry *entry)
{
    return entry->shared ? node_find_shared(&fs->nodes, entry->shared)
                         : node_find(&fs->nodes, parent, entry_piece(entry), entry->node_flags);
}

plsm_status touch_other_names(const struct entry *entry, struct inode *inode, struct timespec now, plsm_batch *batch)
{
    uint8_t meta[ATTR_SIZE_MAX];
    struct attr attr = entry->attr;
    if (!entry->shared || attr.other_names == 0)
        return PLSM_OK;
    if (inode) {
        mutex_lock(&inode->lock);
        inode->attr.ctime = now;
        attr = inode->attr;
        mutex_unlock(&inode->lock);
    }
    attr.ctime = now;
    return plsm_batch_set_meta_shared(batch, entry->shared, slice(meta, attr_encode(&attr, meta)));
}

/* Counts the directories behind a directory's key; false: there is too much to look at. *lasts becomes false when what
 * was counted may go by itself. */
static bool count_below(plsm_iterator *it, plsm_slice key, uint32_t *count, bool *lasts)
{
    unsigned cost = 0;
    uint8_t behind[NAME_SIZE_MAX + PLSM_KEY_MAX + 1];
    plsm_iterator_first(it);
    while (plsm_iterator_valid(it)) {
        plsm_slice at = plsm_iterator_key(it);
        const char *bytes = at.data, *slash = memchr(bytes + key.size, '/', at.size - key.size);
        size_t end = slash ? (size_t)(slash - bytes) : at.size;
        cost += slash ? LINKS_COST_SEEK : 1;
        if (cost > LINKS_COST_MAX || end - key.size > LINKS_NAME_MAX)
            return false;
        if (!slash) {
            plsm_iterator_next(it);
            continue;
        }
        if (plsm_iterator_expires(it))
            *lasts = false;
        ++*count;
        memcpy(behind, bytes, end);
        behind[end] = '/' + 1;
        plsm_iterator_seek(it, slice(behind, end + 1));
    }
    return plsm_iterator_status(it) == PLSM_OK;
}

/* False: the answer is not to be kept, as it could not be read, or what expires is part of it. */
static bool count_in_store(struct fs *fs, plsm_slice key, uint32_t *count)
{
    uint8_t end[PLSM_KEY_MAX];
    plsm_iterator *it = NULL;
    plsm_read_options options = {.snapshot = fs->snapshot, .no_value = true};
    uint32_t found = 1;
    bool lasts = true;
    *count = 0;
    if (plsm_iterator_create(fs->db, &options, key, prefix_end(key, end), &it) != PLSM_OK)
        return false;
    if (count_below(it, key, &found, &lasts))
        *count = found;
    bool good = lasts && plsm_iterator_status(it) == PLSM_OK;
    plsm_iterator_destroy(it);
    return good;
}

enum { COUNTED = sizeof((struct fs *)0)->counted / sizeof((struct fs *)0)->counted[0] };

static uint64_t path_hash(const struct path *path)
{
    uint64_t hash = key_hash(path->bytes, path->size);
    return hash ? hash : 1;
}

void directories_changed(struct fs *fs, const struct node *node)
{
    struct path path;
    bool one = node && node_path(node, &path) == PLSM_OK;
    unsigned first = one ? path_hash(&path) % COUNTED : 0;
    mutex_lock(&fs->counted_lock);
    for (unsigned i = first; i < (one ? first + 1 : COUNTED); i++) {
        fs->counted[i].path_hash = 0;
        fs->counted[i].changes++; /* who is counting now does not keep what it finds */
    }
    mutex_unlock(&fs->counted_lock);
}

uint32_t count_directories(struct fs *fs, const struct node *node)
{
    struct path path;
    plsm_abilities abilities;
    uint32_t count = 0;
    plsm_get_abilities(fs->db, &abilities);
    if ((node->flags & (NODE_DIRECTORY | NODE_SYNTHETIC | NODE_GONE)) != NODE_DIRECTORY || !abilities.ordered ||
        node_path(node, &path) != PLSM_OK)
        return 0;
    if (fs->mount || fs->ttl_s || atomic_load(&fs->expires)) {
        count_in_store(fs, path_slice(&path), &count);
        return count;
    }
    uint64_t hash = path_hash(&path);
    unsigned slot = hash % COUNTED;
    mutex_lock(&fs->counted_lock);
    uint32_t changes = fs->counted[slot].changes;
    bool kept = fs->counted[slot].path_hash == hash;
    count = fs->counted[slot].count;
    mutex_unlock(&fs->counted_lock);
    if (kept || !count_in_store(fs, path_slice(&path), &count))
        return count;
    mutex_lock(&fs->counted_lock);
    if (fs->counted[slot].changes == changes) {
        fs->counted[slot].path_hash = hash;
        fs->counted[slot].count = count;
    }
    mutex_unlock(&fs->counted_lock);
    return count;
}

/* Writes the name, and makes the file a shared value where it is none. `attr` is the file's. */
static plsm_status write_link(struct fs *fs, const struct node *node, uint64_t shared, plsm_slice name,
                              const struct attr *attr)
{
    uint8_t meta[ATTR_SIZE_MAX];
    struct path path;
    plsm_batch *batch = plsm_batch_create();
    if (!batch)
        return fail(PLSM_NO_MEMORY, "no memory for a batch");
    plsm_status status = if_nothing_there(batch, name);
    if (status == PLSM_OK && !node_is_shared(node)) {
        status = node_path(node, &path);
        if (status == PLSM_OK)
            status = plsm_batch_share(batch, path_slice(&path), shared);
    }
    if (status == PLSM_OK)
        status = plsm_batch_link(batch, shared, name, slice(meta, attr_encode(attr, meta)));
    if (status == PLSM_OK)
        status = plsm_write(fs->db, batch, fs->names_durability);
    plsm_batch_destroy(batch);
    return status;
}

/* Gives a file another name; with the lock of its inode, which is loaded. Content that is not published stays so. */
static plsm_status link_inode(struct fs *fs, struct inode *inode, plsm_slice name, uint64_t *shared)
{
    struct node *node = inode->node;
    char *piece = NULL;
    plsm_status status = PLSM_OK;
    struct attr attr = inode->attr;
    attr.ctime = inode_now();
    *shared = node_shared(node);
    if (!*shared) {
        piece = mem_alloc(NODE_SHARED_SIZE);
        status = piece ? plsm_new_id(fs->db, shared) : fail(PLSM_NO_MEMORY, "no memory for a name");
    }
    if (status == PLSM_OK)
        status = write_link(fs, node, *shared, name, &attr);
    if (status != PLSM_OK) {
        mem_free(piece);
        return status;
    }
    inode->attr.ctime = attr.ctime;
    inode->attr.other_names++;
    if (piece)
        node_share(&fs->nodes, node, *shared, piece);
    return PLSM_OK;
}

/* The exclusive tree lock is held. Returns 0 or an errno value, and fills the reply. */
static int add_name(struct fs *fs, struct node *node, struct node *parent, const char *name,
                    struct fuse_entry_param *reply)
{
    struct entry entry;
    bool creatable = false;
    uint64_t shared = 0;
    if (node->flags & NODE_GONE)
        return ENOENT;
    if (node->flags & (NODE_DIRECTORY | NODE_VALUE) || name_reserved(parent, name))
        return EPERM;
    int error = entry_find(fs, parent, name, &entry, &creatable);
    if (error != ENOENT)
        return error ? error : EEXIST;
    if (!creatable)
        return EINVAL;
    entry.key.bytes[entry.key.size] = '/';
    struct inode *inode = inode_get(fs, node);
    if (!inode)
        return ENOMEM;
    mutex_lock(&inode->lock);
    plsm_status status = inode_load(fs, inode);
    if (status == PLSM_OK)
        status = link_inode(fs, inode, path_slice(&entry.key), &shared);
    struct stored_entry stored = {
        .shared = shared, .attr = inode->attr, .size = inode->size, .publications = publications_in(fs, parent)};
    mutex_unlock(&inode->lock);
    if (status == PLSM_OK) {
        touch_directory(fs, parent);
        error = fill_entry(fs, parent, &stored, reply);
    } else {
        /* A conflict: a batch has deleted the file, which is still open to be written. */
        error = status == PLSM_TOO_LARGE ? EMLINK : status == PLSM_CONFLICT ? ENOENT : fs_errno_of_change(fs, status);
    }
    inode_put(fs, inode);
    return error;
}

void fs_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
    struct fs *fs = fs_of(req);
    struct fuse_entry_param reply = {0};
    tree_exclude(&fs->nodes);
    int error = add_name(fs, node_of(fs, ino), node_of(fs, parent), name, &reply);
    tree_unexclude(&fs->nodes);
    if (error)
        fuse_reply_err(req, error);
    else if (fuse_reply_entry(req, &reply) != 0)
        inode_forget(fs, node_of(fs, reply.ino), 1);
}
