/* The files of a store: which there are, which may be removed, and who keeps whom out.
 *
 * The file LOCK has two slots. The writer holds the first for itself. A process that reads holds the second together
 * with others, as long as it has the store open; so the writer, which takes that one for itself while it removes files,
 * finds out that it must leave them until later. */
#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "log/hybrid_private.h"

#include "base/banned.h"

enum { PIN_TRIES = 500, PIN_WAIT_NS = 10 * 1000 * 1000 /* a writer holds the pin only while it removes files */ };

/* Whether a name is a prefix and a number. */
static bool is_numbered(const char *name, const char *prefix, uint64_t *number)
{
    size_t size = strlen(prefix);
    if (strncmp(name, prefix, size) != 0 || !name[size] || strlen(name + size) > 19)
        return false;
    *number = 0;
    for (const char *at = name + size; *at; at++) {
        if (*at < '0' || *at > '9')
            return false;
        *number = *number * 10 + (uint64_t)(*at - '0');
    }
    return *number > 0;
}

static void note_name(void *arg, const char *name)
{
    struct inventory *inventory = arg;
    uint64_t number;
    if (is_numbered(name, HYBRID_MARK, &number))
        number_list_add(&inventory->states, number);
    else if (is_numbered(name, HYBRID_MARK "segment-", &number))
        number_list_add(&inventory->segments, number);
    else if (is_numbered(name, HYBRID_MARK "redo-", &number))
        number_list_add(&inventory->redo, number);
    else if (strcmp(name, HYBRID_MARK "new") != 0 && strcmp(name, "LOCK") != 0 && strcmp(name, "lost+found") != 0)
        inventory->foreign = true;
}

void hybrid_inventory_free(struct inventory *inventory)
{
    number_list_free(&inventory->states);
    number_list_free(&inventory->segments);
    number_list_free(&inventory->redo);
    *inventory = (struct inventory){0};
}

plsm_status hybrid_number_check(const struct hybrid *db, uint64_t number)
{
    if (number <= HYBRID_NUMBER_MAX / (db->options.read_only ? 1 : 2))
        return PLSM_OK;
    return fail(PLSM_CORRUPT, "%s: has a file number %" PRIu64 ": no store comes to so many; restore it from a backup",
                db->path, number);
}

plsm_status hybrid_inventory_read(struct hybrid *db, struct inventory *inventory)
{
    hybrid_inventory_free(inventory);
    plsm_status status = env_list(db->env, db->path, note_name, inventory);
    if (status == PLSM_NOT_FOUND)
        return fail(PLSM_NO_STORE, "%s: there is no such directory", db->path);
    TRY(status);
    struct number_list *all[] = {&inventory->states, &inventory->segments, &inventory->redo};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (all[i]->no_memory)
            return fail(PLSM_NO_MEMORY, "%s: no memory to list it", db->path);
        number_list_sort(all[i]);
        TRY(hybrid_number_check(db, number_list_last(all[i])));
    }
    return PLSM_OK;
}

/* --- locks -------------------------------------------------------------------------------------------------------- */

static plsm_status lock_slot(struct hybrid *db, unsigned slot, bool exclusive, struct env_lock **out)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/LOCK", db->path);
    return env_lock(db->env, path, slot, exclusive, out);
}

plsm_status hybrid_lock_store(struct hybrid *db)
{
    plsm_status status = PLSM_LOCKED;
    if (!db->options.read_only) {
        status = lock_slot(db, LOCK_WRITER, true, &db->store_lock);
        if (status == PLSM_LOCKED)
            return fail(PLSM_LOCKED, "%s: is in use by another process (mounted, or open for writing)", db->path);
        return status;
    }
    for (int i = 0; status == PLSM_LOCKED && i < PIN_TRIES; i++) {
        status = lock_slot(db, LOCK_PIN, false, &db->store_lock);
        if (status == PLSM_LOCKED)
            env_sleep_ns(db->env, PIN_WAIT_NS);
    }
    return status;
}

bool has_writer(struct hybrid *db)
{
    struct env_lock *lock = NULL;
    plsm_status status = lock_slot(db, LOCK_WRITER, false, &lock);
    env_unlock(lock);
    return status == PLSM_LOCKED;
}

bool lock_out_readers(struct hybrid *db, struct env_lock **out)
{
    return lock_slot(db, LOCK_PIN, true, out) == PLSM_OK;
}

/* --- removing ----------------------------------------------------------------------------------------------------- */

static void remove_named(struct hybrid *db, const char *kind, uint64_t number)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/" HYBRID_MARK "%s%06" PRIu64, db->path, kind, number);
    env_remove(db->env, path);
}

static bool is_needed_redo(const struct hybrid *db, uint64_t number)
{
    const struct redo *redo = &db->redo;
    bool needed = redo->current.writer && redo->current.number == number;
    needed |= db->replayed && number >= db->state.redo; /* no recovery point has what it held */
    for (size_t i = 0; i < redo->old_count; i++)
        needed |= redo->old[i].number == number;
    return needed;
}

/* What is there, but of segments only those that the list has not. They are made under flush_lock, so none is in the
 * directory that the list does not have yet. */
static plsm_status read_leftovers(struct hybrid *db, struct inventory *out)
{
    mutex_lock(&db->flush_lock);
    plsm_status status = hybrid_inventory_read(db, out);
    const struct hybrid_segments *list = hybrid_segments_of(db);
    size_t left = 0;
    for (size_t i = 0; status == PLSM_OK && i < out->segments.count; i++) {
        size_t at = 0;
        while (at < list->count && list->at[at]->number != out->segments.at[i])
            at++;
        if (at == list->count)
            out->segments.at[left++] = out->segments.at[i];
    }
    out->segments.count = left;
    mutex_unlock(&db->flush_lock);
    return status;
}

/* Removing takes time, for which no writer is to wait. */
void remove_leftovers(struct hybrid *db)
{
    struct inventory inventory = {0};
    struct env_lock *lock = NULL;
    if (!lock_out_readers(db, &lock))
        return;
    if (read_leftovers(db, &inventory) == PLSM_OK) {
        for (size_t i = 0; i < inventory.states.count; i++)
            if (inventory.states.at[i] != db->state.number)
                remove_named(db, "", inventory.states.at[i]);
        for (size_t i = 0; i < inventory.redo.count; i++)
            if (!is_needed_redo(db, inventory.redo.at[i]))
                remove_named(db, "redo-", inventory.redo.at[i]);
        for (size_t i = 0; i < inventory.segments.count; i++)
            remove_named(db, "segment-", inventory.segments.at[i]);
    }
    hybrid_inventory_free(&inventory);
    env_unlock(lock);
}
