/* The loops. Making a key and checking an answer costs each engine the same 10 to 20 ns of an operation. */
#include "tools/bench/worker.h"

#include "base/alloc.h"
#include "base/env.h"
#include "base/error.h"
#include "tools/text.h"

#include "base/banned.h"

/* --- latency ---------------------------------------------------------------------------------------------------- */

/* One call in 16 is timed: two clock readings of about 25 ns then add about 3 ns to an operation. Batches are long
 * enough to time each. */
enum { SAMPLE_EVERY = 16, SAMPLE_BATCH = 16 };

static uint64_t sample_begin(struct worker *worker, bool always)
{
    bool timed = worker->latency && (worker->calls++ % SAMPLE_EVERY == 0 || always);
    return timed ? env_now_ns(env_posix()) : 0;
}

static void sample_end(struct worker *worker, uint64_t begun)
{
    if (begun)
        histogram_add(worker->latency, env_now_ns(env_posix()) - begun);
}

/* --- checked operations ----------------------------------------------------------------------------------------- */

__attribute__((cold)) static plsm_status wrong(const char *what, plsm_slice key)
{
    char quoted[128];
    return fail(PLSM_CORRUPT, "wrong answer: %s, key %s", what, text_quote(quoted, sizeof quoted, key));
}

static plsm_status read_present(struct worker *worker, plsm_slice key)
{
    plsm_slice value = {0};
    plsm_status status = worker->engine->get(worker->session, key, &value);
    if (__builtin_expect(status != PLSM_OK, 0))
        return status == PLSM_NOT_FOUND ? wrong("a key that is there was not found", key) : status;
    return data_version(worker->data, key, value) >= 0 ? PLSM_OK : wrong("a value is not what was written", key);
}

static plsm_status read_absent(struct worker *worker, plsm_slice key)
{
    plsm_slice value = {0};
    plsm_status status = worker->engine->get(worker->session, key, &value);
    if (__builtin_expect(status == PLSM_NOT_FOUND, 1))
        return PLSM_OK;
    return status == PLSM_OK ? wrong("a key that is not there was found", key) : status;
}

static plsm_status write_one(struct worker *worker, plsm_slice key, unsigned version)
{
    struct adapter_record record = {key, data_value(worker->data, key, version)};
    return worker->engine->put(worker->session, &record, 1);
}

plsm_status worker_scan(struct worker *worker, plsm_slice from, uint64_t limit, uint64_t *count)
{
    uint8_t last[SHAPE_KEY_MAX];
    size_t last_size = 0;
    /* Seeks are timed as a whole by their caller. */
    bool timed = worker->latency && worker->workload->kind == WORKLOAD_SCAN;
    plsm_status status = worker->engine->seek(worker->session, from);
    if (status != PLSM_OK)
        return status;
    *count = 0;
    while (*count < limit && status == PLSM_OK) {
        plsm_slice key = {0}, value = {0};
        uint64_t begun = timed ? sample_begin(worker, false) : 0;
        if (!worker->engine->step(worker->session, &key, &value))
            break;
        sample_end(worker, begun);
        if (key.size > sizeof last || data_version(worker->data, key, value) < 0)
            status = wrong("an entry of a scan is not what was written", key);
        else if (*count == 0 ? from.size > 0 && slice_compare(key, from) != 0
                             : slice_compare(slice(last, last_size), key) >= 0)
            status = wrong("entries of a scan are missing or out of order", key);
        else
            memcpy(last, key.data, last_size = key.size);
        ++*count;
    }
    plsm_status end = worker->engine->scan_end(worker->session);
    return status == PLSM_OK ? end : status;
}

/* --- the workloads ---------------------------------------------------------------------------------------------- */

/* The index of the key that the i-th write of all goes to. */
static uint64_t write_index(struct worker *worker, uint64_t i)
{
    const struct workload *workload = worker->workload;
    if (workload->kind == WORKLOAD_OVERWRITE)
        return random_below(&worker->random, worker->data->keys);
    return workload->ordered ? i : data_scattered(worker->data, i);
}

static plsm_status run_writes(struct worker *worker)
{
    unsigned version = worker->workload->kind == WORKLOAD_OVERWRITE;
    struct adapter_record *records = mem_alloc(worker->batch * sizeof *records);
    uint8_t(*keys)[SHAPE_MADE_MAX] = mem_alloc((size_t)worker->batch * SHAPE_MADE_MAX);
    plsm_status status = records && keys ? PLSM_OK : fail(PLSM_NO_MEMORY, "no memory for a batch");
    uint64_t end = worker->first + worker->ops;
    for (uint64_t i = worker->first; i < end && status == PLSM_OK;) {
        uint32_t count = 0;
        for (; count < worker->batch && i < end; count++, i++) {
            records[count].key = data_key(worker->data, write_index(worker, i), keys[count]);
            records[count].value = data_value(worker->data, records[count].key, version);
        }
        uint64_t begun = sample_begin(worker, count >= SAMPLE_BATCH);
        status = worker->engine->put(worker->session, records, count);
        sample_end(worker, begun);
        /* An overwrite that was lost would look right in the check at the end: read some back now. */
        if (version == 1 && status == PLSM_OK && i % 1024 < worker->batch && worker->workers == 1) {
            plsm_slice value = {0};
            status = worker->engine->get(worker->session, records[0].key, &value);
            if (status == PLSM_NOT_FOUND ||
                (status == PLSM_OK && data_version(worker->data, records[0].key, value) != 1))
                status = wrong("an overwritten value is still the old one", records[0].key);
        }
    }
    mem_free(keys);
    mem_free(records);
    return status;
}

