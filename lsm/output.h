/* The runs that flushes and compactions write: numbered, sized filters, entered into an edit. */
#ifndef LSM_OUTPUT_H
#define LSM_OUTPUT_H

#include "lsm/db.h"
#include "lsm/run_writer.h"

/* A flush or a compaction, to those who write its runs. */
struct output_job {
    bool train;             /* its runs are to be trained */
    uint32_t first;         /* number of the first of them; 0: there is none yet */
    uint64_t keys_expected; /* in a run of full size, about */
};
void output_job_start(struct lsm *db, struct output_job *job);
/* Starts a run that is meant for `level`: takes a number, and filter bits by Monkey. */
plsm_status output_start(struct lsm *db, unsigned level, struct output_job *job, struct run_writer **out);

/* Finishes the run and adds it to the edit; *bytes is the size of its file. Destroys the writer in any case; after a
 * failure no file of it stays for long. */
plsm_status output_finish(struct lsm *db, struct run_writer *writer, unsigned level, uint64_t seq_max,
                          struct edit *edit, uint64_t *bytes);

#endif
