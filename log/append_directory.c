/* The directory: versions of keys, snapshots, and how a group of writes changes it.
 *
 * The word of a node is the place of its entry, or leads to a list of versions, newest first: each has the number of
 * its change. A place without a number is older than all snapshots. Versions come in two ways. While there are
 * snapshots, what is overwritten stays for them. And the changes of a group become visible together: they are hung in
 * with a number that no reader looks for, then that number is published (`visible`), then those versions that nobody
 * needs are let go again. A group of one change needs no versions when there are no snapshots: one store does it.
 *
 * Whoever reads without a snapshot takes the place as it is, or goes by `visible` where there are versions: so a reader
 * that has seen a change of a group sees all others. */
#include "base/error.h"
#include "log/append_db.h"
#include "base/banned.h"

enum {
    RANGE_NODES = 64,
    PRUNED_PER_GROUP = 64,
};

/* --- reading ------------------------------------------------------------------------------------------------------ */

/* What is visible at `seq`; *passed: the number of the last version that is not, 0 when there is none. */
static append_place place_at(uint64_t word, uint64_t seq, uint64_t *passed)
{
    *passed = 0;
    while (word_is_version(word)) {
        const struct append_version *version = word_version(word);
        if (version->seq <= seq)
            return atomic_load_explicit(&version->place, memory_order_acquire);
        *passed = version->seq;
        word = atomic_load_explicit(&version->older, memory_order_acquire);
    }
    return word;
}

append_place directory_place(const struct append *db, const struct key_node *node, uint64_t seq)
{
    uint64_t word = atomic_load_explicit(&node->word, memory_order_acquire), passed = 0;
    if (__builtin_expect(!word_is_version(word), 1))
        return word;
    if (seq != UINT64_MAX)
        return place_at(word, seq, &passed);
    for (;;) {
        append_place place = place_at(word, atomic_load_explicit(&db->visible, memory_order_acquire), &passed);
        /* Once the version that was passed is published what is older may be cut off: then nothing older was found. */
        if (place || passed == 0 || atomic_load_explicit(&db->visible, memory_order_acquire) < passed)
            return place;
        word = atomic_load_explicit(&node->word, memory_order_acquire);
    }
}

static _Atomic uint64_t *find_place(struct key_node *node, append_place place)
{
    _Atomic uint64_t *at = &node->word;
    for (;;) {
        uint64_t word = atomic_load_explicit(at, memory_order_acquire);
        if (!word_is_version(word))
            return word == place ? at : NULL;
        struct append_version *version = word_version(word);
        if (atomic_load_explicit(&version->place, memory_order_acquire) == place)
            return &version->place;
        at = &version->older;
    }
}

bool directory_has_place(const struct append *db, plsm_slice key, append_place place)
{
    struct key_node *node = key_tree_find(db->tree, key);
    return node && find_place(node, place);
}

/* --- what lives --------------------------------------------------------------------------------------------------- */

/* Changed under `directory` alone once the store is open. */
static void count_live(struct append *db, append_place place, uint64_t bytes)
{
    _Atomic uint64_t *live = &segment_at(db, place)->live;
    atomic_store_explicit(live, atomic_load_explicit(live, memory_order_relaxed) + bytes, memory_order_relaxed);
    live = &db->live_bytes;
    atomic_store_explicit(live, atomic_load_explicit(live, memory_order_relaxed) + bytes, memory_order_relaxed);
}

static void lives(struct append *db, append_place place)
{
    if (place)
        count_live(db, place, append_place_size(place));
}

static void dies(struct append *db, append_place place)
{
    if (place)
        count_live(db, place, -(uint64_t)append_place_size(place));
}

/* Lets all versions from `word` on go; no new reader reaches them. */
static void drop_versions(struct append *db, uint64_t word)
{
    while (word_is_version(word)) {
        struct append_version *version = word_version(word);
        word = atomic_load_explicit(&version->older, memory_order_relaxed);
        dies(db, atomic_load_explicit(&version->place, memory_order_relaxed));
        slab_retire(&db->versions, version, sizeof *version);
    }
    dies(db, word);
}

