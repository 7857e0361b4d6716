/* Reading through the log. */
#include <stdlib.h>

#include "base/alloc.h"
#include "log/hybrid_private.h"

#include "base/banned.h"

enum { CHUNK_BYTES = 1 << 20 };
_Static_assert((int)CHUNK_BYTES >= (int)RECORD_MAX, "a chunk holds any record");

struct scan {
    struct hybrid *db;
    uint64_t at, to;
    scan_each *each;
    void *arg;
    uint8_t *chunk; /* of a file; made when first needed */
};

static uint64_t page_end(uint64_t address, unsigned page_bits)
{
    return (address | ((UINT64_C(1) << page_bits) - 1)) + 1;
}

/* Goes on in memory up to the end of a page. Inside an epoch. */
static plsm_status scan_page(struct scan *s, const struct hybrid_record *first)
{
    uint64_t start = s->at, end = page_end(start, s->db->page_bits), limit = end < s->to ? end : s->to;
    while (s->at < limit) {
        const struct hybrid_record *record =
            (const struct hybrid_record *)(const void *)((const uint8_t *)first + (s->at - start));
        if (record->previous == RECORD_PAD) {
            s->at = end;
            return PLSM_OK;
        }
        uint64_t size = record_size(record);
        TRY(s->each(s->arg, record, s->at));
        s->at += size;
    }
    return PLSM_OK;
}

/* Whether the unused end of a page is as it was written: nothing stands in it. */
static bool is_pad(const uint8_t *bytes, uint64_t size)
{
    uint64_t at = sizeof(uint64_t);
    while (at < size && bytes[at] == 0)
        at++;
    return at >= size;
}

/* The records of a chunk; stops in front of one that is not whole in it. */
static plsm_status scan_chunk(struct scan *s, const struct hybrid_segment *segment, uint64_t size, bool is_last)
{
    uint64_t start = s->at;
    while (s->at < start + size) {
        struct hybrid_record *record = (struct hybrid_record *)(void *)(s->chunk + (s->at - start));
        uint64_t left = start + size - s->at, whole;
        if (record->previous == RECORD_PAD) {
            uint64_t end = page_end(s->at, segment->page_bits);
            if (end - s->at > left && !is_last && s->at > start)
                return PLSM_OK;
            if (end - s->at > left || !is_pad((const uint8_t *)record, end - s->at))
                return hybrid_segment_damaged(segment, s->at);
            s->at = end;
            return PLSM_OK;
        }
        if (!record_fits(record, left, &whole) || !record_sane(record)) {
            bool cut = left < RECORD_HEAD || (record_sane(record) && whole > left);
            return cut && !is_last && s->at > start ? PLSM_OK : hybrid_segment_damaged(segment, s->at);
        }
        if (record->checksum != record_checksum(record, s->at, segment->salt))
            return hybrid_segment_damaged(segment, s->at);
        TRY(s->each(s->arg, record, s->at));
        s->at += whole;
    }
    return PLSM_OK;
}

static plsm_status pass_over(void *arg, const struct hybrid_record *record, uint64_t address)
{
    return PLSM_OK;
}

plsm_status hybrid_scan_check(struct hybrid *db, const struct hybrid_segment *segment, uint64_t address, uint8_t *bytes,
                              uint64_t size)
{
    struct scan s = {.db = db, .at = address, .each = pass_over};
    while (s.at < address + size) {
        s.chunk = bytes + (s.at - address);
        TRY(scan_chunk(&s, segment, address + size - s.at, true));
    }
    return PLSM_OK;
}

/* Where the log goes on behind a part that was never written. */
static plsm_status skip_gap(struct scan *s, const struct hybrid_segments *list)
{
    const struct hybrid_segment *next = hybrid_segments_from(list, s->at);
    uint64_t base = s->db->memory_base, from = s->at;
    s->at = next && next->start < base ? next->start : base;
    if (s->at <= from)
        return fail(PLSM_CORRUPT, "%s: no segment holds address %llu of the log; run plsm check", s->db->path,
                    (unsigned long long)from);
    return PLSM_OK;
}

/* Goes on in a file. Inside an epoch. */
static plsm_status scan_file(struct scan *s)
{
    const struct hybrid_segments *list = hybrid_segments_of(s->db);
    struct hybrid_segment *segment = hybrid_segments_find(list, s->at);
    if (!segment)
        return skip_gap(s, list);
    uint64_t end = hybrid_segment_end(segment) < s->to ? hybrid_segment_end(segment) : s->to;
    uint64_t size = end - s->at < CHUNK_BYTES ? end - s->at : CHUNK_BYTES;
    if (!s->chunk && !(s->chunk = mem_alloc(CHUNK_BYTES)))
        return fail(PLSM_NO_MEMORY, "no memory to read the log");
    TRY(hybrid_segment_read(segment, s->at, s->chunk, size));
    count_add(&s->db->counters.reads, 1);
    count_add(&s->db->counters.read_bytes, size);
    return scan_chunk(s, segment, size, s->at + size == end);
}

