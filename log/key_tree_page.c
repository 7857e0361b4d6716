/* Leaves and inner nodes of a key tree. */
#include "log/key_tree_page.h"

#include "base/error.h"
#include "base/banned.h"

enum {
    LEAF_GRAIN = 8,   /* leaves have room for a multiple of so many */
    PREFIX_MAX = 255, /* longer ones are compared key by key */
};

/* --- heads -------------------------------------------------------------------------------------------------------- */

static inline uint32_t head_of(plsm_slice key, size_t from)
{
    const uint8_t *bytes = (const uint8_t *)key.data + from;
    if (key.size >= from + 4)
        return __builtin_bswap32(get_u32(bytes));
    uint32_t head = 0;
    for (size_t i = from; i < key.size; i++)
        head |= (uint32_t)*bytes++ << (24 - 8 * (i - from));
    return head;
}

/* How many of ascending numbers are below `head`. */
static inline unsigned heads_below(const uint32_t *heads, unsigned count, uint32_t head)
{
    unsigned from = 0;
    while (count > 1) {
        unsigned half = count / 2;
        from += heads[from + half - 1] < head ? half : 0;
        count -= half;
    }
    return from + (count == 1 && heads[from] < head);
}

/* Compares a key with a prefix that all of a page share: negative or positive when it is outside of them, 0 when it has
 * the prefix. */
static inline int compare_prefix(plsm_slice key, const uint8_t *prefix, size_t size)
{
    size_t shorter = key.size < size ? key.size : size;
    int order = shorter ? memcmp(key.data, prefix, shorter) : 0;
    return order ? order : key.size < size ? -1 : 0;
}

/* --- pages -------------------------------------------------------------------------------------------------------- */

static void *page_alloc(struct slab *slab, size_t size, unsigned level, unsigned capacity)
{
    struct page *page = slab_take(slab, size);
    if (page)
        *page = (struct page){
            .slab = slab, .size = (uint32_t)size, .level = (uint16_t)level, .capacity = (uint16_t)capacity};
    return page;
}

void page_free(struct page *page)
{
    slab_give_back(page->slab, page, page->size);
}

void page_retire(struct page *page)
{
    slab_retire(page->slab, page, page->size);
}

plsm_slice shortest_separator(plsm_slice low, plsm_slice high)
{
    return slice(high.data, slice_common(low, high) + 1);
}

/* --- leaves ------------------------------------------------------------------------------------------------------- */

