/* The append log: an engine in which every change is appended to a file once, and an ordered directory in memory says
 * where the newest entry of each key is (after Bitcask, Sheehy and Smith 2010, whose directory has no order).
 *
 * Design. A store is a row of segments, files of checksummed records (append_format.c). Writers queue up, and the
 * first appends the batches of those behind it as one record (append_write.c). Then the directory is changed: a key
 * tree (key_tree.h) from keys to places in segments (append_directory.c). A reader asks the directory, and reads one
 * entry where it stands: from memory that the segment is mapped to, or by one read where it is not, or a page of that
 * was lost (env_map in base/env.h: so nothing that was copied from there counts before it was asked whether the map is
 * whole). When a segment is large enough the next one, which was prepared before, takes its place without a wait for
 * the disk (append_roll.c). It is sealed then: synced, closed for ever, and given a hint, a file with its keys in
 * order and where they are (append_hint.c), so that opening merges hints and reads no values (append_recover.c,
 * append_load.c). What is overwritten or deleted is dead; segments that are mostly dead are merged: what lives in them
 * is copied to a new segment, which says whom it replaces (append_merge.c), in the background and at hours that may be
 * chosen.
 *
 * Changes are numbered. The highest number decides, so it does not matter in which order segments are read. Snapshots
 * and iterators see the entries up to a number: while there are any, what is overwritten stays in the directory as an
 * older version, and is alive.
 *
 * What it costs: all keys are in memory, with about 45 bytes beside each key. What it gives: a get is one read at most,
 * where segments are mapped one of each page that the entry lies on; a write is one append, whatever the size of the
 * store.
 *
 * Keys here are whole internal keys, as for the LSM tree (lsm/lsm.h). Semantics are those of store/engine.h. */
#ifndef LOG_APPEND_H
#define LOG_APPEND_H

#include <stdbool.h>
#include <stdint.h>

#include "base/batch.h"
#include "base/env.h"

enum {
    APPEND_KEY_MAX = 8193, /* with the keyspace byte */
    APPEND_VALUE_MAX = 1 << 20,
};
#define APPEND_BATCH_BYTES_MAX (UINT64_C(512) << 20)

struct append_options {
    struct env *env;
    bool create, exclusive, read_only;
    uint64_t segment_size; /* bytes after which a segment is sealed; 64 KiB to 1 GiB */
    bool mapped;           /* segments are written and read through memory where that can be (ENV_LOG, env_map) */
    bool background;       /* sealing and merging in a thread of their own; otherwise in the writing call (tests) */
    uint32_t merge_garbage_ppm;     /* of a segment, in millionths: with more dead bytes it is merged */
    uint32_t merge_from, merge_to;  /* hours of the day (UTC) between which merges may begin; equal: always */
};
void append_options_default(struct append_options *options);

struct append;
struct append_snapshot;
struct append_iterator;

/* Opens the store in directory `path`. Errors as plsm_open in store/plsm.h. A reader beside a writer sees what was
 * there when it opened. */
plsm_status append_open(const char *path, const struct append_options *options, struct append **out);
/* Syncs and closes; the handle is gone also on an error. Accepts NULL. */
plsm_status append_close(struct append *db);
bool append_is_read_only(struct append *db);

/* --- writing ------------------------------------------------------------------------------------------------------ */

/* As lsm_prepare in lsm/lsm.h. */
typedef plsm_status append_prepare(void *arg, const struct batch **batch);
/* Applies a batch atomically. `batch` and `prepare` may be NULL. With `sync` it and everything before it survives power
 * loss. A deletion of a range takes time and, until it is done, memory for each key in the range. PLSM_READ_ONLY,
 * PLSM_TOO_LARGE, PLSM_NO_SPACE, PLSM_IO, PLSM_NO_MEMORY: nothing is changed. */
plsm_status append_write(struct append *db, const struct batch *batch, append_prepare *prepare, void *arg, bool sync);
plsm_status append_sync(struct append *db);
/* Seals the segment that is written to, and waits until it is on the disk with its hint. */
plsm_status append_flush(struct append *db);
/* Merges all segments in which anything is dead, and waits. */
plsm_status append_compact(struct append *db);

/* A file of a checkpoint: see struct engine_file in store/engine.h. */
struct append_file {
    const char *name, *path;
    uint64_t size, identity;
    bool optional;
};
/* Flushes, and calls `each` for all files of the store as it is then. They stay while it is called, and writers go on.
 * Returns the first error of `each`, or those of append_flush. */
