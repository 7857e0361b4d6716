/* What lookups of one key and of many share. */
#ifndef LSM_READ_H
#define LSM_READ_H

#include "lsm/db.h"
#include "lsm/separated.h"

/* Copies what was found in `view` under `key` into the caller's value; one that stands in a value log is read.
 * PLSM_NO_MEMORY, and as value_read. */
plsm_status read_copy_out(const struct view *view, plsm_slice key, const struct entry *entry, bool no_value,
                          struct lsm_value *out);
/* The same for an entry whose value stands in a value log, without reading it: fills all of *out but its value, and
 * says what is to be read: into out->memory. */
plsm_status read_start_value(const struct view *view, plsm_slice key, const struct entry *entry,
                             struct lsm_value *out, struct value_read *read);
/* Which run of an ordered level may hold the key, whose key_head is `head`; level->count when there is none. */
size_t read_run_of_level(const struct level *level, const struct run_question *q, uint64_t head);

/* The runs whose bounds enclose a key, newest first, one by one: what a lookup would go through that asked nothing
 * learned and no filter. Start with the key, its key_head and the rest zero. */
struct enclosing_runs {
    plsm_slice key;
    uint64_t head;
    unsigned level;
    size_t at; /* of level 0: how many were looked at */
};
struct run *enclosing_runs_next(struct enclosing_runs *e, const struct version *version); /* NULL: no more */

/* The newest run whose range tombstones cover a key for a reader at `seq`. */
struct range_cover {
    struct run *run; /* NULL: none does */
    uint64_t seq;    /* of its newest such tombstone */
};
/* Looks for it; only where version->ranged is not 0. Errors as run_open. */
plsm_status read_range_cover(const struct version *version, plsm_slice key, uint64_t seq, struct range_cover *out);
/* After `run` was asked with that status: whether the search ends here. Versions in runs behind the covering one are
 * hidden, and in this one those with lower numbers: then *status becomes PLSM_NOT_FOUND. */
static inline bool read_ends_at_cover(const struct range_cover *cover, const struct run *run, plsm_status *status,
                                      const struct entry *entry)
{
    if (run == cover->run && *status == PLSM_OK && entry->seq < cover->seq)
        *status = PLSM_NOT_FOUND;
    return *status != PLSM_NOT_FOUND || run == cover->run;
}
/* The whole lookup in runs of a key that some range tombstone covers, one run after the other down to that one.
 * *covered false: none does, and the lookup goes its usual way. Inside an epoch bracket. */
plsm_status read_covered(const struct version *version, const struct run_question *q, struct page_hold *hold,
                         struct entry *entry, bool *covered);

/* Whether what was found is no value, but a deletion, or an entry whose time has come. The clock is looked at here,
 * when something that expires was found; after the view was, so what that one has lost had expired too. */
static inline bool read_is_gone(struct lsm *db, struct run_question *q, const struct entry *entry)
{
    if (entry->kind == BATCH_DELETE)
        return true;
    if (__builtin_expect(entry->expires_s == 0, 1))
        return false;
    if (q->now_s == 0)
        q->now_s = db_now_s(db);
    return entry_expired(entry, q->now_s);
}

/* Whether nearly all keys that this thread asked for of late were on the last level, `run` being the one there that may
 * have the next. Then its page is worth a look before its filter is, where it is in memory. */
bool read_expects_last(const struct run *run);
/* A run was looked into without asking its filter. */
static inline void read_count_unfiltered(const struct run_question *q, plsm_status status)
{
    stripe_add(q->counts, COUNT_UNFILTERED, 1);
    if (status == PLSM_OK)
        stripe_add(q->counts, COUNT_UNFILTERED_FOUND, 1);
}
/* A key was found on the last level, above it, or not at all. */
void read_note_found(bool last, bool young);

/* Whether the table over young runs can know a key with this head. */
static inline bool read_wants_young(const struct version *version, uint64_t head)
{
    return version->young && head >= version->young_head_min && head <= version->young_head_max;
}
/* Brings what that table says of a key towards the processor's cache. */
static inline void read_fetch_young(const struct version *version, const struct run_question *q)
{
    if (read_wants_young(version, key_head(q->key)))
        young_runs_prefetch(version->young, &version->in_table, q->hash);
}
/* Asks the table over young runs which of them may hold the key, whose key_head is `head`. */
static inline void read_ask_young(const struct version *version, const struct run_question *q, uint64_t head,
                                  struct young_places *found)
{
    if (!read_wants_young(version, head)) {
        *found = (struct young_places){0};
        return;
    }
    stripe_add(q->counts, COUNT_FILTER_PROBES, 1);
    stripe_add(q->counts, COUNT_YOUNG_PROBES, 1);
    young_runs_find(version->young, &version->in_table, q->hash, found);
}
/* Whether a run is to be looked at: one that is in the table only if that says so. */
static inline bool read_place_says_maybe(const struct young_places *found, uint8_t place)
{
    return place == YOUNG_PLACE_NONE || young_places_has(found, place);
}

/* Whether this lookup is one of the `ppm` per million that are to be done again. */
bool validation_due(uint32_t ppm);
/* Does the lookup again the traditional way, in the same version, and compares. `answered` and `out` are the answer so
 * far, copied out; where it differs that is counted, and the traditional one takes its place. Inside an epoch bracket.
 */
plsm_status validate(struct lsm *db, const struct view *view, const struct run_question *question,
                     plsm_status answered, struct lsm_value *out);

/* A key was in no run: some are kept as samples. */
static inline void read_note_miss(struct lsm *db, plsm_slice key)
{
    if (db->samples && samples_want_miss(db->samples))
        samples_miss(db->samples, key);
}

#endif
