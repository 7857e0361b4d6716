/* What the parts of the append log share. */
#ifndef LOG_APPEND_DB_H
#define LOG_APPEND_DB_H

#include <stdatomic.h>

#include "base/alloc.h"
#include "base/env.h"
#include "base/epoch.h"
#include "base/reclog.h"
#include "base/sync.h"
#include "base/turns.h"
#include "log/append.h"
#include "log/append_format.h"
#include "log/key_tree.h"
#include "log/room.h"
#include "log/slab.h"

enum {
    APPEND_LOCK_WRITER = 0, /* slots of the LOCK file: exclusive for the process that writes, */
    APPEND_LOCK_PIN = 1,    /* shared for readers beside it: while one is held, no file is removed */
    APPEND_PATH_MAX = 4096,
};

enum segment_state {
    SEGMENT_ACTIVE, /* is written to */
    SEGMENT_FROZEN, /* full, to be sealed */
    SEGMENT_SEALED, /* closed cleanly, never changes */
    SEGMENT_TORN,   /* of an opening that did not end cleanly: to be merged before the store is served, if there is
                       room for it; otherwise later, and until then it is on the disk and stays */
    SEGMENT_FILLED, /* a merge is writing it; not in the list */
};

/* A file with entries. Whoever has its slot from a place may use it within the epoch; longer with a reference. */
struct segment {
    struct epoch_node retired;
    struct append *db;
    atomic_uint references;
    uint64_t number, salt;
    unsigned slot;
    struct env_file *file;          /* for reading */
    _Atomic(const uint8_t *) map;   /* of the file, or NULL */
    uint64_t map_size;              /* written before map */
    atomic_bool lost;               /* a page of the map: from then on it is read with calls */
    enum segment_state state;       /* under lock */
    struct reclog_writer *writer;   /* NULL once it is sealed */
    uint64_t head_end;              /* offset behind its head record */
    _Atomic uint64_t size;          /* bytes of whole records, heads included */
    _Atomic uint64_t live;          /* bytes of entries in it that are in the directory */
    uint64_t tombstones;            /* bytes of deletions in it; of sealed ones only, as what follows */
    uint64_t seq_min, seq_max;      /* of its entries; UINT64_MAX and 0: none */
    bool hinted;                    /* its hint is there */
    bool merged;                    /* a merge wrote it; set by opening */
    bool closed;                    /* it ends with a clean close, although it may be torn; likewise */
    bool kept;                      /* torn, and served as it is until there is room to write it anew */
    bool remove;                    /* it is among the garbage, to be removed when the last reference goes */
};

/* An entry of a key beside others. */
struct append_version {
    uint64_t seq;
    _Atomic append_place place; /* 0: it was deleted */
    _Atomic uint64_t older;     /* as a node's word: a place, the address of a version with bit 0 set, or 0 */
};
static inline bool word_is_version(uint64_t word) { return word & 1; }
static inline struct append_version *word_version(uint64_t word)
{
    return (struct append_version *)(uintptr_t)(word & ~UINT64_C(1));
}
static inline uint64_t version_word(struct append_version *version) { return (uint64_t)(uintptr_t)version | 1; }

/* The state as it was up to a change; in a list, oldest first. */
struct append_snapshot {
    uint64_t seq;
    uint64_t now_s; /* of an iterator: the time it goes by; 0: of none */
    struct append_snapshot *older, *newer;
};

enum append_counter {
    APPEND_GETS,
    APPEND_GETS_MISSED, /* of them, those that found nothing or failed */
    APPEND_SCANS,
    APPEND_SCAN_ENTRIES,
    APPEND_READS, /* read calls; what is read through memory is not one */
    APPEND_READ_BYTES,
    APPEND_COUNTERS
};
enum { APPEND_STRIPES = 16, APPEND_THREADS = 3, APPEND_READY_MAX = 2 };

struct garbage {
    uint64_t number;
    bool removable; /* nobody reads it any more */
};

