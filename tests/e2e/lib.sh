# What the end-to-end tests of the mount share; source it from tests/e2e/*.sh after `cd` to the checkout.
#
# It makes a workspace $WORK with an empty directory $WORK/dir to mount on; a store goes to $WORK/store. At the end,
# whatever happens, everything below $WORK is unmounted and removed, and the last line is "N passed, M failed".
# shellcheck shell=bash disable=SC2034

ROOT=$PWD
BUILD=${BUILD:-build}
[ -x "$BUILD/plsmd" ] && [ -x "$BUILD/plsm" ] || { echo "no $BUILD/plsmd or $BUILD/plsm: run make first" >&2; exit 3; }
PLSM=$(realpath "$BUILD/plsm")
PLSMD=$(realpath "$BUILD/plsmd")
[ -r /dev/fuse ] && [ -w /dev/fuse ] || { echo "/dev/fuse is missing or not permitted: these tests mount" >&2; exit 3; }
export LC_ALL=C
umask 022
WORK=$(mktemp -d "${TMPDIR:-/tmp}/plsm-e2e-XXXXXX") || exit 3
WORK=$(realpath "$WORK")
DIR=$WORK/dir STORE=$WORK/store
mkdir "$DIR"
passed=0 failed=0

ended() # PID [SECONDS]: waits until the process is gone, 10 s at most
{
    local i
    for ((i = 0; i < ${2:-10} * 20; i++)); do
        kill -0 "$1" 2>/dev/null || return 0
        sleep 0.05
    done
    ! kill -0 "$1" 2>/dev/null
}

lib_finish()
{
    local code=$? mounted pid
    trap - EXIT INT TERM HUP
    cd / || true
    awk -v top="$WORK/" 'index($5, top) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r mounted; do
        timeout 20 fusermount3 -u "$mounted" 2>/dev/null && continue
        umount -f "$mounted" 2>/dev/null # has all fail that waits for a daemon that hangs, which no signal ends
        fusermount3 -uz "$mounted" 2>/dev/null || umount -l "$mounted" 2>/dev/null
    done
    for pid in $(pgrep -x plsmd); do # ours only: they have a path below $WORK as their last argument
        [[ $({ tr '\0' '\n' <"/proc/$pid/cmdline"; } 2>/dev/null | tail -1) == "$WORK"/* ]] || continue
        ended "$pid" || kill -9 "$pid" 2>/dev/null
    done
    rm -rf --one-file-system "$WORK"
    if [ $code -ne 0 ] && [ "$failed" -eq 0 ]; then
        failed=1
        echo "ended early with exit code $code"
    fi
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ] || exit 1
    exit 0
}
trap lib_finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

pass() { passed=$((passed + 1)); }
fail()
{
    local i=0
    failed=$((failed + 1))
    while [ "${BASH_SOURCE[$i]}" = "${BASH_SOURCE[0]}" ]; do i=$((i + 1)); done
    echo "FAILED (line ${BASH_LINENO[$((i - 1))]}): $*"
}
ok() { if "$@" >"$WORK/out" 2>"$WORK/err"; then pass; else fail "exit code $?: $* $(head -c 300 "$WORK/err")"; fi; }
not() { if "$@" >"$WORK/out" 2>"$WORK/err"; then fail "should have failed: $*"; else pass; fi; }
is() { if [ "$1" = "$2" ]; then pass; else fail "'$1', not '$2'${3:+ ($3)}"; fi; }
# says TEXT COMMAND...: it fails, and its standard error holds TEXT, in the form of errno for programs.
says()
{
    local text=$1 code
    shift
    "$@" >"$WORK/out" 2>"$WORK/err" </dev/null
    code=$?
    if [ $code -ne 0 ] && grep -qF -- "$text" "$WORK/err"; then
        pass
    else
        fail "exit code $code, not '$text' but '$(head -c 300 "$WORK/err")': $*"
    fi
}

# mount_store [OPTIONS [STORE [DIRECTORY]]]: with -o create by default. E2E_OPTIONS (none): options for all of them, such
# as transport=uring.
mount_store()
{
    timeout 60 "$PLSMD" -o "${1:-create}${E2E_OPTIONS:+,$E2E_OPTIONS}" "${2:-$STORE}" "${3:-$DIR}" </dev/null >"$WORK/mount.out" 2>&1 && return 0
    echo "mount failed: $(cat "$WORK/mount.out")"
    return 1
}
by_write() { [[ ,${E2E_OPTIONS-}, == *,publish=write,* ]]; } # such mounts publish each write, and know no holes
must_mount() { mount_store "$@" || { fail "cannot mount"; exit 1; }; }
must_create() { must_mount create && must_unmount; } # a store as the mounts will have it

# The engines that this build has. E2E_ENGINES: these alone.
engines()
{
    local engine
    for engine in ${E2E_ENGINES:-lsm appendlog hybridlog}; do
        "$PLSM" create -o "engine=$engine" "$WORK/try-$engine" >"$WORK/out" 2>&1 && echo "$engine"
        rm -rf "$WORK/try-$engine"
    done
}

statistic() { awk -v name="$1" '$1 == name { print $2 }' "${2:-$DIR}/.stats"; } # NAME [DIRECTORY]

# ENGINE becomes the engine of what is mounted; a check.
read_engine()
{
    ENGINE=$(statistic store.engine)
    case $ENGINE in
    lsm | appendlog | hybridlog) pass ;;
    *) fail "store.engine is '$ENGINE'" ;;
    esac
}

# The daemon that serves a directory: the process that has the store's path and this one among its arguments.
daemon_of()
{
    local directory=${1:-$DIR} pid args
    for pid in $(pgrep -x plsmd); do
        args=()
        { mapfile -d '' -t args <"/proc/$pid/cmdline"; } 2>/dev/null
        [ ${#args[@]} -gt 0 ] && [ "${args[-1]}" = "$directory" ] && echo "$pid"
    done
}

# Waits until it is gone: before that a call may still fail in another way than those on a dead mount.
kill_daemon()
{
    local pid
    pid=$(daemon_of)
    kill -9 "$pid"
    ended "$pid"
}

unmount_store() # [DIRECTORY]: waits until the daemon has gone too
{
    local directory=${1:-$DIR} pids pid
    pids=$(daemon_of "$directory")
    timeout 60 fusermount3 -u "$directory" || return 1
    for pid in $pids; do
        ended "$pid" 60 || return 1
    done
}
# shellcheck disable=SC2120
must_unmount() { unmount_store "$@" || { fail "cannot unmount"; exit 1; }; }
remount() { must_unmount; must_mount "${1:-rw}"; }
check_store() # [STORE]: `plsm check` finds nothing
{
    if timeout 300 "$PLSM" check "${1:-$STORE}" >"$WORK/check" 2>&1 </dev/null; then
        pass
    else
        fail "plsm check: $(head -c 1500 "$WORK/check") ... $(tail -n 1 "$WORK/check")"
        [ -z "${E2E_KEEP-}" ] || cp -a "${1:-$STORE}" "$E2E_KEEP"
    fi
}
check_metrics() # FAMILY...: .plsm/metrics has these, and follows the rules; those of promtool where that is installed
{
    ok python3 "$ROOT/tests/e2e/metrics.py" "$DIR/.plsm/metrics" "$@"
    ! command -v promtool >/dev/null || ok promtool check metrics <"$DIR/.plsm/metrics"
}
drop_caches() { sync; [ ! -w /proc/sys/vm/drop_caches ] || echo 3 >/proc/sys/vm/drop_caches 2>/dev/null || true; }
