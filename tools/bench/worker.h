/* One thread of a workload: its operations, each checked. */
#ifndef TOOLS_BENCH_WORKER_H
#define TOOLS_BENCH_WORKER_H

#include "base/histogram.h"
#include "base/random.h"
#include "tools/bench/data.h"
#include "tools/bench/workload.h"
#include "tools/bench/zipf.h"

struct worker {
    const struct adapter *engine;
    void *session;
    const struct workload *workload;
    const struct data *data;
    struct histogram *latency; /* shared; NULL: not wanted */
    uint64_t first, ops;       /* its part of all operations */
    uint32_t batch;            /* records of one write, keys of one read where the engine has such */
    uint32_t number, workers;  /* which of how many */
    struct random random;
    struct zipf zipf;
    uint64_t calls;    /* so far, to choose those that are timed */
    uint64_t inserted; /* new keys written by a mix */
    uint64_t deleted, given_bytes; /* keys deleted; bytes of keys and values given to the engine to write */
    /* What is to be written together; room for `batch` of each. */
    struct adapter_record *records;
    uint8_t (*keys)[SHAPE_MADE_MAX];
    uint32_t pending;
    uint64_t inserting; /* of the pending ones, new keys of a mix */
};

/* Runs its operations. Writes are gathered into batches: reads of a mix do not see those that are pending. */
plsm_status worker_run(struct worker *worker);
/* The index of the key that the next operation of a read or a mix is about. */
uint64_t worker_next_index(struct worker *worker);
/* Reads up to `limit` entries from the first key >= from and checks their order and values; *count: how many. */
plsm_status worker_scan(struct worker *worker, plsm_slice from, uint64_t limit, uint64_t *count);

#endif
