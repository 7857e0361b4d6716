/* Walking the memtable. An iterator keeps the path of nodes and branches to its leaf, so that a step costs what it
 * passes and nothing else. Nodes on the path may have been replaced meanwhile: they still lead to all that was below
 * them when the iterator came by (lsm/art.h), and branches are found by byte, not by position. */
#include "base/alloc.h"
#include "base/error.h"
#include "lsm/memtable_private.h"

#include "base/banned.h"

void memtable_iterator_init(struct memtable_iterator *it, const struct memtable *m)
{
    it->table = m;
    it->leaf = NULL;
    it->steps = NULL;
    it->depth = 0;
    it->capacity = MEMTABLE_STEPS;
    it->failed = false;
}

void memtable_iterator_destroy(struct memtable_iterator *it)
{
    mem_free(it->steps);
    it->steps = NULL;
    it->leaf = NULL;
    it->depth = 0;
}

static struct memtable_step *steps_of(struct memtable_iterator *it)
{
    return it->steps ? it->steps : it->own_steps;
}

static bool steps_grow(struct memtable_iterator *it)
{
    size_t bytes = 2 * it->capacity * sizeof *it->steps;
    struct memtable_step *steps = mem_realloc(it->steps, bytes);
    if (!steps) {
        it->failed = true;
        it->leaf = NULL;
        it->depth = 0;
        return false;
    }
    if (!it->steps)
        memcpy(steps, it->own_steps, sizeof it->own_steps);
    it->steps = steps;
    it->capacity *= 2;
    return true;
}

static bool push(struct memtable_iterator *it, uintptr_t node, int branch)
{
    if (it->depth == it->capacity && !steps_grow(it))
        return false;
    steps_of(it)[it->depth++] = (struct memtable_step){(const void *)node, branch};
    return true;
}

/* --- prefetching -------------------------------------------------------------------------------------------------- */

/* How many branches of a node of 256 to look ahead; such a node has at least 49 children, so a few of them are there.
 */
enum { AHEAD = 16 };

/* Three cache lines: a leaf and the value of its first version, when they are of common sizes, are 64 to 192 bytes. */
static void prefetch_child(uintptr_t child)
{
    const char *place = (const char *)(child & ~(uintptr_t)ART_TYPE_MASK);
    if (place) {
        __builtin_prefetch(place);
        __builtin_prefetch(place + 64);
        __builtin_prefetch(place + 128);
    }
}

static void prefetch_children(const _Atomic uintptr_t *children, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        prefetch_child(atomic_load_explicit(&children[i], memory_order_relaxed));
}

/* The walk enters a node: its children will be wanted soon, and they lie anywhere in memory. */
static void prefetch_entered(uintptr_t node)
{
    const struct art_node *n = art_node(node);
    switch (art_type(node)) {
    case ART_4:
        prefetch_children(((const struct art_node4 *)n)->children, art_count(n));
        break;
    case ART_16:
        prefetch_children(((const struct art_node16 *)n)->children, art_count(n));
        break;
    case ART_48:
        prefetch_children(((const struct art_node48 *)n)->children, art_count(n));
        break;
    default:
        break;
    }
}

/* The walk goes from branch `from` to branch `to` of a node of 256: its window of branches ahead moves along. */
static void prefetch_passed(uintptr_t node, int from, int to)
{
    const struct art_node256 *n = (const struct art_node256 *)art_node(node);
    int step = to > from ? 1 : -1;
    for (int byte = from + step * (AHEAD + 1); byte >= 0 && byte <= 255 && byte != to + step * (AHEAD + 1);
         byte += step)
        prefetch_child(atomic_load_explicit(&n->children[byte], memory_order_relaxed));
}

/* --- moving ------------------------------------------------------------------------------------------------------- */

/* Stands on the first key below `at`. */
static void descend_first(struct memtable_iterator *it, uintptr_t at)
{
    while (art_type(at) != ART_LEAF) {
        const struct art_leaf *ended = art_ended(art_node(at));
        prefetch_entered(at);
        int byte = -1;
        uintptr_t child = ended ? art_child(ended, ART_LEAF) : art_at_or_above(at, 0, &byte);
        if (!push(it, at, byte))
            return;
        at = child;
    }
    it->leaf = art_leaf(at);
}

/* Stands on the last key below `at`. Every node has a child: it parts two keys, and only one of them can end there. */
static void descend_last(struct memtable_iterator *it, uintptr_t at)
{
    while (art_type(at) != ART_LEAF) {
        prefetch_entered(at);
        int byte;
        uintptr_t child = art_at_or_below(at, 255, &byte);
        if (!push(it, at, byte))
            return;
        at = child;
    }
    it->leaf = art_leaf(at);
}

