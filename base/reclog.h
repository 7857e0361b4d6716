/* A record log: the common form of the write-ahead log and of the MANIFEST. The format stands at the top of reclog.c.
 *
 * A log is written once, from its creation to its close, and never again: what is to follow goes into a new log, so
 * nothing of it ever stands behind a torn end. Each record says up to where the file was synced when it was appended;
 * so a reader can tell damage (below what was synced: an error) from a tear (beyond: the end). */
#ifndef BASE_RECLOG_H
#define BASE_RECLOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"

enum { RECLOG_MAGIC_BYTES = 8, RECLOG_VERSION = 4, RECLOG_VERSION_OLDEST = 1 };
enum { RECLOG_RECORD_BYTES = 32 }; /* of a record, in front of its payload */
#define RECLOG_PAYLOAD_MAX (UINT32_C(1) << 30)

/* --- writing ------------------------------------------------------------------------------------------------------ */

/* One thread at a time, but reclog_sync, reclog_size and reclog_synced may run on others beside reclog_append and
 * each other. */
struct reclog_writer;

/* Creates the file, or empties it, and writes and syncs its header; its name survives power loss only once the caller
 * has synced the directory. `magic` is RECLOG_MAGIC_BYTES bytes. The caller owns *out and ends it with reclog_close or
 * reclog_close_clean. On failure *out is NULL, and a file may be left behind. */
plsm_status reclog_create(struct env *env, const char *path, const char *magic, struct reclog_writer **out);
/* The same for a log of many small records, which may be appended without a system call (ENV_LOG in base/env.h). Until
 * its clean close the file may then end with zeros that are no record. */
plsm_status reclog_create_mapped(struct env *env, const char *path, const char *magic, struct reclog_writer **out);
/* The same out of `spare`, a log that nobody needs or reads any more (ENV_LOG_OVER in base/env.h): that name is gone
 * then. Until its clean close the file may end with what it held before, which is no record of it. PLSM_UNSUPPORTED:
 * not where this file is. On any failure the spare one is there still, or `path` is, which may be created anew. */
plsm_status reclog_create_over(struct env *env, const char *spare, const char *path, const char *magic,
                               struct reclog_writer **out);

/* Appends one record of `count` parts; `user` is the caller's. Not synced. PLSM_TOO_LARGE above RECLOG_PAYLOAD_MAX,
 * PLSM_NO_MEMORY: nothing was written. After a failed write the log is cut back to where it was, and appending may go
 * on; if that fails too the log is broken, and every later call fails with PLSM_READ_ONLY. */
plsm_status reclog_append(struct reclog_writer *writer, uint64_t user, const plsm_slice *parts, size_t count);

/* The same of one part where it stands: RECLOG_ROOM_BEFORE bytes in front of it and RECLOG_ROOM_BEHIND behind it are
 * overwritten. At most RECLOG_PAYLOAD_MAX bytes. */
enum { RECLOG_ROOM_BEFORE = 32, RECLOG_ROOM_BEHIND = 8 };
plsm_status reclog_append_in_place(struct reclog_writer *writer, uint64_t user, uint8_t *payload, size_t size);

/* Makes everything appended before the call survive power loss. A failure is never retried (the kernel may have dropped
 * the pages and would report success the next time): the log is broken from then on. */
plsm_status reclog_sync(struct reclog_writer *writer);

/* Gives back space that was taken in advance. What is appended later takes its space then. Errors as env_truncate. */
plsm_status reclog_trim(struct reclog_writer *writer);

uint64_t reclog_size(const struct reclog_writer *writer);   /* bytes in the file, all of whole records */
uint64_t reclog_synced(const struct reclog_writer *writer); /* bytes known to survive power loss */
bool reclog_broken(const struct reclog_writer *writer);
uint64_t reclog_salt(const struct reclog_writer *writer); /* of the file; random */
/* Of a log to which nothing more is appended but, perhaps, its clean close: gives space that was taken in advance back,
 * so that the file is as long as its records, and syncs. May run beside reclog_sync on other threads. A failed sync as
 * reclog_sync; after a failure to give space back nothing has changed. */
plsm_status reclog_settle(struct reclog_writer *writer);

/* Closes the file without syncing and frees the writer. Accepts NULL. */
void reclog_close(struct reclog_writer *writer);
/* Syncs, records that the log was closed cleanly, syncs again, closes and frees the writer, also on failure. From then
 * on any loss of a record is known to be damage. Accepts NULL. */
plsm_status reclog_close_clean(struct reclog_writer *writer);

/* --- reading ------------------------------------------------------------------------------------------------------ */

struct reclog_result {
    uint64_t records; /* handed to the callback */
    uint64_t records_end; /* the same without a record of a clean close: what the writer's size was */
    uint64_t end;     /* offset behind the last good record; 0 when even the header is not whole */
    uint64_t size;    /* of the file */
    uint64_t synced;  /* the highest synced offset that a record carries; 0 when there is none */
    bool torn;        /* something that is neither a record nor zeros up to the end of the file stands at `end` */
    bool closed;      /* ends with a clean close */
    uint64_t salt;    /* of the file; when `end` is not 0 */
};

/* Gets one record; the payload is valid during the call. Anything but PLSM_OK ends the reading. */
typedef plsm_status reclog_each(void *arg, uint64_t user, plsm_slice payload, uint64_t offset);

/* Reads a log from its start, at most some MiB or the largest record of it in memory at once. May run beside the
 * writer: what is appended meanwhile may look torn, or not be seen. Fills *out as far as it came, also on failure:
 * PLSM_CORRUPT    the record at `end` was synced, a later record proves it, and it is damaged (or the header is);
 * PLSM_VERSION    the file has another format version; the message names both;
 * PLSM_NOT_FOUND, PLSM_IO, PLSM_NO_MEMORY, or what the callback returned. A torn end is PLSM_OK. */
plsm_status reclog_read(struct env *env, const char *path, const char *magic, reclog_each *each, void *arg,
                        struct reclog_result *out);

/* Reads the salt of a log that is open, from its header. PLSM_CORRUPT: it has no good one, or is of another kind;
 * PLSM_VERSION, PLSM_IO, PLSM_NO_MEMORY. */
plsm_status reclog_read_salt(struct env_file *file, const char *magic, uint64_t *salt);

#endif