struct append {
    struct append_options options;
    struct env *env;
    char *path;
    uint64_t store_id;
    struct epoch *epoch;
    struct mem_account account;
    struct env_lock *writer_lock, *pin_lock;

    struct key_tree *tree;
    _Atomic uint64_t visible; /* number of the newest change that readers see */
    _Atomic(struct segment *) *slots; /* APPEND_SLOTS */

    /* The directory is changed under this lock: the tree, words of nodes, versions, snapshots, what follows. */
    mutex directory;
    struct slab versions;
    struct append_snapshot *oldest, *newest;
    uint64_t snapshots;
    bool applying; /* a group of writes has nodes in its hands: none may be removed */
    struct key_node **chained; /* that have versions */
    size_t chained_count, chained_capacity;
    size_t pruned;             /* of them were looked at */
    uint64_t pruned_for;       /* with the oldest snapshot's number as this */
    struct append_version *spare;
    _Atomic uint64_t live_bytes; /* of all segments */

    /* The list of segments and the state; writers sleep under it. Taken before `directory`, never inside of it. */
    mutex lock;
    condition work, progress; /* for the threads of append_work.c; of anything */
    struct segment **segments; /* by number, all but those that merges are filling */
    size_t segment_count, segment_capacity;
    uint64_t next_number;
    struct segment *ready[APPEND_READY_MAX]; /* that will be begun next, in this order; not in the list */
    unsigned ready_count;
    bool preparing; /* somebody prepares another one; one at a time */
    bool beginning; /* somebody has taken one and writes its head; likewise */
    uint64_t begun; /* number of the segment that was begun last */
    uint16_t *free_slots;
    unsigned free_slot_count;
    struct segment *active;
    _Atomic plsm_status broken; /* why it turned read-only; changed under lock */
    char broken_message[256];
    bool stopping;
    bool sealing; /* somebody is; one at a time */
    uint64_t sealed; /* how many were */
    _Atomic unsigned frozen;  /* how many are to be */
    _Atomic uint64_t seal_ns; /* that sealing takes for each MiB, of late */
    _Atomic uint64_t stall_ns; /* that writers were held back for it */
    struct garbage *garbage; /* segments whose files are there but count no more */
    size_t garbage_count, garbage_capacity;
    bool has_threads; /* set by opening and closing */
    struct env_thread *threads[APPEND_THREADS];

    struct turns turns; /* of writers */
    /* The leader's: one at a time. */
    struct buf payload;
    struct append_op *ops;
    size_t op_count, op_capacity;
    uint64_t seq; /* number of the newest change that was given */
    uint64_t look_at; /* size of the active segment from which append_make_room has something to do */
    uint64_t rest_due_ns; /* see pace_rest_ns in append_policy.h */
    struct room room;

    mutex sync_lock;  /* of logs against being closed; before `lock` */
    mutex merge_lock; /* one at a time merges or removes files; before the others */
    mutex flush_lock; /* one at a time freezes the active segment before it is full; before the others */
    _Alignas(64) struct {
        _Alignas(64) _Atomic uint64_t values[APPEND_COUNTERS];
    } stripes[APPEND_STRIPES];
    _Atomic uint64_t puts, user_bytes, write_calls, write_bytes, syncs, merges, merged_bytes, expired;
    _Atomic uint64_t hints_used, hints_missing, hints_damaged, hints_foreign, segments_scanned;
    uint64_t open_ns;
    bool loss; /* opening left segments out that followed a loss */
};

void append_count(struct append *db, enum append_counter which, uint64_t amount);
uint64_t append_counted(const struct append *db, enum append_counter which);
static inline uint64_t append_now_s(const struct append *db) { return env_wall_ns(db->env) / 1000000000; }

/* --- append_segment.c --------------------------------------------------------------------------------------------- */

