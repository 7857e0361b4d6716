/* What reading and training a classifier must agree on; the layout stands at the top of classifier.c. Private. */
#ifndef LEARN_CLASSIFIER_FORMAT_H
#define LEARN_CLASSIFIER_FORMAT_H

enum {
    CLASSIFIER_FORMAT = 1,
    CLASSIFIER_HEADER_SIZE = 4,
    CLASSIFIER_CELL_BITS_MIN = 10,
    CLASSIFIER_CELL_BITS_MAX = 13,
    CLASSIFIER_WEIGHT_MAX = 64,
};

#endif
