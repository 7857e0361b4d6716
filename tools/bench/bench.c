/* `plsm bench`: what the command line asks for, and its help. */
#include "tools/bench/bench.h"

#include "base/error.h"
#include "tools/bench/billion.h"
#include "tools/bench/floor.h"
#include "tools/bench/growth.h"
#include "tools/bench/report.h"
#include "tools/bench/request.h"
#include "tools/bench/requirements.h"
#include "tools/bench/stalls.h"
#include "tools/bench/suite.h"
#include "tools/bench/targets.h"

#include "base/banned.h"

struct row_options bench_row(const struct bench_plan *plan, uint32_t variant)
{
    struct row_options row = plan->row;
    row.engine = plan->variants[variant].engine;
    row.index = plan->variants[variant].index;
    return row;
}

int bench_learned(const struct bench_plan *plan)
{
    for (uint32_t v = 0; v < plan->variant_count; v++)
        if (plan->variants[v].index && strcmp(plan->variants[v].index, "learned") == 0)
            return (int)v;
    return -1;
}

/* One workload: variants interleaved, so that what disturbs the machine disturbs all alike. */
static enum tool_exit run_plan(const struct tool *tool, const struct bench_plan *plan)
{
    struct row_result results[BENCH_VARIANTS_MAX][ROW_REPEAT_MAX];
    if (!plan->json)
        report_table_head();
    for (uint32_t repeat = 0; repeat < plan->repeat; repeat++) {
        for (uint32_t v = 0; v < plan->variant_count; v++) {
            struct row_options row = bench_row(plan, v);
            plsm_status status = row_run(&row, &results[v][repeat]);
            if (status != PLSM_OK)
                return tool_error(tool, status);
            if (repeat + 1 < plan->repeat)
                continue;
            struct row_result median;
            row_median(results[v], plan->repeat, &median);
            if (plan->json)
                report_json(&row, &median);
            else
                report_table_row(&row, &median);
        }
    }
    return TOOL_OK;
}

/* The commands that take a plan of engines. */
typedef enum tool_exit runner(const struct tool *tool, const struct bench_plan *plan);
static runner *const runners[] = {
    [REQUEST_ROWS] = run_plan,         [REQUEST_FIRST] = bench_contest,   [REQUEST_CONTEST] = bench_contest,
    [REQUEST_FLOOR] = bench_floor,     [REQUEST_STALLS] = bench_stalls,   [REQUEST_GROWTH] = bench_growth,
    [REQUEST_BILLION] = bench_billion, [REQUEST_TARGETS] = bench_targets, [REQUEST_REQUIREMENTS] = NULL,
    [REQUEST_ENGINES] = bench_engines,
};

static enum tool_exit run(struct tool *tool, int argc, char **argv)
{
    struct request request;
    enum tool_exit code = TOOL_OK;
    if (!request_read(tool, argc, argv, &request, &code))
        return code;
    plsm_status status = rows_begin(request.directory);
    if (status != PLSM_OK)
        return tool_error(tool, status);
    code = runners[request.kind]             ? runners[request.kind](tool, &request.plan)
           : request.kind == REQUEST_COMPARE ? bench_compare(tool, &request.compare)
                                             : bench_requirements(tool, &request.compare);
    rows_end();
    return code;
}

