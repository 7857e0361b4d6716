/* Checking a store: every record of every segment, every entry that the directory leads to, every hint. */
#include "log/append_hint.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/error.h"
#include "base/banned.h"

struct checking {
    struct append *db;
    void (*report)(void *arg, const char *line);
    void (*progress)(void *arg, uint64_t done, uint64_t all);
    void *arg;
    uint64_t done, all;
    bool wrong;
};

static void complain(struct checking *c, const char *line)
{
    c->wrong = true;
    if (c->report)
        c->report(c->arg, line);
}

/* Is this failure one of the store, to be told while checking goes on? */
static bool is_damage(plsm_status status)
{
    return status == PLSM_CORRUPT || status == PLSM_VERSION || status == PLSM_NOT_FOUND || status == PLSM_CONFLICT;
}

static bool same_bytes(const struct hint *a, const struct hint *b)
{
    size_t size = (size_t)(a->end - a->numbers);
    return size == (size_t)(b->end - b->numbers) && (size == 0 || memcmp(a->numbers, b->numbers, size) == 0);
}

/* What is wrong with a segment that was read to its end, in words; NULL: nothing. */
static const char *is_short(const struct hint *made, const struct segment_scan *scan, bool sealed, uint64_t size)
{
    if (made->facts.end < size && !(sealed && made->facts.end + APPEND_RECORD_HEAD == size))
        return "is cut short, or damaged at its end";
    return sealed && !scan->closed ? "the record of its clean close is damaged" : NULL;
}

/* What the segment holds must be what its hint says. */
static plsm_status check_segment(struct checking *c, const struct segment *s, bool sealed, bool hinted, uint64_t size)
{
    struct append *db = c->db;
    char line[APPEND_PATH_MAX + 100], path[APPEND_PATH_MAX];
    struct hint made = {0}, read = {0};
    struct segment_scan scan = {0};
    segment_path(db, "segment", s->number, path);
    plsm_status status = hint_make(db, s->number, &made, &scan);
    const char *what = status == PLSM_OK ? is_short(&made, &scan, sealed, size) : NULL;
    if (what) {
        snprintf(line, sizeof line, "%s: %s: %" PRIu64 " of %" PRIu64 " bytes are there", path, what, made.facts.end,
                 size);
        complain(c, line);
    } else if (is_damage(status)) {
        complain(c, plsm_message());
        status = PLSM_OK;
    } else if (status == PLSM_OK && sealed) {
        status = hint_read(db, s->number, made.facts.salt, made.facts.store_id, &read);
        bool same = status == PLSM_OK && same_bytes(&made, &read);
        if (status == PLSM_OK)
            status = hint_whole(&read); /* what is lost of it reads as zeros */
        if (status == PLSM_NOT_FOUND && !hinted) /* opening takes longer without: that is all */
            status = PLSM_OK;
        else if (status == PLSM_OK && !same) {
            snprintf(line, sizeof line, "%s: its hint does not say what the segment holds", path);
            complain(c, line);
        } else if (is_damage(status)) {
            complain(c, plsm_message());
            status = PLSM_OK;
        }
    }
    hint_free(&made);
    hint_free(&read);
    return status;
}

static plsm_status check_segments(struct checking *c)
{
    struct append *db = c->db;
    mutex_lock(&db->lock);
    size_t count = db->segment_count;
    struct {
        struct segment *segment;
        uint64_t size;
        bool sealed, hinted;
    } *list = mem_alloc((count + 1) * sizeof *list);
    for (size_t i = 0; list && i < count; i++) {
        struct segment *s = db->segments[i];
        bool sealed = s->state == SEGMENT_SEALED;
        list[i].segment = s;
        list[i].size = atomic_load(&s->size);
        list[i].sealed = sealed;
        list[i].hinted = sealed && s->hinted;
        segment_reference(s);
        c->all += list[i].size;
    }
    mutex_unlock(&db->lock);
    plsm_status status = list ? PLSM_OK : fail(PLSM_NO_MEMORY, "no memory to check the store");
    for (size_t i = 0; list && i < count; i++) {
        if (status == PLSM_OK)
            status = check_segment(c, list[i].segment, list[i].sealed, list[i].hinted, list[i].size);
        c->done += list[i].size;
        if (c->progress)
            c->progress(c->arg, c->done, c->all);
    }
    for (size_t i = 0; list && i < count; i++)
        segment_release(list[i].segment);
    mem_free(list);
    return status;
}

/* Every key in order, each entry with its checksums. */
static plsm_status check_keys(struct checking *c)
{
    struct append_iterator *it = NULL;
    TRY(append_iterator_create(c->db, NULL, slice(NULL, 0), slice(NULL, 0), 0, &it));
    append_iterator_show_expired(it);
    struct buf last = {0};
    const struct append_shown *shown = append_iterator_first(it);
    plsm_status status = PLSM_OK;
    while (shown && status == PLSM_OK) {
        if (last.size && slice_compare(buf_slice(&last), shown->key) >= 0)
            complain(c, "the directory is out of order: this is a bug");
        last.size = 0;
        status = buf_append(&last, shown->key.data, shown->key.size);
        shown = append_iterator_next(it);
    }
    if (status == PLSM_OK)
        status = append_iterator_status(it);
    if (is_damage(status)) {
        complain(c, plsm_message());
        status = PLSM_OK;
    }
    buf_free(&last);
    append_iterator_destroy(it);
    return status;
}

plsm_status append_check(struct append *db, void (*report)(void *arg, const char *line),
                         void (*progress)(void *arg, uint64_t done, uint64_t all), void *arg)
{
    struct checking c = {.db = db, .report = report, .progress = progress, .arg = arg};
    mutex_lock(&db->merge_lock); /* what is merged away meanwhile would be missing */
    plsm_status status = check_segments(&c);
    mutex_unlock(&db->merge_lock);
    if (status == PLSM_OK)
        status = check_keys(&c);
    if (status == PLSM_OK && c.wrong)
        status = fail(PLSM_CORRUPT, "%s: the store is damaged; restore what was reported from a backup", db->path);
    return status;
}
