/* What the tab key offers: commands, their words, and keys. Keys are completed up to their next slash, as paths are,
 * and what lies behind it is stepped over with one seek: so few keys are looked at, however many there are. */
#include "base/error.h"
#include "tools/shell.h"

#include "base/banned.h"

enum { LIST_MAX = 100 };

/* Cuts what all candidates begin with down to what `candidate` has of it. The first one is all of it. */
static plsm_status narrow(struct shell_completion *out, struct buf *common, plsm_slice candidate)
{
    if (out->count == 0) {
        common->size = 0;
        return buf_append(common, candidate.data, candidate.size);
    }
    common->size = slice_common(buf_slice(common), candidate);
    return PLSM_OK;
}

static plsm_status add(struct shell_completion *out, struct buf *common, plsm_slice candidate)
{
    TRY(narrow(out, common, candidate));
    TRY(shell_word_quote(&out->list, candidate));
    TRY(buf_append(&out->list, "", 1));
    out->count++;
    return PLSM_OK;
}

/* Words with a bar behind each. */
static plsm_status add_words(struct shell_completion *out, struct buf *common, plsm_slice typed, const char *words)
{
    for (const char *bar = NULL; (bar = strchr(words, '|')); words = bar + 1) {
        plsm_slice word = slice(words, (size_t)(bar - words));
        if (slice_starts_with(word, typed))
            TRY(add(out, common, word));
    }
    out->whole = out->count == 1;
    return PLSM_OK;
}

static plsm_status add_commands(struct shell_completion *out, struct buf *common, plsm_slice typed)
{
    /* Those of one letter are no use to complete. */
    for (const struct shell_command *command = shell_words_table; command->name; command++)
        if (slice_starts_with(slice_of(command->name), typed))
            TRY(add(out, common, slice_of(command->name)));
    out->whole = out->count == 1;
    return PLSM_OK;
}

/* The key as far as its next slash behind what was typed; whether that cut it. */
static plsm_slice cut_at_slash(plsm_slice key, plsm_slice typed, bool *cut)
{
    const char *bytes = key.data;
    const char *slash = key.size > typed.size ? memchr(bytes + typed.size, '/', key.size - typed.size) : NULL;
    *cut = slash != NULL;
    return slash ? slice(bytes, (size_t)(slash + 1 - bytes)) : key;
}

/* Moves to the first key behind all those that begin with `candidate`, which ends in a slash. */
static plsm_status step_over(plsm_iterator *it, plsm_slice candidate)
{
    struct buf end = {0};
    plsm_status status = tool_prefix_end(candidate, &end);
    if (status == PLSM_OK)
        plsm_iterator_seek(it, buf_slice(&end));
    buf_free(&end);
    return status;
}

static plsm_status scan_keys(plsm_iterator *it, struct shell_completion *out, struct buf *common, plsm_slice typed)
{
    bool cut = false;
    plsm_iterator_first(it);
    while (plsm_iterator_valid(it) && out->count < LIST_MAX) {
        plsm_slice candidate = cut_at_slash(plsm_iterator_key(it), typed, &cut);
        TRY(add(out, common, candidate));
        if (cut)
            TRY(step_over(it, candidate));
        else
            plsm_iterator_next(it);
    }
    out->whole = out->count == 1 && !cut;
    out->more = plsm_iterator_valid(it);
    if (out->more) { /* in order: what the first and the last have in common all have */
        plsm_iterator_last(it);
        if (plsm_iterator_valid(it))
            TRY(narrow(out, common, plsm_iterator_key(it)));
    }
    return plsm_iterator_status(it);
}

static plsm_status add_keys(struct shell *shell, struct shell_completion *out, struct buf *common, plsm_slice typed)
{
    const plsm_read_options no_values = {.no_value = true};
    struct buf end = {0};
    plsm_iterator *it = NULL;
    plsm_abilities abilities = {0};
    TRY(shell_reader_open(shell));
    plsm_get_abilities(shell->db, &abilities);
    plsm_status status = tool_prefix_end(typed, &end);
    if (status == PLSM_OK && abilities.ordered) /* otherwise it would take all keys to find a few */
        status = plsm_iterator_create(shell->db, &no_values, typed, buf_slice(&end), &it);
    if (it)
        status = scan_keys(it, out, common, typed);
    plsm_iterator_destroy(it);
    shell_reader_close(shell);
    buf_free(&end);
    return status;
}

static plsm_status add_candidates(struct shell *shell, const struct shell_words *words, size_t index,
                                  struct shell_completion *out, struct buf *common)
{
    plsm_slice typed = shell_word(words, index);
    if (index == 0)
        return add_commands(out, common, typed);
    const struct shell_command *command = shell_command_find(shell_word(words, 0));
    switch (command && index <= 2 ? command->takes[index - 1] : SHELL_ANYTHING) {
    case SHELL_KEY:
        return add_keys(shell, out, common, typed);
    case SHELL_COMMAND:
        return add_commands(out, common, typed);
    case SHELL_WORD:
        return add_words(out, common, typed, command->choices);
    case SHELL_FILE:
        out->is_file_name = true;
        return PLSM_OK;
    default:
        return PLSM_OK;
    }
}

plsm_status shell_complete(struct shell *shell, plsm_slice line, struct shell_completion *out)
{
    struct shell_words words = {0};
    struct buf common = {0};
    plsm_status status = shell_words_split(&words, line);
    if (status == PLSM_OK) {
        size_t index = words.word ? words.count - 1 : words.count;
        out->from = words.word ? words.list[index].at : line.size;
        status = add_candidates(shell, &words, index, out, &common);
    }
    if (status == PLSM_OK && out->count > 0 && common.size > 0)
        status = shell_word_quote(&out->text, buf_slice(&common));
    buf_free(&common);
    shell_words_free(&words);
    return status;
}
