/* Simulated I/O: devices, what they charge, and the two sides that are charged. See simulate.h. */
#include "lsm/simulate.h"

#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/sync.h"
#include "lsm/page.h"
#include "lsm/simulate_cache.h"
#include "base/banned.h"

enum {
    SIMULATION_MAGIC = 0x73696d31,
    LATENCY_US_MAX = 60000000,
    OVERHEAD_NS_MAX = 60000000,
    OVERSLEPT_NS_MAX = 1000000, /* beyond that the process was stopped or the machine is overloaded: no credit */
};
#define BLOCKS_MAX (UINT64_C(1) << 40) /* of a file; its bytes at the lowest bandwidth stay below 2^64 ns */

/* --- devices --- */

/* Where the figures come from: see simulate.h. */
static const struct profile {
    const char *name;
    struct simulation_options device;
} profiles[] = {
    {"nvme",
     {.read_latency_us = 51,
      .request_overhead_ns = 100,
      .queue_depth = 128,
      .sequential_discount_percent = 90,
      .read_bytes_per_s = UINT64_C(3500000000),
      .write_bytes_per_s = UINT64_C(1700000000)}},
    {"ssd",
     {.read_latency_us = 69,
      .request_overhead_ns = 700,
      .queue_depth = 32,
      .sequential_discount_percent = 73,
      .read_bytes_per_s = UINT64_C(560000000),
      .write_bytes_per_s = UINT64_C(530000000)}},
    {"hdd",
     {.read_latency_us = 11560,
      .request_overhead_ns = 0,
      .queue_depth = 2,
      .sequential_discount_percent = 99,
      .read_bytes_per_s = UINT64_C(200000000),
      .write_bytes_per_s = UINT64_C(200000000)}},
    {"cloud",
     {.read_latency_us = 677,
      .request_overhead_ns = 292000,
      .queue_depth = 64,
      .sequential_discount_percent = 97,
      .read_bytes_per_s = UINT64_C(131072000),
      .write_bytes_per_s = UINT64_C(131072000)}},
};
enum { PROFILES = sizeof profiles / sizeof *profiles };

plsm_status simulation_profile_find(const char *name, struct simulation_options *options)
{
    for (unsigned i = 0; i < PROFILES; i++) {
        if (strcmp(profiles[i].name, name) == 0) {
            uint64_t cache_bytes = options->cache_bytes;
            bool sleep = options->sleep;
            *options = profiles[i].device;
            options->cache_bytes = cache_bytes;
            options->sleep = sleep;
            return PLSM_OK;
        }
    }
    return fail(PLSM_INVALID, "\"%s\" is no device profile; there are nvme, ssd, hdd and cloud", name);
}

static bool same_device(const struct simulation_options *a, const struct simulation_options *b)
{
    return a->read_latency_us == b->read_latency_us && a->request_overhead_ns == b->request_overhead_ns &&
           a->queue_depth == b->queue_depth && a->sequential_discount_percent == b->sequential_discount_percent &&
           a->read_bytes_per_s == b->read_bytes_per_s && a->write_bytes_per_s == b->write_bytes_per_s;
}

const char *simulation_profile_name(const struct simulation_options *options)
{
    for (unsigned i = 0; i < PROFILES; i++)
        if (same_device(options, &profiles[i].device))
            return profiles[i].name;
    return "own";
}

