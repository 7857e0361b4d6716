/* Checkpoints into one directory on the same file system: the first, one of the unchanged store, one after a
 * hundredth of the keys was written again; and how long a put takes at most while others are taken, and while flushes
 * are, beside the longest without: by a thread that puts without a pause, and by one that rests between puts, so that
 * the disk keeps up with it. Where the processor was given to others in the middle of a put that is no part of these
 * times: how long a put took by the clock is told beside. */
#include <stdatomic.h>

#include "base/env.h"
#include "base/error.h"
#include "tools/bench/clock.h"
#include "tools/bench/subject.h"

#include "base/banned.h"

enum {
    FIRST,
    FIRST_SIZE,
    UNCHANGED,
    UNCHANGED_FILES,
    CHANGED,
    CHANGED_SIZE,
    BUSY,
    LONGEST,       /* during checkpoints, */
    LONGEST_FLUSH, /* during flushes, */
    LONGEST_ALONE, /* beside neither, */
    LONGEST_CLOCK, /* and of all three, by the clock */
    LONGEST_PACED, /* the same four */
    LONGEST_FLUSH_PACED,
    LONGEST_ALONE_PACED,
    LONGEST_CLOCK_PACED,
    FIGURES
};
enum { CHANGED_OF = 100, ROUNDS_MAX = 5, ROUND_KEYS = 10000, PAUSE_NS = 100000 };
enum {
    LOOK_PUTS = 16,       /* between two looks at what the thread was kept from, */
    LOOKED_INTO = 100000, /* and behind each put that took so many ns */
};

static const struct suite_figure figures[FIGURES] = {
    [FIRST] = {"first checkpoint", "ms", BETTER_LESS, WORK_CHECKPOINT},
    [FIRST_SIZE] = {"files, first checkpoint", "MiB", BETTER_LESS, WORK_SPACE},
    [UNCHANGED] = {"checkpoint, nothing changed", "ms", BETTER_LESS, WORK_CHECKPOINT},
    [UNCHANGED_FILES] = {"new files, nothing changed", "", BETTER_LESS, WORK_NONE},
    [CHANGED] = {"checkpoint, 1 % changed", "ms", BETTER_LESS, WORK_CHECKPOINT},
    [CHANGED_SIZE] = {"new files, 1 % changed", "MiB", BETTER_LESS, WORK_CHECKPOINT},
    [BUSY] = {"longest checkpoint beside a writer", "ms", BETTER_LESS, WORK_CHECKPOINT},
    [LONGEST] = {"longest put during checkpoints", "ms", BETTER_LESS, WORK_PAUSE},
    [LONGEST_FLUSH] = {"longest put during flushes", "ms", BETTER_LESS, WORK_PAUSE},
    [LONGEST_ALONE] = {"longest put without", "ms", BETTER_LESS, WORK_NONE},
    [LONGEST_CLOCK] = {"longest put by the clock", "ms", BETTER_LESS, WORK_NONE},
    [LONGEST_PACED] = {"longest paced put, checkpoints", "ms", BETTER_LESS, WORK_PAUSE},
    [LONGEST_FLUSH_PACED] = {"longest paced put, flushes", "ms", BETTER_LESS, WORK_PAUSE},
    [LONGEST_ALONE_PACED] = {"longest paced put without", "ms", BETTER_LESS, WORK_NONE},
    [LONGEST_CLOCK_PACED] = {"longest paced put by the clock", "ms", BETTER_LESS, WORK_NONE},
};

static plsm_status checkpoint(struct subject *subject, const char *name, double *ms, plsm_checkpoint_info *info)
{
    char directory[PATH_MAX + 16];
    struct stopwatch watch;
    plsm_checkpoint_options options = {.name = name};
    snprintf(directory, sizeof directory, "%s-checkpoints", subject->path);
    stopwatch_start(&watch);
    plsm_status status = plsm_checkpoint(subject->db, directory, &options, info);
    *ms = stopwatch_wall_ns(&watch) / 1e6;
    return status;
}

static double new_size(const plsm_checkpoint_info *info)
{
    return (double)(info->copied_bytes + info->linked_bytes) / (1 << 20);
}

/* --- pauses ------------------------------------------------------------------------------------------------------ */

enum beside { BESIDE_CHECKPOINT, BESIDE_FLUSH, BESIDE_NOTHING, BESIDES, BY_THE_CLOCK = BESIDES, LONGEST_FIGURES };

/* Puts without end, each timed. */
struct writer {
    struct subject subject; /* a copy: the store is one */
    const struct data *data;
    uint64_t pause_ns; /* between puts */
    atomic_int stop;
    _Atomic enum beside beside;
    _Atomic uint64_t since_ns;            /* when it began */
    uint64_t longest_ns[LONGEST_FIGURES]; /* to be read when the thread has ended */
    plsm_status status;
    char message[512];
};

static void note_longest(struct writer *writer, unsigned figure, uint64_t ns)
{
    if (ns > writer->longest_ns[figure])
        writer->longest_ns[figure] = ns;
}

/* An engine that cannot finish a checkpoint beside so many writes is left alone after two seconds: it shows in how long
 * that took. */
