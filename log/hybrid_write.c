/* Writing. What can fail is done first: finding what each change replaces (which may read the disk), memory for the
 * log, the index and the counts. Then the batch goes into the redo log, and is applied, which cannot fail. All of it is
 * inside one epoch, so that what was found stays. */
#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "log/hybrid_private.h"

#include "base/banned.h"

/* The stores in whose hybrid_prepare this thread is, the innermost first: it holds their write_lock already. */
struct preparing {
    const struct hybrid *db;
    const struct preparing *outer;
};
static _Thread_local const struct preparing *preparing;

bool is_preparing(const struct hybrid *db)
{
    const struct preparing *at = preparing;
    while (at && at->db != db)
        at = at->outer;
    return at;
}

void write_lock_enter(struct hybrid *db)
{
    if (!is_preparing(db))
        mutex_lock(&db->write_lock);
}

void write_lock_exit(struct hybrid *db)
{
    if (!is_preparing(db))
        mutex_unlock(&db->write_lock);
}

enum {
    TOGETHER = 32,        /* changes that are planned at once */
    DROPPED_AT_ONCE = 64, /* keys that may have died and are looked at behind a batch, at least */
    APPROACHED = 4,       /* records of a chain that are looked at in advance; it hardly ever has more */
    FAR_AHEAD = 512,      /* changes of a batch that are: what they need is to be in the cache still */
    COMPANY = 64,         /* writes for which a thread that met another writer goes by that */
};

/* --- applying ----------------------------------------------------------------------------------------------------- */

/* What is known of a change before it is made. */
struct planned {
    struct batch_change change;
    uint64_t hash, head; /* of its key; where the chain of that begins */
    struct found found;  /* the newest record of its key, before this batch */
};

/* What was found of a key. */
struct before {
    bool live, timed;
    uint64_t size; /* of its record */
};

static inline struct before before_of(const struct found *found)
{
    if (!found->record)
        return (struct before){0};
    struct record_sizes sizes = record_sizes(found->record);
    return (struct before){.live = sizes.kind != BATCH_DELETE,
                           .timed = sizes.kind != BATCH_DELETE && sizes.timed,
                           .size = record_size(found->record)};
}

/* Counts a key that becomes, or ceases to be, live or one that expires. False: it was not counted before, which only
 * files can bring about that contradict themselves. */
static bool count_key(struct hybrid *db, plsm_slice key, int live, int timed)
{
    if (live == 0 && timed == 0)
        return true;
    own_add(&db->live, (uint64_t)(int64_t)live);
    if (!is_name(key)) {
        if (live < 0)
            key_order_note_dead(&db->others, key, false);
        return true;
    }
    if (live < 0 && db->name_order.keys.tree)
        name_order_note_dead(db, key);
    /* Seen together with the number of commits, as the counts of the prefixes are. */
    atomic_store_explicit(&db->names, counted(&db->names) + (uint64_t)(int64_t)live, memory_order_release);
    atomic_store_explicit(&db->names_timed, counted(&db->names_timed) + (uint64_t)(int64_t)timed, memory_order_release);
    return prefixes_count(&db->prefixes, key, live, timed);
}

static inline bool is_timed(const struct batch_change *change)
{
    return change->timed && change->expires_s;
}

static inline uint64_t payload_size(const struct batch_change *change)
{
    return (is_timed(change) ? sizeof(uint64_t) : 0) + change->meta.size + change->value.size;
}

static void make_payload(uint8_t *to, const struct batch_change *change)
{
    if (is_timed(change)) {
        put_u64(to, change->expires_s);
        to += sizeof(uint64_t);
    }
    copy_short(to, change->meta.data, change->meta.size);
    to += change->meta.size;
    if (change->value.size)
        memcpy(to, change->value.data, change->value.size);
}

