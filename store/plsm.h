/* plsm: an ordered key-value store with learned indexes. This is the one public header.
 *
 * A store is a directory. Keys are 1 to 8,192 bytes, any byte, ordered bytewise; values are 0 bytes to 1 TiB. Each
 * entry also has `meta`, up to 255 bytes beside the value (the mount keeps mode, owner and times there), empty for
 * plain puts.
 *
 * Values up to PLSM_INLINE_MAX live in the tree. Larger ones are kept in extents beside it, are read and written at
 * offsets (plsm_read, plsm_edit_*) and are never wholly in memory.
 *
 * Threads: a store handle may be used by any number of threads at once. An iterator, a batch, an edit and a bulk load
 * belong to one thread at a time. Destroy iterators, snapshots, edits and bulk loads before closing the store.
 *
 * Errors: functions return a plsm_status; plsm_message() has the sentence. A failed call changes nothing. */
#ifndef PLSM_H
#define PLSM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/inspect.h"
#include "base/slice.h"
#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default) /* the library is compiled with hidden visibility: this is what it shows */

#define PLSM_KEY_MAX 8192u
#define PLSM_META_MAX 255u
#define PLSM_INLINE_MAX (128u << 10)
#define PLSM_VALUE_MAX (UINT64_C(1) << 40)
#define PLSM_BATCH_MAX (UINT64_C(512) << 20) /* bytes of one batch, keys and values together */

typedef struct plsm plsm;
typedef struct plsm_snapshot plsm_snapshot;
typedef struct plsm_iterator plsm_iterator;
typedef struct plsm_batch plsm_batch;
typedef struct plsm_edit plsm_edit;
typedef struct plsm_bulk plsm_bulk;

/* Keyspaces divide a store; a batch may span them. What users see as keys are the names. */
typedef enum plsm_keyspace {
    PLSM_NAMES = 1,    /* keys of users: the default everywhere */
    PLSM_INODES = 2,   /* by identifier: what is shared by several names, or has extents */
    PLSM_EXTENTS = 3,  /* pieces of large values */
    PLSM_INTERNAL = 4, /* the store's own: counters, attributes of the root, work to finish after a crash */
} plsm_keyspace;

/* What survives what, per write. */
typedef enum plsm_durability {
    PLSM_NONE = 0, /* survives the death of the process; an operating system crash or power loss may take the newest
                      writes, in order, never older ones before newer ones */
    PLSM_SYNC = 1, /* survives power loss, with everything written before it */
    PLSM_VOLATILE = 2, /* survives nothing until the next plsm_flush, plsm_sync, checkpoint or close, or until the
                          engine has written everything out by itself: cheaper where the engine has volatile_writes
                          (struct plsm_abilities), otherwise PLSM_NONE, and so where the store holds large or shared
                          values. Other writes survive as ever, also later ones */
} plsm_durability;

/* --- entries that expire ----------------------------------------------------------------------------------------
 *
 * A put may say when it expires, as a second since 1970; 0 is never. By the option ttl=SECONDS, puts of names that do
 * not say so (plsm_put, plsm_batch_put, plsm_bulk_put, commits of edits) expire so many seconds after they are written;
 * names that end in '/' (directories) do not. What the store keeps beside the names never expires, nor does a value
 * that several names share: sharing it (plsm_batch_share) ends its time. A move, a change of meta and an update keep
 * the time; every other write of a key decides it anew.
 *
 * From that second on the entry is as if it had been deleted: no read, iterator, condition, move, change of meta or
 * edit finds it, and what the key held before stays hidden. The clock is the system's, as it is when the read is made:
 * an iterator goes by the moment of its creation, so that one scan agrees with itself; plsm_multi_get by one moment for
 * up to multi_get_max keys; conditions, moves and changes of meta by the moment of the write. A snapshot is no
 * exception: it keeps the state of what was written, not the time, so what has expired since it was taken is not found
 * in it either. Thus nothing need be kept for snapshots that has expired, and no reader finds an entry that another one
 * could not. Where the clock is set back, entries whose time had come may be found again as long as they have not been
 * removed; never those before them.
 *
 * The space comes back as after deletions: flushes and compactions leave out small values that have expired, and a file
 * half of which has is compacted for that. Large values (in extents) are deleted when the next write, sync,
 * flush, compaction, close or opening comes. An edit that was opened before keeps its content. */

/* --- opening ---------------------------------------------------------------------------------------------------- */

/* Options are text, "name=value,name=value", the same for the library, `plsm -o` and `mount.plsm -o`. plsm_options_help
 * lists them with their defaults. */
typedef enum plsm_open_flags {
    PLSM_CREATE = 1,    /* make a store when there is none */
    PLSM_EXCLUSIVE = 2, /* with PLSM_CREATE: PLSM_EXISTS when there is one */
    PLSM_READ = 4,      /* read-only, also beside a process that writes: sees the store as it was at this moment */
} plsm_open_flags;

/* Opens the store in directory `path`. `options` may be NULL. *out is owned by the caller, to plsm_close.
 * PLSM_NO_STORE: no store there (or path is no directory); PLSM_LOCKED: another process writes it; PLSM_INVALID: an
 * option is unknown or its value not allowed (nothing was touched); PLSM_UNSUPPORTED: `compression` of a library that
 * was not there at build time (reads of what is packed with it return that, too); PLSM_VERSION, PLSM_CORRUPT, PLSM_IO,
 * PLSM_NO_MEMORY. */
plsm_status plsm_open(const char *path, plsm_open_flags flags, const char *options, plsm **out);

