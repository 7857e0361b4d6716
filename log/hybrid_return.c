/* Pages that come back into memory. An opening reads the log once and keeps nothing of it, so that a single lookup
 * takes no more memory than it needs; whoever goes on to read would then wait for a file, and for a record that stands
 * alone, each time. So reads of single records count, if what they read would be in memory had the store never been
 * closed: for so many of them the newest page below head comes back, until the log has its part of the memory again.
 * The few records that were in the cache before their page came are not asked for there any more, and leave it first.
 *
 * A page stands in its place while head is still above it, where nobody looks at it; there it is read and checked,
 * beside all others, and is led to when nobody is left who looked at that place before (memory_record). A page whose
 * records may cross its borders, as pages of its segment are larger, does not come back, nor any below it. */
#include "base/alloc.h"
#include "log/hybrid_private.h"

#include "base/banned.h"

enum {
    BYTES_FOR_READ =
        64 << 10, /* of the log: as dear, by far, if the file is cached, and cheaper than a seek if it is not */
};
#define RETRY_NS UINT64_C(1000000000) /* after a failure; twice as long after each one that follows, up to: */
#define RETRY_NS_MOST (64 * RETRY_NS)

/* So far head may go back. */
static uint64_t least_of(const struct hybrid *db)
{
    uint64_t memory = counted(&db->head_least), whole = counted(&db->return_least);
    return memory > whole ? memory : whole;
}

/* Whether there is memory for one more page, and a page for it. */
static bool has_next(const struct hybrid *db)
{
    uint64_t head = address_of(&db->head);
    return head > address_of(&db->begin) && head >= least_of(db) + page_bytes(db);
}

bool return_is_due(const struct hybrid *db)
{
    if (__builtin_expect(counted(&db->returns_due) < page_bytes(db), 1))
        return false;
    uint64_t retry_ns = counted(&db->return_ns);
    return has_next(db) && (retry_ns == 0 || env_now_ns(db->env) >= retry_ns);
}

void return_count(struct hybrid *db, uint64_t address)
{
    if (address < least_of(db))
        return;
    if (!has_next(db))
        atomic_store_explicit(&db->returns_due, 0, memory_order_relaxed);
    else if (counted(&db->returns_due) < page_bytes(db)) /* what is read while a page comes is for the next one alone */
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
    if (!segment) {                                   /* it was never written, or nothing leads to it any more */
        segment = hybrid_segments_from(list, at + 1); /* one that begins here is empty */
        if (segment && segment->start < end)
            *done = segment->start;
        memset(bytes, 0, *done - at);
        return PLSM_OK;
    }
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

/* Whether no record crosses the borders of a page: none of its segments has larger ones. */
static bool is_whole(struct hybrid *db, uint64_t address)
{
    bool whole = true;
    epoch_enter(db->epoch);
    const struct hybrid_segments *list = hybrid_segments_of(db);
    for (size_t i = 0; i < list->count && whole; i++) {
        const struct hybrid_segment *segment = list->at[i];
        whole = segment->page_bits <= db->page_bits || segment->start >= address + page_bytes(db) ||
                hybrid_segment_end(segment) <= address;
    }
    epoch_exit(db->epoch);
    return whole;
}

/* Shares the memory so that there is some for a page, and tells which one it is for; false: for none. */
static bool begin(struct hybrid *db, uint64_t *address)
{
    mutex_lock(&db->write_lock);
    share_memory(db);
    bool due = !db->returning && return_is_due(db);
    *address = address_of(&db->head) - page_bytes(db);
    if (due && !is_whole(db, *address)) {
        atomic_store_explicit(&db->return_least, *address + page_bytes(db), memory_order_relaxed);
        due = false;
    }
    if (due) {
        atomic_store_explicit(&db->returns_due, 0, memory_order_relaxed);
        db->returning = true;
        share_memory(db);
    }
    mutex_unlock(&db->write_lock);
    return due;
}

static bool place(struct hybrid *db, uint64_t address, struct page_frame *frame)
{
    mutex_lock(&db->write_lock);
    bool placed = frame_place(db, address, frame);
    mutex_unlock(&db->write_lock);
    return placed;
}

/* Waits until nobody is left who looked for a page before this epoch, when it was not in its place. False: whoever
 * writes need not wait for readers, and may be one himself. */
static bool await_readers(struct hybrid *db, uint64_t epoch)
{
    if (epoch_quiescent(db->epoch, epoch))
        return true;
    if (!db->thread)
        return false;
    wait_for_readers(db);
    return true;
}

/* Has readers led to a page that was read; takes it away if that was in vain, or if writers have let the one behind it
 * go meanwhile, or have taken the memory. */
static bool show(struct hybrid *db, uint64_t address, bool read)
{
    mutex_lock(&db->write_lock);
    bool next = address_of(&db->head) == address + page_bytes(db) && address >= counted(&db->head_least);
    if (read && next)
        atomic_store_explicit(&db->head, address, memory_order_release);
    else
        (void)frame_take(db, address);
    mutex_unlock(&db->write_lock);
    return read && next;
}

/* Puts the next try off if this one failed. */
static void end(struct hybrid *db, bool failed)
{
    mutex_lock(&db->write_lock);
    uint64_t twice = 2 * db->return_wait_ns, most = twice < RETRY_NS_MOST ? twice : RETRY_NS_MOST;
    db->return_wait_ns = failed ? (most > RETRY_NS ? most : RETRY_NS) : 0;
    atomic_store_explicit(&db->return_ns, failed ? env_now_ns(db->env) + db->return_wait_ns : 0, memory_order_relaxed);
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
    bool placed = frame && place(db, address, frame), read = false, shown = false;
    if (placed) {
        uint64_t epoch = epoch_advance(db->epoch);
        read = read_page(db, address, frame->bytes) == PLSM_OK && await_readers(db, epoch);
        shown = show(db, address, read);
    }
    if (shown)
        count_add(&db->counters.returned_pages, 1);
    else if (frame)
        epoch_retire(db->epoch, &frame->node, frame_free); /* it may have stood in its place */
    end(db, !read);
    epoch_reclaim(db->epoch); /* as in make_room */
}
