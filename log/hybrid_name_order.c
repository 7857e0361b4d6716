/* Names in order, while they are asked for. Names have no order here, so that each costs no more memory than its place
 * in the index; a listing reads through the log. Where one listing follows another, of other directories or while much
 * is written, as on a mount, all of them would read through all of it. So after some of them the names are brought in
 * order, once, and writers keep them so, until nobody lists any more for a while.
 *
 * While that is made writers add the names they make already. What lived before it began is added behind that, from a
 * snapshot; those of that which died meanwhile are noted by the writers, too, and go when no snapshot is left.
 *
 * It goes when the store looks for what is due; one that was opened read-only without a thread of the background never
 * does, and keeps it until it is closed. */
#include "base/alloc.h"
#include "log/hybrid_private.h"

#include "base/banned.h"

enum {
    READ_MOST = 3,        /* times the log that listings read before the names are brought in order */
    READ_LEAST = 1 << 20, /* and bytes */
    ADDED_AT_ONCE = 256,  /* while writers wait */
    PART_OF_MEMORY = 4,   /* of a memory that is for all, what the order may take */
    BYTES_OF_NAME = 128,  /* that making it takes: 28 to 56 with keys of 14 bytes, and beside it what is collected */
};
#define BYTES_MOST (UINT64_C(256) << 20) /* where memory is not for all */
#define SOON_NS UINT64_C(1000000000)     /* after one listing comes another */

void name_order_init(struct name_order *order)
{
    mutex_init(&order->lock);
    order->names_most = UINT64_MAX;
}

void name_order_destroy(struct name_order *order)
{
    key_order_free(&order->keys);
    mutex_destroy(&order->lock);
}

static uint64_t bytes_most(const struct hybrid *db)
{
    return db->options.memory_of_all ? db->options.memory / PART_OF_MEMORY : BYTES_MOST;
}

/* --- writers ------------------------------------------------------------------------------------------------------ */

/* Whoever looks at the names from now on does without it. Where the living alone were too many it is not made again
 * before there are fewer. */
static void give_up(struct hybrid *db, bool too_large)
{
    struct name_order *order = &db->name_order;
    uint64_t names = counted(&db->names);
    mutex_lock(&order->lock);
    order->full = true;
    if (too_large && key_tree_count(order->keys.tree) < 2 * names)
        order->names_most = names / 4 * 3;
    mutex_unlock(&order->lock);
}

void name_order_add(struct hybrid *db, plsm_slice key)
{
    struct name_order *order = &db->name_order;
    if (order->full)
        return;
    bool too_large = key_order_bytes(&order->keys) > bytes_most(db);
    if (too_large || key_order_add(&order->keys, key) != PLSM_OK)
        give_up(db, too_large);
}

void name_order_note_dead(struct hybrid *db, plsm_slice key)
{
    struct name_order *order = &db->name_order;
    key_order_note_dead(&order->keys, key, order->collecting);
}

/* --- making it, and letting it go --------------------------------------------------------------------------------- */

void name_order_count(struct hybrid *db, uint64_t at, uint64_t bytes)
{
    struct name_order *order = &db->name_order;
    mutex_lock(&order->lock);
    uint64_t now_ns = env_now_ns(db->env);
    if (at >= order->since) {
        order->read_bytes = (now_ns - order->read_ns < SOON_NS ? order->read_bytes : 0) + bytes;
        order->read_ns = now_ns;
    }
    mutex_unlock(&order->lock);
}

/* Whether this thread is to make it. */
static bool begin(struct hybrid *db)
{
    struct name_order *order = &db->name_order;
    uint64_t names = counted(&db->names), log = counted(&db->log_bytes);
    mutex_lock(&order->lock);
    bool wanted = !order->making && !order->keys.tree && order->read_bytes > READ_MOST * log + READ_LEAST &&
                  names < order->names_most && names < bytes_most(db) / BYTES_OF_NAME;
    if (wanted) {
        order->making = true;
        order->read_bytes = 0;
    }
    mutex_unlock(&order->lock);
    return wanted;
}

static void set_tree(struct hybrid *db, struct key_tree *tree)
{
    struct name_order *order = &db->name_order;
    mutex_lock(&db->write_lock);
    mutex_lock(&order->lock);
    order->keys.tree = tree;
    order->collecting = true;
    order->full = false;
    mutex_unlock(&order->lock);
    mutex_unlock(&db->write_lock);
}

