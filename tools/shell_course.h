/* The integers of `plsm shell`: keys and values of its commands p g r d l s, which are the language of the LSM-tree
 * project of Harvard's course CS265. Both are 32-bit integers with a sign.
 *
 * A key is 5 bytes in the store: a NUL byte, then the integer with its sign bit flipped, big-endian, so that the order
 * of keys is the order of integers. The NUL keeps them apart from keys that people write: all integers lie in
 * ["\0", "\1"). A value is 4 bytes, little-endian, as it is in a file for `l`.
 *
 *      -2 -> 00 7f ff ff fe       0 -> 00 80 00 00 00       7 -> 00 80 00 00 07 */
#ifndef TOOLS_SHELL_COURSE_H
#define TOOLS_SHELL_COURSE_H

#include "base/bytes.h"

enum { COURSE_KEY_SIZE = 1 + 4, COURSE_VALUE_SIZE = 4, COURSE_PAIR_SIZE = 8 /* in a file */ };

static inline plsm_slice course_key(uint8_t bytes[COURSE_KEY_SIZE], int32_t key)
{
    bytes[0] = 0;
    put_u32(bytes + 1, __builtin_bswap32((uint32_t)key ^ 0x80000000u));
    return slice(bytes, COURSE_KEY_SIZE);
}

/* A bound of a range; it may lie outside of the integers. */
static inline plsm_slice course_bound(uint8_t bytes[COURSE_KEY_SIZE], int64_t bound)
{
    if (bound > INT32_MAX)
        return slice("\1", 1);
    return course_key(bytes, bound < INT32_MIN ? INT32_MIN : (int32_t)bound);
}

static inline plsm_slice course_value(uint8_t bytes[COURSE_VALUE_SIZE], int32_t value)
{
    put_u32(bytes, (uint32_t)value);
    return slice(bytes, COURSE_VALUE_SIZE);
}

/* Whether an entry of so many bytes is a pair of integers. */
static inline bool course_is_pair(plsm_slice key, uint64_t value_size)
{
    return key.size == COURSE_KEY_SIZE && *(const uint8_t *)key.data == 0 && value_size == COURSE_VALUE_SIZE;
}

static inline int32_t course_key_of(plsm_slice key)
{
    return (int32_t)(__builtin_bswap32(get_u32((const uint8_t *)key.data + 1)) ^ 0x80000000u);
}

static inline int32_t course_value_of(plsm_slice value)
{
    return (int32_t)get_u32(value.data);
}

#endif
