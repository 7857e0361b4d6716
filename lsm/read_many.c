/* Lookups of many keys at once.
 *
 * A lookup waits for memory about six times, each time for something it can name beforehand: the filter, the correction
 * of the model, the page's place in the cache, the front of the page, the entry. So keys go through these steps in
 * groups: each step is done for all keys, and ends with fetching what the next one reads (Chen, Ailamaki, Gibbons and
 * Mowry, "Improving Hash Join Performance through Prefetching", ICDE 2004: group prefetching). Pages that are not in
 * memory are read together.
 *
 * Sources are asked newest first, each for all keys of the group that none before it had. */
#include "lsm/read.h"

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/error.h"
#include "base/banned.h"

enum { GROUP = 32 }; /* about as many cache misses as a processor has under way, times the lines of a step */

/* A key on its way. */
struct ask {
    struct run_question q;
    uint64_t head;
    struct young_places found; /* the young runs that may have it */
    struct run_search search;
    size_t number; /* among the caller's */
    bool asked;    /* the index of some run was */
    bool sure;     /* the table over young runs said that the run at hand may have it */
    bool loaded;   /* what `search` needs is */
    bool cold;     /* the page is not in memory */
    bool in_runs;  /* no memtable had it */
    uint8_t first_level;
    struct simulated_lookup told; /* what traditional mode would ask in this step; run NULL: nothing */
};

struct group {
    struct lsm *db;
    const struct view *view;
    struct ask asks[GROUP];
    unsigned count;
    struct ask *open[GROUP]; /* not settled yet */
    unsigned open_count;
    struct ask *here[GROUP]; /* of those: the run at hand may have them */
    unsigned here_count, level;
    bool unfiltered;          /* pages in memory are looked at before filters (read_expects_last) */
    uint8_t *pages;           /* GROUP pages, where the cache has no room; NULL until needed */
    uint8_t *unpacked[GROUP]; /* likewise, of compressed runs; freed before the next step */
    unsigned unpacked_count;
    struct value_read values[GROUP]; /* that were found in value logs and are to be read */
    size_t value_numbers[GROUP];     /* whose they are, among the caller's */
    unsigned values_count;
    bool no_value;
    uint64_t now_s; /* as in run_question: one for all keys */
    struct lsm_value *outs;
    plsm_status *statuses;
};

/* Takes what was found: a value that is in a value log is read later, together with the others of the group. */
static plsm_status take(struct group *g, struct ask *a, const struct entry *entry)
{
    a->q.now_s = g->now_s;
    bool gone = read_is_gone(g->db, &a->q, entry);
    g->now_s = a->q.now_s;
    if (gone)
        return PLSM_NOT_FOUND;
    if (!entry->separated || g->no_value)
        return read_copy_out(g->view, a->q.key, entry, g->no_value, &g->outs[a->number]);
    TRY(read_start_value(g->view, a->q.key, entry, &g->outs[a->number], &g->values[g->values_count]));
    g->value_numbers[g->values_count++] = a->number;
    return PLSM_OK;
}

static void settle(struct group *g, struct ask *a, plsm_status status, const struct entry *entry)
{
    g->statuses[a->number] = status == PLSM_OK ? take(g, a, entry) : status;
}

/* Takes the settled ones out of the open ones: those whose status is not the one that marks them. */
static void close_settled(struct group *g, plsm_status mark)
{
    unsigned open = 0;
    for (unsigned i = 0; i < g->open_count; i++)
        if (g->statuses[g->open[i]->number] == mark)
            g->open[open++] = g->open[i];
    g->open_count = open;
}

static void ask_memtables(struct group *g)
{
    for (unsigned t = 0; t < g->view->table_count; t++) {
        if (memtable_count(g->view->tables[t]) == 0)
            continue;
        for (unsigned i = 0; i < g->open_count; i++) {
            struct ask *a = g->open[i];
            struct entry entry;
            if (memtable_get(g->view->tables[t], a->q.key, a->q.seq, &entry))
                settle(g, a, PLSM_OK, &entry);
        }
        close_settled(g, PLSM_STATUS_COUNT);
    }
}

