/* Inside the hybrid log: its handle and what its files share.
 *
 * Locks, each taken before those behind it:
 *   checkpoint_lock   recovery points, compaction, and whoever needs the files to stay: one of them at a time
 *   write_lock        writers: everything but what is said otherwise. Never held while waiting for a sync
 *   flush_lock        writing pages out and letting them go: flushed, and the segment that is written to
 *   redo.sync_lock, redo.lock   see hybrid_redo.h
 * Addresses are atomic: a reader sees each of them only grow, but head, which goes back where a page comes back into
 * memory (hybrid_return.c). */
#ifndef LOG_HYBRID_PRIVATE_H
#define LOG_HYBRID_PRIVATE_H

#include "base/bytes.h"
#include "base/epoch.h"
#include "base/error.h"
#include "base/number_list.h"
#include "base/sync.h"
#include "log/hybrid_cache.h"
#include "log/hybrid_index.h"
#include "log/hybrid_prefixes.h"
#include "log/hybrid_record.h"
#include "log/hybrid_redo.h"
#include "log/hybrid_segment.h"
#include "log/hybrid_state.h"
#include "log/key_tree.h"
#include "log/room.h"

#define HYBRID_STRUCT_MAGIC 0x68796272u

enum {
    PAGES_TABLE = 1 << 16, /* pages that can be in memory */
    PAGES_LEAST = 4,
    PAGE_BITS_MIN = 18, /* the largest record fits */
    PAGE_BITS_MAX = 22,
    CACHE_LINE = 64,
    GIVE_WAY_NS = 20000,
};

/* The owner of the memory of a page. */
struct page_frame {
    struct epoch_node node;
    uint8_t *bytes;
};

struct hybrid_snapshot {
    struct hybrid_snapshot *next, **link;
    uint64_t at;      /* records from here on are newer */
    uint64_t begin;   /* of the log, at that moment */
    uint64_t commits; /* those of the store at that moment */
};

/* Counted by all threads, for statistics only. */
struct hybrid_counters {
    _Atomic uint64_t reads, read_bytes, writes, write_bytes; /* of files */
    _Atomic uint64_t cache_hits, cache_misses;
    _Atomic uint64_t deletions;
    _Atomic uint64_t recovery_points, recovery_point_ns, compacted_segments, copied_records, copied_bytes;
    _Atomic uint64_t sorted_listings, sorted_names;
    _Atomic uint64_t returned_pages;
    _Atomic uint64_t write_wait_ns_max; /* that a writer waited for room in memory */
};

/* Keys in order beside the index: those that live, and some that do not any more. Changed under write_lock. */
struct key_order {
    struct key_tree *tree;
    struct mem_account memory;
    struct buf dead;  /* of its keys, those that may have died: u16 size, the key */
    size_t dead_done; /* bytes of them that were looked at */
};

/* hybrid_name_order.c. `lock`: of what is behind it. Taken last. */
struct name_order {
    struct key_order keys; /* keys.tree NULL: they are not kept. It changes under both locks */
    bool collecting;       /* names are missing that were there when it began; under write_lock */
    mutex lock;
    bool making, ready, full; /* making: or being freed; full: there may be names that it lacks */
    uint32_t users;
    uint64_t since;   /* snapshots of moments before this address cannot go by it */
    uint64_t used_ns; /* when it was last used */
    uint64_t read_bytes, read_ns; /* of the log, by listings one soon after another, and when the last of them ended */
    uint64_t names_most;          /* of more of them no order is made: it was too large */
};

/* hybrid_listing.c. `lock`: of `last`, and of `users` and `used_ns` of all. Taken last. */
struct hybrid_listing;
struct hybrid_listings {
    mutex lock;
    struct hybrid_listing *last; /* or NULL */
};

struct hybrid {
    uint32_t magic;
    struct hybrid_options options;
    struct env *env;
    char *path;
    struct env_lock *store_lock;

    /* What every lookup reads and hardly anybody writes: on lines of their own. See the drawing in hybrid.h. */
    struct epoch *epoch;
    _Atomic(uint8_t *) *pages; /* by page number, modulo PAGES_TABLE */
    unsigned page_bits;
    _Atomic int broken; /* a plsm_status; why stands in broken_message, written before */
    _Atomic uint64_t floor, begin, head, read_only;
    struct hybrid_index index; /* ends in what its writers have */

