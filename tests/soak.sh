#!/usr/bin/env bash
# The random tests with new seeds over and over, and kill -9 of a loaded daemon, for SOAK_MINUTES (60). Stops at the
# first failure; the seed is in the output.
set -eu
cd "$(dirname "$0")/.."
build=${BUILD:-build}
end=$((SECONDS + ${SOAK_MINUTES:-60} * 60))
rounds=0
while [ "$SECONDS" -lt "$end" ]; do
    seed=$((RANDOM * 32768 + RANDOM))
    echo "== round $((rounds += 1)), seed $seed"
    MODEL_SEED=$seed MODEL_SETS=60 "$build/tests/crash/test_model"
    CRASH_SEED=$seed CRASH_STRIDE=3 "$build/tests/crash/test_crash"
    FAULT_SEED=$seed FAULT_STRIDE=5 "$build/tests/crash/test_fault"
    THREADS_SECONDS=20 "$build/tests/store/test_threads"
    FUZZ_SEED=$seed FUZZ_SECONDS=30 "$build/tests/fuzz/fuzz_store"
    FUZZ_SEED=$seed FUZZ_SECONDS=10 "$build/tests/fuzz/fuzz_learn"
    FUZZ_SEED=$seed FUZZ_SECONDS=10 "$build/tests/fuzz/fuzz_logs"
    for script in tests/e2e/kill*.sh; do
        [ ! -e "$script" ] || KILL_SEED=$seed TEST_LIMIT=3600 tests/run.sh soak "$script"
    done
done
echo "$rounds rounds passed"
