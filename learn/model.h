/* The learned index of a run: key -> page, exact for every key that is in the run.
 *
 * Two families, chosen per run by size and by measured time (or as told):
 *
 * Codes (blueprint section 5), for keys that are numbers in some writing, random, hashed: (1) the common prefix is cut,
 * (2) the next bytes are mapped monotonically to a 64-bit code with a per-position alphabet (codes.h), integers only,
 * one function for training and reading, (3) a model over the codes of page borders says about where: a straight line,
 * a piecewise linear model or a neural network, (4) a small correction per page makes the first answer the exact page
 * for every key between the border keys that were given (plr.h); (5) borders whose codes are equal are told apart by
 * the second words of their codes (ties.h), and the few that those do not tell apart by their separator keys.
 *
 * A trie of single byte tests (trie.h), for keys that share long prefixes of many lengths, as words and paths do. It is
 * exact for the keys it was trained on; for other strings it answers some page, and model_edge finds the right one.
 *
 * The serialized form is the run's LIDX block; its layout stands at the top of model.c. */
#ifndef LEARN_MODEL_H
#define LEARN_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "learn/codes.h"
#include "learn/plr.h"
#include "learn/trie.h"

enum model_type {
    MODEL_AUTO, /* as a wish: the smallest that is not slow. Not in a block */
    MODEL_LINEAR,
    MODEL_PLR,
    MODEL_NEURAL,
    MODEL_TRIE,
    MODEL_TYPES,
};
const char *model_type_name(enum model_type type); /* "auto", "linear", ...; static */

/* What a model must keep to, or none is made. */
struct model_wish {
    enum model_type type;     /* where the keys do not allow it, what comes next to it: linear, plr, trie */
    size_t metadata_max;      /* bytes of what does not grow with the pages: header, alphabets, segments or weights */
    size_t memory_max;        /* bytes of memory, all in all: where the traditional index is smaller, it serves */
    uint32_t error_pages_max; /* how far the raw prediction, in front of its correction, may be off */
};

/* --- training, while the run is written --- */
struct model_builder;
struct model_builder *model_builder_create(void);    /* NULL: no memory */
void model_builder_destroy(struct model_builder *b); /* accepts NULL */
/* The next key of the run; further versions of the key before are not told. `shared` is how many bytes it shares with
 * that one. The bytes need not stay. PLSM_INVALID when it is not above the one before, as far as `shared` tells. */
plsm_status model_builder_key(struct model_builder *b, plsm_slice key, size_t shared);
/* The page ends; `last` is its last key. It may hold no key that was not told before, only versions of one. */
plsm_status model_builder_page(struct model_builder *b, plsm_slice last);
/* Behind the last page: appends the LIDX block (magic, version, checksum included) to `out`. `entries` of the run, and
 * `wall_ns`, when it was trained, are recorded. *built false: nothing keeps to the wish, nothing was appended. */
plsm_status model_builder_finish(struct model_builder *b, const struct model_wish *wish, uint64_t entries,
                                 uint64_t wall_ns, struct buf *out, bool *built);

/* --- reading --- */
struct model;
/* Parses; copies what it needs. PLSM_CORRUPT (checksum, structure) or PLSM_VERSION (another version of the format): the
 * caller then serves the run by its fences and counts a fallback. */
plsm_status model_open(plsm_slice bytes, struct model **out);
void model_close(struct model *m); /* accepts NULL */

struct model_answer {
    uint32_t page;
    bool learned; /* by the model alone; false: through separator keys */
};

/* An answer in the making, for those who have other things to do while the cache lines come. */
struct model_probe {
    union {
        struct plr_probe plr;
        struct trie_probe trie;
    };
    enum code_state state;
    bool decided;   /* `guess` is the answer */
    uint32_t guess; /* about the page */
    uint32_t reach; /* the answer is at most about so many pages from there */
};
/* What arithmetic says at once; fetches what model_end will read. */
void model_begin(const struct model *m, plsm_slice key, struct model_probe *probe);
/* The page on which `key` starts if it is in the run; for other keys some page, never beyond the last. The caller
 * verifies that the page encloses the key. Safe from any thread. */
struct model_answer model_end(const struct model *m, plsm_slice key, const struct model_probe *probe);
struct model_answer model_find(const struct model *m, plsm_slice key); /* both in one */
/* About where on the page that model_end gave the key is: in 1 / MODEL_WITHIN of its keys, as far as they are spread
 * evenly over it; a hint for what to bring towards the cache. False: the model cannot tell. */
enum { MODEL_WITHIN = PLR_WITHIN };
bool model_within(const struct model *m, const struct model_probe *probe, uint32_t page, unsigned *within);

/* Where to look for a key that is not on the page that was answered (MODEL_TRIE only; other types answer near the right
 * page at once). model_leaf is the same for some keys of that page as for the key, and ascends with the keys of the
 * run; `shared` bytes are common to the key and any one of them, `above`: the key is the greater one. Returns the page
 * such that all pages in front hold smaller keys only, and all behind greater ones only. */
uint64_t model_leaf(const struct model *m, plsm_slice key);
uint32_t model_edge(const struct model *m, plsm_slice key, size_t shared, bool above);

struct model_info {
    enum model_type type;
    uint32_t pages, segments, units, exceptions, ties, separators, nodes;
    uint32_t skips; /* pages on which no key begins: they have no border */
    uint32_t dimensions, parameters;
    uint32_t error_pages; /* how far the raw prediction may be off: half the window */
    uint64_t training_samples, trained_wall_ns, updated_wall_ns, train_ns;
    uint32_t find_ns_times_16; /* of a lookup, measured at training with everything in the cache */
    /* Parts per million: border keys, and pages with all their keys, that the model alone answers rightly. */
    uint32_t training_accuracy_ppm, validation_accuracy_ppm;
    size_t memory_bytes;   /* it occupies */
    size_t metadata_bytes; /* of it: what does not grow with the pages */
    size_t block_bytes;    /* on disk */
};
void model_get_info(const struct model *m, struct model_info *out);
/* How far a key is by the raw prediction, in pages times 2^16; false where the model makes none (MODEL_TRIE). *code is
 * the number that the model was fed. For those who study it. */
bool model_raw_position(const struct model *m, plsm_slice key, uint64_t *code, uint64_t *position);
/* The code from which on segment `number` predicts; false when there are not so many. Likewise for study. */
bool model_segment(const struct model *m, uint32_t number, uint64_t *code);

#endif
