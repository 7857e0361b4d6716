/* The commands of `plsm shell` for keys and values of any bytes, and those for the session. */
#include "base/error.h"
#include "tools/records.h"
#include "tools/shell.h"

#include "base/banned.h"

static plsm_status no_such_key(plsm_slice key)
{
    char quoted[256];
    return fail(PLSM_NOT_FOUND, "%s: no such key", text_quote(quoted, sizeof quoted, key));
}

static plsm_status run_put(struct shell *shell, const struct shell_words *words)
{
    struct target *target = &shell->target;
    plsm_slice key = shell_word(words, 1), value = shell_word(words, 2);
    if (value.size > PLSM_INLINE_MAX) {
        TRY(target_edit_open(target, key));
        TRY(target_edit_write(target, value));
        return target_edit_commit(target, tool_durability(shell->tool));
    }
    TRY(target_change(target, CHANGE_PUT, key, value));
    return target_commit(target, tool_durability(shell->tool));
}

/* The value on one line, with escapes. */
static plsm_status run_get(struct shell *shell, const struct shell_words *words)
{
    struct records records = {.db = shell->db, .shown = shell->interactive};
    plsm_slice key = shell_word(words, 1);
    bool stopped = false, gone = false;
    plsm_status status = plsm_get(shell->db, NULL, key, &shell->value);
    if (status == PLSM_OK && shell->value.large)
        status = records_write_large(&records, key, shell->value.size, &stopped, &gone);
    else if (status == PLSM_OK)
        status = (records.shown ? text_escape_shown : text_escape)(&records.text, shell->value.value);
    if (status == PLSM_OK && !gone && buf_append(&records.text, "\n", 1) == PLSM_OK)
        tool_write(records.text.data, records.text.size);
    records_free(&records);
    return status == PLSM_NOT_FOUND || gone ? no_such_key(key) : status;
}

static plsm_status run_range(struct shell *shell, const struct shell_words *words)
{
    struct records records = {.db = shell->db, .shown = shell->interactive};
    plsm_iterator *it = NULL;
    bool stopped = false;
    plsm_status status = plsm_iterator_create(shell->db, NULL, shell_word(words, 1), shell_word(words, 2), &it);
    if (status != PLSM_OK)
        return status;
    plsm_iterator_first(it);
    while (status == PLSM_OK && plsm_iterator_valid(it) && !stopped && !shell_interrupted()) {
        status = records_write(&records, it, &stopped);
        plsm_iterator_next(it);
    }
    if (status == PLSM_OK)
        status = plsm_iterator_status(it);
    plsm_iterator_destroy(it);
    records_free(&records);
    return status;
}

static plsm_status run_remove(struct shell *shell, const struct shell_words *words)
{
    plsm_slice key = shell_word(words, 1);
    plsm_status status = target_has(&shell->target, key);
    if (status == PLSM_NOT_FOUND)
        return no_such_key(key);
    TRY(status);
    TRY(target_change(&shell->target, CHANGE_DELETE, key, (plsm_slice){0}));
    return target_commit(&shell->target, tool_durability(shell->tool));
}

static plsm_status run_flush(struct shell *shell, const struct shell_words *words)
{
    (void)words;
    return shell->target.remote ? remote_flush(shell->target.remote) : plsm_flush(shell->target.db);
}

static plsm_status run_stats(struct shell *shell, const struct shell_words *words)
{
    char prefix[64];
    plsm_slice word = shell_word(words, 1);
    snprintf(prefix, sizeof prefix, "%.*s", (int)word.size, word.size ? (const char *)word.data : "");
    plsm_statistics(shell->db, tool_print_statistic, prefix);
    return PLSM_OK;
}

/* --- the session -------------------------------------------------------------------------------------------------- */

/* The options that were given, and another index. */
static plsm_status set_index(struct shell *shell, const char *index)
{
    char text[64];
    struct buf *options = &shell->tool->options;
    options->size = shell->options_size;
    snprintf(text, sizeof text, "index=%s", index);
    TRY(tool_add_options(shell->tool, text));
    return plsm_options_check((const char *)options->data);
}

/* Opens the store anew. When that fails it is opened as it was; when that fails too the session is over. */
static plsm_status reopen(struct shell *shell, const char *old)
{
    enum tool_exit code = target_close(shell->tool, &shell->target, TOOL_OK);
    shell->db = NULL;
    if (code == TOOL_OK)
        code = shell_open(shell, 0);
    if (code == TOOL_OK)
        return PLSM_OK;
    if (set_index(shell, old) != PLSM_OK || shell_open(shell, 0) != TOOL_OK)
        shell->ended = true;
    return fail(PLSM_IO, shell->ended ? "the store cannot be opened any more" : "the store is open as it was");
}

static plsm_status run_switch(struct shell *shell, const struct shell_words *words)
{
    char old[32], index[32];
    plsm_slice wanted = shell_word(words, 1);
    shell_index(shell, old, sizeof old);
    if (!*old)
        return fail(PLSM_UNSUPPORTED, "the engine of this store has no index to choose");
    if (wanted.size == 0)
        wanted = slice_of(strcmp(old, "learned") == 0 ? "traditional" : "learned");
    snprintf(index, sizeof index, "%.*s", (int)wanted.size, (const char *)wanted.data);
    plsm_status status = set_index(shell, index);
    if (status != PLSM_OK) {
        set_index(shell, old); /* leaves the message, as it succeeds */
        return status;
    }
    if (shell->target.db)
        TRY(reopen(shell, old));
    snprintf(shell->index, sizeof shell->index, "%s", index);
    tool_print("index: %s\n", index);
    return PLSM_OK;
}

