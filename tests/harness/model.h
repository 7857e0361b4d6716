/* What a store should hold: every version of every key of the workload, by the number of the write that made it.
 *
 * A moment is a number of writes, so a snapshot costs nothing and the state after any prefix of the writes can be asked
 * for. Writes that failed are kept aside: such a write may be there in whole or not at all once the store is opened
 * again (store/plsm.h promises that it is not seen before). */
#ifndef TESTS_HARNESS_MODEL_H
#define TESTS_HARNESS_MODEL_H

#include "tests/harness/workload.h"

/* A value and its meta, by size and seed. All zero: no such key. */
struct content {
    bool present;
    uint8_t meta_size;
    uint32_t size, seed, meta_seed;
    uint64_t shared; /* with which identifier it is shared; 0: it is not, and never was */
    uint64_t expires_s; /* 0: never */
};

struct change {
    unsigned key;
    struct content content;
};

struct model;
struct model *model_create(void);
void model_destroy(struct model *model);
/* How many writes have been made: the newest moment. */
uint64_t model_now(const struct model *model);
/* As it is by the model's clock: absent where its time has come. */
const struct content *model_get(const struct model *model, unsigned key, uint64_t at);
/* The time, in seconds since 1970; 0 at first, when nothing has expired. Ticks of a workload take so many seconds (1 at
 * first). */
void model_set_clock(struct model *model, uint64_t clock_s, uint64_t tick_s);
uint64_t model_clock(const struct model *model);
uint64_t model_tick(const struct model *model);
/* Puts of names that do not say when they expire do so many seconds later; 0: never. */
void model_set_ttl(struct model *model, uint64_t ttl_s);

/* What a batch (operations OP_PUT ... OP_BATCH_IF_EQUAL) does to the newest state: fills `changes` (room for
 * MODEL_CHANGES) and *change_count, one change per key, or returns the error that plsm_write must return. When several
 * conditions do not hold the first one's error is returned. */
enum { MODEL_CHANGES = WORKLOAD_KEYS };
plsm_status model_plan(const struct model *model, const struct op *ops, size_t count, struct change *changes,
                       size_t *change_count);
/* The same with puts that were made at another second than this. */
plsm_status model_plan_at(const struct model *model, uint64_t clock_s, const struct op *ops, size_t count,
                          struct change *changes, size_t *change_count);
/* Makes the changes as one write, or notes them as a write that failed. */
void model_apply(struct model *model, const struct change *changes, size_t count);
void model_apply_failed(struct model *model, const struct change *changes, size_t count);

/* Whether an observed entry is this content. `found` false: no entry. */
struct observed {
    bool found, large;
    plsm_slice value, meta; /* value: empty when large, then `size` tells */
    uint64_t size;
    uint64_t expires_s;
};
bool model_matches(const struct content *content, const struct observed *observed);

/* Finds which moments in [low, high] explain what was observed. Start it, feed every key, then ask. */
struct model_search;
struct model_search *model_search_create(const struct model *model, uint64_t low, uint64_t high);
void model_search_add(struct model_search *search, unsigned key, const struct observed *observed);
/* The latest moment that explains everything; UINT64_MAX when none does: then *culprit is a key whose observation left
 * no moment. Frees the search. */
uint64_t model_search_finish(struct model_search *search, unsigned *culprit);

/* Explains observations by all acknowledged writes and any choice of the failed ones, each whole or not at all. Begin,
 * feed it every key; false: this observation is impossible. Then model_settle checks that no failed write was seen in
 * part, makes what was observed the newest state and forgets the failed writes. */
void model_explain_begin(struct model *model);
bool model_explain(struct model *model, unsigned key, const struct observed *observed);
bool model_settle(struct model *model);
/* Whether a key alone may show this after a power loss that took some writes behind moment `low`, whatever failed. */
bool model_possible(const struct model *model, unsigned key, uint64_t low, const struct observed *observed);
/* Makes the state of `from` at a moment the first write of an empty model. */
void model_copy_state(struct model *model, const struct model *from, uint64_t at);
size_t model_failed_writes(const struct model *model);

/* A cursor over the state at a moment: keys of one keyspace from rank `low` to rank `high` (exclusive). */
struct model_cursor {
    const struct model *model;
    uint64_t at, clock_s; /* of its opening */
    unsigned low, high;
    unsigned rank; /* WORKLOAD_KEYS: nowhere */
};
/* Bounds as plsm_iterator_create takes them. */
void model_cursor_open(struct model_cursor *cursor, const struct model *model, uint64_t at, plsm_keyspace keyspace,
                       plsm_slice from, plsm_slice to);
bool model_cursor_valid(const struct model_cursor *cursor);
unsigned model_cursor_key(const struct model_cursor *cursor); /* number of the key it stands on */
const struct content *model_cursor_content(const struct model_cursor *cursor);
void model_cursor_first(struct model_cursor *cursor);
void model_cursor_last(struct model_cursor *cursor);
void model_cursor_seek(struct model_cursor *cursor, plsm_slice key);
void model_cursor_seek_before(struct model_cursor *cursor, plsm_slice key);
void model_cursor_next(struct model_cursor *cursor);
void model_cursor_previous(struct model_cursor *cursor);
/* Whether a name starts with `prefix`. */
bool model_has_prefix(const struct model *model, plsm_slice prefix, uint64_t at);

#endif