void segment_path(const struct append *db, const char *kind, uint64_t number, char out[APPEND_PATH_MAX]);
/* Makes the file of a segment that is to be begun, with a number of its own, and gives it a slot; file, header and name
 * survive power loss. It has no head, and nothing may be used of it but segment_begin and segment_discard. Called by
 * append_roll.c alone, one at a time. PLSM_IO, PLSM_NO_SPACE, PLSM_NO_MEMORY. */
plsm_status segment_prepare(struct append *db, struct segment **out);
/* Appends its head, by which it is of the state that it has, and syncs nothing. Likewise. */
plsm_status segment_begin(struct segment *s);
/* Lets one go, with its file, that never was in the list. */
void segment_discard(struct segment *s);
/* Opens one that was written before, for reading; what is known of it is set by the caller. */
plsm_status segment_open(struct append *db, uint64_t number, struct segment **out);
/* Maps it, if that can be. */
void segment_map(struct segment *s, uint64_t size);
/* Closes it cleanly. */
plsm_status segment_seal(struct segment *s);
static inline void segment_reference(struct segment *s) { atomic_fetch_add(&s->references, 1); }
void segment_release(struct segment *s); /* not under lock */
/* Takes it out of reach; no place leads to it any more. */
void segment_retire(struct segment *s, bool remove);
/* Under lock. */
plsm_status segment_list_add(struct append *db, struct segment *s);
void segment_list_remove(struct append *db, struct segment *s);
static inline struct segment *segment_at(const struct append *db, append_place place)
{
    return atomic_load_explicit(&db->slots[append_place_slot(place)], memory_order_acquire);
}

/* Where the bytes of an entry are in memory; NULL: they are to be read. */
static inline const uint8_t *segment_bytes(const struct segment *s, append_place place)
{
    const uint8_t *map = atomic_load_explicit(&s->map, memory_order_acquire);
    uint64_t offset = append_place_offset(place);
    return map && offset + append_place_size(place) <= s->map_size && env_map_whole(&s->lost) ? map + offset : NULL;
}

/* Reads the entry at a place, which must be of `key` unless that is empty. Where the segment is mapped, *out shows what
 * stands there, which is valid within the epoch, and as long as the segment's map is whole; otherwise it is read into
 * *memory, which grows by mem_realloc. With `no_value` the value of a large entry may be left unread. PLSM_CORRUPT,
 * PLSM_IO, PLSM_NO_MEMORY. */
struct append_memory {
    void *bytes;
    size_t capacity;
};
plsm_status segment_read(struct append *db, append_place place, plsm_slice key, bool no_value,
                         struct append_memory *memory, struct append_entry *out, bool *in_memory);
/* The same, but value and meta are copied to *memory wherever they stand, and the key is the caller's. With `no_value`
 * there is no value but of a reference: those are never so large that they are left unread. */
plsm_status segment_copy(struct append *db, append_place place, plsm_slice key, bool no_value,
                         struct append_memory *memory, struct append_entry *out);

/* --- append_directory.c ------------------------------------------------------------------------------------------- */

/* A change of a node on its way. */
struct append_op {
    struct key_node *node;
    struct append_version *version;
    uint64_t seq;
    append_place place; /* 0: deletion */
    bool created;       /* the node was made for it */
};

/* The place that a node has for readers at `seq` (UINT64_MAX: now). Within the epoch. 0: nothing. */
append_place directory_place(const struct append *db, const struct key_node *node, uint64_t seq);
/* Finds or makes the nodes for the changes of an encoded batch whose payload begins at `base` of the active segment,
 * and what else is needed so that nothing can fail later. PLSM_NO_MEMORY; then directory_undo. `hash`: that of the key
 * of the change, by key_tree_hash. */
plsm_status directory_begin(struct append *db);
plsm_status directory_add(struct append *db, const struct batch_change *change, uint64_t hash, uint64_t seq,
                          append_place place);
