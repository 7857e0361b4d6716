/* A tree on which I/O is simulated and whose pages are known, for tests of what is charged for them. One at a time. */
#ifndef TESTS_HARNESS_PAGED_TREE_H
#define TESTS_HARNESS_PAGED_TREE_H

#include "lsm/db.h"

enum { PAGED_KEYS = 4000 };
enum { PAGED_SMALL = 130, PAGED_BIG = 3000 }; /* bytes of values: about 28 a page, and one */

struct paged {
    struct env *env; /* set it to one in memory before all else */
    struct lsm *db;
    struct lsm_value value; /* the last one got */
};
extern struct paged paged;

/* The device of the worked example in simulate.h, with 8 MiB of cache. */
extern const struct simulation_options paged_device;

/* Filters that hardly err, one for each run, no compaction by itself, a cache of the tree that holds everything small.
 */
struct lsm_options paged_options(enum lsm_index index);
/* All that follows fails the test when the tree does not do as told. */
void paged_open(const struct lsm_options *options);
/* Opens, fills with small values, zeroes the statistics. */
void paged_start(const struct lsm_options *options);
void paged_stop(void); /* closes and destroys the environment */

/* Key number i, into `text` of at least 64 bytes; neighbours that are absent differ in the last digit. */
plsm_slice paged_key(unsigned i, char *text);
void paged_put(plsm_slice key, plsm_slice value);
void paged_get(plsm_slice key, plsm_status expected);
/* Writes all keys and flushes them to one run of level 0. */
void paged_fill(size_t value_bytes);

struct run *paged_run(size_t i); /* of level 0, the newest first */
struct run_body *paged_body(struct run *run);
uint32_t paged_unit(unsigned i); /* the page of that run on which key i is */
/* Keys on pages of their own, the last pages first: no read goes on where another ended. */
void paged_choose(unsigned *keys, unsigned count);

struct simulated_account paged_account(enum simulation_side side);
/* Exactly this was charged to each side since the statistics were last zeroed; zeroes them. */
void paged_charged(uint64_t random, uint64_t sequential, uint64_t hits, uint64_t read_ns);
/* A statistic of the tree, which must be there. */
double paged_statistic(const char *name);

#endif
