/* Checkpoints into one directory on the same file system: the first, one of the unchanged store, one after a
 * hundredth of the keys was written again; and how long a put takes at most while others are taken, beside the
 * longest without. */
#include <stdatomic.h>

#include "base/env.h"
#include "base/error.h"
#include "tools/bench/subject.h"

#include "base/banned.h"

enum { FIRST, FIRST_SIZE, UNCHANGED, UNCHANGED_FILES, CHANGED, CHANGED_SIZE, BUSY, LONGEST, LONGEST_ALONE, FIGURES };
enum { CHANGED_OF = 100, ROUNDS = 5 };

static const struct suite_figure figures[FIGURES] = {
    [FIRST] = {"first checkpoint", "ms", BETTER_LESS, WORK_CHECKPOINT},
    [FIRST_SIZE] = {"files, first checkpoint", "MiB", BETTER_LESS, WORK_SPACE},
    [UNCHANGED] = {"checkpoint, nothing changed", "ms", BETTER_LESS, WORK_CHECKPOINT},
    [UNCHANGED_FILES] = {"new files, nothing changed", "", BETTER_LESS, WORK_NONE},
    [CHANGED] = {"checkpoint, 1 % changed", "ms", BETTER_LESS, WORK_CHECKPOINT},
    [CHANGED_SIZE] = {"new files, 1 % changed", "MiB", BETTER_LESS, WORK_CHECKPOINT},
    [BUSY] = {"longest checkpoint beside a writer", "ms", BETTER_LESS, WORK_CHECKPOINT},
    [LONGEST] = {"longest put during checkpoints", "ms", BETTER_LESS, WORK_PAUSE},
    [LONGEST_ALONE] = {"longest put without", "ms", BETTER_LESS, WORK_NONE},
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

/* Puts without end, each timed. */
struct writer {
    struct subject subject; /* a copy: the store is one */
    const struct data *data;
    atomic_int stop;
    _Atomic uint64_t since_ns; /* when the checkpoint that is being taken began; 0: there is none */
    uint64_t longest_ns[2];    /* without and during; to be read when the thread has ended */
    plsm_status status;
    char message[512];
};

/* An engine that cannot finish a checkpoint beside so many writes is left alone after two seconds: it shows in how long
 * that took. */
static void write_on(void *arg)
{
    const uint64_t patience_ns = 2000000000;
    struct writer *writer = arg;
    for (uint64_t i = 0; !atomic_load(&writer->stop) && writer->status == PLSM_OK; i++) {
        uint64_t since = atomic_load(&writer->since_ns), begun = env_now_ns(env_posix());
        if (since > 0 && begun > since + patience_ns) {
            env_sleep_ns(env_posix(), 1000000);
            continue;
        }
        writer->status = subject_overwrite(&writer->subject, writer->data, 1, i);
        uint64_t took = env_now_ns(env_posix()) - begun;
        uint64_t *longest = &writer->longest_ns[since > 0 || atomic_load(&writer->since_ns) > 0];
        *longest = took > *longest ? took : *longest;
    }
    snprintf(writer->message, sizeof writer->message, "%s", plsm_message());
}

/* Between checkpoints it is left alone for as long as they take, a tenth of a second at least. */
static plsm_status take_some(struct subject *subject, struct writer *writer, double *longest_ms)
{
    plsm_status status = PLSM_OK;
    double ms = 0;
    *longest_ms = 0;
    for (int round = 0; round < ROUNDS && status == PLSM_OK; round++) {
        char name[32];
        plsm_checkpoint_info info;
        snprintf(name, sizeof name, "round-%d", round);
        env_sleep_ns(env_posix(), (uint64_t)((ms > 100 ? ms : 100) * 1e6));
        atomic_store(&writer->since_ns, env_now_ns(env_posix()));
        status = checkpoint(subject, name, &ms, &info);
        atomic_store(&writer->since_ns, 0);
        *longest_ms = ms > *longest_ms ? ms : *longest_ms;
    }
    return status;
}

static plsm_status measure_pauses(struct subject *subject, const struct data *data, double *out)
{
    struct writer writer = {.subject = *subject, .data = data};
    struct env_thread *thread = NULL;
    writer.subject.value = (plsm_value){0};
    writer.subject.batch = NULL;
    TRY(env_thread_start(env_posix(), write_on, &writer, &thread));
    plsm_status status = take_some(subject, &writer, &out[BUSY]);
    atomic_store(&writer.stop, 1);
    env_thread_join(thread);
    if (status == PLSM_OK && writer.status != PLSM_OK)
        status = fail(writer.status, "%s", writer.message);
    out[LONGEST_ALONE] = (double)writer.longest_ns[0] / 1e6;
    out[LONGEST] = (double)writer.longest_ns[1] / 1e6;
    return status;
}

/* --- the job ----------------------------------------------------------------------------------------------------- */

static plsm_status measure(struct subject *subject, const struct data *data, double *out)
{
    plsm_checkpoint_info info = {0};
    TRY(subject_load(subject, data, true));
    TRY(subject_settle(subject));
    TRY(checkpoint(subject, "first", &out[FIRST], &info));
    out[FIRST_SIZE] = new_size(&info);
    TRY(checkpoint(subject, "unchanged", &out[UNCHANGED], &info));
    out[UNCHANGED_FILES] = (double)info.new_files;
    TRY(subject_overwrite(subject, data, (data->keys + CHANGED_OF - 1) / CHANGED_OF, 1));
    TRY(checkpoint(subject, "changed", &out[CHANGED], &info));
    out[CHANGED_SIZE] = new_size(&info);
    return measure_pauses(subject, data, out);
}

static plsm_status run(const struct errand *errand, const char *directory, double *out)
{
    return subject_run(errand, directory, errand->suite->plan->row.cache_bytes, measure, out);
}

void suite_add_checkpoint(struct suite *suite)
{
    struct suite_job *job = suite_add(
        suite,
        &(struct suite_job){.part = "checkpoint",
                            .about = "plsm_checkpoint beside the store, on one file system: files are linked where "
                                     "that can be; new files are those that\nno checkpoint there had before; a "
                                     "thread puts without end while five more are taken; wall time",
                            .figures = figures,
                            .figure_count = FIGURES,
                            .keys = suite_keys(suite),
                            .run = run});
    snprintf(job->label, sizeof job->label, "%llu keys", (unsigned long long)job->keys);
}
