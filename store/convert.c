/* Converting a store: all entries of all keyspaces go as they are from the table of one engine through that of another,
 * so identifiers, extents, notes and marks of unfinished work keep their meaning, and the new store recovers from what
 * the old one would have recovered from. The old one is read only, under its writer's lock. */
#include "store/convert.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "store/internal.h"
#include "store/place.h"

#include "base/banned.h"

enum { BATCH_BYTES = 1 << 20, BATCH_CHANGES = 10000 };

static const uint8_t all_from[1] = {PLSM_NAMES}, all_to[1] = {PLSM_INTERNAL + 1};

/* An open engine. */
struct side {
    const struct engine *engine;
    void *tree;
    struct engine_iterator *it;
    struct engine_entry entry;
    bool more; /* `entry` is one */
};

struct converting {
    struct env *env;
    const plsm_convert_options *options;
    char place[PLACE_PATH];  /* of the old store */
    char target[PLACE_PATH]; /* where the new one goes when it is whole; the same, unless the caller says another */
    char beside[PLACE_PATH]; /* where it is until then */
    char old[PLACE_PATH];    /* where the old one goes when the new one takes its place */
    struct store_options from_options, to_options;
    struct env_lock *lock; /* the writer's, of the old one */
    struct side from, to;
    bool begun;         /* `beside` is ours to take away */
    bool in_place;      /* the new store is where it belongs: nothing is taken back any more */
    const char *old_is; /* then, where the old one is; NULL: where it was */
    uint64_t now_s;     /* what has expired by then is left out */
    uint64_t done, all;
    plsm_convert_info info;
};

/* --- walking ------------------------------------------------------------------------------------------------------ */

/* Large values are deleted by a note of theirs; what is small and has expired is as good as deleted, and an engine may
 * have left it out already. */
static bool is_gone(const struct converting *c, const struct engine_entry *entry)
{
    return entry->kind != BATCH_REFERENCE && entry->expires_s != 0 && entry->expires_s <= c->now_s;
}

static void skip_gone(const struct converting *c, struct side *side)
{
    while (side->more && is_gone(c, &side->entry))
        side->more = side->engine->iterator_next(side->it, &side->entry);
}

static plsm_status walk_start(const struct converting *c, struct side *side)
{
    TRY(side->engine->iterator_create(side->tree, NULL, slice(all_from, 1), slice(all_to, 1), false, &side->it));
    side->engine->iterator_show_expired(side->it);
    side->more = side->engine->iterator_first(side->it, &side->entry);
    skip_gone(c, side);
    return PLSM_OK;
}

static void walk_next(const struct converting *c, struct side *side)
{
    side->more = side->engine->iterator_next(side->it, &side->entry);
    skip_gone(c, side);
}

/* The status of a walk that has come to its end or was left. */
static plsm_status walk_end(struct side *side, plsm_status status)
{
    if (!side->it)
        return status;
    if (status == PLSM_OK)
        status = side->engine->iterator_status(side->it);
    side->engine->iterator_destroy(side->it);
    side->it = NULL;
    return status;
}

static void tell_progress(struct converting *c)
{
    c->done++;
    if (c->options->progress && c->done % 1024 == 0)
        c->options->progress(c->options->arg, c->done, c->all > c->done ? c->all : 0);
}

/* --- copying ------------------------------------------------------------------------------------------------------ */

static plsm_status add_entry(struct batch *batch, const struct engine_entry *entry)
{
    const uint8_t *key = entry->key.data;
    plsm_slice rest = slice(key + 1, entry->key.size - 1);
    if (entry->expires_s)
        return batch_add_timed(batch, entry->kind, key[0], rest, entry->meta, entry->value, entry->expires_s);
    return batch_add(batch, entry->kind, key[0], rest, entry->meta, entry->value);
}

static plsm_status write_batch(struct converting *c, struct batch *batch)
{
    plsm_status status = batch->count > 0 ? c->to.engine->write(c->to.tree, batch, NULL, NULL, PLSM_VOLATILE) : PLSM_OK;
    batch_clear(batch);
    return status;
}

static plsm_status copy_all(struct converting *c)
{
    struct batch batch = {0};
    plsm_status status = walk_start(c, &c->from);
    for (; status == PLSM_OK && c->from.more; walk_next(c, &c->from)) {
        const struct engine_entry *entry = &c->from.entry;
        status = add_entry(&batch, entry);
        if (status == PLSM_OK && (batch.bytes.size >= BATCH_BYTES || batch.count >= BATCH_CHANGES))
            status = write_batch(c, &batch);
        c->info.entries++;
        c->info.bytes += entry->key.size - 1 + entry->meta.size + entry->value.size;
        tell_progress(c);
    }
    status = walk_end(&c->from, status);
    if (status == PLSM_OK)
        status = write_batch(c, &batch);
    batch_free(&batch);
    return status == PLSM_OK ? c->to.engine->sync(c->to.tree) : status;
}

