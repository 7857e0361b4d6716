/* Segments: files, slots, the list of them, reading an entry. */
#include <inttypes.h>
#include <stdio.h>

#include "base/error.h"
#include "log/append_db.h"
#include "base/banned.h"

enum { HEAD_READ_BYTES = 4096 };

void segment_path(const struct append *db, const char *kind, uint64_t number, char out[APPEND_PATH_MAX])
{
    snprintf(out, APPEND_PATH_MAX, "%s/%s-%06" PRIu64, db->path, kind, number);
}

/* --- slots -------------------------------------------------------------------------------------------------------- */

static plsm_status take_slot(struct append *db, struct segment *s)
{
    plsm_status status = PLSM_OK;
    mutex_lock(&db->lock);
    if (db->free_slot_count == 0) {
        status = fail(PLSM_NO_SPACE, "%s: %d segments are all that a store may have; open it with a larger file_size",
                      db->path, APPEND_SLOTS);
    } else {
        s->slot = db->free_slots[--db->free_slot_count];
        atomic_store_explicit(&db->slots[s->slot], s, memory_order_release);
    }
    mutex_unlock(&db->lock);
    return status;
}

/* The last reference is gone, and no place leads to it. */
static void destroy(struct segment *s)
{
    struct append *db = s->db;
    reclog_close(s->writer);
    env_close(s->file);
    if (s->remove) {
        mutex_lock(&db->lock);
        append_garbage_release(db, s->number);
        mutex_unlock(&db->lock);
    }
    mem_free(s);
}

void segment_release(struct segment *s)
{
    if (s && atomic_fetch_sub(&s->references, 1) == 1)
        destroy(s);
}

/* Nobody looks at it any more. */
static void give_slot_back(struct epoch_node *node)
{
    struct segment *s = (struct segment *)node;
    struct append *db = s->db;
    mutex_lock(&db->lock);
    db->free_slots[db->free_slot_count++] = (uint16_t)s->slot;
    mutex_unlock(&db->lock);
    segment_release(s);
}

/* No reader has a place in it from the directory any more; iterators may have noted some. */
static void clear_slot(struct epoch_node *node)
{
    struct segment *s = (struct segment *)node;
    atomic_store_explicit(&s->db->slots[s->slot], NULL, memory_order_release);
    epoch_retire(s->db->epoch, &s->retired, give_slot_back);
}

/* In two steps: readers that got a place before the directory changed find the segment in its slot until they leave;
 * those that found it there, though their place is older, until they leave. */
void segment_retire(struct segment *s, bool remove)
{
    s->remove = remove;
    epoch_retire(s->db->epoch, &s->retired, clear_slot);
}

plsm_status segment_list_add(struct append *db, struct segment *s)
{
    if (db->segment_count == db->segment_capacity) {
        size_t capacity = db->segment_capacity ? 2 * db->segment_capacity : 16;
        struct segment **grown = mem_realloc(db->segments, capacity * sizeof *grown);
        if (!grown)
            return fail(PLSM_NO_MEMORY, "no memory for a list of segments");
        db->segments = grown;
        db->segment_capacity = capacity;
    }
    size_t at = db->segment_count++;
    for (; at > 0 && db->segments[at - 1]->number > s->number; at--)
        db->segments[at] = db->segments[at - 1];
    db->segments[at] = s;
    return PLSM_OK;
}

void segment_list_remove(struct append *db, struct segment *s)
{
    size_t at = 0;
    while (at < db->segment_count && db->segments[at] != s)
        at++;
    INVARIANT(at < db->segment_count);
    memmove(db->segments + at, db->segments + at + 1, (db->segment_count - at - 1) * sizeof *db->segments);
    db->segment_count--;
}

/* --- files -------------------------------------------------------------------------------------------------------- */

void segment_map(struct segment *s, uint64_t size)
{
    const void *map = NULL;
    if (!s->db->options.mapped || atomic_load_explicit(&s->map, memory_order_relaxed))
        return;
    if (env_map(s->file, size, &s->lost, &map) != PLSM_OK)
        return;
    s->map_size = size;
    atomic_store_explicit(&s->map, map, memory_order_release);
}

