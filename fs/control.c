#include "fs/control.h"

#include <errno.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/env.h"
#include "base/error.h"
#include "fs/transport.h"
#include "base/banned.h"

static const uint64_t snapshot_ns = 1000000000;

struct control_text {
    struct buf text;
    uint64_t taken_ns, taken_wall_ns;
    unsigned users; /* control lock */
};

static const char *const op_names[FS_OP_COUNT] = {
#define FS_OP_NAME(name) [FS_OP_##name] = #name,
    FS_OPS(FS_OP_NAME)
#undef FS_OP_NAME
};

/* Where a list of lines goes; remembers that one did not fit. */
struct lines {
    struct buf *text;
    plsm_status status;
};

static void print_statistic(void *arg, const plsm_statistic *statistic)
{
    struct lines *lines = arg;
    plsm_status status = PLSM_OK;
    if (statistic->is_text)
        status = buf_printf(lines->text, "%s %s\n", statistic->name, statistic->text);
    else if (statistic->is_integer)
        status = buf_printf(lines->text, "%s %llu\n", statistic->name, (unsigned long long)statistic->integer);
    else
        status = buf_printf(lines->text, "%s %.6g\n", statistic->name, statistic->real);
    if (status != PLSM_OK)
        lines->status = status;
}

static plsm_status print_mount(struct fs *fs, struct buf *text)
{
    mutex_lock(&fs->nodes.lock);
    size_t nodes = fs->nodes.count;
    mutex_unlock(&fs->nodes.lock);
    TRY(buf_printf(text, "fs.nodes %zu\n", nodes));
    TRY(buf_printf(text, "fs.transport %s\nfs.threads %u\n", transport_name(fs->transport),
                   transport_threads(fs->transport)));
    for (int op = 0; op < FS_OP_COUNT; op++) {
        const struct histogram *h = &fs->op_ns[op];
        TRY(buf_printf(text, "fs.%s.count %llu\n", op_names[op], (unsigned long long)histogram_count(h)));
        TRY(buf_printf(text, "fs.%s.p50_us %.3f\n", op_names[op], (double)histogram_quantile(h, 0.5) / 1000));
        TRY(buf_printf(text, "fs.%s.p99_us %.3f\n", op_names[op], (double)histogram_quantile(h, 0.99) / 1000));
    }
    mutex_lock(&fs->error_lock);
    plsm_status status = buf_printf(text, "fs.errors %llu\n", (unsigned long long)fs->errors);
    if (status == PLSM_OK && fs->error_last[0])
        status = buf_printf(text, "fs.error_last %s\n", fs->error_last);
    mutex_unlock(&fs->error_lock);
    return status;
}

static void put_locked(struct control_text *text)
{
    if (text && --text->users == 0) {
        buf_free(&text->text);
        mem_free(text);
    }
}

/* Makes a snapshot the newest one and gives the caller a use of it. */
static plsm_status take(struct fs *fs, struct control_text **out)
{
    struct control_text *text = mem_zalloc(sizeof *text);
    if (!text)
        return fail(PLSM_NO_MEMORY, "no memory for .stats");
    struct lines lines = {.text = &text->text};
    text->users = 2;
    text->taken_ns = env_now_ns(env_posix());
    text->taken_wall_ns = env_wall_ns(env_posix());
    plsm_statistics(fs->db, print_statistic, &lines);
    if (lines.status == PLSM_OK)
        lines.status = print_mount(fs, &text->text);
    if (lines.status != PLSM_OK) {
        buf_free(&text->text);
        mem_free(text);
        return lines.status;
    }
    mutex_lock(&fs->control_lock);
    put_locked(fs->control_newest);
    fs->control_newest = text;
    mutex_unlock(&fs->control_lock);
    *out = text;
    return PLSM_OK;
}

static void fill_attr(const struct fs *fs, const struct control_text *text, struct attr *attr, uint64_t *size)
{
    struct timespec taken = {(time_t)(text->taken_wall_ns / 1000000000), (long)(text->taken_wall_ns % 1000000000)};
    *attr = (struct attr){.ino = CONTROL_INO,
                          .mode = S_IFREG | 0600,
                          .uid = fs->owner,
                          .gid = fs->owner_group,
                          .mtime = taken,
                          .ctime = taken,
                          .atime = taken};
    *size = text->text.size;
}

plsm_status control_lookup(struct fs *fs, struct attr *attr, uint64_t *size)
{
    struct control_text *text = NULL;
    TRY(take(fs, &text));
    fill_attr(fs, text, attr, size);
    control_release(fs, text);
    return PLSM_OK;
}

plsm_status control_stat(struct fs *fs, struct attr *attr, uint64_t *size)
{
    mutex_lock(&fs->control_lock);
    bool there = fs->control_newest != NULL;
    if (there)
        fill_attr(fs, fs->control_newest, attr, size);
    mutex_unlock(&fs->control_lock);
    return there ? PLSM_OK : control_lookup(fs, attr, size);
}

struct control_text *control_open(struct fs *fs)
{
    struct control_text *text = NULL;
    mutex_lock(&fs->control_lock);
    if (fs->control_newest && env_now_ns(env_posix()) - fs->control_newest->taken_ns < snapshot_ns) {
        text = fs->control_newest;
        text->users++;
    }
    mutex_unlock(&fs->control_lock);
    return text || take(fs, &text) == PLSM_OK ? text : NULL;
}

void control_release(struct fs *fs, struct control_text *text)
{
    mutex_lock(&fs->control_lock);
    put_locked(text);
    mutex_unlock(&fs->control_lock);
}

void control_destroy(struct fs *fs)
{
    put_locked(fs->control_newest);
    fs->control_newest = NULL;
}

plsm_slice control_read(const struct control_text *text, uint64_t offset, size_t size)
{
    if (offset >= text->text.size)
        return slice(NULL, 0);
    size_t left = text->text.size - (size_t)offset;
    return slice(text->text.data + offset, size < left ? size : left);
}

int control_write(struct fs *fs, plsm_slice data)
{
    if (!slice_equal(data, slice_of("reset")) && !slice_equal(data, slice_of("reset\n")))
        return EINVAL;
    plsm_statistics_reset(fs->db);
    for (int op = 0; op < FS_OP_COUNT; op++)
        histogram_reset(&fs->op_ns[op]);
    mutex_lock(&fs->control_lock);
    put_locked(fs->control_newest); /* shows the counters of before */
    fs->control_newest = NULL;
    mutex_unlock(&fs->control_lock);
    mutex_lock(&fs->error_lock);
    fs->errors = 0;
    fs->error_last[0] = 0;
    mutex_unlock(&fs->error_lock);
    return 0;
}
