/* Random edits of a few keys, several of them open at once, against arrays of bytes in memory. */
#ifndef TESTS_EDIT_MODEL_H
#define TESTS_EDIT_MODEL_H

#include "store_fixture.h"

#include "base/random.h"

enum {
    MODEL_KEYS = 4,
    MODEL_EDITS = 3,
    MODEL_SIZE_MAX = 1500000, /* more pieces than an edit has buffers */
};

struct model_value {
    bool present;
    uint8_t *data; /* MODEL_SIZE_MAX bytes; zeros behind `size` */
    size_t size;
    uint8_t meta;
    bool large;      /* kept in pieces */
    uint32_t pieces; /* a bit for each that is there */
};

struct model_edit {
    plsm_edit *edit; /* NULL: closed */
    int key;
    struct model_value value; /* as seen through it */
};

struct edit_model {
    plsm *db;
    struct random random;
    size_t size_max; /* at most MODEL_SIZE_MAX */
    struct model_value keys[MODEL_KEYS];
    struct model_edit edits[MODEL_EDITS];
    bool changed; /* the last step published something */
    bool synced;  /* and synced it */
    uint64_t committed_large;
};

/* What all keys hold, in few bytes. */
struct model_digest {
    struct {
        uint64_t sum, size, stored;
        uint8_t present, meta;
    } keys[MODEL_KEYS];
};

void edit_model_create(struct edit_model *model, plsm *db, uint64_t seed, size_t size_max);
void edit_model_destroy(struct edit_model *model); /* closes what is open */
/* One random operation, on the store and here; reads compare. */
void edit_model_step(struct edit_model *model);
/* Every key of the store holds what it should. */
void edit_model_verify(struct edit_model *model);
const char *edit_model_key(int key);
struct model_digest edit_model_digest(const struct edit_model *model);
/* The same of a store. */
struct model_digest edit_store_digest(plsm *db);

#endif