static struct segment *segment_alloc(struct append *db, uint64_t number)
{
    struct segment *s = mem_zalloc(sizeof *s);
    if (!s) {
        fail(PLSM_NO_MEMORY, "no memory for segment %" PRIu64, number);
        return NULL;
    }
    s->db = db;
    s->number = number;
    s->seq_min = UINT64_MAX;
    atomic_init(&s->references, 1);
    return s;
}

/* The numbers of all files that are there, for the head, but for torn ones that are kept. Under lock. */
static plsm_status list_numbers(struct append *db, uint64_t **out, size_t *count)
{
    size_t most = db->segment_count;
    *count = 0;
    *out = mem_alloc((most + 1) * sizeof **out);
    if (!*out)
        return fail(PLSM_NO_MEMORY, "no memory for a list of segments");
    for (size_t i = 0; i < db->segment_count; i++)
        if (!db->segments[i]->kept)
            (*out)[(*count)++] = db->segments[i]->number;
    return PLSM_OK;
}

plsm_status segment_begin(struct segment *s)
{
    struct append *db = s->db;
    struct append_head head = {.store_id = db->store_id,
                               .number = s->number,
                               .salt = s->salt,
                               .first_seq = atomic_load(&db->visible),
                               .merged = s->state == SEGMENT_FILLED};
    struct buf payload = {0};
    uint64_t *numbers = NULL;
    size_t count = 0;
    mutex_lock(&db->lock);
    plsm_status status = list_numbers(db, &numbers, &count);
    mutex_unlock(&db->lock);
    if (status == PLSM_OK)
        status = append_head_add(&payload, &head, numbers, count);
    plsm_slice part = buf_slice(&payload);
    if (status == PLSM_OK) {
        INVARIANT(reclog_size(s->writer) == APPEND_RECORDS_AT);
        status = reclog_append(s->writer, 0, &part, 1);
    }
    s->head_end = reclog_size(s->writer);
    atomic_store(&s->size, s->head_end);
    mem_free(numbers);
    buf_free(&payload);
    return status;
}

static plsm_status prepare(struct append *db, struct segment *s)
{
    char path[APPEND_PATH_MAX];
    segment_path(db, "segment", s->number, path);
    env_random(db->env, &s->salt, sizeof s->salt);
    TRY(db->options.mapped ? reclog_create_mapped(db->env, path, APPEND_SEGMENT_MAGIC, &s->writer)
                           : reclog_create(db->env, path, APPEND_SEGMENT_MAGIC, &s->writer));
    plsm_status status = env_sync_dir(db->env, db->path);
    if (status != PLSM_OK) { /* never tried again, not for the next segment either */
        mutex_lock(&db->lock);
        append_break(db, status);
        mutex_unlock(&db->lock);
        return status;
    }
    TRY(env_open(db->env, path, ENV_READ, &s->file));
    segment_map(s, db->options.segment_size);
    return take_slot(db, s);
}

plsm_status segment_prepare(struct append *db, struct segment **out)
{
    char path[APPEND_PATH_MAX];
    mutex_lock(&db->lock);
    uint64_t number = db->next_number++;
    mutex_unlock(&db->lock);
    struct segment *s = segment_alloc(db, number);
    *out = NULL;
    if (!s)
        return PLSM_NO_MEMORY;
    plsm_status status = prepare(db, s);
    if (status != PLSM_OK) {
        struct fail_kept kept;
        fail_keep(&kept);
        segment_release(s);
        segment_path(db, "segment", number, path);
        env_remove(db->env, path); /* what is left otherwise has no changes, and the next opening removes it */
        return fail_again(status, &kept);
    }
    *out = s;
    return PLSM_OK;
}

void segment_discard(struct segment *s)
{
    char path[APPEND_PATH_MAX];
    struct append *db = s->db;
    segment_path(db, "segment", s->number, path);
    segment_retire(s, false);
    env_remove(db->env, path); /* as above */
}

plsm_status segment_open(struct append *db, uint64_t number, struct segment **out)
{
    char path[APPEND_PATH_MAX];
    struct segment *s = segment_alloc(db, number);
    *out = NULL;
    if (!s)
        return PLSM_NO_MEMORY;
    s->state = SEGMENT_SEALED;
    segment_path(db, "segment", number, path);
    plsm_status status = env_open(db->env, path, ENV_READ, &s->file);
    if (status == PLSM_OK)
        status = take_slot(db, s);
    if (status != PLSM_OK) {
        segment_release(s);
        return status;
    }
    *out = s;
    return PLSM_OK;
}

