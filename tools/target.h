/* What commands that change a store work on: the store itself or, when a daemon has it mounted, that daemon. */
#ifndef TOOLS_TARGET_H
#define TOOLS_TARGET_H

#include "tools/remote.h"
#include "tools/tool.h"

/* Zero it to start. */
struct target {
    plsm *db;              /* NULL: it is mounted */
    struct remote *remote; /* NULL: it is not */
    plsm_batch *batch;     /* of the store itself */
    plsm_edit *edit;       /* likewise */
    uint64_t edit_size;
    size_t count, bytes;   /* of the changes since the last commit */
};

/* As tool_open; a store that is mounted is no failure, and has the options of the mount. */
enum tool_exit target_open(const struct tool *tool, const char *path, plsm_open_flags flags, struct target *out);
enum tool_exit target_close(const struct tool *tool, struct target *target, enum tool_exit so_far);

/* Adds to one batch, which target_commit writes, all or nothing. It is empty then, also after a failure. */
plsm_status target_change(struct target *target, enum change_kind kind, plsm_slice key, plsm_slice value);
plsm_status target_commit(struct target *target, plsm_durability durability);
/* One value of any size: opened, written from its beginning on, committed. */
plsm_status target_edit_open(struct target *target, plsm_slice key);
plsm_status target_edit_write(struct target *target, plsm_slice bytes);
plsm_status target_edit_commit(struct target *target, plsm_durability durability);
/* Whether a key is there: PLSM_OK, PLSM_NOT_FOUND. */
plsm_status target_has(struct target *target, plsm_slice key);

#endif
