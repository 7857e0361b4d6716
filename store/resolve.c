/* A batch is resolved inside the engine's write serialisation (engine_prepare): all earlier writes are visible, no
 * later one can come between. So what is read here is what the batch replaces.
 *
 * 1. Conditions are tested against the state before the batch.
 * 2. Changes are gone through in order. A move and a change of meta read the entry as the changes before them leave it:
 *    first in the overlay (keys that this batch has changed), then in the tree. A change of meta and a move of the same
 *    entry right behind it are one change.
 * 3. A put, delete or move that replaces a reference retires it: its extents become an orphan in the same batch.
 *    So does a deletion of a range with every reference in it, for which all names of the range are walked over.
 *    Where the reference is a link, the shared value (shared.h) loses a name, and goes with the last one.
 *
 * A batch without moves and changes of meta, none of whose keys holds a reference now, goes to the tree as it is. */
#include "store/resolve.h"

#include "base/alloc.h"
#include "base/checksum.h"
#include "store/expiry.h"
#include "store/shared.h"

#include "base/banned.h"

/* What a key holds at some point of the batch. */
struct state {
    bool exists; /* something is there; for those who ask for no more, its time has not come */
    enum batch_kind kind;
    uint64_t expires_s;
    plsm_slice meta, value;
    uint64_t place; /* its change in `out` plus 1; 0: it is from the tree */
};

void overlay_clear(struct overlay *overlay)
{
    mem_free(overlay->slots);
    *overlay = (struct overlay){0};
}

/* The change that starts at `place` - 1 of out. */
static struct batch_change change_at(const struct resolve *r, uint64_t place)
{
    const uint8_t *at = r->out.bytes.data + (place - 1);
    struct batch_change change;
    INVARIANT(batch_next(&at, r->out.bytes.data + r->out.bytes.size, &change));
    return change;
}

/* The slot of a key, or the empty one where it belongs. */
static struct overlay_slot *overlay_slot(const struct resolve *r, plsm_slice key, uint64_t hash)
{
    size_t mask = r->overlay.capacity - 1;
    for (size_t i = (size_t)hash & mask;; i = (i + 1) & mask) {
        struct overlay_slot *slot = &r->overlay.slots[i];
        if (slot->place == 0 || (slot->hash == hash && slice_equal(change_at(r, slot->place).key, key)))
            return slot;
    }
}

static plsm_status overlay_grow(struct overlay *overlay)
{
    size_t capacity = overlay->capacity ? 2 * overlay->capacity : 16;
    struct overlay_slot *slots = mem_zalloc(capacity * sizeof *slots);
    if (!slots)
        return fail(PLSM_NO_MEMORY, "no memory for a batch of %zu keys", overlay->count);
    for (size_t i = 0; i < overlay->capacity; i++) {
        if (overlay->slots[i].place == 0)
            continue;
        size_t at = (size_t)overlay->slots[i].hash & (capacity - 1);
        while (slots[at].place)
            at = (at + 1) & (capacity - 1);
        slots[at] = overlay->slots[i];
    }
    mem_free(overlay->slots);
    overlay->slots = slots;
    overlay->capacity = capacity;
    return PLSM_OK;
}

/* Notes that the key of the change at `place` - 1 of out now is as that change says. */
static plsm_status overlay_set(struct resolve *r, uint64_t place)
{
    if (2 * (r->overlay.count + 1) > r->overlay.capacity)
        TRY(overlay_grow(&r->overlay));
    plsm_slice key = change_at(r, place).key;
    uint64_t hash = key_hash(key.data, key.size);
    struct overlay_slot *slot = overlay_slot(r, key, hash);
    r->overlay.count += slot->place == 0;
    *slot = (struct overlay_slot){hash, place};
    return PLSM_OK;
}

static void state_of_change(const struct resolve *r, uint64_t place, struct state *out)
{
    struct batch_change change = change_at(r, place);
    *out = (struct state){change.kind != BATCH_DELETE, change.kind, change.expires_s, change.meta, change.value, place};
}

static bool in_range(const struct batch_change *range, plsm_slice key)
{
    return slice_compare(range->key, key) <= 0 && slice_compare(key, range->value) < 0;
}

