/* Iterators: a snapshot of the directory, walked over some dozen keys at a time, whose places are noted; each entry is
 * read when the iterator comes to it. An entry that a merge moved meanwhile is found again by its key. */
#include "base/error.h"
#include "log/append_db.h"
#include "base/banned.h"

enum { FILL = 48 };

struct noted {
    uint32_t key, key_size; /* in `keys` */
    append_place place;
    const struct segment *segment; /* that had the slot; it is compared only */
    uint64_t number;               /* of that segment */
};

struct append_iterator {
    struct append *db;
    struct append_snapshot moment; /* of its own, also where `seq` is another's: for the time it goes by */
    bool no_value;
    uint64_t seq, now_s; /* now_s 0: entries whose time has come are shown */
    plsm_slice from, to;
    plsm_status status;
    bool valid, ascending;
    struct noted noted[FILL]; /* in the order of the direction */
    unsigned at, count;
    struct buf keys, place; /* place: a key to go on from */
    struct append_memory memory;
    struct append_shown shown;
    uint64_t steps;
    uint8_t bounds[];
};

plsm_status append_iterator_create(struct append *db, const struct append_snapshot *snapshot, plsm_slice from,
                                   plsm_slice to, unsigned flags, struct append_iterator **out)
{
    struct append_iterator *it = mem_alloc(sizeof *it + from.size + to.size);
    *out = NULL;
    if (!it)
        return fail(PLSM_NO_MEMORY, "no memory for an iterator");
    *it = (struct append_iterator){.db = db, .no_value = flags & APPEND_NO_VALUE};
    it->from = slice(it->bounds, from.size);
    it->to = slice(it->bounds + from.size, to.size);
    if (from.size)
        memcpy(it->bounds, from.data, from.size);
    if (to.size)
        memcpy(it->bounds + from.size, to.data, to.size);
    directory_moment(db, &it->moment);
    it->seq = snapshot ? snapshot->seq : it->moment.seq;
    it->now_s = it->moment.now_s;
    append_count(db, APPEND_SCANS, 1);
    *out = it;
    return PLSM_OK;
}

void append_iterator_show_expired(struct append_iterator *it)
{
    it->now_s = 0;
}

void append_iterator_destroy(struct append_iterator *it)
{
    if (!it)
        return;
    append_count(it->db, APPEND_SCAN_ENTRIES, it->steps);
    directory_forget(it->db, &it->moment);
    buf_free(&it->keys);
    buf_free(&it->place);
    mem_free(it->memory.bytes);
    mem_free(it);
}

static bool is_outside(const struct append_iterator *it, plsm_slice key)
{
    return it->ascending ? it->to.size && slice_compare(key, it->to) >= 0
                         : it->from.size && slice_compare(key, it->from) < 0;
}

/* Notes nodes that have something at the iterator's moment. False: the bound was met. */
static bool note(struct append_iterator *it, struct key_node *const *nodes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        plsm_slice key = key_node_key(nodes[i]);
        if (is_outside(it, key))
            return false;
        append_place place = directory_place(it->db, nodes[i], it->seq);
        if (!place)
            continue;
        struct noted *noted = &it->noted[it->count];
        *noted = (struct noted){.key = (uint32_t)it->keys.size, .key_size = (uint32_t)key.size, .place = place};
        noted->segment = segment_at(it->db, place);
        noted->number = noted->segment->number;
        it->status = buf_append(&it->keys, key.data, key.size);
        if (it->status != PLSM_OK)
            return false;
        it->count++;
    }
    return true;
}

/* Notes the next keys from `key` on (empty: from the end) in the iterator's direction; `above`: not the key itself. */
static void fill(struct append_iterator *it, plsm_slice key, bool above)
{
    struct key_node *nodes[FILL];
    it->at = it->count = 0;
    it->keys.size = 0;
    epoch_enter(it->db->epoch);
    for (size_t n = FILL; it->count == 0 && n > 0;) { /* until something is there */
        n = it->ascending ? key_tree_ascend(it->db->tree, key, above, nodes, FILL)
                          : key_tree_descend(it->db->tree, key, nodes, FILL);
        if (n == 0 || !note(it, nodes, n))
            break;
        key = key_node_key(nodes[n - 1]);
        above = true;
    }
    epoch_exit(it->db->epoch);
}

