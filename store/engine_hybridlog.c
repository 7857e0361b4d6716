/* The hybrid log as an engine of the store. */
#include <stddef.h>

#include "base/alloc.h"
#include "base/error.h"
#include "log/hybrid.h"
#include "store/engine.h"
#include "store/options.h"

#include "base/banned.h"

_Static_assert(HYBRID_KEY_MAX == PLSM_KEY_MAX + 1, "an internal key is the keyspace byte and the user's key");
_Static_assert(HYBRID_META_MAX == PLSM_META_MAX, "metas pass through as they are");
_Static_assert((unsigned)HYBRID_VALUE_MAX >= PLSM_INLINE_MAX, "inline values and extents are records of the log");
_Static_assert(HYBRID_BATCH_BYTES_MAX >= PLSM_BATCH_MAX, "every batch of the store fits");
_Static_assert((int)HYBRID_NAMES == (int)PLSM_NAMES, "directories are counted of the names");

static plsm_status log_open(struct env *env, const char *path, plsm_open_flags flags,
                            const struct store_options *options, void **out)
{
    struct hybrid_options hybrid = {
        .env = env,
        .create = flags & PLSM_CREATE,
        .exclusive = flags & PLSM_EXCLUSIVE,
        .read_only = flags & PLSM_READ,
        .memory = options->memory ? options->memory : options->cache_size,
        .memory_of_all = options->memory > 0,
        .buffer_size = options->buffer_size,
        .file_size = options->file_size,
        .garbage_ppm = (uint32_t)options->separate_garbage,
        .redo = options->redo,
        .log_mapped = options->log == STORE_LOG_MAPPED,
        .background = options->background,
    };
    struct hybrid *log = NULL;
    TRY(hybrid_open(path, &hybrid, &log));
    *out = log;
    return PLSM_OK;
}

static plsm_status log_close(void *tree)
{
    return hybrid_close(tree);
}

static bool log_is_read_only(void *tree)
{
    return hybrid_is_read_only(tree);
}

static const enum hybrid_durability durabilities[] = {
    [PLSM_NONE] = HYBRID_LOGGED, [PLSM_SYNC] = HYBRID_SYNC, [PLSM_VOLATILE] = HYBRID_VOLATILE};

static plsm_status log_write(void *tree, const struct batch *batch, engine_prepare *prepare, void *arg,
                             plsm_durability durability)
{
    return hybrid_write(tree, batch, prepare, arg, durabilities[durability]);
}

static plsm_status log_write_one(void *tree, const struct batch *batch, const struct batch_change *change,
                                 plsm_durability durability)
{
    return hybrid_write_one(tree, batch, change, durabilities[durability]);
}

static plsm_status log_sync(void *tree)
{
    return hybrid_sync(tree);
}

static plsm_status log_flush(void *tree)
{
    return hybrid_flush(tree);
}

/* The log has no order: there is no part of it that holds a range of keys. */
static plsm_status log_compact(void *tree, plsm_slice from, plsm_slice to)
{
    return hybrid_compact(tree);
}

struct checkpoint_call {
    engine_each_file *each;
    void *arg;
};

static plsm_status pass_file(void *arg, const struct hybrid_file *file)
{
    const struct checkpoint_call *call = arg;
    return call->each(
        call->arg,
        &(struct engine_file){.name = file->name, .path = file->path, .size = file->size, .identity = file->identity});
}

