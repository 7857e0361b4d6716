/* The loops. Making a key and checking an answer costs each engine the same few nanoseconds of an operation. */
#include "tools/bench/worker.h"

#include "base/alloc.h"
#include "base/env.h"
#include "base/error.h"
#include "tools/text.h"

#include "base/banned.h"

/* --- latency ---------------------------------------------------------------------------------------------------- */

/* Two clock readings of about 25 ns then add about 3 ns to an operation, and half a nanosecond to an entry of a scan,
 * which may take less than they do. Batches are long enough to time each. */
enum { SAMPLE_BATCH = 16 };

/* One call in `every` is timed; a loop runs kinds of which that is the same. */
static inline uint64_t sample_begin(struct worker *worker, unsigned every)
{
    return worker->latency && worker->calls++ % every == 0 ? env_now_ns(env_posix()) : 0;
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

/* What an engine told of a key that is there. */
static plsm_status check_present(struct worker *worker, plsm_slice key, plsm_status status, plsm_slice value)
{
    if (__builtin_expect(status != PLSM_OK, 0))
        return status == PLSM_NOT_FOUND ? wrong("a key that is there was not found", key) : status;
    return data_version(worker->data, key, value) >= 0 ? PLSM_OK : wrong("a value is not what was written", key);
}

static plsm_status read_present(struct worker *worker, plsm_slice key)
{
    plsm_slice value = {0};
    plsm_status status = worker->engine->get(worker->session, key, &value);
    return check_present(worker, key, status, value);
}

/* And of one that is not. */
static plsm_status check_absent(plsm_slice key, plsm_status status)
{
    if (__builtin_expect(status == PLSM_NOT_FOUND, 1))
        return PLSM_OK;
    return status == PLSM_OK ? wrong("a key that is not there was found", key) : status;
}

static plsm_status read_absent(struct worker *worker, plsm_slice key)
{
    plsm_slice value = {0};
    return check_absent(key, worker->engine->get(worker->session, key, &value));
}

/* Writes what is pending. */
static plsm_status write_pending(struct worker *worker)
{
    if (worker->pending == 0)
        return PLSM_OK;
    TRY(worker->engine->write(worker->session, worker->records, worker->pending));
    worker->pending = 0;
    worker->inserted += worker->inserting;
    worker->inserting = 0;
    return PLSM_OK;
}

/* The room for the key of the next record. */
static uint8_t *key_room(struct worker *worker)
{
    return worker->keys[worker->pending];
}

/* Who writes a value has mostly just made it, so it is in the cache, where little of the pool is in the end. Waiting
 * for it in the copies that engines make took plsm 5 to 8 % of a put in a batch, and LMDB and LevelDB at least that. */
static void fetch_value(plsm_slice value)
{
    enum { LINE = 64, MOST = 16 * LINE };
    for (size_t at = 0; at < value.size && at < MOST; at += LINE)
        __builtin_prefetch((const uint8_t *)value.data + at);
}

/* Adds a record whose key stands in key_room, or stays valid. */
static void add_record(struct worker *worker, plsm_slice key, unsigned version, bool deletion)
{
    struct adapter_record *record = &worker->records[worker->pending++];
    *record = (struct adapter_record){.key = key, .deletion = deletion};
    if (!deletion)
        fetch_value(record->value = data_value(worker->data, key, version));
    worker->deleted += deletion;
    worker->given_bytes += key.size + record->value.size;
}

static plsm_status add_one(struct worker *worker, plsm_slice key, unsigned version)
{
    add_record(worker, key, version, false);
    return worker->pending == worker->batch ? write_pending(worker) : PLSM_OK;
}

/* Whether `key` may come after `before` in a scan. Numbers and hashes of 8 to 16 bytes without a call. */
static inline bool ascends(plsm_slice before, plsm_slice key)
{
    if (__builtin_expect(key.size == before.size && key.size >= 8 && key.size <= 16, 1)) {
        size_t tail = key.size - 8; /* overlaps the head, which is the same where the tail decides */
        uint64_t head = get_be64(key.data), head_before = get_be64(before.data);
        if (head != head_before)
            return head > head_before;
        return get_be64((const uint8_t *)key.data + tail) > get_be64((const uint8_t *)before.data + tail);
    }
    return slice_compare(before, key) < 0;
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
    plsm_slice key = {0}, value = {0};
    uint64_t done = 0;
    for (; done < limit && status == PLSM_OK; done++) {
        uint64_t begun = timed ? sample_begin(worker, latency_every(WORKLOAD_SCAN)) : 0;
        if (!worker->engine->step(worker->session, &key, &value))
            break;
        sample_end(worker, begun);
        if (key.size > sizeof last || data_version(worker->data, key, value) < 0)
            status = wrong("an entry of a scan is not what was written", key);
        else if (done == 0 ? from.size > 0 && slice_compare(key, from) != 0 : !ascends(slice(last, last_size), key))
            status = wrong("entries of a scan are missing or out of order", key);
        else
            copy_short(last, key.data, last_size = key.size);
    }
    *count = done;
    plsm_status end = worker->engine->scan_end(worker->session);
    return status == PLSM_OK ? end : status;
}

/* --- the workloads ---------------------------------------------------------------------------------------------- */

/* The index of the key that the i-th write of all goes to. Keys are deleted in another order than they were loaded. */
static uint64_t write_index(struct worker *worker, uint64_t i)
{
    const struct workload *workload = worker->workload;
    if (workload->kind == WORKLOAD_OVERWRITE)
        return random_below(&worker->random, worker->data->keys);
    if (workload->kind == WORKLOAD_DELETE)
        return data_shuffled(worker->data, data_shuffled(worker->data, i));
    return workload->ordered ? i : data_scattered(worker->data, i);
}

/* A change that was lost would look right in the check at the end, or make its count wrong only by chance: some are
 * read back at once. `record` is one that was written. */
static plsm_status read_back(struct worker *worker, const struct adapter_record *record)
{
    plsm_slice value = {0};
    if (record->deletion)
        return read_absent(worker, record->key);
    plsm_status status = worker->engine->get(worker->session, record->key, &value);
    bool told = worker->data->value_bytes > 0; /* empty values are all alike */
    if (status == PLSM_NOT_FOUND || (status == PLSM_OK && told && data_version(worker->data, record->key, value) != 1))
        status = wrong("an overwritten value is still the old one", record->key);
    return status;
}

static plsm_status run_writes(struct worker *worker)
{
    enum workload_kind kind = worker->workload->kind;
    bool checked = kind == WORKLOAD_DELETE || (kind == WORKLOAD_OVERWRITE && worker->workers == 1);
    uint64_t end = worker->first + worker->ops;
    plsm_status status = PLSM_OK;
    for (uint64_t i = worker->first; i < end && status == PLSM_OK;) {
        uint64_t first = i;
        for (; worker->pending < worker->batch && i < end; i++) {
            plsm_slice key = data_key(worker->data, write_index(worker, i), key_room(worker));
            add_record(worker, key, kind == WORKLOAD_OVERWRITE, kind == WORKLOAD_DELETE);
        }
        uint64_t begun = sample_begin(worker, worker->pending >= SAMPLE_BATCH ? 1 : latency_every(WORKLOAD_FILL));
        status = write_pending(worker);
        sample_end(worker, begun);
        if (checked && status == PLSM_OK && first % 1024 < worker->batch)
            status = read_back(worker, &worker->records[0]);
    }
    return status;
}

/* Popular keys lie anywhere: ranks are spread over the indexes. */
static uint64_t popular_index(struct worker *worker)
{
    return data_shuffled(worker->data, zipf_next(&worker->zipf, &worker->random));
}

/* The hot keys are spread over the indexes too. */
static uint64_t hot_index(struct worker *worker)
{
    uint64_t keys = worker->data->keys, hot = (keys * HOT_KEYS + 99) / 100;
    bool is_hot = hot == keys || random_below(&worker->random, 100) < HOT_READS;
    uint64_t rank = is_hot ? random_below(&worker->random, hot) : hot + random_below(&worker->random, keys - hot);
    return data_shuffled(worker->data, rank);
}

static plsm_status run_reads(struct worker *worker)
{
    uint8_t buffer[SHAPE_KEY_MAX];
    plsm_status status = PLSM_OK;
    bool absent = worker->workload->kind == WORKLOAD_ABSENT;
    for (uint64_t i = 0; i < worker->ops && status == PLSM_OK; i++) {
        uint64_t index = worker_next_index(worker);
        plsm_slice key = absent ? data_absent_key(worker->data, index, buffer) : data_key(worker->data, index, buffer);
        uint64_t begun = sample_begin(worker, latency_every(WORKLOAD_READ));
        status = absent ? read_absent(worker, key) : read_present(worker, key);
        sample_end(worker, begun);
    }
    return status;
}

/* What a call for many keys takes and gives: room for `batch` of each. */
struct many {
    plsm_slice *keys, *values;
    plsm_status *statuses;
    uint8_t *bytes; /* of the keys, one behind the other, as a program has them that read them somewhere */
};

static plsm_status read_many(struct worker *worker, const struct many *many, uint32_t count)
{
    bool absent = worker->workload->kind == WORKLOAD_ABSENT;
    uint8_t *room = many->bytes;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t index = worker_next_index(worker);
        many->keys[i] = absent ? data_absent_key(worker->data, index, room) : data_key(worker->data, index, room);
        room += many->keys[i].size;
    }
    uint64_t begun = sample_begin(worker, count >= SAMPLE_BATCH ? 1 : latency_every(WORKLOAD_READ));
    TRY(worker->engine->get_many(worker->session, many->keys, count, many->values, many->statuses));
    sample_end(worker, begun);
    for (uint32_t i = 0; i < count; i++)
        TRY(absent ? check_absent(many->keys[i], many->statuses[i])
                   : check_present(worker, many->keys[i], many->statuses[i], many->values[i]));
    return PLSM_OK;
}

