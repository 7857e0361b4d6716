/* Writing a run. The layout stands in run_format.h. */
#include "lsm/run_writer.h"

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/error.h"
#include "lsm/expiry.h"
#include "lsm/packer.h"
#include "lsm/value_log.h"
#include "base/banned.h"

/* Finished pages are appended in pieces of about this size. It stays in a cache of the second level of 1 MiB a core
 * (smaller ones were not measured), and where the file system has large folios (ext4 since Linux 6.16) the kernel makes
 * one of what is written at once: syncing 64 MiB then takes half of the processor time, or less, of 256 KiB. */
enum { WRITE_BYTES = 512 << 10 };

struct run_writer {
    const struct run_context *context;
    struct env_file *file;
    char path[4096];
    struct run_plan plan;
    struct page_builder page;
    struct buf out;      /* finished pages not yet written */
    uint64_t written;    /* bytes of the file, without `out` */
    struct buf smallest; /* first key of the run */
    struct buf last_key; /* last key of the last finished page */
    struct buf offsets;  /* u32 each: where a unit starts, as in the file */
    bool large_units;
    struct packer *packer; /* NULL: the run is not compressed */
    struct buf unpacked;   /* a page for it */
    struct fences_builder *fences;
    struct model_builder *model;
    struct membership_builder *members; /* NULL: the run gets no filter */
    struct buf classifier;              /* of keys, for it */
    uint64_t start_ns;                  /* of processor time, as all times here */
    struct membership_built built;
    uint64_t keys;                     /* distinct ones so far */
    struct buf ranges;                 /* range tombstones: the block without its count */
    struct buf ranges_from, ranges_to; /* where the first begins and the last ends */
    uint64_t ranges_seq;               /* of the newest deletion of the first */
    struct buf values;                 /* struct run_values each, by number of the value log */
    struct expiry_sample expiries;
    struct run_facts facts;
    struct run_extension extension;
    struct run_footer footer;
    bool finished;
};

static plsm_status write_out(struct run_writer *w)
{
    if (w->out.size == 0)
        return PLSM_OK;
    TRY(run_context_append(w->context, w->file, w->out.data, w->out.size));
    w->written += w->out.size;
    w->out.size = 0;
    return PLSM_OK;
}

static plsm_status put_header(struct run_writer *w)
{
    struct run_file_header h = {.version = RUN_VERSION, .number = w->facts.number, .salt = w->facts.salt};
    memcpy(h.magic, RUN_MAGIC, sizeof h.magic);
    h.checksum = checksum(&h, offsetof(struct run_file_header, checksum), 0);
    TRY(buf_reserve(&w->out, PAGE_SIZE));
    memset(w->out.data, 0, PAGE_SIZE);
    memcpy(w->out.data, &h, sizeof h);
    w->out.size = PAGE_SIZE;
    return PLSM_OK;
}

const struct run_plan *run_writer_plan(const struct run_writer *w)
{
    return &w->plan;
}

plsm_status run_writer_create(const struct run_context *context, uint64_t number, const struct run_plan *plan,
                              struct run_writer **out)
{
    struct run_writer *w = mem_zalloc(sizeof *w);
    if (!w)
        return fail(PLSM_NO_MEMORY, "no memory to write a run");
    w->context = context;
    w->facts.number = number;
    w->facts.oldest_s = plan->oldest_s;
    w->plan = *plan;
    w->start_ns = env_cpu_ns(context->env);
    run_path(context, number, w->path, sizeof w->path);
    env_random(context->env, &w->facts.salt, sizeof w->facts.salt);
    plsm_status status = PLSM_OK;
    bool classic = context->index == LSM_CLASSIC;
    w->page.layout = classic ? PAGE_CLASSIC : PAGE_PACKED;
    w->fences = classic ? fences_builder_create_plain() : fences_builder_create();
    if (plan->train)
        w->model = model_builder_create();
    if (!w->fences || (plan->train && !w->model))
        status = fail(PLSM_NO_MEMORY, "no memory to write a run");
    if (status == PLSM_OK && context->options->groups[plan->group].codec != CODEC_NONE)
        status = packer_create(context, plan->group, &w->packer);
    if (status == PLSM_OK && w->packer)
        w->page.size_max = packer_page_max(w->packer);
    if (status == PLSM_OK)
        status = env_open(context->env, w->path, ENV_APPEND, &w->file);
    if (status == PLSM_OK)
        status = put_header(w);
    if (status != PLSM_OK) {
        run_writer_destroy(w);
        w = NULL;
    }
    *out = w;
    return status;
}

