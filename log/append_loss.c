/* What may be lost, and what is damage.
 *
 * Power loss may take the end of what was not synced, so an opening must forgive a segment that ends early, and leave
 * out what was written behind it. What was synced cannot be lost that way. A segment is known to have been synced
 *   - by itself: records in it, or that of its clean close, carry what was synced before they were (base/reclog.c);
 *   - by its hint, which is written behind its clean close;
 *   - by a later segment whose entries were synced: a sync is one of all that was appended before;
 *   - by one that a merge has closed, which leaves out what is dead by what was synced in front of that. */
#include "log/append_found.h"

#include <inttypes.h>

#include "base/error.h"
#include "base/banned.h"

/* --- segments that are missing, or cut ---------------------------------------------------------------------------- */

plsm_status found_check_hint(struct append *db, const struct found *f)
{
    struct hint hint;
    const struct hint_facts *facts = &f->hint.facts;
    plsm_status status = hint_read_any(db, f->segment->number, &hint);
    if (status == PLSM_OK && (!f->scan.has_head || hint.facts.salt == facts->salt) &&
        (!f->scan.has_head || facts->end < hint.facts.end))
        status = fail(PLSM_CORRUPT,
                      "%s: has only %" PRIu64 " of the %" PRIu64 " bytes that it had when it was closed; restore it "
                      "from a backup",
                      env_path(f->segment->file), f->scan.has_head ? facts->end : 0, hint.facts.end);
    else if (status != PLSM_IO && status != PLSM_NO_MEMORY)
        status = PLSM_OK; /* what is no hint says nothing */
    hint_free(&hint);
    return status;
}

static plsm_status missing(const struct append *db, uint64_t number)
{
    return fail(PLSM_CORRUPT, "%s/segment-%06" PRIu64 ": the segment is missing; restore it from a backup", db->path,
                number);
}

plsm_status found_check_missing(const struct append *db, const struct found *found, size_t count,
                                const struct inventory *inventory, const struct number_list *replaced,
                                uint64_t newest_hint)
{
    struct number_list listed = {0};
    uint64_t newest = number_list_last(&inventory->segments);
    plsm_status status = PLSM_OK;
    if (newest_hint > newest) /* a segment that goes leaves its place to one that is newer */
        return missing(db, newest_hint);
    for (size_t i = count; i-- > 0;) {
        const struct hint *hint = &found[i].hint;
        if (!found[i].scan.has_head)
            continue;
        if (!append_numbers_each(hint->numbers, hint->replaces, (size_t)hint->facts.number_count, number_list_add,
                                 &listed))
            status = fail(PLSM_CORRUPT, "segment %" PRIu64 " does not say which others there are", hint->facts.number);
        break;
    }
    if (listed.no_memory)
        status = fail(PLSM_NO_MEMORY, "no memory to open the store");
    for (size_t i = 0; status == PLSM_OK && i < listed.count; i++)
        if (!number_list_has(&inventory->segments, listed.at[i]) && !number_list_has(replaced, listed.at[i]) &&
            !(db->options.read_only && listed.at[i] > newest)) /* begun meanwhile */
            status = missing(db, listed.at[i]);
    number_list_free(&listed);
    return status;
}

/* --- losses ------------------------------------------------------------------------------------------------------- */

/* Was it written to by callers, and not closed cleanly, so that it may have lost its end? */
static bool may_end_early(const struct found *f, const struct number_list *replaced)
{
    return !f->scan.closed && !f->merged && !number_list_has(replaced, f->segment->number);
}

/* The segment that was written to before this one, if that was not closed cleanly. */
static const struct found *written_before(const struct found *found, size_t i, const struct number_list *others,
                                          const struct number_list *replaced)
{
    while (i-- > 0)
        if (may_end_early(&found[i], replaced) && number_list_has(others, found[i].segment->number))
            return &found[i];
    return NULL;
}

static bool has_all_before(const struct found *before, const struct found *f)
{
    const struct hint_facts *facts = &before->hint.facts;
    uint64_t last = facts->seq_max > facts->first_seq ? facts->seq_max : facts->first_seq;
    return !before->lost && before->scan.has_head && last >= f->hint.facts.first_seq;
}

static plsm_status lost_its_end(const struct found *f, uint64_t proof)
{
    return fail(PLSM_CORRUPT,
                "%s: has lost its end, or all of it, though what was written then was synced, as segment %" PRIu64
                " shows; restore it from a backup",
                env_path(f->segment->file), proof);
}

plsm_status found_check_merged(const struct found *found, size_t count, const struct number_list *replaced)
{
    const struct found *newest = NULL;
    for (size_t i = 0; i < count; i++)
        if (found[i].merged && found[i].scan.closed &&
            (!newest || found[i].hint.facts.first_seq > newest->hint.facts.first_seq))
            newest = &found[i];
    for (size_t i = count; newest && i-- > 0;)
        if (may_end_early(&found[i], replaced) && found[i].scan.has_head && !found[i].lost)
            return has_all_before(&found[i], newest) ? PLSM_OK : lost_its_end(&found[i], newest->segment->number);
    return PLSM_OK;
}

/* Power loss may take the end of one segment and leave what was appended to the next one: that was not synced, either,
 * and must not survive what was written before it. */
plsm_status found_mark_lost(struct found *found, size_t count, const struct number_list *replaced)
{
    struct number_list others = {0};
    plsm_status status = PLSM_OK;
    size_t first = 0; /* of those that may have lost their end: only what follows is looked at */
    while (first < count && !may_end_early(&found[first], replaced))
        first++;
    for (size_t i = first + 1; i < count && status == PLSM_OK; i++) {
        struct found *f = &found[i];
        const struct hint *hint = &f->hint;
        if (!f->scan.has_head || f->merged)
            continue;
        others.count = 0;
        append_numbers_each(hint->numbers, hint->replaces, (size_t)hint->facts.number_count, number_list_add, &others);
        if (others.no_memory)
            status = fail(PLSM_NO_MEMORY, "no memory to open the store");
        const struct found *before = written_before(found, i, &others, replaced);
        if (status != PLSM_OK || !before || has_all_before(before, f))
            continue;
        f->lost = true;
        if (f->scan.closed || f->scan.synced)
            status = lost_its_end(before, f->segment->number);
    }
    number_list_free(&others);
    return status;
}

struct presence {
    const struct number_list *there;
    bool some;
};

static void note_presence(void *arg, uint64_t number)
{
    struct presence *presence = arg;
    presence->some |= number_list_has(presence->there, number);
}

/* That a segment was closed may be known to the kernel alone, if the process came to its end before that was synced;
 * only behind that its hint is written. One that replaces others which are there is then written anew: were they
 * removed, and were it not closed in the end, what they had may come back in part. */
void found_mark_unsure(struct found *found, size_t count, const struct inventory *inventory)
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