static inline struct record_sizes sizes_of(const struct batch_change *change)
{
    bool put = change->kind != BATCH_DELETE;
    return (struct record_sizes){.value = put ? (uint32_t)change->value.size : 0,
                                 .key = (uint16_t)change->key.size,
                                 .meta = put ? (uint8_t)change->meta.size : 0,
                                 .kind = (uint8_t)change->kind,
                                 .timed = put && is_timed(change)};
}

/* Whether what was found may become what a change makes of it where it stands. */
static inline bool is_in_place(const struct hybrid *db, const struct found *found, const struct batch_change *change)
{
    return found->record && found->address >= address_of(&db->read_only) &&
           (change->kind == BATCH_DELETE || payload_size(change) <= found->record->room);
}

/* Changes a record where it stands, so that readers beside see all of it or nothing. */
static inline void update_in_place(struct hybrid *db, struct hybrid_record *record, const struct batch_change *change)
{
    const void *payload = change->value.data;
    if (__builtin_expect(is_timed(change) || change->meta.size > 0, 0)) {
        make_payload(db->scratch, change);
        payload = db->scratch;
    }
    uint32_t sequence = atomic_load_explicit(&record->sequence, memory_order_relaxed);
    atomic_store_explicit(&record->sequence, sequence + 1, memory_order_relaxed);
    atomic_store_explicit(&record->sizes, sizes_pack(sizes_of(change)), memory_order_release);
    words_write(record->key + round_8(change->key.size), payload, payload_size(change));
    atomic_store_explicit(&record->sequence, sequence + 2, memory_order_release);
    own_add(&db->in_place, 1);
}

/* What was found, where it may be changed. */
static struct hybrid_record *mutable_record(const struct found *found)
{
    return (struct hybrid_record *)(uintptr_t)found->record;
}

/* The record that a new one of a chain, which begins at `head`, leads to. What it replaces need not be led to unless a
 * snapshot may look for it; so a key that is written again and again has a short chain. */
static uint64_t previous_for(const struct hybrid *db, uint64_t head, const struct found *found)
{
    uint64_t previous = head;
    if (found->record && previous == found->address && !db->snapshots)
        previous = found->record->previous;
    return previous >= address_of(&db->floor) ? previous : 0;
}

/* Appends a record; there is memory for it. `head`: where the chain of its hash begins. `replaces` is packed. */
static void append_record(struct hybrid *db, uint64_t hash, uint64_t head, const struct found *found,
                          const struct batch_change *change, uint64_t replaces)
{
    uint64_t key_size = change->key.size, payload = payload_size(change), room = round_8(payload);
    uint64_t previous = previous_for(db, head, found), address = log_place(db, record_size_of(key_size, room));
    struct hybrid_record *record = (struct hybrid_record *)(void *)log_bytes_at(db, address);
    uint8_t *to = record->key + round_8(key_size);
    *record = (struct hybrid_record){.previous = previous, .replaces = replaces, .room = (uint32_t)room};
    atomic_init(&record->sizes, sizes_pack(sizes_of(change)));
    if (key_size % 8)
        put_u64(to - 8, 0);
    copy_short(record->key, change->key.data, key_size);
    if (payload % 8)
        put_u64(to + room - 8, 0);
    make_payload(to, change);
    index_put(&db->index, hash, address, address_of(&db->floor));
    own_add(&db->appended, 1);
}

static void apply_put(struct hybrid *db, uint64_t hash, uint64_t head, const struct found *found,
                      const struct batch_change *change)
{
    struct before before = before_of(found);
    if (is_in_place(db, found, change)) {
        update_in_place(db, mutable_record(found), change);
        own_add(&db->live_bytes, before.live ? 0 : before.size);
    } else {
        uint64_t replaces = before.live ? replaces_pack(found->address, before.size, before.timed) : 0;
        append_record(db, hash, head, found, change, replaces);
        own_add(&db->live_bytes,
                record_size_of(change->key.size, round_8(payload_size(change))) - (before.live ? before.size : 0));
    }
    (void)count_key(db, change->key, before.live ? 0 : 1, (int)is_timed(change) - (int)before.timed);
}

