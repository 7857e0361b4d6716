#include "store/changes.h"

#include "base/banned.h"

plsm_status changes_add(plsm_batch *batch, const struct change *change)
{
    switch (change->kind) {
    case CHANGE_PUT:
        return plsm_batch_put(batch, PLSM_NAMES, change->key, slice(NULL, 0), change->value);
    case CHANGE_DELETE:
        return plsm_batch_delete(batch, PLSM_NAMES, change->key);
    case CHANGE_DELETE_RANGE:
        return plsm_batch_delete_range(batch, PLSM_NAMES, change->key, change->value);
    case CHANGE_IF_ABSENT:
        return plsm_batch_if_absent(batch, PLSM_NAMES, change->key);
    default:
        return plsm_batch_if_equal(batch, PLSM_NAMES, change->key, change->value);
    }
}
