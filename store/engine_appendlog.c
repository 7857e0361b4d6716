/* The append log as an engine of the store. */
#include <stddef.h>

#include "base/error.h"
#include "log/append.h"
#include "store/engine.h"
#include "store/options.h"

#include "base/banned.h"

_Static_assert(APPEND_KEY_MAX == PLSM_KEY_MAX + 1, "an internal key is the keyspace byte and the user's key");
_Static_assert((unsigned)APPEND_VALUE_MAX >= PLSM_INLINE_MAX, "inline values and extents are entries");
_Static_assert(APPEND_BATCH_BYTES_MAX >= PLSM_BATCH_MAX, "every batch of the store fits");
_Static_assert((int)APPEND_MANY == (int)ENGINE_MANY, "as many keys at a time");

static plsm_status log_open(struct env *env, const char *path, plsm_open_flags flags,
                            const struct store_options *options, void **out)
{
    struct append_options o;
    struct append *db = NULL;
    append_options_default(&o);
    o.env = env;
    o.create = flags & PLSM_CREATE;
    o.exclusive = flags & PLSM_EXCLUSIVE;
    o.read_only = flags & PLSM_READ;
    o.segment_size = options->file_size;
    o.mapped = options->log == STORE_LOG_MAPPED;
    o.background = options->background;
    o.merge_garbage_ppm = (uint32_t)options->merge_garbage;
    o.merge_from = (uint32_t)options->merge_from;
    o.merge_to = (uint32_t)options->merge_to;
    TRY(append_open(path, &o, &db));
    *out = db;
    return PLSM_OK;
}

static plsm_status log_close(void *tree)
{
    return append_close(tree);
}

static bool log_is_read_only(void *tree)
{
    return append_is_read_only(tree);
}

static plsm_status log_write(void *tree, const struct batch *batch, engine_prepare *prepare, void *arg,
                             plsm_durability durability)
{
    return append_write(tree, batch, prepare, arg, durability == PLSM_SYNC);
}

static plsm_status log_sync(void *tree)
{
    return append_sync(tree);
}

static plsm_status log_flush(void *tree)
{
    return append_flush(tree);
}

/* A range of keys is not a range of files here: all that has garbage is merged. */
static plsm_status log_compact(void *tree, plsm_slice from, plsm_slice to)
{
    (void)from;
    (void)to;
    return append_compact(tree);
}

struct checkpoint_call {
    engine_each_file *each;
    void *arg;
};

static plsm_status pass_file(void *arg, const struct append_file *file)
{
    const struct checkpoint_call *call = arg;
    return call->each(call->arg, &(struct engine_file){.name = file->name,
                                                       .path = file->path,
                                                       .size = file->size,
                                                       .identity = file->identity,
                                                       .optional = file->optional});
}

