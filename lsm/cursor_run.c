/* Cursors over runs: pages read ahead, entries decoded, versions chosen. */
#include "lsm/cursor.h"

#include "base/alloc.h"
#include "base/error.h"
#include "lsm/page_classic.h"
#include "base/banned.h"

enum {
    READ_AHEAD_MAX = 64, /* units: 256 KiB, where a sequential read of a disk stops getting cheaper per byte */
    FETCHED_MOST = 16,   /* cursors whose seeks are readied together */
    FETCH_NEAR = 512,    /* bytes ahead on the same page where the next one is not known */
    APPROACHED = 4,      /* pages whose walks through page tables overlap; a power of two */
};

static void end(struct cursor *c, plsm_status status)
{
    c->valid = false;
    if (status != PLSM_OK)
        c->status = status;
}

static plsm_status buffer_reserve(struct cursor *c, size_t size)
{
    if (size <= c->buffer_capacity)
        return PLSM_OK;
    struct mem_account *before = cursor_enter(c);
    mem_free(c->buffer);
    c->buffered_count = 0;
    c->buffer_capacity = 0;
    c->buffer =
        mem_alloc(size + CURSOR_KEY_MOVE); /* show() reads a fixed size, also where a unit has its first block only */
    budget_leave(before);
    if (!c->buffer)
        return fail(PLSM_NO_MEMORY, "no memory for an iterator");
    c->buffer_capacity = size;
    return PLSM_OK;
}

/* Copies one page into the buffer, through the cache (which has it afterwards, if it has room). */
static plsm_status copy_page(struct cursor *c, uint32_t unit)
{
    struct page_hold hold;
    hold.heap = NULL;
    bool head_only = c->options.no_value;
    epoch_enter(c->run->context->epoch);
    plsm_status status = run_page_uncharged(c->run, c->body, unit, head_only, &hold);
    size_t size = 0;
    if (status == PLSM_OK) {
        size = hold.page == hold.own ? PAGE_SIZE : page_bytes(hold.page); /* own: perhaps the first block only */
        status = buffer_reserve(c, size);
    }
    if (status == PLSM_OK)
        memcpy(c->buffer, hold.page, size);
    page_hold_release(&hold);
    epoch_exit(c->run->context->epoch);
    c->buffered = unit;
    c->buffered_count = status == PLSM_OK;
    c->buffer_checked = true;
    return status;
}

static uint64_t ahead_bytes(const struct cursor *c, uint32_t first, uint32_t last)
{
    return run_unit_offset(c->body, last + 1) - run_unit_offset(c->body, first);
}

/* The units around `unit` that are read in one piece when `ahead` of them are wanted: in the direction of travel, and
 * no more than READ_AHEAD_MAX blocks where there are several units. */
static void choose_ahead(const struct cursor *c, uint32_t unit, unsigned ahead, uint32_t *first, uint32_t *last)
{
    uint32_t units = c->run->facts.units;
    *first = *last = unit;
    if (c->backward)
        *first = unit >= ahead - 1 ? unit - (ahead - 1) : 0;
    else
        *last = units - unit > ahead - 1 ? unit + ahead - 1 : units - 1;
    while (*first < unit && ahead_bytes(c, *first, *last) > READ_AHEAD_MAX * PAGE_SIZE)
        ++*first;
    while (*last > unit && ahead_bytes(c, *first, *last) > READ_AHEAD_MAX * PAGE_SIZE)
        --*last;
}

/* How many units to read at the next miss, after `ahead` at the last one. */
static unsigned grow_ahead(const struct cursor *c, unsigned ahead, bool adjacent)
{
    if (c->options.bulk)
        return READ_AHEAD_MAX;
    return !adjacent ? 1 : ahead < READ_AHEAD_MAX ? ahead * 4 : READ_AHEAD_MAX;
}

