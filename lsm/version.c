/* Versions and edits. */
#include "lsm/version.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/banned.h"

/* Makes room for one more element in an array of `size`-byte elements. */
static plsm_status grow(void **array, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity)
        return PLSM_OK;
    size_t wanted = *capacity ? 2 * *capacity : 8;
    struct mem_account *before = mem_account_use(NULL); /* it outlives the job that is at it */
    void *grown = mem_realloc(*array, wanted * size);
    mem_account_use(before);
    if (!grown)
        return fail(PLSM_NO_MEMORY, "no memory for a version");
    *array = grown;
    *capacity = wanted;
    return PLSM_OK;
}

plsm_status edit_add(struct edit *edit, unsigned level, struct run *run)
{
    plsm_status status = grow((void **)&edit->added, edit->added_count, &edit->added_capacity, sizeof *edit->added);
    if (status != PLSM_OK) {
        run_unref(run);
        return status;
    }
    edit->added[edit->added_count++] = (struct edit_added){level, run};
    return PLSM_OK;
}

plsm_status edit_remove(struct edit *edit, unsigned level, uint64_t number)
{
    TRY(grow((void **)&edit->removed, edit->removed_count, &edit->removed_capacity, sizeof *edit->removed));
    edit->removed[edit->removed_count++] = (struct edit_removed){level, number};
    return PLSM_OK;
}

plsm_status edit_add_values(struct edit *edit, struct value_log *log)
{
    plsm_status status = grow((void **)&edit->values, edit->values_count, &edit->values_capacity, sizeof *edit->values);
    if (status != PLSM_OK) {
        value_log_unref(log);
        return status;
    }
    size_t at = edit->values_count++;
    for (; at > 0 && edit->values[at - 1]->number > log->number; at--)
        edit->values[at] = edit->values[at - 1];
    edit->values[at] = log;
    return PLSM_OK;
}

void edit_disown(const struct edit *edit)
{
    for (size_t i = 0; i < edit->added_count; i++) {
        struct run *run = edit->added[i].run;
        bool moved = false;
        for (size_t j = 0; j < edit->removed_count; j++)
            moved |= edit->removed[j].number == run->facts.number;
        if (!moved)
            atomic_store(&run->obsolete, true);
    }
    for (size_t i = 0; i < edit->values_count; i++)
        atomic_store(&edit->values[i]->obsolete, true);
}

void edit_free(struct edit *edit)
{
    for (size_t i = 0; i < edit->added_count; i++)
        run_unref(edit->added[i].run);
    for (size_t i = 0; i < edit->values_count; i++)
        value_log_unref(edit->values[i]);
    mem_free(edit->values);
    mem_free(edit->added);
    mem_free(edit->removed);
    *edit = (struct edit){0};
}

struct version *version_create(void)
{
    struct version *version = mem_zalloc(sizeof *version);
    if (version)
        atomic_init(&version->references, 1);
    return version;
}

void version_ref(struct version *version)
{
    atomic_fetch_add_explicit(&version->references, 1, memory_order_relaxed);
}

void version_unref(struct version *version)
{
    if (!version || atomic_fetch_sub_explicit(&version->references, 1, memory_order_acq_rel) > 1)
        return;
    for (unsigned level = 0; level < LSM_LEVELS; level++) {
        struct level *l = &version->levels[level];
        for (size_t i = 0; i < l->count; i++) {
            if (l->places[i] != YOUNG_PLACE_NONE)
                young_runs_release(version->young, l->places[i]);
            run_unref(l->runs[i]);
        }
        mem_free(version->levels[level].runs);
        router_unref(version->levels[level].router);
    }
    for (size_t i = 0; i < version->values_count; i++)
        value_log_unref(version->values[i].log);
    mem_free(version->values);
    mem_free(version);
}

/* The newest first. Of runs that share keys the newer one has the larger sequence number: memtables and bulk loads
 * follow each other, and what is merged were neighbours. Only parts of one sorted run have the same. (Numbers would not
 * do: a bulk load takes those of its runs long before its place in time.) */
static int by_age(const void *a, const void *b)
{
    const struct run_facts *x = &(*(struct run *const *)a)->facts, *y = &(*(struct run *const *)b)->facts;
    if (x->seq_max != y->seq_max)
        return x->seq_max > y->seq_max ? -1 : 1;
    return x->number > y->number ? -1 : x->number < y->number;
}

static int by_key(const void *a, const void *b)
{
    return slice_compare((*(struct run *const *)a)->facts.smallest, (*(struct run *const *)b)->facts.smallest);
}

