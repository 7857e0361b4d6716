/* Trees of paths made by a small grammar: packages with directories and files, some large, most small, as a
 * distribution has them. What learned filters are tested with: the paths of one tree are asked of another. */
#ifndef TESTS_HARNESS_PATH_TREES_H
#define TESTS_HARNESS_PATH_TREES_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

/* Which tree. All have the same root and the same sections; the dialect decides which names are common, so that two
 * trees of one dialect differ in their packages alone. */
struct path_tree {
    unsigned dialect; /* 0 or 1 */
    uint64_t seed;    /* of its packages */
};

struct path_list {
    plsm_slice *keys; /* none twice */
    size_t count;
    uint8_t *bytes; /* owns the keys' bytes */
};

/* About `count` distinct paths drawn from the tree with `seed`, in random order. Each begins with `first`, a byte, and
 * has 20 to 160 bytes. Two lists with different seeds share some. */
struct path_list path_list_create(struct path_tree tree, size_t count, uint8_t first, uint64_t seed);
/* The paths of `list` that are not in `other`; both stay as they are. The result shares the bytes of `list`, which owns
 * them. */
struct path_list path_list_without(const struct path_list *list, const struct path_list *other);
/* Sorts by bytes, as a run is. */
void path_list_sort(struct path_list *list);
void path_list_free(struct path_list *list); /* accepts a zeroed one */

#endif
