/* Where the time of lookups goes. A lookup here takes the same steps as lsm_get, by the same functions (run.h, read.h),
 * but stops the time between them: so nothing of one step overlaps the next, and the sum is above the time of lsm_get,
 * which is measured beside it. */
#include "lsm/inspect_private.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/error.h"
#include "base/histogram.h"
#include "lsm/read.h"
#include "base/banned.h"

enum {
    NO_LEVEL = LSM_LEVELS,
    PLACES,
    CANDIDATES_MAX = 32,
    /* A step that reads no file is done long before: what takes so long lost its processor to somebody else. */
    INTERRUPTED_NS = 50000,
    CHUNK = 64, /* ordinary lookups between two time stamps */
};

/* Time spent on something in one lookup, with so many stamps at its end. */
struct spent {
    uint64_t ns, stamps;
};

/* The same of all lookups. */
struct sum {
    uint64_t lookups;
    double ns; /* less what the stamps cost */
    struct histogram histogram;
};

struct profiling {
    struct lsm *db;
    uint64_t last_ns; /* the last stamp */
    bool interrupted; /* the lookup under way */
    struct spent spent[PLACES][PLSM_STEPS];
    double clock_ns;
    const struct lsm_snapshot *snapshot; /* NULL: the newest state */
    struct sum sums[PLACES][PLSM_STEPS]; /* at NO_LEVEL: on all levels and on none */
    struct sum total;
    /* of the lookup under way */
    struct run_search searches[CANDIDATES_MAX], last; /* last: on the last level, asked behind the others */
    unsigned levels[CANDIDATES_MAX], count;
    bool last_started, has_last;
    uint8_t recently_young; /* the last lookups: a bit for each that found its key above the last level */
    struct page_hold held;  /* the page of a search; owned by `held` until the next one */
};

static void stamp(struct profiling *p, plsm_step step, unsigned level)
{
    uint64_t now_ns = env_now_ns(p->db->env);
    struct spent *spent = &p->spent[level][step];
    bool may_read = step == PLSM_STEP_PAGE || step == PLSM_STEP_SEARCH;
    p->interrupted |= now_ns - p->last_ns > INTERRUPTED_NS && !may_read;
    spent->ns += now_ns - p->last_ns;
    spent->stamps++;
    p->last_ns = now_ns;
}

/* The cost of a stamp: the least of several rounds, as a disturbed one only costs more. */
static double measure_clock(struct profiling *p)
{
    enum { ROUNDS = 20, STAMPS = 1000 };
    double least_ns = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct spent *spent = &p->spent[NO_LEVEL][PLSM_STEP_VIEW];
        *spent = (struct spent){0};
        p->last_ns = env_now_ns(p->db->env);
        for (unsigned i = 0; i < STAMPS; i++)
            stamp(p, PLSM_STEP_VIEW, NO_LEVEL);
        double ns = (double)spent->ns / STAMPS;
        least_ns = round == 0 || ns < least_ns ? ns : least_ns;
    }
    return least_ns;
}

/* --- a lookup in steps -------------------------------------------------------------------------------------------- */

/* With `asked` the table over young runs has said already that the run may hold the key. */
static plsm_status start_search(struct profiling *p, struct run_search *s, struct run *run, bool asked, unsigned level,
                                const struct run_question *q)
{
    if (!run_search_init(s, run, asked))
        TRY(run_search_load(s, asked));
    run_search_prefetch_filter(s, q);
    stamp(p, asked ? PLSM_STEP_CHOICE : PLSM_STEP_MEMBERSHIP, level);
    return PLSM_OK;
}

static plsm_status add_candidate(struct profiling *p, const struct level *level, size_t at, unsigned number,
                                 const struct run_question *q)
{
    bool asked = level->places[at] != YOUNG_PLACE_NONE;
    TRY(start_search(p, &p->searches[p->count], level->runs[at], asked, number, q));
    p->levels[p->count++] = number;
    return PLSM_OK;
}

