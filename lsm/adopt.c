/* Entering runs into the table over young runs that were not entered when they were written: those that a store had
 * when it was opened, those that were on its last level until there was a deeper one, and those for which there was no
 * room and is now. A run's keys are read once for that. It is worth it only where many lookups come: a run is adopted
 * once there were as many lookups as it has keys, not counting those that earlier adoptions were paid with. Until then
 * its own filter serves. */
#include "lsm/db.h"

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/error.h"
#include "lsm/cursor.h"
#include "base/banned.h"

enum { STOP_CHECK_ENTRIES = 1 << 14 };

/* The next run to be adopted, with a reference; NULL: there is none that may find room. Under edit_lock. */
static struct run *find_candidate(const struct version *version, uint64_t room)
{
    for (unsigned level = 0; level == 0 || level < version->last; level++)
        for (size_t i = 0; i < version->levels[level].count; i++) {
            struct run *run = version->levels[level].runs[i];
            if (run->young_place == YOUNG_PLACE_NONE && run->young_need <= room &&
                version_is_young(version, level, run)) {
                run_ref(run);
                return run;
            }
        }
    return NULL;
}

/* Whether the table is better than what the run has. An exact set nearly without gaps is better than the table: it is
 * tiny, and asked in a few steps. One with gaps costs every lookup more than the probe of the table, which is made
 * anyway, and level for level again. A ribbon was asked for by who wants things small. A partitioned filter, or one
 * with a template, was made when the run was on the last level, where those are worth their time. */
static plsm_status belongs_in_table(struct run *run, bool *out)
{
    struct run_body *body = NULL;
    struct run_membership *own = NULL;
    *out = false;
    TRY(run_open(run, &body));
    if (body->footer.blocks[RUN_FILTER].size == 0)
        return PLSM_OK;
    if (body->footer.membership.size > 0) {
        TRY(run_membership(run, body, &own));
        enum membership_kind kind = own->membership.kind;
        uint64_t gapless_bytes = body->footer.blocks[RUN_FILTER].size / EXACT_GAPLESS_PART;
        bool gapless = kind == MEMBERSHIP_EXACT && body->footer.membership.size <= gapless_bytes;
        *out = kind != MEMBERSHIP_RIBBON && !gapless;
        return PLSM_OK;
    }
    *out = true;
    return PLSM_OK;
}

static plsm_status add_hashes(struct buf *hashes, plsm_slice before, plsm_slice key)
{
    TRY(buf_append_u64(hashes, key_hash(key.data, key.size)));
    if (*(const uint8_t *)key.data != LSM_DIRECTORY_BYTE)
        return PLSM_OK;
    return membership_directory_hashes(key, slice_common(before, key), MEMBERSHIP_DIRECTORY_SALT, hashes);
}

/* The hashes that were entered into the run's filter. */
static plsm_status gather(struct lsm *db, struct run *run, struct buf *hashes)
{
    struct cursor_options options = {.seq = SEQ_MAX, .no_value = true, .bulk = true, .training = true};
    struct cursor cursor = {0};
    struct buf before = {0};
    uint64_t entries = 0;
    plsm_status status = cursor_open_runs(&cursor, &run, 1, &options);
    if (status == PLSM_OK)
        cursor_first(&cursor);
    for (; status == PLSM_OK && cursor.valid; cursor_next(&cursor)) {
        plsm_slice key = cursor.entry.key;
        status = add_hashes(hashes, buf_slice(&before), key);
        before.size = 0;
        if (status == PLSM_OK)
            status = buf_append(&before, key.data, key.size);
        if (++entries % STOP_CHECK_ENTRIES == 0 && status == PLSM_OK) {
            mutex_lock(&db->lock);
            status = db->closing ? PLSM_READ_ONLY : PLSM_OK;
            mutex_unlock(&db->lock);
        }
    }
    if (status == PLSM_OK)
        status = cursor.status;
    cursor_close(&cursor);
    buf_free(&before);
    return status;
}

static void adopt(struct lsm *db, struct run *run, uint64_t expected)
{
    struct buf hashes = {0};
    uint8_t place = YOUNG_PLACE_NONE;
    struct mem_account *before = budget_enter(&db->budget, BUDGET_COMPACTION);
    plsm_status status = gather(db, run, &hashes);
    uint64_t count = hashes.size / sizeof(uint64_t);
    if (status == PLSM_OK)
        place = young_runs_enter(db->young, (const uint64_t *)(const void *)hashes.data, count, expected);
    buf_free(&hashes);
    budget_leave(before);
    mutex_lock(&db->edit_lock);
    run->young_place = place;      /* should the run be gone by now, it gives the place back when it goes */
    if (place == YOUNG_PLACE_NONE) /* twice, so that it ends, whatever it was that the room was too small for */
        run->young_need = status == PLSM_OK ? 2 * count : UINT64_MAX;
    mutex_unlock(&db->edit_lock);
    struct run_body *body = atomic_load(&run->body);
    if (place != YOUNG_PLACE_NONE && version_renew(db, false) == PLSM_OK && body)
        run_membership_retire(run, body); /* those who still see an older version load it again */
}

bool fit_young(struct lsm *db)
{
    if (!db->young)
        return false;
    mutex_lock(&db->lock);
    uint64_t expected = db->version->young_keys;
    mutex_unlock(&db->lock);
    return young_runs_fit(db->young, expected, env_now_ns(db->env));
}

enum adoption adopt_pending(struct lsm *db)
{
    bool belongs = false;
    if (!db->young)
        return ADOPTION_NONE;
    epoch_reclaim(db->epoch); /* a table that fit_young put another in the place of when it was here last */
    bool again = fit_young(db);
    uint64_t room = young_runs_room(db->young);
    mutex_lock(&db->edit_lock);
    struct run *run = find_candidate(db->version, room);
    uint64_t expected = db->version->young_keys;
    mutex_unlock(&db->edit_lock);
    if (!run)
        return again ? ADOPTION_LATER : ADOPTION_NONE;
    enum adoption outcome = ADOPTION_DONE;
    uint64_t lookups = counter_read(&db->counters, COUNT_GETS);
    if (lookups < db->adopted_keys) /* the statistics were reset */
        db->adopted_keys = 0;
    if (lookups < db->adopted_keys + run->facts.entries) {
        outcome = lookups != db->adopt_lookups ? ADOPTION_SOON : ADOPTION_LATER;
        db->adopt_lookups = lookups;
    } else if (belongs_in_table(run, &belongs) == PLSM_OK && belongs) {
        db->adopted_keys += run->facts.entries;
        adopt(db, run, expected); /* if that fails its filter serves on */
    } else {
        mutex_lock(&db->edit_lock);
        run->young_need = UINT64_MAX;
        mutex_unlock(&db->edit_lock);
    }
    run_unref(run);
    epoch_reclaim(db->epoch);
    return outcome;
}

void adopt_while_open(void *arg)
{
    struct lsm *db = arg;
    enum adoption outcome = ADOPTION_DONE;
    mutex_lock(&db->lock);
    while (!db->closing && outcome != ADOPTION_NONE) {
        mutex_unlock(&db->lock);
        outcome = adopt_pending(db);
        mutex_lock(&db->lock);
        if ((outcome == ADOPTION_SOON || outcome == ADOPTION_LATER) && !db->closing)
            condition_wait_ns(&db->work, &db->lock, outcome == ADOPTION_SOON ? ADOPT_SOON_NS : ADOPT_LATER_NS);
    }
    mutex_unlock(&db->lock);
}
