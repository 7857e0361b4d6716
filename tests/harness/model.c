#include "tests/harness/model.h"

#include <stdlib.h>

#include "base/banned.h"

struct version {
    uint64_t write;
    struct content content;
};

struct history {
    struct version *versions; /* by write, ascending */
    size_t count, capacity;
};

/* A write that returned an error. `seen` and `unseen`: some key shows that it happened, that it did not. */
struct failed_write {
    uint64_t after; /* writes that were acknowledged before it */
    bool seen, unseen;
    size_t count;
    struct change changes[MODEL_CHANGES];
};

struct model {
    uint64_t writes;
    uint64_t clock_s, tick_s, ttl_s;
    struct history keys[WORKLOAD_KEYS];
    struct failed_write *failed;
    size_t failed_count, failed_capacity;
    struct change settled[WORKLOAD_KEYS]; /* differences found by model_explain */
    size_t settled_count;
};

static const struct content absent;

/* Tests allocate from the C library: mem_alloc may be told to fail by the very test that runs. */
static void *grow(void *old, size_t size)
{
    void *memory = realloc(old, size);
    if (!memory)
        abort();
    return memory;
}

struct model *model_create(void)
{
    workload_init();
    struct model *model = grow(NULL, sizeof *model);
    memset(model, 0, sizeof *model);
    model->tick_s = 1;
    return model;
}

void model_destroy(struct model *model)
{
    if (!model)
        return;
    for (unsigned key = 0; key < WORKLOAD_KEYS; key++)
        free(model->keys[key].versions);
    free(model->failed);
    free(model);
}

uint64_t model_now(const struct model *model)
{
    return model->writes;
}

void model_set_clock(struct model *model, uint64_t clock_s, uint64_t tick_s)
{
    model->clock_s = clock_s;
    model->tick_s = tick_s;
}

uint64_t model_clock(const struct model *model)
{
    return model->clock_s;
}

uint64_t model_tick(const struct model *model)
{
    return model->tick_s;
}

void model_set_ttl(struct model *model, uint64_t ttl_s)
{
    model->ttl_s = ttl_s;
}

/* What there is of a content at a second. */
static const struct content *living(const struct content *content, uint64_t clock_s)
{
    return content->expires_s && content->expires_s <= clock_s ? &absent : content;
}

/* Whatever its time. */
static const struct content *get_any(const struct model *model, unsigned key, uint64_t at)
{
    const struct history *history = &model->keys[key];
    size_t i = history->count;
    while (i > 0 && history->versions[i - 1].write > at)
        i--;
    return i > 0 ? &history->versions[i - 1].content : &absent;
}

const struct content *model_get(const struct model *model, unsigned key, uint64_t at)
{
    return living(get_any(model, key, at), model->clock_s);
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

/* The content of a key as a batch sees it in its middle. */
static struct content planned(const struct model *model, unsigned key, const struct change *changes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (changes[i].key == key)
            return *living(&changes[i].content, model->clock_s);
    return *model_get(model, key, model->writes);
}

static void plan_change(struct change *changes, size_t *count, unsigned key, struct content content)
{
    size_t i = 0;
    while (i < *count && changes[i].key != key)
        i++;
    changes[i] = (struct change){key, content};
    if (i == *count)
        ++*count;
}

static uint64_t expires_of(const struct model *model, uint64_t clock_s, const struct op *op)
{
    plsm_slice key = workload_key(op->key);
    bool directory = ((const uint8_t *)key.data)[key.size - 1] == '/';
    if (op->life || model->ttl_s == 0 || workload_keyspace(op->key) != PLSM_NAMES || directory)
        return workload_expires(op, clock_s, model->tick_s);
    return clock_s + model->ttl_s;
}

static struct content content_of(const struct model *model, uint64_t clock_s, const struct op *op)
{
    return (struct content){.present = true,
                            .expires_s = expires_of(model, clock_s, op),
                            .size = op->size,
                            .seed = op->seed,
                            .meta_size = op->kind == OP_PUT ? 0 : op->meta_size,
                            .meta_seed = op->seed ^ 0x5a5a5a5au};
}

/* All keys of the range, also those that are not there: a write that failed may have put them. */
static void plan_range(const struct op *op, struct change *changes, size_t *count)
{
    static uint8_t buffers[2 * (PLSM_KEY_MAX + 1)]; /* test programs have one thread that plans */
    plsm_slice from, to;
    plsm_keyspace keyspace = workload_keyspace(op->key);
    workload_range(op, buffers, &from, &to);
    unsigned low = workload_lower_bound(keyspace, from);
    unsigned high = to.size ? workload_lower_bound(keyspace, to) : workload_lower_bound(keyspace + 1, slice(NULL, 0));
    for (unsigned rank = low; rank < high; rank++)
        plan_change(changes, count, workload_at_rank(rank), absent);
}

/* The conditions of a batch, which look at the state before it. */
static plsm_status check_conditions(const struct model *model, const struct op *ops, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct content *now = model_get(model, ops[i].key, model->writes);
        if (ops[i].kind == OP_BATCH_IF_ABSENT && now->present)
            return PLSM_EXISTS;
        if (ops[i].kind == OP_BATCH_IF_EQUAL &&
            (!now->present || now->size > PLSM_INLINE_MAX || ops[i].size || ops[i].seed))
            return PLSM_CONFLICT;
    }
    return PLSM_OK;
}

