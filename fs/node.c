#include "fs/node.h"

#include <malloc.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checksum.h"
#include "base/error.h"
#include "base/banned.h"

enum {
    TRIM_NODES = 16384, /* about 1 MiB */
    BUCKETS_MIN = 1024,
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
    if (!table->buckets || slots_init(&table->slots) != PLSM_OK) {
        mem_free(table->buckets);
        table->buckets = NULL;
        return fail(PLSM_NO_MEMORY, "no memory for the table of nodes");
    }
    mutex_init_brief(&table->lock);
    mutex_init(&table->tree.lock);
    condition_init(&table->tree.changed);
    table->root.lookups = 1; /* the kernel never looks it up and never forgets it */
    table->root.flags = NODE_DIRECTORY;
    table->shared.lookups = 1;
    table->shared.flags = NODE_SHARED_PARENT;
    return PLSM_OK;
}

/* The node of this number; NULL: 0, the end of a chain. */
static struct node *chained(const struct node_table *table, uint32_t number)
{
    return number ? slot_at(&table->slots, number) : NULL;
}

void node_each(struct node_table *table, void (*each)(void *arg, struct node *node), void *arg)
{
    for (size_t i = 0; i < table->bucket_count; i++) {
        struct node *next = NULL;
        for (struct node *node = chained(table, table->buckets[i]); node; node = next) {
            next = chained(table, node->hash_next);
            each(arg, node);
        }
    }
}

static void free_piece(struct node_table *table, struct node *node)
{
    if (!node->piece_away)
        return;
    mem_free((void *)(uintptr_t)node_name(node).data);
    table->away_bytes -= node->piece_size;
    node->piece_away = 0;
}

static void free_piece_of(void *table, struct node *node)
{
    free_piece(table, node);
}

void node_table_destroy(struct node_table *table)
{
    if (!table->buckets)
        return;
    node_each(table, free_piece_of, table);
    slots_destroy(&table->slots);
    mem_free(table->buckets);
    mem_free(table->inodes);
    mutex_destroy(&table->lock);
    mutex_destroy(&table->tree.lock);
    condition_destroy(&table->tree.changed);
    *table = (struct node_table){0};
}

void node_free(struct node_table *table, struct node *node)
{
    free_piece(table, node);
    slot_free(&table->slots, node);
}

static size_t head_bytes(uint8_t flags)
{
    return flags & NODE_DIRECTORY ? sizeof(struct node) : NODE_FILE_BYTES;
}

/* Whether a piece of this size stands in the slot. */
static bool fits(const struct node *node, size_t piece_size)
{
    return head_bytes(node->flags) + piece_size <= slot_size(node);
}

/* A slot for a node with these flags and a piece of this size, or for what leads to that. NULL: no memory. */
static struct node *make_node(struct node_table *table, uint8_t flags, size_t piece_size)
{
    size_t head = head_bytes(flags), room = piece_size > sizeof(void *) ? piece_size : sizeof(void *);
    struct node *node = slot_make(&table->slots, head + (head + room <= SLOT_SIZE_MAX ? room : sizeof(void *)));
    if (!node)
        return NULL;
    memset(node, 0, head);
    node->flags = flags;
    return node;
}

/* Gives a node its piece. With `away`, a copy from node_piece, that is taken over. */
static void set_piece(struct node_table *table, struct node *node, plsm_slice piece, char *away)
{
    uint8_t *room = (uint8_t *)node + head_bytes(node->flags);
    node->piece_size = (uint16_t)(piece.size & 0x7fff);
    if (fits(node, piece.size)) {
        if (piece.size)
            memcpy(room, piece.data, piece.size);
        mem_free(away);
        return;
    }
    memcpy(room, &away, sizeof away);
    node->piece_away = 1;
    table->away_bytes += piece.size;
}

static uint32_t number_of(const struct node_table *table, const struct node *node)
{
    return node == &table->root ? NODE_ROOT : node == &table->shared ? NODE_SHARED : slot_number(node);
}

/* A synthetic directory and a file may have the same piece: which of them it is belongs to the name. */
static uint32_t hash_of(uint32_t parent, plsm_slice piece, uint8_t flags)
{
    uint64_t name = key_hash(piece.data, piece.size) ^ (flags & NODE_SYNTHETIC);
    uint64_t mixed = (name ^ parent) * UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(mixed >> 32);
}

/* It is not kept: what it is made of stands close together, and is looked at anyway. */
static uint32_t hash_of_node(const struct node *node)
{
    return hash_of(node->parent, node_name(node), node->flags);
}

static uint32_t *bucket_of(struct node_table *table, uint32_t hash)
{
    return &table->buckets[hash & (table->bucket_count - 1)];
}