/* --- comparing ---------------------------------------------------------------------------------------------------- */

static bool entries_equal(const struct engine_entry *one, const struct engine_entry *other)
{
    return one->kind == other->kind && one->expires_s == other->expires_s && slice_equal(one->key, other->key) &&
           slice_equal(one->meta, other->meta) && slice_equal(one->value, other->value);
}

static plsm_status differs(const struct converting *c)
{
    return fail(PLSM_CORRUPT,
                "%s: the new store differs from the old one at entry %" PRIu64 " of %" PRIu64
                ": the old one is as it was; run plsm check on it",
                c->place, c->done - c->info.entries + 1, c->info.entries);
}

/* What the new store gives back when it is opened again is what the old one has. */
static plsm_status compare_all(struct converting *c)
{
    uint64_t now_s = env_wall_ns(c->env) / 1000000000;
    c->now_s = now_s > c->now_s ? now_s : c->now_s;
    c->done = c->info.entries;
    c->all = 2 * c->info.entries;
    plsm_status status = walk_start(c, &c->from);
    if (status == PLSM_OK)
        status = walk_start(c, &c->to);
    while (status == PLSM_OK && c->from.more && c->to.more) {
        if (!entries_equal(&c->from.entry, &c->to.entry)) {
            status = differs(c);
            break;
        }
        tell_progress(c);
        walk_next(c, &c->from);
        walk_next(c, &c->to);
    }
    bool rest = c->from.more || c->to.more;
    status = walk_end(&c->from, status);
    status = walk_end(&c->to, status);
    return status == PLSM_OK && rest ? differs(c) : status;
}

/* --- the two stores ----------------------------------------------------------------------------------------------- */

static void take_keys(void *arg, const char *name, bool is_real, uint64_t integer, double real)
{
    if (strcmp(name, "store.keys") == 0)
        *(uint64_t *)arg = is_real ? (uint64_t)real : integer;
}

static plsm_status side_close(struct side *side)
{
    void *tree = side->tree;
    side->tree = NULL;
    return tree ? side->engine->close(tree) : PLSM_OK;
}

static plsm_status make_new(struct converting *c)
{
    uint64_t keys = 0;
    TRY(c->from.engine->open(c->env, c->place, PLSM_READ, &c->from_options, &c->from.tree));
    c->from.engine->statistics(c->from.tree, take_keys, &keys);
    c->all = 2 * keys;
    c->now_s = env_wall_ns(c->env) / 1000000000;
    TRY(c->to.engine->open(c->env, c->beside, PLSM_CREATE | PLSM_EXCLUSIVE, &c->to_options, &c->to.tree));
    TRY(copy_all(c));
    TRY(side_close(&c->to));
    TRY(c->to.engine->open(c->env, c->beside, PLSM_READ, &c->to_options, &c->to.tree));
    TRY(compare_all(c));
    TRY(side_close(&c->to));
    TRY(env_sync_dir(c->env, c->beside));
    return env_sync_parent(c->env, c->beside);
}

/* --- the swap ----------------------------------------------------------------------------------------------------- */

/* Where names cannot be exchanged. A second rename that fails is made good. */
static plsm_status swap_in_two_steps(struct converting *c)
{
    char message[512];
    TRY(env_rename(c->env, c->place, c->old));
    plsm_status status = env_rename(c->env, c->beside, c->place);
    if (status == PLSM_OK) {
        c->in_place = true;
        c->old_is = c->old;
        return env_sync_parent(c->env, c->place);
    }
    snprintf(message, sizeof message, "%s", plsm_message());
    if (env_rename(c->env, c->old, c->place) == PLSM_OK)
        return fail(status, "%s", message);
    return fail(status, "%s; the store is as it was, but its name is %s now", message, c->old);
}

/* The new store takes the place of the old one, which is renamed. */
static plsm_status swap(struct converting *c)
{
    plsm_status status = env_exchange(c->env, c->place, c->beside);
    if (status == PLSM_UNSUPPORTED)
        return swap_in_two_steps(c);
    TRY(status);
    c->in_place = true;
    c->old_is = c->beside;
    TRY(env_sync_parent(c->env, c->place));
    TRY(env_rename(c->env, c->beside, c->old));
    c->old_is = c->old;
    return env_sync_parent(c->env, c->place);
}

