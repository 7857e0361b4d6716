/* The picture of a run: where its keys lie, and where its model puts them. */
#ifndef TOOLS_INSPECT_PLOT_H
#define TOOLS_INSPECT_PLOT_H

#include "tools/tool.h"

/* Zero it to start. */
struct inspect_picture {
    char title[160];
    uint64_t pages;
    uint64_t stride;   /* pages that one point stands for */
    uint64_t keys;     /* in front of the page to come */
    bool raw, model;   /* there is a raw prediction; a model at all */
    struct buf points; /* struct point each */
    bool no_memory;
};

void inspect_picture_run(struct inspect_picture *p, const plsm_run_info *run);
/* Every page of that run, in order. */
void inspect_picture_page(struct inspect_picture *p, const plsm_page_info *page);
enum tool_exit inspect_picture_draw(const struct tool *tool, const struct inspect_picture *p, const char *path);
void inspect_picture_free(struct inspect_picture *p);

#endif
