/* The LSM tree as an engine of the store. */
#include "store/engine.h"

#include <stddef.h>

#include "base/alloc.h"
#include "base/error.h"
#include "lsm/lsm.h"
#include "store/options.h"
#include "store/tune.h"

#include "base/banned.h"

_Static_assert(LSM_KEY_MAX == PLSM_KEY_MAX + 1, "an internal key is the keyspace byte and the user's key");
_Static_assert(LSM_META_MAX == PLSM_META_MAX, "metas pass through as they are");
_Static_assert((unsigned)LSM_VALUE_MAX >= PLSM_INLINE_MAX, "inline values and extents are entries of the tree");
_Static_assert(LSM_BATCH_BYTES_MAX >= PLSM_BATCH_MAX, "every batch of the store fits");

_Static_assert((int)STORE_GROUPS == (int)LSM_GROUPS, "options come in the groups of the tree");

static void set_groups(struct lsm_options *lsm, const struct store_options *options)
{
    for (unsigned i = 0; i < LSM_GROUPS; i++)
        lsm->groups[i] = (struct lsm_group_options){
            .model = (enum lsm_model)options->model[i],
            .embed = options->model_embed[i],
            .cache = (uint32_t)options->model_cache[i],
            .confidence = (uint32_t)options->model_confidence[i],
            .error_bytes = options->model_error[i],
            .update = options->model_update[i],
            .incremental = options->model_incremental[i],
            .batch = (uint32_t)options->model_batch[i],
            .batch_prediction = options->multi_get[i],
            .codec = (enum codec)options->compression[i],
        };
    lsm->compression_page = (uint32_t)options->compression_page;
    lsm->compression_dictionary = (uint32_t)options->compression_dictionary;
    lsm->model_run_bytes = options->model_run_bytes;
    lsm->model_level_bytes = options->model_level_bytes;
    lsm->model_store_bytes = options->model_store_bytes;
    lsm->train_every = (uint32_t)options->train_every;
    lsm->validation_ppm = (uint32_t)options->validation_rate;
    lsm->base_fpr_ppm = (uint32_t)options->base_fpr;
}

static uint64_t given_or(uint64_t option, uint64_t otherwise)
{
    return option == STORE_NOT_GIVEN ? otherwise : option;
}

/* A profile's figures, or none; over them those that are given. */
static plsm_status set_simulation(struct lsm_options *lsm, const struct store_options *options)
{
    static const char *const profiles[] = {
        [STORE_SIM_NVME] = "nvme", [STORE_SIM_SSD] = "ssd", [STORE_SIM_HDD] = "hdd", [STORE_SIM_CLOUD] = "cloud"};
    struct simulation_options *o = &lsm->simulation;
    lsm->simulate = options->sim != STORE_SIM_OFF;
    if (!lsm->simulate)
        return PLSM_OK;
    *o = (struct simulation_options){.queue_depth = 1};
    if (options->sim != STORE_SIM_OWN)
        TRY(simulation_profile_find(profiles[options->sim], o));
    o->read_latency_us = (uint32_t)given_or(options->sim_latency_us, o->read_latency_us);
    o->request_overhead_ns = (uint32_t)given_or(options->sim_overhead_ns, o->request_overhead_ns);
    o->queue_depth = (uint32_t)given_or(options->sim_queue_depth, o->queue_depth);
    o->sequential_discount_percent = (uint32_t)given_or(options->sim_discount_percent, o->sequential_discount_percent);
    o->read_bytes_per_s = given_or(options->sim_read_bandwidth, o->read_bytes_per_s);
    o->write_bytes_per_s = given_or(options->sim_write_bandwidth, o->write_bytes_per_s);
    o->cache_bytes = given_or(options->sim_cache, options->cache_size);
    o->sleep = options->sim_sleep;
    return PLSM_OK;
}