    mutex checkpoint_lock, flush_lock;
    _Atomic uint64_t flushed;
    uint64_t memory_base;       /* where the log began when the store was opened */
    _Atomic uint64_t pages_most; /* that may be in memory */
    _Atomic uint64_t head_least; /* so far it lets head go back */
    _Atomic uint64_t return_least; /* the same of the segments below, whose pages are larger */
    _Atomic uint64_t returns_due; /* bytes of the log that are to come back, as reads have earned it: about a page */
    _Atomic uint64_t return_ns;  /* after a failure: not before */
    uint64_t return_wait_ns;     /* so long was waited for that; under write_lock */
    bool returning;              /* a page is coming back; under write_lock */
    uint64_t pages_end;         /* address up to which there is memory */
    struct page_frame **frames; /* as pages */
    _Atomic(struct hybrid_segments *) segments;
    struct hybrid_segment *writing; /* the last one; NULL: the next piece begins a new one */
    _Atomic uint64_t next_segment;
    _Atomic bool flush_waiting; /* a writer waits for flush_lock */
    _Atomic bool new_names; /* files were made whose names are not known to be durable */

    struct hybrid_prefixes prefixes;
    struct key_order others; /* keys that are no names */
    struct name_order name_order;
    struct hybrid_cache cache;
    struct hybrid_snapshot *snapshots; /* oldest last */
    struct hybrid_listings listings;
    uint8_t *scratch;         /* a payload, of the writer */

    /* What each write changes, close together: it has to come over from the processor that wrote last. Apart from the
     * lock, which others look at meanwhile. */
    mutex write_lock;
    uint8_t apart[CACHE_LINE];
    _Atomic uint64_t tail;
    _Atomic uint64_t commits; /* odd while a batch is being applied */
    _Atomic uint64_t in_place, appended; /* changes, for statistics */
    _Atomic uint64_t unsaved_bytes;  /* of batches written since the last recovery point */
    _Atomic uint64_t volatile_bytes; /* of them, those that no redo log has */
    /* Bytes of the log; of the records of live entries; of the ends of pages, from begin on, that no record took:
     * compaction would make as many again. The rest is garbage. Live entries; names among them, and of those the ones
     * that expire. */
    _Atomic uint64_t log_bytes, live_bytes, unused_bytes, live, names, names_timed;
    struct room room; /* under write_lock */

    struct redo redo;
    uint64_t store;                    /* its own number, in all files */
    uint64_t next_redo;                /* number of the next redo log */
    struct hybrid_state state;         /* the last recovery point */
    bool replay_skipped;               /* of them something had to be left out */
    bool replayed;                     /* behind it there were redo logs at opening, which still count */
    uint64_t pending_end; /* segments below this address go as soon as snapshots let them; 0: none wait */

    char broken_message[512];

    struct env_thread *thread; /* of the background; NULL: there is none */
    mutex work_lock;
    condition work;
    bool stop;                        /* under work_lock */
    atomic_bool woken, snapshot_gone; /* there is something to do */
    _Atomic uint64_t retry_ns;        /* after a failure that may pass: not before; 0: at once */
    _Atomic uint64_t compact_ns;      /* the same of compaction, when there was nothing that it could do */
    uint64_t recovery_bytes;          /* of batches, after which a recovery point is taken */
    struct hybrid_counters counters;
};

static inline uint64_t address_of(const _Atomic uint64_t *address)
{
    return atomic_load_explicit((_Atomic uint64_t *)(uintptr_t)address, memory_order_acquire);
}

static inline void count_add(_Atomic uint64_t *counter, uint64_t value)
{
    atomic_fetch_add_explicit(counter, value, memory_order_relaxed);
}

/* For what only the writer changes. */
static inline void own_add(_Atomic uint64_t *counter, uint64_t value)
{
    if (value != 0)
        atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + value,
                              memory_order_relaxed);
}

static inline uint64_t counted(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit((_Atomic uint64_t *)(uintptr_t)counter, memory_order_relaxed);
}

