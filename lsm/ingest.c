/* Runs of other stores: copied into this one under a number of its own, and read through before anything depends on
 * them.
 *
 * Pages and blocks are tied to their file by its salt, which the copy keeps; header and footer name the number of the
 * run as well, and are written anew. Nothing that the file says is believed: the copy is opened and checked as plsm
 * check does a run, every page, key, index, filter and sum. */
#include "lsm/ingest.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/error.h"
#include "base/banned.h"

enum { COPY_BYTES = 256 << 10, BOUNDS_BYTES_MAX = 2 * (LSM_KEY_MAX + VARINT_SIZE_MAX) };

struct ingest {
    struct lsm *db;
    struct env_file *from, *to;
    uint64_t size;
    struct run_file_header header;
    struct run_footer footer;
    struct run_facts facts;
    struct buf bounds;
    char path[4096]; /* of the copy */
};

static plsm_status damaged(const struct ingest *in, const char *what)
{
    return fail(PLSM_CORRUPT, "%s: is no whole run of a plsm store: %s", env_path(in->from), what);
}

static const uint8_t *get_key(const uint8_t *at, const uint8_t *end, plsm_slice *out)
{
    uint64_t size = 0;
    at = get_varint(at, end, &size);
    if (!at || size < 2 || size > LSM_KEY_MAX || size > (size_t)(end - at))
        return NULL;
    *out = slice(at, size);
    return at + size;
}

static plsm_status read_bounds(struct ingest *in)
{
    const struct run_block_place *place = &in->footer.blocks[RUN_BOUNDS];
    struct run_facts *f = &in->facts;
    if (place->size > BOUNDS_BYTES_MAX || place->offset > in->size || place->size > in->size - place->offset)
        return damaged(in, "the bounds are outside of it");
    TRY(buf_reserve(&in->bounds, place->size + 1));
    TRY(env_read(in->from, place->offset, in->bounds.data, place->size));
    if (place->checksum != checksum(in->bounds.data, place->size, in->header.salt))
        return damaged(in, "the bounds have a wrong checksum");
    const uint8_t *end = in->bounds.data + place->size, *at = get_key(in->bounds.data, end, &f->smallest);
    if (at)
        at = get_key(at, end, &f->largest);
    if (!at || slice_compare(f->smallest, f->largest) > 0 ||
        *(const uint8_t *)f->smallest.data != *(const uint8_t *)f->largest.data)
        return damaged(in, "the bounds make no sense");
    return PLSM_OK;
}

/* What only means something in the store that wrote the run does not come in. The checksum is looked at when the copy
 * is opened. */
static plsm_status read_extension(struct ingest *in)
{
    struct run_extension e;
    size_t size = sizeof in->footer + sizeof e;
    if (in->footer.version < 2) /* there was none */
        return PLSM_OK;
    if (in->size < PAGE_SIZE + size)
        return damaged(in, "it is too short");
    TRY(env_read(in->from, in->size - size, &e, sizeof e));
    if (e.ranges.size || e.values.size)
        return fail(PLSM_INVALID,
                    "%s: deletes ranges, or points into value logs: such a run has its place in the store "
                    "that wrote it",
                    env_path(in->from));
    in->facts.expiring = e.expiring;
    in->facts.due_s = e.due_s;
    return PLSM_OK;
}

/* Header, footer and bounds; what they say of the run goes into in->facts. */
static plsm_status read_frame(struct ingest *in)
{
    struct run_file_header *h = &in->header;
    struct run_footer *f = &in->footer;
    TRY(env_size(in->from, &in->size));
    if (in->size < PAGE_SIZE + sizeof *f)
        return damaged(in, "it is too short");
    TRY(env_read(in->from, 0, h, sizeof *h));
    TRY(env_read(in->from, in->size - sizeof *f, f, sizeof *f));
    if (memcmp(h->magic, RUN_MAGIC, sizeof h->magic) != 0)
        return damaged(in, "wrong magic");
    TRY(run_check_version(h->version, env_path(in->from)));
    if (h->checksum != checksum(h, offsetof(struct run_file_header, checksum), 0))
        return damaged(in, "the header has a wrong checksum");
    if (memcmp(f->magic, RUN_FOOTER_MAGIC, sizeof f->magic) != 0 ||
        f->checksum != checksum(f, offsetof(struct run_footer, checksum), h->salt))
        return damaged(in, "the footer has a wrong checksum");
    if (f->entries == 0 || f->units == 0 || f->versions || f->deletions)
        return fail(PLSM_INVALID,
                    "%s: holds deletions or older versions of keys, or nothing: such a run has its place "
                    "in the store that wrote it",
                    env_path(in->from));
    in->facts = (struct run_facts){.file_size = in->size,
                                   .salt = h->salt,
                                   .entries = f->entries,
                                   .key_bytes = f->key_bytes,
                                   .value_bytes = f->value_bytes,
                                   .filter_keys = f->filter_keys,
                                   .oldest_s = db_now_s(in->db),
                                   .units = f->units};
    TRY(read_extension(in));
    return read_bounds(in);
}

