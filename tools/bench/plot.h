/* Pictures of a comparison, by gnuplot, which need not be there otherwise. */
#ifndef TOOLS_BENCH_PLOT_H
#define TOOLS_BENCH_PLOT_H

#include "base/status.h"
#include "tools/bench/compare_row.h"

struct plot;

/* Looks whether gnuplot is there, and makes `directory` if need be. PLSM_UNSUPPORTED: there is none. */
plsm_status plot_create(const char *directory, const char *reference, struct plot **out);
void plot_destroy(struct plot *plot); /* accepts NULL */
void plot_add(struct plot *plot, const struct compare_row *row);
/* Writes into the directory, as PNG and as SVG: time-KEYS, the ratios of each operation and shape, and memory-KEYS,
 * what each shape takes by part; the data and the scripts of gnuplot beside them. */
plsm_status plot_draw(struct plot *plot);

#endif
