/* Walking a memtable that is complete, from its first key to the last: what a flush does. Nothing is added meanwhile,
 * so the branches of a node can be put in order once, where an iterator must look for the next one at every step. */
#include "base/alloc.h"
#include "base/error.h"
#include "lsm/memtable_private.h"

#include "base/banned.h"

enum {
    FRAMES = 64,         /* nodes on the way to a key that need no allocation */
    PREFETCH_AHEAD = 4,  /* children of 4 and 16; those of 48 all come when the node is entered */
    BRANCHES_AHEAD = 16, /* of 256, which has at least 49 children */
};

/* A node on the way: what is left of it. */
struct frame {
    uintptr_t node;
    uint64_t order; /* of 4 and 16: the positions of the children that are left by their bytes, 4 bits each */
    int left;       /* how many those are; of 48 and 256: the byte to go on from, 256 at the end */
};

struct walk {
    memtable_visit *visit;
    void *arg;
    struct frame *frames; /* `own`, or allocated */
    size_t depth, capacity;
    struct frame own[FRAMES];
};

/* Positions 0 to count - 1, 4 bits each, in the order of their bytes: inserted one by one, nearly always at the end
 * where keys came in order. */
static uint64_t order_of(const uint8_t *keys, unsigned count)
{
    uint64_t order = 0;
    for (unsigned i = 0; i < count; i++) {
        unsigned at = i;
        while (at > 0 && keys[order >> (4 * (at - 1)) & 15] > keys[i])
            at--;
        uint64_t below = order & ((UINT64_C(1) << (4 * at)) - 1);
        order = below | (uint64_t)i << (4 * at) | (order ^ below) << 4;
    }
    return order;
}

static void prefetch(uintptr_t child)
{
    const char *place = (const char *)(child & ~(uintptr_t)ART_TYPE_MASK);
    if (!place)
        return;
    __builtin_prefetch(place);
    __builtin_prefetch(place + 64);
    __builtin_prefetch(place + 128);
}

static const _Atomic uintptr_t *children_of(uintptr_t node)
{
    return art_type(node) == ART_4 ? ((const struct art_node4 *)art_node(node))->children
                                   : ((const struct art_node16 *)art_node(node))->children;
}

/* What next_child of a frame will return. */
static uintptr_t coming_child(const struct frame *f)
{
    int byte = 256;
    if (art_type(f->node) > ART_16)
        return art_at_or_above(f->node, f->left, &byte);
    return f->left > 0 ? art_load(&children_of(f->node)[f->order & 15]) : 0;
}

/* The last children of a node have been asked for: asks for the first of the node that comes behind it, below `above`.
 * Which of its children those are is no matter, for all of them come soon. */
static void prefetch_behind(const struct frame *above)
{
    uintptr_t node = coming_child(above);
    if (!node || art_type(node) == ART_LEAF || art_type(node) > ART_16)
        return;
    unsigned count = art_count(art_node(node));
    for (unsigned i = 0; i < count && i < PREFETCH_AHEAD; i++)
        prefetch(art_load(&children_of(node)[i]));
}

/* The next child of the last frame, 0 when there is none left. */
static uintptr_t next_child(struct walk *w)
{
    struct frame *f = &w->frames[w->depth - 1];
    if (art_type(f->node) <= ART_16) {
        if (f->left == 0)
            return 0;
        const _Atomic uintptr_t *children = children_of(f->node);
        uintptr_t child = art_load(&children[f->order & 15]);
        f->order >>= 4;
        f->left--;
        if (f->left >= PREFETCH_AHEAD)
            prefetch(art_load(&children[f->order >> (4 * (PREFETCH_AHEAD - 1)) & 15]));
        else if (f->left == PREFETCH_AHEAD - 1 && w->depth > 1)
            prefetch_behind(f - 1);
        return child;
    }
    int byte = 256;
    uintptr_t child = art_at_or_above(f->node, f->left, &byte);
    int next = child ? byte + 1 : 256;
    if (art_type(f->node) == ART_256) {
        const struct art_node256 *n = (const struct art_node256 *)art_node(f->node);
        for (int ahead = f->left + BRANCHES_AHEAD; ahead < next + BRANCHES_AHEAD && ahead < 256; ahead++)
            prefetch(atomic_load_explicit(&n->children[ahead], memory_order_relaxed));
    }
    f->left = next;
    return child;
}

static plsm_status grow(struct walk *w)
{
    size_t bytes = w->capacity * sizeof *w->frames;
    struct frame *frames = mem_realloc(w->frames == w->own ? NULL : w->frames, 2 * bytes);
    if (!frames)
        return fail(PLSM_NO_MEMORY, "no memory to walk over a memtable");
    if (w->frames == w->own)
        memcpy(frames, w->own, bytes);
    w->frames = frames;
    w->capacity *= 2;
    return PLSM_OK;
}

static plsm_status enter(struct walk *w, uintptr_t node)
{
    struct frame f = {.node = node};
    if (w->depth == w->capacity)
        TRY(grow(w));
    if (art_type(node) <= ART_16) {
        const uint8_t *keys = art_type(node) == ART_4 ? ((const struct art_node4 *)art_node(node))->keys
                                                      : ((const struct art_node16 *)art_node(node))->keys;
        const _Atomic uintptr_t *children = children_of(node);
        unsigned count = art_count(art_node(node));
        f.left = (int)count;
        f.order = order_of(keys, count);
        for (unsigned i = 0; i < count && i < PREFETCH_AHEAD; i++)
            prefetch(art_load(&children[f.order >> (4 * i) & 15]));
        if (count < PREFETCH_AHEAD && w->depth > 0)
            prefetch_behind(&w->frames[w->depth - 1]);
    } else if (art_type(node) == ART_48) {
        const struct art_node48 *n = (const struct art_node48 *)art_node(node);
        for (unsigned i = 0; i < art_count(&n->head); i++)
            prefetch(art_load(&n->children[i]));
    }
    w->frames[w->depth++] = f;
    return PLSM_OK;
}

static plsm_status visit_leaf(const struct walk *w, const struct art_leaf *leaf)
{
    bool newest = true;
    struct entry entry;
    for (const struct art_version *version = leaf_newest(leaf); version; version = version_older(version)) {
        version_entry(leaf, version, &entry);
        TRY(w->visit(w->arg, &entry, newest));
        newest = false;
    }
    return PLSM_OK;
}

/* Everything below `at` that needs no frame; the rest has one then. */
static plsm_status visit_child(struct walk *w, uintptr_t at)
{
    if (art_type(at) == ART_LEAF)
        return visit_leaf(w, art_leaf(at));
    TRY(enter(w, at));
    const struct art_leaf *ended = art_ended(art_node(at));
    return ended ? visit_leaf(w, ended) : PLSM_OK;
}

plsm_status memtable_walk(const struct memtable *m, memtable_visit *visit, void *arg)
{
    struct walk w; /* its frames are filled as they come */
    w.visit = visit;
    w.arg = arg;
    w.frames = w.own;
    w.depth = 0;
    w.capacity = FRAMES;
    uintptr_t root = art_load(&m->root);
    plsm_status status = root ? visit_child(&w, root) : PLSM_OK;
    while (status == PLSM_OK && w.depth) {
        uintptr_t child = next_child(&w);
        if (child)
            status = visit_child(&w, child);
        else
            w.depth--;
    }
    if (w.frames != w.own)
        mem_free(w.frames);
    return status;
}
