/* The ordered map. See key_tree.h.
 *
 *   inner node   separators s1 < s2 < ...   children c0 c1 c2 ...   keys in c(i) are at least s(i) and below s(i + 1)
 *   leaf         heads h0 h1 ...            nodes n0 n1 ...         in the order of their keys
 *
 * Both begin with what all their keys (separators) have in common, and hold the next four bytes of each, its head, so
 * that a search compares numbers in a few cache lines and looks at one or two keys. A separator is as short as it can
 * be.
 *
 * A leaf changes by being written anew with room for a few more, except that a key behind all others is added in place:
 * readers go by `count`. An inner node changes in place only in that a child is replaced by its successor, which is one
 * store. So readers always see whole nodes. One that is still in a node that was replaced sees what was there a moment
 * ago, which was when it began. */
#include "log/key_tree.h"

#include "base/checksum.h"
#include "base/error.h"
#include "log/key_table.h"
#include "log/key_tree_page.h"
#include "log/slab.h"
#include "base/banned.h"

enum { DEPTH_MAX = 24 };

struct key_tree {
    struct epoch *epoch;
    struct key_table table;
    struct slab nodes, pages;
    _Atomic(struct page *) root; /* a leaf or an inner node; never NULL */
    _Atomic uint64_t count;
};

/* The way from the root to a leaf. */
struct path {
    struct inner *inners[DEPTH_MAX];
    unsigned at[DEPTH_MAX];
    unsigned depth;
    struct leaf *leaf;
};

/* --- searching ---------------------------------------------------------------------------------------------------- */

/* `strictly`: to the leaf that keys below `key` are in, rather than the key itself. An empty key: the first leaf or,
 * strictly, the last. */
static void walk_down(const struct key_tree *tree, plsm_slice key, bool strictly, struct path *path)
{
    struct page *page = atomic_load_explicit(&tree->root, memory_order_acquire);
    path->depth = 0;
    while (page->level > 0) {
        struct inner *inner = (struct inner *)page;
        unsigned at = 0;
        if (key.size == 0)
            at = strictly ? page_count(page) - 1 : 0;
        else
            at = inner_rank(inner, key, !strictly);
        INVARIANT(path->depth < DEPTH_MAX);
        path->inners[path->depth] = inner;
        path->at[path->depth++] = at;
        page = atomic_load_explicit(&inner->children[at], memory_order_acquire);
    }
    path->leaf = (struct leaf *)page;
}

/* The first key that may stand behind the leaf; false: it is the last one. */
static bool upper_bound_of(const struct path *path, plsm_slice *bound)
{
    for (unsigned d = path->depth; d-- > 0;)
        if (path->at[d] + 1 < page_count(&path->inners[d]->page)) {
            *bound = inner_separator(path->inners[d], path->at[d]);
            return true;
        }
    return false;
}

/* All keys of leaves in front are below it; false: it is the first one. */
static bool lower_bound_of(const struct path *path, plsm_slice *bound)
{
    for (unsigned d = path->depth; d-- > 0;)
        if (path->at[d] > 0) {
            *bound = inner_separator(path->inners[d], path->at[d] - 1);
            return true;
        }
    return false;
}

size_t key_tree_ascend(const struct key_tree *tree, plsm_slice key, bool above, struct key_node **out, size_t most)
{
    struct path path;
    for (;;) {
        walk_down(tree, key, false, &path);
        unsigned count = page_count(&path.leaf->page);
        unsigned from = key.size ? leaf_rank(path.leaf, count, key, above) : 0;
        if (from < count) {
            size_t n = count - from < most ? count - from : most;
            for (size_t i = 0; i < n; i++)
                out[i] = path.leaf->nodes[from + i];
            return n;
        }
        if (!upper_bound_of(&path, &key))
            return 0;
        above = false;
    }
}

size_t key_tree_descend(const struct key_tree *tree, plsm_slice key, struct key_node **out, size_t most)
{
    struct path path;
    for (;;) {
        walk_down(tree, key, true, &path);
        unsigned count = page_count(&path.leaf->page);
        unsigned behind = key.size ? leaf_rank(path.leaf, count, key, false) : count;
        if (behind > 0) {
            size_t n = behind < most ? behind : most;
            for (size_t i = 0; i < n; i++)
                out[i] = path.leaf->nodes[behind - 1 - i];
            return n;
        }
        if (!lower_bound_of(&path, &key))
            return 0;
    }
}

uint64_t key_tree_hash(const struct key_tree *tree, plsm_slice key)
{
    uint64_t hash = key_hash(key.data, key.size);
    key_table_prefetch(&tree->table, hash);
    return hash;
}

void key_tree_prefetch(const struct key_tree *tree, uint64_t hash)
{
    (void)key_table_prefetch_node(&tree->table, hash);
}

