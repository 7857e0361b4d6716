/* Files that are not needed any more. They are removed at once, but for a log that may serve again, unless a reader
 * beside the writer pins the store (a shared lock on LOCK_PIN); then later. What is still there after a crash, the next
 * opening removes. */
#include "lsm/db.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/banned.h"

void garbage_add(struct lsm *db, char kind, uint64_t number)
{
    struct garbage *g = &db->garbage;
    mutex_lock(&db->garbage_lock);
    if (g->count == g->capacity) {
        size_t capacity = g->capacity ? 2 * g->capacity : 16;
        struct mem_account *before = mem_account_use(NULL);
        struct garbage_file *grown = mem_realloc(g->files, capacity * sizeof *grown);
        mem_account_use(before);
        if (grown) {
            g->files = grown;
            g->capacity = capacity;
        }
    }
    if (g->count < g->capacity) /* without memory the file stays until the next opening */
        g->files[g->count++] = (struct garbage_file){kind, number};
    mutex_unlock(&db->garbage_lock);
}

static void remove_file(struct lsm *db, const struct garbage_file *file)
{
    char path[4096];
    if (file->kind == 's') {
        log_retire(db, file->number);
        return;
    }
    if (file->kind == 'r') {
        run_model_path(&db->context, file->number, path, sizeof path);
        env_remove(db->env, path); /* most have none */
    }
    if (file->kind == 'r')
        run_path(&db->context, file->number, path, sizeof path);
    else if (file->kind == 'l')
        log_path(db, file->number, path, sizeof path);
    else if (file->kind == 'v')
        value_log_path(&db->context, file->number, path, sizeof path);
    else
        manifest_path(&db->context, file->number, path, sizeof path);
    env_remove(db->env, path); /* a failure costs space until the next opening, no more */
}

/* Under collect_lock. */
static void collect(struct lsm *db)
{
    char path[4096];
    struct fail_kept kept;
    struct env_lock *pin = NULL;
    struct garbage mine = {0};
    mutex_lock(&db->garbage_lock);
    bool any = db->garbage.count > 0;
    mutex_unlock(&db->garbage_lock);
    if (!any)
        return;
    fail_keep(&kept); /* of a failure that left this to be removed */
    snprintf(path, sizeof path, "%s/LOCK", db->path);
    if (env_lock(db->env, path, LOCK_PIN, true, &pin) != PLSM_OK) {
        fail_again(PLSM_OK, &kept);
        return;
    }
    mutex_lock(&db->garbage_lock);
    mine = db->garbage;
    db->garbage = (struct garbage){0};
    mutex_unlock(&db->garbage_lock);
    for (size_t i = 0; i < mine.count; i++)
        remove_file(db, &mine.files[i]);
    mem_free(mine.files);
    env_unlock(pin);
    fail_again(PLSM_OK, &kept);
}

void garbage_collect(struct lsm *db)
{
    if (!mutex_lock_if_free(&db->collect_lock))
        return;
    collect(db);
    mutex_unlock(&db->collect_lock);
}

void garbage_collect_all(struct lsm *db)
{
    mutex_lock(&db->collect_lock);
    collect(db);
    mutex_unlock(&db->collect_lock);
}
