/* Which keys are asked for. */
#ifndef TOOLS_BENCH_CHOICE_H
#define TOOLS_BENCH_CHOICE_H

#include "base/random.h"
#include "tools/bench/probe.h"
#include "tools/bench/zipf.h"

enum choice_kind {
    CHOICE_UNIFORM,    /* any key that is there, all alike */
    CHOICE_ZIPF,       /* some far more often than others (s = 0.99, as YCSB), spread over all keys */
    CHOICE_HOT,        /* one in a hundred of the keys, all alike, spread over all keys */
    CHOICE_SEQUENTIAL, /* in the order of keys, from a store that has them */
    CHOICE_ABSENT,     /* keys that are not there, of one kind */
    CHOICE_LIST,       /* given ones, all alike */
};
enum { CHOICE_HOT_OF = 100 };

struct choice {
    enum choice_kind kind;
    enum shape_absent way; /* of CHOICE_ABSENT */
    const uint32_t *list;  /* of CHOICE_LIST: indexes of keys; not owned */
    uint64_t list_count;
    plsm_iterator *it; /* of CHOICE_SEQUENTIAL: over all keys that are there; owned */
    struct random random;
    struct zipf zipf;
};

/* The choice of a kind; the fields of that kind are the caller's to fill in. */
void choice_init(struct choice *choice, enum choice_kind kind, const struct data *data, uint64_t seed);
void choice_free(struct choice *choice);
/* Replaces the questions by the next `count`, with the right answers. */
plsm_status choice_fill(struct choice *choice, const struct data *data, uint64_t count, struct questions *q);

#endif
