/* Making a blind trie from the events of a run.
 *
 * Take any stretch of the run's keys. They share as many bytes as the shallowest event among them says, and that event
 * splits them: a key of the stretch belongs behind it exactly if its byte at that depth is at least the event's. So
 * the Cartesian tree of the events by depth (Vuillemin 1980) leads every key of the run to its place, with one test
 * of one byte at each node, and nothing else needs to be known of the keys. Stretches without a border between pages
 * are leaves. So of the events inside a page only those count that split a stretch with its left or its right border in
 * it: going from that border inward, each that is shallower than all before it.
 *
 * Of events of equal depth, which may be taken in any order, the one that best balances the two sides comes first. Two
 * of them with a border between them make one node with three sides: the keys between them all have the byte of the
 * first at that depth, as a change of it would be an event.
 *
 *   events (depth):   3   7b  5   5b  2   6b  4b        b: border
 *   chains by depth:  2                                  the root
 *                    3 . . .      4b                     3: left of it there is no border, but right of it there is
 *                      5 5b       6b
 *                      7b
 *
 * All walks have stacks of their own in memory from the heap, as depth is bounded by the length of keys only. */
#include "base/alloc.h"
#include "base/error.h"
#include "learn/trie.h"
#include "learn/trie_format.h"

#include "base/banned.h"

enum { NONE = UINT32_MAX >> 1 }; /* no event */

/* The Cartesian tree and what is added up over it; all arrays are by event. */
struct forest {
    const struct trie_event *events;
    uint32_t count;
    uint32_t *left, *right; /* subtrees, by their root; NONE */
    uint32_t *chain;        /* events of equal depth in a row, chain after chain, without those that are not needed */
    uint32_t *chain_start;  /* of roots */
    uint32_t *chain_size;
    uint32_t *tests; /* of roots: nodes of the whole subtree */
    uint32_t *sums;  /* along a chain: tests up to and with the event and what is left of it */
    uint32_t *roots; /* every root behind the roots it is below */
    uint32_t root_count;
};

static void forest_free(struct forest *f)
{
    mem_free(f->left);
    mem_free(f->right);
    mem_free(f->chain);
    mem_free(f->chain_start);
    mem_free(f->chain_size);
    mem_free(f->tests);
    mem_free(f->sums);
    mem_free(f->roots);
}

static plsm_status forest_alloc(struct forest *f, const struct trie_event *events, size_t count)
{
    uint32_t **arrays[] = {&f->left,       &f->right, &f->chain, &f->chain_start,
                           &f->chain_size, &f->tests, &f->sums,  &f->roots};
    *f = (struct forest){.events = events, .count = (uint32_t)count};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        *arrays[i] = mem_alloc((count + 1) * sizeof **arrays[i]);
        if (!*arrays[i])
            return fail(PLSM_NO_MEMORY, "learned index: no memory for a trie over %zu events", count);
    }
    return PLSM_OK;
}

/* The Cartesian tree, by the usual walk with a stack of the rightmost way. Of equals the first is on top. Returns the
 * root. */
static uint32_t plant(struct forest *f)
{
    uint32_t *way = f->roots, size = 0; /* its memory is free until later */
    for (uint32_t i = 0; i < f->count; i++) {
        uint32_t below = NONE;
        while (size > 0 && f->events[way[size - 1]].depth > f->events[i].depth)
            below = way[--size];
        f->left[i] = below;
        f->right[i] = NONE;
        if (size > 0)
            f->right[way[size - 1]] = i;
        way[size++] = i;
    }
    return size > 0 ? way[0] : NONE;
}

/* Cuts the tree into chains: the root of a subtree, and what follows it to the right at the same depth. Lists their
 * first events, each behind those above. */
static void find_chains(struct forest *f, uint32_t root)
{
    uint32_t *waiting = f->sums, size = 0, used = 0; /* its memory is free until later */
    f->root_count = 0;
    if (root != NONE)
        waiting[size++] = root;
    while (size > 0) {
        uint32_t first = waiting[--size], event = first;
        f->roots[f->root_count++] = first;
        f->chain_start[first] = used;
        for (;;) {
            f->chain[used++] = event;
            if (f->left[event] != NONE)
                waiting[size++] = f->left[event];
            uint32_t next = f->right[event];
            if (next == NONE || f->events[next].depth != f->events[event].depth) {
                if (next != NONE)
                    waiting[size++] = next;
                break;
            }
            event = next;
        }
        f->chain_size[first] = used - f->chain_start[first];
    }
}

