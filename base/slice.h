/* A slice: bytes that somebody else owns. */
#ifndef PLSM_SLICE_H
#define PLSM_SLICE_H

#include <stddef.h>

/* `size` bytes at `data`; `data` may be NULL when `size` is 0. A slice never owns: each function that takes or returns
 * one says how long the bytes stay valid. */
typedef struct plsm_slice {
    const void *data;
    size_t size;
} plsm_slice;

#endif
