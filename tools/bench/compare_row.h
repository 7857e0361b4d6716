/* What a comparison gives: rows of named figures, for people and for programs. */
#ifndef TOOLS_BENCH_COMPARE_ROW_H
#define TOOLS_BENCH_COMPARE_ROW_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Names of these are in compare_row.c, with what they mean. */
enum figure {
    FIGURE_ROUNDS,
    FIGURE_OPS,
    FIGURE_OPS_PER_S,
    FIGURE_WALL_NS,
    FIGURE_WALL_Q1,
    FIGURE_WALL_Q3,
    FIGURE_CPU_NS,
    FIGURE_CPU_Q1,
    FIGURE_CPU_Q3,
    FIGURE_WALL_RATIO,
    FIGURE_WALL_RATIO_Q1,
    FIGURE_WALL_RATIO_Q3,
    FIGURE_CPU_RATIO,
    FIGURE_CPU_RATIO_Q1,
    FIGURE_CPU_RATIO_Q3,
    FIGURE_PAGES,
    FIGURE_READS,
    FIGURE_READ_BYTES,
    FIGURE_HIT_RATE,
    FIGURE_LEVEL_ACCURACY,
    FIGURE_FILE_ACCURACY,
    FIGURE_BLOCK_ACCURACY,
    FIGURE_FALLBACK_RATE,
    FIGURE_FALSE_POSITIVE_RATE,
    FIGURE_INDEX_BYTES,
    FIGURE_FILTER_BYTES,
    FIGURE_CACHE_BYTES,
    FIGURE_MEMTABLE_BYTES,
    FIGURE_MEMORY_BYTES,
    FIGURE_INDEX_BITS,
    FIGURE_FILTER_BITS,
    FIGURE_FILE_MODEL_BYTES,
    FIGURE_LEVEL_MODEL_BYTES,
    FIGURE_STORE_MODEL_BYTES,
    FIGURE_DISK_BYTES,
    FIGURE_FILES,
    FIGURE_LEVELS,
    FIGURE_TRAIN_NS,
    FIGURE_TRAIN_SHARE,
    FIGURE_FILTER_NS,
    FIGURE_WRITE_AMPLIFICATION,
    FIGURES
};

enum compare_table { TABLE_TIMES, TABLE_WRITES, TABLE_MEMORY, COMPARE_TABLES };

struct compare_row {
    const char *shape, *operation, *mode, *against; /* against: what ratios are over; NULL: nothing */
    uint64_t keys, seed, cache_bytes;
    uint32_t value_bytes;
    enum compare_table table;
    double figures[FIGURES]; /* NAN: not measured */
};

/* No figure measured. */
void compare_row_clear(struct compare_row *row);

/* One object, one line. Figures that were not measured are left out. */
void compare_row_json(const struct compare_row *row);
/* All figures as columns; those not measured are empty. */
void compare_csv_head(FILE *out);
void compare_row_csv(const struct compare_row *row, FILE *out);
/* The row in its table for people. */
void compare_table_head(enum compare_table table);
void compare_row_table(const struct compare_row *row);

#endif
