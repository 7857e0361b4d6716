/* The table of options: what is taken, what is refused and with which words. */
#include "../harness/store_fixture.h"

#include <stdio.h>
#include <string.h>

#include "base/banned.h"

static struct store_options parse(const char *text)
{
    struct store_options options;
    assert_ok(store_options_parse(text, &options));
    return options;
}

START_TEST(defaults)
{
    struct store_options options = parse(NULL);
    ck_assert_uint_eq(options.engine, STORE_ENGINE_AUTO);
    ck_assert_uint_eq(options.index, STORE_INDEX_LEARNED);
    ck_assert_uint_eq(options.buffer_size, 64 << 20);
    ck_assert_uint_eq(options.cache_size, 256 << 20);
    ck_assert_uint_eq(options.size_ratio, 10);
    ck_assert_uint_eq(options.file_size, 64 << 20);
    ck_assert_uint_eq(options.l0_compact, 4);
    ck_assert_uint_eq(options.l0_slowdown, 8);
    ck_assert_uint_eq(options.l0_stop, 20);
    ck_assert_uint_eq(options.filter_bits, 8);
    ck_assert_uint_eq(options.background, 1);
    ck_assert_uint_eq(options.manifest_size, 4 << 20);
    ck_assert_uint_eq(options.log, STORE_LOG_MAPPED);
    ck_assert_uint_eq(options.redo, 1);
    ck_assert_uint_eq(options.merge_garbage, 500000);
    ck_assert_uint_eq(options.merge_from, 0);
    ck_assert_uint_eq(options.merge_to, 0);
    for (unsigned i = 0; i < STORE_GROUPS; i++)
        ck_assert_uint_eq(options.compression[i], 0);
    ck_assert_uint_eq(options.compression_page, 8 << 10);
    ck_assert_uint_eq(options.compression_dictionary, 8 << 10);
    ck_assert_uint_eq(options.separate_above, 4 << 10);
    ck_assert_uint_eq(options.separate_garbage, 500000);
    ck_assert_uint_eq(options.sim, STORE_SIM_OFF);
    ck_assert_uint_eq(options.sim_sleep, 0);
    const uint64_t figures[] = {
        options.sim_latency_us,     options.sim_overhead_ns,     options.sim_queue_depth, options.sim_discount_percent,
        options.sim_read_bandwidth, options.sim_write_bandwidth, options.sim_cache};
    for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++)
        ck_assert_uint_eq(figures[i], STORE_NOT_GIVEN);
    struct store_options empty = parse("");
    ck_assert_mem_eq(&options, &empty, sizeof options);
}
END_TEST

START_TEST(index_names)
{
    static const char *const names[] = {"traditional", "learned", "classic"};
    for (unsigned i = 0; i < 3; i++) {
        char text[40];
        snprintf(text, sizeof text, "index=%s", names[i]);
        struct store_options options = parse(text);
        ck_assert_uint_eq(options.index, i);
        ck_assert_str_eq(store_index_name(&options), names[i]);
    }
}
END_TEST

START_TEST(policies)
{
    static const char *const names[] = {"leveled", "tiered", "lazy", "auto"};
    ck_assert_str_eq(store_policy_name(&(struct store_options){0}), "leveled");
    for (unsigned i = 0; i < 4; i++) {
        char text[40];
        snprintf(text, sizeof text, "policy=%s", names[i]);
        struct store_options options = parse(text);
        ck_assert_uint_eq(options.policy, i);
        ck_assert_str_eq(store_policy_name(&options), names[i]);
    }
    struct store_options options = parse("runs_per_level=3,runs_last_level=2,deletions_compact=7,compact_age=86400,"
                                         "compact_threads=16,ttl=60");
    ck_assert_uint_eq(options.runs_per_level, 3);
    ck_assert_uint_eq(options.runs_last_level, 2);
    ck_assert_uint_eq(options.deletions_compact, 7);
    ck_assert_uint_eq(options.compact_age, 86400);
    ck_assert_uint_eq(options.compact_threads, 16);
    ck_assert_uint_eq(options.ttl, 60);
}
END_TEST

