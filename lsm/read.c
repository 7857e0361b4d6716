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

plsm_status read_start_value(const struct view *view, plsm_slice key, const struct entry *entry, struct lsm_value *out,
                             struct value_read *read)
{
    size_t size = 0, meta_size = entry->meta.size;
    TRY(separated_find(separated_log(view, entry), key, entry, read, &size));
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

static plsm_status copy_separated(const struct view *view, plsm_slice key, const struct entry *entry, bool no_value,
                                  struct lsm_value *out)
{
    struct value_read read;
    struct entry whole = *entry;
    if (no_value) {
        TRY(separated_resolve(view, &whole, true, SIM_POINT, NULL));
        return read_copy_out(view, key, &whole, true, out);
    }
    TRY(read_start_value(view, key, entry, out, &read));
    separated_charge(&read, 1, SIM_POINT);
    return value_read(&read, &out->value);
}

plsm_status read_copy_out(const struct view *view, plsm_slice key, const struct entry *entry, bool no_value,
                          struct lsm_value *out)
{
    size_t meta_size = entry->meta.size;
    size_t value_size = no_value && entry->kind == BATCH_PUT ? 0 : entry->value.size;
    if (__builtin_expect(entry->separated, 0))
        return copy_separated(view, key, entry, no_value, out);
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

enum {
    CANDIDATES_MAX = 32,
    EARLY_RUNS = 3, /* of level 0, at most, that are begun before it is known which of them may have the key */
};

/* The runs that may have a key, newest first. What all of them will read first is fetched into the cache at once, so
 * that several runs cost about as long as one. */
struct candidates {
    struct run_search list[CANDIDATES_MAX];
    uint8_t levels[CANDIDATES_MAX];
    unsigned count;
    uint32_t wanted; /* of the list, a bit each: these may have the key */
    uint32_t early; /* likewise: where not 0, all runs of level 0 that enclose the key, begun and at their own places */
    struct run_search last; /* on the last level, behind those of the list */
    bool last_started, has_last;
    bool unfiltered;                 /* it is looked at before its filter is asked */
    bool last_located, last_at_hand; /* its page is known; and in memory */
    unsigned asked, first;           /* runs that were looked into, and the level of the first */
};

/* Of the last eight keys that this thread asked for: a bit for each that something is true of, and how many bits are
 * set. It decides what is done first: guesses that only cost time when they are wrong. */
struct recently {
    uint8_t bits, count;
};
static _Thread_local struct recently recently_young;            /* found above the last level */
static _Thread_local struct recently recently_last = {0xff, 8}; /* of those that were not: found on it */
static _Thread_local struct recently recently_runs = {0xff, 8}; /* asked of runs: no memtable had them */

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
    if (!young)
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
    (void)run_search_fetch_likely(s, q);
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
    c->has_last = at < level->count;
    if (!c->has_last)
        return PLSM_OK;
    c->unfiltered = read_expects_last(level->runs[at]);
    if (!run_search_init(&c->last, level->runs[at], false))
        TRY(run_search_load(&c->last, false));
    if (!c->unfiltered)
        run_search_prefetch_filter(&c->last, q);
    if (c->unfiltered || mostly(recently_last))
        run_search_begin(&c->last, q);
    return PLSM_OK;
}

/* Goes on with what was begun before the young runs were asked. Not while it is open whether the page will be looked
 * at: asking for memory that no page table is at hand for holds a processor up for longer than a miss. */
static plsm_status fetch_last_level(struct candidates *c, const struct run_question *q)
{
    if (!c->last_started || !c->has_last || !c->unfiltered)
        return PLSM_OK;
    TRY(run_search_locate(&c->last, q));
    c->last_located = true;
    c->last_at_hand = run_search_fetch_likely(&c->last, q);
    return PLSM_OK;
}

static plsm_status get_from_list(struct candidates *c, const struct run_question *q, struct page_hold *hold,
                                 struct entry *entry)
{
    plsm_status status = PLSM_NOT_FOUND;
    for (; c->wanted && status == PLSM_NOT_FOUND; c->wanted &= c->wanted - 1) {
        unsigned i = (unsigned)__builtin_ctz(c->wanted);
        status = get_from_run(c, &c->list[i], c->levels[i], q, hold, entry);
    }
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
        TRY(fetch_last_level(c, q));
    if (!c->last_located)
        return get_from_run(c, &c->last, version->last, q, hold, entry);
    if (!c->last_at_hand) { /* a page that would have to be read is worth asking the filter first */
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
    c->wanted |= UINT32_C(1) << c->count;
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

static inline void candidates_init(struct candidates *c)
{
    c->count = c->wanted = c->early = c->asked = c->first = 0; /* the rest need not be zeroed */
    c->last_started = c->has_last = c->unfiltered = c->last_located = c->last_at_hand = false;
}

/* Begins all runs of level 0 whose bounds enclose the key, or none: nothing is loaded for that. Runs do not change, so
 * it does not matter to the answer that their models are asked before the table is. */
static void start_level0(struct candidates *c, const struct level *level, const struct run_question *q, uint64_t head)
{
    uint32_t early = 0;
    for (unsigned i = 0; i < level->count; i++) {
        struct run *run = level->runs[i];
        if (!run_encloses(run, q->key, head))
            continue;
        const struct run_body *body = atomic_load_explicit(&run->body, memory_order_acquire);
        if (!body || !atomic_load_explicit(&body->model, memory_order_relaxed))
            return;
        run_search_init(&c->list[i], run, true);
        run_search_begin(&c->list[i], q);
        c->levels[i] = 0;
        early |= UINT32_C(1) << i;
    }
    c->early = early;
}

/* Asks for what will be needed while memtables are searched, and where there are few runs before the table over young
 * runs has told which of them it is: to ask a model costs less than to wait for its corrections when that is known. A
 * hint: what fails is done again, and told, by the lookup, if it comes to that. */
static inline void start_early(struct candidates *c, const struct version *version, const struct run_question *q)
{
    const struct level *level0 = &version->levels[0];
    bool runs = mostly(recently_runs), young = mostly(recently_young);
    bool few = level0->count <= EARLY_RUNS && level0->outside == 0;
    if (runs && mostly(recently_last) && (!young || few) &&
        start_last_level(c, version, q, key_head(q->key)) != PLSM_OK)
        c->last_started = false;
    read_fetch_young(version, q); /* behind what the model asks for, so that walks through page tables overlap */
    if (runs && young && few)
        start_level0(c, level0, q, key_head(q->key));
}

/* Lists the runs of level 0 that may have the key. PLSM_NOT_FOUND; another status where there were so many that they
 * had to be looked at, and that was the answer. */
static plsm_status list_level0(struct candidates *c, const struct level *level, const struct young_places *found,
                               const struct run_question *q, uint64_t head, struct page_hold *hold, struct entry *entry)
{
    if (level->outside == 0 && !young_places_meet(&level->in_table, found))
        return PLSM_NOT_FOUND;
    if (c->early) {
        for (uint32_t left = c->early; left; left &= left - 1)
            if (read_place_says_maybe(found, level->places[__builtin_ctz(left)]))
                c->wanted |= left & -left;
        c->count = (unsigned)level->count; /* what is added now stands behind them */
        return PLSM_NOT_FOUND;
    }
    for (size_t i = 0; i < level->count; i++) {
        if (!read_place_says_maybe(found, level->places[i]) || !run_encloses(level->runs[i], q->key, head))
            continue;
        if (c->count == CANDIDATES_MAX - LSM_LEVELS) { /* a level 0 this deep: look at these first */
            plsm_status status = get_from_list(c, q, hold, entry);
            if (status != PLSM_NOT_FOUND)
                return status;
        }
        TRY(add_candidate(c, level, i, 0, q));
    }
    return PLSM_NOT_FOUND;
}

static plsm_status get_from_runs(struct candidates *c, const struct version *version, const struct run_question *q,
                                 struct page_hold *hold, struct entry *entry)
{
    struct young_places found;
    uint64_t head = key_head(q->key);
    if (!c->last_started && !mostly(recently_young)) /* its filter is fetched while the others are sorted out */
        TRY(start_last_level(c, version, q, head));
    read_ask_young(version, q, head, &found); /* the corrections of the model on the last level come meanwhile */
    plsm_status status = list_level0(c, &version->levels[0], &found, q, head, hold, entry);
    if (status != PLSM_NOT_FOUND)
        return status;
    for (unsigned level = 1; level < version->last; level++)
        TRY(add_level(c, version, level, &found, q, head));
    status = get_from_list(c, q, hold, entry);
    bool young_answered = status != PLSM_NOT_FOUND;
    if (!young_answered)
        status = get_from_last_level(c, version, q, head, hold, entry);
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

static plsm_status get_under_ranges(struct candidates *c, const struct version *version, const struct run_question *q,
                                    struct page_hold *hold, struct entry *entry)
{
    bool covered = false;
    plsm_status status = read_covered(version, q, hold, entry, &covered);
    return covered ? status : get_from_runs(c, version, q, hold, entry);
}

/* The newest entry of a key that a question may see: in *table, or on hold's page, with *table NULL. Inside an epoch
 * bracket. */
static inline __attribute__((always_inline)) plsm_status find_entry(struct lsm *db, const struct view *view,
                                                                    struct run_question *q, struct page_hold *hold,
                                                                    struct entry *entry, struct memtable **table)
{
    struct simulated_trace trace;
    struct candidates c;
    const struct version *version = view->version;
    *table = NULL;
    q->hash = key_hash(q->key.data, q->key.size);
    candidates_init(&c);
    start_early(&c, version, q);
    for (unsigned i = 0; i < view->table_count; i++)
        if (memtable_get(view->tables[i], q->key, q->seq, entry)) {
            *table = view->tables[i];
            note(&recently_runs, false);
            return PLSM_OK;
        }
    note(&recently_runs, true);
    q->trace = simulated_trace_begin(db->context.simulated, &trace);
    plsm_status status = __builtin_expect(version->ranged > 0, 0) ? get_under_ranges(&c, version, q, hold, entry)
                                                                  : get_from_runs(&c, version, q, hold, entry);
    if (__builtin_expect(q->trace != NULL, 0))
        simulated_get(db->context.simulated, version, q);
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
        status = read_is_gone(db, &q, &entry) ? PLSM_NOT_FOUND : read_copy_out(view, key, &entry, no_value, out);
    if (__builtin_expect(db->options.validation_ppm > 0, 0) && !table && validation_due(db->options.validation_ppm))
        status = validate(db, view, &q, status, out);
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
        status = entry.kind == BATCH_DELETE ? PLSM_NOT_FOUND : read_copy_out(view, key, &entry, no_value, out);
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
static plsm_status pin_separated(const struct view *view, plsm_slice key, const struct entry *entry,
                                 struct lsm_pin *pin)
{
    struct buf buf = {0};
    plsm_slice value = {0};
    plsm_status status = buf_append(&buf, entry->meta.data, entry->meta.size);
    if (status == PLSM_OK)
        status = separated_read(separated_log(view, entry), key, entry, SIM_POINT, &buf, &value);
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

static plsm_status pin_entry(struct lsm *db, const struct view *view, const struct run_question *q,
                             const struct entry *entry, struct memtable *table, struct page_hold *hold,
                             struct lsm_pin *pin)
{
    *pin = (struct lsm_pin){
        .value = entry->value, .meta = entry->meta, .expires_s = entry->expires_s, .kind = entry->kind};
    if (__builtin_expect(entry->separated, 0))
        return pin_separated(view, q->key, entry, pin);
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
        status = read_is_gone(db, &q, &entry) ? PLSM_NOT_FOUND : pin_entry(db, view, &q, &entry, table, &hold, out);
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
