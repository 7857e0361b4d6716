/* Point lookups: memtables, then runs from the newest level down. */
#include "lsm/read.h"

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/error.h"
#include "base/banned.h"

void lsm_value_free(struct lsm_value *value)
{
    mem_free(value->memory);
    *value = (struct lsm_value){0};
}

static inline plsm_status reserve(struct lsm_value *out, size_t size)
{
    if (size <= out->capacity)
        return PLSM_OK;
    size_t capacity = size + 64;
    uint8_t *memory = mem_realloc(out->memory, capacity);
    if (!memory)
        return fail(PLSM_NO_MEMORY, "no memory for a value of %zu bytes", size);
    out->memory = memory;
    out->capacity = capacity;
    return PLSM_OK;
}

plsm_status read_start_value(const struct version *version, plsm_slice key, const struct entry *entry,
                             struct lsm_value *out, struct value_read *read)
{
    size_t size = 0, meta_size = entry->meta.size;
    TRY(separated_find(version, key, entry, read, &size));
    TRY(reserve(out, size + meta_size));
    uint8_t *memory = out->memory;
    if (meta_size)
        memcpy(memory + size, entry->meta.data, meta_size);
    out->meta = slice(memory + size, meta_size);
    out->value_size = read->pointer.size;
    out->kind = entry->kind;
    out->expires_s = entry->expires_s;
    read->record = memory;
    return PLSM_OK;
}

static plsm_status copy_separated(const struct version *version, plsm_slice key, const struct entry *entry,
                                  bool no_value, struct lsm_value *out)
{
    struct value_read read;
    struct entry whole = *entry;
    if (no_value) {
        TRY(separated_resolve(version, &whole, true, SIM_POINT, NULL));
        return read_copy_out(version, key, &whole, true, out);
    }
    TRY(read_start_value(version, key, entry, out, &read));
    separated_charge(&read, 1, SIM_POINT);
    return value_read(&read, &out->value);
}

plsm_status read_copy_out(const struct version *version, plsm_slice key, const struct entry *entry, bool no_value,
                          struct lsm_value *out)
{
    size_t meta_size = entry->meta.size;
    size_t value_size = no_value && entry->kind == BATCH_PUT ? 0 : entry->value.size;
    if (__builtin_expect(entry->separated, 0))
        return copy_separated(version, key, entry, no_value, out);
    TRY(reserve(out, meta_size + value_size));
    uint8_t *memory = out->memory;
    if (value_size)
        memcpy(memory, entry->value.data, value_size);
    if (meta_size)
        memcpy(memory + value_size, entry->meta.data, meta_size);
    out->value = slice(memory, value_size);
    out->meta = slice(memory + value_size, meta_size);
    out->value_size = entry->value.size;
    out->kind = entry->kind;
    out->expires_s = entry->expires_s;
    return PLSM_OK;
}

/* --- from the runs ------------------------------------------------------------------------------------------------ */

enum { CANDIDATES_MAX = 32 };

/* The runs that may have a key, newest first. What all of them will read first is fetched into the cache at once, so
 * that several runs cost about as long as one. */
struct candidates {
    struct run_search list[CANDIDATES_MAX];
    uint8_t levels[CANDIDATES_MAX];
    unsigned count;
    struct run_search last; /* on the last level, behind those of the list */
    bool last_started, has_last, last_located;
    unsigned asked, first; /* runs that were looked into, and the level of the first */
};

/* Where the last eight keys that this thread asked for were found, a bit for each, and how many bits are set. It
 * decides what is done first: guesses that only cost time when they are wrong. */
struct recently {
    uint8_t bits, count;
};
static _Thread_local struct recently recently_last = {0xff, 8}, recently_young; /* on the last level; above it */

static inline void note(struct recently *recently, bool found)
{
    recently->count = (uint8_t)(recently->count + found - (recently->bits >> 7));
    recently->bits = (uint8_t)(recently->bits << 1 | found);
}

static inline bool mostly(struct recently recently)
{
    return recently.count >= 4;
}

bool read_expects_last(const struct run *run)
{
    /* Where I/O is simulated, what is in memory is not what would be. */
    return run->context->index == LSM_LEARNED && recently_last.count >= 6 && !run->context->simulated;
}

void read_note_found(bool last, bool young)
{
    note(&recently_last, last);
    note(&recently_young, young);
}

