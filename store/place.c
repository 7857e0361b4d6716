#include "store/place.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "store/engine.h"

#include "base/banned.h"

plsm_status place_of(const char *path, char out[PLACE_PATH])
{
    size_t size = strlen(path);
    while (size > 1 && path[size - 1] == '/')
        size--;
    if (size == 0 || size >= PLACE_PATH)
        return fail(PLSM_INVALID, "the path of the store is empty or too long");
    memcpy(out, path, size);
    out[size] = 0;
    return PLSM_OK;
}

plsm_status place_beside(const char *place, const char *suffix, char out[PLACE_PATH])
{
    if ((size_t)snprintf(out, PLACE_PATH, "%s%s", place, suffix) >= PLACE_PATH)
        return fail(PLSM_INVALID, "%.100s...: the path is too long", place);
    return PLSM_OK;
}

static void parent_of(const char *place, char out[PLACE_PATH])
{
    const char *slash = strrchr(place, '/');
    size_t size = slash ? (size_t)(slash - place) : 0;
    if (size > 0)
        snprintf(out, PLACE_PATH, "%.*s", (int)size, place);
    else
        snprintf(out, PLACE_PATH, "%s", slash ? "/" : ".");
}

static void note_name(void *arg, const char *name)
{
    *(bool *)arg = true;
    (void)name;
}

plsm_status place_check_empty(struct env *env, const char *place)
{
    bool any = false;
    plsm_status status = env_list(env, place, note_name, &any);
    if (status == PLSM_NOT_FOUND)
        status = place_is_taken(env, place, &any);
    TRY(status);
    return any ? fail(PLSM_EXISTS, "%s: there is something already: a store is made at a new place", place) : PLSM_OK;
}

struct wanted {
    const char *name;
    bool found;
};

static void look_for(void *arg, const char *name)
{
    struct wanted *wanted = arg;
    wanted->found |= strcmp(name, wanted->name) == 0;
}

/* What is no directory is looked for by its name alone: opening a fifo would wait for its other end. */
plsm_status place_is_taken(struct env *env, const char *place, bool *out)
{
    bool any = false;
    char parent[PLACE_PATH];
    const char *slash = strrchr(place, '/');
    struct wanted wanted = {.name = slash ? slash + 1 : place};
    plsm_status status = env_list(env, place, note_name, &any);
    *out = status == PLSM_OK;
    if (status != PLSM_NOT_FOUND)
        return status;
    parent_of(place, parent);
    (void)env_list(env, parent, look_for, &wanted); /* what cannot be listed tells when something is made in it */
    *out = wanted.found;
    return PLSM_OK;
}

plsm_status place_check_outside(struct env *env, const char *place, const char *store)
{
    char parent[PLACE_PATH];
    const struct engine *engine = NULL;
    size_t size = strlen(store);
    if (strncmp(place, store, size) == 0 && place[size] == '/')
        return fail(PLSM_INVALID, "%s: is inside of the store %s: choose a place beside it", place, store);
    parent_of(place, parent);
    if (engine_of_store(env, parent, &engine) == PLSM_OK && engine)
        return fail(PLSM_INVALID, "%s: would be inside of a store: %s is one; choose a place beside it", place, parent);
    return PLSM_OK; /* what cannot be listed tells when something is made in it */
}

struct names {
    struct buf text; /* each with a NUL behind it */
    plsm_status status;
};

static void take_name(void *arg, const char *name)
{
    struct names *names = arg;
    if (names->status == PLSM_OK)
        names->status = buf_append(&names->text, name, strlen(name) + 1);
}

plsm_status place_remove(struct env *env, const char *place)
{
    char path[PLACE_PATH];
    struct names names = {0};
    plsm_status status = env_list(env, place, take_name, &names);
    if (status == PLSM_OK)
        status = names.status;
    const char *at = (const char *)names.text.data, *end = at + names.text.size;
    for (; status == PLSM_OK && at < end; at += strlen(at) + 1) {
        if ((size_t)snprintf(path, sizeof path, "%s/%s", place, at) >= sizeof path)
            status = fail(PLSM_INVALID, "%.100s...: the path is too long", place);
        else
            status = env_remove(env, path);
    }
    buf_free(&names.text);
    if (status == PLSM_OK)
        status = env_remove(env, place);
    return status == PLSM_NOT_FOUND ? PLSM_OK : status;
}