/* Settles the keys that range tombstones in runs cover, each by itself. */
static void settle_covered(struct group *g)
{
    for (unsigned i = 0; i < g->open_count; i++) {
        struct ask *a = g->open[i];
        struct page_hold hold;
        struct entry entry;
        struct simulated_trace trace;
        bool covered = false;
        hold.heap = NULL;
        a->q.trace = simulated_trace_begin(g->db->context.simulated, &trace);
        plsm_status status = read_covered(g->view->version, &a->q, &hold, &entry, &covered);
        if (covered)
            settle(g, a, status, &entry);
        if (covered && a->q.trace)
            simulated_get(g->db->context.simulated, g->view->version, &a->q);
        a->q.trace = NULL;
        page_hold_release(&hold);
    }
    close_settled(g, PLSM_STATUS_COUNT);
}

/* --- the pages that are not in memory ----------------------------------------------------------------------------- */

/* Where to read a page to. */
struct place {
    struct ask *ask;
    uint8_t *memory;
    uint32_t frame; /* of the cache; 0: in memory of our own */
    bool stored;    /* a unit of a compressed run, in memory to be freed: it is still to be unpacked */
};

static uint8_t *own_page(struct group *g, unsigned number)
{
    if (!g->pages)
        g->pages = mem_alloc((size_t)GROUP * PAGE_SIZE);
    return g->pages ? g->pages + (size_t)number * PAGE_SIZE : NULL;
}

/* Unpacks a unit that was read; what fails is done again, and told, by its lookup. */
static void take_unit(struct group *g, const struct place *place, const struct env_piece *piece)
{
    struct run_search *s = &place->ask->search;
    struct compression *compression = s->run->context->compression;
    uint8_t *heap = NULL;
    s->page = cache_lookup(s->run->context->cache, &s->body->slots[s->unit]); /* another key of the group wanted it */
    struct codec_context *context = piece->status == PLSM_OK && !s->page ? compression_take(compression) : NULL;
    if (context && run_unit_take(s->run, s->body, s->unit, context, place->memory, &s->page, &heap) != PLSM_OK)
        s->page = NULL;
    compression_give(compression, context);
    if (heap)
        g->unpacked[g->unpacked_count++] = heap;
    mem_free(place->memory);
}

/* Puts pages that were read where lookups find them; a page that is damaged is read again, and told, by its lookup. */
static void take_pages(struct group *g, const struct place *places, const struct env_piece *pieces, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct run_search *s = &places[i].ask->search;
        const struct run_context *context = s->run->context;
        if (places[i].stored) {
            take_unit(g, &places[i], &pieces[i]);
            continue;
        }
        bool sound = pieces[i].status == PLSM_OK &&
                     page_verify(places[i].memory, PAGE_SIZE, s->run->facts.salt ^ pieces[i].offset,
                                 context->verify_checksums) == PLSM_OK;
        if (!sound && places[i].frame)
            cache_drop(context->cache, places[i].frame);
        else if (sound && places[i].frame)
            s->page = cache_publish(context->cache, &s->body->slots[s->unit], places[i].frame);
        else if (sound)
            s->page = places[i].memory;
    }
}

/* Memory to read a page into, for the i-th of a group; place->memory NULL: there is none. */
static void choose_place(struct group *g, unsigned i, const struct run_search *s, struct place *place)
{
    if (s->body->compressed) {
        place->stored = true;
        place->memory = mem_alloc(run_unit_bytes(s->body, s->unit));
        return;
    }
    place->memory = cache_take(s->run->context->cache, &place->frame);
    if (!place->memory)
        place->memory = own_page(g, i);
}

/* Reads the pages of `cold` together. What cannot be is left to each lookup. */
static void read_pages(struct group *g, struct ask *const *cold, unsigned count)
{
    struct place places[GROUP];
    struct env_piece pieces[GROUP];
    unsigned used = 0;
    uint64_t bytes = 0;
    for (unsigned i = 0; i < count; i++) {
        struct run_search *s = &cold[i]->search;
        if (run_unit_is_large(s->body, s->unit))
            continue;
        struct place place = {.ask = cold[i]};
        choose_place(g, i, s, &place);
        if (!place.memory)
            continue;
        pieces[used] = (struct env_piece){.file = s->body->file,
                                          .offset = run_unit_offset(s->body, s->unit),
                                          .data = place.memory,
                                          .size = run_unit_bytes(s->body, s->unit)};
        bytes += pieces[used].size;
        places[used++] = place;
    }
    counter_add(&g->db->counters, COUNT_READS, used);
    counter_add(&g->db->counters, COUNT_READ_BYTES, bytes);
    counter_add(&g->db->counters, COUNT_CACHE_MISSES, used);
    env_read_many(g->db->env, pieces, used);
    take_pages(g, places, pieces, used);
}

