/* Writing. What can fail is done first: finding what each change replaces (which may read the disk), memory for the
 * log, the index and the counts. Then the batch goes into the redo log, and is applied, which cannot fail. All of it is
 * inside one epoch, so that what was found stays. */
#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "log/hybrid_private.h"

#include "base/banned.h"

/* The store in whose hybrid_prepare this thread is: it holds the write_lock already. */
static _Thread_local const struct hybrid *preparing;

bool is_preparing(const struct hybrid *db)
{
    return preparing == db;
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

/* --- applying ----------------------------------------------------------------------------------------------------- */

/* What is known of a change before it is made. */
struct planned {
    struct batch_change change;
    uint64_t hash;
    struct found found; /* the newest record of its key, before this batch */
};

/* What was found of a key. */
struct before {
    bool live, timed;
    uint64_t size; /* of its record */
};

static struct before before_of(const struct found *found)
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
    count_add(&db->live, (uint64_t)(int64_t)live);
    if (!is_name(key)) {
        if (live < 0)
            others_note_dead(db, key);
        return true;
    }
    /* Seen together with the number of commits, as the counts of the prefixes are. */
    atomic_fetch_add_explicit(&db->names, (uint64_t)(int64_t)live, memory_order_release);
    atomic_fetch_add_explicit(&db->names_timed, (uint64_t)(int64_t)timed, memory_order_release);
    return prefixes_count(&db->prefixes, key, live, timed);
}

/* The payload of a change, in the writer's scratch; returns its size. */
static uint64_t make_payload(struct hybrid *db, const struct batch_change *change)
{
    uint8_t *to = db->scratch;
    if (change->timed && change->expires_s) {
        put_u64(to, change->expires_s);
        to += sizeof(uint64_t);
    }
    copy_short(to, change->meta.data, change->meta.size);
    to += change->meta.size;
    if (change->value.size)
        memcpy(to, change->value.data, change->value.size);
    return (uint64_t)(to - db->scratch) + change->value.size;
}

static struct record_sizes sizes_of(const struct batch_change *change)
{
    bool put = change->kind != BATCH_DELETE;
    return (struct record_sizes){.value = put ? (uint32_t)change->value.size : 0,
                                 .key = (uint16_t)change->key.size,
                                 .meta = put ? (uint8_t)change->meta.size : 0,
                                 .kind = (uint8_t)change->kind,
                                 .timed = put && change->timed && change->expires_s};
}

/* Changes a record where it stands, so that readers beside see all of it or nothing. */
static void update_in_place(struct hybrid *db, const struct found *found, const struct batch_change *change,
                            uint64_t payload)
{
    struct hybrid_record *record = (struct hybrid_record *)(uintptr_t)found->record;
    uint32_t sequence = atomic_load_explicit(&record->sequence, memory_order_relaxed);
    atomic_store_explicit(&record->sequence, sequence + 1, memory_order_relaxed);
    uint8_t *room = record_room(record);
    atomic_store_explicit(&record->sizes, sizes_pack(sizes_of(change)), memory_order_release);
    words_write(room, db->scratch, round_8(payload));
    atomic_store_explicit(&record->sequence, sequence + 2, memory_order_release);
    own_add(&db->counters.in_place, 1);
}

/* The record that a new one of the same chain leads to. What it replaces need not be led to unless a snapshot may look
 * for it; so a key that is written again and again has a short chain. */
static uint64_t previous_for(const struct hybrid *db, uint64_t hash, const struct found *found)
{
    uint64_t previous = index_find(&db->index, hash);
    if (found->record && previous == found->address && !db->snapshots)
        previous = found->record->previous;
    return previous >= address_of(&db->floor) ? previous : 0;
}

/* Appends a record; there is memory for it. `replaces` is packed. */
static void append_record(struct hybrid *db, uint64_t hash, const struct found *found,
                          const struct batch_change *change, uint64_t payload, uint64_t replaces)
{
    uint64_t key_size = change->key.size, room = round_8(payload), size = record_size_of(key_size, room);
    uint64_t previous = previous_for(db, hash, found), address = log_place(db, size);
    struct hybrid_record *record = (struct hybrid_record *)(void *)log_bytes_at(db, address);
    *record = (struct hybrid_record){.previous = previous, .replaces = replaces, .room = (uint32_t)room};
    atomic_init(&record->sizes, sizes_pack(sizes_of(change)));
    if (key_size % 8)
        put_u64(record->key + round_8(key_size) - 8, 0);
    copy_short(record->key, change->key.data, key_size);
    if (payload % 8)
        put_u64(record_room(record) + room - 8, 0);
    memcpy(record_room(record), db->scratch, payload);
    index_put(&db->index, hash, address, address_of(&db->floor));
    own_add(&db->counters.appended, 1);
}