plsm_status append_checkpoint(struct append *db, plsm_status (*each)(void *arg, const struct append_file *file),
                              void *arg);

/* --- reading ------------------------------------------------------------------------------------------------------ */

/* A found entry; zero before the first use. The bytes are in `memory`, which is mem_alloc's, grows and is reused. */
struct append_value {
    plsm_slice value, meta;
    uint64_t value_size; /* also when the value itself was not asked for */
    uint64_t expires_s;
    enum batch_kind kind; /* BATCH_PUT or BATCH_REFERENCE */
    void *memory;
    size_t capacity;
};
enum append_read_flags {
    APPEND_NO_VALUE = 1, /* leave the value of a put away */
    APPEND_EXPIRED = 2,  /* entries whose time has come are found, too */
};
/* `snapshot` may be NULL. PLSM_NOT_FOUND, PLSM_CORRUPT, PLSM_IO, PLSM_NO_MEMORY. */
plsm_status append_get(struct append *db, const struct append_snapshot *snapshot, plsm_slice key, unsigned flags,
                       struct append_value *out);
/* Up to APPEND_MANY keys at one moment; as lsm_multi_get in lsm/lsm.h. */
enum { APPEND_MANY = 128 };
plsm_status append_multi_get(struct append *db, const struct append_snapshot *snapshot, const plsm_slice *keys,
                             size_t count, unsigned flags, struct append_value *outs, plsm_status *statuses);

/* A found entry where it stands, until append_unpin: in a mapped segment or, where that is not mapped, in memory of the
 * pin's own. */
struct append_pin {
    plsm_slice value, meta;
    uint64_t expires_s;
    enum batch_kind kind;
    enum { APPEND_PIN_NOTHING, APPEND_PIN_SEGMENT, APPEND_PIN_COPY } held;
    void *holder;
};
plsm_status append_get_pinned(struct append *db, const struct append_snapshot *snapshot, plsm_slice key,
                              struct append_pin *out);
/* Whether a page of the mapped segment was lost before all was read through the pin: then it may have shown zeros. */
bool append_pin_lost(const struct append_pin *pin);
void append_unpin(struct append *db, struct append_pin *pin);

plsm_status append_has_prefix(struct append *db, const struct append_snapshot *snapshot, plsm_slice prefix, bool *out);

struct append_snapshot *append_snapshot_create(struct append *db); /* NULL: no memory */
void append_snapshot_destroy(struct append *db, struct append_snapshot *snapshot); /* accepts NULL */

/* [from, to), empty: open; copied. Stands nowhere at first. */
plsm_status append_iterator_create(struct append *db, const struct append_snapshot *snapshot, plsm_slice from,
                                   plsm_slice to, unsigned flags, struct append_iterator **out);
void append_iterator_show_expired(struct append_iterator *it); /* before the first move */
void append_iterator_destroy(struct append_iterator *it);      /* accepts NULL */

struct append_shown {
    plsm_slice key, meta, value; /* valid until the iterator moves */
    uint64_t value_size;         /* also with APPEND_NO_VALUE */
    uint64_t expires_s;
    enum batch_kind kind;
};
/* Moves return the entry that the iterator then stands on; NULL: at an end, or a failure. */
const struct append_shown *append_iterator_first(struct append_iterator *it);
const struct append_shown *append_iterator_last(struct append_iterator *it);
const struct append_shown *append_iterator_seek(struct append_iterator *it, plsm_slice key);
const struct append_shown *append_iterator_seek_before(struct append_iterator *it, plsm_slice key);
const struct append_shown *append_iterator_next(struct append_iterator *it);
const struct append_shown *append_iterator_previous(struct append_iterator *it);
plsm_status append_iterator_status(const struct append_iterator *it);

/* --- looking inside ----------------------------------------------------------------------------------------------- */

/* Reads every segment and hint, and compares them with the directory; as plsm_check. */
plsm_status append_check(struct append *db, void (*report)(void *arg, const char *line),
                         void (*progress)(void *arg, uint64_t done, uint64_t all), void *arg);
void append_statistics(struct append *db,
                       void (*each)(void *arg, const char *name, bool is_real, uint64_t integer, double real),
                       void *arg);
void append_statistics_reset(struct append *db);

#endif