const uint64_t *run_writer_hashes(const struct run_writer *w, size_t *count)
{
    *count = 0;
    return w->members ? membership_builder_hashes(w->members, count) : NULL;
}

const struct membership_built *run_writer_membership(const struct run_writer *w)
{
    return &w->built;
}

uint64_t run_writer_size(const struct run_writer *w)
{
    return w->written + w->out.size + (w->packer ? packer_waiting(w->packer) : 0);
}

uint64_t run_writer_entries(const struct run_writer *w)
{
    return w->facts.entries;
}

static plsm_status copy_key(struct buf *to, plsm_slice key)
{
    to->size = 0;
    return buf_append(to, key.data, key.size);
}

static struct packer_target packer_target(struct run_writer *w)
{
    return (struct packer_target){.out = &w->out, .written = w->written, .salt = w->facts.salt, .offsets = &w->offsets};
}

/* The finished page goes into the file as it is, or by way of the packer. */
static plsm_status put_page(struct run_writer *w)
{
    if (w->packer) {
        uint8_t keyspace = *(const uint8_t *)w->smallest.data;
        struct packer_target target = packer_target(w);
        w->unpacked.size = 0;
        TRY(page_builder_finish(&w->page, 0, &w->unpacked));
        return packer_page(w->packer, buf_slice(&w->unpacked), keyspace, &target);
    }
    uint64_t offset = run_writer_size(w);
    TRY(buf_append_u32(&w->offsets, (uint32_t)(offset / PAGE_SIZE)));
    TRY(page_builder_finish(&w->page, w->facts.salt ^ offset, &w->out));
    w->large_units |= run_writer_size(w) - offset > PAGE_SIZE;
    return PLSM_OK;
}

static plsm_status finish_page(struct run_writer *w)
{
    if (page_builder_empty(&w->page))
        return PLSM_OK;
    TRY(fences_builder_add(w->fences, buf_slice(&w->last_key), page_builder_first(&w->page)));
    TRY(copy_key(&w->last_key, page_builder_last(&w->page)));
    if (w->model)
        TRY(model_builder_page(w->model, buf_slice(&w->last_key)));
    TRY(put_page(w));
    w->facts.units++;
    return w->out.size >= WRITE_BYTES ? write_out(w) : PLSM_OK;
}

/* Begins to gather what tells whether the run may hold a key; `key` is its first. */
static plsm_status start_members(struct run_writer *w, plsm_slice key)
{
    const struct run_plan *plan = &w->plan;
    struct membership_wish wish = {.bits = plan->filter_bits,
                                   .keys = plan->keys_expected,
                                   .fuse_only = plan->fuse_only,
                                   .small = plan->small,
                                   .tailored = plan->tailored,
                                   .gapless = plan->young && w->context->young,
                                   .blocked = plan->blocked,
                                   .bloom = w->page.layout == PAGE_CLASSIC};
    if (plan->tailored && w->context->samples)
        TRY(samples_classifier(w->context->samples, *(const uint8_t *)key.data, plan->filter_bits, plan->keys_expected,
                               &w->classifier));
    wish.classifier = buf_slice(&w->classifier);
    w->members = membership_builder_create(&wish);
    return w->members ? PLSM_OK : fail(PLSM_NO_MEMORY, "no memory to write a run");
}

static plsm_status add_member(struct run_writer *w, plsm_slice key, uint64_t hash, size_t shared)
{
    if (!w->members)
        TRY(start_members(w, key));
    if (w->context->samples && w->keys++ % SAMPLES_PERIOD_KEYS == 0)
        samples_key(w->context->samples, key);
    return membership_builder_add(w->members, key, hash, shared, *(const uint8_t *)key.data == LSM_DIRECTORY_BYTE);
}

/* The key of the entry before; empty in front of the first. */
static plsm_slice key_before(const struct run_writer *w)
{
    if (!page_builder_empty(&w->page))
        return page_builder_last(&w->page);
    return buf_slice(&w->last_key);
}