static void apply_put(struct hybrid *db, uint64_t hash, const struct found *found, const struct batch_change *change)
{
    struct before before = before_of(found);
    uint64_t payload = make_payload(db, change);
    bool timed = change->timed && change->expires_s;
    if (found->record && found->address >= address_of(&db->read_only) && payload <= found->record->room) {
        if (payload % 8)
            put_u64(db->scratch + payload, 0);
        update_in_place(db, found, change, payload);
        count_add(&db->live_bytes, before.live ? 0 : before.size);
    } else {
        uint64_t replaces = before.live ? replaces_pack(found->address, before.size, before.timed) : 0;
        append_record(db, hash, found, change, payload, replaces);
        count_add(&db->live_bytes,
                  record_size_of(change->key.size, round_8(payload)) - (before.live ? before.size : 0));
    }
    (void)count_key(db, change->key, before.live ? 0 : 1, (int)timed - (int)before.timed);
}

static void apply_delete(struct hybrid *db, uint64_t hash, const struct found *found, plsm_slice key)
{
    struct before before = before_of(found);
    struct batch_change change = {.kind = BATCH_DELETE, .key = key};
    if (!before.live)
        return;
    if (found->address >= address_of(&db->read_only))
        update_in_place(db, found, &change, 0);
    else
        append_record(db, hash, found, &change, 0, replaces_pack(found->address, before.size, before.timed));
    own_add(&db->counters.deletions, 1);
    count_add(&db->live_bytes, -before.size);
    (void)count_key(db, key, -1, -(int)before.timed);
}

/* What was found before the batch, unless the batch itself has written a newer record since: from `start` on. */
static struct found newest(const struct hybrid *db, const struct planned *planned, plsm_slice key, uint64_t start)
{
    uint64_t address = index_find(&db->index, planned->hash);
    while (address >= start) {
        const struct hybrid_record *record = (const struct hybrid_record *)(const void *)log_bytes_at(db, address);
        if (slice_equal(record_key(record), key))
            return (struct found){record, address};
        address = record->previous;
    }
    return planned->found;
}