/* Charges simulated I/O for a unit, and for those that are read ahead with it, unless that was done already. */
static void charge(struct cursor *c, uint32_t unit, bool adjacent)
{
    bool head_only = c->options.no_value && run_unit_is_large(c->body, unit);
    uint32_t first = unit, last = unit;
    if (unit >= c->charged && unit - c->charged < c->charged_count)
        return;
    c->charged_ahead = grow_ahead(c, c->charged_ahead, adjacent);
    if (!head_only)
        choose_ahead(c, unit, c->charged_ahead, &first, &last);
    struct simulation_place place = simulated_units(c->run, c->body, first, last, head_only);
    /* Units of a compressed run may share a block: a walk forward has it already. */
    if (c->charged_end == place.first_block + 1 && first == c->charged + c->charged_count && place.block_count > 0) {
        place.first_block++;
        place.block_count--;
    }
    bool scan = adjacent || c->options.bulk;
    simulated_walk(c->run, place.first_block, place.block_count, scan ? SIM_SCAN : SIM_POINT, c->options.training);
    c->charged = first;
    c->charged_count = last - first + 1;
    c->charged_end = place.first_block + place.block_count;
}

/* Reads several units around `unit` in one piece, in the direction of travel. */
static plsm_status read_ahead(struct cursor *c, uint32_t unit)
{
    uint32_t first = unit, last = unit;
    choose_ahead(c, unit, c->ahead, &first, &last);
    uint64_t offset = run_unit_offset(c->body, first);
    size_t size = (size_t)ahead_bytes(c, first, last);
    TRY(buffer_reserve(c, size));
    c->buffered_count = 0;
    struct counters *counters = c->run->context->counters;
    counter_add(counters, COUNT_READS, 1);
    counter_add(counters, COUNT_READ_BYTES, size);
    if (c->options.bulk)
        counter_add(counters, COUNT_COMPACT_READ_BYTES, size);
    TRY(env_read(c->body->file, offset, c->buffer, size));
    c->buffered = first;
    c->buffered_count = last - first + 1;
    c->buffer_checked = false;
    return PLSM_OK;
}

static void unpin(struct cursor *c)
{
    if (c->pinned)
        cache_unpin(c->run->context->cache, c->pinned);
    c->pinned = 0;
}

/* A walk through the units has come to before `next`: when that is the first of so many, approaches all of them. */
static void approach(const struct cursor *c, uint32_t next)
{
    uint32_t first = next & ~(uint32_t)(APPROACHED - 1), end = first + APPROACHED, units = c->run->facts.units;
    end = end < units ? end : units;
    if (next == (c->backward ? end - 1 : first))
        cache_approach(c->run->context->cache, &c->body->slots[first], end - first);
}

/* Looks at the page in the cache itself, when it is there. */
static bool pin(struct cursor *c, uint32_t unit, bool adjacent)
{
    uint32_t number = 0;
    const uint8_t *page = cache_pin(c->run->context->cache, &c->body->slots[unit], &number);
    if (!page)
        return false;
    counter_add(c->run->context->counters, COUNT_CACHE_HITS, 1);
    c->pinned = number;
    c->page = page;
    uint32_t next = c->backward ? unit - 1 : unit + 1; /* unit 0 backward: no unit has that number */
    if (adjacent && next < c->run->facts.units) {      /* many a seek never leaves its first page */
        approach(c, next);
        const uint8_t *ahead = cache_prefetch(c->run->context->cache, &c->body->slots[next]);
        c->fetch_ahead = ahead ? (uintptr_t)ahead - (uintptr_t)page : FETCH_NEAR;
    }
    return true;
}