static void add_collected(struct hybrid *db, const struct live_entries *names)
{
    bool full = false;
    for (size_t done = 0; done < names->count && !full; give_writers_way(db)) {
        mutex_lock(&db->write_lock);
        epoch_enter(db->epoch);
        for (size_t i = 0; i < ADDED_AT_ONCE && done < names->count; i++, done++)
            name_order_add(db, slice(names->at[done].key, names->at[done].key_size));
        full = db->name_order.full;
        epoch_exit(db->epoch);
        mutex_unlock(&db->write_lock);
    }
}

static void end(struct hybrid *db, uint64_t since, bool ready)
{
    struct name_order *order = &db->name_order;
    mutex_lock(&db->write_lock);
    mutex_lock(&order->lock);
    order->collecting = order->making = false;
    order->ready = ready;
    order->full = order->full || !ready;
    order->since = since;
    order->used_ns = env_now_ns(db->env);
    mutex_unlock(&order->lock);
    mutex_unlock(&db->write_lock);
}

void name_order_make(struct hybrid *db)
{
    static const uint8_t bounds[] = {HYBRID_NAMES, HYBRID_NAMES + 1};
    struct live_entries names = {0};
    if (is_preparing(db) || !begin(db))
        return;
    struct key_tree *tree = key_tree_create(db->epoch, &db->name_order.keys.memory);
    if (tree)
        set_tree(db, tree);
    struct hybrid_snapshot *snapshot = tree ? hybrid_snapshot_create(db) : NULL;
    bool ready = snapshot && collect_live(db, snapshot, slice(bounds, 1), slice(bounds + 1, 1), &names) == PLSM_OK;
    if (ready)
        add_collected(db, &names);
    end(db, snapshot ? snapshot->at : 0, ready);
    live_entries_free(&names);
    hybrid_snapshot_destroy(db, snapshot);
}

static bool may_go(const struct hybrid *db, uint64_t unused_ns)
{
    const struct name_order *order = &db->name_order;
    return order->keys.tree && !order->making && order->users == 0 &&
           (order->full || env_now_ns(db->env) - order->used_ns >= unused_ns);
}

/* Takes it away from everybody, if it may go; what it was is freed while nobody waits. */
static bool take_away(struct hybrid *db, uint64_t unused_ns, struct key_order *gone)
{
    struct name_order *order = &db->name_order;
    mutex_lock(&db->write_lock);
    mutex_lock(&order->lock);
    bool go = may_go(db, unused_ns);
    if (go) {
        *gone = (struct key_order){.tree = order->keys.tree, .dead = order->keys.dead};
        order->keys.tree = NULL;
        order->keys.dead = (struct buf){0};
        order->keys.dead_done = 0;
        order->ready = false;
        order->making = true; /* the memory of both would be too much */
    }
    mutex_unlock(&order->lock);
    mutex_unlock(&db->write_lock);
    return go;
}

void name_order_forget(struct hybrid *db, uint64_t unused_ns)
{
    struct name_order *order = &db->name_order;
    struct key_order gone;
    mutex_lock(&order->lock);
    bool go = may_go(db, unused_ns);
    mutex_unlock(&order->lock);
    if (!go || !take_away(db, unused_ns, &gone))
        return;
    key_order_free(&gone);
    mutex_lock(&order->lock);
    order->making = false;
    mutex_unlock(&order->lock);
}

/* --- readers ------------------------------------------------------------------------------------------------------ */

const struct key_tree *name_order_take(struct hybrid *db, const struct hybrid_snapshot *snapshot)
{
    struct name_order *order = &db->name_order;
    const struct key_tree *tree = NULL;
    mutex_lock(&order->lock);
    if (order->ready && !order->full && snapshot->at >= order->since) {
        tree = order->keys.tree;
        order->users++;
        order->used_ns = env_now_ns(db->env);
    }
    mutex_unlock(&order->lock);
    return tree;
}

void name_order_release(struct hybrid *db)
{
    struct name_order *order = &db->name_order;
    mutex_lock(&order->lock);
    order->users--;
    order->used_ns = env_now_ns(db->env);
    mutex_unlock(&order->lock);
}
