/* An ordered map in memory from keys to a word each, with a hash index beside it: the key directory of the append log.
 *
 * A key has a node, which stays where it is from key_tree_add to key_tree_remove, whatever else is added; users change
 * its word themselves. Point lookups go through the hash index (key_table.h), so that they cost two cache misses, the
 * bucket and the node; the order is kept by a B+tree over the nodes, in which leaves and inner nodes are copied when
 * they change and hung in by one store (as in Bayer and McCreight's tree by Bayer and Unterauer's prefix B-tree, 1977,
 * with short separators, and heads of keys in each node as in the tries of Masstree, Mao et al. 2012).
 *
 * Threads: one thread at a time changes the tree; the caller sees to that. Any number reads beside it, without locks
 * and without waiting, each inside of epoch_enter and epoch_exit of the tree's domain: what they are given is valid
 * until they leave. A reader sees a key if it was there all the time, and not if it was absent all the time. */
#ifndef LOG_KEY_TREE_H
#define LOG_KEY_TREE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/epoch.h"

enum { KEY_TREE_KEY_MAX = UINT16_MAX };

struct key_node {
    _Atomic uint64_t word; /* the user's */
    uint16_t size;
    uint8_t key[]; /* size bytes; neither changes */
};

static inline plsm_slice key_node_key(const struct key_node *node)
{
    return slice(node->key, node->size);
}

struct key_tree;

/* `epoch` and `account` (may be NULL) must outlive the tree. NULL: no memory. */
struct key_tree *key_tree_create(struct epoch *epoch, struct mem_account *account);
/* No reader may be inside. Accepts NULL. */
void key_tree_destroy(struct key_tree *tree);

/* --- reading, inside of an epoch ---------------------------------------------------------------------------------- */

/* NULL: the key is not there. */
struct key_node *key_tree_find(const struct key_tree *tree, plsm_slice key);
/* The same in steps, for those who look for several keys: each finds in the cache what the one before it fetches. The
 * second may be left out. */
uint64_t key_tree_hash(const struct key_tree *tree, plsm_slice key);
void key_tree_prefetch(const struct key_tree *tree, uint64_t hash);
/* In place of key_tree_prefetch, by the thread that changes the tree and will add the key if it is not there. */
void key_tree_prefetch_to_add(const struct key_tree *tree, plsm_slice key, uint64_t hash);
struct key_node *key_tree_find_hashed(const struct key_tree *tree, plsm_slice key, uint64_t hash);
/* Fills `out` with up to `most` (at least 1) nodes in ascending order, from the first whose key is at least `key` (or,
 * with `above`, is above it); an empty key: from the first of all. Returns how many: some, but not always as many as
 * there are, or 0 at the end. */
size_t key_tree_ascend(const struct key_tree *tree, plsm_slice key, bool above, struct key_node **out, size_t most);
/* The same in descending order, from the last whose key is below `key`; an empty key: from the last of all. */
size_t key_tree_descend(const struct key_tree *tree, plsm_slice key, struct key_node **out, size_t most);
uint64_t key_tree_count(const struct key_tree *tree); /* of keys; needs no epoch */

/* --- writing ------------------------------------------------------------------------------------------------------ */

/* Adds a key (1 to KEY_TREE_KEY_MAX bytes) that is not there, with its word. NULL: no memory, and nothing changed. */
struct key_node *key_tree_add(struct key_tree *tree, plsm_slice key, uint64_t word);
/* Removes a node; readers may still see it, so its word must say what they are to find. False: no memory, and it is
 * there as before. */
bool key_tree_remove(struct key_tree *tree, struct key_node *node);

/* Fills an empty tree, which nobody reads yet, in order: several times faster than adding. */
struct key_tree_builder;
struct key_tree_builder *key_tree_builder_create(struct key_tree *tree); /* NULL: no memory */
/* The key must be above those before. NULL: no memory; only destroy is of use then. */
struct key_node *key_tree_builder_add(struct key_tree_builder *builder, plsm_slice key, uint64_t word);
/* False: no memory; the tree is then to be destroyed, too. */
bool key_tree_builder_finish(struct key_tree_builder *builder);
void key_tree_builder_destroy(struct key_tree_builder *builder); /* accepts NULL */

/* For tests: whether all that should hold does. Nobody may write meanwhile. */
bool key_tree_check(const struct key_tree *tree);

#endif
