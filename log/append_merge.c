/* Merging: what lives in some segments is copied to a new one, which replaces them.
 *
 * The new segment ends with a list of those that it replaces, and counts once it was closed cleanly: so there is one
 * moment at which a crash finds the others gone. In front of that moment everything is synced that was appended by
 * anybody: what made an entry dead must not be lost when the entry is. Behind it the directory is told the new places,
 * the old segments are let go, and their files are removed when nobody reads them any more.
 *
 * A deletion is copied as long as it may hide something: as long as its key is not there (else what is there is newer,
 * and hides more), and a segment that is not merged has entries that are older than it. With snapshots it always is,
 * since what they see is older, and is copied as well. An entry whose time has come is copied as a deletion. */
#include "log/append_hint.h"
#include "log/append_policy.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/number_list.h"
#include "base/banned.h"

enum {
    RECORD_BYTES = 256 << 10, /* of copied entries */
};

struct move {
    uint64_t key; /* offset in `keys` */
    uint32_t key_size;
    append_place from, to;
};

struct merging {
    struct append *db;
    struct segment *const *victims;
    size_t count;
    struct segment *output;
    struct segment *victim; /* that is being read */
    const char *path;
    uint64_t base;       /* no entry has a lower number */
    uint64_t others_min; /* lowest number of an entry in other segments */
    bool keep_all;       /* deletions */
    uint64_t now_s;
    struct buf payload, keys, moves;
};

static plsm_status flush_record(struct merging *m)
{
    plsm_slice payload = buf_slice(&m->payload);
    if (payload.size == 0)
        return PLSM_OK;
    INVARIANT(m->base > 0); /* else the record would be none of entries */
    TRY(reclog_append(m->output->writer, m->base, &payload, 1));
    atomic_store(&m->output->size, reclog_size(m->output->writer));
    atomic_fetch_add_explicit(&m->db->write_calls, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&m->db->write_bytes, payload.size, memory_order_relaxed);
    atomic_fetch_add_explicit(&m->db->merged_bytes, payload.size, memory_order_relaxed);
    m->payload.size = 0;
    return PLSM_OK;
}

static plsm_status note_move(struct merging *m, plsm_slice key, append_place from, append_place to)
{
    struct move move = {.key = m->keys.size, .key_size = (uint32_t)key.size, .from = from, .to = to};
    TRY(buf_append(&m->keys, key.data, key.size));
    return buf_append(&m->moves, &move, sizeof move);
}

/* Copies an entry, as `kind`; *to becomes its place. */
static plsm_status copy(struct merging *m, const struct append_entry *e, enum batch_kind kind, uint64_t seq,
                        append_place *to)
{
    struct batch_change change = {.kind = kind, .key = e->key};
    if (kind != BATCH_DELETE) {
        change.meta = e->meta;
        change.value = e->value;
        change.timed = e->expires_s > 0;
        change.expires_s = e->expires_s;
    }
    uint64_t offset = reclog_size(m->output->writer) + APPEND_RECORD_HEAD + m->payload.size;
    size_t before = m->payload.size;
    TRY(append_entry_add(&m->payload, &change, seq - m->base, m->output->salt, offset));
    size_t size = m->payload.size - before;
    if (offset + size > APPEND_SEGMENT_MAX || size > APPEND_ENTRY_MAX)
        return fail(PLSM_TOO_LARGE, "%s: too much lives in it to merge it", m->path);
    *to = append_place_of(m->output->slot, offset, size, change.timed);
    return m->payload.size >= RECORD_BYTES ? flush_record(m) : PLSM_OK;
}

/* May something older than a deletion be on the disk when the merge is done? */
static bool hides(const struct merging *m, uint64_t seq)
{
    return m->keep_all || m->others_min < seq;
}

static plsm_status take_put(struct merging *m, const struct append_entry *e, uint64_t seq, append_place from)
{
    append_place to = 0;
    epoch_enter(m->db->epoch);
    bool lives = directory_has_place(m->db, e->key, from);
    epoch_exit(m->db->epoch);
    if (!lives)
        return PLSM_OK;
    if (e->kind == BATCH_PUT && e->expires_s > 0 && e->expires_s <= m->now_s) {
        atomic_fetch_add_explicit(&m->db->expired, 1, memory_order_relaxed);
        if (hides(m, seq))
            TRY(copy(m, e, BATCH_DELETE, seq, &to));
        return note_move(m, e->key, from, 0);
    }
    TRY(copy(m, e, e->kind, seq, &to));
    return note_move(m, e->key, from, to);
}

