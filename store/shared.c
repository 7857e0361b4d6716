#include "store/shared.h"

#include "base/alloc.h"
#include "base/bytes.h"

#include "base/banned.h"

enum { SHARED_SUFFIX = 0xff };

void link_encode(uint64_t id, uint8_t out[LINK_SIZE])
{
    put_u64(out, id);
}

uint64_t link_decode(plsm_slice value)
{
    INVARIANT(is_link(value));
    return get_u64(value.data);
}

plsm_slice shared_key(uint8_t out[SHARED_KEY_SIZE], uint64_t id)
{
    out[0] = PLSM_INODES;
    put_be64(out + 1, id);
    out[9] = SHARED_SUFFIX;
    return slice(out, SHARED_KEY_SIZE);
}

bool shared_key_decode(plsm_slice key, uint64_t *id)
{
    const uint8_t *bytes = key.data;
    if (key.size != SHARED_KEY_SIZE || bytes[0] != PLSM_INODES || bytes[9] != SHARED_SUFFIX)
        return false;
    *id = get_be64(bytes + 1);
    return true;
}

plsm_status shared_meta(uint8_t out[PLSM_META_MAX], uint32_t names, plsm_slice meta, plsm_slice *whole)
{
    if (meta.size > SHARED_META_MAX)
        return fail(PLSM_TOO_LARGE, "meta of %zu bytes: the limit of a value that names share is %d", meta.size,
                    SHARED_META_MAX);
    put_u32(out, names);
    if (meta.size)
        memcpy(out + SHARED_HEAD, meta.data, meta.size);
    *whole = slice(out, SHARED_HEAD + meta.size);
    return PLSM_OK;
}

plsm_status shared_meta_decode(uint64_t id, plsm_slice whole, uint32_t *names, plsm_slice *meta)
{
    *names = whole.size < SHARED_HEAD ? 0 : get_u32(whole.data);
    if (*names == 0)
        return fail(PLSM_CORRUPT, "the shared value %llu does not tell how many names it has; run plsm check",
                    (unsigned long long)id);
    *meta = slice((const uint8_t *)whole.data + SHARED_HEAD, whole.size - SHARED_HEAD);
    return PLSM_OK;
}

plsm_status shared_missing(uint64_t id)
{
    return fail(PLSM_CORRUPT, "the shared value %llu, to which a name links, is missing; run plsm check",
                (unsigned long long)id);
}

plsm_status shared_get(plsm *db, const struct engine_snapshot *snapshot, uint64_t id, bool no_value,
                       struct engine_value *out, struct sharing *sharing)
{
    uint8_t key[SHARED_KEY_SIZE];
    TRY(db->engine->get(db->tree, snapshot, shared_key(key, id), no_value, out));
    sharing->id = id;
    return shared_meta_decode(id, out->meta, &sharing->names, &out->meta);
}

plsm_status shared_follow(plsm *db, const struct engine_snapshot *snapshot, plsm_slice key, bool no_value,
                          struct engine_value *out, struct sharing *sharing)
{
    *sharing = (struct sharing){0};
    plsm_status status = db->engine->get(db->tree, snapshot, key, no_value, out);
    return status == PLSM_OK ? shared_follow_found(db, snapshot, key, no_value, out, sharing) : status;
}

plsm_status shared_follow_found(plsm *db, const struct engine_snapshot *snapshot, plsm_slice key, bool no_value,
                                struct engine_value *out, struct sharing *sharing)
{
    struct engine_snapshot *own = NULL;
    plsm_status status = PLSM_OK;
    *sharing = (struct sharing){0};
    if (out->kind != BATCH_REFERENCE || !is_link(out->value))
        return PLSM_OK;
    if (!snapshot) { /* both entries must be of one moment */
        snapshot = own = db->engine->snapshot_create(db->tree);
        if (!own)
            return fail(PLSM_NO_MEMORY, "no memory for a snapshot");
        status = db->engine->get(db->tree, snapshot, key, no_value, out);
    }
    if (status == PLSM_OK && out->kind == BATCH_REFERENCE && is_link(out->value)) {
        uint64_t id = link_decode(out->value);
        status = shared_get(db, snapshot, id, no_value, out, sharing);
        if (status == PLSM_NOT_FOUND)
            status = shared_missing(id);
    }
    if (own)
        db->engine->snapshot_destroy(db->tree, own);
    return status;
}
