/* See shell_editor.h. The editing commands are libedit's, and those of the user's ~/.editrc. */
#include "tools/shell_editor.h"

#ifdef HAVE_LIBEDIT

#include <errno.h>
#include <histedit.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/alloc.h"
#include "tools/shell_history.h"

struct shell_editor {
    EditLine *el;
    History *lines;
    struct shell_history *history; /* NULL: it is not kept */
    struct shell_editor_hooks hooks;
    const char *prompt;
};

static char *show_prompt(EditLine *el)
{
    struct shell_editor *editor = NULL;
    el_get(el, EL_CLIENTDATA, (void **)&editor);
    return (char *)(uintptr_t)editor->prompt; /* libedit does not change it */
}

/* Writes the candidates below the line, in columns as wide as the longest. */
static void show_list(const struct shell_completion *c)
{
    struct winsize window = {0};
    const char *at = (const char *)c->list.data;
    size_t width = 0, columns = 1, screen = 80;
    for (size_t i = 0; i < c->count; i++, at += strlen(at) + 1)
        width = strlen(at) > width ? strlen(at) : width;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0)
        screen = window.ws_col;
    if (width + 2 <= screen)
        columns = screen / (width + 2);
    at = (const char *)c->list.data;
    for (size_t i = 0; i < c->count; i++, at += strlen(at) + 1) {
        bool last = (i + 1) % columns == 0 || i + 1 == c->count;
        printf("%s%-*s%s", i == 0 ? "\n" : "", last ? 0 : (int)width + 2, at, last ? "\n" : "");
    }
    if (c->more)
        puts("...");
    fflush(stdout);
}

/* Puts the text in place of the word, without touching what of it is there already. */
static bool insert(EditLine *el, const char *word, size_t word_size, struct shell_completion *c)
{
    const char *text = (const char *)c->text.data;
    size_t size = c->text.size;
    if (size < word_size || memcmp(text, word, word_size) != 0) {
        mbstate_t state = {0};
        const char *from = word;
        size_t characters = mbsnrtowcs(NULL, &from, word_size, 0, &state);
        if (characters == (size_t)-1)
            return false;
        el_deletestr(el, (int)characters);
        word_size = 0;
    }
    if ((c->whole && buf_append(&c->text, " ", 1) != PLSM_OK) || buf_append(&c->text, "", 1) != PLSM_OK)
        return false;
    text = (const char *)c->text.data + word_size;
    return !*text || el_insertstr(el, text) == 0;
}

static unsigned char complete(EditLine *el, int key)
{
    struct shell_editor *editor = NULL;
    struct shell_completion c = {0};
    unsigned char result = CC_ERROR;
    const LineInfo *info = el_line(el);
    size_t size = (size_t)(info->cursor - info->buffer);
    el_get(el, EL_CLIENTDATA, (void **)&editor);
    if (editor->hooks.complete(editor->hooks.arg, slice(info->buffer, size), &c) != PLSM_OK)
        c.count = 0;
    if (c.is_file_name) {
        result = _el_fn_complete(el, key);
    } else if (c.count > 0) {
        const char *word = info->buffer + c.from;
        bool longer = c.whole || c.text.size > size - c.from;
        if (longer)
            result = insert(el, word, size - c.from, &c) ? CC_REFRESH : CC_ERROR;
        else {
            show_list(&c);
            result = CC_REDISPLAY;
        }
    }
    buf_free(&c.text);
    buf_free(&c.list);
    return result;
}

static void take_old_line(void *arg, const char *line)
{
    HistEvent event;
    history(arg, &event, H_ENTER, line);
}

static bool set_up(struct shell_editor *editor)
{
    HistEvent event;
    editor->lines = history_init();
    editor->el = editor->lines ? el_init("plsm", stdin, stdout, stderr) : NULL;
    if (!editor->el)
        return false;
    history(editor->lines, &event, H_SETSIZE, SHELL_HISTORY_LINES);
    history(editor->lines, &event, H_SETUNIQUE, 1);
    el_set(editor->el, EL_CLIENTDATA, editor);
    el_set(editor->el, EL_PROMPT, show_prompt);
    el_set(editor->el, EL_SIGNAL, 1);
    el_set(editor->el, EL_EDITOR, "emacs");
    el_set(editor->el, EL_HIST, history, editor->lines);
    /* Wide strings, as it would copy others and keep the copies for good. */
    el_wset(editor->el, EL_ADDFN, L"plsm-complete", L"complete a command or a key", complete);
    el_set(editor->el, EL_BIND, "^I", "plsm-complete", NULL);
    el_set(editor->el, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_source(editor->el, NULL); /* without ~/.editrc it does nothing */
    return true;
}

struct shell_editor *shell_editor_create(const struct shell_editor_hooks *hooks)
{
    const char *terminal = getenv("TERM");
    if (!terminal || !*terminal || strcmp(terminal, "dumb") == 0)
        return NULL;
    struct shell_editor *editor = mem_zalloc(sizeof *editor);
    if (!editor)
        return NULL;
    editor->hooks = *hooks;
    if (!set_up(editor)) {
        shell_editor_destroy(editor);
        return NULL;
    }
    editor->history = shell_history_open(take_old_line, editor->lines);
    return editor;
}

void shell_editor_destroy(struct shell_editor *editor)
{
    if (!editor)
        return;
    shell_history_close(editor->history);
    if (editor->el)
        el_end(editor->el);
    if (editor->lines)
        history_end(editor->lines);
    mem_free(editor);
}

enum shell_read shell_editor_next(struct shell_editor *editor, const char *prompt, bool remember, plsm_slice *line)
{
    int count = 0;
    editor->prompt = prompt;
    errno = 0;
    const char *text = el_gets(editor->el, &count);
    if (!text || count <= 0) {
        if (errno == EINTR)
            return SHELL_READ_INTERRUPTED;
        return SHELL_READ_END; /* the terminal is gone */
    }
    *line = slice(text, strcspn(text, "\n"));
    if (remember && line->size > 0) {
        HistEvent event;
        history(editor->lines, &event, H_ENTER, text);
        shell_history_add(editor->history, *line);
    }
    return SHELL_READ_LINE;
}

#endif

#include "base/banned.h"
