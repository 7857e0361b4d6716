/* plsm_check: the engine checks its files; this checks that names, shared values, records, pieces and markers fit
 * together, all at one snapshot, so that a running edit does not look like damage. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "store/expiry.h"
#include "store/extents.h"
#include "store/shared.h"

#include "base/banned.h"

struct check {
    plsm *db;
    struct engine_snapshot *snapshot;
    void (*report)(void *arg, const char *line);
    void *arg;
    uint64_t problems;
    uint64_t names;   /* and shared values, that refer to extents */
    struct buf links; /* of u64: the shared value of each name that has one; sorted once all are there */
    size_t linked;    /* bytes of it that are checked against the shared values */
    uint64_t records, records_with_pieces;
    uint64_t groups; /* ids with published pieces */

    /* The id whose pieces are being walked over. */
    bool in_group, has_record;
    uint64_t id, pieces;
    struct reference record;
};

static void problem(struct check *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void problem(struct check *c, const char *format, ...)
{
    char line[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    c->problems++;
    if (c->report)
        c->report(c->arg, line);
}

/* Reads the record of an id; *found is false when there is none (or a foreign one). */
static plsm_status read_record(struct check *c, uint64_t id, struct reference *out, bool *found)
{
    uint8_t key[9] = {PLSM_INODES};
    struct engine_value value = {0};
    put_be64(key + 1, id);
    *found = false;
    plsm_status status = c->db->engine->get(c->db->tree, c->snapshot, slice(key, sizeof key), false, &value);
    if (status == PLSM_OK && value.value.size == REFERENCE_SIZE)
        *found = reference_decode(value.value, out) == PLSM_OK && out->id == id;
    engine_value_free(&value);
    return status == PLSM_NOT_FOUND ? PLSM_OK : status;
}

/* A name, or a shared value, that refers to extents. */
static plsm_status check_reference(struct check *c, const char *what, plsm_slice name, plsm_slice value,
                                   uint64_t expires_s)
{
    struct reference reference, record;
    bool found = false;
    int shown = (int)(name.size < 100 ? name.size : 100);
    c->names++;
    if (reference_decode(value, &reference)) {
        problem(c, "%s \"%.*s\": damaged reference", what, shown, (const char *)name.data);
        return PLSM_OK;
    }
    TRY(read_record(c, reference.id, &record, &found));
    if (!found || memcmp(&record, &reference, sizeof record) != 0)
        problem(c, "%s \"%.*s\": refers to id %llu, whose record %s", what, shown, (const char *)name.data,
                (unsigned long long)reference.id, found ? "differs" : "is missing");
    bool noted = true;
    if (expires_s)
        TRY(expiry_has_note(c->db, c->snapshot, expires_s, reference.id, name, &noted));
    if (!noted)
        problem(c, "%s \"%.*s\": expires, and nothing notes that", what, shown, (const char *)name.data);
    return PLSM_OK;
}

static plsm_status check_name(struct check *c, const struct engine_entry *entry)
{
    if (entry->kind != BATCH_REFERENCE)
        return PLSM_OK;
    if (is_link(entry->value))
        return buf_append_u64(&c->links, link_decode(entry->value));
    plsm_slice name = slice((const uint8_t *)entry->key.data + 1, entry->key.size - 1);
    return check_reference(c, "name", name, entry->value, entry->expires_s);
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t left = get_u64(a), right = get_u64(b);
    return left < right ? -1 : left > right;
}

/* Takes the links to `id`, and tells of those to smaller ones: their values are missing. */
static uint64_t links_to(struct check *c, uint64_t id)
{
    uint64_t count = 0;
    for (; c->linked < c->links.size; c->linked += sizeof(uint64_t)) {
        uint64_t to = get_u64(c->links.data + c->linked);
        if (to > id)
            break;
        if (to < id)
            problem(c, "a name links to the shared value %llu, which is missing", (unsigned long long)to);
        count += to == id;
    }
    return count;
}

/* Shared values come in the order of their identifiers. */
static plsm_status check_shared(struct check *c, const struct engine_entry *entry, uint64_t id)
{
    char text[24];
    uint32_t names = 0;
    plsm_slice meta;
    uint64_t links = links_to(c, id);
    if (shared_meta_decode(id, entry->meta, &names, &meta))
        problem(c, "shared value %llu: damaged meta", (unsigned long long)id);
    else if (names != links)
        problem(c, "shared value %llu: %llu names link to it instead of %u", (unsigned long long)id,
                (unsigned long long)links, names);
    if (entry->kind != BATCH_REFERENCE)
        return PLSM_OK;
    snprintf(text, sizeof text, "%llu", (unsigned long long)id);
    return check_reference(c, "shared value", slice_of(text), entry->value, 0);
}

static plsm_status check_record(struct check *c, const struct engine_entry *entry)
{
    struct reference record;
    const uint8_t *key = entry->key.data;
    uint64_t shared = 0;
    if (shared_key_decode(entry->key, &shared))
        return check_shared(c, entry, shared);
    if (entry->key.size != 9 || entry->value.size != REFERENCE_SIZE)
        return PLSM_OK; /* another room's */
    if (reference_decode(entry->value, &record) || record.id != get_be64(key + 1)) {
        problem(c, "id %llu: damaged record", (unsigned long long)get_be64(key + 1));
        return PLSM_OK;
    }
    c->records++;
    c->records_with_pieces += record.extents > 0;
    return PLSM_OK;
}

static void end_group(struct check *c)
{
    if (c->in_group && c->has_record) {
        c->groups += c->pieces > 0;
        if (c->pieces != c->record.extents)
            problem(c, "id %llu: %llu extents instead of %llu", (unsigned long long)c->id,
                    (unsigned long long)c->pieces, (unsigned long long)c->record.extents);
    }
    c->in_group = false;
}

/* Whether a piece that is not published belongs to an edit or an orphan. */
static plsm_status has_marker(struct check *c, uint64_t id, uint64_t generation, bool *out)
{
    bool edit = false, orphan = false;
    TRY(extents_has_markers(c->db, c->snapshot, id, generation, &edit, &orphan));
    *out = edit || (orphan && !c->has_record);
    return PLSM_OK;
}

static plsm_status check_piece(struct check *c, const struct engine_entry *entry)
{
    const uint8_t *key = entry->key.data;
    if (entry->key.size != 25 || entry->kind != BATCH_PUT) {
        problem(c, "extents: a key of %zu bytes", entry->key.size);
        return PLSM_OK;
    }
    uint64_t id = get_be64(key + 1), index = get_be64(key + 9), generation = ~get_be64(key + 17);
    if (!c->in_group || c->id != id) {
        end_group(c);
        c->in_group = true;
        c->id = id;
        c->pieces = 0;
        TRY(read_record(c, id, &c->record, &c->has_record));
    }
    if (!c->has_record || generation > c->record.generation) {
        bool marked = false;
        TRY(has_marker(c, id, generation, &marked));
        if (!marked)
            problem(c, "id %llu: extent %llu of generation %llu belongs to nothing", (unsigned long long)id,
                    (unsigned long long)index, (unsigned long long)generation);
        return PLSM_OK;
    }
    c->pieces++;
    if ((c->record.uniform && c->record.uniform != generation) || index >= extents_of(c->record.size) ||
        entry->value.size > EXTENT_SIZE || index * EXTENT_SIZE + entry->value.size > c->record.size)
        problem(c, "id %llu: extent %llu of generation %llu does not fit the record", (unsigned long long)id,
                (unsigned long long)index, (unsigned long long)generation);
    return PLSM_OK;
}

static plsm_status each_entry(struct check *c, plsm_keyspace keyspace,
                              plsm_status (*each)(struct check *c, const struct engine_entry *entry))
{
    const struct engine *engine = c->db->engine;
    const uint8_t from = (uint8_t)keyspace, to = (uint8_t)(keyspace + 1);
    struct engine_iterator *it = NULL;
    struct engine_entry entry;
    bool no_value = keyspace == PLSM_EXTENTS; /* only their sizes matter */
    TRY(engine->iterator_create(c->db->tree, c->snapshot, slice(&from, 1), slice(&to, 1), no_value, &it));
    engine->iterator_show_expired(it); /* large values are there until they are deleted */
    plsm_status status = PLSM_OK;
    for (bool more = engine->iterator_first(it, &entry); more && status == PLSM_OK;
         more = engine->iterator_next(it, &entry))
        status = each(c, &entry);
    if (status == PLSM_OK)
        status = engine->iterator_status(it);
    engine->iterator_destroy(it);
    return status;
}

static plsm_status check_notes(struct check *c)
{
    uint64_t damaged = 0;
    TRY(expiry_count_damaged(c->db, c->snapshot, &damaged));
    if (damaged)
        problem(c, "%llu notes of values that expire are damaged", (unsigned long long)damaged);
    return PLSM_OK;
}

static plsm_status check_large_values(struct check *c)
{
    TRY(check_notes(c));
    TRY(each_entry(c, PLSM_NAMES, check_name));
    if (c->links.size)
        qsort(c->links.data, c->links.size / sizeof(uint64_t), sizeof(uint64_t), compare_ids);
    TRY(each_entry(c, PLSM_INODES, check_record));
    links_to(c, UINT64_MAX);
    TRY(each_entry(c, PLSM_EXTENTS, check_piece));
    end_group(c);
    if (c->names != c->records)
        problem(c, "%llu names refer to extents, but %llu records exist", (unsigned long long)c->names,
                (unsigned long long)c->records);
    if (c->groups != c->records_with_pieces)
        problem(c, "%llu records have extents, but only %llu have any", (unsigned long long)c->records_with_pieces,
                (unsigned long long)c->groups);
    return PLSM_OK;
}

plsm_status plsm_check(plsm *db, void (*report)(void *arg, const char *line),
                       void (*progress)(void *arg, uint64_t done, uint64_t all), void *arg)
{
    TRY(refuse_updating(db)); /* an engine may have to stop its writers for a moment */
    struct check c = {.db = db, .report = report, .arg = arg};
    plsm_status status = db->engine->check(db->tree, report, progress, arg);
    if (status && status != PLSM_CORRUPT)
        return status;
    c.snapshot = db->engine->snapshot_create(db->tree);
    if (!c.snapshot)
        return fail(PLSM_NO_MEMORY, "no memory for a snapshot");
    plsm_status large = check_large_values(&c);
    db->engine->snapshot_destroy(db->tree, c.snapshot);
    buf_free(&c.links);
    if (large && large != PLSM_CORRUPT)
        return large;
    if (large)
        problem(&c, "%s", plsm_message());
    if (status == PLSM_OK && c.problems)
        status = fail(PLSM_CORRUPT, "%llu problems among large and shared values", (unsigned long long)c.problems);
    return status;
}