plsm_status hybrid_scan(struct hybrid *db, uint64_t from, uint64_t to, scan_each *each, void *arg)
{
    struct scan s = {.db = db, .at = from, .to = to, .each = each, .arg = arg};
    plsm_status status = PLSM_OK;
    while (s.at < to && status == PLSM_OK) {
        epoch_enter(db->epoch);
        const struct hybrid_record *record = s.at >= db->memory_base ? memory_record(db, s.at) : NULL;
        status = record ? scan_page(&s, record) : scan_file(&s);
        epoch_exit(db->epoch);
    }
    mem_free(s.chunk);
    return status;
}

/* --- what is live ------------------------------------------------------------------------------------------------- */

enum { BLOCK_BYTES = 256 << 10, ENTRIES_LEAST = 64 };
_Static_assert((int)BLOCK_BYTES >= (int)RECORD_MAX, "a block holds what is kept of any record");

struct collecting {
    plsm_slice from, to;
    struct live_entries *out;
};

void live_entries_free(struct live_entries *entries)
{
    for (size_t i = 0; i < entries->block_count; i++)
        mem_free(entries->blocks[i]);
    mem_free(entries->blocks);
    mem_free(entries->at);
    *entries = (struct live_entries){0};
}

uint64_t live_entries_bytes(const struct live_entries *entries)
{
    return entries->capacity * sizeof entries->at[0] + entries->block_count * BLOCK_BYTES;
}

/* Memory that lives as long as the entries. */
static uint8_t *take_bytes(struct live_entries *e, size_t size)
{
    if (e->block_count == 0 || e->block_used + size > BLOCK_BYTES) {
        uint8_t *block = mem_alloc(BLOCK_BYTES);
        uint8_t **blocks = mem_realloc(e->blocks, (e->block_count + 1) * sizeof *blocks);
        if (blocks)
            e->blocks = blocks;
        if (!block || !blocks) {
            mem_free(block);
            return NULL;
        }
        e->blocks[e->block_count++] = block;
        e->block_used = 0;
    }
    e->block_used += size;
    return e->blocks[e->block_count - 1] + e->block_used - size;
}

/* Forgets the entry at an address, if it was collected: they are in the order of addresses. */
static void forget(struct live_entries *e, uint64_t address)
{
    size_t low = 0, high = e->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (e->at[middle].address < address)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < e->count && e->at[low].address == address)
        e->at[low].key = NULL;
}

static plsm_status add_entry(struct live_entries *e, const struct hybrid_record *record, uint64_t address)
{
    struct record_sizes sizes = record_sizes(record);
    const uint8_t *room = record_room(record);
    if (e->count == e->capacity) {
        size_t capacity = e->capacity ? 2 * e->capacity : ENTRIES_LEAST;
        struct live_entry *at = mem_realloc(e->at, capacity * sizeof *at);
        if (!at)
            return fail(PLSM_NO_MEMORY, "no memory to sort %zu keys", capacity);
        e->at = at;
        e->capacity = capacity;
    }
    size_t value = sizes.kind == BATCH_REFERENCE ? sizes.value : 0;
    uint8_t *bytes = take_bytes(e, sizes.key + sizes.meta + value);
    if (!bytes)
        return fail(PLSM_NO_MEMORY, "no memory to sort keys");
    struct live_entry *entry = &e->at[e->count++];
    *entry = (struct live_entry){.address = address,
                                 .key = bytes,
                                 .key_size = sizes.key,
                                 .meta_size = sizes.meta,
                                 .kind = sizes.kind,
                                 .value_size = sizes.value,
                                 .expires_s = sizes.timed ? get_u64(room) : 0};
    memcpy(bytes, record->key, sizes.key);
    memcpy(bytes + sizes.key, room + (sizes.timed ? sizeof(uint64_t) : 0), sizes.meta + value);
    return PLSM_OK;
}

static bool is_in_range(const struct collecting *c, plsm_slice key)
{
    return (c->from.size == 0 || slice_compare(key, c->from) >= 0) &&
           (c->to.size == 0 || slice_compare(key, c->to) < 0);
}

static plsm_status collect_record(void *arg, const struct hybrid_record *record, uint64_t address)
{
    struct collecting *c = arg;
    plsm_slice key = record_key(record);
    if (!is_in_range(c, key))
        return PLSM_OK;
    if (replaces_address(record->replaces))
        forget(c->out, replaces_address(record->replaces));
    return record_sizes(record).kind == BATCH_DELETE ? PLSM_OK : add_entry(c->out, record, address);
}

static int compare_keys(const struct live_entry *a, const struct live_entry *b)
{
    return slice_compare(slice(a->key, a->key_size), slice(b->key, b->key_size));
}

