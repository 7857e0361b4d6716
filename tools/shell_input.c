/* See shell_input.h. Reads with read(2), as only then it is known when there is nothing to read without waiting. */
#include "tools/shell_input.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "base/error.h"
#include "tools/tool.h"

#include "base/banned.h"

enum { INPUT_SIZE = 64 << 10 };

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

/* While a command runs, calls go on behind the signal; while a line is edited they end. Threads of the library take no
 * signals. */
static void set_restart(bool restart)
{
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = restart ? SA_RESTART : 0};
    sigaction(SIGINT, &action, NULL);
}

void shell_interrupt_catch(void)
{
    set_restart(true);
}

bool shell_interrupted(void)
{
    return interrupted != 0;
}

void shell_interrupt_clear(void)
{
    interrupted = 0;
}

/* Waits for input at a terminal; false: interrupted, also when that was before the wait began. */
static bool wait_for_input(void)
{
    sigset_t interrupt, before;
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    sigprocmask(SIG_BLOCK, &interrupt, &before);
    while (!interrupted && ppoll(&input, 1, NULL, &before) < 0 && errno == EINTR)
        ;
    sigprocmask(SIG_SETMASK, &before, NULL);
    return !interrupted;
}

/* Reads on. The bytes that have been handed out make room. */
static enum shell_read read_more(struct shell_input *input, const char *prompt)
{
    size_t rest = input->bytes.size - input->at;
    if (input->at > 0) {
        memmove(input->bytes.data, input->bytes.data + input->at, rest);
        input->bytes.size = rest;
        input->searched -= input->at;
        input->at = 0;
    }
    if (rest > SHELL_LINE_MAX) {
        input->skipping = true;
        input->bytes.size = input->searched = 0;
    }
    if (buf_reserve(&input->bytes, INPUT_SIZE) != PLSM_OK)
        return SHELL_READ_FAILED;
    if (input->interactive && rest == 0)
        tool_print("%s", prompt);
    if (!tool_flush())
        return SHELL_READ_END;
    if (input->interactive && !wait_for_input())
        return SHELL_READ_INTERRUPTED;
    ssize_t got = read(STDIN_FILENO, input->bytes.data + input->bytes.size, INPUT_SIZE);
    if (got < 0 && errno == EINTR)
        return SHELL_READ_LINE; /* again */
    if (got < 0) {
        fail_errno(errno, "standard input", "read");
        input->ended = true;
        return SHELL_READ_FAILED;
    }
    input->ended = got == 0;
    input->bytes.size += (size_t)got;
    return SHELL_READ_LINE;
}

/* Hands out the line that ends at `end`, in front of the newline. */
static enum shell_read take_line(struct shell_input *input, size_t end, plsm_slice *line)
{
    *line = slice(input->bytes.data + input->at, end - input->at);
    input->at = input->searched = end < input->bytes.size ? end + 1 : end;
    if (!input->skipping)
        return SHELL_READ_LINE;
    input->skipping = false;
    fail(PLSM_TOO_LARGE, "the line has more than %d MiB; values that large are for plsm put", SHELL_LINE_MAX >> 20);
    return SHELL_READ_FAILED;
}

static enum shell_read next_plain(struct shell_input *input, const char *prompt, plsm_slice *line)
{
    for (;;) {
        size_t left = input->bytes.size - input->searched;
        const uint8_t *from = input->bytes.data + input->searched, *newline = left ? memchr(from, '\n', left) : NULL;
        if (newline)
            return take_line(input, (size_t)(newline - input->bytes.data), line);
        input->searched = input->bytes.size;
        if (input->ended)
            return input->at < input->bytes.size || input->skipping ? take_line(input, input->bytes.size, line)
                                                                    : SHELL_READ_END;
        enum shell_read result = read_more(input, prompt);
        if (result != SHELL_READ_LINE)
            return result;
    }
}

enum shell_read shell_input_next(struct shell_input *input, const char *prompt, bool remember, plsm_slice *line)
{
    enum shell_read result = SHELL_READ_END;
    shell_interrupt_clear();
    if (!input->editor) {
        result = next_plain(input, prompt, line);
    } else if (tool_flush()) {
        set_restart(false);
        result = shell_editor_next(input->editor, prompt, remember, line);
        set_restart(true);
    }
    if (result == SHELL_READ_LINE && line->size > 0 && ((const char *)line->data)[line->size - 1] == '\r')
        line->size--;
    return result;
}

void shell_input_free(struct shell_input *input)
{
    shell_editor_destroy(input->editor);
    buf_free(&input->bytes);
}
