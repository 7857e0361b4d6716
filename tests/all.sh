#!/usr/bin/env bash
# Everything that must pass, in stages; the last line sums up all of them: "N passed, M failed". A failing stage does
# not keep the later ones from running.
set -u
cd "$(dirname "$0")/.." || exit 1

# Not the parent's: this is no recursive make.
unset MAKEFLAGS MAKELEVEL MFLAGS
jobs=$(nproc 2>/dev/null || echo 1)
export TEST_LOGS=$PWD/build/test-logs
mkdir -p "$TEST_LOGS"
TEST_RESULTS=$(mktemp)
export TEST_RESULTS
trap 'rm -f "$TEST_RESULTS"' EXIT

# stage NAME COMMAND...: a stage that fails without a result of its own (it did not compile) is one failure.
stage()
{
    local name=$1 started=$SECONDS before after
    shift
    printf '== %s\n' "$name"
    before=$(wc -l <"$TEST_RESULTS")
    if ! "$@"; then
        after=$(awk '{ failed += $2 } END { print failed + 0 }' <(tail -n +$((before + 1)) "$TEST_RESULTS"))
        [ "$after" -gt 0 ] || echo "0 1" >>"$TEST_RESULTS"
        printf '== %s failed after %d s\n' "$name" $((SECONDS - started))
    else
        [ "$(wc -l <"$TEST_RESULTS")" -gt "$before" ] || echo "1 0" >>"$TEST_RESULTS"
        printf '== %s took %d s\n' "$name" $((SECONDS - started))
    fi
}

quiet_make()
{
    make -s -j"$jobs" "$@" >"$TEST_LOGS/make.log" 2>&1 || { tail -40 "$TEST_LOGS/make.log"; return 1; }
}

started=$SECONDS
stage "compile with gcc" quiet_make WERROR=-Werror all unit-binaries
stage "tests" make -s -j1 test
if command -v clang >/dev/null; then
    stage "compile with clang" quiet_make check-clang
fi
sanitizers=$SECONDS
stage "tests under AddressSanitizer and UndefinedBehaviorSanitizer" make -s -j"$jobs" check-asan
stage "tests under ThreadSanitizer" make -s -j"$jobs" check-tsan
printf '== all took %d s, sanitizers %d s of it\n' $((SECONDS - started)) $((SECONDS - sanitizers))

awk '{ passed += $1; failed += $2 } END { printf "%d passed, %d failed\n", passed, failed; exit failed > 0 }' \
    "$TEST_RESULTS"