size_t read_run_of_level(const struct level *level, const struct run_question *q, uint64_t head)
{
    size_t at = 0;
    if (level->router) {
        at = router_find(level->router, q->key);
        if (__builtin_expect(at < level->count && run_ends_before(level->runs[at], q->key, head), 0)) {
            stripe_add(q->counts, COUNT_ROUTER_WRONG, 1);
            while (++at < level->count && run_ends_before(level->runs[at], q->key, head))
                continue;
        }
    } else {
        at = runs_reaching(level->runs, level->count, q->key, head);
    }
    return at < level->count && run_encloses(level->runs[at], q->key, head) ? at : level->count;
}

struct run *enclosing_runs_next(struct enclosing_runs *e, const struct version *version)
{
    const struct level *l = &version->levels[0];
    for (; e->level == 0 && e->at < l->count; e->at++)
        if (run_encloses(l->runs[e->at], e->key, e->head))
            return l->runs[e->at++];
    while (++e->level < LSM_LEVELS) {
        l = &version->levels[e->level];
        size_t at = runs_reaching(l->runs, l->count, e->key, e->head);
        if (at < l->count && run_encloses(l->runs[at], e->key, e->head))
            return l->runs[at];
    }
    return NULL;
}

static plsm_status start_search(struct run_search *s, struct run *run, bool asked, const struct run_question *q)
{
    if (!run_search_init(s, run, asked))
        TRY(run_search_load(s, asked));
    if (!asked)
        run_search_prefetch_filter(s, q);
    return PLSM_OK;
}

/* Looks at the page that a search has settled on. */
static plsm_status look(struct candidates *c, struct run_search *s, unsigned level, const struct run_question *q,
                        struct page_hold *hold, struct entry *entry)
{
    if (c->asked++ == 0)
        c->first = level;
    plsm_status status = run_search_find(s, q, hold, entry);
    if (__builtin_expect(q->trace != NULL, 0))
        simulated_note(q->trace, s->run, s->version_unit, status);
    if (status == PLSM_OK && c->asked > 1) {
        stripe_add(q->counts, COUNT_FILE_WRONG, 1);
        if (c->first != level)
            stripe_add(q->counts, COUNT_LEVEL_WRONG, 1);
    }
    return status;
}

static plsm_status get_from_run(struct candidates *c, struct run_search *s, unsigned level,
                                const struct run_question *q, struct page_hold *hold, struct entry *entry)
{
    if (s->membership && !run_search_may_contain(s, q))
        return PLSM_NOT_FOUND;
    TRY(run_search_locate(s, q));
    return look(c, s, level, q, hold, entry);
}

/* When keys were mostly there, the page is predicted, and fetched, before the filter is asked; when nearly all were,
 * the page is looked at without it, provided that it is in memory. */
static plsm_status start_last_level(struct candidates *c, const struct version *version, const struct run_question *q,
                                    uint64_t head)
{
    const struct level *level = &version->levels[version->last];
    size_t at = version->last > 0 ? read_run_of_level(level, q, head) : level->count;
    c->last_started = true;
    c->last_located = false;
    c->has_last = at < level->count;
    if (!c->has_last)
        return PLSM_OK;
    if (read_expects_last(level->runs[at])) {
        if (!run_search_init(&c->last, level->runs[at], false))
            TRY(run_search_load(&c->last, false));
        c->last_located = true;
        return run_search_locate(&c->last, q);
    }
    TRY(start_search(&c->last, level->runs[at], false, q));
    if (mostly(recently_last))
        run_search_begin(&c->last, q);
    return PLSM_OK;
}

static plsm_status get_from_list(struct candidates *c, const struct run_question *q, struct page_hold *hold,
                                 struct entry *entry)
{
    plsm_status status = PLSM_NOT_FOUND;
    for (unsigned i = 0; i < c->count && status == PLSM_NOT_FOUND; i++)
        status = get_from_run(c, &c->list[i], c->levels[i], q, hold, entry);
    c->count = 0;
    return status;
}

static plsm_status get_from_last_level(struct candidates *c, const struct version *version,
                                       const struct run_question *q, uint64_t head, struct page_hold *hold,
                                       struct entry *entry)
{
    if (!c->last_started)
        TRY(start_last_level(c, version, q, head));
    if (!c->has_last)
        return PLSM_NOT_FOUND;
    if (!c->last_located)
        return get_from_run(c, &c->last, version->last, q, hold, entry);
    if (!run_search_fetch_page(&c->last)) { /* a page that would have to be read is worth asking the filter first */
        run_search_prefetch_filter(&c->last, q);
        return run_search_may_contain(&c->last, q) ? look(c, &c->last, version->last, q, hold, entry) : PLSM_NOT_FOUND;
    }
    plsm_status status = look(c, &c->last, version->last, q, hold, entry);
    read_count_unfiltered(q, status);
    return status;
}

