/* Reading by key: values as a whole, and at offsets. */
#include "base/alloc.h"
#include "base/bytes.h"
#include "store/extents.h"
#include "store/shared.h"

#include "base/banned.h"

void plsm_value_free(plsm_value *value)
{
    mem_free(value->memory);
    *value = (plsm_value){0};
}

/* Nothing, with what memory there is. Member by member, as below: a struct that is set as a whole is emptied in front
 * by an instruction that takes longer than all of this. */
static inline void hand_out_nothing(const struct engine_value *value, plsm_value *out)
{
    out->value = out->meta = slice(NULL, 0);
    out->size = out->stored = 0;
    out->large = false;
    out->names = 1;
    out->shared = 0;
    out->expires_s = 0;
    out->memory = value->memory;
    out->capacity = value->capacity;
}

/* An entry that is what it is: no reference, and not shared. */
static inline void hand_out_plain(const struct engine_value *value, plsm_value *out)
{
    out->value = value->value;
    out->meta = value->meta;
    out->size = out->stored = value->value_size;
    out->large = false;
    out->names = 1;
    out->shared = 0;
    out->expires_s = value->expires_s;
    out->memory = value->memory;
    out->capacity = value->capacity;
}

plsm_status hand_out(plsm_status status, const struct engine_value *value, const struct sharing *sharing,
                     plsm_value *out)
{
    hand_out_nothing(value, out);
    out->names = sharing->id ? sharing->names : 1;
    out->shared = sharing->id;
    if (status)
        return status;
    out->meta = value->meta;
    out->expires_s = value->expires_s;
    if (value->kind == BATCH_REFERENCE && !is_link(value->value)) {
        struct reference reference;
        TRY(reference_decode(value->value, &reference));
        out->size = reference.size;
        out->stored = stored_of(reference.extents, reference.size);
        out->large = true;
    } else {
        out->value = value->value;
        out->size = out->stored = value->value_size;
    }
    return PLSM_OK;
}

plsm_status plsm_get(plsm *db, const plsm_read_options *options, plsm_slice key, plsm_value *out)
{
    INVARIANT(db->magic == STORE_MAGIC);
    struct store_key whole;
    struct engine_value value; /* the rest is filled in where something is found: zeroing costs as much as a hash */
    value.memory = out->memory;
    value.capacity = out->capacity;
    plsm_keyspace keyspace = options_keyspace(options);
    TRY(key_check(keyspace, key));
    key_join(&whole, keyspace, key);
    const struct engine_snapshot *snapshot = options_snapshot(options);
    bool no_value = options && options->no_value;
    struct sharing sharing = {0};
    plsm_status status = db->engine->get(db->tree, snapshot, key_slice(&whole), no_value, &value);
    if (__builtin_expect(status == PLSM_OK && value.kind == BATCH_REFERENCE, 0))
        status = shared_follow_found(db, snapshot, key_slice(&whole), no_value, &value, &sharing);
    if (__builtin_expect(status != PLSM_OK || value.kind == BATCH_REFERENCE || sharing.id, 0))
        return hand_out(status, &value, &sharing, out);
    hand_out_plain(&value, out);
    return PLSM_OK;
}

plsm_status plsm_get_shared(plsm *db, const plsm_read_options *options, uint64_t shared, plsm_value *out)
{
    INVARIANT(db->magic == STORE_MAGIC);
    struct engine_value value = {.memory = out->memory, .capacity = out->capacity};
    struct sharing sharing = {0};
    plsm_status status =
        shared_get(db, options_snapshot(options), shared, options && options->no_value, &value, &sharing);
    return hand_out(status, &value, &sharing, out);
}