/* Fills one level of `next` from the same level of `base` and the edit. */
static plsm_status apply_level(const struct level *base, const struct edit *edit, unsigned level, struct level *next)
{
    size_t capacity = base->count, removed = 0, wanted_removed = 0;
    next->stale_pages = base->stale_pages;
    for (size_t i = 0; i < edit->added_count; i++) {
        capacity += edit->added[i].level == level;
        next->stale_pages += edit->added[i].level == level ? edit->added[i].run->facts.units : 0;
    }
    for (size_t i = 0; i < edit->removed_count; i++)
        wanted_removed += edit->removed[i].level == level;
    if (capacity == 0)
        return wanted_removed ? fail(PLSM_CORRUPT, "MANIFEST: a run is removed that does not exist") : PLSM_OK;
    next->runs = mem_alloc(capacity * (sizeof *next->runs + sizeof *next->places));
    if (!next->runs)
        return fail(PLSM_NO_MEMORY, "no memory for a version");
    next->places = (uint8_t *)(next->runs + capacity);
    memset(next->places, YOUNG_PLACE_NONE, capacity);
    for (size_t i = 0; i < base->count; i++) {
        bool gone = false;
        for (size_t j = 0; j < edit->removed_count && !gone; j++)
            gone = edit->removed[j].level == level && edit->removed[j].number == base->runs[i]->facts.number;
        removed += gone;
        next->stale_pages += gone ? base->runs[i]->facts.units : 0;
        if (!gone)
            next->runs[next->count++] = base->runs[i];
    }
    for (size_t i = 0; i < edit->added_count; i++)
        if (edit->added[i].level == level)
            next->runs[next->count++] = edit->added[i].run;
    for (size_t i = 0; i < next->count; i++) {
        run_ref(next->runs[i]);
        next->bytes += next->runs[i]->facts.file_size;
        next->ranged += next->runs[i]->facts.ranges > 0;
    }
    if (removed != wanted_removed)
        return fail(PLSM_CORRUPT, "MANIFEST: a run is removed that does not exist");
    if (next->stale_pages == base->stale_pages && base->router) { /* the same runs */
        router_ref(base->router);
        next->router = base->router;
    }
    qsort(next->runs, next->count, sizeof(struct run *), level == 0 ? by_age : by_key);
    for (size_t i = 1; level > 0 && i < next->count; i++)
        if (slice_compare(next->runs[i - 1]->facts.largest, next->runs[i]->facts.smallest) >= 0)
            return fail(PLSM_CORRUPT, "MANIFEST: runs %llu and %llu of level %u overlap",
                        (unsigned long long)next->runs[i - 1]->facts.number,
                        (unsigned long long)next->runs[i]->facts.number, level);
    return PLSM_OK;
}

uint64_t version_young_bytes_max(uint64_t bytes, uint64_t buffer_size)
{
    return bytes / YOUNG_PART > 2 * buffer_size ? bytes / YOUNG_PART : 2 * buffer_size;
}

bool version_is_young(const struct version *version, unsigned level, const struct run *run)
{
    const struct level *first = &version->levels[0];
    uint64_t bytes = 0; /* of the sorted run that it is a part of */
    for (size_t i = 0; level == 0 && i < first->count; i++)
        bytes += first->runs[i]->facts.seq_max == run->facts.seq_max ? first->runs[i]->facts.file_size : 0;
    return level == 0 ? bytes <= version->young_bytes_max : level < version->last;
}

static uint64_t young_bytes_max(const struct version *version)
{
    uint64_t bytes = 0;
    const struct level *first = &version->levels[0];
    for (unsigned level = 0; level < LSM_LEVELS; level++)
        bytes += version->levels[level].bytes;
    return first->count ? version_young_bytes_max(bytes, first->runs[0]->context->options->buffer_size) : 0;
}

/* Notes the places that the runs have among the young ones. On the last level none counts: there each run is asked by
 * itself, since the table would take three times the memory of a filter. */
