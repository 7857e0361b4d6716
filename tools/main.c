/* plsm: works on a store without mounting it. One subcommand per file, cmd_*.c; bench/ has the benchmark. */
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "tools/suggest.h"
#include "tools/tool.h"

#include "base/banned.h"

static const struct command *const commands[] = {
    &command_create,  &command_get,     &command_put,        &command_delete,  &command_scan,    &command_shell,
    &command_load,    &command_write,   &command_ingest,     &command_dump,    &command_stats,   &command_check,
    &command_flush,   &command_compact, &command_checkpoint, &command_restore, &command_convert, &command_retrain,
    &command_inspect, &command_tune,    &command_bench,
};
enum { COMMANDS = sizeof commands / sizeof *commands };

/* Names that the same thing has elsewhere. */
static const struct {
    const char *name, *subcommand;
} elsewhere[] = {
    {"add", "put"},        {"set", "put"},         {"cat", "get"},           {"read", "get"},
    {"del", "delete"},     {"rm", "delete"},       {"remove", "delete"},     {"ls", "scan"},
    {"list", "scan"},      {"range", "scan"},      {"keys", "scan"},         {"init", "create"},
    {"new", "create"},     {"cli", "shell"},       {"repl", "shell"},        {"batch", "write"},
    {"import", "load"},    {"export", "dump"},     {"stat", "stats"},        {"status", "stats"},
    {"info", "stats"},     {"fsck", "check"},      {"verify", "check"},      {"sync", "flush"},
    {"vacuum", "compact"}, {"gc", "compact"},      {"backup", "checkpoint"}, {"snapshot", "checkpoint"},
    {"train", "retrain"},  {"analyze", "inspect"}, {"benchmark", "bench"},
};

static const struct command *find(const char *name)
{
    for (int i = 0; i < COMMANDS; i++)
        if (strcmp(name, commands[i]->name) == 0)
            return commands[i];
    return NULL;
}

/* The subcommand that somebody may have meant; NULL: no idea. */
static const char *find_meant(const char *name)
{
    const char *meant = NULL;
    unsigned nearest = UINT32_MAX, distance = 0;
    for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++)
        if (strcmp(name, elsewhere[i].name) == 0)
            return elsewhere[i].subcommand;
    for (int i = 0; i < COMMANDS; i++)
        if (suggest_fits(slice_of(name), slice_of(commands[i]->name), &distance) && distance < nearest) {
            nearest = distance;
            meant = commands[i]->name;
        }
    return meant;
}

static void tell_unknown(const char *name)
{
    const char *meant = find_meant(name);
    fprintf(stderr, "plsm: '%s' is no subcommand", name);
    if (strcmp(name, "mount") == 0)
        fputs("; to mount a store: mount.plsm STORE DIR", stderr);
    else if (strcmp(name, "umount") == 0 || strcmp(name, "unmount") == 0)
        fputs("; to unmount a store: fusermount3 -u DIR", stderr);
    else if (meant)
        fprintf(stderr, "; did you mean '%s'?", meant);
    fputs("\nTry 'plsm --help'.\n", stderr);
}

static void help(FILE *out)
{
    fputs("Usage: plsm SUBCOMMAND [options] STORE ...\n"
          "Works on the plsm store in directory STORE, closed or, where the subcommand can, beside a running mount.\n\n"
          "Subcommands:\n",
          out);
    for (int i = 0; i < COMMANDS; i++)
        fprintf(out, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    fputs("\n'plsm SUBCOMMAND --help' tells more. To mount a store: mount.plsm STORE DIR\n"
          "Exit codes: 0 done, 1 not found or problems found, 2 wrong usage, 3 error.\n",
          out);
}

/* A handler that does nothing: writes to a closed pipe fail with EPIPE instead of killing us with the store open. */
static void on_pipe(int number)
{
    (void)number;
}

/* Where a standard stream is closed, the next file opened would take its number, and be read or written in its place.
 * Fill the gap with something that can only be used the wrong way round, so that its use is the error it was. */
static void fill_closed_streams(void)
{
    for (int stream = 0; stream <= 2; stream++)
        if (fcntl(stream, F_GETFD) < 0 && open("/dev/null", stream == 0 ? O_WRONLY : O_RDONLY) < 0)
            _exit(TOOL_ERROR);
}

static enum tool_exit run(const struct command *command, int argc, char **argv)
{
    struct tool tool = {.command = command};
    char name[32]; /* what getopt calls us in its messages */
    snprintf(name, sizeof name, "plsm %s", command->name);
    argv[0] = name;
    optind = 0;
    enum tool_exit code = command->run(&tool, argc, argv);
    buf_free(&tool.options);
    buf_free(&tool.keys[0]);
    buf_free(&tool.keys[1]);
    return tool_output_end(&tool, code);
}

int main(int argc, char **argv)
{
    fill_closed_streams();
    struct sigaction before = {0}, ours = {.sa_handler = on_pipe, .sa_flags = SA_RESTART};
    sigaction(SIGPIPE, NULL, &before);
    if (before.sa_handler != SIG_IGN)
        sigaction(SIGPIPE, &ours, NULL);
    plsm_catch_lost_pages();
    const char *name = argc > 1 ? argv[1] : "";
    static const struct command self = {.name = "--help"};
    struct tool tool = {.command = &self};
    if (strcmp(name, "help") == 0 && argc == 3 && find(argv[2])) {
        char option[] = "--help", *help_of[] = {argv[2], option, NULL};
        return run(find(argv[2]), 2, help_of);
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        help(stdout);
        return tool_output_end(&tool, TOOL_OK);
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        puts("plsm " PLSM_VERSION_TEXT);
        return tool_output_end(&tool, TOOL_OK);
    }
    if (find(name))
        return run(find(name), argc - 1, argv + 1);
    if (argc < 2)
        help(stderr);
    else
        tell_unknown(name);
    return TOOL_USAGE;
}