static void apply_delete(struct hybrid *db, uint64_t hash, uint64_t head, const struct found *found, plsm_slice key)
{
    struct before before = before_of(found);
    struct batch_change change = {.kind = BATCH_DELETE, .key = key};
    if (!before.live)
        return;
    if (is_in_place(db, found, &change))
        update_in_place(db, mutable_record(found), &change);
    else
        append_record(db, hash, head, found, &change, replaces_pack(found->address, before.size, before.timed));
    own_add(&db->counters.deletions, 1);
    own_add(&db->live_bytes, -before.size);
    (void)count_key(db, key, -1, -(int)before.timed);
}

/* Looks again where the batch itself may have written a newer record since, which is from `start` on. */
static void look_again(const struct hybrid *db, struct planned *planned, uint64_t start)
{
    planned->head = index_find(&db->index, planned->hash);
    for (uint64_t address = planned->head; address >= start;) {
        const struct hybrid_record *record = (const struct hybrid_record *)(const void *)log_bytes_at(db, address);
        if (slice_equal(record_key(record), planned->change.key)) {
            planned->found = (struct found){record, address};
            return;
        }
        address = record->previous;
    }
}

/* `appends`: not all changes are made in place. */
static void apply(struct hybrid *db, struct planned *planned, uint64_t count, bool appends)
{
    uint64_t start = address_of(&db->tail), commits = counted(&db->commits);
    atomic_store_explicit(&db->commits, commits + 1, memory_order_relaxed);
    for (uint64_t i = 0; i < count; i++, planned++) {
        if (appends && i > 0)
            look_again(db, planned, start);
        if (planned->change.kind == BATCH_DELETE)
            apply_delete(db, planned->hash, planned->head, &planned->found, planned->change.key);
        else
            apply_put(db, planned->hash, planned->head, &planned->found, &planned->change);
    }
    atomic_store_explicit(&db->commits, commits + 2, memory_order_release);
}

/* --- planning ----------------------------------------------------------------------------------------------------- */

/* Those that are counted. */
static uint64_t count_slashes(plsm_slice key)
{
    const uint8_t *at = key.data, *end = at + key.size;
    uint64_t count = 0;
    while (count < PREFIX_DEPTH_MAX && (at = memchr(at, '/', (size_t)(end - at))) != NULL) {
        at++;
        count++;
    }
    return count;
}

/* Whether a change is one that this log can hold. */
static inline plsm_status check_change(const struct batch_change *change)
{
    if (change->kind > BATCH_REFERENCE || change->key.size < 2 || change->key.size > HYBRID_KEY_MAX ||
        change->value.size > HYBRID_VALUE_MAX)
        return fail(PLSM_INVALID, "a change of kind %d with a key of %zu bytes and a value of %zu", (int)change->kind,
                    change->key.size, change->value.size);
    return PLSM_OK;
}

/* Memory for what the changes of a batch may append. */
static plsm_status reserve_log(struct hybrid *db, const struct planned *planned, uint64_t count)
{
    uint64_t tail = address_of(&db->tail);
    for (uint64_t i = 0; i < count; i++) {
        const struct batch_change *change = &planned[i].change;
        tail = log_end_after(db, tail, record_size_of(change->key.size, round_8(payload_size(change))));
    }
    TRY(pages_reserve(db, tail));
    return index_reserve(&db->index, count, address_of(&db->floor));
}

/* Whether a change may make a key that is not there: directories above a name that is are counted already. */
static bool is_new(const struct planned *planned)
{
    return planned->change.kind != BATCH_DELETE && !before_of(&planned->found).live;
}

/* Makes room in the counts for directories that may be new. */
static plsm_status reserve_prefixes(struct hybrid *db, const struct planned *planned, uint64_t count, uint64_t slashes)
{
    TRY(prefixes_trim(&db->prefixes, slashes));
    for (uint64_t i = 0; i < count; i++)
        if (is_new(&planned[i]) && is_name(planned[i].change.key))
            TRY(prefixes_reserve(&db->prefixes, planned[i].change.key));
    return PLSM_OK;
}

