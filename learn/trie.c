/* Reading the blind trie; trie_build.c makes it.
 *
 * A node looks at the key's byte at some depth. One with two sides asks whether it is at least a given byte: keys with
 * a smaller one, or that end before, go left, the others right. One with three sides asks whether it is smaller, equal
 * or greater. Where a side has no node the way ends; how many borders between pages were left behind is the rank.
 *
 * Nodes stand in preorder: a node, its left side, its middle, its right side. To pass over a side its size must be
 * known, and how many borders are in it; so these are kept of each side that another one follows, two bytes. Subtrees
 * of up to 254 bytes are blocks, which are fetched at once; above them is the top, whose leaves are the blocks.
 *
 *      depth 4, 'm'             "am"  left: rank 0
 *      /    |    \              "amber" ... equal at 4, and 'e' or more at 6: rank 2
 *     0   +2,'e'  3             "amongst" ... above: rank 3
 *          /  \
 *         1    2
 *
 * Serialized form, little-endian:
 *    0  u32  nodes of the top
 *    4  u32  blocks, one more than nodes of the top
 *    8  u32  bytes of all blocks
 *   12  u32  borders
 *   16  u32  nodes, of the top and of blocks
 *   20  u32  0
 *   24  u64  0
 *   32       per node of the top, which has two sides: u16 step of depth, u8 byte, u8 0, u32 nodes of the top on its
 *            left
 *            per block: u32 offset among the blocks, u32 borders in front of it
 *            the blocks, each:
 *              u8   1; 0 when it has no nodes: a leaf
 *              u8   borders in it
 *                   nodes in preorder, each:
 *                   u8   flags: bits 0 to 2: step of depth, 7: see below; 8: three sides; 16: a border lies behind the
 *                        left side; 32: one lies behind the middle; 64: the left side has nodes; 128: the right one
 *                        has. A middle always has
 *                   u8   byte
 *                   u8   where the step is 7: how much more it is
 *                        per side with nodes that another one with nodes follows: u8 size, u8 borders
 *            + 8 zero bytes */
#include "learn/trie.h"

#include "base/error.h"
#include "learn/trie_format.h"

#include "base/banned.h"

static plsm_status malformed(const char *what)
{
    return fail(PLSM_CORRUPT, "learned index: trie: %s; rebuild it with plsm retrain", what);
}

/* --- nodes -------------------------------------------------------------------------------------------------------- */

/* Which side of a node a key goes to; a node with two sides has no middle. */
enum side { LEFT, MIDDLE, RIGHT };

static inline enum side side_of(plsm_slice key, size_t depth, unsigned flags, unsigned byte)
{
    if (depth >= key.size)
        return LEFT;
    unsigned own = ((const uint8_t *)key.data)[depth];
    if (own == byte && (flags & TRIE_TERNARY))
        return MIDDLE;
    return own < byte ? LEFT : RIGHT;
}

/* How many borders lie between the left side and `side`, in the node itself. */
static inline unsigned own_borders(unsigned flags, enum side side)
{
    unsigned first = (flags & TRIE_BORDER_FIRST) != 0, second = (flags & TRIE_BORDER_SECOND) != 0;
    return side == LEFT ? 0 : side == MIDDLE ? first : first + second;
}

/* A node of a block, decoded. */
struct node {
    unsigned flags, byte, step;
    unsigned sides;         /* that have nodes */
    const uint8_t *records; /* of those but the last */
    const uint8_t *nodes;   /* of the first side that has some */
};

/* Reads may go 4 bytes beyond the node: blocks are followed by others or by padding. */
static inline struct node node_at(const uint8_t *at)
{
    struct node n = {.flags = at[0], .byte = at[1], .step = at[0] & TRIE_STEP_MASK};
    at += 2;
    if (n.step == TRIE_STEP_MASK)
        n.step += *at++;
    n.sides =
        ((n.flags & TRIE_LEFT_TESTED) != 0) + ((n.flags & TRIE_TERNARY) != 0) + ((n.flags & TRIE_RIGHT_TESTED) != 0);
    n.records = at;
    n.nodes = at + (n.sides > 1 ? (n.sides - 1) * TRIE_RECORD_SIZE : 0u);
    return n;
}

/* A way down through a block: the subtree in [at, end) has `borders` borders in it and `rank` in front of it. */
struct way {
    const uint8_t *at, *end; /* at NULL: a leaf, and `rank` is the answer */
    uint32_t rank, borders, depth;
};

