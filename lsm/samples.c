/* Reservoirs of keys and misses; see samples.h. One lock around everything: it is taken once in so many lookups. */
#include "lsm/samples.h"

#include <stdatomic.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/random.h"
#include "base/sync.h"
#include "learn/classifier.h"
#include "base/banned.h"

enum {
    KEYSPACES_MAX = 8, /* that a classifier is kept for */
    PERIOD_FEW = 8,    /* of lookups, as long as a reservoir is not full */
    PERIOD_MANY = 64,
    RENEW_MISSES = SAMPLES_MAX / 2, /* that make a classifier old */
    SAMPLES_SEED = 20170,
};

struct sample {
    uint8_t size;
    uint8_t bytes[CLASSIFIER_KEY_SIZE_MAX];
};
_Static_assert(CLASSIFIER_KEY_SIZE_MAX <= UINT8_MAX, "sizes of samples fit a byte");

struct reservoir {
    struct sample samples[SAMPLES_MAX];
    uint64_t seen;
};

struct learned {
    struct buf bytes;     /* empty: nothing to be learned */
    uint64_t misses_seen; /* when it was trained */
    uint8_t keyspace;
    bool used;
};

struct samples {
    mutex lock;
    struct random random;
    _Atomic bool enough; /* misses: the reservoir is full */
    struct reservoir keys, misses;
    struct learned learned[KEYSPACES_MAX];
    uint64_t trainings;
};

struct samples *samples_create(void)
{
    struct samples *s = mem_zalloc(sizeof *s);
    if (!s)
        return NULL;
    mutex_init(&s->lock);
    random_seed(&s->random, SAMPLES_SEED);
    return s;
}

void samples_destroy(struct samples *s)
{
    if (!s)
        return;
    for (unsigned i = 0; i < KEYSPACES_MAX; i++)
        buf_free(&s->learned[i].bytes);
    mutex_destroy(&s->lock);
    mem_free(s);
}

/* --- taking samples --- */

bool samples_want_miss(const struct samples *s)
{
    /* A linear congruential generator (Knuth, TAOCP 2, 3.3.4) is random enough in its upper bits. */
    static _Thread_local uint32_t lottery = 1;
    lottery = lottery * 1664525 + 1013904223;
    uint32_t period = atomic_load_explicit(&s->enough, memory_order_relaxed) ? PERIOD_MANY : PERIOD_FEW;
    return lottery >> 16 < 65536 / period;
}

static uint64_t filled(const struct reservoir *r)
{
    return r->seen < SAMPLES_MAX ? r->seen : SAMPLES_MAX;
}

static void take(struct samples *s, struct reservoir *r, plsm_slice key)
{
    uint64_t at = r->seen;
    if (r->seen >= SAMPLES_MAX) {
        uint64_t out_of = r->seen < SAMPLES_FORGET * SAMPLES_MAX ? r->seen : SAMPLES_FORGET * SAMPLES_MAX;
        at = random_below(&s->random, out_of);
    }
    r->seen++;
    if (at >= SAMPLES_MAX)
        return;
    struct sample *sample = &r->samples[at];
    sample->size = (uint8_t)(key.size < CLASSIFIER_KEY_SIZE_MAX ? key.size : CLASSIFIER_KEY_SIZE_MAX);
    memcpy(sample->bytes, key.data, sample->size);
}

void samples_miss(struct samples *s, plsm_slice key)
{
    mutex_lock(&s->lock);
    take(s, &s->misses, key);
    if (s->misses.seen == SAMPLES_MAX)
        atomic_store_explicit(&s->enough, true, memory_order_relaxed);
    mutex_unlock(&s->lock);
}

void samples_key(struct samples *s, plsm_slice key)
{
    mutex_lock(&s->lock);
    take(s, &s->keys, key);
    mutex_unlock(&s->lock);
}

/* --- giving them out --- */

void sample_list_free(struct sample_list *list)
{
    mem_free(list->keys);
    buf_free(&list->bytes);
    *list = (struct sample_list){0};
}

/* Which samples are wanted. */
struct wanted {
    plsm_slice smallest, largest;
    bool held_out, others; /* of misses: those held out; the others */
};

