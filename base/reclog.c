/* The record log. All numbers are little-endian, all checksums are XXH3-64 (base/checksum.h).
 *
 * File:
 *      0  header
 *     32  zeros
 *    512  the header again, on another sector: one damaged byte or sector does not make the log unreadable
 *    544  records, one after another
 *         zeros, any number: space that was taken in advance; or what a log held that this one was made out of; a clean
 *         close takes either away
 *
 * Header, 32 bytes, written and synced before the first record:
 *      0  u8[8]  magic: what kind of log it is
 *      8  u32    format version: 4; versions 1 to 3 differ only in that their users' records know less: 1 no deletions
 *                of ranges and no value logs, 2 nothing that expires, 3 no values that stay in the log
 *     12  u32    0
 *     16  u64    salt: random for each file
 *     24  u64    checksum of bytes 0 to 23, seeded with the offset of this copy in the file
 *
 * Record, at an offset that is a multiple of 8:
 *      0  u64    checksum of everything from byte 8 to the end of the padding, seeded with salt XOR the record's offset
 *      8  u32    bit 31: clean close, the log ends here; bits 0 to 30: size of the payload in bytes, at most 2^30
 *     12  u32    low half of the checksum of bytes 8 to 11, seeded with the complement of (salt XOR offset): a length
 *                is not believed without it, and a scan recognises a record's header without reading its payload
 *     16  u64    synced: the file was known to be synced up to here when this record was appended
 *     24  u64    the user's
 *     32  payload, then zeros up to a multiple of 8
 *
 * Because of salt and offset a record is valid at its own place in its own file only: neither bytes that the file
 * system recycled nor a log inside a value can be taken for a record. So the file of a log that is not needed any more
 * may become a new one: it gets headers with a salt of their own, synced, under a name that no reader looks at, and
 * then its new name. What stands in it from before is no record, wherever a reader comes upon it.
 *
 * What the reader concludes from bytes at X that are no record:
 *   - a valid record behind X carries synced > X: X was safely on disk, so it is damage: PLSM_CORRUPT;
 *   - no such record: the end of what was written before a crash; whatever may follow was never promised to survive.
 *     That holds for a log in space taken in advance too: its pages reach the disk in any order, and those that do not
 *     read as zeros, or as what they held before, so valid records may stand behind a hole; but `synced` is raised by a
 *     sync that covered everything in front, so such a record behind a hole at X carries at most X;
 *   - both headers are bad: only zeros follow them, or nothing: a crash during its creation, no records;
 *     anything else: damage, since no record is written before the header is synced.
 * Behind a clean close only zeros may stand: those that should have been taken away, where a power loss undid that. (It
 * is cut and synced first: so nothing of a spare log can.) */
#include "base/reclog.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checksum.h"
#include "base/error.h"
#include "base/sync.h"

#include "base/banned.h"

struct header {
    uint8_t magic[RECLOG_MAGIC_BYTES];
    uint32_t version, zero;
    uint64_t salt, checksum;
};

struct record {
    uint64_t checksum;
    uint32_t length, length_check;
    uint64_t synced, user;
};

enum {
    HEADER_COPY = 512,
    RECORDS_START = HEADER_COPY + sizeof(struct header),
    SMALL_BYTES = 1 << 10, /* a record up to this size is put together on the stack: nothing for threads to share */
    BUFFER_KEEP_BYTES = 4 << 20, /* a larger gather buffer is given back: large batches are rare */
    PIECES_BYTES = 32 << 10,     /* of a record that is appended from where its parts stand, */
    PART_BYTES = 4 << 10,        /* when they have so many on average: gathering small ones costs less */
    CHUNK_BYTES = 1 << 20,       /* read at once */
    SCAN_BYTES = 64 << 10,       /* looked through at once for what may be a record */
};
#define CLEAN_CLOSE (UINT32_C(1) << 31)

