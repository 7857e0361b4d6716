#!/usr/bin/env bash
# kill -9 of a daemon under load, again and again with random options: what was closed before the kill is there with its
# exact content, no file is there in part, and the next mount cleans up the dead one.
# KILL_ROUNDS (50), KILL_SEED (random): how often, and from where the randomness starts.
set -u
cd "$(dirname "$0")/../.." || exit 3
. tests/e2e/lib.sh

RANDOM=${KILL_SEED:=$RANDOM}
echo "KILL_SEED=$KILL_SEED"
pick() { local n=$((RANDOM % $# + 1)); echo "${!n}"; }
options()
{
    echo "rw,index=$(pick learned traditional classic),buffer_size=$(pick 64K 256K 1M 8M),cache_size=$(pick 0 1M 16M),$(
        )file_size=$(pick 256K 4M 64M),size_ratio=$(pick 2 4 10),l0_compact=$(pick 1 2 4),l0_slowdown=8,l0_stop=20,$(
        )policy=$(pick leveled tiered lazy),background=$(pick 0 1),threads=$(pick 1 2 4),$(
        )transport=$(pick "${transports[@]}"),publish_interval=$(pick 0 1 30)"
}

must_create
transports=(dev)
if mount_store transport=uring; then
    transports+=(uring)
    must_unmount
fi
dead=0 remounts=0 closed=0
for ((round = 1; round <= ${KILL_ROUNDS:-50}; round++)); do
    chosen=$(options)
    if ! mount_store "$chosen"; then
        fail "round $round: no mount after a kill, with $chosen"
        break
    fi
    remounts=$((remounts + 1))
    pid=$(daemon_of)
    # what the rounds before have closed, and then more
    if timeout 120 python3 "$ROOT/tests/e2e/load.py" check "$DIR" "$WORK/journal" >"$WORK/checked" 2>&1; then
        pass
    else
        fail "round $round, seed $KILL_SEED, $chosen: $(tail -n 5 "$WORK/checked")"
        break
    fi
    closed=$(tail -n 1 "$WORK/checked" | cut -d ' ' -f 1)
    timeout 120 python3 "$ROOT/tests/e2e/load.py" run "$DIR" "$WORK/journal" "$((KILL_SEED + round))" \
        >"$WORK/load" 2>&1 &
    load=$!
    sleep "0.$((RANDOM % 80 + 20))"
    kill -9 "$pid"
    wait $load
    code=$?
    [ $code -eq 0 ] || { fail "round $round: the load ended with $code: $(tail -n 5 "$WORK/load")"; break; }
    stat "$DIR" >/dev/null 2>"$WORK/err" || ! grep -q 'not connected' "$WORK/err" || dead=$((dead + 1))
done
echo "$remounts rounds, $dead dead mounts cleaned up, $closed files closed at the end"
[ "$dead" -gt $((remounts / 2)) ] && pass || fail "only $dead of $remounts kills left a dead mount: was it killed?"
[ "${closed:-0}" -gt $((2 * remounts)) ] && pass || fail "only $closed files were closed"
must_mount rw # over the last dead one
ok timeout 120 python3 "$ROOT/tests/e2e/load.py" check "$DIR" "$WORK/journal"
must_unmount
check_store
