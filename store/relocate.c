/* Moving all names below a prefix in one step, however many they are.
 *
 * A batch of moves is held in memory, logged, and written again by a flush. This goes into runs at once instead: a bulk
 * load of the entries under their new names, which takes along, in the same record of the MANIFEST, one deletion of the
 * range of the old ones. So a crash leaves all names old or all new, and memory does not grow with their number.
 *
 * The entries are read and written where no other write can come between (engine_prepare): what is loaded is what the
 * deletion hides. That holds other writers up for as long as it takes, about a microsecond for each name and as long as
 * the disk needs for their small values.
 *
 * References move as they are. Those that nobody sees any more since their time has come are let go of: the deletion of
 * the range would lose them. A note of expiry (expiry.c) names the new name. */
#include "base/alloc.h"
#include "store/batch.h"
#include "store/expiry.h"
#include "store/extents.h"
#include "store/resolve.h"
#include "store/shared.h"

#include "base/banned.h"

struct relocation {
    plsm *db;
    struct store_key from, from_end, to, to_end; /* whole internal keys */
    const plsm_batch *with;                      /* NULL: nothing */
    plsm_move_meta *meta;                        /* NULL: they stay without */
    void *arg;
    struct engine_bulk *tree;
    struct resolve resolve; /* its `out` becomes part of the load */
    struct store_key moved; /* room to work in */
    uint64_t now_s;
};

/* The first whole internal key behind all that begin with the bytes of one. */
static void end_of(const struct store_key *prefix, struct store_key *out)
{
    *out = *prefix;
    while (out->bytes[out->size - 1] == UINT8_MAX) /* ends at the keyspace at the latest, which is not that large */
        out->size--;
    out->bytes[out->size - 1]++;
}

/* Sets r->moved to what is behind prefix `from` in `key`, behind prefix `to`. */
static plsm_status join(struct relocation *r, const struct store_key *from, const struct store_key *to, plsm_slice key)
{
    size_t rest = key.size - from->size;
    if (to->size + rest > sizeof r->moved.bytes)
        return fail(PLSM_TOO_LARGE, "a key would have %zu bytes; the limit is %u", to->size + rest - 1, PLSM_KEY_MAX);
    memcpy(r->moved.bytes, to->bytes, to->size);
    memcpy(r->moved.bytes + to->size, (const uint8_t *)key.data + from->size, rest);
    r->moved.size = to->size + rest;
    return PLSM_OK;
}

/* Calls `each` for all that is in the tree from one key to another, whether its time has come or not. */
static plsm_status walk(struct relocation *r, const struct store_key *from, const struct store_key *to,
                        plsm_status (*each)(struct relocation *r, const struct engine_entry *entry))
{
    const struct engine *engine = r->db->engine;
    struct engine_iterator *it = NULL;
    struct engine_entry entry;
    TRY(engine->iterator_create(r->db->tree, NULL, key_slice(from), key_slice(to), false, &it));
    engine->iterator_show_expired(it);
    plsm_status status = PLSM_OK;
    for (bool more = engine->iterator_first(it, &entry); more && status == PLSM_OK;
         more = engine->iterator_next(it, &entry))
        status = each(r, &entry);
    if (status == PLSM_OK)
        status = engine->iterator_status(it);
    engine->iterator_destroy(it);
    return status;
}

/* At the second of the move, whatever the clock says when one entry or the other is looked at. */
static bool has_expired(const struct relocation *r, uint64_t expires_s)
{
    return expires_s && expires_s <= r->now_s;
}

/* An entry below the new prefix: let go of where another one takes its name. */
static plsm_status replace(struct relocation *r, const struct engine_entry *entry)
{
    struct engine_value value = {0};
    if (entry->kind != BATCH_REFERENCE)
        return PLSM_OK;
    plsm_status status = join(r, &r->to, &r->from, entry->key);
    if (status == PLSM_OK)
        status = r->db->engine->get_any(r->db->tree, NULL, key_slice(&r->moved), true, &value);
    bool moves = status == PLSM_OK && !has_expired(r, value.expires_s);
    engine_value_free(&value);
    if (status == PLSM_NOT_FOUND || status == PLSM_TOO_LARGE)
        return PLSM_OK;
    return moves ? resolve_let_go(&r->resolve, entry->value) : status;
}

/* An entry below the old prefix. */
static plsm_status move(struct relocation *r, const struct engine_entry *entry)
{
    struct reference reference;
    uint8_t bytes[PLSM_META_MAX];
    plsm_slice meta = entry->meta;
    bool is_reference = entry->kind == BATCH_REFERENCE;
    if (has_expired(r, entry->expires_s))
        return is_reference ? resolve_let_go(&r->resolve, entry->value) : PLSM_OK;
    TRY(join(r, &r->from, &r->to, entry->key));
    if (is_reference && entry->expires_s) {
        TRY(reference_decode(entry->value, &reference));
        TRY(expiry_add_note(&r->resolve.out, entry->expires_s, reference.id,
                            slice(r->moved.bytes + 1, r->moved.size - 1)));
    }
    if (r->meta && meta.size == 0 && !(is_reference && is_link(entry->value)))
        meta = slice(bytes, r->meta(r->arg, slice((const uint8_t *)entry->key.data + 1, entry->key.size - 1), bytes));
    return r->db->engine->bulk_put(r->tree, entry->kind, key_slice(&r->moved), meta, entry->value, entry->expires_s);
}

