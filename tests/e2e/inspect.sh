#!/bin/bash
# The analyzers of `plsm inspect`: their text, their JSON, their pictures, what they say of damage, and that they work
# beside a mount.
set -u
cd "$(dirname "$0")/../.." || exit 3
# shellcheck source=tests/e2e/lib.sh
. tests/e2e/lib.sh
cd "$WORK" || exit 3

# expect CODE COMMAND...: standard output goes to `out`, standard error to `err`.
expect()
{
    local wanted=$1
    shift
    "$@" >out 2>err
    is $? "$wanted" "${*:1:8}: $(head -c 300 err)"
}
# has FILE PATTERN: a line of it matches.
has() { if grep -qE -- "$2" "$1"; then pass; else fail "no '$2' in $1: $(head -c 600 "$1")"; fi; }
silent() { is "$(head -c 300 "$1")" ''; }
# inspect_json EXPRESSION ARGUMENTS...: of what `plsm inspect ARGUMENTS --json` tells.
inspect_json()
{
    local expression=$1
    shift
    expect 0 "$PLSM" inspect "$@" --json
    python3 -c 'import json, sys; d = json.load(open("out")); sys.exit(not eval(sys.argv[1]))' "$expression" 2>json.err
    is $? 0 "$expression: $(tail -n 1 json.err) in $(tail -c 300 out)"
}

# --- usage ----------------------------------------------------------------------------------------------------------
expect 0 "$PLSM" inspect --help
has out 'Usage: plsm inspect'
expect 2 "$PLSM" inspect
has err 'missing'
expect 2 "$PLSM" inspect frobnicate store
has err 'frobnicate'
for kind in run level compaction profile values; do
    expect 0 "$PLSM" inspect $kind --help
    has out "Usage: plsm inspect $kind"
    has out Example
    expect 2 "$PLSM" inspect $kind --frobnicate
    has err frobnicate
    expect 2 "$PLSM" inspect $kind
    has err 'store is missing'
    expect 2 "$PLSM" inspect $kind one two
    expect 3 "$PLSM" inspect $kind none
    has err none
    has "$ROOT/man/plsm.1" "^\.Cm inspect $kind"
done
expect 2 "$PLSM" inspect run --run=x store
expect 2 "$PLSM" inspect run --run=1 --all store
has err 'exclude'
expect 2 "$PLSM" inspect run --keys=0 store
expect 2 "$PLSM" inspect level --run=1 store
expect 2 "$PLSM" inspect run --plot=a.png store
has err '--run'
expect 2 "$PLSM" inspect level --plot=a.gif store
has err '.svg'

# --- an empty store -------------------------------------------------------------------------------------------------
expect 0 "$PLSM" create store
for kind in run level compaction profile values; do
    expect 0 "$PLSM" inspect $kind store
    silent err
    inspect_json 'len(d) > 0' $kind store
done

# --- a store of several levels --------------------------------------------------------------------------------------
perl -e 'srand 5; printf "%08x%08x\t%s\n", rand 4294967296, rand 4294967296, "v" x 90 for 1 .. 40000' >hex
expect 0 "$PLSM" load -o buffer_size=512K,file_size=1M store <hex
expect 0 "$PLSM" inspect run store
silent err
has out '^ +run +level +entries'
has out 'plr|linear'
inspect_json 'sum(r["entries"] for r in d["runs"] if r["keyspace"] == "names") >= 40000' run store
inspect_json 'all(r["model"]["type"] and r["problem"] is None for r in d["runs"])' run store
inspect_json 'len(set(r["level"] for r in d["runs"])) > 1' run store
expect 0 "$PLSM" inspect run --all store
silent err
has out 'false negatives'
inspect_json 'all(r["keys"]["keys_on_another_page"] == 0 for r in d["runs"])' run --all store
inspect_json 'all(m["false_negatives"] == 0 for r in d["runs"] for m in r["membership"])' run --all store
inspect_json 'all(m["false_positive_rate"] < 0.02 for r in d["runs"] for m in r["membership"]
    if m["keys_absent"] > 99)' run --all store
inspect_json 'all(sum(e["keys_corrected"] for e in r["errors"]) == r["keys"]["keys_checked"] for r in d["runs"])' \
    run --all store
inspect_json 'all(abs(p["bits_per_key"] - 8 * p["memory_bytes"] / r["entries"]) < 1e-3
    for r in d["runs"] for p in r["parts"])' run --all store
# The parts are all of the file, and those that serve are all of the memory.
inspect_json 'all(sum(p["disk_bytes"] for p in own) == total["disk_bytes"] == r["file_bytes"]
    and sum(p["memory_bytes"] for p in own if p["serves"]) == total["memory_bytes"]
    and {p["part"]: p for p in own}["pages"]["disk_bytes"] == 4096 * r["pages"]
    for r in d["runs"]
    for own in [[p for p in r["parts"] if p["part"] not in ("all", "fingerprints, in pages")]]
    for total in [{p["part"]: p for p in r["parts"]}["all"]])' run store