/* The place of the last deletion of a range in this batch so far that covers a key; 0: there is none. */
static uint64_t range_over(const struct resolve *r, plsm_slice key)
{
    const uint64_t *places = (const uint64_t *)(const void *)r->ranges.data;
    for (size_t i = r->ranges.size / sizeof *places; i-- > 0;) {
        struct batch_change range = change_at(r, places[i]);
        if (in_range(&range, key))
            return places[i];
    }
    return 0;
}

/* The last change of a key in this batch so far; 0: there is none. */
static uint64_t changed_at(const struct resolve *r, plsm_slice key)
{
    return r->overlay.count > 0 ? overlay_slot(r, key, key_hash(key.data, key.size))->place : 0;
}

/* The state of a whole internal key at this point of the batch, whether its time has come or not; valid until the next
 * look or change. */
static plsm_status look_at(struct resolve *r, plsm_slice key, bool no_value, struct state *out)
{
    *out = (struct state){0};
    uint64_t place = changed_at(r, key);
    if (range_over(r, key) > place)
        return PLSM_OK;
    if (place) {
        state_of_change(r, place, out);
        return PLSM_OK;
    }
    plsm_status status = r->db->engine->get_any(r->db->tree, NULL, key, no_value, &r->value);
    if (status == PLSM_NOT_FOUND)
        return PLSM_OK;
    if (status == PLSM_OK)
        *out = (struct state){true, r->value.kind, r->value.expires_s, r->value.meta, r->value.value, 0};
    return status;
}

/* The same as readers see it. */
static plsm_status look_up(struct resolve *r, plsm_slice key, bool no_value, struct state *out)
{
    TRY(look_at(r, key, no_value, out));
    out->exists = out->exists && (out->expires_s == 0 || out->expires_s > plsm_now_s(r->db));
    return PLSM_OK;
}

/* Appends a change of an internal key; the slices must not lie in r->out. */
static plsm_status emit_change(struct resolve *r, const struct batch_change *change)
{
    uint64_t place = r->out.bytes.size + 1;
    const uint8_t *bytes = change->key.data;
    plsm_slice key = slice(bytes + 1, change->key.size - 1);
    TRY(change->timed
            ? batch_add_timed(&r->out, change->kind, bytes[0], key, change->meta, change->value, change->expires_s)
            : batch_add(&r->out, change->kind, bytes[0], key, change->meta, change->value));
    if (r->out.bytes.size > PLSM_BATCH_MAX)
        return fail(PLSM_TOO_LARGE, "with what it moves this batch is above the limit of %llu bytes; write it in parts",
                    (unsigned long long)PLSM_BATCH_MAX);
    if (change->kind == BATCH_DELETE_RANGE)
        return bytes[0] == PLSM_NAMES ? buf_append_u64(&r->ranges, place) : PLSM_OK;
    /* Names, and the shared values that they link to, are looked at again. */
    return bytes[0] == PLSM_NAMES || bytes[0] == PLSM_INODES ? overlay_set(r, place) : PLSM_OK;
}

/* The same of one that does not say when it expires. */
static plsm_status emit(struct resolve *r, enum batch_kind kind, plsm_slice key, plsm_slice meta, plsm_slice value)
{
    struct batch_change change = {.kind = kind, .key = key, .meta = meta, .value = value};
    return emit_change(r, &change);
}

/* Appends a change that takes its value and its time, and its meta when `meta` is NULL, from a state, which may lie in
 * r->out. */
static plsm_status emit_state(struct resolve *r, plsm_slice key, const plsm_slice *meta, struct state *state)
{
    TRY(buf_reserve(&r->out.bytes, BATCH_CHANGE_BYTES + key.size + PLSM_META_MAX + state->value.size));
    if (state->place)
        state_of_change(r, state->place, state);           /* out may have moved; now it will not */
    bool named = *(const uint8_t *)key.data == PLSM_NAMES; /* what becomes a shared value does not expire any more */
    struct batch_change change = {.kind = state->kind,
                                  .timed = named && state->expires_s > 0,
                                  .expires_s = state->expires_s,
                                  .key = key,
                                  .meta = meta ? *meta : state->meta,
                                  .value = state->value};
    return emit_change(r, &change);
}