/* Goes to one side of a node. */
static inline void go(struct way *w, const struct node *n, enum side side)
{
    const uint8_t *record = n->records, *at = n->nodes;
    bool left = n->flags & TRIE_LEFT_TESTED, middle = n->flags & TRIE_TERNARY, right = n->flags & TRIE_RIGHT_TESTED;
    unsigned own = own_borders(n->flags, RIGHT), passed = 0;
    if (side == LEFT) {
        if (middle | right) {
            w->borders = record[1];
            w->end = at + record[0];
        } else {
            w->borders -= own;
        }
        w->at = left ? at : NULL;
        return;
    }
    if (side == RIGHT && !right) {
        w->rank += w->borders; /* all of them are behind us */
        w->at = NULL;
        return;
    }
    if (left) {
        at += record[0];
        passed = record[1];
        record += TRIE_RECORD_SIZE;
    }
    if (side == MIDDLE) {
        passed += own_borders(n->flags, MIDDLE);
        w->borders = right ? record[1] : w->borders - passed - (own - own_borders(n->flags, MIDDLE));
        w->end = right ? at + record[0] : w->end;
    } else {
        if (middle) {
            at += record[0];
            passed += record[1];
        }
        passed += own;
        w->borders -= passed;
    }
    w->rank += passed;
    w->at = at;
}

/* --- the top and the blocks --------------------------------------------------------------------------------------- */

static inline const uint8_t *block_at(const struct trie *t, uint32_t number)
{
    return t->blocks + get_u32(t->places + (size_t)number * TRIE_PLACE_SIZE);
}

static inline uint32_t block_rank(const struct trie *t, uint32_t number)
{
    return get_u32(t->places + (size_t)number * TRIE_PLACE_SIZE + 4);
}

/* The beginning of the way through a block; `depth` is that of the last node of the top. */
static inline struct way enter_block(const struct trie *t, uint32_t number, uint32_t depth)
{
    const uint8_t *block = block_at(t, number);
    return (struct way){
        .at = block[0] ? block + TRIE_BLOCK_HEADER : NULL,
        .end = number + 1 < t->block_count ? block_at(t, number + 1) : t->blocks + t->blocks_size,
        .rank = block_rank(t, number),
        .borders = block[1],
        .depth = depth,
    };
}

/* A way down through the top: `count` nodes are left, the first of them number `at`, and `block` is the first of the
 * count + 1 blocks below them. A hostile size is cut to what is there. */
struct descent {
    uint32_t at, count, block, depth;
};

static inline const uint8_t *top_node(const struct trie *t, const struct descent *d)
{
    return t->top + (size_t)d->at * TRIE_TOP_NODE_SIZE;
}