static inline uint64_t garbage_bytes(const struct hybrid *db)
{
    uint64_t all = counted(&db->log_bytes), needed = counted(&db->live_bytes) + counted(&db->unused_bytes);
    return all > needed ? all - needed : 0;
}

/* Bytes of the log that are in no file yet. `flushed` is looked at first: it never passes the tail, but while this
 * thread is held up it may pass where that was. */
static inline uint64_t unwritten_bytes(const struct hybrid *db)
{
    uint64_t flushed = address_of(&db->flushed);
    return address_of(&db->tail) - flushed;
}

static inline uint64_t page_bytes(const struct hybrid *db)
{
    return UINT64_C(1) << db->page_bits;
}

static inline uint64_t now_s(const struct hybrid *db)
{
    return env_wall_ns(db->env) / 1000000000;
}

/* From now on nothing is written: `status` and this thread's message are why. Returns `status`. */
plsm_status hybrid_break(struct hybrid *db, plsm_status status);
plsm_status hybrid_writable(struct hybrid *db); /* PLSM_OK or PLSM_READ_ONLY */

/* --- hybrid_memory.c ---------------------------------------------------------------------------------------------- */

/* Memory for the log up to `end`. Under write_lock. Where too much is in memory older pages are written out and let go.
 * PLSM_NO_MEMORY, or the error of writing them. */
plsm_status pages_reserve(struct hybrid *db, uint64_t end);
/* The address of the next record of `size` bytes, for which there is memory. */
uint64_t log_place(struct hybrid *db, uint64_t size);
/* Where the log would end after a record of `size` bytes behind `tail`. */
uint64_t log_end_after(const struct hybrid *db, uint64_t tail, uint64_t size);
uint8_t *log_bytes_at(const struct hybrid *db, uint64_t address); /* of the writer, from head on */
/* Nothing below an address is changed any more. Under write_lock. */
void make_read_only(struct hybrid *db, uint64_t address);
/* Writes the log out up to an address, below which it is read-only. PLSM_NO_SPACE, PLSM_NO_MEMORY; PLSM_IO: and the
 * store is broken. */
plsm_status flush_until(struct hybrid *db, uint64_t address);
void pages_free(struct hybrid *db);
struct page_frame *frame_create(const struct hybrid *db); /* with memory for a page; NULL: there is none */
void frame_free(struct epoch_node *node);
/* Puts one where the page at an address is looked for; false: that place is taken. Under write_lock. */
bool frame_place(struct hybrid *db, uint64_t address, struct page_frame *frame);
/* Takes it out of there; whoever looks for it finds that it is below head. Under write_lock. */
struct page_frame *frame_take(struct hybrid *db, uint64_t address);
/* Policy: how many pages of the log may be in memory, when so many bytes are for it and beside it `other` are taken. An
 * eighth of what is left is for the cache of records, and some pages there are always. Example: of 64 MiB, of which 20
 * are taken, the log gets 9 pages of 4 MiB; with 60 or 80 taken it gets 4. */
uint64_t hybrid_pages_most(uint64_t memory, uint64_t other, unsigned page_bits);
/* Bytes in memory beside the pages of the log and the cache of records. Under write_lock. */
uint64_t other_memory(const struct hybrid *db);
/* Shares the memory between the pages of the log, now and to come, and the cache of records. Under write_lock. */
void share_memory(struct hybrid *db);
/* A list of segments in place of the published one, which is retired. Under flush_lock. */
void hybrid_segments_publish(struct hybrid *db, struct hybrid_segments *list);
struct hybrid_segments *hybrid_segments_alloc(size_t count); /* NULL: no memory */
static inline struct hybrid_segments *hybrid_segments_of(const struct hybrid *db)
{
    return atomic_load_explicit(&((struct hybrid *)(uintptr_t)db)->segments, memory_order_acquire);
}
/* Waits until nobody can see any more what was unlinked before. Not inside an epoch. */
void wait_for_readers(struct hybrid *db);

/* Inside an epoch: the record at an address in memory; NULL: it is on disk. */
static inline const struct hybrid_record *memory_record(const struct hybrid *db, uint64_t address)
{
    const uint8_t *page = atomic_load_explicit(&db->pages[(address >> db->page_bits) & (PAGES_TABLE - 1)],
                                               memory_order_acquire);
    /* Behind the load: a page's place is used again only after head has passed it, and head goes back to a page only
     * when all who may not have seen it in its place have left. */
    if (__builtin_expect(address < address_of(&db->head), 0))
        return NULL;
    return (const struct hybrid_record *)(const void *)(page + (address & (page_bytes(db) - 1)));
}

