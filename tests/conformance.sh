#!/usr/bin/env bash
# pjdfstest and fsx on a fresh mount with allow_other,default_permissions: make conformance PJDFSTEST=DIR FSX=PROGRAM.
#
# Neither is part of plsm. PJDFSTEST is a checkout of it in which `pjdfstest` has been built; FSX is the program, of any
# of its descents that know -N and -S: FSX_OPERATIONS (1000000) operations with the seed FSX_SEED (1). Only root can do
# what pjdfstest does. Fails when a case fails, and when it is given nothing.
set -u
cd "$(dirname "$0")/.." || exit 1
usage() { sed -n 's/^# \{0,1\}//; 2,6p' "$0"; }
if [ -z "${PJDFSTEST-}" ] && [ -z "${FSX-}" ]; then
    echo "nothing was run: no copy of pjdfstest or fsx was given"
    usage
    exit 2
fi
[ "$(id -u)" -eq 0 ] || { echo "nothing was run: only root can change owners and users, as pjdfstest does"; exit 2; }
[ -z "${PJDFSTEST-}" ] || PJDFSTEST=$(realpath "$PJDFSTEST") || exit 2
[ -z "${FSX-}" ] || FSX=$(realpath "$(command -v "$FSX" || echo "$FSX")") || exit 2
# shellcheck source=tests/e2e/lib.sh
. tests/e2e/lib.sh

must_mount "create,allow_other,default_permissions"

# Counts the cases of one file of tests, and prints those that fail. What pjdfstest itself marks as "TODO" (it says that
# Linux is not as it would like it) counts as passed, as with prove(1).
run_file()
{
    local file=$1 line planned seen=0
    (cd "$WORK/dir/pjdfstest" && timeout "${CONFORMANCE_TIMEOUT:-600}" sh "$file" </dev/null) >"$WORK/tap" 2>"$WORK/err"
    planned=$(sed -n 's/^1\.\.\([0-9]*\).*/\1/p' "$WORK/tap" | head -1)
    while read -r line; do
        case $line in
        "ok "* | "not ok "*"# TODO"*) passed=$((passed + 1)) seen=$((seen + 1)) ;;
        "not ok "*) fail "${file#"$PJDFSTEST/"}: $line"; seen=$((seen + 1)) ;;
        esac
    done <"$WORK/tap"
    [ "$seen" -eq "${planned:-0}" ] ||
        fail "${file#"$PJDFSTEST/"}: $seen cases instead of ${planned:-0} $(head -c 300 "$WORK/err")"
}

if [ -n "${PJDFSTEST-}" ]; then
    [ -x "$PJDFSTEST/pjdfstest" ] || { fail "$PJDFSTEST/pjdfstest is not there: build it"; exit 1; }
    mkdir "$DIR/pjdfstest"
    chmod 755 "$WORK" # for the users it turns into
    files=0
    while read -r file; do
        run_file "$file"
        files=$((files + 1))
    done < <(find "$PJDFSTEST/tests" -name '*.t' | sort)
    echo "pjdfstest: $files files, $passed cases passed, $failed failed"
fi

if [ -n "${FSX-}" ]; then
    if timeout "${CONFORMANCE_TIMEOUT:-7200}" "$FSX" -N "${FSX_OPERATIONS:-1000000}" -S "${FSX_SEED:-1}" "$DIR/fsx" \
        >"$WORK/fsx.out" 2>&1 </dev/null; then
        pass
        echo "fsx: ${FSX_OPERATIONS:-1000000} operations"
    else
        fail "fsx: $(tail -n 5 "$WORK/fsx.out")"
    fi
fi
must_unmount
check_store
