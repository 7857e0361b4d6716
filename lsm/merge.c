/* Merging cursors. See merge.h. */
#include "lsm/merge.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/banned.h"

enum { STREAK_LEAST = 4 }; /* entries of one cursor in a row after which more of them are looked for at once */

/* The bounds of what a cursor may show; false: it shows nothing, or cannot tell. */
static bool bounds_of(struct cursor *c, plsm_slice *smallest, plsm_slice *largest)
{
    if (!c->is_memtable) {
        if (c->run_count == 0)
            return false;
        *smallest = c->runs[0]->facts.smallest;
        *largest = c->runs[c->run_count - 1]->facts.largest;
        return true;
    }
    /* What is added from now on is not visible to the cursor. */
    memtable_iterator_first(&c->memtable);
    if (!memtable_iterator_valid(&c->memtable))
        return false;
    *smallest = memtable_iterator_key(&c->memtable);
    memtable_iterator_last(&c->memtable);
    if (!memtable_iterator_valid(&c->memtable))
        return false;
    *largest = memtable_iterator_key(&c->memtable);
    return true;
}

/* Finds what all keys begin with. Without that, heads of names below one directory, or of numbers with leading zeros,
 * would be equal. */
static void find_prefix(struct merge *m)
{
    plsm_slice smallest = {0}, largest = {0};
    for (unsigned i = 0; i < m->count; i++) {
        plsm_slice from, to;
        if (!m->cursors[i].is_memtable && m->cursors[i].run_count == 0)
            continue;
        if (!bounds_of(&m->cursors[i], &from, &to))
            return;
        smallest = smallest.size == 0 || slice_compare(from, smallest) < 0 ? from : smallest;
        largest = largest.size == 0 || slice_compare(to, largest) > 0 ? to : largest;
    }
    m->prefix = slice(smallest.data, slice_common(smallest, largest));
    for (unsigned i = 0; i < m->count; i++)
        m->cursors[i].skip = m->prefix.size;
}

plsm_status merge_init(struct merge *m, struct cursor *cursors, unsigned count, bool all_versions)
{
    *m = (struct merge){.cursors = cursors, .count = count, .all_versions = all_versions};
    /* Twice as many as stay: the winners on the way, while the tree is built. */
    m->nodes = mem_alloc((2 * (size_t)count + 1) * sizeof *m->nodes);
    if (!m->nodes)
        return fail(PLSM_NO_MEMORY, "no memory for an iterator");
    m->nodes[0] = (struct merge_node){0};
    if (count > 1)
        find_prefix(m);
    return PLSM_OK;
}

void merge_destroy(struct merge *m)
{
    mem_free(m->nodes);
    *m = (struct merge){0};
}

uint64_t merge_head_end(const struct merge *m, plsm_slice bound)
{
    plsm_slice prefix = m->prefix;
    if (slice_starts_with(bound, prefix))
        return key_head(slice((const uint8_t *)bound.data + prefix.size, bound.size - prefix.size));
    return slice_compare(bound, prefix) < 0 ? 0 : UINT64_MAX;
}

/* What is at an end comes last; it has the rank of the last keys, too. */
static inline uint64_t rank_of(const struct merge *m, const struct cursor *c)
{
    uint64_t head = m->backward ? ~c->head : c->head;
    return c->valid ? head : UINT64_MAX;
}

/* Whether cursor `a` comes before cursor `b` of the same rank; equal keys: the newer source. */
static __attribute__((noinline)) bool before(const struct merge *m, unsigned a, unsigned b)
{
    struct cursor *left = &m->cursors[a], *right = &m->cursors[b];
    if (!left->valid || !right->valid)
        return left->valid;
    cursor_catch_up(left);
    cursor_catch_up(right);
    int order = slice_compare(left->entry.key, right->entry.key);
    if (order == 0)
        return a < b;
    return m->backward ? order > 0 : order < 0;
}

static inline bool comes_before(const struct merge *m, const struct merge_node *a, const struct merge_node *b)
{
    return a->rank != b->rank ? a->rank < b->rank : before(m, a->cursor, b->cursor);
}

