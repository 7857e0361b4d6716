/* The MANIFEST. A record's payload is a sequence of fields, each a tag byte and what follows it:
 *
 *   1  log floor: varint              logs with smaller numbers are not needed
 *   2  next number: varint            run numbers from here on are free
 *   3  sequence number: varint        the largest in any run so far
 *   4  run added: varints             level, number, salt, file size, entries, deletions, key bytes, value bytes,
 *                                     filter keys, seq_max, units, versions (bit 0) with the number of fragments
 *                                     of range tombstones above it (tombstones.h); then smallest and largest key,
 *                                     each a varint size and the bytes
 *   5  run removed: varints           level, number
 *   6  store id: varint               in the snapshot
 *   7  age: varint                    of the run added last in this record: seconds since 1970 at which its oldest
 *                                     entries were flushed; left out where nobody knows
 *   9  value log added: varints       number, salt, file size; in rising order of numbers, in front of the runs that
 *                                     point there. It is gone once no run does
 *  10  values: varints                count, then for each value log, by number: its number, bytes of the records
 *                                     that the run added next points to (as in its file, lsm/run_format.h)
 *  11  expiry: varints               of the run added last in this record: its puts that expire, and the second from
 *                                     which on half of its entries have (expiry.h); left out where none expires
 *
 * The record's user field is 1 for the snapshot that begins the file, 0 for an edit. */
#include "lsm/manifest.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/error.h"
#include "base/reclog.h"
#include "base/banned.h"

enum tag {
    TAG_LOG_FLOOR = 1,
    TAG_NEXT_NUMBER,
    TAG_SEQ,
    TAG_ADDED,
    TAG_REMOVED,
    TAG_STORE_ID,
    TAG_AGE,
    TAG_VALUE_LOG = 9,
    TAG_RUN_VALUES = 10,
    TAG_EXPIRY = 11,
};
enum { USER_EDIT = 0, USER_SNAPSHOT = 1, RUN_NUMBERS = 12 };

struct manifest {
    struct reclog_writer *log;
    uint64_t number;
    struct simulated *simulated; /* of the context */
};

void manifest_path(const struct run_context *context, uint64_t number, char *path, size_t size)
{
    snprintf(path, size, "%s/manifest-%08llu", context->path, (unsigned long long)number);
}

static plsm_status put_number(struct buf *out, enum tag tag, uint64_t value)
{
    TRY(buf_append(out, &(uint8_t){(uint8_t)tag}, 1));
    return buf_append_varint(out, value);
}

static plsm_status put_value_log(struct buf *out, const struct value_log *log)
{
    TRY(put_number(out, TAG_VALUE_LOG, log->number));
    TRY(buf_append_varint(out, log->salt));
    return buf_append_varint(out, log->file_size);
}

static plsm_status put_values(struct buf *out, const struct run_facts *f)
{
    if (f->values_count == 0)
        return PLSM_OK;
    TRY(put_number(out, TAG_RUN_VALUES, f->values_count));
    for (size_t i = 0; i < f->values_count; i++) {
        TRY(buf_append_varint(out, f->values[i].log));
        TRY(buf_append_varint(out, f->values[i].bytes));
    }
    return PLSM_OK;
}

static plsm_status put_run(struct buf *out, unsigned level, const struct run_facts *f)
{
    TRY(put_values(out, f));
    TRY(put_number(out, TAG_ADDED, level));
    const uint64_t numbers[RUN_NUMBERS - 1] = {f->number,
                                               f->salt,
                                               f->file_size,
                                               f->entries,
                                               f->deletions,
                                               f->key_bytes,
                                               f->value_bytes,
                                               f->filter_keys,
                                               f->seq_max,
                                               f->units,
                                               f->ranges << 1 | f->versions};
    for (size_t i = 0; i < RUN_NUMBERS - 1; i++)
        TRY(buf_append_varint(out, numbers[i]));
    TRY(buf_append_slice(out, f->smallest));
    TRY(buf_append_slice(out, f->largest));
    if (f->oldest_s)
        TRY(put_number(out, TAG_AGE, f->oldest_s));
    if (f->expiring == 0)
        return PLSM_OK;
    TRY(put_number(out, TAG_EXPIRY, f->expiring));
    return buf_append_varint(out, f->due_s);
}