static plsm_status tree_open(struct env *env, const char *path, plsm_open_flags flags,
                             const struct store_options *options, void **out)
{
    struct lsm_options lsm;
    lsm_options_default(&lsm);
    lsm.env = env;
    lsm.create = flags & PLSM_CREATE;
    lsm.exclusive = flags & PLSM_EXCLUSIVE;
    lsm.read_only = flags & PLSM_READ;
    static const enum lsm_index indexes[] = {LSM_TRADITIONAL, LSM_LEARNED, LSM_CLASSIC}; /* by enum store_index */
    lsm.index = indexes[options->index];
    bool budget = options->memory > 0; /* it stands above the defaults, not above what is asked for */
    lsm.memory = options->memory;
    lsm.buffer_size = budget && !options->buffer_size_given ? 0 : options->buffer_size;
    lsm.spill_above = options->spill_above;
    lsm.cache_size = budget && !options->cache_size_given ? options->memory : options->cache_size;
    lsm.size_ratio = (uint32_t)options->size_ratio;
    lsm.file_size = options->file_size;
    lsm.policy = (enum lsm_policy)options->policy;
    lsm.runs_per_level = (uint32_t)options->runs_per_level;
    lsm.runs_last_level = (uint32_t)options->runs_last_level;
    lsm.deletions_compact = (uint32_t)options->deletions_compact;
    lsm.compact_age_s = options->compact_age;
    lsm.compact_threads = (uint32_t)options->compact_threads;
    lsm.l0_compact = (uint32_t)options->l0_compact;
    lsm.l0_slowdown = (uint32_t)options->l0_slowdown;
    lsm.l0_stop = (uint32_t)options->l0_stop;
    lsm.filter_bits = (uint32_t)options->filter_bits;
    lsm.filter = (enum lsm_filter)options->filter;
    lsm.filter_young = options->filter_young;
    lsm.background = (uint32_t)options->background;
    lsm.manifest_size = options->manifest_size;
    lsm.separate_above = options->separate_above;
    lsm.separate_garbage_ppm = (uint32_t)options->separate_garbage;
    lsm.log_mapped = options->log == STORE_LOG_MAPPED;
    set_groups(&lsm, options);
    TRY(set_simulation(&lsm, options));
    struct lsm *tree = NULL;
    TRY(lsm_open(path, &lsm, &tree));
    *out = tree;
    return PLSM_OK;
}

static plsm_status tree_close(void *tree)
{
    return lsm_close(tree);
}

static bool tree_is_read_only(void *tree)
{
    return lsm_is_read_only(tree);
}

struct prepare_call {
    engine_prepare *prepare;
    void *arg;
};

static plsm_status call_prepare(void *arg, struct lsm *db, const struct batch **batch)
{
    (void)db;
    struct prepare_call *call = arg;
    return call->prepare(call->arg, batch);
}

static plsm_status tree_write(void *tree, const struct batch *batch, engine_prepare *prepare, void *arg,
                              plsm_durability durability)
{
    if (!prepare)
        return lsm_write(tree, batch, NULL, NULL, durability == PLSM_SYNC);
    static const struct batch none;
    struct prepare_call call = {prepare, arg};
    return lsm_write(tree, batch ? batch : &none, call_prepare, &call, durability == PLSM_SYNC);
}

static uint64_t tree_spills_above(void *tree)
{
    return lsm_spills_above(tree);
}

static plsm_status tree_write_one(void *tree, const struct batch *batch, const struct batch_change *change,
                                  plsm_durability durability)
{
    return lsm_write_one(tree, batch, change, durability == PLSM_SYNC);
}

static plsm_status tree_sync(void *tree)
{
    return lsm_sync(tree);
}

static plsm_status tree_flush(void *tree)
{
    return lsm_flush(tree);
}

static plsm_status tree_compact(void *tree, plsm_slice from, plsm_slice to)
{
    return lsm_compact(tree, from, to);
}

struct checkpoint_call {
    engine_each_file *each;
    void *arg;
};

static plsm_status make_file(const struct engine_file *file, const char *directory)
{
    return lsm_file_make(file->arg, directory);
}

static plsm_status pass_file(void *arg, const struct lsm_file *file)
{
    const struct checkpoint_call *call = arg;
    return call->each(call->arg, &(struct engine_file){.name = file->name,
                                                       .path = file->path,
                                                       .size = file->size,
                                                       .identity = file->identity,
                                                       .optional = file->optional,
                                                       .make = make_file,
                                                       .arg = (void *)(uintptr_t)file});
}

static plsm_status tree_checkpoint(void *tree, engine_each_file *each, void *arg)
{
    struct checkpoint_call call = {each, arg};
    return lsm_checkpoint(tree, pass_file, &call);
}

static plsm_status tree_retrain(void *tree, bool all, void (*progress)(void *arg, uint64_t done, uint64_t bytes),
                                void *arg)
{
    return lsm_retrain(tree, all, progress, arg);
}

/* An engine_bulk is the tree's own under another name, as with iterators below. */
static struct lsm_bulk *own_bulk(const struct engine_bulk *bulk)
{
    return (struct lsm_bulk *)(uintptr_t)bulk;
}