static plsm_status take_deletion(struct merging *m, const struct append_entry *e, uint64_t seq)
{
    append_place to = 0;
    if (!hides(m, seq))
        return PLSM_OK;
    if (e->kind == BATCH_DELETE && !m->keep_all) {
        epoch_enter(m->db->epoch);
        const struct key_node *node = key_tree_find(m->db->tree, e->key);
        bool there = node && directory_place(m->db, node, UINT64_MAX) != 0;
        epoch_exit(m->db->epoch);
        if (there)
            return PLSM_OK;
    }
    return copy(m, e, e->kind, seq, &to);
}

/* Is a reclog_each. */
static plsm_status take_record(void *arg, uint64_t user, plsm_slice payload, uint64_t offset)
{
    struct merging *m = arg;
    const uint8_t *start = payload.data, *at = start;
    if (user == 0)
        return PLSM_OK;
    while (at < start + payload.size) {
        struct append_entry e;
        uint64_t place = offset + APPEND_RECORD_HEAD + (uint64_t)(at - start);
        size_t left = payload.size - (size_t)(at - start);
        if (!append_entry_read(slice(at, left), m->victim->salt, place, true, &e) || e.size > left ||
            user > APPEND_SEQ_MAX || e.seq_delta > APPEND_SEQ_MAX - user || user + e.seq_delta < m->base)
            return fail(PLSM_CORRUPT,
                        "%s: the entry at offset %" PRIu64 " is damaged; run plsm check, restore from a "
                        "backup",
                        m->path, place);
        append_place from = append_place_of(m->victim->slot, place, e.size, e.expires_s > 0);
        uint64_t seq = user + e.seq_delta;
        bool deletes = e.kind == BATCH_DELETE || e.kind == BATCH_DELETE_RANGE;
        TRY(deletes ? take_deletion(m, &e, seq) : take_put(m, &e, seq, from));
        at += e.size;
    }
    return PLSM_OK;
}

static plsm_status read_victims(struct merging *m)
{
    char path[APPEND_PATH_MAX];
    for (size_t i = 0; i < m->count; i++) {
        struct reclog_result result = {0};
        m->victim = m->victims[i];
        m->path = path;
        segment_path(m->db, "segment", m->victim->number, path);
        TRY(reclog_read(m->db->env, path, APPEND_SEGMENT_MAGIC, take_record, m, &result));
        if (result.end < atomic_load(&m->victim->size))
            return fail(PLSM_CORRUPT, "%s: the segment was cut short; restore it from a backup", path);
    }
    return flush_record(m);
}

static bool is_victim(const struct merging *m, const struct segment *s)
{
    for (size_t i = 0; i < m->count; i++)
        if (m->victims[i] == s)
            return true;
    return false;
}

static void look_around(struct merging *m)
{
    struct append *db = m->db;
    m->base = m->others_min = UINT64_MAX;
    mutex_lock(&db->lock);
    for (size_t i = 0; i < db->segment_count; i++) { /* all that is in unsealed ones is newer than what is merged */
        const struct segment *s = db->segments[i];
        uint64_t *lowest = is_victim(m, s) ? &m->base : &m->others_min;
        if ((s->state == SEGMENT_SEALED || s->state == SEGMENT_TORN) && s->seq_min < *lowest)
            *lowest = s->seq_min;
    }
    mutex_unlock(&db->lock);
    if (m->base == UINT64_MAX) /* nothing is in them */
        m->base = 1;
    directory_prune(db, SIZE_MAX);
    mutex_lock(&db->directory);
    m->keep_all = db->snapshots > 0 || db->chained_count > 0;
    m->now_s = directory_earliest_s(db); /* so that a scan that has begun agrees with itself */
    mutex_unlock(&db->directory);
}

/* What the new segment replaces: the merged ones, and those that are replaced already and have not been removed; and up
 * to which change entries were taken for dead: they are synced before it counts. */