/* Stands on the first key behind everything below the last step's branch. */
static void forward(struct memtable_iterator *it)
{
    struct memtable_step *steps = steps_of(it);
    for (; it->depth; it->depth--) {
        struct memtable_step *step = &steps[it->depth - 1];
        uintptr_t node = (uintptr_t)step->node;
        int byte;
        uintptr_t child = art_at_or_above(node, step->branch + 1, &byte);
        if (child) {
            if (art_type(node) == ART_256)
                prefetch_passed(node, step->branch, byte);
            step->branch = byte;
            descend_first(it, child);
            return;
        }
    }
    it->leaf = NULL;
}

/* Stands on the last key before everything below the last step's branch. */
static void backward(struct memtable_iterator *it)
{
    struct memtable_step *steps = steps_of(it);
    for (; it->depth; it->depth--) {
        struct memtable_step *step = &steps[it->depth - 1];
        uintptr_t node = (uintptr_t)step->node;
        int byte;
        uintptr_t child = art_at_or_below(node, step->branch - 1, &byte);
        if (child) {
            if (art_type(node) == ART_256)
                prefetch_passed(node, step->branch, byte);
            step->branch = byte;
            descend_last(it, child);
            return;
        }
        const struct art_leaf *ended = step->branch >= 0 ? art_ended(art_node(node)) : NULL;
        if (ended) {
            step->branch = -1;
            it->leaf = ended;
            return;
        }
    }
    it->leaf = NULL;
}

void memtable_iterator_next(struct memtable_iterator *it)
{
    if (it->leaf)
        forward(it);
}

void memtable_iterator_previous(struct memtable_iterator *it)
{
    if (it->leaf)
        backward(it);
}

/* --- seeking ------------------------------------------------------------------------------------------------------ */

/* Back to standing nowhere; returns the root. */
static uintptr_t restart(struct memtable_iterator *it)
{
    it->depth = 0;
    it->leaf = NULL;
    it->failed = false;
    return art_load(&it->table->root);
}

void memtable_iterator_first(struct memtable_iterator *it)
{
    uintptr_t root = restart(it);
    if (root)
        descend_first(it, root);
}

void memtable_iterator_last(struct memtable_iterator *it)
{
    uintptr_t root = restart(it);
    if (root)
        descend_last(it, root);
}

/* Where `key` would be: the path to the deepest node that agrees with it is pushed, each step with the branch of the
 * key's byte. Returns what hangs there, 0 when nothing does; *order tells how all of it compares to the key: below
 * (-1), at or above (0: a leaf with this very key, or a node all of whose keys start with it; 1). With 0 returned, the
 * last step's branch is the key's byte and has no child. */
static uintptr_t locate(struct memtable_iterator *it, uintptr_t at, plsm_slice key, int *order)
{
    const uint8_t *bytes = key.data;
    size_t depth = 0;
    *order = 0;
    while (at && art_type(at) != ART_LEAF) {
        const struct art_node *node = art_node(at);
        size_t prefix_end = node->depth < key.size ? node->depth : key.size;
        *order = slice_compare(slice(node->key + depth, prefix_end - depth), slice(bytes + depth, prefix_end - depth));
        if (*order || key.size <= node->depth)
            return at;
        depth = node->depth;
        if (!push(it, at, bytes[depth]))
            return 0;
        const _Atomic uintptr_t *slot = art_find(at, bytes[depth]);
        at = slot ? art_load(slot) : 0;
        depth++;
    }
    if (at) {
        const struct art_leaf *leaf = art_leaf(at);
        *order =
            slice_compare(slice(leaf->key + depth, leaf->key_size - depth), slice(bytes + depth, key.size - depth));
    }
    return at;
}

void memtable_iterator_seek(struct memtable_iterator *it, plsm_slice key)
{
    int order;
    if (key.size == 0) { /* its data may be NULL */
        memtable_iterator_first(it);
        return;
    }
    uintptr_t at = locate(it, restart(it), key, &order);
    if (it->failed)
        return;
    if (at && order >= 0)
        descend_first(it, at);
    else
        forward(it);
}

void memtable_iterator_seek_before(struct memtable_iterator *it, plsm_slice key)
{
    int order;
    uintptr_t root = restart(it);
    if (key.size == 0) /* nothing is below it */
        return;
    uintptr_t at = locate(it, root, key, &order);
    if (it->failed)
        return;
    if (at && order < 0)
        descend_last(it, at);
    else
        backward(it);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

plsm_slice memtable_iterator_key(const struct memtable_iterator *it)
{
    INVARIANT(it->leaf);
    return art_leaf_key(it->leaf);
}

bool memtable_iterator_version(const struct memtable_iterator *it, const void **cursor, struct entry *out)
{
    INVARIANT(it->leaf);
    const struct art_leaf *leaf = it->leaf;
    const struct art_version *version = *cursor;
    version = version ? version_older(version) : leaf_newest(leaf);
    if (!version)
        return false;
    *cursor = version;
    version_entry(leaf, version, out);
    return true;
}
