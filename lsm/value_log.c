/* A value log, values-NUMBER (numbered together with the runs):
 *
 *    0  char[8]  "PLSMVAL" and a zero
 *    8  u32      format version: 1
 *   12  u32      0
 *   16  u64      its number
 *   24  u64      salt, random: ties records to this file
 *   32  u64      checksum of the bytes before
 *   40           records behind each other, to the end of the file:
 *          0  u64  checksum of all bytes of the record behind it, seeded with the salt xor the record's offset
 *          8  u32  stored size: of the value as it stands here
 *         12  u32  value size
 *         16  u16  key size
 *         18  u8   codec of the value (base/codec.h); 0: none, and both sizes are the same
 *         19       zeros
 *         24  -    the key, for checking, and so that entries can be told apart where runs are lost
 *          -  -    the value
 *
 * Or it is a write-ahead log (base/reclog.c, with the magic of lsm/db.h), in whose records such records stand at any
 * offset, of a value that is not compressed, as part of a change with BATCH_KEPT (base/batch.h). The salt is the log's.
 * Its other bytes are garbage, as far as a value log is concerned. Only MANIFESTs of format version 4 on name such
 * value logs, so programs that do not know them refuse the store before they come to one.
 *
 * Numbers are little-endian. */
#include "lsm/value_log.h"

#include <stdio.h>

#include "base/alloc.h"
#include "lsm/db.h"
#include "base/checksum.h"
#include "base/error.h"
#include "base/banned.h"

enum {
    VALUE_LOG_STRUCT_MAGIC = 0x76616c31,
    /* Records are appended in pieces of about this size, as those of runs (run_writer.c): 64 MiB of 1 KiB each took
     * 13.7 ms of processor time to write and sync in pieces of 256 KiB, and 11 so. */
    WRITE_BYTES = 512 << 10,
};

/* --- pointers ----------------------------------------------------------------------------------------------------- */

size_t value_pointer_write(uint8_t *to, const struct value_pointer *pointer)
{
    uint8_t *at = put_varint(to, pointer->log);
    at = put_varint(at, pointer->offset);
    at = put_varint(at, pointer->size);
    at = put_varint(at, pointer->stored);
    return (size_t)(at - to);
}

bool value_pointer_read(plsm_slice bytes, struct value_pointer *out)
{
    const uint8_t *at = bytes.data, *end = at + bytes.size;
    at = get_varint(at, end, &out->log);
    if (at)
        at = get_varint(at, end, &out->offset);
    if (at)
        at = get_varint(at, end, &out->size);
    if (at)
        at = get_varint(at, end, &out->stored);
    return at == end && out->size <= LSM_VALUE_MAX && out->stored <= out->size;
}

struct value_pointer value_pointer_of(const struct entry *entry)
{
    struct value_pointer pointer;
    bool sound = value_pointer_read(entry->value, &pointer);
    INVARIANT(sound); /* page_verify looked */
    return pointer;
}

/* --- files that are there ----------------------------------------------------------------------------------------- */

struct value_log *value_log_create(struct run_context *context, uint64_t number, uint64_t salt, uint64_t file_size)
{
    struct mem_account *before = budget_enter(context->budget, BUDGET_INDEX);
    struct value_log *log = mem_zalloc(sizeof *log);
    budget_leave(before);
    if (!log)
        return NULL;
    log->magic = VALUE_LOG_STRUCT_MAGIC;
    atomic_init(&log->references, 1);
    log->context = context;
    log->number = number;
    log->salt = salt;
    log->file_size = file_size;
    mutex_init(&log->opening);
    return log;
}

void value_log_ref(struct value_log *log)
{
    INVARIANT(log->magic == VALUE_LOG_STRUCT_MAGIC);
    atomic_fetch_add_explicit(&log->references, 1, memory_order_relaxed);
}

void value_log_unref(struct value_log *log)
{
    if (!log || atomic_fetch_sub_explicit(&log->references, 1, memory_order_acq_rel) > 1)
        return;
    INVARIANT(log->magic == VALUE_LOG_STRUCT_MAGIC);
    struct mem_account *before = budget_enter(log->context->budget, BUDGET_INDEX);
    env_close(atomic_load(&log->file));
    budget_leave(before);
    if (atomic_load(&log->obsolete)) {
        log->context->discard(log->context->discard_arg, value_log_is_written(log) ? 'l' : 'v',
                              log->number & ~VALUE_LOG_WRITTEN);
        if (log->context->simulated)
            simulated_forget(log->context->simulated, log->number);
    }
    mutex_destroy(&log->opening);
    log->magic = 0;
    struct value_log *next = log->next;
    before = budget_enter(log->context->budget, BUDGET_INDEX);
    mem_free(log);
    budget_leave(before);
    value_log_unref(next);
}

