/* What the tests of the store share: stores in memory, small assertions in text. */
#ifndef TESTS_STORE_FIXTURE_H
#define TESTS_STORE_FIXTURE_H

#include <check.h>

#include "base/bytes.h"
#include "base/env_memory.h"
#include "store/internal.h"
#include "tests/harness/engines.h"

/* Options under which a store in memory flushes and compacts often, inside the writing calls. */
#define FIXTURE_OPTIONS \
    "background=0,buffer_size=256K,file_size=512K,cache_size=1M,l0_compact=2,l0_slowdown=4,l0_stop=6"

/* Each fails the test when the store does not do as told; the message is the store's. libcheck writes a file for every
 * assertion it is told of, so it is told of failures only. */
#define assert_status(call, expected)                                                                               \
    do {                                                                                                            \
        plsm_status status_ = (call);                                                                               \
        if (status_ != (expected))                                                                                  \
            ck_abort_msg("%s: %s instead of %s: %s", #call, plsm_status_name(status_), plsm_status_name(expected),  \
                         plsm_message());                                                                           \
    } while (0)
#define assert_ok(call) assert_status(call, PLSM_OK)

/* The engine whose turn it is: lsm, but in tests that fixture_run_engines runs. */
extern const struct test_engine *fixture_engine;
bool fixture_is_tree(void);
/* Its options and more of them, "name=value,...", or NULL; in a buffer that the eighth call behind reuses. */
const char *fixture_options(const char *more);

/* The store "/s"; with options NULL under those of the engine whose turn it is. */
plsm *fixture_open(struct env *env, plsm_open_flags flags, const char *options);
void fixture_put(plsm *db, const char *key, const char *value);
/* The key holds this text; NULL: it is absent. */
void fixture_expect(plsm *db, const char *key, const char *value);
/* The same in a snapshot. */
void fixture_expect_at(plsm *db, const plsm_snapshot *snapshot, const char *key, const char *value);
/* Entries in a keyspace, and those of the internal keyspace that are work left over. */
uint64_t fixture_count(plsm *db, plsm_keyspace keyspace);
uint64_t fixture_markers(plsm *db);
/* plsm_check, with every line it reports in the failure. */
void fixture_check(plsm *db);
/* The whole value of a key, read with plsm_read in pieces of odd sizes; *size tells how much. The caller frees it with
 * mem_free. NULL: absent. */
uint8_t *fixture_read(plsm *db, const plsm_read_options *options, const char *key, size_t *size);
/* Bytes that depend on the seed and on nothing else. */
void fixture_fill(uint8_t *data, size_t size, uint64_t seed);
/* Runs a suite of one case without forking; returns what main returns. */
int fixture_run(const char *name, const TTest *const *tests, size_t count);
/* The same for each engine in turn. */
int fixture_run_engines(const char *name, const TTest *const *tests, size_t count);

#endif
