/* Runs: opening, pages. Lookups are in run_lookup.c. */
#include "lsm/run.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/error.h"
#include "base/banned.h"

enum { RUN_STRUCT_MAGIC = 0x72756e31 };

void run_context_destroy(struct run_context *context)
{
    for (unsigned i = 0; i < LSM_GROUPS; i++) {
        mem_free(context->shelves[i].bodies);
        mutex_destroy(&context->shelves[i].lock);
    }
}

struct run *run_create(struct run_context *context, const struct run_facts *facts)
{
    size_t values_size = facts->values_count * sizeof *facts->values;
    struct mem_account *before = budget_enter(context->budget, BUDGET_INDEX);
    struct run *run = mem_zalloc(sizeof *run + values_size + facts->smallest.size + facts->largest.size);
    budget_leave(before);
    if (!run)
        return NULL;
    run->magic = RUN_STRUCT_MAGIC;
    atomic_init(&run->references, 1);
    run->context = context;
    run->young_place = YOUNG_PLACE_NONE;
    run->young_need = facts->entries;
    run->facts = *facts;
    run->facts.values = run->values;
    if (values_size)
        memcpy(run->values, facts->values, values_size);
    uint8_t *bounds = (uint8_t *)run->values + values_size;
    memcpy(bounds, facts->smallest.data, facts->smallest.size);
    memcpy(bounds + facts->smallest.size, facts->largest.data, facts->largest.size);
    run->facts.smallest.data = bounds;
    run->facts.largest.data = bounds + facts->smallest.size;
    run->smallest_head = key_head(run->facts.smallest);
    run->largest_head = key_head(run->facts.largest);
    mutex_init(&run->loading);
    return run;
}

void run_ref(struct run *run)
{
    INVARIANT(run->magic == RUN_STRUCT_MAGIC);
    atomic_fetch_add_explicit(&run->references, 1, memory_order_relaxed);
}

static void body_free(struct run *run, struct run_body *body)
{
    if (!body)
        return;
    run_model_drop(run, body);
    env_close(body->file);
    compression_dictionary_unref(run->context->compression, body->dictionary);
    mem_free(body->offsets);
    mem_free(body->ranges);
    mem_free(body->slots);
    run_membership_drop(body);
    run_traditional_free(atomic_load(&body->traditional));
    fences_close(atomic_load(&body->fences));
    mem_free(body);
}

void run_unref(struct run *run)
{
    if (!run || atomic_fetch_sub_explicit(&run->references, 1, memory_order_acq_rel) > 1)
        return;
    INVARIANT(run->magic == RUN_STRUCT_MAGIC);
    struct mem_account *before = budget_enter(run->context->budget, BUDGET_INDEX);
    struct run_body *body = atomic_load(&run->body);
    if (body)
        cache_forget(run->context->cache, body->slots, run->facts.units);
    body_free(run, body);
    run_leave_young(run);
    if (atomic_load(&run->obsolete)) {
        run->context->discard(run->context->discard_arg, 'r', run->facts.number);
        if (run->context->simulated)
            simulated_forget(run->context->simulated, run->facts.number);
    }
    mutex_destroy(&run->loading);
    run->magic = 0;
    mem_free(run);
    budget_leave(before);
}

void run_leave_young(struct run *run)
{
    if (run->young_place != YOUNG_PLACE_NONE)
        young_runs_release(run->context->young, run->young_place);
    run->young_place = YOUNG_PLACE_NONE;
}

plsm_status run_context_append(const struct run_context *context, struct env_file *file, const void *data, size_t size)
{
    TRY(env_append(file, data, size));
    counter_add(context->counters, COUNT_WRITES, 1);
    counter_add(context->counters, COUNT_WRITE_BYTES, size);
    simulated_write(context->simulated, size);
    return PLSM_OK;
}

void run_path(const struct run_context *context, uint64_t number, char *path, size_t size)
{
    snprintf(path, size, "%s/run-%08llu", context->path, (unsigned long long)number);
}

