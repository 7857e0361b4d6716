#include "tools/bench/plot.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"

#include "base/banned.h"

struct plot {
    char directory[PATH_MAX - 128];
    const char *reference;
    struct compare_row *rows; /* their texts are static, save for shapes: those are of the table of shapes */
    size_t count, capacity;
    bool lost; /* a row, for want of memory */
};

extern char **environ;

/* Runs gnuplot with one argument; its exit code, or -1 when it could not be started. */
static int run_gnuplot(char *argument)
{
    char name[] = "gnuplot";
    char *arguments[] = {name, argument, NULL};
    posix_spawn_file_actions_t actions;
    pid_t pid = 0;
    int status = 0;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    int error = posix_spawnp(&pid, name, &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0 || waitpid(pid, &status, 0) != pid)
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

plsm_status plot_create(const char *directory, const char *reference, struct plot **out)
{
    char version[] = "--version";
    *out = NULL;
    if (run_gnuplot(version) != 0)
        return fail(PLSM_UNSUPPORTED, "--plot needs gnuplot, which is not there (Debian: gnuplot-nox)");
    struct plot *plot = mem_zalloc(sizeof *plot);
    if (!plot)
        return fail(PLSM_NO_MEMORY, "no memory for pictures");
    plot->reference = reference;
    int size = snprintf(plot->directory, sizeof plot->directory, "%s", directory);
    if (size >= (int)sizeof plot->directory || (mkdir(directory, 0777) < 0 && errno != EEXIST)) {
        plot_destroy(plot);
        return fail_errno(errno, directory, "make the directory");
    }
    *out = plot;
    return PLSM_OK;
}

void plot_destroy(struct plot *plot)
{
    if (!plot)
        return;
    mem_free(plot->rows);
    mem_free(plot);
}

void plot_add(struct plot *plot, const struct compare_row *row)
{
    if (plot->count == plot->capacity) {
        size_t capacity = plot->capacity ? 2 * plot->capacity : 64;
        struct compare_row *grown = mem_realloc(plot->rows, capacity * sizeof *grown);
        plot->lost = plot->lost || !grown;
        if (!grown)
            return;
        plot->rows = grown;
        plot->capacity = capacity;
    }
    plot->rows[plot->count++] = *row;
}

/* --- data --------------------------------------------------------------------------------------------------------- */

enum { NAMES_MAX = 64 };

/* Names in the order in which they first came. */
struct names {
    const char *list[NAMES_MAX];
    int count;
};

static void add_name(struct names *names, const char *name)
{
    for (int i = 0; i < names->count; i++)
        if (strcmp(names->list[i], name) == 0)
            return;
    if (names->count < NAMES_MAX)
        names->list[names->count++] = name;
}

/* A picture: rows with this many keys. */
struct picture {
    const struct plot *plot;
    uint64_t keys;
    char base[PATH_MAX]; /* of its files, without the ending */
};

static bool is_of(const struct picture *p, const struct compare_row *row)
{
    return row->keys == p->keys;
}

static bool has_ratio(const struct picture *p, const struct compare_row *row)
{
    return is_of(p, row) && !isnan(row->figures[FIGURE_CPU_RATIO]) && row->against &&
           strcmp(row->against, p->plot->reference) == 0 && strcmp(row->mode, row->against) != 0;
}

static FILE *open_file(const struct picture *p, const char *ending)
{
    char path[PATH_MAX + 16];
    snprintf(path, sizeof path, "%s.%s", p->base, ending);
    return fopen(path, "w");
}

static plsm_status close_file(const struct picture *p, FILE *file)
{
    bool failed = !file || ferror(file);
    if ((file && fclose(file) != 0) || failed)
        return fail_errno(errno ? errno : EIO, p->base, "write");
    return PLSM_OK;
}

static double ratio_of(const struct picture *p, const char *operation, const char *shape, const char *mode)
{
    for (size_t i = 0; i < p->plot->count; i++) {
        const struct compare_row *row = &p->plot->rows[i];
        if (has_ratio(p, row) && strcmp(row->operation, operation) == 0 && strcmp(row->shape, shape) == 0 &&
            strcmp(row->mode, mode) == 0)
            return row->figures[FIGURE_CPU_RATIO];
    }
    return NAN;
}

/* A line for each operation, a column for each shape and mode. */
static plsm_status write_ratios(const struct picture *p, int *columns)
{
    struct names operations = {0}, sets = {0}, modes = {0};
    FILE *out = open_file(p, "dat");
    for (size_t i = 0; i < p->plot->count; i++)
        if (has_ratio(p, &p->plot->rows[i])) {
            add_name(&operations, p->plot->rows[i].operation);
            add_name(&sets, p->plot->rows[i].shape);
            add_name(&modes, p->plot->rows[i].mode);
        }
    *columns = sets.count * modes.count;
    if (out) {
        fputs("operation", out);
        for (int m = 0; m < modes.count; m++)
            for (int s = 0; s < sets.count; s++)
                fprintf(out, " \"%s, %s\"", sets.list[s], modes.list[m]);
        for (int o = 0; o < operations.count; o++) {
            fprintf(out, "\n%s", operations.list[o]);
            for (int m = 0; m < modes.count; m++)
                for (int s = 0; s < sets.count; s++) {
                    double ratio = ratio_of(p, operations.list[o], sets.list[s], modes.list[m]);
                    isnan(ratio) ? fputs(" ?", out) : fprintf(out, " %.4f", ratio);
                }
        }
        fputc('\n', out);
    }
    return close_file(p, out);
}

/* A line for each shape and mode: bytes of memory a key, by part. The cache holds what it is told to: it is no part. */
static plsm_status write_memory(const struct picture *p, int *columns)
{
    FILE *out = open_file(p, "dat");
    *columns = 0;
    if (out) {
        fputs("set index filters memtables\n", out);
        for (size_t i = 0; i < p->plot->count; i++) {
            const struct compare_row *row = &p->plot->rows[i];
            if (!is_of(p, row) || row->table != TABLE_MEMORY)
                continue;
            double keys = (double)row->keys;
            *columns = 3;
            fprintf(out, "\"%s, %s\" %.4f %.4f %.4f\n", row->shape, row->mode, row->figures[FIGURE_INDEX_BYTES] / keys,
                    row->figures[FIGURE_FILTER_BYTES] / keys, row->figures[FIGURE_MEMTABLE_BYTES] / keys);
        }
    }
    return close_file(p, out);
}

/* --- drawing ------------------------------------------------------------------------------------------------------ */

/* A path for a script of gnuplot: it doubles the quotes in it. */
static void quote(FILE *out, const char *path)
{
    fputc('\'', out);
    for (; *path; path++)
        fprintf(out, *path == '\'' ? "''" : "%c", *path);
    fputc('\'', out);
}

static plsm_status draw(const struct picture *p, const char *title, const char *label, const char *style, int columns)
{
    static const char *const kinds[][2] = {{"pngcairo size 1600,800", ".png"}, {"svg size 1600,800", ".svg"}};
    char script[PATH_MAX + 16];
    if (columns == 0)
        return PLSM_OK;
    FILE *out = open_file(p, "gnuplot");
    if (out) {
        fprintf(out, "set title \"%s\"\nset ylabel \"%s\"\nset style data histograms\n%s\n", title, label, style);
        fprintf(out, "do for [i=1:%d] { set linetype i linecolor rgb hsv2rgb((i - 1) / %d., 0.65, 0.9) }\n",
                columns + 1, columns);
        fputs("set style fill solid 0.8 border -1\nset boxwidth 0.9\nset grid y\nset yrange [0:*]\n"
              "set datafile missing \"?\"\nset xtics rotate by -35 noenhanced\nset key outside noenhanced\n",
              out);
        for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++) {
            fprintf(out, "set terminal %s\nset output ", kinds[kind][0]);
            char path[PATH_MAX + 16];
            snprintf(path, sizeof path, "%s%s", p->base, kinds[kind][1]);
            quote(out, path);
            fprintf(out, "\nplot for [i=2:%d] ", columns + 1);
            snprintf(path, sizeof path, "%s.dat", p->base);
            quote(out, path);
            fputs(" using i:xtic(1) title columnheader(i)\n", out);
        }
    }
    TRY(close_file(p, out));
    snprintf(script, sizeof script, "%s.gnuplot", p->base);
    if (run_gnuplot(script) != 0)
        return fail(PLSM_IO, "gnuplot could not draw %s; standard error says why", script);
    return PLSM_OK;
}