/* Gives all keys of a shared value a meta, or tells whether there are any. */
static bool plan_shared_meta(const struct model *model, uint64_t shared, const struct op *op, struct change *changes,
                             size_t *count)
{
    bool any = false;
    for (unsigned key = 0; key < WORKLOAD_KEYS; key++) {
        struct content now = planned(model, key, changes, *count);
        if (!now.present || now.shared != shared)
            continue;
        any = true;
        if (!op)
            continue;
        now.meta_size = op->meta_size;
        now.meta_seed = op->seed ^ 0x5a5a5a5au;
        plan_change(changes, count, key, now);
    }
    return any;
}

static plsm_status plan_link(const struct model *model, const struct op *op, struct change *changes, size_t *count)
{
    uint64_t shared = workload_shared(op->key);
    struct content now = planned(model, op->key, changes, *count);
    if (!now.present || (now.shared && now.shared != shared))
        return PLSM_CONFLICT;
    if (!now.shared && plan_shared_meta(model, shared, NULL, changes, count))
        return PLSM_CONFLICT;
    if (!now.shared && now.meta_size > PLSM_META_SHARED_MAX)
        return PLSM_TOO_LARGE;
    now.shared = shared;
    now.expires_s = 0; /* what is shared does not expire */
    plan_change(changes, count, op->key, now);
    plan_shared_meta(model, shared, op, changes, count);
    plan_change(changes, count, op->other, planned(model, op->key, changes, *count));
    return PLSM_OK;
}

/* Old names go also where they are not there, as those of a range. */
static void plan_prefix(const struct model *model, uint64_t clock_s, const struct op *op, struct change *changes,
                        size_t *count)
{
    unsigned to = 0;
    for (unsigned key = 0; key < WORKLOAD_KEYS; key++) {
        struct content now = planned(model, key, changes, *count);
        if (!workload_moved(op, key, &to))
            continue;
        plan_change(changes, count, key, absent);
        if (now.present)
            plan_change(changes, count, to, now);
    }
    struct op put = *op;
    put.kind = OP_PUT;
    put.key = op->other;
    if (workload_moves_with(op))
        plan_change(changes, count, put.key, content_of(model, clock_s, &put));
}

plsm_status model_plan(const struct model *model, const struct op *ops, size_t count, struct change *changes,
                       size_t *change_count)
{
    return model_plan_at(model, model->clock_s, ops, count, changes, change_count);
}