static uint32_t tests_of(const struct forest *f, uint32_t root)
{
    return root == NONE ? 0 : f->tests[root];
}

/* Leaves out of a chain what tells no two pages apart: an event inside a page without a test on either side. Adds up
 * the tests. Subtrees without tests are cut off, so that they can be told by NONE. */
static void prune(struct forest *f, uint32_t root)
{
    uint32_t *chain = f->chain + f->chain_start[root], *sums = f->sums + f->chain_start[root];
    uint32_t size = f->chain_size[root], kept = 0, sum = 0, before = 0;
    uint32_t tail = f->right[chain[size - 1]];
    for (uint32_t i = 0; i < size; i++) {
        uint32_t event = chain[i], left = tests_of(f, f->left[event]);
        uint32_t behind = i + 1 < size ? tests_of(f, f->left[chain[i + 1]]) : tests_of(f, tail);
        before += left; /* tests between the one kept before and this one: of one stretch only, or it would be kept */
        if (!f->events[event].border && before == 0 && behind == 0)
            continue;
        if (left == 0)
            f->left[event] = NONE;
        sum += left + 1;
        before = 0;
        chain[kept] = event;
        sums[kept++] = sum;
    }
    if (kept > 0)
        f->right[chain[kept - 1]] = tests_of(f, tail) > 0 ? tail : NONE;
    f->chain_size[root] = kept;
    f->tests[root] = sum + (kept > 0 ? tests_of(f, tail) : 0);
}

/* --- pieces of chains --------------------------------------------------------------------------------------------- */

/* A piece of a chain with what is between its events, from in front of event `first` to behind event `last` - 1. */
struct part {
    uint32_t first, last; /* into chain */
    uint32_t tail;        /* the subtree behind the last event; NONE */
    uint32_t tests;
    uint32_t depth;     /* of the node above */
    bool behind_border; /* a border is directly in front of it */
};

static struct part part_of(const struct forest *f, uint32_t root)
{
    if (tests_of(f, root) == 0)
        return (struct part){.tail = NONE};
    uint32_t first = f->chain_start[root], last = first + f->chain_size[root];
    return (struct part){.first = first, .last = last, .tail = f->right[f->chain[last - 1]], .tests = f->tests[root]};
}

/* Tests in front of number `middle` of the chain, of those in the part. */
static uint32_t tests_before(const struct forest *f, const struct part *p, uint32_t middle)
{
    uint32_t skipped = f->sums[p->first] - 1 - tests_of(f, f->left[f->chain[p->first]]);
    return f->sums[middle] - 1 - skipped;
}

/* The event of a part that leaves the two sides as equal as can be. */
static uint32_t choose_middle(const struct forest *f, const struct part *p)
{
    uint32_t low = p->first, high = p->last - 1, half = p->tests / 2;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (tests_before(f, p, middle) < half)
            low = middle + 1;
        else
            high = middle;
    }
    /* The first that is not before the middle, or the last that is. */
    if (low > p->first && tests_before(f, p, low) > half &&
        tests_before(f, p, low) - half > half - tests_before(f, p, low - 1))
        low--;
    return low;
}

static const struct trie_event *event_of(const struct forest *f, uint32_t number)
{
    return &f->events[f->chain[number]];
}

/* What is in front of number `middle` of a part's chain, and what is behind it. */
static struct part left_of(const struct forest *f, const struct part *p, uint32_t middle)
{
    struct part left = part_of(f, f->left[f->chain[middle]]);
    if (middle > p->first)
        left = (struct part){
            .first = p->first, .last = middle, .tail = f->left[f->chain[middle]], .tests = tests_before(f, p, middle)};
    left.behind_border = p->behind_border;
    left.depth = event_of(f, middle)->depth;
    return left;
}

static struct part right_of(const struct forest *f, const struct part *p, uint32_t middle)
{
    struct part right = part_of(f, p->tail);
    if (middle + 1 < p->last)
        right = (struct part){.first = middle + 1, .last = p->last, .tail = p->tail};
    right.tests = p->tests - tests_before(f, p, middle) - 1;
    right.behind_border = event_of(f, middle)->border;
    right.depth = event_of(f, middle)->depth;
    return right;
}