/* Counts what an entry points to. */
static plsm_status add_pointer(struct run_writer *w, plsm_slice key, const struct value_pointer *pointer)
{
    const size_t size = sizeof(struct run_values);
    struct run_values *list = (struct run_values *)(void *)w->values.data;
    size_t low = 0, count = w->values.size / size, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (list[middle].log < pointer->log)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == count || list[low].log != pointer->log) {
        TRY(buf_append(&w->values, &(struct run_values){0}, size));
        list = (struct run_values *)(void *)w->values.data;
        memmove(list + low + 1, list + low, (count - low) * size);
        list[low] = (struct run_values){.log = pointer->log};
    }
    list[low].bytes += value_record_size(key.size, pointer);
    return PLSM_OK;
}

plsm_status run_writer_add(struct run_writer *w, const struct entry *entry)
{
    uint64_t value_size = entry->value.size;
    if (__builtin_expect(entry->separated, 0)) {
        struct value_pointer pointer = value_pointer_of(entry);
        value_size = pointer.size;
        TRY(add_pointer(w, entry->key, &pointer));
    }
    plsm_slice before = key_before(w);
    size_t shared = slice_common(before, entry->key);
    bool again = w->facts.entries > 0 && shared == before.size && shared == entry->key.size;
    uint64_t hash = key_hash(entry->key.data, entry->key.size);
    if (w->facts.entries == 0)
        TRY(copy_key(&w->smallest, entry->key));
    w->facts.versions |= again;
    if (!page_builder_fits(&w->page, entry, shared))
        TRY(finish_page(w));
    if (!again && w->plan.filter_bits)
        TRY(add_member(w, entry->key, hash, shared));
    if (!again && w->model)
        TRY(model_builder_key(w->model, entry->key, shared));
    if (__builtin_expect(entry->expires_s != 0, 0) && entry->kind == BATCH_PUT)
        expiry_sample_add(&w->expiries, entry->expires_s);
    w->facts.entries++;
    w->facts.deletions += entry->kind == BATCH_DELETE;
    w->facts.key_bytes += entry->key.size;
    w->facts.value_bytes += value_size + entry->meta.size;
    /* A separated value is a pointer that was made just now. */
    return page_builder_add(&w->page, entry, hash, shared, w->plan.flush && !entry->separated);
}

plsm_status run_writer_add_range(struct run_writer *w, const struct tombstone *t, plsm_slice from, plsm_slice to)
{
    if (w->facts.ranges++ == 0) {
        TRY(copy_key(&w->ranges_from, from));
        w->ranges_seq = t->seq;
    }
    TRY(copy_key(&w->ranges_to, to));
    return tombstone_encode(&w->ranges, t, from, to);
}

/* Appends a block behind the pages and notes its place. */
static plsm_status put_place(struct run_writer *w, struct run_block_place *place, size_t start)
{
    place->offset = w->written + start;
    place->size = w->out.size - start;
    place->checksum = checksum(w->out.data + start, place->size, w->facts.salt);
    while (w->out.size % 8)
        TRY(buf_append(&w->out, "", 1));
    return PLSM_OK;
}

static plsm_status put_block(struct run_writer *w, enum run_block which, size_t start)
{
    return put_place(w, &w->footer.blocks[which], start);
}

/* The filter, and into *membership what is to serve in its place. */
static plsm_status put_filter(struct run_writer *w, struct buf *membership)
{
    size_t start = w->out.size;
    uint64_t start_ns = env_cpu_ns(w->context->env);
    struct sample_list misses = {0};
    plsm_status status = PLSM_OK;
    if (!w->members)
        return put_block(w, RUN_FILTER, start);
    if (w->context->samples && w->plan.tailored)
        status = samples_held_out(w->context->samples, buf_slice(&w->smallest), buf_slice(&w->last_key), &misses);
    if (status == PLSM_OK)
        status = membership_builder_finish(w->members, misses.keys, misses.count, &w->out, membership, &w->built);
    sample_list_free(&misses);
    TRY(status);
    w->facts.filter_keys = w->built.hashes;
    uint64_t spent_ns = env_cpu_ns(w->context->env) - start_ns;
    w->footer.filter_us = (uint32_t)(spent_ns / 1000);
    counter_add(w->context->counters, COUNT_FILTER_NS, spent_ns);
    counter_add(w->context->counters, COUNT_FILTER_KEYS, w->built.hashes);
    counter_add(w->context->counters, COUNT_FILTER_MISSED, w->built.missed);
    return put_block(w, RUN_FILTER, start);
}

