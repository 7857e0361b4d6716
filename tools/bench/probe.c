#include "tools/bench/probe.h"

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/env.h"
#include "base/error.h"
#include "tools/bench/clock.h"
#include "tools/text.h"

#include "base/banned.h"

/* --- questions ---------------------------------------------------------------------------------------------------- */

plsm_status questions_init(struct questions *q, uint64_t capacity)
{
    *q = (struct questions){.capacity = capacity};
    q->keys = mem_alloc(capacity * sizeof *q->keys);
    q->right = mem_alloc(capacity * sizeof *q->right);
    if (q->keys && q->right)
        return PLSM_OK;
    questions_free(q);
    return fail(PLSM_NO_MEMORY, "no memory for %llu keys", (unsigned long long)capacity);
}

void questions_free(struct questions *q)
{
    mem_free(q->keys);
    mem_free(q->right);
    buf_free(&q->bytes);
    *q = (struct questions){0};
}

void questions_clear(struct questions *q)
{
    q->count = 0;
    q->bytes.size = 0;
    q->known = true;
}

plsm_status questions_add(struct questions *q, plsm_slice key, uint64_t right)
{
    INVARIANT(q->count < q->capacity);
    TRY(buf_append(&q->bytes, key.data, key.size));
    q->keys[q->count].size = key.size;
    q->right[q->count++] = right;
    return PLSM_OK;
}

plsm_status questions_add_of(struct questions *q, const struct data *data, plsm_slice key, bool absent)
{
    return questions_add(q, key, absent ? 0 : probe_digest(data_value(data, key, 0)));
}

/* Only now: the bytes may have moved while they grew. */
void questions_done(struct questions *q)
{
    const uint8_t *at = q->bytes.data;
    for (uint64_t i = 0; i < q->count; i++) {
        q->keys[i].data = at;
        at += q->keys[i].size;
    }
}

/* --- answers ------------------------------------------------------------------------------------------------------ */

uint64_t probe_digest(plsm_slice value)
{
    uint64_t digest = checksum(value.data, value.size, value.size);
    return digest ? digest : 1;
}

void probe_free(struct probe *probe)
{
    for (unsigned i = 0; i < PROBE_MANY_MAX; i++)
        plsm_value_free(&probe->values[i]);
}

static inline plsm_status take(plsm_status status, const plsm_value *value, uint64_t *answer)
{
    *answer = status == PLSM_OK ? probe_digest(value->value) : 0;
    return status == PLSM_NOT_FOUND ? PLSM_OK : status;
}

static plsm_status run_gets(struct probe *probe, const struct questions *q, uint64_t *answers)
{
    for (uint64_t i = 0; i < q->count; i++)
        TRY(take(plsm_get(probe->db, NULL, q->keys[i], &probe->values[0]), &probe->values[0], &answers[i]));
    return PLSM_OK;
}

static plsm_status run_many(struct probe *probe, uint64_t many, const struct questions *q, uint64_t *answers)
{
    for (uint64_t at = 0; at < q->count; at += many) {
        uint64_t count = q->count - at < many ? q->count - at : many;
        TRY(plsm_multi_get(probe->db, NULL, q->keys + at, count, probe->values, probe->statuses));
        for (uint64_t i = 0; i < count; i++)
            TRY(take(probe->statuses[i], &probe->values[i], &answers[at + i]));
    }
    return PLSM_OK;
}

static plsm_status run_ranges(struct probe *probe, const struct questions *q, uint64_t *answers)
{
    const plsm_slice open = {0};
    plsm_status status = PLSM_OK;
    for (uint64_t i = 0; i < q->count && status == PLSM_OK; i++) {
        plsm_iterator *it = NULL;
        uint64_t digest = 1;
        TRY(plsm_iterator_create(probe->db, NULL, open, open, &it));
        plsm_iterator_seek(it, q->keys[i]);
        for (unsigned entry = 0; entry < PROBE_RANGE_ENTRIES && plsm_iterator_valid(it); entry++) {
            plsm_slice key = plsm_iterator_key(it), value = plsm_iterator_value(it);
            digest = checksum(value.data, value.size, checksum(key.data, key.size, digest + entry));
            plsm_iterator_next(it);
        }
        answers[i] = digest;
        status = plsm_iterator_status(it);
        plsm_iterator_destroy(it);
    }
    return status;
}

static plsm_status run_finds(struct probe *probe, bool page, const struct questions *q, uint64_t *answers)
{
    plsm_place place;
    for (uint64_t i = 0; i < q->count; i++) {
        plsm_status status = plsm_locate(probe->db, q->keys[i], probe->level, page, &place);
        answers[i] = status == PLSM_OK;
        if (status != PLSM_OK && status != PLSM_NOT_FOUND)
            return status;
    }
    return PLSM_OK;
}

plsm_status probe_run(struct probe *probe, enum probe_kind kind, const struct questions *q, uint64_t *answers,
                      struct probe_time *time)
{
    plsm_status status = PLSM_OK;
    uint64_t wall_ns = env_now_ns(env_posix()), cpu_ns = clock_thread_cpu_ns();
    switch (kind) {
    case PROBE_GET:
        status = run_gets(probe, q, answers);
        break;
    case PROBE_MANY_16:
        status = run_many(probe, 16, q, answers);
        break;
    case PROBE_MANY_100:
        status = run_many(probe, 100, q, answers);
        break;
    case PROBE_RANGE:
        status = run_ranges(probe, q, answers);
        break;
    default:
        status = run_finds(probe, kind == PROBE_FIND_PAGE, q, answers);
        break;
    }
    time->cpu_ns = clock_thread_cpu_ns() - cpu_ns;
    time->wall_ns = env_now_ns(env_posix()) - wall_ns;
    return status;
}

plsm_status probe_compare(const struct questions *q, const char *one, const uint64_t *answers, const char *other,
                          const uint64_t *others)
{
    for (uint64_t i = 0; i < q->count; i++) {
        if (__builtin_expect(answers[i] == others[i], 1))
            continue;
        char key[256];
        text_quote(key, sizeof key, q->keys[i]);
        if (answers[i] && others[i])
            return fail(PLSM_CORRUPT, "wrong answer: %s and %s have different values of the key %s", one, other, key);
        return fail(PLSM_CORRUPT, "wrong answer: %s has the key %s, %s does not", answers[i] ? one : other, key,
                    answers[i] ? other : one);
    }
    return PLSM_OK;
}
