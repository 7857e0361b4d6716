/* The learned index of a run: key -> page, exact for every key that is in the run.
 *
 * Blueprint section 5: (1) the common prefix is cut, (2) the next bytes are mapped monotonically to a 64-bit code with
 * a per-position alphabet (mixed radix; a byte outside the alphabet sends all later digits to 0, one above the maximum
 * saturates them), integers only, one function for training and reading, (3) a piecewise linear model over the codes
 * of page borders with a generous error, (4) a small correction per page, so that the first answer is the exact page
 * for every key between the border keys that were given; (5) borders whose codes collide are told apart by their
 * separator keys.
 * Where that would be larger than front-coded separators the model is those separators (type MODEL_SEPARATORS).
 *
 * The serialized form is the run's LIDX block; its layout stands at the top of model.c. */
#ifndef LEARN_MODEL_H
#define LEARN_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

enum model_type {
    MODEL_PLR = 1,        /* piecewise linear with corrections */
    MODEL_SEPARATORS = 2, /* front-coded separators: codes would not be smaller */
};

/* --- training: one call per page, in order, while the run is written --- */
struct model_builder;
struct model_builder *model_builder_create(void); /* NULL: no memory */
void model_builder_destroy(struct model_builder *b); /* accepts NULL */
/* A new page starts with key `first`; `last` is the last key of the page before it (empty for page 0). `last` may equal
 * `first` where versions of one key straddle the border: then the page before is the right answer for that key. */
plsm_status model_builder_add(struct model_builder *b, plsm_slice last, plsm_slice first);
/* The last key of the run and how many entries it has; then appends the LIDX block (magic, version, checksum included)
 * to `out`. `wall_ns` is the training timestamp it records. */
plsm_status model_builder_finish(struct model_builder *b, plsm_slice last, uint64_t entries, uint64_t wall_ns,
                                 struct buf *out);

/* --- reading --- */
struct model;
struct model_answer {
    uint32_t page;
    bool learned; /* by the model's arithmetic alone; false: through separator keys */
};
/* Parses; copies what it needs. PLSM_CORRUPT (checksum, structure) or PLSM_VERSION (a future version): the caller then
 * serves the run by its fences and counts a fallback. */
plsm_status model_open(plsm_slice bytes, struct model **out);
void model_close(struct model *m); /* accepts NULL */
/* The page on which `key` starts if it is in the run; for other keys some page nearby, never beyond the last. The
 * caller verifies that the page encloses the key. Safe from any thread. */
struct model_answer model_find(const struct model *m, plsm_slice key);

struct model_info {
    enum model_type type;
    uint32_t pages, segments, ambiguous_borders, error_pages;
    uint64_t training_samples, trained_wall_ns, train_ns;
    /* Parts per million: border keys, and pages with all their keys, that the arithmetic alone answers rightly. */
    uint32_t training_accuracy_ppm, validation_accuracy_ppm;
    size_t memory_bytes, block_bytes;
};
void model_get_info(const struct model *m, struct model_info *out);

#endif
