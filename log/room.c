#include "log/room.h"

#include "base/error.h"

#include "base/banned.h"

enum {
    LOOK_BYTES = 1 << 20,
    KEPT_BYTES = 4 << 20,
};

plsm_status room_look(struct room *room, struct env *env, const char *path, uint64_t bytes)
{
    struct env_space space;
    if (room->looked && !room->low && room->since_bytes < LOOK_BYTES)
        return PLSM_OK;
    TRY(env_space(env, path, &space));
    uint64_t kept = bytes + KEPT_BYTES, most = space.bytes_total / 10;
    room->low = space.bytes_free < (kept < most ? kept : most);
    room->looked = true;
    room->since_bytes = 0;
    return PLSM_OK;
}

plsm_status room_check(const struct room *room, const char *path, const struct batch *batch)
{
    if (room->low && !batch_frees_space(batch))
        return fail(PLSM_NO_SPACE, "%s: the file system is nearly full; delete something first (deleting still works)",
                    path);
    return PLSM_OK;
}
