/* Describing runs: from their facts, footers and the heads of their parts; no page is read. */
#include "lsm/inspect_private.h"

#include <stdio.h>

#include "base/error.h"
#include "base/banned.h"

_Static_assert((int)PLSM_INSPECT_LEVELS == (int)LSM_LEVELS, "every level has its place");
_Static_assert((int)PLSM_INSPECT_KINDS > (int)MODEL_TYPES && (int)PLSM_INSPECT_KINDS > (int)MEMBERSHIP_KINDS,
               "and every kind");

/* A part that cannot be used is noted, and looking goes on; other failures are the caller's. */
static plsm_status note(plsm_part_info *part, plsm_status status)
{
    if (status == PLSM_OK || status == PLSM_NO_MEMORY)
        return status;
    part->damaged = true;
    snprintf(part->problem, sizeof part->problem, "%s", plsm_message());
    return PLSM_OK;
}

static void fill_facts(const struct run *run, plsm_run_info *info)
{
    const struct run_facts *f = &run->facts;
    *info = (plsm_run_info){
        .number = f->number,
        .level = atomic_load_explicit(&run->level, memory_order_relaxed),
        .smallest = f->smallest,
        .largest = f->largest,
        .entries = f->entries,
        .deletions = f->deletions,
        .key_bytes = f->key_bytes,
        .value_bytes = f->value_bytes,
        .file_bytes = f->file_size,
        .pages = f->units,
        .filter_keys = f->filter_keys,
        .versions = f->versions,
        .range_deletions = f->ranges,
        .value_logs = f->values_count,
    };
    for (size_t i = 0; i < f->values_count; i++)
        info->value_log_bytes += f->values[i].bytes;
}

static const char *compression_of(const struct run_body *body)
{
    uint32_t lz4 = UINT32_C(1) << CODEC_LZ4, zstd = UINT32_C(1) << CODEC_ZSTD;
    uint32_t codecs = body->extension.codecs & (lz4 | zstd);
    if (!codecs)
        return "none";
    return codecs == lz4 ? "lz4" : body->dictionary ? "zstd+dictionary" : "zstd";
}

static void fill_footer(const struct run_body *body, plsm_run_info *info)
{
    const struct run_footer *f = &body->footer;
    info->page_bytes = f->blocks[RUN_FENCES].offset - PAGE_SIZE; /* lsm/run_format.h: behind the header */
    info->page_raw_bytes = body->compressed ? body->extension.raw_bytes : info->page_bytes;
    info->compression = compression_of(body);
    info->job = f->job;
    info->merged = f->version > 1 ? body->extension.merged : info->level > 0;
    info->write_us = f->write_us;
    info->train_us = f->train_us;
    info->filter_us = f->filter_us;
    info->model_block.disk_bytes = f->blocks[RUN_MODEL].size;
    info->fences.disk_bytes = f->blocks[RUN_FENCES].size;
    info->filter.disk_bytes = f->blocks[RUN_FILTER].size;
    info->membership.disk_bytes = f->membership.size;
}

/* --- the parts ---------------------------------------------------------------------------------------------------- */

void inspect_model(const struct model_info *m, plsm_model_info *out)
{
    *out = (plsm_model_info){
        .type = model_type_name(m->type),
        .segments = m->segments,
        .units = m->units,
        .nodes = m->nodes,
        .dimensions = m->dimensions,
        .parameters = m->parameters,
        .exceptions = m->exceptions,
        .borders = m->pages - m->skips - 1,
        .ties = m->ties,
        .separators = m->separators,
        .error_pages_max = m->error_pages,
        .memory_bytes = m->memory_bytes,
        .metadata_bytes = m->metadata_bytes,
        .training_keys = m->training_samples,
        .trained_wall_ns = m->trained_wall_ns,
        .train_ns = m->train_ns,
        .find_ns = m->find_ns_times_16 / 16.0,
        .training_accuracy_ppm = m->training_accuracy_ppm,
        .validation_accuracy_ppm = m->validation_accuracy_ppm,
    };
}

static uint64_t file_bytes(const struct run *run)
{
    char path[4096];
    struct env_file *file = NULL;
    uint64_t size = 0;
    run_model_path(run->context, run->facts.number, path, sizeof path);
    if (env_open(run->context->env, path, ENV_READ, &file) != PLSM_OK)
        return 0;
    if (env_size(file, &size) != PLSM_OK)
        size = 0;
    env_close(file);
    return size;
}

