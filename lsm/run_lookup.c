/* Finding keys in a run: filter, then model or fences, then the page.
 *
 * A model is never believed without evidence: when the page it names does not hold the key, the key must lie between
 * that page's first and last key, or provably between it and its neighbour. Otherwise the traditional index decides,
 * and the fallback is counted. So a wrong model costs time, never an answer. */
#include "lsm/run.h"

#include "base/checksum.h"
#include "base/error.h"
#include "lsm/page_classic.h"
#include "base/banned.h"

/* Where a key stands against a page. */
enum side { BEFORE, INSIDE, BEHIND };

static enum side side_of(const uint8_t *page, plsm_slice key)
{
    if (page_compare(page, 0, key) > 0)
        return BEFORE;
    return page_compare(page, page_count(page) - 1, key) < 0 ? BEHIND : INSIDE;
}

/* --- where to look ------------------------------------------------------------------------------------------------ */

static plsm_status find_by_fences(struct run *run, struct run_body *body, plsm_slice key, uint32_t *unit)
{
    struct fences *fences = NULL;
    TRY(run_fences(run, body, &fences));
    *unit = fences_find(fences, key);
    return PLSM_OK;
}

/* The page that the traditional index names where a model was not believed. */
static plsm_status locate_again(struct run *run, struct run_body *body, plsm_slice key, uint32_t *unit)
{
    counter_add(run->context->counters, COUNT_MODEL_FALLBACK, 1);
    return find_by_fences(run, body, key, unit);
}

plsm_slice run_page_key(const uint8_t *page, unsigned slot, uint8_t *buffer)
{
    if (page_is_classic(page))
        return page_classic_key(page, slot, buffer);
    plsm_slice prefix = page_prefix(page);
    struct entry entry;
    page_entry(page, slot, &entry);
    memcpy(buffer, prefix.data, prefix.size);
    memcpy(buffer + prefix.size, entry.key.data, entry.key.size);
    return slice(buffer, prefix.size + entry.key.size);
}

/* A trie was led astray by a key that is not in the run. A key of the page it went to that comes to the same leaf tells
 * where the key belongs. */
static uint32_t find_edge(const struct model *model, const uint8_t *page, plsm_slice key)
{
    uint8_t buffer[LSM_KEY_MAX];
    uint64_t leaf = model_leaf(model, key);
    unsigned low = 0, high = page_count(page) - 1;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (model_leaf(model, run_page_key(page, middle, buffer)) < leaf)
            low = middle + 1;
        else
            high = middle;
    }
    plsm_slice shown = run_page_key(page, low, buffer);
    return model_edge(model, key, slice_common(shown, key), slice_compare(shown, key) < 0);
}

/* After the model's page `unit` (in hold) turned out not to enclose the key: *unit becomes the page on which a search
 * for key (exact or ordered) has to go on. A neighbour often proves that the key lies in the gap between two pages;
 * then *absent is true and *unit is the page behind the gap. hold->page is the page of *unit where it is inside. */
static plsm_status correct(struct run *run, struct run_body *body, const struct run_model *model, plsm_slice key,
                           enum side side, struct page_hold *hold, uint32_t *unit, bool *absent)
{
    uint32_t here = *unit, last = run->facts.units - 1;
    *absent = false;
    if (model->info.type == MODEL_TRIE) {
        if (run->facts.versions) /* the page may begin with versions of a key that the trie has not here */
            TRY(locate_again(run, body, key, unit));
        else
            *unit = find_edge(model->model, hold->page, key);
        here = *unit;
        TRY(run_page(run, body, here, true, hold));
        counter_add(run->context->counters, COUNT_GET_PAGES, 1);
        side = side_of(hold->page, key);
        if (side == INSIDE)
            return PLSM_OK;
    }
    if (side == BEFORE && here == 0) {
        *absent = true;
        return PLSM_OK;
    }
    if (side == BEHIND && here == last) {
        *absent = true;
        *unit = last + 1;
        return PLSM_OK;
    }
    uint32_t neighbour = side == BEFORE ? here - 1 : here + 1;
    TRY(run_page(run, body, neighbour, true, hold));
    counter_add(run->context->counters, COUNT_GET_PAGES, 1);
    enum side there = side_of(hold->page, key);
    if (there != INSIDE && there != side) { /* behind the one and before the other */
        *absent = true;
        *unit = side == BEFORE ? here : neighbour;
        return side == BEFORE ? run_page(run, body, here, true, hold) : PLSM_OK;
    }
    if (there == INSIDE)
        *unit = neighbour;
    else
        TRY(locate_again(run, body, key, unit));
    return run_page(run, body, *unit, true, hold);
}

/* --- a search in steps -------------------------------------------------------------------------------------------- */

plsm_status run_search_load(struct run_search *s, bool asked)
{
    TRY(run_open(s->run, &s->body));
    s->model = run_model(s->run, s->body);
    s->membership = NULL;
    return asked ? PLSM_OK : run_membership(s->run, s->body, &s->membership);
}