static plsm_status tree_bulk_create(void *tree, struct engine_bulk **out)
{
    struct lsm_bulk *bulk = NULL;
    plsm_status status = lsm_bulk_create(tree, &bulk);
    *out = (struct engine_bulk *)bulk;
    return status;
}

static plsm_status tree_bulk_put(struct engine_bulk *bulk, enum batch_kind kind, plsm_slice key, plsm_slice meta,
                                 plsm_slice value, uint64_t expires_s)
{
    return lsm_bulk_put(own_bulk(bulk), kind, key, meta, value, expires_s);
}

static plsm_status
tree_bulk_add_file(struct engine_bulk *bulk, const char *path,
                   plsm_status (*allow)(void *arg, plsm_slice key, plsm_slice meta, plsm_slice value), void *arg)
{
    return lsm_bulk_add_file(own_bulk(bulk), path, allow, arg);
}

static plsm_status tree_bulk_finish(struct engine_bulk *bulk, engine_prepare *prepare, void *arg)
{
    return lsm_bulk_finish(own_bulk(bulk), prepare, arg);
}

static void tree_bulk_destroy(struct engine_bulk *bulk)
{
    lsm_bulk_destroy(own_bulk(bulk));
}

static bool tree_bulk_bounds(const struct engine_bulk *bulk, plsm_slice *smallest, plsm_slice *largest)
{
    return lsm_bulk_bounds(own_bulk(bulk), smallest, largest);
}

static plsm_status tree_bulk_contains(struct engine_bulk *bulk, plsm_slice key, bool *out)
{
    return lsm_bulk_contains(own_bulk(bulk), key, out);
}

ENGINE_VALUE_IS(lsm_value);

static inline struct lsm_value *own_value(struct engine_value *value)
{
    return (struct lsm_value *)(void *)value;
}

/* With `no_value` a value that was read all the same is not handed out: that of a reference is. */
static inline plsm_status without_value(plsm_status status, bool no_value, struct engine_value *out)
{
    if (no_value && status == PLSM_OK && out->kind != BATCH_REFERENCE)
        out->value = (plsm_slice){0};
    return status;
}

/* What a lookup came to. The memory may have moved also when it failed. */
static inline __attribute__((always_inline)) plsm_status hand_out(plsm_status status, const struct lsm_value *value,
                                                                  bool no_value, struct engine_value *out)
{
    *out = (struct engine_value){.memory = value->memory, .capacity = value->capacity};
    if (status)
        return status;
    if (!no_value || value->kind == BATCH_REFERENCE)
        out->value = value->value;
    out->meta = value->meta;
    out->value_size = value->value_size;
    out->expires_s = value->expires_s;
    out->kind = value->kind;
    return PLSM_OK;
}

static plsm_status tree_get(void *tree, const struct engine_snapshot *snapshot, plsm_slice key, bool no_value,
                            struct engine_value *out)
{
    bool skip = no_value && key.size <= ENGINE_KEY_WHOLE; /* a reference under a longer key would be cut */
    plsm_status status = lsm_get(tree, (const struct lsm_snapshot *)snapshot, key, skip, own_value(out));
    return without_value(status, no_value, out);
}

static plsm_status tree_get_any(void *tree, const struct engine_snapshot *snapshot, plsm_slice key, bool no_value,
                                struct engine_value *out)
{
    bool skip = no_value && key.size <= ENGINE_KEY_WHOLE;
    plsm_status status = lsm_get_any(tree, (const struct lsm_snapshot *)snapshot, key, skip, own_value(out));
    return without_value(status, no_value, out);
}

static plsm_status tree_get_pinned(void *tree, const struct engine_snapshot *snapshot, plsm_slice key,
                                   struct engine_pin *out)
{
    struct lsm_pin pin;
    plsm_status status = lsm_get_pinned(tree, (const struct lsm_snapshot *)snapshot, key, &pin);
    *out = (struct engine_pin){pin.value, pin.meta, pin.expires_s, pin.kind, pin.held, pin.frame, pin.holder};
    return status;
}

static void tree_unpin(void *tree, struct engine_pin *pin)
{
    struct lsm_pin own = {.held = pin->held, .frame = pin->frame, .holder = pin->holder};
    lsm_pin_release(tree, &own);
    *pin = (struct engine_pin){0};
}