void key_tree_prefetch_to_add(const struct key_tree *tree, plsm_slice key, uint64_t hash)
{
    enum { LINE = 64, LEAF_BYTES = LEAF_MOST * (sizeof(struct key_node *) + sizeof(uint32_t)) };
    const struct page *page = atomic_load_explicit(&tree->root, memory_order_acquire);
    if (key_table_prefetch_node(&tree->table, hash) || page->level == 0)
        return;
    for (bool is_leaf = false; !is_leaf;) { /* whose parent tells: it itself is not looked at */
        const struct inner *inner = (const struct inner *)page;
        is_leaf = page->level == 1;
        page = atomic_load_explicit(&inner->children[inner_rank(inner, key, true)], memory_order_acquire);
    }
    for (size_t at = 0; at < LEAF_BYTES; at += LINE)
        __builtin_prefetch((const uint8_t *)page + at);
}

struct key_node *key_tree_find_hashed(const struct key_tree *tree, plsm_slice key, uint64_t hash)
{
    return key_table_find(&tree->table, key, hash);
}

struct key_node *key_tree_find(const struct key_tree *tree, plsm_slice key)
{
    return key_table_find(&tree->table, key, key_hash(key.data, key.size));
}

uint64_t key_tree_count(const struct key_tree *tree)
{
    return atomic_load_explicit(&tree->count, memory_order_relaxed);
}

/* --- changing ----------------------------------------------------------------------------------------------------- */

/* Hangs `left`, and behind it `right` (unless NULL), where the way down passes at `depth`. False: no memory, and
 * nothing changed. What was there is retired. */
static bool hang(struct key_tree *tree, const struct path *path, unsigned depth, struct page *left, struct page *right,
                 plsm_slice separator, struct page *old)
{
    if (!right) {
        if (depth == 0)
            atomic_store_explicit(&tree->root, left, memory_order_release);
        else
            atomic_store_explicit(&path->inners[depth - 1]->children[path->at[depth - 1]], left, memory_order_release);
        page_retire(old);
        return true;
    }
    if (depth == 0) {
        struct inner *root = inner_root(&tree->pages, left, right, separator);
        if (!root)
            return false;
        atomic_store_explicit(&tree->root, &root->page, memory_order_release);
        page_retire(old);
        return true;
    }
    struct inner *above = path->inners[depth - 1];
    struct inner_split split = {0};
    if (!inner_insert(above, path->at[depth - 1], left, right, separator, &split))
        return false;
    if (!hang(tree, path, depth - 1, &split.left->page, split.right ? &split.right->page : NULL, split.separator,
              &above->page)) {
        page_free(&split.left->page);
        if (split.right)
            page_free(&split.right->page);
        return false;
    }
    page_retire(old);
    return true;
}

/* Puts a node into the order. False: no memory. */
static bool enter(struct key_tree *tree, struct key_node *node)
{
    struct path path;
    plsm_slice key = key_node_key(node);
    walk_down(tree, key, false, &path);
    unsigned count = page_count(&path.leaf->page);
    unsigned at = leaf_rank(path.leaf, count, key, false);
    if (leaf_append(path.leaf, at, node))
        return true;
    struct leaf *left = NULL, *right = NULL;
    if (!leaf_insert(path.leaf, at, node, &left, &right))
        return false;
    plsm_slice separator = {0};
    if (right)
        separator =
            shortest_separator(key_node_key(left->nodes[page_count(&left->page) - 1]), key_node_key(right->nodes[0]));
    if (hang(tree, &path, path.depth, &left->page, right ? &right->page : NULL, separator, &path.leaf->page))
        return true;
    page_free(&left->page);
    if (right)
        page_free(&right->page);
    return false;
}

static size_t node_size(size_t key_size)
{
    return offsetof(struct key_node, key) + key_size;
}

static struct key_node *node_create(struct key_tree *tree, plsm_slice key, uint64_t word)
{
    INVARIANT(key.size > 0 && key.size <= KEY_TREE_KEY_MAX);
    struct key_node *node = slab_take(&tree->nodes, node_size(key.size));
    if (!node)
        return NULL;
    atomic_init(&node->word, word);
    node->size = (uint16_t)key.size;
    copy_short(node->key, key.data, key.size);
    return node;
}

struct key_node *key_tree_add(struct key_tree *tree, plsm_slice key, uint64_t word)
{
    struct key_node *node = node_create(tree, key, word);
    if (!node)
        return NULL;
    uint64_t hash = key_hash(key.data, key.size);
    if (!key_table_add(&tree->table, node, hash)) {
        slab_give_back(&tree->nodes, node, node_size(key.size));
        return NULL;
    }
    if (!enter(tree, node)) {
        key_table_remove(&tree->table, node, hash);
        slab_retire(&tree->nodes, node, node_size(key.size)); /* somebody may have found it */
        return NULL;
    }
    atomic_fetch_add_explicit(&tree->count, 1, memory_order_relaxed);
    return node;
}