/* Reads the noted entry. False: it is not to be shown. */
static bool show(struct append_iterator *it)
{
    struct append *db = it->db;
    struct noted *noted = &it->noted[it->at];
    plsm_slice key = slice(it->keys.data + noted->key, noted->key_size);
    struct append_entry e = {0};
    epoch_enter(db->epoch);
    append_place place = noted->place;
    const struct segment *s = segment_at(db, place);
    if (s != noted->segment || s->number != noted->number) { /* a merge has moved it, or has removed what had expired */
        const struct key_node *node = key_tree_find(db->tree, key);
        place = node ? directory_place(db, node, it->seq) : 0;
    }
    if (place)
        it->status = segment_copy(db, place, key, it->no_value, &it->memory, &e);
    bool good = place && it->status == PLSM_OK && !(it->now_s && e.expires_s && e.expires_s <= it->now_s);
    if (good)
        it->shown = (struct append_shown){key, e.meta, e.value, e.value_size, e.expires_s, e.kind};
    epoch_exit(db->epoch);
    return good;
}

/* Shows the first noted entry that can be, noting more as long as there are any. */
static const struct append_shown *settle(struct append_iterator *it)
{
    it->valid = false;
    while (it->status == PLSM_OK && it->count > 0) {
        for (; it->at < it->count && it->status == PLSM_OK; it->at++)
            if (show(it)) {
                it->valid = true;
                it->steps++;
                return &it->shown;
            }
        if (it->status != PLSM_OK)
            break;
        const struct noted *last = &it->noted[it->count - 1];
        it->place.size = 0;
        it->status = buf_append(&it->place, it->keys.data + last->key, last->key_size);
        if (it->status == PLSM_OK)
            fill(it, buf_slice(&it->place), true);
    }
    return NULL;
}

static const struct append_shown *start(struct append_iterator *it, bool ascending, plsm_slice key)
{
    it->status = PLSM_OK;
    it->ascending = ascending;
    it->place.size = 0; /* the caller's key may be one that this iterator shows */
    it->status = buf_append(&it->place, key.data, key.size);
    if (it->status == PLSM_OK)
        fill(it, buf_slice(&it->place), false);
    return settle(it);
}

const struct append_shown *append_iterator_first(struct append_iterator *it)
{
    return start(it, true, it->from);
}

const struct append_shown *append_iterator_last(struct append_iterator *it)
{
    return start(it, false, it->to);
}

const struct append_shown *append_iterator_seek(struct append_iterator *it, plsm_slice key)
{
    return start(it, true, it->from.size && slice_compare(key, it->from) < 0 ? it->from : key);
}

const struct append_shown *append_iterator_seek_before(struct append_iterator *it, plsm_slice key)
{
    if (key.size == 0) { /* nothing is below the empty key */
        it->status = PLSM_OK;
        it->valid = false;
        it->count = 0;
        return NULL;
    }
    return start(it, false, it->to.size && slice_compare(key, it->to) > 0 ? it->to : key);
}

/* One step in a direction; after a turn the keys on the other side are noted anew. */
static const struct append_shown *step(struct append_iterator *it, bool ascending)
{
    if (!it->valid)
        return NULL;
    if (it->ascending == ascending) {
        it->at++;
        return settle(it);
    }
    const struct noted *noted = &it->noted[it->at];
    it->ascending = ascending;
    it->place.size = 0;
    it->status = buf_append(&it->place, it->keys.data + noted->key, noted->key_size);
    if (it->status == PLSM_OK)
        fill(it, buf_slice(&it->place), true);
    return settle(it);
}

const struct append_shown *append_iterator_next(struct append_iterator *it)
{
    return step(it, true);
}

const struct append_shown *append_iterator_previous(struct append_iterator *it)
{
    return step(it, false);
}

plsm_status append_iterator_status(const struct append_iterator *it)
{
    return it->status;
}