/* A name that a change beside the move puts or deletes. */
static plsm_status replace_named(struct relocation *r, plsm_slice key)
{
    struct engine_value value = {0};
    plsm_status status = r->db->engine->get_any(r->db->tree, NULL, key, false, &value);
    if (status == PLSM_OK && value.kind == BATCH_REFERENCE)
        status = resolve_let_go(&r->resolve, value.value);
    engine_value_free(&value);
    return status == PLSM_NOT_FOUND ? PLSM_OK : status;
}

static plsm_status add_with(struct relocation *r)
{
    const struct batch *batch = &r->with->changes;
    const uint8_t *at = batch->bytes.data, *end = at + batch->bytes.size;
    struct batch_change change;
    while (batch_next(&at, end, &change)) {
        uint8_t keyspace = *(const uint8_t *)change.key.data;
        plsm_slice key = slice((const uint8_t *)change.key.data + 1, change.key.size - 1);
        struct lifetime lifetime = {change.timed, change.expires_s};
        if (keyspace == PLSM_NAMES)
            TRY(replace_named(r, change.key));
        if (!change.timed && change.kind == BATCH_PUT && keyspace == PLSM_NAMES)
            lifetime = store_lifetime(r->db, key);
        TRY(lifetime.timed ? batch_add_timed(&r->resolve.out, change.kind, keyspace, key, change.meta, change.value,
                                             lifetime.expires_s)
                           : batch_add(&r->resolve.out, change.kind, keyspace, key, change.meta, change.value));
    }
    INVARIANT(at == end);
    return PLSM_OK;
}

/* Is an engine_prepare. */
static plsm_status prepare(void *arg, const struct batch **also)
{
    struct relocation *r = arg;
    r->now_s = plsm_now_s(r->db);
    if (r->with)
        TRY(add_with(r));
    TRY(walk(r, &r->to, &r->to_end, replace));
    TRY(walk(r, &r->from, &r->from_end, move));
    TRY(batch_add(&r->resolve.out, BATCH_DELETE_RANGE, PLSM_NAMES, slice(r->from.bytes + 1, r->from.size - 1),
                  slice(NULL, 0), key_slice(&r->from_end)));
    *also = &r->resolve.out;
    return PLSM_OK;
}

/* What goes along with a move must be independent of it. */
static plsm_status check_with(const struct relocation *r)
{
    const struct batch *batch = &r->with->changes;
    const uint8_t *at = batch->bytes.data, *end = at + batch->bytes.size;
    struct batch_change change;
    bool sound = batch_special_count(r->with) == 0 && batch_condition_count(r->with) == 0 && batch->ranges == 0;
    while (sound && batch_next(&at, end, &change))
        sound =
            !slice_starts_with(change.key, key_slice(&r->from)) && !slice_starts_with(change.key, key_slice(&r->to));
    return sound ? PLSM_OK
                 : fail(PLSM_INVALID, "only puts and deletions of other names can go along with a move of a prefix");
}

plsm_status plsm_move_prefix(plsm *db, plsm_slice from, plsm_slice to, const plsm_batch *with, plsm_move_meta *meta,
                             void *arg)
{
    TRY(refuse_writes(db));
    TRY(key_check_public(PLSM_NAMES, from));
    TRY(key_check_public(PLSM_NAMES, to));
    if (slice_starts_with(from, to) || slice_starts_with(to, from))
        return fail(PLSM_INVALID, "names cannot be moved from a prefix into itself");
    if (!db->engine->bulk_create)
        return fail(PLSM_UNSUPPORTED, "the engine %s has no bulk loads", db->engine->name);
    struct relocation *r = mem_zalloc(sizeof *r);
    if (!r)
        return fail(PLSM_NO_MEMORY, "no memory to move names");
    r->db = r->resolve.db = db;
    r->with = with;
    r->meta = meta;
    r->arg = arg;
    key_join(&r->from, PLSM_NAMES, from);
    key_join(&r->to, PLSM_NAMES, to);
    end_of(&r->from, &r->from_end);
    end_of(&r->to, &r->to_end);
    plsm_status status = with ? check_with(r) : PLSM_OK;
    if (status == PLSM_OK)
        status = db->engine->bulk_create(db->tree, &r->tree);
    bool look = store_write_begin(db);
    if (status == PLSM_OK)
        status = db->engine->bulk_finish(r->tree, prepare, r);
    if (status == PLSM_OK)
        retire_finish(db, &r->resolve.retired);
    store_write_end(db, look);
    if (r->tree)
        db->engine->bulk_destroy(r->tree);
    resolve_free(&r->resolve);
    mem_free(r);
    return status;
}
