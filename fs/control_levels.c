/* .plsm/levels: what plsm_inspect_levels and plsm_inspect_runs tell, a file for each level and for each run, as lines
 * of
 * "name value" and as JSON. Looking costs reads, so all texts are made together, and kept until they are over a second
 * old and asked for again. */
#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/env.h"
#include "base/error.h"
#include "base/text.h"
#include "fs/control_private.h"
#include "base/banned.h"

enum { SAMPLED_KEYS = 1000 };

struct level_text {
    char name[48];
    struct buf text;
};
struct level_texts {
    struct buf list; /* of struct level_text */
    uint64_t made_ns, made_wall_ns;
    plsm_status status; /* while they are made */
};

/* --- one text in two forms ---------------------------------------------------------------------------------------- */

struct pair {
    struct buf lines, json;
    plsm_status status;
};

static void note(struct pair *pair, plsm_status status)
{
    if (status != PLSM_OK)
        pair->status = status;
}

static void name_value(struct pair *pair, const char *name)
{
    note(pair, buf_printf(&pair->lines, "%s ", name));
    note(pair, buf_printf(&pair->json, "%s\n  \"%s\": ", pair->json.size ? "," : "{", name));
}

static void tell(struct pair *pair, const char *name, uint64_t value)
{
    name_value(pair, name);
    note(pair, buf_printf(&pair->lines, "%" PRIu64 "\n", value));
    note(pair, buf_printf(&pair->json, "%" PRIu64, value));
}

/* part / whole; "-" and null where the whole is 0. */
static void tell_share(struct pair *pair, const char *name, double part, double whole)
{
    name_value(pair, name);
    if (whole > 0) {
        note(pair, buf_printf(&pair->lines, "%.6g\n", part / whole));
        note(pair, buf_printf(&pair->json, "%.6g", part / whole));
    } else {
        note(pair, buf_printf(&pair->lines, "-\n"));
        note(pair, buf_printf(&pair->json, "null"));
    }
}

static void tell_bytes(struct pair *pair, const char *name, plsm_slice value)
{
    name_value(pair, name);
    note(pair, text_escape(&pair->lines, value));
    note(pair, buf_append(&pair->lines, "\n", 1));
    note(pair, control_json_string(&pair->json, value));
}

static void tell_text(struct pair *pair, const char *name, const char *value)
{
    tell_bytes(pair, name, slice_of(value ? value : "none"));
}

static plsm_status add_text(struct level_texts *texts, const char *stem, const char *suffix, struct buf *text)
{
    struct level_text added = {.text = *text};
    snprintf(added.name, sizeof added.name, "%s.%s", stem, suffix);
    plsm_status status = buf_append(&texts->list, &added, sizeof added);
    if (status == PLSM_OK)
        *text = (struct buf){0};
    return status;
}

/* Ends the pair and keeps it as stem.txt and stem.json. */
static void keep(struct level_texts *texts, struct pair *pair, const char *stem)
{
    note(pair, buf_printf(&pair->json, "\n}\n"));
    if (pair->status == PLSM_OK)
        pair->status = add_text(texts, stem, "txt", &pair->lines);
    if (pair->status == PLSM_OK)
        pair->status = add_text(texts, stem, "json", &pair->json);
    if (pair->status != PLSM_OK)
        texts->status = pair->status;
    buf_free(&pair->lines);
    buf_free(&pair->json);
}

/* --- what is told ------------------------------------------------------------------------------------------------- */

static void tell_part(struct pair *pair, const char *name, const plsm_part_info *part)
{
    static const char *const fields[] = {"disk_bytes", "memory_bytes", "serves", "damaged"};
    const uint64_t values[] = {part->disk_bytes, part->memory_bytes, part->serves, part->damaged};
    char full[64];
    for (int i = 0; i < 4; i++) {
        snprintf(full, sizeof full, "%s.%s", name, fields[i]);
        tell(pair, full, values[i]);
    }
    snprintf(full, sizeof full, "%s.problem", name);
    if (part->problem[0])
        tell_text(pair, full, part->problem);
}

static void tell_model(struct pair *pair, const char *name, const plsm_model_info *model)
{
    static const char *const fields[] = {"segments",        "nodes",         "parameters", "memory_bytes",
                                         "error_pages_max", "training_keys", "train_ns"};
    const uint64_t values[] = {model->segments,        model->nodes,         model->parameters, model->memory_bytes,
                               model->error_pages_max, model->training_keys, model->train_ns};
    char full[64];
    snprintf(full, sizeof full, "%s.type", name);
    tell_text(pair, full, model->type);
    for (size_t i = 0; model->type && i < sizeof values / sizeof *values; i++) {
        snprintf(full, sizeof full, "%s.%s", name, fields[i]);
        tell(pair, full, values[i]);
    }
    snprintf(full, sizeof full, "%s.accuracy", name);
    tell_share(pair, full, model->validation_accuracy_ppm, model->type ? 1e6 : 0);
}

