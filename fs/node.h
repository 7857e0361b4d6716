/* The nodes: what the kernel knows of this mount. The address of a node is the kernel's node identifier.
 *
 * A node is one component of a key: its path, which is the key, is put together from its ancestors, so renaming a
 * directory touches one node. The piece of a directory ends in '/', so that the path of a directory is the key of its
 * own entry and the prefix of what is in it; only synthetic directories (fs/escape.h) have a piece without. A file
 * may have the same piece as a synthetic directory beside it: the two are told apart by NODE_SYNTHETIC. A node
 * lives while the kernel holds it (lookups), while it has children, or while it has an inode (state; fs/inode.h).
 *
 * Locks, in the order in which they are taken:
 *   1. the tree lock: shared by whoever uses a path against the store, exclusive for whoever changes one (rename,
 *   unlink,
 *      rmdir). While it is shared, paths do not change and names do not vanish. Threads that want it exclusive go
 *      first.
 *   2. the lock of an inode (fs/inode.h). Two at once only under the exclusive tree lock.
 *   3. the table lock, private to node.c and inode.c: lookup counts, the hash table, the list of dirty inodes. Held for
 *      a few instructions, never across a call of the store.
 * `parent`, `piece` and `flags` change under the exclusive tree lock, except that NODE_IMPLIED, NODE_STALE and
 * NODE_FILLED are set and cleared under the shared one too (atomically). */
#ifndef FS_NODE_H
#define FS_NODE_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/slice.h"
#include "base/sync.h"
#include "fs/slots.h"
#include "store/plsm.h"

struct inode;

enum node_flags {
    NODE_DIRECTORY = 1,
    NODE_SYNTHETIC = 2, /* a directory that holds the rest of a long piece; has no entry of its own */
    NODE_VALUE = 4,     /* the value of its parent's own key; the piece is empty */
    NODE_IMPLIED = 8,   /* a directory without an entry of its own: only keys lie below it */
    NODE_GONE = 16,     /* unlinked or replaced: no longer in the table */
    NODE_STALE = 32,    /* the kernel may have cached content that could not be published: dropped at the next open or,
                         * where there are no opens, by the ticker (fs/inode.h) */
    NODE_PINS = 64,     /* gone, and holds its inode until the kernel forgets it (inode_pin) */
    NODE_FILLED = 128,  /* the kernel has been given content, and most likely still has it (fs/push.h) */
    NODE_SHARED_PARENT = NODE_DIRECTORY | NODE_VALUE, /* both, of `shared` in the table alone */
};

/* The kernel knows them by the million, so they are small: a file with a name of 60 bytes takes 80 bytes and its part
 * of the table, 4 to 8. Other nodes are named by the numbers of their slots (fs/slots.h). The piece stands behind the
 * node in its slot; one that does not fit there, after a move or as it is very long, in memory of its own. */
struct node {
    uint32_t parent;    /* 0: none, it is the root; NODE_ROOT, NODE_SHARED */
    uint32_t hash_next; /* table lock */
    uint32_t inode;     /* table lock; 1 more than its place in `inodes` of the table; 0: it has none */
    uint32_t lookups;   /* table lock */
    uint16_t piece_size : 15, piece_away : 1;
    _Atomic bool expires;          /* a file whose entry expires: its name may be free without having been removed */
    _Atomic uint8_t flags;
    /* of directories alone: the piece of others begins here */
    uint32_t children;             /* table lock; nodes whose parent this is */
    _Atomic uint32_t publications; /* of inodes in this directory; see fill_entry in fs/ops.h */
    uint32_t removed;              /* exclusive tree lock; deletions of names below (fs/remove.c) */
};
enum {
    NODE_ROOT = 1, /* as a parent: `root` of the table; slots have larger numbers */
    NODE_SHARED = 2, /* `shared` of the table */
    NODE_FILE_BYTES = offsetof(struct node, children),
};
static_assert(NODE_FILE_BYTES == 20 && sizeof(struct node) == 32, "a million nodes with names of 60 bytes take 80 MB");

struct tree_lock {
    _Atomic unsigned state;    /* who has it and who waits (node.c) */
    _Atomic unsigned sleepers; /* that wait for `changed`; changed under the lock */
    mutex lock;
    condition changed;
};

struct node_table {
    struct tree_lock tree;
    mutex lock;
    struct slots slots;
    uint32_t *buckets; /* of nodes, by the hash of their name */
    size_t bucket_count, count;
    size_t freed;      /* table lock; since node_trim has given memory back */
    size_t away_bytes; /* table lock; of pieces in memory of their own */
    struct inode **inodes; /* table lock; in no order, and without gaps */
    uint32_t inode_count, inode_capacity;
    struct node root;
    struct node shared; /* the parent of the nodes of shared values (fs/link.h); no directory, and never shown */
};

/* A key; with room for a component more than a key may have, so that limits are checked once, at the end. */
struct path {
    size_t size;
    uint8_t bytes[PLSM_KEY_MAX + 260];
};