static plsm_status tree_multi_get(void *tree, const struct engine_snapshot *snapshot, const plsm_slice *keys,
                                  size_t count, bool no_value, struct engine_value *outs, plsm_status *statuses)
{
    struct lsm_value values[ENGINE_MANY];
    bool skip = no_value;
    INVARIANT(count <= ENGINE_MANY);
    for (size_t i = 0; i < count; i++) {
        values[i] = (struct lsm_value){.memory = outs[i].memory, .capacity = outs[i].capacity};
        skip = skip && keys[i].size <= ENGINE_KEY_WHOLE; /* as in tree_get */
    }
    plsm_status status =
        lsm_multi_get(tree, (const struct lsm_snapshot *)snapshot, keys, count, skip, values, statuses);
    for (size_t i = 0; i < count; i++)
        hand_out(statuses[i], &values[i], no_value, &outs[i]);
    return status;
}

static plsm_status tree_has_prefix(void *tree, const struct engine_snapshot *snapshot, plsm_slice prefix, bool *out)
{
    return lsm_has_prefix(tree, (const struct lsm_snapshot *)snapshot, prefix, out);
}

static struct engine_snapshot *tree_snapshot_create(void *tree)
{
    return (struct engine_snapshot *)lsm_snapshot_create(tree);
}

static void tree_snapshot_destroy(void *tree, struct engine_snapshot *snapshot)
{
    lsm_snapshot_destroy(tree, (struct lsm_snapshot *)snapshot);
}

/* An engine_iterator is the tree's own iterator under another name: no memory, no indirection. */
static struct lsm_iterator *own(const struct engine_iterator *it)
{
    return (struct lsm_iterator *)(uintptr_t)it;
}

static plsm_status tree_iterator_create(void *tree, const struct engine_snapshot *snapshot, plsm_slice from,
                                        plsm_slice to, bool no_value, struct engine_iterator **out)
{
    struct lsm_iterator *it = NULL;
    const struct lsm_snapshot *at = (const struct lsm_snapshot *)snapshot;
    TRY(no_value ? lsm_iterator_create_no_value(tree, at, from, to, &it)
                 : lsm_iterator_create(tree, at, from, to, &it));
    *out = (struct engine_iterator *)it;
    return PLSM_OK;
}

static void tree_iterator_show_expired(struct engine_iterator *it)
{
    lsm_iterator_show_expired(own(it));
}

static void tree_iterator_destroy(struct engine_iterator *it)
{
    lsm_iterator_destroy(own(it));
}

/* What a move has come to: `entry`, or NULL at an end. */
static inline bool show(const struct entry *entry, struct engine_entry *out)
{
    if (entry)
        *out = (struct engine_entry){.key = entry->key,
                                     .meta = entry->meta,
                                     .value = entry->value,
                                     .expires_s = entry->expires_s,
                                     .kind = entry->kind};
    return entry != NULL;
}

static bool arrive(const struct lsm_iterator *it, struct engine_entry *out)
{
    return show(lsm_iterator_valid(it) ? lsm_iterator_entry(it) : NULL, out);
}

static bool tree_iterator_first(struct engine_iterator *it, struct engine_entry *out)
{
    lsm_iterator_first(own(it));
    return arrive(own(it), out);
}

static bool tree_iterator_last(struct engine_iterator *it, struct engine_entry *out)
{
    lsm_iterator_last(own(it));
    return arrive(own(it), out);
}

static bool tree_iterator_seek(struct engine_iterator *it, plsm_slice key, struct engine_entry *out)
{
    lsm_iterator_seek(own(it), key);
    return arrive(own(it), out);
}

static bool tree_iterator_seek_before(struct engine_iterator *it, plsm_slice key, struct engine_entry *out)
{
    lsm_iterator_seek_before(own(it), key);
    return arrive(own(it), out);
}

static bool tree_iterator_next(struct engine_iterator *it, struct engine_entry *out)
{
    return show(lsm_iterator_next(own(it)), out);
}

static bool tree_iterator_previous(struct engine_iterator *it, struct engine_entry *out)
{
    lsm_iterator_previous(own(it));
    return arrive(own(it), out);
}

static size_t tree_iterator_ahead(struct engine_iterator *it, struct key_value *out, size_t most)
{
    return lsm_iterator_ahead(own(it), out, most);
}

static void tree_iterator_unused(struct engine_iterator *it, size_t count)
{
    lsm_iterator_unused(own(it), count);
}

static plsm_status tree_iterator_status(const struct engine_iterator *it)
{
    return lsm_iterator_status(own(it));
}

static plsm_status tree_locate(void *tree, plsm_slice key, unsigned level, bool page, plsm_place *out)
{
    struct lsm_place place;
    plsm_status status = lsm_locate(tree, key, level, page, &place);
    *out = (plsm_place){.file = place.run, .page = place.page, .by_model = place.learned};
    return status;
}

