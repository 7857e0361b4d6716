/* One line, redrawn in place: a carriage return before it, "erase to the end of line" (ECMA-48 EL) behind it. */
#include "tools/progress.h"

#include <stdio.h>
#include <unistd.h>

#include "base/env.h"
#include "tools/text.h"

#include "base/banned.h"

enum { BAR_WIDTH = 24 };
/* Work that is over within a second needs no line; more than five redraws a second only flicker. */
static const uint64_t FIRST_NS = 1000000000, INTERVAL_NS = 200000000;

void progress_start(struct progress *progress, const char *what, uint64_t total, bool in_bytes)
{
    uint64_t now = env_now_ns(env_posix());
    *progress = (struct progress){.what = what,
                                  .total = total,
                                  .start_ns = now,
                                  .next_ns = now + FIRST_NS,
                                  .in_bytes = in_bytes,
                                  .enabled = isatty(STDERR_FILENO) == 1};
}

double progress_seconds(const struct progress *progress)
{
    return (double)(env_now_ns(env_posix()) - progress->start_ns + 1) / 1e9;
}

/* Rates are means since the start: steadier than those of the last interval, so the ETA does not jump. */
static void show(struct progress *progress)
{
    char amount[TEXT_NUMBER_SIZE], rate[TEXT_NUMBER_SIZE], eta[TEXT_NUMBER_SIZE], bar[BAR_WIDTH + 1];
    double per_second = (double)progress->done / progress_seconds(progress);
    if (progress->in_bytes) {
        text_bytes(amount, progress->done);
        text_bytes(rate, (uint64_t)per_second);
    } else {
        text_count(amount, (double)progress->done);
        text_count(rate, per_second);
    }
    if (progress->total == 0) {
        fprintf(stderr, "\r%s  %s  %s/s\033[K", progress->what, amount, rate);
    } else {
        uint64_t done = progress->done < progress->total ? progress->done : progress->total;
        double fraction = (double)done / (double)progress->total;
        for (int i = 0; i < BAR_WIDTH; i++)
            bar[i] = i < (int)(fraction * BAR_WIDTH) ? '#' : '.';
        bar[BAR_WIDTH] = '\0';
        if (per_second >= 1)
            text_duration(eta, (uint64_t)((double)(progress->total - done) / per_second + 0.5));
        else
            snprintf(eta, sizeof eta, "-:--");
        fprintf(stderr, "\r%s [%s] %3.0f %%  %s  %s/s  ETA %s\033[K", progress->what, bar, fraction * 100, amount, rate,
                eta);
    }
    fflush(stderr);
    progress->shown = true;
}

void progress_update(struct progress *progress, uint64_t done)
{
    progress->done = done;
    if (!progress->enabled)
        return;
    uint64_t now = env_now_ns(env_posix());
    if (now < progress->next_ns)
        return;
    progress->next_ns = now + INTERVAL_NS;
    show(progress);
}

void progress_end(struct progress *progress)
{
    if (progress->shown) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
    }
    progress->shown = false;
    progress->enabled = false;
}