/* The model in one place. It is kept when lookups would use it, or when there is no better one to look at. */
static plsm_status read_model(struct run *run, struct run_parts *parts, enum model_place place, plsm_run_info *info)
{
    plsm_part_info *part = place == MODEL_BESIDE ? &info->model_file : &info->model_block;
    struct buf block = {0};
    struct model *model = NULL;
    struct model_info about;
    plsm_status status = run_model_read(run, parts->body, place, &block);
    if (status == PLSM_OK)
        status = model_open(buf_slice(&block), &model);
    buf_free(&block);
    if (status == PLSM_NOT_FOUND)
        return PLSM_OK;
    if (!model)
        return note(part, status);
    model_get_info(model, &about);
    part->memory_bytes = about.memory_bytes;
    bool suits = run_model_suits(run, &about) == PLSM_OK;
    if (!suits)
        snprintf(part->problem, sizeof part->problem, "%s", plsm_message());
    bool better = suits && !parts->model_suits;
    if (better || (!parts->model && about.pages == run->facts.units)) {
        model_close(parts->model);
        parts->model = model;
        parts->model_suits = suits;
        inspect_model(&about, &info->model);
        info->model.beside = place == MODEL_BESIDE;
        part->serves = better && atomic_load(&parts->body->model_state) == MODEL_THERE;
    } else {
        model_close(model);
    }
    return PLSM_OK;
}

/* With them the layout of the pages is known: plain fences go with classic pages. */
static plsm_status read_fences(const struct run *run, struct run_parts *parts, plsm_run_info *info)
{
    plsm_status status = run_read_fences(run, parts->body, &parts->fences);
    if (parts->fences) {
        bool classic = fences_are_plain(parts->fences);
        info->fences.memory_bytes = fences_memory(parts->fences);
        info->layout = classic ? "classic" : "packed";
        info->fingerprint_bytes = classic ? 0 : run->facts.entries; /* lsm/page.h: one each */
    }
    return note(&info->fences, status);
}

static plsm_status read_filter(struct run_parts *parts, plsm_part_info *part)
{
    const struct run_block_place *place = &parts->body->footer.blocks[RUN_FILTER];
    if (place->size == 0)
        return PLSM_OK;
    plsm_status status = run_read_block(parts->body, place, "filter", &parts->filter_bytes);
    if (status == PLSM_OK)
        status = filter_open(buf_slice(&parts->filter_bytes), &parts->filter);
    parts->has_filter = status == PLSM_OK;
    part->memory_bytes = parts->has_filter ? place->size : 0;
    return note(part, status);
}

static plsm_status read_membership(struct run_parts *parts, plsm_part_info *part)
{
    const struct run_block_place *place = &parts->body->footer.membership;
    if (place->size == 0)
        return PLSM_OK;
    plsm_status status = run_read_block(parts->body, place, "membership", &parts->membership_bytes);
    if (status == PLSM_OK)
        status = membership_open(buf_slice(&parts->membership_bytes), parts->has_filter ? &parts->filter : NULL,
                                 &parts->membership);
    parts->has_membership = status == PLSM_OK;
    part->memory_bytes = parts->has_membership ? place->size : 0;
    return note(part, status);
}

void inspect_young(struct lsm *db, plsm_young_info *out)
{
    struct young_runs_info young = {0};
    if (db->young)
        young_runs_get_info(db->young, &young);
    *out =
        (plsm_young_info){.tables = young.tables, .runs = young.runs, .entries = young.entries, .bytes = young.bytes};
}

/* A run's share of the table over young runs, free room in it included: by what was entered for it. */
static uint64_t young_share(struct lsm *db, uint64_t keys)
{
    plsm_young_info young;
    inspect_young(db, &young);
    uint64_t entries = young.entries > keys ? young.entries : keys; /* equal hashes were entered once */
    return entries ? (uint64_t)((unsigned __int128)young.bytes * keys / entries) : 0;
}

/* What lookups ask: in learned mode the table over young runs, where the run is in it, or what was made for the run, or
 * else the filter. */