static void free_unpacked(struct group *g)
{
    while (g->unpacked_count > 0)
        mem_free(g->unpacked[--g->unpacked_count]);
}

/* --- one run for each key ----------------------------------------------------------------------------------------- */

/* Keeps those whose filter says maybe; returns how many. */
static unsigned ask_filters(struct ask **asks, unsigned count)
{
    unsigned left = 0;
    for (unsigned i = 0; i < count; i++)
        run_search_prefetch_filter(&asks[i]->search, &asks[i]->q);
    for (unsigned i = 0; i < count; i++)
        if (run_search_may_contain(&asks[i]->search, &asks[i]->q))
            asks[left++] = asks[i];
    return left;
}

/* Of those that were located and whose pages are not in memory: drops those that filters spare a read. */
static void ask_filters_of_cold(struct group *g)
{
    unsigned left = 0;
    for (unsigned i = 0; i < g->here_count; i++)
        if (g->here[i]->cold)
            run_search_prefetch_filter(&g->here[i]->search, &g->here[i]->q);
    for (unsigned i = 0; i < g->here_count; i++)
        if (!g->here[i]->cold || run_search_may_contain(&g->here[i]->search, &g->here[i]->q))
            g->here[left++] = g->here[i];
    g->here_count = left;
}

/* Fetches the pages that are in memory, and has the others read. */
static void get_pages(struct group *g)
{
    struct ask *cold[GROUP];
    struct run_search *searches[GROUP];
    unsigned cold_count = 0;
    for (unsigned i = 0; i < g->here_count; i++)
        g->here[i]->cold = !run_search_fetch_page(&g->here[i]->search);
    if (g->unfiltered)
        ask_filters_of_cold(g);
    for (unsigned i = 0; i < g->here_count; i++) {
        searches[i] = &g->here[i]->search;
        if (g->here[i]->cold)
            cold[cold_count++] = g->here[i];
    }
    if (g->here_count > 0 && __builtin_expect(g->db->context.simulated != NULL, 0))
        simulated_pages(searches, g->here_count);
    if (cold_count > 0)
        read_pages(g, cold, cold_count);
}

static void find_pages(struct group *g)
{
    unsigned left = 0;
    for (unsigned i = 0; i < g->here_count; i++)
        run_search_begin(&g->here[i]->search, &g->here[i]->q);
    for (unsigned i = 0; i < g->here_count; i++) {
        struct ask *a = g->here[i];
        plsm_status status = run_search_locate(&a->search, &a->q);
        if (status == PLSM_OK)
            g->here[left++] = a;
        else
            settle(g, a, status, NULL);
    }
    g->here_count = left;
    get_pages(g);
    for (unsigned i = 0; i < g->here_count; i++)
        run_search_fetch_entry(&g->here[i]->search, &g->here[i]->q);
}

static void look(struct group *g, struct ask *a)
{
    struct page_hold hold;
    struct entry entry;
    hold.heap = NULL;
    bool first = !a->asked;
    if (first)
        a->first_level = (uint8_t)g->level;
    a->asked = true;
    plsm_status status = run_search_find(&a->search, &a->q, &hold, &entry);
    if (g->unfiltered && !a->cold)
        read_count_unfiltered(&a->q, status);
    if (status != PLSM_NOT_FOUND) {
        if (status == PLSM_OK && !first) {
            stripe_add(a->q.counts, COUNT_FILE_WRONG, 1);
            if (a->first_level != g->level)
                stripe_add(a->q.counts, COUNT_LEVEL_WRONG, 1);
        }
        unsigned last = g->view->version->last;
        read_note_found(g->level > 0 && g->level == last, g->level == 0 || g->level < last);
        settle(g, a, status, &entry);
    }
    page_hold_release(&hold);
}

/* Asks the run that each ask in `here` has been given. */
static void ask_runs(struct group *g)
{
    unsigned left = 0;
    for (unsigned i = 0; i < g->here_count; i++) {
        struct ask *a = g->here[i];
        plsm_status status = a->loaded ? PLSM_OK : run_search_load(&a->search, a->sure);
        if (status != PLSM_OK) {
            settle(g, a, status, NULL);
            continue;
        }
        g->here[left++] = a;
    }
    g->here_count = g->unfiltered ? left : ask_filters(g->here, left);
    find_pages(g);
    for (unsigned i = 0; i < g->here_count; i++)
        look(g, g->here[i]);
    free_unpacked(g);
    close_settled(g, PLSM_STATUS_COUNT);
    g->here_count = 0;
}

