/* Runs on their way into a version. */
#include "lsm/output.h"

#include "base/error.h"
#include "base/banned.h"

bool output_job(struct lsm *db)
{
    mutex_lock(&db->lock);
    bool train = ++db->jobs % db->options.train_every == 0;
    db->training_due |= train && db->options.train_every > 1;
    mutex_unlock(&db->lock);
    return train;
}

plsm_status output_start(struct lsm *db, unsigned level, bool train, struct run_writer **out)
{
    const struct lsm_options *options = &db->options;
    mutex_lock(&db->lock);
    uint64_t number = db->next_number++;
    unsigned last = version_last_level(db->version);
    struct run_plan plan = {.level = level, .group = version_group(db->version, level)};
    mutex_unlock(&db->lock);
    if (last < level)
        last = level;
    if (last == 0)
        last = 1; /* level 0 is never the last for long */
    if (options->filter_bits)
        plan.filter_bits = filter_bits_for_level(level, last, options->filter_bits, options->size_ratio);
    const struct lsm_group_options *group = &options->groups[plan.group];
    plan.train = train && options->index == LSM_LEARNED && group->model != LSM_MODEL_NONE && group->update;
    return run_writer_create(&db->context, number, &plan, out);
}

plsm_status output_finish(struct lsm *db, struct run_writer *writer, unsigned level, uint64_t seq_max,
                          struct edit *edit, uint64_t *bytes)
{
    struct run_facts facts;
    *bytes = 0;
    plsm_status status = run_writer_finish(writer, seq_max, &facts);
    if (status == PLSM_OK) {
        struct run *run = run_create(&db->context, &facts);
        if (run) {
            run->group = run_writer_plan(writer)->group;
            atomic_store_explicit(&run->level, (uint8_t)level, memory_order_relaxed);
        }
        status = run ? edit_add(edit, level, run) : fail(PLSM_NO_MEMORY, "no memory for a run");
        if (status != PLSM_OK)
            garbage_add(db, 'r', facts.number);
        *bytes = facts.file_size;
    }
    run_writer_destroy(writer);
    return status;
}
