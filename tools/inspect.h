/* What the parts of `plsm inspect` share. */
#ifndef TOOLS_INSPECT_H
#define TOOLS_INSPECT_H

#include "tools/outline.h"
#include "tools/plot.h"
#include "tools/tool.h"

/* Options besides --json. */
enum inspect_accepts {
    INSPECT_RUNS = 1,   /* --run, --all */
    INSPECT_KEYS = 2,   /* --keys, --seed */
    INSPECT_ABSENT = 4, /* --absent */
    INSPECT_PLOT = 8,   /* --plot */
};

struct inspect_request {
    const char *store;
    const char *plot; /* NULL: none */
    bool json, all, one;
    uint64_t run; /* where `one` */
    plsm_inspect_options options;
};

/* Parses the command line, looks whether a picture could be drawn where one is wished, and opens the store. False:
 * leave with *code. */
bool inspect_begin(struct tool *tool, int argc, char **argv, unsigned accepts, struct inspect_request *request,
                   plsm **db, enum tool_exit *code);
/* Closes the store; `problems` were found where everything went well. */
enum tool_exit inspect_end(const struct tool *tool, plsm *db, enum tool_exit code, bool problems);

const char *inspect_keyspace(unsigned keyspace); /* "names", ...; static */
/* The problems of a run, one by one: that of number `which`, and the part that has it; false when there are no more. */
bool inspect_problem(const plsm_run_info *run, unsigned which, const char **part, const char **problem);
/* Whether something is damaged; problems are also models that are good but not wanted. */
bool inspect_damaged(const plsm_run_info *run);
/* Bits per entry. */
static inline double inspect_bits(uint64_t bytes)
{
    return 8.0 * (double)bytes;
}

extern const struct command command_inspect_run, command_inspect_level, command_inspect_compaction,
    command_inspect_profile, command_inspect_values;

#endif
