/* The runs that flushes and compactions write: numbered, sized filters, entered into an edit. */
#ifndef LSM_OUTPUT_H
#define LSM_OUTPUT_H

#include "lsm/db.h"
#include "lsm/run_writer.h"

/* A flush or a compaction begins: whether its runs are to be trained. */
bool output_job(struct lsm *db);
/* Starts a run that is meant for `level`: takes a number, and filter bits by Monkey. `train` as output_job said. */
plsm_status output_start(struct lsm *db, unsigned level, bool train, struct run_writer **out);

/* Finishes the run and adds it to the edit; *bytes is the size of its file. Destroys the writer in any case; after a
 * failure no file of it stays for long. */
plsm_status output_finish(struct lsm *db, struct run_writer *writer, unsigned level, uint64_t seq_max,
                          struct edit *edit, uint64_t *bytes);

#endif
