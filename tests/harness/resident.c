/* See resident.h. */
#include "tests/harness/resident.h"

#include <check.h>
#include <stdio.h>

#include "base/banned.h"

uint64_t resident_bytes(void)
{
    unsigned long size = 0, pages = 0, of_files = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fscanf(file, "%lu %lu %lu", &size, &pages, &of_files), 3);
    fclose(file);
    return (uint64_t)(pages - of_files) * 4096;
}
