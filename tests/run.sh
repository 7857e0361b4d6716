#!/usr/bin/env bash
# Runs test programs one after the other and says how each did: tests/run.sh LABEL PROGRAM...
#
# A line per program with its time; the log of each in $TEST_LOGS (build/test-logs), the end of a failing one on the
# terminal. Each program gets an empty TMPDIR, which is unmounted and removed behind it whatever happened.
#
# TEST_LIMIT: seconds a program may take (900). TEST_RESULTS: a file to which "passed failed" is appended per program,
# for a caller that runs this several times; without it, the last line sums up.
set -u

label=$1
shift
limit=${TEST_LIMIT:-900}
logs=${TEST_LOGS:-build/test-logs}
mkdir -p "$logs"

# A program's own count, from libcheck's or the scripts' last line; otherwise it is one test.
count_results() # LOG EXIT_CODE: prints "passed failed"
{
    local passed failed
    read -r passed failed < <(sed -nE \
        -e 's/.*Checks: ([0-9]+), Failures: ([0-9]+), Errors: ([0-9]+).*/\1 \2 \3/p' \
        -e 's/^([0-9]+) passed, ([0-9]+) failed.*/P \1 \2/p' "$1" |
        awk '$1 == "P" { p = $2; f = $3; next } { p += $1 - $2 - $3; f += $2 + $3 } END { print p + 0, f + 0 }')
    if [ "$2" -eq 0 ]; then
        [ $((passed + failed)) -gt 0 ] || passed=1
    else
        [ "$failed" -gt 0 ] || failed=1
    fi
    echo "$passed $failed"
}

# Takes away what a program left below its TMPDIR, mounts first (the deepest first).
clean_up() # DIRECTORY
{
    local mounted
    awk -v top="$1/" 'index($5, top) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r mounted; do
        fusermount3 -uz "$mounted" 2>/dev/null || umount -l "$mounted" 2>/dev/null
    done
    rm -rf --one-file-system "$1"
}

# ThreadSanitizer of gcc 12 cannot run with the address randomisation of newer kernels.
wrapper=()
case $label in
*thread*) setarch -R true 2>/dev/null && wrapper=(setarch -R) ;;
esac

all_passed=0 all_failed=0 temporary=
trap 'if [ -n "$temporary" ]; then clean_up "$temporary"; fi' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
export ASAN_OPTIONS="${ASAN_OPTIONS-detect_stack_use_after_return=0}:abort_on_error=0"
export UBSAN_OPTIONS="${UBSAN_OPTIONS-}:print_stacktrace=1"
export TSAN_OPTIONS="${TSAN_OPTIONS-}:halt_on_error=1:second_deadlock_stack=1"

for program in "$@"; do
    name=${program##*tests/}
    log=$logs/${label//[^a-z0-9]/_}-${name//\//-}.log
    temporary=$(mktemp -d "${TMPDIR:-/tmp}/plsm-tests-XXXXXX") || exit 1
    chmod 755 "$temporary" # other users of a test pass through
    started=$SECONDS
    TMPDIR=$temporary timeout -k 10 "$limit" "${wrapper[@]}" "$program" >"$log" 2>&1 </dev/null
    code=$?
    took=$((SECONDS - started))
    clean_up "$temporary"
    temporary=
    read -r passed failed < <(count_results "$log" "$code")
    all_passed=$((all_passed + passed)) all_failed=$((all_failed + failed))
    [ -z "${TEST_RESULTS-}" ] || echo "$passed $failed" >>"$TEST_RESULTS"
    if [ "$code" -eq 0 ] && [ "$failed" -eq 0 ]; then
        printf 'ok    %-28s %-36s %4d s  %d passed\n' "$label" "$name" "$took" "$passed"
    else
        why="exit code $code"
        [ "$code" -ne 124 ] && [ "$code" -ne 137 ] || why="longer than $limit s"
        printf 'FAIL  %-28s %-36s %4d s  %d failed (%s), log: %s\n' "$label" "$name" "$took" "$failed" "$why" "$log"
        tail -n "${TEST_TAIL:-40}" "$log" | sed 's/^/      | /'
    fi
done

[ -n "${TEST_RESULTS-}" ] || echo "$all_passed passed, $all_failed failed"
[ "$all_failed" -eq 0 ]
