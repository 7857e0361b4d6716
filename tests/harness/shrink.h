/* Shrinks a failing list of operations to one in which nothing can be left out. */
#ifndef TESTS_HARNESS_SHRINK_H
#define TESTS_HARNESS_SHRINK_H

#include "tests/harness/workload.h"

/* Whether this list still shows the failure. */
typedef bool shrink_fails(void *arg, const struct op *ops, size_t count);

/* Removes operations from `ops` (in place) as long as `fails` stays true, for about `seconds` at most: delta debugging
 * (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", IEEE TSE 2002). Then makes the values of
 * what is left as small as they can be. Returns how many are left. */
size_t shrink(struct op *ops, size_t count, shrink_fails *fails, void *arg, unsigned seconds);

#endif
