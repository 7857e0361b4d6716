/* Numbers of fixed width inside keys: how they are read and written. Private to learn/exact*.c.
 *
 * Each alphabet orders its numbers as bytes are ordered, and gives each number one spelling, so that a set of numbers
 * is a set of keys. Text is read eight digits at a time inside a 64-bit word (Lamport, "Multiple byte processing with
 * full-word instructions", CACM 1975). */
#ifndef LEARN_EXACT_NUMBER_H
#define LEARN_EXACT_NUMBER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

enum exact_alphabet {
    EXACT_BINARY,    /* big-endian bytes */
    EXACT_DECIMAL,   /* 0-9 */
    EXACT_HEX_LOWER, /* 0-9a-f */
    EXACT_HEX_UPPER, /* 0-9A-F */
    EXACT_ALPHABETS
};

enum { EXACT_WIDTH_MAX = 19 }; /* digits: 10^19 is below 2^64 */

/* The most bytes a number of the alphabet may have, so that it fits 64 bits. */
static inline unsigned exact_width_max(enum exact_alphabet alphabet)
{
    return alphabet == EXACT_BINARY ? 8 : alphabet == EXACT_DECIMAL ? EXACT_WIDTH_MAX : 16;
}

static inline bool exact_is_digit(enum exact_alphabet alphabet, uint8_t byte)
{
    return alphabet == EXACT_BINARY || (byte >= '0' && byte <= '9') ||
           (alphabet == EXACT_HEX_LOWER && byte >= 'a' && byte <= 'f') ||
           (alphabet == EXACT_HEX_UPPER && byte >= 'A' && byte <= 'F');
}

#define EXACT_EACH_BYTE UINT64_C(0x0101010101010101)

/* The top bit of each byte of `word` that is at least `bound`; all bytes of `word` and `bound` must be below 128. */
static inline uint64_t exact_bytes_from(uint64_t word, unsigned bound)
{
    return ((word | 0x80 * EXACT_EACH_BYTE) - bound * EXACT_EACH_BYTE) & 0x80 * EXACT_EACH_BYTE;
}

/* Reads eight decimal digits, the first in the lowest byte. */
static inline bool exact_read_decimal(uint64_t word, uint64_t *value)
{
    word ^= '0' * EXACT_EACH_BYTE; /* digits become 0 to 9, all others are above: adding 6 shows in the upper half */
    if ((word | (word + 6 * EXACT_EACH_BYTE)) & 0xf0 * EXACT_EACH_BYTE)
        return false;
    word = (word * 10 + (word >> 8)) & UINT64_C(0x00ff00ff00ff00ff); /* pairs */
    word = (word * 100 + (word >> 16)) & UINT64_C(0x0000ffff0000ffff);
    *value = (word * 10000 + (word >> 32)) & UINT32_MAX;
    return true;
}

/* Reads eight hex digits, the first in the lowest byte; `letter` is the digit for ten. */
static inline bool exact_read_hex(uint64_t word, unsigned letter, uint64_t *value)
{
    if (word & 0x80 * EXACT_EACH_BYTE)
        return false;
    uint64_t digits = exact_bytes_from(word, '0') & ~exact_bytes_from(word, '9' + 1);
    uint64_t letters = exact_bytes_from(word, letter) & ~exact_bytes_from(word, letter + 6);
    if ((digits | letters) != 0x80 * EXACT_EACH_BYTE)
        return false;
    word = (word & 0x0f * EXACT_EACH_BYTE) + 9 * (letters >> 7); /* letters end in 1 to 6 */
    word = (word << 4 | word >> 8) & UINT64_C(0x00ff00ff00ff00ff);
    word = (word << 8 | word >> 16) & UINT64_C(0x0000ffff0000ffff);
    *value = (word << 16 | word >> 32) & UINT32_MAX;
    return true;
}

