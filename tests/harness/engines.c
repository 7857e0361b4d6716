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
    {"hybridlog",
     "engine=hybridlog,background=0,buffer_size=256K,file_size=256K,cache_size=64K",
     {"log=written", "separate_garbage=0.05,file_size=64K,buffer_size=64K", "redo=0", "memory=4M,separate_garbage=1"}},
};
const unsigned TEST_ENGINES = sizeof test_engines / sizeof test_engines[0];

bool test_engine_wanted(const struct test_engine *engine)
{
    const char *only = getenv("TEST_ENGINE");
    return !only || strcmp(only, engine->name) == 0;
}