_Static_assert(sizeof(struct header) == 32, "format");
_Static_assert(offsetof(struct header, version) == 8 && offsetof(struct header, salt) == 16, "format");
_Static_assert(offsetof(struct header, checksum) == 24, "format");
_Static_assert(sizeof(struct record) == RECLOG_RECORD_BYTES, "format");
_Static_assert(offsetof(struct record, length) == 8 && offsetof(struct record, length_check) == 12, "format");
_Static_assert(offsetof(struct record, synced) == 16 && offsetof(struct record, user) == 24, "format");
_Static_assert(RECORDS_START % 8 == 0, "records are aligned");
_Static_assert(sizeof(struct record) == RECLOG_ROOM_BEFORE && RECLOG_ROOM_BEHIND >= 7,
               "a record fits around its payload");
_Static_assert(RECLOG_PAYLOAD_MAX < CLEAN_CLOSE, "the flag is outside the size");

static uint64_t header_checksum(const struct header *h, uint64_t offset)
{
    return checksum(h, offsetof(struct header, checksum), offset);
}

static uint32_t length_check(uint32_t length, uint64_t salt, uint64_t offset)
{
    return (uint32_t)checksum(&length, sizeof length, ~(salt ^ offset));
}

/* `size`: of the record with its padding. */
static uint64_t record_checksum(const void *record, size_t size, uint64_t salt, uint64_t offset)
{
    return checksum((const uint8_t *)record + sizeof(uint64_t), size - sizeof(uint64_t), salt ^ offset);
}

