/* Records on stdin into the store: batches of records or one bulk load, large values streamed, memory bounded whatever
 * comes. */
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/changes.h"
#include "base/error.h"
#include "tools/progress.h"
#include "tools/target.h"
#include "tools/text.h"

#include "base/banned.h"

enum { INPUT_SIZE = 1 << 20, BATCH_RECORDS = 1000, BATCH_BYTES = 8 << 20 };

/* The state between two reads of input, which may end anywhere: within a key, a value or an escape. */
struct load {
    struct target target;
    plsm_durability durability;
    plsm_bulk *bulk;     /* sorted records go there; NULL: into batches, also where the engine has no bulk loads */
    struct buf last_key; /* of sorted records */
    bool in_edit;        /* the value being read is large and goes into the target's edit */
    struct buf key, value;
    bool in_value; /* the separator behind the key has been read */
    bool begun;    /* something of the current record has been read */
    enum change_kind kind;
    uint64_t records;   /* complete ones */
    uint64_t committed; /* records that are in the store */
    uint64_t bytes;     /* of input */
};

/* Batches keep the order of input: when a key comes twice, the later value wins. */
static plsm_status write_batch(struct load *load)
{
    TRY(target_commit(&load->target, load->durability));
    if (!load->bulk) /* then what is in the load itself comes in at its end */
        load->committed = load->records;
    return PLSM_OK;
}

/* Whether the key of a sorted record comes behind the one before it. */
static plsm_status check_order(struct load *load)
{
    plsm_slice key = buf_slice(&load->key);
    char quoted[256];
    if (!load->bulk)
        return PLSM_OK;
    if (load->last_key.size > 0 && slice_compare(key, buf_slice(&load->last_key)) <= 0)
        return fail(PLSM_INVALID,
                    "its key %s does not come behind the one before it: it is not sorted by bytes, or twice",
                    text_quote(quoted, sizeof quoted, key));
    load->last_key.size = 0;
    return buf_append(&load->last_key, key.data, key.size);
}

/* Moves what `value` holds into the edit. */
static plsm_status write_piece(struct load *load)
{
    TRY(target_edit_write(&load->target, buf_slice(&load->value)));
    load->value.size = 0;
    return PLSM_OK;
}

/* A piece of a value, as small as one byte where there are escapes. What outgrows the tree goes on through an edit, in
 * pieces of that size, and takes no more memory. */
static plsm_status add_value(struct load *load, plsm_slice bytes)
{
    TRY(buf_append(&load->value, bytes.data, bytes.size));
    if (load->value.size <= PLSM_INLINE_MAX)
        return PLSM_OK;
    if (load->kind != CHANGE_PUT)
        return fail(PLSM_TOO_LARGE, "the bound of a range is over %u bytes", PLSM_KEY_MAX);
    if (!load->in_edit) {
        /* Records before this one must be in the store before it, in case they have the same key. */
        TRY(write_batch(load));
        TRY(check_order(load));
        TRY(target_edit_open(&load->target, buf_slice(&load->key)));
        load->in_edit = true;
    }
    return write_piece(load);
}

static plsm_status add_bytes(struct load *load, plsm_slice bytes)
{
    load->begun = true;
    if (load->in_value)
        return add_value(load, bytes);
    if (load->key.size + bytes.size > PLSM_KEY_MAX)
        return fail(PLSM_TOO_LARGE, "the key is over %u bytes", PLSM_KEY_MAX);
    return buf_append(&load->key, bytes.data, bytes.size);
}

static plsm_status end_key(struct load *load)
{
    load->begun = true;
    load->in_value = true;
    return load->key.size > 0 || load->kind == CHANGE_DELETE_RANGE ? PLSM_OK : fail(PLSM_INVALID, "the key is empty");
}

/* What the mark at the head of a line says: a deletion. */
static plsm_status begin_deletion(struct load *load, uint8_t mark)
{
    if (load->begun)
        return fail(PLSM_INVALID, "a mark stands at the head of a line only");
    load->kind = change_kind_of(mark);
    load->begun = true;
    if (load->kind != CHANGE_DELETE && load->kind != CHANGE_DELETE_RANGE)
        return fail(PLSM_INVALID, "a condition: it needs one batch for all, as `plsm write` makes it");
    return load->bulk ? fail(PLSM_INVALID, "a deletion: sorted records can only be added") : PLSM_OK;
}

