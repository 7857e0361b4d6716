/* What `plsm bench engines` tells: tables for people, lines of JSON, CSV, pictures. */
#ifndef TOOLS_BENCH_SUITE_REPORT_H
#define TOOLS_BENCH_SUITE_REPORT_H

#include <stdio.h>

#include "tools/bench/suite.h"

/* The command, the machine and what holds for all parts. */
void suite_tell_conditions(const struct suite *suite);
/* The figures of a job that has been measured; `first` of its part: what they mean too. `csv` may be NULL. */
void suite_tell_job(const struct suite *suite, const struct suite_job *job, bool first, FILE *csv);
/* Which engine is for which work, all from the figures; which cells of seed 003 are beaten. */
void suite_tell_conclusion(const struct suite *suite);

/* What should be reached, of what was measured: met or not. */
void suite_tell_limits(const struct suite *suite);

/* How an engine stands in a kind of work. */
struct standing {
    uint32_t figures;                     /* that count for it, and that some engine has */
    double behind[SUITE_CONTENDERS_MAX];  /* the mean of how many times more it takes than the best; NAN: it has none */
    int best, second;                     /* contenders; -1: none */
};
/* Of contenders that make each write safe by itself, so that all promise the same. */
void suite_standing(const struct suite *suite, enum work work, struct standing *out);
/* The winner of a figure among the same. */
struct winner suite_winner(const struct suite *suite, const struct suite_job *job, uint32_t figure);

enum { FIGURE_TEXT_SIZE = 32 };
/* "0.123", "12.3", "12345", "-": three digits or more. Returns out. */
char *suite_figure_text(char out[FIGURE_TEXT_SIZE], double value);

/* One picture for each job, and one for each figure of scaling, in the directory --plot. TOOL_OK when they can be
 * made: gnuplot is there, and so is the directory, or it is made now. */
enum tool_exit suite_plot_possible(const struct tool *tool, const char *directory);
enum tool_exit suite_plot(const struct tool *tool, const struct suite *suite);

#endif
