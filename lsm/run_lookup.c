/* Finding keys in a run: filter, then model or fences, then the page.
 *
 * A model is never believed without evidence: when the page it names does not hold the key, the key must lie between
 * that page's first and last key, or provably between it and its neighbour. Otherwise the traditional index decides,
 * and the fallback is counted. So a wrong model costs time, never an answer. */
#include "lsm/run.h"

#include "base/checksum.h"
#include "base/error.h"
#include "base/banned.h"

/* Where a key stands against a page. */
enum side { BEFORE, INSIDE, BEHIND };

static enum side side_of(const uint8_t *page, plsm_slice key)
{
    if (page_compare(page, 0, key) > 0)
        return BEFORE;
    return page_compare(page, page_count(page) - 1, key) < 0 ? BEHIND : INSIDE;
}

/* The page to look at first. */
static plsm_status locate(struct run *run, struct run_body *body, plsm_slice key, uint32_t *unit, bool *learned)
{
    *learned = false;
    if (body->model) {
        struct model_answer answer = model_find(body->model, key);
        *unit = answer.page;
        *learned = answer.learned;
        if (__builtin_expect(answer.page >= run->facts.units, 0))
            *unit = run->facts.units - 1;
        return PLSM_OK;
    }
    struct fences *fences = NULL;
    TRY(run_fences(run, body, &fences));
    *unit = fences_find(fences, key);
    return PLSM_OK;
}

/* The page that the traditional index names. */
static plsm_status locate_again(struct run *run, struct run_body *body, plsm_slice key, uint32_t *unit)
{
    struct fences *fences = NULL;
    counter_add(run->context->counters, COUNT_MODEL_FALLBACK, 1);
    TRY(run_fences(run, body, &fences));
    *unit = fences_find(fences, key);
    return PLSM_OK;
}

/* Copies a key of a page together; returns its slice. */
static plsm_slice whole_key(const uint8_t *page, unsigned slot, uint8_t *buffer)
{
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
        if (model_leaf(model, whole_key(page, middle, buffer)) < leaf)
            low = middle + 1;
        else
            high = middle;
    }
    plsm_slice shown = whole_key(page, low, buffer);
    return model_edge(model, key, slice_common(shown, key), slice_compare(shown, key) < 0);
}

/* After the model's page `unit` (in hold) turned out not to enclose the key: *unit becomes the page on which a search
 * for key (exact or ordered) has to go on. A neighbour often proves that the key lies in the gap between two pages;
 * then *absent is true and *unit is the page behind the gap. hold->page is the page of *unit where it is inside. */
