/* Cursors: the memtable kind, and the choice between the kinds. */
#include "lsm/cursor.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/banned.h"

enum { READ_AHEAD_BULK = 64 };

plsm_status cursor_open_memtable(struct cursor *c, const struct memtable *table, const struct cursor_options *options)
{
    memset(c, 0, sizeof *c);
    c->options = *options;
    c->is_memtable = true;
    memtable_iterator_init(&c->memtable, table);
    return PLSM_OK;
}

plsm_status cursor_open_runs(struct cursor *c, struct run *const *runs, size_t count,
                             const struct cursor_options *options)
{
    memset(c, 0, sizeof *c);
    c->options = *options;
    c->runs = runs;
    c->run_count = count;
    c->ahead = options->bulk ? READ_AHEAD_BULK : 1;
    struct mem_account *before = cursor_enter(c);
    c->common_keys = mem_alloc(2 * CURSOR_KEY_COMMON);
    budget_leave(before);
    if (!c->common_keys)
        return fail(PLSM_NO_MEMORY, "no memory for an iterator");
    c->keys[0] = c->common_keys;
    c->keys[1] = c->common_keys + CURSOR_KEY_COMMON;
    return PLSM_OK;
}

void cursor_close(struct cursor *c)
{
    if (c->is_memtable)
        memtable_iterator_destroy(&c->memtable);
    else
        cursor_run_close(c);
    memset(c, 0, sizeof *c);
}

/* Shows the newest visible version of the key under the memtable's iterator; false when it has none. */
static bool show_version(struct cursor *c)
{
    c->version = NULL;
    while (memtable_iterator_version(&c->memtable, &c->version, &c->entry))
        if (c->options.all_versions || c->entry.seq <= c->options.seq) {
            c->head = cursor_head(c, c->entry.key);
            return true;
        }
    return false;
}

/* Shows something from here on, in one direction. */
static void settle(struct cursor *c, void (*move)(struct memtable_iterator *))
{
    while (memtable_iterator_valid(&c->memtable) && !show_version(c))
        move(&c->memtable);
    c->valid = memtable_iterator_valid(&c->memtable);
    if (c->memtable.failed)
        c->status = fail(PLSM_NO_MEMORY, "no memory for an iterator");
}

void cursor_first(struct cursor *c)
{
    if (!c->is_memtable) {
        cursor_run_first(c);
        return;
    }
    memtable_iterator_first(&c->memtable);
    settle(c, memtable_iterator_next);
}

void cursor_last(struct cursor *c)
{
    if (!c->is_memtable) {
        cursor_run_last(c);
        return;
    }
    memtable_iterator_last(&c->memtable);
    settle(c, memtable_iterator_previous);
}

void cursor_seek(struct cursor *c, plsm_slice key)
{
    if (!c->is_memtable) {
        cursor_run_seek(c, key);
        return;
    }
    memtable_iterator_seek(&c->memtable, key);
    settle(c, memtable_iterator_next);
}

void cursor_seek_before(struct cursor *c, plsm_slice key)
{
    if (!c->is_memtable) {
        cursor_run_seek_before(c, key);
        return;
    }
    memtable_iterator_seek_before(&c->memtable, key);
    settle(c, memtable_iterator_previous);
}

void cursor_next(struct cursor *c)
{
    if (!c->is_memtable) {
        cursor_run_next(c);
        return;
    }
    if (c->options.all_versions && memtable_iterator_version(&c->memtable, &c->version, &c->entry))
        return; /* an older one of the same key */
    memtable_iterator_next(&c->memtable);
    settle(c, memtable_iterator_next);
}

void cursor_previous(struct cursor *c)
{
    if (!c->is_memtable) {
        cursor_run_previous(c);
        return;
    }
    memtable_iterator_previous(&c->memtable);
    settle(c, memtable_iterator_previous);
}
