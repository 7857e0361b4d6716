/* What the two halves of building an exact set share: exact_build.c takes keys apart and cuts their numbers into
 * segments while they stream by, exact_encode.c writes the set. Private to learn/exact*.c. */
#ifndef LEARN_EXACT_BUILD_H
#define LEARN_EXACT_BUILD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "learn/exact.h"
#include "learn/exact_number.h"

/* Which part of a key is the number. */
struct exact_form {
    enum exact_alphabet alphabet;
    unsigned width;    /* bytes */
    plsm_slice suffix; /* behind the number */
};

/* Numbers behind one prefix, at most UINT32_MAX positions apart. */
struct exact_run {
    uint64_t start, step; /* step 0: as long as there is one number only */
    uint64_t tokens_at; /* where its tokens start: pairs of varints, a difference of numbers and how often it repeats */
    uint32_t span, count; /* positions from the first to the last number; numbers */
};

/* A prefix and the runs behind it, up to those of the next one. With prefixes of several lengths, groups can interleave
 * (behind "a" and the digits "0" comes what is behind "a0"), and a prefix can have several of these. */
struct exact_group {
    uint64_t prefix_at;
    uint32_t prefix_size, first_run;
};

/* All keys, taken apart. */
struct exact_numbers {
    struct exact_form form;
    uint64_t number_mask;
    struct buf suffix;   /* owns the form's */
    struct buf prefixes; /* the bytes of the groups' */
    struct buf groups;   /* struct exact_group */
    struct buf runs;     /* struct exact_run */
    struct buf tokens;
    uint64_t keys;
    size_t common;    /* bytes that all prefixes begin with */
    bool same_length; /* all prefixes have one length */

    /* the group at hand */
    size_t key_size, prefix_size;
    uint64_t last;                   /* the last number */
    /* The digits in front of its last word of text: keys in order mostly have them in common. Size 0: not known. */
    uint8_t front[EXACT_WIDTH_MAX];
    size_t front_size;
    uint64_t front_value;
    uint64_t delta, repeat;          /* a token that may still grow; repeat 0: none */
    struct exact_run open;           /* the run at hand, without that token */
    uint64_t open_bits, closed_bits; /* estimated size of its positions; of all runs before it */
};

/* Walks the taken positions of a run. */
struct exact_cursor {
    const uint8_t *token, *end;
    uint64_t step;
    uint64_t next, stride; /* the position at hand; how far it is to the ones behind it in its token */
    uint64_t in_token;     /* how many the token has left, with this one */
    uint64_t left;         /* how many there are in all, with this one */
};

static inline struct exact_cursor exact_cursor_at_start(const struct exact_numbers *n, const struct exact_run *run)
{
    return (struct exact_cursor){.token = n->tokens.data + run->tokens_at,
                                 .end = n->tokens.data + n->tokens.size,
                                 .step = run->step,
                                 .stride = 1,
                                 .in_token = 1,
                                 .left = run->count};
}

/* Goes on by `count` positions, at least 1 and at most in_token. */
static inline void exact_cursor_skip(struct exact_cursor *c, uint64_t count)
{
    c->left -= count;
    c->in_token -= count;
    c->next += (count - 1) * c->stride;
    if (c->in_token == 0 && c->left > 0) {
        uint64_t delta = 0;
        c->token = get_varint(c->token, c->end, &delta);
        c->token = get_varint(c->token, c->end, &c->in_token);
        c->stride = delta / c->step;
    }
    c->next += c->stride;
}

/* What a run costs beside its positions, estimated: a record of 10 to 14 bytes. */
enum { EXACT_RUN_BITS = 100 };

/* log2 of the positions in a block, so that it lists about 64. `listed` of `span` are listed; not 0. */
unsigned exact_block_log2(uint64_t listed, uint64_t span);
/* Estimated bits of the positions of a run. Worked example: 960 of 1,024 taken: 64 are listed at 2 + 4 bits each (4:
 * the logarithm of 1,024 / 64), a directory entry of 24 bits for each 64, and 16: 424. */
uint64_t exact_position_bits(uint64_t count, uint64_t span);

/* How many of the numbers a set that was built from them denies. */
uint64_t exact_count_missing(const struct exact_numbers *n, const struct exact *set);

/* Appends the set to `out`; or clears *built when it were larger than bits_max. */
plsm_status exact_encode(const struct exact_numbers *n, uint64_t bits_max, struct buf *out, bool *built);

#endif
