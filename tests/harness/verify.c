/* Comparing a whole store with the model. */
#include "tests/harness/replay.h"

#include "base/banned.h"

plsm_status observe(plsm *db, unsigned key, plsm_value *value, struct observed *observed)
{
    plsm_read_options options = {.keyspace = workload_keyspace(key)};
    plsm_status status = plsm_get(db, &options, workload_key(key), value);
    *observed = (struct observed){.found = status == PLSM_OK};
    if (status == PLSM_OK) {
        observed->value = value->value;
        observed->meta = value->meta;
        observed->size = value->size;
        observed->large = value->large;
        observed->expires_s = value->expires_s;
    }
    return status == PLSM_NOT_FOUND ? PLSM_OK : status;
}

/* Whether the content of a large value is right, which observe does not read: 64 KiB at a time. */
static bool large_matches(plsm *db, unsigned key, const struct content *content, plsm_status *status)
{
    uint8_t got[64 << 10], want[64 << 10];
    for (uint64_t at = 0; at < content->size && *status == PLSM_OK; at += sizeof got) {
        size_t expected = content->size - at < sizeof got ? (size_t)(content->size - at) : sizeof got, size = 0;
        *status = plsm_read(db, NULL, workload_key(key), at, got, sizeof got, &size);
        workload_fill_at(content->seed, at, want, expected);
        if (*status == PLSM_OK && (size != expected || memcmp(got, want, size) != 0))
            return false;
    }
    return true;
}

static bool wrong(char *failure, size_t size, const char *what, unsigned key, const struct content *expected,
                  const struct observed *observed)
{
    int at = snprintf(failure, size, "%s: key %u should be ", what, key);
    if (expected->present)
        at += snprintf(failure + at, size - (size_t)at, "%u bytes of seed %u, meta %u bytes", expected->size,
                       expected->seed, expected->meta_size);
    else
        at += snprintf(failure + at, size - (size_t)at, "absent");
    if (observed->found)
        snprintf(failure + at, size - (size_t)at, "; is %lu bytes%s, meta %zu bytes", (unsigned long)observed->size,
                 observed->large ? " (large)" : "", observed->meta.size);
    else
        snprintf(failure + at, size - (size_t)at, "; is absent");
    return false;
}

uint64_t find_moment(plsm *db, const struct model *model, uint64_t low, uint64_t high, char *failure, size_t size)
{
    struct model_search *search = model_search_create(model, low, high);
    plsm_value value = {0};
    plsm_status status = PLSM_OK;
    unsigned culprit;
    for (unsigned key = 0; key < WORKLOAD_KEYS && status == PLSM_OK; key++) {
        struct observed observed;
        status = observe(db, key, &value, &observed);
        if (status == PLSM_OK)
            model_search_add(search, key, &observed);
        else
            snprintf(failure, size, "get of key %u: %s (%s)", key, plsm_status_name(status), plsm_message());
    }
    plsm_value_free(&value);
    uint64_t moment = model_search_finish(search, &culprit);
    if (status == PLSM_OK && moment == UINT64_MAX)
        snprintf(failure, size, "no moment from %lu to %lu explains what is there: key %u fits none of those left",
                 (unsigned long)low, (unsigned long)high, culprit);
    return status == PLSM_OK ? moment : UINT64_MAX;
}

static bool verify_gets(plsm *db, const struct model *model, uint64_t at, plsm_status *status, char *failure,
                        size_t size)
{
    plsm_value value = {0};
    bool right = true;
    for (unsigned key = 0; key < WORKLOAD_KEYS && right; key++) {
        const struct content *content = model_get(model, key, at);
        struct observed observed;
        plsm_status get = observe(db, key, &value, &observed);
        if (get == PLSM_OK &&
            (!model_matches(content, &observed) || (observed.large && !large_matches(db, key, content, &get))))
            right = wrong(failure, size, "get", key, content, &observed);
        *status = *status == PLSM_OK ? get : *status;
    }
    plsm_value_free(&value);
    return right;
}

/* All keys of one keyspace in one call, some of them twice. What single gets said is the model's already; so values
 * need only be as those. */