static void note_places(struct version *version)
{
    version->last = LSM_LEVELS - 1;
    while (version->last > 0 && version->levels[version->last].count == 0)
        version->last--;
    version->young_bytes_max = young_bytes_max(version);
    for (unsigned level = 0; level < LSM_LEVELS; level++) {
        struct level *l = &version->levels[level];
        l->outside = l->count;
        version->ranged += l->ranged;
        for (size_t i = 0; i < l->count && (level == 0 || level < version->last); i++) {
            uint8_t place = l->runs[i]->young_place;
            bool belongs = place != YOUNG_PLACE_NONE ||
                           (l->runs[i]->young_need != UINT64_MAX && version_is_young(version, level, l->runs[i]));
            version->young_keys += belongs ? l->runs[i]->facts.filter_keys : 0;
            if (place == YOUNG_PLACE_NONE)
                continue;
            const struct run *run = l->runs[i];
            bool first = !version->young;
            if (first || run->smallest_head < version->young_head_min)
                version->young_head_min = run->smallest_head;
            if (first || run->largest_head > version->young_head_max)
                version->young_head_max = run->largest_head;
            version->young = run->context->young;
            young_runs_need(version->young, place);
            l->places[i] = place;
            l->outside--;
            l->in_table.slots[place / YOUNG_SLOTS] |= UINT64_C(1) << place % YOUNG_SLOTS;
            version->in_table.slots[place / YOUNG_SLOTS] |= UINT64_C(1) << place % YOUNG_SLOTS;
        }
    }
}

void version_settle(struct version *version)
{
    const struct level *l = &version->levels[version->last];
    for (size_t i = 0; i < l->count && version->last > 0; i++)
        run_leave_young(l->runs[i]);
}

static struct version_values *find_values(const struct version *version, uint64_t number)
{
    size_t low = 0, high = version->values_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (version->values[middle].log->number < number)
            low = middle + 1;
        else
            high = middle;
    }
    bool found = low < version->values_count && version->values[low].log->number == number;
    return found ? &version->values[low] : NULL;
}

const struct version_values *version_values_of(const struct version *version, uint64_t number)
{
    return find_values(version, number);
}

/* Adds up what the runs of a version point to. */
static plsm_status count_values(struct version *version)
{
    for (unsigned level = 0; level < LSM_LEVELS; level++)
        for (size_t i = 0; i < version->levels[level].count; i++) {
            const struct run_facts *f = &version->levels[level].runs[i]->facts;
            for (size_t j = 0; j < f->values_count; j++) {
                struct version_values *values = find_values(version, f->values[j].log);
                if (!values || f->values[j].bytes > version_garbage_bytes(values))
                    return fail(PLSM_CORRUPT, "MANIFEST: run %llu points into value log %llu, which %s",
                                (unsigned long long)f->number, (unsigned long long)f->values[j].log,
                                values ? "is too small" : "does not exist");
                values->live_bytes += f->values[j].bytes;
            }
        }
    return PLSM_OK;
}

/* The value logs of `next`, whose runs are there: those of `base` and of the edit that some run points into. */
static plsm_status apply_values(const struct version *base, const struct edit *edit, struct version *next)
{
    size_t most = base->values_count + edit->values_count, kept = 0;
    next->values = most ? mem_zalloc(most * sizeof *next->values) : NULL;
    if (most && !next->values)
        return fail(PLSM_NO_MEMORY, "no memory for a version");
    for (size_t i = 0, j = 0; i < base->values_count || j < edit->values_count;) {
        struct value_log *old = i < base->values_count ? base->values[i].log : NULL;
        struct value_log *added = j < edit->values_count ? edit->values[j] : NULL;
        bool take_old = old && (!added || old->number < added->number);
        struct value_log *log = take_old ? old : added;
        if (next->values_count && next->values[next->values_count - 1].log->number >= log->number)
            return fail(PLSM_CORRUPT, "MANIFEST: value log %llu is added twice", (unsigned long long)log->number);
        value_log_ref(log);
        next->values[next->values_count++].log = log;
        i += take_old;
        j += !take_old;
    }
    TRY(count_values(next));
    for (size_t i = 0; i < next->values_count; i++) {
        if (next->values[i].live_bytes > 0)
            next->values[kept++] = next->values[i];
        else
            value_log_unref(next->values[i].log);
    }
    next->values_count = kept;
    return PLSM_OK;
}

plsm_status version_apply(const struct version *base, const struct edit *edit, struct version **out)
{
    plsm_status status = PLSM_OK;
    struct version *next = version_create();
    if (!next)
        return fail(PLSM_NO_MEMORY, "no memory for a version");
    for (unsigned level = 0; level < LSM_LEVELS && status == PLSM_OK; level++)
        status = apply_level(&base->levels[level], edit, level, &next->levels[level]);
    if (status == PLSM_OK)
        status = apply_values(base, edit, next);
    if (status == PLSM_OK) {
        note_places(next);
    } else {
        version_unref(next);
        next = NULL;
    }
    *out = next;
    return status;
}

