/* See made_version.h. */
#include "tests/harness/made_version.h"

#include <check.h>

#include "base/banned.h"

static struct lsm_options made_options;
static struct run_context made_context = {.options = &made_options};

struct run *made_run(uint64_t number, const struct made_run *made)
{
    struct run_facts facts = {.number = number,
                              .seq_max = made->seq ? made->seq : number,
                              .file_size = made->bytes,
                              .entries = made->entries ? made->entries : 100,
                              .deletions = made->deletions,
                              .oldest_s = made->oldest_s,
                              .units = 1,
                              .smallest = slice_of(made->smallest),
                              .largest = slice_of(made->largest)};
    struct run *run = run_create(&made_context, &facts);
    ck_assert_ptr_nonnull(run);
    return run;
}

struct version *made_version(const struct made_run *runs, size_t count)
{
    struct edit edit = {0};
    struct version *empty = version_create(), *version = NULL;
    for (size_t i = 0; i < count; i++)
        ck_assert_int_eq(edit_add(&edit, runs[i].level, made_run(i + 1, &runs[i])), PLSM_OK);
    ck_assert_int_eq(version_apply(empty, &edit, &version), PLSM_OK);
    edit_free(&edit);
    version_unref(empty);
    return version;
}
