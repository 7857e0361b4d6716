/* Samples of the keys of a tree, and absent keys that look like them. */
#include "lsm/inspect_private.h"

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/error.h"
#include "base/banned.h"

plsm_status key_list_add(struct key_list *list, plsm_slice key, uint32_t unit)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 1024;
        struct listed_key *keys = mem_realloc(list->keys, capacity * sizeof *keys);
        if (!keys)
            return fail(PLSM_NO_MEMORY, "no memory for samples of keys");
        list->keys = keys;
        list->capacity = capacity;
    }
    list->keys[list->count] = (struct listed_key){list->bytes.size, (uint32_t)key.size, unit};
    TRY(buf_append(&list->bytes, key.data, key.size));
    list->count++;
    return PLSM_OK;
}

void key_list_shuffle(struct key_list *list, struct random *random)
{
    for (size_t i = list->count; i > 1; i--) {
        size_t other = random_below(random, i);
        struct listed_key moved = list->keys[other];
        list->keys[other] = list->keys[i - 1];
        list->keys[i - 1] = moved;
    }
}

void key_list_free(struct key_list *list)
{
    buf_free(&list->bytes);
    mem_free(list->keys);
    *list = (struct key_list){0};
}

/* --- of runs ------------------------------------------------------------------------------------------------------ */

/* Adds one key of a page, unless it is deleted, or may have begun on the page before. */
static plsm_status take_key(const struct run *run, const uint8_t *page, uint32_t unit, struct random *random,
                            struct key_list *out)
{
    uint8_t buffer[LSM_KEY_MAX];
    struct entry entry;
    plsm_slice key = run_page_key(page, (unsigned)random_below(random, page_count(page)), buffer);
    if (run->facts.versions && unit > 0 && page_compare(page, 0, key) == 0)
        return PLSM_OK;
    if (page_find(page, key, key_hash(key.data, key.size), 0, &entry) == page_count(page) || entry.kind == BATCH_DELETE)
        return PLSM_OK;
    return key_list_add(out, key, unit);
}

plsm_status sample_run(struct lsm *db, struct run *run, uint64_t count, struct random *random, struct key_list *out,
                       uint64_t *damaged)
{
    struct run_body *body = NULL;
    struct page_hold hold;
    plsm_status status = run_open(run, &body);
    hold.heap = NULL;
    for (uint64_t i = 0; i < count && status == PLSM_OK; i++) {
        uint32_t unit = (uint32_t)random_below(random, run->facts.units);
        epoch_enter(db->epoch);
        status = run_page_uncharged(run, body, unit, true, &hold);
        if (status == PLSM_OK)
            status = take_key(run, hold.page, unit, random, out);
        page_hold_release(&hold);
        epoch_exit(db->epoch);
        if (status == PLSM_CORRUPT) {
            ++*damaged;
            status = PLSM_OK;
        }
    }
    return status;
}

/* --- of everything ------------------------------------------------------------------------------------------------ */

/* Every so many-th key of a memtable, from a random one on. */
static plsm_status sample_memtable(const struct memtable *table, uint64_t count, struct random *random,
                                   struct key_list *out)
{
    uint64_t period = memtable_count(table) / count, at = 0;
    uint64_t next = period > 1 ? random_below(random, period) : 0;
    struct memtable_iterator it;
    plsm_status status = PLSM_OK;
    memtable_iterator_init(&it, table);
    for (memtable_iterator_first(&it); memtable_iterator_valid(&it) && status == PLSM_OK;
         memtable_iterator_next(&it), at++) {
        if (at != next)
            continue;
        next += period > 1 ? period : 1;
        status = key_list_add(out, memtable_iterator_key(&it), 0);
    }
    if (it.failed)
        status = fail(PLSM_NO_MEMORY, "no memory for an iterator");
    memtable_iterator_destroy(&it);
    return status;
}

/* What share of `count` a part of the whole gets, rounded up, so that no part is left out. */
static uint64_t share(uint64_t count, uint64_t part, uint64_t whole)
{
    return whole ? (uint64_t)(((unsigned __int128)count * part + whole - 1) / whole) : 0;
}

plsm_status sample_view(struct lsm *db, const struct view *view, uint64_t count, struct random *random,
                        struct key_list *out, uint64_t *damaged)
{
    uint64_t entries = version_entries(view->version);
    plsm_status status = PLSM_OK;
    for (unsigned i = 0; i < view->table_count; i++)
        entries += memtable_count(view->tables[i]);
    for (unsigned i = 0; i < view->table_count && status == PLSM_OK; i++) {
        uint64_t own = memtable_count(view->tables[i]);
        if (own)
            status = sample_memtable(view->tables[i], share(count, own, entries), random, out);
    }
    for (unsigned level = 0; level < LSM_LEVELS; level++)
        for (size_t i = 0; i < view->version->levels[level].count && status == PLSM_OK; i++) {
            struct run *run = view->version->levels[level].runs[i];
            status = sample_run(db, run, share(count, run->facts.entries, entries), random, out, damaged);
            if (status == PLSM_CORRUPT) { /* a run that cannot be opened has no keys to give */
                ++*damaged;
                status = PLSM_OK;
            }
        }
    if (status == PLSM_OK)
        key_list_shuffle(out, random);
    return status;
}

/* --- absent ones -------------------------------------------------------------------------------------------------- */

plsm_status make_similar(struct random *random, plsm_slice key, plsm_slice like, struct buf *out)
{
    const uint8_t *other = like.data;
    out->size = 0;
    TRY(buf_append(out, key.data, key.size));
    if (key.size < 2)
        return PLSM_OK;
    size_t at = 1 + random_below(random, key.size - 1);
    if (at < like.size && other[at] != out->data[at])
        out->data[at] = other[at];
    else
        out->data[at] += random_below(random, 2) ? 1 : 255;
    return PLSM_OK;
}
