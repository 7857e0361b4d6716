/* Finding out at opening what counts: which segments are there and which of them others replace or follow a loss, and
 * what is in them, by their hints or by reading them.
 *
 * Where a store is read beside its writer files change meanwhile. What a merge leaves away may be dead because of what
 * was written while files were read one after another: so segments that merges wrote are looked at first, and those
 * that callers wrote after that, of a list that is newer. */
#include "log/append_recover.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/banned.h"

/* --- what is there ------------------------------------------------------------------------------------------------ */

static void note_file(void *arg, const char *name)
{
    struct inventory *inventory = arg;
    const char *rest = "";
    uint64_t number = 0;
    if ((number = env_file_number(name, "segment-", &rest)) && !*rest)
        number_list_add(&inventory->segments, number);
    else if ((number = env_file_number(name, "hint-", &rest)) && !*rest)
        number_list_add(&inventory->hints, number);
    else if (number && strcmp(rest, ".tmp") == 0)
        number_list_add(&inventory->temporary, number);
    else if (strcmp(name, "LOCK") != 0 && strcmp(name, "lost+found") != 0)
        inventory->foreign = true;
}

void append_inventory_free(struct inventory *inventory)
{
    number_list_free(&inventory->segments);
    number_list_free(&inventory->hints);
    number_list_free(&inventory->temporary);
    *inventory = (struct inventory){0};
}

plsm_status append_inventory_read(const struct append *db, struct inventory *out)
{
    append_inventory_free(out);
    plsm_status status = env_list(db->env, db->path, note_file, out);
    if (status == PLSM_NOT_FOUND)
        return fail(PLSM_NO_STORE, "%s: there is no such directory, so no store; create one with: plsm create %s",
                    db->path, db->path);
    if (out->segments.no_memory || out->hints.no_memory || out->temporary.no_memory)
        return fail(PLSM_NO_MEMORY, "no memory to open the store");
    number_list_sort(&out->segments);
    number_list_sort(&out->hints);
    if (status == PLSM_OK && number_list_last(&out->segments) > APPEND_NUMBER_MAX / (db->options.read_only ? 1 : 2))
        return fail(PLSM_CORRUPT, "%s/segment-%" PRIu64 ": no store has so many segments; remove it if it is not yours",
                    db->path, number_list_last(&out->segments));
    return status;
}

/* --- segments ----------------------------------------------------------------------------------------------------- */

/* The salt that the segment's head has; false: it must be read by itself to know more. */
static bool read_head(const struct segment *s, struct append_head *out)
{
    uint8_t bytes[APPEND_HEAD_SIZE];
    size_t got = 0;
    return env_read_some(s->file, APPEND_RECORDS_AT + APPEND_RECORD_HEAD, bytes, sizeof bytes, &got) == PLSM_OK &&
           got == sizeof bytes && append_head_parse(slice(bytes, got), out) && out->number == s->number;
}

/* Takes the hint of a segment if it may be believed. */
static bool use_hint(struct append *db, struct found *f)
{
    struct append_head head;
    uint64_t size = 0;
    if (!read_head(f->segment, &head))
        return false;
    f->merged = head.merged;
    plsm_status status = hint_read(db, f->segment->number, head.salt, head.store_id, &f->hint);
    if (status == PLSM_OK && (env_size(f->segment->file, &size) != PLSM_OK || size < f->hint.facts.end)) {
        hint_free(&f->hint); /* the segment is not what it was: reading it tells */
        return false;
    }
    atomic_fetch_add(status == PLSM_OK          ? &db->hints_used
                     : status == PLSM_NOT_FOUND ? &db->hints_missing
                     : status == PLSM_CONFLICT  ? &db->hints_foreign
                                                : &db->hints_damaged,
                     1);
    return status == PLSM_OK;
}

