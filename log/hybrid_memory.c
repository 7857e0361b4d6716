/* The part of the log that is in memory: pages that are filled at the tail, written to segments, and let go at the
 * head. */
#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "log/hybrid_private.h"

#include "base/banned.h"

enum {
    QUIET_STEP_NS = 20000,
    WAY_YIELDS = 1000,    /* then whoever waits is not about to run, or is asleep for another reason */
    CACHE_LEAST_PART = 8, /* of the memory, at least one in so many is left to the cache of records */
};

uint8_t *log_bytes_at(const struct hybrid *db, uint64_t address)
{
    uint8_t *page =
        atomic_load_explicit(&db->pages[(address >> db->page_bits) & (PAGES_TABLE - 1)], memory_order_relaxed);
    return page + (address & (page_bytes(db) - 1));
}

void wait_for_readers(struct hybrid *db)
{
    uint64_t epoch = epoch_advance(db->epoch);
    while (!epoch_quiescent(db->epoch, epoch))
        env_sleep_ns(db->env, QUIET_STEP_NS);
}

/* --- segments ----------------------------------------------------------------------------------------------------- */

static void list_free(struct epoch_node *node)
{
    mem_free(node);
}
_Static_assert(offsetof(struct hybrid_segments, node) == 0, "freed by its node");

struct hybrid_segments *hybrid_segments_alloc(size_t count)
{
    return mem_zalloc(sizeof(struct hybrid_segments) + count * sizeof(struct hybrid_segment *));
}

void hybrid_segments_publish(struct hybrid *db, struct hybrid_segments *list)
{
    struct hybrid_segments *before = atomic_load(&db->segments);
    atomic_store_explicit(&db->segments, list, memory_order_release);
    if (before)
        epoch_retire(db->epoch, &before->node, list_free);
}

/* Under flush_lock. */
static plsm_status begin_segment(struct hybrid *db)
{
    struct hybrid_segments *before = hybrid_segments_of(db), *list = hybrid_segments_alloc(before->count + 1);
    struct hybrid_segment *segment = NULL;
    if (!list)
        return fail(PLSM_NO_MEMORY, "%s: no memory for a segment", db->path);
    uint64_t number = atomic_fetch_add(&db->next_segment, 1);
    plsm_status status =
        hybrid_segment_create(db->env, db->path, db->store, number, address_of(&db->flushed), db->page_bits, &segment);
    if (status != PLSM_OK) {
        mem_free(list);
        return status;
    }
    atomic_store(&db->new_names, true);
    memcpy(list->at, before->at, before->count * sizeof list->at[0]);
    list->count = before->count + 1;
    list->at[before->count] = segment;
    db->writing = segment;
    hybrid_segments_publish(db, list);
    return PLSM_OK;
}

/* --- writing out -------------------------------------------------------------------------------------------------- */

/* Fills in the checksums of the records in a piece of the log. */
static void fill_checksums(uint8_t *bytes, uint64_t size, uint64_t address, uint64_t salt)
{
    for (uint64_t at = 0; at < size;) {
        struct hybrid_record *record = (struct hybrid_record *)(void *)(bytes + at);
        if (record->previous == RECORD_PAD)
            return; /* up to the end of the page */
        record->checksum = record_checksum(record, address + at, salt);
        at += record_size(record);
    }
}

/* The end of the page of an address, or `limit` in front of it. */
static uint64_t piece_end(const struct hybrid *db, uint64_t address, uint64_t limit)
{
    uint64_t page_end = (address | (page_bytes(db) - 1)) + 1;
    return page_end < limit ? page_end : limit;
}

/* Under flush_lock. */
static plsm_status flush_piece(struct hybrid *db, uint64_t from, uint64_t to)
{
    if (db->writing && db->writing->end - db->writing->start >= db->options.file_size)
        db->writing = NULL;
    if (!db->writing)
        TRY(begin_segment(db));
    uint8_t *bytes = log_bytes_at(db, from);
    fill_checksums(bytes, to - from, from, db->writing->salt);
    TRY(hybrid_segment_append(db->writing, bytes, to - from));
    count_add(&db->counters.writes, 1);
    count_add(&db->counters.write_bytes, to - from);
    atomic_store_explicit(&db->flushed, to, memory_order_release);
    return PLSM_OK;
}