static plsm_status put_membership(struct run_writer *w, const struct buf *membership)
{
    size_t start = w->out.size;
    TRY(buf_append(&w->out, membership->data, membership->size));
    return put_place(w, &w->footer.membership, start);
}

static plsm_status put_ranges(struct run_writer *w)
{
    size_t start = w->out.size;
    if (w->facts.ranges == 0)
        return PLSM_OK;
    TRY(buf_append_varint(&w->out, w->facts.ranges));
    TRY(buf_append(&w->out, w->ranges.data, w->ranges.size));
    return put_place(w, &w->extension.ranges, start);
}

/* Which value logs the run points into; also into its facts. */
static plsm_status put_values(struct run_writer *w)
{
    size_t start = w->out.size;
    w->facts.values = (const struct run_values *)(const void *)w->values.data;
    w->facts.values_count = w->values.size / sizeof *w->facts.values;
    for (size_t i = 0; i < w->facts.values_count; i++) {
        TRY(buf_append_varint(&w->out, w->facts.values[i].log));
        TRY(buf_append_varint(&w->out, w->facts.values[i].bytes));
    }
    return put_place(w, &w->extension.values, start);
}

static plsm_status put_model(struct run_writer *w)
{
    size_t start = w->out.size;
    if (w->model) {
        uint64_t start_ns = env_cpu_ns(w->context->env);
        struct model_wish wish = run_model_wish(
            w->context, w->plan.group, fences_memory_expected(w->facts.units, w->footer.blocks[RUN_FENCES].size));
        bool built = false;
        TRY(model_builder_finish(w->model, &wish, w->facts.entries, env_wall_ns(w->context->env), &w->out, &built));
        if (built && !w->context->options->groups[w->plan.group].embed) {
            TRY(run_model_write(w->context, w->facts.number, w->facts.salt,
                                slice(w->out.data + start, w->out.size - start)));
            w->out.size = start;
        }
        uint64_t spent_ns = env_cpu_ns(w->context->env) - start_ns;
        w->footer.train_us = (uint32_t)(spent_ns / 1000);
        counter_add(w->context->counters, COUNT_TRAIN_NS, spent_ns);
        counter_add(w->context->counters, COUNT_TRAIN_KEYS, w->facts.entries);
    }
    return put_block(w, RUN_MODEL, start);
}

static plsm_status put_blocks(struct run_writer *w, struct buf *membership)
{
    size_t start = w->out.size;
    TRY(fences_builder_finish(w->fences, &w->out));
    TRY(put_block(w, RUN_FENCES, start));
    TRY(put_filter(w, membership));
    start = w->out.size;
    if (w->large_units || w->packer)
        TRY(buf_append(&w->out, w->offsets.data, w->offsets.size));
    TRY(put_block(w, RUN_OFFSETS, start));
    TRY(put_model(w));
    start = w->out.size;
    TRY(buf_append_slice(&w->out, buf_slice(&w->smallest)));
    TRY(buf_append_slice(&w->out, buf_slice(&w->last_key)));
    TRY(put_block(w, RUN_BOUNDS, start));
    TRY(put_membership(w, membership));
    TRY(put_ranges(w));
    return put_values(w);
}

/* The bounds: those of the entries, and of the range tombstones where these reach further. */
static void set_bounds(struct run_writer *w)
{
    struct run_facts *facts = &w->facts;
    facts->smallest = buf_slice(&w->smallest);
    facts->largest = buf_slice(&w->last_key);
    if (facts->ranges == 0)
        return;
    plsm_slice last = tombstone_last_key(buf_slice(&w->ranges_to));
    if (slice_compare(buf_slice(&w->ranges_from), facts->smallest) < 0)
        facts->smallest = buf_slice(&w->ranges_from);
    if (slice_compare(last, facts->largest) > 0)
        facts->largest = last;
}