static plsm_status log_checkpoint(void *tree, engine_each_file *each, void *arg)
{
    struct checkpoint_call call = {each, arg};
    return append_checkpoint(tree, pass_file, &call);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

ENGINE_VALUE_IS(append_value);

static inline struct append_value *own_value(struct engine_value *value)
{
    return (struct append_value *)(void *)value;
}

static inline plsm_status get(void *tree, const struct engine_snapshot *snapshot, plsm_slice key, unsigned flags,
                              struct engine_value *out)
{
    return append_get(tree, (const struct append_snapshot *)snapshot, key, flags, own_value(out));
}

static plsm_status log_get(void *tree, const struct engine_snapshot *snapshot, plsm_slice key, bool no_value,
                           struct engine_value *out)
{
    return get(tree, snapshot, key, no_value ? APPEND_NO_VALUE : 0, out);
}

static plsm_status log_get_any(void *tree, const struct engine_snapshot *snapshot, plsm_slice key, bool no_value,
                               struct engine_value *out)
{
    return get(tree, snapshot, key, APPEND_EXPIRED | (no_value ? APPEND_NO_VALUE : 0), out);
}

static plsm_status log_get_pinned(void *tree, const struct engine_snapshot *snapshot, plsm_slice key,
                                  struct engine_pin *out)
{
    struct append_pin pin;
    plsm_status status = append_get_pinned(tree, (const struct append_snapshot *)snapshot, key, &pin);
    *out = (struct engine_pin){.value = pin.value,
                               .meta = pin.meta,
                               .expires_s = pin.expires_s,
                               .kind = pin.kind,
                               .held = pin.held,
                               .holder = pin.holder};
    return status;
}

static bool log_pin_lost(const struct engine_pin *pin)
{
    return append_pin_lost(&(struct append_pin){.held = pin->held, .holder = pin->holder});
}

static void log_unpin(void *tree, struct engine_pin *pin)
{
    struct append_pin own = {.held = pin->held, .holder = pin->holder};
    append_unpin(tree, &own);
    *pin = (struct engine_pin){0};
}

static plsm_status log_multi_get(void *tree, const struct engine_snapshot *snapshot, const plsm_slice *keys,
                                 size_t count, bool no_value, struct engine_value *outs, plsm_status *statuses)
{
    return append_multi_get(tree, (const struct append_snapshot *)snapshot, keys, count, no_value ? APPEND_NO_VALUE : 0,
                            own_value(outs), statuses);
}

static plsm_status log_has_prefix(void *tree, const struct engine_snapshot *snapshot, plsm_slice prefix, bool *out)
{
    return append_has_prefix(tree, (const struct append_snapshot *)snapshot, prefix, out);
}

static struct engine_snapshot *log_snapshot_create(void *tree)
{
    return (struct engine_snapshot *)append_snapshot_create(tree);
}

static void log_snapshot_destroy(void *tree, struct engine_snapshot *snapshot)
{
    append_snapshot_destroy(tree, (struct append_snapshot *)snapshot);
}

/* --- iterators ---------------------------------------------------------------------------------------------------- */

/* An engine_iterator is the log's own under another name. */
static struct append_iterator *own(const struct engine_iterator *it)
{
    return (struct append_iterator *)(uintptr_t)it;
}

static plsm_status log_iterator_create(void *tree, const struct engine_snapshot *snapshot, plsm_slice from,
                                       plsm_slice to, bool no_value, struct engine_iterator **out)
{
    struct append_iterator *it = NULL;
    TRY(append_iterator_create(tree, (const struct append_snapshot *)snapshot, from, to, no_value ? APPEND_NO_VALUE : 0,
                               &it));
    *out = (struct engine_iterator *)it;
    return PLSM_OK;
}

static void log_iterator_show_expired(struct engine_iterator *it)
{
    append_iterator_show_expired(own(it));
}

static void log_iterator_destroy(struct engine_iterator *it)
{
    append_iterator_destroy(own(it));
}

static inline bool show(const struct append_shown *shown, struct engine_entry *out)
{
    if (shown) /* without its bytes a value still has its size */
        *out = (struct engine_entry){.key = shown->key,
                                     .meta = shown->meta,
                                     .value = slice(shown->value.data, (size_t)shown->value_size),
                                     .expires_s = shown->expires_s,
                                     .kind = shown->kind};
    return shown != NULL;
}

static bool log_iterator_first(struct engine_iterator *it, struct engine_entry *out)
{
    return show(append_iterator_first(own(it)), out);
}

static bool log_iterator_last(struct engine_iterator *it, struct engine_entry *out)
{
    return show(append_iterator_last(own(it)), out);
}

static bool log_iterator_seek(struct engine_iterator *it, plsm_slice key, struct engine_entry *out)
{
    return show(append_iterator_seek(own(it), key), out);
}

static bool log_iterator_seek_before(struct engine_iterator *it, plsm_slice key, struct engine_entry *out)
{
    return show(append_iterator_seek_before(own(it), key), out);
}

static bool log_iterator_next(struct engine_iterator *it, struct engine_entry *out)
{
    return show(append_iterator_next(own(it)), out);
}

static bool log_iterator_previous(struct engine_iterator *it, struct engine_entry *out)
{
    return show(append_iterator_previous(own(it)), out);
}

static plsm_status log_iterator_status(const struct engine_iterator *it)
{
    return append_iterator_status(own(it));
}

/* --- the rest ----------------------------------------------------------------------------------------------------- */

static plsm_status log_check(void *tree, void (*report)(void *arg, const char *line),
                             void (*progress)(void *arg, uint64_t done, uint64_t all), void *arg)
{
    return append_check(tree, report, progress, arg);
}

static void log_statistics(void *tree,
                           void (*each)(void *arg, const char *name, bool is_real, uint64_t integer, double real),
                           void *arg)
{
    append_statistics(tree, each, arg);
}

static void log_statistics_reset(void *tree)
{
    append_statistics_reset(tree);
}

static const char *log_simulated_device(void *tree)
{
    (void)tree;
    return "off";
}

const struct engine engine_appendlog = {
    .name = "appendlog",
    .mark = "segment-",
    .open = log_open,
    .close = log_close,
    .is_read_only = log_is_read_only,
    .write = log_write,
    .sync = log_sync,
    .flush = log_flush,
    .compact = log_compact,
    .checkpoint = log_checkpoint,
    .get = log_get,
    .get_any = log_get_any,
    .get_pinned = log_get_pinned,
    .pin_lost = log_pin_lost,
    .unpin = log_unpin,
    .multi_get = log_multi_get,
    .has_prefix = log_has_prefix,
    .snapshot_create = log_snapshot_create,
    .snapshot_destroy = log_snapshot_destroy,
    .iterator_create = log_iterator_create,
    .iterator_show_expired = log_iterator_show_expired,
    .iterator_destroy = log_iterator_destroy,
    .iterator_first = log_iterator_first,
    .iterator_last = log_iterator_last,
    .iterator_seek = log_iterator_seek,
    .iterator_seek_before = log_iterator_seek_before,
    .iterator_next = log_iterator_next,
    .iterator_previous = log_iterator_previous,
    .iterator_status = log_iterator_status,
    .check = log_check,
    .statistics = log_statistics,
    .statistics_reset = log_statistics_reset,
    .simulated_device = log_simulated_device,
    .ordered = true,
    .snapshots = true,
    .atomic_batches = true,
};
