#include "log/room.h"

#include "base/error.h"
#include "base/space.h"

#include "base/banned.h"

enum {
    KEPT_BYTES = 4 << 20,
    KEPT_PARTS = 10,
    DELETING_BYTES = 1 << 20,
    DELETING_PARTS = 64,
    LAST_BYTES = 32 << 10, /* so much more than a batch itself is never taken: heads of files, a recovery point */
};

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

struct room_kept room_kept(uint64_t bytes_total, uint64_t unwritten, uint64_t segment_size)
{
    return (struct room_kept){
        .writing = unwritten + least(segment_size + KEPT_BYTES, bytes_total / KEPT_PARTS),
        .deleting = unwritten + least(DELETING_BYTES, bytes_total / DELETING_PARTS),
    };
}

plsm_status room_look(struct room *room, struct env *env, const char *path, uint64_t unwritten, uint64_t segment_size)
{
    struct env_space space;
    if (room->looked && !room->low && room->since_bytes < room->every_bytes)
        return PLSM_OK;
    TRY(env_space(env, path, &space));
    room->spare_bytes = space.bytes_free - (space.bytes_free > unwritten + LAST_BYTES / 2 ? unwritten : 0);
    room->low = space.bytes_free < room_kept(space.bytes_total, unwritten, segment_size).writing;
    room->every_bytes = space_look_every(space.bytes_total);
    room->looked = true;
    room->since_bytes = 0;
    return PLSM_OK;
}

plsm_status room_for_merge(struct env *env, const char *path, uint64_t unwritten, uint64_t *bytes)
{
    struct env_space space;
    *bytes = 0;
    TRY(env_space(env, path, &space));
    uint64_t kept = room_kept(space.bytes_total, unwritten, 0).deleting;
    *bytes = space.bytes_free / 2;
    if (space.bytes_free > kept && space.bytes_free - kept > *bytes)
        *bytes = space.bytes_free - kept;
    return PLSM_OK;
}

plsm_status room_refuse_merge(const char *path)
{
    return fail(PLSM_NO_SPACE,
                "%s: a merge needs more room than there is beside what is kept for deleting; delete more, or make room "
                "on the file system",
                path);
}

plsm_status room_check(const struct room *room, const char *path, const struct batch *batch)
{
    if (room->low && !batch_frees_space(batch))
        return fail(PLSM_NO_SPACE, "%s: the file system is nearly full; delete something first (deleting still works)",
                    path);
    if (room->low && room->spare_bytes < 2 * batch->bytes.size + LAST_BYTES)
        return fail(PLSM_NO_SPACE, "%s: the file system is full; make room on it, or compact the store", path);
    return PLSM_OK;
}