/* Takes up to `most` changes from a batch, and has the lines of the index that lead to their keys under way. */
static plsm_status take_changes(struct hybrid *db, const uint8_t **at, const uint8_t *end, struct planned *planned,
                                uint64_t most, uint64_t *taken)
{
    *taken = 0;
    for (; *taken < most && batch_next(at, end, &planned->change); planned++, ++*taken) {
        TRY(check_change(&planned->change));
        planned->hash = key_hash(planned->change.key.data, planned->change.key.size);
        index_prefetch(&db->index, planned->hash);
    }
    return PLSM_OK;
}

static void find_head(const struct hybrid *db, struct planned *planned)
{
    planned->head = index_find(&db->index, planned->hash);
    const struct hybrid_record *record = memory_record(db, planned->head);
    if (record)
        record_prefetch(record);
}

/* Finds what a change replaces, and makes room for a key that is new, but in the counts. */
static plsm_status plan_change(struct hybrid *db, struct planned *planned, uint64_t *slashes)
{
    plsm_slice key = planned->change.key;
    TRY(find_record_from(db, moment_now(db), planned->head, key, &planned->found));
    if (!is_new(planned))
        return PLSM_OK;
    if (!is_name(key))
        return key_order_add(&db->others, key);
    if (db->name_order.keys.tree)
        name_order_add(db, key);
    *slashes += count_slashes(key);
    return PLSM_OK;
}

/* Plans the `count` changes of a batch, of which `planned` has room. Some at a time go through each step together, so
 * that waiting for memory overlaps (group prefetching: Chen, Ailamaki, Gibbons and Mowry, ICDE 2004). */
static plsm_status plan(struct hybrid *db, plsm_slice bytes, struct planned *planned, uint64_t count)
{
    const uint8_t *at = bytes.data, *end = at + bytes.size;
    uint64_t slashes = 0, done = 0;
    for (uint64_t some = TOGETHER; some == TOGETHER; done += some) {
        struct planned *from = planned + done;
        TRY(take_changes(db, &at, end, from, count - done < TOGETHER ? count - done : TOGETHER, &some));
        for (uint64_t i = 0; i < some; i++)
            find_head(db, from + i);
        for (uint64_t i = 0; i < some; i++)
            TRY(plan_change(db, from + i, &slashes));
    }
    if (at != end || done != count)
        return fail(PLSM_INVALID, "the batch is damaged at byte %zu", (size_t)(at - (const uint8_t *)bytes.data));
    return slashes > 0 ? reserve_prefixes(db, planned, count, slashes) : PLSM_OK;
}

/* Whether some change takes memory of the log. */
static bool appends_any(const struct hybrid *db, const struct planned *planned, uint64_t count)
{
    uint64_t i = 0;
    while (i < count && is_in_place(db, &planned[i].found, &planned[i].change))
        i++;
    return i < count;
}

static plsm_status log_batch(struct hybrid *db, const struct batch *batch)
{
    plsm_status status = redo_append(&db->redo, batch);
    return status != PLSM_OK && reclog_broken(db->redo.current.writer) ? hybrid_break(db, status) : status;
}

/* Makes the changes of a batch that was planned with this result, once they are in the redo log. */
static plsm_status carry_out(struct hybrid *db, const struct batch *batch, struct planned *planned, bool log,
                             plsm_status status)
{
    uint64_t count = batch->count;
    bool appends = status == PLSM_OK && appends_any(db, planned, count);
    if (status == PLSM_OK && appends)
        status = reserve_log(db, planned, count);
    if (status == PLSM_OK && log)
        status = log_batch(db, batch);
    if (status == PLSM_OK)
        apply(db, planned, count, appends);
    if (__builtin_expect(db->others.dead.size > 0 || db->name_order.keys.dead.size > 0, 0)) {
        uint64_t most = 2 * count > DROPPED_AT_ONCE ? 2 * count : DROPPED_AT_ONCE; /* more than the batch makes */
        key_order_drop_dead(db, &db->others, most, !db->thread);
        key_order_drop_dead(db, &db->name_order.keys, most, !db->thread);
    }
    return status;
}

