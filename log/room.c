#include "log/room.h"

#include "base/error.h"

#include "base/banned.h"

enum {
    KEPT_BYTES = 4 << 20,
    KEPT_PARTS = 10,
    DELETING_BYTES = 1 << 20,
    DELETING_PARTS = 64,
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
    room->spare_bytes = space_spare(space.bytes_free, unwritten);
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
    *bytes = space.bytes_free - space_merge_floor(space.bytes_free, kept);
    return PLSM_OK;
}

plsm_status room_check(const struct room *room, const char *path, const struct batch *batch)
{
    return space_check_batch(room->low, room->spare_bytes, path, batch);
}
