/* A store made of a checkpoint: put together beside its place, and moved there when every file is right. */
#include "store/checkpoint.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/error.h"
#include "store/place.h"

#include "base/banned.h"

struct restoring {
    struct checkpoint_directory directory;
    const struct checkpoint_list *list;
    struct checkpoint_progress progress;
    char beside[PLACE_PATH]; /* the store, until it is whole */
    plsm_checkpoint_info info;
};

static plsm_status choose(struct restoring *r, const plsm_restore_options *options)
{
    const struct checkpoint_directory *d = &r->directory;
    r->list = options->name ? checkpoint_directory_find(d, options->name) : NULL;
    for (size_t i = 0; i < d->count && !options->name; i++)
        if (options->time_ns == 0 || d->lists[i].time_ns <= options->time_ns)
            r->list = &d->lists[i];
    if (r->list)
        return PLSM_OK;
    if (d->damaged != PLSM_OK)
        return fail(d->damaged, "%s", d->message);
    if (options->name)
        return fail(PLSM_NOT_FOUND, "%s: there is no checkpoint '%.80s'", d->path, options->name);
    return fail(PLSM_NOT_FOUND, "%s: there is no checkpoint%s", d->path, options->time_ns ? " as old as that" : "");
}

static plsm_status bring_all(struct restoring *r, bool copy)
{
    char from[CHECKPOINT_PATH], to[CHECKPOINT_PATH];
    struct env *env = r->directory.env;
    for (size_t i = 0; i < r->list->count; i++) {
        const struct checkpoint_file *file = &r->list->files[i];
        bool linked = false;
        TRY(checkpoint_content_path(&r->directory, file->digest, from));
        TRY(checkpoint_path(to, r->beside, file->name));
        plsm_status status = checkpoint_bring(env, from, to, copy, file, &r->progress, &linked);
        if (status == PLSM_NOT_FOUND)
            return fail(PLSM_CORRUPT, "%s: is missing: it is %s of the checkpoint %s", from, file->name, r->list->name);
        TRY(status);
        r->info.new_files++;
        if (linked)
            r->info.linked_bytes += file->size;
        else
            r->info.copied_bytes += file->size;
    }
    return env_sync_dir(env, r->beside);
}

/* Takes away what there is of the store beside its place. A failure leaves it: it hinders nobody but the next one. */
static void take_back(const struct restoring *r)
{
    char path[CHECKPOINT_PATH];
    for (size_t i = 0; i < r->list->count; i++)
        if (checkpoint_path(path, r->beside, r->list->files[i].name) == PLSM_OK)
            (void)env_remove(r->directory.env, path);
    (void)env_remove(r->directory.env, r->beside);
}

static plsm_status restore(struct restoring *r, const plsm_restore_options *options, const char *path)
{
    struct env *env = r->directory.env;
    TRY(choose(r, options));
    TRY(place_check_empty(env, path));
    TRY(place_beside(path, ".restoring", r->beside));
    checkpoint_list_info(r->list, &r->info);
    r->progress = (struct checkpoint_progress){options->progress, options->arg, 0, r->info.bytes};
    plsm_status status = env_make_dir(env, r->beside);
    if (status == PLSM_EXISTS)
        return fail(PLSM_EXISTS, "%s: is there, from a restoration that was interrupted: remove it", r->beside);
    TRY(status);
    status = bring_all(r, options->copy);
    if (status == PLSM_OK)
        status = env_rename(env, r->beside, path);
    if (status != PLSM_OK) {
        struct fail_kept kept;
        fail_keep(&kept);
        take_back(r);
        return fail_again(status, &kept);
    }
    return env_sync_parent(env, path);
}

plsm_status restore_in(struct env *env, const char *directory, const plsm_restore_options *options, const char *path,
                       plsm_checkpoint_info *out)
{
    static const plsm_restore_options none;
    char place[PLACE_PATH];
    struct restoring r = {0};
    TRY(place_of(path, place));
    TRY(checkpoint_directory_open(env, directory, false, &r.directory));
    plsm_status status = restore(&r, options ? options : &none, place);
    if (out)
        *out = r.info;
    checkpoint_directory_close(&r.directory);
    return status;
}

plsm_status plsm_restore(const char *directory, const plsm_restore_options *options, const char *path,
                         plsm_checkpoint_info *out)
{
    return restore_in(env_posix(), directory, options, path, out);
}
