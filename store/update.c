/* Read, modify, write: one key, inside the engine's write serialisation (engine_prepare), so that nothing comes between
 * what the caller's function is shown and what it decides. As every engine has that, each has updates; the hybrid log
 * changes the record where it stands when the new value fits there.
 *
 * What is replaced has been read, so an update knows whether it is a reference, and retires it as resolve.c does. A
 * value that names share (shared.h) is changed under its own key. */
#include "store/batch.h"
#include "store/expiry.h"
#include "store/resolve.h"
#include "store/shared.h"

#include "base/banned.h"

_Thread_local const struct updating *store_updating;

struct update {
    plsm *db;
    plsm_update_fn *fn;
    void *arg;
    plsm_slice name;
    struct store_key key;
    struct engine_value found; /* what the key holds, or what it links to */
    struct sharing sharing;
    bool stands, exists;    /* something is there; and its time has not come */
    struct resolve resolve; /* its `out` is the batch when the small one does not do */
    struct small_batch small;
};

static plsm_status look(struct update *u)
{
    plsm *db = u->db;
    plsm_status status = db->engine->get_any(db->tree, NULL, key_slice(&u->key), false, &u->found);
    if (status == PLSM_NOT_FOUND)
        return PLSM_OK;
    TRY(status);
    u->stands = true;
    u->exists = u->found.expires_s == 0 || u->found.expires_s > plsm_now_s(db);
    if (u->found.kind != BATCH_REFERENCE || !is_link(u->found.value))
        return PLSM_OK;
    uint64_t id = link_decode(u->found.value);
    status = shared_get(db, NULL, id, false, &u->found, &u->sharing);
    return status == PLSM_NOT_FOUND ? shared_missing(id) : status;
}

static plsm_status ask(struct update *u, plsm_outcome *outcome, plsm_slice *value)
{
    plsm_value old;
    if (u->exists)
        TRY(hand_out(PLSM_OK, &u->found, &u->sharing, &old));
    const struct updating here = {u->db, store_updating};
    unsigned messages = fail_count();
    store_updating = &here;
    plsm_status status = u->fn(u->arg, u->exists ? &old : NULL, outcome, value);
    store_updating = here.outer;
    if (status != PLSM_OK)
        return fail(status, "the update of \"%.*s\" was given up by the function that makes it: %s%s%s",
                    (int)(u->name.size < 200 ? u->name.size : 200), (const char *)u->name.data,
                    plsm_status_name(status), fail_count() != messages ? ": " : "",
                    fail_count() != messages ? plsm_message() : "");
    if ((unsigned)*outcome > PLSM_REMOVE)
        return fail(PLSM_INVALID, "there is no outcome %d of an update", (int)*outcome);
    return *outcome == PLSM_REPLACE ? batch_check_entry(slice(NULL, 0), *value) : PLSM_OK;
}

/* The extents of what goes are retired. */
static plsm_status let_go(struct update *u)
{
    return u->stands && u->found.kind == BATCH_REFERENCE ? resolve_let_go(&u->resolve, u->found.value) : PLSM_OK;
}

static plsm_status replace_shared(struct update *u, plsm_slice value)
{
    uint8_t bytes[SHARED_KEY_SIZE], head[PLSM_META_MAX];
    plsm_slice key = shared_key(bytes, u->sharing.id), meta;
    TRY(shared_meta(head, u->sharing.names, u->found.meta, &meta));
    TRY(let_go(u));
    return batch_add(&u->resolve.out, BATCH_PUT, bytes[0], slice(bytes + 1, key.size - 1), meta, value);
}

static plsm_status replace(struct update *u, plsm_slice value, const struct batch **batch)
{
    *batch = &u->resolve.out;
    if (u->sharing.id)
        return replace_shared(u, value);
    struct lifetime lifetime = {u->found.expires_s > 0, u->found.expires_s};
    if (!u->exists)
        lifetime = store_lifetime(u->db, u->name);
    struct batch_change change = {.kind = BATCH_PUT,
                                  .timed = lifetime.timed,
                                  .expires_s = lifetime.expires_s,
                                  .key = u->name,
                                  .meta = u->exists ? u->found.meta : slice(NULL, 0),
                                  .value = value};
    TRY(let_go(u));
    if (u->resolve.out.count == 0 && small_batch_fits(&change)) {
        small_batch_make(&u->small, &change);
        *batch = &u->small.batch;
        return PLSM_OK;
    }
    return change.timed ? batch_add_timed(&u->resolve.out, BATCH_PUT, PLSM_NAMES, change.key, change.meta, value,
                                          change.expires_s)
                        : batch_add(&u->resolve.out, BATCH_PUT, PLSM_NAMES, change.key, change.meta, value);
}

static plsm_status remove_entry(struct update *u, const struct batch **batch)
{
    uint8_t link[LINK_SIZE];
    if (!u->stands)
        return PLSM_OK;
    if (u->sharing.id) {
        link_encode(u->sharing.id, link);
        TRY(resolve_let_go(&u->resolve, slice(link, sizeof link)));
    } else {
        TRY(let_go(u));
    }
    *batch = &u->resolve.out;
    return batch_add(&u->resolve.out, BATCH_DELETE, PLSM_NAMES, u->name, slice(NULL, 0), slice(NULL, 0));
}

/* Is an engine_prepare. */
static plsm_status prepare(void *arg, const struct batch **batch)
{
    struct update *u = arg;
    plsm_outcome outcome = PLSM_KEEP;
    plsm_slice value = {NULL, 0};
    *batch = NULL;
    TRY(look(u));
    TRY(ask(u, &outcome, &value));
    if (outcome == PLSM_KEEP)
        return PLSM_OK;
    return outcome == PLSM_REMOVE ? remove_entry(u, batch) : replace(u, value, batch);
}

plsm_status plsm_update(plsm *db, plsm_slice key, plsm_update_fn *fn, void *arg, plsm_durability durability)
{
    struct update u; /* large, so not zeroed as a whole */
    TRY(refuse_writes(db));
    TRY(durability_check(durability));
    TRY(key_check(PLSM_NAMES, key));
    u.db = db;
    u.fn = fn;
    u.arg = arg;
    u.name = key;
    key_join(&u.key, PLSM_NAMES, key);
    u.found = (struct engine_value){0};
    u.sharing = (struct sharing){0};
    u.stands = u.exists = false;
    u.resolve = (struct resolve){.db = db};
    expiry_reap_due(db);
    bool may_meet = store_write_begin(db);
    plsm_status status = store_write_prepared(db, NULL, prepare, &u, &u.resolve, may_meet, durability);
    store_write_end(db, may_meet);
    engine_value_free(&u.found);
    return status;
}