/* `hints`: that there were before the segment is read. */
static plsm_status look_at(struct append *db, uint64_t number, const struct number_list *hints, struct found *f)
{
    TRY(segment_open(db, number, &f->segment));
    struct segment *s = f->segment;
    f->from_hint = use_hint(db, f);
    if (f->from_hint) {
        f->scan = (struct segment_scan){.has_head = true, .closed = true};
    } else {
        atomic_fetch_add(&db->segments_scanned, 1);
        TRY(hint_make(db, number, &f->hint, &f->scan));
        f->merged = f->scan.merged;
        if (!f->scan.closed && number_list_has(hints, number))
            TRY(found_check_hint(db, f));
    }
    const struct hint_facts *facts = &f->hint.facts;
    s->salt = facts->salt;
    s->state = f->scan.closed ? SEGMENT_SEALED : SEGMENT_TORN;
    s->tombstones = facts->tombstones;
    s->seq_min = facts->seq_min;
    s->seq_max = facts->seq_max;
    s->hinted = f->from_hint;
    s->merged = f->merged;
    s->closed = f->scan.closed;
    atomic_store(&s->size, facts->end);
    if (facts->end > 0)
        segment_map(s, facts->end);
    return PLSM_OK;
}

static void drop(struct found *f)
{
    hint_free(&f->hint);
    if (f->segment)
        segment_retire(f->segment, false);
    f->segment = NULL;
}

/* The numbers of segments that complete ones replace. */
static plsm_status gather_replaced(const struct found *found, size_t count, struct number_list *out)
{
    for (size_t i = 0; i < count; i++) {
        const struct hint *hint = &found[i].hint;
        if (!found[i].scan.closed || hint->facts.replace_count == 0)
            continue;
        if (!append_numbers_each(hint->replaces, hint->ranges, (size_t)hint->facts.replace_count, number_list_add, out))
            return fail(PLSM_CORRUPT, "segment %" PRIu64 " does not say which others it replaces", hint->facts.number);
    }
    if (out->no_memory)
        return fail(PLSM_NO_MEMORY, "no memory to open the store");
    number_list_sort(out);
    return PLSM_OK;
}

/* All segments, also those that do not count, must be of one store. */
static plsm_status check_stores(const struct found *found, size_t count)
{
    const struct found *first = NULL;
    for (size_t i = 0; i < count; i++) {
        if (!found[i].scan.has_head)
            continue;
        if (first && first->hint.facts.store_id != found[i].hint.facts.store_id)
            return fail(PLSM_CORRUPT, "%s and %s: are segments of two stores; restore them from one backup",
                        env_path(first->segment->file), env_path(found[i].segment->file));
        first = &found[i];
    }
    return PLSM_OK;
}

static plsm_status take_segments(struct append *db, struct found *found, size_t count,
                                 const struct number_list *replaced, struct hint *hints)
{
    uint64_t seq = 0;
    TRY(append_garbage_reserve(db, count));
    for (size_t i = 0; i < count; i++) {
        struct found *f = &found[i];
        const struct hint_facts *facts = &f->hint.facts;
        if (!f->scan.has_head || f->lost || number_list_has(replaced, facts->number)) {
            append_garbage_add(db, f->segment->number, true);
            db->loss |= f->lost;
            drop(f);
            continue;
        }
        db->store_id = facts->store_id;
        seq = facts->seq_max > seq ? facts->seq_max : seq;
        seq = facts->first_seq > seq ? facts->first_seq : seq;
        TRY(segment_list_add(db, f->segment));
        f->segment = NULL; /* the list has it */
        hints[db->segment_count - 1] = f->hint;
        f->hint = (struct hint){0};
        if (!f->from_hint && db->segments[db->segment_count - 1]->state == SEGMENT_SEALED && !db->options.read_only)
            db->segments[db->segment_count - 1]->hinted = hint_write(db, &hints[db->segment_count - 1]) == PLSM_OK;
    }
    if (seq > APPEND_SEQ_MAX / (db->options.read_only ? 1 : 2))
        return fail(PLSM_CORRUPT, "%s: has changes of numbers that no store comes to; restore it from a backup",
                    db->path);
    db->seq = seq;
    atomic_store(&db->visible, seq);
    return PLSM_OK;
}

/* Whether all was there that was concluded so far from hints, also from those of segments that do not count. */
static plsm_status check_hints(const struct found *found, size_t count)
{
    for (size_t i = 0; i < count; i++)
        TRY(hint_whole(&found[i].hint));
    return PLSM_OK;
}

struct looking {
    struct found *found; /* by number */
    size_t count, capacity;
};

static plsm_status look_at_more(struct append *db, uint64_t number, const struct number_list *hints, struct looking *l,
                                struct found **out)
{
    if (l->count == l->capacity) {
        size_t capacity = l->capacity ? 2 * l->capacity : 64;
        struct found *grown = mem_realloc(l->found, capacity * sizeof *grown);
        if (!grown)
            return fail(PLSM_NO_MEMORY, "no memory to open the store");
        l->found = grown;
        l->capacity = capacity;
    }
    *out = &l->found[l->count++];
    **out = (struct found){0};
    return look_at(db, number, hints, *out);
}