static plsm_status retire(struct resolve *r, plsm_slice value)
{
    struct reference reference;
    TRY(reference_decode(value, &reference));
    return retire_in_batch(&reference, &r->out, &r->retired);
}

/* What a shared value is at this point of the batch. */
struct shared {
    uint8_t key[SHARED_KEY_SIZE];
    struct state state;
    uint32_t names;
    plsm_slice meta; /* the callers' */
};

static plsm_status look_up_shared(struct resolve *r, uint64_t id, bool no_value, struct shared *out)
{
    *out = (struct shared){0};
    TRY(look_up(r, shared_key(out->key, id), no_value, &out->state));
    return out->state.exists ? shared_meta_decode(id, out->state.meta, &out->names, &out->meta) : PLSM_OK;
}

/* Writes a shared value again, with another number of names or, when `meta` is not NULL, another meta. */
static plsm_status emit_shared(struct resolve *r, struct shared *shared, uint32_t names, const plsm_slice *meta)
{
    uint8_t bytes[PLSM_META_MAX];
    plsm_slice whole;
    TRY(shared_meta(bytes, names, meta ? *meta : shared->meta, &whole));
    return emit_state(r, slice(shared->key, SHARED_KEY_SIZE), &whole, &shared->state);
}

/* A name links to a shared value no more. */
static plsm_status unlink_shared(struct resolve *r, uint64_t id)
{
    struct shared shared;
    TRY(look_up_shared(r, id, false, &shared));
    if (!shared.state.exists)
        return shared_missing(id);
    if (shared.names > 1)
        return emit_shared(r, &shared, shared.names - 1, NULL);
    if (shared.state.kind == BATCH_REFERENCE)
        TRY(retire(r, shared.state.value));
    return emit(r, BATCH_DELETE, slice(shared.key, SHARED_KEY_SIZE), slice(NULL, 0), slice(NULL, 0));
}

plsm_status resolve_let_go(struct resolve *r, plsm_slice value)
{
    return is_link(value) ? unlink_shared(r, link_decode(value)) : retire(r, value);
}

/* A large value that expires is about to stand under another name. */
static plsm_status note_move(struct resolve *r, plsm_slice name, const struct state *state)
{
    struct reference reference;
    if (state->kind != BATCH_REFERENCE || state->expires_s == 0)
        return PLSM_OK;
    TRY(reference_decode(state->value, &reference));
    return expiry_add_note(&r->out, state->expires_s, reference.id, name);
}

/* A key of the names is about to get another value or none. */
static plsm_status replace(struct resolve *r, plsm_slice key)
{
    if (!r->look)
        return PLSM_OK;
    struct state state;
    TRY(look_at(r, key, true, &state));
    if (!state.exists || state.kind != BATCH_REFERENCE)
        return PLSM_OK;
    return resolve_let_go(r, state.value);
}

/* Lets go of the references that changes of this batch put into the range: where large values were moved to, and new
 * links. */
static plsm_status let_go_of_moved(struct resolve *r, const struct batch_change *range)
{
    struct buf places = {0}; /* collected first: letting go of a link changes the overlay */
    plsm_status status = PLSM_OK;
    for (size_t i = 0; status == PLSM_OK && i < r->overlay.capacity; i++) {
        uint64_t place = r->overlay.slots[i].place;
        struct batch_change change = {0};
        if (place)
            change = change_at(r, place);
        if (place && change.kind == BATCH_REFERENCE && in_range(range, change.key) && range_over(r, change.key) < place)
            status = buf_append_u64(&places, place);
    }
    for (size_t i = 0; status == PLSM_OK && i < places.size; i += sizeof(uint64_t))
        status = resolve_let_go(r, change_at(r, get_u64(places.data + i)).value);
    buf_free(&places);
    return status;
}

