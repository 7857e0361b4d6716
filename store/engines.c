/* Which engine a store has. */
#include <stdio.h>

#include "base/bytes.h"
#include "base/error.h"
#include "store/engine.h"
#include "store/options.h"
#include "store/place.h"

#include "base/banned.h"

static const struct engine *const engines[] = {
    [STORE_ENGINE_LSM] = &engine_lsm,
    [STORE_ENGINE_APPENDLOG] = &engine_appendlog,
    [STORE_ENGINE_HYBRIDLOG] = &engine_hybridlog,
};
enum { ENGINES = sizeof engines / sizeof *engines };

static void note_engine(void *arg, const char *name)
{
    const struct engine **found = arg;
    for (unsigned i = STORE_ENGINE_AUTO + 1; i < ENGINES; i++) {
        size_t size = strlen(engines[i]->mark);
        if (strncmp(name, engines[i]->mark, size) == 0 && name[size] && !name[size + strspn(name + size, "0123456789")])
            *found = engines[i];
    }
}

plsm_status engine_of_store(struct env *env, const char *path, const struct engine **out)
{
    char place[PLACE_PATH];
    bool taken = false;
    *out = NULL;
    plsm_status status = env_list(env, path, note_engine, out);
    if (status != PLSM_NOT_FOUND)
        return status;
    if (place_of(path, place) == PLSM_OK)
        TRY(place_is_taken(env, place, &taken));
    return taken ? fail(PLSM_NO_STORE, "%s: is no directory, so no store", path) : PLSM_OK;
}

plsm_status engine_by_name(const char *name, const struct engine **out)
{
    char names[100] = "";
    for (unsigned i = STORE_ENGINE_AUTO + 1; i < ENGINES; i++) {
        if (strcmp(engines[i]->name, name) == 0) {
            *out = engines[i];
            return PLSM_OK;
        }
        size_t size = strlen(names);
        snprintf(names + size, sizeof names - size, "%s%s", size ? ", " : "", engines[i]->name);
    }
    return fail(PLSM_INVALID, "there is no engine %.40s: there are %s", name, names);
}

plsm_status engine_choose(struct env *env, const char *path, const struct store_options *options,
                          const struct engine **out)
{
    const struct engine *wanted = options->engine == STORE_ENGINE_AUTO ? NULL : engines[options->engine];
    const struct engine *found = NULL;
    TRY(engine_of_store(env, path, &found));
    if (found && wanted && found != wanted)
        return fail(PLSM_INVALID,
                    "%s: is a store of the engine %s, but engine=%s is given: leave that out, or change the store by "
                    "plsm convert --to=%s",
                    path, found->name, wanted->name, wanted->name);
    *out = found ? found : wanted ? wanted : &engine_lsm;
    return PLSM_OK;
}
