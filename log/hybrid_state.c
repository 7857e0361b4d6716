/* Files of recovery points; the format stands in hybrid_state.h. */
#include "log/hybrid_state.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checksum.h"
#include "base/error.h"
#include "log/hybrid_record.h"

#include "base/banned.h"

enum { PATH_SIZE = 4096, SEGMENTS_MAX = 1 << 24, HEAD_SIZE_OLDEST = 64 };

struct state_head {
    uint8_t magic[8];
    uint32_t version, count;
    uint64_t begin, tail, redo, next_segment, live, names;
    uint64_t store; /* from version 2 on */
};
static_assert(sizeof(struct state_head) == 72 && offsetof(struct state_head, store) == 64, "format");
static_assert(offsetof(struct state_head, begin) == 16 && offsetof(struct state_head, names) == 56, "format");
static_assert(sizeof(struct state_segment) == 32, "format");

void state_path(const char *directory, uint64_t number, char *out, size_t size)
{
    snprintf(out, size, "%s/" HYBRID_MARK "%06" PRIu64, directory, number);
}

void state_free(struct hybrid_state *state)
{
    mem_free(state->segments);
    *state = (struct hybrid_state){0};
}

static plsm_status encode(const struct hybrid_state *state, struct buf *out)
{
    struct state_head head = {.version = STATE_VERSION,
                              .count = state->count,
                              .begin = state->begin,
                              .tail = state->tail,
                              .redo = state->redo,
                              .next_segment = state->next_segment,
                              .live = state->live,
                              .names = state->names,
                              .store = state->store};
    memcpy(head.magic, STATE_MAGIC, sizeof head.magic);
    TRY(buf_append(out, &head, sizeof head));
    TRY(buf_append(out, state->segments, state->count * sizeof state->segments[0]));
    return buf_append_u64(out, checksum(out->data, out->size, state->number));
}

plsm_status state_write(struct env *env, const char *directory, const struct hybrid_state *state, bool *renamed)
{
    char fresh[PATH_SIZE], path[PATH_SIZE];
    struct env_file *file = NULL;
    struct buf bytes = {0};
    *renamed = false;
    snprintf(fresh, sizeof fresh, "%s/" HYBRID_MARK "new", directory);
    state_path(directory, state->number, path, sizeof path);
    plsm_status status = encode(state, &bytes);
    if (status == PLSM_OK)
        status = env_open(env, fresh, ENV_APPEND, &file);
    if (status == PLSM_OK)
        status = env_append(file, bytes.data, bytes.size);
    if (status == PLSM_OK)
        status = env_sync(file);
    env_close(file);
    buf_free(&bytes);
    if (status == PLSM_OK) {
        *renamed = true;
        status = env_rename(env, fresh, path);
    }
    if (status == PLSM_OK)
        status = env_sync_dir(env, directory);
    return status;
}

/* Whether what was read hangs together: segments in order, that hold all of the log. */
static bool is_sound(const struct hybrid_state *s)
{
    uint64_t behind = 0, bytes = 0;
    bool sound = s->begin >= ADDRESS_FIRST && s->begin <= s->tail && s->tail < ADDRESS_MAX &&
                 s->begin % RECORD_ALIGN == 0 && s->tail % RECORD_ALIGN == 0 && s->names <= s->live &&
                 s->redo <= HYBRID_NUMBER_MAX && s->next_segment <= HYBRID_NUMBER_MAX;
    for (uint32_t i = 0; i < s->count && sound; i++) {
        const struct state_segment *segment = &s->segments[i];
        sound = segment->start >= behind && segment->start <= segment->end && segment->end <= s->tail &&
                segment->start % RECORD_ALIGN == 0 && segment->end % RECORD_ALIGN == 0 &&
                segment->number < s->next_segment;
        behind = segment->end;
        bytes += segment->end - segment->start;
    }
    sound = sound && s->live <= bytes / RECORD_HEAD;
    return sound && (s->count > 0 ? s->segments[s->count - 1].end == s->tail : s->begin == s->tail);
}

static plsm_status decode(const uint8_t *bytes, uint64_t size, const char *path, struct hybrid_state *out)
{
    struct state_head head = {.store = 0};
    if (size < HEAD_SIZE_OLDEST + sizeof(uint64_t))
        return fail(PLSM_CORRUPT, "%s: has only %" PRIu64 " bytes; restore it from a backup", path, size);
    memcpy(&head, bytes, HEAD_SIZE_OLDEST);
    if (memcmp(head.magic, STATE_MAGIC, sizeof head.magic) != 0)
        return fail(PLSM_CORRUPT, "%s: offset 0: is no recovery point; restore it from a backup", path);
    if (head.version < STATE_VERSION_OLDEST || head.version > STATE_VERSION)
        return fail(PLSM_VERSION,
                    "%s: has format version %" PRIu32 ", this program knows version %d to %d; use a newer plsm", path,
                    head.version, STATE_VERSION_OLDEST, STATE_VERSION);
    size_t head_size = head.version == STATE_VERSION_OLDEST ? HEAD_SIZE_OLDEST : sizeof head;
    uint64_t expected = head_size + (uint64_t)head.count * sizeof(struct state_segment) + sizeof(uint64_t);
    if (head.count > SEGMENTS_MAX || size != expected ||
        checksum(bytes, size - sizeof(uint64_t), out->number) != get_u64(bytes + size - sizeof(uint64_t)))
        return fail(PLSM_CORRUPT, "%s: offset 0: the recovery point is damaged; restore it from a backup", path);
    memcpy(&head, bytes, head_size);
    *out = (struct hybrid_state){.number = out->number,
                                 .begin = head.begin,
                                 .tail = head.tail,
                                 .redo = head.redo,
                                 .next_segment = head.next_segment,
                                 .live = head.live,
                                 .names = head.names,
                                 .store = head.store,
                                 .count = head.count};
    out->segments = mem_alloc(head.count * sizeof out->segments[0]);
    if (!out->segments)
        return fail(PLSM_NO_MEMORY, "%s: no memory for its segments", path);
    memcpy(out->segments, bytes + head_size, head.count * sizeof out->segments[0]);
    if (!is_sound(out))
        return fail(PLSM_CORRUPT, "%s: offset 0: the recovery point contradicts itself; restore it from a backup",
                    path);
    return PLSM_OK;
}

plsm_status state_read(struct env *env, const char *directory, uint64_t number, struct hybrid_state *out)
{
    char path[PATH_SIZE];
    struct env_file *file = NULL;
    uint8_t *bytes = NULL;
    uint64_t size = 0;
    *out = (struct hybrid_state){.number = number};
    state_path(directory, number, path, sizeof path);
    plsm_status status = env_open(env, path, ENV_READ, &file);
    if (status == PLSM_OK)
        status = env_size(file, &size);
    if (status == PLSM_OK && size > (uint64_t)SEGMENTS_MAX * 64)
        status = fail(PLSM_CORRUPT, "%s: has %" PRIu64 " bytes; restore it from a backup", path, size);
    if (status == PLSM_OK && !(bytes = mem_alloc(size)))
        status = fail(PLSM_NO_MEMORY, "%s: no memory to read it", path);
    if (status == PLSM_OK)
        status = env_read(file, 0, bytes, size);
    if (status == PLSM_OK)
        status = decode(bytes, size, path, out);
    env_close(file);
    mem_free(bytes);
    if (status != PLSM_OK)
        state_free(out);
    return status;
}