/* All that is between header and footer. */
static plsm_status copy_middle(struct ingest *in)
{
    plsm_status status = PLSM_OK;
    uint8_t *bytes = mem_alloc(COPY_BYTES);
    if (!bytes)
        return fail(PLSM_NO_MEMORY, "no memory to copy a run");
    uint64_t end = in->size - sizeof in->footer;
    for (uint64_t offset = sizeof in->header; offset < end && status == PLSM_OK;) {
        size_t size = end - offset < COPY_BYTES ? (size_t)(end - offset) : COPY_BYTES;
        status = env_read(in->from, offset, bytes, size);
        if (status == PLSM_OK)
            status = run_context_append(&in->db->context, in->to, bytes, size);
        offset += size;
    }
    mem_free(bytes);
    return status;
}

static plsm_status copy(struct ingest *in)
{
    struct run_file_header *h = &in->header;
    struct run_footer *f = &in->footer;
    h->number = f->number = in->facts.number;
    f->job = (uint32_t)in->facts.number;
    f->seq_max = 0;
    h->checksum = checksum(h, offsetof(struct run_file_header, checksum), 0);
    f->checksum = checksum(f, offsetof(struct run_footer, checksum), h->salt);
    TRY(env_open(in->db->env, in->path, ENV_APPEND, &in->to));
    TRY(run_context_append(&in->db->context, in->to, h, sizeof *h));
    TRY(copy_middle(in));
    TRY(run_context_append(&in->db->context, in->to, f, sizeof *f));
    return env_sync(in->to);
}

/* Reads the copy through. */
static plsm_status check(struct ingest *in, struct run *run, const struct ingest_rules *rules)
{
    struct run_body *body = NULL;
    TRY(run_open(run, &body));
    plsm_status status = check_foreign_run(in->db, run, rules->allow, rules->arg);
    if (status != PLSM_CORRUPT && status != PLSM_INVALID && status != PLSM_TOO_LARGE)
        return status;
    char what[512]; /* it names the copy, which goes */
    snprintf(what, sizeof what, "%s", plsm_message());
    return fail(status, "%s: refused: %s", env_path(in->from), what);
}

plsm_status ingest_run(struct lsm *db, const char *path, const struct ingest_rules *rules, struct run **out)
{
    struct ingest in = {.db = db};
    struct run *run = NULL;
    plsm_status status = env_open(db->env, path, ENV_READ, &in.from);
    if (status == PLSM_OK)
        status = read_frame(&in);
    if (status == PLSM_OK) {
        mutex_lock(&db->lock);
        in.facts.number = db->next_number++;
        mutex_unlock(&db->lock);
        run_path(&db->context, in.facts.number, in.path, sizeof in.path);
        status = copy(&in);
        run = status == PLSM_OK ? run_create(&db->context, &in.facts) : NULL;
        if (status == PLSM_OK && !run)
            status = fail(PLSM_NO_MEMORY, "no memory for a run");
        if (!run)
            garbage_add(db, 'r', in.facts.number);
    }
    if (run) {
        run->group = LSM_GROUP_LAST;
        run->young_need = UINT64_MAX; /* its own filter serves, wherever it will stand */
        status = check(&in, run, rules);
    }
    if (run && status != PLSM_OK) {
        atomic_store(&run->obsolete, true);
        run_unref(run);
        run = NULL;
    }
    env_close(in.from);
    env_close(in.to);
    buf_free(&in.bounds);
    *out = run;
    return status;
}