/* For who owns the process, at its start: where a page of a file that is mapped into memory cannot be had, since the
 * disk failed or somebody cut the file short, the call that needs it returns an error from now on (PLSM_IO or
 * PLSM_CORRUPT of a read; of a write PLSM_IO, and the store turns read-only). Otherwise the kernel ends the process
 * with SIGBUS then; the option log=written maps nothing. It takes over that signal, for all of the process; one that is
 * not about such a page goes to the handler that was there before. No thread that uses a store may have it blocked. The
 * daemon and the command call it. Calls behind the first do nothing. */
void plsm_catch_lost_pages(void);

/* Writes everything out, syncs it and closes; accepts NULL. The handle is gone also when an error is returned. */
plsm_status plsm_close(plsm *db);

/* The time by which entries expire: the system's, in seconds since 1970. */
uint64_t plsm_now_s(const plsm *db);

/* Checks options without opening anything: PLSM_INVALID and a message that names the offending one. */
plsm_status plsm_options_check(const char *options);
/* A text for --help: one line per option with its default and meaning; static. */
const char *plsm_options_help(void);
/* Whether `name` (without "=value") is an option of the store, so that a mount helper can tell them from its own. */
bool plsm_options_has(const char *name, size_t name_size);

/* What the engine of this store can do. */
typedef struct plsm_abilities {
    const char *engine; /* "lsm", "hybridlog" */
    bool ordered, snapshots, atomic_batches;
    bool bulk_loads; /* plsm_bulk_create and plsm_move_prefix */
    bool volatile_writes; /* PLSM_VOLATILE is less than PLSM_NONE, and cheaper */
    bool range_deletions; /* plsm_delete_range is one deletion, not one for each key */
    uint32_t key_size_max;
    uint64_t value_size_max;
    bool read_only; /* opened with PLSM_READ, or turned read-only by a failed write */
    uint64_t ttl_s; /* the option ttl */
    uint64_t spills_above; /* batches of at least so many bytes go to files at once and take little memory beside their
                              own; values that stay in the log of the engine do not count; 0: none do */
} plsm_abilities;
void plsm_get_abilities(plsm *db, plsm_abilities *out);

/* --- reading ---------------------------------------------------------------------------------------------------- */

/* How to read; NULL for all defaults. */
typedef struct plsm_read_options {
    plsm_keyspace keyspace;        /* 0: PLSM_NAMES */
    const plsm_snapshot *snapshot; /* NULL: the newest state */
    bool no_value;                 /* leave `value` empty, tell only its size: cheaper */
} plsm_read_options;

/* A value as read. Zero it before its first use, give it to plsm_get again and again (it keeps its memory), and free it
 * with plsm_value_free. */
typedef struct plsm_value {
    plsm_slice value; /* empty when large or not asked for; valid until the next use of this struct */
    plsm_slice meta;  /* likewise */
    uint64_t size;    /* bytes of the value, also when it is large */
    uint64_t stored;  /* those of them that take space: fewer where a large value has holes, counted in whole extents */
    bool large;       /* kept in extents: read it with plsm_read or plsm_edit_read */
    uint32_t names;   /* how many keys share the value (plsm_batch_link), this one included; 1 for nearly all */
    uint64_t shared;  /* the identifier of a value that is or was shared; 0 for all others */
    uint64_t expires_s; /* when it expires, in seconds since 1970; 0: never */
    void *memory;     /* private */
    size_t capacity;  /* private */
} plsm_value;
void plsm_value_free(plsm_value *value);

/* PLSM_OK, or PLSM_NOT_FOUND, PLSM_INVALID (empty key), PLSM_TOO_LARGE (key), PLSM_CORRUPT, PLSM_IO, PLSM_NO_MEMORY. */
plsm_status plsm_get(plsm *db, const plsm_read_options *options, plsm_slice key, plsm_value *out);

/* As plsm_get, of a shared value by its identifier. PLSM_NOT_FOUND: no key has it any more. */
plsm_status plsm_get_shared(plsm *db, const plsm_read_options *options, uint64_t shared, plsm_value *out);

/* A value where it stands: in the page cache, a memtable or a mapped file. Belongs to one thread at a time. */
typedef struct plsm_pin {
    plsm_slice value; /* empty when large; valid until plsm_pin_release */
    plsm_slice meta;  /* likewise */
    uint64_t size;    /* bytes of the value, also when it is large */
    bool large;       /* kept in extents: read it with plsm_read */
    uint64_t expires_s; /* when it expires, in seconds since 1970; 0: never */
    void *holder;     /* private, as all that follow */
    uint32_t held, frame;
} plsm_pin;
/* As plsm_get, but nothing is copied and nothing allocated: *out points to the value, which stays as it is until the
 * pin is released, whatever is written, flushed and compacted meanwhile. *out need not be set before; after an error it
 * holds nothing. `no_value` of the options does not matter. Only where the value is not in the cache (it stands in a
 * value log or has a page of its own, or the cache has no room) is there a copy, which the pin owns. A pin keeps a page
 * of the cache, or all of a memtable, in memory: release it soon, and before plsm_close. */
plsm_status plsm_get_pinned(plsm *db, const plsm_read_options *options, plsm_slice key, plsm_pin *out);
/* Whether a page that the pin points into was lost before it was read (plsm_catch_lost_pages): then the slices may have
 * shown zeros. Ask it once you have read them, where it matters; plsm_get copies, and never returns such. A file
 * that is cut within a page shows zeros in the rest of that, and nothing tells of it here. */
bool plsm_pin_lost(const plsm *db, const plsm_pin *pin);
/* Lets go; the slices are not valid any more. Does nothing to one that holds nothing. */
void plsm_pin_release(plsm *db, plsm_pin *pin);

