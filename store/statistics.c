/* Statistics: what the engine measures, and what this room adds. */
#include "store/internal.h"

#include "base/banned.h"

struct passing {
    void (*each)(void *arg, const plsm_statistic *statistic);
    void *arg;
};

static void pass(void *arg, const char *name, bool is_real, uint64_t integer, double real)
{
    struct passing *p = arg;
    plsm_statistic statistic = {.name = name, .is_integer = !is_real, .integer = integer, .real = real};
    p->each(p->arg, &statistic);
}

static void pass_text(struct passing *p, const char *name, const char *text)
{
    plsm_statistic statistic = {.name = name, .is_text = true, .text = text};
    p->each(p->arg, &statistic);
}

static uint64_t counted(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void plsm_statistics(plsm *db, void (*each)(void *arg, const plsm_statistic *statistic), void *arg)
{
    INVARIANT(db->magic == STORE_MAGIC);
    struct passing p = {each, arg};
    const struct store_counters *c = &db->counters;
    pass_text(&p, "store.engine", db->engine->name);
    if (db->engine->locate) { /* levels, so the options of a tree mean something */
        pass_text(&p, "store.index", store_index_name(&db->options));
        pass_text(&p, "lsm.policy", store_policy_name(&db->options));
    }
    if (db->engine->simulated_device)
        pass_text(&p, "sim.profile", db->engine->simulated_device(db->tree));
    pass(&p, "store.read_only", false, db->read_only || db->engine->is_read_only(db->tree), 0);
    pass(&p, "store.edit.commits", false, counted(&c->commits), 0);
    pass(&p, "store.edit.large_commits", false, counted(&c->large_commits), 0);
    pass(&p, "store.edit.extents_written", false, counted(&c->extents_written), 0);
    pass(&p, "store.edit.copies", false, counted(&c->copies), 0);
    pass(&p, "store.edit.open_for_writing", false, owners_count(&db->owners), 0);
    pass(&p, "store.large.retired", false, counted(&c->retired), 0);
    pass(&p, "store.large.retire_failures", false, counted(&c->retire_failures), 0);
    pass(&p, "store.large.recovered_edits", false, c->recovered_edits, 0);
    pass(&p, "store.large.recovered_orphans", false, c->recovered_orphans, 0);
    pass(&p, "store.large.expired", false, counted(&c->expired), 0);
    pass(&p, "store.lookups_before_write", false, counted(&c->lookups_before_write), 0);
    db->engine->statistics(db->tree, pass, &p);
}

void plsm_statistics_reset(plsm *db)
{
    INVARIANT(db->magic == STORE_MAGIC);
    struct store_counters *c = &db->counters;
    _Atomic uint64_t *all[] = {&c->commits, &c->large_commits,   &c->extents_written,      &c->copies,
                               &c->retired, &c->retire_failures, &c->lookups_before_write, &c->expired};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        atomic_store_explicit(all[i], 0, memory_order_relaxed);
    db->engine->statistics_reset(db->tree);
}
