/* Views and snapshots. */
#include "lsm/db.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/banned.h"

struct view *view_alloc(void)
{
    return mem_zalloc(sizeof(struct view));
}

void view_release(struct view *view)
{
    if (!view || atomic_fetch_sub_explicit(&view->references, 1, memory_order_acq_rel) > 1)
        return;
    for (unsigned i = 0; i < view->table_count; i++) {
        memtable_unref(view->tables[i]);
        value_log_unref(view->values[i]);
    }
    version_unref(view->version);
    mem_free(view);
}

struct value_log *view_value_log(const struct view *view, uint64_t number)
{
    if (!(number & VALUE_LOG_WRITTEN)) {
        const struct version_values *values = version_values_of(view->version, number);
        return values ? values->log : NULL;
    }
    for (unsigned i = 0; i < view->table_count; i++)
        for (struct value_log *log = view->values[i]; log; log = log->next)
            if (log->number == number)
                return log;
    return NULL;
}

static void show_memlog(struct view *view, const struct memlog *memlog)
{
    memtable_ref(memlog->table);
    view->tables[view->table_count] = memlog->table;
    if (memlog->values)
        value_log_ref(memlog->values);
    view->values[view->table_count++] = memlog->values;
}

static void retired(struct epoch_node *node)
{
    view_release((struct view *)(void *)node); /* its first member */
}

void view_publish(struct lsm *db, struct view *fresh)
{
    atomic_init(&fresh->references, 1);
    fresh->version = db->version;
    db->writers_depth = writers_depth(db->version, &db->options);
    version_ref(db->version);
    show_memlog(fresh, &db->active);
    for (unsigned i = db->frozen_count; i-- > 0;)
        show_memlog(fresh, &db->frozen[i]);
    struct view *old = atomic_exchange(&db->view, fresh);
    simulated_changed(db->context.simulated);
    if (old)
        epoch_retire(db->epoch, &old->node, retired);
}

struct view *view_acquire(struct lsm *db)
{
    epoch_enter(db->epoch);
    struct view *view = atomic_load_explicit(&db->view, memory_order_acquire);
    /* The reference of struct lsm is given up only after this epoch: the count cannot be 0 here. */
    atomic_fetch_add_explicit(&view->references, 1, memory_order_relaxed);
    epoch_exit(db->epoch);
    return view;
}

struct view *view_acquire_at(struct lsm *db, const struct lsm_snapshot *snapshot, uint64_t *seq)
{
    for (;;) {
        struct view *view = view_acquire(db);
        /* The view before the sequence number: see db.h. */
        *seq = snapshot ? snapshot->seq : atomic_load_explicit(&db->seq, memory_order_acquire);
        if (snapshot || view == atomic_load_explicit(&db->view, memory_order_acquire))
            return view;
        view_release(view);
    }
}

struct lsm_snapshot *lsm_snapshot_create(struct lsm *db)
{
    struct lsm_snapshot *s = mem_alloc(sizeof *s);
    if (!s)
        return NULL;
    mutex_lock(&db->snapshot_lock);
    s->seq = atomic_load(&db->seq);
    s->next = db->snapshots;
    s->link = &db->snapshots;
    if (s->next)
        s->next->link = &s->next;
    db->snapshots = s;
    mutex_unlock(&db->snapshot_lock);
    return s;
}

void lsm_snapshot_destroy(struct lsm *db, struct lsm_snapshot *snapshot)
{
    if (!snapshot)
        return;
    mutex_lock(&db->snapshot_lock);
    *snapshot->link = snapshot->next;
    if (snapshot->next)
        snapshot->next->link = snapshot->link;
    mutex_unlock(&db->snapshot_lock);
    mem_free(snapshot);
}

uint64_t snapshot_cutoff(struct lsm *db)
{
    mutex_lock(&db->snapshot_lock);
    uint64_t cutoff = atomic_load(&db->seq);
    for (const struct lsm_snapshot *s = db->snapshots; s; s = s->next)
        if (s->seq < cutoff)
            cutoff = s->seq;
    mutex_unlock(&db->snapshot_lock);
    return cutoff;
}
