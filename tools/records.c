/* A record is put together in one buffer and handed to stdio as a whole; only large values go out in pieces. Escapes
 * are made byte by byte, so a piece may end anywhere. */
#include "tools/records.h"

#include "base/alloc.h"
#include "base/error.h"
#include "tools/text.h"

#include "base/banned.h"

enum { PIECE_SIZE = 256 << 10 };

/* One piece of a key or value in the form asked for, appended to records->text. */
static plsm_status append(struct records *records, plsm_slice bytes, plsm_slice key)
{
    records->bytes += bytes.size;
    if (records->shown)
        return text_escape_shown(&records->text, bytes);
    if (!records->null)
        return text_escape(&records->text, bytes);
    if (bytes.size > 0 && memchr(bytes.data, 0, bytes.size)) {
        char quoted[256];
        return fail(PLSM_INVALID,
                    "the record of key %s holds a NUL byte, which separates records here: use the format "
                    "with escapes (without --null)",
                    text_quote(quoted, sizeof quoted, key));
    }
    return buf_append(&records->text, bytes.data, bytes.size);
}

static void put_out(struct records *records, bool *stopped)
{
    if (!tool_write(records->text.data, records->text.size))
        *stopped = true;
    records->text.size = 0;
}

plsm_status records_write_large(struct records *records, plsm_slice key, uint64_t size, bool *stopped, bool *gone)
{
    uint8_t *piece = mem_alloc(PIECE_SIZE);
    plsm_status status = piece ? PLSM_OK : PLSM_NO_MEMORY;
    for (uint64_t offset = 0; status == PLSM_OK && offset < size && !*stopped;) {
        size_t got = 0;
        status = plsm_read(records->db, NULL, key, offset, piece, PIECE_SIZE, &got);
        if (status == PLSM_NOT_FOUND && offset == 0) { /* it has expired meanwhile: no record */
            records->text.size = 0;
            *gone = true;
            status = PLSM_OK;
            break;
        }
        if (status == PLSM_OK && got == 0)
            status = fail(PLSM_CORRUPT, "a value ends at byte %llu of %llu; run plsm check", (unsigned long long)offset,
                          (unsigned long long)size);
        if (status == PLSM_OK)
            status = append(records, slice(piece, got), key);
        if (status == PLSM_OK)
            put_out(records, stopped);
        offset += got;
    }
    mem_free(piece);
    return status;
}

plsm_status records_write(struct records *records, const plsm_iterator *it, bool *stopped)
{
    plsm_slice key = plsm_iterator_key(it);
    const char *between = records->null ? "" : "\t", *behind = records->null ? "" : "\n";
    bool gone = false;
    records->text.size = 0;
    TRY(append(records, key, key));
    if (!records->keys_only) {
        TRY(buf_append(&records->text, between, 1));
        if (plsm_iterator_large(it))
            TRY(records_write_large(records, key, plsm_iterator_size(it), stopped, &gone));
        else
            TRY(append(records, plsm_iterator_value(it), key));
    }
    if (gone)
        return PLSM_OK;
    TRY(buf_append(&records->text, behind, 1));
    put_out(records, stopped);
    return PLSM_OK;
}

void records_free(struct records *records)
{
    buf_free(&records->text);
}
