/* The engine's accesses, told to the simulation. See simulated.h. */
#include "lsm/simulated.h"

#include "base/alloc.h"
#include "base/error.h"
#include "lsm/read.h"
#include "base/banned.h"

struct simulated *simulated_create(struct lsm *db)
{
    struct simulated *s = mem_zalloc(sizeof *s);
    if (!s)
        return NULL;
    s->db = db;
    mutex_init(&s->counting);
    s->simulation = simulation_create(&db->options.simulation, db->env);
    if (!s->simulation) {
        simulated_destroy(s);
        return NULL;
    }
    return s;
}

void simulated_destroy(struct simulated *s)
{
    if (!s)
        return;
    simulation_destroy(s->simulation);
    mutex_destroy(&s->counting);
    mem_free(s);
}

static struct simulation *simulation_of(const struct run *run)
{
    return run->context->simulated->simulation;
}

/* --- memory ------------------------------------------------------------------------------------------------------- */

void simulated_open(struct run *run, struct run_body *body)
{
    const struct run_traditional *traditional = NULL;
    struct run_membership *membership = NULL;
    /* If this fails, lookups try again. */
    (void)run_traditional(run, body, &traditional);
    if (!run->context->young) /* where each run is asked, both sides have what they ask from the same moment on */
        (void)run_membership(run, body, &membership);
    simulated_changed(run->context->simulated);
}

void simulated_forget(struct simulated *s, uint64_t number)
{
    simulation_forget(s->simulation, number);
}

static void add_run(const struct run *run, uint64_t *bytes)
{
    const struct run_body *body = atomic_load_explicit(&run->body, memory_order_acquire);
    if (!body)
        return;
    const struct run_traditional *t = atomic_load_explicit(&body->traditional, memory_order_acquire);
    bytes[SIM_ACTUAL] += run_index_bytes(body) + run_membership_bytes(body);
    bytes[SIM_TRADITIONAL] += t ? t->bytes : 0;
}

/* Tells both sides what their index and filters take, when that has changed. */
static void count_memory(struct simulated *s)
{
    struct view *view = NULL;
    if (!atomic_load_explicit(&s->changed, memory_order_acquire))
        return;
    mutex_lock(&s->counting);
    if (atomic_exchange(&s->changed, false)) { /* before looking: a later change is counted later */
        uint64_t bytes[SIM_SIDES] = {0};
        view = view_acquire(s->db);
        epoch_enter(s->db->epoch);
        for (unsigned level = 0; level < LSM_LEVELS; level++) {
            const struct level *l = &view->version->levels[level];
            bytes[SIM_ACTUAL] += l->router ? router_bytes(l->router) : 0;
            for (size_t i = 0; i < l->count; i++)
                add_run(l->runs[i], bytes);
        }
        epoch_exit(s->db->epoch);
        if (s->db->young) {
            struct young_runs_info young;
            young_runs_get_info(s->db->young, &young);
            bytes[SIM_ACTUAL] += young.bytes;
        }
        for (unsigned side = 0; side < SIM_SIDES; side++) {
            simulation_set_metadata(s->simulation, side, bytes[side]);
            atomic_store_explicit(&s->metadata_bytes[side], bytes[side], memory_order_relaxed);
        }
    }
    mutex_unlock(&s->counting);
    view_release(view);
}

void simulated_account(struct simulated *s, enum simulation_side side, struct simulated_account *out)
{
    *out = (struct simulated_account){0};
    if (!s)
        return;
    count_memory(s);
    simulation_totals(s->simulation, side, &out->totals);
    out->metadata_bytes = atomic_load_explicit(&s->metadata_bytes[side], memory_order_relaxed);
}

/* --- pages -------------------------------------------------------------------------------------------------------- */

struct simulation_place simulated_units(const struct run *run, const struct run_body *body, uint32_t first,
                                        uint32_t last, bool head_only)
{
    uint64_t start = run_unit_offset(body, first);
    uint64_t end = head_only ? start + PAGE_SIZE : run_unit_offset(body, last + 1);
    uint64_t block = start / PAGE_SIZE;
    return (struct simulation_place){
        .run = run->facts.number, .first_block = block, .block_count = (end - 1) / PAGE_SIZE - block + 1};
}

static struct simulation_place place_of(const struct run *run, const struct run_body *body, uint32_t unit,
                                        bool head_only)
{
    return simulated_units(run, body, unit, unit, head_only && run_unit_is_large(body, unit));
}

static void read_unit(enum simulation_side side, const struct run *run, const struct run_body *body, uint32_t unit,
                      bool head_only)
{
    struct simulation_place place = place_of(run, body, unit, head_only);
    simulation_read(simulation_of(run), side, place.run, place.first_block, place.block_count, SIM_POINT);
}

void simulated_page(const struct run *run, const struct run_body *body, uint32_t unit, bool head_only)
{
    read_unit(SIM_ACTUAL, run, body, unit, head_only);
}

void simulated_walk(const struct run *run, uint64_t first_block, uint64_t block_count, enum simulation_kind kind,
                    bool training)
{
    struct simulation *simulation = simulation_of(run);
    simulation_read(simulation, SIM_ACTUAL, run->facts.number, first_block, block_count, kind);
    if (!training)
        simulation_read(simulation, SIM_TRADITIONAL, run->facts.number, first_block, block_count, kind);
}