/* Under lock. */
static plsm_status copy_out(const struct reservoir *r, const struct wanted *w, struct sample_list *out)
{
    uint64_t count = filled(r);
    out->keys = mem_alloc((count + 1) * sizeof *out->keys);
    if (!out->keys || buf_reserve(&out->bytes, count * sizeof(struct sample) + 1) != PLSM_OK)
        return fail(PLSM_NO_MEMORY, "no memory for samples of keys");
    for (uint64_t i = 0; i < count; i++) {
        const struct sample *sample = &r->samples[i];
        plsm_slice key = slice(sample->bytes, sample->size);
        if (!(i % SAMPLES_HELD_OUT == 0 ? w->held_out : w->others) || slice_compare(key, w->smallest) < 0 ||
            slice_compare(key, w->largest) > 0)
            continue;
        uint8_t *to = out->bytes.data + out->bytes.size;
        memcpy(to, sample->bytes, sample->size);
        out->bytes.size += sample->size;
        out->keys[out->count++] = slice(to, sample->size);
    }
    return PLSM_OK;
}

plsm_status samples_held_out(struct samples *s, plsm_slice smallest, plsm_slice largest, struct sample_list *out)
{
    struct wanted wanted = {.smallest = smallest, .largest = largest, .held_out = true};
    mutex_lock(&s->lock);
    plsm_status status = copy_out(&s->misses, &wanted, out);
    mutex_unlock(&s->lock);
    return status;
}

/* --- classifiers --- */

/* Where the classifier of a keyspace is kept; NULL: there are too many keyspaces. Under lock. */
static struct learned *find_learned(struct samples *s, uint8_t keyspace)
{
    for (unsigned i = 0; i < KEYSPACES_MAX; i++) {
        struct learned *l = &s->learned[i];
        if (!l->used)
            *l = (struct learned){.used = true, .keyspace = keyspace};
        if (l->keyspace == keyspace)
            return l;
    }
    return NULL;
}

static plsm_status train(struct samples *s, uint8_t keyspace, unsigned bits, uint64_t run_keys, struct buf *out)
{
    uint8_t smallest = keyspace, largest[CLASSIFIER_KEY_SIZE_MAX + 1];
    struct sample_list keys = {0}, misses = {0};
    memset(largest, 0xff, sizeof largest);
    largest[0] = keyspace;
    struct wanted wanted = {
        .smallest = slice(&smallest, 1), .largest = slice(largest, sizeof largest), .held_out = true, .others = true};
    mutex_lock(&s->lock);
    plsm_status status = copy_out(&s->keys, &wanted, &keys);
    wanted.held_out = false;
    if (status == PLSM_OK)
        status = copy_out(&s->misses, &wanted, &misses);
    mutex_unlock(&s->lock);
    if (status == PLSM_OK && keys.count >= CLASSIFIER_SAMPLES_MIN && misses.count >= CLASSIFIER_SAMPLES_MIN) {
        struct classifier_samples samples = {
            .keys = keys.keys, .misses = misses.keys, .key_count = keys.count, .miss_count = misses.count};
        status = classifier_train(&samples, bits, run_keys, out);
    }
    sample_list_free(&keys);
    sample_list_free(&misses);
    return status;
}

plsm_status samples_classifier(struct samples *s, uint8_t keyspace, unsigned bits, uint64_t run_keys, struct buf *out)
{
    struct buf fresh = {0};
    plsm_status status = PLSM_OK;
    mutex_lock(&s->lock);
    uint64_t seen = s->misses.seen;
    struct learned *l = find_learned(s, keyspace);
    bool old = l && filled(&s->misses) >= CLASSIFIER_SAMPLES_MIN &&
               (l->misses_seen == 0 || seen - l->misses_seen >= RENEW_MISSES);
    if (old)
        l->misses_seen = seen; /* whoever asks meanwhile gets the one that is there */
    mutex_unlock(&s->lock);
    if (old)
        status = train(s, keyspace, bits, run_keys, &fresh);
    mutex_lock(&s->lock);
    if (old && status == PLSM_OK) {
        buf_free(&l->bytes);
        l->bytes = fresh;
        fresh = (struct buf){0};
        s->trainings++;
    }
    if (status == PLSM_OK && l)
        status = buf_append(out, l->bytes.data, l->bytes.size);
    mutex_unlock(&s->lock);
    buf_free(&fresh);
    return status;
}

void samples_get_info(struct samples *s, struct samples_info *out)
{
    mutex_lock(&s->lock);
    *out = (struct samples_info){.keys = filled(&s->keys), .misses = filled(&s->misses), .trainings = s->trainings};
    mutex_unlock(&s->lock);
}