/* Lets go of a reference that the tree holds in a range, unless a change of this batch came before. */
static plsm_status let_go_of_entry(struct resolve *r, const struct engine_entry *entry)
{
    if (entry->kind != BATCH_REFERENCE || changed_at(r, entry->key) || range_over(r, entry->key))
        return PLSM_OK;
    if (entry->key.size <= ENGINE_KEY_WHOLE)
        return resolve_let_go(r, entry->value);
    TRY(r->db->engine->get_any(r->db->tree, NULL, entry->key, true, &r->value));
    return resolve_let_go(r, r->value.value);
}

/* All names in a range are about to go. */
static plsm_status replace_range(struct resolve *r, const struct batch_change *range)
{
    const struct engine *engine = r->db->engine;
    struct engine_iterator *it = NULL;
    struct engine_entry entry;
    uint64_t looked = 0;
    if (!r->look)
        return PLSM_OK;
    TRY(let_go_of_moved(r, range));
    TRY(engine->iterator_create(r->db->tree, NULL, range->key, range->value, true, &it));
    engine->iterator_show_expired(it);
    plsm_status status = PLSM_OK;
    for (bool more = engine->iterator_first(it, &entry); more && status == PLSM_OK;
         more = engine->iterator_next(it, &entry)) {
        status = let_go_of_entry(r, &entry);
        looked++;
    }
    if (status == PLSM_OK)
        status = engine->iterator_status(it);
    engine->iterator_destroy(it);
    atomic_fetch_add_explicit(&r->db->counters.lookups_before_write, looked, memory_order_relaxed);
    return status;
}

static plsm_status apply_plain(struct resolve *r, const struct batch_change *change)
{
    if (*(const uint8_t *)change->key.data == PLSM_NAMES)
        TRY(change->kind == BATCH_DELETE_RANGE ? replace_range(r, change) : replace(r, change->key));
    return emit_change(r, change);
}

static plsm_status absent(const char *what, plsm_slice key)
{
    return fail(PLSM_CONFLICT, "%s \"%.*s\": there is no such key", what, (int)(key.size < 200 ? key.size : 200),
                (const char *)key.data);
}

static plsm_status no_shared(uint64_t id)
{
    return fail(PLSM_CONFLICT, "no key has the shared value %llu", (unsigned long long)id);
}

static plsm_status apply_set_meta_shared(struct resolve *r, uint64_t id, plsm_slice meta)
{
    struct shared shared;
    TRY(look_up_shared(r, id, false, &shared));
    return shared.state.exists ? emit_shared(r, &shared, shared.names, &meta) : no_shared(id);
}

/* `meta`: it gets this one on the way; NULL: its own stays. */
static plsm_status apply_move(struct resolve *r, plsm_slice from_name, plsm_slice to_name, const plsm_slice *meta)
{
    struct store_key from, to;
    struct state state;
    key_join(&from, PLSM_NAMES, from_name);
    key_join(&to, PLSM_NAMES, to_name);
    if (slice_equal(from_name, to_name)) {
        TRY(look_up(r, key_slice(&from), true, &state));
        return state.exists ? PLSM_OK : absent("move of", from_name);
    }
    TRY(replace(r, key_slice(&to)));
    TRY(look_up(r, key_slice(&from), false, &state));
    if (!state.exists)
        return absent("move of", from_name);
    if (meta && state.kind == BATCH_REFERENCE && is_link(state.value)) { /* the shared value has it */
        TRY(apply_set_meta_shared(r, link_decode(state.value), *meta));
        TRY(look_up(r, key_slice(&from), false, &state));
        meta = NULL;
    }
    TRY(emit_state(r, key_slice(&to), meta, &state));
    TRY(note_move(r, to_name, &state));
    return emit(r, BATCH_DELETE, key_slice(&from), slice(NULL, 0), slice(NULL, 0));
}

static plsm_status apply_set_meta(struct resolve *r, plsm_slice name, plsm_slice meta)
{
    struct store_key key;
    struct state state;
    key_join(&key, PLSM_NAMES, name);
    TRY(look_up(r, key_slice(&key), false, &state));
    if (!state.exists)
        return absent("change of meta of", name);
    if (state.kind == BATCH_REFERENCE && is_link(state.value))
        return apply_set_meta_shared(r, link_decode(state.value), meta);
    return emit_state(r, key_slice(&key), &meta, &state);
}