size_t version_overlapping(const struct version *version, unsigned level, plsm_slice smallest, plsm_slice largest,
                           size_t *first)
{
    const struct level *l = &version->levels[level];
    size_t behind = *first = runs_reaching(l->runs, l->count, smallest, key_head(smallest));
    while (behind < l->count && slice_compare(l->runs[behind]->facts.smallest, largest) <= 0)
        behind++;
    return behind - *first;
}

uint64_t version_overlapping_bytes(const struct version *version, unsigned level, const struct run *run)
{
    size_t first = 0, count = version_overlapping(version, level, run->facts.smallest, run->facts.largest, &first);
    uint64_t bytes = 0;
    for (size_t i = first; i < first + count; i++)
        bytes += version->levels[level].runs[i]->facts.file_size;
    return bytes;
}

unsigned sorted_runs_next(struct sorted_runs *seen, const struct run *run)
{
    uint8_t byte = run_first_byte(run);
    seen->counts[byte] += !run_same_sorted(seen->before[byte], run);
    seen->before[byte] = run;
    return seen->counts[byte];
}

unsigned level0_depth(const struct version *version)
{
    struct sorted_runs seen = {0};
    unsigned depth = 0;
    const struct level *level = &version->levels[0];
    for (size_t i = 0; i < level->count; i++) {
        unsigned count = sorted_runs_next(&seen, level->runs[i]);
        depth = count > depth ? count : depth;
    }
    return depth;
}

unsigned version_sorted_runs(const struct version *version)
{
    unsigned levels = 0;
    for (unsigned level = 1; level < LSM_LEVELS; level++)
        levels += version->levels[level].count > 0;
    return level0_depth(version) + levels;
}

static uint64_t bytes_of(const struct run *run, bool values)
{
    uint64_t bytes = run->facts.file_size;
    for (size_t i = 0; values && i < run->facts.values_count; i++)
        bytes += run->facts.values[i].bytes;
    return bytes;
}

uint64_t version_entries(const struct version *version)
{
    uint64_t entries = 0;
    for (unsigned l = 0; l < LSM_LEVELS; l++)
        for (size_t i = 0; i < version->levels[l].count; i++)
            entries += version->levels[l].runs[i]->facts.entries;
    return entries;
}

uint64_t version_largest_bytes(const struct version *version, bool values)
{
    const struct level *young = &version->levels[0], *last = &version->levels[version->last];
    uint64_t largest = 0;
    for (size_t i = 0; i < last->count && version->last > 0; i++)
        largest += bytes_of(last->runs[i], values);
    for (size_t first = 0, next = 0; first < young->count; first = next) {
        uint64_t bytes = 0;
        for (; next < young->count && young->runs[next]->facts.seq_max == young->runs[first]->facts.seq_max; next++)
            bytes += bytes_of(young->runs[next], values);
        largest = bytes > largest ? bytes : largest;
    }
    return largest;
}

enum lsm_group version_group(const struct version *version, unsigned level)
{
    if (level == 0)
        return LSM_GROUP_FIRST;
    return level >= version_last_level(version) ? LSM_GROUP_LAST : LSM_GROUP_MIDDLE;
}

void version_tell_runs(struct version *version, bool group)
{
    for (unsigned level = 0; level < LSM_LEVELS; level++)
        for (size_t i = 0; i < version->levels[level].count; i++) {
            struct run *run = version->levels[level].runs[i];
            atomic_store_explicit(&run->level, (uint8_t)level, memory_order_relaxed);
            if (group)
                run->group = version_group(version, level);
        }
}

plsm_status version_train(struct version *version, const struct lsm_options *options, bool changed)
{
    uint64_t left = options->model_store_bytes;
    for (unsigned level = 1; level < LSM_LEVELS; level++) {
        struct level *l = &version->levels[level];
        const struct lsm_group_options *group = &options->groups[version_group(version, level)];
        bool wanted = options->index == LSM_LEARNED && group->model != LSM_MODEL_NONE && l->count > 1;
        bool now = !changed || (group->incremental && l->stale_pages >= group->batch);
        if (!l->router && wanted && now)
            TRY(router_create(l->runs, l->count, left < options->model_level_bytes ? left : options->model_level_bytes,
                              &l->router));
        if (wanted && now)
            l->stale_pages = 0;
        left -= l->router ? router_bytes(l->router) : 0;
    }
    return PLSM_OK;
}