/* Gets `count` keys at one moment, in any order, many of them under way at once: waiting for memory and for the disk
 * overlaps, so 16 or more keys cost far less than as many plsm_get. statuses[i] and values[i] are as plsm_get would
 * have given them for keys[i]; each value is zeroed before its first use, kept and freed as with plsm_get. Returns
 * PLSM_OK when each key was read or is not there, otherwise the first other status. Keys that are not allowed get
 * PLSM_INVALID or PLSM_TOO_LARGE, and the others are read all the same. */
plsm_status plsm_multi_get(plsm *db, const plsm_read_options *options, const plsm_slice *keys, size_t count,
                           plsm_value *values, plsm_status *statuses);

/* Reads a value of any size at an offset: up to `size` bytes; *got is less only at its end. Errors as plsm_get. */
plsm_status plsm_read(plsm *db, const plsm_read_options *options, plsm_slice key, uint64_t offset, void *data,
                      size_t size, size_t *got);
/* The same of a shared value, by its identifier. */
plsm_status plsm_read_shared(plsm *db, const plsm_read_options *options, uint64_t shared, uint64_t offset, void *data,
                             size_t size, size_t *got);

/* Whether any key starts with `prefix`. With a prefix that ends in '/' absent ones are told without reading the disk
 * (filters hold the directories of keys). */
plsm_status plsm_has_prefix(plsm *db, const plsm_read_options *options, plsm_slice prefix, bool *out);

/* --- writing ---------------------------------------------------------------------------------------------------- */

/* One key; a batch of one. A value above PLSM_INLINE_MAX goes into extents. PLSM_INVALID, PLSM_TOO_LARGE,
 * PLSM_NO_SPACE, PLSM_READ_ONLY, PLSM_IO, PLSM_NO_MEMORY. Deleting an absent key is PLSM_OK. */
plsm_status plsm_put(plsm *db, plsm_slice key, plsm_slice value, plsm_durability durability);
/* The same for a value that expires at a second since 1970; 0: never, whatever the option ttl says. */
plsm_status plsm_put_expiring(plsm *db, plsm_slice key, plsm_slice value, uint64_t expires_s,
                              plsm_durability durability);
plsm_status plsm_delete(plsm *db, plsm_slice key, plsm_durability durability);
/* Deletes all keys in [from, to), in one step that costs about as much as one put however many there are: a deletion of
 * the range is written, reads go by it at once, and compaction removes what it hides, whole files of it without reading
 * them. An empty bound is open; from >= to is no range and changes nothing. While the store holds large values the
 * names in the range are walked over first (without their values), so that the extents of large ones are given back: a
 * microsecond for each name, during which other writes wait. Errors as plsm_delete. */
plsm_status plsm_delete_range(plsm *db, plsm_slice from, plsm_slice to, plsm_durability durability);

/* Read, modify and write one key in one step: no other write of the store comes between what the function is shown and
 * what it decides. It is called once by this thread, not at all where the write fails before. `old` is what the key
 * holds, NULL when it is not there, and valid until the function returns; of a large value (old->large) the size alone
 * is told. It sets *outcome, which is PLSM_KEEP, and with PLSM_REPLACE *value, which is copied as soon as it has
 * returned, so that it may lie in what `arg` leads to, or in old->value. All other writers wait meanwhile: it should
 * compute, and not wait for anything. It may read the store (plsm_get, plsm_read); writing to it, flushing, checking
 * or anything else that would wait for this very write is PLSM_INVALID, also from the function of an update of another
 * store inside of it; what an edit that it closes had staged is deleted by the next open. It must return: no longjmp
 * and no exception may leave it. */
typedef enum plsm_outcome {
    PLSM_KEEP = 0,    /* nothing is written; with PLSM_SYNC what is there survives power loss all the same */
    PLSM_REPLACE = 1, /* the key gets *value */
    PLSM_REMOVE = 2,  /* the key is deleted, if it is there */
} plsm_outcome;
typedef plsm_status plsm_update_fn(void *arg, const plsm_value *old, plsm_outcome *outcome, plsm_slice *value);
/* The entry keeps its meta and the time at which it expires; a key that was not there has no meta and the time that the
 * option ttl says. A value that several keys share is replaced for all of them; deleting takes this key from the
 * others. Where the function returns another status than PLSM_OK the update fails with that one, and nothing has
 * changed; the message has that of a call in it that failed. PLSM_TOO_LARGE: the new value is above PLSM_INLINE_MAX;
 * otherwise as plsm_get and plsm_put. */
plsm_status plsm_update(plsm *db, plsm_slice key, plsm_update_fn *fn, void *arg, plsm_durability durability);

/* Batches: changes and conditions, applied in order, all or nothing, also across a crash. Keys and values are copied
 * when added. Values in a batch are at most PLSM_INLINE_MAX. */
plsm_batch *plsm_batch_create(void); /* NULL: no memory */
void plsm_batch_destroy(plsm_batch *batch);
void plsm_batch_clear(plsm_batch *batch);
size_t plsm_batch_count(const plsm_batch *batch); /* changes in it */
size_t plsm_batch_bytes(const plsm_batch *batch);
plsm_status plsm_batch_put(plsm_batch *batch, plsm_keyspace keyspace, plsm_slice key, plsm_slice meta,
                           plsm_slice value);
/* The same for a name that expires at a second since 1970; 0: never, whatever the option ttl says. */
plsm_status plsm_batch_put_expiring(plsm_batch *batch, plsm_slice key, plsm_slice meta, plsm_slice value,
                                    uint64_t expires_s);
plsm_status plsm_batch_delete(plsm_batch *batch, plsm_keyspace keyspace, plsm_slice key);
/* As plsm_delete_range, in its place among the changes: what the batch puts before it is deleted, what it puts behind
 * it stays. PLSM_INVALID: the range has keys of the store itself (PLSM_EXTENTS; PLSM_INTERNAL from below "\1" on). */
