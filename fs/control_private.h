/* What the files control*.c share. */
#ifndef FS_CONTROL_PRIVATE_H
#define FS_CONTROL_PRIVATE_H

#include <fuse_lowlevel.h>
#include <sys/types.h>

#include "base/bytes.h"
#include "base/changes.h"
#include "fs/commit.h"
#include "fs/control.h"
#include "fs/escape.h"
#include "fs/handles.h"
#include "fs/transport.h"

enum control_kind {
    CONTROL_NONE,
    CONTROL_TOP, /* .plsm itself */
    CONTROL_STATS_TEXT,
    CONTROL_STATS_JSON,
    CONTROL_METRICS,
    CONTROL_CTL,
    CONTROL_BATCH,
    CONTROL_BATCH_ERROR,
    CONTROL_LEVELS,
    CONTROL_LEVEL, /* a file in levels/ */
    CONTROL_RANGES,
    CONTROL_RANGE,     /* a directory in range/ */
    CONTROL_TSV,       /* a .tsv in range/ */
    CONTROL_ENTRY,     /* a key in a directory of range/ */
    CONTROL_SNAPSHOTS, /* what is in it are nodes of views */
    CONTROL_KINDS
};

/* What was made or counted so long ago is made anew when it is asked for. */
enum { YOUNG_NS = 1000000000 };

/* A text that does not change any more. */
struct control_text {
    struct buf text;
    uint64_t taken_ns, taken_wall_ns;
    unsigned users; /* lock of the control */
};

/* One thing that a thread of its own does, and the request that it answers. */
struct task {
    struct task *next;
    fuse_req_t req; /* NULL: it is answered already */
    struct transport_ticket ticket; /* for the answer */
    int error;
    size_t written;         /* what the write that gave the commands is answered with; 0: it is a flush */
    struct notices notices; /* of those for the kernel */
    struct buf commands;    /* of those for ctl: whole lines */
    bool answered;          /* lock of the queue: it was interrupted */
    struct node *node;      /* of those that count: what is looked at */
    bool entered;           /* by a lookup */
    struct control_handle *found; /* instead of a node: what a lookup has found before */
};
struct queue {
    mutex lock;
    condition wake;
    struct task *first, **last;
    unsigned waiting, waiting_max; /* 0: no limit, as each is a process that waits */
    _Atomic bool stop; /* changed under the lock */
    struct env_thread *thread;
};

enum { RESULTS = 16, BATCH_ERROR_SIZE = 1024 };

/* A .tsv, as it was when it was looked at last. */
struct counted_range {
    uint64_t name_hash, made_ns; /* made_ns 0: none */
    uint64_t size, hash;
    uint64_t changed_wall_ns; /* when it was first seen like this */
};
enum { COUNTED_RANGES = 64 };

struct control {
    struct fs *fs;
    uint64_t start_wall_ns;  /* the times of what has none */
    struct node_table nodes; /* its root is .plsm; the piece of each node is its name; that of .stats is "/" */
    struct queue commands, kernel, counts, drops;

    mutex lock;
    struct control_text *newest[CONTROL_KINDS]; /* lock */
    struct level_texts *levels;                 /* lock; control_levels.c */
    struct counted_range counted[COUNTED_RANGES]; /* lock */
    struct view *views;                         /* lock; control_snapshot.c */
    uint64_t views_taken;                       /* lock */
    char *results[RESULTS];                     /* lock; of commands, lines; owned */
    unsigned result_count;                      /* lock; ever */
    char batch_error[BATCH_ERROR_SIZE];         /* lock */

    _Atomic size_t found; /* what lookups have found, where files are not opened */

    /* For .stats: fs.control.* */
    _Atomic uint64_t count_commands, count_batches, count_changes, count_refused, count_ranges, count_snapshots;
};

/* What a handle of an open file is; where files are not opened, of what a lookup has found. */
struct control_handle {
    struct handle handle;
    enum control_kind kind;
    struct node *node;           /* of a lookup, held; attributes and size are as they were then. NULL: of an open */
    struct attr attr;
    uint64_t size;
    _Atomic unsigned users;      /* the open file, and requests on it: one that is answered may not have let go yet */
    pid_t opener;                /* of batch and ctl: the process that opened it; 0: not known */
    _Atomic bool closed;         /* which has no copy of it any more, as far as its closes tell */
    mutex lock;
    pid_t writer;                /* the thread that wrote to it last; 0: there is nothing that waits for a close */
    struct buf writers;          /* of pid_t: the processes that wrote what waits, some more than once */
    struct control_text *text;   /* what is read from it */
    struct buf line;             /* of ctl: a line without its end yet */
    struct control_batch *batch; /* of batch, once something was written */
    struct control_stream *stream;
    bool counted;                /* of a lookup: in fs.control.ranges, as something was read from it */
    plsm_edit *edit;             /* of an entry of a range */
};

