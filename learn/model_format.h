/* Offsets in the LIDX block, whose layout stands at the top of model.c. Private to model.c and model_build.c. */
#ifndef LEARN_MODEL_FORMAT_H
#define LEARN_MODEL_FORMAT_H

enum {
    MODEL_MAGIC = 'L' | 'I' << 8 | 'D' << 16 | 'X' << 24,
    MODEL_FORMAT = 2,
    MODEL_VERSION = 4,
    MODEL_TYPE = 8,
    MODEL_DIMENSIONS = 12,
    MODEL_PARAMETERS = 16,
    MODEL_PAGES = 20,
    MODEL_SAMPLES = 24,
    MODEL_TRAINING_ACCURACY = 32,
    MODEL_VALIDATION_ACCURACY = 36,
    MODEL_TRAINED_WALL_NS = 40,
    MODEL_UPDATED_WALL_NS = 48,
    MODEL_TRAINING_NS = 56,
    MODEL_FIND_NS = 64,
    MODEL_SKIPS = 68,
    MODEL_METADATA = 72,
    MODEL_RESERVED = 76,
    MODEL_BODY_SIZE = 80,
    MODEL_HEADER_SIZE = 88,
    MODEL_CHECKSUM_SIZE = 8,
};

#endif