plsm_status model_plan_at(const struct model *model, uint64_t clock_s, const struct op *ops, size_t count,
                          struct change *changes, size_t *change_count)
{
    *change_count = 0;
    plsm_status status = check_conditions(model, ops, count);
    if (status != PLSM_OK)
        return status;
    for (size_t i = 0; i < count; i++) {
        const struct op *op = &ops[i];
        struct content now = planned(model, op->key, changes, *change_count);
        switch (op->kind) {
        case OP_PUT:
        case OP_BATCH_PUT:
            plan_change(changes, change_count, op->key, content_of(model, clock_s, op));
            break;
        case OP_DELETE:
        case OP_BATCH_DELETE:
            plan_change(changes, change_count, op->key, absent);
            break;
        case OP_DELETE_RANGE:
        case OP_BATCH_DELETE_RANGE:
            plan_range(op, changes, change_count);
            break;
        case OP_BATCH_MOVE:
            if (!now.present)
                return PLSM_CONFLICT;
            plan_change(changes, change_count, op->key, absent);
            plan_change(changes, change_count, op->other, now);
            break;
        case OP_MOVE_PREFIX:
            plan_prefix(model, clock_s, op, changes, change_count);
            break;
        case OP_BATCH_SET_META:
            if (!now.present)
                return PLSM_CONFLICT;
            if (now.shared && op->meta_size > PLSM_META_SHARED_MAX)
                return PLSM_TOO_LARGE;
            if (now.shared) {
                plan_shared_meta(model, now.shared, op, changes, change_count);
                break;
            }
            now.meta_size = op->meta_size;
            now.meta_seed = op->seed ^ 0x5a5a5a5au;
            plan_change(changes, change_count, op->key, now);
            break;
        case OP_BATCH_LINK:
            status = plan_link(model, op, changes, change_count);
            if (status != PLSM_OK)
                return status;
            break;
        default:
            break;
        }
    }
    for (size_t i = 0; i < *change_count; i++) /* what expires at once is none */
        changes[i].content = *living(&changes[i].content, model->clock_s);
    return PLSM_OK;
}

void model_apply(struct model *model, const struct change *changes, size_t count)
{
    model->writes++;
    for (size_t i = 0; i < count; i++) {
        struct history *history = &model->keys[changes[i].key];
        if (history->count == history->capacity) {
            history->capacity = history->capacity ? 2 * history->capacity : 4;
            history->versions = grow(history->versions, history->capacity * sizeof *history->versions);
        }
        history->versions[history->count++] = (struct version){model->writes, changes[i].content};
    }
}

void model_apply_failed(struct model *model, const struct change *changes, size_t count)
{
    if (model->failed_count == model->failed_capacity) {
        model->failed_capacity = model->failed_capacity ? 2 * model->failed_capacity : 4;
        model->failed = grow(model->failed, model->failed_capacity * sizeof *model->failed);
    }
    struct failed_write *failed = &model->failed[model->failed_count++];
    *failed = (struct failed_write){.after = model->writes, .count = count};
    memcpy(failed->changes, changes, count * sizeof *changes);
}

/* --- comparing with what was observed ----------------------------------------------------------------------------- */

bool model_matches(const struct content *content, const struct observed *observed)
{
    if (!content->present || !observed->found)
        return content->present == observed->found;
    return content->size == observed->size && content->expires_s == observed->expires_s &&
           content->meta_size == observed->meta.size && (content->size > PLSM_INLINE_MAX) == observed->large &&
           (observed->large ||
            (observed->value.size == content->size && workload_matches(content->seed, observed->value))) &&
           workload_matches(content->meta_seed, observed->meta);
}

struct model_search {
    const struct model *model;
    uint64_t low, high;
    size_t left; /* moments still possible */
    unsigned culprit;
    bool possible[]; /* [high - low + 1] */
};

struct model_search *model_search_create(const struct model *model, uint64_t low, uint64_t high)
{
    size_t moments = (size_t)(high - low + 1);
    struct model_search *search = grow(NULL, sizeof *search + moments);
    *search =
        (struct model_search){.model = model, .low = low, .high = high, .left = moments, .culprit = WORKLOAD_KEYS};
    memset(search->possible, true, moments);
    return search;
}