/* Nothing is older than the newest version: the place itself takes its stead, or the node goes. */
static void settle(struct append *db, struct key_node *node)
{
    struct append_version *version = word_version(atomic_load_explicit(&node->word, memory_order_relaxed));
    append_place place = atomic_load_explicit(&version->place, memory_order_relaxed);
    uint64_t older = atomic_load_explicit(&version->older, memory_order_relaxed);
    atomic_store_explicit(&node->word, place, memory_order_release);
    drop_versions(db, older);
    slab_retire(&db->versions, version, sizeof *version);
    if (!place)
        key_tree_remove(db->tree, node); /* without memory it stays, and nobody finds anything there */
}

/* --- a group of writes -------------------------------------------------------------------------------------------- */

plsm_status directory_begin(struct append *db)
{
    db->op_count = 0;
    if (!db->spare)
        db->spare = slab_take(&db->versions, sizeof *db->spare);
    return db->spare ? PLSM_OK : fail(PLSM_NO_MEMORY, "no memory for a change");
}

static struct append_op *op_add(struct append *db)
{
    if (db->op_count == db->op_capacity) {
        size_t capacity = db->op_capacity ? 2 * db->op_capacity : 64;
        struct append_op *grown = mem_realloc(db->ops, capacity * sizeof *grown);
        if (!grown) {
            fail(PLSM_NO_MEMORY, "no memory for %zu changes", capacity);
            return NULL;
        }
        db->ops = grown;
        db->op_capacity = capacity;
    }
    struct append_op *op = &db->ops[db->op_count++];
    *op = (struct append_op){0};
    return op;
}

/* All nodes that are there by now: also those of puts of the same group. */
static plsm_status add_range(struct append *db, plsm_slice from, plsm_slice to, uint64_t seq)
{
    struct key_node *nodes[RANGE_NODES];
    bool above = false;
    for (size_t n; (n = key_tree_ascend(db->tree, from, above, nodes, RANGE_NODES)) > 0;) {
        for (size_t i = 0; i < n; i++) {
            if (slice_compare(key_node_key(nodes[i]), to) >= 0)
                return PLSM_OK;
            struct append_op *op = op_add(db);
            if (!op)
                return PLSM_NO_MEMORY;
            op->node = nodes[i];
            op->seq = seq;
        }
        from = key_node_key(nodes[n - 1]);
        above = true;
    }
    return PLSM_OK;
}

plsm_status directory_add(struct append *db, const struct batch_change *change, uint64_t hash, uint64_t seq,
                          append_place place)
{
    if (change->kind == BATCH_DELETE_RANGE)
        return slice_compare(change->key, change->value) < 0 ? add_range(db, change->key, change->value, seq) : PLSM_OK;
    bool deletes = change->kind == BATCH_DELETE;
    struct key_node *node = key_tree_find_hashed(db->tree, change->key, hash);
    if (!node && deletes)
        return PLSM_OK;
    struct append_op *op = op_add(db);
    if (!op)
        return PLSM_NO_MEMORY;
    if (!node) {
        node = key_tree_add(db->tree, change->key, 0);
        op->created = true;
    }
    if (!node) {
        db->op_count--;
        return fail(PLSM_NO_MEMORY, "no memory for another key");
    }
    op->node = node;
    op->seq = seq;
    op->place = deletes ? 0 : place;
    return PLSM_OK;
}

plsm_status directory_ready(struct append *db)
{
    if (db->op_count > 1)
        for (size_t i = 0; i < db->op_count; i++) {
            db->ops[i].version = slab_take(&db->versions, sizeof *db->ops[i].version);
            if (!db->ops[i].version)
                return fail(PLSM_NO_MEMORY, "no memory for %zu changes", db->op_count);
        }
    size_t wanted = db->chained_count + db->op_count;
    if (wanted > db->chained_capacity) {
        size_t capacity = wanted + wanted / 2 + 64;
        struct key_node **grown = mem_realloc(db->chained, capacity * sizeof *grown);
        if (!grown)
            return fail(PLSM_NO_MEMORY, "no memory for %zu changes", db->op_count);
        db->chained = grown;
        db->chained_capacity = capacity;
    }
    db->applying = true;
    return PLSM_OK;
}