void run_search_begin(struct run_search *s, const struct run_question *q)
{
    if (!s->model)
        return;
    model_begin(s->model->model, q->key, &s->probe);
    s->begun = true;
    uint32_t guess = s->probe.guess, reach = s->probe.reach, units = s->run->facts.units;
    if (guess >= units)
        return;
    __builtin_prefetch(&s->body->slots[guess]); /* a line has 16: reaches of more than that are rare */
    __builtin_prefetch(&s->body->slots[guess > reach ? guess - reach : 0]);
    __builtin_prefetch(&s->body->slots[units - guess > reach ? guess + reach : guess]);
}

void run_search_prefetch_filter(struct run_search *s, const struct run_question *q)
{
    const struct run_membership *m = s->membership;
    if (!m || m->none)
        return;
    if (__builtin_expect(m->membership.kind == MEMBERSHIP_FUSE, 1)) {
        filter_prefetch(&m->membership.filter, q->hash);
        return;
    }
    membership_query_init(&s->query, q->key, q->hash);
    membership_prefetch(&m->membership, &s->query);
}

bool run_search_may_contain(struct run_search *s, const struct run_question *q)
{
    const struct run_membership *m = s->membership;
    if (!m || m->none)
        return true;
    stripe_add(q->counts, COUNT_FILTER_PROBES, 1);
    if (__builtin_expect(m->membership.kind == MEMBERSHIP_FUSE, 1))
        return (!m->membership.has_template || template_admits(&m->membership.template, q->key)) &&
               filter_may_contain(&m->membership.filter, q->hash);
    return membership_may_contain(&m->membership, &s->query);
}

plsm_status run_search_locate(struct run_search *s, const struct run_question *q)
{
    struct run *run = s->run;
    if (__builtin_expect(s->model != NULL, 1)) {
        if (!s->begun)
            run_search_begin(s, q);
        struct model_answer answer = model_end(s->model->model, q->key, &s->probe);
        s->unit = answer.page < run->facts.units ? answer.page : run->facts.units - 1;
        s->learned = answer.learned;
    } else {
        if (atomic_load_explicit(&s->body->model_state, memory_order_relaxed) == MODEL_MISSING)
            stripe_add(q->counts, COUNT_MODEL_FALLBACK, 1);
        TRY(find_by_fences(run, s->body, q->key, &s->unit));
        s->learned = false;
    }
    __builtin_prefetch(&s->body->slots[s->unit]);
    return PLSM_OK;
}

/* The page in memory, or NULL. */
static inline const uint8_t *page_at_hand(const struct run_search *s)
{
    return s->page ? s->page : cache_peek(s->run->context->cache, &s->body->slots[s->unit]);
}

/* Fetches the front of the page, when it is in memory; NULL otherwise. */
static inline const uint8_t *fetch_front(const struct run_search *s)
{
    if (!s->page)
        return cache_fetch(s->run->context->cache, &s->body->slots[s->unit]);
    __builtin_prefetch(s->page);
    __builtin_prefetch(s->page + 64);
    return s->page;
}

bool run_search_fetch_page(const struct run_search *s)
{
    return fetch_front(s) != NULL;
}

bool run_search_fetch_likely(const struct run_search *s, const struct run_question *q)
{
    unsigned within = 0;
    const uint8_t *page = fetch_front(s);
    if (!page || s->body->compressed) /* whose pages are of several sizes */
        return page != NULL;
    const struct fences *fences = atomic_load_explicit(&s->body->fences, memory_order_acquire);
    if (s->model ? model_within(s->model->model, &s->probe, s->unit, &within)
                 : fences && fences_within(fences, q->key, s->unit, &within))
        page_fetch_likely(page, &s->body->shape, within);
    return true;
}

void run_search_fetch_entry(const struct run_search *s, const struct run_question *q)
{
    const uint8_t *page = page_at_hand(s);
    if (page)
        page_fetch_entry(page, q->hash);
}

void run_search_fetch_ordered(const struct run_search *s)
{
    const uint8_t *page = page_at_hand(s);
    if (page)
        page_fetch_seek(page);
}

/* Takes the newest visible version, from a slot that holds the key on: versions are newest first and may go on on the
 * following pages. */
static plsm_status take_version(struct run_search *s, const struct run_question *q, uint32_t unit, unsigned slot,
                                struct page_hold *hold, struct entry *entry)
{
    s->version_unit = unit;
    if (__builtin_expect(s->run->seq > q->seq, 0)) /* it has one version of each key */
        return PLSM_NOT_FOUND;
    while (entry->seq > q->seq) {
        slot = page_find(hold->page, q->key, q->hash, slot + 1, entry);
        if (slot == page_count(hold->page)) {
            if (!s->run->facts.versions || ++unit == s->run->facts.units ||
                page_compare(hold->page, slot - 1, q->key) != 0)
                return PLSM_NOT_FOUND;
            TRY(run_page(s->run, s->body, unit, q->no_value, hold));
            s->version_unit = unit;
            slot = page_find(hold->page, q->key, q->hash, 0, entry);
            if (slot == page_count(hold->page))
                return PLSM_NOT_FOUND;
        }
    }
    return PLSM_OK;
}

