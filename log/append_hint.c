/* Hints of segments. All numbers are little-endian, all checksums are XXH3-64 (base/checksum.h).
 *
 * File hint-N, written under another name, synced and renamed:
 *      0  u8[8]  magic "plsmhnt1"
 *      8  u32    format version: 1
 *     12  u32    0
 *     16  u64    store, as in the head of the segment (append_format.c)
 *     24  u64    N
 *     32  u64    salt, as in the head of the segment: a hint counts only with that one
 *     40  u64    all changes numbered below, and this one, were written before the segment was begun; of one that a
 *                merge wrote: before it was closed, and synced
 *     48  u64    bytes of the segment that are records
 *     56  u64    lowest number of a change in it, 2^64 - 1 when there is none
 *     64  u64    highest, or 0
 *     72  u64    bytes of entries that are deletions
 *     80  u64    keys
 *     88  u64    deletions of ranges
 *     96  u64    numbers in the segment's head
 *    104  u64    numbers of segments that it replaces
 *    112  u64    bytes of the numbers
 *    120  u64    bytes of those that it replaces
 *    128  u64    bytes of the deletions of ranges
 *    136  u64    bytes of the keys
 *    144  u64    checksum of what follows from 160 on, seeded with the salt
 *    152  u64    checksum of bytes 0 to 151, seeded with N
 *    160  numbers, and those that it replaces, as in the segment
 *         deletions of ranges: varint number of the change less the lowest, varint size and bytes of the first key,
 *         the same of the key where it ends
 *         keys in ascending order, none twice: of the change of each with the highest number in the segment
 *           varint  bytes that it shares with the key before
 *           varint  bytes that follow, and those
 *           varint  number of the change less the lowest
 *           varint  offset of the entry in the segment, in units of 8 bytes
 *           varint  its size, likewise
 *           u8      its kind, and BATCH_TIMED */
#include "log/append_hint.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/checksum.h"
#include "base/error.h"
#include "base/banned.h"

#define MAGIC "plsmhnt1"
enum { VERSION = 1, HEAD_SIZE = 160, POINT_MAX = 5 * VARINT_SIZE_MAX + 1 };

struct header {
    uint8_t magic[8];
    uint32_t version, zero;
    uint64_t store_id, number, salt, first_seq, end, seq_min, seq_max, tombstones;
    uint64_t points, ranges, number_count, replace_count;
    uint64_t numbers_size, replaces_size, ranges_size, points_size;
    uint64_t body_checksum, checksum;
};
_Static_assert(sizeof(struct header) == HEAD_SIZE, "format");
_Static_assert(offsetof(struct header, numbers_size) == 112 && offsetof(struct header, checksum) == 152, "format");

void hint_free(struct hint *hint)
{
    env_close(hint->file);
    mem_free(hint->lost);
    mem_free(hint->memory);
    *hint = (struct hint){0};
}

plsm_status hint_whole(const struct hint *hint)
{
    if (!hint->lost || env_map_whole(hint->lost))
        return PLSM_OK;
    return fail(PLSM_IO, "%s: a page of the hint cannot be read: the disk failed, or it was cut short",
                env_path(hint->file));
}

/* --- making ------------------------------------------------------------------------------------------------------- */

struct item {
    uint64_t head; /* of the key, as a number */
    uint64_t key;  /* offset in `keys` */
    uint64_t seq, offset;
    uint32_t key_size, size;
    uint8_t kind;
};

struct making {
    struct append *db;
    const char *path;
    struct segment_scan *scan;
    struct hint_facts facts;
    struct buf keys, items, numbers, replaces, ranges;
    struct item last;
    bool sorted;
    uint64_t entries_at; /* where the first record of entries may stand */
};

static uint64_t head_of(plsm_slice key)
{
    uint8_t bytes[8] = {0};
    memcpy(bytes, key.data, key.size < sizeof bytes ? key.size : sizeof bytes);
    return get_be64(bytes);
}

static int compare_items(const struct item *x, const struct item *y, const uint8_t *keys)
{
    if (x->head != y->head)
        return x->head < y->head ? -1 : 1;
    int order = slice_compare(slice(keys + x->key, x->key_size), slice(keys + y->key, y->key_size));
    return order ? order : x->seq > y->seq ? -1 : 1; /* the newest first */
}

