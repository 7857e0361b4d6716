/* What the tests of the hybrid log by itself share: a store, and entries that say what they are. */
#ifndef TESTS_LOG_HYBRID_FIXTURE_H
#define TESTS_LOG_HYBRID_FIXTURE_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/env_memory.h"
#include "base/error.h"
#include "log/hybrid.h"

enum { KEYS = 3000, VALUE_MAX = 400 };

static struct env *env;
static struct hybrid *db;
static struct hybrid_value value;

#define must(call)                                                                                                     \
    do {                                                                                                               \
        plsm_status status_ = (call);                                                                                  \
        if (status_ != PLSM_OK)                                                                                        \
            ck_abort_msg("%s: %s: %s", #call, plsm_status_name(status_), plsm_message());                              \
    } while (0)

static inline struct hybrid_options options_of(struct env *where)
{
    return (struct hybrid_options){.env = where,
                                   .create = true,
                                   .memory = 1 << 20,
                                   .buffer_size = 256 << 10,
                                   .file_size = 256 << 10,
                                   .garbage_ppm = 500000,
                                   .redo = true,
                                   .log_mapped = true};
}

static inline void open_it(void)
{
    struct hybrid_options options = options_of(env);
    must(hybrid_open("/s", &options, &db));
}

static inline void start(void)
{
    env = env_memory_create(1);
    open_it();
}

static inline void reopen(void)
{
    must(hybrid_close(db));
    open_it();
}

static inline void stop(void)
{
    must(hybrid_check(db, NULL, NULL, NULL));
    must(hybrid_close(db));
    mem_free(value.memory);
    value = (struct hybrid_value){0};
    env_memory_destroy(env);
}

static inline plsm_slice name_of(unsigned number, char *text)
{
    int size = snprintf(text, 40, "%cdir%u/key%u", HYBRID_NAMES, number % 7, number);
    return slice(text, (size_t)size);
}

/* A value that says of which key and round it is, in every byte but the first eight. */
static inline plsm_slice value_of(unsigned number, unsigned round, uint8_t *bytes)
{
    size_t size = 8 + (number * 31 + round * 17) % (VALUE_MAX - 8);
    put_u32(bytes, number);
    put_u32(bytes + 4, round);
    memset(bytes + 8, (int)(number + round), size - 8);
    return slice(bytes, size);
}

static inline void put(plsm_slice key, plsm_slice bytes)
{
    struct batch batch = {0};
    const uint8_t *at = key.data;
    must(batch_add(&batch, BATCH_PUT, at[0], slice(at + 1, key.size - 1), slice("meta", 4), bytes));
    must(hybrid_write(db, &batch, NULL, NULL, HYBRID_LOGGED));
    batch_free(&batch);
}

static inline void put_as(unsigned number, enum hybrid_durability durability)
{
    char text[40];
    uint8_t bytes[VALUE_MAX];
    struct batch batch = {0};
    plsm_slice key = name_of(number, text);
    must(batch_add(&batch, BATCH_PUT, HYBRID_NAMES, slice(text + 1, key.size - 1), slice("meta", 4),
                   value_of(number, 0, bytes)));
    must(hybrid_write(db, &batch, NULL, NULL, durability));
    batch_free(&batch);
}

static inline void put_number(unsigned number, unsigned round)
{
    char key[40];
    uint8_t bytes[VALUE_MAX];
    put(name_of(number, key), value_of(number, round, bytes));
}

static inline void delete_number(unsigned number)
{
    char text[40];
    struct batch batch = {0};
    plsm_slice key = name_of(number, text);
    must(batch_add(&batch, BATCH_DELETE, HYBRID_NAMES, slice(text + 1, key.size - 1), slice(NULL, 0), slice(NULL, 0)));
    must(hybrid_write(db, &batch, NULL, NULL, HYBRID_LOGGED));
    batch_free(&batch);
}

static inline void expect(const struct hybrid_snapshot *snapshot, unsigned number, unsigned round)
{
    char key[40];
    uint8_t bytes[VALUE_MAX];
    must(hybrid_get(db, snapshot, name_of(number, key), false, false, &value));
    ck_assert(slice_equal(value.value, value_of(number, round, bytes)));
    ck_assert(slice_equal(value.meta, slice("meta", 4)));
}

static inline void expect_none(unsigned number)
{
    char key[40];
    ck_assert_int_eq(hybrid_get(db, NULL, name_of(number, key), false, false, &value), PLSM_NOT_FOUND);
}

static inline void take(void *arg, const char *name, bool is_real, uint64_t integer, double real)
{
    void **wanted = arg;
    if (strcmp(name, wanted[0]) == 0)
        *(uint64_t *)wanted[1] = integer;
}

static inline uint64_t statistic_of(const char *name)
{
    uint64_t found = UINT64_MAX;
    void *wanted[] = {(void *)(uintptr_t)name, &found};
    hybrid_statistics(db, take, wanted);
    ck_assert_uint_ne(found, UINT64_MAX);
    return found;
}
static inline bool has(const char *prefix)
{
    bool found = false;
    must(hybrid_has_prefix(db, NULL, slice_of(prefix), &found));
    return found;
}

static inline int run_tests(const char *name, const TTest *const *tests, size_t count)
{
    Suite *suite = suite_create(name);
    TCase *tcase = tcase_create(name);
    tcase_set_timeout(tcase, 300);
    for (size_t i = 0; i < count; i++)
        tcase_add_test(tcase, tests[i]);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
