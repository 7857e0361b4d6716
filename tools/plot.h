/* Pictures by gnuplot, which is looked for when one is asked for and is needed for nothing else. */
#ifndef TOOLS_PLOT_H
#define TOOLS_PLOT_H

#include "tools/tool.h"

/* TOOL_OK when a picture can be made into `path`: gnuplot is in PATH, and the name ends in .png or .svg. Otherwise says
 * what is missing, and returns TOOL_ERROR or TOOL_USAGE. To be asked before what is to be drawn is measured. */
enum tool_exit gnuplot_possible(const struct tool *tool, const char *path);

/* Appends `text` as a string of gnuplot, quoted, without control characters. PLSM_NO_MEMORY. */
plsm_status gnuplot_quote(struct buf *script, const char *text);

/* Where an axis from 0 ends that has to show `largest`. (Gnuplot warns when it has to choose for zeros alone.) */
static inline double gnuplot_axis_end(double largest)
{
    return largest > 0 ? 1.1 * largest : 1;
}

/* Runs a script of gnuplot, with its data in it ("$name << EOD"), and writes what it draws into `path`, as PNG or SVG
 * by its suffix, so many pixels large. The script sets neither terminal nor output. What was at `path` stays where
 * drawing fails; that is told, and TOOL_ERROR returned. */
enum tool_exit gnuplot_draw(const struct tool *tool, const char *path, unsigned width, unsigned height,
                            plsm_slice script);
/* The same; `made` is how the making of the script ended, which is freed. */
enum tool_exit gnuplot_draw_made(const struct tool *tool, const char *path, unsigned width, unsigned height,
                                 plsm_status made, struct buf *script);

#endif
