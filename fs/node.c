#include "fs/node.h"

#include <malloc.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checksum.h"
#include "base/error.h"
#include "base/banned.h"

enum {
    TRIM_NODES = 16384, /* about 1.5 MiB */
    BUCKETS_MIN = 1024,
    NODE_BYTES = offsetof(struct node, flags) + 1
};

/* --- the tree lock: many readers, writers first ------------------------------------------------------------------- */

enum {
    TREE_SHARED = 1,        /* in the state, for each who shares it: there are fewer than TREE_WAITING */
    TREE_WAITING = 1 << 16, /* for each who waits to have it alone */
    TREE_ALONE = 1 << 30,   /* somebody has it alone */
    TREE_MOMENTS = 30,      /* between tries, before going to sleep */
};

static bool try_share(struct tree_lock *tree)
{
    unsigned state = atomic_load(&tree->state);
    while (state < TREE_WAITING)
        if (atomic_compare_exchange_weak(&tree->state, &state, state + TREE_SHARED))
            return true;
    return false;
}

/* For one of those who wait. */
static bool try_exclude(struct tree_lock *tree)
{
    unsigned state = atomic_load(&tree->state);
    while (state % TREE_WAITING == 0 && state < TREE_ALONE)
        if (atomic_compare_exchange_weak(&tree->state, &state, state - TREE_WAITING + TREE_ALONE))
            return true;
    return false;
}

/* Tries until it can: for a moment at once, then whenever it is woken. Most have it for some microseconds, and sleeping
 * and waking takes up to a hundred, in which others come and have to sleep, too: two threads that rename were slower
 * than one. */
static void acquire(struct tree_lock *tree, bool (*try)(struct tree_lock *tree))
{
    for (unsigned i = 0; i < TREE_MOMENTS; i++) {
        if (try(tree))
            return;
        spin_moment();
    }
    mutex_lock(&tree->lock);
    atomic_fetch_add(&tree->sleepers, 1); /* before it tries: whoever gives the lock back later sees it */
    while (!try(tree))
        condition_wait(&tree->changed, &tree->lock);
    atomic_fetch_sub(&tree->sleepers, 1);
    mutex_unlock(&tree->lock);
}

/* The state lets others in. */
static void wake(struct tree_lock *tree)
{
    if (atomic_load(&tree->sleepers) == 0)
        return;
    mutex_lock(&tree->lock);
    condition_broadcast(&tree->changed);
    mutex_unlock(&tree->lock);
}

void tree_share(struct node_table *table)
{
    if (!try_share(&table->tree))
        acquire(&table->tree, try_share);
}

void tree_unshare(struct node_table *table)
{
    if (atomic_fetch_sub(&table->tree.state, TREE_SHARED) % TREE_WAITING == TREE_SHARED)
        wake(&table->tree);
}

void tree_exclude(struct node_table *table)
{
    atomic_fetch_add(&table->tree.state, TREE_WAITING);
    acquire(&table->tree, try_exclude);
}

void tree_unexclude(struct node_table *table)
{
    atomic_fetch_sub(&table->tree.state, TREE_ALONE);
    wake(&table->tree);
}

/* --- the table ---------------------------------------------------------------------------------------------------- */

plsm_status node_table_init(struct node_table *table)
{
    *table = (struct node_table){.bucket_count = BUCKETS_MIN};
    table->buckets = mem_zalloc(BUCKETS_MIN * sizeof *table->buckets);
    if (!table->buckets)
        return fail(PLSM_NO_MEMORY, "no memory for the table of nodes");
    mutex_init_brief(&table->lock);
    mutex_init(&table->tree.lock);
    condition_init(&table->tree.changed);
    table->root.lookups = 1; /* the kernel never looks it up and never forgets it */
    table->root.flags = NODE_DIRECTORY;
    table->shared.lookups = 1;
    table->shared.flags = NODE_SHARED_PARENT;
    return PLSM_OK;
}

void node_table_destroy(struct node_table *table)
{
    if (!table->buckets)
        return;
    for (size_t i = 0; i < table->bucket_count; i++) {
        struct node *next = NULL;
        for (struct node *node = table->buckets[i]; node; node = next) {
            next = node->hash_next;
            node_free(node);
        }
    }
    mem_free(table->buckets);
    mutex_destroy(&table->lock);
    mutex_destroy(&table->tree.lock);
    condition_destroy(&table->tree.changed);
    *table = (struct node_table){0};
}