/* --- blocks ------------------------------------------------------------------------------------------------------- */

/* A block while it is not known whether it can be one. */
struct draft {
    uint8_t bytes[TRIE_BLOCK_BYTES];
    size_t size;
    uint32_t borders, nodes;
    bool failed; /* it does not fit, or some step of depth is too large */
};

/* Writes a node's flags, byte and step, and makes room for the records of its sides. Returns where those go. */
static size_t draft_node(struct draft *d, unsigned flags, uint8_t byte, uint32_t step, unsigned sides)
{
    bool far = step >= TRIE_STEP_MASK;
    size_t size = 2 + far + (sides > 1 ? (sides - 1) * TRIE_RECORD_SIZE : 0u), at = d->size;
    d->failed = d->failed || step > TRIE_STEP_MAX || size > sizeof d->bytes - d->size;
    if (d->failed)
        return 0;
    d->bytes[at] = (uint8_t)(flags | (far ? TRIE_STEP_MASK : step));
    d->bytes[at + 1] = byte;
    if (far)
        d->bytes[at + 2] = (uint8_t)(step - TRIE_STEP_MASK);
    d->size += size;
    d->nodes++;
    return at + 2 + far;
}

/* Drafts a part with all that is below it. Not deeper than a block has nodes, nearly, as each takes two bytes. */
static void draft_part(const struct forest *f, const struct part *p, struct draft *d)
{
    uint32_t middle = choose_middle(f, p), second = NONE;
    if (middle + 1 < p->last && tests_of(f, f->left[f->chain[middle + 1]]) > 0)
        second = middle + 1;
    else if (middle > p->first && tests_of(f, f->left[f->chain[middle]]) > 0)
        second = middle--;
    struct part sides[3], all = right_of(f, p, middle);
    unsigned count = 0, flags = event_of(f, middle)->border ? TRIE_BORDER_FIRST : 0;
    sides[count] = left_of(f, p, middle);
    flags |= sides[count].tests > 0 ? TRIE_LEFT_TESTED : 0;
    count += sides[count].tests > 0;
    if (second != NONE) {
        sides[count++] = left_of(f, &all, second);
        flags |= TRIE_TERNARY | (event_of(f, second)->border ? TRIE_BORDER_SECOND : 0);
        all = right_of(f, &all, second);
    }
    flags |= all.tests > 0 ? TRIE_RIGHT_TESTED : 0;
    if (all.tests > 0)
        sides[count++] = all;
    d->borders += event_of(f, middle)->border + (second != NONE && event_of(f, second)->border);
    size_t record = draft_node(d, flags, event_of(f, middle)->byte, event_of(f, middle)->depth - p->depth, count);
    for (unsigned i = 0; i < count && !d->failed; i++, record += TRIE_RECORD_SIZE) {
        size_t start = d->size;
        uint32_t borders = d->borders;
        draft_part(f, &sides[i], d);
        if (i + 1 < count && !d->failed) {
            d->bytes[record] = (uint8_t)(d->size - start);
            d->bytes[record + 1] = (uint8_t)(d->borders - borders);
        }
    }
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

/* Where a trie is being written to. */
struct writing {
    const struct forest *f;
    struct buf top, places, blocks;
    struct waiting {
        struct part part;
        uint32_t parent; /* node of the top whose right side it is; NONE */
    } * stack;           /* right sides that wait for their left ones to be written */
    size_t stack_size, stack_capacity;
    uint32_t borders, nodes;
};

static plsm_status push(struct writing *w, struct part part, uint32_t parent)
{
    if (w->stack_size == w->stack_capacity) {
        size_t capacity = w->stack_capacity ? 2 * w->stack_capacity : 64;
        struct waiting *grown = mem_realloc(w->stack, capacity * sizeof *grown);
        if (!grown)
            return fail(PLSM_NO_MEMORY, "learned index: no memory for a trie");
        w->stack = grown;
        w->stack_capacity = capacity;
    }
    w->stack[w->stack_size++] = (struct waiting){part, parent};
    return PLSM_OK;
}

/* Writes a part as a block, if it can be one. */
static plsm_status append_block(struct writing *w, const struct part *part, bool *done)
{
    struct draft draft;
    draft.size = draft.borders = draft.nodes = 0;
    draft.failed = part->tests > TRIE_BLOCK_BYTES; /* a test takes a byte at least */
    if (part->tests > 0 && !draft.failed)
        draft_part(w->f, part, &draft);
    *done = !draft.failed;
    if (draft.failed)
        return PLSM_OK;
    if (w->blocks.size > INT32_MAX)
        return fail(PLSM_TOO_LARGE, "learned index: a trie of over 2 GiB");
    w->borders += part->behind_border; /* of the node of the top in front of it */
    TRY(buf_append_u32(&w->places, (uint32_t)w->blocks.size));
    TRY(buf_append_u32(&w->places, w->borders));
    const uint8_t header[TRIE_BLOCK_HEADER] = {part->tests > 0, (uint8_t)draft.borders};
    TRY(buf_append(&w->blocks, header, sizeof header));
    TRY(buf_append(&w->blocks, draft.bytes, draft.size));
    w->borders += draft.borders;
    w->nodes += draft.nodes;
    return PLSM_OK;
}

/* Writes a node of the top and leaves its two sides to be written. */
static plsm_status append_top(struct writing *w, const struct part *part)
{
    uint8_t node[TRIE_TOP_NODE_SIZE] = {0};
    uint32_t number = (uint32_t)(w->top.size / TRIE_TOP_NODE_SIZE), middle = choose_middle(w->f, part);
    put_u16(node, (uint16_t)(event_of(w->f, middle)->depth - part->depth));
    node[2] = event_of(w->f, middle)->byte;
    TRY(buf_append(&w->top, node, sizeof node));
    TRY(push(w, right_of(w->f, part, middle), number));
    w->nodes++;
    return push(w, left_of(w->f, part, middle), NONE);
}

static plsm_status write_parts(struct writing *w, uint32_t root)
{
    TRY(push(w, part_of(w->f, root), NONE));
    while (w->stack_size > 0) {
        struct waiting next = w->stack[--w->stack_size];
        bool done = false;
        if (next.parent != NONE) { /* all that was written since is the left side of that node */
            uint32_t nodes = (uint32_t)(w->top.size / TRIE_TOP_NODE_SIZE);
            put_u32(w->top.data + (size_t)next.parent * TRIE_TOP_NODE_SIZE + 4, nodes - next.parent - 1);
        }
        TRY(append_block(w, &next.part, &done));
        if (!done)
            TRY(append_top(w, &next.part));
    }
    return PLSM_OK;
}

static plsm_status append_trie(const struct writing *w, struct buf *out)
{
    static const uint8_t padding[TRIE_PADDING];
    uint8_t header[TRIE_HEADER_SIZE] = {0};
    put_u32(header, (uint32_t)(w->top.size / TRIE_TOP_NODE_SIZE));
    put_u32(header + 4, (uint32_t)(w->places.size / TRIE_PLACE_SIZE));
    put_u32(header + 8, (uint32_t)w->blocks.size);
    put_u32(header + 12, w->borders);
    put_u32(header + 16, w->nodes);
    TRY(buf_append(out, header, sizeof header));
    TRY(buf_append(out, w->top.data, w->top.size));
    TRY(buf_append(out, w->places.data, w->places.size));
    TRY(buf_append(out, w->blocks.data, w->blocks.size));
    return buf_append(out, padding, sizeof padding);
}

plsm_status trie_build(const struct trie_event *events, size_t count, struct buf *out)
{
    struct forest f = {0};
    struct writing w = {.f = &f};
    plsm_status status = PLSM_OK;
    if (count >= NONE)
        return fail(PLSM_TOO_LARGE, "learned index: a trie over %zu events", count);
    if ((status = forest_alloc(&f, events, count)))
        goto done;
    uint32_t root = plant(&f);
    find_chains(&f, root);
    for (uint32_t i = f.root_count; i-- > 0;)
        prune(&f, f.roots[i]);
    if ((status = write_parts(&w, root)))
        goto done;
    status = append_trie(&w, out);
done:
    forest_free(&f);
    buf_free(&w.top);
    buf_free(&w.places);
    buf_free(&w.blocks);
    mem_free(w.stack);
    return status;
}
