#!/usr/bin/env bash
# Simulated I/O from outside: options of mounts and of commands, what .stats says, that sleeping takes time.
set -u
cd "$(dirname "$0")/../.." || exit 3
. tests/e2e/lib.sh

stat_of() { awk -v name="$1" '$1 == name { print $2 }' "$DIR/.stats"; }
above() { if [ "$(stat_of "$1")" -gt "$2" ]; then pass; else fail "$1 is $(stat_of "$1"), not above $2"; fi; }
LINES_SIM='reads random sequential blocks hits read_ms metadata_bytes writes write_bytes write_ms traditional_reads
    traditional_random traditional_sequential traditional_blocks traditional_hits traditional_read_ms
    traditional_metadata_bytes saved_read_ms saved_percent'

# --- a mount -------------------------------------------------------------------------------------------------------
# Closing the store writes what is in memory to runs only when it is much; a small buffer makes it so.
must_mount create,buffer_size=64K,sim=hdd,sim_cache=256K
is "$(stat_of sim.profile)" hdd
for name in $LINES_SIM; do
    ok grep -qE "^sim\.$name -?[0-9.e+-]+$" "$DIR/.stats"
done
is "$(stat_of sim.reads)" 0
mkdir "$DIR/d"
for i in $(seq 1 200); do
    head -c 2000 /dev/zero | tr '\0' "$((i % 10))" >"$DIR/d/file$i"
done
ok sync "$DIR/d"
above sim.write_bytes 400000
above sim.writes 200
above sim.write_ms 1
remount rw,buffer_size=64K,sim=hdd,sim_cache=256K
for i in 7 190 33 120 61; do
    is "$(head -c 3 "$DIR/d/file$i")" "$((i % 10))$((i % 10))$((i % 10))"
done
above sim.reads 2
above sim.traditional_reads 2
above sim.read_ms 20
above sim.metadata_bytes 0
ok sh -c "echo reset > '$DIR/.stats'"
is "$(stat_of sim.write_bytes)" 0
is "$(stat_of sim.read_ms)" 0
ok test "$(find "$DIR/d" -type f | wc -l)" -eq 200

# In traditional mode both sides are one.
remount rw,index=traditional,sim=cloud,sim_cache=128K,threads=1
cat "$DIR"/d/* >/dev/null
for name in random sequential blocks hits read_ms metadata_bytes; do
    is "$(stat_of "sim.$name")" "$(stat_of "sim.traditional_$name")" "sim.$name"
done
above sim.blocks 20
is "$(stat_of sim.saved_read_ms)" 0

# --- figures of one's own, and wrong ones ----------------------------------------------------------------------------
remount ro,sim=hdd,sim_latency_us=20,sim_sleep=1
is "$(stat_of sim.profile)" own
is "$(head -c 3 "$DIR/d/file55")" 555
remount rw
is "$(stat_of sim.profile)" off
is "$(stat_of sim.reads)" 0
must_unmount
for bad in sim=floppy sim=own sim_latency_us=soon sim=hdd,sim_queue_depth=0; do
    not timeout 60 "$PLSMD" -o "$bad" "$STORE" "$DIR"
    not timeout 60 "$PLSM" get -o "$bad" "$STORE" d/file1
done
check_store

# --- commands ------------------------------------------------------------------------------------------------------
is "$("$PLSM" get -o sim=hdd "$STORE" d/file8 | head -c 3)" 888
is "$("$PLSM" stats -o sim=ssd "$STORE" | awk '$1 == "sim.profile" { print $2 }')" ssd
ok timeout 120 "$PLSM" bench readrandom --keys=2000 --dir="$WORK" --json -o sim=hdd
# 300 reads from a device of 1 ms, without a cache, are 0.3 s; a bench in memory takes far less.
slow=sim=own,sim_latency_us=1000,sim_read_bandwidth=1G,sim_write_bandwidth=1G,sim_cache=0,sim_sleep=1
ok timeout 120 "$PLSM" bench readrandom --keys=1000 --ops=300 --dir="$WORK" --json -o "buffer_size=64K,$slow"
rate=$(python3 -c 'import json, sys; print(int(json.loads(sys.stdin.readline())["ops_per_s"]))' <"$WORK/out")
if [ "${rate:-0}" -gt 0 ] && [ "$rate" -lt 1100 ]; then pass; else fail "$rate reads per second at 1 ms each"; fi