/* Where a node has the piece that it was made with. */
static char *first_piece(struct node *node)
{
    return (char *)node + NODE_BYTES;
}

void node_free(struct node *node)
{
    if (node->piece != first_piece(node))
        mem_free(node->piece);
    mem_free(node);
}

/* A synthetic directory and a file may have the same piece: which of them it is belongs to the name. */
static uint32_t hash_of(const struct node *parent, plsm_slice piece, uint8_t flags)
{
    uint64_t name = key_hash(piece.data, piece.size) ^ (flags & NODE_SYNTHETIC);
    uint64_t mixed = (name ^ (uintptr_t)parent) * UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(mixed >> 32);
}

static struct node **bucket_of(struct node_table *table, uint32_t hash)
{
    return &table->buckets[hash & (table->bucket_count - 1)];
}

static struct node *find(struct node_table *table, const struct node *parent, plsm_slice piece, uint8_t flags,
                         uint32_t hash)
{
    struct node *node = *bucket_of(table, hash);
    while (node && (node->hash != hash || node->parent != parent || (node->flags ^ flags) & NODE_SYNTHETIC ||
                    !slice_equal(slice(node->piece, node->piece_size), piece)))
        node = node->hash_next;
    return node;
}

/* Without memory the table stays as it is. */
static void resize(struct node_table *table, size_t count)
{
    struct node **buckets = count <= UINT32_MAX ? mem_zalloc(count * sizeof *buckets) : NULL, **old = table->buckets;
    if (!buckets)
        return;
    size_t old_count = table->bucket_count;
    table->buckets = buckets;
    table->bucket_count = count;
    for (size_t i = 0; i < old_count; i++) {
        struct node *next = NULL;
        for (struct node *node = old[i]; node; node = next) {
            next = node->hash_next;
            node->hash_next = *bucket_of(table, node->hash);
            *bucket_of(table, node->hash) = node;
        }
    }
    mem_free(old);
}

static void link_node(struct node_table *table, struct node *node)
{
    if (++table->count > table->bucket_count) /* chains get long */
        resize(table, table->bucket_count * 2);
    node->hash_next = *bucket_of(table, node->hash);
    *bucket_of(table, node->hash) = node;
}

static void unlink_node(struct node_table *table, struct node *node)
{
    struct node **link = bucket_of(table, node->hash);
    while (*link != node) {
        INVARIANT(*link);
        link = &(*link)->hash_next;
    }
    *link = node->hash_next;
    table->count--;
}

char *node_piece(plsm_slice piece)
{
    char *copy = mem_alloc(piece.size ? piece.size : 1);
    if (copy && piece.size)
        memcpy(copy, piece.data, piece.size);
    return copy;
}

struct node *node_enter(struct node_table *table, struct node *parent, plsm_slice piece, uint8_t flags)
{
    uint32_t hash = hash_of(parent, piece, flags);
    INVARIANT(piece.size <= UINT16_MAX);
    mutex_lock(&table->lock);
    struct node *node = find(table, parent, piece, flags, hash);
    if (node && node->lookups == UINT32_MAX) {
        node = NULL; /* the kernel would have to have looked it up as often without forgetting it once */
        goto done;
    }
    if (node) {
        node->lookups++;
        goto done;
    }
    node = mem_zalloc(NODE_BYTES + piece.size < sizeof *node ? sizeof *node : NODE_BYTES + piece.size);
    if (!node)
        goto done;
    if (piece.size)
        memcpy(first_piece(node), piece.data, piece.size);
    node->parent = parent;
    node->piece = first_piece(node);
    node->piece_size = (uint16_t)piece.size;
    node->hash = hash;
    node->lookups = 1;
    node->flags = flags;
    parent->children++;
    link_node(table, node);
done:
    mutex_unlock(&table->lock);
    return node;
}

struct node *node_find(struct node_table *table, struct node *parent, plsm_slice piece, uint8_t flags)
{
    mutex_lock(&table->lock);
    struct node *node = find(table, parent, piece, flags, hash_of(parent, piece, flags));
    mutex_unlock(&table->lock);
    return node;
}

struct node *node_hold(struct node_table *table, struct node *parent, plsm_slice piece, uint8_t flags)
{
    mutex_lock(&table->lock);
    struct node *node = parent->children ? find(table, parent, piece, flags, hash_of(parent, piece, flags)) : NULL;
    if (node)
        node->lookups++;
    mutex_unlock(&table->lock);
    return node;
}