static plsm_status add_candidate(struct candidates *c, const struct level *level, size_t at, unsigned number,
                                 const struct run_question *q)
{
    TRY(start_search(&c->list[c->count], level->runs[at], level->places[at] != YOUNG_PLACE_NONE, q));
    c->levels[c->count++] = (uint8_t)number;
    return PLSM_OK;
}

/* Runs of a level above the last that may have the key: by the table where they have a place in it. */
static plsm_status add_level(struct candidates *c, const struct version *version, unsigned number,
                             const struct young_places *found, const struct run_question *q, uint64_t head)
{
    const struct level *level = &version->levels[number];
    if (level->count == 0 || (level->outside == 0 && !young_places_meet(&level->in_table, found)))
        return PLSM_OK;
    size_t at = read_run_of_level(level, q, head);
    if (at < level->count && read_place_says_maybe(found, level->places[at]))
        TRY(add_candidate(c, level, at, number, q));
    return PLSM_OK;
}

static plsm_status get_from_runs(const struct version *version, const struct run_question *q, struct page_hold *hold,
                                 struct entry *entry)
{
    struct candidates c;
    struct young_places found;
    const struct level *young = &version->levels[0];
    uint64_t head = key_head(q->key);
    c.count = c.asked = c.first = 0; /* the rest need not be zeroed */
    c.last_started = false;
    if (!mostly(recently_young)) /* its filter is fetched while the others are sorted out */
        TRY(start_last_level(&c, version, q, head));
    read_ask_young(version, q, head, &found);
    if (c.last_started && c.has_last && c.last_located)
        (void)run_search_fetch_page(&c.last);
    bool in_level0 = young->outside > 0 || young_places_meet(&young->in_table, &found);
    for (size_t i = 0; in_level0 && i < young->count; i++) {
        if (!read_place_says_maybe(&found, young->places[i]) || !run_encloses(young->runs[i], q->key, head))
            continue;
        if (c.count == CANDIDATES_MAX - LSM_LEVELS) { /* a level 0 this deep: look at these first */
            plsm_status status = get_from_list(&c, q, hold, entry);
            if (status != PLSM_NOT_FOUND)
                return status;
        }
        TRY(add_candidate(&c, young, i, 0, q));
    }
    for (unsigned level = 1; level < version->last; level++)
        TRY(add_level(&c, version, level, &found, q, head));
    plsm_status status = get_from_list(&c, q, hold, entry);
    bool young_answered = status != PLSM_NOT_FOUND;
    if (!young_answered)
        status = get_from_last_level(&c, version, q, head, hold, entry);
    read_note_found(!young_answered && status == PLSM_OK, young_answered);
    return status;
}

/* --- under range tombstones --------------------------------------------------------------------------------------- */

static plsm_status ask_ranges(struct run *run, plsm_slice key, uint64_t seq, struct range_cover *out)
{
    struct run_body *body = NULL;
    TRY(run_open(run, &body));
    uint64_t newest = tombstones_covering(body->ranges, key, seq);
    if (newest)
        *out = (struct range_cover){.run = run, .seq = newest};
    return PLSM_OK;
}

plsm_status read_range_cover(const struct version *version, plsm_slice key, uint64_t seq, struct range_cover *out)
{
    uint64_t head = key_head(key);
    *out = (struct range_cover){0};
    for (unsigned level = 0; level < LSM_LEVELS && !out->run; level++) {
        const struct level *l = &version->levels[level];
        if (l->ranged == 0)
            continue;
        size_t first = level == 0 ? 0 : runs_reaching(l->runs, l->count, key, head);
        size_t behind = level == 0 || first == l->count ? l->count : first + 1;
        for (size_t i = first; i < behind && !out->run; i++)
            if (l->runs[i]->facts.ranges > 0 && run_encloses(l->runs[i], key, head))
                TRY(ask_ranges(l->runs[i], key, seq, out));
    }
    return PLSM_OK;
}