static bool verify_many(plsm *db, const struct model *model, uint64_t at, plsm_keyspace keyspace, plsm_status *status,
                        char *failure, size_t size)
{
    enum { MOST = WORKLOAD_KEYS + WORKLOAD_KEYS / 5 + 1 };
    static plsm_slice keys[MOST];
    static plsm_value values[MOST];
    static plsm_status statuses[MOST];
    static unsigned numbers[MOST];
    plsm_read_options options = {.keyspace = keyspace};
    unsigned count = 0;
    bool right = true;
    for (unsigned key = 0; key < WORKLOAD_KEYS; key++) {
        if (workload_keyspace(key) != keyspace)
            continue;
        for (unsigned copies = key % 5 == 0 ? 2 : 1; copies > 0; copies--) {
            numbers[count] = key;
            keys[count++] = workload_key(key);
        }
    }
    *status = plsm_multi_get(db, &options, keys, count, values, statuses);
    for (unsigned i = 0; i < count && right; i++) {
        const struct content *content = model_get(model, numbers[i], at);
        struct observed observed = {statuses[i] == PLSM_OK, values[i].large, values[i].value,
                                    values[i].meta,         values[i].size,  values[i].expires_s};
        if ((statuses[i] == PLSM_OK || statuses[i] == PLSM_NOT_FOUND) && !model_matches(content, &observed))
            right = wrong(failure, size, "get of many", numbers[i], content, &observed);
    }
    for (unsigned i = 0; i < count; i++)
        plsm_value_free(&values[i]);
    return right;
}

/* Walks the names in one direction beside the model's cursor. */
static bool verify_walk(plsm_iterator *it, struct model_cursor *cursor, bool forward, char *failure, size_t size)
{
    while (plsm_iterator_valid(it) && model_cursor_valid(cursor)) {
        unsigned key = model_cursor_key(cursor);
        const struct content *content = model_get(cursor->model, key, cursor->at);
        struct observed observed = {true,
                                    plsm_iterator_large(it),
                                    plsm_iterator_value(it),
                                    plsm_iterator_meta(it),
                                    plsm_iterator_size(it),
                                    plsm_iterator_expires(it)};
        if (!slice_equal(plsm_iterator_key(it), workload_key(key)) || !model_matches(content, &observed))
            return wrong(failure, size, forward ? "scan" : "scan backward", key, content, &observed);
        forward ? plsm_iterator_next(it) : plsm_iterator_previous(it);
        forward ? model_cursor_next(cursor) : model_cursor_previous(cursor);
    }
    if (plsm_iterator_status(it) != PLSM_OK || plsm_iterator_valid(it) == model_cursor_valid(cursor))
        return true; /* an error is for the caller to judge */
    snprintf(failure, size, "scan%s: the store %s", forward ? "" : " backward",
             plsm_iterator_valid(it) ? "has a key too many" : "ends too early");
    return false;
}

static bool verify_scan(plsm *db, const struct model *model, uint64_t at, bool forward, plsm_status *status,
                        char *failure, size_t size)
{
    plsm_iterator *it = NULL;
    *status = plsm_iterator_create(db, NULL, slice(NULL, 0), slice(NULL, 0), &it);
    if (*status != PLSM_OK)
        return true;
    struct model_cursor cursor;
    model_cursor_open(&cursor, model, at, PLSM_NAMES, slice(NULL, 0), slice(NULL, 0));
    forward ? plsm_iterator_first(it) : plsm_iterator_last(it);
    forward ? model_cursor_first(&cursor) : model_cursor_last(&cursor);
    bool right = verify_walk(it, &cursor, forward, failure, size);
    if (right)
        *status = plsm_iterator_status(it);
    plsm_iterator_destroy(it);
    return right;
}

bool verify_state(plsm *db, const struct model *model, uint64_t at, plsm_status *status, char *failure, size_t size)
{
    *status = PLSM_OK;
    if (!verify_gets(db, model, at, status, failure, size))
        return false;
    plsm_status scan = PLSM_OK, many = PLSM_OK;
    for (plsm_keyspace keyspace = PLSM_NAMES; keyspace <= PLSM_INTERNAL; keyspace++) {
        if (!verify_many(db, model, at, keyspace, &many, failure, size))
            return false;
        *status = *status == PLSM_OK ? many : *status;
    }
    bool right = verify_scan(db, model, at, true, &scan, failure, size);
    *status = *status == PLSM_OK ? scan : *status;
    right = right && verify_scan(db, model, at, false, &scan, failure, size);
    *status = *status == PLSM_OK ? scan : *status;
    return right;
}
