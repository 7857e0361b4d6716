/* Reading values that stand in value logs. */
#include "lsm/separated.h"

#include "base/error.h"
#include "base/banned.h"

plsm_status separated_find(struct value_log *log, plsm_slice key, const struct entry *entry, struct value_read *out,
                           size_t *size)
{
    *out = (struct value_read){.log = log, .key = key, .pointer = value_pointer_of(entry)};
    if (!log)
        return fail(PLSM_CORRUPT, "values-%08llu: an entry points into it, and the MANIFEST does not name it",
                    (unsigned long long)out->pointer.log);
    *size = value_read_size(key.size, &out->pointer);
    return PLSM_OK;
}

void separated_charge(const struct value_read *reads, unsigned count, enum simulation_kind kind)
{
    struct simulated_value values[SIMULATED_GROUP];
    if (count == 0 || !reads[0].log->context->simulated)
        return;
    INVARIANT(count <= SIMULATED_GROUP);
    for (unsigned i = 0; i < count; i++)
        values[i] = (struct simulated_value){reads[i].pointer.log, reads[i].pointer.offset,
                                             value_record_size(reads[i].key.size, &reads[i].pointer)};
    simulated_values(reads[0].log->context->simulated, values, count, kind);
}

plsm_status separated_read(struct value_log *log, plsm_slice key, const struct entry *entry, enum simulation_kind kind,
                           struct buf *buf, plsm_slice *value)
{
    struct value_read read;
    size_t size = 0;
    TRY(separated_find(log, key, entry, &read, &size));
    separated_charge(&read, 1, kind);
    TRY(buf_reserve(buf, size));
    read.record = buf->data + buf->size;
    TRY(value_read(&read, value));
    buf->size += size;
    return PLSM_OK;
}

plsm_status separated_resolve(const struct view *view, struct entry *entry, bool no_value, enum simulation_kind kind,
                              struct buf *buf)
{
    if (no_value)
        entry->value = slice(NULL, value_pointer_of(entry).size);
    else
        TRY(separated_read(separated_log(view, entry), entry->key, entry, kind, buf, &entry->value));
    entry->separated = false;
    return PLSM_OK;
}