START_TEST(values)
{
    struct store_options options = parse("index=traditional,buffer_size=128k,cache_size=0,size_ratio=4,file_size=1M,"
                                         "filter_bits=16,background=0,redo=0,log=written,manifest_size=8192,engine=lsm,"
                                         "separate_above=1M,separate_garbage=0.25,");
    ck_assert_uint_eq(options.index, STORE_INDEX_TRADITIONAL);
    ck_assert_str_eq(store_index_name(&options), "traditional");
    ck_assert_uint_eq(options.buffer_size, 128 << 10);
    ck_assert_uint_eq(options.cache_size, 0);
    ck_assert_uint_eq(options.size_ratio, 4);
    ck_assert_uint_eq(options.file_size, 1 << 20);
    ck_assert_uint_eq(options.filter_bits, 16);
    ck_assert_uint_eq(options.background, 0);
    ck_assert_uint_eq(options.manifest_size, 8192);
    ck_assert_uint_eq(options.log, STORE_LOG_WRITTEN);
    ck_assert_uint_eq(options.redo, 0);
    ck_assert_uint_eq(options.separate_above, 1 << 20);
    ck_assert_uint_eq(options.separate_garbage, 250000);
    ck_assert_uint_eq(parse("cache_size=1T").cache_size, UINT64_C(1) << 40);
    ck_assert_uint_eq(parse("cache_size=3G").cache_size, UINT64_C(3) << 30);
    ck_assert_uint_eq(parse("filter_bits=4,filter_bits=0").filter_bits, 0); /* the last one counts */
    options = parse("compression=none/lz4/zstd,compression_page=32k,compression_dictionary=0");
    for (unsigned i = 0; i < STORE_GROUPS; i++)
        ck_assert_uint_eq(options.compression[i], i);
    ck_assert_uint_eq(options.compression_page, 32 << 10);
    ck_assert_uint_eq(options.compression_dictionary, 0);
    options = parse("sim=own,sim_latency_us=0,sim_read_bandwidth=500M,sim_write_bandwidth=1000000,sim_cache=0,"
                    "sim_queue_depth=1,sim_discount_percent=100,sim_overhead_ns=60000000,sim_sleep=1");
    ck_assert_uint_eq(options.sim, STORE_SIM_OWN);
    ck_assert_uint_eq(options.sim_latency_us, 0);
    ck_assert_uint_eq(options.sim_overhead_ns, 60000000);
    ck_assert_uint_eq(options.sim_queue_depth, 1);
    ck_assert_uint_eq(options.sim_discount_percent, 100);
    ck_assert_uint_eq(options.sim_read_bandwidth, 500 << 20);
    ck_assert_uint_eq(options.sim_write_bandwidth, 1000000);
    ck_assert_uint_eq(options.sim_cache, 0);
    ck_assert_uint_eq(options.sim_sleep, 1);
    ck_assert_uint_eq(parse("sim_cache=1M,sim_cache=cache_size").sim_cache, STORE_NOT_GIVEN); /* words go back */
}
END_TEST