/* Writes the last pages. */
static plsm_status put_last_pages(struct run_writer *w)
{
    TRY(finish_page(w));
    if (w->packer) {
        struct packer_target target = packer_target(w);
        TRY(packer_finish(w->packer, &target));
    }
    TRY(write_out(w));
    unsigned shift = w->packer ? UNIT_ALIGN_SHIFT : PAGE_SHIFT;
    return buf_append_u32(&w->offsets, (uint32_t)(w->written >> shift)); /* where the last unit ends */
}

/* Into the extension what the packer did, and into the file its dictionary. */
static plsm_status put_packing(struct run_writer *w)
{
    struct packer_sums sums;
    size_t start = w->out.size;
    if (!w->packer)
        return PLSM_OK;
    packer_get_sums(w->packer, &sums);
    w->extension.raw_bytes = sums.raw_bytes;
    w->extension.codecs = sums.codecs;
    w->footer.codec = RUN_COMPRESSED;
    TRY(buf_append(&w->out, sums.dictionary.data, sums.dictionary.size));
    return put_place(w, &w->extension.dictionary, start);
}

plsm_status run_writer_finish(struct run_writer *w, uint64_t seq_max, struct run_facts *facts)
{
    struct buf membership = {0};
    if (w->facts.entries == 0) {
        INVARIANT(w->facts.ranges > 0);
        struct entry entry = {.key = buf_slice(&w->ranges_from), .seq = w->ranges_seq, .kind = BATCH_DELETE};
        TRY(run_writer_add(w, &entry));
    }
    TRY(put_last_pages(w));
    plsm_status status = put_blocks(w, &membership);
    buf_free(&membership);
    TRY(status);
    TRY(put_packing(w));
    w->facts.seq_max = seq_max;
    set_bounds(w);
    struct run_footer *f = &w->footer;
    f->number = w->facts.number;
    f->salt = w->facts.salt;
    f->entries = w->facts.entries;
    f->deletions = w->facts.deletions;
    f->key_bytes = w->facts.key_bytes;
    f->value_bytes = w->facts.value_bytes;
    f->filter_keys = w->facts.filter_keys;
    f->seq_max = seq_max;
    f->units = w->facts.units;
    f->versions = w->facts.versions;
    f->version = RUN_VERSION;
    f->job = w->plan.job ? w->plan.job : (uint32_t)w->facts.number;
    f->write_us = (uint32_t)((env_cpu_ns(w->context->env) - w->start_ns) / 1000);
    memcpy(f->magic, RUN_FOOTER_MAGIC, sizeof f->magic);
    f->checksum = checksum(f, offsetof(struct run_footer, checksum), w->facts.salt);
    w->facts.expiring = w->extension.expiring = w->expiries.count;
    w->facts.due_s = w->extension.due_s = expiry_due_s(&w->expiries, w->facts.entries);
    w->extension.merged = w->plan.merged;
    w->extension.checksum = checksum(&w->extension, offsetof(struct run_extension, checksum), w->facts.salt);
    TRY(buf_append(&w->out, &w->extension, sizeof w->extension));
    TRY(buf_append(&w->out, f, sizeof *f));
    TRY(write_out(w));
    TRY(env_sync(w->file));
    w->facts.file_size = w->written;
    w->finished = true;
    *facts = w->facts;
    return PLSM_OK;
}

void run_writer_destroy(struct run_writer *w)
{
    if (!w)
        return;
    if (w->file && !w->finished) {
        env_close(w->file);
        w->file = NULL;
        env_remove(w->context->env, w->path); /* if that fails too, the next open removes it */
        if (w->plan.train && !w->context->options->groups[w->plan.group].embed) {
            run_model_path(w->context, w->facts.number, w->path, sizeof w->path);
            env_remove(w->context->env, w->path);
        }
    }
    env_close(w->file);
    packer_destroy(w->packer);
    page_builder_free(&w->page);
    buf_free(&w->unpacked);
    buf_free(&w->out);
    buf_free(&w->smallest);
    buf_free(&w->last_key);
    buf_free(&w->offsets);
    buf_free(&w->ranges);
    buf_free(&w->ranges_from);
    buf_free(&w->ranges_to);
    fences_builder_destroy(w->fences);
    model_builder_destroy(w->model);
    membership_builder_destroy(w->members);
    buf_free(&w->classifier);
    buf_free(&w->values);
    mem_free(w);
}
