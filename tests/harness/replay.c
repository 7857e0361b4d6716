#include "tests/harness/replay.h"

#include <stdarg.h>
#include <stdlib.h>

#include "base/env_memory.h"
#include "store/internal.h"

#include "base/banned.h"

static bool fails(struct replay *replay, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool fails(struct replay *replay, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(replay->failure, sizeof replay->failure, format, arguments);
    va_end(arguments);
    return false;
}

/* An error where none was expected: forgiven while faults are about, unless no fault explains it. */
static bool forgiven(struct replay *replay, plsm_status status, const char *what)
{
    if (replay->tolerant && (status == PLSM_IO || status == PLSM_NO_SPACE || status == PLSM_QUOTA ||
                             status == PLSM_NO_MEMORY || status == PLSM_READ_ONLY)) {
        replay->errors++;
        return true;
    }
    return fails(replay, "%s: %s (%s)", what, plsm_status_name(status), plsm_message());
}

/* --- opening and closing ------------------------------------------------------------------------------------------ */

static bool join_compaction(struct replay *replay)
{
    if (!replay->compaction)
        return true;
    env_thread_join(replay->compaction);
    replay->compaction = NULL;
    return replay->compaction_status == PLSM_OK || forgiven(replay, replay->compaction_status, "compact beside");
}

static void close_iterator(struct replay *replay, unsigned slot)
{
    plsm_iterator_destroy(replay->iterators[slot].handle);
    replay->iterators[slot].handle = NULL;
}

static void close_snapshot(struct replay *replay, unsigned slot)
{
    plsm_snapshot *snapshot = replay->snapshots[slot].handle;
    for (unsigned i = 0; snapshot && i < WORKLOAD_SLOTS; i++)
        if (replay->iterators[i].snapshot == snapshot)
            close_iterator(replay, i);
    plsm_snapshot_destroy(replay->db, snapshot);
    replay->snapshots[slot].handle = NULL;
}

bool replay_stop(struct replay *replay)
{
    bool joined = join_compaction(replay);
    if (!replay->db)
        return joined;
    for (unsigned slot = 0; slot < WORKLOAD_SLOTS; slot++) {
        close_iterator(replay, slot);
        close_snapshot(replay, slot);
    }
    plsm_bulk_destroy(replay->bulk);
    replay->bulk = NULL;
    plsm_status status = plsm_close(replay->db);
    replay->db = NULL;
    return (status == PLSM_OK || forgiven(replay, status, "close")) && joined;
}

enum { CLOCK_START_S = 1000000, TICK_LONG_S = 100000 /* longer than any test takes */ };

/* Whoever begins, begins at the model's time. */
static void start_clock(struct replay *replay)
{
    uint64_t clock_s = model_clock(replay->model);
    if (!replay->clock) {
        model_set_clock(replay->model, env_wall_ns(replay->env) / 1000000000, TICK_LONG_S);
        return;
    }
    model_set_clock(replay->model, clock_s ? clock_s : CLOCK_START_S, 1);
    env_memory_set_wall_s(replay->clock, model_clock(replay->model));
}

static bool step_advance(struct replay *replay, const struct op *op)
{
    if (!replay->clock)
        return true;
    model_set_clock(replay->model, model_clock(replay->model) + 1 + op->seed % 6, 1);
    env_memory_set_wall_s(replay->clock, model_clock(replay->model));
    return true;
}

static bool open_store(struct replay *replay, plsm_open_flags flags)
{
    const char *ttl = replay->options ? strstr(replay->options, "ttl=") : NULL;
    model_set_ttl(replay->model, ttl ? strtoul(ttl + 4, NULL, 10) : 0);
    plsm_status status = plsm_open_env(replay->env, replay->path, flags, replay->options, &replay->db);
    if (status != PLSM_OK) {
        replay->db = NULL;
        return forgiven(replay, status, "open");
    }
    replay->created = true;
    return true;
}

bool replay_start(struct replay *replay, struct env *env, const char *path, const char *options, struct model *model)
{
    replay->env = env;
    replay->path = path;
    replay->options = options;
    replay->model = model;
    replay->scratch = malloc(WORKLOAD_VALUE_MAX + 8);
    replay->probes = malloc(3 * (PLSM_KEY_MAX + 1));
    if (!replay->scratch || !replay->probes)
        abort();
    start_clock(replay);
    return open_store(replay, replay->must_exist ? 0 : PLSM_CREATE);
}

void replay_destroy(struct replay *replay)
{
    replay->tolerant = true;
    replay_stop(replay);
    plsm_value_free(&replay->value);
    free(replay->scratch);
    free(replay->probes);
}

static bool reopen(struct replay *replay)
{
    if (!replay_stop(replay))
        return false;
    if (!open_store(replay, replay->created ? 0 : PLSM_CREATE))
        return false;
    return !replay->db || model_failed_writes(replay->model) == 0 || replay_settle(replay);
}

bool replay_settle(struct replay *replay)
{
    model_explain_begin(replay->model);
    for (unsigned key = 0; key < WORKLOAD_KEYS; key++) {
        struct observed observed;
        plsm_status status = observe(replay->db, key, &replay->value, &observed);
        if (status != PLSM_OK) {
            /* With a key unread nothing can be concluded: come back when the disk is well again. */
            return forgiven(replay, status, "get after reopen") && replay_stop(replay);
        }
        if (!model_explain(replay->model, key, &observed))
            return fails(replay, "after reopen key %u is %s (%lu bytes): neither acknowledged nor a failed write's",
                         key, observed.found ? "there" : "absent", (unsigned long)observed.size);
    }
    return model_settle(replay->model) || fails(replay, "after reopen a failed batch is there in part");
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

/* The bytes of an operation's value and meta, in scratch memory. */
static plsm_slice value_of(struct replay *replay, const struct op *op)
{
    workload_fill(op->seed, replay->scratch, op->size);
    return slice(replay->scratch, op->size);
}

static plsm_slice meta_of(const struct op *op, uint8_t meta[PLSM_META_MAX])
{
    workload_fill(op->seed ^ 0x5a5a5a5au, meta, op->meta_size);
    return slice(meta, op->meta_size);
}

/* A value that is, or surely is not, the one that is there. */
static plsm_slice condition_of(struct replay *replay, const struct op *op)
{
    const struct content *now = model_get(replay->model, op->key, model_now(replay->model));
    bool same = op->size == 0 && op->seed == 0;
    if (!now->present || now->size + !same > PLSM_INLINE_MAX)
        return slice(NULL, 0);
    workload_fill(now->seed, replay->scratch, now->size + 1);
    return slice(replay->scratch, same ? now->size : now->size + 1);
}

static plsm_status add_range(struct replay *replay, plsm_batch *batch, const struct op *op)
{
    plsm_slice from, to;
    workload_range(op, replay->probes, &from, &to);
    return plsm_batch_delete_range(batch, workload_keyspace(op->key), from, to);
}

static uint64_t expires_of(const struct replay *replay, const struct op *op)
{
    return workload_expires(op, model_clock(replay->model), model_tick(replay->model));
}

static plsm_status add_to_batch(struct replay *replay, plsm_batch *batch, const struct op *op)
{
    plsm_keyspace keyspace = workload_keyspace(op->key);
    plsm_slice key = workload_key(op->key);
    uint8_t meta[PLSM_META_MAX];
    switch (op->kind) {
    case OP_PUT:
        return plsm_batch_put(batch, keyspace, key, slice(NULL, 0), value_of(replay, op));
    case OP_BATCH_PUT:
        if (op->life)
            return plsm_batch_put_expiring(batch, key, meta_of(op, meta), value_of(replay, op), expires_of(replay, op));
        return plsm_batch_put(batch, keyspace, key, meta_of(op, meta), value_of(replay, op));
    case OP_DELETE:
    case OP_BATCH_DELETE:
        return plsm_batch_delete(batch, keyspace, key);
    case OP_DELETE_RANGE:
    case OP_BATCH_DELETE_RANGE:
        return add_range(replay, batch, op);
    case OP_BATCH_MOVE:
        return plsm_batch_move(batch, key, workload_key(op->other));
    case OP_BATCH_SET_META:
        return plsm_batch_set_meta(batch, key, meta_of(op, meta));
    case OP_BATCH_LINK:
        TRY(plsm_batch_share(batch, key, workload_shared(op->key)));
        return plsm_batch_link(batch, workload_shared(op->key), workload_key(op->other), meta_of(op, meta));
    case OP_BATCH_IF_ABSENT:
        return plsm_batch_if_absent(batch, keyspace, key);
    default:
        return plsm_batch_if_equal(batch, keyspace, key, condition_of(replay, op));
    }
}

static plsm_status write_batch(struct replay *replay, const struct op *ops, size_t count, plsm_durability durability)
{
    plsm_batch *batch = plsm_batch_create();
    plsm_status status = batch ? PLSM_OK : PLSM_NO_MEMORY;
    for (size_t i = 0; i < count && status == PLSM_OK; i++)
        status = add_to_batch(replay, batch, &ops[i]);
    if (status == PLSM_OK)
        status = plsm_write(replay->db, batch, durability);
    plsm_batch_destroy(batch);
    return status;
}

static plsm_status write_single(struct replay *replay, const struct op *op)
{
    plsm_durability durability = op->sync ? PLSM_SYNC : PLSM_NONE;
    if (workload_keyspace(op->key) != PLSM_NAMES)
        return write_batch(replay, op, 1, durability);
    if (op->kind == OP_DELETE_RANGE) {
        plsm_slice from, to;
        workload_range(op, replay->probes, &from, &to);
        return plsm_delete_range(replay->db, from, to, durability);
    }
    if (op->kind == OP_DELETE)
        return plsm_delete(replay->db, workload_key(op->key), durability);
    if (op->life)
        return plsm_put_expiring(replay->db, workload_key(op->key), value_of(replay, op), expires_of(replay, op),
                                 durability);
    return plsm_put(replay->db, workload_key(op->key), value_of(replay, op), durability);
}

/* Whether a write that failed shows all the same: by its first key that it would change. */
static bool shows(struct replay *replay, const struct change *changes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct observed observed;
        if (observe(replay->db, changes[i].key, &replay->value, &observed) != PLSM_OK)
            continue;
        bool before = model_matches(model_get(replay->model, changes[i].key, model_now(replay->model)), &observed);
        bool behind = model_matches(&changes[i].content, &observed);
        if (before != behind)
            return behind;
    }
    return false;
}

/* A failed call changes nothing that can be seen. One exception: when the sync of a durable write fails, the write may
 * stay to be seen, but then the store takes no more of them; the next open decides whether it happened. */
static bool failed_write(struct replay *replay, struct change *changes, size_t count, bool sync)
{
    if (!sync || !shows(replay, changes, count)) {
        model_apply_failed(replay->model, changes, count);
        return true;
    }
    plsm_abilities abilities;
    plsm_get_abilities(replay->db, &abilities);
    if (!abilities.read_only)
        return fails(replay, "a write that failed shows, and the store takes more writes");
    struct change undo[MODEL_CHANGES];
    for (size_t i = 0; i < count; i++)
        undo[i] = (struct change){changes[i].key, *model_get(replay->model, changes[i].key, model_now(replay->model))};
    model_apply(replay->model, changes, count);
    model_apply_failed(replay->model, undo, count); /* "it did not happen" is what may have happened */
    return true;
}

static bool step_write(struct replay *replay, const struct op *ops, size_t count, bool single, bool sync)
{
    struct change changes[MODEL_CHANGES];
    size_t change_count;
    plsm_status expected = model_plan(replay->model, ops, count, changes, &change_count);
    plsm_status status =
        single ? write_single(replay, ops) : write_batch(replay, ops, count, sync ? PLSM_SYNC : PLSM_NONE);
    bool refused = status == PLSM_EXISTS || status == PLSM_CONFLICT ||
                   (status == PLSM_TOO_LARGE && status == expected);
    if (expected != PLSM_OK)
        return refused || (status == PLSM_OK ? fails(replay, "write: ok where a condition did not hold")
                                             : forgiven(replay, status, "write"));
    if (status == PLSM_OK) {
        model_apply(replay->model, changes, change_count);
        return true;
    }
    return forgiven(replay, status, "write") && failed_write(replay, changes, change_count, sync);
}

/* --- bulk loads --------------------------------------------------------------------------------------------------- */

static void drop_bulk(struct replay *replay)
{
    plsm_bulk_destroy(replay->bulk);
    replay->bulk = NULL;
}

static bool finish_bulk(struct replay *replay)
{
    struct change changes[MODEL_CHANGES];
    size_t change_count;
    plsm_status expected = model_plan_at(replay->model, replay->bulk_clock_s, replay->bulk_puts, replay->bulk_count,
                                         changes, &change_count);
    if (expected != PLSM_OK)
        return fails(replay, "bulk puts have conditions");
    plsm_status status = plsm_bulk_finish(replay->bulk);
    drop_bulk(replay);
    if (status == PLSM_OK) {
        model_apply(replay->model, changes, change_count);
        return true;
    }
    return forgiven(replay, status, "bulk_finish") && failed_write(replay, changes, change_count, true);
}

static plsm_status move_prefix(struct replay *replay, const struct op *op)
{
    plsm_slice from, to;
    struct op put = *op;
    bool alone = !workload_moves_with(op);
    plsm_batch *with = alone ? NULL : plsm_batch_create();
    plsm_status status = with || alone ? PLSM_OK : PLSM_NO_MEMORY;
    workload_prefixes(op, &from, &to);
    put.kind = OP_PUT;
    put.key = op->other;
    if (with)
        status = add_to_batch(replay, with, &put);
    if (status == PLSM_OK)
        status = plsm_move_prefix(replay->db, from, to, with, NULL, NULL);
    plsm_batch_destroy(with);
    return status;
}

static bool step_move_prefix(struct replay *replay, const struct op *op)
{
    struct change changes[MODEL_CHANGES];
    size_t change_count;
    if (model_plan(replay->model, op, 1, changes, &change_count) != PLSM_OK)
        return fails(replay, "a move of a prefix has conditions");
    plsm_status status = move_prefix(replay, op);
    if (status == PLSM_UNSUPPORTED)
        return true;
    if (status == PLSM_OK) {
        model_apply(replay->model, changes, change_count);
        return true;
    }
    return forgiven(replay, status, "move_prefix") && failed_write(replay, changes, change_count, true);
}

static bool step_bulk(struct replay *replay, const struct op *op)
{
    if (replay->bulk)
        return finish_bulk(replay);
    if (!replay->db->engine->bulk_create)
        return true;
    plsm_status status = plsm_bulk_create(replay->db, &replay->bulk);
    if (status != PLSM_OK)
        return forgiven(replay, status, "bulk_create");
    replay->bulk_count = workload_bulk(op, replay->bulk_puts);
    replay->bulk_clock_s = model_clock(replay->model);
    for (size_t i = 0; i < replay->bulk_count && status == PLSM_OK; i++) {
        const struct op *put = &replay->bulk_puts[i];
        uint8_t meta[PLSM_META_MAX];
        status = put->life ? plsm_bulk_put_expiring(replay->bulk, workload_key(put->key), meta_of(put, meta),
                                                    value_of(replay, put), expires_of(replay, put))
                           : plsm_bulk_put(replay->bulk, workload_keyspace(put->key), workload_key(put->key),
                                           meta_of(put, meta), value_of(replay, put));
    }
    if (status != PLSM_OK || op->slot == 1)
        drop_bulk(replay);
    if (status != PLSM_OK)
        return forgiven(replay, status, "bulk_put");
    return op->slot != 0 || finish_bulk(replay);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

/* The snapshot an operation reads (half the time none) and its moment. */
static plsm_snapshot *snapshot_of(struct replay *replay, const struct op *op, uint64_t *at)
{
    *at = model_now(replay->model);
    if (op->sync >= WORKLOAD_SLOTS || !replay->snapshots[op->sync].handle)
        return NULL;
    *at = replay->snapshots[op->sync].at;
    return replay->snapshots[op->sync].handle;
}

static bool step_get(struct replay *replay, const struct op *op)
{
    uint64_t at;
    plsm_read_options options = {.keyspace = workload_keyspace(op->key), .snapshot = snapshot_of(replay, op, &at)};
    const struct content *content = model_get(replay->model, op->key, at);
    plsm_status status = plsm_get(replay->db, &options, workload_key(op->key), &replay->value);
    if (status != PLSM_OK && status != PLSM_NOT_FOUND)
        return forgiven(replay, status, "get");
    struct observed observed = {.found = status == PLSM_OK};
    if (observed.found)
        observed = (struct observed){true,
                                     replay->value.large,
                                     replay->value.value,
                                     replay->value.meta,
                                     replay->value.size,
                                     replay->value.expires_s};
    return model_matches(content, &observed) ||
           fails(replay, "get at moment %lu: expected %s (%u bytes, meta %u), got %s (%lu bytes, meta %zu)",
                 (unsigned long)at, content->present ? "a value" : "none", content->size, content->meta_size,
                 observed.found ? "a value" : "none", (unsigned long)observed.size, observed.meta.size);
}

static bool step_read(struct replay *replay, const struct op *op)
{
    if (workload_keyspace(op->key) != PLSM_NAMES)
        return true;
    uint64_t at;
    plsm_read_options options = {.snapshot = snapshot_of(replay, op, &at)};
    const struct content *content = model_get(replay->model, op->key, at);
    uint64_t offset = content->size ? op->seed % (content->size + 2) & ~UINT64_C(7) : 0;
    size_t want = op->size, got = 0;
    size_t expected = offset >= content->size ? 0 : content->size - offset < want ? content->size - offset : want;
    uint8_t *data = malloc(want + 8), *right = malloc(want + 8);
    if (!data || !right)
        abort();
    plsm_status status = plsm_read(replay->db, &options, workload_key(op->key), offset, data, want, &got);
    bool passed = true;
    workload_fill_at(content->seed, offset, right, expected);
    if (status != (content->present ? PLSM_OK : PLSM_NOT_FOUND))
        passed = status == PLSM_OK || status == PLSM_NOT_FOUND ? fails(replay, "read: %s", plsm_status_name(status))
                                                               : forgiven(replay, status, "read");
    else if (status == PLSM_OK && (got != expected || memcmp(data, right, got) != 0))
        passed = fails(replay, "read at %lu of %zu bytes: got %zu, expected %zu, or other bytes", (unsigned long)offset,
                       want, got, expected);
    free(data);
    free(right);
    return passed;
}

static bool step_has_prefix(struct replay *replay, const struct op *op)
{
    uint64_t at;
    plsm_read_options options = {.snapshot = snapshot_of(replay, op, &at)};
    unsigned key = workload_keyspace(op->key) == PLSM_NAMES ? op->key : op->key - 1u;
    plsm_slice prefix = workload_probe(key, op->meta_size, replay->probes);
    bool got = false, expected = model_has_prefix(replay->model, prefix, at);
    plsm_status status = plsm_has_prefix(replay->db, &options, prefix, &got);
    if (status != PLSM_OK)
        return forgiven(replay, status, "has_prefix");
    return got == expected ||
           fails(replay, "has_prefix (%zu bytes) at moment %lu: %d", prefix.size, (unsigned long)at, got);
}

/* --- iterators ---------------------------------------------------------------------------------------------------- */

static bool compare_iterator(struct replay *replay, unsigned slot)
{
    plsm_iterator *it = replay->iterators[slot].handle;
    const struct model_cursor *cursor = &replay->iterators[slot].cursor;
    plsm_status status = plsm_iterator_status(it);
    if (status != PLSM_OK) {
        if (plsm_iterator_valid(it))
            return fails(replay, "an iterator is valid with an error");
        close_iterator(replay, slot);
        return forgiven(replay, status, "iterator");
    }
    if (plsm_iterator_valid(it) != model_cursor_valid(cursor))
        return fails(replay, "iterator is %s, expected %s", plsm_iterator_valid(it) ? "valid" : "at an end",
                     model_cursor_valid(cursor) ? "a key" : "an end");
    if (!model_cursor_valid(cursor))
        return true;
    unsigned key = model_cursor_key(cursor);
    struct observed observed = {true,
                                plsm_iterator_large(it),
                                plsm_iterator_value(it),
                                plsm_iterator_meta(it),
                                plsm_iterator_size(it),
                                plsm_iterator_expires(it)};
    if (!slice_equal(plsm_iterator_key(it), workload_key(key)))
        return fails(replay, "iterator stands on another key (%zu bytes) than key %u", plsm_iterator_key(it).size, key);
    return model_matches(model_cursor_content(cursor), &observed) ||
           fails(replay, "iterator has a wrong value (%lu bytes, meta %zu) for key %u", (unsigned long)observed.size,
                 observed.meta.size, key);
}

static bool step_iterator_open(struct replay *replay, const struct op *op)
{
    close_iterator(replay, op->slot);
    uint64_t at;
    plsm_snapshot *snapshot = snapshot_of(replay, op, &at);
    plsm_read_options options = {.snapshot = snapshot};
    uint8_t *buffers = replay->probes;
    plsm_slice from = workload_probe(op->key, op->meta_size, buffers);
    plsm_slice to = workload_probe(op->other, op->size % 6, buffers + PLSM_KEY_MAX + 1);
    plsm_status status = plsm_iterator_create(replay->db, &options, from, to, &replay->iterators[op->slot].handle);
    if (status != PLSM_OK) {
        replay->iterators[op->slot].handle = NULL;
        return forgiven(replay, status, "iterator_create");
    }
    replay->iterators[op->slot].snapshot = snapshot;
    model_cursor_open(&replay->iterators[op->slot].cursor, replay->model, at, PLSM_NAMES, from, to);
    return true;
}

static bool step_iterator(struct replay *replay, const struct op *op)
{
    plsm_iterator *it = replay->iterators[op->slot].handle;
    struct model_cursor *cursor = &replay->iterators[op->slot].cursor;
    if (!it)
        return true;
    plsm_slice key = workload_probe(op->key, op->meta_size % 4, replay->probes);
    switch (op->kind) {
    case OP_ITERATOR_FIRST:
        plsm_iterator_first(it);
        model_cursor_first(cursor);
        break;
    case OP_ITERATOR_LAST:
        plsm_iterator_last(it);
        model_cursor_last(cursor);
        break;
    case OP_ITERATOR_SEEK:
        plsm_iterator_seek(it, key);
        model_cursor_seek(cursor, key);
        break;
    case OP_ITERATOR_SEEK_BEFORE:
        plsm_iterator_seek_before(it, key);
        model_cursor_seek_before(cursor, key);
        break;
    default:
        if (!model_cursor_valid(cursor))
            return true; /* the door does not say what next does behind an end */
        op->kind == OP_ITERATOR_NEXT ? plsm_iterator_next(it) : plsm_iterator_previous(it);
        op->kind == OP_ITERATOR_NEXT ? model_cursor_next(cursor) : model_cursor_previous(cursor);
    }
    return compare_iterator(replay, op->slot);
}

/* --- the rest ----------------------------------------------------------------------------------------------------- */

static bool step_snapshot_open(struct replay *replay, const struct op *op)
{
    close_snapshot(replay, op->slot);
    replay->snapshots[op->slot].handle = plsm_snapshot_create(replay->db);
    replay->snapshots[op->slot].at = model_now(replay->model);
    return replay->snapshots[op->slot].handle || forgiven(replay, PLSM_NO_MEMORY, "snapshot_create");
}

static void run_compaction(void *arg)
{
    struct replay *replay = arg;
    replay->compaction_status = plsm_compact(replay->db, slice(NULL, 0), slice(NULL, 0));
}

static bool step_compact(struct replay *replay, const struct op *op)
{
    plsm_status status = PLSM_OK;
    if (replay->compact_beside) {
        if (!join_compaction(replay))
            return false;
        status = env_thread_start(replay->env, run_compaction, replay, &replay->compaction);
        if (status != PLSM_OK)
            replay->compaction = NULL;
        return status == PLSM_OK || forgiven(replay, status, "thread_start");
    }
    plsm_slice from = slice(NULL, 0), to = slice(NULL, 0);
    if (op->slot) {
        bool ordered = workload_rank(op->key) < workload_rank(op->other);
        from = workload_key(ordered ? op->key : op->other);
        to = workload_key(ordered ? op->other : op->key);
    }
    status = plsm_compact(replay->db, from, to);
    return status == PLSM_OK || forgiven(replay, status, "compact");
}

static bool step_scan(struct replay *replay)
{
    plsm_status status;
    if (!verify_state(replay->db, replay->model, model_now(replay->model), &status, replay->failure,
                      sizeof replay->failure))
        return false;
    return status == PLSM_OK || forgiven(replay, status, "scan");
}

bool replay_step(struct replay *replay, const struct op *op)
{
    plsm_status status;
    if (!replay->db && op->kind != OP_REOPEN)
        return true; /* it could not be opened after a fault: nothing works until it can */
    switch (op->kind) {
    case OP_PUT:
    case OP_DELETE:
    case OP_DELETE_RANGE:
        return step_write(replay, op, 1, true, op->sync);
    case OP_BATCH_PUT:
    case OP_BATCH_DELETE:
    case OP_BATCH_DELETE_RANGE:
    case OP_BATCH_MOVE:
    case OP_BATCH_SET_META:
    case OP_BATCH_LINK:
    case OP_BATCH_IF_ABSENT:
    case OP_BATCH_IF_EQUAL:
        if (replay->batch_count < WORKLOAD_BATCH)
            replay->batch[replay->batch_count++] = *op;
        return true;
    case OP_BATCH_WRITE: {
        size_t count = replay->batch_count;
        replay->batch_count = 0;
        return count == 0 || step_write(replay, replay->batch, count, false, op->sync);
    }
    case OP_BULK:
        return step_bulk(replay, op);
    case OP_MOVE_PREFIX:
        return step_move_prefix(replay, op);
    case OP_SYNC:
        status = plsm_sync(replay->db);
        return status == PLSM_OK || forgiven(replay, status, "sync");
    case OP_FLUSH:
        status = plsm_flush(replay->db);
        return status == PLSM_OK || forgiven(replay, status, "flush");
    case OP_COMPACT:
        return step_compact(replay, op);
    case OP_REOPEN:
        return reopen(replay);
    case OP_GET:
        return step_get(replay, op);
    case OP_READ:
        return step_read(replay, op);
    case OP_HAS_PREFIX:
        return step_has_prefix(replay, op);
    case OP_SNAPSHOT_OPEN:
        return step_snapshot_open(replay, op);
    case OP_SNAPSHOT_CLOSE:
        close_snapshot(replay, op->slot);
        return true;
    case OP_ITERATOR_OPEN:
        return step_iterator_open(replay, op);
    case OP_ITERATOR_CLOSE:
        close_iterator(replay, op->slot);
        return true;
    case OP_SCAN:
        return step_scan(replay);
    case OP_ADVANCE:
        return step_advance(replay, op);
    default:
        return step_iterator(replay, op);
    }
}