static void take_run(void *arg, const plsm_run_info *run)
{
    struct level_texts *texts = arg;
    struct pair pair = {0};
    char stem[32];
    tell(&pair, "number", run->number);
    tell(&pair, "level", run->level);
    tell(&pair, "keyspace", run->keyspace);
    tell_bytes(&pair, "smallest", run->smallest);
    tell_bytes(&pair, "largest", run->largest);
    tell(&pair, "entries", run->entries);
    tell(&pair, "deletions", run->deletions);
    tell(&pair, "key_bytes", run->key_bytes);
    tell(&pair, "value_bytes", run->value_bytes);
    tell(&pair, "file_bytes", run->file_bytes);
    tell(&pair, "pages", run->pages);
    tell_text(&pair, "compression", run->compression);
    tell_text(&pair, "layout", run->layout);
    tell(&pair, "damaged", run->damaged);
    if (run->problem[0])
        tell_text(&pair, "problem", run->problem);
    tell_part(&pair, "model_block", &run->model_block);
    tell_part(&pair, "model_file", &run->model_file);
    tell_part(&pair, "fences", &run->fences);
    tell_part(&pair, "filter", &run->filter);
    tell_part(&pair, "membership", &run->membership);
    tell_part(&pair, "young", &run->young);
    tell_text(&pair, "filter_kind", run->filter_kind);
    tell_text(&pair, "membership_kind", run->membership_kind);
    tell_model(&pair, "model", &run->model);
    snprintf(stem, sizeof stem, "run-%06" PRIu64, run->number);
    keep(texts, &pair, stem);
}

static void tell_kinds(struct pair *pair, const char *name, const plsm_kind_count *kinds)
{
    char full[64];
    for (int i = 0; i < PLSM_INSPECT_KINDS && kinds[i].kind; i++) {
        snprintf(full, sizeof full, "%s.%s", name, kinds[i].kind);
        tell(pair, full, kinds[i].runs);
    }
}

static void take_level(void *arg, const plsm_level_info *level)
{
    struct level_texts *texts = arg;
    struct pair pair = {0};
    char stem[32];
    double entries = (double)level->entries;
    tell(&pair, "level", level->level);
    tell(&pair, "runs", level->runs);
    tell(&pair, "runs_damaged", level->runs_damaged);
    tell(&pair, "runs_young", level->runs_young);
    tell(&pair, "entries", level->entries);
    tell(&pair, "deletions", level->deletions);
    tell(&pair, "file_bytes", level->file_bytes);
    tell(&pair, "pages", level->pages);
    tell_kinds(&pair, "models", level->models);
    tell_kinds(&pair, "memberships", level->memberships);
    tell_share(&pair, "index_bits_per_key", 8.0 * (double)(level->model_bytes + level->fences_bytes), entries);
    tell_share(&pair, "traditional_index_bits_per_key", 8.0 * (double)level->traditional_index_bytes, entries);
    tell_share(&pair, "filter_bits_per_key",
               8.0 * (double)(level->membership_bytes + level->filter_bytes + level->young_bytes), entries);
    tell_share(&pair, "traditional_filter_bits_per_key", 8.0 * (double)level->traditional_filter_bytes, entries);
    tell(&pair, "keys_sampled", level->keys);
    tell_share(&pair, "model_accuracy", (double)level->keys_right, (double)level->keys);
    tell(&pair, "worst_run", level->worst_run);
    tell(&pair, "found", level->found);
    tell_share(&pair, "first_answer_accuracy", (double)level->found_first, (double)level->found);
    tell_model(&pair, "router", &level->router);
    tell_share(&pair, "router.keys_accuracy", (double)(level->router_keys - level->router_keys_wrong),
               (double)level->router_keys);
    snprintf(stem, sizeof stem, "level-%u", level->level);
    keep(texts, &pair, stem);
}