static int by_key(const void *a, const void *b, void *keys)
{
    return compare_items(a, b, keys);
}

static plsm_status damaged(const struct making *m, uint64_t offset)
{
    return fail(PLSM_CORRUPT,
                "%s: offset %" PRIu64 " holds no entry that belongs there; run plsm check, restore from "
                "a backup",
                m->path, offset);
}

static plsm_status take_head(struct making *m, plsm_slice payload, uint64_t offset)
{
    struct append_head head;
    if (!append_head_parse(payload, &head) ||
        checksum(head.numbers, head.numbers_size, head.salt) != get_u64((const uint8_t *)payload.data + 40))
        return damaged(m, offset);
    if (head.number != m->facts.number)
        return fail(PLSM_CORRUPT, "%s: this is segment %" PRIu64 " under another name; restore from a backup", m->path,
                    head.number);
    m->entries_at = offset + APPEND_RECORD_HEAD + (payload.size + 7) / 8 * 8;
    m->scan->has_head = true;
    m->scan->merged = head.merged;
    m->facts.store_id = head.store_id;
    m->facts.salt = head.salt;
    m->facts.first_seq = head.first_seq;
    m->facts.number_count = head.count;
    return buf_append(&m->numbers, head.numbers, head.numbers_size);
}

static plsm_status take_replaces(struct making *m, plsm_slice payload, uint64_t offset)
{
    const uint8_t *numbers = NULL;
    size_t count = 0;
    if (m->facts.replace_count || !append_replaces_parse(payload, &numbers, &count))
        return damaged(m, offset);
    m->facts.replace_count = count;
    return buf_append(&m->replaces, numbers, payload.size - (size_t)(numbers - (const uint8_t *)payload.data));
}

static plsm_status take_entry(struct making *m, const struct append_entry *e, uint64_t seq, uint64_t offset)
{
    m->facts.seq_min = seq < m->facts.seq_min ? seq : m->facts.seq_min;
    m->facts.seq_max = seq > m->facts.seq_max ? seq : m->facts.seq_max;
    if (e->kind == BATCH_DELETE || e->kind == BATCH_DELETE_RANGE)
        m->facts.tombstones += e->size;
    if (e->kind == BATCH_DELETE_RANGE) {
        m->facts.ranges++;
        TRY(buf_append_u64(&m->ranges, seq));
        TRY(buf_append_slice(&m->ranges, e->key));
        return buf_append_slice(&m->ranges, e->value);
    }
    struct item item = {.head = head_of(e->key),
                        .key = m->keys.size,
                        .seq = seq,
                        .offset = offset,
                        .key_size = (uint32_t)e->key.size,
                        .size = (uint32_t)e->size,
                        .kind = (uint8_t)(e->kind | (e->expires_s ? BATCH_TIMED : 0))};
    TRY(buf_append(&m->keys, e->key.data, e->key.size));
    m->sorted = m->sorted && (m->items.size == 0 || compare_items(&m->last, &item, m->keys.data) < 0);
    m->last = item;
    return buf_append(&m->items, &item, sizeof item);
}

/* Is a reclog_each. */
static plsm_status take_record(void *arg, uint64_t user, plsm_slice payload, uint64_t offset)
{
    struct making *m = arg;
    if (!m->scan->has_head)
        return user == 0 ? take_head(m, payload, offset) : damaged(m, offset);
    if (user == 0)
        return take_replaces(m, payload, offset);
    if (user > APPEND_SEQ_MAX)
        return damaged(m, offset);
    if (payload.size == 0 && m->scan->merged && user > m->facts.first_seq)
        m->facts.first_seq = user;
    const uint8_t *start = payload.data, *at = start;
    while (at < start + payload.size) {
        struct append_entry e;
        uint64_t place = offset + APPEND_RECORD_HEAD + (uint64_t)(at - start);
        size_t left = payload.size - (size_t)(at - start);
        /* The record's checksum was right; the entry's is what a reader will go by. */
        if (!append_entry_read(slice(at, left), m->facts.salt, place, true, &e) || e.size > left ||
            e.key.size > APPEND_KEY_MAX || e.seq_delta > APPEND_SEQ_MAX - user || place + e.size > APPEND_SEGMENT_MAX)
            return damaged(m, place);
        TRY(take_entry(m, &e, user + e.seq_delta, place));
        at += e.size;
    }
    return PLSM_OK;
}