/* The page of a unit that stands in the buffer as in the file. */
static plsm_status check_page(struct cursor *c, uint32_t unit)
{
    uint64_t offset = run_unit_offset(c->body, unit);
    const uint8_t *stored = c->buffer + (offset - run_unit_offset(c->body, c->buffered));
    if (c->body->compressed) {
        struct mem_account *before = cursor_enter(c);
        plsm_status status = run_unit_unpack(c->run, c->body, unit, stored, &c->unpacked, &c->unpacked_capacity);
        budget_leave(before);
        TRY(status);
        c->page = c->unpacked;
        return PLSM_OK;
    }
    c->page = stored;
    if (page_verify(stored, run_unit_bytes(c->body, unit), c->run->facts.salt ^ offset,
                    c->run->context->verify_checksums) != PLSM_OK)
        return run_page_corrupt(c->run, unit);
    return PLSM_OK;
}

/* Makes `unit` a page in the buffer: read already, through the cache, or ahead. */
static plsm_status fill_buffer(struct cursor *c, uint32_t unit, bool adjacent)
{
    if (unit < c->buffered || unit - c->buffered >= c->buffered_count) {
        c->ahead = grow_ahead(c, c->ahead, adjacent);
        bool head_only = c->options.no_value && run_unit_is_large(c->body, unit);
        TRY(c->ahead == 1 || head_only ? copy_page(c, unit) : read_ahead(c, unit));
    }
    if (!c->buffer_checked)
        return check_page(c, unit);
    c->page = c->buffer; /* the only one there */
    return PLSM_OK;
}

/* Brings the page, a classic one, into the layout that all else here knows. */
static plsm_status expand(struct cursor *c)
{
    struct mem_account *before = cursor_enter(c);
    if (!c->expanded)
        c->expanded = mem_alloc(PAGE_EXPANDED_SIZE + CURSOR_KEY_MOVE);
    budget_leave(before);
    if (!c->expanded)
        return fail(PLSM_NO_MEMORY, "no memory for an iterator");
    page_classic_expand(c->page, c->expanded);
    c->page = c->expanded;
    c->fetch_ahead = FETCH_NEAR; /* it is elsewhere than the next one will be */
    return PLSM_OK;
}

/* Makes `unit` the current page. */
static plsm_status load(struct cursor *c, uint32_t unit)
{
    bool adjacent = c->page && (unit == c->unit + 1 || unit + 1 == c->unit);
    unpin(c);
    c->fetch_ahead = FETCH_NEAR;
    if (__builtin_expect(c->run->context->simulated != NULL, 0))
        charge(c, unit, adjacent);
    if (c->options.bulk || !pin(c, unit, adjacent))
        TRY(fill_buffer(c, unit, adjacent));
    if (page_is_classic(c->page))
        TRY(expand(c));
    c->unit = unit;
    c->count = page_count(c->page);
    c->slots = page_slots(c->page);
    c->page_end = c->page + page_bytes(c->page);
    c->prefix = page_prefix(c->page);
    c->prefix_head = cursor_head(c, c->prefix);
    c->prefix_shift = c->prefix.size - c->skip;
    c->simple = !c->run->facts.versions && c->run->seq <= c->options.seq && c->prefix.size >= c->skip &&
                c->prefix.size + CURSOR_KEY_MOVE <= CURSOR_KEY_COMMON;
    c->prefix_ready[0] = c->prefix_ready[1] = false; /* not copied here: the key shown before must stay */
    return PLSM_OK;
}

/* Enters run `at` of the list. */
static plsm_status enter_run(struct cursor *c, size_t at)
{
    if (c->run != c->runs[at]) {
        unpin(c);
        c->run = c->runs[at];
        c->body = NULL;
        c->page = NULL;
        c->buffered_count = 0;
        c->charged_count = 0;
        c->charged_end = 0;
        if (!c->options.bulk)
            c->ahead = 1;
    }
    c->run_at = at;
    return c->body ? PLSM_OK : run_open(c->run, &c->body);
}

/* Makes room for a long key in one of the buffers. */
static bool make_key_long(struct cursor *c, unsigned which)
{
    if (!c->long_keys[which]) {
        struct mem_account *before = cursor_enter(c);
        c->long_keys[which] = mem_alloc(LSM_KEY_MAX);
        budget_leave(before);
        if (!c->long_keys[which]) {
            end(c, fail(PLSM_NO_MEMORY, "no memory for an iterator"));
            return false;
        }
    }
    if (c->keys[which] != c->long_keys[which])
        c->prefix_ready[which] = false;
    c->keys[which] = c->long_keys[which];
    return true;
}

