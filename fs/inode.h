/* Inodes: what a node has while it is open, has changed and is not yet published, or is unlinked and still known.
 *
 * All handles of a file share one inode and through it one plsm_edit, so that processes on this mount see what is
 * written before it is published. Content and attributes are published together:
 *   - by a flush (each close of a descriptor) when something was written or truncated since the last publication. A
 *     file truncated by open(O_TRUNC) alone waits for the second flush: a shell's redirection, touch and dd close a
 *     copy of the descriptor before they write, and readers of the store should not see the file empty between;
 *   - by the release of a handle that could write, and by the last release of any;
 *   - by a rename that replaces another file or is an exchange: the old value goes when the new one is in the store;
 *   - by each write in a mount with the option sync;
 *   - by fsync, by truncate(2) on a path, and by the ticker when older than publish_interval;
 *   - with publish=write, by each write, and by ftruncate(2). Then no flush is needed, and the kernel is told so.
 * Nothing is published while the last write has failed: flush and fsync repeat its error, and the old value stays where
 * the file is closed then (cp, dd on a full disk). A write that succeeds after it says that the writer goes on.
 *
 * Attributes changed while content is unpublished wait for it (tar sets three per file before it closes it);
 * otherwise they are written at once. The times of a directory, which change with each name made in it, are written
 * within TIMES_DELAY_NS, and at fsync and unmount: a kill of the daemon can lose that much of them, nothing else.
 *
 * Entries without meta, put through the library, have the attributes of inode_default: mode 0644 (directories 0755)
 * and the owner of the mount unless the options umask, fmask, dmask, uid and gid say otherwise, times of 0, and an
 * inode number that is a hash of the key with bit 63 set. The first change of attributes or name makes them permanent.
 * The root's stand in the key "fs.root" of the keyspace PLSM_INTERNAL.
 *
 * All functions need the tree lock, shared or exclusive, and those that take an inode its lock, unless they say
 * otherwise. */
#ifndef FS_INODE_H
#define FS_INODE_H

#include "fs/attr.h"
#include "fs/fs.h"

#define ROOT_KEY "fs.root"
#define TIMES_DELAY_NS UINT64_C(1000000000)

struct inode {
    mutex lock;
    struct node *node;
    unsigned users;      /* table lock */
    unsigned handles;    /* table lock: opens not yet released */
    unsigned writers;    /* table lock: those of them that may write */
    uint32_t place;                         /* table lock: in `inodes` of the table */
    struct inode *dirty_next, **dirty_link; /* table lock; dirty_link NULL: not in the list */
    uint64_t dirty_since_ns;                /* table lock; 0 when not in the list */
    struct attr attr;
    uint64_t size;
    plsm_edit *edit;            /* NULL until content is needed */
    bool mappable;              /* opened for reading and writing since somebody has it open: see fs/space.c */
    bool loaded;                /* attr and size are valid */
    bool fresh;                 /* the content is known to be empty and `edit` is not yet open */
    bool written;               /* content to publish */
    bool truncated;             /* content to publish, but by open(O_TRUNC) only */
    bool flushed_once;          /* a flush came since `truncated` */
    bool attr_dirty;            /* attributes to publish */
    plsm_status failed;         /* of the last write, if it failed: then nothing is published */
};

/* Finds or makes the inode of a node and counts a user; NULL: no memory. Not locked. */
struct inode *inode_get(struct fs *fs, struct node *node);
/* The same of a node that has one; NULL: it has none, so no file handle is on it and nothing waits to be written. */
struct inode *inode_get_existing(struct fs *fs, struct node *node);
/* Drops a user; the last one frees it. Its lock must not be held; needs no tree lock. */
void inode_put(struct fs *fs, struct inode *inode);
/* Lets the inode of a node that is gone live as long as the kernel knows the node, so that fstat on it works. */
void inode_pin(struct fs *fs, struct inode *inode);
/* Takes `lookups` from a node; needs no lock. */
void inode_forget(struct fs *fs, struct node *node, uint64_t lookups);
static inline bool inode_gone(const struct inode *inode)
{
    return inode->node->flags & NODE_GONE;
}

