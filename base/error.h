/* Setting the per-thread message that plsm_message() returns. */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include "base/status.h"

#undef fail /* the test library check has an old macro of this name: include <check.h> before this header */

/* Stores the formatted sentence as this thread's message (cut at 1,023 bytes) and returns `status`, so that a failure
 * is one line: return fail(PLSM_CORRUPT, "%s: page %u: checksum mismatch; run plsm check", path, page); */
plsm_status fail(plsm_status status, const char *format, ...) __attribute__((format(printf, 2, 3), cold));

/* The same for a failed system call: maps `error` (an errno value) to a status (ENOSPC to PLSM_NO_SPACE, EDQUOT to
 * PLSM_QUOTA, EACCES and EPERM to PLSM_PERMISSION, ENOMEM to PLSM_NO_MEMORY, ENOENT to PLSM_NOT_FOUND, EROFS to
 * PLSM_READ_ONLY, the rest to PLSM_IO) and writes "PATH: WHAT: strerror". */
plsm_status fail_errno(int error, const char *path, const char *what) __attribute__((cold));

/* Replaces this thread's message by "PREFIX: old message", for a caller that knows more; returns `status`. */
plsm_status fail_context(plsm_status status, const char *prefix) __attribute__((cold));

/* This thread's message, kept over calls that may set another one, and set again behind them with `status`, which is
 * returned: so that a failure is told and not what clearing up behind it met. */
enum { FAIL_MESSAGE_BYTES = 1024 };
struct fail_kept {
    char message[FAIL_MESSAGE_BYTES];
};
void fail_keep(struct fail_kept *kept);
plsm_status fail_again(plsm_status status, const struct fail_kept *kept) __attribute__((cold));

/* How many messages this thread has set so far: who has it before and after a call knows whether that set one. */
unsigned fail_count(void);

/* Returns `status` out of the enclosing function when an expression is not PLSM_OK. */
#define TRY(expression)                                  \
    do {                                                 \
        plsm_status try_status_ = (expression);          \
        if (__builtin_expect(try_status_ != PLSM_OK, 0)) \
            return try_status_;                          \
    } while (0)

/* An assertion that stays on in release builds: for conditions that only a bug in this program can break. */
#define INVARIANT(condition) \
    (__builtin_expect(!!(condition), 1) ? (void)0 : invariant_failed(#condition, __FILE__, __LINE__))
void invariant_failed(const char *condition, const char *file, int line) __attribute__((noreturn, cold));

#endif