static plsm_status tree_find(void *tree, plsm_slice key, plsm_found *out)
{
    struct lsm_found found;
    plsm_status status = lsm_find(tree, key, &found);
    *out = (plsm_found){.in_memory = found.in_memory,
                        .level = found.level,
                        .file = found.run,
                        .page = found.page,
                        .predicted = found.predicted,
                        .by_model = found.learned};
    return status;
}

static plsm_status tree_check(void *tree, void (*report)(void *arg, const char *line),
                              void (*progress)(void *arg, uint64_t done, uint64_t all), void *arg)
{
    return lsm_check(tree, report, progress, arg);
}

static void tree_statistics(void *tree,
                            void (*each)(void *arg, const char *name, bool is_real, uint64_t integer, double real),
                            void *arg)
{
    lsm_statistics(tree, each, arg);
}

static void tree_statistics_reset(void *tree)
{
    lsm_statistics_reset(tree);
}

static const char *tree_simulated_device(void *tree)
{
    return lsm_simulated_device(tree);
}

static void tree_inspect_values(void *tree, void (*each)(void *arg, const plsm_value_log_info *log), void *arg)
{
    lsm_inspect_values(tree, each, arg);
}

static plsm_status tree_inspect_runs(void *tree, void (*each)(void *arg, const plsm_run_info *run), void *arg)
{
    return lsm_inspect_runs(tree, each, arg);
}

static plsm_status tree_inspect_keys(void *tree, uint64_t run, const plsm_inspect_options *options,
                                     void (*each)(void *arg, const plsm_page_info *page), void *arg,
                                     plsm_keys_info *out)
{
    return lsm_inspect_keys(tree, run, options, each, arg, out);
}

static plsm_status tree_inspect_levels(void *tree, const plsm_inspect_options *options,
                                       void (*each)(void *arg, const plsm_level_info *level), void *arg,
                                       plsm_lookup_info *out)
{
    return lsm_inspect_levels(tree, options, each, arg, out);
}

static plsm_status tree_inspect_profile(void *tree, const plsm_inspect_options *options, plsm_profile *out)
{
    return lsm_inspect_profile(tree, options, out);
}

const struct engine engine_lsm = {
    .name = "lsm",
    .mark = "manifest-",
    .open = tree_open,
    .close = tree_close,
    .is_read_only = tree_is_read_only,
    .write = tree_write,
    .write_one = tree_write_one,
    .spills_above = tree_spills_above,
    .sync = tree_sync,
    .flush = tree_flush,
    .compact = tree_compact,
    .retrain = tree_retrain,
    .checkpoint = tree_checkpoint,
    .bulk_create = tree_bulk_create,
    .bulk_put = tree_bulk_put,
    .bulk_add_file = tree_bulk_add_file,
    .tune = tree_tune,
    .bulk_finish = tree_bulk_finish,
    .bulk_destroy = tree_bulk_destroy,
    .bulk_bounds = tree_bulk_bounds,
    .bulk_contains = tree_bulk_contains,
    .get = tree_get,
    .get_any = tree_get_any,
    .get_pinned = tree_get_pinned,
    .unpin = tree_unpin,
    .multi_get = tree_multi_get,
    .has_prefix = tree_has_prefix,
    .snapshot_create = tree_snapshot_create,
    .snapshot_destroy = tree_snapshot_destroy,
    .iterator_create = tree_iterator_create,
    .iterator_show_expired = tree_iterator_show_expired,
    .iterator_destroy = tree_iterator_destroy,
    .iterator_first = tree_iterator_first,
    .iterator_last = tree_iterator_last,
    .iterator_seek = tree_iterator_seek,
    .iterator_seek_before = tree_iterator_seek_before,
    .iterator_next = tree_iterator_next,
    .iterator_previous = tree_iterator_previous,
    .iterator_status = tree_iterator_status,
    .iterator_ahead = tree_iterator_ahead,
    .iterator_unused = tree_iterator_unused,
    .locate = tree_locate,
    .find = tree_find,
    .check = tree_check,
    .statistics = tree_statistics,
    .statistics_reset = tree_statistics_reset,
    .simulated_device = tree_simulated_device,
    .inspect_runs = tree_inspect_runs,
    .inspect_values = tree_inspect_values,
    .inspect_keys = tree_inspect_keys,
    .inspect_levels = tree_inspect_levels,
    .inspect_profile = tree_inspect_profile,
    .ordered = true,
    .snapshots = true,
    .atomic_batches = true,
    .range_deletions = true,
};