void simulated_values(struct simulated *s, const struct simulated_value *values, unsigned count,
                      enum simulation_kind kind)
{
    struct simulation_place places[SIMULATED_GROUP];
    INVARIANT(count <= SIMULATED_GROUP);
    for (unsigned i = 0; i < count; i++) {
        uint64_t first = values[i].offset / PAGE_SIZE, end = values[i].offset + values[i].size + PAGE_SIZE - 1;
        places[i] = (struct simulation_place){values[i].log, first, end / PAGE_SIZE - first};
    }
    for (unsigned side = 0; side < SIM_SIDES; side++) {
        if (kind == SIM_POINT)
            simulation_read_batch(s->simulation, side, places, count);
        for (unsigned i = 0; i < count && kind != SIM_POINT; i++)
            simulation_read(s->simulation, side, places[i].run, places[i].first_block, places[i].block_count, kind);
    }
}

/* --- lookups ------------------------------------------------------------------------------------------------------ */

void simulated_pages(struct run_search *const *searches, unsigned count)
{
    struct simulation_place places[SIMULATED_GROUP];
    unsigned used = 0;
    INVARIANT(count <= SIMULATED_GROUP);
    for (unsigned i = 0; i < count; i++) {
        struct run_search *s = searches[i];
        struct run_context *context = s->run->context;
        if (run_unit_is_large(s->body, s->unit))
            continue;
        places[used++] = place_of(s->run, s->body, s->unit, false);
        s->page = cache_lookup(context->cache, &s->body->slots[s->unit]);
        if (s->page)
            counter_add(context->counters, COUNT_CACHE_HITS, 1);
    }
    if (used > 0)
        simulation_read_batch(simulation_of(searches[0]->run), SIM_ACTUAL, places, used);
}

/* Where traditional mode would have begun to look; *body NULL: nowhere, its filter says no. */
static void first_page(const struct simulated_lookup *lookup, struct run_body **body, uint32_t *first)
{
    const struct run_traditional *t = NULL;
    struct run *run = lookup->run;
    if (run_open(run, body) != PLSM_OK || run_traditional(run, *body, &t) != PLSM_OK ||
        (t->filter && !filter_may_contain(t->filter, lookup->question->hash)))
        *body = NULL;
    else
        *first = fences_find(t->fences, lookup->question->key);
}

static void replay(struct simulation *simulation, const struct simulated_lookup *lookups, unsigned count)
{
    struct simulation_place places[SIMULATED_GROUP];
    struct run_body *bodies[SIMULATED_GROUP];
    uint32_t firsts[SIMULATED_GROUP];
    unsigned used = 0;
    INVARIANT(count <= SIMULATED_GROUP);
    for (unsigned i = 0; i < count; i++) {
        first_page(&lookups[i], &bodies[i], &firsts[i]);
        if (bodies[i] && !run_unit_is_large(bodies[i], firsts[i]))
            places[used++] = place_of(lookups[i].run, bodies[i], firsts[i], false);
    }
    if (used > 0)
        simulation_read_batch(simulation, SIM_TRADITIONAL, places, used);
    for (unsigned i = 0; i < count; i++) { /* large units, and the pages that versions lead to */
        const struct simulated_lookup *l = &lookups[i];
        bool head_only = l->question->no_value;
        if (!bodies[i])
            continue;
        if (run_unit_is_large(bodies[i], firsts[i]))
            read_unit(SIM_TRADITIONAL, l->run, bodies[i], firsts[i], head_only);
        for (uint32_t unit = firsts[i] + 1; unit <= l->version_unit; unit++)
            read_unit(SIM_TRADITIONAL, l->run, bodies[i], unit, head_only);
    }
}

/* Memory is counted when both sides have come to the end of a call: a cache that shrinks must do so at the same place.
 */
void simulated_lookups(struct simulated *s, const struct simulated_lookup *lookups, unsigned count, bool together)
{
    unsigned step = together ? count : 1;
    for (unsigned i = 0; i < count; i += step)
        replay(s->simulation, lookups + i, step);
    count_memory(s);
}

void simulated_note(struct simulated_trace *trace, const struct run *run, uint32_t version_unit, plsm_status status)
{
    if (status != PLSM_NOT_FOUND)
        trace->answered = run;
    if (version_unit > 0 && trace->count < SIMULATED_GROUP) {
        trace->walked[trace->count].run = run;
        trace->walked[trace->count++].version_unit = version_unit;
    }
}

/* Asks a run as traditional mode would. False: it has answered. */
static bool ask_traditionally(struct simulated *s, struct run *run, const struct run_question *q)
{
    struct simulated_lookup lookup = {.run = run, .question = q};
    for (unsigned i = 0; i < q->trace->count; i++)
        if (q->trace->walked[i].run == run)
            lookup.version_unit = q->trace->walked[i].version_unit;
    replay(s->simulation, &lookup, 1);
    return q->trace->answered != run;
}

void simulated_get(struct simulated *s, const struct version *version, const struct run_question *q)
{
    struct enclosing_runs e = {.key = q->key, .head = key_head(q->key)};
    struct run *run = enclosing_runs_next(&e, version);
    while (run && ask_traditionally(s, run, q))
        run = enclosing_runs_next(&e, version);
    count_memory(s);
}

void simulated_seek(struct run *run, struct run_body *body, plsm_slice key, uint32_t unit)
{
    const struct run_traditional *t = NULL;
    if (run_traditional(run, body, &t) != PLSM_OK)
        return;
    uint32_t first = fences_find(t->fences, key);
    read_unit(SIM_TRADITIONAL, run, body, first, true);
    if (unit == first + 1)
        read_unit(SIM_TRADITIONAL, run, body, unit, true);
    count_memory(run->context->simulated);
}