/* Builds the tree over the cursors as they stand. An error of any ends the stream: its keys would be missing. */
static void build(struct merge *m, bool backward)
{
    struct merge_node *nodes = m->nodes;
    m->backward = backward;
    m->live = 0;
    m->status = PLSM_OK;
    for (unsigned i = 0; i < m->count; i++) {
        if (m->cursors[i].status != PLSM_OK) {
            m->status = m->cursors[i].status;
            m->live = 0;
            return;
        }
        m->live += m->cursors[i].valid;
    }
    /* The leaves are nodes[count] to nodes[2 * count - 1]. From the last node to the first the winner of two goes up,
     * and the loser waits where the left one was, until all winners have gone. */
    for (unsigned i = 0; i < m->count; i++)
        nodes[m->count + i] = (struct merge_node){rank_of(m, &m->cursors[i]), i};
    for (unsigned i = m->count; i-- > 1;) {
        struct merge_node left = nodes[2 * i], right = nodes[2 * i + 1];
        bool left_wins = comes_before(m, &left, &right);
        nodes[i] = left_wins ? left : right;
        nodes[2 * i] = left_wins ? right : left;
    }
    if (m->count > 0)
        nodes[0] = nodes[1];
    for (unsigned i = 1; i < m->count; i++)
        nodes[i] = nodes[2 * i];
}

/* The winner's cursor has moved: it plays again, from its leaf to the root. What is exchanged is masked: compilers turn
 * choices between values into jumps. */
static inline void play(struct merge *m)
{
    struct merge_node *nodes = m->nodes;
    uint64_t cursor = nodes[0].cursor, rank = rank_of(m, &m->cursors[cursor]);
    for (uint64_t i = (m->count + cursor) / 2; i > 0; i /= 2) {
        struct merge_node *node = &nodes[i];
        uint64_t mask = -(uint64_t)(node->rank < rank);
        if (__builtin_expect(node->rank == rank, 0))
            mask = -(uint64_t)before(m, node->cursor, (unsigned)cursor);
        uint64_t ranks = (node->rank ^ rank) & mask, cursors = (node->cursor ^ cursor) & mask;
        node->rank ^= ranks;
        node->cursor ^= (unsigned)cursors;
        rank ^= ranks;
        cursor ^= cursors;
    }
    nodes[0] = (struct merge_node){rank, (unsigned)cursor};
}

/* Restores the tree after the winner's cursor has moved. */
static inline void winner_moved(struct merge *m)
{
    const struct cursor *winner = merge_cursor(m);
    if (__builtin_expect(!winner->valid, 0)) {
        m->live--;
        if (winner->status != PLSM_OK) {
            m->status = winner->status;
            m->live = 0;
        }
        if (m->live > 0)
            play(m);
        return;
    }
    if (m->live > 1)
        play(m);
}

void merge_first(struct merge *m)
{
    for (unsigned i = 0; i < m->count; i++)
        cursor_first(&m->cursors[i]);
    build(m, false);
}

void merge_last(struct merge *m)
{
    for (unsigned i = 0; i < m->count; i++)
        cursor_last(&m->cursors[i]);
    build(m, true);
}

void merge_seek(struct merge *m, plsm_slice key)
{
    cursors_fetch(m->cursors, m->count, key);
    for (unsigned i = 0; i < m->count; i++)
        cursor_seek(&m->cursors[i], key);
    build(m, false);
}

void merge_seek_before(struct merge *m, plsm_slice key)
{
    cursors_fetch(m->cursors, m->count, key);
    for (unsigned i = 0; i < m->count; i++)
        cursor_seek_before(&m->cursors[i], key);
    build(m, true);
}

void merge_skip(struct merge *m, unsigned source, plsm_slice key)
{
    if (m->status != PLSM_OK)
        return;
    for (unsigned i = source + 1; i < m->count; i++)
        if (m->cursors[i].valid && slice_compare(m->cursors[i].entry.key, key) < 0)
            cursor_seek(&m->cursors[i], key);
    build(m, false);
}

void merge_skip_before(struct merge *m, unsigned source, plsm_slice key)
{
    if (m->status != PLSM_OK)
        return;
    for (unsigned i = source + 1; i < m->count; i++)
        if (m->cursors[i].valid && slice_compare(m->cursors[i].entry.key, key) >= 0)
            cursor_seek_before(&m->cursors[i], key);
    build(m, true);
}

/* Moves all cursors on that stand on `key`, whose head is `head`: older versions of it in other sources. */
static inline void leave(struct merge *m, plsm_slice key, uint64_t head, void (*step)(struct cursor *))
{
    while (m->live > 0) {
        struct cursor *top = merge_cursor(m);
        if (top->head != head || !slice_equal(top->entry.key, key))
            return;
        step(top);
        winner_moved(m);
    }
}

static inline void move(struct merge *m, void (*step)(struct cursor *))
{
    struct cursor *shown = merge_cursor(m);
    plsm_slice key = shown->entry.key; /* stays valid while `shown` moves once */
    uint64_t head = shown->head;
    bool alone = m->live == 1; /* nobody else can have a version of the key */
    step(shown);
    winner_moved(m);
    if (!m->all_versions && !alone)
        leave(m, key, head, step);
}