/* Under flush_lock. */
static plsm_status flush_locked(struct hybrid *db, uint64_t address)
{
    plsm_status status = PLSM_OK;
    while (status == PLSM_OK && address_of(&db->flushed) < address) {
        uint64_t from = address_of(&db->flushed);
        status = flush_piece(db, from, piece_end(db, from, address));
    }
    if (status != PLSM_OK && status != PLSM_NO_SPACE && status != PLSM_QUOTA && status != PLSM_NO_MEMORY)
        return hybrid_break(db, status);
    return status;
}

/* Lets a writer go first who needs a page to leave: a mutex that is let go and taken at once would stay with who had
 * it. */
static void give_way(const struct hybrid *db)
{
    for (unsigned i = 0; i < WAY_YIELDS && atomic_load(&db->flush_waiting); i++)
        spin_yield();
}

/* Page by page, so that a writer waits for one of them and not for all that is to be written out. */
plsm_status flush_until(struct hybrid *db, uint64_t address)
{
    plsm_status status = PLSM_OK;
    INVARIANT(address <= address_of(&db->read_only));
    while (status == PLSM_OK && address_of(&db->flushed) < address) {
        give_way(db);
        mutex_lock(&db->flush_lock);
        status = flush_locked(db, piece_end(db, address_of(&db->flushed), address));
        mutex_unlock(&db->flush_lock);
    }
    return status;
}

/* --- letting go --------------------------------------------------------------------------------------------------- */

void frame_free(struct epoch_node *node)
{
    struct page_frame *frame = (struct page_frame *)(void *)node;
    mem_free(frame->bytes);
    mem_free(frame);
}
_Static_assert(offsetof(struct page_frame, node) == 0, "freed by its node");

uint64_t hybrid_pages_most(uint64_t memory, uint64_t other, unsigned page_bits)
{
    uint64_t left = memory > other ? memory - other : 0, pages = (left - left / CACHE_LEAST_PART) >> page_bits;
    pages = pages < PAGES_TABLE / 2 ? pages : PAGES_TABLE / 2;
    return pages > PAGES_LEAST ? pages : PAGES_LEAST;
}

uint64_t other_memory(const struct hybrid *db)
{
    return index_bytes(&db->index) + prefixes_bytes(&db->prefixes) + key_order_bytes(&db->others) +
           key_order_bytes(&db->name_order.keys);
}

void share_memory(struct hybrid *db)
{
    uint64_t all = db->options.memory;
    uint64_t pages = db->pages_end - address_of(&db->head) + (db->returning ? page_bytes(db) : 0);
    uint64_t other = db->options.memory_of_all ? other_memory(db) : 0, least = all / CACHE_LEAST_PART;
    uint64_t most = hybrid_pages_most(all, other, db->page_bits), bytes = most << db->page_bits;
    atomic_store_explicit(&db->pages_most, most, memory_order_relaxed);
    atomic_store_explicit(&db->head_least, db->pages_end > bytes ? db->pages_end - bytes : 0, memory_order_relaxed);
    record_cache_set_limit(&db->cache, other + pages + least < all ? all - other - pages : least);
}

/* Lets the oldest page go, which has been written out. Under write_lock and flush_lock. */
static void drop_page(struct hybrid *db)
{
    uint64_t head = address_of(&db->head);
    atomic_store_explicit(&db->head, head + page_bytes(db), memory_order_release);
    epoch_retire(db->epoch, &frame_take(db, head)->node, frame_free);
}

void make_read_only(struct hybrid *db, uint64_t address)
{
    if (address > address_of(&db->read_only))
        atomic_store_explicit(&db->read_only, address, memory_order_release);
}

/* Makes the oldest page leave, if it is full. Under write_lock. */
static plsm_status make_room(struct hybrid *db)
{
    uint64_t end = address_of(&db->head) + page_bytes(db);
    if (end > address_of(&db->tail) || db->options.read_only)
        return PLSM_OK;
    make_read_only(db, end);
    atomic_store(&db->flush_waiting, true);
    mutex_lock(&db->flush_lock);
    atomic_store(&db->flush_waiting, false);
    plsm_status status = flush_locked(db, end);
    if (status == PLSM_OK)
        drop_page(db);
    mutex_unlock(&db->flush_lock);
    /* Pages are large: those that left are not to wait for many others. This one is freed by the next call, as whoever
     * writes is inside an epoch. */
    epoch_reclaim(db->epoch);
    return status;
}