static void keep_lookups(struct level_texts *texts, const plsm_lookup_info *lookups)
{
    struct pair pair = {0};
    double in_runs = (double)(lookups->found - lookups->found_in_memory);
    tell(&pair, "keys", lookups->keys);
    tell(&pair, "found", lookups->found);
    tell(&pair, "found_in_memory", lookups->found_in_memory);
    tell(&pair, "damaged", lookups->damaged);
    tell_share(&pair, "level_accuracy", in_runs - (double)lookups->level_wrong, in_runs);
    tell_share(&pair, "file_accuracy", in_runs - (double)lookups->file_wrong, in_runs);
    tell_share(&pair, "fallback_rate", (double)lookups->fallbacks, (double)lookups->run_lookups);
    tell_share(&pair, "pages_per_lookup", (double)lookups->pages, (double)lookups->keys);
    tell(&pair, "young.runs", lookups->young.runs);
    tell(&pair, "young.entries", lookups->young.entries);
    tell(&pair, "young.bytes", lookups->young.bytes);
    keep(texts, &pair, "lookups");
}

/* --- keeping them ------------------------------------------------------------------------------------------------- */

static void free_texts(struct level_texts *texts)
{
    if (!texts)
        return;
    struct level_text *list = (struct level_text *)(void *)texts->list.data;
    for (size_t i = 0; i < texts->list.size / sizeof *list; i++)
        buf_free(&list[i].text);
    buf_free(&texts->list);
    mem_free(texts);
}

static plsm_status make_texts(struct control *control, struct level_texts **out)
{
    plsm *db = control->fs->db;
    plsm_inspect_options options = {.keys = SAMPLED_KEYS};
    plsm_lookup_info lookups = {0};
    struct level_texts *texts = mem_zalloc(sizeof *texts);
    if (!texts)
        return fail(PLSM_NO_MEMORY, "no memory for what the levels are");
    plsm_status status = plsm_inspect_levels(db, &options, take_level, texts, &lookups);
    if (status == PLSM_OK)
        keep_lookups(texts, &lookups);
    if (status == PLSM_OK)
        status = plsm_inspect_runs(db, take_run, texts);
    if (status == PLSM_UNSUPPORTED) /* an engine without levels: an empty directory */
        status = PLSM_OK;
    if (status == PLSM_OK)
        status = texts->status;
    if (status != PLSM_OK) {
        free_texts(texts);
        return status;
    }
    texts->made_ns = env_now_ns(env_posix());
    texts->made_wall_ns = env_wall_ns(env_posix());
    *out = texts;
    return PLSM_OK;
}

/* Sees to it that there are texts, young ones. Two threads may both make some: then the later ones stay. */
static plsm_status refresh(struct control *control)
{
    struct level_texts *texts = NULL;
    mutex_lock(&control->lock);
    bool young = control->levels && env_now_ns(env_posix()) - control->levels->made_ns < YOUNG_NS;
    mutex_unlock(&control->lock);
    if (young)
        return PLSM_OK;
    TRY(make_texts(control, &texts));
    mutex_lock(&control->lock);
    struct level_texts *old = control->levels;
    control->levels = texts;
    mutex_unlock(&control->lock);
    free_texts(old);
    return PLSM_OK;
}

plsm_status control_level_text(struct control *control, plsm_slice name, bool fresh, struct control_text **out)
{
    struct buf copy = {0};
    uint64_t made_wall_ns = 0;
    plsm_status status = PLSM_NOT_FOUND;
    if (fresh) /* what follows a lookup shows what the lookup has measured */
        TRY(refresh(control));
    mutex_lock(&control->lock);
    for (size_t i = 0; control->levels && i < control->levels->list.size / sizeof(struct level_text); i++) {
        const struct level_text *text = (const struct level_text *)(const void *)control->levels->list.data + i;
        if (slice_equal(name, slice_of(text->name))) {
            status = buf_append(&copy, text->text.data, text->text.size);
            made_wall_ns = control->levels->made_wall_ns;
            break;
        }
    }
    mutex_unlock(&control->lock);
    if (status != PLSM_OK)
        return status;
    *out = control_text_of(&copy);
    if (!*out)
        return fail(PLSM_NO_MEMORY, "no memory for a text");
    (*out)->taken_wall_ns = made_wall_ns;
    return PLSM_OK;
}

plsm_status control_levels_list(struct control *control, void (*each)(void *arg, const char *name), void *arg)
{
    TRY(refresh(control));
    mutex_lock(&control->lock);
    for (size_t i = 0; i < control->levels->list.size / sizeof(struct level_text); i++)
        each(arg, ((const struct level_text *)(const void *)control->levels->list.data + i)->name);
    mutex_unlock(&control->lock);
    return PLSM_OK;
}

void control_levels_outdate(struct control *control)
{
    mutex_lock(&control->lock);
    if (control->levels)
        control->levels->made_ns = 0;
    mutex_unlock(&control->lock);
}

void control_levels_free(struct control *control)
{
    free_texts(control->levels);
    control->levels = NULL;
}