plsm_status run_check_version(uint32_t version, const char *path)
{
    if (version < RUN_VERSION_OLDEST || version > RUN_VERSION)
        return fail(PLSM_VERSION,
                    "%s: has run format version %u, this program knows version %u to %u; use a newer plsm", path,
                    version, RUN_VERSION_OLDEST, RUN_VERSION);
    return PLSM_OK;
}

static plsm_status read_header(const struct run *run, const struct run_body *body)
{
    struct run_file_header h;
    const char *path = env_path(body->file);
    TRY(env_read(body->file, 0, &h, sizeof h));
    if (memcmp(h.magic, RUN_MAGIC, sizeof h.magic) != 0)
        return fail(PLSM_CORRUPT, "%s: is not a run of a plsm store (wrong magic)", path);
    TRY(run_check_version(h.version, path));
    if (h.checksum != checksum(&h, offsetof(struct run_file_header, checksum), 0))
        return fail(PLSM_CORRUPT, "%s: header: checksum mismatch", path);
    if (h.number != run->facts.number || h.salt != run->facts.salt)
        return fail(PLSM_CORRUPT,
                    "%s: holds run %llu of some store, not run %llu of this one: files were exchanged; restore them "
                    "from one backup",
                    path, (unsigned long long)h.number, (unsigned long long)run->facts.number);
    return PLSM_OK;
}

static plsm_status read_extension(const struct run *run, struct run_body *body, uint64_t size)
{
    struct run_extension *e = &body->extension;
    const char *path = env_path(body->file);
    const struct run_block_place *const places[] = {&e->ranges, &e->dictionary, &e->values};
    uint64_t offset = size - sizeof(struct run_footer) - sizeof *e;
    TRY(env_read(body->file, offset, e, sizeof *e));
    if (e->checksum != checksum(e, offsetof(struct run_extension, checksum), run->facts.salt))
        return fail(PLSM_CORRUPT, "%s: extension at offset %llu: checksum mismatch", path, (unsigned long long)offset);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (places[i]->offset > size || places[i]->size > size - places[i]->offset)
            return fail(PLSM_CORRUPT, "%s: extension: block %zu is outside of the file", path, i);
    return PLSM_OK;
}

static plsm_status read_footer(const struct run *run, struct run_body *body)
{
    const struct run_facts *facts = &run->facts;
    struct run_footer *f = &body->footer;
    const char *path = env_path(body->file);
    uint64_t size = 0;
    TRY(env_size(body->file, &size));
    if (size != facts->file_size)
        return fail(PLSM_CORRUPT, "%s: is %llu bytes long, the MANIFEST says %llu; restore it from a backup", path,
                    (unsigned long long)size, (unsigned long long)facts->file_size);
    TRY(env_read(body->file, size - sizeof *f, f, sizeof *f));
    if (memcmp(f->magic, RUN_FOOTER_MAGIC, sizeof f->magic) != 0 ||
        f->checksum != checksum(f, offsetof(struct run_footer, checksum), facts->salt))
        return fail(PLSM_CORRUPT, "%s: footer at offset %llu: checksum mismatch", path,
                    (unsigned long long)(size - sizeof *f));
    if (f->number != facts->number || f->units != facts->units || f->entries != facts->entries)
        return fail(PLSM_CORRUPT, "%s: footer does not agree with the MANIFEST", path);
    if (f->codec >= RUN_CODECS || (f->codec == RUN_COMPRESSED && f->version < 2))
        return fail(PLSM_VERSION, "%s: has pages in form %u, this program knows 0 to %u; use a newer plsm", path,
                    f->codec, RUN_CODECS - 1);
    body->compressed = f->codec == RUN_COMPRESSED;
    body->offset_shift = body->compressed ? UNIT_ALIGN_SHIFT : PAGE_SHIFT;
    for (unsigned i = 0; i <= RUN_BLOCKS; i++) {
        const struct run_block_place *place = i < RUN_BLOCKS ? &f->blocks[i] : &f->membership;
        if (place->offset > size || place->size > size - place->offset)
            return fail(PLSM_CORRUPT, "%s: footer: block %u is outside of the file", path, i);
    }
    return f->version > 1 ? read_extension(run, body, size) : PLSM_OK;
}

