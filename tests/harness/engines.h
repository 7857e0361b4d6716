/* The engines that tests run over. TEST_ENGINE=name in the environment: that one alone. */
#ifndef TESTS_HARNESS_ENGINES_H
#define TESTS_HARNESS_ENGINES_H

#include <stdbool.h>

enum { TEST_ENGINE_SETS = 4 };

struct test_engine {
    const char *name;    /* as the option engine has it */
    const char *options; /* of small stores, in which few writes flush and compact, inside the writing calls */
    const char *sets[TEST_ENGINE_SETS]; /* more of its options, for tests that try several; NULL: no more */
};

/* The first one is lsm. */
extern const struct test_engine test_engines[];
extern const unsigned TEST_ENGINES;

/* Whether TEST_ENGINE leaves it in. */
bool test_engine_wanted(const struct test_engine *engine);

#endif