static plsm_status ask_candidate(struct profiling *p, struct run_search *s, unsigned level,
                                 const struct run_question *q, struct page_hold *hold, struct entry *entry)
{
    if (s->membership) {
        bool maybe = run_search_may_contain(s, q);
        stamp(p, PLSM_STEP_MEMBERSHIP, level);
        if (!maybe)
            return PLSM_NOT_FOUND;
    }
    if (s->model) {
        run_search_begin(s, q);
        stamp(p, PLSM_STEP_MODEL, level);
    }
    plsm_status status = run_search_locate(s, q);
    stamp(p, PLSM_STEP_LOCATE, level);
    if (status == PLSM_OK)
        status = run_page(s->run, s->body, s->unit, q->no_value, &p->held);
    stamp(p, PLSM_STEP_PAGE, level);
    if (status != PLSM_OK)
        return status;
    s->page = p->held.page;
    status = run_search_find(s, q, hold, entry);
    stamp(p, PLSM_STEP_SEARCH, level);
    if (q->trace)
        simulated_note(q->trace, s->run, s->version_unit, status);
    return status;
}

static plsm_status ask_candidates(struct profiling *p, const struct run_question *q, struct page_hold *hold,
                                  struct entry *entry)
{
    plsm_status status = PLSM_NOT_FOUND;
    for (unsigned i = 0; i < p->count && status == PLSM_NOT_FOUND; i++)
        status = ask_candidate(p, &p->searches[i], p->levels[i], q, hold, entry);
    p->count = 0;
    return status;
}

/* Where keys are mostly found there, lsm_get also predicts the page here, and fetches it, or even looks at it before
 * the filter (read_expects_last); and it asks the models of few runs of level 0 before it knows which of them may hold
 * the key: a profile takes the steps in their plain order, membership first. */
static plsm_status start_last_level(struct profiling *p, const struct version *version, const struct run_question *q,
                                    uint64_t head)
{
    const struct level *level = &version->levels[version->last];
    p->last_started = true;
    p->has_last = false;
    if (version->last == 0)
        return PLSM_OK;
    size_t at = read_run_of_level(level, q, head);
    stamp(p, PLSM_STEP_CHOICE, version->last);
    p->has_last = at < level->count;
    return p->has_last ? start_search(p, &p->last, level->runs[at], false, version->last, q) : PLSM_OK;
}

static void ask_young(struct profiling *p, const struct version *version, const struct run_question *q, uint64_t head,
                      struct young_places *found)
{
    read_ask_young(version, q, head, found);
    if (read_wants_young(version, head))
        stamp(p, PLSM_STEP_YOUNG, NO_LEVEL);
}

/* Runs of level 0 that may have the key. PLSM_NOT_FOUND: go on. PLSM_OK: there were too many at a time, so they were
 * asked, and one has the key. */
static plsm_status add_level0(struct profiling *p, const struct level *level, const struct young_places *found,
                              const struct run_question *q, uint64_t head, struct page_hold *hold, struct entry *entry)
{
    bool possible = level->outside > 0 || young_places_meet(&level->in_table, found);
    for (size_t i = 0; possible && i < level->count; i++) {
        if (!read_place_says_maybe(found, level->places[i]) || !run_encloses(level->runs[i], q->key, head))
            continue;
        stamp(p, PLSM_STEP_CHOICE, 0);
        if (p->count == CANDIDATES_MAX - LSM_LEVELS) {
            plsm_status status = ask_candidates(p, q, hold, entry);
            if (status != PLSM_NOT_FOUND)
                return status;
        }
        TRY(add_candidate(p, level, i, 0, q));
    }
    if (level->count > 0)
        stamp(p, PLSM_STEP_CHOICE, 0);
    return PLSM_NOT_FOUND;
}

static plsm_status add_level(struct profiling *p, const struct level *level, unsigned number,
                             const struct young_places *found, const struct run_question *q, uint64_t head)
{
    if (level->count == 0)
        return PLSM_OK;
    bool possible = level->outside > 0 || young_places_meet(&level->in_table, found);
    size_t at = possible ? read_run_of_level(level, q, head) : level->count;
    bool maybe = at < level->count && read_place_says_maybe(found, level->places[at]);
    stamp(p, PLSM_STEP_CHOICE, number);
    return maybe ? add_candidate(p, level, at, number, q) : PLSM_OK;
}

