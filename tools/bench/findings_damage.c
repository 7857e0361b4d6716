/* What becomes of answers when models are damaged or lost: nothing may, and each fallback must be counted. */
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/env.h"
#include "base/error.h"
#include "tools/bench/damage.h"
#include "tools/bench/findings.h"

#include "base/banned.h"

enum { LOOKUPS = 50000, LIES = 4 };

/* What a scenario must come to. */
enum fallback { FALLBACK_SOME, FALLBACK_NONE, FALLBACK_ANY };

static void note(struct findings *f, bool good, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void note(struct findings *f, bool good, const char *format, ...)
{
    va_list arguments;
    f->scenarios++;
    f->survived += good;
    if (good || f->first_failure[0])
        return;
    va_start(arguments, format);
    vsnprintf(f->first_failure, sizeof f->first_failure, format, arguments);
    va_end(arguments);
}

static plsm_status count_fallbacks(const struct stores *stores, double *out)
{
    struct stats *stats = mem_alloc(sizeof *stats);
    if (!stats)
        return fail(PLSM_NO_MEMORY, "no memory for statistics");
    stats_read(stores->db[0], stats);
    *out = stats_get(stats, "learn.fallbacks");
    mem_free(stats);
    return PLSM_OK;
}

/* Opens the store as it is and asks. A store that cannot be opened has not survived either. */
static plsm_status ask(struct findings *f, struct stores *stores, const char *what, enum fallback wanted)
{
    uint64_t wrong = f->verified.wrong;
    double fallbacks = 0;
    plsm_status status = stores_open(stores, NULL);
    if (status != PLSM_OK) {
        stores_close(stores);
        note(f, false, "%s: the store cannot be opened: %s", what, plsm_message());
        return status == PLSM_NO_MEMORY ? status : PLSM_OK;
    }
    TRY(findings_verify(f, stores, LOOKUPS));
    TRY(count_fallbacks(stores, &fallbacks));
    stores_close(stores);
    if (f->verified.wrong != wrong)
        note(f, false, "%s: %s", what, f->verified.first);
    else
        note(f, wanted == FALLBACK_ANY || (wanted == FALLBACK_SOME) == (fallbacks > 0),
             "%s: answers are right, but %.0f fallbacks were counted", what, fallbacks);
    return PLSM_OK;
}

static plsm_status damage_and_ask(struct findings *f, struct stores *stores, const struct damage_list *list,
                                  enum damage damage, uint64_t seed)
{
    bool unusable = damage <= DAMAGE_VERSION;
    if (list->count == 0) {
        note(f, false, "%s: no model was found in the files", damage_name(damage));
        return PLSM_OK;
    }
    TRY(damage_apply(list, damage, seed));
    TRY(ask(f, stores, damage_name(damage), unusable ? FALLBACK_SOME : FALLBACK_ANY));
    return damage_mend(list);
}

static plsm_status retrain(const struct stores *stores)
{
    plsm *db = NULL;
    TRY(stores_open_one(stores, "read", 0, 0, "background=0", &db));
    plsm_status status = plsm_retrain(db, false, NULL, NULL);
    plsm_status closed = plsm_close(db);
    return status == PLSM_OK ? closed : status;
}

static plsm_status remove_files(const struct damage_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        TRY(env_remove(env_posix(), list->blocks[i].path));
    return PLSM_OK;
}

/* With every model in the runs gone: made anew, in files beside the runs, which are then damaged and removed. */
static plsm_status lose_and_retrain(struct findings *f, struct stores *stores, const char *path,
                                    const struct damage_list *embedded)
{
    struct damage_list files = {0};
    TRY(damage_apply(embedded, DAMAGE_GONE, 0));
    TRY(retrain(stores));
    TRY(ask(f, stores, "models lost, then made anew by plsm retrain", FALLBACK_NONE));
    plsm_status status = damage_find(path, "model-", &files);
    if (status == PLSM_OK)
        status = damage_and_ask(f, stores, &files, DAMAGE_BYTE, 1);
    if (status == PLSM_OK)
        status = damage_and_ask(f, stores, &files, DAMAGE_VERSION, 1);
    if (status == PLSM_OK)
        status = remove_files(&files);
    if (status == PLSM_OK)
        status = ask(f, stores, "files of models removed", FALLBACK_SOME);
    damage_free(&files);
    return status == PLSM_OK ? damage_mend(embedded) : status;
}

/* Retraining leaves models in files; what is written in turn has them inside. */
static plsm_status embed_models(const struct stores *stores, const char *path)
{
    struct damage_list files = {0};
    plsm_status status = damage_find(path, "model-", &files);
    if (status == PLSM_OK)
        status = remove_files(&files);
    damage_free(&files);
    return status;
}

plsm_status findings_damage(struct findings *f, struct stores *stores)
{
    char path[PATH_MAX];
    struct damage_list embedded = {0};
    if (snprintf(path, sizeof path, "%s/read-learned", stores->directory) >= (int)sizeof path)
        return fail(PLSM_INVALID, "%s: the path is too long", stores->directory);
    TRY(embed_models(stores, path));
    plsm_status status = damage_find(path, "run-", &embedded);
    for (int damage = 0; damage < DAMAGES && status == PLSM_OK; damage++)
        for (uint64_t seed = 1; seed <= (damage == DAMAGE_LIE ? LIES : 1) && status == PLSM_OK; seed++)
            status = damage_and_ask(f, stores, &embedded, (enum damage)damage, seed);
    if (status == PLSM_OK)
        status = lose_and_retrain(f, stores, path, &embedded);
    if (status == PLSM_OK)
        status = ask(f, stores, "all mended", FALLBACK_NONE);
    damage_free(&embedded);
    return status;
}