plsm_status simulation_options_check(const struct simulation_options *options)
{
    if (options->read_latency_us > LATENCY_US_MAX)
        return fail(PLSM_INVALID, "simulated read latency: %u us is above %u", options->read_latency_us,
                    LATENCY_US_MAX);
    if (options->request_overhead_ns > OVERHEAD_NS_MAX)
        return fail(PLSM_INVALID, "simulated request overhead: %u ns is above %u", options->request_overhead_ns,
                    OVERHEAD_NS_MAX);
    if (options->queue_depth == 0 || options->queue_depth > SIMULATION_QUEUE_DEPTH_MAX)
        return fail(PLSM_INVALID, "simulated queue depth: %u is not in 1 to %u", options->queue_depth,
                    SIMULATION_QUEUE_DEPTH_MAX);
    if (options->sequential_discount_percent > 100)
        return fail(PLSM_INVALID, "simulated sequential discount: %u is not in 0 to 100 percent",
                    options->sequential_discount_percent);
    if (options->read_bytes_per_s < SIMULATION_BYTES_PER_S_MIN ||
        options->write_bytes_per_s < SIMULATION_BYTES_PER_S_MIN)
        return fail(PLSM_INVALID, "simulated bandwidth: below %llu bytes per second",
                    (unsigned long long)SIMULATION_BYTES_PER_S_MIN);
    return PLSM_OK;
}

static uint64_t transfer_ns(uint64_t bytes, uint64_t bytes_per_s)
{
    return (uint64_t)((unsigned __int128)bytes * 1000000000u / bytes_per_s);
}

/* The part of a request's cost that does not depend on its size. */
static uint64_t fixed_ns(const struct simulation_options *options, bool sequential, uint64_t batch)
{
    uint64_t overlapping = batch < options->queue_depth ? batch : options->queue_depth;
    uint64_t fixed = options->read_latency_us * UINT64_C(1000) / overlapping + options->request_overhead_ns;
    return sequential ? fixed * (100 - options->sequential_discount_percent) / 100 : fixed;
}

uint64_t simulation_cost_ns(const struct simulation_options *options, uint64_t blocks, bool sequential, uint64_t batch)
{
    return fixed_ns(options, sequential, batch) + transfer_ns(blocks * PAGE_SIZE, options->read_bytes_per_s);
}

uint64_t simulation_write_ns(const struct simulation_options *options, uint64_t bytes)
{
    return transfer_ns(bytes, options->write_bytes_per_s);
}

/* --- sides --- */

/* Where a reader of a run stands. */
struct stream {
    uint64_t run, next_block;
    uint64_t used; /* the side's clock at the last use; 0: no stream */
};

struct side {
    mutex lock; /* guards all below */
    struct shadow_cache cache;
    struct stream streams[SIM_KINDS][SIMULATION_STREAMS]; /* apart: random point reads must not push scans out */
    uint64_t clock;
    struct simulation_totals totals; /* without write_ns */
    int64_t owed_ns;                 /* charged and not slept yet; below 0: overslept */
};

struct simulation {
    uint32_t magic;
    struct simulation_options options;
    struct env *env;
    struct side sides[SIM_SIDES];
};

/* What the reads of one call add up to. */
struct tally {
    uint64_t random, sequential, blocks, hits, transfer_ns;
};

struct simulation *simulation_create(const struct simulation_options *options, struct env *env)
{
    INVARIANT(simulation_options_check(options) == PLSM_OK);
    uint64_t frames = options->cache_bytes / PAGE_SIZE;
    struct simulation *simulation = mem_zalloc(sizeof *simulation);
    if (!simulation)
        return NULL;
    simulation->magic = SIMULATION_MAGIC;
    simulation->options = *options;
    simulation->env = env;
    plsm_status status = PLSM_OK;
    for (unsigned i = 0; i < SIM_SIDES; i++) {
        struct side *side = &simulation->sides[i];
        mutex_init(&side->lock);
        if (status == PLSM_OK)
            status = shadow_cache_init(&side->cache, frames < UINT32_MAX ? (uint32_t)frames : UINT32_MAX - 1);
    }
    if (status != PLSM_OK) {
        simulation_destroy(simulation);
        return NULL;
    }
    return simulation;
}

void simulation_destroy(struct simulation *simulation)
{
    if (!simulation)
        return;
    INVARIANT(simulation->magic == SIMULATION_MAGIC);
    for (unsigned i = 0; i < SIM_SIDES; i++) {
        shadow_cache_free(&simulation->sides[i].cache);
        mutex_destroy(&simulation->sides[i].lock);
    }
    simulation->magic = 0;
    mem_free(simulation);
}

