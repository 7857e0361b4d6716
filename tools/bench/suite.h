/* `plsm bench engines`: plsm's own engines beside each other, and which of them is for which work.
 *
 * It is a list of jobs. A job measures some figures of one contender (an engine under a promise of durability) in a
 * process and a directory of its own; all contenders take turns, again and again. Each job is told when it has been
 * measured, and the conclusion is drawn from all figures at the end. */
#ifndef TOOLS_BENCH_SUITE_H
#define TOOLS_BENCH_SUITE_H

#include "tools/bench/bench.h"
#include "tools/bench/winner.h"

enum {
    SUITE_KEYS_MAX = 1 << 28,
    SUITE_CONTENDERS_MAX = 12,
    SUITE_JOBS_MAX = 40,
    SUITE_FIGURES_MAX = 16,
    SUITE_LABEL_SIZE = 64
};

/* How the writes of a contender are made, and what they survive. */
enum promise {
    PROMISE_EACH,     /* one by one, each survives the death of the process before the next begins */
    PROMISE_BATCH,    /* in batches, which do: up to a batch that was not written yet is lost with the process */
    PROMISE_VOLATILE, /* one by one; the process may take with it all that was not written out since (PLSM_VOLATILE) */
    PROMISES
};
extern const char *const promise_names[PROMISES];

struct contender {
    const char *engine;
    enum promise promise;
};

/* Which is the better one of two figures. */
enum better { BETTER_LESS, BETTER_MORE, BETTER_NEITHER };

/* What an engine is chosen for. */
enum work {
    WORK_NONE,
    WORK_WRITE_FEW, /* of few keys, again and again */
    WORK_WRITE_MANY,
    WORK_READ,
    WORK_ABSENT,
    WORK_LIST,
    WORK_THREADS,
    WORK_FLUSH,
    WORK_OPEN,
    WORK_CHECKPOINT,
    WORK_PAUSE,
    WORK_MEMORY,
    WORK_SPACE,
    WORKS
};
extern const char *const work_names[WORKS];

struct suite_figure {
    const char *name, *unit;
    enum better better;
    enum work work;
};

struct suite;
struct suite_job;

/* One run: a contender in a child process. */
struct errand {
    const struct suite *suite;
    const struct suite_job *job;
    const struct contender *contender;
};

struct suite_job {
    const char *part;             /* a word: --parts chooses by it */
    char label[SUITE_LABEL_SIZE]; /* what sets it apart from the other jobs of its part, or "" */
    const char *about;            /* what its figures mean and how they are come by */
    const struct suite_figure *figures;
    uint32_t figure_count;
    uint64_t keys;
    uint32_t threads;
    bool sparse;      /* of integers */
    bool all;         /* all promises of an engine contend; otherwise the first alone */
    /* Measures in `directory`, which is empty; figures that the engine does not have stay NAN. */
    plsm_status (*run)(const struct errand *errand, const char *directory, double *figures);
    /* Tells the figures where a table of lines and columns is not what they are told in; NULL: it is. */
    void (*tell)(const struct suite *suite, const struct suite_job *job);
};

struct suite {
    const struct bench_plan *plan;
    bool has_volatile; /* some engine has writes that are cheaper for that */
    struct contender contenders[SUITE_CONTENDERS_MAX];
    uint32_t contender_count;
    struct suite_job jobs[SUITE_JOBS_MAX];
    uint32_t job_count;
    double *values; /* [job][contender][figure][repeat]; NAN where there is none */
};

/* The runs of a figure, plan->repeat of them. */
double *suite_values(const struct suite *suite, const struct suite_job *job, uint32_t contender, uint32_t figure);
struct spread suite_spread(const struct suite *suite, const struct suite_job *job, uint32_t contender, uint32_t figure);
static inline double suite_median(const struct suite *suite, const struct suite_job *job, uint32_t contender,
                                  uint32_t figure)
{
    return suite_spread(suite, job, contender, figure).median;
}
/* Whether a contender takes part in a job. */
bool suite_has(const struct suite_job *job, const struct contender *contender);
/* What a figure of a job counts for: writes count by the number of keys. */
enum work suite_work(const struct suite_job *job, const struct suite_figure *figure);
/* "hybridlog", "hybridlog, batches", "hybridlog, volatile"; valid until the next call but three. */
const char *contender_name(const struct contender *contender);

/* Adds a copy of a job. INVARIANT: there is room. */
struct suite_job *suite_add(struct suite *suite, const struct suite_job *job);

/* The parts, in the order in which they are measured; each adds its jobs. */
void suite_add_table(struct suite *suite);      /* seed 003: distributions and numbers of keys */
void suite_add_integers(struct suite *suite);   /* seed 002: dense and sparse */
void suite_add_scaling(struct suite *suite);    /* with the number of keys */
void suite_add_threads(struct suite *suite);    /* one and several */
void suite_add_listing(struct suite *suite);    /* of a prefix, of everything */
void suite_add_flush(struct suite *suite);      /* writes with a flush now and then */
void suite_add_space(struct suite *suite);      /* memory, disk, compaction and reads behind it */
void suite_add_recovery(struct suite *suite);   /* after a clean close, after kill -9 */
void suite_add_checkpoint(struct suite *suite); /* time, size, pauses */

/* The most of --keys: what parts but the table and scaling are measured with. */
uint64_t suite_keys(const struct suite *suite);

/* A cell of seed 003 is beaten when it takes so many times less. */
#define SUITE_BEATEN 10.0
/* What seed 003 published for a figure of the table, for as many operations; NAN where there is nothing. */
double suite_published(const struct suite *suite, const struct suite_job *job, const struct contender *contender,
                       uint32_t figure);

/* "table,integers,...": the parts there are. */
extern const char suite_parts[];
/* Whether a list "table,listing" of parts has one of that name; NULL has all. */
bool suite_wants(const char *parts, const char *part);
/* Whether there are all that a list has. */
bool suite_parts_check(const char *parts);

enum tool_exit bench_engines(const struct tool *tool, const struct bench_plan *plan);

#endif