/* The attributes of an entry without meta. */
void inode_default(const struct fs *fs, plsm_slice key, bool directory, struct attr *attr);
/* The attributes of a synthetic directory; `key` is the beginning that it stands for. */
void inode_synthetic_attr(const struct fs *fs, plsm_slice key, struct attr *attr);
/* The attributes of the value of a directory's key (NAME_VALUE in fs/escape.h). */
void inode_value_attr(const struct fs *fs, plsm_slice key, struct attr *attr);
/* Decodes the meta of an entry, or makes up the default; the message of an error names the key. A key and its meta must
 * agree on being a directory. */
plsm_status inode_decode(const struct fs *fs, plsm_slice key, plsm_slice meta, bool directory, struct attr *attr);

/* The edit gives the size while there is one. */
static inline uint64_t inode_size(const struct inode *inode)
{
    return inode->edit ? plsm_edit_size(inode->edit) : inode->fresh ? 0 : inode->size;
}

/* Reads the store's entry of a node that is not gone, by its path or its identifier (fs/link.h). */
plsm_status inode_read_entry(struct fs *fs, const struct node *node, bool no_value, plsm_value *value);
/* Reads from the store's content of a node that is not gone, at an offset; *got is less than `size` only at the end. */
plsm_status inode_read_value(struct fs *fs, const struct node *node, uint64_t offset, void *data, size_t size,
                             size_t *got);
/* Reads attributes and size, once. */
plsm_status inode_load(struct fs *fs, struct inode *inode);
/* Opens the edit, once, so that the content stays even when the name goes. */
plsm_status inode_open_content(struct fs *fs, struct inode *inode);
struct timespec inode_now(void);
/* Sets ctime (and mtime) to now and marks the attributes dirty. */
void inode_touch(struct fs *fs, struct inode *inode, bool modified);
/* After a change of `written`, `truncated` or `attr_dirty`: keeps the list of dirty inodes right. */
void inode_note(struct fs *fs, struct inode *inode);
/* Writes what is dirty to the store, with fs->content_durability. After a failure it stays dirty. */
plsm_status inode_publish(struct fs *fs, struct inode *inode);
/* Writes `batch`, which changes records of extended attributes (fs/xattr.h), in one step with attributes that name
 * their id and have a new ctime. Unpublished content stays so. After a failure nothing has changed. */
plsm_status inode_write_xattrs(struct fs *fs, struct inode *inode, uint64_t xattrs, plsm_batch *batch);
/* After a change of content: with publish=write or sync, publishes it. */
static inline plsm_status inode_changed(struct fs *fs, struct inode *inode)
{
    return fs->options.publish_write || fs->options.sync ? inode_publish(fs, inode) : PLSM_OK;
}
/* Forgets what could not be published; the kernel's cache is marked stale. */
void inode_discard(struct fs *fs, struct inode *inode);
/* Where no handle is left that could try again: forgets what is not published, if anything, and has the ticker tell the
 * kernel to drop what it has cached of it. What is gone keeps its content, which only whoever still has it open sees.
 */
void inode_settle(struct fs *fs, struct inode *inode);
static inline bool inode_content_dirty(const struct inode *inode)
{
    return inode->written || inode->truncated;
}

/* Attributes and size of a node, from its inode when it has one, else from the store. Takes the inode's lock. */
plsm_status inode_stat(struct fs *fs, struct node *node, struct attr *attr, uint64_t *size);
/* The same as a change to what was read from the store: only looks for an inode that knows better; tells whether. */
bool inode_overlay(struct fs *fs, struct node *node, struct attr *attr, uint64_t *size);

/* The thread that publishes: `arg` is the struct fs; ends when ticker_stop is set. Takes its locks itself. */
void inode_ticker(void *arg);
/* Publishes everything that is dirty; returns the first failure. Takes its locks itself. */
plsm_status inode_publish_all(struct fs *fs);
/* At the end, when nothing runs any more: frees all inodes, whoever still has them. */
void inode_destroy_all(struct fs *fs);

#endif