static plsm_status encode_edit(const struct edit *edit, struct buf *out)
{
    if (edit->log_floor)
        TRY(put_number(out, TAG_LOG_FLOOR, edit->log_floor));
    if (edit->next_number)
        TRY(put_number(out, TAG_NEXT_NUMBER, edit->next_number));
    if (edit->seq)
        TRY(put_number(out, TAG_SEQ, edit->seq));
    for (size_t i = 0; i < edit->removed_count; i++) {
        TRY(put_number(out, TAG_REMOVED, edit->removed[i].level));
        TRY(buf_append_varint(out, edit->removed[i].number));
    }
    for (size_t i = 0; i < edit->values_count; i++)
        TRY(put_value_log(out, edit->values[i]));
    for (size_t i = 0; i < edit->added_count; i++)
        TRY(put_run(out, edit->added[i].level, &edit->added[i].run->facts));
    return PLSM_OK;
}

static plsm_status encode_state(const struct manifest_state *state, struct buf *out)
{
    TRY(put_number(out, TAG_LOG_FLOOR, state->log_floor));
    TRY(put_number(out, TAG_NEXT_NUMBER, state->next_number));
    TRY(put_number(out, TAG_SEQ, state->seq));
    TRY(put_number(out, TAG_STORE_ID, state->store_id));
    for (size_t i = 0; i < state->version->values_count; i++)
        TRY(put_value_log(out, state->version->values[i].log));
    for (unsigned level = 0; level < LSM_LEVELS; level++)
        for (size_t i = 0; i < state->version->levels[level].count; i++)
            TRY(put_run(out, level, &state->version->levels[level].runs[i]->facts));
    return PLSM_OK;
}

/* Reads `count` varints; NULL when they are not there. */
static const uint8_t *get_numbers(const uint8_t *at, const uint8_t *end, uint64_t *numbers, size_t count)
{
    for (size_t i = 0; i < count && at; i++)
        at = get_varint(at, end, &numbers[i]);
    return at;
}

static const uint8_t *get_slice(const uint8_t *at, const uint8_t *end, plsm_slice *out)
{
    uint64_t size = 0;
    at = get_varint(at, end, &size);
    if (!at || size > (size_t)(end - at))
        return NULL;
    *out = slice(at, size);
    return at + size;
}

/* Reads what follows TAG_VALUE_LOG into the edit. *at becomes NULL when it is malformed. */
static plsm_status decode_value_log(struct run_context *context, const uint8_t **at, const uint8_t *end,
                                    struct edit *edit)
{
    uint64_t n[3] = {0};
    *at = get_numbers(*at, end, n, 3);
    if (!*at || n[2] <= sizeof(struct value_log_header)) {
        *at = NULL;
        return PLSM_OK;
    }
    struct value_log *log = value_log_create(context, n[0], n[1], n[2]);
    if (!log)
        return fail(PLSM_NO_MEMORY, "no memory to open the store");
    return edit_add_values(edit, log);
}

/* Reads what follows TAG_RUN_VALUES: struct run_values each. *at becomes NULL when it is malformed. */
static plsm_status decode_values(const uint8_t **at, const uint8_t *end, struct buf *values)
{
    uint64_t count = 0, n[2] = {0};
    values->size = 0;
    *at = get_varint(*at, end, &count);
    for (uint64_t i = 0; i < count && *at; i++) {
        uint64_t before = n[0];
        *at = get_numbers(*at, end, n, 2);
        if (*at && (n[0] <= before || n[1] == 0))
            *at = NULL;
        if (*at)
            TRY(buf_append(values, &(struct run_values){n[0], n[1]}, sizeof(struct run_values)));
    }
    return PLSM_OK;
}

/* Reads what follows TAG_ADDED into the edit; `values` is what it points to, and is emptied. *at becomes NULL when it
 * is malformed. */