static void tell_what_serves(struct lsm *db, const struct run_parts *parts, plsm_run_info *info)
{
    bool young = parts->place != YOUNG_PLACE_NONE;
    bool by_filter = parts->has_membership && parts->membership.kind == MEMBERSHIP_FUSE;
    info->fences.serves = parts->fences && atomic_load(&parts->body->model_state) != MODEL_THERE;
    info->young.serves = young;
    info->young.memory_bytes = young ? young_share(db, info->filter_keys) : 0;
    info->membership.serves = parts->has_membership && !young && db->options.index == LSM_LEARNED;
    info->filter.serves = parts->has_filter && !young && (!info->membership.serves || by_filter);
    if (parts->has_filter)
        info->filter_kind = parts->filter.blocked.blocks ? "blocked"
                            : parts->filter.bloom.bits   ? "bloom"
                                                         : membership_kind_name(MEMBERSHIP_FUSE);
    info->membership_kind = info->filter_kind;
    if (parts->has_membership) {
        info->membership_kind = membership_kind_name(parts->membership.kind);
        info->membership_template = parts->membership.has_template;
    }
}

plsm_status inspect_run(struct lsm *db, const struct level *level, size_t at, struct run_parts *parts,
                        plsm_run_info *info)
{
    struct run *run = level->runs[at];
    *parts = (struct run_parts){.place = level->places[at]};
    fill_facts(run, info);
    plsm_status status = run_open(run, &parts->body);
    if (status == PLSM_NO_MEMORY)
        return status;
    if (!parts->body) { /* otherwise it is the fences: they are looked at below */
        info->damaged = true;
        snprintf(info->problem, sizeof info->problem, "%s", plsm_message());
        return PLSM_OK;
    }
    fill_footer(parts->body, info);
    info->model_file.disk_bytes = file_bytes(run);
    for (unsigned place = 0; place < MODEL_PLACES; place++)
        TRY(read_model(run, parts, (enum model_place)place, info));
    TRY(read_fences(run, parts, info));
    TRY(read_filter(parts, &info->filter));
    TRY(read_membership(parts, &info->membership));
    tell_what_serves(db, parts, info);
    return PLSM_OK;
}

void run_parts_free(struct run_parts *parts)
{
    model_close(parts->model);
    fences_close(parts->fences);
    buf_free(&parts->filter_bytes);
    buf_free(&parts->membership_bytes);
    *parts = (struct run_parts){0};
}

/* --- all runs ----------------------------------------------------------------------------------------------------- */

plsm_status lsm_inspect_runs(struct lsm *db, void (*each)(void *arg, const plsm_run_info *run), void *arg)
{
    plsm_status status = PLSM_OK;
    INVARIANT(db->magic == LSM_STRUCT_MAGIC);
    struct view *view = view_acquire(db);
    for (unsigned number = 0; number < LSM_LEVELS; number++) {
        const struct level *level = &view->version->levels[number];
        for (size_t i = 0; i < level->count && status == PLSM_OK; i++) {
            struct run_parts parts;
            plsm_run_info info;
            status = inspect_run(db, level, i, &parts, &info);
            run_parts_free(&parts);
            if (status == PLSM_OK)
                each(arg, &info);
        }
    }
    view_release(view);
    return status;
}

/* --- all value logs ----------------------------------------------------------------------------------------------- */

static uint64_t runs_pointing(const struct version *version, uint64_t number)
{
    uint64_t runs = 0;
    for (unsigned l = 0; l < LSM_LEVELS; l++)
        for (size_t i = 0; i < version->levels[l].count; i++) {
            const struct run_facts *facts = &version->levels[l].runs[i]->facts;
            for (size_t j = 0; j < facts->values_count; j++)
                runs += facts->values[j].log == number;
        }
    return runs;
}

void lsm_inspect_values(struct lsm *db, void (*each)(void *arg, const plsm_value_log_info *log), void *arg)
{
    INVARIANT(db->magic == LSM_STRUCT_MAGIC);
    struct view *view = view_acquire(db);
    for (size_t i = 0; i < view->version->values_count; i++) {
        const struct version_values *values = &view->version->values[i];
        plsm_value_log_info info = {.number = values->log->number,
                                    .bytes = value_log_bytes(values->log),
                                    .live_bytes = values->live_bytes,
                                    .runs = runs_pointing(view->version, values->log->number)};
        each(arg, &info);
    }
    view_release(view);
}
