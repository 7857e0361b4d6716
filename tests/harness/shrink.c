#include "tests/harness/shrink.h"

#include <stdlib.h>
#include <time.h>

#include "base/banned.h"

/* Tries the list without operations [from, to); takes it when it still fails. */
static bool try_without(struct op *ops, size_t *count, size_t from, size_t to, struct op *trial, shrink_fails *fails,
                        void *arg)
{
    memcpy(trial, ops, from * sizeof *ops);
    memcpy(trial + from, ops + to, (*count - to) * sizeof *ops);
    if (!fails(arg, trial, *count - (to - from)))
        return false;
    *count -= to - from;
    memcpy(ops, trial, *count * sizeof *ops);
    return true;
}

static void shrink_values(struct op *ops, size_t count, shrink_fails *fails, void *arg, time_t deadline)
{
    for (size_t i = 0; i < count && time(NULL) < deadline; i++) {
        if (ops[i].kind > OP_BATCH_LINK)
            continue;
        struct op before = ops[i];
        ops[i].size = ops[i].meta_size = ops[i].sync = 0;
        if ((before.size || before.meta_size || before.sync) && !fails(arg, ops, count))
            ops[i] = before;
    }
}

size_t shrink(struct op *ops, size_t count, shrink_fails *fails, void *arg, unsigned seconds)
{
    time_t deadline = time(NULL) + (time_t)seconds;
    struct op *trial = malloc((count + 1) * sizeof *trial);
    if (!trial)
        abort();
    /* Pieces of half the list, then of a quarter, and so on; the pieces at the end go first, since what lies behind the
     * failing step is never needed. Single operations are tried until a whole round removes none. */
    for (size_t piece = count / 2 ? count / 2 : 1; time(NULL) < deadline;) {
        bool removed = false;
        for (size_t to = count; to > 0 && time(NULL) < deadline;) {
            size_t from = to > piece ? to - piece : 0;
            if (try_without(ops, &count, from, to, trial, fails, arg))
                removed = true;
            to = from;
        }
        if (piece == 1 && !removed)
            break;
        piece = piece > 1 ? piece / 2 : 1;
    }
    shrink_values(ops, count, fails, arg, deadline);
    free(trial);
    return count;
}