/* The same of an address that a record leads to, which a file may have told: what is not well formed there in memory is
 * read from the file again, and so found out; what only looks like a record is not. */
static inline const struct hybrid_record *memory_previous(const struct hybrid *db, uint64_t address)
{
    const struct hybrid_record *record = memory_record(db, address);
    uint64_t left = page_bytes(db) - (address & (page_bytes(db) - 1)), whole;
    if (record && (address % RECORD_ALIGN || !record_fits(record, left, &whole) || !record_sane(record)))
        return NULL;
    return record;
}

/* Has the first two lines of a record under way. */
static inline void record_prefetch(const struct hybrid_record *record)
{
    __builtin_prefetch((const uint8_t *)record);
    __builtin_prefetch((const uint8_t *)record + CACHE_LINE);
}

/* And the two behind the first, while that is waited for. */
static inline void record_prefetch_behind(const struct hybrid_record *record)
{
    __builtin_prefetch((const uint8_t *)record + CACHE_LINE);
    __builtin_prefetch((const uint8_t *)record + 2 * CACHE_LINE);
}

/* --- hybrid_return.c ---------------------------------------------------------------------------------------------- */

/* A record at an address was read from the disk alone: counts what pages that come back would have been good for. */
void return_count(struct hybrid *db, uint64_t address);
/* Whether the newest page that is not in memory is to come back. */
bool return_is_due(const struct hybrid *db);
/* Brings it back; where that fails, readers go on as they did. Outside of locks: of the background, or, where there is
 * none, of whoever writes; so a store that is read only without a background gets none back. */
void return_page(struct hybrid *db);

/* --- hybrid_read.c ------------------------------------------------------------------------------------------------ */

/* What a lookup goes by. */
struct moment {
    uint64_t at;    /* records from here on are not seen */
    uint64_t begin; /* nor those below */
};

struct found {
    const struct hybrid_record *record; /* NULL: there is none. Valid until the end of the epoch */
    uint64_t address;
};

static inline struct moment moment_now(const struct hybrid *db)
{
    return (struct moment){UINT64_MAX, address_of(&db->begin)};
}

/* Inside an epoch: the newest record of a key, which may be a deletion, in the chain that begins at an address; 0: it
 * is empty. PLSM_CORRUPT, PLSM_IO, PLSM_NO_MEMORY. */
plsm_status find_record_from(struct hybrid *db, struct moment moment, uint64_t address, plsm_slice key,
                             struct found *out);
/* The same, of the chain that the index leads to. */
static inline plsm_status find_record(struct hybrid *db, struct moment moment, uint64_t hash, plsm_slice key,
                                      struct found *out)
{
    return find_record_from(db, moment, index_find(&db->index, hash), key, out);
}
/* Inside an epoch: the record at an address, wherever it is. */
plsm_status record_at(struct hybrid *db, uint64_t address, const struct hybrid_record **out);

/* --- hybrid_write.c ----------------------------------------------------------------------------------------------- */

/* Applies a batch that is in the redo log, or is not to be. Under write_lock. PLSM_INVALID: it is none. */
plsm_status apply_replayed(struct hybrid *db, plsm_slice bytes);
/* Copies the live ones of records to the tail, and deletes those that have expired; addresses[i] of `count` lie in one
 * segment. Under write_lock. */
plsm_status copy_live(struct hybrid *db, const uint64_t *addresses, size_t count);
/* Counts the change from what a record replaces to itself, when the log is read at opening. */
plsm_status count_record(struct hybrid *db, const struct hybrid_record *record, uint64_t begin);
bool is_preparing(const struct hybrid *db); /* this thread is inside of a hybrid_prepare of this store */
/* The bounds of the log, or snapshots of them: under write_lock, wherever this thread stands. */
void write_lock_enter(struct hybrid *db);
void write_lock_exit(struct hybrid *db);
/* Between two holds of the write_lock by who has long work: a mutex that is let go and taken at once would stay with
 * who had it. */