static inline void descend(struct descent *d, const uint8_t *node, plsm_slice key)
{
    uint32_t left = get_u32(node + 4);
    left = left < d->count ? left : d->count - 1;
    d->depth += get_u16(node);
    bool right = side_of(key, d->depth, 0, node[2]) == RIGHT;
    d->block += right ? left + 1 : 0;
    d->at += right ? left + 1 : 1;
    d->count = right ? d->count - left - 1 : left;
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

/* Walks a subtree that should take `size` bytes and have `borders` borders. */
static bool subtree_sound(const uint8_t *at, size_t size, unsigned borders)
{
    if (size < 2 || (size < 3 && (at[0] & TRIE_STEP_MASK) == TRIE_STEP_MASK))
        return false;
    struct node n = node_at(at);
    unsigned own = own_borders(n.flags, RIGHT);
    bool second = (n.flags & TRIE_BORDER_SECOND) && !(n.flags & TRIE_TERNARY);
    if (second || (size_t)(n.nodes - at) > size || own > borders)
        return false;
    size -= (size_t)(n.nodes - at);
    borders -= own;
    for (unsigned i = 0; i + 1 < n.sides; i++) {
        unsigned side_size = n.records[i * TRIE_RECORD_SIZE], side_borders = n.records[i * TRIE_RECORD_SIZE + 1];
        if (side_size > size || side_borders > borders || !subtree_sound(n.nodes, side_size, side_borders))
            return false;
        n.nodes += side_size;
        size -= side_size;
        borders -= side_borders;
    }
    return n.sides > 0 ? subtree_sound(n.nodes, size, borders) : size == 0 && borders == 0;
}

static plsm_status check_blocks(const struct trie *t)
{
    uint64_t rank = 0;
    uint32_t size = t->blocks_size;
    for (uint32_t i = 0; i < t->block_count; i++) {
        uint32_t offset = get_u32(t->places + (size_t)i * TRIE_PLACE_SIZE);
        uint32_t end = i + 1 < t->block_count ? get_u32(t->places + (size_t)(i + 1) * TRIE_PLACE_SIZE) : size;
        if ((i == 0 && offset != 0) || end > size || end < offset || end - offset < TRIE_BLOCK_HEADER ||
            end - offset > TRIE_BLOCK_HEADER + TRIE_BLOCK_BYTES)
            return malformed("blocks do not follow each other");
        const uint8_t *block = t->blocks + offset;
        size_t nodes = end - offset - TRIE_BLOCK_HEADER;
        bool sound = block[0] == 0 ? nodes == 0 && block[1] == 0
                                   : block[0] == 1 && subtree_sound(block + TRIE_BLOCK_HEADER, nodes, block[1]);
        if (!sound)
            return malformed("a block is no tree");
        if (block_rank(t, i) < rank || block_rank(t, i) > rank + (i > 0)) /* one may lie between two blocks */
            return malformed("ranks do not ascend");
        rank = (uint64_t)block_rank(t, i) + block[1];
    }
    return rank == t->borders ? PLSM_OK : malformed("borders and ranks differ");
}

static plsm_status check_top(const struct trie *t)
{
    /* Ends are checked against the whole only: a way down keeps to what is left of it. */
    for (uint32_t i = 0; i < t->top_nodes; i++)
        if (get_u32(t->top + (size_t)i * TRIE_TOP_NODE_SIZE + 4) >= t->top_nodes - i)
            return malformed("the top is no tree");
    return PLSM_OK;
}

plsm_status trie_parse(const uint8_t **at, const uint8_t *end, struct trie *out)
{
    const uint8_t *from = *at;
    *out = (struct trie){0};
    if (end - from < TRIE_HEADER_SIZE)
        return malformed("it is cut off");
    struct trie t = {.top_nodes = get_u32(from),
                     .block_count = get_u32(from + 4),
                     .borders = get_u32(from + 12),
                     .nodes = get_u32(from + 16),
                     .blocks_size = get_u32(from + 8)};
    uint64_t top_size = (uint64_t)t.top_nodes * TRIE_TOP_NODE_SIZE;
    uint64_t places_size = (uint64_t)t.block_count * TRIE_PLACE_SIZE;
    if (get_u32(from + 20) != 0 || get_u64(from + 24) != 0 || t.block_count != (uint64_t)t.top_nodes + 1)
        return malformed("the header is wrong");
    if ((uint64_t)(end - from) < TRIE_HEADER_SIZE + top_size + places_size + t.blocks_size + TRIE_PADDING)
        return malformed("it is cut off");
    t.top = from + TRIE_HEADER_SIZE;
    t.places = t.top + top_size;
    t.blocks = t.places + places_size;
    TRY(check_blocks(&t));
    TRY(check_top(&t));
    *out = t;
    *at = t.blocks + t.blocks_size + TRIE_PADDING;
    return PLSM_OK;
}

/* --- the way down ------------------------------------------------------------------------------------------------- */

uint32_t trie_begin(const struct trie *t, plsm_slice key, struct trie_probe *probe)
{
    enum { LINE = 64 };
    struct descent d = {.count = t->top_nodes};
    while (d.count > 0)
        descend(&d, top_node(t, &d), key);
    const uint8_t *block = block_at(t, d.block);
    for (size_t at = 0; at < TRIE_BLOCK_HEADER + TRIE_BLOCK_BYTES; at += LINE)
        __builtin_prefetch(block + at);
    *probe = (struct trie_probe){d.block, d.depth};
    return block_rank(t, d.block);
}

static inline void step_down(struct way *w, plsm_slice key, struct node *n, enum side *side)
{
    *n = node_at(w->at);
    w->depth += n->step;
    *side = side_of(key, w->depth, n->flags, n->byte);
    go(w, n, *side);
}

uint32_t trie_end(const struct trie *t, plsm_slice key, const struct trie_probe *probe)
{
    struct way w = enter_block(t, probe->block, probe->depth);
    struct node n;
    enum side side;
    while (w.at)
        step_down(&w, key, &n, &side);
    return w.rank;
}

uint64_t trie_leaf(const struct trie *t, plsm_slice key)
{
    enum { LEVELS = 256 }; /* a node takes two bytes at least, so a block has fewer */
    struct trie_probe probe;
    trie_begin(t, key, &probe);
    struct way w = enter_block(t, probe.block, probe.depth);
    const uint8_t *block = block_at(t, probe.block);
    struct node n = {0};
    enum side side = LEFT;
    unsigned level = 0;
    while (w.at) {
        step_down(&w, key, &n, &side);
        level++;
    }
    if (level == 0)
        return (uint64_t)probe.block << 32;
    /* A left leaf stands in front of its node's other sides; a right one behind its node's subtree, and of those that
     * end at the same byte the lower is first. */
    uint64_t place = side == LEFT ? (uint64_t)(n.nodes - block) * 2 * LEVELS
                                  : (uint64_t)(w.end - block) * 2 * LEVELS + 2 * LEVELS - level;
    return (uint64_t)probe.block << 32 | place;
}

uint32_t trie_edge(const struct trie *t, plsm_slice key, size_t shared, bool above)
{
    struct descent d = {.count = t->top_nodes};
    while (d.count > 0) {
        const uint8_t *node = top_node(t, &d);
        if (d.depth + get_u16(node) > shared) {
            uint32_t last = d.block + d.count;
            return above ? block_rank(t, last) + block_at(t, last)[1] : block_rank(t, d.block);
        }
        descend(&d, node, key);
    }
    struct way w = enter_block(t, d.block, d.depth);
    struct node n;
    enum side side;
    while (w.at) {
        if (w.depth + node_at(w.at).step > shared)
            return above ? w.rank + w.borders : w.rank;
        step_down(&w, key, &n, &side);
    }
    return w.rank;
}