static size_t record_size(size_t payload)
{
    return sizeof(struct record) + (payload + 7) / 8 * 8;
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

enum broken { WHOLE, BREAKING, BROKEN };

struct reclog_writer {
    struct env_file *file;
    bool mapped; /* ENV_LOG, and not cut yet */
    uint64_t salt;
    _Atomic uint64_t size, synced;
    struct buf gathered; /* one record; kept for the next one */
    _Atomic int broken;  /* enum broken; who takes it away from WHOLE writes the reason */
    char reason[512];    /* why; to be read once BROKEN */
    mutex syncing;       /* the system tells a failure of the disk to one of two syncs at a time only */
};

/* Remembers this thread's message as the reason why nothing more can be written. */
static void break_writer(struct reclog_writer *writer)
{
    int whole = WHOLE;
    if (!atomic_compare_exchange_strong(&writer->broken, &whole, BREAKING))
        return;
    snprintf(writer->reason, sizeof writer->reason, "%s", plsm_message());
    atomic_store_explicit(&writer->broken, BROKEN, memory_order_release);
}

static plsm_status refuse_if_broken(const struct reclog_writer *writer)
{
    int broken = atomic_load_explicit(&writer->broken, memory_order_acquire);
    if (broken == WHOLE)
        return PLSM_OK;
    return fail(PLSM_READ_ONLY, "%s: nothing more is written after an earlier failure; reopen the store (%s)",
                env_path(writer->file), broken == BROKEN ? writer->reason : "being reported");
}

bool reclog_broken(const struct reclog_writer *writer)
{
    return atomic_load_explicit(&writer->broken, memory_order_acquire) != WHOLE;
}

uint64_t reclog_size(const struct reclog_writer *writer)
{
    return atomic_load_explicit(&writer->size, memory_order_acquire);
}

uint64_t reclog_synced(const struct reclog_writer *writer)
{
    return atomic_load_explicit(&writer->synced, memory_order_acquire);
}

uint64_t reclog_salt(const struct reclog_writer *writer)
{
    return writer->salt;
}

/* Both, at the start of a file. Synced with nothing else that it may hold: of a spare log all could still be to be
 * written, for nothing. */
static plsm_status write_headers(struct env_file *file, uint64_t salt, const char *magic, bool synced)
{
    uint8_t bytes[RECORDS_START] = {0};
    struct header h = {.version = RECLOG_VERSION, .salt = salt};
    memcpy(h.magic, magic, sizeof h.magic);
    h.checksum = header_checksum(&h, 0);
    memcpy(bytes, &h, sizeof h);
    h.checksum = header_checksum(&h, HEADER_COPY);
    memcpy(bytes + HEADER_COPY, &h, sizeof h);
    return synced ? env_append_synced(file, bytes, sizeof bytes) : env_append(file, bytes, sizeof bytes);
}

/* The headers of a new log into a spare one, synced, before it gets the name under which it is read. */
static plsm_status prepare_spare(struct env *env, const char *spare, const char *path, uint64_t salt, const char *magic)
{
    struct env_file *file = NULL;
    TRY(env_open(env, spare, ENV_LOG_OVER, &file));
    plsm_status status = write_headers(file, salt, magic, true);
    env_close(file);
    return status == PLSM_OK ? env_rename(env, spare, path) : status;
}

/* `spare`: to be made out of it; NULL: anew. */
static plsm_status create(struct env *env, const char *spare, const char *path, const char *magic,
                          enum env_open_flags flags, struct reclog_writer **out)
{
    *out = NULL;
    struct reclog_writer *writer = mem_zalloc(sizeof *writer);
    if (!writer)
        return fail(PLSM_NO_MEMORY, "%s: no memory to create it", path);
    env_random(env, &writer->salt, sizeof writer->salt);
    writer->mapped = flags != ENV_APPEND;
    writer->size = writer->synced = RECORDS_START;
    mutex_init(&writer->syncing);
    plsm_status status = spare ? prepare_spare(env, spare, path, writer->salt, magic) : PLSM_OK;
    if (status == PLSM_OK)
        status = env_open(env, path, flags, &writer->file);
    if (status == PLSM_OK) /* over the same bytes, where it was a spare one */
        status = write_headers(writer->file, writer->salt, magic, !spare);
    if (status == PLSM_OK)
        *out = writer;
    else
        reclog_close(writer);
    return status;
}

plsm_status reclog_create(struct env *env, const char *path, const char *magic, struct reclog_writer **out)
{
    return create(env, NULL, path, magic, ENV_APPEND, out);
}

plsm_status reclog_create_mapped(struct env *env, const char *path, const char *magic, struct reclog_writer **out)
{
    return create(env, NULL, path, magic, ENV_LOG, out);
}

plsm_status reclog_create_over(struct env *env, const char *spare, const char *path, const char *magic,
                               struct reclog_writer **out)
{
    return create(env, spare, path, magic, ENV_LOG_OVER, out);
}

void reclog_close(struct reclog_writer *writer)
{
    if (!writer)
        return;
    env_close(writer->file);
    buf_free(&writer->gathered);
    mutex_destroy(&writer->syncing);
    mem_free(writer);
}

/* Completes the record at `bytes`, whose payload stands there already, and returns its size. */
static inline size_t complete(const struct reclog_writer *writer, uint8_t *bytes, size_t payload, uint64_t user,
                              uint32_t flag)
{
    uint64_t offset = reclog_size(writer);
    size_t size = record_size(payload), padding = size - sizeof(struct record) - payload;
    uint32_t length = (uint32_t)payload | flag;
    if (padding)
        put_u64(bytes + size - 8, get_u64(bytes + size - 8) & UINT64_MAX >> 8 * padding);
    put_u32(bytes + offsetof(struct record, length), length);
    put_u32(bytes + offsetof(struct record, length_check), length_check(length, writer->salt, offset));
    put_u64(bytes + offsetof(struct record, synced), reclog_synced(writer));
    put_u64(bytes + offsetof(struct record, user), user);
    put_u64(bytes + offsetof(struct record, checksum), record_checksum(bytes, size, writer->salt, offset));
    return size;
}

/* Appends a record from where its parts stand; there is room for its pieces in `gathered`. */
static plsm_status write_pieces(struct reclog_writer *writer, uint64_t user, const plsm_slice *parts, size_t count,
                                size_t payload, size_t *size)
{
    static const uint8_t zeros[8];
    uint64_t offset = reclog_size(writer);
    struct record record = {.length = (uint32_t)payload, .synced = reclog_synced(writer), .user = user};
    plsm_slice *pieces = (plsm_slice *)(void *)writer->gathered.data;
    *size = record_size(payload);
    record.length_check = length_check(record.length, writer->salt, offset);
    pieces[0] = slice((const uint8_t *)&record + sizeof record.checksum, sizeof record - sizeof record.checksum);
    memcpy(pieces + 1, parts, count * sizeof *parts);
    pieces[count + 1] = slice(zeros, *size - sizeof record - payload);
    record.checksum = checksum_pieces(pieces, count + 2, writer->salt ^ offset);
    pieces[0] = slice(&record, sizeof record);
    return env_append_pieces(writer->file, pieces, count + 2);
}

/* A failed append may have left a part: the next record must not stand behind it. */
static __attribute__((noinline, cold)) plsm_status cut_back(struct reclog_writer *writer, plsm_status status)
{
    char reason[sizeof writer->reason];
    snprintf(reason, sizeof reason, "%s", plsm_message());
    if (env_truncate(writer->file, reclog_size(writer)) != PLSM_OK) {
        fail_context(PLSM_IO, "cannot cut a half written record off");
        break_writer(writer);
    }
    return fail(status, "%s", reason);
}

/* Writes one record, in one piece. */
static inline plsm_status put_record(struct reclog_writer *writer, const uint8_t *bytes, size_t size)
{
    plsm_status status = env_append(writer->file, bytes, size);
    if (status != PLSM_OK)
        return cut_back(writer, status);
    atomic_store_explicit(&writer->size, reclog_size(writer) + size, memory_order_release);
    return PLSM_OK;
}

/* Gathers the parts behind a record's head at `to`, completes it and writes it. */
static plsm_status put_parts(struct reclog_writer *writer, uint64_t user, const plsm_slice *parts, size_t count,
                             uint32_t flag, uint8_t *to)
{
    uint8_t *at = to + sizeof(struct record);
    for (size_t i = 0; i < count; i++) {
        if (parts[i].size)
            memcpy(at, parts[i].data, parts[i].size);
        at += parts[i].size;
    }
    return put_record(writer, to, complete(writer, to, (size_t)(at - to) - sizeof(struct record), user, flag));
}

/* A record of large parts. */
static plsm_status append_pieces(struct reclog_writer *writer, uint64_t user, const plsm_slice *parts, size_t count,
                                 size_t payload)
{
    size_t size = 0;
    writer->gathered.size = 0;
    TRY(buf_reserve(&writer->gathered, (count + 2) * sizeof *parts));
    plsm_status status = write_pieces(writer, user, parts, count, payload, &size);
    if (status != PLSM_OK)
        return cut_back(writer, status);
    atomic_store_explicit(&writer->size, reclog_size(writer) + size, memory_order_release);
    return PLSM_OK;
}

/* A record that is not small; a clean close, the only one with a flag, is. */
static plsm_status append_large(struct reclog_writer *writer, uint64_t user, const plsm_slice *parts, size_t count,
                                size_t size)
{
    struct buf *buf = &writer->gathered;
    buf->size = 0;
    TRY(buf_reserve(buf, size));
    plsm_status status = put_parts(writer, user, parts, count, 0, buf->data);
    if (buf->capacity > BUFFER_KEEP_BYTES)
        buf_free(buf);
    return status;
}

static plsm_status append(struct reclog_writer *writer, uint64_t user, const plsm_slice *parts, size_t count,
                          uint32_t flag)
{
    uint8_t small[SMALL_BYTES];
    size_t payload = 0;
    TRY(refuse_if_broken(writer));
    for (size_t i = 0; i < count; i++) {
        if (parts[i].size > RECLOG_PAYLOAD_MAX - payload)
            return fail(PLSM_TOO_LARGE, "%s: a record of more than %" PRIu32 " bytes", env_path(writer->file),
                        RECLOG_PAYLOAD_MAX);
        payload += parts[i].size;
    }
    if (record_size(payload) <= sizeof small)
        return put_parts(writer, user, parts, count, flag, small);
    if (payload >= PIECES_BYTES && payload / count >= PART_BYTES)
        return append_pieces(writer, user, parts, count, payload);
    return append_large(writer, user, parts, count, record_size(payload));
}

plsm_status reclog_append_in_place(struct reclog_writer *writer, uint64_t user, uint8_t *payload, size_t size)
{
    INVARIANT(size <= RECLOG_PAYLOAD_MAX);
    TRY(refuse_if_broken(writer));
    uint8_t *bytes = payload - sizeof(struct record);
    return put_record(writer, bytes, complete(writer, bytes, size, user, 0));
}

plsm_status reclog_append(struct reclog_writer *writer, uint64_t user, const plsm_slice *parts, size_t count)
{
    return append(writer, user, parts, count, 0);
}

static plsm_status sync_alone(struct reclog_writer *writer)
{
    TRY(refuse_if_broken(writer));
    uint64_t size = reclog_size(writer); /* before: what another thread appends meanwhile may not be included */
    plsm_status status = env_sync(writer->file);
    if (status != PLSM_OK) {
        break_writer(writer);
        return status;
    }
    uint64_t synced = reclog_synced(writer);
    while (synced < size && !atomic_compare_exchange_weak(&writer->synced, &synced, size))
        ;
    return PLSM_OK;
}

plsm_status reclog_trim(struct reclog_writer *writer)
{
    TRY(refuse_if_broken(writer));
    return writer->mapped ? env_truncate(writer->file, reclog_size(writer)) : PLSM_OK;
}

plsm_status reclog_sync(struct reclog_writer *writer)
{
    mutex_lock(&writer->syncing);
    plsm_status status = sync_alone(writer);
    mutex_unlock(&writer->syncing);
    return status;
}

plsm_status reclog_settle(struct reclog_writer *writer)
{
    TRY(reclog_trim(writer));
    return reclog_sync(writer);
}

plsm_status reclog_close_clean(struct reclog_writer *writer)
{
    if (!writer)
        return PLSM_OK;
    plsm_status status = refuse_if_broken(writer);
    if (status == PLSM_OK && writer->mapped)
        status = env_truncate(writer->file, reclog_size(writer));
    if (status == PLSM_OK)
        status = reclog_sync(writer);
    if (status == PLSM_OK)
        status = append(writer, 0, NULL, 0, CLEAN_CLOSE);
    if (status == PLSM_OK)
        status = reclog_sync(writer);
    reclog_close(writer);
    return status;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

struct reader {
    struct env_file *file;
    const char *path;
    uint64_t salt, size; /* of the file, when reading began */
    uint8_t *window;     /* `filled` bytes of the file from `window_start` on */
    size_t capacity, filled;
    uint64_t window_start;
};

/* Points *out at `size` bytes of the file at `offset`, valid until the next call; NULL when the file is not that long.
 * Meant for offsets that do not go back. */
static plsm_status look(struct reader *r, uint64_t offset, size_t size, const uint8_t **out)
{
    *out = NULL;
    if (offset > r->size || size > r->size - offset)
        return PLSM_OK;
    if (offset < r->window_start || offset + size > r->window_start + r->filled) {
        bool inside = offset >= r->window_start && offset < r->window_start + r->filled;
        size_t keep = inside ? (size_t)(r->window_start + r->filled - offset) : 0;
        if (size > r->capacity || !r->window) {
            size_t capacity = size > CHUNK_BYTES ? size : CHUNK_BYTES;
            uint8_t *window = mem_alloc(capacity);
            if (!window)
                return fail(PLSM_NO_MEMORY, "%s: no memory to read %zu bytes at offset %" PRIu64, r->path, size,
                            offset);
            if (keep)
                memcpy(window, r->window + (offset - r->window_start), keep);
            mem_free(r->window);
            r->window = window;
            r->capacity = capacity;
        } else if (keep) {
            memmove(r->window, r->window + (offset - r->window_start), keep);
        }
        r->window_start = offset;
        r->filled = keep;
        size_t want = r->capacity - keep, got = 0;
        if (want > r->size - (offset + keep))
            want = (size_t)(r->size - (offset + keep));
        TRY(env_read_some(r->file, offset + keep, r->window + keep, want, &got));
        r->filled += got;
        if (r->filled < size) { /* cut by somebody while being read: here it ends now */
            r->size = offset + r->filled;
            return PLSM_OK;
        }
    }
    *out = r->window + (offset - r->window_start);
    return PLSM_OK;
}

/* Points *out at the record at `offset` with its `*size` bytes, or sets it to NULL when there is no valid one. */
static plsm_status look_record(struct reader *r, uint64_t offset, const uint8_t **out, size_t *size)
{
    struct record record;
    TRY(look(r, offset, sizeof record, out));
    if (!*out)
        return PLSM_OK;
    memcpy(&record, *out, sizeof record);
    *out = NULL;
    if (record.length_check != length_check(record.length, r->salt, offset))
        return PLSM_OK;
    uint32_t payload = record.length & ~CLEAN_CLOSE;
    if (payload > RECLOG_PAYLOAD_MAX)
        return PLSM_OK;
    *size = record_size(payload);
    const uint8_t *bytes;
    TRY(look(r, offset, *size, &bytes));
    if (bytes && record_checksum(bytes, *size, r->salt, offset) == record.checksum)
        *out = bytes;
    return PLSM_OK;
}

/* Whether the up to 8 bytes at `at` are all zero. */
static plsm_status zeros_at(struct reader *r, uint64_t at, bool *zeros)
{
    static const uint8_t none[8];
    size_t size = r->size - at < sizeof none ? (size_t)(r->size - at) : sizeof none;
    const uint8_t *bytes;
    TRY(look(r, at, size, &bytes));
    *zeros = !bytes || memcmp(bytes, none, size) == 0;
    return PLSM_OK;
}

static plsm_status only_zeros_from(struct reader *r, uint64_t at, bool *zeros)
{
    *zeros = true;
    for (; *zeros && at < r->size; at += 8)
        TRY(zeros_at(r, at, zeros));
    return PLSM_OK;
}

/* Whether a record stands at `offset` of the file as it is now, whatever the window holds. */
static plsm_status record_now(struct reader *r, uint64_t offset, bool *is_there)
{
    const uint8_t *bytes;
    size_t size;
    r->filled = 0;
    TRY(look_record(r, offset, &bytes, &size));
    *is_there = bytes != NULL;
    return PLSM_OK;
}

/* Moves *at on to the next place where the head of a record may stand, or to the end of the file, which may be as long
 * as a log gets: space taken in advance, or what a spare log held. *torn: something else than zeros was passed. */
static plsm_status find_head(struct reader *r, uint64_t *at, bool *torn)
{
    while (*at < r->size) {
        uint64_t left = r->size - *at;
        size_t size = left < SCAN_BYTES ? (size_t)left : SCAN_BYTES;
        const uint8_t *bytes;
        bool zeros;
        if (size < sizeof(struct record)) {
            TRY(only_zeros_from(r, *at, &zeros));
            *torn |= !zeros;
            *at = r->size;
            return PLSM_OK;
        }
        TRY(look(r, *at, size, &bytes));
        for (size_t i = 0; bytes && i + sizeof(struct record) <= size; i += 8, *at += 8) {
            if (get_u64(bytes + i) == 0) /* a record whose checksum is 0 is not worth asking all these places */
                continue;
            *torn = true;
            uint32_t length = get_u32(bytes + i + offsetof(struct record, length));
            if (get_u32(bytes + i + offsetof(struct record, length_check)) == length_check(length, r->salt, *at))
                return PLSM_OK;
        }
    }
    return PLSM_OK;
}

/* At result->end stands no record. Looks for a later one that proves that there was one on disk. Where a writer is at
 * work the window may be older at its start than at its end, and a record have come to stand there meanwhile: then
 * *again. */
static plsm_status judge_end(struct reader *r, struct reclog_result *result, bool *again)
{
    for (uint64_t at = result->end;;) {
        const uint8_t *bytes;
        size_t size;
        TRY(find_head(r, &at, &result->torn));
        if (at >= r->size)
            return PLSM_OK;
        TRY(look_record(r, at, &bytes, &size));
        if (!bytes || at == result->end) {
            at += 8;
            continue;
        }
        struct record record;
        memcpy(&record, bytes, sizeof record);
        if (record.synced <= result->end) {
            at += size;
            continue;
        }
        TRY(record_now(r, result->end, again));
        result->torn = !*again;
        if (*again)
            return PLSM_OK;
        return fail(PLSM_CORRUPT,
                    "%s: the record at offset %" PRIu64 " is damaged: it was synced, as the record at offset %" PRIu64
                    " shows; run plsm check, restore the file from a backup",
                    r->path, result->end, at);
    }
}

static plsm_status read_records(struct reader *r, reclog_each *each, void *arg, struct reclog_result *result)
{
    while (result->end < r->size) {
        const uint8_t *bytes;
        size_t size;
        TRY(look_record(r, result->end, &bytes, &size));
        if (!bytes) {
            bool again = false;
            TRY(judge_end(r, result, &again));
            if (again)
                continue;
            return PLSM_OK;
        }
        struct record record;
        memcpy(&record, bytes, sizeof record);
        uint64_t offset = result->end;
        result->end += size;
        if (record.synced > result->synced)
            result->synced = record.synced;
        if (record.length & CLEAN_CLOSE) {
            bool zeros;
            result->closed = true;
            TRY(only_zeros_from(r, result->end, &zeros));
            if (!zeros)
                return fail(PLSM_CORRUPT,
                            "%s: %" PRIu64 " bytes stand behind its clean close at offset %" PRIu64
                            "; run plsm check, restore the file from a backup",
                            r->path, r->size - result->end, offset);
            return PLSM_OK;
        }
        result->records_end = result->end;
        result->records++;
        TRY(each(arg, record.user, slice(bytes + sizeof record, record.length), offset));
    }
    return PLSM_OK;
}

/* Takes the salt from a header if it is one of ours. *good tells whether. */
static plsm_status take_header(struct reader *r, const char *magic, uint64_t offset, bool *good)
{
    const uint8_t *bytes;
    *good = false;
    TRY(look(r, offset, sizeof(struct header), &bytes));
    if (!bytes)
        return PLSM_OK;
    struct header h;
    memcpy(&h, bytes, sizeof h);
    if (h.checksum != header_checksum(&h, offset))
        return PLSM_OK;
    if (memcmp(h.magic, magic, sizeof h.magic) != 0)
        return fail(PLSM_CORRUPT, "%s: a log of another kind (%.8s) where %.8s is expected; was it renamed?", r->path,
                    (const char *)h.magic, magic);
    if (h.version < RECLOG_VERSION_OLDEST || h.version > RECLOG_VERSION)
        return fail(PLSM_VERSION,
                    "%s: has format version %" PRIu32 ", this program knows version %d to %d; use a newer plsm",
                    r->path, h.version, RECLOG_VERSION_OLDEST, RECLOG_VERSION);
    r->salt = h.salt;
    *good = true;
    return PLSM_OK;
}

/* The first of the two headers that is good. */
static plsm_status take_headers(struct reader *r, const char *magic, bool *good)
{
    TRY(take_header(r, magic, 0, good));
    return *good ? PLSM_OK : take_header(r, magic, HEADER_COPY, good);
}

static plsm_status both_damaged(const struct reader *r)
{
    return fail(PLSM_CORRUPT, "%s: both headers, at offsets 0 and %d, are damaged; restore the file from a backup",
                r->path, HEADER_COPY);
}

static plsm_status read_headers(struct reader *r, const char *magic, struct reclog_result *result, bool *good)
{
    bool zeros = true;
    TRY(take_headers(r, magic, good));
    if (!*good)
        TRY(only_zeros_from(r, RECORDS_START, &zeros));
    if (!zeros)
        return both_damaged(r);
    *good = *good && r->size >= RECORDS_START;
    if (*good) {
        result->end = result->records_end = RECORDS_START;
        result->salt = r->salt;
    } else {
        result->torn = true;
    }
    return PLSM_OK;
}

plsm_status reclog_read(struct env *env, const char *path, const char *magic, reclog_each *each, void *arg,
                        struct reclog_result *out)
{
    struct reader r = {.path = path};
    bool good = false;
    *out = (struct reclog_result){0};
    plsm_status status = env_open(env, path, ENV_READ, &r.file);
    if (status == PLSM_OK)
        status = env_size(r.file, &r.size);
    if (status == PLSM_OK)
        status = read_headers(&r, magic, out, &good);
    if (status == PLSM_OK && good)
        status = read_records(&r, each, arg, out);
    out->size = r.size;
    mem_free(r.window);
    env_close(r.file);
    return status;
}

plsm_status reclog_read_salt(struct env_file *file, const char *magic, uint64_t *salt)
{
    struct reader r = {.file = file, .path = env_path(file), .size = RECORDS_START, .capacity = RECORDS_START};
    bool good = false;
    r.window = mem_alloc(r.capacity);
    if (!r.window)
        return fail(PLSM_NO_MEMORY, "%s: no memory to read its header", r.path);
    plsm_status status = take_headers(&r, magic, &good);
    if (status == PLSM_OK && !good)
        status = both_damaged(&r);
    *salt = r.salt;
    mem_free(r.window);
    return status;
}
