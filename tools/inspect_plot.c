/* See inspect_plot.h. */
#include "tools/inspect_plot.h"

#include <math.h>

#include "base/error.h"
#include "tools/inspect.h"

#include "base/banned.h"

enum { POINTS_MAX = 4000, WIDTH = 1000, HEIGHT = 1200 };

struct point {
    uint64_t page, keys; /* keys: in front of it */
    uint64_t code, answer_page;
    double raw_page;
    int64_t error_min, error_max;
    uint32_t segments;
};

void inspect_picture_run(struct inspect_picture *p, const plsm_run_info *run)
{
    const plsm_model_info *m = &run->model;
    p->pages = run->pages;
    p->stride = run->pages / POINTS_MAX + 1;
    p->model = m->type != NULL;
    snprintf(p->title, sizeof p->title, "run %llu on level %u: %llu entries on %llu pages, %s%s",
             (unsigned long long)run->number, run->level, (unsigned long long)run->entries,
             (unsigned long long)run->pages, m->type ? "model " : "no model", m->type ? m->type : "");
}

/* The errors of pages between two points are not lost. */
static void widen(struct point *last, const plsm_page_info *page)
{
    if (page->raw_error_pages_min < last->error_min)
        last->error_min = page->raw_error_pages_min;
    if (page->raw_error_pages_max > last->error_max)
        last->error_max = page->raw_error_pages_max;
    last->segments += page->segments;
}

void inspect_picture_page(struct inspect_picture *p, const plsm_page_info *page)
{
    struct point *last = p->points.size ? (struct point *)(void *)(p->points.data + p->points.size) - 1 : NULL;
    uint64_t keys = p->keys;
    p->keys += page->keys;
    if (page->keys == 0)
        return;
    p->raw |= page->raw;
    if (last && page->page / p->stride == last->page / p->stride) {
        widen(last, page);
        return;
    }
    struct point point = {.page = page->page,
                          .keys = keys,
                          .code = page->code,
                          .answer_page = page->answer_page,
                          .raw_page = page->raw_page,
                          .error_min = page->raw_error_pages_min,
                          .error_max = page->raw_error_pages_max,
                          .segments = page->segments};
    if (buf_append(&p->points, &point, sizeof point) != PLSM_OK)
        p->no_memory = true;
}

/* Columns: page, x of its first key, raw page, corrected page, least and greatest raw error, segments. */
static plsm_status put_points(const struct inspect_picture *p, struct buf *script)
{
    const struct point *points = (const struct point *)(const void *)p->points.data;
    size_t count = p->points.size / sizeof *points;
    double first = count ? (double)points[0].code : 0, span = count ? (double)points[count - 1].code - first : 0;
    TRY(buf_printf(script, "$points << EOD\n"));
    for (size_t i = 0; i < count; i++) {
        const struct point *at = &points[i];
        double x = !p->raw ? (double)at->keys : span > 0 ? ((double)at->code - first) / span : 0;
        TRY(buf_printf(script, "%llu %.9g %.3f %llu %lld %lld %u\n", (unsigned long long)at->page, x, at->raw_page,
                       (unsigned long long)at->answer_page, (long long)at->error_min, (long long)at->error_max,
                       at->segments));
    }
    return buf_printf(script, "EOD\n");
}

/* The largest error in the picture, at least a page. */
static double error_range(const struct inspect_picture *p)
{
    const struct point *points = (const struct point *)(const void *)p->points.data;
    double range = 1;
    for (size_t i = 0; i < p->points.size / sizeof *points; i++) {
        range = fmax(range, fmax(-(double)points[i].error_min, (double)points[i].error_max));
        range = fmax(range, fabs((double)points[i].answer_page - (double)points[i].page));
    }
    return range;
}

static plsm_status make_script(const struct inspect_picture *p, struct buf *script)
{
    double range = error_range(p);
    TRY(put_points(p, script));
    TRY(buf_printf(script, "set multiplot layout %d,1 title ", p->model ? 3 : 1));
    TRY(gnuplot_quote(script, p->title));
    TRY(buf_printf(script, "\nset key above\nset grid\nset tics nomirror\nset ylabel 'page'\n"));
    if (p->raw)
        TRY(buf_printf(script, "set xlabel 'code of the key, from the first key (0) to that of the last page (1)'\n"
                               "plot $points using 2:1 with points pt 7 ps 0.4 title 'first key of a page', "
                               "$points using 2:3 with lines title 'raw prediction', "
                               "$points using 2:($7 > 0 ? $3 : NaN) with points pt 6 ps 1 title 'a segment begins'\n"));
    else
        TRY(buf_printf(script, "set xlabel 'keys in front'\n"
                               "plot $points using 2:1 with lines title 'first key of a page'\n"));
    if (p->model)
        TRY(buf_printf(
            script,
            "set xlabel 'page'\nset ylabel 'predicted page'\nset xrange [0:%llu]\n"
            "plot %s$points using 1:4 with lines title 'corrected'\n"
            "set ylabel 'predicted - actual page'\nset yrange [-%.0f:%.0f]\n"
            "plot %s$points using 1:($4 - $1) with lines lw 2 title 'corrected'\n"
            "unset multiplot\n",
            (unsigned long long)p->pages, p->raw ? "$points using 1:3 with lines lw 3 title 'raw', " : "", range, range,
            p->raw ? "$points using 1:5:6 with filledcurves fs solid 0.4 title 'raw, least to greatest of the keys', "
                     "$points using 1:5 with lines lt 1 notitle, $points using 1:6 with lines lt 1 notitle, "
                   : ""));
    return PLSM_OK;
}

enum tool_exit inspect_picture_draw(const struct tool *tool, const struct inspect_picture *p, const char *path)
{
    struct buf script = {0};
    plsm_status made = p->no_memory ? PLSM_NO_MEMORY : make_script(p, &script);
    return gnuplot_draw_made(tool, path, WIDTH, p->model ? HEIGHT : HEIGHT / 3, made, &script);
}

void inspect_picture_free(struct inspect_picture *p)
{
    buf_free(&p->points);
}