plsm_status run_read_block(struct run_body *body, const struct run_block_place *place, const char *name,
                           struct buf *out)
{
    TRY(buf_reserve(out, place->size + 8));
    TRY(env_read(body->file, place->offset, out->data, place->size));
    out->size = place->size;
    if (place->checksum != checksum(out->data, out->size, body->footer.salt))
        return fail(PLSM_CORRUPT, "%s: %s at offset %llu: checksum mismatch", env_path(body->file), name,
                    (unsigned long long)place->offset);
    return PLSM_OK;
}

/* What the units of a compressed run are packed with. */
static plsm_status read_codecs(const struct run *run, struct run_body *body)
{
    const struct run_block_place *place = &body->extension.dictionary;
    struct buf bytes = {0};
    if (!body->compressed)
        return PLSM_OK;
    for (unsigned codec = 0; codec < 32; codec++)
        if (body->extension.codecs >> codec & 1 && codec_available((enum codec)codec) != PLSM_OK)
            return fail_context(PLSM_UNSUPPORTED, env_path(body->file));
    if (place->size == 0)
        return PLSM_OK;
    plsm_status status = run_read_block(body, place, "dictionary", &bytes);
    if (status == PLSM_OK)
        status = compression_dictionary(run->context->compression, buf_slice(&bytes), &body->dictionary);
    buf_free(&bytes);
    return status;
}

static plsm_status read_offsets(const struct run *run, struct run_body *body)
{
    struct buf bytes = {0};
    size_t count = (size_t)run->facts.units + 1;
    uint64_t blocks_max = body->footer.blocks[RUN_FENCES].offset >> body->offset_shift;
    plsm_status status = PLSM_OK;
    if (body->footer.blocks[RUN_OFFSETS].size == 0 && !body->compressed) {
        if (blocks_max < count)
            status = fail(PLSM_CORRUPT, "%s: footer: more pages than bytes", env_path(body->file));
        return status;
    }
    status = run_read_block(body, &body->footer.blocks[RUN_OFFSETS], "page offsets", &bytes);
    if (status != PLSM_OK)
        goto done;
    if (bytes.size != count * sizeof *body->offsets) {
        status = fail(PLSM_CORRUPT, "%s: page offsets: wrong size", env_path(body->file));
        goto done;
    }
    body->offsets = (uint32_t *)(void *)bytes.data;
    bytes = (struct buf){0};
    for (size_t i = 0; i + 1 < count; i++)
        if (body->offsets[i] >= body->offsets[i + 1] || body->offsets[i + 1] > blocks_max) {
            status = fail(PLSM_CORRUPT, "%s: page offsets: out of order", env_path(body->file));
            break;
        }
done:
    buf_free(&bytes);
    return status;
}

/* The range tombstones, which must lie inside of the bounds: lookups go by these. */
static plsm_status read_ranges(const struct run *run, struct run_body *body)
{
    const struct run_facts *facts = &run->facts;
    const struct run_block_place *place = &body->extension.ranges;
    const char *path = env_path(body->file);
    struct buf bytes = {0};
    if ((place->size > 0) != (facts->ranges > 0))
        return fail(PLSM_CORRUPT, "%s: deletions of ranges: the MANIFEST says %llu", path,
                    (unsigned long long)facts->ranges);
    if (place->size == 0)
        return PLSM_OK;
    plsm_status status = run_read_block(body, place, "deletions of ranges", &bytes);
    if (status == PLSM_OK) {
        status = tombstones_decode(buf_slice(&bytes), facts->ranges, &body->ranges);
        const struct tombstones *t = body->ranges;
        if (status == PLSM_CORRUPT ||
            (status == PLSM_OK && (slice_compare(t->list[0].from, facts->smallest) < 0 ||
                                   slice_compare(tombstone_last_key(t->list[t->count - 1].to), facts->largest) > 0)))
            status = fail(PLSM_CORRUPT, "%s: deletions of ranges at offset %llu: damaged, or outside of the bounds",
                          path, (unsigned long long)place->offset);
    }
    buf_free(&bytes);
    return status;
}