/* Decodes the entry under the cursor into the key buffer that does not hold the key shown before. False: an error. */
static inline bool show(struct cursor *c)
{
    const uint8_t *at = c->page + get_u16(c->slots + 2 * c->slot);
    cursor_fetch_ahead(at, c->fetch_ahead);
    page_entry_fast(at, c->page_end, &c->entry);
    c->key_at ^= 1;
    size_t size = c->entry.key.size, prefix_size = c->prefix.size,
           move = size < CURSOR_KEY_MOVE ? CURSOR_KEY_MOVE : size;
    if (__builtin_expect(prefix_size + move > CURSOR_KEY_COMMON, 0) && !make_key_long(c, c->key_at))
        return false;
    uint8_t *key = c->keys[c->key_at];
    if (__builtin_expect(!c->prefix_ready[c->key_at], 0)) {
        memcpy(key, c->prefix.data, prefix_size);
        c->prefix_ready[c->key_at] = true;
    }
    /* A fixed size is faster; but behind the page another thread may be filling the next frame. */
    bool inside = (const uint8_t *)c->entry.key.data + CURSOR_KEY_MOVE <= c->page_end;
    if (__builtin_expect(inside && size <= CURSOR_KEY_MOVE && prefix_size + CURSOR_KEY_MOVE <= LSM_KEY_MAX, 1))
        memcpy(key + prefix_size, c->entry.key.data, CURSOR_KEY_MOVE);
    else
        memcpy(key + prefix_size, c->entry.key.data, size);
    c->entry.key = slice(key, prefix_size + size);
    c->entry.seq = c->entry.seq ? c->entry.seq : c->run->seq;
    c->head = cursor_head(c, c->entry.key);
    c->valid = true;
    return true;
}

/* One entry forward or backward, over page and run borders; false at the end or after an error. */
static bool step(struct cursor *c, bool backward)
{
    plsm_status status = PLSM_OK;
    c->backward = backward;
    if (!backward && ++c->slot < c->count)
        return true;
    if (backward && c->slot-- > 0)
        return true;
    bool in_run = backward ? c->unit > 0 : c->unit + 1 < c->run->facts.units;
    bool in_list = backward ? c->run_at > 0 : c->run_at + 1 < c->run_count;
    if (in_run) {
        status = load(c, backward ? c->unit - 1 : c->unit + 1);
    } else if (in_list) {
        status = enter_run(c, backward ? c->run_at - 1 : c->run_at + 1);
        if (status == PLSM_OK)
            status = load(c, backward ? c->run->facts.units - 1 : 0);
    } else {
        end(c, PLSM_OK);
        return false;
    }
    if (status != PLSM_OK) {
        end(c, status);
        return false;
    }
    c->slot = backward ? c->count - 1 : 0;
    return true;
}

static bool visible(const struct cursor *c)
{
    return c->options.all_versions || c->entry.seq <= c->options.seq;
}

/* From the place reached: shows the first entry that is to be shown, going forward. `skip` is the key shown before (no
 * other version of it is shown again), or empty. */
static void settle_forward(struct cursor *c, plsm_slice skip)
{
    bool more = true;
    while (more) {
        if (!show(c))
            return;
        bool again = c->run->facts.versions && skip.size && !c->options.all_versions && slice_equal(c->entry.key, skip);
        if (!again && visible(c))
            return;
        c->key_at ^= 1; /* the key shown before stays where it is */
        more = step(c, false);
    }
}

/* Goes back to a place that was passed and shows it. */
static void show_again(struct cursor *c, size_t run_at, uint32_t unit, unsigned slot)
{
    plsm_status status = enter_run(c, run_at);
    if (status == PLSM_OK && (!c->page || unit != c->unit))
        status = load(c, unit);
    if (status != PLSM_OK) {
        end(c, status);
        return;
    }
    c->slot = slot;
    (void)show(c);
}

