/* The growing buffer. */
#include "base/bytes.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"

#include "base/banned.h"

enum { CAPACITY_MIN = 64 };

plsm_status buf_reserve(struct buf *buf, size_t extra)
{
    if (extra <= buf->capacity - buf->size)
        return PLSM_OK;
    /* Twice as much each time keeps appending linear in all. */
    size_t needed = buf->size + extra, capacity = buf->capacity * 2;
    if (needed < extra)
        return fail(PLSM_NO_MEMORY, "a buffer of %zu bytes cannot grow by %zu more", buf->size, extra);
    if (capacity < needed)
        capacity = needed;
    if (capacity < CAPACITY_MIN)
        capacity = CAPACITY_MIN;
    uint8_t *data = mem_realloc(buf->data, capacity);
    if (!data)
        return fail(PLSM_NO_MEMORY, "no memory for a buffer of %zu bytes", capacity);
    buf->data = data;
    buf->capacity = capacity;
    return PLSM_OK;
}

plsm_status buf_append(struct buf *buf, const void *data, size_t size)
{
    if (size == 0)
        return PLSM_OK;
    TRY(buf_reserve(buf, size));
    memcpy(buf->data + buf->size, data, size);
    buf->size += size;
    return PLSM_OK;
}

plsm_status buf_append_u32(struct buf *buf, uint32_t value)
{
    return buf_append(buf, &value, sizeof value);
}

plsm_status buf_append_u64(struct buf *buf, uint64_t value)
{
    return buf_append(buf, &value, sizeof value);
}

plsm_status buf_append_varint(struct buf *buf, uint64_t value)
{
    uint8_t bytes[VARINT_SIZE_MAX];
    return buf_append(buf, bytes, (size_t)(put_varint(bytes, value) - bytes));
}

plsm_status buf_append_slice(struct buf *buf, plsm_slice bytes)
{
    /* Room for both first, so that a failure leaves no length without its bytes. */
    if (bytes.size > SIZE_MAX - VARINT_SIZE_MAX)
        return fail(PLSM_NO_MEMORY, "a slice of %zu bytes is more than memory holds", bytes.size);
    TRY(buf_reserve(buf, VARINT_SIZE_MAX + bytes.size));
    buf->size = (size_t)(put_varint(buf->data + buf->size, bytes.size) - buf->data);
    return buf_append(buf, bytes.data, bytes.size);
}

plsm_status buf_printf(struct buf *buf, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int size = vsnprintf(NULL, 0, format, arguments);
    plsm_status status = size < 0 ? fail(PLSM_INVALID, "cannot format \"%s\"", format) : PLSM_OK;
    if (status == PLSM_OK)
        status = buf_reserve(buf, (size_t)size + 1); /* vsnprintf ends with a zero byte, which is not counted */
    if (status == PLSM_OK) {
        vsnprintf((char *)buf->data + buf->size, (size_t)size + 1, format, again);
        buf->size += (size_t)size;
    }
    va_end(again);
    va_end(arguments);
    return status;
}

void buf_free(struct buf *buf)
{
    mem_free(buf->data);
    *buf = (struct buf){0};
}