static inline void give_writers_way(const struct hybrid *db)
{
    env_sleep_ns(db->env, GIVE_WAY_NS);
}

/* --- hybrid_ranges.c ---------------------------------------------------------------------------------------------- */

/* The same batch with a deletion for each key in place of those of ranges. Under write_lock, as is_preparing tells. */
plsm_status hybrid_expand_ranges(struct hybrid *db, const struct batch *batch, struct batch *out);

/* --- hybrid_key_order.c ------------------------------------------------------------------------------------------- */

static inline bool is_name(plsm_slice key)
{
    return *(const uint8_t *)key.data == HYBRID_NAMES;
}

/* All under write_lock and inside an epoch. A key that may become live is added before that. PLSM_NO_MEMORY. */
plsm_status key_order_add(struct key_order *order, plsm_slice key);
/* A key may have died; with `absent` also one that will only be added. Without memory to note it, it stays there, and
 * readers pass over it. */
void key_order_note_dead(struct key_order *order, plsm_slice key, bool absent);
/* Looks at up to `most` of those, and takes out what has died, unless a snapshot may still ask for it. Without
 * `may_read` one whose record is on disk, and those behind it, are left to key_order_drain. */
void key_order_drop_dead(struct hybrid *db, struct key_order *order, uint64_t most, bool may_read);
/* The same, of some of them, without the lock while it reads; returns whether there are more. Of the background,
 * outside of locks and epochs. */
bool key_order_drain(struct hybrid *db, struct key_order *order);
void key_order_free(struct key_order *order); /* leaves it without a tree; nobody may be reading that */
uint64_t key_order_bytes(const struct key_order *order); /* of memory */

/* --- hybrid_name_order.c ------------------------------------------------------------------------------------------ */

void name_order_init(struct name_order *order);
void name_order_destroy(struct name_order *order); /* nobody may be using it */
/* Of writers, as above, while there is a tree. */
void name_order_add(struct hybrid *db, plsm_slice key);
void name_order_note_dead(struct hybrid *db, plsm_slice key);
/* A listing of a moment `at` has read through so much of the log. It counts if the last order would have served it. */
void name_order_count(struct hybrid *db, uint64_t at, uint64_t bytes);
/* Brings the names in order if listings read so much that it is cheaper. Nothing fails: there is none then. */
void name_order_make(struct hybrid *db);
/* The names in order, with all that lived at the moment of a snapshot; NULL: there is none. Ends with release. */
const struct key_tree *name_order_take(struct hybrid *db, const struct hybrid_snapshot *snapshot);
void name_order_release(struct hybrid *db);
/* Lets it go if nobody has used it for so long, or it is full. Outside of locks. */
void name_order_forget(struct hybrid *db, uint64_t unused_ns);

/* --- hybrid_scan.c ------------------------------------------------------------------------------------------------ */

/* Calls `each` for every record in [from, to), in the order of addresses; `to` must be read-only. Records of files are
 * checked. The record is valid during the call. Ends at the first error, also of `each`. Not inside an epoch. */
typedef plsm_status scan_each(void *arg, const struct hybrid_record *record, uint64_t address);
plsm_status hybrid_scan(struct hybrid *db, uint64_t from, uint64_t to, scan_each *each, void *arg);
/* Checks the records in a piece of a segment, from an address on, that was read into memory. It ends where a page or
 * the segment does. */
plsm_status hybrid_scan_check(struct hybrid *db, const struct hybrid_segment *segment, uint64_t address, uint8_t *bytes,
                              uint64_t size);

/* What is live in a part of the log, with a copy of what callers need of it. */
struct live_entry {
    uint64_t address;
    uint64_t order; /* of the key, roughly */
    const uint8_t *key; /* followed by meta, and by the value of references */
    uint16_t key_size;
    uint8_t meta_size;
    uint8_t kind;
    uint32_t value_size;
    uint64_t expires_s;
};
struct live_entries {
    struct live_entry *at;
    size_t count, capacity;
    uint8_t **blocks; /* memory of what they point to */
    size_t block_count, block_used;
};
/* Collects the entries with keys in [from, to) (an empty bound is open) of a moment, in the order of keys. */
plsm_status collect_live(struct hybrid *db, const struct hybrid_snapshot *snapshot, plsm_slice from, plsm_slice to,
                         struct live_entries *out);