static struct node *find(struct node_table *table, const struct node *parent, plsm_slice piece, uint8_t flags)
{
    uint32_t number = number_of(table, parent);
    struct node *node = chained(table, *bucket_of(table, hash_of(number, piece, flags)));
    while (node &&
           (node->parent != number || (node->flags ^ flags) & NODE_SYNTHETIC || !slice_equal(node_name(node), piece)))
        node = chained(table, node->hash_next);
    return node;
}

static void chain(struct node_table *table, struct node *node)
{
    uint32_t *bucket = bucket_of(table, hash_of_node(node));
    node->hash_next = *bucket;
    *bucket = slot_number(node);
}

/* Without memory the table stays as it is. */
static void resize(struct node_table *table, size_t count)
{
    uint32_t *buckets = count <= UINT32_MAX ? mem_zalloc(count * sizeof *buckets) : NULL, *old = table->buckets;
    if (!buckets)
        return;
    size_t old_count = table->bucket_count;
    table->buckets = buckets;
    table->bucket_count = count;
    for (size_t i = 0; i < old_count; i++) {
        struct node *next = NULL;
        for (struct node *node = chained(table, old[i]); node; node = next) {
            next = chained(table, node->hash_next);
            chain(table, node);
        }
    }
    mem_free(old);
}

static void link_node(struct node_table *table, struct node *node)
{
    if (++table->count > table->bucket_count) /* chains get long */
        resize(table, table->bucket_count * 2);
    chain(table, node);
}

static void unlink_node(struct node_table *table, struct node *node)
{
    uint32_t *link = bucket_of(table, hash_of_node(node)), number = slot_number(node);
    while (*link != number) {
        INVARIANT(*link);
        link = &chained(table, *link)->hash_next;
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
    INVARIANT(piece.size <= PLSM_KEY_MAX && parent->flags & NODE_DIRECTORY);
    mutex_lock(&table->lock);
    struct node *node = find(table, parent, piece, flags);
    char *away = NULL;
    if (node && node->lookups == UINT32_MAX) {
        node = NULL; /* the kernel would have to have looked it up as often without forgetting it once */
        goto done;
    }
    if (node) {
        node->lookups++;
        goto done;
    }
    node = make_node(table, flags, piece.size);
    if (node && !fits(node, piece.size) && !(away = node_piece(piece))) {
        slot_free(&table->slots, node);
        node = NULL;
    }
    if (!node)
        goto done;
    set_piece(table, node, piece, away);
    node->parent = number_of(table, parent);
    node->lookups = 1;
    parent->children++;
    link_node(table, node);
done:
    mutex_unlock(&table->lock);
    return node;
}

struct node *node_find(struct node_table *table, struct node *parent, plsm_slice piece, uint8_t flags)
{
    mutex_lock(&table->lock);
    struct node *node = find(table, parent, piece, flags);
    mutex_unlock(&table->lock);
    return node;
}

struct node *node_hold(struct node_table *table, struct node *parent, plsm_slice piece, uint8_t flags)
{
    mutex_lock(&table->lock);
    struct node *node = parent->children ? find(table, parent, piece, flags) : NULL;
    if (node)
        node->lookups++;
    mutex_unlock(&table->lock);
    return node;
}

static bool is_parent(const struct node *node)
{
    return node->flags & NODE_DIRECTORY && node->children > 0;
}

void node_release_locked(struct node_table *table, struct node *node)
{
    while (node->parent && node->lookups == 0 && !node->inode && !is_parent(node)) {
        struct node *parent = node_parent(node);
        if (!(node->flags & NODE_GONE))
            unlink_node(table, node);
        node_free(table, node);
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

size_t node_bytes(struct node_table *table)
{
    mutex_lock(&table->lock);
    size_t bytes = slots_bytes(&table->slots) + table->bucket_count * sizeof *table->buckets + table->away_bytes +
                   table->inode_capacity * sizeof(struct inode *);
    mutex_unlock(&table->lock);
    return bytes;
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
    if (!many)
        return;
    slots_discard(&table->slots, &table->lock);
    malloc_trim(0);
}

plsm_status node_path(const struct node *node, struct path *path)
{
    size_t size = 0;
    for (const struct node *at = node; at->parent; at = node_parent(at))
        size += at->piece_size;
    if (size > PLSM_KEY_MAX)
        return fail(PLSM_TOO_LARGE, "a path of %zu bytes: a key has at most %u", size, PLSM_KEY_MAX);
    path->size = size;
    for (const struct node *at = node; at->parent; at = node_parent(at)) {
        plsm_slice piece = node_name(at);
        size -= piece.size;
        memcpy(path->bytes + size, piece.data, piece.size);
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
    struct node *old = node_parent(node);
    plsm_slice name = slice(piece, piece_size);
    INVARIANT(parent->flags & NODE_DIRECTORY && !find(table, parent, name, node->flags));
    free_piece(table, node);
    set_piece(table, node, name, piece);
    node->parent = number_of(table, parent);
    parent->children++;
    old->children--;
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
    return node_is_shared(node) ? get_be64(node_name(node).data) : 0;
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
