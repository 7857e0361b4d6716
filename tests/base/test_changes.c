/* Changes as lines of text, cut anywhere, and as they go over the socket of a store. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/changes.h"
#include "base/wire.h"
#include "base/banned.h"

struct collected {
    char text[4096];
    size_t size;
    plsm_status status; /* for the parser to end with */
};

/* Writes each change as "KIND[key|value]". */
static plsm_status collect(void *arg, const struct change *change)
{
    struct collected *to = arg;
    to->size += (size_t)snprintf(to->text + to->size, sizeof to->text - to->size, "%d[%.*s|%.*s]", change->kind,
                                 (int)change->key.size, (const char *)change->key.data, (int)change->value.size,
                                 (const char *)change->value.data);
    return to->status;
}

/* Parses in pieces of `step` bytes. */
static plsm_status parse(const char *text, size_t step, size_t size_max, struct collected *out)
{
    struct change_parser parser = {.size_max = size_max};
    plsm_status status = PLSM_OK;
    size_t size = strlen(text);
    for (size_t at = 0; at < size && status == PLSM_OK; at += step)
        status = changes_parse(&parser, slice(text + at, size - at < step ? size - at : step), collect, out);
    if (status == PLSM_OK)
        status = changes_parse_end(&parser, collect, out);
    changes_free(&parser);
    return status;
}

static const struct {
    const char *text, *changes; /* NULL: it is none */
} cases[] = {
    {"", ""},
    {"a\tb\n", "0[a|b]"},
    {"a\tb", "0[a|b]"},
    {"a\t\nb\tc\td\n", "0[a|]0[b|c\td]"},
    {"\\-gone\n\\~from\tto\n\\~\t\n", "1[gone|]2[from|to]2[|]"},
    {"\\!new\n\\=old\tvalue\nk\tv", "3[new|]4[old|value]0[k|v]"},
    {"\\\\-a\\t\\x41\\n\t\\\\\n", "0[\\-a\tA\n|\\]"},
    {"-a\tb\n~\tc\n", "0[-a|b]0[~|c]"},
    {"a\n", NULL},
    {"\n", NULL},
    {"\tb\n", NULL},
    {"\\-\n", NULL},
    {"\\-a\tb\n", NULL},
    {"\\!a\tb\n", NULL},
    {"\\~a\n", NULL},
    {"\\=a\n", NULL},
    {"a\\-\tb\n", NULL},
    {"a\t\\-b\n", NULL},
    {"\\-\\-a\n", NULL},
    {"a\\q\tb\n", NULL},
    {"a\tb\\", NULL},
    {"a\tb\\x1", NULL},
};

START_TEST(test_lines)
{
    const char *text = cases[_i].text, *changes = cases[_i].changes;
    for (size_t step = 1; step <= strlen(text) + 1; step++) {
        struct collected got = {0};
        plsm_status status = parse(text, step, 0, &got);
        ck_assert_msg(status == (changes ? PLSM_OK : PLSM_INVALID), "%s in pieces of %zu: %s", text, step,
                      plsm_status_name(status));
        if (changes)
            ck_assert_str_eq(got.text, changes);
        else
            ck_assert_msg(strncmp(plsm_message(), "line 1: ", 8) == 0, "%s", plsm_message());
    }
}
END_TEST

START_TEST(test_limits)
{
    struct collected got = {0};
    for (size_t step = 1; step < 12; step++) {
        ck_assert_int_eq(parse("abc\tdef\n", step, 3, &got), PLSM_OK);
        ck_assert_int_eq(parse("abcd\tdef\n", step, 3, &got), PLSM_TOO_LARGE);
        ck_assert_int_eq(parse("abc\tdefg\n", step, 3, &got), PLSM_TOO_LARGE);
    }
    got = (struct collected){.status = PLSM_NO_SPACE}; /* what the receiver says ends it */
    ck_assert_int_eq(parse("a\tb\nc\td\n", 100, 0, &got), PLSM_NO_SPACE);
    ck_assert_str_eq(got.text, "0[a|b]");
}
END_TEST

START_TEST(test_wire)
{
    static const struct change changes[] = {{CHANGE_PUT, {"key", 3}, {"value", 5}},
                                            {CHANGE_DELETE_RANGE, {"", 0}, {"", 0}},
                                            {CHANGE_IF_EQUAL, {"k", 1}, {"\0", 1}}};
    struct buf body = {0};
    struct change change;
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(wire_change_append(&body, &changes[i]), PLSM_OK);
    plsm_slice left = buf_slice(&body);
    for (int i = 0; i < 3; i++) {
        ck_assert(wire_change_next(&left, &change));
        ck_assert_int_eq(change.kind, changes[i].kind);
        ck_assert(slice_equal(change.key, changes[i].key) && slice_equal(change.value, changes[i].value));
    }
    ck_assert(!wire_change_next(&left, &change) && left.size == 0);
    for (size_t size = 1; size < body.size; size++) { /* cut anywhere: whole changes, then a rest that is none */
        uint8_t *copy = malloc(size);
        memcpy(copy, body.data, size);
        for (left = slice(copy, size); wire_change_next(&left, &change);)
            continue;
        ck_assert(left.size > 0 || size == WIRE_CHANGE_SIZE + 8 || size == 2 * WIRE_CHANGE_SIZE + 8);
        free(copy);
    }
    buf_free(&body);
}
END_TEST

START_TEST(test_heads)
{
    struct wire_head head = {.body_size = WIRE_BODY_MAX, .what = WIRE_COMMIT, .flags = WIRE_SYNC}, got;
    uint8_t bytes[WIRE_HEAD_SIZE];
    wire_head_put(bytes, &head);
    ck_assert_int_eq(wire_head_get(bytes, &got), PLSM_OK);
    ck_assert(got.body_size == head.body_size && got.what == head.what && got.flags == head.flags);
    head.body_size++;
    wire_head_put(bytes, &head);
    ck_assert_int_eq(wire_head_get(bytes, &got), PLSM_CORRUPT);
    head = (struct wire_head){.flags = 2};
    wire_head_put(bytes, &head);
    ck_assert_int_eq(wire_head_get(bytes, &got), PLSM_CORRUPT);
    head.flags = 0;
    wire_head_put(bytes, &head);
    bytes[7] = 1;
    ck_assert_int_eq(wire_head_get(bytes, &got), PLSM_CORRUPT);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("changes");
    TCase *tests = tcase_create("changes");
    tcase_add_loop_test(tests, test_lines, 0, sizeof cases / sizeof cases[0]);
    tcase_add_test(tests, test_limits);
    tcase_add_test(tests, test_wire);
    tcase_add_test(tests, test_heads);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
