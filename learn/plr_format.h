/* What fitting and reading a piecewise linear model share. Private to plr.c and plr_train.c; the layout is in plr.c. */
#ifndef LEARN_PLR_FORMAT_H
#define LEARN_PLR_FORMAT_H

#include <stdint.h>

#include "learn/network.h"

enum {
    PLR_HEADER_SIZE = 16,
    PLR_SEGMENT_SIZE = 8 + 8 + 4 + 1,
    PLR_EXCEPTION_SIZE = 8 + 4,
    PLR_CUT_PADDING = 8,
    PLR_FINE_BITS = 28, /* log2 of the fine steps in a window */
    PLR_CUT_BITS_MIN = 4,
    PLR_WINDOW_LOG2_MIN = 1,
    PLR_WINDOW_LOG2_MAX = 12,
    PLR_MANTISSA_BITS = 32,
    PLR_SHIFT_MAX = 95,
};

/* The fine position of the code `delta` behind the start of a segment; never above the start of the next one. */
static inline uint64_t plr_position(uint64_t delta, uint64_t base, uint64_t next_base, uint32_t slope, unsigned shift)
{
    unsigned __int128 rise = ((unsigned __int128)delta * slope) >> shift;
    return rise < next_base - base ? base + (uint64_t)rise : next_base;
}

/* The fine position of a network's prediction, in the middle of the window that belongs to it. */
static inline uint64_t plr_network_position(const struct network *net, uint64_t code, unsigned window_log2)
{
    enum { PAGE_BITS_LESS = PLR_FINE_BITS - NETWORK_FRACTION_BITS };
    uint64_t pages = network_position(net, code), half = (uint64_t)1 << (PLR_FINE_BITS - 1);
    return half + (window_log2 <= PAGE_BITS_LESS ? pages << (PAGE_BITS_LESS - window_log2)
                                                 : pages >> (window_log2 - PAGE_BITS_LESS));
}

#endif