void value_log_path(const struct run_context *context, uint64_t number, char *path, size_t size)
{
    snprintf(path, size, "%s/%s-%08llu", context->path, number & VALUE_LOG_WRITTEN ? "log" : "values",
             (unsigned long long)(number & ~VALUE_LOG_WRITTEN));
}

/* What a write-ahead log says of itself. */
static plsm_status check_log_header(const struct value_log *log, struct env_file *file)
{
    uint64_t salt = 0;
    TRY(reclog_read_salt(file, LOG_MAGIC, &salt));
    if (salt != log->salt)
        return fail(PLSM_CORRUPT,
                    "%s: is another log than the one that holds these values: files were exchanged; restore them from "
                    "one backup",
                    env_path(file));
    return PLSM_OK;
}

static plsm_status check_own_header(const struct value_log *log, struct env_file *file)
{
    struct value_log_header h;
    const char *path = env_path(file);
    TRY(env_read(file, 0, &h, sizeof h));
    if (memcmp(h.magic, LOG_MAGIC, sizeof h.magic) == 0 || value_log_is_written(log))
        return check_log_header(log, file);
    if (memcmp(h.magic, VALUE_LOG_MAGIC, sizeof h.magic) != 0)
        return fail(PLSM_CORRUPT, "%s: is not a value log of a plsm store (wrong magic)", path);
    if (h.version != VALUE_LOG_VERSION)
        return fail(PLSM_VERSION,
                    "%s: has value log format version %u, this program knows version %u; use a newer plsm", path,
                    h.version, VALUE_LOG_VERSION);
    if (h.checksum != checksum(&h, offsetof(struct value_log_header, checksum), 0))
        return fail(PLSM_CORRUPT, "%s: header: checksum mismatch", path);
    if (h.number != log->number || h.salt != log->salt)
        return fail(PLSM_CORRUPT,
                    "%s: holds value log %llu of some store, not value log %llu of this one: files were exchanged; "
                    "restore them from one backup",
                    path, (unsigned long long)h.number, (unsigned long long)log->number);
    return PLSM_OK;
}

static plsm_status check_header(const struct value_log *log, struct env_file *file)
{
    const char *path = env_path(file);
    uint64_t size = 0;
    TRY(check_own_header(log, file));
    if (value_log_is_written(log))
        return PLSM_OK;
    TRY(env_size(file, &size));
    if (size != log->file_size)
        return fail(PLSM_CORRUPT, "%s: is %llu bytes long, the MANIFEST says %llu; restore it from a backup", path,
                    (unsigned long long)size, (unsigned long long)log->file_size);
    return PLSM_OK;
}

static plsm_status open_file(struct value_log *log, struct env_file **out)
{
    char path[4096];
    value_log_path(log->context, log->number, path, sizeof path);
    plsm_status status = env_open(log->context->env, path, ENV_READ, out);
    if (status == PLSM_NOT_FOUND)
        return fail(PLSM_CORRUPT, "%s: the value log is missing; restore it from a backup", path);
    TRY(status);
    status = check_header(log, *out);
    if (status != PLSM_OK) {
        env_close(*out);
        *out = NULL;
    }
    return status;
}

static plsm_status get_file(struct value_log *log, struct env_file **out)
{
    plsm_status status = PLSM_OK;
    *out = atomic_load_explicit(&log->file, memory_order_acquire);
    if (__builtin_expect(*out != NULL, 1))
        return PLSM_OK;
    mutex_lock(&log->opening);
    *out = atomic_load_explicit(&log->file, memory_order_acquire);
    if (!*out) {
        struct mem_account *before = budget_enter(log->context->budget, BUDGET_INDEX);
        status = open_file(log, out);
        budget_leave(before);
        if (status == PLSM_OK)
            atomic_store_explicit(&log->file, *out, memory_order_release);
    }
    mutex_unlock(&log->opening);
    return status;
}

