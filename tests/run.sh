#!/usr/bin/env bash
# Runs test programs, as many at a time as there are processors, and says how each did: tests/run.sh LABEL PROGRAM...
# Give the longest ones first.
#
# A line per program with its time; the log of each in $TEST_LOGS (build/test-logs), the end of a failing one on the
# terminal. Each program gets an empty TMPDIR, which is unmounted and removed behind it whatever happened.
#
# TEST_JOBS: programs at a time. TEST_LIMIT: seconds a program may take (1800). TEST_RESULTS: a file to which "passed
# failed" is appended per program, for a caller that runs this several times; without it, the last line sums up.
set -u

label=$1
shift
limit=${TEST_LIMIT:-1800}
jobs=${TEST_JOBS:-$(nproc 2>/dev/null || echo 1)}
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

# Takes away what a program left in its TMPDIR, mounts first (the deepest first).
clean_up() # DIRECTORY
{
    local mounted
    awk -v top="$1" '$5 == top || index($5, top "/") == 1 { print $5 }' /proc/self/mountinfo | sort -r |
        while read -r mounted; do
            fusermount3 -uz "$mounted" 2>/dev/null || umount -l "$mounted" 2>/dev/null
        done
    rm -rf --one-file-system "$1"
}

# ThreadSanitizer of gcc 12 cannot run with the address randomisation of newer kernels.
wrapper=()
case $label in
*thread*) setarch -R true 2>/dev/null && wrapper=(setarch -R) ;;
esac

# libcheck's own limits are for a quiet machine, one program at a time, and no sanitizer.
export CK_TIMEOUT_MULTIPLIER=${CK_TIMEOUT_MULTIPLIER-5}
export ASAN_OPTIONS="${ASAN_OPTIONS-detect_stack_use_after_return=0}:abort_on_error=0"
export UBSAN_OPTIONS="${UBSAN_OPTIONS-}:print_stacktrace=1"
export TSAN_OPTIONS="${TSAN_OPTIONS-}:halt_on_error=1:second_deadlock_stack=1"

# Whether libcheck gives each test a process. Those of pure functions need none, and under AddressSanitizer a process
# looks for leaks at its end, which takes longer than most tests.
in_processes() # PROGRAM
{
    case $1 in
    */tests/learn/* | */tests/tools/*) echo no ;;
    *) echo "${CK_FORK:-yes}" ;;
    esac
}

# Runs one program, in a process of its own, which cleans up behind it also when it is told to end. SIGINT reaches the
# program as if nothing stood between (a shell ignores it for what it starts in the background).
run_program() # PROGRAM LOG OUTCOME: OUTCOME is the file for exit code and seconds
{
    local temporary='' process='' code started=$SECONDS
    trap '[ -z "$temporary" ] || clean_up "$temporary"' EXIT
    trap '[ -z "$process" ] || { kill "$process"; wait "$process"; }; exit 143' TERM
    trap '' INT
    temporary=$(mktemp -d "${TMPDIR:-/tmp}/plsm-tests-XXXXXX") || exit 1
    chmod 755 "$temporary" # other users of a test pass through
    TMPDIR=$temporary CK_FORK=$(in_processes "$1") \
        env --default-signal=INT,QUIT timeout -k 10 "$limit" "${wrapper[@]}" "$1" >"$2" 2>&1 </dev/null &
    process=$!
    wait "$process"
    code=$?
    process=
    echo "$code $((SECONDS - started))" >"$3"
}

all_passed=0 all_failed=0
declare -A running=() # by process: the name of its program
outcomes=$(mktemp -d "${TMPDIR:-/tmp}/plsm-run-XXXXXX") || exit 1
finish()
{
    [ ${#running[@]} -eq 0 ] || kill "${!running[@]}" 2>/dev/null
    wait
    rm -rf "$outcomes"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

log_of() # NAME
{
    echo "$logs/${label//[^a-z0-9]/_}-${1//\//-}.log"
}

# Counts and prints how a program did that has ended.
report() # NAME
{
    local name=$1 log code=1 took=0 passed failed why
    log=$(log_of "$name")
    { read -r code took <"$outcomes/${name//\//-}"; } 2>/dev/null # missing: it was not started, or told to end
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
}

# Waits until one of those that run ends.
wait_for_one()
{
    local process=
    wait -n -p process "${!running[@]}"
    local name=${running[$process]}
    unset "running[$process]"
    report "$name"
}

for program in "$@"; do
    [ ${#running[@]} -lt "$jobs" ] || wait_for_one
    name=${program##*tests/}
    run_program "$program" "$(log_of "$name")" "$outcomes/${name//\//-}" &
    running[$!]=$name
done
while [ ${#running[@]} -gt 0 ]; do
    wait_for_one
done

[ -n "${TEST_RESULTS-}" ] || echo "$all_passed passed, $all_failed failed"
[ "$all_failed" -eq 0 ]