plsm_status node_table_init(struct node_table *table);
/* Frees all nodes; the kernel need not have forgotten them, but inodes must be gone. Accepts a zeroed table. */
void node_table_destroy(struct node_table *table);

void tree_share(struct node_table *table);
void tree_unshare(struct node_table *table);
void tree_exclude(struct node_table *table);
void tree_unexclude(struct node_table *table);

/* Finds the node of a piece in a directory, or makes it with these flags, and counts one lookup. NULL: no memory. */
struct node *node_enter(struct node_table *table, struct node *parent, plsm_slice piece, uint8_t flags);
/* Of `flags` only NODE_SYNTHETIC counts. NULL: the kernel does not know it. Needs the exclusive tree lock, under
 * which the result stays valid. */
struct node *node_find(struct node_table *table, struct node *parent, plsm_slice piece, uint8_t flags);
/* As node_find, and counts one lookup, so that it stays also when the kernel forgets it meanwhile. Give it back with
 * inode_forget. Needs the tree lock. */
struct node *node_hold(struct node_table *table, struct node *parent, plsm_slice piece, uint8_t flags);
/* How many there are, without those that are gone. */
size_t node_count(struct node_table *table);
/* How much memory all of them take, and the table. */
size_t node_bytes(struct node_table *table);
/* Calls `each` for all that are in the table, with the table lock held. */
void node_each(struct node_table *table, void (*each)(void *arg, struct node *node), void *arg);
void node_forget(struct node_table *table, struct node *node, uint64_t lookups);
/* Gives the system back the memory of nodes that were freed, when those are many: about 0.1 s for 5 million, while
 * others go on. But they wait while the hash table becomes smaller, 0.1 s where it had 5 million and keeps a tenth. */
void node_trim(struct node_table *table);
/* Frees a node that is not in the table and that nothing holds. Table lock. */
void node_free(struct node_table *table, struct node *node);
/* For inode.c, with the table lock held: frees the node, and ancestors, when nothing holds them any more. */
void node_release_locked(struct node_table *table, struct node *node);

/* The directory that a node is in; NULL: it is the root. Needs the tree lock, as node_name. */
static inline struct node *node_parent(const struct node *node)
{
    if (node->parent == 0)
        return NULL;
    struct slots *slots = slot_region(node)->owner;
    if (node->parent >= SLOT_NUMBERS)
        return (struct node *)slot_at(slots, node->parent);
    struct node_table *table = (struct node_table *)(void *)((char *)slots - offsetof(struct node_table, slots));
    return node->parent == NODE_ROOT ? &table->root : &table->shared;
}
/* Its piece. */
static inline plsm_slice node_name(const struct node *node)
{
    const uint8_t *at = (const uint8_t *)node + (node->flags & NODE_DIRECTORY ? sizeof *node : NODE_FILE_BYTES);
    const uint8_t *piece = at;
    if (node->piece_away)
        memcpy(&piece, at, sizeof piece);
    return (plsm_slice){piece, node->piece_size};
}
/* Table lock. */
static inline struct inode *node_inode(const struct node_table *table, const struct node *node)
{
    return node->inode ? table->inodes[node->inode - 1] : NULL;
}

/* Puts the key together. PLSM_TOO_LARGE: longer than a key may be. Needs the tree lock. */
plsm_status node_path(const struct node *node, struct path *path);
static inline plsm_slice path_slice(const struct path *path)
{
    return (plsm_slice){path->bytes, path->size};
}

/* The name is gone: takes the node out of the table and marks it. Exclusive tree lock. */
void node_remove(struct node_table *table, struct node *node);
/* Brings a node that was removed a moment ago back under another name, as node_move (which see). */
void node_restore(struct node_table *table, struct node *node, struct node *parent, char *piece, size_t piece_size);
/* Gives a node another name; `piece` comes from node_piece and is taken over. Exclusive tree lock;
 * no other node may have that name. */
void node_move(struct node_table *table, struct node *node, struct node *parent, char *piece, size_t piece_size);
char *node_piece(plsm_slice piece); /* a copy for node_move; NULL: no memory */

/* Whether a node is a shared value, whatever its names are: then its piece is be64 of the identifier. */
static inline bool node_is_shared(const struct node *node)
{
    return node->parent == NODE_SHARED;
}
/* This identifier; 0: it is a name. The path of such a node is no key. */
uint64_t node_shared(const struct node *node);
/* As node_enter, node_find and node_hold, of the node of a shared value. */
struct node *node_enter_shared(struct node_table *table, uint64_t shared);
struct node *node_hold_shared(struct node_table *table, uint64_t shared);
struct node *node_find_shared(struct node_table *table, uint64_t shared);
/* The entry of a node has become shared: it is no longer found by its name. `piece` has NODE_SHARED_SIZE bytes of room
 * and is taken over. Exclusive tree lock. */
enum { NODE_SHARED_SIZE = 8 };
void node_share(struct node_table *table, struct node *node, uint64_t shared, char *piece);

#endif