plsm_status directory_ready(struct append *db);
void directory_undo(struct append *db);
/* Makes the changes visible. */
void directory_install(struct append *db, uint64_t seq);
/* Lets go of versions that no snapshot needs, looking at up to `most` nodes. */
void directory_prune(struct append *db, size_t most);
/* Registers a snapshot of what is visible. */
void directory_snapshot(struct append *db, struct append_snapshot *snapshot);
/* The same for an iterator, which goes by the time it begins at as long as it is there: what expires later stays. */
void directory_moment(struct append *db, struct append_snapshot *moment);
void directory_forget(struct append *db, struct append_snapshot *snapshot);
/* The earliest time that anybody goes by, now or later. Under `directory`. */
uint64_t directory_earliest_s(struct append *db);
/* Whether a version of the key is at this place. In an epoch. */
bool directory_has_place(const struct append *db, plsm_slice key, append_place place);
/* Moves entries: what is found at `from` is at `to` then. */
struct append_move {
    plsm_slice key;
    append_place from, to; /* to 0: its time has come, and it goes */
};
enum { DIRECTORY_MOVES_MAX = 64 }; /* at once */
void directory_move(struct append *db, const struct append_move *moves, size_t count);

/* --- append_write.c ----------------------------------------------------------------------------------------------- */

void append_break(struct append *db, plsm_status status); /* under lock */
plsm_status append_writable(const struct append *db);     /* under lock */
/* Syncs all that was appended. Any thread; not under lock. */
plsm_status append_sync_logs(struct append *db);

/* --- append_roll.c ------------------------------------------------------------------------------------------------ */

/* Has the segment prepared that will be begun next, if none is; waits where somebody else is at it. Not under lock. */
plsm_status append_ahead(struct append *db);
bool append_ahead_due(const struct append *db); /* under lock: one should be prepared, and nobody is at it */
bool append_is_ready(const struct append *db);  /* under lock: one can be begun at once */
void append_ahead_drop(struct append *db);      /* removes those that are; when the threads have ended */
/* Begins a segment, a prepared one if there is one, and otherwise waits for the disk. SEGMENT_ACTIVE: it is the one
 * that is written to from then on, and that which was is frozen; by the leader. SEGMENT_FILLED: for a merge; it is not
 * in the list. Not under lock. */
plsm_status segment_create(struct append *db, enum segment_state state, struct segment **out);
plsm_status append_roll(struct append *db); /* SEGMENT_ACTIVE */
/* What is due when the active segment has db->look_at bytes: another one is begun when it is full. The leader's. */
plsm_status append_make_room(struct append *db);
/* Behind a group of so many bytes: lets the disk catch up. The leader's. */
void append_rest(struct append *db, uint64_t bytes);

/* --- append_work.c ------------------------------------------------------------------------------------------------ */

plsm_status work_start(struct append *db);
void work_stop(struct append *db);
/* For who takes a lock that writers need again and again: one that is let go and taken at once would stay with who had
 * it. Without a lock. */
void append_give_way(struct append *db);
/* Seals, merges and removes what is due, in this thread. */
plsm_status work_do(struct append *db, bool merge_all);
/* Writes torn segments anew, one by one. PLSM_NO_SPACE: those that are left stay as they are. With merge_lock. */
plsm_status work_merge_torn(struct append *db);
/* Seals what is frozen when it is called, of segments up to the number `through`, and gives it its hint. */
plsm_status work_seal(struct append *db, uint64_t through);
/* Under lock: makes room for so many more; notes one that counts no more; says that nobody reads it any more. */
plsm_status append_garbage_reserve(struct append *db, size_t count);
void append_garbage_add(struct append *db, uint64_t number, bool removable);
void append_garbage_release(struct append *db, uint64_t number);
void append_garbage_collect(struct append *db); /* with merge_lock */

/* --- append_merge.c ----------------------------------------------------------------------------------------------- */

/* Copies what lives in segments to a new one, and retires them. With merge_lock. */
plsm_status merge_segments(struct append *db, struct segment **victims, size_t count);

/* --- append_load.c ------------------------------------------------------------------------------------------------ */

/* Fills the directory from the hints of db->segments. */
struct hint;
plsm_status append_load(struct append *db, struct hint *hints);

#endif