static plsm_status make_changes(struct hybrid *db, const struct batch *batch, bool log)
{
    struct planned *planned = mem_alloc((batch->count + (size_t)1) * sizeof *planned);
    if (!planned)
        return fail(PLSM_NO_MEMORY, "no memory for a batch of %" PRIu32 " changes", batch->count);
    epoch_enter(db->epoch);
    plsm_status status = plan(db, buf_slice(&batch->bytes), planned, batch->count);
    status = carry_out(db, batch, planned, log, status);
    epoch_exit(db->epoch);
    mem_free(planned);
    return status;
}

/* --- one change --------------------------------------------------------------------------------------------------- */

/* The record that a put can be made in place of, of a chain that begins at `head`: that of an entry that is there;
 * NULL: there is none. It is mutable, so it is in memory; as only writers let go of that, and of what they replace in
 * the index, no epoch is needed. */
static inline struct hybrid_record *find_in_place(const struct hybrid *db, uint64_t head,
                                                  const struct batch_change *change)
{
    uint64_t read_only = address_of(&db->read_only);
    for (uint64_t address = head; address >= read_only && change->kind != BATCH_DELETE;) {
        struct hybrid_record *record = (struct hybrid_record *)(void *)log_bytes_at(db, address);
        record_prefetch_behind(record);
        if (slice_equal(record_key(record), change->key))
            return record_sizes(record).kind != BATCH_DELETE && payload_size(change) <= record->room ? record : NULL;
        if (record->previous >= address)
            return NULL; /* damage; the long way tells of it */
        address = record->previous;
    }
    return NULL;
}

/* Changes an entry that is there in place. */
static inline void overwrite(struct hybrid *db, struct hybrid_record *record, const struct batch_change *change)
{
    uint64_t commits = counted(&db->commits);
    int timed = (int)is_timed(change) - (int)record_sizes(record).timed;
    atomic_store_explicit(&db->commits, commits + 1, memory_order_relaxed);
    update_in_place(db, record, change);
    if (__builtin_expect(timed != 0, 0))
        (void)count_key(db, change->key, 0, timed);
    atomic_store_explicit(&db->commits, commits + 2, memory_order_release);
}

/* Makes the one change of a batch, of a key with this hash. *in_place: an entry was changed where it stands. */
static plsm_status make_one(struct hybrid *db, const struct batch *batch, const struct batch_change *change,
                            uint64_t hash, bool log, bool *in_place)
{
    TRY(check_change(change));
    uint64_t head = index_find(&db->index, hash), slashes = 0;
    struct hybrid_record *record = find_in_place(db, head, change);
    *in_place = record != NULL;
    if (record) {
        if (log)
            TRY(log_batch(db, batch));
        overwrite(db, record, change);
        return PLSM_OK;
    }
    struct planned planned = {.change = *change, .hash = hash, .head = head};
    epoch_enter(db->epoch);
    plsm_status status = plan_change(db, &planned, &slashes);
    if (status == PLSM_OK && slashes > 0)
        status = reserve_prefixes(db, &planned, 1, slashes);
    status = carry_out(db, batch, &planned, log, status);
    epoch_exit(db->epoch);
    return status;
}

static bool is_one(const struct batch *batch, struct batch_change *change)
{
    const uint8_t *at = batch->bytes.data, *end = at + batch->bytes.size;
    return batch->count == 1 && batch_next(&at, end, change) && at == end;
}

/* Makes the changes of a batch; *in_place as above, of one alone. */
static plsm_status make_any(struct hybrid *db, const struct batch *batch, bool log, bool *in_place)
{
    struct batch_change change;
    *in_place = false;
    if (!is_one(batch, &change))
        return make_changes(db, batch, log);
    return make_one(db, batch, &change, key_hash(change.key.data, change.key.size), log, in_place);
}