plsm_status run_read_fences(const struct run *run, struct run_body *body, struct fences **out)
{
    struct fences *fences = NULL;
    struct buf bytes = {0};
    plsm_status status = run_read_block(body, &body->footer.blocks[RUN_FENCES], "fences", &bytes);
    if (status == PLSM_OK)
        status = fences_open(buf_slice(&bytes), &fences);
    if (status == PLSM_OK && fences_pages(fences) != run->facts.units) {
        status = fail(PLSM_CORRUPT, "%s: fences: %u pages, the run has %u", env_path(body->file), fences_pages(fences),
                      run->facts.units);
        fences_close(fences);
        fences = NULL;
    }
    buf_free(&bytes);
    *out = fences;
    return status;
}

plsm_status run_fences(struct run *run, struct run_body *body, struct fences **out)
{
    struct fences *fences = atomic_load_explicit(&body->fences, memory_order_acquire);
    plsm_status status = PLSM_OK;
    if (fences) {
        *out = fences;
        return PLSM_OK;
    }
    struct mem_account *before = budget_enter(run->context->budget, BUDGET_INDEX);
    mutex_lock(&run->loading);
    fences = atomic_load_explicit(&body->fences, memory_order_acquire);
    if (!fences) {
        status = run_read_fences(run, body, &fences);
        if (status == PLSM_OK) {
            atomic_store_explicit(&body->fences, fences, memory_order_release);
            simulated_changed(run->context->simulated);
        }
    }
    mutex_unlock(&run->loading);
    budget_leave(before);
    *out = fences;
    return status;
}

static plsm_status load_body(struct run *run, struct run_body **out)
{
    const struct run_context *context = run->context;
    char path[4096];
    struct run_body *body = mem_zalloc(sizeof *body);
    if (!body)
        return fail(PLSM_NO_MEMORY, "no memory to open a run");
    run_path(context, run->facts.number, path, sizeof path);
    plsm_status status = env_open(context->env, path, ENV_READ, &body->file);
    if (status == PLSM_NOT_FOUND)
        status = fail(PLSM_CORRUPT, "%s: the run is missing", path);
    if (status == PLSM_OK)
        status = read_header(run, body);
    if (status == PLSM_OK)
        status = read_footer(run, body);
    if (status == PLSM_OK)
        status = read_offsets(run, body);
    if (status == PLSM_OK)
        status = read_codecs(run, body);
    if (status == PLSM_OK)
        status = read_ranges(run, body);
    if (status == PLSM_OK) {
        body->slots = mem_zalloc(run->facts.units * sizeof *body->slots);
        if (!body->slots)
            status = fail(PLSM_NO_MEMORY, "no memory to open %s", path);
    }
    if (status == PLSM_OK)
        status = run_model_load(run, body);
    body->shape = page_shape_of((double)run->facts.entries / (double)(run->facts.units ? run->facts.units : 1));
    if (status != PLSM_OK) {
        body_free(run, body);
        body = NULL;
    }
    *out = body;
    return status;
}

plsm_status run_open(struct run *run, struct run_body **out)
{
    struct run_body *body = atomic_load_explicit(&run->body, memory_order_acquire);
    plsm_status status = PLSM_OK;
    if (__builtin_expect(!body, 0)) {
        struct mem_account *before = budget_enter(run->context->budget, BUDGET_INDEX);
        mutex_lock(&run->loading);
        body = atomic_load_explicit(&run->body, memory_order_acquire);
        if (!body) {
            status = load_body(run, &body);
            if (status == PLSM_OK)
                atomic_store_explicit(&run->body, body, memory_order_release);
        }
        mutex_unlock(&run->loading);
        struct fences *fences = NULL;
        if (status == PLSM_OK && atomic_load(&body->model_state) != MODEL_THERE)
            status = run_fences(run, body, &fences);
        if (status == PLSM_OK && run->context->simulated)
            simulated_open(run, body);
        budget_leave(before);
    }
    *out = body;
    return status;
}

