/* Which engine a store has. */
#include "base/bytes.h"
#include "base/error.h"
#include "store/engine.h"
#include "store/options.h"

#include "base/banned.h"

static const struct engine *const engines[] = {[STORE_ENGINE_LSM] = &engine_lsm};
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

plsm_status engine_choose(struct env *env, const char *path, const struct store_options *options,
                          const struct engine **out)
{
    const struct engine *wanted = options->engine == STORE_ENGINE_AUTO ? NULL : engines[options->engine];
    const struct engine *found = NULL;
    plsm_status status = env_list(env, path, note_engine, &found);
    if (status && status != PLSM_NOT_FOUND) /* then the engine says that there is no store, or makes one */
        return status;
    if (found && wanted && found != wanted)
        return fail(PLSM_INVALID, "%s: is a store of the engine %s, but engine=%s is given", path, found->name,
                    wanted->name);
    *out = found ? found : wanted ? wanted : &engine_lsm;
    return PLSM_OK;
}