plsm_status read_covered(const struct version *version, const struct run_question *q, struct page_hold *hold,
                         struct entry *entry, bool *covered)
{
    struct enclosing_runs e = {.key = q->key, .head = key_head(q->key)};
    struct range_cover cover;
    plsm_status status = read_range_cover(version, q->key, q->seq, &cover);
    *covered = cover.run || status != PLSM_OK;
    if (status != PLSM_OK || !cover.run)
        return status;
    for (bool ended = false; !ended;) {
        struct run_search s;
        struct run *run = enclosing_runs_next(&e, version); /* the covering one is among them */
        TRY(start_search(&s, run, false, q));
        status = run_search_may_contain(&s, q) ? run_search_locate(&s, q) : PLSM_NOT_FOUND;
        if (status == PLSM_OK)
            status = run_search_find(&s, q, hold, entry);
        ended = read_ends_at_cover(&cover, run, &status, entry);
        if (q->trace)
            simulated_note(q->trace, run, s.version_unit, ended ? PLSM_OK : status);
    }
    return status;
}

static plsm_status get_under_ranges(const struct version *version, const struct run_question *q, struct page_hold *hold,
                                    struct entry *entry)
{
    bool covered = false;
    plsm_status status = read_covered(version, q, hold, entry, &covered);
    return covered ? status : get_from_runs(version, q, hold, entry);
}

/* The newest entry of a key that a question may see: in *table, or on hold's page, with *table NULL. Inside an epoch
 * bracket. */
static inline __attribute__((always_inline)) plsm_status find_entry(struct lsm *db, const struct view *view,
                                                                    struct run_question *q, struct page_hold *hold,
                                                                    struct entry *entry, struct memtable **table)
{
    struct simulated_trace trace;
    *table = NULL;
    q->hash = key_hash(q->key.data, q->key.size);
    read_fetch_young(view->version, q); /* while memtables are searched */
    for (unsigned i = 0; i < view->table_count; i++)
        if (memtable_get(view->tables[i], q->key, q->seq, entry)) {
            *table = view->tables[i];
            return PLSM_OK;
        }
    q->trace = simulated_trace_begin(db->context.simulated, &trace);
    plsm_status status = __builtin_expect(view->version->ranged > 0, 0)
                             ? get_under_ranges(view->version, q, hold, entry)
                             : get_from_runs(view->version, q, hold, entry);
    if (__builtin_expect(q->trace != NULL, 0))
        simulated_get(db->context.simulated, view->version, q);
    if (status == PLSM_NOT_FOUND)
        read_note_miss(db, q->key);
    return status;
}

/* Begins a lookup: enters the epoch, and returns the view that is asked. */
static inline __attribute__((always_inline)) const struct view *
begin_get(struct lsm *db, const struct lsm_snapshot *snapshot, struct run_question *q, struct page_hold *hold)
{
    INVARIANT(db->magic == LSM_STRUCT_MAGIC);
    hold->heap = NULL;
    epoch_enter(db->epoch);
    /* The view before the sequence number: see db.h. */
    const struct view *view = atomic_load_explicit(&db->view, memory_order_acquire);
    q->counts = counters_mine(&db->counters);
    q->seq = snapshot ? snapshot->seq : atomic_load_explicit(&db->seq, memory_order_acquire);
    return view;
}

static inline void end_get(struct lsm *db, const struct run_question *q, struct page_hold *hold, plsm_status status)
{
    page_hold_release(hold);
    epoch_exit(db->epoch);
    stripe_add(q->counts, COUNT_GETS, 1);
    if (status == PLSM_OK)
        stripe_add(q->counts, COUNT_GETS_FOUND, 1);
}

plsm_status lsm_get(struct lsm *db, const struct lsm_snapshot *snapshot, plsm_slice key, bool no_value,
                    struct lsm_value *out)
{
    struct page_hold hold;
    struct entry entry;
    struct memtable *table;
    struct run_question q = {.key = key, .no_value = no_value};
    const struct view *view = begin_get(db, snapshot, &q, &hold);
    plsm_status status = find_entry(db, view, &q, &hold, &entry, &table);
    if (status == PLSM_OK)
        status =
            read_is_gone(db, &q, &entry) ? PLSM_NOT_FOUND : read_copy_out(view->version, key, &entry, no_value, out);
    if (__builtin_expect(db->options.validation_ppm > 0, 0) && !table && validation_due(db->options.validation_ppm))
        status = validate(db, view->version, &q, status, out);
    end_get(db, &q, &hold, status);
    return status;
}

