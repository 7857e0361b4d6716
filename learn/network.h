/* Codes to positions: a small monotone neural network, one alternative to the segments of plr.h. Private to learn/.
 *
 * What it is: a multilayer perceptron with one input (the code), one hidden layer of up to 64 units, and one output
 * (the position, in pages). Hidden unit i is linear between two clamps (a "hard sigmoid"),
 *
 *     h_i(code) = clamp(code - hinge_i, 0, run_i)                        position = bias + sum of weight_i * h_i
 *
 * and no weight is negative. Hinges, runs, weights and the bias are trained for the least largest error - a search
 * puts the units in place, gradient descent improves on it, network_train.c tells what each is worth - and then
 * quantised to integers. Codes are subtracted with all their 64 bits, so that keys in a corner of the code space are
 * told apart like any others. Evaluation is integer arithmetic and the same on every machine.
 *
 * What it is not: more than a piecewise linear function with at most two bends per unit. A monotone network of one
 * input cannot be more: each clamp of a deeper layer would be passed once as the code ascends, so a unit adds two bends
 * wherever it stands, and bends multiply only where functions may fold back, which exactness forbids. So one hidden
 * layer is the best use of the bytes, and a network follows the same keys that segments follow. What differs from
 * plr.h: units overlap, and then their slopes add; the work is the same for every code, without a search and without a
 * branch; and the size is bounded, whatever the number of borders, so that it is the error that grows with it.
 *
 * Monotone networks by weights that are not negative: Sill, "Monotonic Networks", NIPS 1997. Networks as indexes, with
 * a bound measured on the data: Kraska et al., "The Case for Learned Index Structures", SIGMOD 2018. */
#ifndef LEARN_NETWORK_H
#define LEARN_NETWORK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "learn/borders.h"

enum {
    NETWORK_UNITS_MAX = 64,
    NETWORK_SIZE_MAX = 704, /* bytes, serialized, of a network that was trained; bytes that were damaged may be more */
    NETWORK_FRACTION_BITS = 16, /* of a position */
};

/* Fits a network to the borders and appends its serialized form (layout in network.c) to `out`. How near it comes is
 * for network_error to say; nothing is promised here. The same borders give the same bytes, with one build of this
 * program: training is floating point, evaluation is not. Takes about 10 ms for any number of borders, as it is trained
 * on at most 8,192 of them, those that tell most. PLSM_NO_MEMORY; then `out` has the bytes that it had. */
plsm_status network_train(const struct plr_borders *borders, struct buf *out);

/* How many units may be spent on a number of borders: one for each 64, at least 8, at most NETWORK_UNITS_MAX. Pure.
 *
 * A unit takes about 10 bytes. One more than n makes the error smaller by between 1 / 2n of it (where codes are random)
 * and 2 / n (where they follow a smooth curve), and each border's cut by 1.44 times that in bits. Worked example: 2,000
 * borders get 31 units; another one would save 2,000 * 1.44 / 62 bits, 6 bytes, to four times that. */
unsigned network_units(uint32_t borders);

struct network {
    uint32_t borders, units;
    uint32_t lanes;   /* units, filled up to whole vectors with units that add nothing */
    bool vectors;     /* evaluate with AVX2 */
    uint64_t bias;    /* fine steps: 2^-20 of a page */
    uint64_t *memory; /* owns everything below; 24 bytes per lane */
    /* Top bit flipped, so that they sort as signed numbers, which is what AVX2 compares. */
    const int64_t *hinges, *ends;
    const uint64_t *factors; /* bits 0-31: weight; 32-39: shift right behind it; 40-47: shift right in front of it */
};

/* Reads a serialized network at *at and moves *at behind it. PLSM_CORRUPT, PLSM_NO_MEMORY. Give back with network_free.
 * Bytes that are accepted, whoever wrote them, give a monotone function within the bound of network_position. */
plsm_status network_parse(const uint8_t **at, const uint8_t *end, struct network *out);
void network_free(struct network *net);           /* accepts a zeroed one */
size_t network_memory(const struct network *net); /* bytes it occupies */

/* The position of a code in pages, with NETWORK_FRACTION_BITS fractional bits; never descends as codes ascend, and is
 * never above 2 * net->borders pages. Safe from any thread.
 *
 * A unit is clamp, shift right, multiply by an integer of at least 0, shift right: each never descends, rounded down or
 * not, so that whatever integers quantisation chose, the unit does not. Parsing refuses networks whose sum could leave
 * 64 bits or the bound. A sum of such units that cannot overflow does not descend either. */
uint64_t network_position(const struct network *net, uint64_t code);

/* Asks the network for every border: the largest distance between the position of a border's codes and its number, in
 * pages, rounded up. Takes two evaluations per border. */
void network_error(const struct network *net, const struct plr_borders *borders, uint32_t *largest_error_pages);

#endif