static plsm_status add_point(struct making *m, struct buf *out, const struct item *item, const struct item *before)
{
    plsm_slice key = slice(m->keys.data + item->key, item->key_size);
    size_t shared = before ? slice_common(slice(m->keys.data + before->key, before->key_size), key) : 0;
    TRY(buf_reserve(out, POINT_MAX + key.size));
    uint8_t *at = put_varint(out->data + out->size, shared);
    at = put_varint(at, key.size - shared);
    memcpy(at, (const uint8_t *)key.data + shared, key.size - shared);
    at += key.size - shared;
    at = put_varint(at, item->seq - m->facts.seq_min);
    at = put_varint(at, item->offset / 8);
    at = put_varint(at, item->size / 8);
    *at++ = item->kind;
    out->size = (size_t)(at - out->data);
    m->facts.points++;
    return PLSM_OK;
}

static plsm_status add_points(struct making *m, struct buf *out)
{
    struct item *items = (struct item *)(void *)m->items.data;
    size_t count = m->items.size / sizeof *items;
    const struct item *before = NULL;
    if (!m->sorted && count > 1)
        qsort_r(items, count, sizeof *items, by_key, m->keys.data);
    for (size_t i = 0; i < count; i++) {
        if (before && before->head == items[i].head && before->key_size == items[i].key_size &&
            memcmp(m->keys.data + before->key, m->keys.data + items[i].key, before->key_size) == 0)
            continue;
        TRY(add_point(m, out, &items[i], before));
        before = &items[i];
    }
    return PLSM_OK;
}

static plsm_status add_ranges(struct making *m, struct buf *out)
{
    const uint8_t *at = m->ranges.data, *end = at + m->ranges.size;
    while (at < end) {
        TRY(buf_append_varint(out, get_u64(at) - m->facts.seq_min));
        at += 8;
        const uint8_t *from = at;
        for (unsigned i = 0; i < 2; i++) {
            uint64_t size = 0;
            at = get_varint(at, end, &size);
            at += size;
        }
        TRY(buf_append(out, from, (size_t)(at - from)));
    }
    return PLSM_OK;
}

