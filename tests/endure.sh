#!/usr/bin/env bash
# Endurance: processes that write, append, sync, read, rename and remove files for ENDURE_MINUTES (60), and a kill -9 of
# the daemon every ENDURE_KILL_SECONDS (60; 0: never). After each kill the next mount must recover the dead one, and
# every file must be as it was last closed or synced. Memory must not grow: see the end.
# ENDURE_PROCESSES (8), ENDURE_OPTIONS (mount options), ENDURE_SEED.
set -u
cd "$(dirname "$0")/.." || exit 3
. tests/e2e/lib.sh

minutes=${ENDURE_MINUTES:-60} every=${ENDURE_KILL_SECONDS:-60} processes=${ENDURE_PROCESSES:-8}
options=${ENDURE_OPTIONS:-rw} seed=${ENDURE_SEED:-$RANDOM}
echo "ENDURE_SEED=$seed: $processes processes, $minutes minutes, a kill every $every s, -o $options"
ok "$PLSM" create "$STORE"
start=$SECONDS
end=$((start + minutes * 60))
round=0 kills=0 dead=0

resident() { awk '$1 == "VmRSS:" { print $2 }' "/proc/$1/status" 2>/dev/null; }

# Whatever happened before, each process's files are as its journal says.
check_all()
{
    local i bad=0 checks=()
    for ((i = 0; i < processes; i++)); do
        timeout 600 python3 "$ROOT/tests/e2e/load.py" check "$DIR/$i" "$WORK/journal.$i" >"$WORK/checked.$i" 2>&1 &
        checks[i]=$!
    done
    for ((i = 0; i < processes; i++)); do
        wait "${checks[i]}" || { bad=1; fail "round $round, process $i: $(tail -n 5 "$WORK/checked.$i")"; }
    done
    [ $bad -eq 0 ] && pass
}

while [ $SECONDS -lt $end ]; do
    round=$((round + 1))
    mount_store "$options" || { fail "round $round: no mount after a kill"; break; }
    pid=$(daemon_of)
    for ((i = 0; i < processes; i++)); do mkdir -p "$DIR/$i"; done
    check_all || break
    loads=()
    for ((i = 0; i < processes; i++)); do
        python3 "$ROOT/tests/e2e/load.py" run "$DIR/$i" "$WORK/journal.$i" "$((seed + round * processes + i))" \
            >"$WORK/load.$i" 2>&1 &
        loads[i]=$!
    done
    until=$((every > 0 && SECONDS + every < end ? SECONDS + every : end))
    while [ $SECONDS -lt $until ]; do
        sleep 1
        echo "$((SECONDS - start)) $round $(resident "$pid")" >>"$WORK/memory"
    done
    kill -9 "$pid"
    kills=$((kills + 1))
    for ((i = 0; i < processes; i++)); do
        wait "${loads[i]}" || fail "round $round, process $i: $(tail -n 5 "$WORK/load.$i")"
    done
    stat "$DIR/0" >/dev/null 2>"$WORK/err" || ! grep -q 'not connected' "$WORK/err" || dead=$((dead + 1))
    [ "$failed" -eq 0 ] || break
done
must_mount rw # over the last dead one
check_all
must_unmount
check_store

echo "$round rounds, $kills kills, $dead dead mounts recovered, $(cat "$WORK"/journal.* | grep -c '"did"') changes"
[ $dead -eq $kills ] && pass || fail "$dead dead mounts of $kills kills"
# Resident memory after the first sixth and in the last one, the mean of the samples of the second half of each life.
awk -v all=$((end - start)) '
    { if ($2 != round) { round = $2; born = $1 } age[NR] = $1 - born; at[NR] = $1; kb[NR] = $3; life[NR] = round
      if (age[NR] > lives[round]) lives[round] = age[NR] }
    END {
        for (i = 1; i <= NR; i++) {
            if (kb[i] == 0 || age[i] < lives[life[i]] / 2) continue
            if (at[i] >= all / 6 && at[i] < all / 3) { early += kb[i]; earlies++ }
            if (at[i] >= all * 5 / 6) { late += kb[i]; lates++ }
        }
        if (!earlies || !lates) { print "too few samples of memory"; exit 1 }
        early /= earlies; late /= lates
        printf "resident: %d KiB in the second sixth, %d KiB in the last (%+.1f %%)\n", early, late,
               (late / early - 1) * 100
        exit late > early * 1.1
    }' "$WORK/memory" && pass || fail "memory grows"