const struct command command_bench = {
    .name = "bench",
    .arguments = "WORKLOAD",
    .summary = "Measures plsm and, where they are installed, its rivals",
    .help =
        "WORKLOAD is one of\n"
        "  fillseq fillrandom     writes all keys, in their order or at random\n"
        "  overwrite deleterandom writes or deletes keys that are there, at random\n"
        "  readrandom             reads keys that are there, all alike\n"
        "  readhot readzipf       the same, a tenth of them 90 % of the time, or by Zipf's law (0.99)\n"
        "  readabsent             reads keys that are not there\n"
        "  readseq                reads everything in the order of keys; an operation is an entry\n"
        "  seekrandom             seeks a key and reads 10 entries; an operation is all that\n"
        "  mixed                  reads and overwrites, half and half, all keys alike\n"
        "  ycsb-a ... ycsb-f      the mixes of the Yahoo! Cloud Serving Benchmark\n"
        "or a measurement of several of them:\n"
        "  contest                rows of all engines in turns: a table, --csv FILE, --plot FILE.png\n"
        "  first                  the same with the six rows of the README\n"
        "  floor                  what this machine can do: memory, copies, checksums, calls, disk\n"
        "  stalls                 random puts for --minutes: latencies, and throughput second by second\n"
        "  growth                 time per operation from 100,000 keys to --max-keys\n"
        "  billion                10^9 entries of 8 + 8 bytes: load, change, look up\n"
        "  targets                what plsm should reach beside the others, measured\n"
        "  engines                plsm's own engines beside each other, and which one is for which work: see below\n"
        "  compare                the modes of plsm side by side on the same store, in turns: see below\n"
        "  requirements           each performance requirement and success criterion, measured\n"
        "All but fills load their keys first, untimed. Everything read is checked; a wrong answer is an error.\n\n"
        "      --engine E[,E]     lsm (default), appendlog, hybridlog, rocksdb, leveldb, lmdb, wiredtiger, or all, or\n"
        "                         plsm (the first three), or rivals (lsm and those of others)\n"
        "      --index I          of lsm: learned (default), traditional, classic, both (the first two), all3\n"
        "      --keys N           keys in the store (1m); N may end in k, m, g; compare and engines take N,N,...\n"
        "      --shape S          form of the keys: random (16 bytes, the default), hex, decimal, ycsb, counters,\n"
        "                         counters10, counters75, series, series_jitter, and words and paths, which need\n"
        "                         the files of scripts/key-sets\n"
        "      --ops N            operations (as many as keys; of compare: in each round, 10k)\n"
        "      --value-bytes B    bytes of a value (100)\n"
        "      --batch B          records of one write (1; of compare: 1k; of engines: 100), keys of one "
        "plsm_multi_get\n"
        "                         or rocksdb_multi_get where all calls are reads; others read one by one\n"
        "      --threads T        (1; of engines: 2)\n"
        "      --sync             each write survives power loss; otherwise the death of the process\n"
        "      --state S          of the caches: warm (default), reopened, cold (the page cache dropped as well)\n"
        "      --key-type T       random or decimal: an older name of --shape; fillseq has decimal ones by default\n"
        "      --cache-bytes B    each engine's cache (1g)\n"
        "      --repeat R         runs of each row, in turns; medians are shown (1; 3 of first, contest, engines)\n"
        "      --seed S           of keys, values and choices (1)\n"
        "      --dir D            where the stores are made and removed again ($TMPDIR or /tmp)\n"
        "      --json             one JSON object per row instead of a table\n"
        "      --rows R[,R]       of contest: WORKLOAD[:batch=N][:threads=N][:value-bytes=N][:ops=N][:keys=N]\n"
        "                         [:bytes=N][:state=S][:sync], bytes: of keys and values, or fewer; or groups of "
        "rows:\n"
        "                         writes, batches, reads, states, mixes, sync, threads, values (all of them)\n"
        "      --minutes M        of stalls, for each engine (10); or --seconds S\n"
        "      --max-keys N       of growth (100m) and of engines (ten times --keys, 10m)\n"
        "      --memory-bytes B   of floor: what the slowest chain and the file have (256m)\n\n"
        "engines measures each of plsm's engines in turns: the table of writes and reads of seed 003 (Zipfian, HotSet "
        "and\n"
        "Uniform choices of --keys=100,10k,1m keys) beside its published figures, integers, scaling to --max-keys,\n"
        "threads, listings, flushes, memory and disk, recovery after kill -9, checkpoints; then it says which engine "
        "wins\n"
        "where. Puts one by one, and in batches of --batch. Options of its own:\n"
        "      --parts P[,P]      only these: table, integers, scaling, threads, listing, flush, space, recovery,\n"
        "                         checkpoint\n"
        "      --csv FILE         a line for each figure and engine; --json on the standard output\n"
        "      --plot DIR         pictures, PNG and SVG; needs gnuplot\n\n"
        "compare loads a store, opens it in each mode and measures gets (uniform, Zipf, a hot set, in order, absent,\n"
        "per level, many at a time, uncached), ranges, predictions, memory by part, writes, compaction and training, "
        "in\n"
        "rounds of the same operations in each mode; ratios are of the same round. Options of its own:\n"
        "      --modes M[,M]      learned, traditional (both by default: on one store), classic (a store of its own)\n"
        "      --shapes S[,S]     as --shape, or all (random)\n"
        "      --rounds R         (31; requirements too)\n"
        "      --csv FILE         all figures as CSV\n"
        "      --plot DIR         pictures of ratios and memory, PNG and SVG; needs gnuplot\n"
        "      --verify N         instead of measuring: N lookups of keys that are there and that are not, in each\n"
        "                         mode, one by one and many at a time, all compared, in --threads T; exit code 1 when\n"
        "                         any answer is wrong; a line of counts a minute when stderr is no terminal\n\n"
        "CPU time counts the whole process, background threads included, until they are idle. Latencies are of one\n"
        "call in 16 (of each batch where there are batches). pages_per_op: 4 KiB got from files by read calls;\n"
        "disk/op: those that came from a device, for calls or for pages that are mapped. device x: the time of an\n"
        "operation over that of the device alone, measured behind the row: of cold reads, as many random reads of\n"
        "4 KiB past the page cache at once; of synced writes, writing over a few bytes and fdatasync. write x: bytes\n"
        "written to files over bytes given; space x: bytes of files over bytes of keys and values.\n\n"
        "Examples:\n"
        "  plsm bench readrandom --engine=all --index=both --keys=1m --json\n"
        "  plsm bench contest --rows=fillrandom:batch=1000,readrandom,readrandom:state=cold --plot=contest.png\n"
        "  plsm bench contest --rows=threads,values --keys=100k --repeat=1\n"
        "  plsm bench compare --shapes=all --keys=1m,10m --csv=figures.csv --plot=pictures\n"
        "  plsm bench compare --verify=1g --threads=2\n"
        "  plsm bench engines --keys=100,10k,1m --csv=engines.csv --plot=pictures\n"
        "  plsm bench requirements\n",
    .writes = true,
    .run = run,
};
