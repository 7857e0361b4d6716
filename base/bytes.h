/* Bytes: little-endian numbers, variable-length numbers, slices compared, a growing buffer. */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/slice.h"
#include "base/status.h"

static inline plsm_slice slice(const void *data, size_t size)
{
    return (plsm_slice){data, size};
}

/* A slice over a C string, without its terminator. */
static inline plsm_slice slice_of(const char *string)
{
    return (plsm_slice){string, strlen(string)};
}

struct key_value {
    plsm_slice key, value;
};

/* The order of keys: bytewise, a prefix before what it is a prefix of. Negative, 0 or positive as memcmp. */
static inline int slice_compare(plsm_slice a, plsm_slice b)
{
    size_t shorter = a.size < b.size ? a.size : b.size;
    int order = shorter ? memcmp(a.data, b.data, shorter) : 0;
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

static inline void put_u16(void *to, uint16_t value) { memcpy(to, &value, sizeof value); }
static inline void put_u32(void *to, uint32_t value) { memcpy(to, &value, sizeof value); }
static inline void put_u64(void *to, uint64_t value) { memcpy(to, &value, sizeof value); }
static inline uint16_t get_u16(const void *from) { uint16_t value; memcpy(&value, from, sizeof value); return value; }
static inline uint32_t get_u32(const void *from) { uint32_t value; memcpy(&value, from, sizeof value); return value; }
static inline uint64_t get_u64(const void *from) { uint64_t value; memcpy(&value, from, sizeof value); return value; }
/* Big-endian: keys made of numbers sort as the numbers do. */
static inline void put_be64(void *to, uint64_t value) { put_u64(to, __builtin_bswap64(value)); }
static inline uint64_t get_be64(const void *from) { return __builtin_bswap64(get_u64(from)); }

/* Whether bytes are the same, for what is short most of the time, keys above all: up to 32 without a call. */
static inline bool bytes_equal(const void *a, const void *b, size_t size)
{
    const uint8_t *left = (const uint8_t *)a, *right = (const uint8_t *)b;
    if (size > 32)
        return memcmp(left, right, size) == 0;
    if (size >= 8) { /* pieces that overlap */
        uint64_t difference = (get_u64(left) ^ get_u64(right)) | (get_u64(left + size - 8) ^ get_u64(right + size - 8));
        if (size > 16)
            difference |= (get_u64(left + 8) ^ get_u64(right + 8)) |
                          (get_u64(left + size - 16) ^ get_u64(right + size - 16));
        return difference == 0;
    }
    if (size >= 4)
        return ((get_u32(left) ^ get_u32(right)) | (get_u32(left + size - 4) ^ get_u32(right + size - 4))) == 0;
    for (size_t i = 0; i < size; i++)
        if (left[i] != right[i])
            return false;
    return true;
}

static inline bool slice_equal(plsm_slice a, plsm_slice b)
{
    return a.size == b.size && bytes_equal(a.data, b.data, a.size);
}

static inline bool slice_starts_with(plsm_slice whole, plsm_slice prefix)
{
    return whole.size >= prefix.size && bytes_equal(whole.data, prefix.data, prefix.size);
}

/* How many leading bytes two slices share. */
static inline size_t slice_common(plsm_slice a, plsm_slice b)
{
    const uint8_t *left = (const uint8_t *)a.data, *right = (const uint8_t *)b.data;
    size_t shorter = a.size < b.size ? a.size : b.size, at = 0;
    for (; at + 8 <= shorter; at += 8) {
        uint64_t difference = get_u64(left + at) ^ get_u64(right + at);
        if (difference)
            return at + (size_t)__builtin_ctzll(difference) / 8;
    }
    if (shorter >= 8) { /* the last word overlaps what is known to be equal */
        uint64_t difference = get_u64(left + shorter - 8) ^ get_u64(right + shorter - 8);
        return difference ? shorter - 8 + (size_t)__builtin_ctzll(difference) / 8 : shorter;
    }
    while (at < shorter && left[at] == right[at])
        at++;
    return at;
}

/* memcpy for what is short most of the time, keys above all: up to 32 bytes without a call. */
static inline void copy_short(uint8_t *to, const void *from, size_t size)
{
    const uint8_t *bytes = (const uint8_t *)from;
    if (size > 32) {
        memcpy(to, bytes, size);
    } else if (size >= 16) { /* two pieces that overlap */
        uint8_t last[16];
        memcpy(last, bytes + size - 16, 16);
        memcpy(to, bytes, 16);
        memcpy(to + size - 16, last, 16);
    } else if (size >= 8) {
        uint64_t last = get_u64(bytes + size - 8);
        put_u64(to, get_u64(bytes));
        put_u64(to + size - 8, last);
    } else if (size >= 4) {
        uint32_t last = get_u32(bytes + size - 4);
        put_u32(to, get_u32(bytes));
        put_u32(to + size - 4, last);
    } else if (size) { /* up to 3: the first, the middle and the last one */
        uint8_t first = bytes[0], middle = bytes[size / 2], last = bytes[size - 1];
        to[0] = first;
        to[size / 2] = middle;
        to[size - 1] = last;
    }
}
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "formats are little-endian and read in place");

enum { VARINT_SIZE_MAX = 10 };

/* Writes `value` as a LEB128 variable-length number (7 bits a byte, lowest first) and returns the byte behind it;
 * `to` must have VARINT_SIZE_MAX bytes of room. */
static inline uint8_t *put_varint(uint8_t *to, uint64_t value)
{
    while (value >= 0x80) {
        *to++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *to++ = (uint8_t)value;
    return to;
}

/* How many bytes put_varint writes for `value`. */
static inline size_t varint_size(uint64_t value)
{
    return value < 0x80 ? 1 : (size_t)(70 - __builtin_clzll(value)) / 7;
}

/* Reads one into *value; returns the byte behind it, or NULL when it does not end before `end` or is over 64 bits. */
static inline const uint8_t *get_varint(const uint8_t *from, const uint8_t *end, uint64_t *value)
{
    if (from < end && *from < 0x80) {
        *value = *from;
        return from + 1;
    }
    uint64_t result = 0;
    for (unsigned shift = 0; from < end && shift < 64; shift += 7) {
        uint8_t byte = *from++;
        if (shift == 63 && byte > 1)
            return NULL;
        result |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *value = result;
            return from;
        }
    }
    return NULL;
}

/* A growing run of bytes. Zero it to start; free with buf_free. `data` is owned by the buf and moves when it grows. */
struct buf {
    uint8_t *data;
    size_t size, capacity;
};

/* Makes room for `extra` more bytes behind `size`. PLSM_NO_MEMORY leaves the buf as it was. */
plsm_status buf_reserve(struct buf *buf, size_t extra);
plsm_status buf_append(struct buf *buf, const void *data, size_t size);
plsm_status buf_append_u32(struct buf *buf, uint32_t value);
plsm_status buf_append_u64(struct buf *buf, uint64_t value);
plsm_status buf_append_varint(struct buf *buf, uint64_t value);
/* A varint length, then the bytes. */
plsm_status buf_append_slice(struct buf *buf, plsm_slice bytes);
/* Formatted text, without a terminator. */
plsm_status buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Frees the bytes and zeroes the struct; accepts a zeroed buf. */
void buf_free(struct buf *buf);

static inline plsm_slice buf_slice(const struct buf *buf)
{
    return slice(buf->data, buf->size);
}

#endif
