/* A record log whose content is known, and comparing with it. */
#ifndef TESTS_RECLOG_PLAN_H
#define TESTS_RECLOG_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/env.h"
#include "base/reclog.h"

#define RECLOG_PLAN_MAGIC "PLSMtest"
#define RECLOG_PLAN_PATH "/log"
enum { RECLOG_PLAN_HEADERS = 544, RECLOG_PLAN_RECORD = 32, RECLOG_PLAN_RECORDS_MAX = 64 };

/* Record i has the user field 1000 + i and a payload that follows from i and its size. */
struct reclog_plan {
    size_t count, sizes[RECLOG_PLAN_RECORDS_MAX];
    uint64_t offsets[RECLOG_PLAN_RECORDS_MAX + 1]; /* the last one: the end */
};

struct reclog_writer *reclog_plan_create(struct env *env, const char *path);
struct reclog_writer *reclog_plan_create_mapped(struct env *env, const char *path);
/* Out of a spare log, which is made for that: full of records of its own, with the directory synced. */
struct reclog_writer *reclog_plan_create_over(struct env *env, const char *path);
#define RECLOG_PLAN_SPARE "/spare"
void reclog_plan_make_spare(struct env *env);
/* Appends the next record. A failure must leave the size as it was. */
plsm_status reclog_plan_add(struct reclog_writer *w, struct reclog_plan *plan, size_t size);
/* A small log of 6 records: 0 and 1 synced, 2 to 5 not unless it is closed cleanly. */
void reclog_plan_small_log(struct env *env, struct reclog_plan *plan, bool clean);
void reclog_plan_small_mapped_log(struct env *env, struct reclog_plan *plan, bool clean);
void reclog_plan_small_log_over(struct env *env, struct reclog_plan *plan, bool clean);
void reclog_plan_put_file(struct env *env, const void *data, size_t size);

/* The reader's callback: what it gets must be the plan's records, one after another. */
struct reclog_seen {
    const struct reclog_plan *plan;
    size_t count;
    plsm_status answer; /* what the callback returns at record `stop` */
    size_t stop;
};
plsm_status reclog_plan_see(void *arg, uint64_t user, plsm_slice payload, uint64_t offset);
/* Reads; whatever is handed out must be the plan's first records. */
plsm_status reclog_plan_read(struct env *env, const char *path, const struct reclog_plan *plan,
                             struct reclog_result *result);
void reclog_plan_check(struct env *env, const struct reclog_plan *plan, size_t count, bool torn, bool closed);

#endif