static plsm_status add_deletion(struct load *load)
{
    plsm_slice key = buf_slice(&load->key);
    if (load->kind == CHANGE_DELETE_RANGE) {
        if (!load->in_value)
            return fail(PLSM_INVALID, "no tab between the bounds of a range");
        return target_change(&load->target, load->kind, key, buf_slice(&load->value));
    }
    if (load->in_value)
        return fail(PLSM_INVALID, "a tab behind a key that is to be deleted");
    if (key.size == 0)
        return fail(PLSM_INVALID, "the key is empty");
    return target_change(&load->target, load->kind, key, (plsm_slice){0});
}

static plsm_status end_record(struct load *load)
{
    plsm_slice none = {0};
    if (load->kind != CHANGE_PUT) {
        TRY(add_deletion(load));
    } else if (!load->in_value) {
        return fail(PLSM_INVALID, load->begun ? "no tab between key and value" : "an empty line");
    } else if (load->in_edit) {
        TRY(write_piece(load));
        TRY(target_edit_commit(&load->target, load->durability));
        load->in_edit = false;
        load->committed++;
    } else if (load->bulk) {
        TRY(check_order(load));
        TRY(plsm_bulk_put(load->bulk, PLSM_NAMES, buf_slice(&load->key), none, buf_slice(&load->value)));
    } else {
        TRY(target_change(&load->target, CHANGE_PUT, buf_slice(&load->key), buf_slice(&load->value)));
    }
    load->records++;
    load->key.size = 0;
    load->value.size = 0;
    load->in_value = false;
    load->begun = false;
    load->kind = CHANGE_PUT;
    if (load->target.count >= BATCH_RECORDS || load->target.bytes >= BATCH_BYTES)
        TRY(write_batch(load));
    return PLSM_OK;
}

static plsm_status take_text(struct load *load, struct text_unescape *decoder, const uint8_t *at, const uint8_t *end)
{
    for (;;) {
        plsm_slice bytes = {0};
        switch (text_unescape_next(decoder, &at, end, &bytes)) {
        case TEXT_END:
            return PLSM_OK;
        case TEXT_BYTES:
            TRY(add_bytes(load, bytes));
            break;
        case TEXT_TAB: /* the first one separates; further ones are part of the value */
            TRY(load->in_value ? add_value(load, slice("\t", 1)) : end_key(load));
            break;
        case TEXT_NEWLINE:
            TRY(end_record(load));
            break;
        case TEXT_MARK:
            TRY(begin_deletion(load, *(const uint8_t *)bytes.data));
            break;
        case TEXT_BAD:
            return fail(PLSM_INVALID, "an escape is none of \\t \\n \\\\ \\0 \\xHH");
        }
    }
}

static plsm_status take_null(struct load *load, const uint8_t *at, const uint8_t *end)
{
    while (at < end) {
        const uint8_t *stop = memchr(at, 0, (size_t)(end - at));
        size_t size = (size_t)((stop ? stop : end) - at);
        if (size > 0)
            TRY(add_bytes(load, slice(at, size)));
        if (!stop)
            break;
        TRY(load->in_value ? end_record(load) : end_key(load));
        at = stop + 1;
    }
    return PLSM_OK;
}

/* Reads and stores until the input or the luck ends; the last batch is left to the caller. */
static plsm_status load_input(struct load *load, bool null, struct progress *progress)
{
    struct text_unescape decoder = {0};
    uint8_t *input = mem_alloc(INPUT_SIZE);
    plsm_status status = input ? PLSM_OK : PLSM_NO_MEMORY;
    while (status == PLSM_OK) {
        ssize_t got = read(STDIN_FILENO, input, INPUT_SIZE);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            status = fail_errno(errno, "standard input", "read");
        if (got <= 0)
            break;
        load->bytes += (uint64_t)got;
        status = null ? take_null(load, input, input + got) : take_text(load, &decoder, input, input + got);
        progress_update(progress, load->bytes);
    }
    mem_free(input);
    if (status != PLSM_OK)
        return status;
    if (!text_unescape_complete(&decoder))
        return fail(PLSM_INVALID, "the input ends within an escape");
    if (null)
        return load->begun ? fail(PLSM_INVALID, "the input ends within a record") : PLSM_OK;
    return load->begun ? end_record(load) : PLSM_OK; /* the last newline may be missing */
}