static uint32_t count_changes(plsm_slice bytes)
{
    const uint8_t *at = bytes.data, *end = at + bytes.size;
    struct batch_change change;
    uint32_t count = 0;
    while (batch_next(&at, end, &change))
        count++;
    return count;
}

plsm_status apply_replayed(struct hybrid *db, plsm_slice bytes)
{
    struct batch batch = {.bytes = {.data = (uint8_t *)(uintptr_t)bytes.data, .size = bytes.size},
                          .count = count_changes(bytes)};
    bool in_place;
    plsm_status status = make_any(db, &batch, false, &in_place);
    if (status == PLSM_OK)
        count_add(&db->unsaved_bytes, bytes.size);
    return status;
}

/* --- the door ----------------------------------------------------------------------------------------------------- */

static plsm_status find_room(struct hybrid *db, const struct batch *batch)
{
    uint64_t unwritten = unwritten_bytes(db);
    TRY(room_look(&db->room, db->env, db->path, unwritten, db->options.file_size));
    db->room.since_bytes += batch->bytes.size;
    return room_check(&db->room, db->path, batch);
}

/* The final batch of a write that depends on the present state, or deletes ranges. */
static plsm_status prepare_batch(struct hybrid *db, const struct batch **batch, struct batch *expanded,
                                 hybrid_prepare *prepare, void *arg)
{
    plsm_status status = PLSM_OK;
    const struct preparing here = {db, preparing};
    preparing = &here;
    if (prepare)
        status = prepare(arg, batch);
    if (status == PLSM_OK && *batch && (*batch)->ranges > 0) {
        status = hybrid_expand_ranges(db, *batch, expanded);
        *batch = expanded;
    }
    preparing = here.outer;
    return status;
}

/* A batch that is final; *change: the only one of it, of a key with this hash, or NULL. *in_place: nothing was
 * appended. */
static plsm_status write_final(struct hybrid *db, const struct batch *batch, const struct batch_change *change,
                               uint64_t hash, enum hybrid_durability durability, bool *in_place)
{
    bool log = durability != HYBRID_VOLATILE && db->redo.current.writer;
    TRY(find_room(db, batch));
    TRY(change ? make_one(db, batch, change, hash, log, in_place) : make_any(db, batch, log, in_place));
    own_add(&db->unsaved_bytes, batch->bytes.size);
    own_add(&db->volatile_bytes, log ? 0 : batch->bytes.size);
    return PLSM_OK;
}

static plsm_status write_locked(struct hybrid *db, const struct batch *batch, hybrid_prepare *prepare, void *arg,
                                enum hybrid_durability durability, bool *in_place)
{
    struct batch expanded = {0};
    plsm_status status = hybrid_writable(db);
    if (status == PLSM_OK && (prepare || batch->ranges > 0))
        status = prepare_batch(db, &batch, &expanded, prepare, arg);
    if (status == PLSM_OK && batch && batch->count > 0)
        status = write_final(db, batch, NULL, 0, durability, in_place);
    batch_free(&expanded);
    return status;
}

plsm_status hybrid_sync(struct hybrid *db)
{
    TRY(hybrid_writable(db));
    if (counted(&db->volatile_bytes) > 0)
        return hybrid_flush(db);
    plsm_status status = redo_sync(&db->redo);
    return status == PLSM_OK ? status : hybrid_break(db, status);
}

/* Where little is free, a recovery point in time: it gives the redo logs back, and needs room for what is unwritten. */
static void give_redo_back(struct hybrid *db)
{
    if (__builtin_expect(!atomic_load_explicit(&db->room.low, memory_order_relaxed), 1))
        return;
    uint64_t unwritten = unwritten_bytes(db);
    struct env_space space;
    if (is_preparing(db) || unwritten == 0 || hybrid_writable(db) != PLSM_OK ||
        env_space(db->env, db->path, &space) != PLSM_OK || space.bytes_free >= unwritten + 2 * page_bytes(db))
        return;
    mutex_lock(&db->checkpoint_lock);
    (void)take_recovery_point(db, false); /* whoever writes is told whether there is room */
    mutex_unlock(&db->checkpoint_lock);
}