/* What a node is, and its name. Kinds follow from names alone. */
enum control_kind control_kind(const struct control *control, const struct node *node);
static inline plsm_slice control_name(const struct node *node)
{
    return node_name(node);
}

static inline void control_set_times(struct attr *attr, uint64_t wall_ns)
{
    attr->mtime = (struct timespec){(time_t)(wall_ns / 1000000000), (long)(wall_ns % 1000000000)};
    attr->ctime = attr->atime = attr->mtime;
}

/* --- control_text.c: texts ---------------------------------------------------------------------------------------- */

/* Makes the text of a file, for a node of kind CONTROL_LEVEL of that name. PLSM_NOT_FOUND: there is none. Gives a use
 * of it, for control_text_put. With `fresh` always a new one, otherwise the newest when it is young. */
plsm_status control_text_take(struct control *control, enum control_kind kind, plsm_slice name, bool fresh,
                              struct control_text **out);
void control_text_put(struct control *control, struct control_text *text); /* accepts NULL */
/* Forgets the newest ones: they show what was before. */
void control_texts_forget(struct control *control);
/* A text of these bytes, which it takes over; NULL: no memory. One user. */
struct control_text *control_text_of(struct buf *bytes);
/* Appends a JSON string of any bytes; those that are not printable ASCII as \u00XX. */
plsm_status control_json_string(struct buf *out, plsm_slice bytes);

/* --- control_levels.c --------------------------------------------------------------------------------------------- */

plsm_status control_level_text(struct control *control, plsm_slice name, bool fresh, struct control_text **out);
/* Calls `each` with the name of every file in levels/. */
plsm_status control_levels_list(struct control *control, void (*each)(void *arg, const char *name), void *arg);
/* A command has been carried out: the next look makes texts anew, however young those are. */
void control_levels_outdate(struct control *control);
void control_levels_free(struct control *control);

/* --- control_command.c -------------------------------------------------------------------------------------------- */

plsm_status control_command_text(struct control *control, struct buf *out);
/* Answers the write. */
void control_command_write(struct control *control, struct control_handle *handle, fuse_req_t req, plsm_slice data,
                           off_t offset);