static plsm_status finish(struct making *m, struct buf *out)
{
    struct header h = {.version = VERSION};
    TRY(buf_reserve(out, sizeof h));
    out->size = sizeof h;
    TRY(buf_append(out, m->numbers.data, m->numbers.size));
    TRY(buf_append(out, m->replaces.data, m->replaces.size));
    size_t start = out->size;
    TRY(add_ranges(m, out));
    h.ranges_size = out->size - start;
    start = out->size;
    TRY(add_points(m, out));
    h.points_size = out->size - start;
    const struct hint_facts *f = &m->facts;
    memcpy(h.magic, MAGIC, sizeof h.magic);
    h.store_id = f->store_id;
    h.number = f->number;
    h.salt = f->salt;
    h.first_seq = f->first_seq;
    h.end = f->end;
    h.seq_min = f->seq_min;
    h.seq_max = f->seq_max;
    h.tombstones = f->tombstones;
    h.points = f->points;
    h.ranges = f->ranges;
    h.number_count = f->number_count;
    h.replace_count = f->replace_count;
    h.numbers_size = m->numbers.size;
    h.replaces_size = m->replaces.size;
    h.body_checksum = checksum(out->data + sizeof h, out->size - sizeof h, h.salt);
    h.checksum = checksum(&h, offsetof(struct header, checksum), h.number);
    memcpy(out->data, &h, sizeof h);
    return PLSM_OK;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

/* Points into bytes of a hint. */
static plsm_status parse(struct hint *hint, const uint8_t *bytes, uint64_t size, const char *path)
{
    struct header h;
    if (size < sizeof h)
        return fail(PLSM_CORRUPT, "%s: the hint is cut short", path);
    memcpy(&h, bytes, sizeof h);
    if (memcmp(h.magic, MAGIC, sizeof h.magic) != 0 ||
        checksum(&h, offsetof(struct header, checksum), h.number) != h.checksum)
        return fail(PLSM_CORRUPT, "%s: the hint's header is damaged", path);
    if (h.version != VERSION)
        return fail(PLSM_VERSION, "%s: a hint of version %u; this program knows %d", path, h.version, VERSION);
    uint64_t left = size - sizeof h;
    const uint64_t sizes[] = {h.numbers_size, h.replaces_size, h.ranges_size, h.points_size};
    for (unsigned i = 0; i < 4; i++) {
        if (sizes[i] > left)
            return fail(PLSM_CORRUPT, "%s: the hint is cut short", path);
        left -= sizes[i];
    }
    if (left > 0 || checksum(bytes + sizeof h, size - sizeof h, h.salt) != h.body_checksum)
        return fail(PLSM_CORRUPT, "%s: the hint is damaged", path);
    /* Each of what is counted takes a byte at least. */
    if (h.number_count > h.numbers_size || h.replace_count > h.replaces_size || h.ranges > h.ranges_size ||
        h.points > h.points_size)
        return fail(PLSM_CORRUPT, "%s: the hint counts more than it holds", path);
    bool has_entries = h.points_size > 0 || h.ranges_size > 0;
    if (h.first_seq > APPEND_SEQ_MAX || h.seq_max > APPEND_SEQ_MAX ||
        (has_entries && (h.seq_min == 0 || h.seq_min > h.seq_max)))
        return fail(PLSM_CORRUPT, "%s: the hint has changes of impossible numbers", path);
    hint->facts = (struct hint_facts){.store_id = h.store_id,
                                      .number = h.number,
                                      .salt = h.salt,
                                      .first_seq = h.first_seq,
                                      .end = h.end,
                                      .seq_min = h.seq_min,
                                      .seq_max = h.seq_max,
                                      .tombstones = h.tombstones,
                                      .points = h.points,
                                      .ranges = h.ranges,
                                      .number_count = h.number_count,
                                      .replace_count = h.replace_count};
    hint->numbers = bytes + sizeof h;
    hint->replaces = hint->numbers + h.numbers_size;
    hint->ranges = hint->replaces + h.replaces_size;
    hint->points = hint->ranges + h.ranges_size;
    hint->end = hint->points + h.points_size;
    return PLSM_OK;
}

plsm_status hint_make(struct append *db, uint64_t number, struct hint *out, struct segment_scan *scan)
{
    char path[APPEND_PATH_MAX];
    struct reclog_result result = {0};
    struct buf bytes = {0};
    segment_path(db, "segment", number, path);
    *out = (struct hint){0};
    *scan = (struct segment_scan){0};
    struct making m = {.db = db, .path = path, .scan = scan, .sorted = true};
    m.facts.number = number;
    m.facts.seq_min = UINT64_MAX;
    plsm_status status = reclog_read(db->env, path, APPEND_SEGMENT_MAGIC, take_record, &m, &result);
    scan->closed = result.closed;
    scan->synced = scan->has_head && result.synced > m.entries_at;
    m.facts.end = result.end;
    if (status == PLSM_OK)
        status = finish(&m, &bytes);
    buf_free(&m.keys);
    buf_free(&m.items);
    buf_free(&m.numbers);
    buf_free(&m.replaces);
    buf_free(&m.ranges);
    if (status == PLSM_OK) {
        out->memory = bytes.data;
        status = parse(out, bytes.data, bytes.size, path);
    } else {
        buf_free(&bytes);
    }
    return status;
}

plsm_status hint_write(struct append *db, const struct hint *hint)
{
    char path[APPEND_PATH_MAX], temporary[APPEND_PATH_MAX + 8];
    struct env_file *file = NULL;
    segment_path(db, "hint", hint->facts.number, path);
    snprintf(temporary, sizeof temporary, "%s.tmp", path);
    plsm_status status = env_open(db->env, temporary, ENV_APPEND, &file);
    if (status == PLSM_OK)
        status = env_append(file, hint->memory, (size_t)(hint->end - hint->memory));
    if (status == PLSM_OK)
        status = env_sync(file);
    env_close(file);
    if (status == PLSM_OK)
        status = env_rename(db->env, temporary, path);
    if (status != PLSM_OK)
        env_remove(db->env, temporary);
    return status;
}

static plsm_status load(struct append *db, struct hint *out, uint64_t *size)
{
    const void *map = NULL;
    TRY(env_size(out->file, size));
    if (*size > SIZE_MAX / 2 || *size < HEAD_SIZE)
        return fail(PLSM_CORRUPT, "%s: the hint has %" PRIu64 " bytes", env_path(out->file), *size);
    out->lost = db->options.mapped ? mem_zalloc(sizeof *out->lost) : NULL;
    if (out->lost && env_map(out->file, *size, out->lost, &map) == PLSM_OK) {
        out->numbers = map;
        return PLSM_OK;
    }
    out->memory = mem_alloc((size_t)*size);
    if (!out->memory)
        return fail(PLSM_NO_MEMORY, "%s: no memory to read it", env_path(out->file));
    out->numbers = out->memory;
    return env_read(out->file, 0, out->memory, (size_t)*size);
}

plsm_status hint_read_any(struct append *db, uint64_t number, struct hint *out)
{
    char path[APPEND_PATH_MAX];
    uint64_t size = 0;
    segment_path(db, "hint", number, path);
    *out = (struct hint){0};
    TRY(env_open(db->env, path, ENV_READ, &out->file));
    plsm_status status = load(db, out, &size);
    if (status == PLSM_OK)
        status = parse(out, out->numbers, size, path);
    if (hint_whole(out) != PLSM_OK) /* whatever was concluded */
        status = PLSM_IO;
    if (status == PLSM_OK && out->facts.number != number)
        status = fail(PLSM_CONFLICT, "%s: is the hint of segment %" PRIu64, path, out->facts.number);
    if (status != PLSM_OK)
        hint_free(out);
    return status;
}

plsm_status hint_read(struct append *db, uint64_t number, uint64_t salt, uint64_t store_id, struct hint *out)
{
    TRY(hint_read_any(db, number, out));
    if (out->facts.salt == salt && out->facts.store_id == store_id)
        return PLSM_OK;
    hint_free(out);
    return fail(PLSM_CONFLICT, "%s/hint-%06" PRIu64 ": the hint is of another segment", db->path, number);
}

plsm_status hint_next(struct hint_cursor *c)
{
    const uint8_t *at = c->at, *end = c->hint->end;
    uint64_t shared = 0, rest = 0, seq = 0, offset = 0, size = 0;
    if (at == end)
        return PLSM_NOT_FOUND;
    if (!(at = get_varint(at, end, &shared)) || !(at = get_varint(at, end, &rest)) || rest > (uint64_t)(end - at) ||
        shared > c->key.size || shared + rest > APPEND_KEY_MAX || rest == 0 ||
        (shared < c->key.size && *at <= c->key.data[shared])) /* it is not above the key before */
        return fail(PLSM_CORRUPT, "the hint of segment %" PRIu64 " is damaged", c->hint->facts.number);
    c->key.size = (size_t)shared;
    TRY(buf_append(&c->key, at, (size_t)rest));
    at += rest;
    if (!(at = get_varint(at, end, &seq)) || !(at = get_varint(at, end, &offset)) ||
        !(at = get_varint(at, end, &size)) || at == end || offset >= c->hint->facts.end / 8 || size == 0 ||
        size > (c->hint->facts.end / 8 - offset) || seq > c->hint->facts.seq_max - c->hint->facts.seq_min ||
        size * 8 > APPEND_ENTRY_MAX || offset * 8 >= APPEND_SEGMENT_MAX || (*at & ~BATCH_TIMED) > BATCH_REFERENCE)
        return fail(PLSM_CORRUPT, "the hint of segment %" PRIu64 " is damaged", c->hint->facts.number);
    c->seq = c->hint->facts.seq_min + seq;
    c->offset = offset * 8;
    c->size = (size_t)size * 8;
    c->kind = (enum batch_kind)(*at & ~BATCH_TIMED);
    c->timed = *at & BATCH_TIMED;
    c->at = at + 1;
    return PLSM_OK;
}

bool hint_next_range(const struct hint *hint, const uint8_t **at, struct hint_range *out)
{
    const uint8_t *end = hint->points, *from = *at;
    uint64_t seq = 0;
    plsm_slice *bounds[2] = {&out->from, &out->to};
    if (from == end || !(from = get_varint(from, end, &seq)))
        return false;
    for (unsigned i = 0; i < 2; i++) {
        uint64_t size = 0;
        if (!(from = get_varint(from, end, &size)) || size > (uint64_t)(end - from))
            return false;
        *bounds[i] = slice(from, (size_t)size);
        from += size;
    }
    if (seq > hint->facts.seq_max - hint->facts.seq_min)
        return false;
    out->seq = hint->facts.seq_min + seq;
    *at = from;
    return true;
}