/* The moments from `from` up to but without `to` would show `content`: strikes them out when that was not observed. */
static void search_strike(struct model_search *search, uint64_t from, uint64_t to, const struct content *content,
                          const struct observed *observed)
{
    from = from < search->low ? search->low : from;
    to = to > search->high + 1 ? search->high + 1 : to;
    if (from >= to || model_matches(living(content, search->model->clock_s), observed))
        return;
    for (uint64_t moment = from; moment < to; moment++) {
        search->left -= search->possible[moment - search->low];
        search->possible[moment - search->low] = false;
    }
}

void model_search_add(struct model_search *search, unsigned key, const struct observed *observed)
{
    const struct history *history = &search->model->keys[key];
    size_t before = search->left;
    uint64_t next = history->count ? history->versions[0].write : UINT64_MAX;
    search_strike(search, 0, next, &absent, observed);
    for (size_t i = 0; i < history->count; i++) {
        uint64_t end = i + 1 < history->count ? history->versions[i + 1].write : UINT64_MAX;
        search_strike(search, history->versions[i].write, end, &history->versions[i].content, observed);
    }
    if (before > 0 && search->left == 0)
        search->culprit = key;
}

uint64_t model_search_finish(struct model_search *search, unsigned *culprit)
{
    uint64_t found = UINT64_MAX;
    for (uint64_t moment = search->low; moment <= search->high; moment++)
        if (search->possible[moment - search->low])
            found = moment;
    *culprit = search->culprit;
    free(search);
    return found;
}

/* --- writes that failed ------------------------------------------------------------------------------------------- */

static const struct content *failed_content(const struct failed_write *failed, unsigned key)
{
    for (size_t i = 0; i < failed->count; i++)
        if (failed->changes[i].key == key)
            return &failed->changes[i].content;
    return NULL;
}

void model_explain_begin(struct model *model)
{
    for (size_t i = 0; i < model->failed_count; i++)
        model->failed[i].seen = model->failed[i].unseen = false;
    model->settled_count = 0;
}

bool model_explain(struct model *model, unsigned key, const struct observed *observed)
{
    const struct history *history = &model->keys[key];
    uint64_t last = history->count ? history->versions[history->count - 1].write : 0;
    const struct content *now = model_get(model, key, model->writes);
    bool as_acknowledged = model_matches(now, observed);
    size_t explanations = as_acknowledged, explained_by = 0;
    for (size_t i = 0; i < model->failed_count; i++) {
        const struct content *content = failed_content(&model->failed[i], key);
        if (content && model->failed[i].after >= last && model_matches(living(content, model->clock_s), observed)) {
            explanations++;
            explained_by = i;
        }
    }
    if (explanations == 0)
        return false;
    if (!as_acknowledged)
        model->settled[model->settled_count++] =
            (struct change){key, *failed_content(&model->failed[explained_by], key)};
    if (explanations > 1)
        return true; /* an observation with several explanations proves nothing */
    for (size_t i = 0; i < model->failed_count; i++) {
        struct failed_write *failed = &model->failed[i];
        if (failed->after < last || !failed_content(failed, key))
            continue;
        if (as_acknowledged || i > explained_by)
            failed->unseen = true;
        else if (i == explained_by)
            failed->seen = true;
    }
    return true;
}

bool model_settle(struct model *model)
{
    bool whole = true;
    for (size_t i = 0; i < model->failed_count; i++)
        whole = whole && !(model->failed[i].seen && model->failed[i].unseen);
    model->failed_count = 0;
    if (model->settled_count > 0)
        model_apply(model, model->settled, model->settled_count);
    model->settled_count = 0;
    return whole;
}

bool model_possible(const struct model *model, unsigned key, uint64_t low, const struct observed *observed)
{
    const struct history *history = &model->keys[key];
    uint64_t shown = 0; /* the write that `low` shows: what failed before it is hidden */
    if (model_matches(model_get(model, key, low), observed))
        return true;
    for (size_t i = 0; i < history->count; i++) {
        if (history->versions[i].write <= low)
            shown = history->versions[i].write;
        else if (model_matches(living(&history->versions[i].content, model->clock_s), observed))
            return true;
    }
    for (size_t i = 0; i < model->failed_count; i++) {
        const struct content *content = failed_content(&model->failed[i], key);
        if (content && model->failed[i].after >= shown && model_matches(living(content, model->clock_s), observed))
            return true;
    }
    return false;
}