plsm_status value_read_start(const struct value_read *read, struct env_piece *piece)
{
    struct value_log *log = read->log;
    const struct value_pointer *pointer = &read->pointer;
    uint64_t size = value_record_size(read->key.size, pointer);
    struct env_file *file = NULL;
    TRY(get_file(log, &file));
    uint64_t file_size = value_log_is_written(log) ? UINT64_MAX : log->file_size;
    if (pointer->offset < sizeof(struct value_log_header) || pointer->offset > file_size ||
        size > file_size - pointer->offset)
        return fail(PLSM_CORRUPT, "%s: a pointer to offset %llu leads outside of the file", env_path(file),
                    (unsigned long long)pointer->offset);
    *piece = (struct env_piece){.file = file, .offset = pointer->offset, .data = read->record, .size = size};
    counter_add(log->context->counters, COUNT_READS, 1);
    counter_add(log->context->counters, COUNT_READ_BYTES, size);
    return PLSM_OK;
}

void value_record_head(uint8_t *to, uint64_t salt, uint64_t offset, plsm_slice key, plsm_slice value)
{
    struct value_record_header h = {.stored_size = (uint32_t)value.size,
                                    .value_size = (uint32_t)value.size,
                                    .key_size = (uint16_t)key.size,
                                    .codec = CODEC_NONE};
    memcpy(to, &h, sizeof h);
    memcpy(to + sizeof h, key.data, key.size);
    const plsm_slice pieces[] = {slice(to + sizeof h.checksum, sizeof h - sizeof h.checksum + key.size), value};
    put_u64(to, checksum_pieces(pieces, 2, salt ^ offset));
}

/* Decompresses the value that stands in a record, behind it. */
static plsm_status decompress(const struct value_read *read, enum codec codec, plsm_slice stored, const char **what,
                              plsm_slice *value)
{
    struct compression *compression = read->log->context->compression;
    uint8_t *room = read->record + value_record_size(read->key.size, &read->pointer);
    TRY(codec_available(codec));
    struct codec_context *context = compression_take(compression);
    if (!context)
        return fail(PLSM_NO_MEMORY, "no memory to read a value");
    plsm_status status = codec_decompress(context, codec, NULL, stored, room, (size_t)read->pointer.size);
    compression_give(compression, context);
    *what = status == PLSM_CORRUPT ? "cannot be decompressed" : NULL;
    *value = slice(room, (size_t)read->pointer.size);
    return status == PLSM_CORRUPT ? PLSM_OK : status;
}

plsm_status value_read_finish(const struct value_read *read, plsm_slice *value)
{
    const struct value_log *log = read->log;
    const struct value_pointer *pointer = &read->pointer;
    const uint8_t *key = read->record + sizeof(struct value_record_header);
    struct value_record_header h;
    char path[4096];
    size_t size = (size_t)value_record_size(read->key.size, pointer);
    const char *what = NULL;
    plsm_status status = PLSM_OK;
    memcpy(&h, read->record, sizeof h);
    if (h.checksum != checksum(read->record + sizeof h.checksum, size - sizeof h.checksum, log->salt ^ pointer->offset))
        what = "checksum mismatch; restore it from a backup";
    else if (h.value_size != pointer->size || h.stored_size != pointer->stored || h.key_size != read->key.size ||
             memcmp(key, read->key.data, h.key_size) != 0)
        what = "is of another key than the one that points to it";
    else if (h.codec >= CODECS || (h.codec == CODEC_NONE) != (h.stored_size == h.value_size))
        what = "has an unknown codec";
    else if (h.codec == CODEC_NONE)
        *value = slice(key + h.key_size, h.value_size);
    else
        status = decompress(read, (enum codec)h.codec, slice(key + h.key_size, h.stored_size), &what, value);
    if (what) {
        value_log_path(log->context, log->number, path, sizeof path);
        return fail(PLSM_CORRUPT, "%s: record at offset %llu: %s", path, (unsigned long long)pointer->offset, what);
    }
    return status;
}

