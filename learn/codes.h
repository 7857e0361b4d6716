/* Keys to numbers: an order-preserving code of 64 bits. Private to learn/.
 *
 * The prefix that all keys share is cut; each of the next key positions (the window) is a digit in a mixed-radix
 * number, whose radix is the number of bytes that occur there. So no part of the 64 bits is spent on bytes that do not
 * vary, and the codes of structured keys (digits, hex, paths) are as evenly spread as the keys are.
 *
 * For all strings a <= b, code(a) <= code(b) - whether or not they look like the keys the alphabets were taken from:
 *   - a byte that is not in the alphabet counts as the next larger one, with the least digits behind it;
 *   - a byte above the whole alphabet counts as the largest one, with the largest digits behind it;
 *   - the end of a key counts as below all bytes, with the least digits behind it. */
#ifndef LEARN_CODES_H
#define LEARN_CODES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

enum {
    CODE_POSITIONS_MAX = 64, /* key bytes behind the prefix that a code looks at */
};

/* --- learning the alphabets --- */

/* Which bytes occur at each position behind the prefix. Zero it to start. */
struct code_training {
    uint64_t seen[CODE_POSITIONS_MAX][4]; /* bit sets of bytes */
    size_t shortest;                      /* of the keys, behind the prefix; SIZE_MAX when none was noted */
};

void code_training_start(struct code_training *t);
/* `rest` is a key behind the prefix, cut or not at CODE_POSITIONS_MAX bytes. */
void code_training_note(struct code_training *t, plsm_slice rest);
/* Appends the serialized coder (layout in codes.c) that looks at no more than `positions` positions, and at no more
 * than fit into 64 bits, to `out`. */
plsm_status code_training_finish(const struct code_training *t, plsm_slice prefix, unsigned positions, struct buf *out);

/* --- coding --- */

/* Positions are gone through by kind, not in order: first those that need a table, one by one; then runs of up to 8
 * where every byte occurs, so that the bytes are the number; then runs of up to 8 where one byte occurs, which add
 * nothing to a code but must be as expected. */
enum code_field_kind { CODE_FIELD_TABLE, CODE_FIELD_WIDE, CODE_FIELD_FIXED, CODE_FIELD_KINDS };

struct code_field {
    uint64_t weight;
    union {
        const uint16_t *rank; /* TABLE: by byte */
        uint64_t expected;    /* FIXED */
    };
    uint8_t position, size;
    uint8_t shift; /* WIDE, FIXED: 64 - 8 * size, for a load of 8 bytes */
};

/* How a byte stands in one alphabet; bytes outside are marked. */
enum { CODE_RANK_MASK = 0x1ff, CODE_OUTSIDE = 0x8000, CODE_ABOVE = 0x4000 };
struct code_table {
    uint16_t rank[256];
};

/* One digit: for keys that have to be taken digit by digit. */
struct code_position {
    uint64_t weight;                /* what one step of the digit is worth */
    const struct code_table *table; /* NULL: the whole byte is the digit, or there is one byte */
    uint8_t only;                   /* that one byte */
    bool whole;
};

/* Everything it points to is in one piece of memory, so that the coder of a small run is small. */
struct coder {
    uint8_t *memory;
    size_t memory_size;
    plsm_slice prefix;
    struct code_field *field;
    struct code_position *position;
    unsigned positions;
    unsigned fields[CODE_FIELD_KINDS]; /* how many of each kind */
};

/* Reads a serialized coder at *at and moves *at behind it. PLSM_CORRUPT, PLSM_NO_MEMORY. Give back with coder_free. */
plsm_status coder_parse(const uint8_t **at, const uint8_t *end, struct coder *out);
void coder_free(struct coder *c); /* accepts a zeroed one */
size_t coder_memory(const struct coder *c);

/* The code of a key whose prefix was found and cut. */
uint64_t coder_code(const struct coder *c, plsm_slice rest);

#endif
