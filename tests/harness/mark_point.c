/* libcheck notes in a file, with a system call or two, that an assertion held: so that after a crash it can say which
 * one was passed last. A test with millions of assertions takes most of its time for that, so this notes the first,
 * second, fourth, eighth, ... time at a line only; the line told after a crash may be one passed some time before.
 * Linked in front of libcheck's function by --wrap (Makefile). */
#include <check.h>
#include <stdatomic.h>

#include "base/banned.h"

enum { LINES = 1024 };

void __real__mark_point(const char *file, int line);
void __wrap__mark_point(const char *file, int line);

void __wrap__mark_point(const char *file, int line)
{
    static atomic_uint passed[LINES]; /* two lines may share one */
    unsigned times = atomic_fetch_add_explicit(&passed[(unsigned)line % LINES], 1, memory_order_relaxed) + 1;
    if ((times & (times - 1)) == 0)
        __real__mark_point(file, line);
}