plsm_status value_read(const struct value_read *read, plsm_slice *value)
{
    struct env_piece piece;
    TRY(value_read_start(read, &piece));
    TRY(env_read(piece.file, piece.offset, piece.data, piece.size));
    return value_read_finish(read, value);
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

struct value_log_writer {
    struct run_context *context;
    struct env_file *file;
    char path[4096];
    uint64_t number, salt;
    uint64_t written; /* bytes of the file, without `out` */
    struct buf out;   /* records not yet written */
    enum codec codec;
    struct codec_context *codec_context; /* NULL: nothing is compressed */
    bool finished;
};

static plsm_status write_out(struct value_log_writer *w)
{
    if (w->out.size == 0)
        return PLSM_OK;
    TRY(run_context_append(w->context, w->file, w->out.data, w->out.size));
    w->written += w->out.size;
    w->out.size = 0;
    return PLSM_OK;
}

plsm_status value_log_writer_create(struct run_context *context, uint64_t number, enum codec codec,
                                    struct value_log_writer **out)
{
    struct value_log_header h = {.version = VALUE_LOG_VERSION, .number = number};
    struct value_log_writer *w = mem_zalloc(sizeof *w);
    *out = NULL;
    if (!w)
        return fail(PLSM_NO_MEMORY, "no memory to write a value log");
    w->context = context;
    w->number = number;
    w->codec = codec;
    value_log_path(context, number, w->path, sizeof w->path);
    env_random(context->env, &w->salt, sizeof w->salt);
    memcpy(h.magic, VALUE_LOG_MAGIC, sizeof h.magic);
    h.salt = w->salt;
    h.checksum = checksum(&h, offsetof(struct value_log_header, checksum), 0);
    plsm_status status = buf_append(&w->out, &h, sizeof h);
    if (status == PLSM_OK && codec != CODEC_NONE) {
        w->codec_context = compression_take(context->compression);
        status = w->codec_context ? PLSM_OK : fail(PLSM_NO_MEMORY, "no memory to write a value log");
    }
    if (status == PLSM_OK)
        status = env_open(context->env, w->path, ENV_APPEND, &w->file);
    if (status != PLSM_OK) {
        value_log_writer_destroy(w);
        return status;
    }
    *out = w;
    return PLSM_OK;
}

uint64_t value_log_writer_size(const struct value_log_writer *w)
{
    return w->written + w->out.size;
}

/* Puts a value at `to`, where it has room: compressed if that saves an eighth. *codec and *stored: what came of it. */
static plsm_status store_value(struct value_log_writer *w, plsm_slice value, uint8_t *to, enum codec *codec,
                               size_t *stored)
{
    *codec = CODEC_NONE;
    *stored = 0;
    if (w->codec_context)
        TRY(codec_compress(w->codec_context, w->codec, NULL, value, to, value.size - value.size / 8, stored));
    if (*stored > 0 && *stored < value.size) {
        *codec = w->codec;
        return PLSM_OK;
    }
    *stored = value.size;
    if (value.size)
        memcpy(to, value.data, value.size);
    return PLSM_OK;
}

plsm_status value_log_writer_add(struct value_log_writer *w, plsm_slice key, plsm_slice value,
                                 struct value_pointer *pointer)
{
    struct value_record_header h = {.value_size = (uint32_t)value.size, .key_size = (uint16_t)key.size};
    enum codec codec = CODEC_NONE;
    size_t stored = 0;
    INVARIANT(key.size <= UINT16_MAX && value.size <= LSM_VALUE_MAX);
    TRY(buf_reserve(&w->out, sizeof h + key.size + value.size));
    uint8_t *record = w->out.data + w->out.size;
    TRY(store_value(w, value, record + sizeof h + key.size, &codec, &stored));
    h.codec = (uint8_t)codec;
    h.stored_size = (uint32_t)stored;
    memcpy(record, &h, sizeof h);
    memcpy(record + sizeof h, key.data, key.size);
    *pointer = (struct value_pointer){
        .log = w->number, .offset = value_log_writer_size(w), .size = value.size, .stored = stored};
    size_t size = (size_t)value_record_size(key.size, pointer);
    put_u64(record, checksum(record + sizeof h.checksum, size - sizeof h.checksum, w->salt ^ pointer->offset));
    w->out.size += size;
    return w->out.size >= WRITE_BYTES ? write_out(w) : PLSM_OK;
}

plsm_status value_log_writer_finish(struct value_log_writer *w, struct value_log **out)
{
    *out = NULL;
    TRY(write_out(w));
    TRY(env_sync(w->file));
    *out = value_log_create(w->context, w->number, w->salt, w->written);
    if (!*out)
        return fail(PLSM_NO_MEMORY, "no memory for a value log");
    w->finished = true;
    return PLSM_OK;
}

void value_log_writer_destroy(struct value_log_writer *w)
{
    if (!w)
        return;
    env_close(w->file);
    if (w->file && !w->finished)
        env_remove(w->context->env, w->path); /* if that fails too, the next open removes it */
    compression_give(w->context->compression, w->codec_context);
    buf_free(&w->out);
    mem_free(w);
}