/* Takes the leaf that has become empty, and inner nodes that would, out of the tree. */
static bool drop_leaf(struct key_tree *tree, const struct path *path)
{
    unsigned depth = path->depth;
    while (depth > 0 && page_count(&path->inners[depth - 1]->page) == 1)
        depth--;
    if (depth == 0) {
        struct leaf *empty = leaf_create(&tree->pages, 1);
        if (!empty)
            return false;
        atomic_store_explicit(&tree->root, &empty->page, memory_order_release);
    } else {
        struct inner *above = path->inners[depth - 1], *fewer = inner_remove(above, path->at[depth - 1]);
        if (!fewer)
            return false;
        hang(tree, path, depth - 1, &fewer->page, NULL, slice(NULL, 0), &above->page);
    }
    for (unsigned d = depth; d < path->depth; d++)
        page_retire(&path->inners[d]->page);
    page_retire(&path->leaf->page);
    return true;
}

bool key_tree_remove(struct key_tree *tree, struct key_node *node)
{
    struct path path;
    plsm_slice key = key_node_key(node);
    walk_down(tree, key, false, &path);
    unsigned count = page_count(&path.leaf->page);
    unsigned at = leaf_rank(path.leaf, count, key, false);
    INVARIANT(at < count && path.leaf->nodes[at] == node);
    if (count == 1) {
        if (!drop_leaf(tree, &path))
            return false;
    } else {
        struct leaf *fewer = leaf_remove(path.leaf, at);
        if (!fewer)
            return false;
        hang(tree, &path, path.depth, &fewer->page, NULL, slice(NULL, 0), &path.leaf->page);
    }
    key_table_remove(&tree->table, node, key_hash(key.data, key.size));
    atomic_fetch_sub_explicit(&tree->count, 1, memory_order_relaxed);
    slab_retire(&tree->nodes, node, node_size(node->size));
    return true;
}

/* --- filling ------------------------------------------------------------------------------------------------------ */

struct key_tree_builder {
    struct key_tree *tree;
    struct key_node *pending[LEAF_MOST]; /* of the leaf to come */
    unsigned pending_count;
    uint64_t keys;
    struct page **pages;    /* leaves, then inner nodes level by level */
    plsm_slice *separators; /* in front of each page but the first; into keys of nodes */
    size_t count, capacity;
};

struct key_tree_builder *key_tree_builder_create(struct key_tree *tree)
{
    INVARIANT(key_tree_count(tree) == 0);
    struct key_tree_builder *builder = mem_zalloc(sizeof *builder);
    if (builder)
        builder->tree = tree;
    return builder;
}

static bool add_page(struct key_tree_builder *b, struct page *page, plsm_slice separator)
{
    if (b->count == b->capacity) {
        size_t capacity = b->capacity ? 2 * b->capacity : 64;
        struct page **pages = mem_realloc(b->pages, capacity * sizeof *pages);
        if (pages)
            b->pages = pages;
        plsm_slice *separators = pages ? mem_realloc(b->separators, capacity * sizeof *separators) : NULL;
        if (!separators)
            return false;
        b->separators = separators;
        b->capacity = capacity;
    }
    b->separators[b->count] = separator;
    b->pages[b->count++] = page;
    return true;
}

static bool finish_leaf(struct key_tree_builder *b)
{
    if (b->pending_count == 0)
        return true;
    struct leaf *leaf = leaf_of(&b->tree->pages, b->pending, b->pending_count);
    if (!leaf)
        return false;
    plsm_slice separator = {0};
    if (b->count > 0) {
        const struct leaf *before = (const struct leaf *)b->pages[b->count - 1];
        separator =
            shortest_separator(key_node_key(before->nodes[page_count(&before->page) - 1]), key_node_key(b->pending[0]));
    }
    b->pending_count = 0;
    if (add_page(b, &leaf->page, separator))
        return true;
    page_free(&leaf->page);
    return false;
}

struct key_node *key_tree_builder_add(struct key_tree_builder *b, plsm_slice key, uint64_t word)
{
    if (b->pending_count == LEAF_BUILT && !finish_leaf(b))
        return NULL;
    struct key_node *node = node_create(b->tree, key, word);
    if (node) {
        b->pending[b->pending_count++] = node;
        b->keys++;
    }
    return node;
}