unsigned leaf_rank(const struct leaf *leaf, unsigned count, plsm_slice key, bool or_equal)
{
    size_t prefix = leaf->page.prefix_size;
    int order = compare_prefix(key, leaf->prefix, prefix);
    if (order || count == 0)
        return order < 0 ? 0 : count;
    uint32_t head = head_of(key, prefix);
    unsigned low = heads_below(leaf->heads, count, head), high = low;
    if (low == count || leaf->heads[low] != head)
        return low;
    high = head == UINT32_MAX ? count : heads_below(leaf->heads, count, head + 1);
    while (low < high) {
        unsigned middle = (low + high) / 2;
        int compared = slice_compare(key_node_key(leaf->nodes[middle]), key);
        if (compared < 0 || (or_equal && compared == 0))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct leaf *leaf_alloc(struct slab *slab, unsigned count, size_t prefix_size)
{
    unsigned capacity = (count + LEAF_GRAIN - 1) / LEAF_GRAIN * LEAF_GRAIN;
    size_t size = sizeof(struct leaf) + capacity * (sizeof(struct key_node *) + sizeof(uint32_t)) + prefix_size;
    struct leaf *leaf = page_alloc(slab, size, 0, capacity);
    if (leaf) {
        leaf->heads = (uint32_t *)&leaf->nodes[capacity];
        leaf->prefix = (uint8_t *)(leaf->heads + capacity);
        leaf->page.prefix_size = (uint16_t)prefix_size;
    }
    return leaf;
}

struct leaf *leaf_create(struct slab *slab, unsigned capacity)
{
    return leaf_alloc(slab, capacity, 0);
}

struct leaf *leaf_of(struct slab *slab, struct key_node *const *nodes, unsigned count)
{
    plsm_slice first = key_node_key(nodes[0]);
    size_t prefix = count > 1 ? slice_common(first, key_node_key(nodes[count - 1])) : first.size;
    prefix = prefix < PREFIX_MAX ? prefix : PREFIX_MAX;
    struct leaf *leaf = leaf_alloc(slab, count, prefix);
    if (!leaf)
        return NULL;
    memcpy(leaf->prefix, first.data, prefix);
    for (unsigned i = 0; i < count; i++) {
        leaf->nodes[i] = nodes[i];
        leaf->heads[i] = head_of(key_node_key(nodes[i]), prefix);
    }
    atomic_init(&leaf->page.count, (uint16_t)count);
    return leaf;
}

bool leaf_append(struct leaf *leaf, unsigned at, struct key_node *node)
{
    unsigned count = page_count(&leaf->page);
    plsm_slice key = key_node_key(node);
    if (at < count || count == leaf->page.capacity || compare_prefix(key, leaf->prefix, leaf->page.prefix_size) != 0)
        return false;
    leaf->nodes[count] = node;
    leaf->heads[count] = head_of(key, leaf->page.prefix_size);
    atomic_store_explicit(&leaf->page.count, (uint16_t)(count + 1), memory_order_release);
    return true;
}

/* One more, all of which share the prefix. */
static struct leaf *leaf_copy_with(const struct leaf *leaf, unsigned count, unsigned at, struct key_node *node)
{
    struct leaf *copy = leaf_alloc(leaf->page.slab, count + 1, leaf->page.prefix_size);
    if (!copy)
        return NULL;
    memcpy(copy->prefix, leaf->prefix, leaf->page.prefix_size);
    memcpy(copy->nodes, leaf->nodes, at * sizeof *copy->nodes);
    memcpy(copy->heads, leaf->heads, at * sizeof *copy->heads);
    copy->nodes[at] = node;
    copy->heads[at] = head_of(key_node_key(node), leaf->page.prefix_size);
    memcpy(copy->nodes + at + 1, leaf->nodes + at, (count - at) * sizeof *copy->nodes);
    memcpy(copy->heads + at + 1, leaf->heads + at, (count - at) * sizeof *copy->heads);
    atomic_init(&copy->page.count, (uint16_t)(count + 1));
    return copy;
}

bool leaf_insert(const struct leaf *leaf, unsigned at, struct key_node *node, struct leaf **left, struct leaf **right)
{
    unsigned count = page_count(&leaf->page);
    *right = NULL;
    if (count > 0 && count < LEAF_MOST &&
        compare_prefix(key_node_key(node), leaf->prefix, leaf->page.prefix_size) == 0) {
        *left = leaf_copy_with(leaf, count, at, node);
        return *left != NULL;
    }
    struct key_node *nodes[LEAF_MOST + 1];
    memcpy(nodes, leaf->nodes, at * sizeof *nodes);
    nodes[at] = node;
    memcpy(nodes + at + 1, leaf->nodes + at, (count - at) * sizeof *nodes);
    count++;
    for (unsigned i = 0; i < count; i++)
        __builtin_prefetch(nodes[i]);
    /* Behind the last one more come, mostly: then the left one stays as full as it is. */
    unsigned split = count <= LEAF_MOST ? count : at == count - 1 ? count - 1 : count / 2;
    *left = leaf_of(leaf->page.slab, nodes, split);
    if (*left && split < count)
        *right = leaf_of(leaf->page.slab, nodes + split, count - split);
    if (*left && (*right || split == count))
        return true;
    if (*left)
        page_free(&(*left)->page);
    *left = NULL;
    return false;
}

struct leaf *leaf_remove(const struct leaf *leaf, unsigned at)
{
    unsigned count = page_count(&leaf->page) - 1;
    struct leaf *copy = leaf_alloc(leaf->page.slab, count, leaf->page.prefix_size);
    if (!copy)
        return NULL;
    memcpy(copy->prefix, leaf->prefix, leaf->page.prefix_size);
    memcpy(copy->nodes, leaf->nodes, at * sizeof *copy->nodes);
    memcpy(copy->heads, leaf->heads, at * sizeof *copy->heads);
    memcpy(copy->nodes + at, leaf->nodes + at + 1, (count - at) * sizeof *copy->nodes);
    memcpy(copy->heads + at, leaf->heads + at + 1, (count - at) * sizeof *copy->heads);
    atomic_init(&copy->page.count, (uint16_t)count);
    return copy;
}

/* --- inner nodes -------------------------------------------------------------------------------------------------- */

unsigned inner_rank(const struct inner *inner, plsm_slice key, bool or_equal)
{
    unsigned count = page_count(&inner->page) - 1;
    size_t prefix = inner->page.prefix_size;
    int order = compare_prefix(key, inner->bytes, prefix);
    if (order || count == 0)
        return order < 0 ? 0 : count;
    uint32_t head = head_of(key, prefix);
    unsigned low = heads_below(inner->heads, count, head), high = low;
    if (low == count || inner->heads[low] != head)
        return low;
    high = head == UINT32_MAX ? count : heads_below(inner->heads, count, head + 1);
    while (low < high) {
        unsigned middle = (low + high) / 2;
        int compared = slice_compare(inner_separator(inner, middle), key);
        if (compared < 0 || (or_equal && compared == 0))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct inner *inner_of(struct slab *slab, struct page *const *children, const plsm_slice *separators, unsigned count)
{
    size_t bytes = 0, prefix = 0;
    for (unsigned i = 0; i + 1 < count; i++)
        bytes += separators[i].size;
    if (count > 1)
        prefix = slice_common(separators[0], separators[count - 2]);
    if (prefix > UINT16_MAX)
        prefix = UINT16_MAX;
    size_t size = sizeof(struct inner) + count * sizeof(struct page *) + 2 * (count - 1) * sizeof(uint32_t) + bytes;
    struct inner *inner = page_alloc(slab, size, children[0]->level + 1u, count);
    if (!inner)
        return NULL;
    inner->heads = (uint32_t *)(void *)&inner->children[count];
    inner->ends = inner->heads + (count - 1);
    inner->bytes = (uint8_t *)(inner->ends + (count - 1));
    inner->page.prefix_size = (uint16_t)prefix;
    uint32_t end = 0;
    for (unsigned i = 0; i < count; i++) {
        atomic_init(&inner->children[i], children[i]);
        if (i + 1 == count)
            break;
        memcpy(inner->bytes + end, separators[i].data, separators[i].size);
        inner->ends[i] = end += (uint32_t)separators[i].size;
        inner->heads[i] = head_of(separators[i], prefix);
    }
    atomic_init(&inner->page.count, (uint16_t)count);
    return inner;
}

struct inner *inner_root(struct slab *slab, struct page *left, struct page *right, plsm_slice separator)
{
    struct page *children[2] = {left, right};
    return inner_of(slab, children, &separator, 2);
}

bool inner_insert(const struct inner *inner, unsigned at, struct page *left, struct page *right, plsm_slice separator,
                  struct inner_split *out)
{
    struct page *children[INNER_MOST + 1];
    plsm_slice separators[INNER_MOST];
    unsigned count = page_count(&inner->page);
    for (unsigned i = 0; i < count; i++)
        children[i + (i > at)] = atomic_load_explicit(&inner->children[i], memory_order_relaxed);
    children[at] = left;
    children[at + 1] = right;
    for (unsigned i = 0; i + 1 < count; i++)
        separators[i + (i >= at)] = inner_separator(inner, i);
    separators[at] = separator;
    count++;
    unsigned split = count <= INNER_MOST ? count : at + 2 == count ? count - 2 : count / 2;
    *out = (struct inner_split){0};
    out->left = inner_of(inner->page.slab, children, separators, split);
    if (out->left && split < count) {
        out->separator = separators[split - 1];
        out->right = inner_of(inner->page.slab, children + split, separators + split, count - split);
    }
    if (out->left && (out->right || split == count))
        return true;
    if (out->left)
        page_free(&out->left->page);
    *out = (struct inner_split){0};
    return false;
}

struct inner *inner_remove(const struct inner *inner, unsigned at)
{
    struct page *children[INNER_MOST];
    plsm_slice separators[INNER_MOST];
    unsigned count = page_count(&inner->page);
    unsigned gone = at > 0 ? at - 1 : 0; /* the separator in front of it; of the first child that behind it */
    for (unsigned i = 0; i < count; i++)
        if (i != at)
            children[i - (i > at)] = atomic_load_explicit(&inner->children[i], memory_order_relaxed);
    for (unsigned i = 0; i + 1 < count; i++)
        if (i != gone)
            separators[i - (i > gone)] = inner_separator(inner, i);
    return inner_of(inner->page.slab, children, separators, count - 1);
}
