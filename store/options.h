/* The options of a store: "name=value,name=value", read by a table that also writes the help text. */
#ifndef STORE_OPTIONS_H
#define STORE_OPTIONS_H

#include <stdint.h>

#include "store/plsm.h"

enum store_engine { STORE_ENGINE_LSM };
enum store_index { STORE_INDEX_TRADITIONAL, STORE_INDEX_LEARNED };

/* All are u64 so that one table can fill them; their meaning stands in that table (options.c). */
struct store_options {
    uint64_t engine; /* enum store_engine */
    uint64_t index;  /* enum store_index */
    uint64_t buffer_size, cache_size, size_ratio, file_size;
    uint64_t l0_compact, l0_slowdown, l0_stop;
    uint64_t filter_bits, background, manifest_size;
};

/* Fills in the defaults, then what `text` (may be NULL) says. PLSM_INVALID names the offending option. */
plsm_status store_options_parse(const char *text, struct store_options *out);

const char *store_index_name(const struct store_options *options);

#endif
