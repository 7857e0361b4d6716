/* What the tests of key sets share: a table that finds keys that come twice. Include <check.h> before. */
#ifndef TESTS_TOOLS_KEY_TABLE_H
#define TESTS_TOOLS_KEY_TABLE_H

#include <stdlib.h>

#include "tools/bench/shapes.h"

/* Keys side by side, each behind its size, padded with zeros: sorted, equal ones are neighbours. */
enum { TABLE_KEY_MAX = 40 };
struct row {
    uint8_t bytes[TABLE_KEY_MAX], size;
};
struct table {
    struct row *rows;
    uint64_t count;
};

static inline void table_add(struct table *table, plsm_slice key)
{
    struct row *row = &table->rows[table->count++];
    if (key.size == 0 || key.size > TABLE_KEY_MAX)
        ck_abort_msg("a key of %zu bytes", key.size);
    *row = (struct row){.size = (uint8_t)key.size};
    memcpy(row->bytes, key.data, key.size);
}

static inline int table_compare(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct row));
}

static inline uint64_t table_repeated(struct table *table)
{
    uint64_t repeated = 0;
    qsort(table->rows, table->count, sizeof *table->rows, table_compare);
    for (uint64_t i = 1; i < table->count; i++)
        repeated += table_compare(&table->rows[i - 1], &table->rows[i]) == 0;
    return repeated;
}

static inline struct shape_set *open_set(const char *name, uint64_t keys, uint64_t seed, const char *directory)
{
    struct shape_set *set = NULL;
    plsm_status status = shape_open(name, keys, seed, directory, &set);
    ck_assert_msg(status == PLSM_OK, "%s: %s", name, plsm_message());
    ck_assert_uint_eq(shape_count(set), keys);
    ck_assert_str_eq(shape_of(set)->name, name);
    return set;
}

#endif