/* Pins the entry of a whole key, or what it links to. */
static plsm_status pin_followed(plsm *db, const struct engine_snapshot *snapshot, plsm_slice key,
                                struct engine_pin *pin)
{
    struct engine_snapshot *own = NULL;
    uint8_t shared[SHARED_KEY_SIZE];
    uint32_t names = 0;
    plsm_status status = db->engine->get_pinned(db->tree, snapshot, key, pin);
    if (status != PLSM_OK || pin->kind != BATCH_REFERENCE || !is_link(pin->value))
        return status;
    db->engine->unpin(db->tree, pin);
    if (!snapshot) { /* both entries must be of one moment */
        snapshot = own = db->engine->snapshot_create(db->tree);
        if (!own)
            return fail(PLSM_NO_MEMORY, "no memory for a snapshot");
    }
    status = db->engine->get_pinned(db->tree, snapshot, key, pin);
    if (status == PLSM_OK && pin->kind == BATCH_REFERENCE && is_link(pin->value)) {
        uint64_t id = link_decode(pin->value);
        db->engine->unpin(db->tree, pin);
        status = db->engine->get_pinned(db->tree, snapshot, shared_key(shared, id), pin);
        if (status == PLSM_OK) {
            status = shared_meta_decode(id, pin->meta, &names, &pin->meta);
            if (status != PLSM_OK)
                db->engine->unpin(db->tree, pin);
        } else if (status == PLSM_NOT_FOUND) {
            status = shared_missing(id);
        }
    }
    if (own)
        db->engine->snapshot_destroy(db->tree, own);
    return status;
}

plsm_status plsm_get_pinned(plsm *db, const plsm_read_options *options, plsm_slice key, plsm_pin *out)
{
    INVARIANT(db->magic == STORE_MAGIC);
    struct store_key whole;
    struct engine_pin pin;
    struct reference reference;
    plsm_keyspace keyspace = options_keyspace(options);
    *out = (plsm_pin){0};
    TRY(key_check(keyspace, key));
    key_join(&whole, keyspace, key);
    TRY(pin_followed(db, options_snapshot(options), key_slice(&whole), &pin));
    *out = (plsm_pin){
        .meta = pin.meta, .expires_s = pin.expires_s, .holder = pin.holder, .held = pin.held, .frame = pin.frame};
    if (pin.kind == BATCH_REFERENCE) {
        plsm_status status = reference_decode(pin.value, &reference);
        if (status != PLSM_OK) {
            plsm_pin_release(db, out);
            return status;
        }
        out->size = reference.size;
        out->large = true;
    } else {
        out->value = pin.value;
        out->size = pin.value.size;
    }
    return PLSM_OK;
}

bool plsm_pin_lost(const plsm *db, const plsm_pin *pin)
{
    struct engine_pin held = {.held = pin->held, .frame = pin->frame, .holder = pin->holder};
    return pin->held && db->engine->pin_lost && db->engine->pin_lost(&held);
}

void plsm_pin_release(plsm *db, plsm_pin *pin)
{
    struct engine_pin held = {.held = pin->held, .frame = pin->frame, .holder = pin->holder};
    if (pin->held)
        db->engine->unpin(db->tree, &held);
    *pin = (plsm_pin){0};
}

/* None of the keys could be asked for. */
static plsm_status get_none(plsm_status status, plsm_status *statuses, size_t count)
{
    for (size_t i = 0; i < count; i++)
        statuses[i] = status;
    return status;
}

/* Up to ENGINE_MANY keys; `bytes` is scratch. *links: a link was met. Without a snapshot all must then be asked for
 * again with one: what is linked to must be of the same moment. */