static bool is_merged(struct append *db, uint64_t number)
{
    struct segment *s = NULL;
    struct append_head head;
    bool merged = segment_open(db, number, &s) == PLSM_OK && read_head(s, &head) && head.merged;
    if (s)
        segment_retire(s, false);
    return merged;
}

static int by_found_number(const void *a, const void *b)
{
    uint64_t x = ((const struct found *)a)->segment->number, y = ((const struct found *)b)->segment->number;
    return x < y ? -1 : x > y;
}

/* A reader's: merged segments are left out that are there only since the first list. Of the others the newest is read
 * first, so that all is there that was written before what is found in it. */
static plsm_status look_beside(struct append *db, struct inventory *inventory, struct looking *l)
{
    struct number_list merged = {0};
    struct found *f = NULL;
    plsm_status status = PLSM_OK;
    for (size_t i = 0; i < inventory->segments.count && status == PLSM_OK; i++) {
        uint64_t number = inventory->segments.at[i];
        if (!is_merged(db, number))
            continue;
        number_list_add(&merged, number);
        status = merged.no_memory ? fail(PLSM_NO_MEMORY, "no memory to open the store")
                                  : look_at_more(db, number, &inventory->hints, l, &f);
        if (status == PLSM_NOT_FOUND) {
            drop(f);
            l->count--;
            status = PLSM_OK;
        }
    }
    if (status == PLSM_OK)
        status = append_inventory_read(db, inventory);
    for (size_t i = inventory->segments.count; i-- > 0 && status == PLSM_OK;) {
        uint64_t number = inventory->segments.at[i];
        if (number_list_has(&merged, number))
            continue;
        status = look_at_more(db, number, &inventory->hints, l, &f);
        if (status == PLSM_NOT_FOUND || (status == PLSM_OK && f->merged)) { /* not found: it was never used */
            drop(f);
            l->count--;
            status = PLSM_OK;
        }
    }
    number_list_free(&merged);
    if (status == PLSM_OK && l->count)
        qsort(l->found, l->count, sizeof *l->found, by_found_number);
    return status;
}

static plsm_status look_at_all(struct append *db, struct inventory *inventory, struct looking *l)
{
    struct found *f = NULL;
    if (db->options.read_only)
        return look_beside(db, inventory, l);
    for (size_t i = 0; i < inventory->segments.count; i++)
        TRY(look_at_more(db, inventory->segments.at[i], &inventory->hints, l, &f));
    return PLSM_OK;
}

plsm_status append_recover(struct append *db, struct inventory *inventory)
{
    struct number_list replaced = {0};
    struct looking l = {0};
    struct hint *hints = NULL;
    uint64_t newest_hint = number_list_last(&inventory->hints);
    plsm_status status = look_at_all(db, inventory, &l);
    if (status == PLSM_OK && !(hints = mem_zalloc((l.count + 1) * sizeof *hints)))
        status = fail(PLSM_NO_MEMORY, "no memory to open the store");
    if (status == PLSM_OK)
        status = gather_replaced(l.found, l.count, &replaced);
    if (status == PLSM_OK)
        status = check_stores(l.found, l.count);
    if (status == PLSM_OK)
        status = found_check_missing(db, l.found, l.count, inventory, &replaced, newest_hint);
    if (status == PLSM_OK)
        status = found_mark_lost(l.found, l.count, &replaced);
    if (status == PLSM_OK)
        status = found_check_merged(l.found, l.count, &replaced);
    if (status == PLSM_OK)
        found_mark_unsure(l.found, l.count, inventory);
    if (status != PLSM_NO_MEMORY && check_hints(l.found, l.count) != PLSM_OK) /* whatever was concluded */
        status = PLSM_IO;
    if (status == PLSM_OK)
        status = take_segments(db, l.found, l.count, &replaced, hints);
    if (status == PLSM_OK)
        status = append_load(db, hints);
    for (size_t i = 0; i < l.count; i++)
        drop(&l.found[i]);
    for (size_t i = 0; hints && i < l.count; i++)
        hint_free(&hints[i]);
    mem_free(l.found);
    mem_free(hints);
    number_list_free(&replaced);
    return status;
}
