#include "store/owners.h"

#include "base/alloc.h"
#include "base/error.h"

#include "base/banned.h"

struct owner {
    struct owner *next;
    uint64_t id;
    bool tainted; /* nobody holds it, and nobody may: stays until the store is closed */
    bool is_retired;
    struct reference retired;
};

void owners_init(struct owners *owners)
{
    *owners = (struct owners){0};
    mutex_init(&owners->lock);
}

void owners_destroy(struct owners *owners)
{
    for (size_t i = 0; i < OWNER_BUCKETS; i++) {
        while (owners->buckets[i]) {
            struct owner *next = owners->buckets[i]->next;
            mem_free(owners->buckets[i]);
            owners->buckets[i] = next;
        }
    }
    mutex_destroy(&owners->lock);
}

/* Ids come from a counter: their low bits are as good as a hash. Returns the place that points to the owner, or to the
 * end of its bucket. */
static struct owner **place(struct owners *owners, uint64_t id)
{
    struct owner **at = &owners->buckets[id % OWNER_BUCKETS];
    while (*at && (*at)->id != id)
        at = &(*at)->next;
    return at;
}

plsm_status owners_take(struct owners *owners, uint64_t id, bool *taken)
{
    struct owner *owner = mem_zalloc(sizeof *owner);
    if (!owner)
        return fail(PLSM_NO_MEMORY, "no memory to open a large value for writing");
    owner->id = id;
    mutex_lock(&owners->lock);
    struct owner **at = place(owners, id);
    *taken = !*at;
    if (*taken) {
        *at = owner;
        owners->count++;
    }
    mutex_unlock(&owners->lock);
    if (!*taken)
        mem_free(owner);
    return PLSM_OK;
}

bool owners_release(struct owners *owners, uint64_t id, bool tainted, struct reference *retired)
{
    mutex_lock(&owners->lock);
    struct owner **at = place(owners, id), *owner = *at;
    INVARIANT(owner && !owner->tainted);
    bool is_retired = owner->is_retired;
    if (is_retired)
        *retired = owner->retired;
    if (tainted) {
        owner->tainted = true;
    } else {
        *at = owner->next;
        mem_free(owner);
    }
    owners->count--;
    mutex_unlock(&owners->lock);
    return is_retired;
}

bool owners_retire(struct owners *owners, const struct reference *reference)
{
    mutex_lock(&owners->lock);
    struct owner *owner = *place(owners, reference->id);
    bool now = !owner || owner->tainted;
    if (!now) {
        INVARIANT(!owner->is_retired);
        owner->is_retired = true;
        owner->retired = *reference;
    }
    mutex_unlock(&owners->lock);
    return now;
}

uint64_t owners_count(struct owners *owners)
{
    mutex_lock(&owners->lock);
    uint64_t count = owners->count;
    mutex_unlock(&owners->lock);
    return count;
}
