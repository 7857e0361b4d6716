/* Pages that come back into memory. An opening reads the log once and keeps nothing of it, so that a single lookup
 * takes no more memory than it needs; whoever goes on to read would then wait for a file, and for a record that stands
 * alone, each time. So reads of single records count, if what they read would be in memory had the store never been
 * closed: for so many of them the newest page below head comes back, until the log has its part of the memory again.
 * The few records that were in the cache before their page came are not asked for there any more, and leave it first.
 *
 * A page is read and checked beside all others, then stands in its place while head is still above it, and is led to
 * when nobody is left who looked at that place before (memory_record). A page whose records may cross its borders, as
 * pages of its segment are larger, does not come back, nor any below it. */
#include "base/alloc.h"
#include "log/hybrid_private.h"

#include "base/banned.h"

enum {
    BYTES_FOR_READ =
        64 << 10, /* of the log: as dear, by far, if the file is cached, and cheaper than a seek if it is not */
    RETRY_NS = 1000000000,
};

bool return_is_due(const struct hybrid *db)
{
    uint64_t head = address_of(&db->head), retry_ns;
    if (__builtin_expect(counted(&db->returns_due) < page_bytes(db), 1))
        return false;
    retry_ns = counted(&db->return_ns);
    return head > address_of(&db->begin) && head >= counted(&db->head_least) + page_bytes(db) &&
           (retry_ns == 0 || env_now_ns(db->env) >= retry_ns);
}

void return_count(struct hybrid *db, uint64_t address)
{
    if (address < counted(&db->head_least))
        return;
    count_add(&db->returns_due, BYTES_FOR_READ);
    if (db->thread && return_is_due(db))
        maintenance_wake(db);
}

/* Reads what one segment has of the page in [at, end); *done is its end. Inside an epoch. */
static plsm_status read_piece(struct hybrid *db, uint64_t at, uint64_t end, uint8_t *bytes, uint64_t *done)
{
    const struct hybrid_segments *list = hybrid_segments_of(db);
    struct hybrid_segment *segment = hybrid_segments_find(list, at);
    *done = end;
    if (!segment) { /* it was never written, or nothing leads to it any more */
        segment = hybrid_segments_from(list, at);
        if (segment && segment->start < end)
            *done = segment->start;
        memset(bytes, 0, *done - at);
        return PLSM_OK;
    }
    if (segment->page_bits > db->page_bits)
        return PLSM_UNSUPPORTED;
    if (hybrid_segment_end(segment) < end)
        *done = hybrid_segment_end(segment);
    TRY(hybrid_segment_read(segment, at, bytes, *done - at));
    count_add(&db->counters.reads, 1);
    count_add(&db->counters.read_bytes, *done - at);
    return hybrid_scan_check(db, segment, at, bytes, *done - at);
}

static plsm_status read_page(struct hybrid *db, uint64_t address, uint8_t *bytes)
{
    uint64_t end = address + page_bytes(db);
    plsm_status status = PLSM_OK;
    for (uint64_t at = address, done; status == PLSM_OK && at < end; at = done) {
        epoch_enter(db->epoch);
        status = read_piece(db, at, end, bytes + (at - address), &done);
        epoch_exit(db->epoch);
    }
    return status;
}

/* Shares the memory so that there is some for a page, and tells which one it is for; false: for none. */
static bool begin(struct hybrid *db, uint64_t *address)
{
    mutex_lock(&db->write_lock);
    bool due = !db->returning && return_is_due(db);
    db->returning |= due;
    share_memory(db);
    *address = address_of(&db->head) - page_bytes(db);
    mutex_unlock(&db->write_lock);
    if (due)
        count_add(&db->returns_due, -page_bytes(db));
    return due;
}

/* Whether the place of a page is still in front of head. Under write_lock. */
static bool is_next(const struct hybrid *db, uint64_t address)
{
    return address_of(&db->head) == address + page_bytes(db);
}

/* Waits until nobody is left who looked for a page before it was in its place. False: whoever writes need not wait for
 * readers, and may be one himself. */
static bool await_readers(struct hybrid *db)
{
    if (!db->thread)
        return epoch_quiescent(db->epoch, epoch_advance(db->epoch));
    wait_for_readers(db);
    return true;
}

/* Has readers led to a page that was read; false: not now, or writers have let the one behind it go meanwhile. */
static bool show(struct hybrid *db, uint64_t address, struct page_frame *frame)
{
    mutex_lock(&db->write_lock);
    bool placed = is_next(db, address) && frame_place(db, address, frame);
    mutex_unlock(&db->write_lock);
    if (!placed)
        return false;
    bool alone = await_readers(db);
    mutex_lock(&db->write_lock);
    bool shown = alone && is_next(db, address);
    if (shown)
        atomic_store_explicit(&db->head, address, memory_order_release);
    else
        (void)frame_take(db, address);
    mutex_unlock(&db->write_lock);
    return shown;
}

static void end(struct hybrid *db)
{
    mutex_lock(&db->write_lock);
    db->returning = false;
    share_memory(db);
    mutex_unlock(&db->write_lock);
}

void return_page(struct hybrid *db)
{
    uint64_t address;
    if (!begin(db, &address))
        return;
    struct page_frame *frame = frame_create(db);
    bool read = frame && read_page(db, address, frame->bytes) == PLSM_OK;
    atomic_store(&db->return_ns, read ? 0 : env_now_ns(db->env) + RETRY_NS);
    if (read && show(db, address, frame))
        count_add(&db->counters.returned_pages, 1);
    else if (frame)
        epoch_retire(db->epoch, &frame->node, frame_free); /* it may have stood in its place */
    end(db);
}