/* Answers the flush: a last line without an end is a command too. */
void control_command_flush(struct control *control, struct control_handle *handle, fuse_req_t req);
/* Adds a line to what reading ctl shows. */
void control_result(struct control *control, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The loops of the threads; `arg` is the control. That of the counts is in control.c. */
void control_run_commands(void *arg);
void control_run_kernel(void *arg);
void control_run_counts(void *arg);
void control_run_drops(void *arg);
/* Gives a task to a thread, which owns it then; false: it has ended, or too much waits. */
bool queue_add(struct queue *queue, struct task *task);
/* The next task, or NULL when the queue has ended and nothing waits. */
struct task *queue_next(struct queue *queue);

/* The last close of what a lookup has found: a line without an end is refused. */
void control_command_abandon(struct control *control, struct control_handle *handle);
/* Forgets a line without an end. */
void control_command_drop(struct control_handle *handle);
/* Answers a write, or a flush where `written` is 0. */
void control_reply(fuse_req_t req, int error, size_t written);

/* --- control_batch.c ---------------------------------------------------------------------------------------------- */

/* Each answers the request. Mutex of the handle held. `last`: nobody hears of a failure any more, so it is logged.
 * A handle of a lookup commits the lines that a write ends at once. */
void control_batch_write(struct control *control, struct control_handle *handle, fuse_req_t req, plsm_slice data);
void control_batch_commit(struct control *control, struct control_handle *handle, fuse_req_t req,
                          plsm_durability durability, bool last);
/* Refuses what was written so far and what comes until it is to be committed: a signal has ended who wrote it. */
void control_batch_kill(struct control *control, struct control_handle *handle);
/* The last close of what a lookup has found: a line without an end is refused. */
void control_batch_abandon(struct control *control, struct control_handle *handle);
void control_batch_free(struct control *control, struct control_batch *batch); /* accepts NULL */

/* --- control_close.c ---------------------------------------------------------------------------------------------- */

enum closing {
    CLOSING,        /* what was written is complete */
    CLOSING_COPY,   /* there are other copies, of the process that opened it or of others */
    CLOSING_KILLED, /* a signal has ended the process, whether or not it wrote */
};
/* What it means that a thread closes a descriptor of batch or ctl, and the process that it is of; 0: not known. */
enum closing control_closing(struct control *control, const struct control_handle *handle, pid_t pid, pid_t *group);
/* The process that a thread is of; 0: not known. */
pid_t control_process_of(pid_t pid);
/* How many other handles of the same file its process has opened and not closed (control.c). */
unsigned control_opened_beside(struct control *control, const struct control_handle *handle);

/* --- control_range.c ---------------------------------------------------------------------------------------------- */

/* The bounds that a name in range/ stands for. */
struct range {
    uint8_t from[NAME_SIZE_MAX], to[NAME_SIZE_MAX];
    size_t from_size, to_size;
    bool tsv;
};
/* False: the name is none. */
bool range_parse(plsm_slice name, struct range *out);
/* The name of a key in a range's directory; `out` has NAME_SIZE_MAX + 1 bytes; returns its size. */
size_t range_name(plsm_slice key, char *out);
/* The key that a name in a range's directory stands for, and its size and times. PLSM_NOT_FOUND. */
plsm_status range_find(struct control *control, plsm_slice range_name, plsm_slice name, struct path *key,
                       struct attr *attr, uint64_t *size);
/* Fills attributes of an entry with this key and meta. */
void range_attr(struct control *control, plsm_slice key, plsm_slice meta, struct attr *attr);
plsm_status control_stream_open(struct control *control, plsm_slice name, struct control_stream **out);
/* How many bytes it has to its end, and a hash of them. Takes as long as reading it. PLSM_INVALID: the request that
 * asks was interrupted, or the mount ends. Call it before the first read. */
plsm_status control_stream_count(struct control_stream *stream, fuse_req_t req, uint64_t *size, uint64_t *hash);
/* Up to `size` bytes at `offset`; fewer only at the end. */
plsm_status control_stream_read(struct control_stream *stream, uint64_t offset, uint8_t *data, size_t size,
                                size_t *got);
void control_stream_close(struct control_stream *stream); /* accepts NULL */
/* Size and times of a .tsv: what changes its content changes them, and nothing else does, so that rsync and tar know it
 * for the same. With `fresh` it is counted anew, as when the last count is old, and with `stream` those of that.
 * PLSM_INVALID: `req` was interrupted. */
plsm_status control_stat_tsv(struct control *control, fuse_req_t req, plsm_slice name, bool fresh,
                             struct control_stream *stream, struct attr *attr, uint64_t *size);

/* --- control_list.c: listings of directories that are not in the store -------------------------------------------- */

void control_opendir(fuse_req_t req, struct node *node, struct fuse_file_info *fi);
void control_readdir(fuse_req_t req, struct node *node, size_t size, off_t offset, struct fuse_file_info *fi,
                     bool plus);
void control_releasedir(fuse_req_t req, struct fuse_file_info *fi);
/* Calls `each` for the files and directories in .plsm. */
void control_top_list(void (*each)(void *arg, const char *name), void *arg);
bool control_top_is_directory(const char *name);
/* The attributes of a node of this kind, but for the times of a text; its name tells nodes of one kind apart. */
void control_fixed_attr(struct control *control, enum control_kind kind, plsm_slice name, struct attr *attr);

/* --- control_snapshot.c: views ------------------------------------------------------------------------------------ */

/* The operations on nodes of views, which have TAG_VIEW. */
void past_lookup(fuse_req_t req, struct node *parent, const char *name);
void past_forget(struct fs *fs, struct node *node, uint64_t lookups);
void past_getattr(fuse_req_t req, struct node *node);
void past_readlink(fuse_req_t req, struct node *node);
void past_open(fuse_req_t req, struct node *node, struct fuse_file_info *fi);
void past_read(fuse_req_t req, struct node *node, size_t size, off_t offset, struct fuse_file_info *fi);
void past_release(fuse_req_t req, struct node *node, struct fuse_file_info *fi);
void past_opendir(fuse_req_t req, struct node *node, struct fuse_file_info *fi);
void past_readdir(fuse_req_t req, struct node *node, size_t size, off_t offset, struct fuse_file_info *fi, bool plus);
void past_releasedir(fuse_req_t req, struct node *node, struct fuse_file_info *fi);
/* In snapshots/: each answers the request. */
void snapshots_lookup(fuse_req_t req, struct control *control, const char *name);
void snapshots_mkdir(fuse_req_t req, struct control *control, const char *name);
void snapshots_rmdir(fuse_req_t req, struct control *control, const char *name);
void snapshots_list(struct control *control, void (*each)(void *arg, const char *name), void *arg);
size_t snapshots_count(struct control *control);
void snapshots_free(struct control *control);

#endif