void directory_undo(struct append *db)
{
    mutex_lock(&db->directory);
    for (size_t i = db->op_count; i-- > 0;) {
        struct append_op *op = &db->ops[i];
        if (op->version)
            slab_give_back(&db->versions, op->version, sizeof *op->version);
        if (op->created)
            key_tree_remove(db->tree, op->node);
    }
    db->op_count = 0;
    db->applying = false;
    mutex_unlock(&db->directory);
}

/* Hangs a version in front of what the node has. */
static void hang(struct append *db, struct append_op *op)
{
    uint64_t word = atomic_load_explicit(&op->node->word, memory_order_relaxed);
    op->version->seq = op->seq;
    atomic_init(&op->version->place, op->place);
    atomic_init(&op->version->older, word);
    if (!word_is_version(word))
        db->chained[db->chained_count++] = op->node;
    atomic_store_explicit(&op->node->word, version_word(op->version), memory_order_release);
}

/* One change, and nobody needs what was there. */
static void replace(struct append *db, const struct append_op *op)
{
    uint64_t old = atomic_load_explicit(&op->node->word, memory_order_relaxed);
    atomic_store_explicit(&op->node->word, op->place, memory_order_release);
    dies(db, old);
    if (!op->place)
        key_tree_remove(db->tree, op->node);
}

/* --- snapshots ---------------------------------------------------------------------------------------------------- */

/* Under `directory`. */
static void enter_snapshot(struct append *db, struct append_snapshot *snapshot, uint64_t now_s)
{
    snapshot->seq = atomic_load_explicit(&db->visible, memory_order_relaxed);
    snapshot->now_s = now_s;
    snapshot->older = db->newest;
    snapshot->newer = NULL;
    if (db->newest)
        db->newest->newer = snapshot;
    else
        db->oldest = snapshot;
    db->newest = snapshot;
    db->snapshots++;
}

void directory_snapshot(struct append *db, struct append_snapshot *snapshot)
{
    mutex_lock(&db->directory);
    enter_snapshot(db, snapshot, 0);
    mutex_unlock(&db->directory);
}

void directory_moment(struct append *db, struct append_snapshot *moment)
{
    mutex_lock(&db->directory); /* the time is looked at under it, too: else a merge could go by a later one */
    enter_snapshot(db, moment, append_now_s(db));
    mutex_unlock(&db->directory);
}

uint64_t directory_earliest_s(struct append *db)
{
    uint64_t earliest = append_now_s(db);
    for (const struct append_snapshot *s = db->oldest; s; s = s->newer)
        if (s->now_s && s->now_s < earliest)
            earliest = s->now_s;
    return earliest;
}

/* Of versions from `word` on, snapshots need none that is older than the first that the oldest of them sees. */
static void prune(struct append *db, uint64_t word, uint64_t seq)
{
    while (word_is_version(word)) {
        struct append_version *version = word_version(word);
        if (version->seq <= seq) {
            uint64_t older = atomic_load_explicit(&version->older, memory_order_relaxed);
            if (older) {
                atomic_store_explicit(&version->older, 0, memory_order_release);
                drop_versions(db, older);
            }
            return;
        }
        word = atomic_load_explicit(&version->older, memory_order_relaxed);
    }
}

static void prune_some(struct append *db, size_t most)
{
    uint64_t seq = db->oldest ? db->oldest->seq : UINT64_MAX;
    if (db->applying || db->chained_count == 0)
        return;
    if (seq != db->pruned_for) { /* another round */
        db->pruned_for = seq;
        db->pruned = 0;
    }
    for (; most > 0 && db->pruned < db->chained_count; most--) {
        struct key_node *node = db->chained[db->pruned];
        uint64_t word = atomic_load_explicit(&node->word, memory_order_relaxed);
        if (word_version(word)->seq <= seq) {
            settle(db, node);
            db->chained[db->pruned] = db->chained[--db->chained_count];
        } else {
            prune(db, word, seq);
            db->pruned++;
        }
    }
}