static plsm_status put_in_place(struct converting *c)
{
    if (c->options->target) {
        TRY(env_rename(c->env, c->beside, c->target));
        c->in_place = true;
        return env_sync_parent(c->env, c->target);
    }
    TRY(swap(c));
    if (c->options->remove_old) {
        TRY(place_remove(c->env, c->old));
        return env_sync_parent(c->env, c->place);
    }
    snprintf(c->info.old, sizeof c->info.old, "%s", c->old);
    return PLSM_OK;
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

/* No store there: an interrupted conversion may have left it under another name. */
static plsm_status tell_missing(const struct converting *c)
{
    const struct engine *engine = NULL;
    if (engine_of_store(c->env, c->old, &engine) == PLSM_OK && engine)
        return fail(PLSM_NO_STORE,
                    "%s: is not there, but %s is a store: if a conversion was interrupted, give it its name back",
                    c->place, c->old);
    return fail(PLSM_NO_STORE, "%s: there is no store", c->place);
}

/* Finds the engines, and refuses what cannot end well, before anything is touched. */
static plsm_status prepare(struct converting *c, const char *path)
{
    bool taken = false;
    const struct engine *engine = NULL;
    TRY(place_of(path, c->place));
    TRY(place_of(c->options->target ? c->options->target : path, c->target));
    TRY(place_beside(c->target, ".converting", c->beside));
    TRY(place_beside(c->place, ".old", c->old));
    TRY(store_options_parse(NULL, &c->from_options));
    TRY(store_options_parse(c->options->options, &c->to_options));
    TRY(engine_by_name(c->options->engine, &c->to.engine));
    TRY(engine_of_store(c->env, c->place, &c->from.engine));
    if (!c->from.engine)
        return tell_missing(c);
    if (c->from.engine == c->to.engine)
        return fail(PLSM_INVALID, "%s: is a store of the engine %s already", c->place, c->to.engine->name);
    TRY(place_is_taken(c->env, c->beside, &taken));
    if (taken)
        return fail(PLSM_EXISTS, "%s: is there, from a conversion that was interrupted; %s is whole: remove it",
                    c->beside, c->place);
    TRY(engine_choose(c->env, c->beside, &c->to_options, &engine));
    if (c->to_options.engine != STORE_ENGINE_AUTO && engine != c->to.engine)
        return fail(PLSM_INVALID, "%s: its new engine cannot be both %s and %s", c->place, c->to.engine->name,
                    engine->name);
    if (c->options->target) {
        TRY(place_check_empty(c->env, c->target));
        return place_check_outside(c->env, c->target, c->place);
    }
    TRY(place_is_taken(c->env, c->old, &taken));
    return taken ? fail(PLSM_EXISTS, "%s: is there, and the old store would get this name: move it away", c->old)
                 : PLSM_OK;
}

static plsm_status lock_old(struct converting *c)
{
    char path[PLACE_PATH];
    TRY(place_beside(c->place, "/LOCK", path));
    plsm_status status = env_lock(c->env, path, ENGINE_LOCK_WRITER, true, &c->lock);
    return status == PLSM_LOCKED
               ? fail(PLSM_LOCKED, "%s: is in use by another process (mounted, or open for writing)", c->place)
               : status;
}

static plsm_status convert(struct converting *c, const char *path)
{
    TRY(prepare(c, path));
    TRY(lock_old(c));
    c->begun = true;
    TRY(make_new(c));
    return put_in_place(c);
}

plsm_status convert_in(struct env *env, const char *path, const plsm_convert_options *options, plsm_convert_info *out)
{
    char message[1024];
    struct converting *c = mem_zalloc(sizeof *c);
    if (!c)
        return fail(PLSM_NO_MEMORY, "%s: no memory to convert it", path);
    c->env = env;
    c->options = options;
    plsm_status status = convert(c, path);
    snprintf(message, sizeof message, "%s", plsm_message());
    side_close(&c->to);
    side_close(&c->from);
    if (c->begun && !c->in_place)
        (void)place_remove(env, c->beside); /* what cannot be removed hinders nobody but the next conversion */
    env_unlock(c->lock);
    if (c->from.engine)
        snprintf(c->info.engine, sizeof c->info.engine, "%s", c->from.engine->name);
    if (out)
        *out = c->info;
    if (status != PLSM_OK && c->in_place)
        fail(status, "%s; %s is converted%s%s", message, c->target, c->old_is ? ", and the old store is " : "",
             c->old_is ? c->old_is : "");
    else if (status != PLSM_OK)
        fail(status, "%s", message);
    mem_free(c);
    return status;
}

plsm_status plsm_convert(const char *path, const plsm_convert_options *options, plsm_convert_info *out)
{
    return convert_in(env_posix(), path, options, out);
}