/* By keys, of which eight bytes behind what all of them begin with decide nearly always; then by addresses. */
static int compare_entries(const void *left, const void *right)
{
    const struct live_entry *a = left, *b = right;
    if (a->order != b->order)
        return a->order < b->order ? -1 : 1;
    int keys = compare_keys(a, b);
    return keys ? keys : (a->address > b->address) - (a->address < b->address);
}

static void sort_entries(struct live_entries *e)
{
    size_t kept = 0, common = 0;
    for (size_t i = 0; i < e->count; i++)
        if (e->at[i].key)
            e->at[kept++] = e->at[i];
    e->count = kept;
    for (size_t i = 0; i < kept; i++) {
        plsm_slice key = slice(e->at[i].key, i == 0 || e->at[i].key_size < common ? e->at[i].key_size : common);
        common = i == 0 ? key.size : slice_common(slice(e->at[0].key, common), key);
    }
    for (size_t i = 0; i < kept; i++) {
        uint8_t next[sizeof(uint64_t)] = {0};
        size_t size = e->at[i].key_size - common;
        memcpy(next, e->at[i].key + common, size < sizeof next ? size : sizeof next);
        e->at[i].order = get_be64(next);
    }
    if (kept > 1)
        qsort(e->at, kept, sizeof e->at[0], compare_entries);
}

/* Of a key one record lives: where two do, files contradict themselves. */
static plsm_status check_single(const struct hybrid *db, const struct live_entries *e)
{
    for (size_t i = 1; i < e->count; i++)
        if (__builtin_expect(e->at[i].order == e->at[i - 1].order, 0) && compare_keys(&e->at[i - 1], &e->at[i]) == 0)
            return fail(PLSM_CORRUPT,
                        "%s: the records at addresses %llu and %llu of the log are of one key; run plsm check",
                        db->path, (unsigned long long)e->at[i - 1].address, (unsigned long long)e->at[i].address);
    return PLSM_OK;
}

plsm_status collect_live(struct hybrid *db, const struct hybrid_snapshot *snapshot, plsm_slice from, plsm_slice to,
                         struct live_entries *out)
{
    struct collecting c = {from, to, out};
    plsm_status status = hybrid_scan(db, snapshot->begin, snapshot->at, collect_record, &c);
    if (status == PLSM_OK) {
        sort_entries(out);
        status = check_single(db, out);
    }
    if (status != PLSM_OK)
        live_entries_free(out);
    return status;
}

/* --- what has changed since --------------------------------------------------------------------------------------- */

static plsm_status collect_change(void *arg, const struct hybrid_record *record, uint64_t address)
{
    struct collecting *c = arg;
    return is_in_range(c, record_key(record)) ? add_entry(c->out, record, address) : PLSM_OK;
}

static plsm_status add_copy(struct live_entries *to, const struct live_entry *entry)
{
    size_t size = entry->key_size + entry->meta_size + (entry->kind == BATCH_REFERENCE ? entry->value_size : 0);
    uint8_t *bytes = take_bytes(to, size);
    if (!bytes)
        return fail(PLSM_NO_MEMORY, "no memory to sort keys");
    memcpy(bytes, entry->key, size);
    to->at[to->count] = *entry;
    to->at[to->count++].key = bytes;
    return PLSM_OK;
}

/* Of several changes of a key, which are in the order of their addresses, the last counts. */
static plsm_status merge_changes(const struct live_entries *before, const struct live_entries *changes,
                                 struct live_entries *out)
{
    out->capacity = before->count + changes->count + 1;
    out->at = mem_alloc(out->capacity * sizeof out->at[0]);
    if (!out->at)
        return fail(PLSM_NO_MEMORY, "no memory to sort %zu keys", out->capacity);
    for (size_t b = 0, c = 0; b < before->count || c < changes->count;) {
        const struct live_entry *old = &before->at[b], *change = &changes->at[c];
        int order = b == before->count ? 1 : c == changes->count ? -1 : compare_keys(old, change);
        bool is_last = c + 1 >= changes->count || order < 0 || compare_keys(change, change + 1) != 0;
        if (order < 0)
            TRY(add_copy(out, old));
        else if (is_last && change->kind != BATCH_DELETE)
            TRY(add_copy(out, change));
        b += order < 0 || (order == 0 && is_last);
        c += order >= 0;
    }
    return PLSM_OK;
}

plsm_status collect_changed(struct hybrid *db, const struct hybrid_snapshot *snapshot, plsm_slice from, plsm_slice to,
                            const struct live_entries *before, uint64_t since, struct live_entries *out)
{
    struct live_entries changes = {0};
    struct collecting c = {from, to, &changes};
    plsm_status status = hybrid_scan(db, since, snapshot->at, collect_change, &c);
    if (status == PLSM_OK) {
        sort_entries(&changes);
        status = merge_changes(before, &changes, out);
    }
    live_entries_free(&changes);
    if (status != PLSM_OK)
        live_entries_free(out);
    return status;
}