plsm_status plsm_batch_delete_range(plsm_batch *batch, plsm_keyspace keyspace, plsm_slice from, plsm_slice to);
/* Moves an entry, value (inline or large), meta and the time at which it expires, to another key: read when the batch
 * is written, in its order. Where the source does not exist by then the write fails with PLSM_CONFLICT. */
plsm_status plsm_batch_move(plsm_batch *batch, plsm_slice from, plsm_slice to);
/* Sets the meta of an existing entry and keeps its value, inline or large, and the time at which it expires;
 * PLSM_CONFLICT at write when it is absent. */
plsm_status plsm_batch_set_meta(plsm_batch *batch, plsm_slice key, plsm_slice meta);
/* Hard links: several keys with one value and one meta. plsm_batch_share makes an entry shared, under an identifier
 * from plsm_new_id; plsm_batch_link gives a shared value another key, in place of what that key holds, and a new meta.
 * Reading a key gives the content as ever. A put, a deletion, or a move onto a key takes this key from the others, and
 * the value goes with the last one; moving a key keeps it among them. What changes the value for all its keys is
 * plsm_batch_set_meta and the commit of an edit that was opened through one of them or by the identifier. The meta of a
 * shared value has at most PLSM_META_SHARED_MAX bytes: PLSM_TOO_LARGE. At the write PLSM_CONFLICT: the key does not
 * exist, or is shared under another identifier; the identifier is in use already, or no key has it; PLSM_TOO_LARGE: it
 * has 2^32 - 1 keys. */
#define PLSM_META_SHARED_MAX 251u
plsm_status plsm_batch_share(plsm_batch *batch, plsm_slice key, uint64_t shared);
plsm_status plsm_batch_link(plsm_batch *batch, uint64_t shared, plsm_slice key, plsm_slice meta);
/* As plsm_batch_set_meta, of a shared value. */
plsm_status plsm_batch_set_meta_shared(plsm_batch *batch, uint64_t shared, plsm_slice meta);
/* Conditions on the state before the batch, checked when it is written: the write fails with PLSM_EXISTS or
 * PLSM_CONFLICT and changes nothing when one does not hold. */
plsm_status plsm_batch_if_absent(plsm_batch *batch, plsm_keyspace keyspace, plsm_slice key);
plsm_status plsm_batch_if_equal(plsm_batch *batch, plsm_keyspace keyspace, plsm_slice key, plsm_slice value);
/* Writes a batch. What is to be durable must be written with PLSM_SYNC: of those of `spills_above` bytes (struct
 * plsm_abilities) most are without, but not all. */
plsm_status plsm_write(plsm *db, const plsm_batch *batch, plsm_durability durability);
/* A change of a batch, for whoever must know what a write of it changes. */
typedef struct plsm_change {
    plsm_keyspace keyspace;
    plsm_slice key, to; /* to: of a range of keys, the end, exclusive; empty: to the end of the keyspace */
    bool deletes, is_range;
} plsm_change;
/* Calls `each` with every put and deletion in order; the slices are the batch's. Moves and changes of meta are left
 * out. */
void plsm_batch_each(const plsm_batch *batch, void (*each)(void *arg, const plsm_change *change), void *arg);

/* Makes everything acknowledged so far survive power loss. */
plsm_status plsm_sync(plsm *db);

/* Bulk loads: many entries in key order are written straight into the files of the tree, without log and memtable, and
 * not once more by each level on their way down. All of them become visible at once, when the load is finished; until
 * then other threads read and write as ever. They count as written at that moment: newer than all that was written
 * before, also while the load was open. Where older keys lie in between theirs they stand above these until compaction
 * merges them. Memory is bounded, by about two files of the tree (the option file_size), more where entries are tiny.
 *
 * plsm_bulk_create: PLSM_READ_ONLY, PLSM_NO_MEMORY; PLSM_UNSUPPORTED: the engine has none. Owned by the caller, to
 * plsm_bulk_destroy. */
plsm_status plsm_bulk_create(plsm *db, plsm_bulk **out);
/* Adds an entry. Keyspaces and in them keys must ascend strictly: PLSM_INVALID, naming the key that does not. Otherwise
 * PLSM_INVALID and PLSM_TOO_LARGE as plsm_batch_put: values up to PLSM_INLINE_MAX (larger ones: plsm_put,
 * plsm_edit_open). After these the load is as it was; after PLSM_NO_SPACE, PLSM_IO and PLSM_NO_MEMORY it can only be
 * destroyed. */
plsm_status plsm_bulk_put(plsm_bulk *bulk, plsm_keyspace keyspace, plsm_slice key, plsm_slice meta, plsm_slice value);
/* The same for a name that expires at a second since 1970; 0: never, whatever the option ttl says. */
plsm_status plsm_bulk_put_expiring(plsm_bulk *bulk, plsm_slice key, plsm_slice meta, plsm_slice value,
                                   uint64_t expires_s);
/* Adds all entries of a file that another store has written: a file run-NUMBER in the directory of a store that is
 * closed, such as one filled by a bulk load on another machine. The file is copied, then read through: checksums,
 * order, index, model and filter must be right. Entries that expire keep their times, others get none by ttl. All its
 * keys must come behind those added before. PLSM_NOT_FOUND: there is no such file; PLSM_CORRUPT, PLSM_VERSION: it is no
 * such file, is damaged, or of a newer version; PLSM_INVALID: its keys do not come behind, or it holds deletions, older
 * versions, values in value logs, large values or other keyspaces than PLSM_NAMES. After these the load is as it was;
 * otherwise as plsm_bulk_put. */
