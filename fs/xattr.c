#include "fs/xattr.h"

#include <errno.h>
#include <sys/xattr.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "fs/ops.h"
#include "base/banned.h"

enum { PREFIX_SIZE = sizeof XATTR_RECORDS - 1, ID_KEY_SIZE = PREFIX_SIZE + 8 };
static_assert(PREFIX_SIZE == 8, "as fs/xattr.h says");

static const char capability[] = "security.capability";

/* --- records ------------------------------------------------------------------------------------------------------ */

struct record_key {
    size_t size;
    uint8_t bytes[ID_KEY_SIZE + XATTR_NAME_SIZE_MAX];
};

/* An empty name: where the records of an id start. */
static plsm_slice make_key(struct record_key *key, uint64_t id, const char *name)
{
    size_t name_size = strlen(name);
    INVARIANT(name_size <= XATTR_NAME_SIZE_MAX);
    memcpy(key->bytes, XATTR_RECORDS, PREFIX_SIZE);
    put_be64(key->bytes + PREFIX_SIZE, id);
    memcpy(key->bytes + ID_KEY_SIZE, name, name_size);
    key->size = ID_KEY_SIZE + name_size;
    return slice(key->bytes, key->size);
}

/* Calls `each` with the key of every record of an id. */
static plsm_status each_record(struct fs *fs, uint64_t id, plsm_status (*each)(void *arg, plsm_slice key), void *arg)
{
    struct record_key from, to;
    plsm_read_options options = {.keyspace = PLSM_INTERNAL, .no_value = true};
    plsm_iterator *it = NULL;
    TRY(plsm_iterator_create(fs->db, &options, make_key(&from, id, ""), make_key(&to, id + 1, ""), &it));
    plsm_status status = PLSM_OK;
    for (plsm_iterator_first(it); status == PLSM_OK && plsm_iterator_valid(it); plsm_iterator_next(it))
        status = each(arg, plsm_iterator_key(it));
    if (status == PLSM_OK)
        status = plsm_iterator_status(it);
    plsm_iterator_destroy(it);
    return status;
}

/* The name in a record's key. A scan of one id's range meets nothing shorter. */
static plsm_slice name_of(plsm_slice key)
{
    return slice((const uint8_t *)key.data + ID_KEY_SIZE, key.size - ID_KEY_SIZE);
}

static plsm_status read_record(struct fs *fs, uint64_t id, const char *name, bool no_value, plsm_value *value)
{
    struct record_key key;
    plsm_read_options options = {.keyspace = PLSM_INTERNAL, .no_value = no_value};
    return id ? plsm_get(fs->db, &options, make_key(&key, id, name), value) : PLSM_NOT_FOUND;
}

static plsm_status add_deletion(void *arg, plsm_slice key)
{
    return plsm_batch_delete(arg, PLSM_INTERNAL, key);
}

plsm_status xattr_delete_all(struct fs *fs, uint64_t id, plsm_batch *batch)
{
    return id ? each_record(fs, id, add_deletion, batch) : PLSM_OK;
}

/* Deletes the record, and sets the file's ctime. */
static plsm_status delete_record(struct fs *fs, struct inode *inode, const char *name)
{
    struct record_key key;
    plsm_batch *batch = plsm_batch_create();
    if (!batch)
        return fail(PLSM_NO_MEMORY, "no memory for a batch");
    plsm_status status = plsm_batch_delete(batch, PLSM_INTERNAL, make_key(&key, inode->attr.xattrs, name));
    if (status == PLSM_OK)
        status = inode_write_xattrs(fs, inode, inode->attr.xattrs, batch);
    plsm_batch_destroy(batch);
    return status;
}

plsm_status xattr_drop_capability(struct fs *fs, struct inode *inode)
{
    plsm_value value = {0};
    if (!inode->attr.xattrs || inode_gone(inode))
        return PLSM_OK;
    plsm_status status = read_record(fs, inode->attr.xattrs, capability, true, &value);
    plsm_value_free(&value);
    if (status == PLSM_OK)
        status = delete_record(fs, inode, capability);
    return status == PLSM_NOT_FOUND ? PLSM_OK : status;
}

/* --- what is asked of the mount ----------------------------------------------------------------------------------- */