static struct side *enter(struct simulation *simulation, enum simulation_side which)
{
    INVARIANT(simulation->magic == SIMULATION_MAGIC && which < SIM_SIDES);
    struct side *side = &simulation->sides[which];
    mutex_lock(&side->lock);
    return side;
}

/* The stream that stands inside [first, limit] of a run; of several the one used last. NULL: none. */
static struct stream *find_stream(struct stream *streams, uint64_t run, uint64_t first, uint64_t limit)
{
    struct stream *found = NULL;
    for (unsigned i = 0; i < SIMULATION_STREAMS; i++) {
        struct stream *stream = &streams[i];
        if (stream->run == run && stream->next_block >= first && stream->next_block <= limit &&
            stream->used > (found ? found->used : 0))
            found = stream;
    }
    return found;
}

static struct stream *oldest_stream(struct stream *streams)
{
    struct stream *oldest = &streams[0];
    for (unsigned i = 1; i < SIMULATION_STREAMS; i++)
        if (streams[i].used < oldest->used)
            oldest = &streams[i];
    return oldest;
}

/* Moves the stream of a call to the call's end, or begins one when something was `missed`. What lies before `limit` is
 * in the cache. Returns whether a stream went on. */
static bool follow(struct side *side, const struct simulation_place *place, enum simulation_kind kind, uint64_t limit,
                   bool missed)
{
    struct stream *streams = side->streams[kind];
    struct stream *stream = find_stream(streams, place->run, place->first_block, limit);
    bool went_on = stream != NULL;
    if (!stream && kind == SIM_SCAN)
        went_on = find_stream(side->streams[SIM_POINT], place->run, place->first_block, limit) != NULL;
    if (!stream && (went_on || missed))
        stream = oldest_stream(streams);
    if (stream)
        *stream = (struct stream){
            .run = place->run, .next_block = place->first_block + place->block_count, .used = ++side->clock};
    return went_on;
}

/* Looks up the blocks of one place in the cache and adds what has to be read to the tally. */
static void look_up(struct side *side, const struct simulation_options *options, const struct simulation_place *place,
                    enum simulation_kind kind, struct tally *tally)
{
    INVARIANT(place->first_block <= BLOCKS_MAX && place->block_count <= BLOCKS_MAX);
    if (place->block_count == 0)
        return;
    uint64_t end = place->first_block + place->block_count, missed_first = end, missed_end = end;
    for (uint64_t block = place->first_block; block < end; block++) {
        if (shadow_cache_touch(&side->cache, place->run, block))
            continue;
        if (missed_first == end)
            missed_first = block;
        missed_end = block + 1;
        if (kind == SIM_POINT)
            shadow_cache_add(&side->cache, place->run, block);
    }
    uint64_t blocks = missed_end - missed_first;
    bool sequential = follow(side, place, kind, missed_first, blocks > 0);
    tally->hits += place->block_count - blocks;
    tally->blocks += blocks;
    tally->transfer_ns += transfer_ns(blocks * PAGE_SIZE, options->read_bytes_per_s);
    if (blocks > 0)
        *(sequential ? &tally->sequential : &tally->random) += 1;
}

/* Adds to what the actual side owes; returns how long to sleep for it now. */
static uint64_t owe(struct side *side, const struct simulation_options *options, uint64_t ns)
{
    if (!options->sleep)
        return 0;
    side->owed_ns += (int64_t)ns;
    if (side->owed_ns < SIMULATION_SLEEP_NS_MIN)
        return 0;
    ns = (uint64_t)side->owed_ns;
    side->owed_ns = 0;
    return ns;
}

/* Sleeps for what owe() returned, outside of all locks. */
static void pay(struct simulation *simulation, uint64_t ns)
{
    if (ns == 0)
        return;
    uint64_t start = env_now_ns(simulation->env);
    env_sleep_ns(simulation->env, ns);
    uint64_t took = env_now_ns(simulation->env) - start, over = took > ns ? took - ns : 0;
    struct side *side = enter(simulation, SIM_ACTUAL);
    side->owed_ns -= over < OVERSLEPT_NS_MAX ? (int64_t)over : OVERSLEPT_NS_MAX;
    mutex_unlock(&side->lock);
}