static plsm_status correct(struct run *run, struct run_body *body, plsm_slice key, enum side side,
                           struct page_hold *hold, uint32_t *unit, bool *absent)
{
    uint32_t here = *unit, last = run->facts.units - 1;
    *absent = false;
    if (body->model_info.type == MODEL_TRIE) {
        if (run->facts.versions) /* the page may begin with versions of a key that the trie has not here */
            TRY(locate_again(run, body, key, unit));
        else
            *unit = find_edge(body->model, hold->page, key);
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

/* Takes the newest visible version, from a slot that holds the key on: versions are newest first and may go on on the
 * following pages. */
static plsm_status take_version(struct run *run, struct run_body *body, plsm_slice key, uint64_t hash, uint64_t seq,
                                bool no_value, uint32_t unit, unsigned slot, struct page_hold *hold,
                                struct entry *entry)
{
    while (entry->seq > seq) {
        slot = page_find(hold->page, key, hash, slot + 1, entry);
        if (slot == page_count(hold->page)) {
            if (!run->facts.versions || ++unit == run->facts.units || page_compare(hold->page, slot - 1, key) != 0)
                return PLSM_NOT_FOUND;
            TRY(run_page(run, body, unit, no_value, hold));
            slot = page_find(hold->page, key, hash, 0, entry);
            if (slot == page_count(hold->page))
                return PLSM_NOT_FOUND;
        }
    }
    return PLSM_OK;
}

plsm_status run_get(struct run *run, plsm_slice key, uint64_t hash, uint64_t seq, bool no_value, struct page_hold *hold,
                    struct entry *entry, bool *probed)
{
    struct counters *counters = run->context->counters;
    struct run_body *body = NULL;
    uint32_t unit = 0;
    bool learned = false;
    *probed = false;
    TRY(run_open(run, &body));
    if (body->has_filter) {
        counter_add(counters, COUNT_FILTER_PROBES, 1);
        if (!filter_may_contain(&body->filter, hash)) {
            counter_add(counters, COUNT_FILTER_NEGATIVES, 1);
            return PLSM_NOT_FOUND;
        }
    }
    *probed = true;
    counter_add(counters, COUNT_RUN_LOOKUPS, 1);
    if (body->model)
        counter_add(counters, COUNT_MODEL_LOOKUPS, 1);
    else if (body->model_failed)
        counter_add(counters, COUNT_MODEL_FALLBACK, 1);
    TRY(locate(run, body, key, &unit, &learned));
    TRY(run_page(run, body, unit, no_value, hold));
    counter_add(counters, COUNT_GET_PAGES, 1);
    unsigned slot = page_find(hold->page, key, hash, 0, entry);
    bool found = slot < page_count(hold->page);
    if (found && body->model)
        counter_add(counters, learned ? COUNT_MODEL_RIGHT : COUNT_MODEL_WRONG, 1);
    if (!found && body->model) {
        bool absent = false;
        enum side side = side_of(hold->page, key);
        if (side != INSIDE) {
            TRY(correct(run, body, key, side, hold, &unit, &absent));
            if (!absent) {
                if (!no_value)
                    TRY(run_page(run, body, unit, false, hold));
                slot = page_find(hold->page, key, hash, 0, entry);
                found = slot < page_count(hold->page);
                if (found)
                    counter_add(counters, COUNT_MODEL_WRONG, 1);
            }
        }
    }
    if (found && slot == 0 && unit > 0 && run->facts.versions && body->model) {
        /* Newer versions could stand on the page before, if the model is wrong: do not believe it here. */
        TRY(locate_again(run, body, key, &unit));
        TRY(run_page(run, body, unit, no_value, hold));
        slot = page_find(hold->page, key, hash, 0, entry);
        found = slot < page_count(hold->page);
    }
    if (!found) {
        if (body->has_filter)
            counter_add(counters, COUNT_FILTER_FALSE, 1);
        return PLSM_NOT_FOUND;
    }
    counter_add(counters, COUNT_RUN_FOUND, 1);
    return take_version(run, body, key, hash, seq, no_value, unit, slot, hold, entry);
}

plsm_status run_may_have_directory(struct run *run, uint64_t hash, bool *out)
{
    struct run_body *body = NULL;
    *out = true;
    TRY(run_open(run, &body));
    if (body->has_filter && run->facts.smallest.size &&
        *(const uint8_t *)run->facts.smallest.data == LSM_DIRECTORY_BYTE)
        *out = filter_may_contain(&body->filter, hash ^ RUN_DIRECTORY_SALT);
    return PLSM_OK;
}

plsm_status run_seek(struct run *run, struct run_body *body, plsm_slice key, struct page_hold *hold, uint32_t *unit,
                     unsigned *slot)
{
    bool learned = false, absent = false;
    TRY(locate(run, body, key, unit, &learned));
    TRY(run_page(run, body, *unit, true, hold));
    enum side side = side_of(hold->page, key);
    if (body->model && side != INSIDE) {
        TRY(correct(run, body, key, side, hold, unit, &absent));
        *slot = 0;
        if (absent)
            return PLSM_OK;
    }
    *slot = page_seek(hold->page, key);
    if (body->model && run->facts.versions && *slot == 0 && *unit > 0 && page_compare(hold->page, 0, key) == 0) {
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