static bool starts_with(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

/* Whether a name is in a namespace that is kept here: 0 or an errno value. */
static int check_name(const char *name)
{
    static const char *const kept[] = {"user.", "trusted.", "security."};
    if (strlen(name) > XATTR_NAME_SIZE_MAX)
        return ERANGE;
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        if (starts_with(name, kept[i]))
            return name[strlen(kept[i])] ? 0 : EINVAL;
    return EOPNOTSUPP;
}

/* An inode with its lock taken and its attributes read, or an errno value. */
static int begin_change(struct fs *fs, fuse_ino_t ino, const char *name, struct inode **out)
{
    int error = check_name(name);
    *out = NULL;
    if (error)
        return error;
    if (starts_with(name, XATTR_VIRTUAL_PREFIX))
        return EPERM;
    struct node *node = node_of(fs, ino);
    if (node->flags & (NODE_SYNTHETIC | NODE_VALUE))
        return EPERM;
    struct inode *inode = inode_get(fs, node);
    if (!inode)
        return ENOMEM;
    mutex_lock(&inode->lock);
    *out = inode;
    if (inode_gone(inode))
        return ESTALE; /* its attributes went with its name */
    plsm_status status = inode_load(fs, inode);
    return status == PLSM_OK ? 0 : fs_errno_of_change(fs, status);
}

static void end_change(struct fs *fs, struct inode *inode)
{
    if (!inode)
        return;
    mutex_unlock(&inode->lock);
    inode_put(fs, inode);
}

static plsm_status add_size(void *arg, plsm_slice key)
{
    *(size_t *)arg += name_of(key).size + 1;
    return PLSM_OK;
}

/* Whether another name still fits what listxattr(2) can give back. */
static int check_room(struct fs *fs, uint64_t id, const char *name)
{
    size_t bytes = strlen(name) + 1;
    plsm_status status = id ? each_record(fs, id, add_size, &bytes) : PLSM_OK;
    if (status != PLSM_OK)
        return fs_errno(fs, status);
    return bytes > XATTR_LIST_BYTES_MAX ? ENOSPC : 0;
}

static plsm_status write_record(struct fs *fs, struct inode *inode, const char *name, plsm_slice value)
{
    struct record_key key;
    uint64_t id = inode->attr.xattrs;
    if (!id && inode->attr.ino >> 63 == 0)
        id = inode->attr.ino;
    else if (!id) /* made up from a key that another entry may have some day */
        TRY(plsm_new_id(fs->db, &id));
    plsm_batch *batch = plsm_batch_create();
    if (!batch)
        return fail(PLSM_NO_MEMORY, "no memory for a batch");
    plsm_status status = plsm_batch_put(batch, PLSM_INTERNAL, make_key(&key, id, name), slice(NULL, 0), value);
    if (status == PLSM_OK)
        status = inode_write_xattrs(fs, inode, id, batch);
    plsm_batch_destroy(batch);
    return status;
}

static int set(struct fs *fs, struct inode *inode, const char *name, plsm_slice value, int flags)
{
    plsm_value old = {0};
    int error = 0;
    if (value.size > XATTR_VALUE_SIZE_MAX)
        return E2BIG;
    plsm_status status = read_record(fs, inode->attr.xattrs, name, true, &old);
    plsm_value_free(&old);
    if (status != PLSM_OK && status != PLSM_NOT_FOUND)
        return fs_errno(fs, status);
    if (status == PLSM_OK && flags & XATTR_CREATE)
        return EEXIST;
    if (status == PLSM_NOT_FOUND && flags & XATTR_REPLACE)
        return ENODATA;
    if (status == PLSM_NOT_FOUND)
        error = check_room(fs, inode->attr.xattrs, name);
    return error ? error : fs_errno_of_change(fs, write_record(fs, inode, name, value));
}

void fs_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
    struct fs *fs = fs_of(req);
    struct inode *inode = NULL;
    tree_share(&fs->nodes);
    int error = begin_change(fs, ino, name, &inode);
    if (!error)
        error = set(fs, inode, name, slice(value, size), flags);
    end_change(fs, inode);
    tree_unshare(&fs->nodes);
    fuse_reply_err(req, error);
}