static plsm_status decode_run(struct run_context *context, const uint8_t **at, const uint8_t *end, struct buf *values,
                              struct edit *edit)
{
    uint64_t n[RUN_NUMBERS] = {0};
    struct run_facts f = {.values = (const struct run_values *)(const void *)values->data,
                          .values_count = values->size / sizeof(struct run_values)};
    values->size = 0;
    *at = get_numbers(*at, end, n, RUN_NUMBERS);
    if (*at)
        *at = get_slice(*at, end, &f.smallest);
    if (*at)
        *at = get_slice(*at, end, &f.largest);
    if (!*at || n[0] >= LSM_LEVELS || n[10] == 0 || n[10] > UINT32_MAX || n[11] > SEQ_MAX || f.smallest.size == 0 ||
        f.smallest.size > LSM_KEY_MAX || f.largest.size > LSM_KEY_MAX || slice_compare(f.smallest, f.largest) > 0) {
        *at = NULL;
        return PLSM_OK;
    }
    f.number = n[1];
    f.salt = n[2];
    f.file_size = n[3];
    f.entries = n[4];
    f.deletions = n[5];
    f.key_bytes = n[6];
    f.value_bytes = n[7];
    f.filter_keys = n[8];
    f.seq_max = n[9];
    f.units = (uint32_t)n[10];
    f.versions = n[11] & 1;
    f.ranges = n[11] >> 1;
    struct run *run = run_create(context, &f);
    if (!run)
        return fail(PLSM_NO_MEMORY, "no memory to open the store");
    return edit_add(edit, (unsigned)n[0], run);
}

/* Decodes a payload into `edit`; *whole is false when the bytes are not a sequence of known fields. `values` is
 * memory. */
static plsm_status decode(struct run_context *context, plsm_slice payload, struct buf *values, struct edit *edit,
                          uint64_t *store_id, bool *whole)
{
    const uint8_t *at = payload.data, *end = at + payload.size;
    while (at && at < end) {
        uint64_t n[2] = {0};
        switch (*at++) {
        case TAG_LOG_FLOOR:
            at = get_varint(at, end, &edit->log_floor);
            break;
        case TAG_NEXT_NUMBER:
            at = get_varint(at, end, &edit->next_number);
            break;
        case TAG_SEQ:
            at = get_varint(at, end, &edit->seq);
            break;
        case TAG_STORE_ID:
            at = get_varint(at, end, store_id);
            break;
        case TAG_ADDED:
            TRY(decode_run(context, &at, end, values, edit));
            break;
        case TAG_VALUE_LOG:
            TRY(decode_value_log(context, &at, end, edit));
            break;
        case TAG_RUN_VALUES:
            TRY(decode_values(&at, end, values));
            break;
        case TAG_AGE:
            at = get_varint(at, end, &n[0]);
            if (edit->added_count)
                edit->added[edit->added_count - 1].run->facts.oldest_s = n[0];
            else
                at = NULL;
            break;
        case TAG_EXPIRY:
            at = get_numbers(at, end, n, 2);
            if (edit->added_count) {
                edit->added[edit->added_count - 1].run->facts.expiring = n[0];
                edit->added[edit->added_count - 1].run->facts.due_s = n[1];
            } else {
                at = NULL;
            }
            break;
        case TAG_REMOVED:
            at = get_numbers(at, end, n, 2);
            if (at && n[0] < LSM_LEVELS)
                TRY(edit_remove(edit, (unsigned)n[0], n[1]));
            else
                at = NULL;
            break;
        default:
            at = NULL;
        }
    }
    *whole = at != NULL && values->size == 0;
    return PLSM_OK;
}

struct reading {
    struct run_context *context;
    const char *path;
    struct manifest_state *state;
    uint64_t records;
};

static plsm_status read_record(void *arg, uint64_t user, plsm_slice payload, uint64_t offset)
{
    struct reading *r = arg;
    struct edit edit = {0};
    struct version *next = NULL;
    struct buf values = {0};
    bool whole = false;
    plsm_status status = decode(r->context, payload, &values, &edit, &r->state->store_id, &whole);
    whole &= edit.seq <= SEQ_MAX && edit.next_number <= SEQ_MAX && edit.log_floor <= SEQ_MAX;
    if (status == PLSM_OK && (!whole || (user == USER_SNAPSHOT) != (r->records == 0)))
        status =
            fail(PLSM_CORRUPT, "%s: record at offset %llu: cannot be understood", r->path, (unsigned long long)offset);
    if (status == PLSM_OK)
        status = version_apply(r->state->version, &edit, &next);
    if (status == PLSM_OK) {
        version_unref(r->state->version);
        r->state->version = next;
        r->state->log_floor = edit.log_floor ? edit.log_floor : r->state->log_floor;
        r->state->next_number = edit.next_number ? edit.next_number : r->state->next_number;
        if (edit.seq > r->state->seq) /* what is flushed may be older than a bulk load */
            r->state->seq = edit.seq;
        r->records++;
    }
    buf_free(&values);
    edit_free(&edit);
    return status;
}

