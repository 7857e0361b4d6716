/* Choosing settings of the LSM tree. */
#ifndef STORE_TUNE_H
#define STORE_TUNE_H

#include "store/engine.h"

/* The engine's `tune`; see plsm_tune. */
plsm_status tree_tune(const plsm_workload *workload, plsm_setting *settings, size_t *count);

#endif
