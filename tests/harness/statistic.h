/* One statistic of a tree, for tests. */
#ifndef TESTS_HARNESS_STATISTIC_H
#define TESTS_HARNESS_STATISTIC_H

#include "lsm/lsm.h"

/* Fails the test when there is none of that name. */
double statistic(struct lsm *db, const char *name);

#endif
