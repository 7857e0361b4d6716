/* Codes to ranks: a model of the borders between pages (borders.h), made exact. The model itself says about where: a
 * straight line, a piecewise linear function, or a neural network. Private to learn/. */
#ifndef LEARN_PLR_H
#define LEARN_PLR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "learn/borders.h"
#include "learn/network.h"

/* What the raw prediction is made by. */
enum plr_shape {
    PLR_LINE,     /* one straight line */
    PLR_SEGMENTS, /* as many as pay */
    PLR_NETWORK,  /* a neural network (network.h) */
};

/* What a model must keep to. */
struct plr_limits {
    size_t segment_bytes_max; /* of all segments */
    uint32_t error_pages_max; /* how far the prediction may be off */
};
/* Fits the best model of a shape within limits and appends its serialized form (layout in plr.c) to `out`.
 * PLSM_TOO_LARGE when the shape cannot follow these borders so (then nothing is appended and no message set), or
 * PLSM_NO_MEMORY. */
plsm_status plr_train(const struct plr_borders *borders, enum plr_shape shape, const struct plr_limits *limits,
                      struct buf *out);

/* What is asked of one segment stands together: a lookup touches two cache lines of them, as a rule. */
struct plr_segment {
    uint64_t start; /* the first code; ascending */
    uint64_t base;  /* the fine position there; never descending */
    uint32_t slope; /* fine positions per code, times 2^shift */
    uint8_t shift;
};

struct plr {
    uint32_t borders, segments, exceptions;
    bool is_network; /* then there are no segments */
    unsigned window_log2;  /* the prediction is right within half of 2^window_log2 pages to either side */
    unsigned cut_bits;     /* per border: where in its window it is */
    uint32_t window;       /* 2^window_log2 pages */
    uint32_t cut_mask;     /* cut_bits ones */
    unsigned fine_shift;   /* fine positions >> this are what cuts are in */
    unsigned page_shift;   /* what cuts are in >> this is pages */
    unsigned bucket_shift; /* (code - starts[0]) >> this is the bucket to look for the segment in */
    uint32_t buckets;
    uint32_t search_stride;          /* a power of two; no bucket has as many as twice this many segments */
    uint8_t *memory;                 /* owns everything below */
    const struct plr_segment *segment; /* all of them, and one behind of which only the base counts */
    const uint32_t *bucket_first;      /* per bucket and one behind: how many segments start in front of it */
    const uint8_t *cuts;               /* cut_bits each, packed, padded by 8 bytes */
    const uint64_t *exception_codes;   /* the code from which on border exception_borders[i] is behind us */
    const uint32_t *exception_borders;
    struct network network;
    size_t memory_size;
    size_t correction_bytes; /* serialized: cuts and exceptions, which grow with the pages */
};

/* Reads a serialized model at *at and moves *at behind it. PLSM_CORRUPT, PLSM_NO_MEMORY. Give back with plr_free. */
plsm_status plr_parse(const uint8_t **at, const uint8_t *end, struct plr *out);
void plr_free(struct plr *p);           /* accepts a zeroed one */
size_t plr_memory(const struct plr *p); /* bytes it occupies */

/* A rank in the making: what arithmetic alone says. */
struct plr_probe {
    uint64_t code, step; /* step: the position in the unit of cuts */
    uint64_t low, high;  /* the rank is one of these or between */
};
/* Predicts, and brings the cuts that decide towards the cache. */
void plr_begin(const struct plr *p, uint64_t code, struct plr_probe *probe);
/* The rank: at least j for codes from high of border j on, below j for codes up to its low. In between it may be
 * either. Never above p->borders. */
uint32_t plr_end(const struct plr *p, const struct plr_probe *probe);
uint32_t plr_rank(const struct plr *p, uint64_t code); /* both in one */
/* How far behind border `rank`, which plr_end gave for the probe, the position is on the way to the next border: from 0
 * to PLR_WITHIN - 1 parts of it. Where keys are spread evenly between two borders, so many of them are in front. */
enum { PLR_WITHIN = 256 };
unsigned plr_within(const struct plr *p, const struct plr_probe *probe, uint32_t rank);
/* The prediction without its correction, for those who study it: pages, times 2^16. */
uint64_t plr_raw_position(const struct plr *p, uint64_t code);

#endif
