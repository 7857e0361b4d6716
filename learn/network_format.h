/* What training and reading a network share. Private to network.c and network_train.c; the layout is in network.c. */
#ifndef LEARN_NETWORK_FORMAT_H
#define LEARN_NETWORK_FORMAT_H

#include <stdint.h>

enum {
    NETWORK_HEADER_SIZE = 16,
    NETWORK_UNIT_SIZE = 5, /* and two varints */
    NETWORK_LANES = 4,     /* units that one vector holds */
    NETWORK_GRID_SHIFT_MAX = 63,
    NETWORK_INPUT_BITS = 32, /* of a unit's input behind its shift: what one multiplication of four lanes takes */
    NETWORK_WEIGHT_BITS = 24,
    NETWORK_WEIGHT_SHIFT_MAX = 63,
    NETWORK_GUARD_BITS = 4, /* below the fractional bits of a position, so that rounding each unit down costs nothing */
    NETWORK_FINE_BITS = 16 + NETWORK_GUARD_BITS, /* log2 of the fine steps in a page */
};

/* By how much the input of a unit is shifted right to have NETWORK_INPUT_BITS. */
static inline unsigned network_input_shift(uint64_t run)
{
    unsigned bits = run ? 64 - (unsigned)__builtin_clzll(run) : 0;
    return bits > NETWORK_INPUT_BITS ? bits - NETWORK_INPUT_BITS : 0;
}

/* What a unit adds, in fine steps, for an input that was clamped and shifted: below 2^56. */
static inline uint64_t network_output(uint64_t input, uint32_t weight, unsigned weight_shift)
{
    return (input * weight) >> weight_shift;
}

#endif
