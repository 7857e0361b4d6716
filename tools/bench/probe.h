/* A slice of read operations, prepared, run and compared.
 *
 * Keys are made and copied before the clock runs. Of every answer a digest is kept, a checksum over the whole value, so
 * that each single answer of two stores can be compared behind the clock; making it costs 5 to 10 ns, the same in
 * every mode. */
#ifndef TOOLS_BENCH_PROBE_H
#define TOOLS_BENCH_PROBE_H

#include "base/bytes.h"
#include "store/plsm.h"
#include "tools/bench/data.h"

enum probe_kind {
    PROBE_GET,       /* plsm_get of each key */
    PROBE_MANY_16,   /* plsm_multi_get of 16 keys at a time */
    PROBE_MANY_100,  /* of 100 */
    PROBE_RANGE,     /* a new iterator, a seek to the key, and PROBE_RANGE_ENTRIES entries from there */
    PROBE_FIND_FILE, /* plsm_locate: the file alone */
    PROBE_FIND_PAGE, /* file and page */
    PROBE_KINDS
};
enum { PROBE_RANGE_ENTRIES = 100, PROBE_MANY_MAX = 100 };

/* What is asked. Zero it; free with questions_free. */
struct questions {
    plsm_slice *keys;
    uint64_t *right; /* the right answers, see probe_digest; 0: not there */
    uint64_t count, capacity;
    struct buf bytes; /* of the keys */
    bool known;       /* `right` is filled in */
};
/* Room for `capacity` keys. PLSM_NO_MEMORY. */
plsm_status questions_init(struct questions *q, uint64_t capacity);
void questions_free(struct questions *q);
void questions_clear(struct questions *q);
/* Adds a key, copied; `right` is its digest. PLSM_NO_MEMORY; not beyond the capacity. */
plsm_status questions_add(struct questions *q, plsm_slice key, uint64_t right);
/* Adds a key that is there, in version 0, or (`absent`) is not. */
plsm_status questions_add_of(struct questions *q, const struct data *data, plsm_slice key, bool absent);
/* Behind the last: makes `keys` point at the copies. */
void questions_done(struct questions *q);

/* The digest of a value that was found; never 0, which stands for "not found". */
uint64_t probe_digest(plsm_slice value);

/* One who asks: what a thread needs to read from one store. */
struct probe {
    plsm *db;
    unsigned level; /* of PROBE_FIND_* */
    plsm_value values[PROBE_MANY_MAX];
    plsm_status statuses[PROBE_MANY_MAX];
};
void probe_free(struct probe *probe);

struct probe_time {
    uint64_t wall_ns, cpu_ns; /* of the calling thread */
};
/* Asks all questions; answers[i] becomes the digest of the i-th answer (of a range: of all its keys and values; of
 * PROBE_FIND_*: 1, or 0 where no file spans the key). Any status but PLSM_OK and PLSM_NOT_FOUND is returned. */
plsm_status probe_run(struct probe *probe, enum probe_kind kind, const struct questions *q, uint64_t *answers,
                      struct probe_time *time);

/* PLSM_OK when two series of answers to the same questions are equal; otherwise PLSM_CORRUPT with a message that names
 * the first key of which they are not, and who said what. */
plsm_status probe_compare(const struct questions *q, const char *one, const uint64_t *answers, const char *other,
                          const uint64_t *others);

#endif