/* Enters the nodes of all leaves into the hash table, many under way at once. */
static bool fill_table(struct key_tree_builder *b)
{
    struct key_tree *tree = b->tree;
    if (!key_table_prepare(&tree->table, b->keys))
        return false;
    for (size_t i = 0; i < b->count; i++) {
        const struct leaf *leaf = (const struct leaf *)b->pages[i];
        uint64_t hashes[LEAF_MOST];
        unsigned count = page_count(&leaf->page);
        for (unsigned k = 0; k < count; k++) {
            hashes[k] = key_hash(leaf->nodes[k]->key, leaf->nodes[k]->size);
            key_table_prefetch(&tree->table, hashes[k]);
        }
        for (unsigned k = 0; k < count; k++)
            if (!key_table_add(&tree->table, leaf->nodes[k], hashes[k]))
                return false;
    }
    return true;
}

/* Puts inner nodes over the pages, up to one root. */
static bool build_levels(struct key_tree_builder *b)
{
    while (b->count > 1) {
        size_t made = 0;
        for (size_t from = 0; from < b->count;) {
            size_t left = b->count - from, n = left <= INNER_BUILT      ? left
                                               : left < 2 * INNER_BUILT ? left / 2
                                                                        : INNER_BUILT;
            struct inner *inner = inner_of(&b->tree->pages, b->pages + from, b->separators + from + 1, (unsigned)n);
            if (!inner) { /* what is above is freed with what is below */
                memmove(b->pages + made, b->pages + from, (b->count - from) * sizeof *b->pages);
                b->count = made + b->count - from;
                return false;
            }
            b->separators[made] = b->separators[from];
            b->pages[made++] = &inner->page;
            from += n;
        }
        b->count = made;
    }
    return true;
}

bool key_tree_builder_finish(struct key_tree_builder *b)
{
    struct key_tree *tree = b->tree;
    if (!finish_leaf(b) || !fill_table(b) || !build_levels(b))
        return false;
    if (b->count == 0)
        return true;
    page_free(atomic_load_explicit(&tree->root, memory_order_relaxed));
    atomic_store_explicit(&tree->root, b->pages[0], memory_order_release);
    atomic_store_explicit(&tree->count, b->keys, memory_order_relaxed);
    b->count = 0;
    return true;
}

static void free_large_node(struct key_tree *tree, struct key_node *node)
{
    if (node_size(node->size) > SLAB_SMALL_MAX)
        slab_give_back(&tree->nodes, node, node_size(node->size));
}

static void free_pages(struct key_tree *tree, struct page *page)
{
    unsigned count = page_count(page);
    for (unsigned i = 0; i < count; i++)
        if (page->level > 0)
            free_pages(tree, atomic_load_explicit(&((struct inner *)page)->children[i], memory_order_relaxed));
        else
            free_large_node(tree, ((struct leaf *)page)->nodes[i]);
    page_free(page);
}

void key_tree_builder_destroy(struct key_tree_builder *b)
{
    if (!b)
        return;
    for (unsigned i = 0; i < b->pending_count; i++)
        free_large_node(b->tree, b->pending[i]);
    for (size_t i = 0; i < b->count; i++)
        free_pages(b->tree, b->pages[i]);
    mem_free(b->pages);
    mem_free(b->separators);
    mem_free(b);
}

/* --- life --------------------------------------------------------------------------------------------------------- */

struct key_tree *key_tree_create(struct epoch *epoch, struct mem_account *account)
{
    struct key_tree *tree = mem_zalloc(sizeof *tree);
    if (!tree)
        return NULL;
    *tree = (struct key_tree){
        .epoch = epoch, .nodes = {.epoch = epoch, .account = account}, .pages = {.epoch = epoch, .account = account}};
    struct leaf *empty = leaf_create(&tree->pages, 1);
    if (!empty || !key_table_init(&tree->table, epoch, account)) {
        slab_destroy(&tree->pages);
        mem_free(tree);
        return NULL;
    }
    atomic_init(&tree->root, &empty->page);
    return tree;
}

void key_tree_destroy(struct key_tree *tree)
{
    if (!tree)
        return;
    epoch_reclaim(tree->epoch);
    free_pages(tree, atomic_load_explicit(&tree->root, memory_order_relaxed));
    key_table_destroy(&tree->table);
    slab_destroy(&tree->nodes);
    slab_destroy(&tree->pages);
    mem_free(tree);
}

bool key_tree_check(const struct key_tree *tree)
{
    struct key_node *nodes[LEAF_MOST];
    uint64_t count = 0;
    plsm_slice last = {0};
    bool good = true;
    for (size_t n; (n = key_tree_ascend(tree, last, true, nodes, LEAF_MOST)) > 0;)
        for (size_t i = 0; i < n; i++) {
            plsm_slice key = key_node_key(nodes[i]);
            good = good && (count == 0 || slice_compare(last, key) < 0) && key_tree_find(tree, key) == nodes[i];
            last = key;
            count++;
        }
    return good && count == key_tree_count(tree) && count == key_table_count(&tree->table);
}