/* Moves an entry to where names share it, and leaves a link. */
static plsm_status apply_share(struct resolve *r, plsm_slice name, uint64_t id)
{
    struct store_key key;
    struct state state;
    struct shared shared;
    uint8_t link[LINK_SIZE];
    plsm_slice no_meta = {NULL, 0};
    key_join(&key, PLSM_NAMES, name);
    TRY(look_up_shared(r, id, true, &shared));
    bool taken = shared.state.exists;
    TRY(look_up(r, key_slice(&key), false, &state));
    if (!state.exists)
        return absent("sharing of", name);
    bool is_shared = state.kind == BATCH_REFERENCE && is_link(state.value);
    if (is_shared && link_decode(state.value) == id)
        return PLSM_OK;
    if (is_shared || taken)
        return fail(PLSM_CONFLICT,
                    is_shared ? "the key is shared under another identifier than %llu"
                              : "the identifier %llu is that of another shared value",
                    (unsigned long long)id);
    shared.state = state;
    TRY(emit_shared(r, &shared, 1, &state.meta));
    link_encode(id, link);
    return emit(r, BATCH_REFERENCE, key_slice(&key), no_meta, slice(link, sizeof link));
}

static plsm_status apply_link(struct resolve *r, plsm_slice name, uint64_t id, plsm_slice meta)
{
    struct store_key key;
    struct shared shared;
    uint8_t link[LINK_SIZE];
    key_join(&key, PLSM_NAMES, name);
    TRY(look_up_shared(r, id, false, &shared));
    if (!shared.state.exists)
        return no_shared(id);
    if (shared.names == UINT32_MAX)
        return fail(PLSM_TOO_LARGE, "the shared value %llu has as many keys as it can have", (unsigned long long)id);
    TRY(emit_shared(r, &shared, shared.names + 1, &meta));
    TRY(replace(r, key_slice(&key))); /* afterwards: it may be the last link to the same value */
    link_encode(id, link);
    return emit(r, BATCH_REFERENCE, key_slice(&key), slice(NULL, 0), slice(link, sizeof link));
}

static plsm_slice special_first(const struct resolve *r, const struct special *special)
{
    return slice(r->in->bytes.data + special->first, special->first_size);
}

static plsm_slice special_second(const struct resolve *r, const struct special *special)
{
    return slice(r->in->bytes.data + special->second, special->second_size);
}

static plsm_status apply_special(struct resolve *r, const struct special *special)
{
    plsm_slice first = special_first(r, special), second = special_second(r, special);
    uint64_t id = 0;
    if (special->kind >= SPECIAL_SHARE) {
        id = get_u64(second.data);
        second = slice((const uint8_t *)second.data + SPECIAL_ID_SIZE, second.size - SPECIAL_ID_SIZE);
    }
    switch (special->kind) {
    case SPECIAL_MOVE:
        return apply_move(r, first, second, NULL);
    case SPECIAL_SET_META:
        return apply_set_meta(r, first, second);
    case SPECIAL_SHARE:
        return apply_share(r, first, id);
    case SPECIAL_LINK:
        return apply_link(r, first, id, second);
    case SPECIAL_SET_META_SHARED:
        return apply_set_meta_shared(r, id, second);
    }
    INVARIANT(false);
    return PLSM_OK;
}

/* Whether the entry whose meta changes moves right afterwards, as when a file system renames. */
static bool moves_next(const struct resolve *r, const struct special *special, size_t left)
{
    const struct special *next = special + 1;
    return left > 1 && special->kind == SPECIAL_SET_META && next->kind == SPECIAL_MOVE &&
           next->position == special->position && slice_equal(special_first(r, special), special_first(r, next)) &&
           !slice_equal(special_first(r, next), special_second(r, next));
}

/* Then both at once: the entry is written under its new key alone. */
static plsm_status apply_meta_and_move(struct resolve *r, const struct special *special)
{
    plsm_slice meta = special_second(r, special);
    return apply_move(r, special_first(r, special + 1), special_second(r, special + 1), &meta);
}