cp out runs.json
for sum in runs entries pages file_bytes; do
    inspect_json "all(l['$sum'] == sum(1 if '$sum' == 'runs' else r['$sum'] for r in runs if r['level'] == l['level'])
        for runs in [json.load(open('runs.json'))['runs']] for l in d['levels'])" level store
    [ $sum = pages ] || inspect_json "(sum(l['$sum'] for l in d['levels']) == sum(j['$sum'] for j in d['jobs'])
        == sum(1 if '$sum' == 'runs' else r['$sum'] for r in json.load(open('runs.json'))['runs']))" compaction store
done
inspect_json 'len(d["runs"]) > 3' run --all store
run=$(python3 -c 'import json; print(max(json.load(open("out"))["runs"], key=lambda r: r["entries"])["number"])')
expect 0 "$PLSM" inspect run --run="$run" store
has out "^run $run\$"
is "$(grep -c '^run ' out)" 1
inspect_json "len(d['runs']) == 1 and d['runs'][0]['number'] == $run" run --run="$run" store
expect 1 "$PLSM" inspect run --run=987654 store
has err 987654

expect 0 "$PLSM" inspect level --keys=2k --seed=3 store
silent err
has out 'level accuracy'
inspect_json 'd["lookups"]["keys"] == 2000 and d["lookups"]["found"] == 2000' level --keys=2k store
inspect_json 'd["lookups"]["page_accuracy"] == 1 and d["lookups"]["level_accuracy"] > 0.9' level store
inspect_json 'all(l["model_accuracy"] == 1 for l in d["levels"]) and len(d["levels"]) == len(d["bits_per_key"])' \
    level store
inspect_json 'all(b["index"] < b["traditional_index"] for b in d["bits_per_key"] if b["level"] > 0)' level store
inspect_json 'd["lookups"]["page_accuracy"] == 0' level -o index=traditional store

expect 0 "$PLSM" inspect compaction store
silent err
has out '^ +job +by'
inspect_json 'sum(j["runs"] for j in d["jobs"]) == sum(l["runs"] for l in d["levels"]) and not d["retrained"]' \
    compaction store
inspect_json 'all(0 < j["train_share"] + j["filter_share"] < 1 for j in d["jobs"] if j["entries"] > 1000)' \
    compaction store

head -c 10000 /dev/urandom >large
expect 0 "$PLSM" create large-values
expect 0 "$PLSM" put large-values one <large
expect 0 "$PLSM" put large-values two <large
expect 0 "$PLSM" compact large-values
expect 0 "$PLSM" inspect values large-values
silent err
has out '^ +value log +runs'
inspect_json 'd["all"]["value_logs"] == len(d["value_logs"]) > 0 and d["all"]["live_bytes"] > 20000' values large-values
inspect_json 'd["value_logs"] == [] and d["all"]["bytes"] == 0' values store
expect 2 "$PLSM" inspect values --plot=x.png store

expect 0 "$PLSM" inspect profile --keys=3000 --absent store
silent err
has out '^ +step +lookups'
inspect_json 'len(d["profiles"]) == 1 and d["profiles"][0]["keys"] == d["profiles"][0]["found"] == 3000' \
    profile --keys=3000 store
inspect_json 'abs(sum(s["share"] for s in d["profiles"][0]["steps"] if s["step"] != "all") - 1) < 1e-6' profile store
inspect_json '[p["answers_that_differ"] for p in d["profiles"]] == [0, 0] and d["profiles"][1]["found"] == 0' \
    profile --absent store
inspect_json '"model" in [s["step"] for s in d["profiles"][0]["steps"]]' profile store
inspect_json '"model" not in [s["step"] for s in d["profiles"][0]["steps"]]' profile -o index=traditional store
inspect_json 'd["profiles"][0]["pages_read_from_files_per_lookup"] > 0.5' profile -o cache_size=0 store

expect 0 "$PLSM" retrain --all -o l0_compact=64,l0_slowdown=64,l0_stop=65 store # compactions would replace runs
inspect_json 'len(d["retrained"]) == sum(l["runs"] for l in d["levels"]) and all(r["usable"] for r in d["retrained"])' \
    compaction store

# --- a store in the plain layout ------------------------------------------------------------------------------------
expect 0 "$PLSM" create plain
expect 0 "$PLSM" load -o index=classic,buffer_size=512K,file_size=1M plain <hex
inspect_json 'all(r["layout"] == "classic" and r["membership_kind"] == "bloom" and r["model"]["type"] is None
    for r in d["runs"] if r["keyspace"] == "names")' run --all plain
inspect_json 'all(m["false_negatives"] == 0 and m["false_positive_rate"] < 0.02 for r in d["runs"]
    for m in r["membership"] if m["keys_absent"] > 99)' run --all plain
inspect_json 'sum(l["classic"] for l in d["levels"]) == sum(l["runs"] for l in d["levels"])' level plain
inspect_json 'd["profiles"][0]["index"] == "classic" and d["profiles"][0]["answers_that_differ"] == 0' \
    profile -o index=classic plain
inspect_json 'all(j["train_share"] == 0 for j in d["jobs"])' compaction plain