static plsm_status get_some(plsm *db, const plsm_read_options *options, const plsm_slice *keys, size_t count,
                            const struct engine_snapshot *snapshot, struct buf *bytes, plsm_value *values,
                            plsm_status *statuses, bool *links)
{
    struct engine_value found[ENGINE_MANY];
    plsm_slice whole[ENGINE_MANY];
    size_t which[ENGINE_MANY], allowed = 0, size = 0;
    plsm_keyspace keyspace = options_keyspace(options);
    plsm_status results[ENGINE_MANY], first = PLSM_OK;
    for (size_t i = 0; i < count; i++) {
        statuses[i] = key_check(keyspace, keys[i]);
        if (statuses[i] == PLSM_OK)
            which[allowed++] = i;
        size += keys[i].size + 1;
    }
    bytes->size = 0;
    plsm_status status = buf_reserve(bytes, size);
    if (status != PLSM_OK)
        return get_none(status, statuses, count);
    for (size_t i = 0; i < allowed; i++) {
        plsm_slice key = keys[which[i]];
        uint8_t *at = bytes->data + bytes->size;
        at[0] = (uint8_t)keyspace;
        copy_short(at + 1, key.data, key.size);
        whole[i] = slice(at, key.size + 1);
        bytes->size += key.size + 1;
        found[i] = (struct engine_value){.memory = values[which[i]].memory, .capacity = values[which[i]].capacity};
    }
    db->engine->multi_get(db->tree, snapshot, whole, allowed, options && options->no_value, found, results);
    for (size_t i = 0; i < allowed; i++) {
        struct sharing sharing = {0};
        if (__builtin_expect(results[i] == PLSM_OK && found[i].kind != BATCH_REFERENCE, 1)) {
            hand_out_plain(&found[i], &values[which[i]]);
            statuses[which[i]] = PLSM_OK;
            continue;
        }
        if (results[i] == PLSM_OK && is_link(found[i].value)) {
            *links = true;
            if (snapshot)
                results[i] = shared_follow(db, snapshot, whole[i], options && options->no_value, &found[i], &sharing);
        }
        statuses[which[i]] = hand_out(results[i], &found[i], &sharing, &values[which[i]]);
    }
    for (size_t i = 0; i < count && first == PLSM_OK; i++)
        first = statuses[i] == PLSM_NOT_FOUND ? PLSM_OK : statuses[i];
    return first;
}

plsm_status plsm_multi_get(plsm *db, const plsm_read_options *options, const plsm_slice *keys, size_t count,
                           plsm_value *values, plsm_status *statuses)
{
    INVARIANT(db->magic == STORE_MAGIC);
    struct buf bytes = {0};
    plsm_status first = PLSM_OK;
    size_t most = db->options.multi_get_max;
    const struct engine_snapshot *snapshot = options_snapshot(options);
    struct engine_snapshot *own = NULL;
    if (!snapshot && count > most) { /* several calls of the engine, one moment */
        snapshot = own = db->engine->snapshot_create(db->tree);
        if (!own)
            return get_none(fail(PLSM_NO_MEMORY, "no memory for a snapshot"), statuses, count);
    }
    for (size_t done = 0; done < count; done += most) {
        size_t some = count - done < most ? count - done : most;
        bool links = false;
        plsm_status status =
            get_some(db, options, keys + done, some, snapshot, &bytes, values + done, statuses + done, &links);
        if (links && !snapshot) { /* there is this call alone */
            snapshot = own = db->engine->snapshot_create(db->tree);
            status = own ? get_some(db, options, keys, some, own, &bytes, values, statuses, &links)
                         : get_none(fail(PLSM_NO_MEMORY, "no memory for a snapshot"), statuses, some);
        }
        first = first == PLSM_OK ? status : first;
    }
    if (own)
        db->engine->snapshot_destroy(db->tree, own);
    buf_free(&bytes);
    return first;
}

plsm_status plsm_locate(plsm *db, plsm_slice key, unsigned level, bool page, plsm_place *out)
{
    INVARIANT(db->magic == STORE_MAGIC);
    struct store_key whole;
    *out = (plsm_place){0};
    TRY(key_check(PLSM_NAMES, key));
    if (!db->engine->locate)
        return fail(PLSM_UNSUPPORTED, "the engine %s has no levels", db->engine->name);
    key_join(&whole, PLSM_NAMES, key);
    return db->engine->locate(db->tree, key_slice(&whole), level, page, out);
}

plsm_status plsm_find(plsm *db, plsm_slice key, plsm_found *out)
{
    INVARIANT(db->magic == STORE_MAGIC);
    struct store_key whole;
    struct engine_value value = {0};
    *out = (plsm_found){0};
    TRY(key_check(PLSM_NAMES, key));
    if (!db->engine->find)
        return fail(PLSM_UNSUPPORTED, "the engine %s has no levels", db->engine->name);
    key_join(&whole, PLSM_NAMES, key);
    /* A range deletion may hide what stands in a file: only a lookup tells. */
    plsm_status status = db->engine->get(db->tree, NULL, key_slice(&whole), true, &value);
    engine_value_free(&value);
    return status == PLSM_OK ? db->engine->find(db->tree, key_slice(&whole), out) : status;
}