plsm_status plsm_bulk_add_file(plsm_bulk *bulk, const char *path);
/* Makes all of it visible at once; it then survives power loss, with everything written before. Ends the load, also
 * when it fails: then nothing of it is there (where the last write to the disk failed, the store turns read-only and
 * the next open tells). PLSM_INVALID (of a load that has failed before), PLSM_READ_ONLY, PLSM_NO_SPACE, PLSM_IO,
 * PLSM_CORRUPT, PLSM_NO_MEMORY. */
plsm_status plsm_bulk_finish(plsm_bulk *bulk);
/* Frees it; of a load that was not finished nothing stays. Accepts NULL. */
void plsm_bulk_destroy(plsm_bulk *bulk);

/* --- moving many names ------------------------------------------------------------------------------------------ */

/* Moves every name that begins with `from` to `to` followed by its rest, in one step, however many there are; it then
 * survives power loss, with everything written before. Times stay, and metas; but entries without one get what `meta`
 * (may be NULL) writes for their old name, of which it returns the size. What is below `to` already stays, but for
 * names that others are moved onto: these are replaced. The changes of `with` (may be NULL) are made in the same step:
 * puts and deletions only, of other names or other keyspaces. Where all of it fits into one, a batch of plsm_batch_move
 * is cheaper: this writes runs at once and syncs them, and other writers wait meanwhile. PLSM_INVALID: one prefix
 * begins with the other, or `with` holds something else; PLSM_TOO_LARGE: a name would be above the limit;
 * PLSM_UNSUPPORTED by the engine; otherwise as plsm_bulk_finish. After an error nothing has changed. */
typedef size_t plsm_move_meta(void *arg, plsm_slice key, uint8_t meta[PLSM_META_MAX]);
plsm_status plsm_move_prefix(plsm *db, plsm_slice from, plsm_slice to, const plsm_batch *with, plsm_move_meta *meta,
                             void *arg);

/* --- snapshots and iterators ------------------------------------------------------------------------------------ */

/* One moment of the store, until destroyed. NULL: no memory. */
plsm_snapshot *plsm_snapshot_create(plsm *db);
void plsm_snapshot_destroy(plsm *db, plsm_snapshot *snapshot); /* accepts NULL */

/* Iterates over [from, to) of a keyspace as it is at this moment (or at options->snapshot); an empty bound is open. The
 * bounds are copied. A new iterator stands nowhere: seek first. Entries are valid until the iterator moves. */
plsm_status plsm_iterator_create(plsm *db, const plsm_read_options *options, plsm_slice from, plsm_slice to,
                                 plsm_iterator **out);
void plsm_iterator_destroy(plsm_iterator *it); /* accepts NULL */
void plsm_iterator_first(plsm_iterator *it);
void plsm_iterator_last(plsm_iterator *it);
void plsm_iterator_seek(plsm_iterator *it, plsm_slice key);        /* first key >= key */
void plsm_iterator_seek_before(plsm_iterator *it, plsm_slice key); /* last key < key */
void plsm_iterator_next(plsm_iterator *it);
void plsm_iterator_previous(plsm_iterator *it);
/* False behind either end, and after an error: ask plsm_iterator_status. */
bool plsm_iterator_valid(const plsm_iterator *it);
plsm_status plsm_iterator_status(const plsm_iterator *it); /* PLSM_OK at an end */
plsm_slice plsm_iterator_key(const plsm_iterator *it);
plsm_slice plsm_iterator_value(const plsm_iterator *it); /* empty when large */
plsm_slice plsm_iterator_meta(const plsm_iterator *it);
uint64_t plsm_iterator_size(const plsm_iterator *it);   /* of the value, also when large */
uint64_t plsm_iterator_stored(const plsm_iterator *it); /* bytes that take space, as in plsm_value */
bool plsm_iterator_large(const plsm_iterator *it);
uint32_t plsm_iterator_names(const plsm_iterator *it);  /* as in plsm_value */
uint64_t plsm_iterator_shared(const plsm_iterator *it); /* likewise */
uint64_t plsm_iterator_expires(const plsm_iterator *it); /* in seconds since 1970; 0: never */

/* --- values of any size, edited at offsets ---------------------------------------------------------------------- */

/* An edit is a value opened for reading and writing at offsets, as a file is. What is written is seen through this edit
 * only, until plsm_edit_commit makes it the value of the key in one atomic step; then other readers see it. An edit
 * keeps what it was opened on readable, also when the key is overwritten, renamed or deleted meanwhile. Small values
 * are held in memory, large ones pass through a few extent buffers (at most PLSM_EDIT_MEMORY bytes). Whole pages of
 * 4 KiB that are written here and there are gathered, at most PLSM_EDITS_MEMORY bytes by all edits of a store, so that
 * each extent is written once for many of them. Bytes never written read as zeros and take no space.
 *
 * Opened on a key of a shared value, without PLSM_EDIT_NEW, it is an edit of the shared value: all its keys show what
 * it commits, whatever became of that one key. With PLSM_EDIT_NEW the commit takes the key from the others, as a put.
 */
