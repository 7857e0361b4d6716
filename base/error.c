/* Status names and the per-thread message. */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

static _Thread_local char message[FAIL_MESSAGE_BYTES];
static _Thread_local unsigned messages;

static const char *const status_names[] = {
    [PLSM_OK] = "ok",
    [PLSM_NOT_FOUND] = "not found",
    [PLSM_INVALID] = "invalid",
    [PLSM_TOO_LARGE] = "too large",
    [PLSM_NO_MEMORY] = "no memory",
    [PLSM_NO_SPACE] = "no space",
    [PLSM_IO] = "input/output error",
    [PLSM_CORRUPT] = "corrupt",
    [PLSM_VERSION] = "unknown version",
    [PLSM_LOCKED] = "locked",
    [PLSM_READ_ONLY] = "read-only",
    [PLSM_EXISTS] = "exists",
    [PLSM_CONFLICT] = "conflict",
    [PLSM_NO_STORE] = "no store",
    [PLSM_PERMISSION] = "permission denied",
    [PLSM_UNSUPPORTED] = "unsupported",
    [PLSM_QUOTA] = "quota used up",
};
_Static_assert(sizeof status_names / sizeof status_names[0] == PLSM_STATUS_COUNT, "every status has a name");

const char *plsm_status_name(plsm_status status)
{
    return (unsigned)status < PLSM_STATUS_COUNT ? status_names[status] : "unknown status";
}

const char *plsm_message(void)
{
    return message;
}

plsm_status fail(plsm_status status, const char *format, ...)
{
    /* Formatted aside first: an argument may be the old message itself. */
    char text[FAIL_MESSAGE_BYTES] = "";
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    memcpy(message, text, sizeof message);
    messages++;
    return status;
}

void fail_keep(struct fail_kept *kept)
{
    memcpy(kept->message, message, sizeof message);
}

plsm_status fail_again(plsm_status status, const struct fail_kept *kept)
{
    return fail(status, "%s", kept->message);
}

unsigned fail_count(void)
{
    return messages;
}

static plsm_status status_of_errno(int error)
{
    switch (error) {
    case ENOSPC:
        return PLSM_NO_SPACE;
    case EDQUOT:
        return PLSM_QUOTA;
    case EACCES:
    case EPERM:
        return PLSM_PERMISSION;
    case ENOMEM:
        return PLSM_NO_MEMORY;
    case ENOENT:
        return PLSM_NOT_FOUND;
    case EROFS:
        return PLSM_READ_ONLY;
    default:
        return PLSM_IO;
    }
}

plsm_status fail_errno(int error, const char *path, const char *what)
{
    char text[128] = "";
    return fail(status_of_errno(error), "%s: %s: %s", path, what, strerror_r(error, text, sizeof text));
}

plsm_status fail_context(plsm_status status, const char *prefix)
{
    return fail(status, "%s: %s", prefix, message);
}

void invariant_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "plsm: %s:%d: broken invariant: %s; this is a bug in plsm, please report it\n", file, line,
            condition);
    abort();
}
