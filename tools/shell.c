/* The session of `plsm shell`: a line, its command, and what becomes of it. See shell.h. */
#include "tools/shell.h"

#include <stdarg.h>

#include "base/error.h"
#include "tools/suggest.h"

#include "base/banned.h"

void shell_say(struct shell *shell, const char *format, ...)
{
    va_list arguments;
    tool_flush(); /* first what was said before */
    if (!shell->interactive)
        fprintf(stderr, "plsm shell: line %llu: ", (unsigned long long)shell->line_number);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

/* --- the store ---------------------------------------------------------------------------------------------------- */

enum tool_exit shell_open(struct shell *shell, plsm_open_flags flags)
{
    enum tool_exit code = target_open(shell->tool, shell->path, flags, &shell->target);
    shell->db = shell->target.db;
    return code;
}

plsm_status shell_reader_open(struct shell *shell)
{
    if (shell->db)
        return PLSM_OK;
    const struct buf *options = &shell->tool->options;
    return plsm_open(shell->path, PLSM_READ, options->size ? (const char *)options->data : NULL, &shell->db);
}

void shell_reader_close(struct shell *shell)
{
    if (shell->target.db)
        return;
    plsm_close(shell->db); /* nothing was written through it */
    shell->db = NULL;
}

struct index_name {
    char *out;
    size_t size;
};

static void note_index(void *arg, const plsm_statistic *statistic)
{
    struct index_name *name = arg;
    if (strcmp(statistic->name, "store.index") == 0 && statistic->is_text)
        snprintf(name->out, name->size, "%s", statistic->text);
}

void shell_index(struct shell *shell, char *out, size_t size)
{
    struct index_name name = {out, size};
    *out = '\0';
    plsm_statistics(shell->db, note_index, &name);
}

/* --- a line ------------------------------------------------------------------------------------------------------- */

const struct shell_command *shell_command_find(plsm_slice name)
{
    if (slice_equal(name, slice_of("quit")) || slice_equal(name, slice_of("q")))
        name = slice_of("exit");
    for (const struct shell_command *command = shell_words_table; command->name; command++)
        if (slice_equal(name, slice_of(command->name)))
            return command;
    for (const struct shell_command *command = shell_course_table; command->name; command++)
        if (slice_equal(name, slice_of(command->name)))
            return command;
    return NULL;
}

static bool is_space(char byte)
{
    return byte == ' ' || byte == '\t';
}

static plsm_slice trim(plsm_slice line)
{
    const char *from = line.data, *end = from + line.size;
    while (from < end && is_space(*from))
        from++;
    while (end > from && is_space(end[-1]) && !(end - from > 1 && end[-2] == '\\')) /* "\ " is of a word */
        end--;
    return slice(from, (size_t)(end - from));
}

/* The command's name and, as one word, all that follows. */
static plsm_status split_rest(struct shell_words *words, plsm_slice name, plsm_slice rest)
{
    words->open = false;
    words->bytes.size = 0;
    TRY(buf_append(&words->bytes, name.data, name.size));
    TRY(buf_append(&words->bytes, rest.data, rest.size));
    words->count = rest.size > 0 ? 2 : 1;
    words->list[0].from = 0;
    words->list[0].size = words->list[1].from = name.size;
    words->list[1].size = rest.size;
    return PLSM_OK;
}

static plsm_status split(struct shell *shell, const struct shell_command *command, plsm_slice name, plsm_slice line)
{
    struct shell_words *words = &shell->words;
    plsm_slice rest = trim(slice((const char *)line.data + name.size, line.size - name.size));
    bool quoted = rest.size > 0 && (*(const char *)rest.data == '"' || *(const char *)rest.data == '\'');
    if (command->rest && !quoted)
        TRY(split_rest(words, name, rest));
    else
        TRY(shell_words_split(words, line));
    if (words->open)
        return fail(PLSM_INVALID, "a quote is not closed");
    if (words->count - 1 < command->least || words->count - 1 > command->most)
        return fail(PLSM_INVALID, "%s; usage: %s%s%s",
                    words->count - 1 < command->least ? "an argument is missing"
                    : command->most == 0              ? "takes no argument"
                                                      : "too many words; a key or value with spaces goes into quotes",
                    command->name, *command->arguments ? " " : "", command->arguments);
    return PLSM_OK;
}

/* Runs the command, timed if asked: opening the store to read from beside a daemon does not count. */
static plsm_status run(struct shell *shell, const struct shell_command *command)
{
    struct shell_timing timing;
    plsm_status status = command->reads ? shell_reader_open(shell) : PLSM_OK;
    bool timed = shell->timing; /* the command may be `timing` */
    if (status != PLSM_OK)
        return status;
    shell_interrupt_clear();
    if (timed)
        shell_timing_start(shell, &timing);
    status = command->run(shell, &shell->words);
    if (timed && shell->timing)
        shell_timing_end(shell, &timing);
    if (command->reads)
        shell_reader_close(shell);
    return status;
}

static void keep(struct shell *shell, enum tool_exit code)
{
    if (code > shell->worst)
        shell->worst = code;
    if (code == TOOL_ERROR && shell->bail)
        shell->ended = true;
}

static void tell_failure(struct shell *shell, plsm_slice name, plsm_status status)
{
    char quoted[64];
    const char *message = plsm_message();
    if (status == PLSM_NO_MEMORY || !*message)
        message = plsm_status_name(status);
    shell_say(shell, "%s: %s", text_quote(quoted, sizeof quoted, name), message);
    keep(shell, status == PLSM_NOT_FOUND ? TOOL_NEGATIVE : TOOL_ERROR);
}

static plsm_status unknown(plsm_slice name)
{
    unsigned distance = 0;
    for (const struct shell_command *command = shell_words_table; command->name; command++)
        if (suggest_fits(name, slice_of(command->name), &distance))
            return fail(PLSM_INVALID, "no such command; did you mean %s? help lists them", command->name);
    return fail(PLSM_INVALID, "no such command; help lists them");
}

void shell_run(struct shell *shell, plsm_slice line)
{
    line = trim(line);
    const char *bytes = line.data;
    plsm_slice name = slice(bytes, 0);
    if (line.size == 0 || *bytes == '#')
        return;
    while (name.size < line.size && !is_space(bytes[name.size]))
        name.size++;
    const struct shell_command *command = shell_command_find(name);
    plsm_status status = command ? split(shell, command, name, line) : unknown(name);
    if (status == PLSM_OK)
        status = run(shell, command);
    if (status != PLSM_OK)
        tell_failure(shell, name, status);
    else if (shell->interactive && shell_interrupted())
        shell_say(shell, "interrupted");
}