static plsm_status draw_keys(const struct plot *plot, uint64_t keys)
{
    struct picture p = {.plot = plot, .keys = keys};
    char title[256];
    int columns = 0;
    snprintf(p.base, sizeof p.base, "%s/time-%llu", plot->directory, (unsigned long long)keys);
    TRY(write_ratios(&p, &columns));
    snprintf(title, sizeof title, "processor time over that of %s, %llu keys: below 1 is faster", plot->reference,
             (unsigned long long)keys);
    TRY(draw(&p, title, "ratio",
             "set style histogram clustered gap 1\nset arrow from graph 0, first 1 to graph 1, "
             "first 1 nohead front",
             columns));
    snprintf(p.base, sizeof p.base, "%s/memory-%llu", plot->directory, (unsigned long long)keys);
    TRY(write_memory(&p, &columns));
    snprintf(title, sizeof title, "memory beside the cache, %llu keys", (unsigned long long)keys);
    return draw(&p, title, "bytes per key", "set style histogram rowstacked", columns);
}

plsm_status plot_draw(struct plot *plot)
{
    if (plot->lost)
        return fail(PLSM_NO_MEMORY, "no memory for pictures");
    for (size_t i = 0; i < plot->count; i++) {
        bool drawn = false;
        for (size_t j = 0; j < i; j++)
            drawn = drawn || plot->rows[j].keys == plot->rows[i].keys;
        if (!drawn)
            TRY(draw_keys(plot, plot->rows[i].keys));
    }
    return PLSM_OK;
}
