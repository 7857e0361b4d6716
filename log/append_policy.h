/* Which segments of the append log to merge, and how fast writers may be. */
#ifndef LOG_APPEND_POLICY_H
#define LOG_APPEND_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct merge_candidate {
    uint64_t size; /* of the file */
    uint64_t kept; /* of it, bytes of entries that a merge would copy */
};

enum {
    MERGE_OVERHEAD = 1 << 10, /* bytes that any segment has beside entries, about */
    MERGE_SMALL_PART = 8,     /* a segment is small below that part of the size at which segments are sealed, */
    MERGE_SMALL_MANY = 8,     /* and so many small ones are merged to one */
    MERGE_CHOSEN_MAX = 256,
};

/* Chooses what to merge into one segment, and returns how many; out has room for MERGE_CHOSEN_MAX. Pure.
 *
 * First come those of which more than `garbage_ppm` (in millionths) is garbage, the worst first, as many as fit into
 * one segment together, and into `room`, the bytes that a merge may write. When there are none, small ones, if there
 * are many: each opening and closing makes one. With `all`, what has any garbage worth mentioning (a 32nd) counts, and
 * two small ones are many. What alone does not fit into `room` is left out.
 *
 * Example: segments are sealed at 64 MiB, garbage_ppm is 500,000. Of 64 MiB each, 20, 60, 30 and 10 MiB would be kept:
 * chosen are the fourth, the first and the third, since 10 + 20 + 30 MiB are not above 64. */
struct merge_limits {
    uint64_t segment_size, room;
    uint32_t garbage_ppm;
};
size_t merge_choose(const struct merge_candidate *candidates, size_t count, const struct merge_limits *limits, bool all,
                    size_t *out);

enum {
    PACE_FROM = 2,               /* segments that wait to be sealed, from which on writers slow down, */
    PACE_STOP = 6,               /* and from which on they wait for one to be sealed */
    PACE_REST_LEAST_NS = 500000, /* a rest that is shorter is left to the next write */
    PACE_REST_MOST_NS = 5000000, /* what is longer too, in parts */
};

/* How long the writer of `bytes` rests then, when `waiting` segments wait to be sealed, which takes seal_ns for each
 * MiB: writers that are faster than the disk slow down to what it takes, instead of stopping for as long as it takes to
 * seal a segment. With PACE_FROM waiting they may be twice as fast, with each one more half as fast. *due_ns, at first
 * 0, is when the writes so far should have come to their end. Pure.
 *
 * Example: sealing takes 4 ms a MiB, 3 wait. After writing 512 KiB at 10 ms, due is 12 ms and the rest is 2 ms. After
 * 64 KiB more at 12.1 ms, due is 12.35 ms: too little for a rest. */
uint64_t pace_rest_ns(uint64_t now_ns, uint64_t bytes, unsigned waiting, uint64_t seal_ns, uint64_t *due_ns);

/* Whether merges may begin at a second since 1970, when they may between two hours of the day (UTC); equal: always.
 * Example: from 22 to 4: at 23:00 and at 3:59, not at 4:00. Pure. */
bool merge_window_open(uint64_t now_s, uint32_t from_hour, uint32_t to_hour);

#endif