plsm_status segment_seal(struct segment *s)
{
    struct reclog_writer *writer = s->writer;
    plsm_status status = PLSM_OK;
    mutex_lock(&s->db->sync_lock);
    if (reclog_synced(writer) < reclog_size(writer)) /* before others take it for synced */
        status = reclog_sync(writer);
    if (status == PLSM_OK)
        s->writer = NULL;
    mutex_unlock(&s->db->sync_lock);
    return status == PLSM_OK ? reclog_close_clean(writer) : status;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static plsm_status damaged(struct append *db, append_place place)
{
    const struct segment *s = segment_at(db, place);
    return fail(PLSM_CORRUPT, "%s: the entry at offset %" PRIu64 " is damaged; run plsm check, restore from a backup",
                env_path(s->file), append_place_offset(place));
}

static plsm_status make_room(struct append_memory *memory, size_t size)
{
    if (size <= memory->capacity)
        return PLSM_OK;
    void *grown = mem_realloc(memory->bytes, size + 64);
    if (!grown)
        return fail(PLSM_NO_MEMORY, "no memory for an entry of %zu bytes", size);
    *memory = (struct append_memory){grown, size + 64};
    return PLSM_OK;
}

static plsm_status read_bytes(struct append *db, const struct segment *s, uint64_t offset, size_t size,
                              struct append_memory *memory)
{
    TRY(make_room(memory, size));
    append_count(db, APPEND_READS, 1);
    append_count(db, APPEND_READ_BYTES, size);
    return env_read(s->file, offset, memory->bytes, size);
}

/* Whether these bytes, of the entry at a place or its beginning, are right. */
static bool is_entry(const struct segment *s, append_place place, plsm_slice bytes, plsm_slice key, bool no_value,
                     struct append_entry *out)
{
    return append_entry_read(bytes, s->salt, append_place_offset(place), !no_value, out) &&
           out->size == append_place_size(place) && (key.size == 0 || slice_equal(out->key, key));
}

plsm_status segment_read(struct append *db, append_place place, plsm_slice key, bool no_value,
                         struct append_memory *memory, struct append_entry *out, bool *in_memory)
{
    const struct segment *s = segment_at(db, place);
    size_t size = append_place_size(place), head = APPEND_ENTRY_HEAD_MAX + key.size + UINT8_MAX;
    const uint8_t *bytes = segment_bytes(s, place);
    bool good = bytes && is_entry(s, place, slice(bytes, size), key, no_value, out);
    *in_memory = bytes && env_map_whole(&s->lost);
    if (!*in_memory) {
        if (no_value && key.size && size > HEAD_READ_BYTES && size > head + APPEND_VALUE_APART + 8)
            size = head; /* the value is so large that it has a checksum of its own */
        TRY(read_bytes(db, s, append_place_offset(place), size, memory));
        good = is_entry(s, place, slice(memory->bytes, size), key, no_value, out);
    }
    return good ? PLSM_OK : damaged(db, place);
}

/* Value and meta of an entry that is shown in a mapping. */
static plsm_status copy_out(struct append_memory *memory, struct append_entry *e)
{
    TRY(make_room(memory, e->value.size + e->meta.size));
    uint8_t *to = memory->bytes;
    if (e->value.size)
        memcpy(to, e->value.data, e->value.size);
    copy_short(to + e->value.size, e->meta.data, e->meta.size);
    e->value.data = to;
    e->meta.data = to + e->value.size;
    return PLSM_OK;
}

plsm_status segment_copy(struct append *db, append_place place, plsm_slice key, bool no_value,
                         struct append_memory *memory, struct append_entry *out)
{
    bool in_memory = false;
    TRY(segment_read(db, place, key, no_value, memory, out, &in_memory));
    if (no_value && out->kind != BATCH_REFERENCE)
        out->value = slice(NULL, 0);
    if (in_memory) {
        TRY(copy_out(memory, out));
        if (!env_map_whole(&segment_at(db, place)->lost))
            return segment_copy(db, place, key, no_value, memory, out);
    }
    out->key = key;
    return PLSM_OK;
}
