/* What the files that look inside a tree share. */
#ifndef LSM_INSPECT_PRIVATE_H
#define LSM_INSPECT_PRIVATE_H

#include "base/random.h"
#include "lsm/db.h"
#include "lsm/lsm.h"

enum { INSPECT_KEYS = 10000 }; /* are sampled where nothing else is asked for */

static inline uint64_t inspect_keys(const plsm_inspect_options *options)
{
    return options->keys ? options->keys : INSPECT_KEYS;
}

/* --- a run (inspect.c) --- */

/* What a run is asked by, read for looking at it alone: nothing of it takes the place of what lookups use. */
struct run_parts {
    struct run_body *body; /* NULL: header or footer are damaged */
    uint8_t place;         /* in the table over young runs; YOUNG_PLACE_NONE: not in it */
    struct model *model;   /* NULL: none that can be read */
    bool model_suits;      /* lookups could use it */
    struct fences *fences; /* likewise */
    bool has_filter, has_membership;
    struct filter filter;
    struct membership membership;
    struct buf filter_bytes, membership_bytes;
};
/* Reads those of a level's run, and describes it; what is damaged is noted in *info. Its slices are the run's. Free the
 * parts also when it fails: PLSM_NO_MEMORY. */
plsm_status inspect_run(struct lsm *db, const struct level *level, size_t at, struct run_parts *parts,
                        plsm_run_info *info);
void run_parts_free(struct run_parts *parts);
void inspect_model(const struct model_info *m, plsm_model_info *out);
void inspect_young(struct lsm *db, plsm_young_info *out);

/* --- samples of keys (inspect_sample.c) --- */

/* Keys, copied. Zero it to start. */
struct key_list {
    struct buf bytes;
    struct listed_key {
        uint64_t offset; /* in bytes */
        uint32_t size;
        uint32_t unit; /* of its run, when it is of one */
    } * keys;
    size_t count, capacity;
};
plsm_status key_list_add(struct key_list *list, plsm_slice key, uint32_t unit);
static inline plsm_slice key_list_at(const struct key_list *list, size_t which)
{
    return slice(list->bytes.data + list->keys[which].offset, list->keys[which].size);
}
void key_list_shuffle(struct key_list *list, struct random *random);
void key_list_free(struct key_list *list);

/* Adds about `count` keys of a run, drawn from random pages, with the unit on which each begins; deletions are left
 * out. A damaged page is counted in *damaged, and left out. PLSM_IO, PLSM_NO_MEMORY. */
plsm_status sample_run(struct lsm *db, struct run *run, uint64_t count, struct random *random, struct key_list *out,
                       uint64_t *damaged);
/* Adds about `count` keys of the memtables and runs of a view, from each as many as is its part of all entries, in
 * random order. A run that is damaged is counted like a page. */
plsm_status sample_view(struct lsm *db, const struct view *view, uint64_t count, struct random *random,
                        struct key_list *out, uint64_t *damaged);
/* Makes a key that looks like `key` and is another one: one byte, not the first, becomes that of `like` in the same
 * place, or a neighbouring one. PLSM_NO_MEMORY. */
plsm_status make_similar(struct random *random, plsm_slice key, plsm_slice like, struct buf *out);

/* --- counters around lookups --- */

/* The calling thread's, by their present values; so that a difference tells what its own lookups did. */
struct counted {
    uint64_t values[COUNTERS];
};
static inline void count_from(struct lsm *db, struct counted *out)
{
    const struct counter_stripe *mine = counters_mine(&db->counters);
    for (unsigned i = 0; i < COUNTERS; i++)
        out->values[i] = atomic_load_explicit(&mine->values[i], memory_order_relaxed);
}
static inline uint64_t count_since(struct lsm *db, const struct counted *before, unsigned which)
{
    const struct counter_stripe *mine = counters_mine(&db->counters);
    return atomic_load_explicit(&mine->values[which], memory_order_relaxed) - before->values[which];
}

#endif