static plsm_status log_checkpoint(void *tree, engine_each_file *each, void *arg)
{
    struct checkpoint_call call = {each, arg};
    return hybrid_checkpoint(tree, pass_file, &call);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

ENGINE_VALUE_IS(hybrid_value);

static inline struct hybrid_value *own_value(struct engine_value *value)
{
    return (struct hybrid_value *)(void *)value;
}

static inline plsm_status get(void *tree, const struct engine_snapshot *snapshot, plsm_slice key, bool no_value,
                              bool any, struct engine_value *out)
{
    return hybrid_get(tree, (const struct hybrid_snapshot *)snapshot, key, no_value, any, own_value(out));
}

static plsm_status log_get(void *tree, const struct engine_snapshot *snapshot, plsm_slice key, bool no_value,
                           struct engine_value *out)
{
    return get(tree, snapshot, key, no_value, false, out);
}

static plsm_status log_get_any(void *tree, const struct engine_snapshot *snapshot, plsm_slice key, bool no_value,
                               struct engine_value *out)
{
    return get(tree, snapshot, key, no_value, true, out);
}

/* What can be updated in place cannot be lent: a pin owns a copy. */
static plsm_status log_get_pinned(void *tree, const struct engine_snapshot *snapshot, plsm_slice key,
                                  struct engine_pin *out)
{
    struct engine_value value = {0};
    *out = (struct engine_pin){0};
    plsm_status status = get(tree, snapshot, key, false, false, &value);
    if (status != PLSM_OK) {
        mem_free(value.memory);
        return status;
    }
    *out = (struct engine_pin){.value = value.value,
                               .meta = value.meta,
                               .expires_s = value.expires_s,
                               .kind = value.kind,
                               .held = 1,
                               .holder = value.memory};
    return PLSM_OK;
}

static void log_unpin(void *tree, struct engine_pin *pin)
{
    if (pin->held)
        mem_free(pin->holder);
    *pin = (struct engine_pin){0};
}

static plsm_status log_multi_get(void *tree, const struct engine_snapshot *snapshot, const plsm_slice *keys,
                                 size_t count, bool no_value, struct engine_value *outs, plsm_status *statuses)
{
    return hybrid_multi_get(tree, (const struct hybrid_snapshot *)snapshot, keys, count, no_value, own_value(outs),
                            statuses);
}

static plsm_status log_has_prefix(void *tree, const struct engine_snapshot *snapshot, plsm_slice prefix, bool *out)
{
    return hybrid_has_prefix(tree, (const struct hybrid_snapshot *)snapshot, prefix, out);
}

static struct engine_snapshot *log_snapshot_create(void *tree)
{
    return (struct engine_snapshot *)hybrid_snapshot_create(tree);
}

static void log_snapshot_destroy(void *tree, struct engine_snapshot *snapshot)
{
    hybrid_snapshot_destroy(tree, (struct hybrid_snapshot *)snapshot);
}

/* --- iterating ---------------------------------------------------------------------------------------------------- */

/* An engine_iterator is the log's own iterator under another name. */
static struct hybrid_iterator *own(const struct engine_iterator *it)
{
    return (struct hybrid_iterator *)(uintptr_t)it;
}

static plsm_status log_iterator_create(void *tree, const struct engine_snapshot *snapshot, plsm_slice from,
                                       plsm_slice to, bool no_value, struct engine_iterator **out)
{
    struct hybrid_iterator *it = NULL;
    TRY(hybrid_iterator_create(tree, (const struct hybrid_snapshot *)snapshot, from, to, no_value, &it));
    *out = (struct engine_iterator *)it;
    return PLSM_OK;
}

static void log_iterator_show_expired(struct engine_iterator *it)
{
    hybrid_iterator_show_expired(own(it));
}

static void log_iterator_destroy(struct engine_iterator *it)
{
    hybrid_iterator_destroy(own(it));
}

static inline bool show(const struct hybrid_entry *entry, struct engine_entry *out)
{
    if (entry)
        *out = (struct engine_entry){.key = entry->key,
                                     .meta = entry->meta,
                                     .value = entry->value,
                                     .expires_s = entry->expires_s,
                                     .kind = entry->kind};
    return entry != NULL;
}

static bool log_iterator_first(struct engine_iterator *it, struct engine_entry *out)
{
    return show(hybrid_iterator_first(own(it)), out);
}

static bool log_iterator_last(struct engine_iterator *it, struct engine_entry *out)
{
    return show(hybrid_iterator_last(own(it)), out);
}

static bool log_iterator_seek(struct engine_iterator *it, plsm_slice key, struct engine_entry *out)
{
    return show(hybrid_iterator_seek(own(it), key), out);
}

static bool log_iterator_seek_before(struct engine_iterator *it, plsm_slice key, struct engine_entry *out)
{
    return show(hybrid_iterator_seek_before(own(it), key), out);
}

static bool log_iterator_next(struct engine_iterator *it, struct engine_entry *out)
{
    return show(hybrid_iterator_next(own(it)), out);
}

static bool log_iterator_previous(struct engine_iterator *it, struct engine_entry *out)
{
    return show(hybrid_iterator_previous(own(it)), out);
}

static plsm_status log_iterator_status(const struct engine_iterator *it)
{
    return hybrid_iterator_status(own(it));
}

/* --- looking inside ----------------------------------------------------------------------------------------------- */

static plsm_status log_check(void *tree, void (*report)(void *arg, const char *line),
                             void (*progress)(void *arg, uint64_t done, uint64_t all), void *arg)
{
    return hybrid_check(tree, report, progress, arg);
}

static void log_statistics(void *tree,
                           void (*each)(void *arg, const char *name, bool is_real, uint64_t integer, double real),
                           void *arg)
{
    hybrid_statistics(tree, each, arg);
}

static void log_statistics_reset(void *tree)
{
    hybrid_statistics_reset(tree);
}

const struct engine engine_hybridlog = {
    .name = "hybridlog",
    .mark = HYBRID_MARK,
    .open = log_open,
    .close = log_close,
    .is_read_only = log_is_read_only,
    .write = log_write,
    .write_one = log_write_one,
    .sync = log_sync,
    .flush = log_flush,
    .compact = log_compact,
    .checkpoint = log_checkpoint,
    .get = log_get,
    .get_any = log_get_any,
    .get_pinned = log_get_pinned,
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
    .ordered = false,
    .snapshots = true,
    .atomic_batches = true,
    .volatile_writes = true,
};