static plsm_status ask_runs(struct profiling *p, const struct version *version, const struct run_question *q,
                            struct page_hold *hold, struct entry *entry)
{
    struct young_places found;
    uint64_t head = key_head(q->key);
    p->count = 0;
    if (read_wants_young(version, head)) {
        young_runs_prefetch(version->young, &version->in_table, q->hash);
        stamp(p, PLSM_STEP_YOUNG, NO_LEVEL);
    }
    p->last_started = false;
    if (__builtin_popcount(p->recently_young) < 4) /* as lsm_get: fetched while the others are sorted out */
        TRY(start_last_level(p, version, q, head));
    ask_young(p, version, q, head, &found);
    plsm_status status = add_level0(p, &version->levels[0], &found, q, head, hold, entry);
    if (status != PLSM_NOT_FOUND)
        return status;
    for (unsigned level = 1; level < version->last; level++)
        TRY(add_level(p, &version->levels[level], level, &found, q, head));
    status = ask_candidates(p, q, hold, entry);
    p->recently_young = (uint8_t)(p->recently_young << 1 | (status != PLSM_NOT_FOUND));
    if (status != PLSM_NOT_FOUND)
        return status;
    if (!p->last_started)
        TRY(start_last_level(p, version, q, head));
    return p->has_last ? ask_candidate(p, &p->last, version->last, q, hold, entry) : PLSM_NOT_FOUND;
}

static plsm_status look_up(struct profiling *p, plsm_slice key, struct lsm_value *out)
{
    struct lsm *db = p->db;
    struct page_hold hold;
    struct entry entry;
    plsm_status status = PLSM_NOT_FOUND;
    hold.heap = p->held.heap = NULL;
    p->interrupted = false;
    memset(p->spent, 0, sizeof p->spent);
    p->last_ns = env_now_ns(db->env);
    epoch_enter(db->epoch);
    const struct view *view = atomic_load_explicit(&db->view, memory_order_acquire);
    struct run_question q = {.key = key, .counts = counters_mine(&db->counters)};
    q.seq = p->snapshot ? p->snapshot->seq : atomic_load_explicit(&db->seq, memory_order_acquire);
    stamp(p, PLSM_STEP_VIEW, NO_LEVEL);
    for (unsigned i = 0; i < view->table_count && status == PLSM_NOT_FOUND; i++)
        if (memtable_get(view->tables[i], key, q.seq, &entry))
            status = PLSM_OK;
    stamp(p, PLSM_STEP_MEMTABLES, NO_LEVEL);
    if (status == PLSM_NOT_FOUND) {
        struct simulated_trace trace;
        q.hash = key_hash(key.data, key.size);
        q.trace = simulated_trace_begin(db->context.simulated, &trace);
        stamp(p, PLSM_STEP_HASH, NO_LEVEL);
        bool covered = false;
        if (view->version->ranged > 0)
            status = read_covered(view->version, &q, &hold, &entry, &covered);
        if (!covered)
            status = ask_runs(p, view->version, &q, &hold, &entry);
        if (q.trace) { /* no step of a lookup */
            simulated_get(db->context.simulated, view->version, &q);
            p->last_ns = env_now_ns(db->env);
        }
    }
    if (status == PLSM_OK) {
        status = read_is_gone(db, &q, &entry) ? PLSM_NOT_FOUND : read_copy_out(view, key, &entry, false, out);
        stamp(p, PLSM_STEP_COPY, NO_LEVEL);
    }
    page_hold_release(&hold);
    page_hold_release(&p->held);
    epoch_exit(db->epoch);
    stamp(p, PLSM_STEP_VIEW, NO_LEVEL);
    return status;
}

/* --- sums --------------------------------------------------------------------------------------------------------- */

static void add_spent(const struct profiling *p, struct sum *sum, struct spent spent)
{
    if (spent.stamps == 0)
        return;
    double ns = (double)spent.ns - (double)spent.stamps * p->clock_ns;
    sum->lookups++;
    sum->ns += ns;
    histogram_add(&sum->histogram, ns > 0 ? (uint64_t)(ns + 0.5) : 0);
}

/* A step that may read a file took long, and no file was read. */
static bool long_without_read(const struct profiling *p)
{
    for (unsigned level = 0; level < LSM_LEVELS; level++)
        if (p->spent[level][PLSM_STEP_PAGE].ns > INTERRUPTED_NS ||
            p->spent[level][PLSM_STEP_SEARCH].ns > INTERRUPTED_NS)
            return true;
    return false;
}