plsm_status manifest_read(struct run_context *context, uint64_t number, struct manifest_state *out)
{
    char path[4096];
    struct reclog_result result = {0};
    manifest_path(context, number, path, sizeof path);
    *out = (struct manifest_state){.version = version_create()};
    if (!out->version)
        return fail(PLSM_NO_MEMORY, "no memory to open the store");
    struct reading reading = {.context = context, .path = path, .state = out};
    plsm_status status = reclog_read(context->env, path, MANIFEST_MAGIC, read_record, &reading, &result);
    /* A MANIFEST gets its name only after its first record was synced. */
    if (status == PLSM_OK && reading.records == 0)
        status = fail(PLSM_CORRUPT, "%s: damaged: its first record is missing; restore it from a backup", path);
    if (status != PLSM_OK) {
        version_unref(out->version);
        out->version = NULL;
    }
    return status;
}

/* Removes what was to become a MANIFEST, so that a failure leaves as much room as there was; keeps the message. */
static plsm_status remove_unnamed(struct env *env, const char *temporary, plsm_status status)
{
    struct fail_kept kept;
    fail_keep(&kept);
    env_remove(env, temporary);
    return fail_again(status, &kept);
}

plsm_status manifest_create(const struct run_context *context, uint64_t number, const struct manifest_state *state,
                            struct manifest **out, bool *named)
{
    char path[4096], temporary[4096 + 8];
    struct buf payload = {0};
    *out = NULL;
    *named = false;
    struct manifest *m = mem_zalloc(sizeof *m);
    if (!m)
        return fail(PLSM_NO_MEMORY, "no memory for the MANIFEST");
    m->number = number;
    m->simulated = context->simulated;
    manifest_path(context, number, path, sizeof path);
    snprintf(temporary, sizeof temporary, "%s.tmp", path);
    plsm_status status = encode_state(state, &payload);
    if (status == PLSM_OK)
        status = reclog_create(context->env, temporary, MANIFEST_MAGIC, &m->log);
    if (status == PLSM_OK)
        status = reclog_append(m->log, USER_SNAPSHOT, &(plsm_slice){payload.data, payload.size}, 1);
    if (status == PLSM_OK)
        status = reclog_sync(m->log);
    if (status == PLSM_OK)
        simulated_write(m->simulated, reclog_size(m->log));
    *named = status == PLSM_OK;
    if (status == PLSM_OK)
        status = env_rename(context->env, temporary, path);
    if (status == PLSM_OK)
        status = env_sync_dir(context->env, context->path);
    buf_free(&payload);
    if (status != PLSM_OK) {
        manifest_close(m, false);
        return *named ? status : remove_unnamed(context->env, temporary, status);
    }
    *out = m;
    return PLSM_OK;
}

plsm_status manifest_identity(const struct manifest_state *state, uint64_t *out)
{
    struct buf payload = {0};
    plsm_status status = encode_state(state, &payload);
    if (status == PLSM_OK)
        *out = checksum(payload.data, payload.size, 0);
    buf_free(&payload);
    return status;
}

plsm_status manifest_append(struct manifest *manifest, const struct edit *edit)
{
    struct buf payload = {0};
    uint64_t size_before = reclog_size(manifest->log);
    plsm_status status = encode_edit(edit, &payload);
    if (status == PLSM_OK)
        status = reclog_append(manifest->log, USER_EDIT, &(plsm_slice){payload.data, payload.size}, 1);
    if (status == PLSM_OK)
        simulated_write(manifest->simulated, reclog_size(manifest->log) - size_before);
    if (status == PLSM_OK)
        status = reclog_sync(manifest->log);
    buf_free(&payload);
    return status;
}

bool manifest_broken(const struct manifest *manifest)
{
    return reclog_broken(manifest->log);
}

uint64_t manifest_size(const struct manifest *manifest)
{
    return reclog_size(manifest->log);
}

uint64_t manifest_number(const struct manifest *manifest)
{
    return manifest->number;
}

plsm_status manifest_close(struct manifest *manifest, bool clean)
{
    plsm_status status = PLSM_OK;
    if (!manifest)
        return PLSM_OK;
    if (clean)
        status = reclog_close_clean(manifest->log);
    else
        reclog_close(manifest->log);
    mem_free(manifest);
    return status;
}
