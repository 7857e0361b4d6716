/* A backend over another that makes chosen calls fail. */
#ifndef BASE_ENV_FAULT_H
#define BASE_ENV_FAULT_H

#include "base/env.h"

enum env_call { /* the kinds of calls that can be made to fail */
    ENV_CALL_OPEN,
    ENV_CALL_READ,
    ENV_CALL_APPEND,
    ENV_CALL_SYNC,
    ENV_CALL_TRUNCATE,
    ENV_CALL_RENAME,
    ENV_CALL_REMOVE,
    ENV_CALL_MAKE_DIR,
    ENV_CALL_SYNC_DIR,
    ENV_CALL_LIST,
    ENV_CALL_COUNT,
    ENV_CALL_ANY = ENV_CALL_COUNT
};

enum env_fault {
    ENV_FAULT_IO,       /* EIO, and the call was not done; an append leaves none or a part of its bytes, by turns */
    ENV_FAULT_NO_SPACE, /* ENOSPC; an append writes a part first; only on open for append, append, rename, make_dir */
    ENV_FAULT_QUOTA,    /* EDQUOT, otherwise the same */
    ENV_FAULT_SHORT,    /* a short read or append, no error: callers must loop */
};

/* Wraps `base`, which must outlive it. NULL: no memory. */
struct env *env_fault_create(struct env *base);
void env_fault_destroy(struct env *env); /* accepts NULL */
/* From now on the `nth` call (1 is the next) of `call` fails with `fault`; with `sticky` all later ones of it too. Only
 * calls to which the fault applies are counted. */
void env_fault_arm(struct env *env, enum env_call call, uint64_t nth, enum env_fault fault, bool sticky);
void env_fault_disarm(struct env *env);
/* Calls of a kind (ENV_CALL_ANY: of all kinds) made since the last arm (those to which the fault applies) or disarm
 * (all), and whether the armed fault has fired. */
uint64_t env_fault_calls(struct env *env, enum env_call call);
bool env_fault_fired(struct env *env);

#endif