static plsm_status write_replaces(struct merging *m)
{
    struct append *db = m->db;
    struct buf payload = {0};
    mutex_lock(&db->lock);
    size_t count = m->count + db->garbage_count;
    uint64_t *numbers = mem_alloc(count * sizeof *numbers);
    for (size_t i = 0; numbers && i < count; i++)
        numbers[i] = i < m->count ? m->victims[i]->number : db->garbage[i - m->count].number;
    plsm_status status =
        numbers ? append_garbage_reserve(db, m->count) : fail(PLSM_NO_MEMORY, "no memory to merge segments");
    mutex_unlock(&db->lock);
    if (status == PLSM_OK) {
        qsort(numbers, count, sizeof *numbers, number_compare);
        status = append_replaces_add(&payload, numbers, count);
    }
    plsm_slice part = buf_slice(&payload);
    if (status == PLSM_OK)
        status = reclog_append(m->output->writer, 0, &part, 1);
    uint64_t seq = atomic_load(&db->visible);
    if (status == PLSM_OK && seq > 0)
        status = reclog_append(m->output->writer, seq, NULL, 0);
    mem_free(numbers);
    buf_free(&payload);
    return status;
}

/* Makes the new segment one of the list, in place of the others. Cannot fail. */
static void publish(struct merging *m)
{
    struct append *db = m->db;
    struct append_move moves[DIRECTORY_MOVES_MAX];
    const struct move *noted = (const struct move *)(const void *)m->moves.data;
    size_t count = m->moves.size / sizeof *noted;
    for (size_t done = 0; done < count;) {
        size_t n = count - done < DIRECTORY_MOVES_MAX ? count - done : DIRECTORY_MOVES_MAX;
        for (size_t i = 0; i < n; i++) {
            const struct move *move = &noted[done + i];
            moves[i] = (struct append_move){slice(m->keys.data + move->key, move->key_size), move->from, move->to};
        }
        directory_move(db, moves, n);
        done += n;
        append_give_way(db);
    }
    mutex_lock(&db->lock);
    for (size_t i = 0; i < m->count; i++) {
        segment_list_remove(db, m->victims[i]);
        append_garbage_add(db, m->victims[i]->number, false);
    }
    segment_list_add(db, m->output); /* room is there: at least one has gone */
    m->output->state = SEGMENT_SEALED;
    mutex_unlock(&db->lock);
    for (size_t i = 0; i < m->count; i++)
        segment_retire(m->victims[i], true);
}

/* From here on a failure is final: nobody knows what the disk has. */
static plsm_status commit(struct merging *m)
{
    struct append *db = m->db;
    struct hint hint = {0};
    struct segment_scan scan;
    TRY(append_sync_logs(db));
    plsm_status status = segment_seal(m->output);
    if (status != PLSM_OK) {
        mutex_lock(&db->lock);
        append_break(db, status);
        mutex_unlock(&db->lock);
        return status;
    }
    segment_map(m->output, atomic_load(&m->output->size));
    if (hint_make(db, m->output->number, &hint, &scan) == PLSM_OK) {
        m->output->tombstones = hint.facts.tombstones;
        m->output->seq_min = hint.facts.seq_min;
        m->output->seq_max = hint.facts.seq_max;
        m->output->hinted = hint_write(db, &hint) == PLSM_OK; /* otherwise opening takes longer */
    } else { /* of what was copied nothing is older or newer than of what was read */
        m->output->seq_min = m->base;
        m->output->seq_max = atomic_load(&db->visible);
    }
    hint_free(&hint);
    return PLSM_OK;
}

plsm_status merge_segments(struct append *db, struct segment **victims, size_t count)
{
    struct merging m = {.db = db, .victims = victims, .count = count};
    TRY(segment_create(db, SEGMENT_FILLED, &m.output));
    look_around(&m);
    plsm_status status = read_victims(&m);
    if (status == PLSM_OK)
        status = write_replaces(&m);
    bool written = status == PLSM_OK;
    if (status == PLSM_OK)
        status = commit(&m);
    if (status == PLSM_OK) {
        publish(&m);
        atomic_fetch_add_explicit(&db->merges, 1, memory_order_relaxed);
    } else {
        char path[APPEND_PATH_MAX];
        struct fail_kept kept;
        fail_keep(&kept);
        segment_path(db, "segment", m.output->number, path);
        segment_retire(m.output, false);
        if (!written) /* else it may count already, and what it holds is right */
            env_remove(db->env, path);
        fail_again(status, &kept);
    }
    buf_free(&m.payload);
    buf_free(&m.keys);
    buf_free(&m.moves);
    return status;
}