/* What of [offset, offset + size) lies within a value of `whole` bytes. */
static size_t clip(uint64_t whole, uint64_t offset, size_t size)
{
    if (offset >= whole)
        return 0;
    return size < whole - offset ? size : (size_t)(whole - offset);
}

/* What of a value is read: by its whole key or, with an empty one, by the identifier that its names share. */
struct read_from {
    plsm_slice key;
    uint64_t shared;
};

static plsm_status find_to_read(plsm *db, const struct engine_snapshot *snapshot, const struct read_from *from,
                                struct engine_value *value)
{
    struct sharing sharing;
    return from->key.size ? shared_follow(db, snapshot, from->key, false, value, &sharing)
                          : shared_get(db, snapshot, from->shared, false, value, &sharing);
}

static plsm_status read_at(plsm *db, const struct engine_snapshot *snapshot, const struct read_from *from,
                           uint64_t offset, void *data, size_t size, size_t *got)
{
    struct engine_value value = {0};
    struct engine_snapshot *own = NULL;
    *got = 0;
    plsm_status status = find_to_read(db, snapshot, from, &value);
    if (status == PLSM_OK && value.kind == BATCH_REFERENCE && !snapshot) {
        /* Reference and extents must be of one moment: take a snapshot and look again. */
        snapshot = own = db->engine->snapshot_create(db->tree);
        status = own ? find_to_read(db, own, from, &value) : fail(PLSM_NO_MEMORY, "no memory for a snapshot");
    }
    if (status)
        goto done;
    if (value.kind == BATCH_REFERENCE) {
        struct reference reference;
        status = reference_decode(value.value, &reference);
        if (status)
            goto done;
        size = clip(reference.size, offset, size);
        status = extents_read(db, snapshot, &reference, offset, data, size);
    } else {
        size = clip(value.value.size, offset, size);
        if (size)
            memcpy(data, (const uint8_t *)value.value.data + offset, size);
    }
    if (status == PLSM_OK)
        *got = size;
done:
    engine_value_free(&value);
    if (own)
        db->engine->snapshot_destroy(db->tree, own);
    return status;
}

plsm_status plsm_read(plsm *db, const plsm_read_options *options, plsm_slice key, uint64_t offset, void *data,
                      size_t size, size_t *got)
{
    INVARIANT(db->magic == STORE_MAGIC);
    struct store_key whole;
    plsm_keyspace keyspace = options_keyspace(options);
    *got = 0;
    TRY(key_check(keyspace, key));
    key_join(&whole, keyspace, key);
    struct read_from from = {.key = key_slice(&whole)};
    return read_at(db, options_snapshot(options), &from, offset, data, size, got);
}

plsm_status plsm_read_shared(plsm *db, const plsm_read_options *options, uint64_t shared, uint64_t offset, void *data,
                             size_t size, size_t *got)
{
    INVARIANT(db->magic == STORE_MAGIC);
    struct read_from from = {.shared = shared};
    return read_at(db, options_snapshot(options), &from, offset, data, size, got);
}

plsm_status plsm_has_prefix(plsm *db, const plsm_read_options *options, plsm_slice prefix, bool *out)
{
    INVARIANT(db->magic == STORE_MAGIC);
    struct store_key whole;
    plsm_keyspace keyspace = options_keyspace(options);
    *out = false;
    TRY(bound_check(keyspace, prefix));
    key_join(&whole, keyspace, prefix);
    return db->engine->has_prefix(db->tree, options_snapshot(options), key_slice(&whole), out);
}

plsm_snapshot *plsm_snapshot_create(plsm *db)
{
    INVARIANT(db->magic == STORE_MAGIC);
    return (plsm_snapshot *)db->engine->snapshot_create(db->tree);
}

void plsm_snapshot_destroy(plsm *db, plsm_snapshot *snapshot)
{
    if (snapshot)
        db->engine->snapshot_destroy(db->tree, (struct engine_snapshot *)snapshot);
}
