/* Segments of the append log. All numbers are little-endian, all checksums are XXH3-64 (base/checksum.h).
 *
 * A file segment-N is a record log (base/reclog.c) with the magic "plsmseg1", which see for how records are framed,
 * salted and told from a tear. What its records hold:
 *
 * The first record, whose user's number is 0:
 *      0  u64     store: random for each store
 *      8  u64     N
 *     16  u64     salt of entries: random for each segment
 *     24  u64     highest number of a change that was written before this segment was begun. Where this one was not
 *                 closed cleanly, what follows counts only if the one that was written to before (of those listed
 *                 below that were not closed cleanly either, and that no merge wrote, the one with the highest number)
 *                 is there up to that change: otherwise it was not synced
 *     32  u32     1: written by a merge; 0: by callers
 *     36  u32     count of numbers
 *     40  u64     checksum of the numbers, seeded with the salt
 *     48  u64     checksum of bytes 0 to 47, seeded with N
 *     56  numbers of the other segments that there were when this one was begun: varints, the first as it is, others
 *         as the difference to the one before. A file that is missing is known by the list of the newest segment
 *
 * Other records whose user's number is 0: the segments that a merge replaces
 *      0  u32     1: this kind
 *      4  u32     count
 *      8  numbers, as above
 * They count once this segment was closed cleanly: from then on those segments are as if they were not there.
 *
 * A record without a payload, in a segment that a merge wrote: all changes up to its user's number were synced when the
 * segment was closed. What the merge has left out may be dead by them, so none of them may be missing.
 *
 * All other records hold entries, in the order of their changes. The user's number is the number of the first change;
 * changes of a store are numbered from 1 on, and the one with the highest number decides. All changes of a batch are in
 * one record, so they are replayed together or not at all; a record may have several batches. In segments that a merge
 * wrote entries keep their numbers and need not be in order.
 *
 * Entry, at an offset that is a multiple of 8; it can be read and verified by itself:
 *      0  u32     low half of the checksum of what follows up to the value (with the value and the padding, when the
 *                 value has no checksum of its own), seeded with salt XOR the entry's offset in the file
 *      4  u8      enum batch_kind, and BATCH_TIMED where it says when it expires
 *      5  varint  its number less the record's
 *         varint  key size
 *         u8      meta size
 *         varint  value size
 *         varint  with BATCH_TIMED: when it expires, seconds since 1970; 0: never
 *         u64     with a value of more than 1,024 bytes: the checksum of the value, seeded likewise
 *         key, meta, value, zeros up to a multiple of 8
 * The value of a deletion of a range is the key where it ends, as in batches (base/batch.h). */
#include "log/append_format.h"

#include <stddef.h>

#include "base/checksum.h"
#include "base/error.h"
#include "base/banned.h"

_Static_assert(APPEND_SLOTS == 1 << 16, "slots take 16 bits of a place");
_Static_assert(APPEND_RECORDS_AT % 8 == 0 && APPEND_RECORD_HEAD % 8 == 0, "entries are aligned");
_Static_assert(APPEND_SEGMENT_MAX / 8 <= 1 << 28, "offsets take 28 bits of a place");

enum { KIND_AT = 4, REPLACES = 1 };

/* What the first checksum of an entry covers. */
static size_t covered(const struct append_entry *e)
{
    return e->value_size > APPEND_VALUE_APART ? e->head_size : e->size;
}

plsm_status append_entry_add(struct buf *to, const struct batch_change *change, uint64_t seq_delta, uint64_t salt,
                             uint64_t offset)
{
    size_t most = APPEND_ENTRY_HEAD_MAX + change->key.size + change->meta.size + change->value.size + 8;
    TRY(buf_reserve(to, most));
    uint8_t *start = to->data + to->size, *at = start + KIND_AT;
    bool timed = change->timed && change->expires_s > 0;
    *at++ = (uint8_t)(change->kind | (timed ? BATCH_TIMED : 0));
    at = put_varint(at, seq_delta);
    at = put_varint(at, change->key.size);
    *at++ = (uint8_t)change->meta.size;
    at = put_varint(at, change->value.size);
    if (timed)
        at = put_varint(at, change->expires_s);
    bool apart = change->value.size > APPEND_VALUE_APART;
    if (apart) {
        put_u64(at, checksum(change->value.data, change->value.size, salt ^ offset));
        at += 8;
    }
    copy_short(at, change->key.data, change->key.size);
    at += change->key.size;
    copy_short(at, change->meta.data, change->meta.size);
    at += change->meta.size;
    size_t head = (size_t)(at - start);
    if (change->value.size)
        memcpy(at, change->value.data, change->value.size);
    at += change->value.size;
    size_t size = ((size_t)(at - start) + 7) & ~(size_t)7;
    memset(at, 0, size - (size_t)(at - start));
    put_u32(start, (uint32_t)checksum(start + KIND_AT, (apart ? head : size) - KIND_AT, salt ^ offset));
    to->size += size;
    return PLSM_OK;
}

