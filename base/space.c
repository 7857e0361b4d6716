#include "base/space.h"

#include "base/error.h"
#include "base/banned.h"

enum { LAST_BYTES = 32 << 10 }; /* so much more than a batch itself is never taken: heads of files, a MANIFEST */

uint64_t space_spare(uint64_t bytes_free, uint64_t unwritten)
{
    return bytes_free - (bytes_free > unwritten + LAST_BYTES / 2 ? unwritten : 0);
}

plsm_status space_check_batch(bool low, uint64_t spare_bytes, const char *path, const struct batch *batch)
{
    if (low && !batch_frees_space(batch))
        return fail(PLSM_NO_SPACE, "%s: the file system is nearly full; delete something first (deleting still works)",
                    path);
    if (low && spare_bytes < 2 * batch->bytes.size + LAST_BYTES)
        return fail(PLSM_NO_SPACE, "%s: the file system is full; make room on it, or compact the store", path);
    return PLSM_OK;
}

plsm_status space_refuse_merge(const char *path)
{
    return fail(PLSM_NO_SPACE,
                "%s: a merge needs more room than there is beside what is kept for deleting; delete more, or make room "
                "on the file system",
                path);
}