void node_release_locked(struct node_table *table, struct node *node)
{
    while (node->parent && node->lookups == 0 && node->children == 0 && !node->inode) {
        struct node *parent = node->parent;
        if (!(node->flags & NODE_GONE))
            unlink_node(table, node);
        node_free(node);
        table->freed++;
        parent->children--;
        node = parent;
    }
}

size_t node_count(struct node_table *table)
{
    mutex_lock(&table->lock);
    size_t count = table->count;
    mutex_unlock(&table->lock);
    return count;
}

void node_forget(struct node_table *table, struct node *node, uint64_t lookups)
{
    mutex_lock(&table->lock);
    INVARIANT(node->lookups >= lookups);
    node->lookups -= (uint32_t)lookups;
    node_release_locked(table, node);
    mutex_unlock(&table->lock);
}

void node_trim(struct node_table *table)
{
    mutex_lock(&table->lock);
    bool many = table->freed >= TRIM_NODES;
    table->freed = many ? 0 : table->freed;
    size_t fitting = BUCKETS_MIN;
    while (fitting < table->count)
        fitting *= 2;
    if (many && fitting < table->bucket_count / 2)
        resize(table, fitting);
    mutex_unlock(&table->lock);
    if (many)
        malloc_trim(0);
}

plsm_status node_path(const struct node *node, struct path *path)
{
    size_t size = 0;
    for (const struct node *at = node; at->parent; at = at->parent)
        size += at->piece_size;
    if (size > PLSM_KEY_MAX)
        return fail(PLSM_TOO_LARGE, "a path of %zu bytes: a key has at most %u", size, PLSM_KEY_MAX);
    path->size = size;
    for (const struct node *at = node; at->parent; at = at->parent) {
        size -= at->piece_size;
        memcpy(path->bytes + size, at->piece, at->piece_size);
    }
    return PLSM_OK;
}

void node_remove(struct node_table *table, struct node *node)
{
    mutex_lock(&table->lock);
    INVARIANT(!(node->flags & NODE_GONE));
    unlink_node(table, node);
    node->flags |= NODE_GONE;
    mutex_unlock(&table->lock);
}

/* Names a node that is not in the table and puts it there. */
static void place(struct node_table *table, struct node *node, struct node *parent, char *piece, size_t piece_size)
{
    struct node *old = node->parent;
    if (node->piece != first_piece(node))
        mem_free(node->piece);
    node->piece = piece;
    node->piece_size = (uint16_t)piece_size;
    node->parent = parent;
    node->hash = hash_of(parent, slice(piece, piece_size), node->flags);
    parent->children++;
    old->children--;
    INVARIANT(!find(table, parent, slice(piece, piece_size), node->flags, node->hash));
    link_node(table, node);
    node_release_locked(table, old);
}

void node_move(struct node_table *table, struct node *node, struct node *parent, char *piece, size_t piece_size)
{
    mutex_lock(&table->lock);
    unlink_node(table, node);
    place(table, node, parent, piece, piece_size);
    mutex_unlock(&table->lock);
}

void node_restore(struct node_table *table, struct node *node, struct node *parent, char *piece, size_t piece_size)
{
    mutex_lock(&table->lock);
    INVARIANT(node->flags & NODE_GONE);
    node->flags &= (uint8_t)~NODE_GONE;
    place(table, node, parent, piece, piece_size);
    mutex_unlock(&table->lock);
}

uint64_t node_shared(const struct node *node)
{
    return node_is_shared(node) ? get_be64(node->piece) : 0;
}

struct node *node_enter_shared(struct node_table *table, uint64_t shared)
{
    uint8_t piece[NODE_SHARED_SIZE];
    put_be64(piece, shared);
    return node_enter(table, &table->shared, slice(piece, sizeof piece), 0);
}

struct node *node_hold_shared(struct node_table *table, uint64_t shared)
{
    uint8_t piece[NODE_SHARED_SIZE];
    put_be64(piece, shared);
    return node_hold(table, &table->shared, slice(piece, sizeof piece), 0);
}

struct node *node_find_shared(struct node_table *table, uint64_t shared)
{
    uint8_t piece[NODE_SHARED_SIZE];
    put_be64(piece, shared);
    return node_find(table, &table->shared, slice(piece, sizeof piece), 0);
}

void node_share(struct node_table *table, struct node *node, uint64_t shared, char *piece)
{
    INVARIANT(!node_is_shared(node) && !(node->flags & (NODE_GONE | NODE_DIRECTORY)));
    put_be64(piece, shared);
    node_move(table, node, &table->shared, piece, NODE_SHARED_SIZE);
}