/* What remains when the input has come to its end, or to a bad record. */
static enum tool_exit end_load(struct tool *tool, struct load *load, plsm_status status)
{
    bool bad_input = status == PLSM_INVALID || status == PLSM_TOO_LARGE;
    enum tool_exit code = TOOL_OK;
    if (bad_input) {
        tool_say(tool, "standard input: record %llu: %s", (unsigned long long)load->records + 1, plsm_message());
        code = TOOL_ERROR;
    } else if (status != PLSM_OK) {
        code = tool_error(tool, status);
    }
    if (load->bulk) {
        if (status == PLSM_OK && (status = plsm_bulk_finish(load->bulk)) != PLSM_OK)
            code = tool_error(tool, status);
        if (code != TOOL_OK && load->committed == 0)
            tool_say(tool, "nothing is stored");
        else if (code != TOOL_OK)
            tool_say(tool, "only %llu large values are stored", (unsigned long long)load->committed);
        return code;
    }
    if ((status == PLSM_OK || bad_input) &&
        (status = write_batch(load)) != PLSM_OK) /* the good ones before a bad one */
        code = tool_error(tool, status);
    if (code != TOOL_OK)
        tool_say(tool, "the first %llu records are stored", (unsigned long long)load->committed);
    return code;
}

/* For sorted records. Other engines than the tree gain nothing by the order. */
static plsm_status begin_bulk(struct tool *tool, struct load *load)
{
    if (load->target.remote)
        return fail(PLSM_UNSUPPORTED, "the store is mounted: without --sorted its daemon takes the records");
    plsm_status status = plsm_bulk_create(load->target.db, &load->bulk);
    if (status != PLSM_UNSUPPORTED)
        return status;
    tool_say(tool, "%s: records are stored in batches", plsm_message());
    return PLSM_OK;
}

static enum tool_exit load_all(struct tool *tool, struct load *load, bool null, bool sorted)
{
    struct stat input = {0}; /* a file tells how much there will be, a pipe does not */
    struct progress progress;
    uint64_t size = fstat(STDIN_FILENO, &input) == 0 && S_ISREG(input.st_mode) ? (uint64_t)input.st_size : 0;
    plsm_status status = PLSM_OK;
    progress_start(&progress, "load", size, true);
    if (sorted)
        status = begin_bulk(tool, load);
    if (status == PLSM_OK)
        status = load_input(load, null, &progress);
    enum tool_exit code = end_load(tool, load, status);
    progress_end(&progress);
    if (code == TOOL_OK && isatty(STDERR_FILENO)) {
        char count[TEXT_NUMBER_SIZE], rate[TEXT_NUMBER_SIZE], bytes[TEXT_NUMBER_SIZE];
        double seconds = progress_seconds(&progress);
        tool_say(tool, "%s records, %s in %.1f s (%s/s)", text_count(count, (double)load->records),
                 text_bytes(bytes, load->bytes), seconds, text_count(rate, (double)load->records / seconds));
    }
    plsm_bulk_destroy(load->bulk);
    buf_free(&load->key);
    buf_free(&load->last_key);
    buf_free(&load->value);
    return code;
}

static enum tool_exit run(struct tool *tool, int argc, char **argv)
{
    static const struct option longs[] = {{"null", no_argument, NULL, '0'},
                                          {"create", no_argument, NULL, 'c'},
                                          {"sorted", no_argument, NULL, 's'},
                                          {NULL, 0, NULL, 0}};
    bool null = false, create = false, sorted = false;
    int option = 0;
    while ((option = tool_next_option(tool, argc, argv, "0cs", longs)) > 0)
        *(option == '0' ? &null : option == 'c' ? &create : &sorted) = true;
    if (option != TOOL_OPTION_END)
        return tool_option_exit(option);
    if (!tool_check_count(tool, argc - optind, 1, 1))
        return TOOL_USAGE;
    struct load load = {.durability = tool_durability(tool)};
    enum tool_exit code = target_open(tool, argv[optind], create ? PLSM_CREATE : 0, &load.target);
    if (code != TOOL_OK)
        return code;
    code = load_all(tool, &load, null, sorted);
    return target_close(tool, &load.target, code);
}

const struct command command_load = {
    .name = "load",
    .arguments = "STORE",
    .summary = "Stores the records on standard input",
    .help =
        "One record a line: KEY, a tab, VALUE, with the escapes \\t \\n \\\\ \\0 \\xHH, as dump writes them. A key\n"
        "that is there gets the new value. Records before a bad one are stored. A line \\-KEY deletes a key, \\~FROM\n"
        "tab TO the keys in [FROM, TO); an empty TO: to the end. -o ttl=SECONDS has what is stored expire.\n\n"
        "  -0, --null     KEY NUL VALUE NUL, without escapes\n"
        "  -c, --create   make the store when there is none\n"
        "  -s, --sorted   the keys ascend (as by LC_ALL=C sort, or from dump): written straight into the files\n"
        "                 of the tree, faster and once; all records are stored at once, or none where one is bad\n"
        "                 (values over 128 KiB are stored by themselves). Engines other than lsm take them in\n"
        "                 batches all the same\n\n"
        "Example:\n  zcat words.gz | plsm load --create /var/lib/words\n",
    .writes = true,
    .run = run,
};
