#include "tools/target.h"

#include "base/error.h"
#include "store/changes.h"
#include "base/banned.h"

enum tool_exit target_open(const struct tool *tool, const char *path, plsm_open_flags flags, struct target *out)
{
    const char *options = tool->options.size ? (const char *)tool->options.data : NULL;
    plsm_status status = plsm_options_check(options);
    /* A store that is mounted has a socket while its daemon lives. */
    if (status == PLSM_OK && remote_open(path, &out->remote) == PLSM_OK)
        return TOOL_OK;
    enum tool_exit code = tool_open(tool, path, flags, &out->db);
    if (code == TOOL_OK && !(out->batch = plsm_batch_create()))
        code = target_close(tool, out, tool_error(tool, PLSM_NO_MEMORY));
    return code;
}

enum tool_exit target_close(const struct tool *tool, struct target *target, enum tool_exit so_far)
{
    remote_close(target->remote);
    plsm_edit_close(target->edit);
    plsm_batch_destroy(target->batch);
    if (target->db)
        so_far = tool_close(tool, target->db, so_far);
    *target = (struct target){0};
    return so_far;
}

plsm_status target_change(struct target *target, enum change_kind kind, plsm_slice key, plsm_slice value)
{
    struct change change = {kind, key, value};
    TRY(target->remote ? remote_change(target->remote, &change) : changes_add(target->batch, &change));
    target->count++;
    target->bytes += key.size + value.size;
    return PLSM_OK;
}

plsm_status target_commit(struct target *target, plsm_durability durability)
{
    plsm_status status = target->count == 0 ? PLSM_OK
                         : target->remote   ? remote_commit(target->remote, durability)
                                            : plsm_write(target->db, target->batch, durability);
    if (target->batch)
        plsm_batch_clear(target->batch);
    target->count = target->bytes = 0;
    return status;
}

plsm_status target_edit_open(struct target *target, plsm_slice key)
{
    plsm_edit_close(target->edit); /* of a value that could not be written */
    target->edit = NULL;
    target->edit_size = 0;
    return target->remote ? remote_edit_open(target->remote, key)
                          : plsm_edit_open(target->db, key, PLSM_EDIT_NEW, &target->edit);
}

plsm_status target_edit_write(struct target *target, plsm_slice bytes)
{
    if (target->remote)
        return remote_edit_write(target->remote, bytes);
    TRY(plsm_edit_write(target->edit, target->edit_size, bytes.data, bytes.size));
    target->edit_size += bytes.size;
    return PLSM_OK;
}

plsm_status target_edit_commit(struct target *target, plsm_durability durability)
{
    if (target->remote)
        return remote_edit_commit(target->remote, durability);
    plsm_status status = plsm_edit_commit(target->edit, (plsm_slice){0}, durability);
    plsm_edit_close(target->edit);
    target->edit = NULL;
    return status;
}

plsm_status target_has(struct target *target, plsm_slice key)
{
    plsm_value value = {0};
    const plsm_read_options sizes_only = {.no_value = true};
    if (target->remote)
        return remote_has(target->remote, key);
    plsm_status status = plsm_get(target->db, &sizes_only, key, &value);
    plsm_value_free(&value);
    return status;
}
