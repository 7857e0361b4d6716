/* Epoch-based reclamation: readers of shared structures take no lock and touch no shared counter; what a writer
 * replaces is freed once every reader that could still see it has left (Fraser, "Practical lock-freedom", 2004,
 * section 5.2.3).
 *
 * A reader brackets its accesses with epoch_enter and epoch_exit; brackets nest. Keep them short and never block or do
 * I/O of unknown length inside with the expectation that memory is returned meanwhile: one reader that stays inside
 * holds back all reclamation. For longer holds take a reference count inside the bracket.
 *
 * Each thread uses one of EPOCH_THREADS slots, taken at its first entry and given back when it ends; when all are
 * taken, epoch_enter waits for one. */
#ifndef BASE_EPOCH_H
#define BASE_EPOCH_H

#include <stdint.h>

enum { EPOCH_THREADS = 1024 };

struct epoch;

/* Placed inside the object that is retired; the domain owns it from epoch_retire until `free_fn` runs. */
struct epoch_node {
    struct epoch_node *next;
    uint64_t epoch;
    void (*free_fn)(struct epoch_node *node);
};

struct epoch *epoch_create(void); /* NULL: no memory */
/* Runs everything that is still retired; no reader may be inside. Accepts NULL. */
void epoch_destroy(struct epoch *domain);

void epoch_enter(struct epoch *domain);
void epoch_exit(struct epoch *domain);

/* Hands over an object that new readers can no longer reach; `free_fn` is called from a later epoch_retire or
 * epoch_reclaim, on that caller's thread, outside of any lock of the domain. */
void epoch_retire(struct epoch *domain, struct epoch_node *node, void (*free_fn)(struct epoch_node *));
/* Frees what can be freed now. */
void epoch_reclaim(struct epoch *domain);

/* For pools that recycle without a node: epoch_advance starts a new epoch and returns it; what was unlinked before that
 * call may be reused once epoch_quiescent(domain, that epoch) is true. */
uint64_t epoch_advance(struct epoch *domain);
int epoch_quiescent(struct epoch *domain, uint64_t epoch);

#endif