/* From the place reached, going backward: the newest visible version of the key there, or of one before. Versions of a
 * key are newest first, so the last one met with seq <= options.seq is it. */
static void settle_backward(struct cursor *c)
{
    bool more = true;
    while (more) {
        if (!show(c))
            return;
        if (!c->run->facts.versions) {
            if (visible(c))
                return;
            c->key_at ^= 1; /* the key shown before stays where it is */
            more = step(c, true);
            continue;
        }
        plsm_slice key = c->entry.key;
        size_t run_at = c->run_at;
        uint32_t unit = 0;
        unsigned slot = 0;
        bool found = false, same = true;
        while (more && same) {
            struct entry entry;
            page_entry(c->page, c->slot, &entry);
            if (entry.seq <= c->options.seq) {
                found = true;
                unit = c->unit;
                slot = c->slot;
            }
            more = step(c, true);
            same = more && c->run_at == run_at && page_compare(c->page, c->slot, key) == 0;
        }
        c->key_at ^= 1;
        if (c->status != PLSM_OK)
            return;
        if (found) {
            show_again(c, run_at, unit, slot);
            return;
        }
    }
}

void cursor_run_first(struct cursor *c)
{
    c->status = PLSM_OK;
    c->backward = false;
    plsm_status status = c->run_count ? enter_run(c, 0) : PLSM_OK;
    if (status == PLSM_OK && c->run_count)
        status = load(c, 0);
    if (status != PLSM_OK || !c->run_count) {
        end(c, status);
        return;
    }
    c->slot = 0;
    settle_forward(c, (plsm_slice){0});
}

void cursor_run_last(struct cursor *c)
{
    c->status = PLSM_OK;
    c->backward = true;
    plsm_status status = c->run_count ? enter_run(c, c->run_count - 1) : PLSM_OK;
    if (status == PLSM_OK && c->run_count)
        status = load(c, c->run->facts.units - 1);
    if (status != PLSM_OK || !c->run_count) {
        end(c, status);
        return;
    }
    c->slot = c->count - 1;
    settle_backward(c);
}

/* A seek looked for `key` and for the page it is on: that page need not be charged for again, as far as it was read. */
static void charge_seek(struct cursor *c, plsm_slice key, uint32_t unit)
{
    simulated_seek(c->run, c->body, key, unit);
    bool whole = c->options.no_value || !run_unit_is_large(c->body, unit);
    if (!whole || (unit >= c->charged && unit - c->charged < c->charged_count))
        return;
    c->charged = unit;
    c->charged_count = 1;
    c->charged_ahead = 1;
    struct simulation_place place = simulated_units(c->run, c->body, unit, unit, false);
    c->charged_end = place.first_block + place.block_count;
}

/* Readies the search that a seek of the cursor begins with; false: it is of a memtable, or something would have to be
 * read from files. */
static bool search_init(const struct cursor *c, plsm_slice key, struct run_search *s)
{
    size_t at = c->is_memtable ? c->run_count : runs_reaching(c->runs, c->run_count, key, key_head(key));
    if (at == c->run_count)
        return false;
    const struct run_body *body = atomic_load_explicit(&c->runs[at]->body, memory_order_acquire);
    if (!body)
        return false;
    unsigned state = atomic_load_explicit(&body->model_state, memory_order_relaxed);
    bool fences = atomic_load_explicit(&body->fences, memory_order_acquire) && state != MODEL_THERE;
    if (!atomic_load_explicit(&body->model, memory_order_acquire) && (!fences || state == MODEL_MISSING))
        return false;
    return run_search_init(s, c->runs[at], true);
}