static plsm_status run_many_reads(struct worker *worker)
{
    struct many many = {.keys = mem_alloc(worker->batch * sizeof *many.keys),
                        .values = mem_alloc(worker->batch * sizeof *many.values),
                        .statuses = mem_alloc(worker->batch * sizeof *many.statuses),
                        .bytes = mem_alloc((size_t)worker->batch * SHAPE_KEY_MAX)};
    plsm_status status = many.keys && many.values && many.statuses && many.bytes
                             ? PLSM_OK
                             : fail(PLSM_NO_MEMORY, "no memory for %u keys", worker->batch);
    for (uint64_t left = worker->ops; left > 0 && status == PLSM_OK;) {
        uint32_t some = left < worker->batch ? (uint32_t)left : worker->batch;
        status = read_many(worker, &many, some);
        left -= some;
    }
    mem_free(many.keys);
    mem_free(many.values);
    mem_free(many.statuses);
    mem_free(many.bytes);
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
        uint64_t begun = sample_begin(worker, latency_every(WORKLOAD_SEEK));
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

/* Each worker's newest keys are its own. */
static uint64_t latest_index(struct worker *worker)
{
    uint64_t age = zipf_next(&worker->zipf, &worker->random);
    if (age < worker->inserted)
        return inserted_index(worker, worker->inserted - 1 - age);
    return (worker->data->keys - 1 - (age - worker->inserted)) % worker->data->keys;
}

uint64_t worker_next_index(struct worker *worker)
{
    const struct workload *workload = worker->workload;
    if (workload->mix.latest)
        return latest_index(worker);
    if (workload->kind == WORKLOAD_HOT)
        return hot_index(worker);
    if (workload->kind == WORKLOAD_ZIPF || (workload->kind == WORKLOAD_MIX && !workload->mix.uniform))
        return popular_index(worker);
    return random_below(&worker->random, worker->data->keys);
}

static plsm_status insert(struct worker *worker)
{
    uint64_t index = inserted_index(worker, worker->inserted + worker->inserting);
    if (index >= shape_count(worker->data->set))
        return fail(PLSM_TOO_LARGE, "more keys were inserted than there are");
    worker->inserting++;
    return add_one(worker, data_key(worker->data, index, key_room(worker)), 0);
}

/* In one step where the engine has that and writes are not collected. `key` as below. */
static plsm_status modify(struct worker *worker, plsm_slice key)
{
    plsm_slice old = {0}, value = {0};
    if (!worker->engine->modify || worker->batch > 1) {
        TRY(read_present(worker, key));
        return add_one(worker, key, 1);
    }
    fetch_value(value = data_value(worker->data, key, 1));
    worker->given_bytes += key.size + value.size;
    plsm_status status = worker->engine->modify(worker->session, key, value, &old);
    return check_present(worker, key, status, old);
}

/* `key` stands in key_room, or stays valid. */
static plsm_status mix_operation(struct worker *worker, plsm_slice key, unsigned choice)
{
    const struct workload_mix *mix = &worker->workload->mix;
    if (choice < mix->read)
        return read_present(worker, key);
    if ((choice -= mix->read) < mix->update)
        return add_one(worker, key, 1);
    if ((choice -= mix->update) < mix->scan)
        return seek_and_read(worker, key, 1 + random_below(&worker->random, MIX_SCAN_MAX));
    if ((choice -= mix->scan) < mix->read_modify_write)
        return modify(worker, key);
    return insert(worker);
}

static plsm_status run_mix(struct worker *worker)
{
    plsm_status status = PLSM_OK;
    for (uint64_t i = 0; i < worker->ops && status == PLSM_OK; i++) {
        plsm_slice key = data_key(worker->data, worker_next_index(worker), key_room(worker));
        unsigned choice = (unsigned)random_below(&worker->random, 100);
        uint64_t begun = sample_begin(worker, latency_every(WORKLOAD_MIX));
        status = mix_operation(worker, key, choice);
        sample_end(worker, begun);
    }
    return status == PLSM_OK ? write_pending(worker) : status;
}

static plsm_status run_kind(struct worker *worker)
{
    switch (worker->workload->kind) {
    case WORKLOAD_FILL:
    case WORKLOAD_OVERWRITE:
    case WORKLOAD_DELETE:
        return run_writes(worker);
    case WORKLOAD_SCAN:
        return run_scan(worker);
    case WORKLOAD_SEEK:
        return run_seeks(worker);
    case WORKLOAD_MIX:
        return run_mix(worker);
    default:
        return worker->batch > 1 && worker->engine->get_many ? run_many_reads(worker) : run_reads(worker);
    }
}

plsm_status worker_run(struct worker *worker)
{
    zipf_init(&worker->zipf, worker->data->keys, 0.99);
    worker->records = mem_alloc(worker->batch * sizeof *worker->records);
    worker->keys = mem_alloc((size_t)worker->batch * SHAPE_MADE_MAX);
    plsm_status status =
        worker->records && worker->keys ? run_kind(worker) : fail(PLSM_NO_MEMORY, "no memory for a batch");
    mem_free(worker->keys);
    mem_free(worker->records);
    worker->keys = NULL;
    worker->records = NULL;
    return status;
}