/* Adds what a lookup took to the sums. */
static void add_lookup(struct profiling *p)
{
    struct spent total = {0};
    for (unsigned step = 0; step < PLSM_STEPS; step++) {
        struct spent all = {0};
        for (unsigned level = 0; level < PLACES; level++) {
            const struct spent *spent = &p->spent[level][step];
            all.ns += spent->ns;
            all.stamps += spent->stamps;
            if (level != NO_LEVEL)
                add_spent(p, &p->sums[level][step], *spent);
        }
        add_spent(p, &p->sums[NO_LEVEL][step], all);
        total.ns += all.ns;
        total.stamps += all.stamps;
    }
    add_spent(p, &p->total, total);
}

static void tell_sum(const struct sum *sum, plsm_step_info *out)
{
    *out = (plsm_step_info){.lookups = sum->lookups};
    if (sum->lookups == 0)
        return;
    out->mean_ns = sum->ns / (double)sum->lookups;
    out->median_ns = (double)histogram_quantile(&sum->histogram, 0.5);
}

static void tell_sums(const struct profiling *p, plsm_profile *out)
{
    tell_sum(&p->total, &out->total);
    for (unsigned step = 0; step < PLSM_STEPS; step++) {
        tell_sum(&p->sums[NO_LEVEL][step], &out->all[step]);
        for (unsigned level = 0; level < LSM_LEVELS; level++)
            tell_sum(&p->sums[level][step], &out->levels[level][step]);
    }
}

/* --- all keys ----------------------------------------------------------------------------------------------------- */

/* Keeps those of the keys that are there, or (`absent`) that are not. After it, what lookups read is in the cache as
 * far as that reaches. */
static plsm_status choose(struct lsm *db, const struct key_list *from, bool absent, uint64_t wanted,
                          struct random *random, struct key_list *out, uint64_t *damaged)
{
    enum { TRIES = 4 };
    struct lsm_value value = {0};
    struct buf made = {0};
    plsm_status status = PLSM_OK;
    uint64_t tries = absent ? TRIES * wanted : from->count;
    for (uint64_t i = 0; i < tries && from->count && out->count < wanted && status == PLSM_OK; i++) {
        plsm_slice key = key_list_at(from, i % from->count);
        if (absent) {
            status = make_similar(random, key, key_list_at(from, random_below(random, from->count)), &made);
            key = buf_slice(&made);
        }
        if (status != PLSM_OK)
            break;
        status = lsm_get(db, NULL, key, false, &value);
        *damaged += status == PLSM_CORRUPT;
        if (status == (absent ? PLSM_NOT_FOUND : PLSM_OK))
            status = key_list_add(out, key, 0);
        else if (status == PLSM_NOT_FOUND || status == PLSM_CORRUPT)
            status = PLSM_OK;
    }
    buf_free(&made);
    lsm_value_free(&value);
    return status;
}

/* Nanoseconds of ordinary lookups of all keys, one after the other: a figure per chunk of them, each the mean of its
 * lookups. */
static plsm_status time_ordinary(struct lsm *db, const struct key_list *keys, struct buf *chunks)
{
    struct lsm_value value = {0};
    plsm_status status = PLSM_OK;
    for (size_t i = 0; i < keys->count && status == PLSM_OK;) {
        size_t end = i + CHUNK < keys->count ? i + CHUNK : keys->count, from = i;
        uint64_t start_ns = env_now_ns(db->env);
        for (; i < end && status == PLSM_OK; i++) {
            status = lsm_get(db, NULL, key_list_at(keys, i), false, &value);
            if (status == PLSM_NOT_FOUND)
                status = PLSM_OK;
        }
        double mean_ns = (double)(env_now_ns(db->env) - start_ns) / (double)(end - from);
        if (status == PLSM_OK)
            status = buf_append(chunks, &mean_ns, sizeof mean_ns);
    }
    lsm_value_free(&value);
    return status;
}

static int by_value(const void *a, const void *b)
{
    double first = *(const double *)a, second = *(const double *)b;
    return (first > second) - (first < second);
}

/* The median chunk: keys are in random order, so chunks are alike but for those that were interrupted. */
static double median_of(const struct buf *chunks)
{
    size_t count = chunks->size / sizeof(double);
    if (count == 0)
        return 0;
    qsort(chunks->data, count, sizeof(double), by_value);
    return ((const double *)(const void *)chunks->data)[count / 2];
}