void cursors_fetch(struct cursor *cursors, unsigned count, plsm_slice key)
{
    struct run_search searches[FETCHED_MOST];
    struct run_question question = {.key = key};
    struct epoch *epoch = NULL;
    unsigned begun = 0;
    if (count < 2) /* nothing to overlap with */
        return;
    for (unsigned i = 0; i < count && begun < FETCHED_MOST; i++) {
        if (!epoch && !cursors[i].is_memtable && cursors[i].run_count > 0) {
            const struct run_context *context = cursors[i].runs[0]->context;
            question.counts = counters_mine(context->counters);
            epoch_enter(epoch = context->epoch);
        }
        if (search_init(&cursors[i], key, &searches[begun]))
            run_search_begin(&searches[begun++], &question);
    }
    for (unsigned i = 0; i < begun; i++)
        if (run_search_locate(&searches[i], &question) != PLSM_OK)
            begun = i;
    for (unsigned i = 0; i < begun; i++)
        run_search_fetch_page(&searches[i]);
    for (unsigned i = 0; i < begun; i++)
        run_search_fetch_ordered(&searches[i]);
    if (epoch)
        epoch_exit(epoch);
}

/* A seek looked for `key` in the run at hand, of which only the range tombstones reach so far: puts the cursor on the
 * first entry of the next one. False when there is none, or after an error. */
static bool place_next(struct cursor *c, plsm_slice key)
{
    if (c->run->context->simulated)
        simulated_seek(c->run, c->body, key, c->run->facts.units - 1);
    if (c->run_at + 1 == c->run_count)
        return false;
    plsm_status status = enter_run(c, c->run_at + 1);
    if (status == PLSM_OK)
        status = load(c, 0);
    if (status != PLSM_OK)
        end(c, status);
    c->slot = 0;
    return status == PLSM_OK;
}

/* Brings the entries from the one at hand on towards the processor's cache, as far as FETCH_NEAR; stepping along goes
 * on with that. */
static void fetch_following(const struct cursor *c)
{
    uintptr_t at = (uintptr_t)c->page + get_u16(c->slots + 2 * c->slot);
    for (unsigned i = 64; i < FETCH_NEAR; i += 64)
        __builtin_prefetch((const void *)(at + i));
}

/* Puts the cursor on the first entry with a key >= key, whatever its version; false when there is none (then the
 * cursor stands nowhere) or after an error. */
static bool place(struct cursor *c, plsm_slice key)
{
    size_t at = runs_reaching(c->runs, c->run_count, key, key_head(key));
    c->status = PLSM_OK;
    c->valid = false;
    c->backward = false;
    if (at == c->run_count)
        return false;
    plsm_status status = enter_run(c, at);
    uint32_t unit = 0;
    unsigned slot = 0;
    if (status == PLSM_OK) {
        struct page_hold hold;
        hold.heap = NULL;
        epoch_enter(c->run->context->epoch);
        status = run_seek(c->run, c->body, key, &hold, &unit, &slot);
        page_hold_release(&hold);
        epoch_exit(c->run->context->epoch);
    }
    if (status == PLSM_OK && unit == c->run->facts.units && c->run->facts.ranges > 0)
        return place_next(c, key);
    if (status == PLSM_OK && unit == c->run->facts.units)
        status = run_page_corrupt(c->run, unit - 1); /* its largest key is >= key, by the MANIFEST */
    if (status == PLSM_OK && c->run->context->simulated)
        charge_seek(c, key, unit);
    if (status == PLSM_OK)
        status = load(c, unit);
    if (status != PLSM_OK) {
        end(c, status);
        return false;
    }
    c->slot = slot;
    fetch_following(c);
    return true;
}

void cursor_run_seek(struct cursor *c, plsm_slice key)
{
    if (place(c, key))
        settle_forward(c, (plsm_slice){0});
}

void cursor_run_seek_before(struct cursor *c, plsm_slice key)
{
    if (place(c, key)) {
        if (step(c, true))
            settle_backward(c);
    } else if (c->status == PLSM_OK && c->run_count) {
        cursor_run_last(c); /* all keys are smaller */
    }
}