/* Behind a write that was made. */
static plsm_status end_write(struct hybrid *db, enum hybrid_durability durability, bool in_place)
{
    if (durability == HYBRID_SYNC)
        TRY(hybrid_sync(db));
    if (__builtin_expect((!in_place || recovery_point_is_due(db)) && maintenance_is_due(db), 0)) {
        if (db->thread)
            maintenance_wake(db);
        else
            (void)do_maintenance(db); /* the write is made; what failed is told by the next one, or tried again */
    }
    if (__builtin_expect(!db->thread && return_is_due(db), 0))
        return_page(db);
    return PLSM_OK;
}

/* --- beside other writers -----------------------------------------------------------------------------------------
 *
 * Most of what a change costs is waiting for memory: for a line of the index and for those of the record. A thread that
 * has met other writers waits for it before it takes the write_lock, beside what they do; what it finds is of no
 * account, as it is looked for again under the lock. A thread that is alone would only do it twice. */

static _Thread_local unsigned company; /* writes of this thread that are still to go by that there are others */

static void lock_writers(struct hybrid *db)
{
    if (!mutex_lock_hovering(&db->write_lock))
        company = COMPANY;
    else if (company > 0)
        company--;
}

static inline void approach(struct hybrid *db, uint64_t hash, plsm_slice key)
{
    epoch_enter(db->epoch);
    uint64_t address = index_find(&db->index, hash);
    const struct hybrid_record *record = memory_record(db, address);
    for (unsigned i = 0; address > 0 && record && i < APPROACHED; i++) {
        record_prefetch_behind(record);
        if (slice_equal(record_key(record), key) || record->previous >= address)
            break;
        address = record->previous;
        record = memory_previous(db, address);
    }
    epoch_exit(db->epoch);
}

/* The same of the keys of a batch; some at a time, as plan does. */
static void approach_all(struct hybrid *db, const struct batch *batch)
{
    const uint8_t *at = batch->bytes.data, *end = at + batch->bytes.size;
    struct batch_change change;
    uint64_t hashes[TOGETHER], some = TOGETHER;
    epoch_enter(db->epoch);
    for (uint64_t done = 0; some == TOGETHER && done < FAR_AHEAD; done += some) {
        for (some = 0; some < TOGETHER && batch_next(&at, end, &change); some++) {
            hashes[some] = key_hash(change.key.data, change.key.size);
            index_prefetch(&db->index, hashes[some]);
        }
        for (uint64_t i = 0; i < some; i++) {
            const struct hybrid_record *record = memory_record(db, index_find(&db->index, hashes[i]));
            if (record)
                record_prefetch(record);
        }
    }
    epoch_exit(db->epoch);
}

/* --- writes ------------------------------------------------------------------------------------------------------- */

plsm_status hybrid_write(struct hybrid *db, const struct batch *batch, hybrid_prepare *prepare, void *arg,
                         enum hybrid_durability durability)
{
    bool in_place = false;
    give_redo_back(db);
    if (company > 0 && batch && batch->count > 0)
        approach_all(db, batch);
    lock_writers(db);
    plsm_status status = write_locked(db, batch, prepare, arg, durability, &in_place);
    mutex_unlock(&db->write_lock);
    return status == PLSM_OK ? end_write(db, durability, in_place) : status;
}

plsm_status hybrid_write_one(struct hybrid *db, const struct batch *batch, const struct batch_change *change,
                             enum hybrid_durability durability)
{
    bool in_place = false;
    uint64_t hash = key_hash(change->key.data, change->key.size);
    give_redo_back(db);
    if (company > 0)
        approach(db, hash, change->key);
    lock_writers(db);
    plsm_status status = hybrid_writable(db);
    if (status == PLSM_OK)
        status = write_final(db, batch, change, hash, durability, &in_place);
    mutex_unlock(&db->write_lock);
    return status == PLSM_OK ? end_write(db, durability, in_place) : status;
}

