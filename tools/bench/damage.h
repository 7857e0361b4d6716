/* Damaging the models of a store, and mending them again. */
#ifndef TOOLS_BENCH_DAMAGE_H
#define TOOLS_BENCH_DAMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum damage {
    DAMAGE_BYTE,      /* a byte is another */
    DAMAGE_CUT,       /* the second half is zeros */
    DAMAGE_GONE,      /* all of it is zeros */
    DAMAGE_VERSION,   /* a format of the future, with a right checksum; what is above cannot be used at all */
    DAMAGE_EXCHANGED, /* each file has the model of another one, as far as their sizes allow; with right checksums */
    DAMAGE_LIE,       /* parameters are others, the checksum is right: predictions are wrong */
    DAMAGES
};
const char *damage_name(enum damage damage); /* "a byte of each model changed"; static */

/* The model blocks of a store that is closed. Zero it; free with damage_free. */
struct damage_list {
    struct damage_block {
        char *path;
        uint64_t offset;
        size_t size;
        uint8_t *bytes; /* as they were */
    } * blocks;
    size_t count, capacity;
};
/* Finds the blocks in the files of `directory` whose names begin with `prefix`. */
plsm_status damage_find(const char *directory, const char *prefix, struct damage_list *out);
void damage_free(struct damage_list *list);
/* Damages all blocks; `seed` chooses where. */
plsm_status damage_apply(const struct damage_list *list, enum damage damage, uint64_t seed);
/* Writes back what was there. */
plsm_status damage_mend(const struct damage_list *list);

#endif