void merge_next(struct merge *m)
{
    move(m, cursor_next);
}

void merge_previous(struct merge *m)
{
    move(m, cursor_previous);
}

void merge_leave(struct merge *m, plsm_slice shown)
{
    leave(m, shown, cursor_head(merge_cursor(m), shown), cursor_next);
}

/* --- several at once ---------------------------------------------------------------------------------------------- */

/* Moves a cursor on where that leaves what it has shown where it is. */
static inline bool along(struct cursor *c)
{
    if (__builtin_expect(!c->is_memtable, 1))
        return cursor_along(c);
    cursor_next(c);
    return true;
}

/* The winner's cursor has moved from `shown`: finds out what comes next. False: that takes more than a step along. */
static bool follow(struct merge *m, plsm_slice shown, uint64_t head)
{
    winner_moved(m);
    while (m->live > 0) {
        struct cursor *top = merge_cursor(m);
        if (__builtin_expect(top->head != head, 1))
            return true;
        cursor_catch_up(top);
        if (!slice_equal(top->entry.key, shown))
            return true;
        if (!along(top))
            return false;
        winner_moved(m);
    }
    return false;
}

/* The smallest rank of all cursors but the winner's. */
static uint64_t second_rank(const struct merge *m)
{
    uint64_t least = UINT64_MAX;
    for (unsigned i = (m->count + merge_source(m)) / 2; i > 0; i /= 2)
        least = m->nodes[i].rank < least ? m->nodes[i].rank : least;
    return least;
}

/* Moves along the page of the winner's cursor up to where another one, or the end, comes. */
static unsigned stay(struct merge *m, const struct merge_ahead *ahead, unsigned count)
{
    uint64_t second = m->live > 1 ? second_rank(m) : UINT64_MAX;
    return cursor_ahead(merge_cursor(m), second < ahead->head_end ? second : ahead->head_end, ahead->keys + count,
                        ahead->out + count, ahead->most - count);
}

/* Copies what the winner's cursor shows; false: it is not such an entry, or too far. */
static inline bool give(const struct merge *m, const struct merge_ahead *ahead, unsigned count)
{
    struct cursor *top = merge_cursor(m);
    const struct entry *entry = &top->entry;
    uint8_t *key = ahead->keys[count];
    if (top->head >= ahead->head_end)
        return false;
    if (__builtin_expect(top->lags, 1) && cursor_give(top, key, &ahead->out[count]))
        return true;
    cursor_catch_up(top);
    if (entry->kind != BATCH_PUT || entry->separated || entry->meta.size > 0 || entry->expires_s > 0 ||
        entry->key.size > CURSOR_KEY_ROOM)
        return false;
    if (top->is_memtable)
        memcpy(key, entry->key.data, entry->key.size);
    else
        memcpy(key, entry->key.data, CURSOR_KEY_ROOM); /* there are LSM_KEY_MAX bytes */
    ahead->out[count] = (struct key_value){slice(key, entry->key.size), entry->value};
    return true;
}

/* Cursors may lag behind afterwards. */
static unsigned go_ahead(struct merge *m, struct merge_ahead *ahead)
{
    plsm_slice shown = merge_entry(m)->key; /* stays valid while its cursor moves once; then it is a copy */
    unsigned count = 0, streak = 0;         /* how often in a row the winner has stayed the same */
    while (count < ahead->most) {
        struct cursor *top = merge_cursor(m);
        bool stays = (m->live == 1 || streak >= STREAK_LEAST) && !top->is_memtable;
        unsigned more = stays ? stay(m, ahead, count) : 0;
        if (more > 0) {
            count += more;
            shown = ahead->out[count - 1].key;
            streak = 0;
            continue;
        }
        uint64_t head = top->head;
        if (!along(top))
            return count;
        if ((m->live > 1 || !top->valid) && !follow(m, shown, head))
            break;
        streak = merge_cursor(m) == top ? streak + 1 : 0;
        if (!give(m, ahead, count))
            break;
        shown = ahead->out[count++].key;
    }
    ahead->moved = count < ahead->most;
    return count;
}

unsigned merge_ahead(struct merge *m, struct merge_ahead *ahead)
{
    ahead->moved = false;
    INVARIANT(!m->all_versions && m->live > 0);
    unsigned count = go_ahead(m, ahead);
    for (unsigned i = 0; i < m->count; i++)
        cursor_catch_up(&m->cursors[i]);
    return count;
}