unsigned cursor_ahead(struct cursor *c, uint64_t head_end, uint8_t (*keys)[CURSOR_KEY_ROOM], struct key_value *out,
                      unsigned most)
{
    /* All that is read of the cursor: for all a compiler knows, a key that is written might be a part of it. */
    const uint8_t *page = c->page, *page_end = c->page_end, *slots = c->slots + 2 * (c->slot + 1);
    size_t prefix_size = c->prefix.size, shift = c->prefix_shift;
    uint64_t prefix_head = c->prefix_head;
    uintptr_t fetch_ahead = c->fetch_ahead;
    unsigned count = 0;
    uint8_t prefix[CURSOR_KEY_ROOM - CURSOR_KEY_MOVE] = {0}; /* moved as a whole */
    if (prefix_size > sizeof prefix || !c->simple)
        return 0;
    memcpy(prefix, c->prefix.data, prefix_size);
    most = most < c->count - c->slot - 1 ? most : c->count - c->slot - 1;
    if (most == 0)
        return 0;
    /* Heads ascend: mostly all are below the end. */
    const uint8_t *last_at = page + get_u16(slots + 2 * (most - 1));
    bool below = cursor_common(last_at, page_end) && cursor_common_head(last_at, prefix_head, shift) < head_end;
    for (; count < most; count++) {
        const uint8_t *at = page + get_u16(slots + 2 * count);
        cursor_fetch_ahead(at, fetch_ahead);
        if (!cursor_common(at, page_end) || (!below && cursor_common_head(at, prefix_head, shift) >= head_end))
            break;
        uint8_t *key = keys[count];
        size_t size = at[1], value_size = at[2];
        memcpy(key, prefix, CURSOR_KEY_MOVE);
        if (__builtin_expect(prefix_size > CURSOR_KEY_MOVE, 0))
            memcpy(key, prefix, sizeof prefix);
        memcpy(key + prefix_size, at + 3, CURSOR_KEY_MOVE);
        out[count] = (struct key_value){slice(key, prefix_size + size), slice(at + 3 + size, value_size)};
    }
    if (count == 0)
        return 0;
    const struct key_value *last = &out[count - 1];
    c->slot += count;
    c->head = cursor_common_head(page + get_u16(slots + 2 * (count - 1)), prefix_head, shift);
    c->lags = false;
    c->backward = false;
    c->key_at ^= 1;
    memcpy(c->keys[c->key_at], last->key.data, CURSOR_KEY_ROOM);
    c->prefix_ready[c->key_at] = true;
    c->entry = (struct entry){
        .key = slice(c->keys[c->key_at], last->key.size), .value = last->value, .seq = c->run->seq, .kind = BATCH_PUT};
    return count;
}

void cursor_run_next(struct cursor *c)
{
    plsm_slice shown = c->entry.key;
    if (__builtin_expect(c->slot + 1 < c->count && !c->run->facts.versions, 1)) { /* the next entry of the page */
        c->slot++;
        c->backward = false;
        if (!show(c) || __builtin_expect(visible(c), 1))
            return;
        c->key_at ^= 1; /* the key shown before stays where it is */
    }
    if (step(c, false))
        settle_forward(c, shown);
}

void cursor_run_previous(struct cursor *c)
{
    plsm_slice shown = c->entry.key;
    while (step(c, true)) {
        if (c->run->facts.versions) { /* newer versions of the key that is shown may stand here */
            if (page_compare(c->page, c->slot, shown) == 0)
                continue;
        }
        settle_backward(c);
        return;
    }
}

void cursor_run_close(struct cursor *c)
{
    struct mem_account *before = cursor_enter(c);
    unpin(c);
    mem_free(c->common_keys);
    mem_free(c->long_keys[0]);
    mem_free(c->long_keys[1]);
    mem_free(c->buffer);
    mem_free(c->expanded);
    mem_free(c->unpacked);
    budget_leave(before);
}