void model_copy_state(struct model *model, const struct model *from, uint64_t at)
{
    struct change changes[WORKLOAD_KEYS];
    size_t count = 0;
    model->clock_s = from->clock_s;
    model->tick_s = from->tick_s;
    model->ttl_s = from->ttl_s;
    for (unsigned key = 0; key < WORKLOAD_KEYS; key++) {
        const struct content *content = model_get(from, key, at);
        if (content->present)
            changes[count++] = (struct change){key, *content};
    }
    model_apply(model, changes, count);
}

size_t model_failed_writes(const struct model *model)
{
    return model->failed_count;
}

/* --- cursors ------------------------------------------------------------------------------------------------------ */

static bool rank_present(const struct model_cursor *cursor, unsigned rank)
{
    return living(get_any(cursor->model, workload_at_rank(rank), cursor->at), cursor->clock_s)->present;
}

/* The first present key at or behind `rank`. */
static void settle_forward(struct model_cursor *cursor, unsigned rank)
{
    while (rank < cursor->high && !rank_present(cursor, rank))
        rank++;
    cursor->rank = rank < cursor->high ? rank : WORKLOAD_KEYS;
}

/* The last present key before `rank`. */
static void settle_backward(struct model_cursor *cursor, unsigned rank)
{
    while (rank > cursor->low && !rank_present(cursor, rank - 1))
        rank--;
    cursor->rank = rank > cursor->low ? rank - 1 : WORKLOAD_KEYS;
}

void model_cursor_open(struct model_cursor *cursor, const struct model *model, uint64_t at, plsm_keyspace keyspace,
                       plsm_slice from, plsm_slice to)
{
    *cursor = (struct model_cursor){.model = model, .at = at, .clock_s = model->clock_s, .rank = WORKLOAD_KEYS};
    cursor->low = workload_lower_bound(keyspace, from);
    cursor->high = to.size ? workload_lower_bound(keyspace, to) : workload_lower_bound(keyspace + 1, slice(NULL, 0));
}

bool model_cursor_valid(const struct model_cursor *cursor)
{
    return cursor->rank < WORKLOAD_KEYS;
}

unsigned model_cursor_key(const struct model_cursor *cursor)
{
    return workload_at_rank(cursor->rank);
}

const struct content *model_cursor_content(const struct model_cursor *cursor)
{
    return living(get_any(cursor->model, model_cursor_key(cursor), cursor->at), cursor->clock_s);
}

void model_cursor_first(struct model_cursor *cursor)
{
    settle_forward(cursor, cursor->low);
}

void model_cursor_last(struct model_cursor *cursor)
{
    settle_backward(cursor, cursor->high);
}

static unsigned bound(const struct model_cursor *cursor, unsigned rank)
{
    return rank < cursor->low ? cursor->low : rank > cursor->high ? cursor->high : rank;
}

void model_cursor_seek(struct model_cursor *cursor, plsm_slice key)
{
    settle_forward(cursor, bound(cursor, workload_lower_bound(PLSM_NAMES, key)));
}

void model_cursor_seek_before(struct model_cursor *cursor, plsm_slice key)
{
    settle_backward(cursor, bound(cursor, workload_lower_bound(PLSM_NAMES, key)));
}

void model_cursor_next(struct model_cursor *cursor)
{
    settle_forward(cursor, cursor->rank + 1);
}

void model_cursor_previous(struct model_cursor *cursor)
{
    settle_backward(cursor, cursor->rank);
}

bool model_has_prefix(const struct model *model, plsm_slice prefix, uint64_t at)
{
    struct model_cursor cursor;
    model_cursor_open(&cursor, model, at, PLSM_NAMES, prefix, slice(NULL, 0));
    model_cursor_first(&cursor);
    return model_cursor_valid(&cursor) && slice_starts_with(workload_key(model_cursor_key(&cursor)), prefix);
}