struct page_frame *frame_create(const struct hybrid *db)
{
    struct page_frame *frame = mem_zalloc(sizeof *frame);
    uint8_t *bytes = mem_alloc(page_bytes(db));
    if (!frame || !bytes) {
        mem_free(frame);
        mem_free(bytes);
        return NULL;
    }
    frame->bytes = bytes;
    return frame;
}

bool frame_place(struct hybrid *db, uint64_t address, struct page_frame *frame)
{
    uint64_t slot = (address >> db->page_bits) & (PAGES_TABLE - 1);
    if (db->frames[slot])
        return false;
    db->frames[slot] = frame;
    atomic_store_explicit(&db->pages[slot], frame->bytes, memory_order_release);
    return true;
}

struct page_frame *frame_take(struct hybrid *db, uint64_t address)
{
    uint64_t slot = (address >> db->page_bits) & (PAGES_TABLE - 1);
    struct page_frame *frame = db->frames[slot];
    db->frames[slot] = NULL;
    return frame;
}

static plsm_status add_page(struct hybrid *db)
{
    struct page_frame *frame = frame_create(db);
    if (!frame || !frame_place(db, db->pages_end, frame)) {
        if (frame)
            frame_free(&frame->node);
        return fail(PLSM_NO_MEMORY, "%s: no memory for a page of the log", db->path);
    }
    db->pages_end += page_bytes(db);
    return PLSM_OK;
}

/* Lets pages leave for one that comes. Two, where a batch was larger than the memory: so they become fewer again, and
 * nobody waits for all of them. */
static plsm_status make_rooms(struct hybrid *db)
{
    uint64_t most = counted(&db->pages_most);
    for (unsigned i = 0; i < 2 && (db->pages_end - address_of(&db->head)) >> db->page_bits >= most; i++)
        TRY(make_room(db));
    return PLSM_OK;
}

/* The last resort of who waits: how long is told in the statistics. */
static void note_wait(struct hybrid *db, uint64_t since_ns)
{
    uint64_t took_ns = env_now_ns(db->env) - since_ns;
    if (took_ns > counted(&db->counters.write_wait_ns_max))
        atomic_store_explicit(&db->counters.write_wait_ns_max, took_ns, memory_order_relaxed);
}

plsm_status pages_reserve(struct hybrid *db, uint64_t end)
{
    if (__builtin_expect(end <= db->pages_end, 1))
        return PLSM_OK;
    if (end > ADDRESS_MAX)
        return fail(PLSM_NO_SPACE, "%s: the addresses of the log are used up; plsm convert makes a new store",
                    db->path);
    uint64_t since_ns = env_now_ns(db->env);
    share_memory(db);
    while (db->pages_end < end) {
        TRY(make_rooms(db));
        TRY(add_page(db));
    }
    share_memory(db);
    note_wait(db, since_ns);
    maintenance_wake(db);
    return PLSM_OK;
}

void pages_free(struct hybrid *db)
{
    for (uint64_t at = address_of(&db->head); db->frames && at < db->pages_end; at += page_bytes(db))
        frame_free(&db->frames[(at >> db->page_bits) & (PAGES_TABLE - 1)]->node);
    mem_unmap(db->frames, PAGES_TABLE * sizeof db->frames[0]);
    mem_unmap(db->pages, PAGES_TABLE * sizeof db->pages[0]);
}

/* --- the tail ----------------------------------------------------------------------------------------------------- */

/* Bytes that a page has left behind `tail` but that are too few for a record of `size` bytes. */
static uint64_t too_few(const struct hybrid *db, uint64_t tail, uint64_t size)
{
    uint64_t left = page_bytes(db) - (tail & (page_bytes(db) - 1));
    return left < size && left < page_bytes(db) ? left : 0;
}

uint64_t log_end_after(const struct hybrid *db, uint64_t tail, uint64_t size)
{
    return tail + too_few(db, tail, size) + size;
}

uint64_t log_place(struct hybrid *db, uint64_t size)
{
    uint64_t tail = atomic_load_explicit(&db->tail, memory_order_relaxed), skipped = too_few(db, tail, size);
    if (__builtin_expect(skipped > 0, 0)) {
        uint8_t *bytes = log_bytes_at(db, tail);
        memset(bytes, 0, skipped);
        put_u64(bytes, RECORD_PAD);
        count_add(&db->log_bytes, skipped);
        count_add(&db->unused_bytes, skipped);
        tail += skipped;
    }
    INVARIANT(tail + size <= db->pages_end);
    count_add(&db->log_bytes, size);
    atomic_store_explicit(&db->tail, tail + size, memory_order_release);
    return tail;
}