bool append_entry_parse(plsm_slice bytes, struct append_entry *out)
{
    const uint8_t *start = bytes.data, *at = start + KIND_AT, *end = start + bytes.size;
    uint64_t key_size = 0, value_size = 0;
    if (bytes.size < 8)
        return false;
    uint8_t kind = *at++;
    bool timed = kind & BATCH_TIMED;
    out->kind = (enum batch_kind)(kind & ~BATCH_TIMED);
    out->value = slice(NULL, 0);
    out->expires_s = out->value_checksum = 0;
    if ((kind & ~BATCH_TIMED) >= BATCH_KIND_COUNT || (timed && out->kind != BATCH_PUT && out->kind != BATCH_REFERENCE))
        return false;
    if (!(at = get_varint(at, end, &out->seq_delta)) || !(at = get_varint(at, end, &key_size)) || at == end)
        return false;
    size_t meta_size = *at++;
    if (!(at = get_varint(at, end, &value_size)) || (timed && !(at = get_varint(at, end, &out->expires_s))))
        return false;
    if (value_size > APPEND_ENTRY_MAX)
        return false;
    if (value_size > APPEND_VALUE_APART) {
        if (end - at < 8)
            return false;
        out->value_checksum = get_u64(at);
        at += 8;
    }
    if (key_size == 0 || key_size > (uint64_t)(end - at) || meta_size > (uint64_t)(end - at) - key_size)
        return false;
    out->key = slice(at, (size_t)key_size);
    at += key_size;
    out->meta = slice(at, meta_size);
    at += meta_size;
    out->head_size = (size_t)(at - start);
    out->value_size = value_size;
    out->size = (out->head_size + (size_t)value_size + 7) & ~(size_t)7;
    if (value_size <= (uint64_t)(end - at))
        out->value = slice(at, (size_t)value_size);
    return out->size <= APPEND_ENTRY_MAX;
}

bool append_entry_read(plsm_slice bytes, uint64_t salt, uint64_t offset, bool with_value, struct append_entry *out)
{
    if (!append_entry_parse(bytes, out) || covered(out) > bytes.size)
        return false;
    const uint8_t *start = bytes.data;
    if ((uint32_t)checksum(start + KIND_AT, covered(out) - KIND_AT, salt ^ offset) != get_u32(start))
        return false;
    if (!with_value || out->value_size <= APPEND_VALUE_APART)
        return true;
    return out->value.size == out->value_size &&
           checksum(out->value.data, out->value.size, salt ^ offset) == out->value_checksum;
}

bool append_entry_plain(plsm_slice bytes, uint64_t salt, uint64_t offset, plsm_slice key, plsm_slice *value)
{
    const uint8_t *start = bytes.data, *at = start + KIND_AT, *end = start + bytes.size;
    uint64_t seq_delta, key_size, value_size;
    if (bytes.size < 2 * KIND_AT || *at++ != BATCH_PUT || !(at = get_varint(at, end, &seq_delta)) ||
        !(at = get_varint(at, end, &key_size)) || key_size != key.size || at == end || *at++ != 0 ||
        !(at = get_varint(at, end, &value_size)) || value_size > APPEND_VALUE_APART ||
        key_size > (uint64_t)(end - at) || value_size > (uint64_t)(end - at) - key_size ||
        !bytes_equal(at, key.data, key_size))
        return false;
    *value = slice(at + key_size, (size_t)value_size);
    size_t size = ((size_t)(at + key_size + value_size - start) + 7) & ~(size_t)7;
    return size == bytes.size && (uint32_t)checksum(start + KIND_AT, size - KIND_AT, salt ^ offset) == get_u32(start);
}

/* --- other records ------------------------------------------------------------------------------------------------ */

plsm_status append_numbers_add(struct buf *to, const uint64_t *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        TRY(buf_append_varint(to, numbers[i] - (i ? numbers[i - 1] : 0)));
    return PLSM_OK;
}

bool append_numbers_each(const uint8_t *at, const uint8_t *end, size_t count, void (*each)(void *arg, uint64_t number),
                         void *arg)
{
    uint64_t number = 0, difference = 0;
    for (size_t i = 0; i < count; i++) {
        if (!(at = get_varint(at, end, &difference)))
            return false;
        number += difference;
        each(arg, number);
    }
    return at == end;
}

plsm_status append_head_add(struct buf *to, const struct append_head *head, const uint64_t *numbers, size_t count)
{
    size_t start = to->size;
    TRY(buf_reserve(to, APPEND_HEAD_SIZE));
    to->size += APPEND_HEAD_SIZE;
    TRY(append_numbers_add(to, numbers, count));
    uint8_t *at = to->data + start;
    size_t size = to->size - start - APPEND_HEAD_SIZE;
    put_u64(at, head->store_id);
    put_u64(at + 8, head->number);
    put_u64(at + 16, head->salt);
    put_u64(at + 24, head->first_seq);
    put_u32(at + 32, head->merged);
    put_u32(at + 36, (uint32_t)count);
    put_u64(at + 40, checksum(at + APPEND_HEAD_SIZE, size, head->salt));
    put_u64(at + 48, checksum(at, 48, head->number));
    return PLSM_OK;
}

bool append_head_parse(plsm_slice payload, struct append_head *out)
{
    const uint8_t *at = payload.data;
    if (payload.size < APPEND_HEAD_SIZE)
        return false;
    *out = (struct append_head){.store_id = get_u64(at),
                                .number = get_u64(at + 8),
                                .salt = get_u64(at + 16),
                                .first_seq = get_u64(at + 24),
                                .merged = get_u32(at + 32) & 1,
                                .numbers = at + APPEND_HEAD_SIZE,
                                .numbers_size = payload.size - APPEND_HEAD_SIZE,
                                .count = get_u32(at + 36)};
    return checksum(at, 48, out->number) == get_u64(at + 48) && out->first_seq <= APPEND_SEQ_MAX;
}

plsm_status append_replaces_add(struct buf *to, const uint64_t *numbers, size_t count)
{
    TRY(buf_append_u32(to, REPLACES));
    TRY(buf_append_u32(to, (uint32_t)count));
    return append_numbers_add(to, numbers, count);
}

bool append_replaces_parse(plsm_slice payload, const uint8_t **numbers, size_t *count)
{
    const uint8_t *at = payload.data;
    if (payload.size < 8 || get_u32(at) != REPLACES)
        return false;
    *count = get_u32(at + 4);
    *numbers = at + 8;
    return true;
}
