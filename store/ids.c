/* plsm_new_id: a 64-bit counter.
 *
 * What is kept is not the counter but a bound: no identifier from the bound on was ever given. To give one, the bound
 * is first moved ID_RESERVATION ahead and synced; then that many are given from memory. A crash, or a close, skips the
 * rest of a reservation: at one reservation per microsecond 2^64 lasts 140 years. The sync (one in 4,096) is needed
 * because an identifier may leave the store (an inode number in a backup) without anything here having been synced. */
#include "store/ids.h"

#include "base/bytes.h"
#include "store/internal.h"

#include "base/banned.h"

enum { ID_RESERVATION = 4096 };
#define ID_FIRST ((UINT64_C(1) << 16) + 1)

static const char id_key[] = {INTERNAL_PREFIX, 'i', 'd'};

void ids_init(struct ids *ids)
{
    *ids = (struct ids){0};
    mutex_init(&ids->lock);
}

void ids_destroy(struct ids *ids)
{
    mutex_destroy(&ids->lock);
}

/* Moves the bound on disk; called with the lock held. */
static plsm_status reserve(plsm *db)
{
    struct engine_value value = {0};
    struct batch batch = {0};
    uint8_t bytes[8];
    struct store_key key;
    key_join(&key, PLSM_INTERNAL, slice(id_key, sizeof id_key));

    uint64_t bound = ID_FIRST;
    plsm_status status = db->engine->get(db->tree, NULL, key_slice(&key), false, &value);
    if (status == PLSM_OK) {
        if (value.value.size != sizeof bytes || get_u64(value.value.data) < ID_FIRST) {
            status = fail(PLSM_CORRUPT, "the counter of identifiers is damaged; run plsm check");
            goto done;
        }
        bound = get_u64(value.value.data);
    } else if (status != PLSM_NOT_FOUND) {
        goto done;
    }
    if (bound > UINT64_MAX - ID_RESERVATION) {
        status = fail(PLSM_NO_SPACE, "all 2^64 identifiers have been given");
        goto done;
    }
    put_u64(bytes, bound + ID_RESERVATION);
    status = batch_add(&batch, BATCH_PUT, PLSM_INTERNAL, slice(id_key, sizeof id_key), slice(NULL, 0),
                       slice(bytes, sizeof bytes));
    if (status == PLSM_OK)
        status = db->engine->write(db->tree, &batch, NULL, NULL, PLSM_SYNC);
    if (status == PLSM_OK) {
        db->ids.next = bound;
        db->ids.end = bound + ID_RESERVATION;
    }
done:
    engine_value_free(&value);
    batch_free(&batch);
    return status;
}

plsm_status plsm_new_id(plsm *db, uint64_t *id)
{
    TRY(refuse_writes(db));
    plsm_status status = PLSM_OK;
    mutex_lock(&db->ids.lock);
    if (db->ids.next == db->ids.end)
        status = reserve(db);
    if (status == PLSM_OK)
        *id = db->ids.next++;
    mutex_unlock(&db->ids.lock);
    return status;
}