static void apply(struct hybrid *db, const struct planned *planned, uint64_t count)
{
    uint64_t start = address_of(&db->tail), commits = counted(&db->commits);
    atomic_store_explicit(&db->commits, commits + 1, memory_order_relaxed);
    for (const struct planned *end = planned + count; planned < end; planned++) {
        const struct batch_change *change = &planned->change;
        struct found found = newest(db, planned, change->key, start);
        if (change->kind == BATCH_DELETE)
            apply_delete(db, planned->hash, &found, change->key);
        else
            apply_put(db, planned->hash, &found, change);
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
static plsm_status check_change(const struct batch_change *change)
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
        uint64_t room = change->kind == BATCH_DELETE ? 0 : round_8(8 + change->meta.size + change->value.size);
        tail = log_end_after(db, tail, record_size_of(change->key.size, room));
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

/* Finds what each of the `count` changes of a batch replaces, and makes room for keys that are new. */
static plsm_status plan(struct hybrid *db, plsm_slice bytes, struct planned *planned, uint64_t count)
{
    const uint8_t *at = bytes.data, *end = at + bytes.size;
    uint64_t slashes = 0, i = 0;
    struct batch_change change;
    for (; i < count && batch_next(&at, end, &change); i++) {
        struct planned *p = &planned[i];
        TRY(check_change(&change));
        p->change = change;
        p->hash = key_hash(change.key.data, change.key.size);
        TRY(find_record(db, moment_now(db), p->hash, change.key, &p->found));
        if (!is_new(p))
            continue;
        if (is_name(change.key))
            slashes += count_slashes(change.key);
        else
            TRY(others_add(db, change.key));
    }
    if (at != end || i != count)
        return fail(PLSM_INVALID, "the batch is damaged at byte %zu", (size_t)(at - (const uint8_t *)bytes.data));
    return slashes > 0 ? reserve_prefixes(db, planned, count, slashes) : PLSM_OK;
}

/* Plans and makes the changes of a batch, between the two into the redo log. */
static plsm_status plan_and_apply(struct hybrid *db, plsm_slice bytes, uint64_t count, bool log)
{
    struct planned one, *planned = count > 1 ? mem_alloc(count * sizeof *planned) : &one;
    if (!planned)
        return fail(PLSM_NO_MEMORY, "no memory for a batch of %" PRIu64 " changes", count);
    epoch_enter(db->epoch);
    plsm_status status = plan(db, bytes, planned, count);
    if (status == PLSM_OK)
        status = reserve_log(db, planned, count);
    if (status == PLSM_OK && log) {
        status = redo_append(&db->redo, bytes);
        if (status != PLSM_OK && reclog_broken(db->redo.current.writer))
            status = hybrid_break(db, status);
    }
    if (status == PLSM_OK)
        apply(db, planned, count);
    if (db->dead_others.size > 0)
        others_drop_dead(db);
    epoch_exit(db->epoch);
    if (planned != &one)
        mem_free(planned);
    return status;
}

static uint64_t count_changes(plsm_slice bytes)
{
    const uint8_t *at = bytes.data, *end = at + bytes.size;
    struct batch_change change;
    uint64_t count = 0;
    while (batch_next(&at, end, &change))
        count++;
    return count;
}

plsm_status apply_replayed(struct hybrid *db, plsm_slice bytes)
{
    plsm_status status = plan_and_apply(db, bytes, count_changes(bytes), false);
    if (status == PLSM_INVALID)
        status = PLSM_CORRUPT;
    if (status == PLSM_OK)
        count_add(&db->unsaved_bytes, bytes.size);
    return status;
}

/* --- deletions of ranges ------------------------------------------------------------------------------------------ */

static plsm_slice behind_keyspace(plsm_slice key)
{
    return slice((const uint8_t *)key.data + 1, key.size - 1);
}

static plsm_status add_deletion(struct batch *out, plsm_slice key)
{
    return batch_add(out, BATCH_DELETE, *(const uint8_t *)key.data, behind_keyspace(key), slice(NULL, 0),
                     slice(NULL, 0));
}

/* Deletes what is there, and what the batch itself has put before. */
static plsm_status expand_range(struct hybrid *db, const struct batch_change *range, struct batch *out)
{
    struct hybrid_iterator *it = NULL;
    size_t before = out->bytes.size;
    if (slice_compare(range->key, range->value) >= 0)
        return PLSM_OK;
    for (size_t offset = 0; offset < before;) { /* the bytes move when more are added */
        const uint8_t *at = out->bytes.data + offset;
        struct batch_change change;
        INVARIANT(batch_next(&at, out->bytes.data + before, &change));
        offset = (size_t)(at - out->bytes.data);
        if (change.kind != BATCH_DELETE && slice_compare(change.key, range->key) >= 0 &&
            slice_compare(change.key, range->value) < 0) {
            uint8_t key[HYBRID_KEY_MAX];
            memcpy(key, change.key.data, change.key.size);
            TRY(add_deletion(out, slice(key, change.key.size)));
        }
    }
    TRY(hybrid_iterator_create(db, NULL, range->key, range->value, true, &it));
    hybrid_iterator_show_expired(it);
    plsm_status status = PLSM_OK;
    for (const struct hybrid_entry *entry = hybrid_iterator_first(it); entry && status == PLSM_OK;
         entry = hybrid_iterator_next(it))
        status = add_deletion(out, entry->key);
    if (status == PLSM_OK)
        status = hybrid_iterator_status(it);
    hybrid_iterator_destroy(it);
    return status;
}

/* The same batch with a deletion for each key in place of those of ranges. */
static plsm_status expand_ranges(struct hybrid *db, const struct batch *batch, struct batch *out)
{
    const uint8_t *at = batch->bytes.data, *end = at + batch->bytes.size;
    struct batch_change change;
    while (batch_next(&at, end, &change)) {
        uint8_t keyspace = *(const uint8_t *)change.key.data;
        plsm_slice key = behind_keyspace(change.key);
        if (change.kind == BATCH_DELETE_RANGE)
            TRY(expand_range(db, &change, out));
        else if (change.timed)
            TRY(batch_add_timed(out, change.kind, keyspace, key, change.meta, change.value, change.expires_s));
        else
            TRY(batch_add(out, change.kind, keyspace, key, change.meta, change.value));
    }
    return PLSM_OK;
}

/* --- the door ----------------------------------------------------------------------------------------------------- */

static plsm_status find_room(struct hybrid *db, const struct batch *batch)
{
    uint64_t unwritten = address_of(&db->tail) - address_of(&db->flushed);
    TRY(room_look(&db->room, db->env, db->path, db->options.file_size + unwritten));
    db->room.since_bytes += batch->bytes.size;
    return room_check(&db->room, db->path, batch);
}

static plsm_status write_locked(struct hybrid *db, const struct batch *batch, hybrid_prepare *prepare, void *arg,
                                enum hybrid_durability durability)
{
    struct batch expanded = {0};
    plsm_status status = hybrid_writable(db);
    preparing = db;
    if (status == PLSM_OK && prepare)
        status = prepare(arg, &batch);
    if (status == PLSM_OK && batch && batch->ranges > 0) {
        status = expand_ranges(db, batch, &expanded);
        batch = &expanded;
    }
    preparing = NULL;
    if (status == PLSM_OK && batch && batch->count > 0)
        status = find_room(db, batch);
    if (status == PLSM_OK && batch && batch->count > 0) {
        bool log = durability != HYBRID_VOLATILE && db->redo.current.writer;
        status = plan_and_apply(db, buf_slice(&batch->bytes), batch->count, log);
        if (status == PLSM_OK) {
            own_add(&db->unsaved_bytes, batch->bytes.size);
            own_add(&db->volatile_bytes, log ? 0 : batch->bytes.size);
        }
    }
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

plsm_status hybrid_write(struct hybrid *db, const struct batch *batch, hybrid_prepare *prepare, void *arg,
                         enum hybrid_durability durability)
{
    mutex_lock(&db->write_lock);
    plsm_status status = write_locked(db, batch, prepare, arg, durability);
    mutex_unlock(&db->write_lock);
    TRY(status);
    if (durability == HYBRID_SYNC)
        TRY(hybrid_sync(db));
    if (__builtin_expect(maintenance_is_due(db), 0)) {
        if (db->thread)
            maintenance_wake(db);
        else
            (void)do_maintenance(db); /* the write is made; what failed is told by the next one, or tried again */
    }
    return PLSM_OK;
}

/* --- records that were there -------------------------------------------------------------------------------------- */

/* Copies one record to the tail if it is the newest of its key, or deletes it where its time has come. */
static plsm_status copy_one(struct hybrid *db, uint64_t address)
{
    const struct hybrid_record *record;
    struct found found;
    TRY(record_at(db, address, &record));
    plsm_slice key = record_key(record);
    uint64_t hash = key_hash(key.data, key.size);
    TRY(find_record(db, moment_now(db), hash, key, &found));
    struct record_sizes sizes = record_sizes(record);
    if (found.address != address || !found.record || sizes.kind == BATCH_DELETE)
        return PLSM_OK;
    const uint8_t *room = record_room(record);
    uint64_t expires_s = sizes.timed ? get_u64(room) : 0, size = record_size(record);
    room += sizes.timed ? sizeof(uint64_t) : 0;
    TRY(pages_reserve(db, log_end_after(db, address_of(&db->tail), size)));
    TRY(index_reserve(&db->index, 1, address_of(&db->floor)));
    if (expires_s && sizes.kind == BATCH_PUT && expires_s <= now_s(db)) {
        apply_delete(db, hash, &found, key);
        return PLSM_OK;
    }
    struct batch_change change = {.kind = sizes.kind,
                                  .timed = sizes.timed,
                                  .expires_s = expires_s,
                                  .key = key,
                                  .meta = slice(room, sizes.meta),
                                  .value = slice(room + sizes.meta, sizes.value)};
    uint64_t payload = make_payload(db, &change);
    append_record(db, hash, &found, &change, payload, replaces_pack(address, size, sizes.timed));
    count_add(&db->live_bytes, record_size_of(key.size, round_8(payload)) - size);
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
        TRY(others_add(db, key));
    if (slashes > 0 && is_name(key)) {
        TRY(prefixes_trim(&db->prefixes, slashes));
        TRY(prefixes_reserve(&db->prefixes, key));
    }
    count_add(&db->live_bytes, (is_live ? record_size(record) : 0) - (was_live ? replaces_size(record->replaces) : 0));
    if (!count_key(db, key, (int)is_live - (int)was_live, (int)is_timed - (int)was_timed))
        return fail(PLSM_CORRUPT,
                    "%s: the log replaces an entry that it does not hold; restore the segments from one "
                    "backup",
                    db->path);
    return PLSM_OK;
}