static bool is_yes(plsm_slice word)
{
    return slice_equal(word, slice_of("yes")) || slice_equal(word, slice_of("y"));
}

static bool ask(struct shell *shell, const char *question)
{
    plsm_slice line = {0};
    return shell_input_next(&shell->input, question, false, &line) == SHELL_READ_LINE && is_yes(line);
}

static plsm_status run_reset(struct shell *shell, const struct shell_words *words)
{
    struct target *target = &shell->target;
    const plsm_slice all = {0};
    if (words->count > 1 && !is_yes(shell_word(words, 1)))
        return fail(PLSM_INVALID, "what may follow reset is yes");
    if (words->count == 1 && !shell->interactive)
        return fail(PLSM_INVALID, "it removes every key: without a terminal that takes the word yes, reset yes");
    if (words->count == 1 && !ask(shell, "Remove every key of this store? [y/N] "))
        return PLSM_OK;
    TRY(target_change(target, CHANGE_DELETE_RANGE, all, all));
    TRY(target_commit(target, tool_durability(shell->tool)));
    /* The files go at once, without being read. */
    plsm_status status = target->remote ? remote_compact(target->remote, all, all) : plsm_compact(target->db, all, all);
    if (status == PLSM_OK && target->db)
        plsm_statistics_reset(target->db);
    return status;
}

static plsm_status run_timing(struct shell *shell, const struct shell_words *words)
{
    plsm_slice word = shell_word(words, 1);
    bool on = slice_equal(word, slice_of("on"));
    if (words->count > 1 && !on && !slice_equal(word, slice_of("off")))
        return fail(PLSM_INVALID, "what may follow timing is on or off");
    if (words->count > 1)
        shell->timing = on;
    else
        tool_print("timing: %s\n", shell->timing ? "on" : "off");
    return PLSM_OK;
}

static void print_table(const struct shell_command *table)
{
    for (const struct shell_command *command = table; command->name; command++) {
        int width = 22 - (int)strlen(command->name) - 1;
        tool_print("  %s %-*s %s\n", command->name, width, command->arguments, command->summary);
    }
}

static plsm_status run_help(struct shell *shell, const struct shell_words *words)
{
    (void)shell;
    if (words->count > 1) {
        const struct shell_command *command = shell_command_find(shell_word(words, 1));
        if (!command)
            return fail(PLSM_INVALID, "there is no such command");
        tool_print("%s %s\n  %s\n", command->name, command->arguments, command->summary);
        return PLSM_OK;
    }
    tool_print(
        "Keys and values of any bytes, with the escapes \\t \\n \\\\ \\0 \\xHH; what has spaces in it goes into\n"
        "quotes, or takes a \\ in front of each:\n");
    print_table(shell_words_table);
    tool_print("\n32-bit integers, as in the course CS265; they are kept apart from all other keys:\n");
    print_table(shell_course_table);
    tool_print("\nLines that begin with # are comments.%s\n",
               shell->input.editor ? " The tab key completes commands and keys." : "");
    return PLSM_OK;
}

static plsm_status run_exit(struct shell *shell, const struct shell_words *words)
{
    (void)words;
    shell->ended = true;
    return PLSM_OK;
}

const struct shell_command shell_words_table[] = {
    {.name = "put",
     .arguments = "KEY VALUE",
     .summary = "set the value of a key",
     .least = 2,
     .most = 2,
     .takes = {SHELL_KEY},
     .run = run_put},
    {.name = "get",
     .arguments = "KEY",
     .summary = "show the value of a key",
     .least = 1,
     .most = 1,
     .reads = true,
     .takes = {SHELL_KEY},
     .run = run_get},
    {.name = "range",
     .arguments = "[FROM [TO]]",
     .summary = "show keys from FROM on to before TO, with their values",
     .most = 2,
     .reads = true,
     .takes = {SHELL_KEY, SHELL_KEY},
     .run = run_range},
    {.name = "remove",
     .arguments = "KEY",
     .summary = "remove a key",
     .least = 1,
     .most = 1,
     .takes = {SHELL_KEY},
     .run = run_remove},
    {.name = "flush", .arguments = "", .summary = "write what is in memory to a sorted run", .run = run_flush},
    {.name = "stats",
     .arguments = "[PREFIX]",
     .summary = "show the statistics whose names begin with PREFIX, or all",
     .most = 1,
     .reads = true,
     .run = run_stats},
    {.name = "switch",
     .arguments = "[INDEX]",
     .summary = "go on with the other index, or learned, traditional, classic",
     .most = 1,
     .reads = true,
     .takes = {SHELL_WORD},
     .choices = "learned|traditional|classic|",
     .run = run_switch},
    {.name = "reset",
     .arguments = "[yes]",
     .summary = "remove every key; asks first, unless yes is given",
     .most = 1,
     .takes = {SHELL_WORD},
     .choices = "yes|",
     .run = run_reset},
    {.name = "timing",
     .arguments = "[on|off]",
     .summary = "tell how long each command takes, and what it reads and writes",
     .most = 1,
     .takes = {SHELL_WORD},
     .choices = "on|off|",
     .run = run_timing},
    {.name = "help",
     .arguments = "[COMMAND]",
     .summary = "this text, or that of a command",
     .most = 1,
     .takes = {SHELL_COMMAND},
     .run = run_help},
    {.name = "exit", .arguments = "", .summary = "end; so do quit, q and the end of input", .run = run_exit},
    {0},
};
