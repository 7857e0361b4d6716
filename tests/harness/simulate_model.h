/* A naive simulation: lists that are searched from end to end. What lsm/simulate is compared with. */
#ifndef TESTS_HARNESS_SIMULATE_MODEL_H
#define TESTS_HARNESS_SIMULATE_MODEL_H

#include "lsm/simulate.h"

enum { SIMULATION_MODEL_FRAMES = 300, SIMULATION_MODEL_BATCH = 64 };

struct simulation_model_stream {
    uint64_t run, next;
};

struct simulation_model_side {
    struct simulation_model_frame {
        uint64_t run, block;
        bool marked;
    } frames[SIMULATION_MODEL_FRAMES];
    size_t count, capacity, hand;
    /* The most recently used first. */
    struct simulation_model_stream streams[SIM_KINDS][SIMULATION_STREAMS];
    size_t stream_counts[SIM_KINDS];
    struct simulation_totals totals;
};

struct simulation_model {
    struct simulation_options options;
    struct simulation_model_side sides[SIM_SIDES];
};

/* As the functions of lsm/simulate.h; caches of at most SIMULATION_MODEL_FRAMES blocks, batches of at most
 * SIMULATION_MODEL_BATCH. */
void simulation_model_init(struct simulation_model *model, const struct simulation_options *options);
void simulation_model_read(struct simulation_model *model, enum simulation_side side,
                           const struct simulation_place *places, size_t count, enum simulation_kind kind);
void simulation_model_write(struct simulation_model *model, uint64_t bytes);
void simulation_model_forget(struct simulation_model *model, uint64_t run);
void simulation_model_set_metadata(struct simulation_model *model, enum simulation_side side, uint64_t bytes);
void simulation_model_reset(struct simulation_model *model);

#endif