# --- pictures -------------------------------------------------------------------------------------------------------
mkdir bare
for kind in "run --run=$run" level compaction profile; do
    # shellcheck disable=SC2086 # words
    expect 3 env PATH="$WORK/bare" "$PLSM" inspect $kind --plot=picture.png store
    has err 'gnuplot.*not in PATH'
    silent out
    [ ! -e picture.png ] && pass || fail "a picture without gnuplot"
    if command -v gnuplot >/dev/null; then
        # shellcheck disable=SC2086
        expect 0 "$PLSM" inspect $kind --plot=picture.png store
        silent err
        is "$(head -c 4 picture.png | tail -c 3)" PNG
        # shellcheck disable=SC2086
        expect 0 "$PLSM" inspect $kind --plot=picture.svg store
        silent err
        python3 -c 'import xml.dom.minidom; xml.dom.minidom.parse("picture.svg")' 2>err
        is $? 0 "an SVG that is none"
        # shellcheck disable=SC2086
        expect 3 "$PLSM" inspect $kind --plot=none/picture.svg store
        has err none/picture.svg
    fi
    rm -f picture.*
done
# A gnuplot that fails: told, and what was there stays.
printf '#!/bin/sh\ncat >/dev/null\nexit 5\n' >bare/gnuplot
chmod +x bare/gnuplot
echo before >picture.png
expect 3 env PATH="$WORK/bare:$PATH" "$PLSM" inspect level --plot=picture.png store
has err 'exit code 5'
is "$(cat picture.png)" before
is "$(ls picture.*)" picture.png
printf '#!/bin/sh\nexit 0\n' >bare/gnuplot # it does not read its input
expect 0 env PATH="$WORK/bare:$PATH" "$PLSM" inspect level --plot=picture.png store

# --- damage ---------------------------------------------------------------------------------------------------------
cp -r store damaged
# flip RUN OFFSET: a byte of a run's file, from its end.
flip()
{
    perl -e 'open F, "+<", $ARGV[0] or die; seek F, $ARGV[1], 2; read F, $b, 1; seek F, $ARGV[1], 2;
        print F chr(ord($b) ^ 16)' "damaged/run-$(printf %08d "$1")" "$2"
}
printf x | dd of="damaged/model-$(printf %08d "$run")" bs=1 seek=60 conv=notrunc 2>dd.err
expect 1 "$PLSM" inspect run damaged
has out "^run $run: model file: .*checksum"
expect 1 "$PLSM" inspect run --run="$run" damaged
has out 'model file +.*checksum'
expect 1 "$PLSM" inspect level damaged
expect 1 "$PLSM" inspect compaction damaged
flip "$run" -100 # the footer
expect 1 "$PLSM" inspect run damaged
has out "^run $run: run: .*footer"
expect 1 "$PLSM" inspect run --all damaged
has out 'problem +.*footer'
expect 1 "$PLSM" inspect run --run="$run" --json damaged
python3 -c 'import json, sys; d = json.load(open("out")); sys.exit("footer" not in d["runs"][0]["problem"])'
is $? 0 "the JSON of a damaged run"
expect 1 "$PLSM" inspect level damaged

# What is no store, or looks encrypted: a clear message, never a crash.
mkdir foreign
printf 'notes\n' >foreign/notes
head -c 100000 /dev/urandom >noise
cp -r store sealed
head -c "$(stat -c %s "sealed/run-$(printf %08d "$run")")" /dev/urandom >"sealed/run-$(printf %08d "$run")"
cp noise "sealed/model-$(printf %08d "$run")"
expect 1 "$PLSM" inspect run sealed
has out "^run $run: run: .*wrong magic"
expect 1 "$PLSM" inspect run --all sealed
expect 1 "$PLSM" inspect level sealed
expect 1 "$PLSM" inspect compaction sealed
expect 1 "$PLSM" inspect profile sealed
has out '^ +damaged +[1-9]'
cp noise "damaged/model-$(printf %08d "$run")"
expect 1 "$PLSM" inspect run damaged
for manifest in sealed/manifest-*; do cp noise "$manifest"; done
for kind in run level compaction profile values; do
    expect 3 "$PLSM" inspect $kind foreign
    has err 'foreign'
    expect 3 "$PLSM" inspect $kind noise
    has err 'noise'
    expect 3 "$PLSM" inspect $kind sealed
    has err 'manifest'
done

# --- beside a mount, and keys that are no text ----------------------------------------------------------------------
must_mount create "$STORE"2
for i in $(seq 200); do echo "$i" >"$DIR/file-$i"; done
printf x >"$DIR/$(printf 'odd\377"\\\001')"
for kind in run level compaction 'profile --absent'; do
    # shellcheck disable=SC2086
    inspect_json 'len(d) > 0' $kind "${STORE}2"
done
must_unmount
for kind in 'run --all' level compaction 'profile --absent'; do
    # shellcheck disable=SC2086
    inspect_json 'len(d) > 0' $kind "${STORE}2"
done
for command in 'run store' 'run --all store' 'level store' 'compaction store' 'profile store'; do
    # shellcheck disable=SC2086
    "$PLSM" inspect $command >/dev/full 2>err
    is $? 3 "$command to a full device"
    has err 'No space left'
done
check_store "$WORK/store"
