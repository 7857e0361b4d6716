/* Keys to numbers: an order-preserving code of two 64-bit words. Private to learn/.
 *
 * The prefix that all keys share is cut; each of the next key positions is a digit in a mixed-radix number, whose radix
 * is the number of bytes that occur there. So no part of the 64 bits is spent on bytes that do not vary, and the codes
 * of structured keys (digits, hex, time stamps) are as evenly spread as the keys are. As many positions as fit make the
 * first word; the positions behind them, as many as fit again, make the second, for keys that the first does not tell
 * apart.
 *
 * For all strings a <= b, code(a) <= code(b), by the first word and, where it is equal, by the second - whether or not
 * they look like the keys the alphabets were taken from:
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
    CODE_WORDS = 2,
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
 * than fit into its words, to `out`. */
plsm_status code_training_finish(const struct code_training *t, plsm_slice prefix, unsigned positions, struct buf *out);

/* --- coding --- */

/* Positions of a word are gone through by kind, not in order: runs of up to 16 digits of one alphabet, which vector
 * instructions read at once; those that need a table, one by one; runs of up to 8 where every byte occurs, so that the
 * bytes are the number; runs of up to 8 where one byte occurs, which add nothing to a code but must be as expected. */
enum code_field_kind { CODE_FIELD_DIGITS, CODE_FIELD_TABLE, CODE_FIELD_WIDE, CODE_FIELD_FIXED, CODE_FIELD_KINDS };

enum { CODE_DIGIT_RANGES = 3 };

/* An alphabet of a few ranges of bytes, for vector instructions. */
struct code_digits {
    uint32_t radix2, radix4; /* radix to the power of 2, of 4 */
    uint8_t radix, ranges;
    uint8_t low[CODE_DIGIT_RANGES], span[CODE_DIGIT_RANGES]; /* from `low`, `span` bytes more */
    uint8_t rank[CODE_DIGIT_RANGES];                         /* of `low` */
};

struct code_field {
    uint64_t weight; /* of the last position */
    union {
        const uint16_t *rank;             /* TABLE: by byte */
        const struct code_digits *digits; /* DIGITS */
        uint64_t expected;                /* FIXED */
    };
    uint16_t end;  /* of the field, from the start of the key: vectors are loaded backward from here */
    uint16_t from; /* WIDE, FIXED: where in the key to load 8 bytes; of these the field's are in the lowest ones */
    uint8_t drop;  /* behind so many bits, and above `size` bytes there are others */
    uint8_t size;
};

/* How a byte stands in one alphabet; bytes outside are marked. */
enum { CODE_RANK_MASK = 0x1ff, CODE_OUTSIDE = 0x8000, CODE_ABOVE_ALL = 0x4000 };
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

struct code_word {
    const struct code_field *field;
    unsigned fields[CODE_FIELD_KINDS]; /* how many of each kind */
    unsigned first, last;              /* positions [first, last) */
    uint64_t largest;                  /* code there is */
    bool padded;                       /* vectors would begin in front of the key: copy it behind zeros first */
};

/* Everything it points to is in one piece of memory, so that the coder of a small run is small. */
struct coder {
    uint8_t *memory;
    size_t memory_size;
    plsm_slice prefix;
    struct code_position *position;
    unsigned positions;
    struct code_word word[CODE_WORDS];
};

/* Reads a serialized coder at *at and moves *at behind it. PLSM_CORRUPT, PLSM_NO_MEMORY. Give back with coder_free. */
plsm_status coder_parse(const uint8_t **at, const uint8_t *end, struct coder *out);
/* The same, but it never uses vector instructions: for tests, as both must give the same codes. */
plsm_status coder_parse_portable(const uint8_t **at, const uint8_t *end, struct coder *out);
void coder_free(struct coder *c); /* accepts a zeroed one */
size_t coder_memory(const struct coder *c);

/* Whether a key left the alphabets in the first word: then its second word is decided. */
enum code_state { CODE_WITHIN, CODE_BELOW, CODE_ABOVE };

/* The first word of the code of a whole key, which must begin with the coder's prefix. */
uint64_t coder_code(const struct coder *c, plsm_slice key, enum code_state *state);
/* The second word of the same key; `state` as coder_code left it. */
uint64_t coder_code_next(const struct coder *c, plsm_slice key, enum code_state state);

#endif