/* The same, from what was collected of an earlier snapshot, whose `at` is `since`: all that has changed between them
 * stands in the log from there on, if that still counts. */
plsm_status collect_changed(struct hybrid *db, const struct hybrid_snapshot *snapshot, plsm_slice from, plsm_slice to,
                            const struct live_entries *before, uint64_t since, struct live_entries *out);
void live_entries_free(struct live_entries *entries);
uint64_t live_entries_bytes(const struct live_entries *entries); /* of memory */

/* --- hybrid_listing.c --------------------------------------------------------------------------------------------- */

struct hybrid_listing {
    struct live_entries entries;
    uint64_t at;         /* of the snapshot that it is of */
    uint64_t commits;    /* of the store at that moment: where there are no more, nothing has changed */
    plsm_slice from, to; /* into bounds */
    uint64_t used_ns;    /* when it was last taken */
    uint32_t users;
    uint8_t bounds[];
};

void listings_init(struct hybrid_listings *listings);
void listings_destroy(struct hybrid_listings *listings); /* nobody may be using one */
/* Those of collect_live, shared: they do not change. Ends with listing_release. */
plsm_status listing_take(struct hybrid *db, const struct hybrid_snapshot *snapshot, plsm_slice from, plsm_slice to,
                         struct hybrid_listing **out);
void listing_release(struct hybrid *db, struct hybrid_listing *listing); /* accepts NULL */
/* Does not keep the last one any longer if nobody has taken it for so long. */
void listings_forget(struct hybrid *db, uint64_t unused_ns);
uint64_t listings_bytes(struct hybrid *db); /* that are kept in memory */

/* --- hybrid_checkpoint.c ------------------------------------------------------------------------------------------ */

/* Takes a recovery point if anything has changed since the last one. With `whole_files` no segment that it names is
 * written to any more. Under checkpoint_lock. */
plsm_status take_recovery_point(struct hybrid *db, bool whole_files);
/* Removes the segments that wait and that no snapshot needs. Under checkpoint_lock. */
void remove_pending(struct hybrid *db);

/* --- hybrid_files.c ----------------------------------------------------------------------------------------------- */

/* What is in the directory of a store. */
struct inventory {
    struct number_list states, segments, redo; /* each ascending */
    bool foreign; /* something is there that is not of a store */
};
plsm_status hybrid_inventory_read(struct hybrid *db, struct inventory *inventory);
plsm_status hybrid_number_check(const struct hybrid *db, uint64_t number); /* PLSM_CORRUPT: it is too large */
void hybrid_inventory_free(struct inventory *inventory); /* leaves it zeroed */

enum { LOCK_WRITER = 0, LOCK_PIN = 1 }; /* slots of the file LOCK: see hybrid_files.c */
/* Locks the store for writing, or pins its files for reading. PLSM_LOCKED. */
plsm_status hybrid_lock_store(struct hybrid *db);
bool has_writer(struct hybrid *db); /* somebody else, now */
/* Keeps processes that read from coming, if there are none; false: there is one, and no file may be removed. */
bool lock_out_readers(struct hybrid *db, struct env_lock **out);
/* Removes all files that the last recovery point, the present segments and redo logs do not need, unless a process
 * reads the store. Under checkpoint_lock. What cannot be removed is, the next time. */
void remove_leftovers(struct hybrid *db);

/* --- hybrid_compact.c --------------------------------------------------------------------------------------------- */

/* Does what is due: recovery point, compaction, removal. */
plsm_status do_maintenance(struct hybrid *db);
static inline bool recovery_point_is_due(const struct hybrid *db)
{
    return counted(&db->unsaved_bytes) >= db->recovery_bytes;
}
bool maintenance_is_due(struct hybrid *db);
/* What is live in the oldest segment goes to the tail, and the segment with the next recovery point. *done false: there
 * is nothing to do, or segments before it still wait for snapshots. Under checkpoint_lock. */
plsm_status compact_oldest(struct hybrid *db, bool although_some_wait, bool *done);
plsm_status maintenance_start(struct hybrid *db);
void maintenance_stop(struct hybrid *db);
void maintenance_wake(struct hybrid *db);

#endif
