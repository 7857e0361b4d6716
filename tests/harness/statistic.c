/* See statistic.h. */
#include "tests/harness/statistic.h"

#include <check.h>
#include <string.h>

#include "base/banned.h"

struct wanted {
    const char *name;
    double value;
    bool found;
};

static void find(void *arg, const char *name, bool is_real, uint64_t integer, double real)
{
    struct wanted *wanted = arg;
    if (strcmp(name, wanted->name) != 0)
        return;
    wanted->value = is_real ? real : (double)integer;
    wanted->found = true;
}

double statistic(struct lsm *db, const char *name)
{
    struct wanted wanted = {.name = name};
    lsm_statistics(db, find, &wanted);
    ck_assert_msg(wanted.found, "there is no statistic %s", name);
    return wanted.value;
}