START_TEST(refusals)
{
    static const struct {
        const char *text, *named; /* what the message must mention */
    } cases[] = {
        {"colour=red", "colour"},
        {"buffer_siz=1M", "buffer_siz=1M"},
        {"buffer_sizes=1M", "buffer_sizes"},
        {"buffer_size", "needs a value"},
        {"buffer_size=", "not a number"},
        {"buffer_size=64K1", "not a number"},
        {"buffer_size=1X", "not a number"},
        {"buffer_size=K", "not a number"},
        {"buffer_size=-1", "not a number"},
        {"buffer_size= 1M", "not a number"},
        {"buffer_size=65535", "between 65536"},
        {"buffer_size=5G", "between"},
        {"cache_size=99999999999999999999999", "not a number"},
        {"cache_size=17592186044416T", "not a number"},
        {"cache_size=2T", "between"},
        {"index=neural", "traditional|learned"},
        {"index=learn", "traditional|learned"},
        {"index=", "traditional|learned|classic"},
        {"engine=log", "auto|lsm|appendlog|hybridlog"},
        {"redo=2", "between 0 and 1"},
        {"merge_garbage=1.5", "between 0 and 1"},
        {"merge_to=24", "between 0 and 23"},
        {"background=2", "between 0 and 1"},
        {"filter_bits=3", "0 or between 4 and 16"},
        {"filter_bits=17", "between"},
        {"l0_compact=9", "l0_slowdown"},
        {"l0_stop=8", "l0_stop"},
        {"background=0,=3", "unknown"},
        {"compression=gzip", "none|lz4|zstd"},
        {"compression=none/lz4", "three for level 0"},
        {"compression_page=6K", "multiple of 4096"},
        {"compression_page=64K", "between 4096 and 32768"},
        {"compression_dictionary=255", "0 or between 256 and 65536"},
        {"sim=floppy", "off|nvme|ssd|hdd|cloud|own"},
        {"sim=1", "off|nvme"},
        {"sim_latency_us=60000001", "between 0 and 60000000"},
        {"sim_latency_us=fast", "not a number"},
        {"sim_latency_us=cache_size", "not a number"},
        {"sim_queue_depth=0", "between 1 and 65536"},
        {"sim_discount_percent=101", "between 0 and 100"},
        {"sim_read_bandwidth=999999", "between 1000000"},
        {"sim_sleep=2", "between 0 and 1"},
        {"sim_sleep=profile", "not a number"},
        {"sim=own", "sim_latency_us, sim_read_bandwidth and sim_write_bandwidth"},
        {"sim=own,sim_latency_us=1,sim_read_bandwidth=1M", "sim_write_bandwidth"},
        {"buffer_size=64M,cache_size=profile", "not a number"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ck_assert_msg(plsm_options_check(cases[i].text) == PLSM_INVALID, "%s was taken", cases[i].text);
        ck_assert_msg(strstr(plsm_message(), cases[i].named), "%s: %s", cases[i].text, plsm_message());
    }
}
END_TEST

START_TEST(help_names_every_option)
{
    /* As help shows them: a line each, with the default. */
    static const char *const names[] = {
        "engine=auto",
        "index=learned",
        "buffer_size=64M",
        "spill_above=0",
        "cache_size=256M",
        "size_ratio=10",
        "file_size=64M",
        "policy=leveled",
        "runs_per_level=0",
        "runs_last_level=0",
        "deletions_compact=50",
        "compact_age=0",
        "ttl=0",
        "compact_threads=2",
        "l0_compact=4",
        "l0_slowdown=8",
        "l0_stop=20",
        "memory=0",
        "filter_bits=8",
        "filter=auto",
        "filter_young=1",
        "base_fpr=0",
        "background=1",
        "log=mapped",
        "redo=1",
        "merge_garbage=0.5",
        "merge_from=0",
        "merge_to=0",
        "separate_above=4K",
        "separate_garbage=0.5",
        "manifest_size=4M",
        "model=auto",
        "model_embed=1",
        "model_cache=1000",
        "model_update=1",
        "model_incremental=1",
        "model_batch=1000",
        "model_confidence=0.8",
        "model_error=256K",
        "multi_get=1",
        "compression=none",
        "compression_page=8K",
        "compression_dictionary=8K",
        "multi_get_max=100",
        "model_run_bytes=1K",
        "model_level_bytes=10K",
        "model_store_bytes=100K",
        "train_every=1",
        "validation_rate=0",
        "sim=off",
        "sim_latency_us=profile",
        "sim_overhead_ns=profile",
        "sim_queue_depth=profile",
        "sim_discount_percent=profile",
        "sim_read_bandwidth=profile",
        "sim_write_bandwidth=profile",
        "sim_cache=cache_size",
        "sim_sleep=0",
    };
    const char *help = plsm_options_help();
    size_t lines = 0;
    for (const char *at = help; at; at = strchr(at, '\n'), at += at != NULL)
        lines += strncmp(at, "  ", 2) == 0 && at[2] != ' ';
    ck_assert_uint_eq(lines, sizeof names / sizeof names[0]);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char line[80];
        snprintf(line, sizeof line, "  %s\n", names[i]);
        ck_assert_msg(strstr(help, line), "%s is missing", names[i]);
        ck_assert(plsm_options_has(names[i], strcspn(names[i], "=")));
        ck_assert_int_eq(plsm_options_check(names[i]), PLSM_OK);
    }
    ck_assert(!plsm_options_has("allow_other", 11));
    ck_assert(!plsm_options_has("index", 4));
    ck_assert(!plsm_options_has("", 0));
}
END_TEST

START_TEST(a_bad_option_touches_nothing)
{
    struct env *env = env_memory_create(1);
    plsm *db = NULL;
    assert_status(plsm_open_env(env, "/s", PLSM_CREATE, "colour=red", &db), PLSM_INVALID);
    ck_assert_uint_eq(env_memory_calls(env), 0);
    assert_status(plsm_open_env(env, "/s", PLSM_CREATE | PLSM_READ, NULL, &db), PLSM_INVALID);
    assert_status(plsm_open_env(env, "/s", PLSM_EXCLUSIVE, NULL, &db), PLSM_INVALID);
    ck_assert_uint_eq(env_memory_calls(env), 0);
    assert_status(plsm_open_env(env, "/s", 0, NULL, &db), PLSM_NO_STORE);
    ck_assert_ptr_null(db);
    env_memory_destroy(env);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        defaults, index_names, policies, values, refusals, help_names_every_option, a_bad_option_touches_nothing};
    return fixture_run("options", tests, sizeof tests / sizeof tests[0]);
}
