/* The borders between the pages of a run, as models of codes see them. Private to learn/.
 *
 * Border number j (1 to m) lies somewhere above code low and at or below code high: the codes of the last key in front
 * of it and the first key behind it. The rank of a code is how many borders lie at or below it: which page it is on. */
#ifndef LEARN_BORDERS_H
#define LEARN_BORDERS_H

#include <stdint.h>

/* low[j] < high[j] <= low[j + 1], for border number j + 1. */
struct plr_borders {
    uint64_t *low, *high;
    uint32_t count;
};

#endif