static plsm_status time_steps(struct profiling *p, const struct key_list *keys, plsm_profile *out)
{
    struct lsm_value value = {0};
    plsm_status status = PLSM_OK;
    struct counted before;
    count_from(p->db, &before);
    for (size_t i = 0; i < keys->count && status == PLSM_OK; i++) {
        uint64_t reads = count_since(p->db, &before, COUNT_READS);
        status = look_up(p, key_list_at(keys, i), &value);
        if (count_since(p->db, &before, COUNT_READS) == reads)
            p->interrupted |= long_without_read(p);
        if (!p->interrupted)
            add_lookup(p);
        out->interrupted += p->interrupted;
        out->found += status == PLSM_OK;
        if (status == PLSM_NOT_FOUND)
            status = PLSM_OK;
    }
    out->pages = count_since(p->db, &before, COUNT_GET_PAGES);
    out->pages_read = count_since(p->db, &before, COUNT_READS);
    out->run_lookups = count_since(p->db, &before, COUNT_RUN_LOOKUPS);
    out->fallbacks = count_since(p->db, &before, COUNT_MODEL_FALLBACK);
    lsm_value_free(&value);
    return status;
}

/* A lookup in steps must have the answer of an ordinary one, at one moment. */
static plsm_status compare_answers(struct profiling *p, const struct key_list *keys, plsm_profile *out)
{
    struct lsm_value value = {0}, ordinary = {0};
    plsm_status status = PLSM_OK;
    struct lsm_snapshot *snapshot = lsm_snapshot_create(p->db);
    if (!snapshot)
        return fail(PLSM_NO_MEMORY, "no memory for a snapshot");
    p->snapshot = snapshot;
    for (size_t i = 0; i < keys->count && status == PLSM_OK; i++) {
        plsm_status stepped = look_up(p, key_list_at(keys, i), &value);
        status = lsm_get(p->db, snapshot, key_list_at(keys, i), false, &ordinary);
        out->answers_differ += stepped != status || (status == PLSM_OK && !slice_equal(value.value, ordinary.value));
        if (status == PLSM_NOT_FOUND)
            status = PLSM_OK;
    }
    p->snapshot = NULL;
    lsm_snapshot_destroy(p->db, snapshot);
    lsm_value_free(&value);
    lsm_value_free(&ordinary);
    return status;
}

static plsm_status profile(struct profiling *p, const struct key_list *keys, plsm_profile *out)
{
    struct buf chunks = {0};
    p->clock_ns = measure_clock(p);
    plsm_status status = time_ordinary(p->db, keys, &chunks);
    if (status == PLSM_OK)
        status = time_steps(p, keys, out);
    if (status == PLSM_OK)
        status = time_ordinary(p->db, keys, &chunks);
    if (status == PLSM_OK)
        status = compare_answers(p, keys, out);
    out->keys = keys->count;
    out->clock_ns = p->clock_ns;
    out->get_ns = median_of(&chunks);
    tell_sums(p, out);
    buf_free(&chunks);
    return status;
}

plsm_status lsm_inspect_profile(struct lsm *db, const plsm_inspect_options *options, plsm_profile *out)
{
    struct key_list sampled = {0}, keys = {0};
    struct random random;
    INVARIANT(db->magic == LSM_STRUCT_MAGIC);
    static const char *const indexes[] = {
        [LSM_TRADITIONAL] = "traditional", [LSM_LEARNED] = "learned", [LSM_CLASSIC] = "classic"};
    *out = (plsm_profile){.index = indexes[db->options.index]};
    random_seed(&random, options->seed);
    struct profiling *p = mem_zalloc(sizeof *p);
    if (!p)
        return fail(PLSM_NO_MEMORY, "no memory for a profile");
    p->db = db;
    struct view *view = view_acquire(db);
    plsm_status status = sample_view(db, view, inspect_keys(options), &random, &sampled, &out->damaged);
    view_release(view);
    if (status == PLSM_OK)
        status = choose(db, &sampled, options->absent, inspect_keys(options), &random, &keys, &out->damaged);
    if (status == PLSM_OK)
        status = profile(p, &keys, out);
    key_list_free(&sampled);
    key_list_free(&keys);
    mem_free(p);
    return status;
}
