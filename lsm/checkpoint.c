/* The files that a tree is made of at one moment.
 *
 * After a flush all that was acknowledged is in runs, which never change, and a version of them is a state of the tree:
 * a MANIFEST with that version alone, and an empty log, make a directory with its files a store. */
#include "lsm/db.h"

#include <stdio.h>

#include "base/checksum.h"
#include "base/error.h"
#include "base/banned.h"

enum { NUMBER = 1 }; /* of the MANIFEST and the log of a checkpoint */

/* What those are made of. */
struct made_of {
    struct lsm *db;
    const char *name;
    plsm_status (*make)(const struct made_of *made_of, const char *directory);
    struct manifest_state state; /* of the MANIFEST */
};

struct telling {
    plsm_status (*each)(void *arg, const struct lsm_file *file);
    void *arg;
};

static const char *name_of(const char *path)
{
    return strrchr(path, '/') + 1;
}

static plsm_status tell(const struct telling *t, const char *path, uint64_t size, uint64_t identity, bool optional)
{
    return t->each(t->arg,
                   &(struct lsm_file){
                       .name = name_of(path), .path = path, .size = size, .identity = identity, .optional = optional});
}

/* Of a file with a salt of its own. */
static uint64_t identity_of(uint64_t number, uint64_t salt, uint64_t size)
{
    const uint64_t words[3] = {number, salt, size};
    return checksum(words, sizeof words, 0);
}

static plsm_status tell_run(struct lsm *db, const struct run *run, const struct telling *t)
{
    char path[4096];
    const struct run_facts *facts = &run->facts;
    run_path(&db->context, facts->number, path, sizeof path);
    TRY(tell(t, path, facts->file_size, identity_of(facts->number, facts->salt, facts->file_size), false));
    run_model_path(&db->context, facts->number, path, sizeof path); /* training may replace it */
    return tell(t, path, 0, 0, true);
}

static plsm_status tell_values(struct lsm *db, const struct value_log *log, const struct telling *t)
{
    char path[4096];
    value_log_path(&db->context, log->number, path, sizeof path);
    return tell(t, path, log->file_size, identity_of(log->number, log->salt, log->file_size), false);
}

/* A log without records beside its first, closed in order: what a MANIFEST needs behind it. */
static plsm_status make_log(const struct made_of *made_of, const char *directory)
{
    char path[4096];
    struct reclog_writer *log = NULL;
    snprintf(path, sizeof path, "%s/%s", directory, made_of->name);
    TRY(reclog_create(made_of->db->env, path, LOG_MAGIC, &log));
    TRY(log_begin(made_of->db, NUMBER, 0, true, &log));
    return reclog_close_clean(log);
}

static plsm_status make_manifest(const struct made_of *made_of, const char *directory)
{
    const struct run_context there = {.env = made_of->db->env, .path = directory};
    struct manifest *manifest = NULL;
    bool named = false;
    TRY(manifest_create(&there, NUMBER, &made_of->state, &manifest, &named));
    return manifest_close(manifest, true);
}

plsm_status lsm_file_make(const struct lsm_file *file, const char *directory)
{
    const struct made_of *made_of = file->made_of;
    return made_of->make(made_of, directory);
}

static plsm_status tell_made(struct lsm *db, struct version *version, const struct telling *t)
{
    char path[4096];
    struct made_of made_of = {
        .db = db,
        .state = {.version = version, .log_floor = NUMBER, .seq = atomic_load(&db->seq), .store_id = db->store_id}};
    struct lsm_file file = {.made_of = &made_of};
    mutex_lock(&db->lock);
    made_of.state.next_number = db->next_number;
    mutex_unlock(&db->lock);
    TRY(manifest_identity(&made_of.state, &file.identity));
    manifest_path(&db->context, NUMBER, path, sizeof path);
    made_of.name = file.name = name_of(path);
    made_of.make = make_manifest;
    TRY(t->each(t->arg, &file));

    file.identity = identity_of(NUMBER, db->store_id, 0);
    log_path(db, NUMBER, path, sizeof path);
    made_of.name = file.name = name_of(path);
    made_of.make = make_log;
    return t->each(t->arg, &file);
}

plsm_status lsm_checkpoint(struct lsm *db, plsm_status (*each)(void *arg, const struct lsm_file *file), void *arg)
{
    struct telling t = {each, arg};
    INVARIANT(db->magic == LSM_STRUCT_MAGIC);
    TRY(lsm_flush(db));
    struct view *view = view_acquire(db);
    struct version *version = view->version;
    plsm_status status = PLSM_OK;
    for (unsigned l = 0; l < LSM_LEVELS; l++)
        for (size_t i = 0; i < version->levels[l].count && status == PLSM_OK; i++)
            status = tell_run(db, version->levels[l].runs[i], &t);
    for (size_t i = 0; i < version->values_count && status == PLSM_OK; i++)
        status = tell_values(db, version->values[i].log, &t);
    if (status == PLSM_OK)
        status = tell_made(db, version, &t);
    view_release(view);
    return status;
}
