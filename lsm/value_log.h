/* Value logs: files of values that stand apart from the runs, so that compaction moves pointers to them instead of the
 * bytes (Lu, Pillai, Arpaci-Dusseau and Arpaci-Dusseau, "WiscKey", FAST 2016; the integrated BlobDB of RocksDB).
 *
 * A value log is written by one flush or compaction, in key order, beside the runs that point into it, and synced
 * before the MANIFEST names both; then it never changes. Each record is pointed to by exactly one entry of one run. The
 * MANIFEST says, of each run, how many bytes of which value logs it points to (struct run_values); so what of a value
 * log is garbage follows from the runs that exist, and no count of it can be lost or drift. A value log goes with the
 * last run that points into it.
 *
 * A write-ahead log can be a value log, too (lsm/kept.h): while it is one of a memtable's logs it is read under its own
 * name, log-NUMBER, and its number as a value log is that with VALUE_LOG_WRITTEN set, which stands in no file. When the
 * memtable is flushed, it gets a second name, values-NUMBER, with a number from those of runs and value logs. */
#ifndef LSM_VALUE_LOG_H
#define LSM_VALUE_LOG_H

#include "lsm/run.h"

#define VALUE_LOG_MAGIC "PLSMVAL" /* 8 bytes with the terminator */
#define VALUE_LOG_WRITTEN (UINT64_C(1) << 63)
enum { VALUE_LOG_VERSION = 1 };

struct value_log_header {
    char magic[8];
    uint32_t version, reserved;
    uint64_t number, salt;
    uint64_t checksum; /* of the bytes before */
};
_Static_assert(sizeof(struct value_log_header) == 40, "value log header layout");

struct value_record_header {
    uint64_t checksum; /* of all bytes behind it, seeded with the file's salt xor the record's offset */
    uint32_t stored_size; /* of the value as it stands in the record */
    uint32_t value_size;
    uint16_t key_size;
    uint8_t codec; /* enum codec; not CODEC_NONE where the stored size is smaller */
    uint8_t reserved[5];
};
_Static_assert(sizeof(struct value_record_header) == 24, "value record header layout");

/* --- pointers: what an entry whose `separated` is set has in the place of its value --- */

/* Coded as four varints, in this order. */
struct value_pointer {
    uint64_t log, offset; /* number of the file; of the record in it */
    uint64_t size;        /* of the value */
    uint64_t stored;      /* of what stands in its record: the same, or less where that is compressed */
};
enum { VALUE_POINTER_BYTES_MAX = 4 * VARINT_SIZE_MAX };
/* Bytes of the record that it leads to. */
static inline uint64_t value_record_size(size_t key_size, const struct value_pointer *pointer)
{
    return sizeof(struct value_record_header) + key_size + pointer->stored;
}
/* Bytes of memory to read it into: behind the record, room for the value where that is compressed. */
static inline size_t value_read_size(size_t key_size, const struct value_pointer *pointer)
{
    return (size_t)(value_record_size(key_size, pointer) + (pointer->stored < pointer->size ? pointer->size : 0));
}
/* Writes a pointer into VALUE_POINTER_BYTES_MAX bytes; returns how many it took. */
size_t value_pointer_write(uint8_t *to, const struct value_pointer *pointer);
/* False: the bytes are no pointer, or it is one to a value above LSM_VALUE_MAX. */
bool value_pointer_read(plsm_slice bytes, struct value_pointer *out);
/* Of an entry of a page that was verified, whose `separated` is set. */
struct value_pointer value_pointer_of(const struct entry *entry);

/* --- a file that is there --- */

struct value_log {
    uint32_t magic;
    _Atomic uint32_t references;
    atomic_bool obsolete; /* not in the newest version: the file goes with the last reference */
    struct run_context *context;
    uint64_t number, salt, file_size; /* as in the MANIFEST; of a memtable's log: file_size is 0, nobody knows it */
    struct env_file *_Atomic file;    /* NULL until needed */
    mutex opening;
    struct value_log *next; /* of a memtable's logs, which go together; a reference is held */
};

/* A value log as the MANIFEST describes it, with one reference; nothing is read yet. NULL: no memory. */
struct value_log *value_log_create(struct run_context *context, uint64_t number, uint64_t salt, uint64_t file_size);
/* A log of a memtable: number | VALUE_LOG_WRITTEN. It may still be appended to. */
static inline bool value_log_is_written(const struct value_log *log)
{
    return log->number & VALUE_LOG_WRITTEN;
}
void value_log_ref(struct value_log *log);
void value_log_unref(struct value_log *log); /* accepts NULL */
/* Writes the path of value log `number` into `path`. */
void value_log_path(const struct run_context *context, uint64_t number, char *path, size_t size);
/* Bytes of all records. */
static inline uint64_t value_log_bytes(const struct value_log *log)
{
    return log->file_size - sizeof(struct value_log_header);
}

/* A record to be read. */
struct value_read {
    struct value_log *log;
    plsm_slice key;
    struct value_pointer pointer;
    uint8_t *record; /* value_read_size(key.size, &pointer) bytes, to be filled */
};
/* Opens the file, if that was not done yet, and checks that the pointer is inside: afterwards *piece says what to read
 * for the record. PLSM_CORRUPT (missing, another file, the pointer leads outside), PLSM_VERSION, PLSM_IO,
 * PLSM_NO_MEMORY. */
plsm_status value_read_start(const struct value_read *read, struct env_piece *piece);
/* Makes the head of a record that will stand at `offset` of a file with that salt: a struct value_record_header and the
 * key, in sizeof(struct value_record_header) + key.size bytes at `to`; the value follows it as it is. */
void value_record_head(uint8_t *to, uint64_t salt, uint64_t offset, plsm_slice key, plsm_slice value);
/* Checks a record that was read: its checksum, that it is of this key and as large as the pointer says; decompresses
 * the value. *value is then inside of that memory. PLSM_CORRUPT with a message that names file and offset;
 * PLSM_UNSUPPORTED: of a codec that this program was built without; PLSM_NO_MEMORY. */
plsm_status value_read_finish(const struct value_read *read, plsm_slice *value);
/* Both, with the reading between them. The kernel's cache serves what is read again: large values would push many pages
 * out of the store's own. */
plsm_status value_read(const struct value_read *read, plsm_slice *value);

/* --- writing one --- */

struct value_log_writer;

/* Starts the file of value log `number`; values are compressed with `codec`. */
plsm_status value_log_writer_create(struct run_context *context, uint64_t number, enum codec codec,
                                    struct value_log_writer **out);
/* Appends a record, with the value compressed where that saves an eighth of it; *pointer leads to it. After an error
 * only destroy may be called. */
plsm_status value_log_writer_add(struct value_log_writer *w, plsm_slice key, plsm_slice value,
                                 struct value_pointer *pointer);
/* Bytes of the file so far. */
uint64_t value_log_writer_size(const struct value_log_writer *w);
/* Writes what is left, syncs the file (not the directory) and makes *out of it, with one reference. */
plsm_status value_log_writer_finish(struct value_log_writer *w, struct value_log **out);
/* Closes; removes the file when it was not finished. Accepts NULL. */
void value_log_writer_destroy(struct value_log_writer *w);

#endif
