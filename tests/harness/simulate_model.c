/* The naive simulation. See simulate_model.h. */
#include "tests/harness/simulate_model.h"

#include <string.h>

#include "base/banned.h"

enum { BLOCK = 4096, SECOND_CHANCES = 64 };

/* The frame of a block; `count` when there is none. */
static size_t find_frame(const struct simulation_model_side *side, uint64_t run, uint64_t block)
{
    size_t at = 0;
    while (at < side->count && (side->frames[at].run != run || side->frames[at].block != block))
        at++;
    return at;
}

static size_t victim(struct simulation_model_side *side)
{
    size_t passed = 0;
    if (side->hand >= side->count)
        side->hand = 0;
    while (side->frames[side->hand].marked && passed < SECOND_CHANCES) {
        side->frames[side->hand].marked = false;
        side->hand = (side->hand + 1) % side->count;
        passed++;
    }
    return side->hand;
}

static void take_out(struct simulation_model_side *side, size_t at)
{
    side->frames[at] = side->frames[side->count - 1];
    side->count--;
}

static bool access_block(struct simulation_model_side *side, uint64_t run, uint64_t block, enum simulation_kind kind)
{
    struct simulation_model_frame frame = {.run = run, .block = block, .marked = true};
    size_t at = find_frame(side, run, block);
    if (at < side->count) {
        side->frames[at].marked = true;
        return true;
    }
    if (kind == SIM_SCAN || side->capacity == 0)
        return false;
    if (side->count < side->capacity) {
        side->frames[side->count++] = frame;
        return false;
    }
    at = victim(side);
    side->frames[at] = frame;
    side->hand = at + 1;
    return false;
}

/* The first stream of the list that stands in [first, limit]; their number when there is none. */
static size_t find_stream(const struct simulation_model_side *side, enum simulation_kind kind, uint64_t run,
                          uint64_t first, uint64_t limit)
{
    const struct simulation_model_stream *streams = side->streams[kind];
    size_t at = 0;
    while (at < side->stream_counts[kind] &&
           (streams[at].run != run || streams[at].next < first || streams[at].next > limit))
        at++;
    return at;
}

static void drop_stream(struct simulation_model_side *side, enum simulation_kind kind, size_t at)
{
    struct simulation_model_stream *streams = side->streams[kind];
    memmove(&streams[at], &streams[at + 1], (side->stream_counts[kind] - at - 1) * sizeof *streams);
    side->stream_counts[kind]--;
}

static void add_stream(struct simulation_model_side *side, enum simulation_kind kind, uint64_t run, uint64_t next)
{
    struct simulation_model_stream *streams = side->streams[kind];
    if (side->stream_counts[kind] == SIMULATION_STREAMS)
        drop_stream(side, kind, SIMULATION_STREAMS - 1);
    memmove(&streams[1], &streams[0], side->stream_counts[kind] * sizeof *streams);
    streams[0] = (struct simulation_model_stream){run, next};
    side->stream_counts[kind]++;
}

static bool is_sequential(struct simulation_model_side *side, const struct simulation_place *place,
                          enum simulation_kind kind, uint64_t limit, bool missed)
{
    uint64_t end = place->first_block + place->block_count;
    size_t at = find_stream(side, kind, place->run, place->first_block, limit);
    if (at < side->stream_counts[kind]) {
        drop_stream(side, kind, at);
        add_stream(side, kind, place->run, end);
        return true;
    }
    bool sequential = kind == SIM_SCAN && find_stream(side, SIM_POINT, place->run, place->first_block, limit) <
                                              side->stream_counts[SIM_POINT];
    if (sequential || missed)
        add_stream(side, kind, place->run, end);
    return sequential;
}

void simulation_model_init(struct simulation_model *model, const struct simulation_options *options)
{
    *model = (struct simulation_model){.options = *options};
    for (unsigned side = 0; side < SIM_SIDES; side++)
        simulation_model_set_metadata(model, side, 0);
}

void simulation_model_read(struct simulation_model *model, enum simulation_side which,
                           const struct simulation_place *places, size_t count, enum simulation_kind kind)
{
    struct simulation_model_side *side = &model->sides[which];
    struct {
        uint64_t blocks;
        bool sequential;
    } requests[SIMULATION_MODEL_BATCH];
    size_t request_count = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t first = places[i].first_block, end = first + places[i].block_count;
        uint64_t missed = 0, missed_first = end, missed_last = 0;
        for (uint64_t block = first; block < end; block++)
            if (!access_block(side, places[i].run, block, kind)) {
                missed_first = missed++ ? missed_first : block;
                missed_last = block;
            }
        bool sequential = first < end && is_sequential(side, &places[i], kind, missed_first, missed > 0);
        uint64_t blocks = missed ? missed_last - missed_first + 1 : 0;
        side->totals.hits += end - first - blocks;
        side->totals.blocks += blocks;
        if (missed) {
            requests[request_count].blocks = blocks;
            requests[request_count++].sequential = sequential;
        }
    }
    for (size_t i = 0; i < request_count; i++) {
        side->totals.reads++;
        side->totals.sequential += requests[i].sequential;
        side->totals.random += !requests[i].sequential;
        side->totals.read_ns +=
            simulation_cost_ns(&model->options, requests[i].blocks, requests[i].sequential, request_count);
    }
}

void simulation_model_write(struct simulation_model *model, uint64_t bytes)
{
    for (unsigned side = 0; side < SIM_SIDES; side++) {
        struct simulation_totals *totals = &model->sides[side].totals;
        totals->writes++;
        totals->write_bytes += bytes;
        totals->write_ns = simulation_write_ns(&model->options, totals->write_bytes);
    }
}

void simulation_model_forget(struct simulation_model *model, uint64_t run)
{
    for (unsigned i = 0; i < SIM_SIDES; i++) {
        struct simulation_model_side *side = &model->sides[i];
        for (size_t at = 0; at < side->count;)
            if (side->frames[at].run == run)
                take_out(side, at);
            else
                at++;
        for (unsigned kind = 0; kind < SIM_KINDS; kind++)
            for (size_t at = 0; at < side->stream_counts[kind];)
                if (side->streams[kind][at].run == run)
                    drop_stream(side, kind, at);
                else
                    at++;
    }
}

void simulation_model_set_metadata(struct simulation_model *model, enum simulation_side which, uint64_t bytes)
{
    struct simulation_model_side *side = &model->sides[which];
    uint64_t left = bytes < model->options.cache_bytes ? model->options.cache_bytes - bytes : 0;
    side->capacity = left / BLOCK;
    while (side->count > side->capacity)
        take_out(side, victim(side));
}

void simulation_model_reset(struct simulation_model *model)
{
    for (unsigned side = 0; side < SIM_SIDES; side++)
        model->sides[side].totals = (struct simulation_totals){0};
}
