/* What a command of `plsm shell` costs: the wall clock, and the difference of the engine's counters. These count what
 * background threads do meanwhile, too. */
#include "base/env.h"
#include "tools/shell.h"

#include "base/banned.h"

enum { COUNT_HITS, COUNT_READS, COUNT_READ_BYTES, COUNT_WRITES, COUNT_WRITE_BYTES };
static const char *const names[SHELL_COUNTS] = {"cache.hits", "io.reads", "io.read_bytes", "io.writes",
                                                "io.write_bytes"};

static void note(void *arg, const plsm_statistic *statistic)
{
    uint64_t *counts = arg;
    for (int i = 0; i < SHELL_COUNTS; i++)
        if (statistic->is_integer && strcmp(statistic->name, names[i]) == 0)
            counts[i] = statistic->integer;
}

static void take(struct shell *shell, uint64_t counts[SHELL_COUNTS])
{
    memset(counts, 0, SHELL_COUNTS * sizeof *counts);
    if (shell->db)
        plsm_statistics(shell->db, note, counts);
}

void shell_timing_start(struct shell *shell, struct shell_timing *timing)
{
    take(shell, timing->counts);
    timing->start_ns = env_now_ns(env_posix());
}

static void tell_calls(char *out, size_t size, const char *what, uint64_t calls, uint64_t bytes)
{
    char number[TEXT_NUMBER_SIZE];
    *out = '\0';
    if (calls > 0)
        snprintf(out, size, ", %llu %s%s of %s", (unsigned long long)calls, what, calls == 1 ? "" : "s",
                 text_bytes(number, bytes));
}

void shell_timing_end(struct shell *shell, const struct shell_timing *timing)
{
    uint64_t elapsed_ns = env_now_ns(env_posix()) - timing->start_ns, counts[SHELL_COUNTS];
    char hits[64] = "", reads[96], writes[96];
    take(shell, counts);
    for (int i = 0; i < SHELL_COUNTS; i++)
        if (counts[i] >= timing->counts[i]) /* otherwise the store was opened anew meanwhile */
            counts[i] -= timing->counts[i];
    if (counts[COUNT_HITS] > 0)
        snprintf(hits, sizeof hits, ", %llu page%s from the cache", (unsigned long long)counts[COUNT_HITS],
                 counts[COUNT_HITS] == 1 ? "" : "s");
    tell_calls(reads, sizeof reads, "read", counts[COUNT_READS], counts[COUNT_READ_BYTES]);
    tell_calls(writes, sizeof writes, "write", counts[COUNT_WRITES], counts[COUNT_WRITE_BYTES]);
    tool_flush();
    fprintf(stderr, "%.3f ms%s%s%s\n", (double)elapsed_ns / 1e6, hits, reads, writes);
}