plsm_status run_page_corrupt(const struct run *run, uint32_t unit)
{
    char path[4096];
    run_path(run->context, run->facts.number, path, sizeof path);
    struct run_body *body = atomic_load(&run->body);
    return fail(PLSM_CORRUPT, "%s: page %u at offset %llu: damaged (checksum or structure); restore it from a backup",
                path, unit, (unsigned long long)run_unit_offset(body, unit));
}

void page_hold_free(struct page_hold *hold)
{
    mem_free(hold->heap);
    hold->heap = NULL;
}

plsm_status run_read_counted(struct run *run, struct run_body *body, uint64_t offset, void *data, size_t size)
{
    counter_add(run->context->counters, COUNT_READS, 1);
    counter_add(run->context->counters, COUNT_READ_BYTES, size);
    return env_read(body->file, offset, data, size);
}

/* A unit of several blocks: not cached, since it would push out many small pages; the kernel caches the file. */
static plsm_status large_page(struct run *run, struct run_body *body, uint32_t unit, bool head_only,
                              struct page_hold *hold)
{
    size_t size = run_unit_bytes(body, unit);
    uint64_t offset = run_unit_offset(body, unit), seed = run->facts.salt ^ offset;
    bool checksummed = run->context->verify_checksums, complete = false;
    if (head_only) {
        TRY(run_read_counted(run, body, offset, hold->own, PAGE_SIZE));
        if (page_verify_head(hold->own, size, seed, checksummed, &complete) != PLSM_OK)
            return run_page_corrupt(run, unit);
        hold->page = hold->own;
        if (complete)
            return PLSM_OK;
    }
    hold->heap = mem_alloc(size);
    if (!hold->heap)
        return fail(PLSM_NO_MEMORY, "no memory to read a page of %zu bytes", size);
    TRY(run_read_counted(run, body, offset, hold->heap, size));
    if (page_verify(hold->heap, size, seed, checksummed) != PLSM_OK)
        return run_page_corrupt(run, unit);
    hold->page = hold->heap;
    return PLSM_OK;
}

plsm_status run_page_uncharged(struct run *run, struct run_body *body, uint32_t unit, bool head_only,
                               struct page_hold *hold)
{
    const struct run_context *context = run->context;
    page_hold_release(hold);
    hold->page = cache_lookup(context->cache, &body->slots[unit]);
    if (__builtin_expect(hold->page != NULL, 1)) {
        counter_add(context->counters, COUNT_CACHE_HITS, 1);
        return PLSM_OK;
    }
    counter_add(context->counters, COUNT_CACHE_MISSES, 1);
    if (body->compressed)
        return run_page_unpack(run, body, unit, head_only, hold);
    if (run_unit_is_large(body, unit))
        return large_page(run, body, unit, head_only, hold);
    uint32_t number = 0;
    uint64_t offset = run_unit_offset(body, unit);
    uint8_t *frame = cache_take(context->cache, &number);
    uint8_t *memory = frame ? frame : hold->own;
    plsm_status status = run_read_counted(run, body, offset, memory, PAGE_SIZE);
    if (status == PLSM_OK &&
        page_verify(memory, PAGE_SIZE, run->facts.salt ^ offset, context->verify_checksums) != PLSM_OK)
        status = run_page_corrupt(run, unit);
    if (status != PLSM_OK) {
        if (frame)
            cache_drop(context->cache, number);
        return status;
    }
    hold->page = frame ? cache_publish(context->cache, &body->slots[unit], number) : memory;
    return PLSM_OK;
}
