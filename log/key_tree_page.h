/* The leaves and inner nodes of a key tree: see key_tree.c. */
#ifndef LOG_KEY_TREE_PAGE_H
#define LOG_KEY_TREE_PAGE_H

#include "log/key_tree.h"
#include "log/slab.h"

enum {
    LEAF_MOST = 64,
    LEAF_BUILT = 58, /* in a tree that was filled in order */
    INNER_MOST = 64, /* children */
    INNER_BUILT = 48,
};

struct page {
    struct slab *slab; /* that it is from */
    uint32_t size;     /* in bytes */
    uint16_t level;    /* 0: a leaf */
    uint16_t capacity;
    uint16_t prefix_size; /* bytes that all its keys or separators begin with */
    _Atomic uint16_t count;
};

struct leaf {
    struct page page;
    uint8_t *prefix;
    uint32_t *heads; /* the four bytes behind the prefix, as numbers; missing ones are 0 */
    struct key_node *nodes[];
};

struct inner {
    struct page page;
    uint32_t *heads;    /* of the count - 1 separators */
    uint32_t *ends;     /* of separators in `bytes` */
    uint8_t *bytes;     /* of separators */
    _Atomic(struct page *) children[];
};

static inline unsigned page_count(const struct page *page)
{
    return atomic_load_explicit(&page->count, memory_order_acquire);
}

void page_free(struct page *page);   /* one that nobody has seen */
void page_retire(struct page *page); /* one that nobody finds any more */

/* Separator i stands in front of child i + 1. */
static inline plsm_slice inner_separator(const struct inner *inner, unsigned i)
{
    uint32_t from = i ? inner->ends[i - 1] : 0;
    return slice(inner->bytes + from, inner->ends[i] - from);
}

/* How many of the first `count` keys are below `key` (or, with `or_equal`, not above). */
unsigned leaf_rank(const struct leaf *leaf, unsigned count, plsm_slice key, bool or_equal);
/* The same for separators: which child it is in. */
unsigned inner_rank(const struct inner *inner, plsm_slice key, bool or_equal);

/* The shortest slice of `high` that is above `low`, which is below `high`. */
plsm_slice shortest_separator(plsm_slice low, plsm_slice high);

/* All return NULL or false when there is no memory. */
struct leaf *leaf_create(struct slab *slab, unsigned capacity);
struct leaf *leaf_of(struct slab *slab, struct key_node *const *nodes, unsigned count);
/* Adds a node in place, if it is the last and there is room. */
bool leaf_append(struct leaf *leaf, unsigned at, struct key_node *node);
/* A copy with one more, as one or two (*right NULL: one). */
bool leaf_insert(const struct leaf *leaf, unsigned at, struct key_node *node, struct leaf **left, struct leaf **right);
struct leaf *leaf_remove(const struct leaf *leaf, unsigned at);

struct inner *inner_of(struct slab *slab, struct page *const *children, const plsm_slice *separators,
                       unsigned count);
struct inner *inner_root(struct slab *slab, struct page *left, struct page *right, plsm_slice separator);

struct inner_split {
    struct inner *left, *right; /* right NULL: one is enough */
    plsm_slice separator;       /* between them; into the old one or what was inserted */
};
/* A copy with child `at` replaced by `left` and, behind a separator, `right`. */
bool inner_insert(const struct inner *inner, unsigned at, struct page *left, struct page *right, plsm_slice separator,
                  struct inner_split *out);
struct inner *inner_remove(const struct inner *inner, unsigned at); /* of one with two children or more */

#endif
