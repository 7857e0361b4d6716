/* Private to env_memory.c (the living file system), env_memory_journal.c (what changes it) and env_memory_crash.c (what
 * a crash leaves of it).
 *
 * Memory comes from malloc, not from mem_alloc, except for handles: it stands for a disk, and a test that lets each
 * allocation fail in turn is not about the disk's.
 *
 * Nodes are files and directories; they and the storages stay until the environment is destroyed, since the journal
 * refers to them. A storage only grows: bytes once appended to it stay where they are, so the journal needs no copy of
 * them. A file that was cut and then appended to moves to a new storage, which starts with a copy of what was left. */
#ifndef BASE_ENV_MEMORY_JOURNAL_H
#define BASE_ENV_MEMORY_JOURNAL_H

#include <stdatomic.h>

#include "base/env_memory.h"
#include "base/random.h"
#include "base/sync.h"

struct storage {
    struct storage *older; /* all of the environment, for freeing */
    uint8_t *data;
    size_t size, capacity;
};

/* What a file that is written over (ENV_LOG_OVER) held when it was opened so: shows behind its end. */
struct under {
    const struct storage *storage; /* NULL: nothing */
    size_t size;
};

/* All of a file. */
struct content {
    struct storage *storage; /* NULL while nothing was ever appended */
    size_t size;             /* at most storage->size; less after a cut */
    struct under under;
};

struct node {
    size_t id; /* place in nodes[] */
    bool is_dir;
    struct node *parent; /* NULL: the root, or in no directory any more; of a file with several names any of theirs */
    size_t links;        /* names that it has */
    unsigned handles;    /* open ones: what they lead to takes space although it has no name any more */
    /* files */
    struct content content;
    bool ahead;              /* opened with ENV_LOG or ENV_LOG_OVER and not cut since: readers see zeros up to
                                memory_seen_size */
    /* directories */
    struct name {
        char *text; /* owned */
        struct node *node;
    } * names;
    size_t name_count, name_capacity;
};

enum journal_op {
    JOURNAL_CREATE,
    JOURNAL_EMPTY, /* opened to be appended to while it was there */
    JOURNAL_OVER,  /* opened to be written over */
    JOURNAL_APPEND,
    JOURNAL_SYNC,
    JOURNAL_TRUNCATE,
    JOURNAL_RENAME,
    JOURNAL_EXCHANGE, /* of two names in one directory */
    JOURNAL_LINK,     /* a second name, in dir_to */
    JOURNAL_REMOVE,
    JOURNAL_MAKE_DIR,
    JOURNAL_SYNC_DIR,
};

struct journal_entry {
    enum journal_op op;
    bool owns_path;
    struct node *node;          /* file or directory it is about */
    struct node *node_to;       /* exchange: the other one */
    struct node *dir, *dir_to;  /* whose names change; dir_to for rename and link only */
    struct storage *storage;    /* append: where the bytes are, at `offset`; over: `size` bytes that it held */
    size_t offset, size;        /* append: bytes; truncate: size is the new size */
    bool ahead;                 /* create, empty, over: opened with ENV_LOG or ENV_LOG_OVER */
    char *path, *path_to;       /* as given; path_to for rename, exchange and link only, always owned */
    const char *name, *name_to; /* last components, inside path and path_to; end with the string */
};

struct memory_env {
    struct env env;
    _Atomic uint64_t wall_s; /* what env_wall_ns tells; 0: the machine's time */
    uint64_t capacity;       /* bytes that files may take, in blocks; 0: there is no limit */
    mutex lock; /* of everything here and below */
    struct random random;
    struct node **nodes; /* nodes[0] is the root */
    size_t node_count, node_capacity;
    struct storage *storages;
    struct memory_lock *locks;
    struct journal_entry *journal;
    size_t entry_count, entry_capacity;
    size_t base_count; /* entries that built what was there at the start: they are not counted as calls */
};

/* The building blocks. Each takes the lock to be held (or the environment to be unknown to others), records itself in
 * the journal, and on failure (false or NULL: no memory) leaves everything as it was. `path` is copied. */
struct node *memory_add(struct memory_env *env, struct node *dir, const char *path, bool is_dir);
bool memory_append(struct memory_env *env, struct node *file, char *shared_path, const void *data, size_t size);
bool memory_sync(struct memory_env *env, struct node *node, const char *path);
/* What the file holds goes under what will be appended to it from its start on. */
bool memory_over(struct memory_env *env, struct node *file, const char *path);
/* Bytes of a file, also of what it held before it was written over. */
size_t memory_whole_size(const struct content *content);
/* Copies `size` bytes at `offset` of a file; zeros where it has none. */
void memory_copy(const struct content *content, size_t offset, uint8_t *to, size_t size);
/* How many bytes a reader sees of a file with `size` bytes for which space is taken in advance: in steps that are small
 * beside those of a real system, so that short tests have logs that end behind them, on them and in front. */
size_t memory_seen_size(size_t size);
/* Records an entry with a copy of the path. */
bool memory_record(struct memory_env *env, struct journal_entry entry, const char *path);
/* Makes room for one more item in an array. */
bool memory_grow(void **array, size_t count, size_t *capacity, size_t item_size);
/* The last component of a path, which must not end in '/'. */
const char *memory_last_component(const char *path);

#endif