void fs_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    struct fs *fs = fs_of(req);
    struct inode *inode = NULL;
    plsm_value value = {0};
    tree_share(&fs->nodes);
    int error = begin_change(fs, ino, name, &inode);
    if (!error) {
        plsm_status status = read_record(fs, inode->attr.xattrs, name, true, &value);
        plsm_value_free(&value);
        if (status == PLSM_NOT_FOUND)
            error = ENODATA;
        else
            error = fs_errno_of_change(fs, status == PLSM_OK ? delete_record(fs, inode, name) : status);
    }
    end_change(fs, inode);
    tree_unshare(&fs->nodes);
    fuse_reply_err(req, error);
}

/* The id of a node's records; 0 when there are none. */
static plsm_status id_of(struct fs *fs, struct node *node, uint64_t *id)
{
    struct attr attr;
    uint64_t size = 0;
    *id = 0;
    if (node->flags & (NODE_SYNTHETIC | NODE_VALUE | NODE_GONE))
        return PLSM_OK;
    TRY(inode_stat(fs, node, &attr, &size));
    *id = attr.xattrs;
    return PLSM_OK;
}

static void reply_bytes(fuse_req_t req, plsm_slice bytes, size_t size)
{
    if (size == 0)
        fuse_reply_xattr(req, bytes.size);
    else if (bytes.size > size)
        fuse_reply_err(req, ERANGE);
    else
        fuse_reply_buf(req, bytes.data, bytes.size);
}

static void get_virtual(fuse_req_t req, struct node *node, const char *name, size_t size)
{
    struct fs *fs = fs_of(req);
    struct path path;
    struct buf text = {0};
    bool known = false;
    tree_share(&fs->nodes);
    uint64_t shared = node_shared(node);
    plsm_status status = node->flags & (NODE_SYNTHETIC | NODE_GONE) ? PLSM_NOT_FOUND : node_path(node, &path);
    tree_unshare(&fs->nodes);
    if (status == PLSM_OK && path.size == 0)
        status = PLSM_NOT_FOUND; /* the root is no name */
    if (status == PLSM_OK)       /* without the lock: a digest takes its time */
        status = xattr_virtual(fs, path_slice(&path), shared, name, size == 0, &text, &known);
    if (status == PLSM_NOT_FOUND || (status == PLSM_OK && !known))
        fuse_reply_err(req, ENODATA);
    else if (status != PLSM_OK)
        fuse_reply_err(req, fs_errno(fs, status));
    else
        reply_bytes(req, slice(text.data, text.size), size);
    buf_free(&text);
}

void fs_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    struct fs *fs = fs_of(req);
    plsm_value value = {0};
    uint64_t id = 0;
    int error = check_name(name);
    if (error) {
        fuse_reply_err(req, error);
        return;
    }
    if (starts_with(name, XATTR_VIRTUAL_PREFIX)) {
        get_virtual(req, node_of(fs, ino), name, size);
        return;
    }
    tree_share(&fs->nodes);
    plsm_status status = id_of(fs, node_of(fs, ino), &id);
    if (status == PLSM_OK)
        status = read_record(fs, id, name, size == 0, &value);
    tree_unshare(&fs->nodes);
    if (status == PLSM_NOT_FOUND)
        fuse_reply_err(req, ENODATA);
    else if (status != PLSM_OK)
        fuse_reply_err(req, fs_errno(fs, status));
    else if (size == 0)
        fuse_reply_xattr(req, (size_t)value.size);
    else
        reply_bytes(req, value.value, size);
    plsm_value_free(&value);
}

struct name_list {
    struct buf names;
    bool by_root;
};

static plsm_status add_name(void *arg, plsm_slice key)
{
    struct name_list *list = arg;
    plsm_slice name = name_of(key);
    if (!list->by_root && slice_starts_with(name, slice_of("trusted.")))
        return PLSM_OK;
    TRY(buf_append(&list->names, name.data, name.size));
    return buf_append(&list->names, "", 1);
}

void fs_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    struct fs *fs = fs_of(req);
    struct name_list list = {.by_root = fuse_req_ctx(req)->uid == 0};
    uint64_t id = 0;
    tree_share(&fs->nodes);
    plsm_status status = id_of(fs, node_of(fs, ino), &id);
    if (status == PLSM_OK && id)
        status = each_record(fs, id, add_name, &list);
    tree_unshare(&fs->nodes);
    if (status == PLSM_OK)
        reply_bytes(req, slice(list.names.data, list.names.size), size);
    else
        fuse_reply_err(req, status == PLSM_NOT_FOUND ? ESTALE : fs_errno(fs, status));
    buf_free(&list.names);
}