static void write_on(void *arg)
{
    const uint64_t patience_ns = 2000000000;
    struct writer *writer = arg;
    struct clock_hold hold = {0};
    bool rested = true;
    for (uint64_t i = 0; !atomic_load(&writer->stop) && writer->status == PLSM_OK; i++) {
        enum beside before = atomic_load(&writer->beside);
        uint64_t begun = env_now_ns(env_posix());
        if (before != BESIDE_NOTHING && begun > atomic_load(&writer->since_ns) + patience_ns) {
            env_sleep_ns(env_posix(), 1000000);
            rested = true;
            continue;
        }
        if (i % LOOK_PUTS == 0 || writer->pause_ns > 0 || rested) {
            clock_hold_look(&hold);
            begun = env_now_ns(env_posix());
            rested = false;
        }
        writer->status = subject_overwrite(&writer->subject, writer->data, 1, i);
        uint64_t took = env_now_ns(env_posix()) - begun;
        enum beside behind = atomic_load(&writer->beside);
        note_longest(writer, BY_THE_CLOCK, took);
        note_longest(writer, before != BESIDE_NOTHING ? before : behind,
                     took < LOOKED_INTO ? took : clock_held_ns(&hold, took));
        if (writer->pause_ns > 0)
            env_sleep_ns(env_posix(), writer->pause_ns);
    }
    clock_hold_end(&hold);
    snprintf(writer->message, sizeof writer->message, "%s", plsm_message());
}

static plsm_status take_one(struct subject *subject, enum beside beside, double *ms)
{
    static unsigned taken;
    char name[32];
    plsm_checkpoint_info info;
    struct stopwatch watch;
    snprintf(name, sizeof name, "round-%u", taken++);
    if (beside == BESIDE_CHECKPOINT)
        return checkpoint(subject, name, ms, &info);
    stopwatch_start(&watch);
    plsm_status status = plsm_flush(subject->db);
    *ms = stopwatch_wall_ns(&watch) / 1e6;
    return status;
}

/* Small stores, whose figures mean little, are not waited for so long. */
static uint64_t rounds_of(uint64_t keys)
{
    return keys / ROUND_KEYS < ROUNDS_MAX ? keys / ROUND_KEYS + 1 : ROUNDS_MAX;
}

/* Between two of them it is left alone for as long as they take, a tenth of a second at least. */
static plsm_status take_some(struct subject *subject, struct writer *writer, enum beside beside, double *longest_ms)
{
    plsm_status status = PLSM_OK;
    double ms = 0;
    *longest_ms = 0;
    uint64_t rounds = rounds_of(writer->data->keys);
    for (uint64_t round = 0; round < rounds && status == PLSM_OK; round++) {
        env_sleep_ns(env_posix(), (uint64_t)((ms > 100 ? ms : 100) * 1e6));
        atomic_store(&writer->since_ns, env_now_ns(env_posix()));
        atomic_store(&writer->beside, beside);
        status = take_one(subject, beside, &ms);
        atomic_store(&writer->beside, BESIDE_NOTHING);
        *longest_ms = ms > *longest_ms ? ms : *longest_ms;
    }
    return status;
}

static plsm_status measure_pauses(struct subject *subject, const struct data *data, uint64_t pause_ns, double *busy_ms,
                                  double *longest_ms)
{
    struct writer writer = {.subject = *subject, .data = data, .pause_ns = pause_ns, .beside = BESIDE_NOTHING};
    struct env_thread *thread = NULL;
    double flush_ms = 0;
    writer.subject.value = (plsm_value){0};
    writer.subject.batch = NULL;
    TRY(env_thread_start(env_posix(), write_on, &writer, &thread));
    plsm_status status = take_some(subject, &writer, BESIDE_CHECKPOINT, busy_ms);
    if (status == PLSM_OK)
        status = take_some(subject, &writer, BESIDE_FLUSH, &flush_ms);
    atomic_store(&writer.stop, 1);
    env_thread_join(thread);
    if (status == PLSM_OK && writer.status != PLSM_OK)
        status = fail(writer.status, "%s", writer.message);
    for (unsigned i = 0; i < LONGEST_FIGURES; i++)
        longest_ms[i] = (double)writer.longest_ns[i] / 1e6;
    return status;
}

/* --- the job ----------------------------------------------------------------------------------------------------- */

static plsm_status measure(struct subject *subject, const struct data *data, double *out)
{
    plsm_checkpoint_info info = {0};
    TRY(subject_load(subject, data, true));
    TRY(plsm_flush(subject->db)); /* as a checkpoint does: a compaction behind it would be a change */
    TRY(subject_settle(subject));
    TRY(checkpoint(subject, "first", &out[FIRST], &info));
    out[FIRST_SIZE] = new_size(&info);
    TRY(checkpoint(subject, "unchanged", &out[UNCHANGED], &info));
    out[UNCHANGED_FILES] = (double)info.new_files;
    TRY(subject_overwrite(subject, data, (data->keys + CHANGED_OF - 1) / CHANGED_OF, 1));
    TRY(checkpoint(subject, "changed", &out[CHANGED], &info));
    out[CHANGED_SIZE] = new_size(&info);
    double paced_busy_ms = 0;
    TRY(measure_pauses(subject, data, 0, &out[BUSY], &out[LONGEST]));
    return measure_pauses(subject, data, PAUSE_NS, &paced_busy_ms, &out[LONGEST_PACED]);
}

static plsm_status run(const struct errand *errand, const char *directory, double *out)
{
    return subject_run(errand, directory, errand->suite->plan->row.cache_bytes, measure, out);
}

void suite_add_checkpoint(struct suite *suite)
{
    struct suite_job *job = suite_add(
        suite, &(struct suite_job){
                   .part = "checkpoint",
                   .about = "plsm_checkpoint beside the store, on one file system: files are linked where "
                            "that can be; new files are those that\nno checkpoint there had before; a "
                            "thread puts without end while up to five more are taken, and as many\nflushes made; "
                            "then one that rests 0.1 ms between puts; wall time, but of puts, save by\nthe clock, "
                            "without that in which the processor was others'",
                   .figures = figures,
                   .figure_count = FIGURES,
                   .keys = suite_keys(suite),
                   .run = run});
    snprintf(job->label, sizeof job->label, "%llu keys", (unsigned long long)job->keys);
}