#define PLSM_EDIT_MEMORY (1u << 20)
#define PLSM_EDITS_MEMORY (16u << 20)
typedef enum plsm_edit_flags {
    PLSM_EDIT_NEW = 1, /* start empty, whatever the key holds; otherwise PLSM_NOT_FOUND when it is absent */
} plsm_edit_flags;
plsm_status plsm_edit_open(plsm *db, plsm_slice key, plsm_edit_flags flags, plsm_edit **out);
/* The same of a shared value, by its identifier; PLSM_EDIT_NEW keeps its keys. */
plsm_status plsm_edit_open_shared(plsm *db, uint64_t shared, plsm_edit_flags flags, plsm_edit **out);
/* Drops what was not committed. Accepts NULL. */
void plsm_edit_close(plsm_edit *edit);
uint64_t plsm_edit_size(const plsm_edit *edit);
bool plsm_edit_dirty(const plsm_edit *edit); /* something was written, truncated or started new since the last commit */
plsm_status plsm_edit_read(plsm_edit *edit, uint64_t offset, void *data, size_t size, size_t *got);
/* PLSM_TOO_LARGE when it would end above PLSM_VALUE_MAX. A write that fails may have changed a part of its range in
 * this edit (plsm_edit_size tells how far it came when it extends the value); what is published is untouched. */
plsm_status plsm_edit_write(plsm_edit *edit, uint64_t offset, const void *data, size_t size);
plsm_status plsm_edit_truncate(plsm_edit *edit, uint64_t size); /* also upwards */
/* Makes [offset, offset + size) read as zeros. The size of the value stays; what lies behind it is left out. Extents
 * (128 KiB) that lie wholly in the range take no space any more, and their bytes are neither read nor written. Errors
 * as plsm_edit_write. */
plsm_status plsm_edit_punch(plsm_edit *edit, uint64_t offset, uint64_t size);
/* Finds where data or a hole is, by whole extents: *out becomes the first offset from `offset` on that lies in an
 * extent that is there or, with `hole`, in one that is not; the end of the value counts as a hole. All of a small value
 * is data. PLSM_NOT_FOUND: `offset` is at the end of the value or behind it, or only a hole follows. */
plsm_status plsm_edit_seek(plsm_edit *edit, uint64_t offset, bool hole, uint64_t *out);
/* Bytes that take space, as in plsm_value, by what the edit holds now. Walks over the extents (without their bytes) of
 * a value that has holes. */
plsm_status plsm_edit_stored(plsm_edit *edit, uint64_t *out);
/* The next commit goes to this key (the entry was renamed). Copied. */
plsm_status plsm_edit_set_key(plsm_edit *edit, plsm_slice key);
/* The next commit goes to this shared value (the entry became one). */
void plsm_edit_set_shared(plsm_edit *edit, uint64_t shared);
/* What is committed from here on expires at a second since 1970; 0: never, whatever the option ttl says. */
void plsm_edit_set_expires(plsm_edit *edit, uint64_t expires_s);
/* Publishes content and meta under the key; the edit stays open on what it published. After a failure the old value is
 * intact and the commit may be tried again. PLSM_CONFLICT: no key has the shared value any more. */
plsm_status plsm_edit_commit(plsm_edit *edit, plsm_slice meta, plsm_durability durability);

/* --- the rest --------------------------------------------------------------------------------------------------- */

/* A new identifier, never given before in this store and never again (inode numbers, extents). Above 2^16. */
plsm_status plsm_new_id(plsm *db, uint64_t *id);

/* Writes the memtable to a run; compacts [from, to) down to the last level (empty bounds: everything) and waits. */
plsm_status plsm_flush(plsm *db);
/* Gives the space of large values back that were deleted, replaced or cut off: once that is more than PLSM_RECLAIM
 * bytes, writes the memtable to a run, so that compaction meets their deletions (few bytes, with which it would not be
 * full for long). Does nothing before. For a thread that calls it every second or so. Errors as plsm_flush. */
#define PLSM_RECLAIM (UINT64_C(64) << 20)
plsm_status plsm_reclaim(plsm *db);
plsm_status plsm_compact(plsm *db, plsm_slice from, plsm_slice to);

/* --- checkpoints ------------------------------------------------------------------------------------------------ */

/* A directory of checkpoints holds any number of states of one store or several, each under a name. Files that states
 * have in common are there once, so that a checkpoint writes what is new since those before it, and one of an unchanged
 * store its list of files alone. Files are hard links where both directories are on one file system (they do not change
 * any more, but damage on the disk then hits both), otherwise copies; lists carry the SHA-256 of each file and of
 * themselves. The format is that of store/checkpoint.h. */

#define PLSM_CHECKPOINT_NAME_MAX 64u /* letters, digits, '.', '_' and '-', not beginning with '.' */

typedef struct plsm_checkpoint_info {
    char name[PLSM_CHECKPOINT_NAME_MAX + 1];
    char engine[32];
    uint64_t time_ns;            /* since 1970 */
    uint64_t files, bytes;       /* that the state consists of */
    uint64_t new_files, copied_bytes, linked_bytes; /* of them, brought in by this call; 0 in lists of checkpoints */
} plsm_checkpoint_info;

typedef struct plsm_checkpoint_options {
    const char *name; /* of the new one: PLSM_EXISTS when it is taken. NULL: by the time, as 2026-11-27T10-30-00.123Z */
    bool copy;        /* no hard links */
    void (*progress)(void *arg, uint64_t done, uint64_t bytes); /* may be NULL */
    void *arg;
} plsm_checkpoint_options;

/* Writes a checkpoint of everything acknowledged so far to `directory`, which is made when it is not there. It then
 * survives power loss. Writers go on meanwhile. `options` and `out` may be NULL. After an error no checkpoint of that
 * name is there. PLSM_INVALID: the name, or a directory with other things in it; PLSM_EXISTS; PLSM_LOCKED: somebody
 * else is writing there; PLSM_READ_ONLY, PLSM_NO_SPACE, PLSM_CORRUPT: a file of the store has not the size it should
 * have; PLSM_IO, PLSM_NO_MEMORY; PLSM_UNSUPPORTED by the engine. */
plsm_status plsm_checkpoint(plsm *db, const char *directory, const plsm_checkpoint_options *options,
                            plsm_checkpoint_info *out);