plsm_status lsm_get_any(struct lsm *db, const struct lsm_snapshot *snapshot, plsm_slice key, bool no_value,
                        struct lsm_value *out)
{
    struct page_hold hold;
    struct entry entry;
    struct memtable *table;
    struct run_question q = {.key = key, .no_value = no_value};
    const struct view *view = begin_get(db, snapshot, &q, &hold);
    plsm_status status = find_entry(db, view, &q, &hold, &entry, &table);
    if (status == PLSM_OK)
        status = entry.kind == BATCH_DELETE ? PLSM_NOT_FOUND : read_copy_out(view->version, key, &entry, no_value, out);
    end_get(db, &q, &hold, status);
    return status;
}

/* --- pins --------------------------------------------------------------------------------------------------------- */

/* Takes the bytes of an entry out of a page that does not stay. */
static plsm_status pin_copy(const struct entry *entry, struct lsm_pin *pin)
{
    size_t value_size = entry->value.size, meta_size = entry->meta.size;
    uint8_t *memory = mem_alloc(value_size + meta_size);
    if (!memory)
        return fail(PLSM_NO_MEMORY, "no memory for a value of %zu bytes", value_size);
    if (value_size)
        memcpy(memory, entry->value.data, value_size);
    if (meta_size)
        memcpy(memory + value_size, entry->meta.data, meta_size);
    pin->value = slice(memory, value_size);
    pin->meta = slice(memory + value_size, meta_size);
    pin->held = LSM_PIN_COPY;
    pin->holder = memory;
    return PLSM_OK;
}

/* Reads the value that an entry points to. */
static plsm_status pin_separated(const struct version *version, plsm_slice key, const struct entry *entry,
                                 struct lsm_pin *pin)
{
    struct buf buf = {0};
    plsm_slice value = {0};
    plsm_status status = buf_append(&buf, entry->meta.data, entry->meta.size);
    if (status == PLSM_OK)
        status = separated_read(version, key, entry, SIM_POINT, &buf, &value);
    if (status != PLSM_OK) {
        buf_free(&buf);
        return status;
    }
    pin->value = value;
    pin->meta = slice(buf.data, entry->meta.size);
    pin->held = LSM_PIN_COPY;
    pin->holder = buf.data;
    return PLSM_OK;
}

static plsm_status pin_entry(struct lsm *db, const struct version *version, const struct run_question *q,
                             const struct entry *entry, struct memtable *table, struct page_hold *hold,
                             struct lsm_pin *pin)
{
    *pin = (struct lsm_pin){
        .value = entry->value, .meta = entry->meta, .expires_s = entry->expires_s, .kind = entry->kind};
    if (__builtin_expect(entry->separated, 0))
        return pin_separated(version, q->key, entry, pin);
    if (table) {
        memtable_ref(table);
        pin->held = LSM_PIN_MEMTABLE;
        pin->holder = table;
        return PLSM_OK;
    }
    if (hold->page == hold->heap) { /* it is the pin's now */
        pin->held = LSM_PIN_COPY;
        pin->holder = hold->heap;
        hold->heap = NULL;
        return PLSM_OK;
    }
    pin->frame = cache_pin_page(db->cache, hold->page);
    if (!pin->frame)
        return pin_copy(entry, pin);
    pin->held = LSM_PIN_FRAME;
    return PLSM_OK;
}

plsm_status lsm_get_pinned(struct lsm *db, const struct lsm_snapshot *snapshot, plsm_slice key, struct lsm_pin *out)
{
    struct page_hold hold;
    struct entry entry;
    struct memtable *table;
    struct run_question q = {.key = key};
    const struct view *view = begin_get(db, snapshot, &q, &hold);
    *out = (struct lsm_pin){0};
    plsm_status status = find_entry(db, view, &q, &hold, &entry, &table);
    if (status == PLSM_OK)
        status =
            read_is_gone(db, &q, &entry) ? PLSM_NOT_FOUND : pin_entry(db, view->version, &q, &entry, table, &hold, out);
    end_get(db, &q, &hold, status);
    if (status != PLSM_OK)
        *out = (struct lsm_pin){0};
    return status;
}

void lsm_pin_release(struct lsm *db, struct lsm_pin *pin)
{
    if (pin->held == LSM_PIN_MEMTABLE)
        memtable_unref(pin->holder);
    else if (pin->held == LSM_PIN_FRAME)
        cache_unpin(db->cache, pin->frame);
    else
        mem_free(pin->holder);
    *pin = (struct lsm_pin){0};
}

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
    if (version->young)
        young_runs_find(version->young, &version->in_table, hash ^ MEMBERSHIP_DIRECTORY_SALT, &found);
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
