/* Values that stay in the write-ahead log. See kept.h. */
#include "lsm/kept.h"

#include "base/error.h"
#include "base/banned.h"

_Static_assert(sizeof(struct value_record_header) == BATCH_KEPT_BYTES, "what BATCH_KEPT puts in front of a value");

enum { ABOVE_FACTOR = 16, ABOVE_MOST = 64 << 10, PER_MILLION = 1000000, GARBAGE_PPM_MAX = PER_MILLION / 2 };

size_t kept_above(const struct lsm_options *options)
{
    uint64_t least = options->separate_above, above = least * ABOVE_FACTOR;
    if (least == 0 || options->groups[LSM_GROUP_LAST].codec != CODEC_NONE)
        return SIZE_MAX;
    above = above < ABOVE_MOST ? above : ABOVE_MOST;
    return (size_t)(above > least ? above : least);
}

bool kept_is_worth(uint64_t live, uint64_t bytes, uint32_t garbage_ppm)
{
    double most = garbage_ppm < GARBAGE_PPM_MAX ? garbage_ppm : GARBAGE_PPM_MAX;
    return live <= bytes && (double)(bytes - live) * PER_MILLION <= (double)bytes * most;
}

/* --- records ------------------------------------------------------------------------------------------------------ */

static bool is_kept(const struct batch_change *change, size_t above)
{
    return change->kind == BATCH_PUT && change->value.size >= above;
}

/* Bytes of a change from its start to its value, as it stands in the log. */
static size_t head_size(const uint8_t *start, const struct batch_change *change)
{
    return (size_t)((const uint8_t *)change->value.data - start) + sizeof(struct value_record_header) +
           change->key.size;
}

/* Counts what stays, and makes room for what is made of it. */
static plsm_status reserve(size_t above, const plsm_slice *batches, size_t count, struct kept_record *out)
{
    size_t heads = 0;
    out->parts.size = out->heads.size = 0;
    out->values = out->value_bytes = 0;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *at = batches[i].data, *end = at + batches[i].size, *start = at;
        struct batch_change change;
        for (; batch_next(&at, end, &change); start = at) {
            if (!is_kept(&change, above))
                continue;
            heads += head_size(start, &change);
            out->values++;
            out->value_bytes += change.value.size;
        }
    }
    TRY(buf_reserve(&out->parts, (3 * out->values + count) * sizeof(plsm_slice)));
    return buf_reserve(&out->heads, heads);
}

/* Room was reserved. */
static void add_part(struct kept_record *out, uint64_t *offset, const void *data, size_t size)
{
    plsm_slice part = slice(data, size);
    memcpy(out->parts.data + out->parts.size, &part, sizeof part);
    out->parts.size += sizeof part;
    *offset += size;
}

/* One change whose value stays: it begins at `start`, and its part of the record at *offset of the file. */
static void add_kept(struct kept_record *out, uint64_t salt, uint64_t *offset, const uint8_t *start,
                     const struct batch_change *change)
{
    uint8_t *head = out->heads.data + out->heads.size;
    size_t before = (size_t)((const uint8_t *)change->value.data - start), size = head_size(start, change);
    memcpy(head, start, before);
    head[0] |= BATCH_KEPT;
    value_record_head(head + before, salt, *offset + before, change->key, change->value);
    out->heads.size += size;
    add_part(out, offset, head, size);
    add_part(out, offset, change->value.data, change->value.size);
}

plsm_status kept_record_make(const struct reclog_writer *log, size_t above, const plsm_slice *batches, size_t count,
                             struct kept_record *out)
{
    uint64_t offset = reclog_size(log) + RECLOG_RECORD_BYTES, salt = reclog_salt(log);
    TRY(reserve(above, batches, count, out));
    for (size_t i = 0; i < count; i++) {
        const uint8_t *at = batches[i].data, *end = at + batches[i].size, *start = at, *done = at;
        struct batch_change change;
        for (; batch_next(&at, end, &change); start = at) {
            if (!is_kept(&change, above))
                continue;
            if (start > done)
                add_part(out, &offset, done, (size_t)(start - done));
            add_kept(out, salt, &offset, start, &change);
            done = at;
        }
        if (end > done)
            add_part(out, &offset, done, (size_t)(end - done));
    }
    return PLSM_OK;
}

void kept_record_free(struct kept_record *record)
{
    buf_free(&record->parts);
    buf_free(&record->heads);
}

/* --- flushes ------------------------------------------------------------------------------------------------------ */

/* What of a memtable's log runs would point to. */
struct living {
    uint64_t log, cutoff, newer_seq, bytes;
};

static plsm_status add_living(void *arg, struct entry *entry, bool newest)
{
    struct living *l = arg;
    if (!newest && l->newer_seq <= l->cutoff) /* the flush leaves it out, too */
        return PLSM_OK;
    l->newer_seq = entry->seq;
    struct value_pointer pointer;
    if (entry->separated && value_pointer_read(entry->value, &pointer) && pointer.log == l->log)
        l->bytes += value_record_size(entry->key.size, &pointer);
    return PLSM_OK;
}

/* Gives the log its second name. *named is false where it cannot have one. */
static plsm_status give_name(struct lsm *db, const struct memlog *memlog, uint64_t number, bool *named)
{
    char from[4096], to[4096];
    value_log_path(&db->context, memlog->values->number, from, sizeof from);
    value_log_path(&db->context, number, to, sizeof to);
    TRY(reclog_settle(memlog->log));
    *named = env_link(db->env, from, to) == PLSM_OK;
    if (!*named) /* whatever the reason, and should it be there after all */
        garbage_add(db, 'v', number);
    return PLSM_OK;
}

plsm_status kept_take_over(struct lsm *db, const struct memlog *memlog, struct edit *edit, uint64_t *number)
{
    uint32_t garbage_ppm = db->options.separate_garbage_ppm;
    uint64_t bytes = memlog->values ? reclog_size(memlog->log) : 0;
    bool named = false;
    *number = 0;
    if (memlog->kept_bytes == 0 || !kept_is_worth(memlog->kept_bytes, bytes, garbage_ppm))
        return PLSM_OK;
    struct living living = {.log = memlog->values->number, .cutoff = snapshot_cutoff(db)};
    TRY(memtable_walk(memlog->table, add_living, &living));
    if (!kept_is_worth(living.bytes, bytes, garbage_ppm))
        return PLSM_OK;
    mutex_lock(&db->lock);
    uint64_t fresh = db->next_number++;
    mutex_unlock(&db->lock);
    TRY(give_name(db, memlog, fresh, &named));
    if (!named)
        return PLSM_OK;
    struct value_log *log = value_log_create(&db->context, fresh, memlog->values->salt, bytes);
    if (!log) {
        garbage_add(db, 'v', fresh);
        return fail(PLSM_NO_MEMORY, "no memory for a value log");
    }
    atomic_store(&log->obsolete, true); /* until the edit has it: its file goes with it */
    value_log_ref(log);
    plsm_status status = edit_add_values(edit, log);
    if (status == PLSM_OK)
        atomic_store(&log->obsolete, false);
    value_log_unref(log);
    *number = status == PLSM_OK ? fresh : 0;
    return status;
}
