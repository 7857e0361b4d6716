#include "tests/harness/engines.h"

#include <stdlib.h>
#include <string.h>

#include "tests/harness/store_fixture.h"

#include "base/banned.h"

const struct test_engine test_engines[] = {
    {"lsm", "engine=lsm," FIXTURE_OPTIONS, {NULL}},
    {"appendlog",
     "engine=appendlog,file_size=64K,merge_garbage=0.3,background=0",
     {"merge_garbage=0.05,log=written", "file_size=256K,merge_garbage=0.9", "merge_from=3,merge_to=4", NULL}},
};
const unsigned TEST_ENGINES = sizeof test_engines / sizeof test_engines[0];

bool test_engine_wanted(const struct test_engine *engine)
{
    const char *only = getenv("TEST_ENGINE");
    return !only || strcmp(only, engine->name) == 0;
}
