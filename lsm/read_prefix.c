/* Whether a key begins with a prefix: memtables, then what filters know of directories, then a scan. */
#include "lsm/read.h"

#include "base/checksum.h"
#include "base/error.h"
#include "base/banned.h"

/* Whether the runs of a level leave it open that a key begins with `prefix`, whose salted hash was sought among the
 * young ones. */
static plsm_status level_may_have_directory(const struct level *level, plsm_slice prefix, uint64_t hash,
                                            const struct young_places *found, bool *out)
{
    plsm_status status = PLSM_OK;
    for (size_t i = 0; i < level->count && !*out && status == PLSM_OK; i++) {
        struct run *run = level->runs[i];
        bool below = slice_compare(run->facts.largest, prefix) < 0;
        bool above = slice_compare(run->facts.smallest, prefix) > 0 && !slice_starts_with(run->facts.smallest, prefix);
        if (below || above)
            continue;
        if (level->places[i] != YOUNG_PLACE_NONE)
            *out = young_places_has(found, level->places[i]);
        else
            status = run_may_have_directory(run, prefix, hash, out);
    }
    return status;
}

/* Whether memtables or filters leave it open that a key begins with `prefix`, which ends in '/'. */
static plsm_status may_have_directory(struct lsm *db, plsm_slice prefix, bool *out)
{
    plsm_status status = PLSM_OK;
    uint64_t hash = key_hash(prefix.data, prefix.size);
    struct young_places found = {0};
    struct view *view = view_acquire(db);
    const struct version *version = view->version;
    *out = false;
    for (unsigned i = 0; i < view->table_count && !*out && status == PLSM_OK; i++) {
        struct memtable_iterator it;
        memtable_iterator_init(&it, view->tables[i]);
        memtable_iterator_seek(&it, prefix);
        *out = memtable_iterator_valid(&it) && slice_starts_with(memtable_iterator_key(&it), prefix);
        if (it.failed)
            status = fail(PLSM_NO_MEMORY, "no memory for an iterator");
        memtable_iterator_destroy(&it);
    }
    if (version->young) {
        epoch_enter(db->epoch);
        young_runs_find(version->young, &version->in_table, hash ^ MEMBERSHIP_DIRECTORY_SALT, &found);
        epoch_exit(db->epoch);
    }
    for (unsigned level = 0; level < LSM_LEVELS && !*out && status == PLSM_OK; level++)
        status = level_may_have_directory(&version->levels[level], prefix, hash, &found, out);
    view_release(view);
    return status;
}

plsm_status lsm_has_prefix(struct lsm *db, const struct lsm_snapshot *snapshot, plsm_slice prefix, bool *out)
{
    struct lsm_iterator *it = NULL;
    const uint8_t *bytes = prefix.data;
    *out = false;
    if (prefix.size > 0 && bytes[0] == LSM_DIRECTORY_BYTE && bytes[prefix.size - 1] == '/') {
        bool maybe = true;
        TRY(may_have_directory(db, prefix, &maybe));
        if (!maybe)
            return PLSM_OK;
    }
    TRY(lsm_iterator_create(db, snapshot, prefix, (plsm_slice){0}, &it));
    lsm_iterator_seek(it, prefix);
    plsm_status status = lsm_iterator_status(it);
    if (lsm_iterator_valid(it))
        *out = slice_starts_with(lsm_iterator_entry(it)->key, prefix);
    lsm_iterator_destroy(it);
    return status;
}