static bool batched(const struct group *g)
{
    return g->db->options.groups[version_group(g->view->version, g->level)].batch_prediction;
}

/* Tells simulated I/O what traditional mode would have asked in this step. */
static void replay_step(struct group *g)
{
    struct simulated_lookup lookups[GROUP];
    unsigned count = 0;
    for (unsigned i = 0; i < g->count; i++) {
        struct ask *a = &g->asks[i];
        if (!a->told.run)
            continue;
        if (a->search.run == a->told.run)
            a->told.version_unit = a->search.version_unit;
        lookups[count++] = a->told;
        a->told.run = NULL;
    }
    simulated_lookups(g->db->context.simulated, lookups, count, batched(g));
}

/* Asks the runs of `here`, together or, where the options of the level say so, one key after the other. */
static void ask_here(struct group *g)
{
    struct ask *all[GROUP];
    unsigned count = g->here_count;
    if (batched(g)) {
        ask_runs(g);
    } else {
        memcpy(all, g->here, count * sizeof all[0]);
        for (unsigned i = 0; i < count; i++) {
            g->here[0] = all[i];
            g->here_count = 1;
            ask_runs(g);
        }
    }
    if (__builtin_expect(g->db->context.simulated != NULL, 0))
        replay_step(g);
}

/* The bounds of a run enclose the key: it is asked, unless the table over young runs rules it out. */
static void consider(struct group *g, struct ask *a, const struct level *level, size_t at)
{
    if (__builtin_expect(g->db->context.simulated != NULL, 0))
        a->told = (struct simulated_lookup){.run = level->runs[at], .question = &a->q};
    if (!read_place_says_maybe(&a->found, level->places[at]))
        return;
    a->sure = level->places[at] != YOUNG_PLACE_NONE;
    a->loaded = run_search_init(&a->search, level->runs[at], a->sure);
    g->here[g->here_count++] = a;
}

/* Finds out, for all keys, which young runs may have them. */
static void ask_young(struct group *g)
{
    const struct version *version = g->view->version;
    for (unsigned i = 0; i < g->open_count; i++)
        if (read_wants_young(version, g->open[i]->head))
            young_runs_prefetch(version->young, &version->in_table, g->open[i]->q.hash);
    for (unsigned i = 0; i < g->open_count; i++)
        read_ask_young(version, &g->open[i]->q, g->open[i]->head, &g->open[i]->found);
}

static void ask_level0(struct group *g, const struct level *level)
{
    for (size_t r = 0; r < level->count && g->open_count > 0; r++) {
        for (unsigned i = 0; i < g->open_count; i++)
            if ((read_place_says_maybe(&g->open[i]->found, level->places[r]) || g->db->context.simulated) &&
                run_encloses(level->runs[r], g->open[i]->q.key, g->open[i]->head))
                consider(g, g->open[i], level, r);
        ask_here(g);
    }
}

static void ask_level(struct group *g, const struct level *level)
{
    const struct version *version = g->view->version;
    for (unsigned i = 0; i < g->open_count; i++) {
        struct ask *a = g->open[i];
        if (level->outside == 0 && !young_places_meet(&level->in_table, &a->found) && !g->db->context.simulated)
            continue;
        size_t at = read_run_of_level(level, &a->q, a->head);
        if (at < level->count)
            consider(g, a, level, at);
    }
    g->unfiltered = g->level == version->last && g->here_count > 0 && read_expects_last(g->here[0]->search.run);
    ask_here(g);
}

/* --- values ------------------------------------------------------------------------------------------------------- */