static plsm_status apply_all(struct resolve *r)
{
    const struct batch *plain = &r->in->changes;
    const struct special *special = (const struct special *)(const void *)r->in->specials.data;
    size_t specials_left = batch_special_count(r->in);
    const uint8_t *at = plain->bytes.data, *end = at + plain->bytes.size;
    for (uint32_t position = 0; position <= plain->count; position++) {
        while (specials_left > 0 && special->position == position) {
            bool moves = moves_next(r, special, specials_left);
            TRY(moves ? apply_meta_and_move(r, special) : apply_special(r, special));
            special += 1 + moves;
            specials_left -= 1 + (size_t)moves;
        }
        struct batch_change change;
        if (position < plain->count) {
            INVARIANT(batch_next(&at, end, &change));
            TRY(apply_plain(r, &change));
        }
    }
    INVARIANT(at == end && specials_left == 0);
    return PLSM_OK;
}

static plsm_status check_condition(struct resolve *r, const struct batch_condition *test)
{
    struct store_key key;
    plsm_slice name = slice(r->in->bytes.data + test->key, test->key_size);
    plsm_slice expected = slice(r->in->bytes.data + test->value, test->value_size);
    int shown = (int)(name.size < 200 ? name.size : 200);
    key_join(&key, test->keyspace, name);
    bool is_absent = test->kind == CONDITION_ABSENT;
    struct sharing sharing;
    plsm_status status = is_absent ? r->db->engine->get(r->db->tree, NULL, key_slice(&key), true, &r->value)
                                   : shared_follow(r->db, NULL, key_slice(&key), false, &r->value, &sharing);
    if (status && status != PLSM_NOT_FOUND)
        return status;
    if (is_absent)
        return status == PLSM_NOT_FOUND ? PLSM_OK
                                        : fail(PLSM_EXISTS, "\"%.*s\" exists", shown, (const char *)name.data);
    /* A large value equals none that a condition can hold. */
    if (status == PLSM_NOT_FOUND || r->value.kind != BATCH_PUT || !slice_equal(r->value.value, expected))
        return fail(PLSM_CONFLICT, "\"%.*s\" has %s", shown, (const char *)name.data,
                    status == PLSM_NOT_FOUND ? "no value" : "another value");
    return PLSM_OK;
}

/* Whether a plain change of the names meets a reference in the tree, or is of a range, which may. */
static plsm_status meets_reference(struct resolve *r, bool *meets)
{
    const uint8_t *at = r->in->changes.bytes.data, *end = at + r->in->changes.bytes.size;
    struct batch_change change;
    uint64_t looked = 0;
    *meets = false;
    while (!*meets && batch_next(&at, end, &change)) {
        if (*(const uint8_t *)change.key.data != PLSM_NAMES)
            continue;
        if (change.kind == BATCH_DELETE_RANGE) {
            *meets = true;
            break;
        }
        struct state state;
        TRY(look_at(r, change.key, true, &state));
        looked++;
        *meets = state.exists && state.kind == BATCH_REFERENCE;
    }
    atomic_fetch_add_explicit(&r->db->counters.lookups_before_write, looked, memory_order_relaxed);
    return PLSM_OK;
}

plsm_status resolve_prepare(void *arg, const struct batch **batch)
{
    struct resolve *r = arg;
    batch_clear(&r->out);
    overlay_clear(&r->overlay);
    r->ranges.size = 0;
    r->retired.count = 0;
    const struct batch_condition *conditions = (const struct batch_condition *)(const void *)r->in->conditions.data;
    for (size_t i = 0; i < batch_condition_count(r->in); i++)
        TRY(check_condition(r, &conditions[i]));

    bool rebuild = batch_special_count(r->in) > 0;
    if (!rebuild && r->look)
        TRY(meets_reference(r, &rebuild));
    *batch = &r->in->changes;
    if (rebuild) {
        TRY(apply_all(r));
        *batch = &r->out;
    }
    return PLSM_OK;
}

void resolve_free(struct resolve *r)
{
    batch_free(&r->out);
    overlay_clear(&r->overlay);
    buf_free(&r->ranges);
    mem_free(r->retired.items);
    r->retired = (struct retired){0};
    engine_value_free(&r->value);
}
