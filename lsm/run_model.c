/* Models of runs: loading, keeping some of them in memory, replacing them.
 *
 * A model is found in the file model-NUMBER, which retraining (or embed=0) writes, or else in the run itself. That
 * file, little-endian:
 *    0  u64  magic
 *    8  u32  version, 1
 *   12  u32  0
 *   16  u64  number of the run
 *   24  u64  salt of the run: a model of another run is not taken for it
 *   32  u64  checksum of the bytes before
 *   40       the LIDX block (learn/model.c), which has a checksum of its own */
#include "lsm/run.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/error.h"
#include "base/banned.h"

#define MODEL_FILE_MAGIC "PLSMMODL"
enum { MODEL_FILE_VERSION = 1 };

struct model_file_header {
    char magic[8];
    uint32_t version, zero;
    uint64_t number, salt;
    uint64_t checksum; /* of the bytes before */
};
_Static_assert(sizeof(struct model_file_header) == 40, "model file layout");

void run_model_path(const struct run_context *context, uint64_t number, char *path, size_t size)
{
    snprintf(path, size, "%s/model-%08llu", context->path, (unsigned long long)number);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static plsm_status check_model_file(const struct run *run, const struct model_file_header *h, const char *path)
{
    if (memcmp(h->magic, MODEL_FILE_MAGIC, sizeof h->magic) != 0)
        return fail(PLSM_CORRUPT, "%s: is not the model of a run (wrong magic)", path);
    if (h->version != MODEL_FILE_VERSION)
        return fail(PLSM_VERSION, "%s: has version %u, this program knows version %d", path, h->version,
                    MODEL_FILE_VERSION);
    if (h->checksum != checksum(h, offsetof(struct model_file_header, checksum), 0))
        return fail(PLSM_CORRUPT, "%s: header: checksum mismatch", path);
    if (h->number != run->facts.number || h->salt != run->facts.salt)
        return fail(PLSM_CORRUPT, "%s: is the model of another run", path);
    return PLSM_OK;
}

static plsm_status read_beside(const struct run *run, struct buf *out)
{
    char path[4096];
    struct env_file *file = NULL;
    struct model_file_header h;
    uint64_t size = 0;
    run_model_path(run->context, run->facts.number, path, sizeof path);
    TRY(env_open(run->context->env, path, ENV_READ, &file));
    plsm_status status = env_size(file, &size);
    if (status == PLSM_OK && size < sizeof h)
        status = fail(PLSM_CORRUPT, "%s: is cut off", path);
    if (status == PLSM_OK)
        status = env_read(file, 0, &h, sizeof h);
    if (status == PLSM_OK)
        status = check_model_file(run, &h, path);
    if (status == PLSM_OK)
        status = buf_reserve(out, size - sizeof h);
    if (status == PLSM_OK) {
        status = env_read(file, sizeof h, out->data, size - sizeof h);
        out->size = size - sizeof h;
    }
    env_close(file);
    return status;
}

static plsm_status read_embedded(struct run_body *body, struct buf *out)
{
    const struct run_block_place *place = &body->footer.blocks[RUN_MODEL];
    if (place->size == 0)
        return PLSM_NOT_FOUND;
    TRY(buf_reserve(out, place->size));
    TRY(env_read(body->file, place->offset, out->data, place->size));
    out->size = place->size;
    return PLSM_OK;
}

plsm_status run_model_read(const struct run *run, struct run_body *body, enum model_place place, struct buf *out)
{
    out->size = 0;
    return place == MODEL_BESIDE ? read_beside(run, out) : read_embedded(body, out);
}

plsm_status run_model_suits(const struct run *run, const struct model_info *info)
{
    const struct lsm_options *options = run->context->options;
    uint32_t confidence = options->groups[run->group].confidence;
    if (info->pages != run->facts.units)
        return fail(PLSM_CORRUPT, "the model is of %u pages, the run has %u", info->pages, run->facts.units);
    if (info->validation_accuracy_ppm < confidence)
        return fail(PLSM_CORRUPT, "the model is right on %.2f %% of its pages, model_confidence asks for %.2f %%",
                    info->validation_accuracy_ppm / 1e4, confidence / 1e4);
    if (info->metadata_bytes > options->model_run_bytes)
        return fail(PLSM_CORRUPT, "the model has %zu bytes of metadata, model_run_bytes allows %llu",
                    info->metadata_bytes, (unsigned long long)options->model_run_bytes);
    return PLSM_OK;
}

/* A model from its block, if it may serve this run. */
static plsm_status open_charged(const struct run *run, plsm_slice block, struct run_model **out)
{
    struct run_model *m = mem_zalloc(sizeof *m);
    *out = NULL;
    if (!m)
        return fail(PLSM_NO_MEMORY, "no memory for a model");
    m->account = mem_account_now();
    plsm_status status = model_open(block, &m->model);
    if (status == PLSM_OK) {
        model_get_info(m->model, &m->info);
        status = run_model_suits(run, &m->info);
    }
    if (status != PLSM_OK) {
        model_close(m->model);
        mem_free(m);
        return status;
    }
    *out = m;
    return PLSM_OK;
}

static plsm_status open_model(const struct run *run, plsm_slice block, struct run_model **out)
{
    struct mem_account *before = budget_enter(run->context->budget, BUDGET_INDEX);
    plsm_status status = open_charged(run, block, out);
    budget_leave(before);
    return status;
}

static bool passable(plsm_status status)
{
    return status == PLSM_NOT_FOUND || status == PLSM_CORRUPT || status == PLSM_VERSION || status == PLSM_IO ||
           status == PLSM_PERMISSION;
}

/* The first that can be used; *out NULL when no place has one. */
static plsm_status find_model(struct run *run, struct run_body *body, struct run_model **out)
{
    struct buf block = {0};
    plsm_status status = PLSM_NOT_FOUND;
    *out = NULL;
    for (unsigned place = 0; place < MODEL_PLACES && !*out && passable(status); place++) {
        status = run_model_read(run, body, (enum model_place)place, &block);
        if (status == PLSM_OK)
            status = open_model(run, buf_slice(&block), out);
    }
    buf_free(&block);
    return passable(status) ? PLSM_OK : status;
}

/* --- the shelf ---------------------------------------------------------------------------------------------------- */

static void model_free(struct epoch_node *node)
{
    struct run_model *m = (struct run_model *)(void *)node; /* its first member */
    struct mem_account *before = mem_account_use(m->account);
    model_close(m->model);
    mem_free(m);
    mem_account_use(before);
}

static void retire(struct run_context *context, struct run_model *m)
{
    if (m)
        epoch_retire(context->epoch, &m->node, model_free);
}

/* Makes room for one more model: takes the first off whose run was not used since the hand last passed, for the caller
 * to retire. Under the shelf's lock, which must not be held then: retiring may free runs, whose models are on it. */
static struct run_model *take_one_off(struct model_shelf *shelf)
{
    for (;;) {
        shelf->hand = shelf->hand + 1 < shelf->count ? shelf->hand + 1 : 0;
        struct run_body *body = shelf->bodies[shelf->hand];
        if (atomic_exchange_explicit(&body->model_used, false, memory_order_relaxed))
            continue;
        shelf->bodies[shelf->hand] = shelf->bodies[--shelf->count];
        return atomic_exchange(&body->model, NULL);
    }
}

/* Gives a run its model, which the shelf then owns. */
static plsm_status shelve(struct run *run, struct run_body *body, struct run_model *m)
{
    struct model_shelf *shelf = &run->context->shelves[run->group];
    struct run_model *off = NULL;
    plsm_status status = PLSM_OK;
    mutex_lock(&shelf->lock);
    struct run_model *before = atomic_load(&body->model);
    if (!before) {
        struct mem_account *charged = budget_enter(run->context->budget, BUDGET_INDEX);
        if (!shelf->bodies)
            shelf->bodies = mem_alloc(shelf->most * sizeof(struct run_body *));
        budget_leave(charged);
        if (!shelf->bodies)
            status = fail(PLSM_NO_MEMORY, "no memory for a model");
        else if (shelf->count == shelf->most)
            off = take_one_off(shelf);
        if (status == PLSM_OK)
            shelf->bodies[shelf->count++] = body;
        atomic_store_explicit(&shelf->full, shelf->count == shelf->most, memory_order_relaxed);
    }
    if (status == PLSM_OK) {
        atomic_store_explicit(&body->model_used, true, memory_order_relaxed);
        atomic_store_explicit(&body->model, m, memory_order_release);
        atomic_store_explicit(&body->model_state, MODEL_THERE, memory_order_relaxed);
    }
    mutex_unlock(&shelf->lock);
    simulated_changed(run->context->simulated);
    retire(run->context, off);
    if (status == PLSM_OK)
        retire(run->context, before);
    else
        model_free(&m->node);
    return status;
}

plsm_status run_model_load(struct run *run, struct run_body *body)
{
    const struct lsm_options *options = run->context->options;
    struct run_model *m = NULL;
    bool wanted = options->index == LSM_LEARNED && options->groups[run->group].model != LSM_MODEL_NONE &&
                  options->groups[run->group].cache > 0;
    atomic_store(&body->model_state, wanted ? MODEL_MISSING : MODEL_UNWANTED);
    if (!wanted)
        return PLSM_OK;
    TRY(find_model(run, body, &m));
    return m ? shelve(run, body, m) : PLSM_OK;
}

struct run_model *run_model_again(struct run *run, struct run_body *body)
{
    mutex_lock(&run->loading);
    if (!atomic_load(&body->model) && run_model_load(run, body) != PLSM_OK)
        atomic_store(&body->model_state, MODEL_MISSING); /* no memory: the traditional index serves */
    mutex_unlock(&run->loading);
    return atomic_load_explicit(&body->model, memory_order_acquire);
}

void run_model_drop(struct run *run, struct run_body *body)
{
    struct model_shelf *shelf = &run->context->shelves[run->group];
    mutex_lock(&shelf->lock);
    for (uint32_t i = 0; i < shelf->count; i++)
        if (shelf->bodies[i] == body) {
            shelf->bodies[i] = shelf->bodies[--shelf->count];
            atomic_store_explicit(&shelf->full, false, memory_order_relaxed);
            break;
        }
    mutex_unlock(&shelf->lock);
    struct run_model *m = atomic_load(&body->model);
    if (m)
        model_free(&m->node); /* nobody can reach the run any more */
}

/* --- training and replacing --------------------------------------------------------------------------------------- */

/* A model that is chosen for its size must be smaller than the fences; but not in runs so small that neither matters.
 * */
enum { SMALL_BYTES = 4096 };

struct model_wish run_model_wish(const struct run_context *context, enum lsm_group group, uint64_t fences_bytes)
{
    static const enum model_type types[] = {
        [LSM_MODEL_AUTO] = MODEL_AUTO,     [LSM_MODEL_LINEAR] = MODEL_LINEAR, [LSM_MODEL_PLR] = MODEL_PLR,
        [LSM_MODEL_NEURAL] = MODEL_NEURAL, [LSM_MODEL_TRIE] = MODEL_TRIE,     [LSM_MODEL_NONE] = MODEL_AUTO,
    };
    const struct lsm_group_options *options = &context->options->groups[group];
    uint64_t error_pages = options->error_bytes / PAGE_SIZE;
    return (struct model_wish){.type = types[options->model],
                               .metadata_max = context->options->model_run_bytes,
                               .memory_max = options->model != LSM_MODEL_AUTO ? SIZE_MAX
                                             : fences_bytes > SMALL_BYTES     ? (size_t)fences_bytes
                                                                              : SMALL_BYTES,
                               .error_pages_max = error_pages < UINT32_MAX ? (uint32_t)error_pages : UINT32_MAX};
}

plsm_status run_model_write(const struct run_context *context, uint64_t number, uint64_t salt, plsm_slice block)
{
    char path[4096], temporary[4096 + 8];
    struct env_file *file = NULL;
    struct model_file_header h = {.version = MODEL_FILE_VERSION, .number = number, .salt = salt};
    memcpy(h.magic, MODEL_FILE_MAGIC, sizeof h.magic);
    h.checksum = checksum(&h, offsetof(struct model_file_header, checksum), 0);
    run_model_path(context, number, path, sizeof path);
    snprintf(temporary, sizeof temporary, "%s.tmp", path);
    TRY(env_open(context->env, temporary, ENV_APPEND, &file));
    plsm_status status = env_append(file, &h, sizeof h);
    if (status == PLSM_OK)
        status = env_append(file, block.data, block.size);
    if (status == PLSM_OK)
        simulated_write(context->simulated, sizeof h + block.size);
    if (status == PLSM_OK)
        status = env_sync(file);
    env_close(file);
    if (status == PLSM_OK)
        status = env_rename(context->env, temporary, path);
    if (status != PLSM_OK)
        env_remove(context->env, temporary);
    return status;
}

plsm_status run_model_replace(struct run *run, struct run_body *body, plsm_slice block, bool keep)
{
    struct run_model *m = NULL;
    plsm_status status = open_model(run, block, &m);
    if (passable(status))
        return PLSM_OK; /* below what is wished: the run stays as it is */
    TRY(status);
    if (keep)
        status = run_model_write(run->context, run->facts.number, run->facts.salt, block);
    if (status != PLSM_OK) {
        model_free(&m->node);
        return status;
    }
    return shelve(run, body, m);
}
