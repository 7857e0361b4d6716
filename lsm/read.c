/* Point lookups: memtables, then runs from the newest level down. */
#include "lsm/db.h"

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/error.h"
#include "base/banned.h"

void lsm_value_free(struct lsm_value *value)
{
    mem_free(value->memory);
    *value = (struct lsm_value){0};
}

/* Copies what was found into the caller's value. */
static plsm_status copy_out(const struct entry *entry, bool no_value, struct lsm_value *out)
{
    size_t meta_size = entry->meta.size;
    size_t value_size = no_value && entry->kind == BATCH_PUT ? 0 : entry->value.size;
    if (meta_size + value_size > out->capacity) {
        size_t capacity = meta_size + value_size + 64;
        uint8_t *memory = mem_realloc(out->memory, capacity);
        if (!memory)
            return fail(PLSM_NO_MEMORY, "no memory for a value of %zu bytes", value_size);
        out->memory = memory;
        out->capacity = capacity;
    }
    uint8_t *memory = out->memory;
    if (value_size)
        memcpy(memory, entry->value.data, value_size);
    if (meta_size)
        memcpy(memory + value_size, entry->meta.data, meta_size);
    out->value = slice(memory, value_size);
    out->meta = slice(memory + value_size, meta_size);
    out->value_size = entry->value.size;
    out->kind = entry->kind;
    return PLSM_OK;
}

enum { CANDIDATES_MAX = 32 };

/* The runs whose key range encloses a key, newest first; all of their filters are fetched into the cache at once, so
 * that several runs cost about as long as one. */
struct candidates {
    struct candidate {
        struct run *run;
        unsigned level;
    } list[CANDIDATES_MAX];
    unsigned count;
};

/* The run of an ordered level that may hold the key; NULL when there is none. */
static struct run *run_of_level(const struct level *level, plsm_slice key, uint64_t head)
{
    size_t at = runs_reaching(level->runs, level->count, key, head);
    return at < level->count && run_encloses(level->runs[at], key, head) ? level->runs[at] : NULL;
}

static void add_candidate(struct candidates *c, struct run *run, unsigned level, uint64_t hash)
{
    const struct run_body *body = atomic_load_explicit(&run->body, memory_order_acquire);
    if (body && body->has_filter)
        filter_prefetch(&body->filter, hash);
    c->list[c->count++] = (struct candidate){run, level};
}

static plsm_status get_from_candidates(struct lsm *db, const struct candidates *c, plsm_slice key, uint64_t hash,
                                       uint64_t seq, bool no_value, struct page_hold *hold, struct entry *entry)
{
    unsigned asked = 0, first_level = 0;
    for (unsigned i = 0; i < c->count; i++) {
        bool probed = false;
        plsm_status status = run_get(c->list[i].run, key, hash, seq, no_value, hold, entry, &probed);
        if (probed && asked++ == 0)
            first_level = c->list[i].level;
        if (status == PLSM_NOT_FOUND)
            continue;
        if (status == PLSM_OK && asked == 1)
            counter_add(&db->counters, COUNT_FILE_RIGHT, 1);
        if (status == PLSM_OK && first_level == c->list[i].level)
            counter_add(&db->counters, COUNT_LEVEL_RIGHT, 1);
        return status;
    }
    return PLSM_NOT_FOUND;
}

static plsm_status get_from_runs(struct lsm *db, const struct version *version, plsm_slice key, uint64_t seq,
                                 bool no_value, struct page_hold *hold, struct entry *entry)
{
    struct candidates c;
    c.count = 0; /* the rest need not be zeroed */
    uint64_t hash = key_hash(key.data, key.size), head = key_head(key);
    const struct level *young = &version->levels[0];
    for (size_t i = 0; i < young->count; i++) {
        struct run *run = young->runs[i];
        if (!run_encloses(run, key, head))
            continue;
        if (c.count == CANDIDATES_MAX - LSM_LEVELS) { /* a level 0 this deep: look at these first */
            plsm_status status = get_from_candidates(db, &c, key, hash, seq, no_value, hold, entry);
            if (status != PLSM_NOT_FOUND)
                return status;
            c.count = 0;
        }
        add_candidate(&c, run, 0, hash);
    }
    for (unsigned level = 1; level < LSM_LEVELS; level++) {
        struct run *run = version->levels[level].count ? run_of_level(&version->levels[level], key, head) : NULL;
        if (run)
            add_candidate(&c, run, level, hash);
    }
    return get_from_candidates(db, &c, key, hash, seq, no_value, hold, entry);
}

plsm_status lsm_get(struct lsm *db, const struct lsm_snapshot *snapshot, plsm_slice key, bool no_value,
                    struct lsm_value *out)
{
    struct page_hold hold;
    struct entry entry;
    plsm_status status = PLSM_NOT_FOUND;
    INVARIANT(db->magic == LSM_STRUCT_MAGIC);
    hold.heap = NULL;
    epoch_enter(db->epoch);
    /* The view before the sequence number: see db.h. */
    const struct view *view = atomic_load_explicit(&db->view, memory_order_acquire);
    uint64_t seq = snapshot ? snapshot->seq : atomic_load_explicit(&db->seq, memory_order_acquire);
    for (unsigned i = 0; i < view->table_count && status == PLSM_NOT_FOUND; i++)
        if (memtable_get(view->tables[i], key, seq, &entry))
            status = PLSM_OK;
    if (status == PLSM_NOT_FOUND)
        status = get_from_runs(db, view->version, key, seq, no_value, &hold, &entry);
    if (status == PLSM_OK)
        status = entry.kind == BATCH_DELETE ? PLSM_NOT_FOUND : copy_out(&entry, no_value, out);
    page_hold_release(&hold);
    epoch_exit(db->epoch);
    counter_add(&db->counters, COUNT_GETS, 1);
    if (status == PLSM_OK)
        counter_add(&db->counters, COUNT_GETS_FOUND, 1);
    return status;
}

/* Whether memtables or filters leave it open that a key begins with `prefix`, which ends in '/'. */
static plsm_status may_have_directory(struct lsm *db, plsm_slice prefix, bool *out)
{
    plsm_status status = PLSM_OK;
    uint64_t hash = key_hash(prefix.data, prefix.size);
    struct view *view = view_acquire(db);
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
    for (unsigned level = 0; level < LSM_LEVELS; level++)
        for (size_t i = 0; i < view->version->levels[level].count && !*out && status == PLSM_OK; i++) {
            struct run *run = view->version->levels[level].runs[i];
            bool below = slice_compare(run->facts.largest, prefix) < 0;
            bool above =
                slice_compare(run->facts.smallest, prefix) > 0 && !slice_starts_with(run->facts.smallest, prefix);
            if (!below && !above)
                status = run_may_have_directory(run, hash, out);
        }
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