/* Calls `each` for the checkpoints in a directory, oldest first. PLSM_NOT_FOUND: there is no such directory;
 * PLSM_CORRUPT (a list is damaged: told when all others have been), PLSM_VERSION, PLSM_IO, PLSM_NO_MEMORY. */
plsm_status plsm_checkpoints(const char *directory, void (*each)(void *arg, const plsm_checkpoint_info *info),
                             void *arg);
/* Removes one and the files that no other needs. PLSM_NOT_FOUND; PLSM_LOCKED, PLSM_CORRUPT (a list is damaged, so what
 * is needed is not known: nothing is removed), PLSM_IO, PLSM_NO_MEMORY. */
plsm_status plsm_checkpoint_remove(const char *directory, const char *name);

typedef struct plsm_restore_options {
    const char *name; /* of the checkpoint; NULL: by time_ns */
    uint64_t time_ns; /* the newest that is not younger; 0: the newest of all */
    bool copy;        /* no hard links */
    void (*progress)(void *arg, uint64_t done, uint64_t bytes); /* may be NULL */
    void *arg;
} plsm_restore_options;
/* Makes a store at `path` of a checkpoint, reading and checking every file. `path` must not exist, or be an empty
 * directory. After an error it is as it was. `options` and `out` may be NULL. PLSM_NOT_FOUND: no such checkpoint;
 * PLSM_EXISTS: `path` is there; PLSM_CORRUPT: a file is missing or altered; PLSM_NO_SPACE, PLSM_IO, PLSM_NO_MEMORY. */
plsm_status plsm_restore(const char *directory, const plsm_restore_options *options, const char *path,
                         plsm_checkpoint_info *out);
/* Reads all files of a checkpoint (NULL: of all) and compares them with their digests; `report` (may be NULL) gets a
 * line per problem. PLSM_CORRUPT when anything is wrong; otherwise as plsm_restore. */
plsm_status plsm_checkpoint_check(const char *directory, const char *name, void (*report)(void *arg, const char *line),
                                  void *arg);

/* --- conversion ------------------------------------------------------------------------------------------------- */

typedef struct plsm_convert_options {
    const char *engine;  /* of the new store: "lsm", ... */
    const char *options; /* of the new store, as for plsm_open; may be NULL */
    const char *target;  /* where the new store is made; NULL: it takes the place of the old one */
    bool remove_old;     /* once the new store is in its place; otherwise the old one stays as PATH.old */
    /* May be NULL. Entries, each counted twice; `all` is an estimate, 0: not known. */
    void (*progress)(void *arg, uint64_t done, uint64_t all);
    void *arg;
} plsm_convert_options;

typedef struct plsm_convert_info {
    char engine[32];         /* of the old store */
    uint64_t entries, bytes; /* of all keyspaces: keys, metas and values */
    char old[4096];          /* where the old store is now; empty: where it was, or removed */
} plsm_convert_info;

/* Makes a store of another engine of the one in directory `path`: all entries as they are, with metas, identifiers,
 * links, times and large values; what has expired is left out. The new store is made beside its place
 * (PLACE.converting), synced, opened again and compared with the old one entry by entry, and then gets its place in one
 * step: a crash at any moment leaves one whole store at `path`. The old one is only read, and locked meanwhile. Takes
 * the space of both at once. `out` may be NULL. After an error the store is as it was, unless the message says that it
 * is converted. PLSM_INVALID: unknown engine or option, the store is of that engine already, or `target` is inside of
 * a store; PLSM_NO_STORE;
 * PLSM_LOCKED: somebody writes the store; PLSM_EXISTS: `target` holds something, or PATH.old or PLACE.converting is
 * there; PLSM_CORRUPT: the old store is damaged, or the new one differs; PLSM_NO_SPACE, PLSM_PERMISSION, PLSM_IO,
 * PLSM_NO_MEMORY. */
plsm_status plsm_convert(const char *path, const plsm_convert_options *options, plsm_convert_info *out);

/* --- models ------------------------------------------------------------------------------------------------------ */

/* Trains the models of the runs that have none that can be used (written in traditional mode, damaged, of another
 * version) or, with `all`, of all runs, and those of the levels; no data is rewritten. `progress` (may be NULL) gets
 * bytes done and in all. PLSM_READ_ONLY, PLSM_NO_SPACE, PLSM_CORRUPT (a damaged page), PLSM_IO, PLSM_NO_MEMORY;
 * PLSM_UNSUPPORTED where the engine has no models. */
plsm_status plsm_retrain(plsm *db, bool all, void (*progress)(void *arg, uint64_t done, uint64_t bytes), void *arg);

/* Where a lookup of a key would look on one level of the tree. */
typedef struct plsm_place {
    uint64_t file; /* its number */
    uint32_t page; /* of that file; 0 when not asked for */
    bool by_model; /* a model alone named the page */
} plsm_place;
/* For those who study indexes: which file of `level` (0 and up) spans `key` (on level 0 the newest that does) and, with
 * `page`, which page of it the file's index names. Filters are not asked and no page is read: this is what a lookup
 * does in front of that, and nothing else. PLSM_NOT_FOUND: no file of that level spans the key; PLSM_INVALID and
 * PLSM_TOO_LARGE as plsm_get; PLSM_CORRUPT, PLSM_IO, PLSM_NO_MEMORY; PLSM_UNSUPPORTED: the engine has no levels. */
plsm_status plsm_locate(plsm *db, plsm_slice key, unsigned level, bool page, plsm_place *out);