static void read_places(struct simulation *simulation, enum simulation_side which,
                        const struct simulation_place *places, size_t count, enum simulation_kind kind)
{
    const struct simulation_options *options = &simulation->options;
    struct tally tally = {0};
    struct side *side = enter(simulation, which);
    for (size_t i = 0; i < count; i++)
        look_up(side, options, &places[i], kind, &tally);
    uint64_t requests = tally.random + tally.sequential, ns = tally.transfer_ns, sleep = 0;
    if (requests) /* the sum of simulation_cost_ns over them */
        ns += tally.random * fixed_ns(options, false, requests) + tally.sequential * fixed_ns(options, true, requests);
    side->totals.reads += requests;
    side->totals.random += tally.random;
    side->totals.sequential += tally.sequential;
    side->totals.blocks += tally.blocks;
    side->totals.hits += tally.hits;
    side->totals.read_ns += ns;
    if (which == SIM_ACTUAL)
        sleep = owe(side, options, ns);
    mutex_unlock(&side->lock);
    pay(simulation, sleep);
}

void simulation_read(struct simulation *simulation, enum simulation_side side, uint64_t run, uint64_t first_block,
                     uint64_t block_count, enum simulation_kind kind)
{
    struct simulation_place place = {.run = run, .first_block = first_block, .block_count = block_count};
    read_places(simulation, side, &place, 1, kind);
}

void simulation_read_batch(struct simulation *simulation, enum simulation_side side,
                           const struct simulation_place *places, size_t count)
{
    read_places(simulation, side, places, count, SIM_POINT);
}

void simulation_write(struct simulation *simulation, uint64_t bytes)
{
    uint64_t sleep = 0;
    for (unsigned i = 0; i < SIM_SIDES; i++) {
        struct side *side = enter(simulation, i);
        side->totals.writes++;
        side->totals.write_bytes += bytes;
        if (i == SIM_ACTUAL)
            sleep = owe(side, &simulation->options, simulation_write_ns(&simulation->options, bytes));
        mutex_unlock(&side->lock);
    }
    pay(simulation, sleep);
}

void simulation_forget(struct simulation *simulation, uint64_t run)
{
    for (unsigned i = 0; i < SIM_SIDES; i++) {
        struct side *side = enter(simulation, i);
        shadow_cache_forget(&side->cache, run);
        for (unsigned kind = 0; kind < SIM_KINDS; kind++)
            for (unsigned s = 0; s < SIMULATION_STREAMS; s++)
                if (side->streams[kind][s].run == run)
                    side->streams[kind][s] = (struct stream){0};
        mutex_unlock(&side->lock);
    }
}

void simulation_set_metadata(struct simulation *simulation, enum simulation_side which, uint64_t bytes)
{
    uint64_t cache_bytes = simulation->options.cache_bytes;
    uint64_t frames = bytes < cache_bytes ? (cache_bytes - bytes) / PAGE_SIZE : 0;
    struct side *side = enter(simulation, which);
    shadow_cache_resize(&side->cache, frames < side->cache.frames_max ? (uint32_t)frames : side->cache.frames_max);
    mutex_unlock(&side->lock);
}

void simulation_totals(struct simulation *simulation, enum simulation_side which, struct simulation_totals *out)
{
    struct side *side = enter(simulation, which);
    *out = side->totals;
    mutex_unlock(&side->lock);
    out->write_ns = simulation_write_ns(&simulation->options, out->write_bytes);
}

void simulation_reset(struct simulation *simulation)
{
    for (unsigned i = 0; i < SIM_SIDES; i++) {
        struct side *side = enter(simulation, i);
        side->totals = (struct simulation_totals){0};
        mutex_unlock(&side->lock);
    }
}
