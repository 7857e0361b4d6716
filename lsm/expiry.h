/* When enough of a run has expired to be worth rewriting it: from a sample of the times at which its entries expire. */
#ifndef LSM_EXPIRY_H
#define LSM_EXPIRY_H

#include <stdint.h>

enum { EXPIRY_SAMPLE = 256 }; /* so the quantile that is wanted is off by some percent at most */

/* A reservoir (Vitter, "Random Sampling with a Reservoir", 1985): each time that was added is in it with the same
 * probability. Zero it to start. */
struct expiry_sample {
    uint64_t count; /* of times added */
    uint64_t random;
    uint64_t times_s[EXPIRY_SAMPLE];
};
void expiry_sample_add(struct expiry_sample *sample, uint64_t expires_s);

/* The second from which on half of a run's entries have expired, about; 0: that never comes. Sorts the sample. Example:
 * 10 entries, of which those sampled expire at 40, 10, 30, 60, 50, 20: the fifth, 50; of 13 entries: never. Pure. */
uint64_t expiry_due_s(struct expiry_sample *sample, uint64_t entries);

#endif