void directory_prune(struct append *db, size_t most)
{
    enum { AT_ONCE = 32 }; /* writers wait meanwhile, and for a processor for whoever is at it */
    for (bool more = true; more && most > 0;) {
        size_t now = most < AT_ONCE ? most : AT_ONCE;
        mutex_lock(&db->directory);
        prune_some(db, now);
        more = !db->applying && db->pruned < db->chained_count;
        mutex_unlock(&db->directory);
        most -= now;
        if (more)
            append_give_way(db);
    }
}

void directory_forget(struct append *db, struct append_snapshot *snapshot)
{
    enum { FEW = 256 };
    mutex_lock(&db->directory);
    *(snapshot->older ? &snapshot->older->newer : &db->oldest) = snapshot->newer;
    *(snapshot->newer ? &snapshot->newer->older : &db->newest) = snapshot->older;
    db->snapshots--;
    prune_some(db, FEW);
    mutex_unlock(&db->directory);
}

/* --- the end of a group of writes --------------------------------------------------------------------------------- */

void directory_install(struct append *db, uint64_t seq)
{
    mutex_lock(&db->directory);
    for (size_t i = 0; i < db->op_count; i++)
        lives(db, db->ops[i].place);
    struct append_op *only = db->op_count == 1 ? &db->ops[0] : NULL;
    if (only && db->snapshots == 0 && !word_is_version(atomic_load_explicit(&only->node->word, memory_order_relaxed))) {
        replace(db, only);
        atomic_store_explicit(&db->visible, seq, memory_order_release);
    } else {
        size_t chained = db->chained_count;
        if (only) {
            only->version = db->spare;
            db->spare = NULL;
        }
        for (size_t i = 0; i < db->op_count; i++)
            hang(db, &db->ops[i]);
        atomic_store_explicit(&db->visible, seq, memory_order_release);
        if (db->snapshots == 0) { /* those that had no versions before need none now */
            for (size_t i = chained; i < db->chained_count; i++)
                settle(db, db->chained[i]);
            db->chained_count = chained;
        }
    }
    db->op_count = 0;
    db->applying = false;
    prune_some(db, PRUNED_PER_GROUP);
    mutex_unlock(&db->directory);
}

/* --- merges ------------------------------------------------------------------------------------------------------- */

/* Its time has come. */
static void expire(struct append *db, struct key_node *node, _Atomic uint64_t *at)
{
    bool alone = at == &node->word;
    atomic_store_explicit(at, 0, memory_order_release);
    if (alone && !db->applying) /* else nobody finds anything there, and the next put takes the node */
        key_tree_remove(db->tree, node);
}

/* What becomes of a node's entry. */
static void move_one(struct append *db, struct key_node *node, const struct append_move *move)
{
    _Atomic uint64_t *at = node ? find_place(node, move->from) : NULL;
    if (!at)
        return;
    dies(db, move->from);
    lives(db, move->to);
    if (move->to)
        atomic_store_explicit(at, move->to, memory_order_release);
    else
        expire(db, node, at);
}

/* The nodes are looked up before the lock is taken: a writer that finds it taken may wait for as long as whoever holds
 * it waits for a processor, so it is held for little. Neither does a node become wrong until then: one that is removed
 * has no place, and a place that is dead comes to life in no other. */
void directory_move(struct append *db, const struct append_move *moves, size_t count)
{
    struct key_node *nodes[DIRECTORY_MOVES_MAX];
    uint64_t hashes[DIRECTORY_MOVES_MAX];
    INVARIANT(count <= DIRECTORY_MOVES_MAX);
    epoch_enter(db->epoch);
    for (size_t i = 0; i < count; i++) {
        hashes[i] = key_tree_hash(db->tree, moves[i].key);
        key_tree_prefetch(db->tree, hashes[i]);
    }
    for (size_t i = 0; i < count; i++)
        nodes[i] = key_tree_find_hashed(db->tree, moves[i].key, hashes[i]);
    mutex_lock(&db->directory);
    for (size_t i = 0; i < count; i++)
        move_one(db, nodes[i], &moves[i]);
    mutex_unlock(&db->directory);
    epoch_exit(db->epoch);
}