/* The page that was named first does not hold the key. It is elsewhere only if the model is wrong. */
static plsm_status find_elsewhere(const struct run_search *s, const struct run_question *q, uint32_t *unit,
                                  unsigned *slot, struct page_hold *hold, struct entry *entry)
{
    bool absent = false;
    enum side side = side_of(hold->page, q->key);
    if (side == INSIDE)
        return PLSM_NOT_FOUND;
    TRY(correct(s->run, s->body, s->model, q->key, side, hold, unit, &absent));
    if (absent)
        return PLSM_NOT_FOUND;
    if (!q->no_value)
        TRY(run_page(s->run, s->body, *unit, false, hold));
    *slot = page_find(hold->page, q->key, q->hash, 0, entry);
    return *slot < page_count(hold->page) ? PLSM_OK : PLSM_NOT_FOUND;
}

plsm_status run_search_find(struct run_search *s, const struct run_question *q, struct page_hold *hold,
                            struct entry *entry)
{
    struct run *run = s->run;
    uint32_t unit = s->unit;
    bool first_answer = s->learned;
    if (s->page)
        hold->page = s->page;
    else
        TRY(run_page(run, s->body, unit, q->no_value, hold));
    stripe_add(q->counts, COUNT_RUN_LOOKUPS, 1);
    stripe_add(q->counts, COUNT_GET_PAGES, 1);
    unsigned slot = page_find(hold->page, q->key, q->hash, 0, entry);
    if (__builtin_expect(slot == page_count(hold->page), 0)) {
        if (!s->model)
            return PLSM_NOT_FOUND;
        TRY(find_elsewhere(s, q, &unit, &slot, hold, entry));
        first_answer = false;
    }
    if (__builtin_expect(run->facts.versions && slot == 0 && unit > 0 && s->model, 0)) {
        /* Newer versions could stand on the page before, if the model is wrong: do not believe it here. */
        TRY(locate_again(run, s->body, q->key, &unit));
        TRY(run_page(run, s->body, unit, q->no_value, hold));
        slot = page_find(hold->page, q->key, q->hash, 0, entry);
        if (slot == page_count(hold->page))
            return PLSM_NOT_FOUND;
    }
    unsigned level = atomic_load_explicit(&run->level, memory_order_relaxed);
    stripe_add(q->counts, COUNT_FOUND + level, 1);
    if (__builtin_expect(!first_answer, 0))
        stripe_add(q->counts, COUNT_FOUND_OTHERWISE + level, 1);
    return take_version(s, q, unit, slot, hold, entry);
}

plsm_status run_may_have_directory(struct run *run, plsm_slice prefix, uint64_t hash, bool *out)
{
    struct run_body *body = NULL;
    struct run_membership *m = NULL;
    *out = true;
    TRY(run_open(run, &body));
    epoch_enter(run->context->epoch);
    plsm_status status = run_membership(run, body, &m);
    if (status == PLSM_OK && !m->none && run->facts.smallest.size &&
        *(const uint8_t *)run->facts.smallest.data == LSM_DIRECTORY_BYTE)
        *out = membership_may_have_directory(&m->membership, prefix, hash);
    epoch_exit(run->context->epoch);
    return status;
}

plsm_status run_seek(struct run *run, struct run_body *body, plsm_slice key, struct page_hold *hold, uint32_t *unit,
                     unsigned *slot)
{
    bool absent = false;
    const struct run_model *model = run_model(run, body);
    if (model) {
        *unit = model_find(model->model, key).page;
        *unit = *unit < run->facts.units ? *unit : run->facts.units - 1;
    } else {
        TRY(find_by_fences(run, body, key, unit));
    }
    TRY(run_page(run, body, *unit, true, hold));
    enum side side = model ? side_of(hold->page, key) : INSIDE;
    if (model && side != INSIDE) {
        TRY(correct(run, body, model, key, side, hold, unit, &absent));
        *slot = 0;
        if (absent)
            return PLSM_OK;
    }
    *slot = page_seek(hold->page, key);
    if (model && run->facts.versions && *slot == 0 && *unit > 0 && page_compare(hold->page, 0, key) == 0) {
        TRY(locate_again(run, body, key, unit)); /* as in run_get: versions may begin on the page before */
        TRY(run_page(run, body, *unit, true, hold));
        *slot = page_seek(hold->page, key);
    }
    if (*slot < page_count(hold->page))
        return PLSM_OK;
    *slot = 0; /* behind all of this page: the next one's first */
    if (++*unit < run->facts.units)
        TRY(run_page(run, body, *unit, true, hold));
    return PLSM_OK;
}
