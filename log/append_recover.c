/* Finding out at opening what counts: which segments are there and which of them others replace or follow a loss, and
 * what is in them, by their hints or by reading them.
 *
 * Where a store is read beside its writer files change meanwhile. What a merge leaves away may be dead because of what
 * was written while files were read one after another: so segments that merges wrote are looked at first, and those
 * that callers wrote after that, of a list that is newer. */
#include "log/append_hint.h"
#include "log/append_recover.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/banned.h"

/* --- what is there ------------------------------------------------------------------------------------------------ */

static void numbers_add(void *arg, uint64_t number)
{
    struct numbers *n = arg;
    if (n->count == n->capacity) {
        size_t capacity = n->capacity ? 2 * n->capacity : 64;
        uint64_t *grown = mem_realloc(n->list, capacity * sizeof *grown);
        n->no_memory = n->no_memory || !grown;
        if (!grown)
            return;
        n->list = grown;
        n->capacity = capacity;
    }
    n->list[n->count++] = number;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static bool numbers_have(const struct numbers *n, uint64_t number)
{
    return n->count > 0 && bsearch(&number, n->list, n->count, sizeof number, by_number);
}

static void note_file(void *arg, const char *name)
{
    struct inventory *inventory = arg;
    const char *rest = "";
    uint64_t number = 0;
    if ((number = env_file_number(name, "segment-", &rest)) && !*rest)
        numbers_add(&inventory->segments, number);
    else if ((number = env_file_number(name, "hint-", &rest)) && !*rest)
        numbers_add(&inventory->hints, number);
    else if (number && strcmp(rest, ".tmp") == 0)
        numbers_add(&inventory->temporary, number);
    else if (strcmp(name, "LOCK") != 0 && strcmp(name, "lost+found") != 0)
        inventory->foreign = true;
}

void append_inventory_free(struct inventory *inventory)
{
    mem_free(inventory->segments.list);
    mem_free(inventory->hints.list);
    mem_free(inventory->temporary.list);
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
    if (out->segments.count)
        qsort(out->segments.list, out->segments.count, sizeof(uint64_t), by_number);
    return status;
}

/* --- segments ----------------------------------------------------------------------------------------------------- */

/* What opening knows of a segment. */
struct found {
    struct segment *segment;
    struct hint hint;
    struct segment_scan scan;
    bool from_hint;
    bool merged; /* a merge wrote it */
    bool lost;   /* changes that were made before those in it are */
};

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

static plsm_status look_at(struct append *db, uint64_t number, struct found *f)
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
static plsm_status gather_replaced(const struct found *found, size_t count, struct numbers *out)
{
    for (size_t i = 0; i < count; i++) {
        const struct hint *hint = &found[i].hint;
        if (!found[i].scan.closed || hint->facts.replace_count == 0)
            continue;
        if (!append_numbers_each(hint->replaces, hint->ranges, (size_t)hint->facts.replace_count, numbers_add, out))
            return fail(PLSM_CORRUPT, "segment %" PRIu64 " does not say which others it replaces", hint->facts.number);
    }
    if (out->no_memory)
        return fail(PLSM_NO_MEMORY, "no memory to open the store");
    if (out->count)
        qsort(out->list, out->count, sizeof *out->list, by_number);
    return PLSM_OK;
}

/* The newest segment tells which others there were. */
static plsm_status check_missing(const struct append *db, const struct found *found, size_t count,
                                 const struct inventory *inventory, const struct numbers *replaced)
{
    struct numbers listed = {0};
    plsm_status status = PLSM_OK;
    for (size_t i = count; i-- > 0;) {
        const struct hint *hint = &found[i].hint;
        if (!found[i].scan.has_head)
            continue;
        if (!append_numbers_each(hint->numbers, hint->replaces, (size_t)hint->facts.number_count, numbers_add, &listed))
            status = fail(PLSM_CORRUPT, "segment %" PRIu64 " does not say which others there are", hint->facts.number);
        break;
    }
    if (listed.no_memory)
        status = fail(PLSM_NO_MEMORY, "no memory to open the store");
    for (size_t i = 0; status == PLSM_OK && i < listed.count; i++)
        if (!numbers_have(&inventory->segments, listed.list[i]) && !numbers_have(replaced, listed.list[i]) &&
            !(db->options.read_only &&
              listed.list[i] > inventory->segments.list[inventory->segments.count - 1])) /* begun meanwhile */
            status = fail(PLSM_CORRUPT, "%s/segment-%06" PRIu64 ": the segment is missing; restore it from a backup",
                          db->path, listed.list[i]);
    mem_free(listed.list);
    return status;
}

/* The segment that was written to before this one, of those that were not closed cleanly. */
static const struct found *written_before(const struct found *found, size_t i, const struct numbers *others,
                                          const struct numbers *replaced)
{
    while (i-- > 0) {
        uint64_t number = found[i].hint.facts.number;
        if (!found[i].scan.closed && !found[i].merged && numbers_have(others, number) &&
            !numbers_have(replaced, number))
            return &found[i];
    }
    return NULL;
}

/* Power loss may take the end of one segment and leave what was appended to the next one: that was not synced, either,
 * and must not survive what was written before it. Closed segments were synced, as all before them were; but beside a
 * writer that may have been after the one before was read. */
static plsm_status mark_lost(struct found *found, size_t count, const struct numbers *replaced, bool beside)
{
    struct numbers others = {0};
    bool some_open = false; /* of those before: only then the list need be looked at */
    for (size_t i = 0; i < count && !others.no_memory; i++) {
        const struct hint *hint = &found[i].hint;
        bool follows = some_open;
        some_open |= !found[i].scan.closed && !found[i].merged;
        if (!follows || (found[i].scan.closed && !beside) || found[i].merged || !found[i].scan.has_head)
            continue;
        others.count = 0;
        append_numbers_each(hint->numbers, hint->replaces, (size_t)hint->facts.number_count, numbers_add, &others);
        const struct found *before = written_before(found, i, &others, replaced);
        if (before) {
            const struct hint_facts *facts = &before->hint.facts;
            uint64_t last = facts->seq_max > facts->first_seq ? facts->seq_max : facts->first_seq;
            found[i].lost = before->lost || !before->scan.has_head || last < hint->facts.first_seq;
        }
    }
    mem_free(others.list);
    return others.no_memory ? fail(PLSM_NO_MEMORY, "no memory to open the store") : PLSM_OK;
}

struct presence {
    const struct numbers *there;
    bool some;
};

static void note_presence(void *arg, uint64_t number)
{
    struct presence *presence = arg;
    presence->some |= numbers_have(presence->there, number);
}

/* That a segment was closed may be known to the kernel alone, if the process came to its end before that was synced;
 * only behind that its hint is written. One that replaces others which are there is then written anew: were they
 * removed, and were it not closed in the end, what they had may come back in part. */
static void mark_unsure(struct found *found, size_t count, const struct inventory *inventory)
{
    for (size_t i = 0; i < count; i++) {
        const struct hint *hint = &found[i].hint;
        struct presence presence = {.there = &inventory->segments};
        if (!found[i].scan.closed || found[i].from_hint)
            continue;
        append_numbers_each(hint->replaces, hint->ranges, (size_t)hint->facts.replace_count, note_presence, &presence);
        if (presence.some)
            found[i].segment->state = SEGMENT_TORN;
    }
}

static plsm_status take_segments(struct append *db, struct found *found, size_t count, const struct numbers *replaced,
                                 struct hint *hints)
{
    uint64_t seq = 0;
    TRY(append_garbage_reserve(db, count));
    for (size_t i = 0; i < count; i++) {
        struct found *f = &found[i];
        const struct hint_facts *facts = &f->hint.facts;
        if (!f->scan.has_head || f->lost || numbers_have(replaced, facts->number)) {
            append_garbage_add(db, f->segment->number, true);
            db->loss |= f->lost;
            drop(f);
            continue;
        }
        if (db->segment_count > 0 && facts->store_id != db->store_id)
            return fail(PLSM_CORRUPT, "%s: the segment is of another store", env_path(f->segment->file));
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
    db->seq = seq;
    atomic_store(&db->visible, seq);
    return PLSM_OK;
}

struct looking {
    struct found *found; /* by number */
    size_t count, capacity;
};

static plsm_status look_at_more(struct append *db, uint64_t number, struct looking *l, struct found **out)
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
    return look_at(db, number, *out);
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

/* A reader's: merged segments are left out that are there only since the first list. */
static plsm_status look_beside(struct append *db, struct inventory *inventory, struct looking *l)
{
    struct numbers merged = {0};
    struct found *f = NULL;
    plsm_status status = PLSM_OK;
    for (size_t i = 0; i < inventory->segments.count && status == PLSM_OK; i++) {
        uint64_t number = inventory->segments.list[i];
        if (!is_merged(db, number))
            continue;
        numbers_add(&merged, number);
        status =
            merged.no_memory ? fail(PLSM_NO_MEMORY, "no memory to open the store") : look_at_more(db, number, l, &f);
        if (status == PLSM_NOT_FOUND) {
            drop(f);
            l->count--;
            status = PLSM_OK;
        }
    }
    if (status == PLSM_OK)
        status = append_inventory_read(db, inventory);
    for (size_t i = 0; i < inventory->segments.count && status == PLSM_OK; i++) {
        uint64_t number = inventory->segments.list[i];
        if (numbers_have(&merged, number))
            continue;
        status = look_at_more(db, number, l, &f);
        if (status == PLSM_NOT_FOUND || (status == PLSM_OK && f->merged)) { /* not found: it was never used */
            drop(f);
            l->count--;
            status = PLSM_OK;
        }
    }
    mem_free(merged.list);
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
        TRY(look_at_more(db, inventory->segments.list[i], l, &f));
    return PLSM_OK;
}

plsm_status append_recover(struct append *db, struct inventory *inventory)
{
    struct numbers replaced = {0};
    struct looking l = {0};
    struct hint *hints = NULL;
    plsm_status status = look_at_all(db, inventory, &l);
    if (status == PLSM_OK && !(hints = mem_zalloc((l.count + 1) * sizeof *hints)))
        status = fail(PLSM_NO_MEMORY, "no memory to open the store");
    if (status == PLSM_OK)
        status = gather_replaced(l.found, l.count, &replaced);
    if (status == PLSM_OK)
        status = check_missing(db, l.found, l.count, inventory, &replaced);
    if (status == PLSM_OK)
        status = mark_lost(l.found, l.count, &replaced, db->options.read_only);
    if (status == PLSM_OK)
        mark_unsure(l.found, l.count, inventory);
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
    mem_free(replaced.list);
    return status;
}