/* --- records that were there -------------------------------------------------------------------------------------- */

/* Copies one record to the tail if it is the newest of its key, or deletes it where its time has come. */
static plsm_status copy_one(struct hybrid *db, uint64_t address)
{
    const struct hybrid_record *record;
    struct found found;
    TRY(record_at(db, address, &record));
    plsm_slice key = record_key(record);
    uint64_t hash = key_hash(key.data, key.size), head = index_find(&db->index, hash);
    TRY(find_record_from(db, moment_now(db), head, key, &found));
    struct record_sizes sizes = record_sizes(record);
    if (found.address != address || !found.record || sizes.kind == BATCH_DELETE)
        return PLSM_OK;
    const uint8_t *room = record_room(record);
    uint64_t expires_s = sizes.timed ? get_u64(room) : 0, size = record_size(record);
    room += sizes.timed ? sizeof(uint64_t) : 0;
    TRY(pages_reserve(db, log_end_after(db, address_of(&db->tail), size)));
    TRY(index_reserve(&db->index, 1, address_of(&db->floor)));
    if (expires_s && sizes.kind == BATCH_PUT && expires_s <= now_s(db)) {
        apply_delete(db, hash, head, &found, key);
        return PLSM_OK;
    }
    struct batch_change change = {.kind = sizes.kind,
                                  .timed = sizes.timed,
                                  .expires_s = expires_s,
                                  .key = key,
                                  .meta = slice(room, sizes.meta),
                                  .value = slice(room + sizes.meta, sizes.value)};
    append_record(db, hash, head, &found, &change, replaces_pack(address, size, sizes.timed));
    own_add(&db->live_bytes, record_size_of(key.size, round_8(payload_size(&change))) - size);
    count_add(&db->counters.copied_records, 1);
    count_add(&db->counters.copied_bytes, size);
    return PLSM_OK;
}

plsm_status copy_live(struct hybrid *db, const uint64_t *addresses, size_t count)
{
    plsm_status status = PLSM_OK;
    uint64_t commits = counted(&db->commits);
    atomic_store_explicit(&db->commits, commits + 1, memory_order_relaxed);
    epoch_enter(db->epoch);
    for (size_t i = 0; i < count && status == PLSM_OK; i++)
        status = copy_one(db, addresses[i]);
    epoch_exit(db->epoch);
    atomic_store_explicit(&db->commits, commits + 2, memory_order_release);
    return status;
}

plsm_status count_record(struct hybrid *db, const struct hybrid_record *record, uint64_t begin)
{
    struct record_sizes sizes = record_sizes(record);
    plsm_slice key = record_key(record);
    bool was_live = replaces_address(record->replaces) >= begin, is_live = sizes.kind != BATCH_DELETE;
    bool was_timed = was_live && record->replaces & REPLACES_TIMED, is_timed = is_live && sizes.timed;
    uint64_t slashes = is_live && !was_live ? count_slashes(key) : 0;
    if (is_live && !was_live && !is_name(key))
        TRY(key_order_add(&db->others, key));
    if (slashes > 0 && is_name(key)) {
        TRY(prefixes_trim(&db->prefixes, slashes));
        TRY(prefixes_reserve(&db->prefixes, key));
    }
    own_add(&db->live_bytes, (is_live ? record_size(record) : 0) - (was_live ? replaces_size(record->replaces) : 0));
    if (!count_key(db, key, (int)is_live - (int)was_live, (int)is_timed - (int)was_timed))
        return fail(PLSM_CORRUPT,
                    "%s: the log replaces an entry that it does not hold; restore the segments from one "
                    "backup",
                    db->path);
    return PLSM_OK;
}