/* The 8 bytes in front of key[end] with the lowest in front; those in front of the key are read as 0. */
static inline uint64_t exact_load_before(const uint8_t *key, size_t end)
{
    if (end >= 8)
        return get_u64(key + end - 8);
    uint64_t word = 0;
    for (size_t i = 0; i < end; i++)
        word |= (uint64_t)key[i] << (8 * (8 - end + i));
    return word;
}

/* The bits that the first word of a number of this width takes from the key: of a binary number its bytes, of text the
 * 1 to 8 digits in front of those that fill whole words. */
static inline uint64_t exact_number_mask(enum exact_alphabet alphabet, unsigned width)
{
    if (alphabet == EXACT_BINARY)
        return UINT64_MAX >> (64 - 8 * width);
    return UINT64_MAX << (64 - 8 * ((width - 1) % 8 + 1));
}

/* Reads the number whose `width` bytes end in front of key[end]; width is at least 1 and at most `end`; `mask` is
 * exact_number_mask of it. False when a byte is no digit. */
static inline bool exact_read_number(enum exact_alphabet alphabet, unsigned width, uint64_t mask, const uint8_t *key,
                                     size_t end, uint64_t *value)
{
    if (alphabet == EXACT_BINARY) {
        *value = __builtin_bswap64(exact_load_before(key, end)) & mask;
        return true;
    }
    unsigned rest = (width - 1) / 8; /* words behind the first */
    uint64_t word = (exact_load_before(key, end - 8 * rest) & mask) | ('0' * EXACT_EACH_BYTE & ~mask), total = 0;
    for (;;) {
        uint64_t part = 0;
        if (alphabet == EXACT_DECIMAL ? !exact_read_decimal(word, &part)
                                      : !exact_read_hex(word, alphabet == EXACT_HEX_LOWER ? 'a' : 'A', &part))
            return false;
        total = (alphabet == EXACT_DECIMAL ? total * 100000000 : total << 32) + part;
        if (rest == 0)
            break;
        rest--;
        word = get_u64(key + end - 8 * rest - 8);
    }
    *value = total;
    return true;
}

/* Writes `value` with `width` digits. */
static inline void exact_write_number(enum exact_alphabet alphabet, unsigned width, uint64_t value, uint8_t *to)
{
    unsigned base = alphabet == EXACT_BINARY ? 256 : alphabet == EXACT_DECIMAL ? 10 : 16;
    for (unsigned i = width; i-- > 0; value /= base) {
        unsigned digit = (unsigned)(value % base);
        if (alphabet == EXACT_BINARY)
            to[i] = (uint8_t)digit;
        else
            to[i] = (uint8_t)(digit < 10 ? '0' + digit : (alphabet == EXACT_HEX_LOWER ? 'a' : 'A') + digit - 10);
    }
}

/* The smallest and the largest digit: what a prefix of a number is filled up with. */
static inline uint8_t exact_digit_min(enum exact_alphabet alphabet)
{
    return alphabet == EXACT_BINARY ? 0 : '0';
}

static inline uint8_t exact_digit_max(enum exact_alphabet alphabet)
{
    return alphabet == EXACT_BINARY ? 0xff : alphabet == EXACT_DECIMAL ? '9' : alphabet == EXACT_HEX_LOWER ? 'f' : 'F';
}

/* Are these bytes equal? Most are so few that a call would cost more than comparing them. */
static inline bool exact_bytes_equal(const uint8_t *a, const uint8_t *b, size_t size)
{
    if (size > 16)
        return memcmp(a, b, size) == 0;
    if (size >= 8)
        return get_u64(a) == get_u64(b) && get_u64(a + size - 8) == get_u64(b + size - 8);
    if (size >= 4)
        return get_u32(a) == get_u32(b) && get_u32(a + size - 4) == get_u32(b + size - 4);
    return size == 0 || (a[0] == b[0] && a[size / 2] == b[size / 2] && a[size - 1] == b[size - 1]);
}

#endif