/* Reads what was found in value logs; what cannot be read together is read, and its error told, by itself. */
static void read_values(struct group *g)
{
    struct env_piece pieces[GROUP];
    bool together[GROUP];
    unsigned used = 0;
    separated_charge(g->values, g->values_count, SIM_POINT);
    for (unsigned i = 0; i < g->values_count; i++) {
        together[i] = value_read_start(&g->values[i], &pieces[used]) == PLSM_OK;
        used += together[i];
    }
    env_read_many(g->db->env, pieces, used);
    for (unsigned i = 0, piece = 0; i < g->values_count; i++) {
        size_t number = g->value_numbers[i];
        bool there = together[i] && pieces[piece].status == PLSM_OK;
        piece += together[i];
        g->statuses[number] = there ? value_read_finish(&g->values[i], &g->outs[number].value)
                                    : value_read(&g->values[i], &g->outs[number].value);
    }
    g->values_count = 0;
}

/* --- groups ------------------------------------------------------------------------------------------------------- */

static void validate_some(struct group *g)
{
    for (unsigned i = 0; i < g->count; i++) {
        struct ask *a = &g->asks[i];
        if (a->in_runs && validation_due(g->db->options.validation_ppm))
            g->statuses[a->number] = validate(g->db, g->view, &a->q, g->statuses[a->number], &g->outs[a->number]);
    }
}

static void read_group(struct group *g, const plsm_slice *keys, size_t first, unsigned count, uint64_t seq)
{
    struct counter_stripe *counts = counters_mine(&g->db->counters);
    for (unsigned i = 0; i < count; i++) {
        struct ask *a = &g->asks[i];
        plsm_slice key = keys[first + i];
        a->number = first + i; /* member by member: zeroing all of it would cost a fifth of a lookup */
        a->head = key_head(key);
        a->asked = a->in_runs = false;
        a->told.run = NULL;
        a->search.run = NULL;
        a->q = (struct run_question){
            .key = key, .hash = key_hash(key.data, key.size), .seq = seq, .no_value = g->no_value, .counts = counts};
        g->statuses[a->number] = PLSM_STATUS_COUNT; /* open */
        g->open[i] = a;
    }
    g->count = g->open_count = count;
    g->here_count = 0;
    g->unfiltered = false;
    ask_memtables(g);
    for (unsigned i = 0; i < g->open_count; i++)
        g->open[i]->in_runs = true;
    if (__builtin_expect(g->view->version->ranged > 0, 0))
        settle_covered(g);
    ask_young(g);
    for (g->level = 0; g->level < LSM_LEVELS && g->open_count > 0; g->level++) {
        const struct level *level = &g->view->version->levels[g->level];
        if (level->count > 0)
            g->level == 0 ? ask_level0(g, level) : ask_level(g, level);
    }
    for (unsigned i = 0; i < g->open_count; i++) {
        g->statuses[g->open[i]->number] = PLSM_NOT_FOUND;
        read_note_found(false, false);
        read_note_miss(g->db, g->open[i]->q.key);
    }
    if (__builtin_expect(g->values_count > 0, 0))
        read_values(g);
    if (__builtin_expect(g->db->options.validation_ppm > 0, 0))
        validate_some(g);
    stripe_add(counts, COUNT_GETS, count);
    for (unsigned i = 0; i < count; i++)
        if (g->statuses[first + i] == PLSM_OK)
            stripe_add(counts, COUNT_GETS_FOUND, 1);
}

plsm_status lsm_multi_get(struct lsm *db, const struct lsm_snapshot *snapshot, const plsm_slice *keys, size_t count,
                          bool no_value, struct lsm_value *outs, plsm_status *statuses)
{
    struct group g; /* of which the rest is set for each group of keys */
    INVARIANT(db->magic == LSM_STRUCT_MAGIC);
    /* All keys are read at one moment, but the bracket is renewed between groups: a view with a reference stays. */
    uint64_t seq = 0;
    struct view *view = view_acquire_at(db, snapshot, &seq);
    g.db = db;
    g.view = view;
    g.no_value = no_value;
    g.outs = outs;
    g.statuses = statuses;
    g.pages = NULL;
    g.unpacked_count = 0;
    g.values_count = 0;
    g.now_s = 0;
    for (size_t first = 0; first < count; first += GROUP) {
        epoch_enter(db->epoch);
        read_group(&g, keys, first, count - first < GROUP ? (unsigned)(count - first) : GROUP, seq);
        epoch_exit(db->epoch);
    }
    view_release(view);
    mem_free(g.pages);
    counter_add(&db->counters, COUNT_MULTI_GETS, 1);
    for (size_t i = 0; i < count; i++)
        if (statuses[i] != PLSM_OK && statuses[i] != PLSM_NOT_FOUND)
            return statuses[i];
    return PLSM_OK;
}