/* Popular keys lie anywhere: ranks are spread over the indexes. */
static uint64_t popular_index(struct worker *worker)
{
    return data_shuffled(worker->data, zipf_next(&worker->zipf, &worker->random));
}

static plsm_status run_reads(struct worker *worker)
{
    uint8_t buffer[SHAPE_KEY_MAX];
    plsm_status status = PLSM_OK;
    enum workload_kind kind = worker->workload->kind;
    for (uint64_t i = 0; i < worker->ops && status == PLSM_OK; i++) {
        uint64_t index =
            kind == WORKLOAD_ZIPF ? popular_index(worker) : random_below(&worker->random, worker->data->keys);
        plsm_slice key = kind == WORKLOAD_ABSENT ? data_absent_key(worker->data, index, buffer)
                                                 : data_key(worker->data, index, buffer);
        uint64_t begun = sample_begin(worker, false);
        status = kind == WORKLOAD_ABSENT ? read_absent(worker, key) : read_present(worker, key);
        sample_end(worker, begun);
    }
    return status;
}

static plsm_status run_scan(struct worker *worker)
{
    for (uint64_t done = 0; done < worker->ops;) {
        uint64_t left = worker->ops - done, count = 0;
        /* A whole pass has no limit, so that the end of the store is checked too. */
        bool whole = left >= worker->data->keys;
        TRY(worker_scan(worker, (plsm_slice){0}, whole ? UINT64_MAX : left, &count));
        if (count != (whole ? worker->data->keys : left))
            return fail(PLSM_CORRUPT, "wrong answer: a scan gave %llu entries of %llu", (unsigned long long)count,
                        (unsigned long long)worker->data->keys);
        done += count;
    }
    return PLSM_OK;
}

static plsm_status seek_and_read(struct worker *worker, plsm_slice key, uint64_t limit)
{
    uint64_t count = 0;
    TRY(worker_scan(worker, key, limit, &count));
    return count > 0 ? PLSM_OK : wrong("a seek did not find a key that is there", key);
}

static plsm_status run_seeks(struct worker *worker)
{
    uint8_t buffer[SHAPE_MADE_MAX];
    plsm_status status = PLSM_OK;
    for (uint64_t i = 0; i < worker->ops && status == PLSM_OK; i++) {
        plsm_slice key = data_key(worker->data, random_below(&worker->random, worker->data->keys), buffer);
        uint64_t begun = sample_begin(worker, true);
        status = seek_and_read(worker, key, SEEK_ENTRIES);
        sample_end(worker, begun);
    }
    return status;
}

/* The index of this worker's n-th inserted key: workers insert different ones. */
static uint64_t inserted_index(const struct worker *worker, uint64_t n)
{
    return worker->data->keys + n * worker->workers + worker->number;
}

/* The key that the next operation of a mix is about. Each worker's newest keys are its own. */
static uint64_t mix_index(struct worker *worker)
{
    if (!worker->workload->mix.latest)
        return popular_index(worker);
    uint64_t age = zipf_next(&worker->zipf, &worker->random);
    if (age < worker->inserted)
        return inserted_index(worker, worker->inserted - 1 - age);
    return (worker->data->keys - 1 - (age - worker->inserted)) % worker->data->keys;
}

static plsm_status mix_operation(struct worker *worker, plsm_slice key, unsigned choice)
{
    const struct workload_mix *mix = &worker->workload->mix;
    uint8_t buffer[SHAPE_MADE_MAX];
    if (choice < mix->read)
        return read_present(worker, key);
    if ((choice -= mix->read) < mix->update)
        return write_one(worker, key, 1);
    if ((choice -= mix->update) < mix->scan)
        return seek_and_read(worker, key, 1 + random_below(&worker->random, MIX_SCAN_MAX));
    if ((choice -= mix->scan) < mix->read_modify_write) {
        TRY(read_present(worker, key));
        return write_one(worker, key, 1);
    }
    uint64_t index = inserted_index(worker, worker->inserted);
    if (index >= shape_count(worker->data->set))
        return fail(PLSM_TOO_LARGE, "more keys were inserted than there are");
    TRY(write_one(worker, data_key(worker->data, index, buffer), 0));
    worker->inserted++;
    return PLSM_OK;
}

static plsm_status run_mix(struct worker *worker)
{
    uint8_t buffer[SHAPE_MADE_MAX];
    plsm_status status = PLSM_OK;
    for (uint64_t i = 0; i < worker->ops && status == PLSM_OK; i++) {
        plsm_slice key = data_key(worker->data, mix_index(worker), buffer);
        unsigned choice = (unsigned)random_below(&worker->random, 100);
        uint64_t begun = sample_begin(worker, false);
        status = mix_operation(worker, key, choice);
        sample_end(worker, begun);
    }
    return status;
}

plsm_status worker_run(struct worker *worker)
{
    zipf_init(&worker->zipf, worker->data->keys, 0.99);
    switch (worker->workload->kind) {
    case WORKLOAD_FILL:
    case WORKLOAD_OVERWRITE:
        return run_writes(worker);
    case WORKLOAD_SCAN:
        return run_scan(worker);
    case WORKLOAD_SEEK:
        return run_seeks(worker);
    case WORKLOAD_MIX:
        return run_mix(worker);
    default:
        return run_reads(worker);
    }
}