/* Where the newest entry of a key stands. */
typedef struct plsm_found {
    bool in_memory;     /* not yet in a file: the rest is 0 */
    unsigned level;     /* of the tree */
    uint64_t file;      /* its number */
    uint32_t page;      /* of that file: there the entry is */
    uint32_t predicted; /* page that the file's index named in front of looking */
    bool by_model;      /* it was named by a model alone */
} plsm_found;
/* Looks a key up and tells where it is. PLSM_NOT_FOUND: it is not there; PLSM_INVALID and PLSM_TOO_LARGE as plsm_get;
 * PLSM_CORRUPT, PLSM_IO, PLSM_NO_MEMORY; PLSM_UNSUPPORTED: the engine has no levels. */
plsm_status plsm_find(plsm *db, plsm_slice key, plsm_found *out);

/* Reads everything and checks every checksum, order, index, model and filter; `report` (may be NULL) gets a line per
 * problem. `progress` (may be NULL) gets bytes done and in all. PLSM_CORRUPT when anything is wrong. */
plsm_status plsm_check(plsm *db, void (*report)(void *arg, const char *line),
                       void (*progress)(void *arg, uint64_t done, uint64_t all), void *arg);

/* Statistics: calls `each` with every name and value in a stable order. Values are exact integers when `is_integer`.
 * Nothing is read for them, so "store.keys" and "store.bytes_live" are estimates of the engine lsm: what is overwritten
 * counts until it is compacted, and the deletion of a key that was not there takes another one away until then. Pieces
 * of large values (128 KiB each) count as keys, and so does what the store keeps for itself. */
typedef struct plsm_statistic {
    const char *name; /* "lsm.level.1.bytes": dotted, stable */
    bool is_integer, is_text;
    uint64_t integer;
    double real;
    const char *text;
} plsm_statistic;
void plsm_statistics(plsm *db, void (*each)(void *arg, const plsm_statistic *statistic), void *arg);
/* Zeroes the counters (not what is measured from the state, such as sizes). */
void plsm_statistics_reset(plsm *db);

/* --- choosing settings ------------------------------------------------------------------------------------------ */

/* A workload, for plsm_tune. Of the first four only the relations count. */
typedef struct plsm_workload {
    double puts, present, absent, scans; /* operations: puts; gets of keys that are there, and that are not; scans */
    double scan_entries;                 /* of one scan */
    uint64_t entries, entry_bytes;       /* what the store holds; bytes of key and value */
    uint64_t memory_bytes;               /* for all that the store keeps in memory */
    const char *device;                  /* "nvme", "ssd", "hdd", "cloud": as the option sim */
} plsm_workload;

/* A setting and what it would cost by the model of lsm/cost.h (after Monkey and Dostoevsky). */
typedef struct plsm_setting {
    char options[160];                                      /* for plsm_open */
    double mean_us;                                         /* of an operation of the mix */
    double put_us, present_us, absent_us, scan_us;          /* of each */
    double write_amplification, pages_per_get, sorted_runs;
} plsm_setting;

/* For stores of the engine lsm: goes through settings of the policy, size_ratio, filter_bits, buffer_size and
 * cache_size that fit the memory, and fills in the *count cheapest, cheapest first; *count becomes how many there are.
 * A model: it ranks settings. PLSM_INVALID: no such device, nothing to do, or not even the smallest setting fits the
 * memory. Opens and touches no store. */
plsm_status plsm_tune(const plsm_workload *workload, plsm_setting *settings, size_t *count);

/* --- looking inside --------------------------------------------------------------------------------------------- */

/* For those who study what a store is made of, how right its models are, and where the time of lookups goes; `plsm
 * inspect` shows what these tell. The structs are those of base/inspect.h. Models, indexes and filters that are damaged
 * are told in them, and looking goes on; damaged pages end it where that is said. `options` may be NULL for all
 * defaults. Each may be called beside other threads that read and write, and sees the runs of one moment. All return
 * PLSM_NO_MEMORY, and PLSM_UNSUPPORTED where the engine has nothing like it. */

/* Calls `each` for every run of sorted keys, level by level, newest first. Reads their heads, models and filters. */
plsm_status plsm_inspect_runs(plsm *db, void (*each)(void *arg, const plsm_run_info *run), void *arg);

/* Calls `each` for every value log, by number. Reads nothing. */
plsm_status plsm_inspect_values(plsm *db, void (*each)(void *arg, const plsm_value_log_info *log), void *arg);

/* Reads all of run `number`; asks its model, its membership and its filter for each key, and the latter two for
 * options->keys absent keys made from those, and for misses that were sampled. `each` (may be NULL) gets every page in
 * order. PLSM_NOT_FOUND: there is no such run (any more); PLSM_CORRUPT: a page, or the run itself, is damaged;
 * PLSM_IO. */
plsm_status plsm_inspect_keys(plsm *db, uint64_t number, const plsm_inspect_options *options,
                              void (*each)(void *arg, const plsm_page_info *page), void *arg, plsm_keys_info *out);

/* Samples options->keys keys of all runs and asks the models of runs and levels for them; then looks up as many keys of
 * the whole store as lookups do. `each` gets every level that has runs. Damaged pages are counted. PLSM_IO. */
plsm_status plsm_inspect_levels(plsm *db, const plsm_inspect_options *options,
                                void (*each)(void *arg, const plsm_level_info *level), void *arg,
                                plsm_lookup_info *out);

/* Looks up options->keys keys sampled from the whole store, or absent ones made from such: all at once, and again step
 * by step with a time stamp behind each step. Before either is timed all have been looked up once, so what fits the
 * cache is in it. The lookups count in the statistics. PLSM_CORRUPT (of a page), PLSM_IO. */
plsm_status plsm_inspect_profile(plsm *db, const plsm_inspect_options *options, plsm_profile *out);
/* "memtables", "page", ...; static. */
const char *plsm_step_name(plsm_step step);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
