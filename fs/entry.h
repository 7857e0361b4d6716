/* Entries: from a name in a directory to the key it stands for and what the store has there. */
#ifndef FS_ENTRY_H
#define FS_ENTRY_H

#include "fs/attr.h"
#include "fs/escape.h"
#include "fs/fs.h"

struct entry {
    struct path key;       /* of a directory with its final '/' (a synthetic one without); it has always room for one */
    size_t parent_size;    /* bytes of `key` that are the directory's; the rest is the piece of the node */
    uint8_t node_flags;    /* for node_enter */
    bool no_meta;          /* its attributes are made up: make them permanent when it changes or moves */
    struct attr attr;
    uint64_t size;
    uint64_t shared;       /* the shared value that it is a name of (fs/link.h); 0: of none */
};

static inline plsm_slice entry_piece(const struct entry *entry)
{
    return (plsm_slice){entry->key.bytes + entry->parent_size, entry->key.size - entry->parent_size};
}

/* What a name in the directory `parent` stands for. The tree lock must be held. Returns 0 or an errno value; with
 * ENOENT the key is where the name would be made as a file: its piece is the raw name, without '/'. *creatable (may
 * be NULL): whether it can be made, because it stands for itself (fs/escape.h). Attributes are as in the store, not
 * as in an inode. */
int entry_find(struct fs *fs, struct node *parent, const char *name, struct entry *out, bool *creatable);

/* Whether the store has an entry with exactly this key. */
plsm_status entry_exists(struct fs *fs, plsm_slice key, bool *exists);

/* Whether a directory with this key has no entries; a value of its own key counts as one. */
plsm_status entry_empty_directory(struct fs *fs, plsm_slice key, bool *empty);

/* Where the keys that start with `prefix` end: the first key behind them all, empty when there is none. `out` has room
 * for prefix.size bytes. */
plsm_slice prefix_end(plsm_slice prefix, uint8_t *out);

/* The beginning of the component that a directory's key ends in the middle of: its size when it is a synthetic one. */
size_t component_start(plsm_slice directory);

/* Whether a name is reserved: only in the root. */
bool name_reserved(const struct node *parent, const char *name);

#endif
